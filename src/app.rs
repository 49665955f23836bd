//! The only wiring: which tasks a worker has, and the order in which they stop.

mod admin;
mod stages;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::admin::Admin;
use self::stages::{Ended, Stages, Watched};
use crate::cli::{client_settings, redis_settings};
use crate::config::Config;
use crate::decide::fitness::{self, Finding, Level};
use crate::decide::webhook;
use crate::flow::{DEAD_AFTER, Desk, Destinations, Health, Lease, Outage};
use crate::http::Client;
use crate::model::{Held, Target, Webhook};
use crate::store::{Beat, Redis, StoreError};
use crate::telemetry::metrics::Metrics;

/// Why a worker could not be started, or did not go on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The Redis URL cannot be used, or Redis refuses this worker for good.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The HTTP client cannot be built.
    #[error(transparent)]
    Http(#[from] crate::http::BuildError),
    /// The thread of the heartbeats cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The HTTP API cannot listen.
    #[error("ADMIN_ADDR: cannot listen on {addr}: {error}; choose another address, or off")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
    /// A stage ended that never should: a fault in posthaste.
    #[error("a stage of the worker ended unexpectedly; start it again, and report its log")]
    Stage,
    /// A destination of the operator's cannot be used.
    #[error("{0}")]
    Destination(String),
}

/// Runs a worker until `stop`; then it stops reading, finishes what is in flight, and leaves the rest to others.
///
/// # Errors
/// When it cannot be started. Redis being away is no error: the worker waits for it.
pub async fn run(config: &Config, stop: CancellationToken) -> Result<(), StartError> {
    let redis = Redis::open(&redis_settings(config))?;
    let client = Client::new(client_settings(config))?;
    let destinations = destinations(config)?;
    let (desk, asks) = Desk::new();
    let watched = Watched {
        health: Health::new(stop.clone()),
        metrics: Arc::new(Metrics::new()),
        held: Held::default(),
        asks,
    };
    // Before Redis is there: whoever asks how the worker is, is to be told.
    let admin = Admin::start(config, &redis, &client, &watched, desk).await?;
    let ended = work(config, &redis, client, destinations, watched, stop).await;
    admin.end().await;
    ended
}

/// Waits for Redis, and works until `stop`.
async fn work(
    config: &Config,
    redis: &Redis,
    client: Client,
    destinations: Destinations,
    watched: Watched,
    stop: CancellationToken,
) -> Result<(), StartError> {
    let Some(lease) = join(redis, &stop).await? else {
        return Ok(());
    };
    tracing::info!(worker = %lease.name, stream = config.stream, concurrency = config.worker_concurrency, "started");

    tell_fitness(redis).await;

    let (lease_told, lease) = watch::channel(lease);
    watched.health.joined(lease.clone());
    let stages = Stages::of(config, redis, client, destinations, lease_told, watched)?;
    let ended = stages.run(config, stop).await?;
    let name = Arc::clone(&lease.borrow().name);
    leave(redis, &name).await;
    match ended {
        Ended::AsToldTo => Ok(()),
        Ended::ByItself => Err(StartError::Stage),
    }
}

/// Waits for Redis, creates what is missing, and makes the first heartbeat. None when `stop` came first.
async fn join(redis: &Redis, stop: &CancellationToken) -> Result<Option<Lease>, StartError> {
    let name = new_name();
    let mut outage = Outage::new("start");
    while !stop.is_cancelled() {
        let sent = tokio::time::Instant::now();
        let joined = async {
            redis.create_group().await?;
            redis.beat(&name, DEAD_AFTER, true).await
        };
        match joined.await {
            Ok(Beat::Alive { alive, .. }) => return Ok(Some(Lease::new(name, sent).among(alive))),
            // Not with the first beat under a name.
            Ok(Beat::Fenced) => {}
            Err(error) => outage.wait(&error, stop).await,
        }
    }
    Ok(None)
}

/// Says what could be lost with this server.
async fn tell_fitness(redis: &Redis) {
    let Ok(facts) = redis.server_facts().await else { return };
    for Finding { level, what, detail, fix } in fitness::of_server(&facts) {
        match level {
            Level::Ok => {}
            Level::Warning if what != "eviction" => tracing::info!(what, fix, "redis: {detail}"),
            Level::Warning => tracing::warn!(what, fix, "redis may lose events: {detail}"),
            Level::Problem => tracing::warn!(what, fix, "redis is not fit to hold events: {detail}"),
        }
    }
}

async fn leave(redis: &Redis, name: &str) {
    match redis.leave(name).await {
        Ok(false) => tracing::info!("stopped; nothing is left in flight"),
        Ok(true) => {
            tracing::info!("stopped; what was in flight is left to other workers, or to the next start")
        }
        Err(error) => tracing::warn!(%error, "stopped; other workers will notice by the missing heartbeat"),
    }
}

/// A name no worker had before: host, process and chance.
fn new_name() -> Arc<str> {
    let host = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
    let host: String = host.trim().chars().filter(char::is_ascii_graphic).take(64).collect();
    let host = if host.is_empty() { "worker" } else { &host };
    format!("{host}-{}-{:08x}", std::process::id(), rand::random::<u32>()).into()
}

fn destinations(config: &Config) -> Result<Destinations, StartError> {
    let global = &config.global;
    let target = |webhook: &Webhook, what: &str| {
        webhook::operators_target(webhook)
            .map_err(|error| StartError::Destination(format!("{what}: {error}")))
    };
    let global_target = match global.webhook().filter(|webhook| webhook.enabled) {
        Some(webhook) => Some(Arc::new(target(&webhook, "WEBHOOK_GLOBAL_URL")?)),
        None => None,
    };
    let errors = match (&config.errors.url, config.errors.enabled) {
        (Some(url), true) => {
            let plain = Webhook {
                enabled: true,
                disabled_reason: None,
                disabled_at_ms: None,
                url: url.clone(),
                by_events: false,
                base64: true,
                events: Vec::new(),
                headers: Vec::new(),
                secrets: Vec::new(),
                rate_limit: None,
                insecure_tls: false,
            };
            let target = target(&plain, "WEBHOOK_EVENTS_ERRORS_WEBHOOK")?;
            // Its body has a fixed form: no `destination` is set in it.
            Some(Arc::new(Target { destination: None, ..target }))
        }
        _ => None,
    };
    Ok(Destinations { rule: global.rule(), global: global_target, errors })
}
