//! `posthaste dev`.

use std::net::TcpListener;
use std::path::Path;

use serde_json::{Value, json};

use crate::{Ran, finish, posthaste};

fn dev(dir: &Path, args: &[&str]) -> Ran {
    finish(posthaste("", &[&["dev"], args].concat()).env_remove("REDIS_URL").current_dir(dir))
}

#[test]
fn the_demonstration_goes_well_again_and_again_in_one_directory() {
    let dir = tempfile::tempdir().unwrap();
    let text = dev(dir.path(), &["--once"]).ended(0);
    let summary: Vec<&str> = text.stdout.rsplit("\n\n").next().unwrap().lines().collect();
    assert!(summary.len() == 6 && summary.iter().all(|line| line.starts_with("ok ")), "{text:?}");

    let json = dev(dir.path(), &["--once", "--json"]).ended(0);
    let lines: Vec<Value> = json.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.last().unwrap();
    assert_eq!(last["ok"], json!(true));
    assert!(last["summary"].as_array().unwrap().iter().all(|fact| fact["ok"] == json!(true)), "{last}");

    let log = std::fs::read_to_string(dir.path().join(".posthaste/worker.log")).unwrap();
    for (what, text) in
        [("text", &text.stdout), ("steps", &text.stderr), ("JSON", &json.stdout), ("log", &log)]
    {
        assert!(!text.contains('\u{1b}'), "no colours where there is no terminal: {what}: {text}");
    }
}

#[test]
fn a_port_that_is_taken_is_told_with_its_option() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let ran = dev(dir.path(), &["--once", "--port", &port]).ended(1);
    assert!(ran.stderr.contains("choose another with --port") && !ran.stderr.contains("--addr"), "{ran:?}");
}
