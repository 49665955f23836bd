//! Settling: what an attempt came to becomes what is done with the delivery.
//!
//! Work is taken in batches as it comes, without lingering: while one batch is being settled, the next gathers. In a
//! batch, failures come first and acknowledgements after them: an entry is acknowledged (and with it the payload
//! deleted) only once all its other deliveries are safe elsewhere.

use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use super::batch::Batch;
use super::bury::Undertaker;
use super::outage::Outage;
use super::{Idle, Work};
use crate::decide::retry::{self, RetrySettings};
use crate::model::{Attempted, DeadReason, Delivery, Destination, Settlement};
use crate::store::{Ownership, Redis, Rescheduled, StoreError};

/// How much is settled at a time.
const BATCH: usize = 256;

/// Decides what becomes of each delivery, and makes it so in Redis.
#[derive(Debug)]
pub struct Settler {
    /// The server.
    pub redis: Redis,
    /// When and how often failed attempts are repeated.
    pub retry: RetrySettings,
    /// What writes dead letters.
    pub undertaker: Undertaker,
    /// Told when something was put to wait.
    pub sooner: Arc<Notify>,
}

/// What has to be done for one piece of work before its entry may be acknowledged.
enum Failure<'a> {
    Reschedule(&'a Attempted, std::time::Duration),
    Bury(&'a Work, DeadReason),
}

impl Settler {
    /// Settles what comes through `work` until it ends. While Redis is away what is at hand is kept and tried again,
    /// until `give_up`: then its entries stay pending, for another worker.
    pub async fn run(self, mut work: mpsc::Receiver<Work>, give_up: CancellationToken) {
        let mut outage = Outage::new("settle");
        let mut at_hand = Vec::with_capacity(BATCH);
        while work.recv_many(&mut at_hand, BATCH).await > 0 {
            let mut batch = Batch::default();
            let mut failures: Vec<_> =
                at_hand.iter().filter_map(|work| self.decide(work, &mut batch)).collect();
            while let Err(error) = self.settle(&mut failures, &mut batch).await {
                outage.wait(&error, &give_up).await;
                if give_up.is_cancelled() {
                    tracing::warn!(error = %error, "stopping before everything was settled; another worker repeats it");
                    return;
                }
            }
            outage.over();
            drop(failures);
            at_hand.clear();
        }
    }

    /// Sorts one piece of work: successes go to the batch, failures are returned.
    fn decide<'a>(&self, work: &'a Work, batch: &mut Batch) -> Option<Failure<'a>> {
        match work {
            Work::Attempted(attempted) => {
                let delivery = &attempted.delivery;
                let age_ms =
                    (attempted.started_ms + millis(attempted.took)).saturating_sub(delivery.event.pushed_ms);
                let settlement = retry::settle(
                    &self.retry,
                    delivery.attempt,
                    std::time::Duration::from_millis(age_ms),
                    &attempted.outcome,
                    rand::random(),
                );
                batch.record(attempted, &settlement);
                match settlement {
                    Settlement::Delivered => {
                        batch.delivered.push(delivery.clone());
                        None
                    }
                    Settlement::Retry(delay) => Some(Failure::Reschedule(attempted, delay)),
                    Settlement::Dead(reason) => Some(Failure::Bury(work, reason)),
                }
            }
            Work::Buried(_, reason, _) => Some(Failure::Bury(work, *reason)),
            Work::Unreadable(unreadable) => Some(Failure::Bury(work, unreadable.reason)),
            Work::Idle(Idle::Unrouted(receipt)) => {
                batch.unrouted(receipt);
                None
            }
            Work::Idle(Idle::Settled(receipt, key)) => {
                batch.finish(receipt, key.clone(), None);
                None
            }
        }
    }

    /// One try to settle what is left of a batch; what succeeded is not done again.
    async fn settle(&self, failures: &mut Vec<Failure<'_>>, batch: &mut Batch) -> Result<(), StoreError> {
        let results = join_all(failures.iter().map(|failure| self.fail(failure))).await;
        let mut first_error = None;
        let mut left = Vec::new();
        for (failure, result) in failures.drain(..).zip(results) {
            match result {
                Ok(ownership) => batch.failed(failure.delivery(), ownership, failure.counter()),
                Err(error) => {
                    first_error.get_or_insert(error);
                    left.push(failure);
                }
            }
        }
        *failures = left;
        if let Some(error) = first_error {
            return Err(error);
        }
        batch.acknowledge(&self.redis).await?;
        for gone in batch.gone.drain(..) {
            self.undertaker.disable(&gone).await;
        }
        Ok(())
    }

    async fn fail(&self, failure: &Failure<'_>) -> Result<Ownership, StoreError> {
        match failure {
            Failure::Reschedule(attempted, delay) => {
                let delivery = &attempted.delivery;
                let ownership = self
                    .redis
                    .reschedule(&Rescheduled {
                        delivery,
                        first_attempt_ms: delivery.first_attempt_ms.unwrap_or(attempted.started_ms),
                        delay: *delay,
                        outcome: &attempted.outcome.summary(),
                    })
                    .await?;
                self.sooner.notify_one();
                Ok(ownership)
            }
            Failure::Bury(work, reason) => self.undertaker.bury(work, *reason).await,
        }
    }
}

impl Failure<'_> {
    fn delivery(&self) -> Option<&Delivery> {
        match self {
            Self::Reschedule(attempted, _) => Some(&attempted.delivery),
            Self::Bury(Work::Attempted(attempted), _) => Some(&attempted.delivery),
            Self::Bury(Work::Buried(delivery, ..), _) => Some(delivery),
            Self::Bury(Work::Unreadable(_) | Work::Idle(_), _) => None,
        }
    }

    fn counter(&self) -> super::batch::Failed {
        match self {
            Self::Reschedule(..) => super::batch::Failed::Retried,
            Self::Bury(Work::Attempted(attempted), DeadReason::Gone)
                if matches!(attempted.delivery.destination, Destination::Instance(_)) =>
            {
                super::batch::Failed::Gone
            }
            Self::Bury(..) => super::batch::Failed::Dead,
        }
    }
}

fn millis(took: std::time::Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
