//! Deliveries that failed: back to wait, and due again.

use std::time::Duration;

use super::{GROUP, Redis, StoreError, script};
use crate::model::{Delivery, LastAttempt, Source};

/// A failed delivery to be attempted again.
#[derive(Clone, Debug)]
pub struct Rescheduled<'a> {
    /// The delivery, with the number of the attempt that failed.
    pub delivery: &'a Delivery,
    /// When its first attempt was begun, Unix ms.
    pub first_attempt_ms: u64,
    /// How long to wait.
    pub delay: Duration,
    /// What the attempt came to.
    pub last_attempt: &'a LastAttempt,
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
    /// Puts a failed delivery back to wait. The entry is acknowledged with it when the delivery is all it is held
    /// for. Where the entry is no longer this consumer's, its new owner answers for the delivery.
    ///
    /// # Errors
    /// When Redis did not confirm it; doing it again is harmless.
    pub async fn reschedule(&self, failed: &Rescheduled<'_>) -> Result<Ownership, StoreError> {
        let Rescheduled { delivery, first_attempt_ms, delay, last_attempt } = failed;
        let (receipt, event) = (&delivery.receipt, &delivery.event);
        let keys = self.keys();
        let mut retry = script::RETRY.key(self.key_of(receipt.source));
        retry.key(keys.event(&event.key)).key(keys.retry());
        retry.arg(GROUP).arg(&*receipt.consumer).arg(receipt.id.as_str());
        retry.arg(u8::from(receipt.is_sole())).arg(u8::from(receipt.source == Source::Ready));
        retry.arg(event.key.as_str()).arg(delivery.destination.to_string());
        retry.arg(delivery.attempt).arg(first_attempt_ms).arg(millis(*delay)).arg(last_attempt.to_string());
        retry.arg(event.id.as_str()).arg(event.pushed_ms);
        retry.arg(event.traceparent.as_deref().unwrap_or(""));
        Ok(Ownership::of(self.script(&retry).await?))
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
fn millis(delay: Duration) -> u64 {
    u64::try_from(delay.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}
