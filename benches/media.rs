//! Media: 300 events of 5 MB to a receiver that takes a second for each.
//!
//! They are pushed before the worker starts. Printed are the worker's peak memory, how long all took, and how long a
//! PING of another client took at most, one each millisecond: while they were pushed (what Redis itself needs for
//! such entries), and while the worker was at them; and the commands that took Redis longest then.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures and prints")]

mod support;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use support::figures::percentile;
use support::stage::Stage;
use support::{Args, traffic};

const INSTANCE: &str = "sales";
/// Has small events, pushed before the others: from them the worker cannot tell what comes.
const SMALL: &str = "small";
const PATIENCE: Duration = Duration::from_secs(300);

fn main() {
    let mut args = Args::of_process();
    let events = args.number("--events", 300, 20);
    let megabytes = args.number("--megabytes", 5, 5);
    let takes = args.number("--takes-ms", 1000, 200);
    let small = args.number("--small", 0, 0);
    let aof = args.text("--aof").unwrap_or_else(|| "yes".to_owned());
    args.end();
    println!("media: {events} events of {megabytes} MB to a receiver that takes {takes} ms; AOF: {aof}");

    let mut stage = Stage::start(&["--appendonly", &aof]);
    let url = stage.receiver.url(&format!("/after/{takes}"));
    let quick = stage.receiver.url("/after/0");
    stage.set_webhooks([(INSTANCE.to_owned(), url.as_str()), (SMALL.to_owned(), quick.as_str())]);
    let mut redis = stage.connect();
    traffic::push_at_once(&mut redis, SMALL, small);
    let pushing = with_pings(&stage, || {
        for number in 0..events {
            traffic::push(INSTANCE, number, megabytes * 1_000_000).query::<()>(&mut redis).unwrap();
        }
    });
    pushing.print("while they are pushed");
    let idle = with_pings(&stage, || std::thread::sleep(Duration::from_secs(3)));
    idle.print("while nothing happens");

    redis::cmd("SLOWLOG").arg("RESET").query::<()>(&mut redis).unwrap();
    let pinger = Stage::connect(&stage);
    let (worker, began) = (stage.start_worker("media"), Instant::now());
    let at_start = worker.resident_mb();
    let mut taken = 0;
    let working = with_pings_on(pinger, || {
        support::until(PATIENCE, Duration::from_millis(50), || {
            taken = stage.receiver.taken();
            taken >= small + events
        });
    });
    let seconds = began.elapsed().as_secs_f64();
    print_slowest(&mut redis);
    working.print("while the worker is at them");
    support::until(Duration::from_secs(10), Duration::from_millis(50), || stage.unsettled() == 0);
    println!("{:<44} {taken} of {} in {seconds:.1} s", "arrived", small + events);
    println!("{:<44} {at_start:.1} MB, {:.1} MB", "worker: memory at the start, peak", worker.peak_mb());
    let (worker, server) = (worker.cpu(), stage.redis.cpu());
    println!("{:<44} {worker:.1}, {server:.1} CPU-s", "worker, redis");
    let peak = stage.redis_info("used_memory_peak") / 1e6;
    println!("{:<44} {peak:.0} MB for {} MB of events", "redis: peak memory", events * megabytes);
    println!("{:<44} {:?}; unsettled: {}", "dead letters", stage.dead(), stage.unsettled());
}

/// The slowest commands of each kind: id, time, µs, command, client and its name each.
fn print_slowest(redis: &mut redis::Connection) {
    type Slow = (u64, u64, u64, Vec<String>, String, String);
    let slow: Vec<Slow> = redis::cmd("SLOWLOG").arg("GET").arg(-1).query(redis).unwrap();
    let mut kinds: BTreeMap<String, (usize, u64, String)> = BTreeMap::new();
    for (_, _, took_us, command, _, _) in slow {
        // Of a script the name, of a command what matters.
        let (name, rest) = command.split_first().expect("a command has a name");
        let kind = format!("{name} {}", rest.first().map_or("", |arg| arg.get(..8).unwrap_or(arg)));
        let text = command.iter().take(8).map(|arg| arg.chars().take(20).collect::<String>());
        let entry = kinds.entry(kind).or_default();
        entry.0 += 1;
        if took_us > entry.1 {
            (entry.1, entry.2) = (took_us, text.collect::<Vec<_>>().join(" "));
        }
    }
    for (count, longest_us, text) in kinds.values() {
        println!("slow in redis: {count} of a kind, longest {:.0} ms: {text}", *longest_us as f64 / 1000.0);
    }
}

/// When PINGs were sent, in seconds from the start, and how long they took, ms.
struct Pings(Vec<(f64, f64)>);

impl Pings {
    fn print(&self, when: &str) {
        let took: Vec<f64> = self.0.iter().map(|(_, took)| *took).collect();
        let (p99, mut slowest) = (percentile(&took, 99.0), self.0.clone());
        slowest.sort_by(|a, b| b.1.total_cmp(&a.1));
        let slowest = slowest.iter().take(5).map(|(at, took)| format!("{took:.0} (at {at:.1} s)"));
        let slowest: Vec<String> = slowest.collect();
        let what = format!("PING {when}: p99, longest");
        println!("{what:<44} {p99:.2} ms, {} ms ({} of them)", slowest.join(" "), took.len());
    }
}

fn with_pings(stage: &Stage, work: impl FnOnce()) -> Pings {
    with_pings_on(stage.connect(), work)
}

/// Pings each millisecond until the work is done.
fn with_pings_on(mut redis: redis::Connection, work: impl FnOnce()) -> Pings {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pinging = scope.spawn(|| {
            let (mut took, start) = (Vec::new(), Instant::now());
            while !done.load(Ordering::Relaxed) {
                let sent = Instant::now();
                redis::cmd("PING").query::<String>(&mut redis).unwrap();
                took.push(((sent - start).as_secs_f64(), sent.elapsed().as_secs_f64() * 1000.0));
                std::thread::sleep(Duration::from_millis(1));
            }
            took
        });
        work();
        done.store(true, Ordering::Relaxed);
        Pings(pinging.join().unwrap())
    })
}
