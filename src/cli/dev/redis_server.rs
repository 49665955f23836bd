//! The private redis-server of `posthaste dev`: durable, on loopback, with its data under `./.posthaste/`.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::model::Secret;
use crate::store::{Redis, RedisSettings};

/// How long the server may take to load its data and answer.
const START: Duration = Duration::from_secs(30);
/// How long it may take to write its data and end.
const STOP: Duration = Duration::from_secs(10);

/// A running server; [`Self::stop`] ends it in order, a drop at once.
#[derive(Debug)]
pub(super) struct RedisServer {
    child: Child,
    port: u16,
    /// Held for as long as the server runs: two servers on one append-only file would ruin it.
    _lock: File,
}

impl RedisServer {
    /// Starts a server on a free port with its data in `dir`.
    pub(super) async fn start(dir: &Path) -> anyhow::Result<Self> {
        let data = dir.join("redis");
        std::fs::create_dir_all(&data).with_context(|| format!("cannot create {}", data.display()))?;
        let lock = lock(dir)?;
        stop_orphan(&data).await;
        let port = free_port()?;
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--dir"]).arg(&data);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", ""]);
        command.args(["--maxmemory-policy", "noeviction", "--logfile", "redis.log"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Ctrl-C is for the command alone: it stops the worker first and the server last.
        command.process_group(0).kill_on_drop(true);
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                bail!("redis-server is not on the PATH; install it with: {}", install_command())
            }
            Err(error) => return Err(error).context("cannot start redis-server"),
        };
        std::fs::write(port_file(&data), port.to_string()).context("cannot note the port of redis-server")?;
        let mut server = Self { child, port, _lock: lock };
        server.wait_until_it_answers(&data).await?;
        Ok(server)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Lets it write what it has, and waits for its end.
    pub(super) async fn stop(mut self) {
        if let Ok(redis) = client(self.port) {
            redis.shut_down().await;
        }
        let _ = tokio::time::timeout(STOP, self.child.wait()).await;
    }

    async fn wait_until_it_answers(&mut self, data: &Path) -> anyhow::Result<()> {
        let log = data.join("redis.log");
        let deadline = Instant::now() + START;
        let redis = client(self.port)?;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("redis-server ended at once ({status}); its log is {}", log.display());
            }
            if redis.is_up().await {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("redis-server does not answer on port {}; its log is {}", self.port, log.display());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn client(port: u16) -> anyhow::Result<Redis> {
    let url = Secret::new(format!("redis://127.0.0.1:{port}"));
    Ok(Redis::open(&RedisSettings { url, stream: "webhooks".to_owned(), ca: None })?)
}

/// One `posthaste dev` at a time in a directory.
fn lock(dir: &Path) -> anyhow::Result<File> {
    let path = dir.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!("another `posthaste dev` runs in {}; stop it, or choose another --dir", dir.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// Ends the server that an earlier `posthaste dev` left behind when it was killed: it is known by its directory.
async fn stop_orphan(data: &Path) {
    let port = std::fs::read_to_string(port_file(data)).ok().and_then(|port| port.trim().parse().ok());
    let Some(redis) = port.and_then(|port| client(port).ok()) else { return };
    let Ok(dir) = redis.data_dir().await else { return };
    if std::fs::canonicalize(dir).ok() != std::fs::canonicalize(data).ok() {
        return;
    }
    redis.shut_down().await;
    let deadline = Instant::now() + STOP;
    while redis.is_up().await && Instant::now() < deadline {
        sleep(Duration::from_millis(20)).await;
    }
}

fn port_file(data: &Path) -> PathBuf {
    data.join("port")
}

fn free_port() -> anyhow::Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("no free port on loopback")?;
    Ok(listener.local_addr()?.port())
}

/// How redis-server is installed here.
fn install_command() -> &'static str {
    let managers = [
        ("apt-get", "sudo apt-get install redis-server"),
        ("dnf", "sudo dnf install redis"),
        ("apk", "sudo apk add redis"),
        ("pacman", "sudo pacman -S redis"),
        ("brew", "brew install redis"),
    ];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |name: &str| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    managers
        .into_iter()
        .find(|(manager, _)| found(manager))
        .map_or("the package manager of your system (package redis-server or redis)", |(_, command)| command)
}
