//! `GET /stats`: what waits, and who fails.

use serde_json::Value;

use crate::caller::Caller;
use crate::support::{Answer, LONG_WAITS, Receiver, RedisServer, run_command, until};

#[tokio::test]
async fn stats_are_what_status_tells() {
    let redis = RedisServer::start();
    let caller = Caller::start(&redis, &LONG_WAITS).await;
    caller.until_ready().await;
    let receiver = Receiver::answering(|_| Answer::status(503)).await;
    redis.set_url("a", &receiver.url("/")).await;
    redis.push(r#"{"event":"call","instance":"a"}"#).await;
    redis.until_waiting(1).await;
    until("the attempt to be recorded", || async {
        !caller.get("/stats").await.json()["failing"][0].is_null()
    })
    .await;
    let told = caller.get("/stats").await.json();
    assert_eq!(told["waiting"]["deliveries"], 1);
    assert_eq!(told["waiting"]["next"][0]["destination"], "instance:a");
    assert_eq!(told["failing"][0]["destination"], "instance:a");
    assert_eq!(told["webhooks"], 1);
    assert_eq!(told["name"], "webhooks");
    assert_eq!(told["workers"].as_array().unwrap().len(), 1);

    let printed = run_command(&redis, &["status", "--json"]);
    let mut printed: Value = serde_json::from_str(&printed).unwrap();
    let mut told = told;
    // What changes by itself from one moment to the next.
    for moving in ["at", "server", "workers"] {
        printed.as_object_mut().unwrap().remove(moving).unwrap();
        told.as_object_mut().unwrap().remove(moving).unwrap();
    }
    assert_eq!(told, printed);
}

#[tokio::test]
async fn without_redis_there_are_none_and_one_may_ask_again() {
    let mut redis = RedisServer::start();
    let caller = Caller::start(&redis, &[]).await;
    caller.until_ready().await;
    redis.kill();
    let answered = caller.get("/stats").await;
    assert_eq!(answered.status, 503);
    assert!(answered.headers.contains_key("retry-after"));
    assert!(answered.error().contains("redis"));
}
