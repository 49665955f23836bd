//! The stages of a worker: how they hang together, and the order in which they stop.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{StartError, new_name};
use crate::config::Config;
use crate::decide::lane::BreakerSettings;
use crate::flow::{
    Ask, Attempting, BEAT_TIMEOUT, Destinations, Dispatcher, Due, Health, Heartbeat, Intake, Lease, Limits,
    Promoter, Reclaim, Recovery, Room, Router, Routing, Settler, Trimmer, Undertaker, Unparker, Work,
};
use crate::http::Client;
use crate::model::{Delivery, Held};
use crate::store::Redis;
use crate::telemetry::metrics::Metrics;

/// How much settled work waits for Redis before attempts wait for it.
const SETTLE_QUEUE: usize = 1024;
/// How many reads' deliveries are on their way to the dispatcher, which takes them in at once.
const DISPATCH_QUEUE: usize = 8;
/// How many deliveries wait in memory at most, for each attempt that may be in flight; and whatever that comes to.
const DELIVERIES_PER_SLOT: usize = 16;
const FEWEST_DELIVERIES: usize = 1024;
const MOST_DELIVERIES: usize = 8192;
/// How long settling may go on after the last attempt has ended.
const SETTLE_GRACE: Duration = Duration::from_secs(5);

/// How long a pending entry idles at least, beyond the timeouts of its attempts, before any worker may claim it.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// Everything a worker consists of, wired and not yet begun.
pub(super) struct Stages {
    intake: Intake,
    promoter: Promoter,
    trimmer: Trimmer,
    dispatcher: Dispatcher,
    deliveries: mpsc::Receiver<Vec<Delivery>>,
    unparker: Arc<Unparker>,
    due_told: mpsc::Sender<Vec<Due>>,
    due: mpsc::Receiver<Vec<Due>>,
    recovery: Recovery,
    settler: Settler,
    work: mpsc::Receiver<Work>,
    heartbeat: Heartbeat,
}

/// What of a worker is told to whoever asks.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) health: Health,
    pub(super) metrics: Arc<Metrics>,
    /// What it holds.
    pub(super) held: Held,
    /// What is asked of its lanes.
    pub(super) asks: mpsc::Receiver<Ask>,
}

/// Why a worker ended.
pub(super) enum Ended {
    AsToldTo,
    ByItself,
}

impl Stages {
    pub(super) fn of(
        config: &Config,
        redis: &Redis,
        client: Client,
        destinations: Destinations,
        lease_told: watch::Sender<Lease>,
        watched: Watched,
    ) -> Result<Self, StartError> {
        let Watched { health, metrics, held, asks } = watched;
        let lease = lease_told.subscribe();
        let (settle, work) = mpsc::channel(SETTLE_QUEUE);
        let (dispatch, deliveries) = mpsc::channel(DISPATCH_QUEUE);
        let (due_told, due) = mpsc::channel(1);
        let (dead_told, dead) = mpsc::channel(1);
        let sooner = Arc::new(Notify::new());
        let limits = limits(config);
        let room = Room::new(held.clone(), limits.deliveries, config.memory_budget_bytes, quick(config));
        let undertaker = Undertaker { redis: redis.clone(), tell_errors: destinations.errors.is_some() };
        let routing = Routing {
            destinations,
            max_event_bytes: config.max_event_bytes,
            max_age: config.retry.max_age,
            held: held.clone(),
            room: room.clone(),
        };
        let router = Arc::new(Router::new(redis.clone(), routing, dispatch, settle.clone()));
        let reclaim = Arc::new(Reclaim::new(redis.clone(), Arc::clone(&router), held));
        let unparker = Arc::new(Unparker {
            redis: redis.clone(),
            router: Arc::clone(&router),
            reclaim: Arc::clone(&reclaim),
            lease: lease.clone(),
            max_age: config.retry.max_age,
        });
        Ok(Self {
            intake: Intake {
                redis: redis.clone(),
                router: Arc::clone(&router),
                reclaim: Arc::clone(&reclaim),
                lease: lease.clone(),
                health,
            },
            promoter: Promoter { redis: redis.clone(), sooner: Arc::clone(&sooner) },
            trimmer: Trimmer {
                redis: redis.clone(),
                max_age: config.dead_letter_max_age,
                max_len: config.dead_letter_max_len,
            },
            dispatcher: Dispatcher {
                redis: redis.clone(),
                limits,
                grace: config.shutdown_grace,
                attempting: Attempting::new(client, Arc::new(config.routes.clone()), Arc::clone(&metrics)),
                lease: lease.clone(),
                settle,
                unparker: Arc::clone(&unparker),
                room,
                metrics: Arc::clone(&metrics),
                asks,
            },
            deliveries,
            unparker,
            due_told,
            due,
            recovery: Recovery {
                redis: redis.clone(),
                router,
                reclaim,
                lease,
                dead,
                forgotten_after: FORGOTTEN_AFTER + config.request_timeout * 4,
            },
            settler: Settler {
                redis: redis.clone(),
                retry: config.retry.clone(),
                undertaker,
                sooner,
                metrics,
            },
            work,
            heartbeat: Heartbeat {
                redis: redis.apart(BEAT_TIMEOUT)?,
                lease: lease_told,
                dead: dead_told,
                new_name,
            },
        })
    }

    /// Runs until `stop`, or until a stage ends by itself, which none should. Returns once all have ended.
    ///
    /// Everything that reads stops with `stop`; with it and the dispatcher gone the settler's queue ends. Heartbeats go
    /// on until all is settled: this worker must not be taken for dead while it finishes.
    pub(super) async fn run(self, config: &Config, stop: CancellationToken) -> Result<Ended, StartError> {
        let (settled, give_up) = (CancellationToken::new(), CancellationToken::new());
        let (heartbeat, until_settled) = (self.heartbeat, settled.clone());
        let beating = std::thread::Builder::new()
            .name("heartbeat".to_owned())
            .spawn(move || heartbeat.run(until_settled))
            .map_err(StartError::Thread)?;
        let mut readers = JoinSet::new();
        readers.spawn(self.intake.run(stop.clone()));
        readers.spawn(self.promoter.run(stop.clone()));
        if config.dead_letter_max_age.is_some() || config.dead_letter_max_len.is_some() {
            readers.spawn(self.trimmer.run(stop.clone()));
        }
        readers.spawn(self.dispatcher.run(self.deliveries, self.due, stop.clone()));
        readers.spawn(self.unparker.run(self.due_told, stop.clone()));
        readers.spawn(self.recovery.run(stop.clone()));
        let mut settling = JoinSet::new();
        settling.spawn(self.settler.run(self.work, give_up.clone()));

        let ended = until_stopped(readers, settling, &stop, &give_up, config.shutdown_grace).await;
        settled.cancel();
        // It ends within a heartbeat.
        let _ = tokio::task::spawn_blocking(move || beating.join()).await;
        Ok(ended)
    }
}

/// Waits for `stop`, or for a stage that ends by itself. Returns once all have ended.
async fn until_stopped(
    mut readers: JoinSet<()>,
    mut settling: JoinSet<()>,
    stop: &CancellationToken,
    give_up: &CancellationToken,
    grace: Duration,
) -> Ended {
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
    if failed { Ended::ByItself } else { Ended::AsToldTo }
}

/// What may be in flight and in memory.
fn limits(config: &Config) -> Limits {
    let slots = config.worker_concurrency;
    Limits {
        slots,
        deliveries: (DELIVERIES_PER_SLOT * slots).clamp(FEWEST_DELIVERIES, MOST_DELIVERIES.max(2 * slots)),
        // The rest is for what is in flight and being settled.
        bytes: config.memory_budget_bytes / 2,
        breaker: BreakerSettings::for_retries(config.retry.initial_delay, config.retry.max_delay),
        non_retryable: Arc::new(config.retry.non_retryable.clone()),
    }
}

/// How many deliveries that are about to begin are kept at hand: what is attempted while the next are read.
fn quick(config: &Config) -> usize {
    (2 * config.worker_concurrency).max(512)
}
