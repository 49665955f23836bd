//! Recovery: heartbeats, and taking over what a dead worker held.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Router;
use super::outage::Outage;
use crate::store::{Beat, Redis, StoreError, TakeOver};

/// How often a worker beats.
const BEAT: Duration = Duration::from_secs(1);
/// How long a worker may be silent before the others take over.
pub const DEAD_AFTER: Duration = Duration::from_secs(3);
/// How often consumers are looked for that never beat.
const STRAYS: Duration = Duration::from_secs(30);
/// How much is taken over at a time.
const COUNT: usize = 64;
const BYTES: usize = 4 * 1024 * 1024;

/// Beats for this worker, and takes over from those that no longer do.
#[derive(Debug)]
pub struct Recovery {
    /// The server.
    pub redis: Redis,
    /// The stage behind the reader; let go of when the worker stops.
    pub router: Option<Arc<Router>>,
    /// Where this worker's name is told; it changes when the worker has been reaped.
    pub name: watch::Sender<Arc<str>>,
    /// Makes a new name.
    pub new_name: fn() -> Arc<str>,
}

impl Recovery {
    /// Beats until `settled`; takes over until `stop`. The first beat has been made.
    pub async fn run(mut self, stop: CancellationToken, settled: CancellationToken) {
        let mut outage = Outage::new("recover");
        let mut ticks = interval(BEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut strays_seen: Option<Instant> = None;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled(), if self.router.is_some() => self.router = None,
                () = settled.cancelled() => return,
            }
            let look_for_strays = strays_seen.is_none_or(|seen| seen.elapsed() > STRAYS);
            match self.tick(look_for_strays).await {
                Ok(()) => {
                    outage.over();
                    if look_for_strays {
                        strays_seen = Some(Instant::now());
                    }
                }
                Err(error) => outage.wait(&error, &settled).await,
            }
        }
    }

    async fn tick(&self, look_for_strays: bool) -> Result<(), StoreError> {
        let me = Arc::clone(&self.name.borrow());
        let dead = match self.redis.beat(&me, DEAD_AFTER, false).await? {
            Beat::Alive { dead } => dead,
            Beat::Fenced => {
                let name = (self.new_name)();
                tracing::warn!(old = %me, new = %name, "this worker was taken for dead; it goes on under a new name");
                self.redis.create_group().await?;
                self.redis.beat(&name, DEAD_AFTER, true).await?;
                self.name.send_replace(name);
                return Ok(());
            }
        };
        let Some(router) = &self.router else {
            return Ok(());
        };
        if look_for_strays {
            self.redis.notice_strays().await?;
        }
        for worker in dead {
            self.take_over(router, &worker, &me).await?;
        }
        Ok(())
    }

    async fn take_over(&self, router: &Router, dead: &str, me: &Arc<str>) -> Result<(), StoreError> {
        let request = TakeOver { worker: me, dead_after: DEAD_AFTER, count: COUNT, bytes: BYTES };
        let mut total = 0;
        loop {
            let taken = self.redis.take_over(dead, &request).await?;
            if taken.entries.is_empty() {
                break;
            }
            total += taken.entries.len();
            let entries: Vec<_> = taken.entries.into_iter().map(|(entry, _)| entry).collect();
            // Beats go on while there is no room: this worker would be the next to be taken for dead.
            let mut route = std::pin::pin!(router.route(&entries, me, true));
            loop {
                tokio::select! {
                    sent = &mut route => {
                        if sent?.is_err() { return Ok(()) }
                        break;
                    }
                    () = tokio::time::sleep(BEAT) => { self.redis.beat(me, DEAD_AFTER, false).await?; }
                }
            }
        }
        if total > 0 {
            tracing::info!(worker = %dead, entries = total, "took over what a dead worker held");
        }
        Ok(())
    }
}
