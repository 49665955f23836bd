//! What is done with a delivery that failed: when it is attempted again, and for which answers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use serde_json::json;

use crate::support::{Answer, LONG_WAITS, Received, Receiver, RedisServer, SHORT_WAITS, Worker};

const ENVELOPE: &str = r#"{"event":"messages.upsert","instance":"sales","data":{"n":1.0}}"#;
/// Redis counts whole milliseconds, so that a wait may seem a little shorter than it is.
const ROUNDING: Duration = Duration::from_millis(2);
/// What a busy machine may add to a wait.
const SLOWNESS: Duration = Duration::from_secs(10);

/// Sets a webhook for instance `sales`, and starts a worker.
async fn worker_for_sales(redis: &RedisServer, receiver: &Receiver, settings: &[(&str, &str)]) -> Worker {
    redis.set_url("sales", &receiver.url("/sales")).await;
    Worker::start(redis, settings).await
}

/// The times between requests.
fn gaps(received: &[Received]) -> Vec<Duration> {
    received.windows(2).map(|two| two[1].at - two[0].at).collect()
}

/// Pushes an event to fifty instances each.
async fn push_to_fifty(redis: &RedisServer, receiver: &Receiver) {
    for i in 0..50 {
        let instance = format!("instance {i}");
        redis.set_url(&instance, &receiver.url("/")).await;
        redis.push(&json!({"event": "x", "instance": instance}).to_string()).await;
    }
}

/// Redis' time, Unix milliseconds.
async fn now_ms(redis: &RedisServer) -> f64 {
    let (seconds, micros): (f64, f64) = redis.command(&["TIME"]).await;
    (seconds * 1000.0 + micros / 1000.0).floor()
}

/// When each waiting delivery is due, Unix milliseconds by Redis' clock.
async fn due_ms(redis: &RedisServer) -> BTreeMap<String, f64> {
    redis.command(&["ZRANGE", "{webhooks}:retry", "0", "-1", "WITHSCORES"]).await
}

#[tokio::test]
async fn every_attempt_has_the_same_id_and_body_and_the_next_number() {
    let (redis, receiver) = (RedisServer::start(), Receiver::working_from(5).await);
    let _worker = worker_for_sales(&redis, &receiver, &SHORT_WAITS).await;
    let id = redis.push(ENVELOPE).await;
    redis.until_settled().await;
    let received = receiver.received();
    let attempts: Vec<_> = received.iter().map(Received::attempt).collect();
    assert_eq!(attempts, [1, 2, 3, 4, 5]);
    let mut last_sent = 0;
    for request in &received {
        assert_eq!(request.id(), id);
        assert_eq!(request.body, received[0].body);
        let sent: u64 = request.header("webhook-timestamp").parse().expect("a number");
        assert!(sent >= last_sent);
        last_sent = sent;
    }
    assert!(redis.dead().await.is_empty());
}

#[tokio::test]
async fn waits_double_within_the_jitter() {
    let (redis, receiver) = (RedisServer::start(), Receiver::working_from(5).await);
    let settings = [("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.1"), ("WEBHOOK_RETRY_JITTER_FACTOR", "0.3")];
    let _worker = worker_for_sales(&redis, &receiver, &settings).await;
    redis.push(ENVELOPE).await;
    let gaps = gaps(&receiver.wait_for(5).await);
    for (gap, base_ms) in gaps.iter().zip([100, 200, 400, 800]) {
        let base = Duration::from_millis(base_ms);
        assert!(*gap + ROUNDING >= base.mul_f64(0.7), "{gaps:?}");
        assert!(*gap <= base.mul_f64(1.3) + SLOWNESS, "{gaps:?}");
    }
}

#[tokio::test]
async fn waits_do_not_double_where_they_are_set_not_to() {
    let (redis, receiver) = (RedisServer::start(), Receiver::working_from(9).await);
    let settings = [
        ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.1"),
        ("WEBHOOK_RETRY_JITTER_FACTOR", "0"),
        ("WEBHOOK_RETRY_USE_EXPONENTIAL_BACKOFF", "false"),
    ];
    let _worker = worker_for_sales(&redis, &receiver, &settings).await;
    redis.push(ENVELOPE).await;
    let received = receiver.wait_for(9).await;
    for gap in gaps(&received) {
        assert!(gap + ROUNDING >= Duration::from_millis(100), "{gap:?}");
    }
    // Doubled, they would come to 100 × 255 ms.
    assert!(received[8].at - received[0].at < Duration::from_millis(25_500));
}

#[tokio::test]
async fn waits_are_spread_over_the_whole_jitter_and_not_beyond() {
    let (redis, receiver) = (RedisServer::start(), Receiver::working_from(2).await);
    let settings = [
        ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "1000"),
        ("WEBHOOK_RETRY_MAX_DELAY_SECONDS", "2000"),
        ("WEBHOOK_RETRY_JITTER_FACTOR", "0.2"),
    ];
    let _worker = worker_for_sales(&redis, &receiver, &settings).await;
    let before = now_ms(&redis).await;
    push_to_fifty(&redis, &receiver).await;
    redis.until_waiting(50).await;
    let after = now_ms(&redis).await;
    let due = due_ms(&redis).await;
    let (mut shorter, mut longer) = (0, 0);
    for due in due.values() {
        assert!(*due >= before + 800_000.0 && *due <= after + 1_200_001.0);
        shorter += u32::from(*due < before + 1_000_000.0);
        longer += u32::from(*due > after + 1_000_000.0);
    }
    // By chance, one in 2^50 runs.
    assert!(shorter > 0 && longer > 0, "{due:?}");
}

#[tokio::test]
async fn no_wait_is_longer_than_the_longest_allowed_jitter_included() {
    let (redis, receiver) = (RedisServer::start(), Receiver::working_from(2).await);
    let settings = [
        ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "1000"),
        ("WEBHOOK_RETRY_MAX_DELAY_SECONDS", "600"),
        ("WEBHOOK_RETRY_JITTER_FACTOR", "0.2"),
    ];
    let _worker = worker_for_sales(&redis, &receiver, &settings).await;
    let before = now_ms(&redis).await;
    push_to_fifty(&redis, &receiver).await;
    redis.until_waiting(50).await;
    let after = now_ms(&redis).await;
    let due = due_ms(&redis).await;
    for due in due.values() {
        assert!(*due >= before + 480_000.0 && *due <= after + 600_000.0);
    }
}

/// What a receiver answers to first attempts, and the shortest wait that may follow. The second attempt succeeds.
struct Asks {
    path: &'static str,
    status: u16,
    retry_after: String,
    at_least: Duration,
}

fn http_date(seconds_from_now: i64) -> String {
    let offset = Duration::from_secs(seconds_from_now.unsigned_abs());
    let now = SystemTime::now();
    httpdate::fmt_http_date(if seconds_from_now < 0 { now - offset } else { now + offset })
}

#[tokio::test]
async fn retry_after_is_honoured_where_it_is_longer_than_the_backoff() {
    let redis = RedisServer::start();
    let second = Duration::from_secs(1);
    let backoff = Duration::from_millis(50);
    let asks = |path, status, retry_after: &str, at_least| Asks {
        path,
        status,
        retry_after: retry_after.to_owned(),
        at_least,
    };
    let asked = [
        asks("/429-seconds", 429, "2", 2 * second),
        asks("/503-seconds", 503, " 1 ", second),
        // A date has whole seconds, so that up to one is lost.
        asks("/429-date", 429, &http_date(3), second),
        asks("/503-date", 503, &http_date(2), Duration::ZERO),
        asks("/429-none", 429, "0", backoff),
        asks("/503-past", 503, &http_date(-60), backoff),
        asks("/503-garbage", 503, "soon", backoff),
        asks("/503-negative", 503, "-5", backoff),
        // Of other statuses it is not.
        asks("/500-seconds", 500, "3600", backoff),
        asks("/502-date", 502, &http_date(3600), backoff),
        asks("/301-seconds", 301, "3600", backoff),
    ];
    let answers: BTreeMap<_, _> = asked
        .iter()
        .map(|ask| (ask.path, Answer::with_header(ask.status, "Retry-After", &ask.retry_after)))
        .collect();
    let receiver = Receiver::answering(move |request| match request.attempt() {
        1 => answers[request.path.as_str()].clone(),
        _ => Answer::status(200),
    })
    .await;
    for ask in &asked {
        redis.set_url(ask.path, &receiver.url(ask.path)).await;
    }
    let settings = [SHORT_WAITS[0], ("WEBHOOK_RETRY_JITTER_FACTOR", "0")];
    let _worker = Worker::start(&redis, &settings).await;
    for ask in &asked {
        redis.push(&json!({"event": "x", "instance": ask.path}).to_string()).await;
    }
    for ask in &asked {
        let received = receiver.wait_for_on(ask.path, 2).await;
        let gap = gaps(&received)[0];
        assert!(gap + ROUNDING >= ask.at_least, "{}: {gap:?}", ask.path);
    }
    redis.until_settled().await;
    assert_eq!(receiver.count(), 2 * asked.len());
}

#[tokio::test]
async fn retry_after_shortens_no_backoff_and_is_capped_at_an_hour() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|request| {
        let asked = match request.path.as_str() {
            "/short" => "1".to_owned(),
            "/long" => "999999999999999999999999".to_owned(),
            _ => http_date(100_000),
        };
        Answer::with_header(503, "retry-after", &asked)
    })
    .await;
    for instance in ["short", "long", "late"] {
        redis.set_url(instance, &receiver.url(&format!("/{instance}"))).await;
    }
    let settings = [("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "100"), ("WEBHOOK_RETRY_JITTER_FACTOR", "0.2")];
    let _worker = Worker::start(&redis, &settings).await;
    let before = now_ms(&redis).await;
    for instance in ["short", "long", "late"] {
        redis.push(&json!({"event": "x", "instance": instance}).to_string()).await;
    }
    redis.until_waiting(3).await;
    let after = now_ms(&redis).await;
    for (delivery, due) in due_ms(&redis).await {
        let (shortest, longest) = if delivery.ends_with(" instance:short") {
            (80_000.0, 120_000.0)
        } else {
            (3_600_000.0, 3_600_000.0)
        };
        assert!(
            due >= before + shortest && due <= after + longest + 1.0,
            "{delivery}: {due}, pushed after {before}"
        );
    }
}

/// Pushes one event to an instance each that is answered with these statuses, at the first attempt.
async fn push_for_statuses(redis: &RedisServer, receiver: &Receiver, statuses: &[u16]) {
    for status in statuses {
        let instance = status.to_string();
        redis.set_url(&instance, &receiver.url(&format!("/{status}"))).await;
        redis.push(&json!({"event": "x", "instance": instance}).to_string()).await;
    }
}

/// A receiver that answers with the status that its path asks for.
async fn as_asked() -> Receiver {
    Receiver::answering(|request| {
        let status = request.path[1..].parse().expect("a status");
        Answer::Reply { status, headers: Vec::new(), body: Vec::new() }
    })
    .await
}

#[tokio::test]
async fn a_status_decides_whether_a_delivery_arrived_waits_or_is_dead_at_once() {
    let (redis, receiver) = (RedisServer::start(), as_asked().await);
    let _worker = Worker::start(&redis, &LONG_WAITS).await;
    let arrived = [200, 201, 202, 204, 206, 226, 299];
    let rejected: [u16; 5] = [400, 401, 403, 404, 422];
    let retried = [
        300, 301, 302, 303, 304, 307, 308, 399, 402, 405, 406, 408, 409, 411, 418, 423, 425, 429, 451, 499,
        500, 501, 502, 503, 504, 520, 599, 600, 999,
    ];
    push_for_statuses(&redis, &receiver, &[&arrived[..], &rejected, &retried].concat()).await;
    let dead = redis.wait_for_letters(rejected.len()).await;
    redis.until_waiting(retried.len() as u64).await;
    for letter in &dead {
        assert_eq!(letter.text("reason"), "rejected");
        assert_eq!(letter.text("attempts"), "1");
        assert_eq!(letter.text("destination"), format!("instance:{}", letter.text("status")));
        let error = format!("the receiver answered {}", letter.text("status"));
        assert_eq!(letter.text("error"), error);
    }
    let statuses: BTreeSet<_> = dead.iter().map(|letter| letter.number("status")).collect();
    assert_eq!(statuses, rejected.map(u64::from).into());
    assert_eq!(redis.len("webhooks").await, 0);
    assert_eq!(receiver.count(), arrived.len() + rejected.len() + retried.len());
}

#[tokio::test]
async fn which_statuses_are_dead_at_once_can_be_set() {
    for (set, rejected, retried) in [
        ("418, 500", &[418, 500][..], &[400, 404, 422, 501][..]),
        ("none", &[], &[400, 401, 403, 404, 422, 500]),
    ] {
        let (redis, receiver) = (RedisServer::start(), as_asked().await);
        let statuses = [("WEBHOOK_RETRY_NON_RETRYABLE_STATUS_CODES", set)];
        let _worker = Worker::start(&redis, &[&LONG_WAITS[..], &statuses].concat()).await;
        push_for_statuses(&redis, &receiver, &[rejected, retried, &[410]].concat()).await;
        let dead = redis.wait_for_letters(rejected.len() + 1).await;
        redis.until_waiting(retried.len() as u64).await;
        let reasons: BTreeMap<_, _> =
            dead.iter().map(|letter| (letter.number("status"), letter.text("reason"))).collect();
        let mut expected: BTreeMap<_, _> =
            rejected.iter().map(|status| (u64::from(*status), "rejected")).collect();
        expected.insert(410, "gone");
        assert_eq!(reasons, expected);
    }
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_never_followed() {
    let (redis, elsewhere) = (RedisServer::start(), Receiver::start().await);
    let location = elsewhere.url("/elsewhere");
    let receiver = Receiver::answering(move |request| match request.attempt() {
        1 => {
            let status = request.path[1..].parse().expect("a status");
            Answer::with_header(status, "Location", &location)
        }
        _ => Answer::status(200),
    })
    .await;
    let _worker = Worker::start(&redis, &SHORT_WAITS).await;
    let statuses = [300, 301, 302, 303, 307, 308];
    push_for_statuses(&redis, &receiver, &statuses).await;
    redis.until_settled().await;
    for status in statuses {
        let received = receiver.received_on(&format!("/{status}"));
        assert_eq!(received.len(), 2, "{status}");
        assert_eq!(received[1].attempt(), 2, "{status}");
        assert_eq!(received[1].method, "POST");
        assert_eq!(received[1].body, received[0].body);
    }
    assert_eq!(elsewhere.count(), 0);
    assert!(redis.dead().await.is_empty());
}

#[tokio::test]
async fn a_delivery_that_waits_holds_no_slot_of_the_worker() {
    let redis = RedisServer::start();
    let receiver =
        Receiver::answering(|request| Answer::status(if request.path == "/sales" { 500 } else { 200 })).await;
    redis.set_url("other", &receiver.url("/other")).await;
    let one_slot = [("WORKER_CONCURRENCY", "1")];
    let _worker = worker_for_sales(&redis, &receiver, &[&LONG_WAITS[..], &one_slot].concat()).await;
    for _ in 0..3 {
        redis.push(ENVELOPE).await;
    }
    redis.until_waiting(3).await;
    for _ in 0..3 {
        redis.push(r#"{"event":"x","instance":"other"}"#).await;
    }
    receiver.wait_for_on("/other", 3).await;
    assert_eq!(redis.waiting().await, 3);
    assert_eq!(receiver.received_on("/sales").len(), 3);
}

#[tokio::test]
async fn of_one_event_each_destination_succeeds_and_fails_on_its_own() {
    for failing in ["/global", "/sales"] {
        let redis = RedisServer::start();
        let receiver = Receiver::answering(move |request| {
            let fails = request.path == failing && request.attempt() < 4;
            Answer::status(if fails { 500 } else { 200 })
        })
        .await;
        let settings = [
            SHORT_WAITS[0],
            ("WEBHOOK_GLOBAL_ENABLED", "true"),
            ("WEBHOOK_GLOBAL_URL", &receiver.url("/global")),
            ("WEBHOOK_EVENTS_MESSAGES_UPSERT", "true"),
        ];
        let _worker = worker_for_sales(&redis, &receiver, &settings).await;
        let id = redis.push(ENVELOPE).await;
        redis.until_settled().await;
        for path in ["/global", "/sales"] {
            let received = receiver.received_on(path);
            let attempts: Vec<_> = received.iter().map(Received::attempt).collect();
            let expected: &[u32] = if path == failing { &[1, 2, 3, 4] } else { &[1] };
            assert_eq!(attempts, expected, "{path}");
            assert!(received.iter().all(|request| request.id() == id));
        }
    }
}

#[tokio::test]
async fn of_one_event_one_destination_is_given_up_while_the_other_waits_and_is_delivered() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|request| {
        Answer::status(match (request.path.as_str(), request.attempt()) {
            ("/sales", _) => 404,
            (_, 1 | 2) => 500,
            _ => 200,
        })
    })
    .await;
    let settings = [
        SHORT_WAITS[0],
        SHORT_WAITS[1],
        ("WEBHOOK_GLOBAL_ENABLED", "true"),
        ("WEBHOOK_GLOBAL_URL", &receiver.url("/global")),
        ("WEBHOOK_EVENTS_MESSAGES_UPSERT", "true"),
    ];
    let _worker = worker_for_sales(&redis, &receiver, &settings).await;
    for _ in 0..20 {
        redis.push(ENVELOPE).await;
    }
    redis.until_settled().await;
    let dead = redis.letters().await;
    assert_eq!(dead.len(), 20);
    for letter in dead {
        assert_eq!(letter.text("destination"), "instance:sales");
        assert_eq!(letter.text("reason"), "rejected");
        assert_eq!(letter.bytes("payload"), ENVELOPE.as_bytes());
    }
    assert_eq!(receiver.received_on("/global").len(), 60);
    assert_eq!(receiver.received_on("/sales").len(), 20);
}
