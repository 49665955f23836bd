//! Idle: what a worker costs that has nothing to do, and whether anything grows while very much goes through it.
//!
//! First it idles: what it asks of Redis, what both need of a core, and their memory. Then it delivers a million events,
//! wave by wave, to a receiver that costs next to nothing (benches/support/sink.rs); after each tenth, once all is
//! settled, the worker's memory and what is left in Redis are printed. Then it idles once more.
//!
//! Requests are reads of a socket by Redis, with one command or several in each; commands are those of all of them, and
//! those that scripts run.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures and prints")]

mod support;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use support::sink::{Manner, Sink};
use support::stage::Stage;
use support::{Args, Process, traffic, until};

/// How long a worker has been up before it is measured.
const SETTLE: Duration = Duration::from_secs(3);
/// How many events are pushed at a time at most, and whose they are.
const WAVE: usize = 50_000;
const INSTANCES: usize = 100;
/// How long a wave may take.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    let mut args = Args::of_process();
    let seconds = args.number("--seconds", 30, 4);
    let soak = args.number("--soak", 1_000_000, 20_000);
    args.end();
    let lasting = Duration::from_secs(seconds as u64);
    println!("idle: {seconds} s, then {soak} events of {} bytes", traffic::EVENT_BYTES);

    let stage = Stage::start(&[]);
    let sink = Sink::start(soak, Manner::Accepts);
    let worker = stage.start_worker_with(
        "idle",
        &[
            ("WEBHOOK_GLOBAL_ENABLED", "true"),
            ("WEBHOOK_GLOBAL_URL", &sink.url()),
            ("WEBHOOK_EVENTS_MESSAGES_UPSERT", "true"),
        ],
    );
    std::thread::sleep(SETTLE);
    idle("at first", &stage, &worker, lasting);
    if soak > 0 {
        deliver(&stage, &worker, &sink, soak);
        let rewritten = || stage.redis_info("aof_rewrite_in_progress") == 0.0;
        assert!(until(PATIENCE, Duration::from_millis(200), rewritten), "the AOF is being rewritten still");
        std::thread::sleep(SETTLE);
        idle("afterwards", &stage, &worker, lasting);
    }
}

/// Prints what idling costs.
fn idle(when: &str, stage: &Stage, worker: &Process, lasting: Duration) {
    let mut redis = stage.connect();
    let cpu = (worker.cpu(), stage.redis.cpu());
    let (before, began) = (Counts::read(&mut redis), Instant::now());
    std::thread::sleep(lasting);
    let (after, seconds) = (Counts::read(&mut redis), began.elapsed().as_secs_f64());
    let cpu = (worker.cpu() - cpu.0, stage.redis.cpu() - cpu.1);
    // One of each is the reading itself.
    let a_second = |of: fn(&Counts) -> f64| (of(&after) - of(&before) - 1.0) / seconds;
    println!(
        "{when}: {:.2} requests/s with {:.2} commands/s · worker {:.2} % of a core, {:.1} MB · redis {:.2} %, {:.2} MB",
        a_second(|counts| counts.requests),
        a_second(|counts| counts.commands),
        100.0 * cpu.0 / seconds,
        worker.resident_mb(),
        100.0 * cpu.1 / seconds,
        stage.redis_info("used_memory") / 1e6
    );
    let calls = after.calls.iter().map(|(name, calls)| {
        let calls = calls - before.calls.get(name).copied().unwrap_or_default();
        (calls / seconds, name)
    });
    let mut calls: Vec<_> = calls.filter(|(calls, name)| *calls > 0.0 && *name != "info").collect();
    calls.sort_by(|a, b| b.0.total_cmp(&a.0));
    let calls: Vec<String> = calls.iter().map(|(calls, name)| format!("{name} {calls:.2}")).collect();
    println!("  commands/s: {}", calls.join(" · "));
}

/// What Redis has counted.
struct Counts {
    requests: f64,
    commands: f64,
    calls: BTreeMap<String, f64>,
}

impl Counts {
    fn read(redis: &mut redis::Connection) -> Self {
        let info: String = redis::cmd("INFO").arg("all").query(redis).unwrap();
        let number = |name| {
            let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.expect("a figure of INFO").trim().parse().unwrap()
        };
        let calls = info.lines().filter_map(|line| {
            let (name, figures) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), figures.split(',').next()?.parse().ok()?))
        });
        Self {
            requests: number("total_reads_processed"),
            commands: number("total_commands_processed"),
            calls: calls.collect(),
        }
    }
}

/// Has so many events delivered, and prints what is left of them after each tenth.
fn deliver(stage: &Stage, worker: &Process, sink: &Sink, soak: usize) {
    println!(
        "{:>10} {:>10} {:>10} {:>11} {:>10} {:>10} {:>12}",
        "delivered", "per s", "worker MB", "redis MB", "keys", "leftovers", "worker CPU-s"
    );
    let (mut redis, instances) = (stage.connect(), instances());
    for tenth in 1..=10 {
        let (began, cpu) = (Instant::now(), worker.cpu());
        let (from, to) = (soak * (tenth - 1) / 10, soak * tenth / 10);
        for first in (from..to).step_by(WAVE) {
            let count = WAVE.min(to - first);
            traffic::push_backlog(&mut redis, &instances, count, traffic::EVENT_BYTES);
            let settled = until(PATIENCE, Duration::from_millis(20), || stage.unsettled() == 0);
            assert!(settled, "{} deliveries are not settled", stage.unsettled());
        }
        let per_second = (to - from) as f64 / began.elapsed().as_secs_f64();
        let keys: usize = redis::cmd("DBSIZE").query(&mut redis).unwrap();
        println!(
            "{to:>10} {per_second:>10.0} {:>10.1} {:>11.2} {keys:>10} {:>10} {:>12.2}",
            worker.resident_mb(),
            stage.redis_info("used_memory") / 1e6,
            stage.leftovers(),
            worker.cpu() - cpu
        );
    }
    assert_eq!((sink.accepted(), stage.dead()), (soak, Vec::new()), "each arrived once, and none is dead");
}

fn instances() -> Vec<String> {
    (0..INSTANCES).map(|number| format!("instance-{number}")).collect()
}
