//! Paused destinations as this process knows them.
//!
//! Pausing moves the version that is read after each read of the stream (see `hooks`): what is paused is read again when
//! that moved, and only then.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Work;
use super::deliveries::Step;
use crate::model::{Destination, ParkReason};
use crate::store::{Redis, StoreError};

/// How often what is parked for a paused destination is looked at: only for what has expired.
pub(super) const LOOK: Duration = Duration::from_secs(60);

/// The paused destinations this process knows.
#[derive(Debug)]
pub(super) struct Pauses {
    redis: Redis,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    version: Option<u64>,
    paused: Arc<HashSet<Destination>>,
}

impl Pauses {
    pub(super) fn new(redis: Redis) -> Self {
        Self { redis, known: Mutex::default() }
    }

    /// What is paused, at least as new as `version`.
    pub(super) async fn at(&self, version: u64) -> Result<Arc<HashSet<Destination>>, StoreError> {
        {
            let known = self.lock();
            if known.version == Some(version) {
                return Ok(Arc::clone(&known.paused));
            }
        }
        let paused = self.redis.paused().await?.into_iter().map(|(destination, _)| destination);
        let paused = Arc::new(paused.collect());
        *self.lock() = Known { version: Some(version), paused: Arc::clone(&paused) };
        Ok(paused)
    }

    /// Whether a destination is paused, as far as is known.
    pub(super) fn has(&self, destination: &Destination) -> bool {
        self.lock().paused.contains(destination)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be attempted at a paused destination is parked instead.
pub(super) fn hold(step: Step, paused: &HashSet<Destination>) -> Step {
    match step {
        Step::Attempt(delivery) if paused.contains(&delivery.destination) => {
            Step::Settle(Work::Parked(delivery, ParkReason::Paused, LOOK))
        }
        step => step,
    }
}
