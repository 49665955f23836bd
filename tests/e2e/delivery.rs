//! Events reach their destinations.

use crate::support::{Answer, Receiver, RedisServer, Worker, until};

#[tokio::test]
async fn an_event_reaches_the_webhook_of_its_instance_and_the_global_one() {
    let redis = RedisServer::start();
    let receiver = Receiver::start().await;
    redis
        .set_webhook("sales", &format!(r#"{{"url":"{}"}}"#, receiver.url("/sales")))
        .await;
    let _worker = Worker::start(
        &redis,
        &[
            ("WEBHOOK_GLOBAL_ENABLED", "true"),
            ("WEBHOOK_GLOBAL_URL", &receiver.url("/global")),
            ("WEBHOOK_EVENTS_MESSAGES_UPSERT", "true"),
        ],
    )
    .await;
    let id = redis
        .push(r#"{"event":"messages.upsert","instance":"sales","data":{"n":1}}"#)
        .await;
    let received = receiver.wait_for(2).await;
    let mut paths: Vec<_> = received.iter().map(|request| request.path.as_str()).collect();
    paths.sort_unstable();
    assert_eq!(paths, ["/global", "/sales"]);
    assert!(
        received
            .iter()
            .all(|request| request.id() == id && request.attempt() == 1)
    );
    until("the stream is empty", || async {
        redis.len("webhooks").await == 0
    })
    .await;
    println!("{:?}", redis.keys().await);
}

#[tokio::test]
async fn a_failed_delivery_is_attempted_again() {
    let redis = RedisServer::start();
    let receiver =
        Receiver::answering(|request| Answer::status(if request.attempt() < 3 { 500 } else { 200 })).await;
    redis
        .set_webhook("sales", &format!(r#"{{"url":"{}"}}"#, receiver.url("/sales")))
        .await;
    let _worker = Worker::start(&redis, &[("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.1")]).await;
    redis
        .push(r#"{"event":"messages.upsert","instance":"sales","data":{"n":1}}"#)
        .await;
    let received = receiver.wait_for(3).await;
    assert_eq!(
        received
            .iter()
            .map(|request| request.attempt())
            .collect::<Vec<_>>(),
        [1, 2, 3]
    );
    until("the retry is settled", || async {
        redis.len("{webhooks}:ready").await == 0
    })
    .await;
    println!("{:?}", redis.keys().await);
}

#[tokio::test]
async fn a_hopeless_delivery_becomes_a_dead_letter_and_the_errors_webhook_is_told() {
    let redis = RedisServer::start();
    let receiver =
        Receiver::answering(|request| Answer::status(if request.path == "/errors" { 200 } else { 500 }))
            .await;
    redis
        .set_webhook("sales", &format!(r#"{{"url":"{}"}}"#, receiver.url("/sales")))
        .await;
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
    redis
        .push(r#"{"event":"messages.upsert","instance":"sales","data":{"n":1}}"#)
        .await;
    let received = receiver.wait_for(3).await;
    println!("{}", received[2].text());
    until("the error delivery is settled", || async {
        redis.len("{webhooks}:ready").await == 0
    })
    .await;
    println!("{:?}", redis.keys().await);
    println!("{:?}", redis.dead().await);
}
