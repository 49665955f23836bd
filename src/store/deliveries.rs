//! Deliveries that failed: back to wait, and due again.

use std::time::Duration;

use super::{GROUP, Redis, StoreError, script};
use crate::model::{Delivery, LastAttempt, Source};

/// A delivery that is not settled, and has to wait.
#[derive(Clone, Debug)]
pub struct PutBack<'a> {
    /// The delivery.
    pub delivery: &'a Delivery,
    /// How many attempts were made.
    pub attempts: u32,
    /// When its first attempt was begun, Unix ms.
    pub first_attempt_ms: Option<u64>,
    /// What the last attempt came to.
    pub last_attempt: Option<&'a LastAttempt>,
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
    /// Puts a delivery back to wait. The entry is acknowledged with it when the delivery is all it is held for. Where
    /// the entry is no longer this consumer's, its new owner answers for the delivery.
    ///
    /// # Errors
    /// When Redis did not confirm it; doing it again is harmless.
    pub async fn put_back(&self, put: &PutBack<'_>) -> Result<Ownership, StoreError> {
        let (receipt, event) = (&put.delivery.receipt, &put.delivery.event);
        let destination = &put.delivery.destination;
        let keys = self.keys();
        let mut put_back = script::WAIT.key(self.key_of(receipt.source));
        put_back.key(keys.event(&event.key)).key(keys.retry());
        put_back.arg(GROUP).arg(&*receipt.consumer).arg(receipt.id.as_str());
        put_back.arg(u8::from(receipt.is_sole())).arg(u8::from(receipt.source == Source::Ready));
        put_back.arg(event.key.as_str()).arg(destination.to_string());
        let text = |value: Option<String>| value.unwrap_or_default();
        put_back
            .arg(put.attempts)
            .arg(text(put.first_attempt_ms.map(|ms| ms.to_string())))
            .arg(millis(put.wait));
        put_back.arg(text(put.last_attempt.map(ToString::to_string)));
        put_back.arg(event.id.as_str()).arg(event.pushed_ms);
        put_back.arg(event.traceparent.as_deref().unwrap_or(""));
        Ok(Ownership::of(self.script(&put_back).await?))
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

/// Whole milliseconds, rounded up: a wait is never shorter than asked for.
pub(super) fn millis(delay: Duration) -> u64 {
    u64::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
