//! Outage: a receiver that is down for a minute, with 20 000 deliveries waiting when it comes back.
//!
//! One instance gets 100 events/s while its receiver is well. Then that is down (it answers 503, hangs, or closes
//! connections) while the rest is pushed within the first third of the outage. Printed are the attempts against it
//! while it is down, the time from its return to the last arrival, arrivals in each second, and what became of all.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures and prints")]

mod support;

use std::time::{Duration, Instant};

use support::figures::per_second;
use support::receiver::Arrival;
use support::stage::Stage;
use support::{Args, traffic, unix_us};

const INSTANCE: &str = "sales";
const WELL: Duration = Duration::from_secs(3);
const WELL_PER_SECOND: f64 = 100.0;
/// How long after its return everything has to have arrived: the breaker's longest interval and more.
const PATIENCE: Duration = Duration::from_secs(100);

fn main() {
    let mut args = Args::of_process();
    let events = args.number("--events", 20_000, 1000);
    let seconds = args.number("--seconds", 60, 8);
    let how = args.text("--down").unwrap_or_else(|| "503".to_owned());
    args.end();
    println!("outage: a receiver is down ({how}) for {seconds} s, {events} events waiting");

    let mut stage = Stage::start(&[]);
    let url = stage.receiver.url("/switch");
    stage.set_webhooks([(INSTANCE.to_owned(), url.as_str())]);
    let worker = stage.start_worker("outage");
    let mut redis = stage.connect();
    traffic::push_steadily(&mut redis, &[INSTANCE.to_owned()], WELL_PER_SECOND, WELL);
    let before = (WELL.as_secs_f64() * WELL_PER_SECOND) as usize;
    support::until(PATIENCE, Duration::from_millis(5), || stage.receiver.taken() >= before);

    stage.receiver.set_down(Some(&how));
    let (down, down_us) = (Instant::now(), unix_us());
    // Numbers go on where those before the outage ended.
    let third = seconds as f64 / 3.0;
    for number in 0..events {
        let due = down + Duration::from_secs_f64(third * number as f64 / events as f64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let command = traffic::push(INSTANCE, before + number, traffic::EVENT_BYTES);
        command.query::<()>(&mut redis).unwrap();
    }
    let return_at = down + Duration::from_secs(seconds as u64);
    std::thread::sleep(return_at.saturating_duration_since(Instant::now()));
    let waiting = stage.unsettled();
    stage.receiver.set_down(None);
    let up_us = unix_us();
    let all_came =
        support::until(PATIENCE, Duration::from_millis(20), || stage.receiver.taken() >= before + events);
    let settled =
        support::until(Duration::from_secs(10), Duration::from_millis(50), || stage.unsettled() == 0);

    let arrivals = stage.receiver.report();
    print_attempts(&arrivals, down_us, up_us);
    print_return(&arrivals, up_us, waiting);
    let mut numbers: Vec<usize> = arrivals.iter().filter(|a| a.taken).map(|a| a.number).collect();
    let taken = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    let dead = stage.dead();
    println!("{:<44} {}", "lost", before + events - numbers.len());
    println!("{:<44} {}", "delivered more than once", taken - numbers.len());
    println!("{:<44} {dead:?}", "dead letters, by reason (none may be exhausted)");
    println!("{:<44} {settled}; keys of events and parks left: {}", "all settled", stage.leftovers());
    println!("{:<44} {:.1} MB, {:.1} CPU-s", "worker: peak memory, CPU", worker.peak_mb(), worker.cpu());
    println!("{:<44} {:.1} CPU-s", "redis", stage.redis.cpu());
    if !all_came {
        println!("not everything arrived within {PATIENCE:?} of its return");
    }
}

/// Attempts while it was down: in bursts, of which the first is what opened the breaker.
fn print_attempts(arrivals: &[Arrival], down_us: u64, up_us: u64) {
    let failed = arrivals.iter().filter(|arrival| !arrival.taken && arrival.arrived_us >= down_us);
    let mut at: Vec<f64> = failed.map(|arrival| (arrival.arrived_us - down_us) as f64 / 1e6).collect();
    at.sort_by(f64::total_cmp);
    // Nobody asks again within two seconds of an interval of five.
    let opened = at.windows(2).position(|pair| pair[1] - pair[0] > 2.0).map_or(at.len(), |last| last + 1);
    println!("{:<44} {}", "attempts while it was down", at.len());
    println!("{:<44} {opened}", "until the breaker opened");
    let probes: Vec<String> = at[opened..].iter().map(|at| format!("{at:.1}")).collect();
    let seconds = (up_us - down_us) as f64 / 1e6;
    println!(
        "{:<44} {} at s: {}",
        "then, one for each interval (5 s, doubling)",
        probes.len(),
        probes.join(" ")
    );
    println!("{:<44} {seconds:.1} s", "it was down for");
}

fn print_return(arrivals: &[Arrival], up_us: u64, waiting: usize) {
    let taken = arrivals.iter().filter(|arrival| arrival.taken && arrival.arrived_us >= up_us);
    let mut at: Vec<u64> = taken.map(|arrival| arrival.arrived_us).collect();
    at.sort_unstable();
    let (Some(first), Some(last)) = (at.first(), at.last()) else { return };
    let since = |from: u64, to: u64| (to - from) as f64 / 1e6;
    println!("{:<44} {waiting}", "waiting when it came back");
    println!("{:<44} {:.1} s", "from its return to the first arrival", since(up_us, *first));
    println!("{:<44} {:.1} s", "from its return to the last", since(up_us, *last));
    let seconds = since(*first, *last);
    let rate = at.len() as f64 / seconds;
    println!("{:<44} {seconds:.1} s, {rate:.0}/s", "from the first to the last");
    let curve = per_second(&at, *first);
    let curve: Vec<String> = curve.iter().map(ToString::to_string).collect();
    println!("{:<44} {}", "arrivals in each second from the first on", curve.join(" "));
}
