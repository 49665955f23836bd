//! What is said of a Redis that can lose events.

use std::process::Output;

use crate::support::{RedisServer, Worker, until, worker};

fn check(redis: &RedisServer) -> Output {
    let mut command = worker::command();
    command.args(["check", "--json"]).env("REDIS_URL", redis.url()).output().expect("the binary runs")
}

/// The levels of the findings, by what they are about.
fn findings(output: &Output) -> std::collections::BTreeMap<String, String> {
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let findings = told["findings"].as_array().expect("a list");
    let text = |finding: &serde_json::Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    findings.iter().map(|finding| (text(finding, "what"), text(finding, "level"))).collect()
}

/// What a worker says of it when it starts.
async fn said_at_start(redis: &RedisServer) -> Vec<String> {
    let worker = Worker::start(redis, &[]).await;
    until("it to be at work", || async { worker.log().contains("redis:") || !worker.warnings().is_empty() })
        .await;
    worker.warnings()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_persistence_is_not_fit() {
    let redis = RedisServer::start();
    let output = check(&redis);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(findings(&output)["persistence"], "problem");
    let said = said_at_start(&redis).await;
    assert!(said.iter().any(|line| line.contains("appendonly yes") && line.contains("not fit")), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_evicts_is_not_fit() {
    let args = [&crate::scene::DURABLE[..], &["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]];
    let redis = RedisServer::start_with(&args.concat());
    let output = check(&redis);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(findings(&output)["eviction"], "problem");
    assert_eq!(findings(&output)["persistence"], "ok");
    let said = said_at_start(&redis).await;
    assert!(said.iter().any(|line| line.contains("maxmemory-policy noeviction")), "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_durable_server_is_fit_and_nothing_is_said() {
    let args = [&crate::scene::DURABLE[..], &["--maxmemory", "100mb"]];
    let redis = RedisServer::start_with(&args.concat());
    let output = check(&redis);
    assert_eq!(output.status.code(), Some(0));
    let worker = Worker::start(&redis, &[]).await;
    let id = redis.push(r#"{"event":"call","instance":"nobody"}"#).await;
    redis.until_settled().await;
    assert!(!id.is_empty());
    assert_eq!(worker.warnings(), Vec::<String>::new());
}
