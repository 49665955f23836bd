//! Ingest: how many events a second one worker takes in over HTTP, next to what Redis itself takes.
//!
//! One redis-server (AOF everysec). `redis-benchmark` XADDs events of 700 bytes over 64 connections, one at a time and 16
//! at a time. Then 64 connections POST events of the same size to the release binary: one in each request, one with a
//! key, and 500 in each request as lines; the worker reads nothing meanwhile, so that it is the intake that is measured.
//! Then one in each request while it reads and discards them (they have no destination), and last, with nobody else
//! asking, over one connection. Each is measured `--rounds` times in turns, so that all see the same machine. Printed are
//! medians, and each rate against those of `redis-benchmark`.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures and prints")]

mod support;

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use support::figures::{median, percentile};
use support::stage::Stage;
use support::{Args, Process, free_port, traffic, wait_for};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CONNECTIONS: usize = 64;
const EVENT_BYTES: usize = 700;
/// Events in one request of lines.
const LINES: usize = 500;

/// How events are pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Xadd { at_once: usize },
    Post { keyed: bool, reading: bool },
    Lines,
    Alone,
}

const WAYS: [Way; 7] = [
    Way::Xadd { at_once: 1 },
    Way::Xadd { at_once: 16 },
    Way::Post { keyed: false, reading: false },
    Way::Post { keyed: true, reading: false },
    Way::Lines,
    Way::Post { keyed: false, reading: true },
    Way::Alone,
];

impl Way {
    fn name(self) -> String {
        match self {
            Self::Xadd { at_once } => format!("redis-benchmark XADD, {at_once} at a time"),
            Self::Post { keyed: true, .. } => "POST, one event with a key".to_owned(),
            Self::Post { reading: true, .. } => "POST, one event, and read again".to_owned(),
            Self::Post { .. } => "POST, one event".to_owned(),
            Self::Alone => "POST, one event, one connection".to_owned(),
            Self::Lines => format!("POST, {LINES} events as lines"),
        }
    }
}

/// What one measurement came to.
#[derive(Clone, Copy, Debug)]
struct Measured {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// CPU seconds of the worker for 10 000 events.
    worker: f64,
}

fn main() {
    let mut args = Args::of_process();
    let seconds = args.number("--seconds", 4, 1);
    let rounds = args.number("--rounds", 3, 1);
    args.end();
    let lasting = Duration::from_secs(seconds as u64);
    let stage = Stage::start(&[]);
    let port = free_port();
    let addr = format!("127.0.0.1:{port}");
    let worker = stage.start_worker_with("ingest", &[("ADMIN_ADDR", &addr), ("DEDUP_WINDOW_SECONDS", "60")]);
    wait_for(port);

    println!(
        "ingest: {CONNECTIONS} connections, events of {EVENT_BYTES} bytes, {rounds} rounds of {seconds} s"
    );
    let mut measured: Vec<Vec<Measured>> = vec![Vec::new(); WAYS.len()];
    for _ in 0..rounds {
        for (way, measured) in WAYS.iter().zip(&mut measured) {
            measured.push(measure(*way, &stage, &worker, port, lasting));
        }
    }
    print(&measured);
    println!("worker: {:.0} MB at most", worker.peak_mb());
}

fn print(measured: &[Vec<Measured>]) {
    let of =
        |all: &[Measured], figure: fn(&Measured) -> f64| median(&all.iter().map(figure).collect::<Vec<_>>());
    let rates: Vec<f64> = measured.iter().map(|all| of(all, |m| m.per_second)).collect();
    println!(
        "{:<36} {:>9} {:>8} {:>8} {:>8} {:>8} {:>10}",
        "", "events/s", "of -P 1", "of -P 16", "p50 ms", "p99 ms", "CPU-s/10k"
    );
    for ((way, all), rate) in WAYS.iter().zip(measured).zip(&rates) {
        println!(
            "{:<36} {rate:>9.0} {:>8.2} {:>8.2} {:>8.2} {:>8.2} {:>10}",
            way.name(),
            rate / rates[0],
            rate / rates[1],
            of(all, |m| m.p50_ms),
            of(all, |m| m.p99_ms),
            cpu(of(all, |m| m.worker)),
        );
    }
}

/// Nothing where it is not the worker's.
fn cpu(seconds: f64) -> String {
    if seconds.is_nan() { String::new() } else { format!("{seconds:.2}") }
}

fn measure(way: Way, stage: &Stage, worker: &Process, port: u16, lasting: Duration) -> Measured {
    let mut redis = stage.connect();
    let reading = matches!(way, Way::Post { reading: true, .. });
    let rule = if reading { "+xreadgroup" } else { "-xreadgroup" };
    redis::cmd("ACL").arg("SETUSER").arg("default").arg(rule).query::<()>(&mut redis).unwrap();
    if reading {
        // It tries again by itself.
        support::until(Duration::from_secs(20), Duration::from_millis(20), || stage.unsettled() == 0);
    }
    let cpu = worker.cpu();
    let before = added(&mut redis);
    let (per_second, latencies) = match way {
        Way::Xadd { at_once } => return xadd(&stage.redis_url(), at_once, lasting),
        _ => post(way, port, lasting),
    };
    let events = added(&mut redis) - before;
    let cpu = (worker.cpu() - cpu) / events * 1e4;
    if !reading {
        redis::cmd("XTRIM").arg("webhooks").arg("MAXLEN").arg(0).query::<()>(&mut redis).unwrap();
    }
    Measured {
        per_second,
        p50_ms: percentile(&latencies, 50.0),
        p99_ms: percentile(&latencies, 99.0),
        worker: cpu,
    }
}

/// How many events were ever put in the stream.
fn added(redis: &mut redis::Connection) -> f64 {
    let facts: std::collections::HashMap<String, redis::Value> =
        redis::cmd("XINFO").arg("STREAM").arg("webhooks").query(redis).unwrap();
    redis::from_redis_value(facts["entries-added"].clone()).unwrap()
}

/// What `redis-benchmark` measures; its requests are as many as take about as long.
fn xadd(url: &str, at_once: usize, lasting: Duration) -> Measured {
    let port = url.rsplit(':').next().unwrap();
    let requests = lasting.as_secs() as usize * if at_once == 1 { 30_000 } else { 100_000 };
    let output = Command::new("redis-benchmark")
        .args(["-p", port, "-c", &CONNECTIONS.to_string(), "-P", &at_once.to_string(), "--csv"])
        .args(["-n", &requests.to_string(), "XADD", "bench", "*", "payload"])
        .arg(traffic::envelope("sales", 0, EVENT_BYTES))
        .stdin(Stdio::null())
        .output()
        .expect("redis-benchmark is on the PATH");
    let text = String::from_utf8(output.stdout).unwrap();
    // The first column is the command, with quotes and commas of its own: rps, average, min, p50, p95, p99, max follow.
    let last = text.lines().last().unwrap();
    let columns: Vec<f64> =
        last.rsplit(',').take(7).map(|text| text.trim_matches('"').parse().unwrap()).collect();
    let mut redis = redis::Client::open(url).unwrap().get_connection().unwrap();
    redis::cmd("DEL").arg("bench").query::<()>(&mut redis).unwrap();
    Measured { per_second: columns[6], p50_ms: columns[3], p99_ms: columns[1], worker: f64::NAN }
}

/// Events a second that were acknowledged, and the time each request took, ms.
fn post(way: Way, port: u16, lasting: Duration) -> (f64, Vec<f64>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let begun = Instant::now();
    let latencies = runtime.block_on(async {
        let mut connections = tokio::task::JoinSet::new();
        for _ in 0..if way == Way::Alone { 1 } else { CONNECTIONS } {
            connections.spawn(ask(way, port, begun + lasting));
        }
        connections.join_all().await.concat()
    });
    let each = if way == Way::Lines { LINES } else { 1 };
    ((latencies.len() * each) as f64 / begun.elapsed().as_secs_f64(), latencies)
}

/// Asks on one connection, one request after the other.
async fn ask(way: Way, port: u16, until: Instant) -> Vec<f64> {
    static KEY: AtomicU64 = AtomicU64::new(0);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let event = traffic::envelope("sales", 0, EVENT_BYTES);
    let (body, kind) = match way {
        Way::Lines => (format!("{event}\n").repeat(LINES), "application/x-ndjson"),
        _ => (event, "application/json"),
    };
    let keyed = matches!(way, Way::Post { keyed: true, .. });
    let (mut latencies, mut answer) = (Vec::new(), vec![0; 64 * 1024]);
    while Instant::now() < until {
        let key = match keyed {
            true => format!("idempotency-key: bench-{}\r\n", KEY.fetch_add(1, Ordering::Relaxed)),
            false => String::new(),
        };
        let request = format!(
            "POST /events HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: {kind}\r\n{key}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let sent = Instant::now();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut read = 0;
        while !is_whole(&answer[..read]) {
            let more = stream.read(&mut answer[read..]).await.unwrap();
            assert!(more > 0, "the connection ended: {}", String::from_utf8_lossy(&answer[..read]));
            read += more;
        }
        assert!(answer.starts_with(b"HTTP/1.1 202"), "{}", String::from_utf8_lossy(&answer[..read]));
        latencies.push(sent.elapsed().as_secs_f64() * 1e3);
    }
    latencies
}

fn is_whole(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let text = std::str::from_utf8(&answer[..head]).unwrap();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    answer.len() >= head + 4 + length.parse::<usize>().unwrap()
}
