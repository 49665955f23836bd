//! Latency: how long an event takes from its push to its receiver, while little and while much is pushed.
//!
//! Each run has a redis-server of its own (AOF everysec), a receiver in a process of its own that costs next to nothing
//! (benches/support/sink.rs), and the release binary with default settings or a baseline (benches/support/baseline.rs),
//! which take turns in every round. Events are pushed one by one at a steady pace; those of the first second do not
//! count. Printed are percentiles of the time from just before XADD to when the whole request had been read, and what
//! the worker and Redis needed of a core, medians of the rounds with their range; then ratios, each the median of those
//! of the rounds.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures and prints")]

mod support;

use std::time::Duration;

use support::figures::{median, percentile, range};
use support::sink::{Manner, Note, Sink};
use support::stage::Stage;
use support::{Args, traffic, until};

/// Who delivers.
const WHO: [&str; 3] = [POSTHASTE, "afternoon", "floor"];
const POSTHASTE: &str = "posthaste";
const INSTANCE: &str = "sales";
const WARM_UP: Duration = Duration::from_secs(1);
/// How long after the last push events may still arrive.
const STRAGGLERS: Duration = Duration::from_secs(10);

#[derive(Clone, Copy, Debug)]
struct Measured {
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    worker_cpu: f64,
    redis_cpu: f64,
}

fn main() {
    let mut args = Args::of_process();
    let rates = args.numbers("--rates", &[50, 1000]);
    let seconds = args.number("--seconds", 20, 2);
    let rounds = args.number("--rounds", 5, 1);
    args.end();
    let lasting = Duration::from_secs(seconds as u64);
    println!("latency: events of {} bytes for {seconds} s, {rounds} rounds", traffic::EVENT_BYTES);
    let runs: Vec<(usize, &str)> = rates.iter().flat_map(|rate| WHO.map(|who| (*rate, who))).collect();
    let mut measured: Vec<Vec<Measured>> = vec![Vec::new(); runs.len()];
    for _ in 0..rounds {
        for ((rate, who), measured) in runs.iter().zip(&mut measured) {
            measured.push(measure(who, *rate, lasting));
        }
    }
    println!(
        "{:<18} {:>20} {:>20} {:>20} {:>18} {:>18}",
        "", "p50 ms", "p99 ms", "p99.9 ms", "worker CPU %", "redis CPU %"
    );
    for ((rate, who), measured) in runs.iter().zip(&measured) {
        let of = |figure: fn(&Measured) -> f64, digits| {
            range(&measured.iter().map(figure).collect::<Vec<_>>(), digits)
        };
        println!(
            "{:<18} {:>20} {:>20} {:>20} {:>18} {:>18}",
            format!("{rate}/s {who}"),
            of(|m| m.p50_ms, 2),
            of(|m| m.p99_ms, 2),
            of(|m| m.p999_ms, 2),
            of(|m| m.worker_cpu * 100.0, 1),
            of(|m| m.redis_cpu * 100.0, 1),
        );
    }
    for (runs, measured) in runs.chunks(WHO.len()).zip(measured.chunks(WHO.len())) {
        for ((rate, who), baseline) in runs.iter().zip(measured).skip(1) {
            print_ratios(&format!("{rate}/s {POSTHASTE} / {who}"), &measured[0], baseline);
        }
    }
}

fn measure(who: &str, per_second: usize, lasting: Duration) -> Measured {
    // A rewrite of the AOF has costs of its own.
    let stage = Stage::start(&["--auto-aof-rewrite-percentage", "0"]);
    let rate = per_second as f64;
    let pushed = [WARM_UP, lasting].map(|each| (each.as_secs_f64() * rate) as usize).iter().sum();
    let sink = Sink::start(pushed, Manner::Notes);
    let url = sink.url();
    let worker = match who {
        POSTHASTE => stage.start_worker_with(
            &format!("latency-{per_second}"),
            &[
                ("WEBHOOK_GLOBAL_ENABLED", "true"),
                ("WEBHOOK_GLOBAL_URL", &url),
                ("WEBHOOK_EVENTS_MESSAGES_UPSERT", "true"),
            ],
        ),
        who => stage.start_baseline(who, &url),
    };
    let (mut redis, instances) = (stage.connect(), [INSTANCE.to_owned()]);
    traffic::push_steadily(&mut redis, &instances, rate, WARM_UP);
    let (from_us, before) = (support::unix_us(), (worker.cpu(), stage.redis.cpu()));
    traffic::push_steadily(&mut redis, &instances, rate, lasting);
    let seconds = (support::unix_us() - from_us) as f64 / 1e6;
    let (worker_cpu, redis_cpu) = (worker.cpu() - before.0, stage.redis.cpu() - before.1);

    let mut notes = Vec::new();
    let all = until(STRAGGLERS, Duration::from_millis(50), || {
        notes = sink.notes();
        notes.len() >= pushed
    });
    assert!(all, "{who}: {} of {pushed} events did not arrive", pushed - notes.len());
    let counted = notes.iter().filter(|note| note.at_us >= from_us);
    let latencies: Vec<f64> = counted.map(Note::after_ms).collect();
    Measured {
        p50_ms: median(&latencies),
        p99_ms: percentile(&latencies, 99.0),
        p999_ms: percentile(&latencies, 99.9),
        worker_cpu: worker_cpu / seconds,
        redis_cpu: redis_cpu / seconds,
    }
}

fn print_ratios(what: &str, these: &[Measured], those: &[Measured]) {
    let ratio = |of: fn(&Measured) -> f64| {
        let ratios: Vec<f64> = these.iter().zip(those).map(|(this, that)| of(this) / of(that)).collect();
        median(&ratios)
    };
    println!(
        "{what}: p50 {:.2} · p99 {:.2} · p99.9 {:.2} · worker CPU {:.2}",
        ratio(|m| m.p50_ms),
        ratio(|m| m.p99_ms),
        ratio(|m| m.p999_ms),
        ratio(|m| m.worker_cpu)
    );
}
