//! Attempts in flight: each gives back what it was begun with, however it ends.

use std::collections::HashMap;

use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::super::{Attempting, Work};
use crate::decide::lane::Ticket;
use crate::model::{Delivery, Destination, Outcome};
use crate::store::Redis;

/// An attempt that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) to: Destination,
    /// What its lane gets back; none for one that was made alone.
    pub(super) ticket: Option<Ticket>,
    /// What it came to, and when; none when it came to nothing.
    pub(super) outcome: Option<(Outcome, Instant)>,
}

#[derive(Debug, Default)]
pub(super) struct Running {
    tasks: JoinSet<Option<(Outcome, Instant)>>,
    begun: HashMap<Id, (Destination, Option<Ticket>)>,
}

impl Running {
    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether an attempt is under way that has to be the only one.
    pub(super) fn is_alone(&self) -> bool {
        self.begun.len() == 1 && self.begun.values().all(|(_, ticket)| ticket.is_none())
    }

    /// Begins an attempt. `alone`: where to note first that nothing else is attempted meanwhile.
    pub(super) fn begin(
        &mut self,
        attempting: Attempting,
        settle: mpsc::Sender<Work>,
        delivery: Delivery,
        ticket: Option<Ticket>,
        alone: Option<Redis>,
    ) {
        let to = delivery.destination.clone();
        let task = self.tasks.spawn(async move {
            // Unless that is noted first, it would kill one worker after the other; left out, it is claimed again.
            if let Some(redis) = alone
                && !redis.note_alone(&delivery.receipt).await.unwrap_or(false)
            {
                return None;
            }
            let attempted = attempting.attempt(delivery).await;
            let outcome = (attempted.outcome.clone(), Instant::now());
            // Fails only when the settler has given up: then the entry stays pending.
            let _ = settle.send(Work::Attempted(Box::new(attempted))).await;
            Some(outcome)
        });
        self.begun.insert(task.id(), (to, ticket));
    }

    /// The next that ends; none when none is in flight.
    pub(super) async fn next(&mut self) -> Option<Ended> {
        let ended = self.tasks.join_next_with_id().await?;
        self.ended(ended)
    }

    /// One that has ended already.
    pub(super) fn next_now(&mut self) -> Option<Ended> {
        let ended = self.tasks.try_join_next_with_id()?;
        self.ended(ended)
    }

    /// Ends all.
    pub(super) async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }

    fn ended(&mut self, ended: Result<(Id, Option<(Outcome, Instant)>), JoinError>) -> Option<Ended> {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => (error.id(), None),
        };
        let (to, ticket) = self.begun.remove(&id)?;
        Some(Ended { to, ticket, outcome })
    }
}
