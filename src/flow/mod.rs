//! The journey of an event, one file per stage, and its back edges.
//!
//! ```text
//! read → route → dispatch → attempt → settle ─┬─ delivered: acknowledged in batches
//!   ▲                                         ├─ retry: waits in Redis
//!   │                                         └─ dead: a dead letter, and an error delivery
//!   ├── promote: what waited long enough
//!   └── recover: what a dead worker held
//! ```
//!
//! Everything a process holds is in the pending list of one of the two streams under its consumer name, so that
//! nothing is lost with it.

mod attempt;
mod batch;
mod bury;
mod deliveries;
mod dispatch;
mod entry;
mod explain;
mod half_done;
mod health;
mod hooks;
mod lanes;
mod lease;
mod outage;
mod park;
mod pauses;
mod promote;
mod read;
mod reclaim;
mod recover;
mod room;
mod route;
mod settle;
mod trial;
mod tries;
mod trim;
mod unpark;

use std::sync::Arc;
use std::time::Duration;

pub use attempt::Attempting;
pub use bury::Undertaker;
pub use deliveries::Destinations;
pub use dispatch::{Ask, Desk, Dispatcher, KnownLane, LastFailure, Limits, NoAnswer};
pub use explain::explain;
pub use health::{Health, Unready};
pub use lanes::view::{BreakerView, LaneView};
pub use lease::{BEAT_TIMEOUT, DEAD_AFTER, Heartbeat, Lease};
pub use outage::Outage;
pub use promote::Promoter;
pub use read::Intake;
pub use reclaim::Reclaim;
pub use recover::Recovery;
pub use room::Room;
pub use route::{Router, Routing};
pub use settle::Settler;
pub use trial::{Trial, try_out};
pub use trim::Trimmer;
pub use unpark::Unparker;

use crate::model::{Attempted, DeadReason, Delivery, Destination, EventKey, ParkReason, Receipt};

/// Something to be settled.
#[derive(Debug)]
pub enum Work {
    /// An attempt was made.
    Attempted(Box<Attempted>),
    /// A delivery that has to wait for its destination, why, and for how long nobody need look for it.
    Parked(Box<Delivery>, ParkReason, Duration),
    /// A destination went down, or came back.
    Told(Box<News>),
    /// A delivery that is dead without a (further) attempt, and why in words.
    Buried(Box<Delivery>, DeadReason, String),
    /// An entry that is not an event.
    Unreadable(Unreadable),
    /// An entry without deliveries: unrouted, or settled whole by an earlier owner.
    Idle(Idle),
}

/// A destination whose parked deliveries somebody should look at.
#[derive(Debug)]
pub struct Due {
    /// Which.
    pub destination: Destination,
    /// Where it is now; none where its settings cannot be used.
    pub url: Option<Arc<str>>,
}

/// A destination went down, or came back.
#[derive(Debug)]
pub struct News {
    /// Which destination.
    pub destination: Destination,
    /// Where it is, where that is known.
    pub url: Option<Arc<str>>,
    /// What its last attempt came to, where it went down; none when it came back.
    pub down: Option<Cause>,
}

/// Why a destination counts as down.
#[derive(Debug)]
pub struct Cause {
    /// In words.
    pub summary: String,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
}

/// An entry that is not an event, and why.
#[derive(Debug)]
pub struct Unreadable {
    /// The entry; it has this one settlement.
    pub receipt: Arc<Receipt>,
    /// The hash that it, an entry of the ready stream, belongs to.
    pub key: Option<EventKey>,
    /// The event's id: the producer's where it is one, else the entry's.
    pub id: String,
    /// [`DeadReason::Unreadable`] or [`DeadReason::TooLarge`].
    pub reason: DeadReason,
    /// What is wrong with it, in words.
    pub why: String,
}

/// An entry without deliveries.
#[derive(Debug)]
pub enum Idle {
    /// An event that goes nowhere.
    Unrouted(Arc<Receipt>),
    /// Every delivery of it was settled or rescheduled by an earlier owner, or its hash is gone.
    Settled(Arc<Receipt>, EventKey),
}
