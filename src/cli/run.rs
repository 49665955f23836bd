//! `posthaste run`: the worker.

use std::pin::Pin;

use anyhow::Context;
use clap::Args;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::output::Output;
use crate::config::{Config, LogFormat};
use crate::telemetry;

const EXAMPLES: &str = "\
Examples:
  posthaste run
  posthaste run --json                    logs JSON, as with LOG_FORMAT=json
  WORKER_CONCURRENCY=64 posthaste run
  posthaste run --env-file /etc/posthaste.env

It stops on SIGTERM or Ctrl-C: it reads no further events, finishes what is under way, and leaves the rest to the other \
workers or the next start. A second signal ends it at once; nothing is lost then either. Any number of workers may run \
on one Redis.";

/// Run the worker
///
/// Takes events from the stream, POSTs each to its destinations, retries what fails and keeps what could not be
/// delivered as dead letters. It waits for Redis where that is away. `posthaste check` tells whether the settings and
/// the server are fit for it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct RunArgs {}

/// A worker that runs until the token is cancelled. `app` has it; the commands are below `app` and are handed it.
pub type Worker = fn(Config, CancellationToken) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send>>;

/// Runs the worker until it is told to stop; it logs JSON where that is wanted.
pub(super) async fn run(_args: RunArgs, config: Config, out: Output, worker: Worker) -> anyhow::Result<()> {
    let format = if out.is_json() { LogFormat::Json } else { config.log_format };
    telemetry::init(&config.log_level, format).context("cannot start logging")?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    allow_files();
    let mut signals = Signals::listen()?;
    let stop = CancellationToken::new();
    let mut running = std::pin::pin!(worker(config, stop.clone()));
    tokio::select! {
        ended = &mut running => return ended,
        name = signals.next() => tracing::info!(signal = name, "stopping; a second signal ends it at once"),
    }
    stop.cancel();
    tokio::select! {
        ended = &mut running => ended,
        name = signals.next() => {
            tracing::warn!(signal = name, "ended at once; what was in flight is left to other workers");
            Ok(())
        }
    }
}

/// Has as many files open as the system lets it: connections are files, and the usual 1024 are soon used up.
fn allow_files() {
    let limit = getrlimit(Resource::Nofile);
    // Refused or not: it works with fewer, too.
    _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// The signals that stop a worker.
struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self { term: listen(SignalKind::terminate())?, int: listen(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}
