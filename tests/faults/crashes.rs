//! Workers that are killed: another takes over what they held, soon, and without repeating what was done.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::scene::Instances;
use crate::support::{Answer, Receiver, RedisServer, Worker, until};

const HELD: usize = 500;

/// From the kill of a worker until another has attempted all it held.
async fn takeover() -> Duration {
    let redis = RedisServer::start();
    let (receiver, works) = Receiver::hanging().await;
    let mut sales = Instances::holding(&redis, HELD, "sales", &receiver.url("/sales")).await;
    // Those that hang have half of it at most.
    let settings = [("WORKER_CONCURRENCY", "1200")];
    let mut worker = Worker::start(&redis, &settings).await;
    let pushed: BTreeSet<_> = sales.push(&redis, HELD).await.into_iter().collect();
    let first = receiver.wait_for(HELD).await;
    assert_eq!(first.iter().map(|request| request.id().to_owned()).collect::<BTreeSet<_>>(), pushed);
    let _other = Worker::start(&redis, &settings).await;
    works.store(true, Ordering::SeqCst);
    let killed = Instant::now();
    worker.kill();
    let received = receiver.wait_for(2 * HELD).await;
    let took = received.iter().map(|request| request.at).max().expect("some came").duration_since(killed);
    let again: BTreeSet<_> = received[HELD..].iter().map(|request| request.id().to_owned()).collect();
    assert_eq!(again, pushed);
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(receiver.count(), 2 * HELD);
    took
}

/// `TAKEOVER_RUNS=10 cargo test --test faults another_worker_takes_over -- --nocapture` prints the figures.
#[tokio::test(flavor = "multi_thread")]
async fn another_worker_takes_over_500_deliveries_of_a_killed_one() {
    let runs = std::env::var("TAKEOVER_RUNS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(1);
    let mut took = Vec::new();
    for _ in 0..runs {
        took.push(takeover().await);
    }
    took.sort();
    let (median, worst) = (took[took.len() / 2], took[took.len() - 1]);
    println!(
        "kill -9 of a worker with {HELD} deliveries in flight, all attempted by another: median {median:?}, worst {worst:?} of {runs}"
    );
    // The aim is 5 s; a machine that does much else at the same time may need more.
    assert!(worst < Duration::from_secs(15), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_event_that_a_killed_worker_held_what_arrived_a_while_ago_is_not_repeated() {
    let redis = RedisServer::start();
    let works = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&works);
    let receiver = Receiver::answering(move |request| match request.path.as_str() {
        "/sales" if !told.load(Ordering::SeqCst) => Answer::Stall(Vec::new()),
        _ => Answer::status(200),
    })
    .await;
    let mut sales = Instances::holding(&redis, 5, "sales", &receiver.url("/sales")).await;
    let settings = [
        ("WEBHOOK_GLOBAL_ENABLED", "true"),
        ("WEBHOOK_GLOBAL_URL", &receiver.url("/global")),
        ("WEBHOOK_EVENTS_CALL", "true"),
    ];
    let mut worker = Worker::start(&redis, &settings).await;
    sales.push(&redis, 5).await;
    receiver.wait_for(10).await;
    until("it to be noted that the global deliveries arrived", || async {
        redis.stray_keys().await.len() == 5
    })
    .await;
    let _next = Worker::start(&redis, &settings).await;
    works.store(true, Ordering::SeqCst);
    worker.kill();
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(receiver.received_on("/global").len(), 5, "what had arrived is not repeated");
    assert_eq!(receiver.received_on("/sales").len(), 10, "what was in flight is");
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_are_killed_one_after_the_other() {
    let redis = RedisServer::start();
    let (receiver, works) = Receiver::hanging().await;
    // The second holds what the first did, and as many of its own.
    let mut sales = Instances::holding(&redis, 40, "sales", &receiver.url("/sales")).await;
    let mut ids = BTreeSet::new();
    let mut workers = vec![Worker::start(&redis, &[]).await];
    // Twice: from the fourth takeover on they would be suspected of killing their workers.
    for round in 1..=2 {
        ids.extend(sales.push(&redis, 20).await);
        receiver.wait_for(receiver.count().max(20 * round)).await;
        workers.push(Worker::start(&redis, &[]).await);
        workers[round - 1].kill();
    }
    works.store(true, Ordering::SeqCst);
    ids.extend(sales.push(&redis, 1).await);
    // Those that the last worker had begun before the receiver worked would hang; a crash ends them.
    let _last = Worker::start(&redis, &[]).await;
    workers[2].kill();
    redis.until_settled().await;
    redis.assert_settled().await;
    let delivered: BTreeSet<_> = receiver.received().iter().map(|request| request.id().to_owned()).collect();
    assert!(delivered.is_superset(&ids));
    until("only the living worker to be left", || async { redis.consumers("webhooks").await.len() <= 1 })
        .await;
}
