//! Waiting: how punctual retries are while a million others wait for theirs.
//!
//! They are written to Redis as the worker writes them (src/store/lua/wait.lua): most are due hours from now, and a
//! steady number fall due during the measurement. Printed, with none and with all of the others waiting: how long after
//! its due time each arrived, what the worker and Redis needed of a core meanwhile, and the worker's peak memory; and
//! the memory of Redis for each that waits.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures and prints")]

mod support;

use std::time::{Duration, Instant};

use posthaste::model::LastAttempt;
use support::figures::{greatest, median, percentile};
use support::sink::{Manner, Note, Sink};
use support::stage::Stage;
use support::{Args, traffic, until};

const INSTANCE: &str = "sales";
/// How soon the first of those that wait on is due, and the last.
const FAR_MS: [u64; 2] = [2 * 3_600_000, 24 * 3_600_000];
/// How long before the first is due all are written: a worker learns of what others wrote within its longest sleep
/// (src/flow/promote.rs).
const AHEAD: Duration = Duration::from_secs(5);
/// How long after the last was due they may still arrive.
const STRAGGLERS: Duration = Duration::from_secs(20);
const PIPELINE: usize = 2000;

fn main() {
    let mut args = Args::of_process();
    let deliveries = args.number("--deliveries", 1_000_000, 20_000);
    let per_second = args.number("--per-second", 200, 200);
    let seconds = args.number("--seconds", 20, 3);
    args.end();
    let bytes = traffic::EVENT_BYTES;
    println!("waiting: {deliveries} deliveries of {bytes} bytes; {per_second}/s fall due for {seconds} s");

    // A rewrite of the AOF has costs of its own.
    let stage = Stage::start(&["--auto-aof-rewrite-percentage", "0"]);
    println!(
        "{:<10} {:>10} {:>10} {:>10} {:>9} {:>9} {:>9} {:>11}",
        "waiting", "p50 ms", "p99 ms", "max ms", "missing", "worker", "redis", "worker MB"
    );
    for waiting in [0, deliveries] {
        if waiting > 0 {
            let (before, began) = (stage.redis_info("used_memory"), Instant::now());
            let now_ms = support::unix_us() / 1000;
            let apart = (FAR_MS[1] - FAR_MS[0]) as f64 / waiting as f64;
            let due_ms = (0..waiting).map(|number| now_ms + FAR_MS[0] + (number as f64 * apart) as u64);
            put(&stage, due_ms);
            let (each, took) = ((stage.redis_info("used_memory") - before) / waiting as f64, began.elapsed());
            println!("({each:.0} bytes of Redis memory for each; written in {:.1} s)", took.as_secs_f64());
        }
        measure(&stage, waiting, per_second, seconds);
    }
}

fn measure(stage: &Stage, waiting: usize, per_second: usize, seconds: usize) {
    let count = per_second * seconds;
    let sink = Sink::start(count, Manner::Notes);
    stage.set_webhooks([(INSTANCE.to_owned(), sink.url().as_str())]);
    let worker = stage.start_worker(&format!("waiting-{waiting}"));
    let first_ms = support::unix_us() / 1000 + AHEAD.as_millis() as u64;
    put(stage, (0..count).map(|number| first_ms + (number * 1000 / per_second) as u64));

    sleep_until(first_ms);
    let before = (worker.cpu(), stage.redis.cpu());
    sleep_until(first_ms + 1000 * seconds as u64);
    let (worker_cpu, redis_cpu) = (worker.cpu() - before.0, stage.redis.cpu() - before.1);

    let mut notes = Vec::new();
    until(STRAGGLERS, Duration::from_millis(100), || {
        notes = sink.notes();
        notes.len() >= count
    });
    let settled = until(STRAGGLERS, Duration::from_millis(100), || stage.unsettled() == waiting);
    assert!(settled, "{} deliveries are not settled, and not {waiting}", stage.unsettled());
    let late_ms: Vec<f64> = notes.iter().map(Note::after_ms).collect();
    println!(
        "{waiting:<10} {:>10.2} {:>10.2} {:>10.2} {:>9} {:>8.2}% {:>8.2}% {:>11.1}",
        median(&late_ms),
        percentile(&late_ms, 99.0),
        greatest(&late_ms),
        count - notes.len(),
        100.0 * worker_cpu / seconds as f64,
        100.0 * redis_cpu / seconds as f64,
        worker.peak_mb()
    );
}

fn sleep_until(unix_ms: u64) {
    std::thread::sleep(Duration::from_micros((1000 * unix_ms).saturating_sub(support::unix_us())));
}

/// Puts deliveries to wait that were attempted once, due then each (Unix ms).
fn put(stage: &Stage, due_ms: impl Iterator<Item = u64>) {
    let mut redis = stage.connect();
    let now_ms = support::unix_us() / 1000;
    let to = format!("instance:{INSTANCE}");
    let summary = "the receiver answered 503".to_owned();
    let last = LastAttempt { at_ms: now_ms, status: Some(503), summary }.to_string();
    let mut due_ms = due_ms.enumerate().peekable();
    while due_ms.peek().is_some() {
        let mut pipeline = redis::pipe();
        let mut add = redis::cmd("ZADD");
        add.arg("{webhooks}:retry");
        for (number, due_ms) in due_ms.by_ref().take(PIPELINE) {
            let key = format!("{now_ms}-{number}");
            let payload = traffic::envelope(INSTANCE, 1000 * due_ms as usize, traffic::EVENT_BYTES);
            let id = format!("{INSTANCE}/{number}/{}", now_ms * 1000);
            pipeline.cmd("HSET").arg(format!("{{webhooks}}:event:{key}")).arg("payload").arg(payload);
            pipeline.arg("event").arg(format!("{id} {now_ms}"));
            pipeline.arg(format!("tried:{to}")).arg(format!("1 {now_ms} {last}")).ignore();
            add.arg(due_ms).arg(format!("{key} {to}"));
        }
        pipeline.add_command(add).ignore().query::<()>(&mut redis).unwrap();
    }
}
