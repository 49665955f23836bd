//! Drain: how fast a worker takes a backlog to its receivers, and what each delivery costs.
//!
//! Each run has a redis-server of its own (AOF everysec), a receiver in a process of its own that costs next to nothing,
//! and the release binary with default settings or a baseline (benches/support/baseline.rs). The rows take turns, so
//! that each has its share of whatever else the machine does. Printed are deliveries a second from the first arrival
//! to the last, CPU seconds of the worker and of Redis for 10 000 deliveries from the first arrival on, and the worker's
//! peak memory, medians with their range; then ratios, each the median of those of the rounds.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures and prints")]

mod support;

use std::time::Duration;

use support::figures::{median, range};
use support::sink::{Manner, Sink};
use support::stage::Stage;
use support::traffic::{EVENT_BYTES, push_backlog};
use support::{Args, until};

/// Who takes the events away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Posthaste,
    Baseline(&'static str),
}

/// One thing that is measured.
#[derive(Clone, Debug)]
struct Row {
    name: String,
    who: Who,
    events: usize,
    bytes: usize,
    /// How many instances the events are of, each with a webhook of its own; 0: the global webhook has all.
    instances: usize,
    /// Whether the global webhook has them, too.
    and_global: bool,
    manner: Manner,
    /// In how many rounds it is run at most.
    rounds: usize,
}

impl Row {
    fn new(name: &str, events: usize) -> Self {
        Self {
            name: name.to_owned(),
            who: Who::Posthaste,
            events,
            bytes: EVENT_BYTES,
            instances: 0,
            and_global: false,
            manner: Manner::Accepts,
            rounds: usize::MAX,
        }
    }

    fn deliveries(&self) -> usize {
        self.events * if self.and_global { 2 } else { 1 }
    }
}

#[derive(Clone, Copy, Debug)]
struct Measured {
    per_second: f64,
    worker_cpu: f64,
    redis_cpu: f64,
    peak_mb: f64,
}

fn main() {
    let mut args = Args::of_process();
    let events = args.number("--events", 20_000, 2000);
    let rounds = args.number("--rounds", 5, 1);
    let backlog = args.number("--backlog", 1_000_000, 0);
    let instances = args.number("--instances", 100_000, 5000);
    let only = args.text("--only");
    args.end();
    let mut rows = rows(events, backlog, instances);
    if let Some(only) = &only {
        rows.retain(|row| only.split(',').any(|name| row.name.starts_with(name)));
    }
    println!("drain: {events} events of {EVENT_BYTES} bytes where not said otherwise, {rounds} rounds");
    let mut measured: Vec<Vec<Measured>> = vec![Vec::new(); rows.len()];
    for round in 0..rounds {
        for (row, measured) in rows.iter().zip(&mut measured) {
            if round < row.rounds {
                measured.push(run(row));
            }
        }
    }
    println!(
        "{:<18} {:>24} {:>24} {:>24} {:>18}",
        "", "deliveries/s", "worker CPU-s/10 000", "redis CPU-s/10 000", "worker peak MB"
    );
    for (row, measured) in rows.iter().zip(&measured) {
        println!(
            "{:<18} {:>24} {:>24} {:>24} {:>18}",
            row.name,
            shown(measured, 0, |m| m.per_second),
            shown(measured, 3, |m| m.worker_cpu),
            shown(measured, 3, |m| m.redis_cpu),
            shown(measured, 1, |m| m.peak_mb),
        );
    }
    let of = |name: &str| rows.iter().position(|row| row.name == name).map(|at| &measured[at][..]);
    let instances = format!("instances {instances}");
    for (name, to) in [
        ("posthaste", "afternoon"),
        ("posthaste", "floor"),
        ("backlog", "posthaste"),
        ("retry", "no retry"),
        ("fan-out", "posthaste"),
        (instances.as_str(), "instances 1"),
    ] {
        if let (Some(these), Some(those)) = (of(name), of(to)) {
            print_ratios(&format!("{name} / {to}"), these, those);
        }
    }
}

fn rows(events: usize, backlog: usize, instances: usize) -> Vec<Row> {
    let mut rows = vec![Row::new("posthaste", events)];
    for name in ["afternoon", "floor"] {
        rows.push(Row { who: Who::Baseline(name), ..Row::new(name, events) });
    }
    // Few enough for each that no breaker opens.
    let several = |name| Row { instances: events.div_ceil(4), ..Row::new(name, events) };
    rows.push(Row { manner: Manner::RefusesOnce, ..several("retry") });
    rows.push(several("no retry"));
    rows.push(Row { instances: 1, and_global: true, ..Row::new("fan-out", events) });
    for count in [1, 1000, instances] {
        rows.push(Row { instances: count, ..Row::new(&format!("instances {count}"), instances.max(events)) });
    }
    rows.push(Row { bytes: 200, ..Row::new("size 200 B", events) });
    rows.push(Row { bytes: 10_000, ..Row::new("size 10 KB", events) });
    rows.push(Row { bytes: 1_000_000, ..Row::new("size 1 MB", (events / 50).clamp(20, 1000)) });
    if backlog > 0 {
        rows.push(Row { rounds: 2, ..Row::new("backlog", backlog) });
    }
    rows
}

fn run(row: &Row) -> Measured {
    // A rewrite of the AOF has costs of its own.
    let stage = Stage::start(&["--auto-aof-rewrite-percentage", "0"]);
    let mut sink = Sink::start(row.deliveries(), row.manner);
    let url = sink.url();
    let names: Vec<String> = (0..row.instances.max(1)).map(|number| format!("instance-{number}")).collect();
    if row.instances > 0 {
        stage.set_webhooks(names.iter().map(|name| (name.clone(), url.as_str())));
    }
    push_backlog(&mut stage.connect(), &names, row.events, row.bytes);

    let global = if row.instances == 0 || row.and_global { "true" } else { "false" };
    let worker = match row.who {
        Who::Baseline(name) => stage.start_baseline(name, &url),
        Who::Posthaste => stage.start_worker_at_once(
            "drain",
            &[
                ("WEBHOOK_GLOBAL_ENABLED", global),
                ("WEBHOOK_GLOBAL_URL", &url),
                ("WEBHOOK_EVENTS_MESSAGES_UPSERT", global),
            ],
        ),
    };
    sink.first();
    let before = (worker.cpu(), stage.redis.cpu());
    let seconds = sink.done();
    if row.who == Who::Posthaste {
        let settled = until(Duration::from_secs(10), Duration::from_millis(20), || stage.unsettled() == 0);
        assert!(settled, "{}: {} are not settled", row.name, stage.unsettled());
    } else {
        // Acknowledgements follow the last arrival by moments.
        std::thread::sleep(Duration::from_millis(100));
    }
    let per = 10_000.0 / row.deliveries() as f64;
    Measured {
        per_second: row.deliveries() as f64 / seconds,
        worker_cpu: (worker.cpu() - before.0) * per,
        redis_cpu: (stage.redis.cpu() - before.1) * per,
        peak_mb: worker.peak_mb(),
    }
}

fn shown(measured: &[Measured], digits: usize, of: fn(&Measured) -> f64) -> String {
    range(&measured.iter().map(of).collect::<Vec<_>>(), digits)
}

fn print_ratios(what: &str, these: &[Measured], those: &[Measured]) {
    let ratio = |of: fn(&Measured) -> f64| {
        let ratios: Vec<f64> = these.iter().zip(those).map(|(this, that)| of(this) / of(that)).collect();
        median(&ratios)
    };
    println!(
        "{what}: deliveries/s {:.2} · worker CPU {:.2} · redis CPU {:.2}",
        ratio(|m| m.per_second),
        ratio(|m| m.worker_cpu),
        ratio(|m| m.redis_cpu)
    );
}
