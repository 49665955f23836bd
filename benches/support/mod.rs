//! What the benchmarks stand on: a redis-server, the release binary and a receiver, each in a process of its own that
//! ends with its owner, so that what each costs can be told apart.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "programs that measure and print; each uses its own part"
)]

pub mod baseline;
pub mod figures;
#[path = "../../tests/support/ports.rs"]
mod ports;
pub mod receiver;
pub mod sink;
pub mod stage;
pub mod traffic;

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use self::ports::free_port;

/// Where receivers are, which webhooks of instances may not be sent to by default.
pub const HERE: &str = "127.0.0.0/8";

/// The arguments of a benchmark: `--name value` each, and `--quick`.
pub struct Args {
    given: Vec<String>,
    known: Vec<&'static str>,
}

impl Args {
    /// Those of this process. As `receive`, `sink` or `baseline` it is part of another, and does not come back.
    pub fn of_process() -> Self {
        let given: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
        let given_number = |at: usize| given[at].parse().expect("a number");
        match given.first().map(String::as_str) {
            Some("receive") => receiver::serve(given_number(1)),
            Some("sink") => sink::serve(given_number(1), given[2].parse().expect("a count"), &given[3]),
            Some("baseline") => baseline::run(&given[1], given_number(2), &given[3]),
            _ => return Self { given, known: vec!["--quick"] },
        }
        std::process::exit(0)
    }

    /// Whether it should be over soon, whatever the figures are worth then.
    pub fn is_quick(&self) -> bool {
        self.given.iter().any(|arg| arg == "--quick")
    }

    /// The number given as `--name`, or the default.
    pub fn number(&mut self, name: &'static str, default: usize, quick: usize) -> usize {
        let default = if self.is_quick() { quick } else { default };
        self.text(name).map_or(default, |text| text.parse().unwrap_or_else(|_| refuse(name)))
    }

    /// The numbers given as `--name`, with commas between, or the default.
    pub fn numbers(&mut self, name: &'static str, default: &[usize]) -> Vec<usize> {
        let Some(text) = self.text(name) else { return default.to_vec() };
        text.split(',').map(|part| part.parse().unwrap_or_else(|_| refuse(name))).collect()
    }

    /// What was given as `--name`.
    pub fn text(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let at = self.given.iter().position(|arg| arg == name)?;
        Some(self.given.get(at + 1).cloned().unwrap_or_else(|| refuse(name)))
    }

    /// Refuses what was not asked for.
    pub fn end(self) {
        if let Some(arg) =
            self.given.iter().find(|a| a.starts_with("--") && !self.known.contains(&a.as_str()))
        {
            refuse(arg);
        }
    }
}

fn refuse(name: &str) -> ! {
    eprintln!("error: cannot use {name}; scripts/bench.sh --help says which arguments there are");
    std::process::exit(2)
}

pub fn wait_for(port: u16) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < deadline, "nothing listens on port {port}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits until `holds`, looking every so often; false when it did not within `patience`.
pub fn until(patience: Duration, every: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(every);
    }
    true
}

/// Microseconds since 1970: what two processes on one machine can compare.
pub fn unix_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock that was set");
    u64::try_from(now.as_micros()).expect("not the year 500 000")
}

/// A process that ends with its owner.
pub struct Process(pub Child);

impl Process {
    pub fn start(command: &mut Command) -> Self {
        if command.get_program() == "redis-server" {
            command.stdout(Stdio::null());
        }
        Self(command.spawn().expect("it starts"))
    }

    fn read(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).unwrap()
    }

    /// How long its threads have run so far, seconds: by the scheduler, which counts in ns; `stat` counts in 10 ms. Those
    /// that have ended do not count; neither a worker nor Redis ends any that does much.
    pub fn cpu(&self) -> f64 {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
        let of_each = tasks.filter_map(|task| {
            // One may end meanwhile.
            let stat = std::fs::read_to_string(task.unwrap().path().join("schedstat")).ok()?;
            let ns = stat.split_whitespace().next().expect("a kernel that counts what threads run");
            Some(ns.parse::<f64>().unwrap() / 1e9)
        });
        let seconds: f64 = of_each.sum();
        assert!(seconds > 0.0, "a kernel that counts what threads run");
        seconds
    }

    /// The most memory it had, MB.
    pub fn peak_mb(&self) -> f64 {
        self.memory_mb("VmHWM")
    }

    /// The memory it has, MB.
    pub fn resident_mb(&self) -> f64 {
        self.memory_mb("VmRSS")
    }

    fn memory_mb(&self, what: &str) -> f64 {
        let status = self.read("status");
        let line = status.lines().find(|line| line.starts_with(what)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
