//! A worker that is paused for longer than its lease: it has lost what it held, and settles none of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::{Answer, Gate, Receiver, RedisServer, Worker, until};

/// It goes to its instance and to the global webhook. Of an instance that hangs, four attempts are in flight at most,
/// so that these have one of their own.
const BOTH: &str = r#"{"event":"call","instance":"both"}"#;

/// `PAUSE_SECONDS=30 cargo test --test faults a_paused_worker` pauses it for 30 s.
fn pause() -> Duration {
    let seconds = std::env::var("PAUSE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(8))
}

/// Who holds each pending entry of the producers' stream.
async fn owners(redis: &RedisServer) -> HashMap<String, String> {
    let pending: Vec<(String, String, u64, u64)> =
        redis.command(&["XPENDING", "webhooks", "posthaste", "-", "+", "100"]).await;
    pending.into_iter().map(|(id, owner, ..)| (id, owner)).collect()
}

/// The first attempt of each delivery is held by one gate and fails at `/bad`, the next by another and is taken.
async fn receiver() -> (Receiver, Gate, Gate) {
    let (stale, fresh) = (Gate::closed(), Gate::closed());
    let (first, next) = (stale.clone(), fresh.clone());
    let seen = Arc::new(Mutex::new(HashMap::<(String, String), usize>::new()));
    let receiver = Receiver::answering(move |request| {
        let mut seen = seen.lock().expect("no receiver panicked");
        let times = seen.entry((request.path.clone(), request.id().to_owned())).or_default();
        *times += 1;
        match (*times, request.path.as_str()) {
            (1, "/bad") => Answer::status(500).behind(&first),
            (1, _) => Answer::status(200).behind(&first),
            _ => Answer::status(200).behind(&next),
        }
    })
    .await;
    (receiver, stale, fresh)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_worker_settles_nothing_that_is_not_its_own_any_more() {
    let redis = RedisServer::start();
    let (receiver, stale, fresh) = receiver().await;
    for instance in ["bad", "both"] {
        redis.set_url(instance, &receiver.url("/bad")).await;
    }
    redis.set_url("good", &receiver.url("/good")).await;
    let settings = [
        ("WEBHOOK_GLOBAL_ENABLED", "true"),
        ("WEBHOOK_GLOBAL_URL", &receiver.url("/global")),
        ("WEBHOOK_EVENTS_CALL", "true"),
        ("WEBHOOK_REQUEST_TIMEOUT_MS", "120000"),
    ];
    let mut paused = Worker::start(&redis, &settings).await;
    let (mut bad, mut good, mut both) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..3 {
        bad.push(redis.push(r#"{"event":"messages.upsert","instance":"bad"}"#).await);
        good.push(redis.push(r#"{"event":"messages.upsert","instance":"good"}"#).await);
        both.push(redis.push(BOTH).await);
    }
    receiver.wait_for(12).await;
    let mut other = Worker::start(&redis, &settings).await;
    let began = Instant::now();
    paused.signal("STOP");
    receiver.wait_for(24).await;
    println!("taken over {:?} after the pause began", began.elapsed());
    let owner = owners(&redis).await.remove(&bad[0]).unwrap();
    assert!(owner.contains(&format!("-{}-", other.pid())), "{owner}");
    // Events that come meanwhile are the other's.
    let meanwhile = redis.push(r#"{"event":"messages.upsert","instance":"good"}"#).await;
    receiver.wait_for_of(&meanwhile, 1).await;
    // The replies to its stale attempts wait for it.
    stale.open();
    tokio::time::sleep_until((began + pause()).into()).await;
    paused.signal("CONT");
    until("it to take a new name", || async { paused.log().contains("going on under a new name") }).await;
    until("its stale failures to be refused", || async {
        paused.log().matches("another worker owns the entry now").count() >= 6
    })
    .await;
    // Its successes are accepted: they did arrive.
    until("its stale successes to be settled", || async {
        let owners = owners(&redis).await;
        !good.iter().any(|id| owners.contains_key(id))
    })
    .await;
    let owners = owners(&redis).await;
    for id in bad.iter().chain(&both) {
        assert_eq!(owners.get(id), Some(&owner), "it is the other worker's still");
    }
    assert_eq!(redis.waiting().await, 0, "no stale failure is recorded");
    assert_eq!(redis.counter("retried").await, 0);
    fresh.open();
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(redis.letters().await.len(), 0);
    assert_eq!(receiver.count(), 25, "nothing is attempted a third time");

    // It goes on.
    assert_eq!(other.stop(), Some(0));
    for count in 1..=5 {
        let id = redis.push(r#"{"event":"messages.upsert","instance":"good"}"#).await;
        receiver.wait_for_of(&id, 1).await;
        assert_eq!(receiver.count(), 25 + count);
    }
    redis.until_settled().await;
    assert!(paused.is_running());
    until("only its new name to be left", || async {
        redis.consumers("webhooks").await.len() == 1 && redis.consumers("{webhooks}:ready").await.len() <= 1
    })
    .await;
    assert!(paused.warnings().len() <= 12, "{}", paused.warnings().join("\n"));
}

/// What a worker read just before it was reaped, under its old name, is not left lying until strays are looked for.
#[tokio::test(flavor = "multi_thread")]
async fn workers_that_are_paused_again_and_again_deliver_everything_soon() {
    let redis = RedisServer::start();
    let receiver = Receiver::start().await;
    redis.set_url("sales", &receiver.url("/sales")).await;
    let paused = Worker::start(&redis, &[]).await;
    let _other = Worker::start(&redis, &[]).await;
    let mut ids = Vec::new();
    let mut slowest = Duration::ZERO;
    for _ in 0..2 {
        paused.signal("STOP");
        let name = format!("-{}-", paused.pid());
        until("it to be reaped", || async {
            let workers: Vec<String> = redis.command(&["ZRANGE", "{webhooks}:workers", "0", "-1"]).await;
            !workers.iter().any(|worker| worker.contains(&name))
        })
        .await;
        paused.signal("CONT");
        // It finds them before it finds that it was reaped.
        let pushed = Instant::now();
        for _ in 0..50 {
            ids.push(redis.push(r#"{"event":"call","instance":"sales"}"#).await);
        }
        redis.until_settled().await;
        slowest = slowest.max(pushed.elapsed());
    }
    redis.assert_settled().await;
    println!("slowest round {slowest:?}");
    for id in &ids {
        assert!(!receiver.received_of(id).is_empty());
    }
    assert!(slowest < Duration::from_secs(15), "{slowest:?}");
}
