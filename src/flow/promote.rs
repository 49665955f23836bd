//! Promotion: what waited long enough becomes ready.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::outage::Outage;
use crate::store::{Promoted, Redis};

/// How many deliveries one script moves: it runs about a millisecond then.
const ROUND: usize = 200;
/// How long after a round that moved something the next one is, unless more is due than one moves: what falls due
/// meanwhile is moved, read and loaded together, which costs Redis and this process much less than one by one.
const GATHER: Duration = Duration::from_millis(10);
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
            let Promoted { moved, next } = match self.redis.promote(ROUND).await {
                Ok(promoted) => promoted,
                Err(error) => {
                    outage.wait(&error, &stop).await;
                    continue;
                }
            };
            outage.over();
            if moved == ROUND {
                continue;
            }
            let next = next.map_or(LONGEST_SLEEP, |next| next.min(LONGEST_SLEEP));
            let gathered = Instant::now() + if moved > 0 { GATHER } else { Duration::ZERO };
            let is_time = async {
                tokio::select! {
                    () = sleep(next) => {}
                    () = self.sooner.notified() => {}
                }
                sleep_until(gathered).await;
            };
            tokio::select! {
                () = is_time => {}
                () = stop.cancelled() => {}
            }
        }
    }
}
