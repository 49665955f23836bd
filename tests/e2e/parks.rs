//! Parks: what waits for its destination in Redis, and every way it leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use posthaste::model::Destination;
use posthaste::store::{Taken, Unpark, Which};

use crate::support::{Answer, Receiver, RedisServer, Worker, until};

const ENVELOPE: &str = r#"{"event":"call","instance":"sales"}"#;
/// A receiver that is down is not asked again while a test lasts, and no retry comes due.
const LONG_WAITS: [(&str, &str); 2] =
    [("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "60"), ("WEBHOOK_RETRY_MAX_DELAY_SECONDS", "60")];

/// A receiver that is down, with twenty deliveries: five in backoff (or a few more), the others parked.
struct Scene {
    redis: RedisServer,
    receiver: Receiver,
    status: Arc<AtomicU16>,
    worker: Worker,
    ids: Vec<String>,
}

impl Scene {
    async fn parked(settings: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start();
        let (receiver, status) = Receiver::switchable(500).await;
        redis.set_url("sales", &receiver.url("/sales")).await;
        let worker = Worker::start(&redis, settings).await;
        let mut ids = Vec::new();
        for _ in 0..20 {
            ids.push(redis.push(ENVELOPE).await);
        }
        let scene = Self { redis, receiver, status, worker, ids };
        until("the rest to be parked", || async {
            scene.parked_now().await > 0 && scene.parked_now().await + scene.redis.waiting().await == 20
        })
        .await;
        assert!(scene.parked_now().await >= 11, "{} are parked", scene.parked_now().await);
        scene
    }

    async fn parked_now(&self) -> u64 {
        self.redis.command(&["ZCARD", "{webhooks}:park:instance:sales"]).await
    }

    /// All are dead for this reason, and nothing is left over.
    async fn all_dead(&self, reason: &str) {
        self.redis.until_settled().await;
        self.redis.assert_settled().await;
        let letters = self.redis.letters().await;
        let of_reason = letters.iter().filter(|letter| letter.text("reason") == reason).count();
        assert_eq!((letters.len(), of_reason), (20, 20), "{letters:#?}");
        assert!(letters.iter().all(|letter| letter.bytes("payload") == ENVELOPE.as_bytes()));
    }

    /// All arrived, and nothing is left over.
    async fn all_arrived(&self, before: usize) {
        self.redis.until_settled().await;
        self.redis.assert_settled().await;
        assert!(self.redis.dead().await.is_empty());
        let mut arrived: Vec<String> =
            self.receiver.received()[before..].iter().map(|request| request.id().to_owned()).collect();
        arrived.sort();
        let mut ids = self.ids.clone();
        ids.sort();
        assert_eq!(arrived, ids, "each arrived once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_webhook_that_is_removed_or_switched_off_is_given_up_at_once() {
    for switched_off in [true, false] {
        let scene = Scene::parked(&LONG_WAITS).await;
        if switched_off {
            let url = scene.receiver.url("/sales");
            scene.redis.set_webhook("sales", &format!(r#"{{"enabled":false,"url":"{url}"}}"#)).await;
        } else {
            scene.redis.delete_webhook("sales").await;
        }
        scene.all_dead("removed").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_receiver_that_is_gone_is_given_up_at_once() {
    let redis = RedisServer::start();
    let (receiver, status) = Receiver::switchable(500).await;
    redis.set_url("sales", &receiver.url("/sales")).await;
    let settings = [("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "1"), ("WEBHOOK_RETRY_MAX_DELAY_SECONDS", "60")];
    let _worker = Worker::start(&redis, &settings).await;
    for _ in 0..50 {
        redis.push(ENVELOPE).await;
    }
    receiver.wait_for(5).await;
    status.store(410, Ordering::SeqCst);
    redis.until_settled().await;
    redis.assert_settled().await;
    let letters = redis.letters().await;
    assert_eq!(letters.len(), 50);
    assert!(letters.iter().all(|letter| letter.text("reason") == "gone"), "{letters:#?}");
    assert_eq!(redis.webhook("sales").await["enabled"], false);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_corrected_rescues_what_waits_at_once() {
    let scene = Scene::parked(&LONG_WAITS).await;
    let before = scene.receiver.count();
    scene.status.store(200, Ordering::SeqCst);
    scene.redis.set_url("sales", &scene.receiver.url("/corrected")).await;
    let began = std::time::Instant::now();
    until("what was parked to arrive", || async { scene.parked_now().await == 0 }).await;
    println!("what was parked arrived {:?} after the correction", began.elapsed());
    scene.redis.end_all_waits().await;
    scene.all_arrived(before).await;
    assert_eq!(scene.receiver.received_on("/corrected").len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_outlives_the_worker_that_parked_it() {
    for signal in ["TERM", "KILL"] {
        let mut scene = Scene::parked(&LONG_WAITS).await;
        let before = scene.receiver.count();
        scene.worker.signal(signal);
        scene.worker.ended().await;
        scene.status.store(200, Ordering::SeqCst);
        // The minute is over.
        let _: u64 = scene.redis.command(&["ZADD", "{webhooks}:parks", "0", "instance:sales"]).await;
        scene.redis.end_all_waits().await;
        let _next = Worker::start(&scene.redis, &LONG_WAITS).await;
        scene.all_arrived(before).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_too_long_expires_without_another_attempt() {
    let settings = [
        ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "1"),
        ("WEBHOOK_RETRY_MAX_DELAY_SECONDS", "1"),
        ("WEBHOOK_RETRY_MAX_AGE_SECONDS", "4"),
    ];
    let scene = Scene::parked(&settings).await;
    scene.redis.until_settled().await;
    scene.redis.assert_settled().await;
    let letters = scene.redis.letters().await;
    assert_eq!(letters.len(), 20);
    let never_tried = letters.iter().filter(|letter| letter.number("attempts") == 0).count();
    assert!(never_tried >= 5, "{never_tried} were never attempted");
    assert!(letters.iter().all(|letter| letter.text("reason") == "expired"), "{letters:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_come_back_first() {
    let settings = [
        ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "1"),
        ("WEBHOOK_RETRY_JITTER_FACTOR", "0"),
        ("WORKER_CONCURRENCY", "2"),
    ];
    let scene = Scene::parked(&settings).await;
    let before = scene.receiver.count();
    let parked: Vec<String> =
        scene.redis.command(&["ZRANGE", "{webhooks}:park:instance:sales", "0", "-1"]).await;
    scene.status.store(200, Ordering::SeqCst);
    scene.all_arrived(before).await;
    // One attempt at a time: they arrive as they were pushed, but for those that were in backoff.
    let received = scene.receiver.received();
    let arrived = received[before..].iter().map(|request| request.id().to_owned());
    let arrived: Vec<String> = arrived.filter(|id| parked.contains(id)).collect();
    assert_eq!(arrived, parked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_refuses_some_events_gets_the_others_though_the_oldest_are_those_it_refuses() {
    let redis = RedisServer::start();
    let receiver =
        Receiver::answering(|request| Answer::status(if request.text().contains("bad") { 500 } else { 200 }))
            .await;
    redis.set_url("sales", &receiver.url("/sales")).await;
    for (event, count) in [("bad", 30), ("good", 5)] {
        for _ in 0..count {
            redis.push(&format!(r#"{{"event":"{event}","instance":"sales"}}"#)).await;
        }
    }
    // Which of the later ones a probe is made with is chance: with many probes it is none.
    let settings = [
        ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.2"),
        ("WEBHOOK_RETRY_MAX_DELAY_SECONDS", "0.2"),
        ("WEBHOOK_RETRY_MAX_ATTEMPTS", "1000"),
    ];
    let _worker = Worker::start(&redis, &settings).await;
    until("some good ones to arrive past all that are refused", || async {
        let arrived = receiver.received().iter().filter(|request| request.text().contains("good")).count();
        arrived >= 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_from_further_back_is_handed_out_by_its_place() {
    let redis = RedisServer::start();
    let store = redis.store();
    store.create_group().await.unwrap();
    let (park, destination) = ("{webhooks}:park:instance:sales", Destination::Instance("sales".into()));
    for n in 1..=100 {
        let _: u64 = redis.command(&["ZADD", park, &n.to_string(), &format!("{n}-0")]).await;
    }
    for (power, expected) in [(0.0, "100-0"), (0.5, "91-0"), (0.9999, "2-0")] {
        let ask = Unpark {
            worker: "w",
            destination: &destination,
            which: Which::Late(power),
            expired_before_ms: 0,
            most_expired: 64,
            wait: None,
        };
        let unparked = store.unpark(&ask).await.unwrap();
        let [Taken::Due { delivery: Some((key, _)), .. }] = &unparked.entries[..] else {
            panic!("{unparked:?}")
        };
        assert_eq!(key.as_str(), expected);
        let _: u64 = redis.command(&["ZADD", park, expected.split('-').next().unwrap(), expected]).await;
    }
    // What has expired goes first.
    let ask = Unpark {
        worker: "w",
        destination: &destination,
        which: Which::Late(0.0),
        expired_before_ms: 3,
        most_expired: 64,
        wait: None,
    };
    let unparked = store.unpark(&ask).await.unwrap();
    assert_eq!((unparked.entries.len(), unparked.expired, unparked.left), (2, 2, 98));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_destinations_of_one_event_are_parked_and_come_back_each_by_itself() {
    let redis = RedisServer::start();
    let (receiver, status) = Receiver::switchable(500).await;
    redis.set_url("sales", &receiver.url("/sales")).await;
    let global = receiver.url("/global");
    let settings = [
        ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.5"),
        ("WEBHOOK_RETRY_MAX_DELAY_SECONDS", "1"),
        ("WEBHOOK_GLOBAL_ENABLED", "true"),
        ("WEBHOOK_GLOBAL_URL", &global),
        ("WEBHOOK_EVENTS_CALL", "true"),
    ];
    let _worker = Worker::start(&redis, &settings).await;
    for _ in 0..40 {
        redis.push(ENVELOPE).await;
    }
    until("both to be parked", || async {
        let parks: u64 = redis.command(&["ZCARD", "{webhooks}:parks"]).await;
        parks == 2 && redis.len("webhooks").await == 0
    })
    .await;
    let before = receiver.count();
    status.store(200, Ordering::SeqCst);
    redis.until_settled().await;
    redis.assert_settled().await;
    assert!(redis.dead().await.is_empty());
    for path in ["/sales", "/global"] {
        let arrived = receiver.received()[before..].iter().filter(|request| request.path == path).count();
        assert_eq!(arrived, 40, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_instances_that_are_removed_at_once_hold_nothing_up() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|request| {
        Answer::status(if request.path == "/good" { 200 } else { 500 }).later(Duration::from_millis(1))
    })
    .await;
    redis.set_url("good", &receiver.url("/good")).await;
    let _worker = Worker::start(&redis, &LONG_WAITS).await;
    for n in 0..100 {
        let instance = format!("gone-{n}");
        redis.set_url(&instance, &receiver.url("/gone")).await;
        for _ in 0..10 {
            redis.push(&format!(r#"{{"event":"call","instance":"{instance}"}}"#)).await;
        }
    }
    until("everything to wait", || async { redis.len("webhooks").await == 0 }).await;
    for n in 0..100 {
        redis.delete_webhook(&format!("gone-{n}")).await;
    }
    let id = redis.push(r#"{"event":"call","instance":"good"}"#).await;
    receiver.wait_for_of(&id, 1).await;
    redis.until_settled().await;
    redis.assert_settled().await;
    let letters = redis.letters().await;
    assert_eq!(letters.len(), 1000);
    assert!(letters.iter().all(|letter| letter.text("reason") == "removed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_tells_once_of_a_removal_however_long_it_takes_to_give_up_what_is_parked() {
    let redis = RedisServer::start();
    let (receiver, _) = Receiver::switchable(500).await;
    redis.set_url("sales", &receiver.url("/sales")).await;
    // More than are given up in one turn.
    let push: Vec<String> =
        ["EVAL".into(), "for i = 1, 6000 do redis.call('XADD', KEYS[1], '*', 'payload', ARGV[1]) end".into()]
            .into_iter()
            .chain(["1".into(), "webhooks".into(), ENVELOPE.into()])
            .collect();
    let worker = Worker::start(&redis, &LONG_WAITS).await;
    let _: redis::Value = redis.command(&push).await;
    until("everything to wait", || async { redis.len("webhooks").await == 0 }).await;
    redis.delete_webhook("sales").await;
    redis.until_settled().await;
    let told = worker.warnings().iter().filter(|line| line.contains("its webhook is gone")).count();
    assert_eq!(told, 1, "{:#?}", worker.warnings());
}

#[tokio::test(flavor = "multi_thread")]
async fn destinations_that_wait_for_their_turn_cost_redis_next_to_nothing() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let url = receiver.url("/sales");
    for n in 0..100 {
        // One in a hundred seconds.
        redis.set_webhook(&format!("slow-{n}"), &format!(r#"{{"url":"{url}","rate_limit":0.01}}"#)).await;
    }
    let _worker = Worker::start(&redis, &LONG_WAITS).await;
    for n in 0..100 {
        for _ in 0..3 {
            redis.push(&format!(r#"{{"event":"call","instance":"slow-{n}"}}"#)).await;
        }
    }
    until("the rest to be parked", || async {
        let parks: u64 = redis.command(&["ZCARD", "{webhooks}:parks"]).await;
        parks == 100 && redis.len("webhooks").await == 0
    })
    .await;
    for n in 0..100 {
        let _: u64 = redis.command(&["ZADD", "{webhooks}:parks", "1", &format!("instance:slow-{n}")]).await;
    }
    // Each is looked at once, for nobody has yet.
    until("them to be looked at", || async {
        redis.command::<u64>(&["ZCOUNT", "{webhooks}:parks", "0", "1"]).await == 0
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let before = scripts_run(&redis).await;
    tokio::time::sleep(Duration::from_secs(6)).await;
    let run = scripts_run(&redis).await - before;
    println!("100 destinations with parked deliveries took {run} scripts in six seconds");
    assert!(run < 60, "{run} scripts in six seconds");
}

/// How many scripts Redis has run.
async fn scripts_run(redis: &RedisServer) -> u64 {
    let info: String = redis.command(&["INFO", "commandstats"]).await;
    let stats = info.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
    stats.and_then(|stats| stats.split(',').next()?.parse().ok()).expect("a number")
}
