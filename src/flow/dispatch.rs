//! The dispatcher: which delivery is attempted next, and how many at a time.
//!
//! For now one queue in the order of arrival, and one limit. It is the owner of all attempts in flight, and the
//! place where lanes (one queue and limit for each destination) belong.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Attempting, Lease, Work};
use crate::model::{Delivery, Source};
use crate::store::Redis;

/// The owner of all attempts in flight.
#[derive(Debug)]
pub struct Dispatcher {
    /// The server.
    pub redis: Redis,
    /// Attempts in flight at most.
    pub slots: usize,
    /// How long attempts may go on once it stops.
    pub grace: Duration,
    /// What an attempt needs.
    pub attempting: Attempting,
    /// This worker's name, and until when attempts may begin under it.
    pub lease: watch::Receiver<Lease>,
    /// Where attempts go then.
    pub settle: mpsc::Sender<Work>,
}

/// Whether a delivery may be attempted.
enum Admission {
    Begin,
    Wait,
    Drop,
}

impl Dispatcher {
    /// Attempts what comes through `queue` until it ends or `stop`. Then attempts in flight have the grace period;
    /// what was not begun is handed back to the other workers.
    pub async fn run(mut self, mut queue: mpsc::Receiver<Delivery>, stop: CancellationToken) {
        let mut running = JoinSet::new();
        let mut alone = false;
        let mut next: Option<Delivery> = None;
        loop {
            match next.as_ref().map(|delivery| self.admit(delivery, running.len(), alone)) {
                Some(Admission::Begin) => {
                    if let Some(delivery) = next.take() {
                        alone = delivery.suspect;
                        self.begin(&mut running, delivery);
                    }
                    continue;
                }
                Some(Admission::Drop) => {
                    next = None;
                    continue;
                }
                Some(Admission::Wait) | None => {}
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = running.join_next() => alone &= !running.is_empty(),
                lease = self.lease.changed() => if lease.is_err() { break },
                taken = queue.recv(), if next.is_none() => match taken {
                    Some(delivery) => next = Some(delivery),
                    None => break,
                },
            }
        }
        self.release(next, queue).await;
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

    /// Hands back what was not begun.
    async fn release(&self, next: Option<Delivery>, mut queue: mpsc::Receiver<Delivery>) {
        queue.close();
        let mut waiting: Vec<Delivery> = next.into_iter().collect();
        while let Ok(delivery) = queue.try_recv() {
            waiting.push(delivery);
        }
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

    fn admit(&self, delivery: &Delivery, running: usize, alone: bool) -> Admission {
        let lease = self.lease.borrow();
        if delivery.receipt.consumer != lease.name {
            tracing::debug!(id = %delivery.event.id, "another worker has this delivery now");
            return Admission::Drop;
        }
        let room = if delivery.suspect { running == 0 } else { running < self.slots && !alone };
        if room && lease.is_valid(Instant::now()) { Admission::Begin } else { Admission::Wait }
    }

    fn begin(&self, running: &mut JoinSet<()>, delivery: Delivery) {
        let (attempting, settle) = (self.attempting.clone(), self.settle.clone());
        let alone = delivery.suspect.then(|| self.redis.clone());
        running.spawn(async move {
            // Unless that is noted first, it would kill one worker after the other; left out, it is claimed again.
            if let Some(redis) = alone
                && !redis.note_alone(&delivery.receipt).await.unwrap_or(false)
            {
                return;
            }
            let attempted = attempting.attempt(delivery).await;
            // Fails only when the settler has given up: then the entry stays pending.
            let _ = settle.send(Work::Attempted(Box::new(attempted))).await;
        });
    }
}
