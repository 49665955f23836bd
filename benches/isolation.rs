//! Isolation: what healthy receivers notice of dead, slow and flooded ones.
//!
//! 10 instances with a receiver that takes 5 ms get a steady 500 events/s: alone; beside 20 healthy, 20 dead and 1000
//! dead ones that get 250 events/s together (of the dead a quarter each hang, refuse connections, answer 500, take 5 s);
//! beside one whose receiver takes 200 ms and that is flooded with 50 000 events, as fast as Redis takes them and at
//! 2500/s; and, to tell what the machine makes of so many events anyway, beside 10 healthy ones that get 2500/s. Each
//! has a redis-server, a worker, a receiver for the 10 and one for the others, started anew, one after the other in
//! every round. Printed are what the 10 got, from the push to the arrival, and how it compares with the same round's
//! alone, and with the same traffic to healthy ones.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures and prints")]

mod support;

use std::time::Duration;

use support::figures::{greatest, median, percentile};
use support::receiver::{Arrival, Receiver};
use support::stage::{REFUSING, Stage};
use support::{Args, traffic};

const HEALTHY: usize = 10;
const HEALTHY_PER_SECOND: f64 = 500.0;
const DEAD_PER_SECOND: f64 = 250.0;
const FLOOD_PER_SECOND: f64 = 2500.0;
/// How long the healthy ones have been going when the others begin and the measurement with them.
const WARM_UP: Duration = Duration::from_secs(2);
/// How long after the last push arrivals still count.
const STRAGGLERS: Duration = Duration::from_secs(15);

fn main() {
    let mut args = Args::of_process();
    let seconds = args.number("--seconds", 12, 4);
    let rounds = args.number("--rounds", 2, 1);
    let flood = args.number("--flood", 50_000, 2000);
    let only = args.text("--only");
    args.end();
    let lasting = Duration::from_secs(seconds as u64);
    let all = [
        Beside::Nothing,
        Beside::Healthy(20, DEAD_PER_SECOND),
        Beside::Dead(20),
        Beside::Dead(1000),
        Beside::Flood(flood, f64::INFINITY),
        Beside::Flood(flood, FLOOD_PER_SECOND),
        Beside::Healthy(10, FLOOD_PER_SECOND),
    ];
    let is_named = |beside: &Beside| only.as_ref().is_none_or(|only| beside.name().contains(only));
    let is_wanted = |beside: &&Beside| {
        let is_control = all.iter().any(|other| is_named(other) && other.control() == Some(**beside));
        **beside == Beside::Nothing || is_named(beside) || is_control
    };
    let wanted: Vec<Beside> = all.iter().filter(is_wanted).copied().collect();

    println!(
        "isolation: {HEALTHY} healthy instances at {HEALTHY_PER_SECOND}/s for {seconds} s; {rounds} rounds"
    );
    println!(
        "{:<28} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>7}",
        "beside", "events/s", "p50 ms", "p99 ms", "max ms", "missing", "worker", "redis"
    );
    let mut measured: Vec<Vec<Measured>> = vec![Vec::new(); wanted.len()];
    for _ in 0..rounds {
        for (beside, measured) in wanted.iter().zip(&mut measured) {
            let figures = measure(*beside, lasting);
            figures.print(&beside.name());
            measured.push(figures);
        }
    }
    println!("\nratios, median of the rounds (goals: to nothing, throughput within 5 %, p99 within 1.5)");
    for (beside, figures) in wanted.iter().zip(&measured).skip(1) {
        print_ratios(&beside.name(), figures, "nothing", &measured[0]);
        let control = beside.control().and_then(|control| wanted.iter().position(|other| *other == control));
        if let Some(control) = control {
            print_ratios("", figures, "the same to healthy ones", &measured[control]);
        }
    }
}

fn print_ratios(beside: &str, figures: &[Measured], to: &str, base: &[Measured]) {
    let ratio = |of: fn(&Measured) -> f64| {
        let ratios: Vec<f64> = figures.iter().zip(base).map(|(a, b)| of(a) / of(b)).collect();
        median(&ratios)
    };
    println!(
        "{beside:<28} throughput {:.3}   p50 {:.2}   p99 {:.2}   to {to}",
        ratio(|m| m.per_second),
        ratio(|m| m.p50_ms),
        ratio(|m| m.p99_ms)
    );
}

#[derive(Clone, Copy, PartialEq)]
enum Beside {
    Nothing,
    /// So many healthy instances, that get so many events a second together: what the traffic itself costs.
    Healthy(usize, f64),
    /// So many dead instances.
    Dead(usize),
    /// So many events for one slow instance, at so many a second.
    Flood(usize, f64),
}

impl Beside {
    fn name(self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Healthy(count, rate) => format!("{count} more healthy at {rate}/s"),
            Self::Dead(count) => format!("{count} dead instances"),
            Self::Flood(count, rate) if rate.is_infinite() => format!("flood of {count} at once"),
            Self::Flood(count, rate) => format!("flood of {count} at {rate}/s"),
        }
    }

    /// What gives the machine as many events to deliver, none of them to a bad receiver.
    fn control(self) -> Option<Self> {
        match self {
            Self::Dead(_) => Some(Self::Healthy(20, DEAD_PER_SECOND)),
            Self::Flood(_, rate) if rate.is_finite() => Some(Self::Healthy(10, rate)),
            Self::Nothing | Self::Healthy(..) | Self::Flood(..) => None,
        }
    }

    fn instances(self) -> Vec<String> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Healthy(count, _) => (0..count).map(|n| format!("more{n}")).collect(),
            Self::Dead(count) => (0..count).map(|n| format!("dead{n}")).collect(),
            Self::Flood(..) => vec!["flooded".to_owned()],
        }
    }
}

#[derive(Clone)]
struct Measured {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    missing: usize,
    worker_cpu: f64,
    redis_cpu: f64,
}

impl Measured {
    fn print(&self, beside: &str) {
        println!(
            "{beside:<28} {:>9.1} {:>8.2} {:>8.2} {:>8.1} {:>8} {:>7.0}% {:>6.0}%",
            self.per_second,
            self.p50_ms,
            self.p99_ms,
            self.max_ms,
            self.missing,
            100.0 * self.worker_cpu,
            100.0 * self.redis_cpu
        );
    }
}

fn measure(beside: Beside, lasting: Duration) -> Measured {
    let mut stage = Stage::start(&[]);
    let receiver_of_others = Receiver::start();
    let healthy: Vec<String> = (0..HEALTHY).map(|n| format!("healthy{n}")).collect();
    let others = beside.instances();
    set_webhooks(&stage, &healthy, &receiver_of_others, &others, beside);
    let log = format!("isolation-{}", beside.name().replace([' ', '/'], "-"));
    let worker = stage.start_worker(&log);

    let (mut redis, mut redis_of_others) = (stage.connect(), stage.connect());
    let (pushed_from, worker_cpu, redis_cpu) = std::thread::scope(|scope| {
        let pushing = scope.spawn(|| {
            traffic::push_steadily(&mut redis, &healthy, HEALTHY_PER_SECOND, WARM_UP + lasting);
        });
        std::thread::sleep(WARM_UP);
        let (from, worker_before, redis_before) = (support::unix_us(), worker.cpu(), stage.redis.cpu());
        match beside {
            Beside::Nothing => {}
            Beside::Healthy(_, rate) => {
                traffic::push_steadily(&mut redis_of_others, &others, rate, lasting);
            }
            Beside::Dead(_) => {
                traffic::push_steadily(&mut redis_of_others, &others, DEAD_PER_SECOND, lasting);
            }
            Beside::Flood(count, rate) if rate.is_infinite() => {
                traffic::push_at_once(&mut redis_of_others, &others[0], count);
            }
            Beside::Flood(count, rate) => {
                let lasting = lasting.min(Duration::from_secs_f64(count as f64 / rate));
                traffic::push_steadily(&mut redis_of_others, &others, rate, lasting);
            }
        }
        pushing.join().unwrap();
        (from, worker.cpu() - worker_before, stage.redis.cpu() - redis_before)
    });

    let pushed = ((WARM_UP + lasting).as_secs_f64() * HEALTHY_PER_SECOND) as usize;
    let pushed_until = support::unix_us();
    let mut arrivals = Vec::new();
    support::until(STRAGGLERS, Duration::from_millis(500), || {
        arrivals = stage.receiver.report();
        arrivals.retain(|arrival| arrival.instance.starts_with("healthy"));
        arrivals.sort_by_key(|arrival| arrival.number);
        arrivals.dedup_by_key(|arrival| arrival.number);
        arrivals.len() >= pushed
    });
    note_each(&log, &arrivals, pushed_from);
    let in_time = arrivals.iter().filter(|a| (pushed_from..pushed_until).contains(&a.arrived_us)).count();
    let pushed_then = arrivals.iter().filter(|arrival| arrival.pushed_us >= pushed_from);
    let latencies: Vec<f64> = pushed_then.map(Arrival::latency_ms).collect();
    let seconds = (pushed_until - pushed_from) as f64 / 1e6;
    Measured {
        per_second: in_time as f64 / seconds,
        p50_ms: median(&latencies),
        p99_ms: percentile(&latencies, 99.0),
        max_ms: greatest(&latencies),
        missing: pushed - arrivals.len(),
        worker_cpu: worker_cpu / seconds,
        redis_cpu: redis_cpu / seconds,
    }
}

/// Writes `target/tmp/<name>.csv`: when each was pushed, in seconds from the start of the measurement, and its latency.
fn note_each(name: &str, arrivals: &[Arrival], from_us: u64) {
    let lines = arrivals.iter().map(|arrival| {
        let at = (arrival.pushed_us as f64 - from_us as f64) / 1e6;
        format!("{at:.4},{:.3}\n", arrival.latency_ms())
    });
    let file = format!("{}/{name}.csv", env!("CARGO_TARGET_TMPDIR"));
    std::fs::write(file, lines.collect::<String>()).unwrap();
}

fn set_webhooks(
    stage: &Stage,
    healthy: &[String],
    receiver_of_others: &Receiver,
    others: &[String],
    beside: Beside,
) {
    let url = |path| receiver_of_others.url(path);
    let (well, slow, very_slow) = (url("/after/5"), url("/after/200"), url("/after/5000"));
    let (hanging, failing) = (url("/hang"), url("/status/500"));
    let dead = [hanging.as_str(), REFUSING, failing.as_str(), very_slow.as_str()];
    let url_of = |number: usize| match beside {
        Beside::Flood(..) => slow.as_str(),
        Beside::Healthy(..) => well.as_str(),
        Beside::Nothing | Beside::Dead(_) => dead[number % dead.len()],
    };
    let healthy_url = stage.receiver.url("/after/5");
    let healthy = healthy.iter().map(|instance| (instance.clone(), healthy_url.as_str()));
    let others = others.iter().enumerate().map(|(number, instance)| (instance.clone(), url_of(number)));
    stage.set_webhooks(healthy.chain(others));
}
