//! A redis-server and a receiver, and workers between them.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::receiver::Receiver;
use super::{Process, free_port, wait_for};

/// Where nothing listens: a connection is refused at once.
pub const REFUSING: &str = "http://127.0.0.1:1/";

/// The release binary, or another build that is to be compared with it.
fn program() -> String {
    std::env::var("BENCH_POSTHASTE").unwrap_or_else(|_| env!("CARGO_BIN_EXE_posthaste").to_owned())
}

/// Everything but the worker.
pub struct Stage {
    pub redis: Process,
    pub receiver: Receiver,
    port: u16,
    dir: tempfile::TempDir,
}

impl Stage {
    /// A redis-server (AOF everysec) with these further arguments, and a receiver.
    pub fn start(redis_args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let redis = Process::start(
            Command::new("redis-server")
                .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
                .args(["--appendonly", "yes", "--appendfsync", "everysec"])
                .args(["--loglevel", "warning", "--dir"])
                .arg(dir.path())
                .args(redis_args)
                .stdin(Stdio::null()),
        );
        wait_for(port);
        Self { redis, receiver: Receiver::start(), port, dir }
    }

    pub fn redis_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A baseline that sends to `url`; see [`super::baseline`].
    pub fn start_baseline(&self, name: &str, url: &str) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        Process::start(command.args(["baseline", name, &self.port.to_string(), url]))
    }

    /// A connection of its own.
    pub fn connect(&self) -> redis::Connection {
        redis::Client::open(self.redis_url()).unwrap().get_connection().unwrap()
    }

    /// Stores webhooks, instance and URL each.
    pub fn set_webhooks<'a>(&self, webhooks: impl IntoIterator<Item = (String, &'a str)>) {
        let mut pipeline = redis::pipe();
        for (instance, url) in webhooks {
            let webhook = format!(r#"{{"url":"{url}","webhook_base64":true}}"#);
            pipeline.cmd("HSET").arg("{webhooks}:webhooks").arg(instance).arg(webhook).ignore();
        }
        pipeline.cmd("INCR").arg("{webhooks}:webhooks:version").ignore();
        pipeline.query::<()>(&mut self.connect()).unwrap();
    }

    /// The release binary with default settings; returns once it beats. Its log is `target/tmp/<log>.log`.
    pub fn start_worker(&self, log: &str) -> Process {
        self.start_worker_with(log, &[])
    }

    /// The same, with settings.
    pub fn start_worker_with(&self, log: &str, settings: &[(&str, &str)]) -> Process {
        let worker = self.start_worker_at_once(log, settings);
        let (mut redis, pid) = (self.connect(), format!("-{}-", worker.0.id()));
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let workers: Vec<String> =
                redis::cmd("ZRANGE").arg("{webhooks}:workers").arg(0).arg(-1).query(&mut redis).unwrap();
            if workers.iter().any(|name| name.contains(&pid)) {
                return worker;
            }
            assert!(Instant::now() < deadline, "the worker does not beat");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The same, without waiting for its heartbeat. What is in `BENCH_ENV` (`NAME=value`, with spaces between) is set,
    /// too, and `BENCH_WRAPPER` (a profiler) runs it.
    pub fn start_worker_at_once(&self, log: &str, settings: &[(&str, &str)]) -> Process {
        let log = File::create(format!("{}/{log}.log", env!("CARGO_TARGET_TMPDIR"))).unwrap();
        let level = std::env::var("BENCH_LOG_LEVEL").unwrap_or_else(|_| "info".to_owned());
        let env = std::env::var("BENCH_ENV").unwrap_or_default();
        let wrapper = std::env::var("BENCH_WRAPPER").unwrap_or_default();
        let program = program();
        let mut words = wrapper.split_whitespace().chain([program.as_str(), "run"]);
        Process::start(
            Command::new(words.next().expect("a program"))
                .args(words)
                .current_dir(self.dir.path())
                .env_clear()
                .env("REDIS_URL", self.redis_url())
                .env("WEBHOOK_ALLOW_CIDRS", super::HERE)
                .env("LOG_LEVEL", level)
                .env("ADMIN_ADDR", "off")
                .envs(settings.iter().copied())
                .envs(env.split_whitespace().filter_map(|pair| pair.split_once('=')))
                .stdin(Stdio::null())
                .stderr(log),
        )
    }

    /// Runs a command of the release binary to its end.
    pub fn command(&self, args: &[&str]) {
        let mut command = Command::new(program());
        command.args(args).current_dir(self.dir.path()).env_clear().env("REDIS_URL", self.redis_url());
        command.env("WEBHOOK_ALLOW_CIDRS", super::HERE);
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "posthaste {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// One figure of `INFO`.
    pub fn redis_info(&self, name: &str) -> f64 {
        let info: String = redis::cmd("INFO").query(&mut self.connect()).unwrap();
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        value.trim().parse().unwrap()
    }

    /// Deliveries that are not settled: in a stream, in backoff, or parked.
    pub fn unsettled(&self) -> usize {
        let script = "local parked = 0
            for _, to in ipairs(redis.call('ZRANGE', KEYS[4], 0, -1)) do
              parked = parked + redis.call('ZCARD', '{webhooks}:park:' .. to)
            end
            return redis.call('XLEN', KEYS[1]) + redis.call('XLEN', KEYS[2]) + redis.call('ZCARD', KEYS[3]) + parked";
        let keys = ["webhooks", "{webhooks}:ready", "{webhooks}:retry", "{webhooks}:parks"];
        redis::cmd("EVAL").arg(script).arg(keys.len()).arg(&keys).query(&mut self.connect()).unwrap()
    }

    /// How many keys there are of events or parks.
    pub fn leftovers(&self) -> usize {
        let keys: Vec<String> = redis::cmd("KEYS").arg("{webhooks}:*").query(&mut self.connect()).unwrap();
        let is_left = |key: &&String| {
            ["event:", "park"].iter().any(|start| key.strip_prefix("{webhooks}:").unwrap().starts_with(start))
        };
        keys.iter().filter(is_left).count()
    }

    /// How many dead letters there are, for each reason.
    pub fn dead(&self) -> Vec<(String, usize)> {
        let script = "local counts, reasons = {}, {}
            for _, entry in ipairs(redis.call('XRANGE', KEYS[1], '-', '+')) do
              for i = 1, #entry[2], 2 do
                if entry[2][i] == 'reason' then
                  local reason = entry[2][i + 1]
                  if not counts[reason] then table.insert(reasons, reason) end
                  counts[reason] = (counts[reason] or 0) + 1
                end
              end
            end
            local reply = {}
            for _, reason in ipairs(reasons) do
              table.insert(reply, reason)
              table.insert(reply, counts[reason])
            end
            return reply";
        redis::cmd("EVAL").arg(script).arg(1).arg("{webhooks}:dead").query(&mut self.connect()).unwrap()
    }
}
