//! Deliveries that failed: back to wait, and due again.

use std::time::Duration;

use redis::Value;

use super::progress::{Tried, event_words};
use super::{GROUP, Redis, StoreError, script};
use crate::model::{Delivery, Event, Source};

/// Up to so many bytes a payload is sent with what it is put away by: to copy it within the server costs more. A larger
/// one would be sent once more for nothing.
const SENT_BYTES: usize = 4096;

/// A delivery that is not settled, and has to wait.
#[derive(Clone, Debug)]
pub struct PutBack<'a> {
    /// The delivery.
    pub delivery: &'a Delivery,
    /// What was attempted.
    pub tried: Tried,
    /// How long it waits.
    pub wait: Duration,
}

/// Whether a settlement was this worker's to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// It was made, now or when it was tried before.
    Ours,
    /// The entry belongs to another worker (or was acknowledged): nothing was changed.
    Lost,
}

impl Ownership {
    /// Reads the reply of a settlement script.
    pub(super) fn of(reply: i64) -> Self {
        if reply < 0 { Self::Lost } else { Self::Ours }
    }

    /// Reads what a settlement script replied of one of many: its words say why it could not be settled.
    pub(super) fn of_one(reply: Value) -> Result<Self, StoreError> {
        match reply {
            Value::Int(number) => Ok(Self::of(number)),
            words => Err(StoreError::told(redis::from_redis_value(words).unwrap_or_default())),
        }
    }
}

/// What a round of promotion did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promoted {
    /// How many deliveries became ready.
    pub moved: usize,
    /// How long until the next is due; none when none waits.
    pub next: Option<Duration>,
}

impl Redis {
    /// Puts deliveries back to wait. All are of one stream, read under one name, and in the order of that stream. An
    /// entry is acknowledged with it when the delivery is all it is held for. Where an entry is no longer this
    /// consumer's, its new owner answers for the delivery.
    ///
    /// # Errors
    /// When Redis did not confirm it; doing it again is harmless. Within: for each delivery, why it alone could not be.
    pub async fn put_back(
        &self,
        put: &[PutBack<'_>],
    ) -> Result<Vec<Result<Ownership, StoreError>>, StoreError> {
        let Some(first) = put.first() else { return Ok(Vec::new()) };
        let (keys, source) = (self.keys(), first.delivery.receipt.source);
        let mut put_back = script::WAIT.key(self.key_of(source));
        put_back.key(keys.retry());
        put_back.arg(GROUP).arg(&*first.delivery.receipt.consumer).arg(u8::from(source == Source::Ready));
        for PutBack { delivery, tried, wait } in put {
            let (receipt, event) = (&delivery.receipt, &delivery.event);
            let destination = delivery.destination.to_string();
            put_back.key(keys.event(&event.key));
            put_back.arg(receipt.id.as_str()).arg(u8::from(receipt.is_sole()));
            put_back.arg(format!("{} {destination}", event.key.as_str())).arg(destination);
            put_back.arg(tried.words()).arg(millis(*wait)).arg(event_words(event)).arg(sent(source, event));
        }
        let results: Vec<Value> = self.script(&put_back).await?;
        if results.len() != put.len() {
            return Err(StoreError::told(format!("{} results for {} deliveries", results.len(), put.len())));
        }
        Ok(results.into_iter().map(Ownership::of_one).collect())
    }

    /// Notes deliveries of entries of the producers' stream as done while others of the same entry are under way, so
    /// that a crash does not repeat them. All were read under the name `consumer`.
    ///
    /// # Errors
    /// When Redis did not confirm it; doing it again is harmless.
    pub async fn mark_done(&self, consumer: &str, done: &[Delivery]) -> Result<Vec<Ownership>, StoreError> {
        let mut mark = script::MARK.key(self.keys().stream());
        mark.arg(GROUP).arg(consumer);
        for delivery in done {
            mark.key(self.keys().event(&delivery.event.key)).arg(delivery.receipt.id.as_str());
            mark.arg(delivery.destination.to_string());
        }
        let marked: Vec<i64> = self.script(&mark).await?;
        Ok(marked.into_iter().map(|marked| Ownership::of(marked - 1)).collect())
    }

    /// Moves up to `limit` deliveries that are due to the ready stream.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn promote(&self, limit: usize) -> Result<Promoted, StoreError> {
        let mut promote = script::PROMOTE.key(self.keys().retry());
        promote.key(self.keys().ready()).arg(limit);
        let (moved, next): (usize, i64) = self.script(&promote).await?;
        Ok(Promoted { moved, next: u64::try_from(next).ok().map(Duration::from_millis) })
    }
}

/// The payload that goes to Redis with a script: a small one of the producers' stream. Others are there already, or are
/// copied within the server.
pub(super) fn sent(source: Source, event: &Event) -> &[u8] {
    let payload = event.envelope.payload();
    if source == Source::Stream && payload.len() <= SENT_BYTES { payload } else { &[] }
}

/// Whole milliseconds, rounded up: a wait is never shorter than asked for.
pub(super) fn millis(delay: Duration) -> u64 {
    u64::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
