//! Settling: what an attempt came to becomes what is done with the delivery.
//!
//! Work is taken in batches as it comes: while one batch is being settled, the next gathers, and it gathers for a moment
//! at least, since a batch costs Redis and this process hardly more than one delivery does. What comes alone does not
//! wait. In a batch, failures come first and acknowledgements after them: an entry is acknowledged (and with it the
//! payload deleted) only once all its other deliveries are safe elsewhere. What is to be parked goes its own way.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;

use super::batch::{Batch, Failed};
use super::bury::Undertaker;
use super::half_done::HalfDone;
use super::park::{Parker, ToWait};
use super::promote::LONGEST_SLEEP;
use super::tries::{GivenUp, Next, Tries};
use super::{Idle, Work};
use crate::decide::retry::{self, RetrySettings};
use crate::model::{Attempted, DeadReason, Delivery, Destination, LastAttempt, Settlement, Source};
use crate::store::{Ownership, PutBack, Redis, StoreError, Tried};
use crate::telemetry::metrics::Metrics;

/// How much is settled at a time.
const BATCH: usize = 256;
/// How far batches are apart at least, unless they are full.
const LINGER: Duration = Duration::from_millis(3);
/// How many failures are written at a time, and past how many bytes of payload it is fewer: each is copied.
const AT_A_TIME: usize = 64;
const AT_A_TIME_BYTES: usize = 1024 * 1024;
/// How much is on its way to be parked: what this process may hold at most, so that nothing else waits for it.
const PARK_QUEUE: usize = 16 * 1024;

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
    /// Where it counts what becomes of deliveries.
    pub metrics: Arc<Metrics>,
}

/// What has to be done for one piece of work before its entry may be acknowledged.
enum Failure<'a> {
    Reschedule(&'a Attempted, Duration),
    Bury(&'a Work, DeadReason),
}

impl Settler {
    /// Settles what comes through `work` until it ends. While Redis is away what is at hand is kept and tried again,
    /// until `give_up`: then its entries stay pending, for another worker.
    pub async fn run(self, work: mpsc::Receiver<Work>, give_up: CancellationToken) {
        let (park, to_park) = mpsc::channel(PARK_QUEUE);
        let parker = Parker { redis: self.redis.clone(), metrics: Arc::clone(&self.metrics) };
        tokio::join!(self.settle_each(work, park, &give_up), parker.run(to_park, &give_up));
    }

    async fn settle_each(
        &self,
        mut work: mpsc::Receiver<Work>,
        park: mpsc::Sender<ToWait>,
        give_up: &CancellationToken,
    ) {
        let mut half_done = HalfDone::default();
        let (mut taken, mut at_hand) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        let mut told_down = HashSet::new();
        let mut next = Instant::now();
        loop {
            let came = match half_done.due() {
                Some(due) => timeout_at(due, work.recv_many(&mut taken, BATCH)).await,
                None => Ok(work.recv_many(&mut taken, BATCH).await),
            };
            if came == Ok(0) {
                return;
            }
            if (1..BATCH).contains(&taken.len()) && Instant::now() < next && !work.is_closed() {
                sleep_until(next).await;
                // Nothing of it may be left behind where more than a batch has come.
                while taken.len() < BATCH
                    && let Ok(more) = work.try_recv()
                {
                    taken.push(more);
                }
            }
            next = Instant::now() + LINGER;
            for work in taken.drain(..) {
                match work {
                    Work::Parked(delivery, reason, wait) => {
                        if park.send(ToWait { delivery, reason, wait }).await.is_err() {
                            return;
                        }
                    }
                    work => at_hand.push(work),
                }
            }
            if !at_hand.is_empty() {
                if self.settle_all(&at_hand, &mut half_done, give_up).await.is_err() {
                    return;
                }
                for work in &at_hand {
                    if let Work::Told(news) = work {
                        self.undertaker.tell(news, &mut told_down).await;
                    }
                }
                at_hand.clear();
            }
            half_done.mark(&self.redis, Instant::now()).await;
        }
    }

    async fn settle_all(
        &self,
        work: &[Work],
        half_done: &mut HalfDone,
        give_up: &CancellationToken,
    ) -> Result<(), GivenUp> {
        let mut tries = Tries::new(&self.redis, "settle", give_up);
        let mut batch = Batch::default();
        let mut failures: Vec<_> = work.iter().filter_map(|work| self.decide(work, &mut batch)).collect();
        let mut again = false;
        loop {
            let settled = tokio::select! {
                settled = self.settle(&mut failures, &mut batch, again) => settled,
                // What was under way may have been done; all of it may be repeated.
                () = give_up.cancelled() => return Err(GivenUp),
            };
            let Err(error) = settled else { break };
            again = true;
            match tries.failed(&error).await? {
                Next::Again => {}
                Next::WithoutFailed => {
                    failures.clear();
                    batch.drop_records();
                }
                Next::Nothing => return Ok(()),
            }
        }
        tries.over();
        half_done.add(batch.take_half_done());
        Ok(())
    }

    /// Sorts one piece of work: successes go to the batch, failures are returned.
    fn decide<'a>(&self, work: &'a Work, batch: &mut Batch) -> Option<Failure<'a>> {
        match work {
            Work::Attempted(attempted) => {
                let Attempted { delivery, outcome, started_ms, took } = &**attempted;
                let ended_ms = started_ms + u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
                let age = Duration::from_millis(ended_ms.saturating_sub(delivery.event.pushed_ms));
                let settlement = retry::settle(&self.retry, delivery.attempt, age, outcome, rand::random());
                batch.record(attempted, &settlement);
                match settlement {
                    Settlement::Delivered => {
                        self.metrics.delivered(&delivery.destination, age);
                        batch.delivered(delivery);
                        None
                    }
                    Settlement::Retry(delay) => Some(Failure::Reschedule(attempted, delay)),
                    Settlement::Dead(reason) => Some(Failure::Bury(work, reason)),
                }
            }
            // What is to be parked is not here any more.
            Work::Parked(..) | Work::Told(_) => None,
            Work::Buried(_, reason, _) => Some(Failure::Bury(work, *reason)),
            Work::Unreadable(unreadable) => Some(Failure::Bury(work, unreadable.reason)),
            Work::Idle(Idle::Unrouted(receipt)) => {
                self.metrics.unrouted();
                batch.unrouted(receipt);
                None
            }
            Work::Idle(Idle::Settled(receipt, key)) => {
                batch.finish(receipt, key.clone());
                None
            }
        }
    }

    /// One try, the first or `again`, to settle what is left of a batch; what succeeded is not done again.
    async fn settle(
        &self,
        failures: &mut Vec<Failure<'_>>,
        batch: &mut Batch,
        again: bool,
    ) -> Result<(), StoreError> {
        let mut results = Vec::with_capacity(failures.len());
        for some in by_weight(failures) {
            results.extend(self.fail(some).await);
        }
        let mut first_error = None;
        let mut left = Vec::new();
        for (failure, result) in failures.drain(..).zip(results) {
            match result {
                Ok(ownership) => {
                    if batch.failed(failure.delivery(), ownership, failure.kind(), again) == Ownership::Ours {
                        failure.count(&self.metrics);
                    }
                }
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

    /// Settles failures, and says what came of each.
    async fn fail(&self, failures: &[Failure<'_>]) -> Vec<Result<Ownership, StoreError>> {
        let mut calls: HashMap<(Source, &Arc<str>), Vec<usize>> = HashMap::new();
        let mut dead = Vec::new();
        for (place, failure) in failures.iter().enumerate() {
            match failure {
                Failure::Reschedule(attempted, _) => {
                    let receipt = &attempted.delivery.receipt;
                    calls.entry((receipt.source, &receipt.consumer)).or_default().push(place);
                }
                Failure::Bury(work, reason) => dead.push((place, *work, *reason)),
            }
        }
        let put_back = join_all(calls.into_values().map(|places| self.put_back(failures, places)));
        let bury = |(place, work, reason)| async move { (place, self.undertaker.bury(work, reason).await) };
        let (put_back, buried) = join(put_back, join_all(dead.into_iter().map(bury))).await;
        let mut results: Vec<_> = put_back.into_iter().flatten().chain(buried).collect();
        results.sort_by_key(|(place, _)| *place);
        results.into_iter().map(|(_, result)| result).collect()
    }

    /// Puts back to wait those of the failures that are at these places: all of one stream, read under one name.
    async fn put_back(
        &self,
        failures: &[Failure<'_>],
        places: Vec<usize>,
    ) -> Vec<(usize, Result<Ownership, StoreError>)> {
        let mut put: Vec<_> =
            places.into_iter().filter_map(|place| Some((place, failures[place].put_back()?))).collect();
        put.sort_by_key(|(_, put)| put.delivery.receipt.id.place());
        let (places, put): (Vec<usize>, Vec<PutBack<'_>>) = put.into_iter().unzip();
        let results = match self.redis.put_back(&put).await {
            Ok(results) => results,
            Err(error) => vec![Err(error); places.len()],
        };
        // Longer waits are seen by the promoter in time; waking it for each would keep Redis busy.
        if put.iter().any(|put| put.wait < LONGEST_SLEEP) {
            self.sooner.notify_one();
        }
        places.into_iter().zip(results).collect()
    }
}

/// Divides what is to be done into what may be done at a time: Redis runs a whole pipeline before it hears others.
fn by_weight<'a, 'b>(failures: &'b [Failure<'a>]) -> impl Iterator<Item = &'b [Failure<'a>]> {
    let mut rest = failures;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |failure: &&Failure<'_>| {
            let before = bytes;
            bytes += failure.delivery().map_or(0, |delivery| delivery.event.envelope.payload().len());
            before < AT_A_TIME_BYTES
        };
        let count = rest.iter().take(AT_A_TIME).take_while(fits).count();
        let (some, others) = rest.split_at(count);
        rest = others;
        (count > 0).then_some(some)
    })
}

impl Failure<'_> {
    fn delivery(&self) -> Option<&Delivery> {
        match self {
            Self::Reschedule(attempted, _) => Some(&attempted.delivery),
            Self::Bury(Work::Attempted(attempted), _) => Some(&attempted.delivery),
            Self::Bury(Work::Buried(delivery, ..), _) => Some(delivery),
            Self::Bury(_, _) => None,
        }
    }

    fn put_back(&self) -> Option<PutBack<'_>> {
        let Self::Reschedule(attempted, delay) = self else { return None };
        let Attempted { delivery, outcome, started_ms, .. } = attempted;
        let (at_ms, status, summary) = (*started_ms, outcome.status(), outcome.summary());
        Some(PutBack {
            delivery,
            tried: Tried {
                attempts: delivery.attempt,
                first_ms: Some(delivery.first_attempt_ms.unwrap_or(*started_ms)),
                last: Some(LastAttempt { at_ms, status, summary }),
            },
            wait: *delay,
        })
    }

    fn count(&self, metrics: &Metrics) {
        match self {
            Self::Reschedule(attempted, _) => metrics.retried(&attempted.delivery.destination),
            Self::Bury(_, reason) => {
                metrics.buried(self.delivery().map(|delivery| &delivery.destination), *reason);
            }
        }
    }

    fn kind(&self) -> Failed {
        match self {
            Self::Reschedule(..) => Failed::Retried,
            Self::Bury(Work::Attempted(attempted), DeadReason::Gone)
                if matches!(attempted.delivery.destination, Destination::Instance(_)) =>
            {
                Failed::Gone
            }
            Self::Bury(..) => Failed::Dead,
        }
    }
}
