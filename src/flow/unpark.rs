//! Unparking: what waited for its destination comes back as there is room, and what nobody can deliver any more at
//! once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::attempt::unix_ms;
use super::entry::Arrival;
use super::lease::Lease;
use super::outage::Outage;
use super::pauses;
use super::reclaim::End;
use super::{Due, Reclaim, Router};
use crate::model::Destination;
use crate::store::{Redis, Unpark, Which};

/// How many destinations are looked at in one round.
const ROUND: usize = 64;
/// How long the other workers leave a destination alone that this one looks at.
const LEASE: Duration = Duration::from_secs(2);
/// How long this worker sleeps at most, to see what other workers parked.
const LONGEST_SLEEP: Duration = Duration::from_secs(2);
/// How long it sleeps at least: what could not be taken may be offered again at once.
const SHORTEST_SLEEP: Duration = Duration::from_millis(50);
/// How long what waits for a webhook that is gone is given up in one go.
const A_TURN: Duration = Duration::from_millis(500);
/// How long nothing of what was told to be lost has to be come across for it to be forgotten.
const TOLD: Duration = Duration::from_secs(10);
/// How many are taken at a time that will not be attempted: they have expired, or their webhook is gone.
const GIVEN_UP: usize = 64;
/// How many are fetched in one call: more at a time would only come in waves, which others feel.
const AT_A_TIME: usize = 32;

/// Brings parked deliveries back.
#[derive(Debug)]
pub struct Unparker {
    /// The server.
    pub redis: Redis,
    /// The stage behind.
    pub router: Arc<Router>,
    /// What finds pending entries that nobody holds.
    pub reclaim: Arc<Reclaim>,
    /// This worker's name.
    pub lease: watch::Receiver<Lease>,
    /// How old an event may be for a further attempt.
    pub max_age: Duration,
}

/// Destinations whose webhook is gone, as was told, and when each was last come across: a large park drains in many
/// turns.
#[derive(Debug, Default)]
struct Lost(HashMap<Destination, Instant>);

impl Lost {
    /// Whether it was not told yet that this one is lost.
    fn is_news(&mut self, destination: &Destination) -> bool {
        self.0.retain(|_, at| at.elapsed() < TOLD);
        self.0.insert(destination.clone(), Instant::now()).is_none()
    }

    /// This one has a webhook, or nothing is parked for it any more: should it be lost again, that is news.
    fn forget(&mut self, destination: &Destination) {
        self.0.remove(destination);
    }
}

impl Unparker {
    /// Looks for destinations whose parked deliveries are to be looked at, and tells them, until `stop`.
    pub async fn run(self: Arc<Self>, due: mpsc::Sender<Vec<Due>>, stop: CancellationToken) {
        let (mut outage, mut lost) = (Outage::new("unpark"), Lost::default());
        while !stop.is_cancelled() {
            let next = match self.round(&due, &mut lost, &stop).await {
                Ok(next) => {
                    outage.over();
                    next.unwrap_or(LONGEST_SLEEP)
                }
                Err(End::Stopped) => return,
                Err(End::Failed(error)) => {
                    outage.wait(&error, &stop).await;
                    continue;
                }
            };
            tokio::select! {
                () = tokio::time::sleep(next.clamp(SHORTEST_SLEEP, LONGEST_SLEEP)) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn round(
        &self,
        due: &mpsc::Sender<Vec<Due>>,
        told: &mut Lost,
        stop: &CancellationToken,
    ) -> Result<Option<Duration>, End> {
        let parks = self.redis.due_parks(ROUND, LEASE).await?;
        if parks.destinations.is_empty() {
            return Ok(parks.next);
        }
        let (lost, alive) = self.router.sort(parks.destinations).await?;
        alive.iter().for_each(|due| told.forget(&due.destination));
        if !alive.is_empty() && due.send(alive).await.is_err() {
            return Err(End::Stopped);
        }
        if !lost.is_empty() {
            self.redis.end_backoff(&lost).await?;
        }
        for destination in lost {
            let parked = self.redis.parked_for(&destination).await?;
            if parked > 0 && told.is_news(&destination) {
                let destination = destination.to_string();
                tracing::warn!(
                    ?destination,
                    parked,
                    "its webhook is gone; what is parked becomes dead letters"
                );
            }
            // Others have their turns between, and the webhook may be set again: what is left is due at once.
            let until = Instant::now() + A_TURN;
            while Instant::now() < until {
                if self.take(&destination, Which::Oldest(GIVEN_UP), Some(Duration::ZERO), stop).await? == 0 {
                    told.forget(&destination);
                    break;
                }
                self.router.room().wait(stop).await?;
            }
        }
        Ok(parks.next)
    }

    /// Takes parked deliveries to a destination in, and some of what has expired. Returns how many are left, at which
    /// nobody looks for `wait`; where none is given, the index knows when. Of a paused destination only what has expired
    /// is taken in, and nothing is left to be asked for.
    pub(super) async fn fetch(
        &self,
        destination: &Destination,
        which: Which,
        wait: Option<Duration>,
        stop: &CancellationToken,
    ) -> Result<u64, End> {
        if self.router.is_paused(destination) {
            return self.take(destination, Which::Oldest(0), Some(pauses::LOOK), stop).await.map(|_| 0);
        }
        self.take(destination, which, wait, stop).await
    }

    async fn take(
        &self,
        destination: &Destination,
        which: Which,
        wait: Option<Duration>,
        stop: &CancellationToken,
    ) -> Result<u64, End> {
        let max_age_ms = u64::try_from(self.max_age.as_millis()).unwrap_or(u64::MAX);
        let _until_held = self.reclaim.entries_are_under_way().await;
        let me = Arc::clone(&self.lease.borrow().name);
        let ask = Unpark {
            worker: &me,
            destination,
            which: which.at_most(AT_A_TIME),
            expired_before_ms: unix_ms().saturating_sub(max_age_ms),
            most_expired: GIVEN_UP,
            wait,
        };
        let unparked = self.redis.unpark(&ask).await?;
        let arrivals = unparked.entries.into_iter().map(Arrival::fresh).collect();
        self.router.pass_on(arrivals, &me, stop).await?;
        Ok(unparked.left)
    }
}
