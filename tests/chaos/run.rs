//! A run from beginning to end.

use std::fmt;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::check::{Violation, check};
use super::cluster::Cluster;
use super::history::{History, Letter};
use super::machine::Watch;
use super::nemesis::rage;
use super::operator::{Parked, operate, still_gone, watch};
use super::producer::Producer;
use super::receiver::dead_delivery;
use super::report;
use super::traffic::{Place, Traffic};

/// How long a run may take to settle once everything is whole.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long everything has to be settled: what the producer sent last may still be on its way.
const QUIET: Duration = Duration::from_millis(300);

/// The settings of a run.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// `CHAOS_SEED`; any.
    pub(crate) seed: u64,
    /// `CHAOS_SECONDS`: how long events are pushed and things break; 15.
    pub(crate) length: Duration,
    /// `CHAOS_RATE`: events per second; 150.
    pub(crate) rate: u64,
    /// `CHAOS_WORKERS`; 3.
    pub(crate) workers: usize,
    /// `CHAOS_LOG_LEVEL`: what the workers log; with `debug` a violation comes with every attempt as they saw it.
    pub(crate) log_level: String,
}

impl Run {
    pub(crate) fn traffic(&self) -> Traffic {
        Traffic { seed: self.seed, rate: self.rate }
    }

    pub(crate) fn from_environment() -> Self {
        let number = |name: &str, default: u64| match std::env::var(name) {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
            Err(_) => default,
        };
        let any = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            seed: number("CHAOS_SEED", any.map_or(1, |since| since.as_millis() as u64 % 1_000_000)),
            length: Duration::from_secs(number("CHAOS_SECONDS", 15)),
            rate: number("CHAOS_RATE", 150),
            workers: number("CHAOS_WORKERS", 3).max(1) as usize,
            log_level: std::env::var("CHAOS_LOG_LEVEL").unwrap_or_else(|_| "info".to_owned()),
        }
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, length, rate, workers, .. } = self;
        write!(f, "chaos: seed {seed}, {} s, {rate} events/s, {workers} workers", length.as_secs())
    }
}

/// Runs, and tells what was wrong.
pub(crate) async fn run(run: &Run) -> Vec<Violation> {
    let cluster = Cluster::start(run).await;
    let traffic = run.traffic();
    let mut parked = Parked::default();
    let end = Instant::now() + run.length;
    let url = cluster.producers_url().await;
    let apis = std::sync::Arc::clone(&cluster.apis);
    let producer = Producer { url, apis, traffic, clock: cluster.clock, rate: run.rate };
    let pushing = tokio::spawn(producer.push_until(end));
    let machine = Watch::start(cluster.clock);
    let breaking = async {
        let (faults, absences) = tokio::join!(rage(&cluster, run.seed, end), operate(&cluster, traffic, end));
        let pushes = pushing.await.expect("the producer does not panic");
        cluster.of_producer.lock().await.reset();
        cluster.receivers.heal();
        let healed = cluster.clock.now();
        (faults, absences, pushes, healed, until_settled(&cluster).await)
    };
    let (mut faults, mut absences, (pushes, posted), healed, settled) = tokio::select! {
        broken = breaking => broken,
        () = watch(&cluster.store, &mut parked) => unreachable!("it has no end"),
    };
    absences.extend(still_gone(&cluster).await);
    for post in &cluster.posts {
        let mut post = post.lock().await;
        post.worker.signal("TERM");
        post.worker.ended().await;
    }
    faults.extend(machine.stalls());
    faults.sort_by_key(|fault| fault.from);
    let received = cluster.receivers.take();
    let mut history = History {
        traffic,
        pushes,
        in_stream: cluster.in_stream().await,
        requests: received.requests,
        faults,
        healed,
        workers: run.workers,
        absences,
        letters: Vec::new(),
        told: received.told,
        strange: received.strange,
    };
    let (settled_after, unsettled) = match settled {
        Ok(after) => (Some(after), Vec::new()),
        Err(unsettled) => (None, unsettled),
    };
    history.strange.extend(posted.strange.iter().cloned());
    history.strange.extend(unsettled.into_iter().map(|what| format!("not settled in {PATIENCE:?}: {what}")));
    look_into_redis(&cluster, &mut history).await;
    let (found, figures) = check(&history);
    report::figures(&figures, &history, settled_after);
    report::posted(&posted);
    report::parks(&parked, &history, cluster.came_back(&history).await);
    report::violations(&found, &history, &cluster).await;
    found
}

/// Waits until everything is settled: how long that took, or what is not after a long time.
async fn until_settled(cluster: &Cluster) -> Result<Duration, Vec<String>> {
    let begun = Instant::now();
    let mut settled: Option<Instant> = None;
    loop {
        let left = cluster.unsettled().await;
        match settled {
            Some(at) if left.is_empty() && at.elapsed() >= QUIET => return Ok(at - begun),
            Some(_) if left.is_empty() => {}
            _ if left.is_empty() => settled = Some(Instant::now()),
            _ if begun.elapsed() > PATIENCE => return Err(left),
            _ => settled = None,
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// Adds the dead letters, and what should not be there.
async fn look_into_redis(cluster: &Cluster, history: &mut History) {
    let left = cluster.unsettled().await;
    history.strange.extend(left.into_iter().map(|what| format!("after the workers stopped: {what}")));
    let redis = cluster.redis.lock().await;
    for key in redis.stray_keys().await {
        let hash: String = if key.contains(":event:") {
            let fields: Vec<(String, String)> = redis.command(&["HGETALL", &key]).await;
            format!("{fields:?}")
        } else {
            String::new()
        };
        history.strange.push(format!("a key is left over: {key} {hash}"));
    }
    for letter in redis.letters().await {
        let destination = letter.text("destination");
        if destination == "errors" {
            // It tells of a death, too.
            history.told.extend(dead_delivery(letter.bytes("payload")));
            continue;
        }
        match (Traffic::of_id(letter.text("id")), Place::of_destination(destination)) {
            (Some(event), Some(place)) => history.letters.push(Letter {
                event,
                place,
                reason: letter.text("reason").to_owned(),
                attempts: u32::try_from(letter.number("attempts")).unwrap_or(u32::MAX),
                status: letter.text("status").parse().ok(),
                died: cluster.clock.of_unix_ms(letter.key.ms()),
            }),
            _ => history.strange.push(format!("a dead letter of nothing that was pushed: {letter:?}")),
        }
    }
}
