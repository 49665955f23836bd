//! Workers that stop, crash and come back: what was pushed is delivered all the same.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::{Answer, LONG_WAITS, Receiver, RedisServer, SHORT_WAITS, Worker};

const ENVELOPE: &str = r#"{"event":"messages.upsert","instance":"sales","data":{"n":1.0}}"#;

/// Pushes so many events; their ids.
async fn push(redis: &RedisServer, count: usize) -> BTreeSet<String> {
    let mut ids = BTreeSet::new();
    for _ in 0..count {
        ids.insert(redis.push(ENVELOPE).await);
    }
    ids
}

/// The events of all requests from the `from`th on.
fn events(receiver: &Receiver, from: usize) -> BTreeSet<String> {
    receiver.received().iter().skip(from).map(|request| request.id().to_owned()).collect()
}

#[tokio::test]
async fn events_that_were_pushed_before_any_worker_ever_ran_are_delivered() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    redis.set_url("sales", &receiver.url("/sales")).await;
    let ids = push(&redis, 10).await;
    let _worker = Worker::start(&redis, &[]).await;
    redis.until_settled().await;
    assert_eq!(events(&receiver, 0), ids);
    assert_eq!(receiver.count(), 10);
}

#[tokio::test]
async fn a_worker_that_is_stopped_finishes_what_is_in_flight_and_begins_nothing_more() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|request| {
        Answer::status(if request.attempt() == 1 { 500 } else { 200 }).later(Duration::from_secs(1))
    })
    .await;
    redis.set_url("sales", &receiver.url("/sales")).await;
    let mut worker = Worker::start(&redis, &LONG_WAITS).await;
    push(&redis, 5).await;
    receiver.wait_for(5).await;
    worker.signal("TERM");
    assert_eq!(worker.ended().await, Some(0));
    // Their outcome was awaited and settled.
    assert_eq!(redis.waiting().await, 5);
    assert_eq!(redis.len("webhooks").await, 0);

    push(&redis, 1).await;
    assert_eq!(receiver.count(), 5);
    let _next = Worker::start(&redis, &LONG_WAITS).await;
    redis.end_all_waits().await;
    receiver.wait_for(11).await;
}

#[tokio::test]
async fn a_worker_that_is_stopped_while_it_finishes_leaves_new_events_to_the_next() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|_| Answer::status(200).later(Duration::from_secs(1))).await;
    redis.set_url("sales", &receiver.url("/sales")).await;
    let mut worker = Worker::start(&redis, &[("WORKER_CONCURRENCY", "2")]).await;
    // More than it has slots for: the others are in its hands too, and not begun.
    let mut ids = push(&redis, 6).await;
    receiver.wait_for(2).await;
    worker.signal("TERM");
    ids.extend(push(&redis, 4).await);
    assert_eq!(worker.ended().await, Some(0));
    let begun = receiver.count();
    // What could not begin within a second may be parked.
    let parked: u64 = redis.command(&["ZCARD", "{webhooks}:park:instance:sales"]).await;
    let left = redis.len("webhooks").await + redis.len("{webhooks}:ready").await + parked;
    assert_eq!(left, 10 - begun as u64);
    let _next = Worker::start(&redis, &[]).await;
    redis.until_settled().await;
    assert_eq!(events(&receiver, 0), ids);
    assert_eq!(receiver.count(), 10);
}

#[tokio::test]
async fn what_outlasts_the_grace_period_is_delivered_by_the_next_worker() {
    let redis = RedisServer::start();
    let (receiver, works) = Receiver::hanging().await;
    redis.set_url("sales", &receiver.url("/sales")).await;
    let mut worker = Worker::start(&redis, &[("SHUTDOWN_GRACE_SECONDS", "0.2")]).await;
    let ids = push(&redis, 4).await;
    receiver.wait_for(4).await;
    worker.signal("TERM");
    assert_eq!(worker.ended().await, Some(0));
    works.store(true, Ordering::SeqCst);
    let _next = Worker::start(&redis, &[]).await;
    redis.until_settled().await;
    assert_eq!(events(&receiver, 4), ids);
    assert_eq!(receiver.count(), 8);
}

#[tokio::test]
async fn what_a_killed_worker_held_is_delivered_by_the_next() {
    let redis = RedisServer::start();
    let (receiver, works) = Receiver::hanging().await;
    redis.set_url("sales", &receiver.url("/sales")).await;
    let mut worker = Worker::start(&redis, &[("WORKER_CONCURRENCY", "16")]).await;
    // In flight, in the worker's hands, and not read yet.
    let ids = push(&redis, 50).await;
    receiver.wait_for(4).await;
    worker.kill();
    works.store(true, Ordering::SeqCst);
    let _next = Worker::start(&redis, &[]).await;
    redis.until_settled().await;
    assert_eq!(events(&receiver, 4), ids);
    assert_eq!(receiver.count(), 54);
    assert!(redis.dead().await.is_empty());
}

#[tokio::test]
async fn what_a_killed_worker_held_is_delivered_by_one_that_runs_already() {
    let redis = RedisServer::start();
    let (receiver, works) = Receiver::hanging().await;
    redis.set_url("sales", &receiver.url("/sales")).await;
    let mut worker = Worker::start(&redis, &[]).await;
    let ids = push(&redis, 20).await;
    receiver.wait_for(4).await;
    let _other = Worker::start(&redis, &[]).await;
    works.store(true, Ordering::SeqCst);
    worker.kill();
    redis.until_settled().await;
    assert_eq!(events(&receiver, 4), ids);
    assert_eq!(receiver.count(), 24);
}

#[tokio::test]
async fn a_retry_that_a_killed_worker_held_keeps_its_number() {
    let redis = RedisServer::start();
    let hung = AtomicBool::new(false);
    let receiver = Receiver::answering(move |request| match request.attempt() {
        1 => Answer::status(500),
        2 if !hung.swap(true, Ordering::SeqCst) => Answer::Stall(Vec::new()),
        2 => Answer::status(500),
        _ => Answer::status(200),
    })
    .await;
    redis.set_url("sales", &receiver.url("/sales")).await;
    let mut worker = Worker::start(&redis, &SHORT_WAITS).await;
    let id = redis.push(ENVELOPE).await;
    receiver.wait_for(2).await;
    worker.kill();
    // The attempt that was cut off came to nothing: it is made again.
    let _next = Worker::start(&redis, &SHORT_WAITS).await;
    redis.until_settled().await;
    let received = receiver.received();
    let attempts: Vec<_> = received.iter().map(|request| request.attempt()).collect();
    assert_eq!(attempts, [1, 2, 2, 3]);
    for request in &received {
        assert_eq!(request.id(), id);
        assert_eq!(request.body, received[0].body);
    }
}

#[tokio::test]
async fn of_an_event_that_a_killed_worker_held_what_had_failed_already_waits_on_its_own() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|request| match request.path.as_str() {
        "/sales" => Answer::status(500),
        _ => Answer::Stall(Vec::new()),
    })
    .await;
    redis.set_url("sales", &receiver.url("/sales")).await;
    let settings = [
        ("WEBHOOK_GLOBAL_ENABLED", "true"),
        ("WEBHOOK_GLOBAL_URL", &receiver.url("/global")),
        ("WEBHOOK_EVENTS_MESSAGES_UPSERT", "true"),
        LONG_WAITS[0],
        LONG_WAITS[1],
    ];
    let mut worker = Worker::start(&redis, &settings).await;
    redis.push(ENVELOPE).await;
    receiver.wait_for(2).await;
    redis.until_waiting(1).await;
    worker.kill();
    let _next = Worker::start(&redis, &settings).await;
    // The global delivery is attempted again; the instance's waits and has been counted once.
    receiver.wait_for_on("/global", 2).await;
    assert_eq!(receiver.received_on("/sales").len(), 1);
    assert_eq!(redis.waiting().await, 1);
}

#[tokio::test]
async fn retries_that_wait_outlive_the_worker() {
    for signal in ["TERM", "KILL"] {
        let (redis, receiver) = (RedisServer::start(), Receiver::working_from(2).await);
        redis.set_url("sales", &receiver.url("/sales")).await;
        let mut worker = Worker::start(&redis, &LONG_WAITS).await;
        // One more, and its receiver counted as down.
        let ids = push(&redis, 4).await;
        redis.until_waiting(4).await;
        worker.signal(signal);
        worker.ended().await;
        redis.end_all_waits().await;
        let _next = Worker::start(&redis, &LONG_WAITS).await;
        redis.until_settled().await;
        assert_eq!(events(&receiver, 4), ids, "{signal}");
        assert_eq!(receiver.count(), 8, "{signal}");
        for request in receiver.received().iter().skip(4) {
            assert_eq!(request.attempt(), 2);
        }
    }
}

#[tokio::test]
async fn two_workers_share_the_events_and_deliver_each_once() {
    let redis = RedisServer::start();
    let receiver = Receiver::working_from(2).await;
    redis.set_url("sales", &receiver.url("/sales")).await;
    let settings = [SHORT_WAITS[0], SHORT_WAITS[1], ("WORKER_CONCURRENCY", "8")];
    let first = Worker::start(&redis, &settings).await;
    let second = Worker::start(&redis, &settings).await;
    let ids = push(&redis, 300).await;
    redis.until_settled().await;
    let mut seen = BTreeSet::new();
    for request in receiver.received() {
        assert!(
            seen.insert((request.id().to_owned(), request.attempt())),
            "attempt {} of {} came twice",
            request.attempt(),
            request.id()
        );
    }
    assert_eq!(seen.len(), 600);
    assert_eq!(events(&receiver, 0), ids);
    for worker in [first, second] {
        assert!(worker.log().contains("attempted"), "one worker did nothing");
    }
}
