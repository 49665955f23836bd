//! `posthaste`: argv → run → exit status.

use std::process::ExitCode;

use clap::Parser;
use posthaste::app;
use posthaste::cli::{self, Cli};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

fn main() -> ExitCode {
    // TLS, to Redis and to receivers, needs a provider; installing fails only where there is one already.
    _ = rustls::crypto::ring::default_provider().install_default();
    cli::run(Cli::parse(), |config, stop| {
        // On a thread of its own, for the worker's future cannot be sent to another.
        let worker = spawn_blocking(move || Handle::current().block_on(app::run(&config, stop)));
        Box::pin(async move { Ok(worker.await??) })
    })
}
