//! `posthaste`: argv → run → exit status.

use std::process::ExitCode;

use clap::Parser;
use posthaste::app;
use posthaste::cli::{self, Cli};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // TLS, to Redis and to receivers, needs a provider; installing fails only where there is one already.
    _ = rustls::crypto::ring::default_provider().install_default();
    cli::run(Cli::parse(), |config, stop| Box::pin(async move { Ok(app::run(&config, stop).await?) }))
}
