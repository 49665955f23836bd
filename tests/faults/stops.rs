//! Workers that are told to stop.

use std::time::{Duration, Instant};

use crate::scene::Instances;
use crate::support::{Answer, Gate, LONG_WAITS, Receiver, RedisServer, Worker, until};

/// One receiver that takes or refuses, by the path, once the gate opens.
async fn receiver() -> (Receiver, Gate) {
    let gate = Gate::closed();
    let held = gate.clone();
    let receiver = Receiver::answering(move |request| {
        Answer::status(if request.path == "/bad" { 500 } else { 200 }).behind(&held)
    })
    .await;
    (receiver, gate)
}

/// Instances that can have so many attempts in flight at the receiver's `/good`.
async fn good(redis: &RedisServer, receiver: &Receiver, in_flight: usize) -> Instances {
    Instances::holding(redis, in_flight, "good", &receiver.url("/good")).await
}

/// Holds that no trace of any worker is left.
async fn assert_nobody_is_left(redis: &RedisServer) {
    let workers: Vec<String> = redis.command(&["ZRANGE", "{webhooks}:workers", "0", "-1"]).await;
    assert_eq!(workers, Vec::<String>::new(), "no heartbeats are left");
    for stream in ["webhooks", "{webhooks}:ready"] {
        assert_eq!(redis.consumers(stream).await, Vec::<String>::new(), "no consumer of {stream} is left");
    }
}

async fn drains_on(signal: &str) {
    let redis = RedisServer::start();
    let (receiver, gate) = receiver().await;
    let mut good = good(&redis, &receiver, 5).await;
    let mut bad = Instances::holding(&redis, 5, "bad", &receiver.url("/bad")).await;
    let mut worker = Worker::start(&redis, &LONG_WAITS).await;
    good.push(&redis, 5).await;
    bad.push(&redis, 5).await;
    receiver.wait_for(10).await;
    worker.signal(signal);
    until("it to say that it stops", || async { worker.log().contains("finishing attempts") }).await;
    good.push(&redis, 1).await;
    gate.open();
    assert_eq!(worker.ended().await, Some(0));
    assert_eq!(receiver.count(), 10, "nothing new is begun");
    assert_eq!(redis.waiting().await, 5, "what failed waits");
    assert_eq!(redis.len("webhooks").await, 1, "what arrived is settled");
    assert_nobody_is_left(&redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_finishes_what_is_in_flight() {
    drains_on("TERM").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_finishes_what_is_in_flight() {
    drains_on("INT").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once_and_loses_nothing() {
    let redis = RedisServer::start();
    let (receiver, gate) = receiver().await;
    let mut worker = Worker::start(&redis, &[]).await;
    good(&redis, &receiver, 5).await.push(&redis, 5).await;
    receiver.wait_for(5).await;
    worker.signal("TERM");
    until("it to say that it stops", || async { worker.log().contains("finishing attempts") }).await;
    let told = Instant::now();
    worker.signal("TERM");
    assert_eq!(worker.ended().await, Some(0));
    println!("ended {:?} after the second signal", told.elapsed());
    assert!(told.elapsed() < Duration::from_secs(2), "{:?}", told.elapsed());
    gate.open();
    let mut next = Worker::start(&redis, &[]).await;
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(receiver.count(), 10);
    assert_eq!(next.stop(), Some(0));
    assert_nobody_is_left(&redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_outlasts_the_grace_period_is_taken_over_at_once() {
    let redis = RedisServer::start();
    let (receiver, gate) = receiver().await;
    let mut worker = Worker::start(&redis, &[("SHUTDOWN_GRACE_SECONDS", "1")]).await;
    good(&redis, &receiver, 10).await.push(&redis, 10).await;
    receiver.wait_for(10).await;
    let mut other = Worker::start(&redis, &[]).await;
    worker.signal("TERM");
    assert_eq!(worker.ended().await, Some(0));
    let ended = Instant::now();
    gate.open();
    receiver.wait_for(20).await;
    println!("taken over {:?} after the end", ended.elapsed());
    // The aim is a second or two; a machine that does much else at the same time may need more.
    assert!(ended.elapsed() < Duration::from_secs(5), "{:?}", ended.elapsed());
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(other.stop(), Some(0));
    assert_nobody_is_left(&redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_for_its_turn_is_attempted_by_another_while_the_first_finishes() {
    let redis = RedisServer::start();
    let (receiver, gate) = receiver().await;
    let mut worker = Worker::start(&redis, &[]).await;
    // Of a receiver that hangs, four are in flight; the others wait in the process for a while.
    good(&redis, &receiver, 4).await.push(&redis, 7).await;
    receiver.wait_for(4).await;
    until("all to be read", || async { redis.pending("webhooks").await == 7 }).await;
    worker.signal("TERM");
    let _other = Worker::start(&redis, &[]).await;
    let ids: std::collections::BTreeSet<_> =
        receiver.wait_for(7).await.iter().map(|request| request.id().to_owned()).collect();
    assert_eq!(ids.len(), 7, "each is attempted once");
    assert!(worker.is_running(), "it finishes what it began");
    gate.open();
    assert_eq!(worker.ended().await, Some(0));
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(receiver.count(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_stops_while_redis_is_away() {
    let mut redis = RedisServer::start_with(&crate::scene::DURABLE);
    let (receiver, gate) = receiver().await;
    let mut worker = Worker::start(&redis, &[]).await;
    good(&redis, &receiver, 5).await.push(&redis, 5).await;
    receiver.wait_for(5).await;
    redis.kill();
    gate.open();
    worker.signal("TERM");
    let told = Instant::now();
    assert_eq!(worker.ended().await, Some(0));
    println!("stopped {:?} after the signal, without redis", told.elapsed());
    assert!(told.elapsed() < Duration::from_secs(20), "{:?}", told.elapsed());
    redis.restart();
    let mut next = Worker::start(&redis, &[]).await;
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(receiver.count(), 10, "what could not be settled is repeated");
    assert_eq!(next.stop(), Some(0));
    assert_nobody_is_left(&redis).await;
}
