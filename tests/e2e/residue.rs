//! Residue: when all is settled, Redis holds nothing of it, and the totals add up.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use posthaste::store::Replayed;

use crate::support::{Answer, Received, Receiver, RedisServer, Worker, until};

/// How one destination treats an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Fate {
    /// The event does not go there.
    Absent,
    /// Taken at once.
    Taken,
    /// Taken, but only after all retries elsewhere.
    TakenLate,
    /// Refused twice, then taken.
    Flaky,
    /// Refused twice, late each time, then taken.
    FlakyLate,
    /// Refused for good at once.
    Rejected,
    /// Refused for good, late.
    RejectedLate,
    /// Failed until the attempts are used up.
    Exhausted,
}

use Fate::{Absent, Exhausted, Flaky, FlakyLate, Rejected, RejectedLate, Taken, TakenLate};

const FATES: [Fate; 7] = [Taken, TakenLate, Flaky, FlakyLate, Rejected, RejectedLate, Exhausted];
/// Long enough for the retries of another destination to be through.
const LATE: Duration = Duration::from_millis(250);
const MAX_ATTEMPTS: u64 = 4;

impl Fate {
    fn answer(self, attempt: u32) -> Answer {
        match self {
            Absent => panic!("the event does not go here"),
            Taken => Answer::status(200),
            TakenLate => Answer::status(200).later(LATE),
            Flaky => Answer::status(if attempt < 3 { 500 } else { 200 }),
            FlakyLate => Flaky.answer(attempt).later(LATE),
            Rejected => Answer::status(404),
            RejectedLate => Answer::status(404).later(LATE),
            Exhausted => Answer::status(500),
        }
    }

    /// Deliveries that arrive, attempts that are repeated, and dead letters.
    fn totals(self) -> [u64; 3] {
        match self {
            Absent => [0, 0, 0],
            Taken | TakenLate => [1, 0, 0],
            Flaky | FlakyLate => [1, 2, 0],
            Rejected | RejectedLate => [0, 0, 1],
            Exhausted => [0, MAX_ATTEMPTS - 1, 1],
        }
    }
}

/// Events of every combination of fates, by their ids.
fn fates() -> HashMap<String, (Fate, Fate)> {
    let mut all = HashMap::new();
    let with_absent = || FATES.into_iter().chain([Absent]);
    for global in with_absent() {
        for instance in with_absent().filter(|instance| (global, *instance) != (Absent, Absent)) {
            for n in 0..2 {
                all.insert(format!("{global:?}-{instance:?}-{n}"), (global, instance));
            }
        }
    }
    all
}

struct Scene {
    redis: RedisServer,
    receiver: Receiver,
    fates: Arc<HashMap<String, (Fate, Fate)>>,
    mended: Arc<AtomicBool>,
}

impl Scene {
    async fn new() -> Self {
        let redis = RedisServer::start();
        let fates = Arc::new(fates());
        let mended = Arc::new(AtomicBool::new(false));
        let (known, is_mended) = (Arc::clone(&fates), Arc::clone(&mended));
        let receiver = Receiver::answering(move |request| {
            let Some(&(global, instance)) = known.get(request.id()) else {
                return Answer::status(200);
            };
            if is_mended.load(Ordering::SeqCst) {
                return Answer::status(200);
            }
            let fate = if request.path == "/global" { global } else { instance };
            fate.answer(request.attempt())
        })
        .await;
        redis.set_webhook("sales", &format!(r#"{{"url":"{}"}}"#, receiver.url("/sales"))).await;
        Self { redis, receiver, fates, mended }
    }

    async fn worker(&self) -> Worker {
        let global = self.receiver.url("/global");
        let max_attempts = MAX_ATTEMPTS.to_string();
        let settings = [
            ("WEBHOOK_GLOBAL_ENABLED", "true"),
            ("WEBHOOK_GLOBAL_URL", global.as_str()),
            ("WEBHOOK_EVENTS_G", "true"),
            ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.03"),
            // Also the longest between the probes of a breaker: so many fail here that one may open.
            ("WEBHOOK_RETRY_MAX_DELAY_SECONDS", "0.2"),
            ("WEBHOOK_RETRY_MAX_ATTEMPTS", max_attempts.as_str()),
        ];
        Worker::start(&self.redis, &settings).await
    }

    /// Pushes every event, in no order.
    async fn push_all(&self) {
        for (id, (global, instance)) in self.fates.iter() {
            let event = if *global == Absent { "none" } else { "g" };
            let instance = if *instance == Absent { "null" } else { "\"sales\"" };
            let envelope = format!(r#"{{"event":"{event}","instance":{instance},"data":"{id}"}}"#);
            self.redis.push_with_id(id, &envelope).await;
        }
    }

    /// The totals that every event's fate adds up to: delivered, retried, dead.
    fn totals(&self) -> [u64; 3] {
        let mut sums = [0; 3];
        for fate in self.fates.values().flat_map(|(global, instance)| [global, instance]) {
            for (sum, number) in sums.iter_mut().zip(fate.totals()) {
                *sum += number;
            }
        }
        sums
    }

    /// Whether each delivery that is to arrive did.
    fn all_arrived(&self) -> bool {
        let received = self.receiver.received();
        let came = |id: &str, path: &str, fate: Fate| {
            fate.totals()[0] == 0
                || received.iter().any(|request: &Received| {
                    request.id() == id
                        && request.path == path
                        && (request.attempt() == 3 || !matches!(fate, Flaky | FlakyLate))
                })
        };
        self.fates
            .iter()
            .all(|(id, (global, instance))| came(id, "/global", *global) && came(id, "/sales", *instance))
    }
}

#[tokio::test]
async fn whatever_became_of_events_nothing_of_them_is_left() {
    let scene = Scene::new().await;
    let redis = &scene.redis;
    let mut workers = [scene.worker().await, scene.worker().await];
    scene.push_all().await;
    redis.push("no envelope").await;
    for _ in 0..3 {
        redis.push(r#"{"event":"nobody.wants"}"#).await;
    }
    redis.until_settled().await;
    let [delivered, retried, dead] = scene.totals();
    assert!(scene.all_arrived());
    redis.assert_settled().await;
    let dead = dead + 1;
    until("the totals to be recorded", || async {
        redis.counter("dead").await == dead && redis.counter("delivered").await == delivered
    })
    .await;
    let counters = redis.counters().await;
    assert_eq!(counters["delivered"], delivered);
    assert_eq!(counters["retried"], retried);
    assert_eq!(counters["dead"], dead);
    assert_eq!(counters["unrouted"], 3);
    let letters = redis.letters().await;
    assert_eq!(letters.len() as u64, dead);
    // The unreadable entry was no attempt.
    let attempts = delivered + retried + dead - 1;
    assert_eq!(scene.receiver.count() as u64, attempts);

    // Replays leave nothing behind, either.
    scene.mended.store(true, Ordering::SeqCst);
    for letter in letters.iter().filter(|letter| !letter.text("destination").is_empty()) {
        assert_eq!(redis.store().replay(&letter.key).await.unwrap(), Replayed::Sent);
    }
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(redis.letters().await.len(), 1);
    until("the totals to be recorded", || async { redis.counter("delivered").await == delivered + dead - 1 })
        .await;
    assert_eq!(redis.counter("dead").await, dead);

    // Nor do the workers themselves.
    for worker in &mut workers {
        assert_eq!(worker.stop(), Some(0));
    }
    for stream in ["webhooks", "{webhooks}:ready"] {
        assert_eq!(redis.consumers(stream).await, Vec::<String>::new(), "{stream}");
    }
    assert_eq!(
        redis.keys().await,
        [
            "webhooks",
            "{webhooks}:attempts",
            "{webhooks}:counters",
            "{webhooks}:dead",
            "{webhooks}:ready",
            "{webhooks}:webhooks",
            "{webhooks}:webhooks:version",
        ]
    );
}

#[tokio::test]
async fn where_all_went_well_there_is_no_key_for_what_failed() {
    let redis = RedisServer::start();
    let receiver = Receiver::start().await;
    redis.set_webhook("sales", &format!(r#"{{"url":"{}"}}"#, receiver.url("/"))).await;
    let mut worker = Worker::start(&redis, &[]).await;
    for _ in 0..50 {
        redis.push(r#"{"event":"x","instance":"sales"}"#).await;
    }
    receiver.wait_for(50).await;
    redis.until_settled().await;
    assert_eq!(worker.stop(), Some(0));
    assert_eq!(
        redis.keys().await,
        [
            "webhooks",
            "{webhooks}:attempts",
            "{webhooks}:counters",
            "{webhooks}:ready",
            "{webhooks}:webhooks",
            "{webhooks}:webhooks:version",
        ]
    );
    assert_eq!(redis.counters().await, HashMap::from([("delivered".to_owned(), 50)]));
    assert_eq!(receiver.count(), 50);
}

#[tokio::test]
async fn what_a_killed_worker_had_begun_is_finished_and_leaves_nothing() {
    let scene = Scene::new().await;
    let redis = &scene.redis;
    let mut killed = scene.worker().await;
    scene.push_all().await;
    // In the midst of it: some are settled, some wait, some are in flight.
    until("some events to be settled", || async {
        redis.len("webhooks").await < scene.fates.len() as u64 / 2
    })
    .await;
    killed.kill();
    let mut worker = scene.worker().await;
    until("the killed worker to be replaced", || async {
        let workers: Vec<String> = redis.command(&["ZRANGE", "{webhooks}:workers", "0", "-1"]).await;
        workers.len() == 1
    })
    .await;
    redis.until_settled().await;
    redis.assert_settled().await;
    assert!(scene.all_arrived(), "nothing is lost");
    let mut dead: Vec<String> = redis
        .letters()
        .await
        .iter()
        .map(|letter| format!("{} {}", letter.text("id"), letter.text("destination")))
        .collect();
    dead.sort();
    let mut expected = Vec::new();
    for (id, (global, instance)) in scene.fates.iter() {
        for (fate, destination) in [(global, "global"), (instance, "instance:sales")] {
            if fate.totals()[2] == 1 {
                expected.push(format!("{id} {destination}"));
            }
        }
    }
    expected.sort();
    assert_eq!(dead, expected, "each that was given up has one dead letter");
    assert_eq!(worker.stop(), Some(0));
    for stream in ["webhooks", "{webhooks}:ready"] {
        assert_eq!(redis.consumers(stream).await, Vec::<String>::new(), "{stream}");
    }
    assert!(!redis.keys().await.contains(&"{webhooks}:workers".to_owned()));
}
