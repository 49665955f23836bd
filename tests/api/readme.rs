//! The README's requests, as they are printed.

use std::process::Command;

use serde_json::Value;

use crate::caller::{Caller, KEY};
use crate::support::RedisServer;

const MARK: &str = "<!-- run: api -->\n```sh\n";

/// Whether an answer is as it is printed there: `"…"` stands for any text, and as a key for any further ones.
fn is_as_told(answer: &Value, told: &Value) -> bool {
    match (answer, told) {
        (Value::String(_), Value::String(told)) if told == "…" => true,
        (Value::Object(answer), Value::Object(told)) => {
            let mut named = told.iter().filter(|(key, _)| *key != "…");
            (told.contains_key("…") || answer.len() == told.len())
                && named.all(|(key, told)| answer.get(key).is_some_and(|it| is_as_told(it, told)))
        }
        (Value::Array(answer), Value::Array(told)) => {
            answer.len() == told.len()
                && answer.iter().zip(told).all(|(answer, told)| is_as_told(answer, told))
        }
        _ => answer == told,
    }
}

#[tokio::test]
async fn the_requests_of_the_readme_work() {
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let blocks: Vec<&str> =
        readme.split(MARK).skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty());
    let redis = RedisServer::start();
    // A proxy that is not there: nothing is sent to example.com.
    let nowhere = "http://127.0.0.1:9";
    let caller = Caller::start_with_key(&redis, &[("HTTP_PROXY", nowhere), ("HTTPS_PROXY", nowhere)]).await;
    caller.until_ready().await;
    let dir = tempfile::tempdir().unwrap();
    for block in blocks {
        let mut shell = Command::new("sh");
        shell.args(["-euc", block]).current_dir(dir.path());
        shell.env("API", &caller.base).env("KEY", KEY).env("NO_PROXY", "*");
        let output = tokio::task::spawn_blocking(move || shell.output()).await.unwrap().expect("a shell");
        assert!(output.status.success(), "{block}\n{}", String::from_utf8_lossy(&output.stderr));
        let printed = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
        let printed: Vec<Value> = printed.map(|answer| answer.expect("JSON")).collect();
        let told: Vec<&str> = block.lines().filter_map(|line| line.strip_prefix("# ")).collect();
        assert!(!told.is_empty(), "{block}");
        for told in told {
            let told: Value = serde_json::from_str(told).unwrap_or_else(|error| panic!("{error}: {told}"));
            assert!(printed.iter().any(|answer| is_as_told(answer, &told)), "{told} is not in {printed:?}");
        }
    }
    assert_eq!(caller.get("/webhook/find/sales").await.json(), Value::Null);
}
