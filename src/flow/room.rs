//! Room: how much more this process may take in.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_util::sync::CancellationToken;

use super::route::Stopped;
use crate::model::Held;

/// How much this process holds, and may hold. Cheap to clone; all clones are one.
///
/// Bounded are the entries, the bytes of their payloads, and the deliveries that will begin in a moment: of those, the
/// rest may as well wait in Redis.
#[derive(Clone, Debug)]
pub struct Room {
    held: Held,
    entries: usize,
    bytes: usize,
    quick: usize,
    waiting_quick: Arc<AtomicUsize>,
}

impl Room {
    /// Room for so many entries, bytes of payload, and deliveries that are about to begin.
    pub fn new(held: Held, entries: usize, bytes: usize, quick: usize) -> Self {
        Self { held, entries, bytes, quick, waiting_quick: Arc::default() }
    }

    /// How many entries there is room for.
    pub(super) fn entries(&self) -> usize {
        let quick = self.quick.saturating_sub(self.waiting_quick.load(Ordering::Acquire));
        let (entries, bytes) = self.held.load();
        if bytes >= self.bytes { 0 } else { self.entries.saturating_sub(entries).min(quick) }
    }

    /// Notes how many deliveries are about to begin.
    pub(super) fn set_quick(&self, quick: usize) {
        let before = self.waiting_quick.swap(quick, Ordering::AcqRel);
        if before > self.enough() && quick <= self.enough() {
            self.held.tell();
        }
    }

    /// So few that are about to begin that it is worth a read: one entry at a time would cost a round trip each.
    fn enough(&self) -> usize {
        self.quick * 3 / 4
    }

    /// Waits until the bytes that are held allow for more.
    pub(super) async fn wait_for_bytes(&self, stop: &CancellationToken) -> Result<(), Stopped> {
        self.wait_until(|| self.held.load().1 < self.bytes, stop).await
    }

    /// Waits for room.
    pub(super) async fn wait(&self, stop: &CancellationToken) -> Result<(), Stopped> {
        let has_room = || self.entries() > 0 && self.waiting_quick.load(Ordering::Acquire) <= self.enough();
        self.wait_until(has_room, stop).await
    }

    async fn wait_until(&self, holds: impl Fn() -> bool, stop: &CancellationToken) -> Result<(), Stopped> {
        loop {
            let freed = self.held.freed();
            tokio::pin!(freed);
            // From here on nothing that is freed is missed.
            freed.as_mut().enable();
            if holds() {
                return Ok(());
            }
            tokio::select! {
                () = freed => {}
                () = stop.cancelled() => return Err(Stopped),
            }
        }
    }
}
