//! Faults while deliveries are parked: hundreds wait for one receiver that is down, or are just coming back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::scene::{DURABLE, SECOND_WAITS};
use crate::support::{Answer, Receiver, RedisServer, Worker, until};

const ENVELOPE: &str = r#"{"event":"call","instance":"sales"}"#;
const COUNT: usize = 300;
/// How long the receiver takes for each, so that it is a while until all have come back.
const TAKES: Duration = Duration::from_millis(40);
/// How many have come back when the fault strikes: some, and far from all.
const SOME: usize = 30;

/// One receiver that is down, and what waits for it.
struct Scene {
    redis: RedisServer,
    receiver: Receiver,
    up: Arc<AtomicBool>,
    /// How often each event was taken.
    taken: Arc<Mutex<BTreeMap<String, usize>>>,
    ids: BTreeSet<String>,
}

impl Scene {
    /// Hundreds of events for a receiver that is down, and no worker yet.
    async fn pushed(redis: RedisServer) -> Self {
        let (up, taken) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(BTreeMap::new())));
        let (is_up, record) = (Arc::clone(&up), Arc::clone(&taken));
        let receiver = Receiver::answering(move |request| {
            let is_up = is_up.load(Ordering::SeqCst);
            if is_up {
                let mut taken = record.lock().expect("nobody panicked");
                *taken.entry(request.id().to_owned()).or_insert(0) += 1;
            }
            Answer::status(if is_up { 200 } else { 500 }).later(TAKES)
        })
        .await;
        let mut scene = Self { redis, receiver, up, taken, ids: BTreeSet::new() };
        scene.hook().await;
        scene.push(COUNT).await;
        scene
    }

    async fn hook(&self) {
        self.redis.set_url("sales", &self.receiver.url("/sales")).await;
    }

    async fn push(&mut self, count: usize) {
        for _ in 0..count {
            self.ids.insert(self.redis.push(ENVELOPE).await);
        }
    }

    async fn worker(&self) -> Worker {
        Worker::start(&self.redis, &SECOND_WAITS).await
    }

    async fn parked(&self) -> usize {
        self.redis.command(&["ZCARD", "{webhooks}:park:instance:sales"]).await
    }

    /// Waits until all but a few of them are parked: those that were attempted may be in backoff.
    async fn until_parked(&self) {
        until("them to be parked", || async {
            self.redis.len("webhooks").await == 0 && self.parked().await + 20 >= COUNT
        })
        .await;
    }

    /// How many commands Redis has been asked so far.
    async fn commands(&self) -> u64 {
        let info: String = self.redis.command(&["INFO", "stats"]).await;
        let total = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
        total.and_then(|total| total.trim().parse().ok()).expect("a number")
    }

    fn taken(&self) -> BTreeMap<String, usize> {
        self.taken.lock().expect("nobody panicked").clone()
    }

    /// The receiver is up; waits until some have come back, while others are parked still.
    async fn until_some_are_back(&self) {
        self.up.store(true, Ordering::SeqCst);
        until("some to come back", || async { self.taken().len() >= SOME }).await;
        assert!(self.parked().await > 0, "some are parked still");
    }

    /// Waits until nothing is left over; everything was delivered then, `again` of it twice at most.
    async fn until_all_are_back(&self, again: usize) {
        self.up.store(true, Ordering::SeqCst);
        self.redis.until_settled().await;
        self.redis.assert_settled().await;
        assert_eq!(self.redis.letters().await.len(), 0, "no dead letters");
        let taken = self.taken();
        let missing: Vec<_> = self.ids.iter().filter(|id| !taken.contains_key(*id)).collect();
        assert!(missing.is_empty(), "{} were never delivered: {missing:?}", missing.len());
        let twice: usize = taken.values().map(|times| times - 1).sum();
        assert!(twice <= again, "{twice} were delivered again, and {again} may have been");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_killed_while_the_parked_come_back() {
    let scene = Scene::pushed(RedisServer::start()).await;
    let mut worker = scene.worker().await;
    scene.until_parked().await;
    scene.until_some_are_back().await;
    worker.kill();
    // What it held is all that can be repeated: the others were settled, or never left the park.
    let held = scene.redis.pending("{webhooks}:ready").await;
    assert!(held > 0, "it is killed amid it");
    let parked = scene.parked().await;
    println!("killed with {held} in its hands and {parked} parked");
    let _next = scene.worker().await;
    scene.until_all_are_back(held as usize).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_workers_is_killed_while_the_parked_come_back() {
    let scene = Scene::pushed(RedisServer::start()).await;
    let mut first = scene.worker().await;
    let mut second = scene.worker().await;
    scene.until_parked().await;
    scene.until_some_are_back().await;
    first.kill();
    let held = scene.redis.pending("{webhooks}:ready").await;
    scene.until_all_are_back(held as usize).await;
    assert!(second.is_running());
    // While one attempt of an event is under way, there is no other.
    let mut received = scene.receiver.received();
    received.sort_by_key(|request| request.at);
    let mut last = BTreeMap::new();
    for request in &received {
        if let Some(before) = last.insert(request.id().to_owned(), request.at) {
            let between = request.at.duration_since(before);
            assert!(between >= TAKES, "{} was attempted again after {between:?}", request.id());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_crashes_while_deliveries_are_parked() {
    let mut scene = Scene::pushed(RedisServer::start_with(&DURABLE)).await;
    let mut worker = scene.worker().await;
    scene.until_parked().await;
    scene.redis.kill();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    scene.redis.restart();
    assert!(scene.parked().await + 20 >= COUNT, "they are parked still");
    scene.push(5).await;
    // A second one while they come back.
    scene.until_some_are_back().await;
    scene.redis.kill();
    tokio::time::sleep(Duration::from_millis(500)).await;
    scene.redis.restart();
    assert!(scene.parked().await > 0, "some are parked still");
    scene.push(5).await;
    // What had arrived is settled late, not repeated.
    scene.until_all_are_back(0).await;
    assert!(worker.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_wiped_while_deliveries_are_parked() {
    let mut scene = Scene::pushed(RedisServer::start()).await;
    let mut worker = scene.worker().await;
    scene.until_parked().await;
    let _: redis::Value = scene.redis.command(&["FLUSHALL"]).await;
    scene.ids.clear();
    scene.hook().await;
    // The receiver is down still: these are parked anew.
    scene.push(50).await;
    until("the new ones to be parked", || async { scene.parked().await > 0 }).await;
    // And another time while they come back.
    scene.up.store(true, Ordering::SeqCst);
    until("some to come back", || async { !scene.taken().is_empty() }).await;
    let _: redis::Value = scene.redis.command(&["FLUSHALL"]).await;
    scene.ids.clear();
    scene.hook().await;
    scene.push(50).await;
    scene.until_all_are_back(0).await;
    // A worker that looked for what is gone, again and again, would be seen by what it asks Redis.
    let before = scene.commands().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let asked = scene.commands().await - before;
    assert!(asked < 100, "{asked} commands in two idle seconds");
    assert!(worker.is_running());
    assert!(worker.warnings().len() <= 24, "{}", worker.warnings().join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_full_while_deliveries_are_parked_and_come_back() {
    let mut scene = Scene::pushed(RedisServer::start()).await;
    let full = async |redis: &RedisServer, bytes: &str| {
        let _: redis::Value = redis.command(&["CONFIG", "SET", "maxmemory", bytes]).await;
    };
    full(&scene.redis, "1").await;
    let push = scene.redis.try_command::<String>(&["XADD", "webhooks", "*", "payload", ENVELOPE]).await;
    assert!(push.is_err(), "no event is taken");
    let mut first = scene.worker().await;
    scene.until_parked().await;
    // The next knows of what is parked from Redis alone.
    first.kill();
    let mut worker = scene.worker().await;
    scene.until_all_are_back(0).await;
    full(&scene.redis, "0").await;
    scene.push(5).await;
    scene.until_all_are_back(0).await;
    assert!(worker.is_running());
    assert!(worker.warnings().len() <= 24, "{}", worker.warnings().join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_is_paused_while_the_parked_come_back() {
    let mut scene = Scene::pushed(RedisServer::start()).await;
    let mut paused = scene.worker().await;
    scene.until_parked().await;
    scene.until_some_are_back().await;
    paused.signal("STOP");
    // Requests that it had sent before.
    tokio::time::sleep(TAKES * 3).await;
    let before = scene.taken();
    let other = scene.worker().await;
    scene.until_all_are_back(before.len()).await;
    paused.signal("CONT");
    until("it to take a new name", || async { paused.log().contains("going on under a new name") }).await;
    scene.push(20).await;
    scene.until_all_are_back(before.len()).await;
    // Of what waited in it when it was paused it has attempted nothing.
    let taken = scene.taken();
    let twice: Vec<_> = taken.iter().filter(|(id, times)| **times > 1 && !before.contains_key(*id)).collect();
    assert!(twice.is_empty(), "delivered by both: {twice:?}");
    assert!(taken.values().all(|times| *times <= 2), "{taken:?}");
    assert!(paused.is_running());
    assert_eq!(other.warnings().iter().filter(|line| line.contains("ERROR")).count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn all_connections_are_cut_while_the_parked_come_back() {
    let scene = Scene::pushed(RedisServer::start()).await;
    let mut worker = scene.worker().await;
    scene.until_parked().await;
    scene.until_some_are_back().await;
    for _ in 0..10 {
        let kill = ["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"];
        let _: redis::Value = scene.redis.command(&kill).await;
        tokio::time::sleep(TAKES).await;
    }
    let began = std::time::Instant::now();
    scene.until_all_are_back(0).await;
    println!("all were back {:?} after the last cut", began.elapsed());
    assert!(worker.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_stops_while_the_parked_come_back() {
    let scene = Scene::pushed(RedisServer::start()).await;
    let mut worker = scene.worker().await;
    scene.until_parked().await;
    scene.until_some_are_back().await;
    worker.signal("TERM");
    assert_eq!(worker.ended().await, Some(0));
    assert!(scene.parked().await > 0, "it leaves them where they are");
    let _next = scene.worker().await;
    scene.until_all_are_back(0).await;
}
