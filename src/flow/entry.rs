//! Entries as they were read: events, deliveries that are due, and what is neither.

use std::sync::Arc;

use bytes::Bytes;

use crate::model::{DeadReason, Destination, EntryId, Envelope, Event, EventId, EventKey, Source};
use crate::store::{Found, Taken, Tried, Waiting};

/// An entry that came, by a read or by a takeover.
#[derive(Debug)]
pub(super) struct Arrival {
    /// What was read.
    pub(super) taken: Taken,
    /// How often it was taken over from a worker that died; none for one that nobody held before.
    pub(super) takeovers: Option<u32>,
}

impl Arrival {
    /// An entry that nobody held before.
    pub(super) fn fresh(taken: Taken) -> Self {
        Self { taken, takeovers: None }
    }

    /// An entry that was held before: some of its deliveries may be settled.
    pub(super) fn inherited(taken: Taken, takeovers: u32) -> Self {
        Self { taken, takeovers: Some(takeovers) }
    }

    /// Which stream it is from, and its id.
    pub(super) fn entry(&self) -> (Source, &EntryId) {
        match &self.taken {
            Taken::New { id, .. } => (Source::Stream, id),
            Taken::Due { id, .. } => (Source::Ready, id),
        }
    }
}

/// An entry as far as it could be read.
#[derive(Debug)]
pub(super) enum Entry {
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
        tried: Tried,
        takeovers: u32,
        was_parked: bool,
        is_last: bool,
    },
    /// Its hash is gone.
    Lost {
        id: EntryId,
        key: EventKey,
    },
}

impl Entry {
    /// How often workers died that held it before it was parked.
    pub(super) fn takeovers(&self) -> u32 {
        match self {
            Self::Due { takeovers, .. } => *takeovers,
            Self::New { .. } | Self::Unreadable { .. } | Self::Lost { .. } => 0,
        }
    }

    /// The instance whose webhook has to be known.
    pub(super) fn instance(&self) -> Option<&Arc<str>> {
        match self {
            Self::New { event, .. } => event.envelope.instance(),
            Self::Due { destination, .. } => destination.instance(),
            Self::Unreadable { .. } | Self::Lost { .. } => None,
        }
    }
}

/// What the hash of an event is called whose entry in the producers' stream is `id`.
pub(super) fn key_of(id: &EntryId) -> EventKey {
    EventKey::new(id.as_str())
}

pub(super) fn unreadable_due(id: &EntryId, key: Option<&EventKey>, why: &str) -> Entry {
    Entry::Unreadable {
        source: Source::Ready,
        id: id.clone(),
        key: key.cloned(),
        event_id: id.to_string(),
        reason: DeadReason::Unreadable,
        why: why.to_owned(),
    }
}

/// Reads an entry of the ready stream, with what its hash holds.
pub(super) fn read_due(
    id: &EntryId,
    key: &EventKey,
    destination: &Destination,
    was_parked: bool,
    found: Found,
) -> Entry {
    let waiting = match found {
        Found::Waiting(waiting) => waiting,
        Found::Gone => {
            tracing::warn!(entry = %id, event = ?key.as_str(), destination = ?destination.to_string(), "a delivery is due whose event is gone; dropped");
            return Entry::Lost { id: id.clone(), key: key.clone() };
        }
        Found::Unusable(why) => {
            return unreadable_due(id, Some(key), &format!("its event's key holds something else: {why}"));
        }
    };
    let Waiting { payload, event, tried, takeovers, is_last } = waiting;
    let event_id = EventId::parse(&event.id).or_else(|_| EventId::parse(id.as_str()));
    match (Envelope::parse(payload), event_id) {
        (Ok(envelope), Ok(event_id)) => Entry::Due {
            id: id.clone(),
            event: Arc::new(Event {
                key: key.clone(),
                id: event_id,
                pushed_ms: event.pushed_ms,
                traceparent: event.traceparent.map(Arc::from),
                envelope,
            }),
            destination: destination.clone(),
            tried,
            takeovers,
            was_parked,
            is_last,
        },
        (Err(error), _) => unreadable_due(id, Some(key), &error.to_string()),
        (_, Err(error)) => unreadable_due(id, Some(key), &error.to_string()),
    }
}

/// Reads an entry of the producers' stream. `fields`: its payload, id and traceparent.
pub(super) fn read_new(id: &EntryId, fields: [Option<&Bytes>; 3], max_event_bytes: usize) -> Entry {
    let [payload, event_id, traceparent] = fields;
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
    if payload.len() > max_event_bytes {
        let (size, limit) = (payload.len(), max_event_bytes);
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
