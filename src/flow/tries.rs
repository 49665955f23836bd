//! Tries to settle a batch: as long as Redis is away, and a few times where it is there and refuses.

use tokio_util::sync::CancellationToken;

use super::outage::Outage;
use crate::store::{ErrorKind, Redis, StoreError};

/// How often a settlement is tried that Redis answers with an error of its own, before its entry is left pending.
const TRIES: u32 = 5;

/// The tries of one batch.
#[derive(Debug)]
pub(super) struct Tries<'a> {
    redis: &'a Redis,
    give_up: &'a CancellationToken,
    outage: Outage,
    refused: u32,
}

/// What follows a try that failed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The same once more.
    Again,
    /// The same without what failed: one settlement that cannot succeed must not hold up all others.
    WithoutFailed,
    /// Nothing.
    Nothing,
}

/// What tries is to give up.
#[derive(Debug)]
pub(super) struct GivenUp;

impl<'a> Tries<'a> {
    /// No try so far. `stage` is named in the logs.
    pub(super) fn new(redis: &'a Redis, stage: &'static str, give_up: &'a CancellationToken) -> Self {
        Self { redis, give_up, outage: Outage::new(stage), refused: 0 }
    }

    /// Waits after a try that failed, and says what follows.
    pub(super) async fn failed(&mut self, error: &StoreError) -> Result<Next, GivenUp> {
        if error.is_no_group() {
            // The reader, which creates it too, may be waiting for room.
            let _ = self.redis.create_group().await;
        }
        self.outage.wait(error, self.give_up).await;
        if self.give_up.is_cancelled() {
            tracing::warn!(%error, "stopping before everything was settled; another worker repeats it");
            return Err(GivenUp);
        }
        self.refused = if error.kind() == ErrorKind::Other { self.refused + 1 } else { 0 };
        if self.refused == TRIES {
            tracing::error!(%error, "cannot be settled; the entries stay pending and are attempted again");
        }
        Ok(match self.refused {
            0..TRIES => Next::Again,
            TRIES => Next::WithoutFailed,
            _ => Next::Nothing,
        })
    }

    /// Notes that the batch is settled.
    pub(super) fn over(mut self) {
        self.outage.over();
    }
}
