//! Recovery: what dead workers held, and what was lost on the way to this one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::entry::Arrival;
use super::lease::{DEAD_AFTER, Lease};
use super::outage::Outage;
use super::reclaim::End;
use super::{Reclaim, Router};
use crate::store::{Redis, TakeOver};

/// How much is taken over at a time.
const COUNT: usize = 64;
const BYTES: usize = 4 * 1024 * 1024;
/// How often this worker's own pending entries are compared with what it holds.
const RECONCILE: Duration = Duration::from_secs(4);
/// How long an entry has to be pending before it counts as lost on the way: longer than any reply may take.
const LOST_AFTER: Duration = Duration::from_secs(8);
/// How often consumers without heartbeats and forgotten entries are looked for.
const STRAYS: Duration = Duration::from_secs(30);

/// Brings back what would be lost: the entries of dead workers, and those whose reply never came.
#[derive(Debug)]
pub struct Recovery {
    /// The server.
    pub redis: Redis,
    /// The stage behind the reader.
    pub router: Arc<Router>,
    /// What finds pending entries that nobody holds.
    pub reclaim: Arc<Reclaim>,
    /// This worker's name.
    pub lease: watch::Receiver<Lease>,
    /// Dead workers, as the heartbeat finds them.
    pub dead: mpsc::Receiver<Vec<String>>,
    /// How long a pending entry may idle whoever holds it: far beyond any timeout.
    pub forgotten_after: Duration,
}

impl Recovery {
    /// Recovers until `stop`, or until the stages behind have stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut outage = Outage::new("recover");
        let (mut reconcile, mut strays) = (interval(RECONCILE), interval(STRAYS));
        reconcile.set_missed_tick_behavior(MissedTickBehavior::Delay);
        strays.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let done = tokio::select! {
                () = stop.cancelled() => return,
                dead = self.dead.recv() => match dead {
                    Some(dead) => self.take_over(dead, &stop).await,
                    None => return,
                },
                _ = reconcile.tick() => self.reconcile(&stop).await,
                _ = strays.tick() => self.strays(&stop).await,
            };
            match done {
                Ok(()) => outage.over(),
                Err(End::Stopped) => return,
                Err(End::Failed(error)) => {
                    if error.is_no_group() {
                        // The reader, which creates it too, may be waiting for room.
                        let _ = self.redis.create_group().await;
                    }
                    outage.wait(&error, &stop).await;
                }
            }
        }
    }

    fn name(&self) -> Arc<str> {
        Arc::clone(&self.lease.borrow().name)
    }

    async fn take_over(&self, dead: Vec<String>, stop: &CancellationToken) -> Result<(), End> {
        for worker in dead {
            let mut total = 0;
            loop {
                self.router.room().wait(stop).await?;
                let _until_held = self.reclaim.entries_are_under_way().await;
                let me = self.name();
                let request = TakeOver { worker: &me, dead_after: DEAD_AFTER, count: COUNT, bytes: BYTES };
                let taken = self.redis.take_over(&worker, &request).await?;
                if taken.entries.is_empty() {
                    break;
                }
                total += taken.entries.len();
                let mut arrivals: Vec<_> = taken
                    .entries
                    .into_iter()
                    .map(|(entry, times)| Arrival::inherited(entry, times))
                    .collect();
                // What this process still attempts under a name it had before is left to that attempt; if it comes
                // to nothing, the entry is claimed again as one that nobody holds.
                arrivals.retain(|arrival| !self.reclaim.holds(arrival));
                self.router.pass_on(arrivals, &me, stop).await?;
            }
            if total > 0 {
                tracing::info!(%worker, entries = total, "took over what a dead worker held");
            }
        }
        Ok(())
    }

    /// Claims again what is pending under this worker's name and not held by it.
    async fn reconcile(&self, stop: &CancellationToken) -> Result<(), End> {
        self.reclaim.own(&self.name(), LOST_AFTER, stop).await.map(drop)
    }

    /// Consumers without a heartbeat are noted as dead, and entries that everybody has forgotten are claimed.
    async fn strays(&self, stop: &CancellationToken) -> Result<(), End> {
        self.redis.notice_strays().await?;
        self.reclaim.forgotten(&self.name(), self.forgotten_after, stop).await
    }
}
