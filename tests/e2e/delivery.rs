//! Events reach their destinations.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::{Answer, Receiver, RedisServer, Worker};

#[tokio::test]
async fn an_event_reaches_the_webhook_of_its_instance_and_the_global_one() {
    let redis = RedisServer::start();
    let receiver = Receiver::start().await;
    redis.set_url("sales", &receiver.url("/sales")).await;
    let _worker = Worker::start(
        &redis,
        &[
            ("WEBHOOK_GLOBAL_ENABLED", "true"),
            ("WEBHOOK_GLOBAL_URL", &receiver.url("/global")),
            ("WEBHOOK_EVENTS_MESSAGES_UPSERT", "true"),
        ],
    )
    .await;
    let id = redis.push(r#"{"event":"messages.upsert","instance":"sales","data":{"n":1}}"#).await;
    redis.until_settled().await;
    let received = receiver.received();
    let mut paths: Vec<_> = received.iter().map(|request| request.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/global", "/sales"]);
    assert!(received.iter().all(|request| request.id() == id && request.attempt() == 1));
}

#[tokio::test]
async fn a_failed_delivery_is_attempted_again_and_then_settled() {
    let redis = RedisServer::start();
    let receiver = Receiver::working_from(3).await;
    redis.set_url("sales", &receiver.url("/sales")).await;
    let _worker = Worker::start(&redis, &[("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.1")]).await;
    redis.push(r#"{"event":"messages.upsert","instance":"sales","data":{"n":1}}"#).await;
    redis.until_settled().await;
    let attempts: Vec<_> = receiver.received().iter().map(|request| request.attempt()).collect();
    assert_eq!(attempts, [1, 2, 3]);
}

#[tokio::test]
async fn a_hopeless_delivery_becomes_a_dead_letter_and_the_errors_webhook_is_told() {
    let redis = RedisServer::start();
    let receiver =
        Receiver::answering(|request| Answer::status(if request.path == "/errors" { 200 } else { 500 }))
            .await;
    redis.set_url("sales", &receiver.url("/sales")).await;
    let _worker = Worker::start(
        &redis,
        &[
            ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.1"),
            ("WEBHOOK_RETRY_MAX_ATTEMPTS", "2"),
            ("WEBHOOK_EVENTS_ERRORS", "true"),
            ("WEBHOOK_EVENTS_ERRORS_WEBHOOK", &receiver.url("/errors")),
        ],
    )
    .await;
    let id = redis.push(r#"{"event":"messages.upsert","instance":"sales","data":{"n":1}}"#).await;
    redis.until_settled().await;
    let dead = redis.letters().await;
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].text("id"), dead[0].text("reason")), (id.as_str(), "exhausted"));
    let told = receiver.received_on("/errors");
    assert_eq!(told.len(), 1);
    let told = told[0].json();
    assert_eq!(told["event"], "error");
    assert_eq!(told["data"]["delivery"]["id"], id.as_str());
    assert_eq!(receiver.received_on("/sales").len(), 2);
}

#[tokio::test]
async fn many_events_of_many_instances_are_each_delivered_once() {
    let redis = RedisServer::start();
    let receiver = Receiver::start().await;
    let mut expected = BTreeMap::new();
    for instance in 0..20 {
        let url = receiver.url(&format!("/{instance}"));
        redis.set_url(&instance.to_string(), &url).await;
    }
    let _worker = Worker::start(&redis, &[]).await;
    for n in 0..1000 {
        let instance = (n % 20).to_string();
        let envelope = json!({"event": "messages.upsert", "instance": instance, "data": n}).to_string();
        expected.insert(redis.push(&envelope).await, format!("/{instance}"));
    }
    redis.until_settled().await;
    let received = receiver.received();
    assert_eq!(received.len(), expected.len());
    let paths: BTreeMap<_, _> =
        received.into_iter().map(|request| (request.id().to_owned(), request.path)).collect();
    assert_eq!(paths, expected);
}
