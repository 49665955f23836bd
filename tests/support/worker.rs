//! A worker: the real binary, in a process of its own.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{RedisServer, eventually};

/// Waits between attempts that a test can sit out; and between the probes of a breaker, which are no longer than these.
pub const SHORT_WAITS: [(&str, &str); 2] =
    [("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.05"), ("WEBHOOK_RETRY_MAX_DELAY_SECONDS", "0.2")];
/// Waits of which none ends by itself during a test (see [`RedisServer::end_all_waits`]).
pub const LONG_WAITS: [(&str, &str); 2] =
    [("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "1000"), ("WEBHOOK_RETRY_MAX_DELAY_SECONDS", "2000")];

/// The addresses of this machine, as `WEBHOOK_ALLOW_CIDRS` has them.
pub const HERE: &str = "127.0.0.0/8,::1/128";

/// `posthaste run`; it ends with its owner.
pub struct Worker {
    child: Child,
    dir: tempfile::TempDir,
}

impl Worker {
    /// Starts a worker with these settings, and waits until it beats.
    pub async fn start(redis: &RedisServer, settings: &[(&str, &str)]) -> Self {
        let worker = Self::spawn(&redis.url(), settings);
        let pid = format!("-{}-", worker.child.id());
        eventually("the worker's first heartbeat", || async {
            let workers: Vec<String> = redis.command(&["ZRANGE", "{webhooks}:workers", "0", "-1"]).await;
            workers.iter().any(|name| name.contains(&pid)).then_some(())
        })
        .await;
        worker
    }

    /// Starts a worker without waiting for anything.
    pub fn spawn(redis_url: &str, settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let log = File::create(dir.path().join("log")).expect("a log file");
        let child = command()
            .arg("run")
            .current_dir(dir.path())
            .env("REDIS_URL", redis_url)
            .env("LOG_LEVEL", "debug")
            .env("ADMIN_ADDR", "off")
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary runs");
        Self { child, dir }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Where it logs.
    pub fn log_file(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// Its warnings and errors, line by line.
    pub fn warnings(&self) -> Vec<String> {
        let is_one = |line: &&str| line.contains(" WARN ") || line.contains(" ERROR ");
        self.log().lines().filter(is_one).map(str::to_owned).collect()
    }

    /// Whether it runs.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its state is ours to know").is_none()
    }

    /// Sends it a signal by name (TERM, STOP, CONT, …).
    pub fn signal(&self, signal: &str) {
        self::signal(self.pid(), signal);
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().expect("the worker is ours to kill");
        self.child.wait().expect("the worker ends");
    }

    /// Waits until it has ended by itself or by a signal; its exit status.
    pub async fn ended(&mut self) -> Option<i32> {
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            if let Some(status) = self.child.try_wait().expect("its state is ours to know") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the worker did not end:\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Asks it to stop, and waits; its exit status.
    pub fn stop(&mut self) -> Option<i32> {
        self.signal("TERM");
        let deadline = Instant::now() + Duration::from_secs(40);
        loop {
            if let Some(status) = self.child.try_wait().expect("its state is ours to know") {
                return status.code();
            }
            assert!(Instant::now() < deadline, "the worker did not stop:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- log of worker {} ---\n{}", self.child.id(), self.log());
        }
    }
}

/// Sends a process a signal by name.
pub fn signal(pid: u32, signal: &str) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill -{signal} {pid}");
}

/// Runs a command of the binary to its end, which has to be a good one; what it printed.
pub fn run_command(redis: &RedisServer, args: &[&str]) -> String {
    let output = command().args(args).env("REDIS_URL", redis.url()).output().expect("the binary runs");
    assert!(
        output.status.success(),
        "posthaste {args:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("what is printed is text")
}

/// The binary, with none of this process' settings.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    // Receivers of tests are on this machine, where webhooks of instances may not be sent to by default.
    command.env("WEBHOOK_ALLOW_CIDRS", HERE);
    // And what is set as an example is not looked for in DNS.
    command.env("WEBHOOK_ALLOW_HOSTS", "example.com,*.example");
    command
}
