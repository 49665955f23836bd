//! Reading: entries of both streams, as many as there is room for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::entry::Arrival;
use super::health::Health;
use super::lease::Lease;
use super::outage::Outage;
use super::reclaim::End;
use super::{Reclaim, Router};
use crate::store::{Read, Reader, Redis, Taken};

/// How long Redis holds an idle read. At most this long passes until a stop or a new name takes effect.
const BLOCK: Duration = Duration::from_secs(2);
/// How many entries of each stream one read takes at most. What they weigh is known only then: after many light ones,
/// so many media events may come in one reply.
const MOST: usize = 32;
/// How many bytes of payload one read should bring.
const BYTES: usize = 4 * 1024 * 1024;
/// What the first read takes the size of an entry for.
const GUESS_BYTES: usize = 2 * 1024 * 1024;

/// Reads entries and sends them on their way.
#[derive(Debug)]
pub struct Intake {
    /// The server.
    pub redis: Redis,
    /// The next stage.
    pub router: Arc<Router>,
    /// What finds entries whose reply was lost.
    pub reclaim: Arc<Reclaim>,
    /// The name this worker reads under; it changes when the worker has been taken for dead.
    pub lease: watch::Receiver<Lease>,
    /// Where it is told that the reader lives.
    pub health: Health,
}

impl Intake {
    /// Reads until `stop`, or until the stages behind have stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut outage = Outage::new("read");
        let mut size = Size(GUESS_BYTES);
        // Whether a reply was lost that may have brought entries.
        let mut lost = false;
        let mut consumer = Arc::clone(&self.lease.borrow_and_update().name);
        let mut reader = Reader::new(self.redis.clone(), Arc::clone(&consumer), BLOCK);
        while !stop.is_cancelled() {
            let lease = self.lease.borrow_and_update().clone();
            if !lease.is_valid(Instant::now()) {
                // What would be read now could not be attempted, and be another worker's soon.
                tokio::select! {
                    told = self.lease.changed() => if told.is_err() { return },
                    () = stop.cancelled() => return,
                }
                continue;
            }
            if lease.name != consumer {
                // What was read under the old name since it was lost, nobody looks for: it is noted as left behind.
                // Where that fails, strays are found later.
                if let Err(error) = self.redis.leave(&consumer).await {
                    tracing::debug!(%error, old = %consumer, "the old name was not given up");
                }
                consumer = lease.name;
                reader = Reader::new(self.redis.clone(), Arc::clone(&consumer), BLOCK);
            }
            self.health.waits_for_room();
            if self.router.room().wait(&stop).await.is_err() {
                return;
            }
            self.health.heard();
            if lost {
                match self.reclaim.own(&consumer, Duration::ZERO, &stop).await {
                    Ok(_) => lost = false,
                    Err(End::Stopped) => return,
                    Err(End::Failed(error)) => {
                        outage.wait(&error, &stop).await;
                        continue;
                    }
                }
            }
            let count = size.count(self.router.room().entries());
            // A read that is dropped has taken entries all the same: they are in the pending list, and the next
            // owner of the list has them.
            let read = tokio::select! {
                read = reader.read(count) => read,
                () = stop.cancelled() => return,
            };
            match read {
                Ok(Read { entries, webhooks_version }) => {
                    outage.over();
                    self.health.heard();
                    size.learn(&entries);
                    let arrivals = entries.into_iter().map(Arrival::fresh).collect();
                    let version = Some(webhooks_version);
                    if self.router.pass_read_on(arrivals, version, &consumer, &stop).await.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    if error.is_no_group() && self.redis.create_group().await.is_ok() {
                        tracing::warn!("redis lost the consumer group (FLUSHALL?); it was created again");
                        continue;
                    }
                    lost = true;
                    // It may have been too much for one reply.
                    size = Size(BYTES);
                    outage.wait(&error, &stop).await;
                }
            }
        }
    }
}

/// What an entry of the ready stream counts as.
const DUE_BYTES: usize = 64 * 1024;

/// What entries weighed lately. COUNT is not bounded by bytes: a hundred media events in one reply would stall the
/// server's other clients and this process' memory.
#[derive(Debug)]
struct Size(usize);

impl Size {
    fn count(&self, room: usize) -> usize {
        (BYTES / self.0.max(1)).clamp(1, MOST).min(room.max(1))
    }

    /// Grows at once and shrinks by halves: one heavy entry is often followed by others.
    fn learn(&mut self, taken: &[Taken]) {
        let sizes = taken.iter().filter_map(|entry| match entry {
            Taken::New { payload, .. } => payload.as_ref().map(bytes::Bytes::len),
            Taken::Due { .. } => None,
        });
        // What is due is loaded by its weight.
        let largest = sizes.max().unwrap_or(DUE_BYTES);
        if !taken.is_empty() {
            self.0 = largest.max(self.0 / 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EntryId;

    fn entry(bytes: usize) -> Taken {
        let payload = Some(vec![b' '; bytes].into());
        Taken::New { id: EntryId::new("1-0"), payload, event_id: None, traceparent: None }
    }

    #[test]
    fn heavy_entries_are_read_one_at_a_time_and_light_ones_in_dozens() {
        let mut size = Size(GUESS_BYTES);
        size.learn(&[entry(600), entry(5_000_000)]);
        assert_eq!(size.count(1000), 1);
        for _ in 0..20 {
            size.learn(&[entry(600)]);
        }
        assert_eq!(size.count(1000), MOST);
        assert_eq!(size.count(3), 3);
        assert_eq!(size.count(0), 1);
    }
}
