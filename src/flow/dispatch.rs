//! The dispatcher: which delivery is attempted next, and how many at a time. It is the owner of all lanes and of all
//! attempts in flight.

mod asked;
mod fetches;
mod running;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use self::asked::Failures;
pub use self::asked::{Ask, Desk, KnownLane, LastFailure, NoAnswer};
use self::fetches::Fetches;
use self::running::{Ended, Running};
use super::lanes::{Bounds, Hunger, Lanes, Load, Parking};
use super::{Attempting, Cause, Due, Lease, News, Room, Unparker, Work};
use crate::decide::lane::{BreakerSettings, Change, Pick, Sign};
use crate::model::{Delivery, Source};
use crate::store::{Redis, Which};
use crate::telemetry::metrics::Metrics;

/// How often everything is looked at that no event would make it look at.
const SWEEP: Duration = Duration::from_millis(500);
/// How many destinations' parked deliveries are fetched at the same time.
const FETCHES: usize = 8;

/// The owner of all lanes and attempts in flight.
#[derive(Debug)]
pub struct Dispatcher {
    /// The server.
    pub redis: Redis,
    /// What may be in flight and in memory.
    pub limits: Limits,
    /// How long attempts may go on once it stops.
    pub grace: Duration,
    /// What an attempt needs.
    pub attempting: Attempting,
    /// This worker's name, and until when attempts may begin under it.
    pub lease: watch::Receiver<Lease>,
    /// Where attempts go then.
    pub settle: mpsc::Sender<Work>,
    /// What brings parked deliveries back.
    pub unparker: Arc<Unparker>,
    /// Where it tells how many deliveries are about to begin.
    pub room: Room,
    /// Where it tells what it holds.
    pub metrics: Arc<Metrics>,
    /// What operators ask, and order.
    pub asks: mpsc::Receiver<Ask>,
}

/// What may be in flight and in memory, and how receivers are treated.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Attempts in flight at most.
    pub slots: usize,
    /// Deliveries that wait in memory at most.
    pub deliveries: usize,
    /// Bytes of their payloads.
    pub bytes: usize,
    /// How long breakers stay open.
    pub breaker: BreakerSettings,
    /// Statuses that are not retried.
    pub non_retryable: Arc<BTreeSet<u16>>,
}

impl Load for Delivery {
    fn bytes(&self) -> usize {
        self.event.envelope.payload().len()
    }

    fn was_parked(&self) -> bool {
        self.was_parked
    }
}

/// What it does, between two looks at its inputs.
struct State {
    lanes: Lanes<Delivery>,
    running: Running,
    fetches: Fetches,
    /// Each is attempted alone.
    suspects: VecDeque<Delivery>,
    /// What is on its way to the settler.
    out: VecDeque<Work>,
    failures: Failures,
    began: Instant,
}

impl Dispatcher {
    /// Attempts what comes through `queue` until it ends or `stop`; `due` are destinations whose parked deliveries may
    /// be fetched. Then attempts in flight have the grace period; what was not begun is handed back to the other
    /// workers.
    pub async fn run(
        mut self,
        mut queue: mpsc::Receiver<Vec<Delivery>>,
        mut due: mpsc::Receiver<Vec<Due>>,
        stop: CancellationToken,
    ) {
        let Limits { slots, deliveries, bytes, breaker, .. } = self.limits;
        let mut state = State {
            lanes: Lanes::new(Bounds { slots, deliveries, bytes }, breaker),
            running: Running::default(),
            fetches: Fetches::default(),
            suspects: VecDeque::new(),
            out: VecDeque::new(),
            failures: Failures::default(),
            began: Instant::now(),
        };
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let asked = self.begin_all(&mut state);
            self.fetch_all(&mut state, &stop);
            self.room.set_quick(state.lanes.quick());
            self.metrics.set_waiting(state.lanes.waiting() + state.suspects.len());
            // While nothing may begin, nobody has a turn.
            let turn = state.lanes.next_turn().filter(|_| asked).map(|at| state.began + at);
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(ended) = state.running.next() => {
                    self.ended(&mut state, ended);
                    while let Some(ended) = state.running.next_now() {
                        self.ended(&mut state, ended);
                    }
                }
                permit = self.settle.reserve(), if !state.out.is_empty() => match (permit, state.out.pop_front()) {
                    (Ok(permit), Some(work)) => permit.send(work),
                    _ => break,
                },
                lease = self.lease.changed() => if lease.is_err() { break },
                some = queue.recv() => match some {
                    Some(some) => some.into_iter().for_each(|delivery| self.take(&mut state, delivery)),
                    None => break,
                },
                // After what it brought has been taken in.
                Some((to, left)) = state.fetches.next() => state.lanes.fetched(&to, left, state.began.elapsed()),
                Some(due) = due.recv() => {
                    let now = state.began.elapsed();
                    for Due { destination, url } in &due {
                        url.iter().for_each(|url| state.lanes.is_at(destination, url, now));
                        state.lanes.set_due(destination, now);
                    }
                }
                _ = sweep.tick() => self.sweep(&mut state),
                Some(ask) = self.asks.recv() => state.answer(ask),
                () = sleep_until(turn) => {}
            }
        }
        self.stop(state, queue).await;
    }

    async fn stop(&mut self, mut state: State, mut queue: mpsc::Receiver<Vec<Delivery>>) {
        state.fetches.shutdown().await;
        queue.close();
        let mut waiting = state.lanes.clear();
        waiting.extend(state.suspects.drain(..));
        while let Ok(some) = queue.try_recv() {
            waiting.extend(some);
        }
        for work in state.out.drain(..) {
            if let Work::Parked(delivery, ..) = work {
                waiting.push(*delivery);
            }
        }
        self.release(waiting).await;
        let left = state.running.len();
        if left > 0 {
            tracing::info!(attempts = left, grace_s = self.grace.as_secs(), "finishing attempts in flight");
        }
        let finished = async { while state.running.next().await.is_some() {} };
        if tokio::time::timeout(self.grace, finished).await.is_err() {
            tracing::warn!(
                attempts = state.running.len(),
                "attempts outlasted the grace period; another worker repeats them"
            );
            state.running.shutdown().await;
        }
    }

    /// Hands back what was not begun.
    async fn release(&self, waiting: Vec<Delivery>) {
        let name = Arc::clone(&self.lease.borrow().name);
        for source in [Source::Stream, Source::Ready] {
            // Of an entry with several deliveries, another may be under way.
            let is_free = |delivery: &&Delivery| {
                let receipt = &delivery.receipt;
                receipt.source == source && receipt.fan_out() == 1 && receipt.consumer == name
            };
            let entries: Vec<_> =
                waiting.iter().filter(is_free).map(|delivery| delivery.receipt.id.clone()).collect();
            if let Err(error) = self.redis.release(source, &name, &entries).await {
                tracing::debug!(%error, "not handed back at once; other workers have it when this one has stopped");
            }
        }
    }

    /// Whether a delivery is this worker's still.
    fn owns(&self, delivery: &Delivery) -> bool {
        let is_ours = delivery.receipt.consumer == self.lease.borrow().name;
        if !is_ours {
            tracing::debug!(id = %delivery.event.id, "another worker has this delivery now");
        }
        is_ours
    }

    /// Takes a delivery in.
    fn take(&self, state: &mut State, delivery: Delivery) {
        if !self.owns(&delivery) {
            return;
        }
        if delivery.suspect {
            state.suspects.push_back(delivery);
            return;
        }
        let now = state.began.elapsed();
        let to = delivery.destination.clone();
        let target = delivery.target.as_ref().ok();
        if let Some(target) = target {
            state.lanes.is_at(&to, &target.url, now);
        }
        let workers = self.lease.borrow().workers;
        let rate = target.and_then(|target| target.rate_limit).map(|rate| rate / workers as f64);
        if let Err(parking) = state.lanes.offer(&to, delivery, rate, now) {
            state.out.push_back(parked(parking));
        }
    }

    /// Begins what may begin; whether the lanes were asked.
    fn begin_all(&self, state: &mut State) -> bool {
        if !self.lease.borrow().is_valid(Instant::now()) {
            return false;
        }
        while !state.suspects.is_empty() {
            if state.running.len() > 0 {
                return false;
            }
            if let Some(suspect) = state.suspects.pop_front()
                && self.owns(&suspect)
            {
                state.running.begin(
                    self.attempting.clone(),
                    self.settle.clone(),
                    suspect,
                    None,
                    Some(self.redis.clone()),
                );
                return false;
            }
        }
        if state.running.is_alone() {
            return false;
        }
        let now = state.began.elapsed();
        while let Some((delivery, ticket)) = state.lanes.next(now) {
            if !self.owns(&delivery) {
                let _ = state.lanes.end(&delivery.destination, ticket, None, now, 0.5);
                continue;
            }
            state.running.begin(self.attempting.clone(), self.settle.clone(), delivery, Some(ticket), None);
        }
        true
    }

    /// An attempt has ended.
    fn ended(&self, state: &mut State, ended: Ended) {
        let Ended { to, ticket, outcome } = ended;
        let Some(ticket) = ticket else { return };
        // Not the time it waited for the settler, which may be that of an outage.
        let now = outcome.as_ref().map_or_else(|| state.began.elapsed(), |(_, at)| *at - state.began);
        let outcome = outcome.map(|(outcome, _)| outcome);
        outcome.iter().for_each(|outcome| state.failures.note(&to, outcome));
        let is_final = |status| status == 410 || self.limits.non_retryable.contains(&status);
        let sign = outcome.as_ref().map(|outcome| Sign::of(outcome, is_final));
        let (change, left) = state.lanes.end(&to, ticket, sign, now, rand::random());
        let parked_now = left.len();
        state.out.extend(left.into_iter().map(parked));
        let down = match (change, outcome) {
            (Change::None, _) | (_, None) => return,
            (Change::Down, Some(outcome)) => {
                let cause = Cause { summary: outcome.summary(), status: outcome.status() };
                tracing::warn!(destination = ?to.to_string(), cause = cause.summary, parked = parked_now, "the receiver is down; what waits for it is parked");
                Some(cause)
            }
            (Change::Recovered, Some(_)) => {
                tracing::info!(destination = ?to.to_string(), "the receiver is back");
                None
            }
        };
        let url = state.lanes.url(&to).cloned();
        state.out.push_back(Work::Told(Box::new(News { destination: to, url, down })));
    }

    /// Fetches parked deliveries for lanes that have room for them.
    fn fetch_all(&self, state: &mut State, stop: &CancellationToken) {
        // What came now could be another worker's already.
        if !self.lease.borrow().is_valid(Instant::now()) {
            return;
        }
        let now = state.began.elapsed();
        while state.fetches.len() < FETCHES && self.room.entries() > 0 {
            let Some(Hunger { to, count, pick }) = state.lanes.next_hungry(now) else { return };
            let wait = state.lanes.open_for(&to, now);
            let which = match pick {
                Pick::Late if count > 0 => Which::Late(rand::random()),
                Pick::Late | Pick::Oldest => Which::Oldest(count),
            };
            let (unparker, stop) = (Arc::clone(&self.unparker), stop.clone());
            let destination = to.clone();
            // Where it fails, they are tried again when they are due again.
            state
                .fetches
                .begin(to, async move { unparker.fetch(&destination, which, wait, &stop).await.ok() });
        }
    }

    fn sweep(&self, state: &mut State) {
        let (lanes, down) = state.lanes.count();
        self.metrics.set_lanes(lanes, down);
        // While nothing may begin, everything is late.
        if self.lease.borrow().is_valid(Instant::now()) && state.suspects.is_empty() {
            let now = state.began.elapsed();
            let late = state.lanes.sweep(now);
            state.out.extend(late.into_iter().map(parked));
        }
    }
}

fn parked(parking: Parking<Delivery>) -> Work {
    Work::Parked(Box::new(parking.item), parking.reason, parking.wait)
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
