//! The worker of `posthaste dev`: the same binary, as `posthaste run`, in a process of its own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::store::Redis;

/// How long the worker may take to make its first heartbeat.
const START: Duration = Duration::from_secs(15);
/// How long it may take to finish what is in flight.
const STOP: Duration = Duration::from_secs(30);

/// A running worker; [`Self::stop`] ends it in order, a drop at once.
#[derive(Debug)]
pub(super) struct Worker {
    child: Child,
    log: PathBuf,
}

impl Worker {
    /// Starts a worker with these settings and no others, and waits for its first heartbeat.
    pub(super) async fn start(
        redis: &Redis,
        dir: &Path,
        settings: &[(String, String)],
    ) -> anyhow::Result<Self> {
        let log = dir.join("worker.log");
        let file = std::fs::File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        let mut command = Command::new(program);
        // In this directory there is no `.env`, and nothing of the environment is passed on: the demonstration is
        // the same wherever it runs.
        command.arg("run").current_dir(dir).env_clear();
        command.envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "HOME"));
        command.envs(settings.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        // Ctrl-C is for the command alone: it stops the worker first and the server last.
        command.process_group(0).kill_on_drop(true);
        let mut worker = Self { child: command.spawn().context("cannot start the worker")?, log };
        worker.wait_for_heartbeat(redis).await?;
        Ok(worker)
    }

    pub(super) fn log(&self) -> &Path {
        &self.log
    }

    /// Lets it finish what is in flight, and waits for its end.
    pub(super) async fn stop(mut self) {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid
            && kill_process(pid, Signal::TERM).is_ok()
        {
            let _ = tokio::time::timeout(STOP, self.child.wait()).await;
        }
    }

    async fn wait_for_heartbeat(&mut self, redis: &Redis) -> anyhow::Result<()> {
        let pid = format!("-{}-", self.child.id().unwrap_or_default());
        let deadline = Instant::now() + START;
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("the worker ended at once ({status}); its log is {}", self.log.display());
            }
            if redis.summary().await?.workers.iter().any(|(name, _)| name.contains(&pid)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the worker does not start; its log is {}", self.log.display());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}
