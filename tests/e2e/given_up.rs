//! When a delivery is given up: its attempts or its age are used up, or its receiver is gone.

use std::time::Duration;

use serde_json::json;

use crate::support::{Answer, LONG_WAITS, Receiver, RedisServer, SHORT_WAITS, Worker, until};

const ENVELOPE: &str = r#"{"event":"messages.upsert","instance":"sales","data":{"n":1.0}}"#;

#[tokio::test]
async fn a_receiver_that_is_gone_has_its_webhook_switched_off_and_what_waits_for_it_given_up() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|request| {
        Answer::status(match request.json()["data"].as_str() {
            Some("wait") => 500,
            Some("go") => 410,
            _ => 200,
        })
    })
    .await;
    let webhook = json!({
        "url": receiver.url("/sales?token=secret"), "byEvents": true, "events": ["CALL"],
        "headers": {"x-own": "kept"}, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    });
    redis.set_webhook("sales", &webhook.to_string()).await;
    let _worker = Worker::start(&redis, &LONG_WAITS).await;
    let call = |data: &str| json!({"event": "call", "instance": "sales", "data": data}).to_string();
    let waiting = redis.push(&call("wait")).await;
    redis.until_waiting(1).await;
    let gone = redis.push(&call("go")).await;

    let dead = redis.wait_for_letters(1).await;
    assert_eq!((dead[0].text("id"), dead[0].text("reason")), (gone.as_str(), "gone"));
    assert_eq!((dead[0].text("attempts"), dead[0].text("status")), ("1", "410"));
    redis.until_disabled("sales").await;
    let mut stored = redis.webhook("sales").await;
    let disabled_at = stored.as_object_mut().and_then(|webhook| webhook.remove("disabledAt"));
    assert!(disabled_at.is_some_and(|at_ms| at_ms.as_u64() > Some(1_700_000_000_000)));
    assert_eq!(
        stored,
        json!({
            "enabled": false, "url": receiver.url("/sales?token=secret"), "byEvents": true, "base64": false,
            "events": ["CALL"], "headers": {"x-own": "kept"},
            "secret": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"], "disabledReason": "gone",
        })
    );

    // What waited is not attempted again, and what comes now goes nowhere.
    redis.push(&call("late")).await;
    redis.end_all_waits().await;
    let dead = redis.wait_for_letters(2).await;
    redis.until_settled().await;
    assert_eq!((dead[1].text("id"), dead[1].text("reason")), (waiting.as_str(), "gone"));
    assert_eq!(dead[1].text("attempts"), "1");
    assert_eq!(receiver.count(), 2);

    // Once it is set again, it is sent to again.
    redis.set_webhook("sales", &webhook.to_string()).await;
    let id = redis.push(&call("again")).await;
    receiver.wait_for_of(&id, 1).await;
}

#[tokio::test]
async fn a_webhook_that_was_changed_while_the_old_receiver_said_gone_stays_on() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|request| match request.path.as_str() {
        "/old" => Answer::status(410).later(Duration::from_secs(1)),
        _ => Answer::status(200),
    })
    .await;
    redis.set_url("sales", &receiver.url("/old")).await;
    let _worker = Worker::start(&redis, &[]).await;
    redis.push(ENVELOPE).await;
    receiver.wait_for_on("/old", 1).await;
    redis.set_url("sales", &receiver.url("/new")).await;
    assert_eq!(redis.wait_for_letters(1).await[0].text("reason"), "gone");
    redis.until_settled().await;
    redis.push(ENVELOPE).await;
    receiver.wait_for_on("/new", 1).await;
    assert_eq!(redis.webhook("sales").await, json!({"url": receiver.url("/new")}));
}

#[tokio::test]
async fn a_global_webhook_that_is_gone_loses_the_delivery_and_nothing_else() {
    let redis = RedisServer::start();
    let receiver =
        Receiver::answering(|request| Answer::status(if request.json()["data"] == "go" { 410 } else { 200 }))
            .await;
    redis.set_url("sales", &receiver.url("/sales")).await;
    let _worker = Worker::start(
        &redis,
        &[
            ("WEBHOOK_GLOBAL_ENABLED", "true"),
            ("WEBHOOK_GLOBAL_URL", &receiver.url("/global")),
            ("WEBHOOK_EVENTS_CALL", "true"),
        ],
    )
    .await;
    redis.push(r#"{"event":"call","data":"go"}"#).await;
    let dead = redis.wait_for_letters(1).await;
    assert_eq!(dead[0].text("reason"), "gone");
    assert_eq!(dead[0].text("destination"), "global");
    redis.push(r#"{"event":"call","instance":"sales"}"#).await;
    receiver.wait_for(3).await;
    redis.until_settled().await;
    assert_eq!(receiver.received_on("/global").len(), 2);
    assert_eq!(receiver.received_on("/sales").len(), 1);
}

#[tokio::test]
async fn a_delivery_is_given_up_after_its_last_attempt() {
    for attempts in ["1", "3"] {
        let (redis, receiver) = (RedisServer::start(), Receiver::working_from(100).await);
        let settings = [SHORT_WAITS[0], ("WEBHOOK_RETRY_MAX_ATTEMPTS", attempts)];
        redis.set_url("sales", &receiver.url("/sales")).await;
        let _worker = Worker::start(&redis, &settings).await;
        let id = redis.push(ENVELOPE).await;
        let dead = redis.wait_for_letters(1).await;
        redis.until_settled().await;
        assert_eq!(dead[0].text("reason"), "exhausted");
        assert_eq!(dead[0].text("attempts"), attempts);
        assert_eq!(dead[0].text("id"), id);
        assert_eq!(dead[0].bytes("payload"), ENVELOPE.as_bytes());
        assert_eq!(receiver.count().to_string(), attempts);
    }
}

#[tokio::test]
async fn a_delivery_is_given_up_when_its_next_attempt_would_come_too_late() {
    let (redis, receiver) = (RedisServer::start(), Receiver::working_from(100).await);
    let settings = [
        ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.3"),
        ("WEBHOOK_RETRY_MAX_AGE_SECONDS", "1"),
        ("WEBHOOK_RETRY_USE_EXPONENTIAL_BACKOFF", "false"),
        ("WEBHOOK_RETRY_JITTER_FACTOR", "0"),
        ("WEBHOOK_RETRY_MAX_ATTEMPTS", "100"),
    ];
    redis.set_url("sales", &receiver.url("/sales")).await;
    let _worker = Worker::start(&redis, &settings).await;
    redis.push(ENVELOPE).await;
    let dead = redis.wait_for_letters(1).await;
    redis.until_settled().await;
    assert_eq!(dead[0].text("reason"), "expired");
    assert_eq!(dead[0].text("error"), "the receiver answered 500");
    assert_eq!(dead[0].text("attempts"), receiver.count().to_string());
    // At 0, 0.3, 0.6 and 0.9 s, or fewer on a slow machine.
    assert!((1..=4).contains(&receiver.count()), "{}", receiver.count());
}

#[tokio::test]
async fn a_wait_that_outlasts_the_age_is_not_begun() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|request| match request.path.as_str() {
        "/asks" => Answer::with_header(429, "Retry-After", "3600"),
        _ => Answer::status(500),
    })
    .await;
    redis.set_url("sales", &receiver.url("/sales")).await;
    redis.set_url("asks", &receiver.url("/asks")).await;
    let age = [("WEBHOOK_RETRY_MAX_AGE_SECONDS", "500")];
    let _worker = Worker::start(&redis, &[&LONG_WAITS[..], &age].concat()).await;
    redis.push(ENVELOPE).await;
    redis.push(r#"{"event":"x","instance":"asks"}"#).await;
    for letter in redis.wait_for_letters(2).await {
        assert_eq!(letter.text("reason"), "expired");
        assert_eq!(letter.text("attempts"), "1");
    }
    assert_eq!(redis.waiting().await, 0);
}

#[tokio::test]
async fn a_delivery_that_waited_past_the_age_is_dead_without_a_further_attempt() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|_| Answer::status(503)).await;
    redis.set_url("sales", &receiver.url("/")).await;
    let settings = [("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "1"), ("WEBHOOK_RETRY_MAX_AGE_SECONDS", "2")];
    let mut worker = Worker::start(&redis, &settings).await;
    redis.push_with_id("late", r#"{"event":"x","instance":"sales"}"#).await;
    redis.until_waiting(1).await;
    worker.kill();
    let pushed = std::time::Instant::now();
    until("it is too old", || async { pushed.elapsed() > std::time::Duration::from_millis(2100) }).await;
    let _worker = Worker::start(&redis, &settings).await;
    until("it is dead", || async { redis.len("{webhooks}:dead").await == 1 }).await;
    let letter = &redis.dead().await[0];
    assert_eq!(letter["reason"], b"expired");
    assert_eq!(letter["attempts"], b"1");
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn what_was_pushed_before_a_receiver_was_gone_is_not_lost_without_a_trace() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|_| Answer::status(410)).await;
    redis.set_url("sales", &receiver.url("/")).await;
    for n in 0..50 {
        redis.push_with_id(&format!("e{n}"), r#"{"event":"x","instance":"sales"}"#).await;
    }
    let _worker = Worker::start(&redis, &[("WORKER_CONCURRENCY", "1")]).await;
    until("each is a dead letter", || async { redis.len("{webhooks}:dead").await == 50 }).await;
    assert!(redis.dead().await.iter().all(|letter| letter["reason"] == b"gone"));
    // What is pushed now has no webhook any more.
    redis.push(r#"{"event":"x","instance":"sales"}"#).await;
    until("it is settled", || async { redis.len("webhooks").await == 0 }).await;
    assert_eq!(redis.len("{webhooks}:dead").await, 50);
}
