//! Whether Redis should be given more. It is asked once a second at most, and only while events come.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use super::super::ApiError;
use crate::store::{ErrorKind, Load, Redis, StoreError};

/// How long what Redis said of itself holds …
const FRESH: Duration = Duration::from_secs(1);
/// … when it refuses, or by our own count has more than it may: many may wait for the answer.
const FRESH_REFUSAL: Duration = Duration::from_millis(50);
/// From here on Redis is nearly full, in thousandths: the rest is for retries, parks and dead letters.
const FULL_PERMILLE: u64 = 950;
/// When a producer should try again that is refused for want of room.
const RETRY_AFTER_SECONDS: u64 = 5;

/// What is known of how full Redis is.
#[derive(Debug)]
pub(super) struct Gauge {
    redis: Redis,
    limit: Option<u64>,
    latest: Mutex<Option<Look>>,
    /// How many events were pushed here since the latest look.
    pushed: AtomicU64,
}

#[derive(Debug)]
struct Look {
    at: Instant,
    found: Result<Load, StoreError>,
}

/// Why no event is taken now.
#[derive(Debug, thiserror::Error)]
pub(super) enum Full {
    /// Redis does not answer.
    #[error(transparent)]
    Away(StoreError),
    /// As many events wait as may.
    #[error("{backlog} events wait to be delivered, BACKLOG_LIMIT allows {limit}")]
    Backlog { backlog: u64, limit: u64 },
    /// Redis has little memory left.
    #[error("redis uses {permille} thousandths of its maxmemory; what is left is for deliveries under way")]
    Memory { permille: u64 },
}

impl From<Full> for ApiError {
    fn from(full: Full) -> Self {
        match full {
            Full::Away(error) => error.into(),
            full => Self::unavailable(full.to_string(), RETRY_AFTER_SECONDS),
        }
    }
}

impl Gauge {
    /// `limit`: how many events may wait.
    pub(super) fn new(redis: Redis, limit: Option<u64>) -> Self {
        Self { redis, limit, latest: Mutex::default(), pushed: AtomicU64::new(0) }
    }

    /// Counts events that were pushed.
    pub(super) fn count(&self, events: usize) {
        self.pushed.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// Whether events may be pushed.
    pub(super) async fn check(&self) -> Result<(), Full> {
        let mut latest = self.latest.lock().await;
        if let Some(look) = &*latest {
            let verdict = self.judge(look);
            let holds = if verdict.is_ok() { FRESH } else { FRESH_REFUSAL };
            if look.at.elapsed() < holds {
                return verdict;
            }
        }
        self.pushed.store(0, Ordering::Relaxed);
        let found = self.redis.load(self.limit.is_some()).await;
        let look = Look { at: Instant::now(), found };
        let verdict = self.judge(&look);
        *latest = Some(look);
        verdict
    }

    fn judge(&self, look: &Look) -> Result<(), Full> {
        let load = match &look.found {
            Ok(load) => load,
            Err(error) if error.kind() == ErrorKind::Unreachable => return Err(Full::Away(error.clone())),
            // It may not tell (ACL); that it is full, it will tell the push.
            Err(_) => return Ok(()),
        };
        if let Some(permille) = load.memory_permille.filter(|permille| *permille >= FULL_PERMILLE) {
            return Err(Full::Memory { permille });
        }
        let backlog = load.backlog + self.pushed.load(Ordering::Relaxed);
        match self.limit {
            Some(limit) if backlog >= limit => Err(Full::Backlog { backlog, limit }),
            _ => Ok(()),
        }
    }
}
