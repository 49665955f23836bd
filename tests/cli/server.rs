//! `posthaste status` and `check`, and what all commands share: help, exit statuses, pipes.

use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{RedisServer, Worker, until};
use crate::{Running, finish, posthaste, run, run_with};

#[tokio::test]
async fn the_status_of_an_empty_redis_is_all_zero() {
    let redis = RedisServer::start();
    let told = run(&redis, &["status", "--json"]).ended(0).json();
    let nothing = json!({ "backlog": 0, "in_flight": 0, "oldest": null });
    assert_eq!((&told["stream"], &told["ready"]), (&nothing, &nothing));
    assert_eq!(told["dead"], json!({ "letters": 0, "oldest": null, "newest": null }));
    assert_eq!((&told["workers"], &told["failing"]), (&json!([]), &json!([])));
    let text = run(&redis, &["status"]).ended(0).stdout;
    assert!(text.contains("none is running: start one with `posthaste run`"), "{text}");
}

#[tokio::test]
async fn the_status_tells_what_waits_and_what_fails() {
    let redis = RedisServer::start();
    // Nobody listens there.
    redis.set_webhook("a", r#"{"url":"http://127.0.0.1:1/"}"#).await;
    let _worker = Worker::start(&redis, &[("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "60")]).await;
    redis.push(r#"{"event":"call","instance":"a"}"#).await;
    redis.until_waiting(1).await;
    let failing = || async { run(&redis, &["status", "--json"]).ended(0).json()["failing"] != json!([]) };
    until("the attempt to be recorded", failing).await;
    let told = run(&redis, &["status", "--json"]).ended(0).json();
    assert_eq!(told["waiting"]["deliveries"], 1);
    let next = &told["waiting"]["next"][0];
    assert_eq!((&next["destination"], &next["attempts"]), (&json!("instance:a"), &json!(1)));
    assert!(next["last"].as_str().unwrap().contains("could not connect"), "{next}");
    assert_eq!(told["workers"].as_array().unwrap().len(), 1);
    assert_eq!(told["totals"]["retried"], 1);
    assert_eq!(
        (&told["failing"][0]["destination"], &told["failing"][0]["failed"]),
        (&json!("instance:a"), &json!(1))
    );
    let text = run(&redis, &["status"]).ended(0).stdout;
    for shown in ["next retries", "failing lately", "instance:a", "1 delivery, the next due in"] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
}

#[tokio::test]
async fn a_watched_status_is_told_again_and_again() {
    let redis = RedisServer::start();
    let mut command = posthaste(&redis.url(), &["status", "--watch", "--json"]);
    let mut running = Running::start(command.stdout(Stdio::piped()));
    let lines = BufReader::new(running.child.stdout.take().unwrap()).lines();
    for line in lines.take(2) {
        let told: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
        assert_eq!(told["name"], "webhooks");
    }
}

#[tokio::test]
async fn a_server_that_can_lose_events_is_not_fit() {
    let redis = RedisServer::start();
    let ran = run(&redis, &["check"]).ended(1);
    assert!(
        ran.stdout.contains("loses every event that waits") && ran.stdout.contains("appendonly yes"),
        "{ran:?}"
    );
    assert_eq!(run(&redis, &["check", "--json"]).ended(1).json()["fit"], false);
}

#[tokio::test]
async fn a_durable_server_is_fit_and_odd_settings_are_only_warned_of() {
    let durable = ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory", "100mb"];
    let redis = RedisServer::start_with(&[&durable[..], &["--maxmemory-policy", "noeviction"]].concat());
    let told = run(&redis, &["check", "--json"]).ended(0).json();
    let levels: Vec<_> =
        told["findings"].as_array().unwrap().iter().map(|finding| &finding["level"]).collect();
    assert!(levels.iter().all(|level| **level == "ok"), "{told}");
    let ran = run_with(&redis, &[("WEBHOOK_EVENTS_MESAGES_UPSERT", "true")], &["check"]).ended(0);
    assert!(ran.stdout.contains("warning") && ran.stdout.contains("MESSAGES_UPSERT?"), "{ran:?}");
    assert!(!ran.stdout.contains("can be used"), "{ran:?}");
}

#[test]
fn an_unreachable_redis_is_told_quickly_and_without_secrets() {
    let url = "redis://user:hunter2@127.0.0.1:1";
    let commands: &[&[&str]] = &[
        &["publish", "--event", "call"],
        &["webhook", "list"],
        &["explain", "--event", "call", "--instance", "a"],
        &["dead", "list"],
        &["dead", "replay", "--all"],
        &["status"],
        &["check"],
    ];
    for args in commands {
        let started = Instant::now();
        let ran = finish(&mut posthaste(url, args)).ended(69);
        assert!(ran.stderr.contains("no answer from redis at redis://127.0.0.1:1 ("), "{args:?}: {ran:?}");
        assert!(!ran.stderr.contains("hunter2"), "{args:?}: {ran:?}");
        assert!(started.elapsed() < Duration::from_secs(10), "{args:?}");
    }
}

#[test]
fn bad_settings_are_told_all_at_once() {
    let mut command = posthaste("ftp://user:hunter2@h", &["status"]);
    let ran = finish(command.envs([("WEBHOOK_RETRY_MAX_ATTEMPTS", "many"), ("WORKER_CONCURRENCY", "-1")]))
        .ended(78);
    for shown in
        ["3 settings are wrong", "REDIS_URL", "WEBHOOK_RETRY_MAX_ATTEMPTS is 'many'", "WORKER_CONCURRENCY"]
    {
        assert!(ran.stderr.contains(shown), "{shown}: {ran:?}");
    }
    assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
    let ran = finish(&mut posthaste("", &["status", "--env-file", "/nowhere/.env"])).ended(78);
    assert!(ran.stderr.contains("/nowhere/.env"), "{ran:?}");
}

#[tokio::test]
async fn settings_come_from_the_file_that_is_named() {
    let redis = RedisServer::start();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("my.env");
    std::fs::write(&path, format!("REDIS_URL={}\nSTREAM=orders\n", redis.url())).unwrap();
    let path = path.display().to_string();
    let mut command = posthaste("", &["publish", "--event", "call", "--env-file", &path]);
    finish(command.env_remove("REDIS_URL")).ended(0);
    assert_eq!(redis.len("orders").await, 1);
}

#[test]
fn a_wrong_command_line_is_a_usage_error() {
    for args in [&["frobnicate"][..], &["webhook"], &["dead", "show"], &["explain"], &["status", "--no-such"]]
    {
        finish(&mut posthaste("", args)).ended(2);
    }
}

#[test]
fn every_command_has_help_with_examples() {
    let commands: &[&[&str]] = &[
        &[],
        &["run"],
        &["dev"],
        &["publish"],
        &["webhook"],
        &["webhook", "set"],
        &["webhook", "get"],
        &["webhook", "list"],
        &["webhook", "delete"],
        &["webhook", "test"],
        &["explain"],
        &["dead"],
        &["dead", "list"],
        &["dead", "show"],
        &["dead", "replay"],
        &["dead", "purge"],
        &["status"],
        &["listen"],
        &["check"],
    ];
    for command in commands {
        let ran = finish(&mut posthaste("", &[command, &["--help"][..]].concat())).ended(0);
        assert!(
            ran.stdout.contains("Usage: posthaste") && ran.stdout.contains("\n  posthaste "),
            "{command:?}: {ran:?}"
        );
    }
}

#[tokio::test]
async fn a_reader_that_leaves_is_no_error() {
    let redis = RedisServer::start();
    for n in 0..3000 {
        redis.set_webhook(&format!("instance-{n}"), r#"{"url":"https://example.com/a/long/path"}"#).await;
    }
    for format in [&["webhook", "list", "--limit", "0"][..], &["webhook", "list", "--limit", "0", "--json"]] {
        let mut command = posthaste(&redis.url(), format);
        let mut running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        // Far more than a pipe holds is on its way; a few bytes are read, and the pipe is closed.
        running.child.stdout.take().unwrap().read_exact(&mut [0; 10]).unwrap();
        let mut stderr = String::new();
        running.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!((running.ended(), stderr.as_str()), (Some(0), ""));
    }
}
