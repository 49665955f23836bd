//! Drain: how fast one worker takes a backlog to one receiver, and what it costs.
//!
//! `cargo bench --bench drain -- [events] [runs]`, 20000 and 5 by default. Each run has a redis-server of its own (AOF
//! everysec), a receiver in a process of its own that answers 204 to everything, and the release binary with default
//! settings. Printed are deliveries a second from the first arrival to the last, CPU seconds of worker and Redis for
//! 10 000 deliveries, and the worker's peak memory; medians with their range.

#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program that measures and prints")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use posthaste::{Published, Publisher};
use support::{Process, free_port, wait_for};

const EVENT_BYTES: usize = 600;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    if args.first().is_some_and(|arg| arg == "receive") {
        return receive(args[1].parse().unwrap());
    }
    let number = |at: usize, default| args.get(at).map_or(default, |arg| arg.parse().expect("a number"));
    let (events, runs) = (number(0, 20_000), number(1, 5));
    println!("drain of {events} events of {EVENT_BYTES} bytes, {runs} runs");
    let measured: Vec<Measured> = (0..runs).map(|_| run(events)).collect();
    let print = |what: &str, of: fn(&Measured) -> f64| {
        let mut values: Vec<f64> = measured.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        println!("{what:<32} {:>9.2} [{:.2}–{:.2}]", values[runs / 2], values[0], values[runs - 1]);
    };
    print("deliveries/s", |m| m.per_second);
    print("worker CPU-s per 10 000", |m| m.worker_cpu);
    print("redis CPU-s per 10 000", |m| m.redis_cpu);
    print("worker peak memory, MB", |m| m.peak_mb);
}

struct Measured {
    per_second: f64,
    worker_cpu: f64,
    redis_cpu: f64,
    peak_mb: f64,
}

fn run(events: usize) -> Measured {
    let dir = tempfile::tempdir().unwrap();
    let (redis_port, receiver_port) = (free_port(), free_port());
    let redis = Process::start(
        Command::new("redis-server")
            .args(["--port", &redis_port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "everysec", "--dir"])
            .arg(dir.path()),
    );
    let mut receiver = Process::start(
        Command::new(std::env::current_exe().unwrap())
            .args(["receive", &receiver_port.to_string()])
            .stdout(Stdio::piped()),
    );
    wait_for(redis_port);
    wait_for(receiver_port);
    let redis_url = format!("redis://127.0.0.1:{redis_port}");
    push(&redis_url, events);
    let redis_before = redis.cpu();

    let worker = Process::start(
        Command::new(env!("CARGO_BIN_EXE_posthaste"))
            .arg("run")
            .current_dir(dir.path())
            .env_clear()
            .env("REDIS_URL", &redis_url)
            .env("ADMIN_ADDR", "off")
            .env("WEBHOOK_GLOBAL_ENABLED", "true")
            .env("WEBHOOK_GLOBAL_URL", format!("http://127.0.0.1:{receiver_port}/"))
            .env("WEBHOOK_EVENTS_MESSAGES_UPSERT", "true")
            .stderr(Stdio::null()),
    );
    let mut seconds = String::new();
    let mut told = receiver.0.stdout.take().unwrap();
    ask(receiver_port, events);
    told.read_to_string(&mut seconds).unwrap();
    // Acknowledgements follow the last arrival by moments.
    std::thread::sleep(Duration::from_millis(300));
    let per = 10_000.0 / events as f64;
    Measured {
        per_second: events as f64 / seconds.trim().parse::<f64>().unwrap(),
        worker_cpu: worker.cpu() * per,
        redis_cpu: (redis.cpu() - redis_before) * per,
        peak_mb: worker.peak_mb(),
    }
}

fn push(redis_url: &str, events: usize) {
    let publisher = Publisher::connect(redis_url, "webhooks").unwrap();
    let event = |n: usize| {
        let start = format!(r#"{{"event":"messages.upsert","instance":"sales","data":{{"n":{n},"text":""#);
        let end = r#""},"date_time":"2026-01-01T00:00:00.000Z","sender":"5500999990000@s.whatsapp.net"}"#;
        let filler = "x".repeat(EVENT_BYTES - start.len() - end.len());
        Published::new(format!("{start}{filler}{end}")).unwrap()
    };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        for first in (0..events).step_by(1000) {
            let chunk: Vec<_> = (first..events.min(first + 1000)).map(event).collect();
            publisher.publish_all(&chunk).await.unwrap();
        }
    });
}

/// Answers 204 to everything, on a thread for each connection; prints the seconds from the first to the last of as
/// many requests as it is asked to wait for, and ends.
fn receive(port: u16) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    static FIRST: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        std::thread::spawn(move || {
            stream.set_nodelay(true).unwrap();
            let mut buffer = Vec::with_capacity(64 * 1024);
            let mut chunk = [0; 64 * 1024];
            loop {
                let Ok(read) = stream.read(&mut chunk) else { return };
                if read == 0 {
                    return;
                }
                buffer.extend_from_slice(&chunk[..read]);
                while let Some(length) = whole_request(&buffer) {
                    if buffer.starts_with(b"WAIT ") {
                        let text = std::str::from_utf8(&buffer[5..length]).unwrap();
                        wait_for_count(text.trim().parse().unwrap(), &COUNT, &FIRST);
                    }
                    buffer.drain(..length);
                    FIRST.get_or_init(Instant::now);
                    COUNT.fetch_add(1, Ordering::Relaxed);
                    if stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_err() {
                        return;
                    }
                }
            }
        });
    }
}

fn wait_for_count(wanted: usize, count: &AtomicUsize, first: &std::sync::OnceLock<Instant>) -> ! {
    let deadline = Instant::now() + Duration::from_secs(300);
    while count.load(Ordering::Relaxed) < wanted {
        assert!(Instant::now() < deadline, "only {} of {wanted} came", count.load(Ordering::Relaxed));
        std::thread::sleep(Duration::from_micros(500));
    }
    println!("{}", first.get().unwrap().elapsed().as_secs_f64());
    std::process::exit(0)
}

/// The length of the request at the start of `buffer`, once it is whole.
fn whole_request(buffer: &[u8]) -> Option<usize> {
    if buffer.starts_with(b"WAIT ") {
        return buffer.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
    }
    let head = buffer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&buffer[..head]).ok()?.to_ascii_lowercase();
    let length =
        text.lines().find_map(|line| line.strip_prefix("content-length:"))?.trim().parse::<usize>().ok()?;
    (buffer.len() >= head + length).then_some(head + length)
}

fn ask(port: u16, events: usize) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(format!("WAIT {events}\n").as_bytes()).unwrap();
    let _ = stream.read(&mut [0; 1]);
}
