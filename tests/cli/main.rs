//! The commands: the real binary against a real Redis.

#[path = "../support/mod.rs"]
mod support;

mod addresses;
mod condition;
mod dead;
mod destination;
mod dev;
mod explain;
mod listen;
mod parked;
mod publish;
mod run;
mod server;
mod webhook;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use support::RedisServer;

/// How a command ended, and what it said.
#[derive(Debug)]
struct Ran {
    status: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    /// What was printed, as JSON.
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Itself, if it ended with `status`.
    fn ended(self, status: i32) -> Self {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

/// The binary with these arguments and Redis at `url`, and no other settings.
fn posthaste(url: &str, args: &[&str]) -> Command {
    let mut command = support::worker::command();
    command.args(args).env("REDIS_URL", url).stdin(Stdio::null());
    // Where there is no `.env`.
    command.current_dir("/");
    command
}

/// Runs a command to its end.
fn run(redis: &RedisServer, args: &[&str]) -> Ran {
    finish(&mut posthaste(&redis.url(), args))
}

/// Runs a command to its end, with settings.
fn run_with(redis: &RedisServer, settings: &[(&str, &str)], args: &[&str]) -> Ran {
    finish(posthaste(&redis.url(), args).envs(settings.iter().copied()))
}

/// Runs a command to its end, with this on its stdin.
fn run_on(redis: &RedisServer, stdin: &[u8], args: &[&str]) -> Ran {
    let mut command = posthaste(&redis.url(), args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary runs");
    let mut pipe = child.stdin.take().expect("its stdin is a pipe");
    std::thread::scope(|scope| {
        // It may end before it has read everything.
        scope.spawn(move || _ = pipe.write_all(stdin));
        ran(child.wait_with_output().expect("it ends"))
    })
}

fn finish(command: &mut Command) -> Ran {
    ran(command.output().expect("the binary runs"))
}

fn ran(output: std::process::Output) -> Ran {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("what is printed is UTF-8");
    let status = output.status.code().expect("it was not killed");
    Ran { status, stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// A command that goes on by itself; it ends with its owner.
struct Running {
    child: Child,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        Self { child: command.spawn().expect("the binary runs") }
    }

    /// Waits for its end.
    fn ended(mut self) -> Option<i32> {
        self.child.wait().expect("it ends").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// `posthaste listen` on a free port.
struct Listener {
    running: Running,
    stdout: BufReader<std::process::ChildStdout>,
    addr: String,
}

impl Listener {
    fn start(args: &[&str]) -> Self {
        let mut command = posthaste("", &["listen", "--addr", "127.0.0.1:0", "--json"]);
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut running = Running::start(&mut command);
        let mut stderr = BufReader::new(running.child.stderr.take().expect("its stderr is a pipe"));
        let stdout = BufReader::new(running.child.stdout.take().expect("its stdout is a pipe"));
        let mut line = String::new();
        stderr.read_line(&mut line).expect("it says where it listens");
        let addr = line.strip_prefix("listening on http://").and_then(|rest| rest.split(';').next());
        let addr = addr.unwrap_or_else(|| panic!("it says where it listens: {line}")).to_owned();
        Self { running, stdout, addr }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// The next request it tells of.
    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("it tells of the request");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}
