//! Dead letters are kept until someone deletes them, unless an age or a number was set.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::outage::Outage;
use crate::store::Redis;

/// How often dead letters are trimmed.
const PERIOD: Duration = Duration::from_secs(10);

/// Drops dead letters past the set age or number.
#[derive(Debug)]
pub struct Trimmer {
    /// The server.
    pub redis: Redis,
    /// `DEAD_LETTER_MAX_AGE_SECONDS`.
    pub max_age: Option<Duration>,
    /// `DEAD_LETTER_MAX_LEN`.
    pub max_len: Option<u64>,
}

impl Trimmer {
    /// Trims until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut outage = Outage::new("trim");
        while !stop.is_cancelled() {
            match self.redis.trim_dead(self.max_age, self.max_len).await {
                Ok(dropped) => {
                    outage.over();
                    if dropped > 0 {
                        tracing::info!(
                            dropped,
                            "dead letters dropped as DEAD_LETTER_MAX_AGE_SECONDS / _MAX_LEN ask"
                        );
                    }
                }
                Err(error) => {
                    outage.wait(&error, &stop).await;
                    continue;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}
