//! A batch of settled work on its way to Redis: what is acknowledged, and what is recorded with it.

use std::collections::HashMap;

use futures_util::future::{join, join_all};

use crate::model::{
    Attempted, Delivery, Destination, EntryId, EventKey, Outcome, Receipt, Settlement, Source,
};
use crate::store::{AttemptLine, Counter, Counts, Finished, Ownership, Redis, StoreError};

/// How much of a name is kept in the records of recent attempts.
const LINE_CHARS: usize = 200;

/// What became of a failed delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// It waits for another attempt.
    Retried,
    /// It is parked.
    Parked,
    /// It is a dead letter.
    Dead,
    /// It is a dead letter, and its instance's webhook is to be disabled.
    Gone,
}

/// What of a batch is not in Redis yet.
#[derive(Debug, Default)]
pub(super) struct Batch {
    delivered: Vec<Delivery>,
    half_done: Vec<Delivery>,
    /// Deliveries whose receiver answered 410, for good.
    pub(super) gone: Vec<Delivery>,
    entries: Vec<EntryId>,
    finished: HashMap<Source, Vec<Finished>>,
    /// One JSON array for each, with commas between them.
    lines: Vec<u8>,
    counts: Counts,
}

impl Batch {
    /// Notes an attempt for the records.
    pub(super) fn record(&mut self, attempted: &Attempted, settlement: &Settlement) {
        let Attempted { delivery, outcome, started_ms, took } = attempted;
        let line = AttemptLine {
            started_ms: *started_ms,
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            id: delivery.event.id.as_str().into(),
            event: short(delivery.event.envelope.name().as_str()).into(),
            destination: match &delivery.destination {
                to @ Destination::Instance(_) => short(&to.to_string()).to_owned().into(),
                to @ (Destination::Global | Destination::Errors) => to.kind().into(),
            },
            attempt: delivery.attempt,
            status: outcome.status(),
            error: match outcome {
                Outcome::Replied(_) => None,
                Outcome::Failed(error) => Some(error.kind().into()),
            },
            settlement: match settlement {
                Settlement::Delivered => "delivered",
                Settlement::Retry(_) => "retry",
                Settlement::Dead(reason) => reason.as_str(),
            }
            .into(),
        };
        let length = self.lines.len();
        if length > 0 {
            self.lines.push(b',');
        }
        if serde_json::to_writer(&mut self.lines, &line).is_err() {
            self.lines.truncate(length);
        }
    }

    /// Notes a delivery that arrived.
    pub(super) fn delivered(&mut self, delivery: &Delivery) {
        self.delivered.push(delivery.clone());
    }

    /// Forgets what would only be recorded.
    pub(super) fn drop_records(&mut self) {
        self.lines.clear();
        self.counts = Counts::default();
    }

    /// Deliveries that arrived while others of the same event are under way.
    pub(super) fn take_half_done(&mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.half_done)
    }

    /// Notes an event that goes nowhere.
    pub(super) fn unrouted(&mut self, receipt: &Receipt) {
        self.entries.push(receipt.id.clone());
        self.count(Counter::Unrouted);
    }

    /// Notes an entry that is done, and whose event has a hash.
    pub(super) fn finish(&mut self, receipt: &Receipt, event: EventKey) {
        self.finish_one(receipt, event, None, false);
    }

    fn finish_one(
        &mut self,
        receipt: &Receipt,
        event: EventKey,
        destination: Option<Destination>,
        is_last: bool,
    ) {
        let finished = Finished { entry: receipt.id.clone(), event, destination, is_last };
        self.finished.entry(receipt.source).or_default().push(finished);
    }

    /// Notes a delivery that was put to wait or buried (none for an entry that is no event). Where it was tried
    /// `again`, an entry that is this worker's no more may be so because the first try did it and its reply was lost:
    /// returns whose it was.
    pub(super) fn failed(
        &mut self,
        delivery: Option<&Delivery>,
        ownership: Ownership,
        failed: Failed,
        again: bool,
    ) -> Ownership {
        let done_before = again && delivery.is_none_or(|delivery| delivery.receipt.is_sole());
        let ownership = if done_before { Ownership::Ours } else { ownership };
        match failed {
            _ if ownership != Ownership::Ours => {}
            Failed::Retried => self.count(Counter::Retried),
            Failed::Parked => {}
            Failed::Dead | Failed::Gone => self.count(Counter::Dead),
        }
        let Some(delivery) = delivery else { return ownership };
        let receipt = &delivery.receipt;
        match ownership {
            Ownership::Lost => {
                tracing::info!(entry = %receipt.id, "another worker owns the entry now; it answers for the delivery");
                receipt.forfeit();
            }
            Ownership::Ours if failed == Failed::Gone => self.gone.push(delivery.clone()),
            Ownership::Ours => {}
        }
        // The script of a sole delivery has acknowledged the entry.
        if receipt.is_sole() {
            return ownership;
        }
        receipt.record();
        self.close(delivery);
        ownership
    }

    /// Acknowledges everything that arrived or is safe elsewhere.
    pub(super) async fn acknowledge(&mut self, redis: &Redis) -> Result<(), StoreError> {
        for delivery in std::mem::take(&mut self.delivered) {
            self.count(Counter::Delivered);
            if delivery.receipt.source == Source::Ready {
                let Delivery { receipt, event, destination, is_last, .. } = delivery;
                self.finish_one(&receipt, event.key.clone(), Some(destination), is_last);
            } else {
                self.close(&delivery);
                if delivery.receipt.is_half_done() {
                    self.half_done.push(delivery);
                }
            }
        }
        // Together, so that Redis is woken once. What has succeeded is not done again.
        let finish =
            join_all(self.finished.iter_mut().map(|(source, entries)| redis.finish(*source, entries)));
        let acknowledge = redis.acknowledge(&self.entries, &self.lines, &self.counts);
        let (finished, acknowledged) = join(finish, acknowledge).await;
        if acknowledged.is_ok() {
            self.entries.clear();
            self.drop_records();
        }
        finished.into_iter().collect::<Result<(), _>>()?;
        self.finished.clear();
        acknowledged
    }

    /// Counts a delivery of an entry of the producers' stream as settled; with the last, the entry is done.
    fn close(&mut self, delivery: &Delivery) {
        let receipt = &delivery.receipt;
        if !receipt.settle_one() || receipt.is_forfeited() {
            return;
        }
        // Of an entry with several deliveries another owner may have recorded one unknown to this process.
        if receipt.is_recorded() || receipt.fan_out() > 1 {
            self.finish(receipt, delivery.event.key.clone());
        } else {
            self.entries.push(receipt.id.clone());
        }
    }

    fn count(&mut self, counter: Counter) {
        self.counts.add(counter);
    }
}

/// A text as it is kept in the records of recent attempts: they are bounded in number, and so have to be in size.
fn short(text: &str) -> &str {
    text.char_indices().nth(LINE_CHARS).map_or(text, |(end, _)| &text[..end])
}
