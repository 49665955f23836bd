//! Reclaiming: entries that are pending and that nobody holds, since the reply that brought them was lost.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{RwLock, RwLockReadGuard};
use tokio_util::sync::CancellationToken;

use super::Router;
use super::entry::Arrival;
use super::route::Stopped;
use crate::decide::poison;
use crate::model::{EntryId, Held, Source};
use crate::store::{Pending, Redis, StoreError, Taken};

/// How many pending entries are looked at in one reply.
const COUNT: usize = 64;

/// Finds pending entries that this process does not hold, and sends them on their way.
#[derive(Debug)]
pub struct Reclaim {
    redis: Redis,
    router: Arc<Router>,
    held: Held,
    under_way: RwLock<()>,
}

/// Why a round of recovery ended early.
pub(super) enum End {
    Stopped,
    Failed(StoreError),
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl Reclaim {
    /// Looks for what this process does not hold; `held` is what it does.
    pub fn new(redis: Redis, router: Arc<Router>, held: Held) -> Self {
        Self { redis, router, held, under_way: RwLock::new(()) }
    }

    /// To be kept while entries are on their way to this process other than by [`Self::own`]: until they are held they
    /// look as if they were lost.
    pub(super) async fn entries_are_under_way(&self) -> RwLockReadGuard<'_, ()> {
        self.under_way.read().await
    }

    /// Whether this process holds an entry.
    pub(super) fn holds(&self, arrival: &Arrival) -> bool {
        let (source, id) = arrival.entry();
        self.held.holds(source, id)
    }

    /// Claims again what has been pending under the name `me` for `idle` or longer. Returns how many entries.
    ///
    /// No read may be under way, or `idle` has to be longer than any reply may take.
    pub(super) async fn own(
        &self,
        me: &Arc<str>,
        idle: Duration,
        stop: &CancellationToken,
    ) -> Result<usize, End> {
        let _none = self.under_way.write().await;
        let total = self.claim(Whose::Own, me, idle, stop).await?;
        if total > 0 {
            tracing::info!(entries = total, "claimed again what a lost reply had brought");
        }
        Ok(total)
    }

    /// Claims for `me` what has been pending for `idle` or longer, whoever holds it.
    pub(super) async fn forgotten(
        &self,
        me: &Arc<str>,
        idle: Duration,
        stop: &CancellationToken,
    ) -> Result<(), End> {
        let _until_held = self.entries_are_under_way().await;
        let total = self.claim(Whose::Anyones, me, idle, stop).await?;
        if total > 0 {
            tracing::warn!(entries = total, "claimed entries that a worker had held far beyond any timeout");
        }
        Ok(())
    }

    async fn claim(
        &self,
        whose: Whose,
        me: &Arc<str>,
        idle: Duration,
        stop: &CancellationToken,
    ) -> Result<usize, End> {
        let holder = match whose {
            Whose::Own => Some(&**me),
            Whose::Anyones => None,
        };
        let mut total = 0;
        for source in [Source::Ready, Source::Stream] {
            let mut after: Option<EntryId> = None;
            loop {
                let page = self.redis.idle_entries(source, holder, idle, after.as_ref(), COUNT).await?;
                let Some(last) = page.last() else { break };
                after = Some(last.id.clone());
                // One at a time: their sizes are not known.
                for entry in page.iter().filter(|entry| !self.held.holds(source, &entry.id)) {
                    let claimed = match whose {
                        Whose::Own => self.redis.reclaim(source, me, &entry.id).await?,
                        Whose::Anyones => self.redis.claim(source, me, idle, entry).await?,
                    };
                    let Some(taken) = claimed else { continue };
                    total += 1;
                    self.router.pass_on(vec![again(taken, entry)], me, stop).await?;
                }
            }
        }
        Ok(total)
    }
}

/// Whose pending entries are claimed.
#[derive(Clone, Copy)]
enum Whose {
    Own,
    Anyones,
}

/// Its holder did not die, so an entry that was attempted alone is a suspect still, and not guilty.
fn again(taken: Taken, pending: &Pending) -> Arrival {
    Arrival::inherited(taken, pending.times.saturating_sub(1) % poison::ALONE)
}
