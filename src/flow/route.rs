//! Routing: entries become deliveries.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::hooks::{Hook, Hooks};
use super::{Idle, Unreadable, Work};
use crate::decide::fan_out::{self, GlobalRule};
use crate::model::{
    DeadReason, Delivery, Destination, EntryId, Envelope, Event, EventId, EventKey, Receipt, Source, Target,
    TransportError,
};
use crate::store::{Redis, StoreError, Taken, Waiting};

/// The operator's own destinations.
#[derive(Clone, Debug)]
pub struct Destinations {
    /// Which events the global destination wants.
    pub rule: GlobalRule,
    /// The global destination, where it is enabled and has a URL.
    pub global: Option<Arc<Target>>,
    /// The ERRORS webhook, likewise.
    pub errors: Option<Arc<Target>>,
}

/// Turns entries into deliveries, and sends each to the stage that is next for it.
#[derive(Debug)]
pub struct Router {
    redis: Redis,
    hooks: Hooks,
    destinations: Destinations,
    max_event_bytes: usize,
    dispatch: mpsc::Sender<Delivery>,
    settle: mpsc::Sender<Work>,
}

/// What an entry turned out to be.
enum Step {
    Attempt(Box<Delivery>),
    Settle(Work),
}

/// The stages behind this one have stopped.
#[derive(Debug)]
pub(super) struct Stopped;

impl Router {
    /// A router that sends deliveries to `dispatch`, and what needs no attempt to `settle`.
    pub fn new(
        redis: Redis,
        destinations: Destinations,
        max_event_bytes: usize,
        dispatch: mpsc::Sender<Delivery>,
        settle: mpsc::Sender<Work>,
    ) -> Self {
        Self { hooks: Hooks::new(redis.clone()), redis, destinations, max_event_bytes, dispatch, settle }
    }

    /// How many deliveries the dispatcher would take without waiting.
    pub(super) fn room(&self) -> usize {
        self.dispatch.capacity()
    }

    /// Waits until the dispatcher would take a delivery.
    pub(super) async fn wait_for_room(&self) -> Result<(), Stopped> {
        self.dispatch.reserve().await.map(drop).map_err(|_| Stopped)
    }

    /// Sends the deliveries of entries read under the name `consumer` on their way. `inherited`: an earlier owner
    /// may have settled some of them.
    pub(super) async fn route(
        &self,
        taken: &[Taken],
        consumer: &Arc<str>,
        inherited: bool,
    ) -> Result<Result<(), Stopped>, StoreError> {
        let steps = self.steps(taken, consumer, inherited).await?;
        for step in steps {
            let sent = match step {
                Step::Attempt(delivery) => self.dispatch.send(*delivery).await.is_ok(),
                Step::Settle(work) => self.settle.send(work).await.is_ok(),
            };
            if !sent {
                return Ok(Err(Stopped));
            }
        }
        Ok(Ok(()))
    }

    async fn steps(
        &self,
        taken: &[Taken],
        consumer: &Arc<str>,
        inherited: bool,
    ) -> Result<Vec<Step>, StoreError> {
        let due = taken.iter().filter_map(|entry| match entry {
            Taken::Due { delivery, .. } => delivery.clone(),
            Taken::New { .. } => None,
        });
        let due: Vec<_> = due.collect();
        let mut waiting = self.redis.waiting(&due).await?.into_iter();
        let mut settled = HashMap::new();
        let mut read = Vec::with_capacity(taken.len());
        for entry in taken {
            let entry = match entry {
                Taken::New { id, payload, event_id, traceparent } => {
                    if inherited && let Some(destinations) = self.redis.recorded(&key_of(id)).await? {
                        settled.insert(id.clone(), destinations);
                    }
                    self.read_new(id, payload.as_ref(), event_id.as_ref(), traceparent.as_ref())
                }
                Taken::Due { id, delivery } => match delivery {
                    Some((key, destination)) => read_due(id, key, destination, waiting.next().flatten()),
                    None => unreadable_due(id, None, "the entry of the ready stream names no delivery"),
                },
            };
            read.push(entry);
        }
        let instances: HashSet<&str> = read.iter().filter_map(Entry::instance).collect();
        let hooks = self.hooks.of(&instances.into_iter().collect::<Vec<_>>()).await?;
        let make = Make { destinations: &self.destinations, hooks: &hooks, settled: &settled, consumer };
        Ok(read.into_iter().flat_map(|entry| make.steps(entry)).collect())
    }

    fn read_new(
        &self,
        id: &EntryId,
        payload: Option<&Bytes>,
        event_id: Option<&Bytes>,
        traceparent: Option<&Bytes>,
    ) -> Entry {
        let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).ok();
        let given = event_id.and_then(text).and_then(|text| EventId::parse(&text).ok());
        if event_id.is_some() && given.is_none() {
            tracing::warn!(entry = %id, "the field id is not 1 to 128 visible ASCII characters; the entry's id is used");
        }
        let event_id = given.or_else(|| EventId::parse(id.as_str()).ok());
        let unreadable = |reason, why: String| Entry::Unreadable {
            source: Source::Stream,
            id: id.clone(),
            key: None,
            event_id: event_id.as_ref().map(ToString::to_string).unwrap_or_default(),
            reason,
            why,
        };
        let (Some(payload), Some(event_id)) = (payload, event_id.clone()) else {
            return unreadable(DeadReason::Unreadable, "the entry has no field `payload`".to_owned());
        };
        if payload.len() > self.max_event_bytes {
            let (size, limit) = (payload.len(), self.max_event_bytes);
            let why = format!("the payload has {size} bytes, MAX_EVENT_BYTES allows {limit}");
            return unreadable(DeadReason::TooLarge, why);
        }
        match Envelope::parse(payload.clone()) {
            Ok(envelope) => Entry::New {
                id: id.clone(),
                event: Arc::new(Event {
                    key: key_of(id),
                    id: event_id,
                    pushed_ms: id.ms(),
                    traceparent: traceparent.and_then(text).map(Arc::from),
                    envelope,
                }),
            },
            Err(error) => unreadable(DeadReason::Unreadable, error.to_string()),
        }
    }
}

/// An entry as far as it could be read.
enum Entry {
    Unreadable {
        source: Source,
        id: EntryId,
        key: Option<EventKey>,
        event_id: String,
        reason: DeadReason,
        why: String,
    },
    New {
        id: EntryId,
        event: Arc<Event>,
    },
    Due {
        id: EntryId,
        event: Arc<Event>,
        destination: Destination,
        attempts: u32,
        first_attempt_ms: Option<u64>,
    },
    /// Its hash is gone.
    Lost {
        id: EntryId,
        key: EventKey,
    },
}

impl Entry {
    /// The instance whose webhook has to be known.
    fn instance(&self) -> Option<&str> {
        match self {
            Self::New { event, .. } => event.envelope.instance().map(|instance| &**instance),
            Self::Due { destination: Destination::Instance(instance), .. } => Some(instance),
            Self::Due { .. } | Self::Unreadable { .. } | Self::Lost { .. } => None,
        }
    }
}

/// What the hash of an event is called whose entry in the producers' stream is `id`.
fn key_of(id: &EntryId) -> EventKey {
    EventKey::new(id.as_str())
}

fn unreadable_due(id: &EntryId, key: Option<&EventKey>, why: &str) -> Entry {
    Entry::Unreadable {
        source: Source::Ready,
        id: id.clone(),
        key: key.cloned(),
        event_id: id.to_string(),
        reason: DeadReason::Unreadable,
        why: why.to_owned(),
    }
}

fn read_due(id: &EntryId, key: &EventKey, destination: &Destination, found: Option<Waiting>) -> Entry {
    let Some(waiting) = found else {
        tracing::warn!(entry = %id, event = %key, %destination, "a delivery is due whose event is gone; dropped");
        return Entry::Lost { id: id.clone(), key: key.clone() };
    };
    let event_id = EventId::parse(&waiting.event_id).or_else(|_| EventId::parse(id.as_str()));
    match (Envelope::parse(waiting.payload), event_id) {
        (Ok(envelope), Ok(event_id)) => Entry::Due {
            id: id.clone(),
            event: Arc::new(Event {
                key: key.clone(),
                id: event_id,
                pushed_ms: waiting.pushed_ms,
                traceparent: waiting.traceparent.map(Arc::from),
                envelope,
            }),
            destination: destination.clone(),
            attempts: waiting.attempts,
            first_attempt_ms: waiting.first_attempt_ms,
        },
        (Err(error), _) => unreadable_due(id, Some(key), &error.to_string()),
        (_, Err(error)) => unreadable_due(id, Some(key), &error.to_string()),
    }
}

/// What making deliveries of entries needs.
struct Make<'a> {
    destinations: &'a Destinations,
    hooks: &'a HashMap<String, Arc<Hook>>,
    settled: &'a HashMap<EntryId, Vec<Destination>>,
    consumer: &'a Arc<str>,
}

/// Where a delivery goes, or why it is dead.
type Resolved = Result<Result<Arc<Target>, TransportError>, (DeadReason, String)>;

impl Make<'_> {
    fn steps(&self, entry: Entry) -> Vec<Step> {
        match entry {
            Entry::Unreadable { source, id, key, event_id, reason, why } => {
                let receipt = self.receipt(source, id, 1);
                vec![Step::Settle(Work::Unreadable(Unreadable { receipt, key, id: event_id, reason, why }))]
            }
            Entry::Lost { id, key } => {
                vec![Step::Settle(Work::Idle(Idle::Settled(self.receipt(Source::Ready, id, 0), key)))]
            }
            Entry::New { id, event } => self.first(id, &event),
            Entry::Due { id, event, destination, attempts, first_attempt_ms } => {
                let resolved = self.resolve(&destination);
                let receipt = self.receipt(Source::Ready, id, 1);
                let target = match &resolved {
                    Ok(target) => target.clone(),
                    Err((_, why)) => Err(TransportError::BadWebhook(why.clone())),
                };
                let attempt = if resolved.is_ok() { attempts + 1 } else { attempts };
                let delivery =
                    Box::new(Delivery { receipt, event, destination, target, attempt, first_attempt_ms });
                vec![match resolved {
                    Ok(_) => Step::Attempt(delivery),
                    Err((reason, why)) => Step::Settle(Work::Buried(delivery, reason, why)),
                }]
            }
        }
    }

    /// The first attempts of an event.
    fn first(&self, id: EntryId, event: &Arc<Event>) -> Vec<Step> {
        let settled = self.settled.get(&id);
        let mut targets = self.wanted(event);
        let unrouted = targets.is_empty();
        targets.retain(|(destination, _)| settled.is_none_or(|settled| !settled.contains(destination)));
        let receipt = self.receipt(Source::Stream, id, targets.len());
        if settled.is_some() {
            receipt.record();
        }
        if targets.is_empty() {
            let idle = if unrouted && settled.is_none() {
                Idle::Unrouted(receipt)
            } else {
                Idle::Settled(receipt, event.key.clone())
            };
            return vec![Step::Settle(Work::Idle(idle))];
        }
        let attempt = |(destination, target)| {
            let (receipt, event) = (Arc::clone(&receipt), Arc::clone(event));
            Step::Attempt(Box::new(Delivery {
                receipt,
                event,
                destination,
                target,
                attempt: 1,
                first_attempt_ms: None,
            }))
        };
        targets.into_iter().map(attempt).collect()
    }

    /// The destinations an event has (1.4).
    fn wanted(&self, event: &Event) -> Vec<(Destination, Result<Arc<Target>, TransportError>)> {
        let name = event.envelope.name();
        let mut targets = Vec::with_capacity(2);
        if let Some(target) = &self.destinations.global
            && fan_out::global(&self.destinations.rule, name).is_ok()
        {
            targets.push((Destination::Global, Ok(Arc::clone(target))));
        }
        let Some(instance) = event.envelope.instance() else {
            return targets;
        };
        let to = Destination::Instance(Arc::clone(instance));
        match self.hooks.get(&**instance).map(|hook| &**hook) {
            Some(Hook::Set(webhook, target))
                if fan_out::instance(Some(webhook), Some(instance), name).is_ok() =>
            {
                targets.push((to, Ok(Arc::clone(target))));
            }
            Some(Hook::Broken(why)) => targets.push((to, Err(TransportError::BadWebhook(why.clone())))),
            Some(Hook::Set(..) | Hook::Off(_) | Hook::Missing) | None => {}
        }
        targets
    }

    /// The target of a delivery that waited: the settings may have changed since.
    fn resolve(&self, destination: &Destination) -> Resolved {
        let removed = |why: &str| Err((DeadReason::Removed, why.to_owned()));
        match destination {
            Destination::Global => match &self.destinations.global {
                Some(target) => Ok(Ok(Arc::clone(target))),
                None => removed("the global webhook was disabled while the delivery waited"),
            },
            Destination::Errors => match &self.destinations.errors {
                Some(target) => Ok(Ok(Arc::clone(target))),
                None => removed("the ERRORS webhook was disabled while the delivery waited"),
            },
            Destination::Instance(instance) => match self.hooks.get(&**instance).map(|hook| &**hook) {
                Some(Hook::Broken(why)) => Ok(Err(TransportError::BadWebhook(why.clone()))),
                Some(Hook::Set(_, target)) => Ok(Ok(Arc::clone(target))),
                Some(Hook::Off(webhook)) if webhook.disabled_reason.is_some() => {
                    Err((DeadReason::Gone, "the receiver answered 410 to another delivery".to_owned()))
                }
                Some(Hook::Off(_)) => {
                    removed("the instance's webhook was disabled while the delivery waited")
                }
                Some(Hook::Missing) | None => {
                    removed("the instance's webhook was removed while the delivery waited")
                }
            },
        }
    }

    fn receipt(&self, source: Source, id: EntryId, fan_out: usize) -> Arc<Receipt> {
        Arc::new(Receipt::new(source, id, Arc::clone(self.consumer), fan_out))
    }
}
