//! What operators ask of the lanes, and order: messages to their owner, who answers between two attempts.

use std::collections::HashMap;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::State;
use crate::flow::attempt::unix_ms;
use crate::flow::lanes::view::LaneView;
use crate::model::{Destination, Outcome};

/// How many ask at once; others wait.
const ASKING: usize = 16;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Of how many destinations the last failure is kept.
const KNOWN_FAILURES: usize = 10_000;

/// How an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFailure {
    /// When it ended, Unix ms.
    pub at_ms: u64,
    /// What it came to, in words.
    pub summary: String,
}

/// A destination as this worker knows it.
#[derive(Clone, Debug)]
pub struct KnownLane {
    /// Which.
    pub destination: Destination,
    /// What its lane is like.
    pub lane: LaneView,
    /// How the last attempt failed that did, as far as this worker remembers.
    pub last_failure: Option<LastFailure>,
}

/// The dispatcher does not answer: it has not begun, has ended, or is busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the worker's lanes do not answer: it has not begun, or is stopping")]
pub struct NoAnswer;

/// Where to ask. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Desk(mpsc::Sender<Ask>);

/// What can be asked.
#[derive(Debug)]
pub struct Ask(Asked);

#[derive(Debug)]
enum Asked {
    /// So many lanes at most, in the order of their names, behind this one.
    After(Option<Destination>, usize, oneshot::Sender<Vec<KnownLane>>),
    /// Those of these that are known.
    Some(Vec<Destination>, oneshot::Sender<Vec<KnownLane>>),
    /// To try a destination now, whatever its breaker says.
    RetryNow(Destination, oneshot::Sender<()>),
}

impl Desk {
    /// A desk, and what comes in there, for the dispatcher.
    pub fn new() -> (Self, mpsc::Receiver<Ask>) {
        let (asks, asked) = mpsc::channel(ASKING);
        (Self(asks), asked)
    }

    /// Up to `limit` of the destinations that this worker knows, in order, behind `after`.
    ///
    /// # Errors
    /// When the worker has not begun or is stopping.
    pub async fn lanes(&self, after: Option<Destination>, limit: usize) -> Result<Vec<KnownLane>, NoAnswer> {
        self.ask(|reply| Asked::After(after, limit, reply)).await
    }

    /// Those of `destinations` that this worker knows.
    ///
    /// # Errors
    /// When the worker has not begun or is stopping.
    pub async fn lanes_of(&self, destinations: Vec<Destination>) -> Result<Vec<KnownLane>, NoAnswer> {
        self.ask(|reply| Asked::Some(destinations, reply)).await
    }

    /// Makes the next probe due, and asks for what is parked, where this worker knows the destination.
    ///
    /// # Errors
    /// When the worker has not begun or is stopping.
    pub async fn retry_now(&self, destination: Destination) -> Result<(), NoAnswer> {
        self.ask(|reply| Asked::RetryNow(destination, reply)).await
    }

    async fn ask<T>(&self, asked: impl FnOnce(oneshot::Sender<T>) -> Asked) -> Result<T, NoAnswer> {
        let (reply, answer) = oneshot::channel();
        let asking = async {
            self.0.send(Ask(asked(reply))).await.map_err(|_| NoAnswer)?;
            answer.await.map_err(|_| NoAnswer)
        };
        timeout(PATIENCE, asking).await.map_err(|_| NoAnswer)?
    }
}

/// How attempts to each destination failed last.
#[derive(Debug, Default)]
pub(super) struct Failures(HashMap<Destination, LastFailure>);

impl Failures {
    /// Notes what an attempt came to.
    pub(super) fn note(&mut self, to: &Destination, outcome: &Outcome) {
        if outcome.is_success() {
            return;
        }
        if self.0.len() >= KNOWN_FAILURES && !self.0.contains_key(to) {
            // Which of so many is the oldest is not worth an order of them.
            self.0.clear();
        }
        self.0.insert(to.clone(), LastFailure { at_ms: unix_ms(), summary: outcome.summary() });
    }
}

impl State {
    /// Answers. Whoever asked may have gone.
    pub(super) fn answer(&mut self, Ask(asked): Ask) {
        let now = self.began.elapsed();
        match asked {
            Asked::After(after, limit, reply) => {
                let found = self.lanes.views_after(after.as_ref(), limit, now);
                _ = reply.send(found.into_iter().map(|(to, lane)| self.known(to, lane)).collect());
            }
            Asked::Some(destinations, reply) => {
                let known = destinations.into_iter().filter_map(|to| {
                    let lane = self.lanes.view(&to, now)?;
                    Some(self.known(to, lane))
                });
                _ = reply.send(known.collect());
            }
            Asked::RetryNow(to, reply) => {
                self.lanes.retry_now(&to, now);
                _ = reply.send(());
            }
        }
    }

    fn known(&self, destination: Destination, lane: LaneView) -> KnownLane {
        let last_failure = self.failures.0.get(&destination).cloned();
        KnownLane { destination, lane, last_failure }
    }
}
