//! Events of which one destination has it and another takes its time: what is done is noted, so that a crash does not
//! repeat it.
//!
//! Most events are done with all their destinations within moments; a note for each would cost more than it saves. So
//! only those are noted that are still half done after a while.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::model::Delivery;
use crate::store::{Ownership, Redis};

/// How long an event is left half done before a note is made.
const AFTER: Duration = Duration::from_millis(500);

/// Deliveries that arrived while others of the same event are under way, oldest first.
#[derive(Debug, Default)]
pub(super) struct HalfDone(VecDeque<(Instant, Delivery)>);

impl HalfDone {
    /// Adds what arrived just now.
    pub(super) fn add(&mut self, delivered: Vec<Delivery>) {
        let due = Instant::now() + AFTER;
        self.0.extend(delivered.into_iter().map(|delivery| (due, delivery)));
    }

    /// When the next note is to be made.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.front().map(|(due, _)| *due)
    }

    /// Notes those that have been half done for too long. A note that cannot be made is left out: it saves a
    /// duplicate after a crash, no more.
    pub(super) async fn mark(&mut self, redis: &Redis, now: Instant) {
        let mut by_name: HashMap<Arc<str>, Vec<Delivery>> = HashMap::new();
        while self.0.front().is_some_and(|(due, _)| *due <= now) {
            if let Some((_, delivery)) = self.0.pop_front()
                && delivery.receipt.is_half_done()
                && !delivery.receipt.is_forfeited()
            {
                by_name.entry(Arc::clone(&delivery.receipt.consumer)).or_default().push(delivery);
            }
        }
        for (name, deliveries) in by_name {
            match redis.mark_done(&name, &deliveries).await {
                Ok(marked) => {
                    let ours = deliveries.iter().zip(marked).filter(|(_, owner)| *owner == Ownership::Ours);
                    ours.for_each(|(delivery, _)| delivery.receipt.record());
                }
                Err(error) => {
                    // It may have been made all the same: then there is a hash to be cleared with the entry.
                    deliveries.iter().for_each(|delivery| delivery.receipt.record());
                    tracing::debug!(%error, "not noted that deliveries are half done");
                }
            }
        }
    }
}
