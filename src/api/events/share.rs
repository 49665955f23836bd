//! How much of events all requests together may hold.
//!
//! Three pools, each for a step in size: what a request holds at first, then for one event that is larger, then for one
//! of any size that is allowed. A request takes of them in this order only and of each at most once, so that whoever
//! has of the last pool waits for nobody, and those before it wait for those alone: they cannot block each other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What a request holds unless it has a large event: a batch, and the event after it.
pub(super) const SMALL_BYTES: usize = 128 * 1024;
/// What of that is for the event; the rest is for the batch before it.
const FIRST_EVENT_BYTES: usize = SMALL_BYTES / 2;
const MEDIUM_BYTES: usize = 1024 * 1024;
/// Permits are counted in these, for a semaphore has not as many as a budget may have bytes.
const UNIT_BYTES: usize = 1024;
/// How long a request waits for its share.
const PATIENCE: Duration = Duration::from_secs(10);

/// There was no room in time.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("as many events are being taken in as MEMORY_BUDGET_BYTES has room for")]
pub(super) struct Busy;

/// What all requests share.
#[derive(Debug)]
pub(super) struct Shares {
    pools: [Pool; 3],
    /// How long a request waits for its share.
    patience: Duration,
}

#[derive(Debug)]
struct Pool {
    /// What each takes of it.
    each: usize,
    free: Arc<Semaphore>,
}

impl Pool {
    /// A pool of so many bytes, or of what one takes.
    fn new(bytes: usize, each: usize) -> Self {
        let units = units(bytes.max(each)) as usize;
        Self { each, free: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))) }
    }
}

/// What one request has of it.
#[derive(Debug)]
pub(super) struct Share<'a> {
    of: &'a Shares,
    /// How many bytes its body has at most: it takes no more.
    length: usize,
    /// What it has of each pool so far, and how much that is.
    taken: Vec<(OwnedSemaphorePermit, usize)>,
}

impl Shares {
    /// So many bytes for all, of which an event may have `max_event_bytes`.
    pub(super) fn new(bytes: usize, max_event_bytes: usize) -> Self {
        let pool = |part, each| Pool::new(bytes / part, each);
        let pools = [pool(4, SMALL_BYTES), pool(4, MEDIUM_BYTES), pool(2, max_event_bytes)];
        Self { pools, patience: PATIENCE }
    }

    /// The share of a request whose body has so many bytes, if it told.
    pub(super) fn of_body(&self, length: Option<u64>) -> Share<'_> {
        let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or(usize::MAX);
        Share { of: self, length, taken: Vec::new() }
    }
}

impl Share<'_> {
    /// Waits until it may hold so many bytes, or all of its body if that is less.
    pub(super) async fn grow_to(&mut self, bytes: usize) -> Result<(), Busy> {
        let bytes = bytes.min(self.length);
        while self.taken.is_empty() || self.bytes() < bytes {
            let Some(pool) = self.of.pools.get(self.taken.len()) else { return Ok(()) };
            let bytes = pool.each.min(self.length);
            let wait = Arc::clone(&pool.free).acquire_many_owned(units(bytes));
            match tokio::time::timeout(self.of.patience, wait).await {
                Ok(Ok(permit)) => self.taken.push((permit, bytes)),
                Ok(Err(_)) | Err(_) => return Err(Busy),
            }
        }
        Ok(())
    }

    /// How many bytes it may hold.
    pub(super) fn bytes(&self) -> usize {
        self.taken.last().map_or(0, |(_, bytes)| *bytes)
    }

    /// Gives back what is not needed to hold so many bytes of an event that is still coming.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        match bytes {
            0 => self.taken.clear(),
            // The first part has room for a batch and as much again.
            1..=FIRST_EVENT_BYTES => self.taken.truncate(1),
            _ => {}
        }
    }

    /// Whether an event that is still coming may have so many bytes.
    pub(super) fn holds(&self, bytes: usize) -> bool {
        let is_for_it_alone = self.taken.len() > 1;
        let is_for_the_body = self.bytes() >= self.length;
        bytes <= if is_for_it_alone || is_for_the_body { self.bytes() } else { FIRST_EVENT_BYTES }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: usize = 1024 * 1024;

    fn shares(bytes: usize, max_event_bytes: usize) -> Shares {
        Shares { patience: Duration::from_millis(20), ..Shares::new(bytes, max_event_bytes) }
    }

    #[tokio::test]
    async fn large_events_wait_for_each_other_and_small_ones_for_none_of_them() {
        let shares = self::shares(32 * MB, 16 * MB);
        let mut large = shares.of_body(None);
        large.grow_to(10 * MB).await.unwrap();
        assert_eq!(large.bytes(), 16 * MB);
        let mut other = shares.of_body(Some(20 * MB as u64));
        assert_eq!(other.grow_to(2 * MB).await, Err(Busy));
        assert_eq!(other.bytes(), MB, "it keeps what it has");
        for _ in 0..100 {
            shares.of_body(Some(700)).grow_to(700).await.unwrap();
        }
        large.shrink_to(10 * MB);
        assert_eq!(large.bytes(), 16 * MB, "it still holds as much");
        large.shrink_to(700);
        other.grow_to(2 * MB).await.unwrap();
        drop(other);
        large.shrink_to(0);
        assert_eq!(large.bytes(), 0);
        for (pool, bytes) in shares.pools.iter().zip([8 * MB, 8 * MB, 16 * MB]) {
            assert_eq!(pool.free.available_permits(), bytes / UNIT_BYTES, "all is given back");
        }
    }

    #[tokio::test]
    async fn a_body_that_the_first_pool_has_room_for_waits_for_no_other() {
        let shares = self::shares(32 * MB, 16 * MB);
        let mut large = shares.of_body(None);
        large.grow_to(10 * MB).await.unwrap();
        for length in [100_000, SMALL_BYTES] {
            let mut share = shares.of_body(Some(length as u64));
            share.grow_to(1).await.unwrap();
            share.grow_to(SMALL_BYTES + 1).await.unwrap();
            assert_eq!((share.bytes(), share.taken.len()), (length, 1));
            assert!(share.holds(length), "one event may be all of it");
        }
        let mut longer = shares.of_body(Some(SMALL_BYTES as u64 + 1));
        longer.grow_to(SMALL_BYTES + 1).await.unwrap();
        assert_eq!((longer.bytes(), longer.taken.len()), (SMALL_BYTES + 1, 2));
    }

    #[tokio::test]
    async fn any_event_that_is_allowed_has_room_in_the_smallest_budget() {
        let shares = self::shares(MB / 2, 512 * MB);
        let mut share = shares.of_body(None);
        share.grow_to(512 * MB).await.unwrap();
        assert_eq!(share.bytes(), 512 * MB);
    }

    #[tokio::test]
    async fn what_is_held_is_bounded() {
        let shares = self::shares(MB, MB);
        let mut held: Vec<Share<'_>> = Vec::new();
        loop {
            let mut share = shares.of_body(None);
            match share.grow_to(SMALL_BYTES).await {
                Ok(()) => held.push(share),
                Err(Busy) => break,
            }
        }
        assert_eq!(held.len(), MB / 4 / SMALL_BYTES);
    }
}
