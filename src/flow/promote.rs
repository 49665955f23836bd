//! Promotion: what waited long enough becomes ready.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::outage::Outage;
use crate::store::Redis;

/// How many deliveries one script moves: it runs about a millisecond then.
const ROUND: usize = 200;
/// How long this worker sleeps at most, to see what other workers, dead since, put to wait.
pub(super) const LONGEST_SLEEP: Duration = Duration::from_secs(2);

/// Moves what is due from the retries to the ready stream.
#[derive(Debug)]
pub struct Promoter {
    /// The server.
    pub redis: Redis,
    /// Woken when this worker puts something to wait.
    pub sooner: Arc<Notify>,
}

impl Promoter {
    /// Promotes until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut outage = Outage::new("promote");
        while !stop.is_cancelled() {
            let next = match self.redis.promote(ROUND).await {
                Ok(promoted) => {
                    outage.over();
                    if promoted.moved == ROUND {
                        Duration::ZERO
                    } else {
                        promoted.next.unwrap_or(LONGEST_SLEEP)
                    }
                }
                Err(error) => {
                    outage.wait(&error, &stop).await;
                    continue;
                }
            };
            tokio::select! {
                () = tokio::time::sleep(next.min(LONGEST_SLEEP)) => {}
                () = self.sooner.notified() => {}
                () = stop.cancelled() => {}
            }
        }
    }
}
