//! Routing: entries become deliveries, and each goes to the stage that is next for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::attempt::unix_ms;
use super::deliveries::{Destinations, Make, Step};
use super::entry::{Arrival, Entry, key_of, read_due, read_new, unreadable_due};
use super::hooks::Hooks;
use super::outage::outlast;
use super::pauses::{self, Pauses};
use super::{Due, Room, Work, deliveries};
use crate::model::{Delivery, Destination, Held};
use crate::store::{Found, Redis, StoreError, Taken};

/// How many bytes of payload are loaded at a time, unless one alone is more: a reply has to come in time, what is not
/// read of it takes Redis' memory, and this process' is looked after between two.
const DUE_BYTES: usize = 1024 * 1024;
/// So few deliveries that are due are loaded without their sizes being asked for first.
const DUE_UNSEEN: usize = 4;

/// Turns entries into deliveries.
#[derive(Debug)]
pub struct Router {
    /// The server.
    redis: Redis,
    hooks: Hooks,
    pauses: Pauses,
    settings: Routing,
    dispatch: mpsc::Sender<Vec<Delivery>>,
    settle: mpsc::Sender<Work>,
}

/// What routing goes by.
#[derive(Clone, Debug)]
pub struct Routing {
    /// The operator's own destinations.
    pub destinations: Destinations,
    /// `MAX_EVENT_BYTES`.
    pub max_event_bytes: usize,
    /// How old an event may be for a further attempt.
    pub max_age: Duration,
    /// What this process holds.
    pub held: Held,
    /// How much more it may.
    pub room: Room,
}

/// The stages behind this one have stopped, or this one is to stop.
#[derive(Debug)]
pub(super) struct Stopped;

impl Router {
    /// A router that sends deliveries to `dispatch`, and what needs no attempt to `settle`.
    pub fn new(
        redis: Redis,
        settings: Routing,
        dispatch: mpsc::Sender<Vec<Delivery>>,
        settle: mpsc::Sender<Work>,
    ) -> Self {
        Self {
            hooks: Hooks::new(redis.clone()),
            pauses: Pauses::new(redis.clone()),
            redis,
            settings,
            dispatch,
            settle,
        }
    }

    /// How much more this process may take in.
    pub(super) fn room(&self) -> &Room {
        &self.settings.room
    }

    /// Whether a destination is paused, as far as is known.
    pub(super) fn is_paused(&self, destination: &Destination) -> bool {
        self.pauses.has(destination)
    }

    /// Sorts destinations: those that nothing can be sent to (their webhooks were removed or switched off, or are
    /// gone), and the others with their URLs, where they have usable ones.
    pub(super) async fn sort(
        &self,
        destinations: Vec<Destination>,
    ) -> Result<(Vec<Destination>, Vec<Due>), StoreError> {
        let instances = destinations.iter().filter_map(Destination::instance).collect();
        let hooks = self.hooks.of(&instances, None).await?;
        self.pauses.at(self.hooks.version()).await?;
        let (mut lost, mut due) = (Vec::new(), Vec::new());
        for destination in destinations {
            match deliveries::resolve(&self.settings.destinations, &hooks, &destination) {
                Ok(target) => {
                    due.push(Due { destination, url: target.ok().map(|target| Arc::clone(&target.url)) })
                }
                Err(_) => lost.push(destination),
            }
        }
        Ok((lost, due))
    }

    /// Sends the deliveries of entries read under the name `consumer` on their way, however long Redis is away.
    pub(super) async fn pass_on(
        &self,
        arrivals: Vec<Arrival>,
        consumer: &Arc<str>,
        stop: &CancellationToken,
    ) -> Result<(), Stopped> {
        self.pass_read_on(arrivals, None, consumer, stop).await
    }

    /// The same, where the version of the webhooks was read after the entries.
    pub(super) async fn pass_read_on(
        &self,
        arrivals: Vec<Arrival>,
        mut version: Option<u64>,
        consumer: &Arc<str>,
        stop: &CancellationToken,
    ) -> Result<(), Stopped> {
        let hold = |arrival: &Arrival| {
            let (source, id) = arrival.entry();
            self.settings.held.hold(source, id.clone(), 0)
        };
        let _held: Vec<_> = arrivals.iter().map(hold).collect();
        let sizes = self.sizes(&arrivals, stop).await?;
        let (mut rest, mut sizes) = (&arrivals[..], &sizes[..]);
        while !rest.is_empty() {
            let (some, others) = rest.split_at(at_a_time(sizes));
            sizes = &sizes[some.len()..];
            self.pass_some_on(some, version, consumer, stop).await?;
            rest = others;
            if !rest.is_empty() {
                // By then it may have moved.
                version = None;
                self.settings.room.wait_for_bytes(stop).await?;
            }
        }
        Ok(())
    }

    /// How many bytes of payload are to be loaded for each: they may be large, and are not here yet.
    async fn sizes(&self, arrivals: &[Arrival], stop: &CancellationToken) -> Result<Vec<usize>, Stopped> {
        let due = |(place, arrival): (usize, &Arrival)| match &arrival.taken {
            Taken::Due { delivery: Some((key, _)), .. } => Some((place, key.clone())),
            Taken::Due { delivery: None, .. } | Taken::New { .. } => None,
        };
        let (places, keys): (Vec<_>, Vec<_>) = arrivals.iter().enumerate().filter_map(due).unzip();
        let mut sizes = vec![0; arrivals.len()];
        if keys.len() > DUE_UNSEEN {
            let found = outlast("route", stop, || self.redis.payload_sizes(&keys)).await.ok_or(Stopped)?;
            for (place, size) in places.into_iter().zip(found) {
                sizes[place] = size;
            }
        }
        Ok(sizes)
    }

    async fn pass_some_on(
        &self,
        arrivals: &[Arrival],
        version: Option<u64>,
        consumer: &Arc<str>,
        stop: &CancellationToken,
    ) -> Result<(), Stopped> {
        let steps =
            outlast("route", stop, || self.steps(arrivals, version, consumer)).await.ok_or(Stopped)?;
        let mut attempts = Vec::with_capacity(steps.len());
        for step in steps {
            match step {
                Step::Attempt(delivery) => attempts.push(*delivery),
                Step::Settle(work) => self.settle.send(work).await.map_err(|_| Stopped)?,
            }
        }
        // Together: the dispatcher looks at everything there is each time it is woken.
        match attempts.is_empty() {
            true => Ok(()),
            false => self.dispatch.send(attempts).await.map_err(|_| Stopped),
        }
    }

    async fn steps(
        &self,
        arrivals: &[Arrival],
        version: Option<u64>,
        consumer: &Arc<str>,
    ) -> Result<Vec<Step>, StoreError> {
        let mut due = Vec::new();
        let mut inherited = Vec::new();
        for arrival in arrivals {
            match &arrival.taken {
                Taken::Due { delivery, .. } => due.extend(delivery.clone()),
                Taken::New { id, .. } if arrival.takeovers.is_some() => inherited.push(id),
                Taken::New { .. } => {}
            }
        }
        let keys: Vec<_> = inherited.iter().map(|id| key_of(id)).collect();
        let recorded = self.redis.recorded(&keys).await?;
        let settled =
            inherited.into_iter().zip(recorded).filter_map(|(id, settled)| Some((id.clone(), settled?)));
        let settled = settled.collect();
        let entries = self.read(arrivals, self.redis.waiting(&due).await?.into_iter());
        let instances = entries.iter().filter_map(Entry::instance).collect();
        let hooks = self.hooks.of(&instances, version).await?;
        let paused = self.pauses.at(self.hooks.version()).await?;
        let Routing { destinations, held, max_age, .. } = &self.settings;
        let max_age_ms = u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX);
        let expired_before_ms = unix_ms().saturating_sub(max_age_ms);
        let make = Make { destinations, hooks: &hooks, settled: &settled, consumer, held, expired_before_ms };
        let takeovers = arrivals.iter().map(|arrival| arrival.takeovers.unwrap_or(0));
        Ok(entries
            .into_iter()
            .zip(takeovers)
            .flat_map(|(entry, takeovers)| make.steps(entry, takeovers))
            .map(|step| pauses::hold(step, &paused))
            .collect())
    }

    fn read(&self, arrivals: &[Arrival], mut waiting: impl Iterator<Item = Found>) -> Vec<Entry> {
        let read = |arrival: &Arrival| match &arrival.taken {
            Taken::New { id, payload, event_id, traceparent } => {
                let fields = [payload.as_ref(), event_id.as_ref(), traceparent.as_ref()];
                read_new(id, fields, self.settings.max_event_bytes)
            }
            Taken::Due { id, delivery, was_parked } => match delivery {
                Some((key, destination)) => {
                    read_due(id, key, destination, *was_parked, waiting.next().unwrap_or(Found::Gone))
                }
                None => unreadable_due(id, None, "the entry of the ready stream names no delivery"),
            },
        };
        arrivals.iter().map(read).collect()
    }
}

/// How many of those with these sizes are loaded at a time: one at least.
fn at_a_time(sizes: &[usize]) -> usize {
    let mut bytes = 0;
    let fits = |size: &&usize| {
        bytes += **size;
        bytes <= DUE_BYTES
    };
    sizes.iter().take_while(fits).count().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_loaded_by_its_weight() {
        const MOST: usize = DUE_BYTES;
        for (sizes, count) in [
            (&[600; 32][..], 32),
            (&[0; 32], 32),
            (&[16 * MOST; 3], 1),
            (&[MOST / 2, MOST / 2, 1], 2),
            (&[600, 600, MOST, 600], 2),
            (&[MOST, 0, 0, 1], 3),
        ] {
            assert_eq!(at_a_time(sizes), count, "{sizes:?}");
        }
    }
}
