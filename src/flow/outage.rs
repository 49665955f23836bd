//! Waiting while Redis is away: fast at first, capped, told once.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::store::{ErrorKind, StoreError};

const FIRST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(2);

/// One stage's view of an outage.
#[derive(Debug)]
pub struct Outage {
    stage: &'static str,
    failures: u32,
    told: Option<String>,
}

impl Outage {
    /// No outage so far. `stage` is named in the logs.
    pub fn new(stage: &'static str) -> Self {
        Self { stage, failures: 0, told: None }
    }

    /// Notes a failure, logs it if it is a new one, and waits before the next try, at most until `stop`.
    pub async fn wait(&mut self, error: &StoreError, stop: &CancellationToken) {
        let text = error.to_string();
        if self.told.as_ref() != Some(&text) {
            tracing::warn!(stage = self.stage, error = %text, "{}; trying again until it works", advice(error));
            self.told = Some(text);
        }
        let delay = FIRST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures += 1;
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stop.cancelled() => {}
        }
    }

    /// Notes a success.
    pub fn over(&mut self) {
        if self.told.take().is_some() {
            tracing::info!(stage = self.stage, failures = self.failures, "redis is back");
        }
        self.failures = 0;
    }
}

/// Asks Redis until it answers, however long it is away; none where `stop` comes first.
pub(super) async fn outlast<T, A>(
    stage: &'static str,
    stop: &CancellationToken,
    ask: impl Fn() -> A,
) -> Option<T>
where
    A: Future<Output = Result<T, StoreError>>,
{
    let mut outage = Outage::new(stage);
    loop {
        match ask().await {
            Ok(answer) => {
                outage.over();
                return Some(answer);
            }
            Err(error) => outage.wait(&error, stop).await,
        }
        if stop.is_cancelled() {
            return None;
        }
    }
}

/// What it means, and what to do about it.
fn advice(error: &StoreError) -> &'static str {
    match error.kind() {
        ErrorKind::Unreachable => "redis is away: start it, or correct REDIS_URL",
        ErrorKind::Denied => "redis refuses this worker: check user, password and permissions in REDIS_URL",
        ErrorKind::NoWrites => "redis takes no writes: it is full, a replica, or its disk fails",
        ErrorKind::NoGroup => "redis lost the consumer group: it is created again",
        ErrorKind::Other => "redis answers with an error",
    }
}
