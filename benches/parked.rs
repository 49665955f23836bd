//! Parked: what a million deliveries cost that wait for one dead receiver.
//!
//! They are written to Redis as the worker writes them (src/store/lua/wait.lua). Printed are the memory of each, and
//! with none and with all of them parked: the CPU of an idle worker and of Redis, the requests Redis gets, and how
//! long single events take to a healthy receiver, from the push to the arrival. Then the webhook of the dead one is
//! removed: how soon and how fast they become dead letters, and how long single events take meanwhile.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures and prints")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::figures::{median, percentile};
use support::stage::{REFUSING, Stage};
use support::{Args, Process, traffic};

const HEALTHY: &str = "healthy";
const DEAD: &str = "dead";
/// How long the worker finds out what it will about the dead one before the measurement.
const SETTLE: Duration = Duration::from_secs(10);
const PIPELINE: usize = 2000;
/// How long requests are counted.
const COUNTED: Duration = Duration::from_secs(5);
/// So many of its deliveries may be on their way already.
const FEW: usize = 100;
/// How long until the worker has to notice that a webhook is gone: the breaker's longest interval and more.
const PATIENCE: Duration = Duration::from_secs(80);

fn main() {
    let mut args = Args::of_process();
    let deliveries = args.number("--deliveries", 1_000_000, 20_000);
    let seconds = args.number("--seconds", 15, 4);
    let singles = args.number("--singles", 50, 10);
    args.end();
    println!("parked: {deliveries} deliveries of {} bytes for one dead receiver", traffic::EVENT_BYTES);

    // A rewrite of the AOF has costs of its own.
    let mut stage = Stage::start(&["--auto-aof-rewrite-percentage", "0"]);
    let url = stage.receiver.url("/after/0");
    stage.set_webhooks([(HEALTHY.to_owned(), url.as_str()), (DEAD.to_owned(), REFUSING)]);
    println!(
        "{:<20} {:>10} {:>10} {:>12} {:>12} {:>12} {:>10}",
        "parked", "worker", "redis", "requests/s", "median ms", "p99 ms", "worker MB"
    );
    let idle = Duration::from_secs(seconds as u64);
    let (mut numbers, mut last) = (0.., None);
    for parked in [0, deliveries] {
        if parked > 0 {
            drop(last.take());
            let before = stage.redis_info("used_memory");
            let began = Instant::now();
            park(&stage, parked);
            let (each, took) = ((stage.redis_info("used_memory") - before) / parked as f64, began.elapsed());
            println!("({each:.0} bytes of Redis memory for each; written in {:.1} s)", took.as_secs_f64());
        }
        let worker = stage.start_worker(&format!("parked-{parked}"));
        std::thread::sleep(SETTLE);
        let measured = Measured::of(&mut stage, &worker, idle, &mut numbers, singles);
        measured.print(&parked.to_string(), worker.peak_mb());
        last = Some(worker);
    }
    remove(&mut stage, &mut numbers, singles);
}

/// Removes the dead one's webhook and watches what becomes of its deliveries.
fn remove(stage: &mut Stage, numbers: &mut std::ops::RangeFrom<usize>, singles: usize) {
    let mut redis = stage.connect();
    stage.command(&["webhook", "delete", DEAD]);
    let removed = Instant::now();
    let mut count = || redis::cmd("XLEN").arg("{webhooks}:dead").query::<usize>(&mut redis).unwrap();
    // What is not parked but waits for a retry is dead when that is due.
    if !support::until(PATIENCE, Duration::from_millis(20), || count() > FEW) {
        return println!("removed: {} dead letters within {PATIENCE:?}", count());
    }
    let (noticed, before) = (Instant::now(), count());
    let single_ms: Vec<f64> = numbers.take(singles).map(|number| single(stage, number)).collect();
    let rate = (count() - before) as f64 / noticed.elapsed().as_secs_f64();
    println!(
        "removed: they become dead letters after {:.1} s, then {rate:.0}/s; singles meanwhile: median {:.2} ms, p99 {:.2} ms",
        (noticed - removed).as_secs_f64(),
        median(&single_ms),
        percentile(&single_ms, 99.0)
    );
}

struct Measured {
    worker_cpu: f64,
    redis_cpu: f64,
    requests: f64,
    single_ms: Vec<f64>,
}

impl Measured {
    fn of(
        stage: &mut Stage,
        worker: &Process,
        idle: Duration,
        numbers: &mut std::ops::RangeFrom<usize>,
        singles: usize,
    ) -> Self {
        let (worker_before, redis_before) = (worker.cpu(), stage.redis.cpu());
        std::thread::sleep(idle);
        let seconds = idle.as_secs_f64();
        let (worker_cpu, redis_cpu) = (worker.cpu() - worker_before, stage.redis.cpu() - redis_before);
        Self {
            worker_cpu: worker_cpu / seconds,
            redis_cpu: redis_cpu / seconds,
            requests: requests(stage) / COUNTED.as_secs_f64(),
            single_ms: numbers.take(singles).map(|number| single(stage, number)).collect(),
        }
    }

    fn print(&self, parked: &str, worker_mb: f64) {
        println!(
            "{parked:<20} {:>9.2}% {:>9.2}% {:>12.1} {:>12.2} {:>12.2} {:>10.1}",
            100.0 * self.worker_cpu,
            100.0 * self.redis_cpu,
            self.requests,
            median(&self.single_ms),
            percentile(&self.single_ms, 99.0),
            worker_mb
        );
    }
}

/// How many requests Redis gets within [`COUNTED`]; what scripts do in it is none.
fn requests(stage: &Stage) -> f64 {
    let mut stream = TcpStream::connect(stage.redis_url().trim_start_matches("redis://")).unwrap();
    stream.write_all(b"MONITOR\r\n").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let (start, mut text, mut chunk) = (Instant::now(), Vec::new(), [0; 64 * 1024]);
    while start.elapsed() < COUNTED {
        match stream.read(&mut chunk) {
            Ok(read) => text.extend_from_slice(&chunk[..read]),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}")
            }
        }
    }
    let text = String::from_utf8_lossy(&text);
    let is_request = |line: &&str| line.starts_with('+') && !line.contains(" lua] ") && *line != "+OK";
    text.lines().filter(is_request).count() as f64
}

/// How long one event takes to the healthy receiver, ms.
fn single(stage: &mut Stage, number: usize) -> f64 {
    std::thread::sleep(Duration::from_millis(50));
    let push = traffic::push(HEALTHY, number, traffic::EVENT_BYTES);
    push.query::<()>(&mut stage.connect()).unwrap();
    let taken = number + 1;
    let came =
        support::until(Duration::from_secs(30), Duration::from_millis(1), || stage.receiver.taken() >= taken);
    assert!(came, "event {number} did not arrive");
    stage.receiver.report().last().unwrap().latency_ms()
}

/// Parks so many deliveries for the dead receiver.
fn park(stage: &Stage, count: usize) {
    let mut redis = stage.connect();
    let now_ms = support::unix_us() / 1000;
    let to = format!("instance:{DEAD}");
    let park = format!("{{webhooks}}:park:{to}");
    for first in (0..count).step_by(PIPELINE) {
        let mut pipeline = redis::pipe();
        let mut add = redis::cmd("ZADD");
        add.arg(&park);
        for number in first..count.min(first + PIPELINE) {
            // As if they had been pushed one each millisecond until now.
            let pushed_ms = now_ms - (count - number) as u64;
            let key = format!("{pushed_ms}-0");
            let event = format!("{{webhooks}}:event:{key}");
            let payload = traffic::envelope(DEAD, number, traffic::EVENT_BYTES);
            let id = format!("{DEAD}/{number}/{}", pushed_ms * 1000);
            pipeline.cmd("HSET").arg(event).arg("payload").arg(payload);
            pipeline.arg("event").arg(format!("{id} {pushed_ms}")).arg(format!("tried:{to}")).arg(0).ignore();
            add.arg(pushed_ms).arg(key);
        }
        pipeline.add_command(add).ignore().query::<()>(&mut redis).unwrap();
    }
    let mut pipeline = redis::pipe();
    pipeline.cmd("HSET").arg("{webhooks}:parked").arg(&to).arg(format!("{now_ms} down")).ignore();
    pipeline.cmd("ZADD").arg("{webhooks}:parks").arg(now_ms).arg(&to).ignore();
    pipeline.query::<()>(&mut redis).unwrap();
}
