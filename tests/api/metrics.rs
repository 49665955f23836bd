//! `GET /metrics`: what it counts, and that it is what Prometheus expects.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use crate::caller::Caller;
use crate::support::{Answer, Gate, Receiver, RedisServer, SHORT_WAITS, eventually, until};

/// Metrics as they were told: what is said of each, and the value of each series.
struct Told {
    text: String,
    kinds: BTreeMap<String, String>,
    helped: BTreeSet<String>,
    series: BTreeMap<String, f64>,
}

impl Told {
    async fn by(caller: &Caller) -> Self {
        let answered = caller.get("/metrics").await;
        assert_eq!(answered.status, 200);
        assert!(answered.headers["content-type"].to_str().unwrap().starts_with("text/plain; version=0.0.4"));
        Self::read(String::from_utf8(answered.body).unwrap())
    }

    fn read(text: String) -> Self {
        let (mut kinds, mut helped, mut series) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        for line in text.lines() {
            if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} comes twice");
            } else if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, help) = help.split_once(' ').unwrap();
                assert!(help.len() > 3, "{line}");
                helped.insert(name.to_owned());
            } else {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert!(
                    series.insert(name.to_owned(), value.parse().unwrap()).is_none(),
                    "{name} comes twice"
                );
            }
        }
        Self { text, kinds, helped, series }
    }

    fn value(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| panic!("{series} is missing of\n{}", self.text))
    }
}

/// Waits until a series has a value.
async fn until_is(caller: &Caller, series: &str, value: f64) -> Told {
    eventually(&format!("{series} to be {value}"), || async {
        let told = Told::by(caller).await;
        (told.value(series) == value).then_some(told)
    })
    .await
}

/// An instance whose receiver takes what it is sent, and one whose receiver refuses it for good.
async fn worker_with_traffic(redis: &RedisServer) -> (Caller, Receiver, Receiver) {
    let caller = Caller::start(redis, &SHORT_WAITS).await;
    caller.until_ready().await;
    let (good, bad) = (Receiver::working_from(2).await, Receiver::answering(|_| Answer::status(404)).await);
    redis.set_url("private-name", &good.url("/private-path")).await;
    redis.set_url("other", &bad.url("/")).await;
    for instance in ["private-name", "other", "nobody"] {
        redis.push(&format!(r#"{{"event":"custom.private","instance":"{instance}","data":1}}"#)).await;
    }
    good.wait_for(2).await;
    bad.wait_for(1).await;
    (caller, good, bad)
}

#[tokio::test]
async fn what_becomes_of_deliveries_is_counted() {
    let redis = RedisServer::start();
    let (caller, _good, _bad) = worker_with_traffic(&redis).await;
    until_is(&caller, r#"posthaste_unrouted_events_total"#, 1.0).await;
    until_is(&caller, r#"posthaste_dead_letters_total{reason="rejected"}"#, 1.0).await;
    let told =
        until_is(&caller, r#"posthaste_deliveries_total{kind="instance",outcome="delivered"}"#, 1.0).await;
    for (series, value) in [
        (r#"posthaste_attempts_total{kind="instance",outcome="success"}"#, 1.0),
        (r#"posthaste_attempts_total{kind="instance",outcome="status_4xx"}"#, 1.0),
        (r#"posthaste_attempts_total{kind="instance",outcome="status_5xx"}"#, 1.0),
        (r#"posthaste_attempts_total{kind="global",outcome="success"}"#, 0.0),
        (r#"posthaste_retries_total{kind="instance"}"#, 1.0),
        (r#"posthaste_deliveries_total{kind="instance",outcome="dead"}"#, 1.0),
        (r#"posthaste_attempt_duration_seconds_count{kind="instance"}"#, 3.0),
        (r#"posthaste_delivery_duration_seconds_count{kind="instance"}"#, 1.0),
        ("posthaste_attempts_in_flight", 0.0),
        ("posthaste_ready", 1.0),
        ("posthaste_redis_up", 1.0),
        ("posthaste_workers_alive", 1.0),
        ("posthaste_webhooks", 2.0),
    ] {
        assert_eq!(told.value(series), value, "{series}");
    }
    let took = told.value(r#"posthaste_delivery_duration_seconds_sum{kind="instance"}"#);
    assert!((0.04..20.0).contains(&took), "{took}");
    // What waits in Redis is not read for each who asks.
    until_is(&caller, "posthaste_dead_letters_stored", 1.0).await;
}

#[tokio::test]
async fn what_is_under_way_and_what_waits_is_told() {
    let redis = RedisServer::start();
    let caller = Caller::start(&redis, &[("WORKER_CONCURRENCY", "2")]).await;
    caller.until_ready().await;
    let gate = Gate::closed();
    let hanging = gate.clone();
    let receiver = Receiver::answering(move |_| Answer::status(200).behind(&hanging)).await;
    redis.set_url("a", &receiver.url("/")).await;
    for _ in 0..3 {
        redis.push(r#"{"event":"call","instance":"a"}"#).await;
    }
    until_is(&caller, "posthaste_attempts_in_flight", 1.0).await;
    let told = until_is(&caller, r#"posthaste_stream_in_flight{stream="events"}"#, 3.0).await;
    assert!(told.value("posthaste_held_entries") >= 1.0);
    gate.open();
    receiver.wait_for(3).await;
    let told = until_is(&caller, r#"posthaste_stream_in_flight{stream="events"}"#, 0.0).await;
    assert_eq!(told.value(r#"posthaste_stream_oldest_age_seconds{stream="events"}"#), 0.0);
}

#[tokio::test]
async fn an_open_breaker_and_what_is_parked_are_told() {
    let redis = RedisServer::start();
    let caller = Caller::start(&redis, &[]).await;
    caller.until_ready().await;
    let receiver = Receiver::answering(|_| Answer::status(503)).await;
    redis.set_url("a", &receiver.url("/")).await;
    for _ in 0..12 {
        redis.push(r#"{"event":"call","instance":"a"}"#).await;
    }
    until_is(&caller, "posthaste_breakers_open", 1.0).await;
    redis.push(r#"{"event":"call","instance":"a"}"#).await;
    // The index names it from when its webhook was set, until a worker has looked.
    let told = eventually("something to be parked", || async {
        let told = Told::by(&caller).await;
        (told.value("posthaste_parked_deliveries") >= 1.0).then_some(told)
    })
    .await;
    assert!(told.value("posthaste_parked_destinations") >= 1.0);
    assert!(told.value("posthaste_retries_waiting") >= 1.0);
    assert!(told.value(r#"posthaste_parkings_total{reason="down"}"#) >= 1.0);
}

#[tokio::test]
async fn without_redis_the_process_still_tells_of_itself() {
    let mut redis = RedisServer::start();
    let caller = Caller::start(&redis, &[]).await;
    caller.until_ready().await;
    redis.kill();
    let told = until_is(&caller, "posthaste_redis_up", 0.0).await;
    assert!(!told.series.contains_key("posthaste_workers_alive"), "nobody knows");
    assert!(told.series.contains_key("posthaste_attempts_in_flight"));
    // Counted by whoever asks next; that may be after this.
    until("an error to be counted", || async {
        Told::by(&caller).await.value(r#"posthaste_redis_errors_total{kind="unreachable"}"#) >= 1.0
    })
    .await;
    until("it to be unready", || async { Told::by(&caller).await.value("posthaste_ready") == 0.0 }).await;
    redis.restart();
    until_is(&caller, "posthaste_redis_up", 1.0).await;
    caller.until_ready().await;
}

/// How often Redis was asked how it is.
async fn infos(redis: &RedisServer) -> u64 {
    let told: String = redis.command(&["INFO", "commandstats"]).await;
    let calls = told.split("cmdstat_info:calls=").nth(1).and_then(|rest| rest.split(',').next());
    calls.map_or(0, |calls| calls.parse().unwrap())
}

#[tokio::test]
async fn however_many_ask_redis_is_asked_once_in_two_seconds() {
    let redis = RedisServer::start();
    let caller = Caller::start(&redis, &[]).await;
    caller.until_ready().await;
    let before = infos(&redis).await;
    let began = std::time::Instant::now();
    for _ in 0..10 {
        let all = (0..10).map(|_| caller.get("/metrics"));
        assert!(futures_util::future::join_all(all).await.iter().all(|answered| answered.status == 200));
    }
    let turns = began.elapsed().as_secs() / 2 + 1;
    // One of them was our own.
    let asked = infos(&redis).await - before - 1;
    assert!((1..=turns).contains(&asked), "{asked} times, in {turns} turns");
}

#[tokio::test]
async fn metrics_need_the_key_where_there_is_one() {
    let redis = RedisServer::start();
    let caller = Caller::start_with_key(&redis, &[]).await;
    assert_eq!(caller.get("/metrics").await.status, 200);
    assert_eq!(caller.with_key(None).get("/metrics").await.status, 401);
}

#[tokio::test]
async fn names_types_and_labels_follow_the_conventions() {
    let redis = RedisServer::start();
    let (caller, _good, _bad) = worker_with_traffic(&redis).await;
    let told = until_is(&caller, "posthaste_dead_letters_stored", 1.0).await;
    for (name, kind) in &told.kinds {
        assert!(told.helped.contains(name), "{name} has no help");
        assert!(name.starts_with("posthaste_") || name.starts_with("process_"), "{name}");
        assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} is a {kind}");
        for unit in ["_ms", "milliseconds", "minutes", "kilobytes"] {
            assert!(!name.contains(unit), "{name}");
        }
        if kind == "histogram" {
            assert!(name.ends_with("_seconds"), "{name}");
        }
    }
    for series in told.series.keys() {
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let is_known = |name: &str| told.kinds.contains_key(name);
        assert!(is_known(name) || family.is_some_and(is_known), "{series} has no type");
        for label in labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty()) {
            let (label, _) = label.split_once('=').unwrap();
            assert!(["kind", "outcome", "reason", "stream", "version", "le"].contains(&label), "{series}");
        }
    }
    // Bounded: nothing that comes from outside makes a series.
    assert!(told.series.len() < 250, "{} series", told.series.len());
    for private in ["private", "nobody", "127.0.0.1", "CUSTOM"] {
        assert!(!told.text.contains(private), "{private} is in\n{}", told.text);
    }
    check_with_promtool(&told.text);
}

/// The same by Prometheus' own judge, where it is installed.
#[allow(clippy::print_stderr, reason = "that something was left out is to be seen")]
fn check_with_promtool(text: &str) {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("promtool is not installed: its check is left out");
        return;
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let judged = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&judged.stderr).into_owned();
    assert!(judged.status.success() && said.is_empty(), "promtool: {said}\n{text}");
}

fn repository_file(path: &str) -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Every word of a text that begins like one of our metrics.
fn named_metrics(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| c != '_' && !c.is_ascii_lowercase());
    words.filter(|word| word.starts_with("posthaste_") || word.starts_with("process_")).collect()
}

#[tokio::test]
async fn alerts_and_runbook_name_metrics_that_exist() {
    let redis = RedisServer::start();
    let caller = Caller::start(&redis, &[]).await;
    caller.until_ready().await;
    let told = until_is(&caller, "posthaste_workers_alive", 1.0).await;
    let (alerts, runbook) = (repository_file("config/alerts.yml"), repository_file("docs/runbook.md"));
    let known: BTreeSet<&str> = told.kinds.keys().map(String::as_str).collect();
    assert_eq!(named_metrics(&runbook).difference(&known).collect::<Vec<_>>(), Vec::<&&str>::new());
    assert_eq!(known.difference(&named_metrics(&runbook)).collect::<Vec<_>>(), Vec::<&&str>::new());
    let watched = named_metrics(&alerts);
    assert!(watched.len() > 10, "{watched:?}");
    assert_eq!(watched.difference(&known).collect::<Vec<_>>(), Vec::<&&str>::new());
}

#[test]
fn every_alert_is_in_the_runbook_and_is_tested() {
    let alerts = repository_file("config/alerts.yml");
    let (runbook, tests) = (repository_file("docs/runbook.md"), repository_file("config/alerts_test.yml"));
    let names: Vec<&str> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(names.len() >= 10, "{names:?}");
    for name in &names {
        assert!(runbook.contains(&format!("\n### {name}\n")), "{name} is not in the runbook");
        assert!(
            alerts.contains(&format!("runbook: docs/runbook.md#{}\n", name.to_lowercase())),
            "{name} has no link"
        );
        let fires = tests.contains(&format!("runbook: docs/runbook.md#{}\n", name.to_lowercase()));
        assert!(fires, "{name} is not seen to fire in config/alerts_test.yml");
    }
    let headings = runbook.lines().filter_map(|line| line.strip_prefix("### "));
    assert_eq!(headings.collect::<Vec<_>>(), names, "the runbook has the alerts in their order");
}
