//! The only wiring: which tasks a worker has, and the order in which they stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::decide::fan_out::GlobalRule;
use crate::decide::fitness::{self, Finding, Level};
use crate::decide::webhook;
use crate::flow::{
    Attempting, BEAT_TIMEOUT, DEAD_AFTER, Destinations, Dispatcher, Heartbeat, Intake, Lease, Outage,
    Promoter, Reclaim, Recovery, Router, Routing, Settler, Trimmer, Undertaker,
};
use crate::http::{Client, ClientSettings};
use crate::model::{Held, Target, Webhook};
use crate::store::{Redis, RedisSettings, StoreError};

/// How much settled work waits for Redis before attempts wait for it.
const SETTLE_QUEUE: usize = 1024;
/// How long settling may go on after the last attempt has ended.
const SETTLE_GRACE: Duration = Duration::from_secs(5);

/// How long a pending entry idles at least, beyond the timeouts of its attempts, before any worker may claim it.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

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
    let Some(lease) = join(&redis, &stop).await? else {
        return Ok(());
    };
    tracing::info!(worker = %lease.name, stream = config.stream, concurrency = config.worker_concurrency, "started");

    tell_fitness(&redis).await;

    let (settle, work) = mpsc::channel(SETTLE_QUEUE);
    let (dispatch, queue) = mpsc::channel(config.worker_concurrency);
    let sooner = Arc::new(Notify::new());
    let undertaker = Undertaker { redis: redis.clone(), tell_errors: destinations.errors.is_some() };
    let held = Held::default();
    let routing = Routing {
        destinations,
        max_event_bytes: config.max_event_bytes,
        max_age: config.retry.max_age,
        held: held.clone(),
    };
    let router = Arc::new(Router::new(redis.clone(), routing, dispatch, settle.clone()));
    let (lease_told, lease) = watch::channel(lease);
    let (dead_told, dead) = mpsc::channel(1);
    let heartbeat =
        Heartbeat { redis: redis.apart(BEAT_TIMEOUT)?, lease: lease_told, dead: dead_told, new_name };

    let dispatcher = Dispatcher {
        redis: redis.clone(),
        slots: config.worker_concurrency,
        grace: config.shutdown_grace,
        attempting: Attempting::new(client, Arc::new(config.routes.clone())),
        lease: lease.clone(),
        settle,
    };
    let settler = Settler {
        redis: redis.clone(),
        retry: config.retry.clone(),
        undertaker,
        sooner: Arc::clone(&sooner),
    };
    let reclaim = Arc::new(Reclaim::new(redis.clone(), Arc::clone(&router), held));
    let intake = Intake {
        redis: redis.clone(),
        router: Arc::clone(&router),
        reclaim: Arc::clone(&reclaim),
        lease: lease.clone(),
    };
    let forgotten_after = FORGOTTEN_AFTER + config.request_timeout * 4;
    let recovery =
        Recovery { redis: redis.clone(), router, reclaim, lease: lease.clone(), dead, forgotten_after };
    let promoter = Promoter { redis: redis.clone(), sooner };
    let trimmer = Trimmer {
        redis: redis.clone(),
        max_age: config.dead_letter_max_age,
        max_len: config.dead_letter_max_len,
    };

    // Everything that reads stops with `stop`; with it and the dispatcher gone the settler's queue ends. Heartbeats go
    // on until all is settled: this worker must not be taken for dead while it finishes.
    let (settled, give_up) = (CancellationToken::new(), CancellationToken::new());
    let mut readers = JoinSet::new();
    readers.spawn(intake.run(stop.clone()));
    readers.spawn(promoter.run(stop.clone()));
    if config.dead_letter_max_age.is_some() || config.dead_letter_max_len.is_some() {
        readers.spawn(trimmer.run(stop.clone()));
    }
    readers.spawn(dispatcher.run(queue, stop.clone()));
    let mut settling = JoinSet::new();
    settling.spawn(settler.run(work, give_up.clone()));
    readers.spawn(recovery.run(stop.clone()));
    let until_settled = settled.clone();
    let beating = std::thread::Builder::new()
        .name("heartbeat".to_owned())
        .spawn(move || heartbeat.run(until_settled))
        .map_err(StartError::Thread)?;

    let failed = until_stopped(readers, settling, &stop, &give_up, config.shutdown_grace).await;
    settled.cancel();
    // It ends within a heartbeat.
    let _ = tokio::task::spawn_blocking(move || beating.join()).await;
    let name = Arc::clone(&lease.borrow().name);
    leave(&redis, &name).await;
    if failed { Err(StartError::Stage) } else { Ok(()) }
}

/// Waits for `stop`, or for a stage that ends by itself, which none should: then true. Returns once all have ended.
async fn until_stopped(
    mut readers: JoinSet<()>,
    mut settling: JoinSet<()>,
    stop: &CancellationToken,
    give_up: &CancellationToken,
    grace: Duration,
) -> bool {
    let mut failed = false;
    tokio::select! {
        () = stop.cancelled() => {}
        _ = readers.join_next() => failed = !stop.is_cancelled(),
        _ = settling.join_next() => failed = !stop.is_cancelled(),
    }
    stop.cancel();
    tracing::info!("stopping");
    let finished = async { while readers.join_next().await.is_some() {} };
    if tokio::time::timeout(grace + SETTLE_GRACE, finished).await.is_err() {
        readers.shutdown().await;
    }
    if tokio::time::timeout(SETTLE_GRACE, settling.join_next()).await.is_err() {
        give_up.cancel();
        settling.join_next().await;
    }
    failed
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
            Ok(_) => return Ok(Some(Lease::new(name, sent))),
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

/// Where Redis is, of the settings.
pub fn redis_settings(config: &Config) -> RedisSettings {
    RedisSettings { url: config.redis_url.clone(), stream: config.stream.clone() }
}

/// How long things may take, of the settings.
pub fn client_settings(config: &Config) -> ClientSettings {
    ClientSettings { request_timeout: config.request_timeout, connect_timeout: config.connect_timeout }
}

fn destinations(config: &Config) -> Result<Destinations, StartError> {
    let global = &config.global;
    let rule = GlobalRule::new(global.enabled, global.url.is_some(), global.events.clone());
    let webhook = |url: &str| Webhook {
        enabled: true,
        disabled_reason: None,
        disabled_at_ms: None,
        url: url.to_owned(),
        by_events: global.by_events,
        base64: global.base64,
        events: Vec::new(),
        headers: global.headers.clone(),
        secrets: global.secrets.clone(),
    };
    let target = |webhook: &Webhook, what: &str| {
        webhook::target(webhook).map_err(|error| StartError::Destination(format!("{what}: {error}")))
    };
    let global_target = match (&global.url, global.enabled) {
        (Some(url), true) => Some(Arc::new(target(&webhook(url), "WEBHOOK_GLOBAL_URL")?)),
        _ => None,
    };
    let errors = match (&config.errors.url, config.errors.enabled) {
        (Some(url), true) => {
            let plain = Webhook {
                by_events: false,
                base64: true,
                headers: Vec::new(),
                secrets: Vec::new(),
                ..webhook(url)
            };
            let target = target(&plain, "WEBHOOK_EVENTS_ERRORS_WEBHOOK")?;
            // Its body has a fixed form: no `destination` is set in it.
            Some(Arc::new(Target { destination_json: None, ..target }))
        }
        _ => None,
    };
    Ok(Destinations { rule, global: global_target, errors })
}
