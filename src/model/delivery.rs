//! Deliveries: one event on its way to one destination.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::{Destination, Event, LastAttempt, Outcome, Receipt, Target, TransportError};

/// Which stream an entry was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The producers' stream: an event's first attempts.
    Stream,
    /// The stream of what is due again: retries, replays and error deliveries.
    Ready,
}

/// The id of a stream entry, `<ms>-<seq>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EntryId(Arc<str>);

impl EntryId {
    /// Wraps an id as Redis wrote it.
    pub fn new(id: &str) -> Self {
        Self(id.into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its place in the stream: ids are in order by these numbers.
    pub fn place(&self) -> (u64, u64) {
        let seq = self.0.split_once('-').and_then(|(_, seq)| seq.parse().ok());
        (self.ms(), seq.unwrap_or(0))
    }

    /// When Redis took the entry, Unix milliseconds by its clock (what the producer chose, with an explicit id).
    pub fn ms(&self) -> u64 {
        self.0.split('-').next().and_then(|ms| ms.parse().ok()).unwrap_or(0)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One event × one destination, held by this process and about to be attempted.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The entry it is held by.
    pub receipt: Arc<Receipt>,
    /// What is sent.
    pub event: Arc<Event>,
    /// Where to.
    pub destination: Destination,
    /// The destination's settings; the error is the outcome of an attempt where they cannot be used.
    pub target: Result<Arc<Target>, TransportError>,
    /// The number of the attempt about to be made, from 1.
    pub attempt: u32,
    /// When the first attempt was made, Unix milliseconds; none before it.
    pub first_attempt_ms: Option<u64>,
    /// What the attempt before came to; none before the first.
    pub last_attempt: Option<LastAttempt>,
    /// Whether workers died again and again while they held it: it is attempted alone.
    pub suspect: bool,
    /// How often it was held by a worker that died, since it was attempted last.
    pub takeovers: u32,
    /// Whether it comes from its destination's park.
    pub was_parked: bool,
    /// Whether it was all that was left of its event when it was loaded. It is so for good: there are more only while the
    /// event's first entry is pending, which counts as one itself.
    pub is_last: bool,
}

impl Delivery {
    /// One that is about to be attempted for the first time.
    pub fn first(
        receipt: Arc<Receipt>,
        event: Arc<Event>,
        destination: Destination,
        target: Result<Arc<Target>, TransportError>,
    ) -> Self {
        Self {
            receipt,
            event,
            destination,
            target,
            attempt: 1,
            first_attempt_ms: None,
            last_attempt: None,
            suspect: false,
            takeovers: 0,
            was_parked: false,
            is_last: false,
        }
    }
}

/// What is done with a delivery after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settlement {
    /// It arrived.
    Delivered,
    /// It is attempted again after this wait.
    Retry(Duration),
    /// It becomes a dead letter.
    Dead(DeadReason),
}

/// Why deliveries wait in their destination's park.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParkReason {
    /// Its breaker is open: the receiver is down.
    Down,
    /// The receiver is slower than what comes.
    Slow,
    /// More comes than the rate limit lets through.
    RateLimit,
    /// All slots for receivers that are not known to be good are taken.
    Slots,
    /// Others are parked that came before.
    Behind,
    /// An operator has paused the destination.
    Paused,
}

impl ParkReason {
    /// Every reason.
    pub const ALL: [Self; 6] =
        [Self::Down, Self::Slow, Self::RateLimit, Self::Slots, Self::Behind, Self::Paused];

    /// The reason as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::Slow => "slow",
            Self::RateLimit => "rate_limit",
            Self::Slots => "slots",
            Self::Behind => "behind",
            Self::Paused => "paused",
        }
    }
}

/// Why a delivery became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeadReason {
    /// All attempts were used up.
    Exhausted,
    /// The status is one that is not retried.
    Rejected,
    /// The receiver answered 410; the instance's webhook is disabled with it.
    Gone,
    /// It became older than `WEBHOOK_RETRY_MAX_AGE_SECONDS`.
    Expired,
    /// The entry is not an event.
    Unreadable,
    /// The payload is larger than `MAX_EVENT_BYTES`.
    TooLarge,
    /// It was held by several workers that died.
    Poison,
    /// The destination was removed or disabled while it waited.
    Removed,
}

impl DeadReason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Exhausted,
        Self::Rejected,
        Self::Gone,
        Self::Expired,
        Self::Unreadable,
        Self::TooLarge,
        Self::Poison,
        Self::Removed,
    ];

    /// The reason as it is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Rejected => "rejected",
            Self::Gone => "gone",
            Self::Expired => "expired",
            Self::Unreadable => "unreadable",
            Self::TooLarge => "too_large",
            Self::Poison => "poison",
            Self::Removed => "removed",
        }
    }
}

impl fmt::Display for DeadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DeadReason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text).ok_or_else(|| {
            let all: Vec<_> = Self::ALL.iter().map(|reason| reason.as_str()).collect();
            format!("'{text}' is not a reason; write one of {}", all.join(", "))
        })
    }
}

/// A delivery, what its attempt came to, and when.
#[derive(Clone, Debug)]
pub struct Attempted {
    /// What was attempted.
    pub delivery: Delivery,
    /// What it came to.
    pub outcome: Outcome,
    /// When it was begun, Unix milliseconds.
    pub started_ms: u64,
    /// How long it took.
    pub took: Duration,
}
