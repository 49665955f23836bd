//! The dispatcher: which delivery is attempted next, and how many at a time.
//!
//! For now one queue in the order of arrival, and one limit. It is the owner of all attempts in flight, and the
//! place where lanes (one queue and limit for each destination) belong.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Attempting, Work};
use crate::model::Delivery;

/// The owner of all attempts in flight.
#[derive(Debug)]
pub struct Dispatcher {
    /// Attempts in flight at most.
    pub slots: usize,
    /// How long attempts may go on once it stops.
    pub grace: Duration,
    /// What an attempt needs.
    pub attempting: Attempting,
    /// Where attempts go then.
    pub settle: mpsc::Sender<Work>,
}

impl Dispatcher {
    /// Attempts what comes through `queue` until it ends or `stop`. Then attempts in flight have the grace period;
    /// what was not begun stays in the pending list, for another worker.
    pub async fn run(self, mut queue: mpsc::Receiver<Delivery>, stop: CancellationToken) {
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = running.join_next() => {}
                next = queue.recv(), if running.len() < self.slots => match next {
                    Some(delivery) => self.begin(&mut running, delivery),
                    None => break,
                },
            }
        }
        let left = running.len();
        if left > 0 {
            tracing::info!(attempts = left, grace_s = self.grace.as_secs(), "finishing attempts in flight");
        }
        let finished = async { while running.join_next().await.is_some() {} };
        if tokio::time::timeout(self.grace, finished).await.is_err() {
            tracing::warn!(
                attempts = running.len(),
                "attempts outlasted the grace period; another worker repeats them"
            );
            running.shutdown().await;
        }
    }

    fn begin(&self, running: &mut JoinSet<()>, delivery: Delivery) {
        let (attempting, settle) = (self.attempting.clone(), self.settle.clone());
        running.spawn(async move {
            let attempted = attempting.attempt(delivery).await;
            // Fails only when the settler has given up: then the entry stays pending.
            let _ = settle.send(Work::Attempted(Box::new(attempted))).await;
        });
    }
}
