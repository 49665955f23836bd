//! The lease: this worker's name, and until when it may begin attempts under it.
//!
//! A worker that does not beat is taken for dead by the others, which then attempt what it held. So it begins nothing
//! once it could be: it was paused, or Redis is away, or its heartbeats do not get through. Heartbeats have a thread
//! and connections of their own, so that neither a busy runtime nor a slow command holds them up.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::outage::Outage;
use crate::store::{Beat, Redis, StoreError};

/// How often a worker beats.
const BEAT: Duration = Duration::from_secs(1);
/// How long a worker may be silent before the others take over.
pub const DEAD_AFTER: Duration = Duration::from_secs(3);
/// How long a heartbeat may take; a later one would come too late.
pub const BEAT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long heartbeats have to tell that there are fewer workers before it counts: those that Redis told dead, or
/// forgot, come back with a beat of their own.
const CONFIRMED: Duration = Duration::from_millis(1500);
/// How much earlier than the others this worker takes itself for dead.
const MARGIN: Duration = Duration::from_millis(250);

/// A worker's name, and until when it may begin attempts under it.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The consumer name.
    pub name: Arc<str>,
    /// How many workers there are, as far as is known: each keeps to its share of a rate limit.
    pub(super) workers: usize,
    until: Instant,
}

impl Lease {
    /// The lease of a worker whose latest heartbeat was sent at `sent`.
    pub fn new(name: Arc<str>, sent: Instant) -> Self {
        Self { name, workers: 1, until: sent + DEAD_AFTER - MARGIN }
    }

    /// The same, of one of so many workers.
    #[must_use]
    pub fn among(self, workers: usize) -> Self {
        Self { workers, ..self }
    }

    /// Whether attempts may begin at `now`.
    pub(super) fn is_valid(&self, now: Instant) -> bool {
        now < self.until
    }
}

/// How many workers there are, as heartbeats tell.
#[derive(Debug)]
struct Crew {
    workers: usize,
    /// Since when each beat has told that there are fewer.
    fewer_since: Option<Instant>,
}

impl Crew {
    fn of(workers: usize) -> Self {
        Self { workers, fewer_since: None }
    }

    /// A beat at `now` told that so many are `alive`; how many that makes. Too many is the safe side: together they
    /// keep to a rate limit.
    fn hear(&mut self, alive: usize, now: Instant) -> usize {
        if alive < self.workers {
            let since = *self.fewer_since.get_or_insert(now);
            if now - since < CONFIRMED {
                return self.workers;
            }
        }
        *self = Self::of(alive);
        alive
    }
}

/// Keeps the lease.
#[derive(Debug)]
pub struct Heartbeat {
    /// The server, on connections of its own.
    pub redis: Redis,
    /// Where the lease is told.
    pub lease: watch::Sender<Lease>,
    /// Where dead workers are told.
    pub dead: mpsc::Sender<Vec<String>>,
    /// Makes a new name.
    pub new_name: fn() -> Arc<str>,
}

/// Heartbeats that fail.
struct Away {
    /// When the first of them was sent.
    began: Instant,
    failures: u32,
    /// Why the last one did.
    error: String,
}

impl Heartbeat {
    /// Beats until `stop`, on the calling thread. The first beat has been made.
    pub fn run(self, stop: CancellationToken) {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(self.beat(stop)),
            Err(error) => tracing::error!(%error, "no heartbeats: this worker attempts nothing"),
        }
    }

    async fn beat(self, stop: CancellationToken) {
        let mut outage = Outage::new("heartbeat");
        let mut away: Option<Away> = None;
        let mut crew = Crew::of(self.lease.borrow().workers);
        let mut wait = BEAT;
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = stop.cancelled() => return,
            }
            let sent = Instant::now();
            match self.tick(&mut crew).await {
                Ok(next) => {
                    outage.over();
                    if let Some(away) = away.take() {
                        self.record(&away).await;
                    }
                    wait = next.map_or(BEAT, |next| next.min(BEAT));
                }
                Err(error) => {
                    let (began, failures) = away.map_or((sent, 0), |away| (away.began, away.failures));
                    away = Some(Away { began, failures: failures + 1, error: error.to_string() });
                    outage.wait(&error, &stop).await;
                    wait = Duration::ZERO;
                }
            }
        }
    }

    /// Leaves word for `status` of an outage that is over, if Redis takes it.
    async fn record(&self, away: &Away) {
        let took = away.began.elapsed();
        if away.failures == 1 && took < BEAT {
            // A connection that was cut, and made again at once.
            return;
        }
        let name = Arc::clone(&self.lease.borrow().name);
        match tokio::time::timeout(BEAT, self.redis.record_outage(&name, took, &away.error)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::info!(%error, "the outage is not recorded for `status`"),
            Err(_) => tracing::info!("the outage is not recorded for `status`: no answer in time"),
        }
    }

    /// One beat; how long until another worker may be dead.
    async fn tick(&self, crew: &mut Crew) -> Result<Option<Duration>, StoreError> {
        let name = Arc::clone(&self.lease.borrow().name);
        let sent = Instant::now();
        match self.redis.beat(&name, DEAD_AFTER, false).await? {
            Beat::Alive { dead, next, alive } => {
                self.lease.send_replace(Lease::new(name, sent).among(crew.hear(alive, sent)));
                if !dead.is_empty() {
                    // Full while the recovery is at it; those that are left are told with the next beat.
                    let _ = self.dead.try_send(dead);
                }
                Ok(next)
            }
            Beat::Fenced => {
                let new = (self.new_name)();
                tracing::warn!(old = %name, %new, "taken for dead, or redis lost its data; going on under a new name");
                self.redis.create_group().await?;
                let sent = Instant::now();
                let alive = match self.redis.beat(&new, DEAD_AFTER, true).await? {
                    Beat::Alive { alive, .. } => alive,
                    Beat::Fenced => 1,
                };
                self.lease.send_replace(Lease::new(new, sent).among(crew.hear(alive, sent)));
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_workers_count_at_once_and_fewer_once_several_beats_tell_so() {
        let (mut crew, start) = (Crew::of(1), Instant::now());
        let mut hear = |alive, beats: u32| crew.hear(alive, start + BEAT * beats);
        assert_eq!((hear(3, 0), hear(1, 1), hear(3, 2)), (3, 3, 3), "a lone answer after a pause");
        assert_eq!((hear(1, 3), hear(1, 4), hear(3, 5)), (3, 3, 3), "the others were a beat later");
        assert_eq!((hear(2, 6), hear(2, 7), hear(2, 8)), (3, 3, 2), "one has gone");
        assert_eq!(hear(1, 9), 2, "and then another");
        assert_eq!(hear(4, 10), 4);
    }

    #[test]
    fn a_lease_ends_before_the_others_take_over() {
        let sent = Instant::now();
        let lease = Lease::new("a".into(), sent);
        assert!(lease.is_valid(sent));
        assert!(lease.is_valid(sent + BEAT * 2));
        assert!(!lease.is_valid(sent + DEAD_AFTER - MARGIN));
    }
}
