//! Redis: the only module that speaks to it.
//!
//! One file per kind of thing that is kept; `keys` names every key; `lua/` holds the scripts, each with its KEYS,
//! ARGV and returns at its head.

mod connect;
mod dead;
mod deliveries;
mod destinations;
mod error;
mod events;
mod inspect;
mod keys;
mod load;
mod parks;
mod pauses;
mod progress;
mod publish;
mod script;
mod server;
mod waiting;
mod webhooks;
mod wire;
mod workers;

pub use connect::{Redis, RedisSettings};
pub use dead::{DeadFilter, DeadLetter, DeadPage, DeadRecord, DeadSource, ErrorDelivery, Replayed};
pub use deliveries::{Ownership, Promoted, PutBack};
pub use destinations::{ParkFacts, ParkPage};
pub use error::{ErrorKind, StoreError};
pub use events::{Counter, Counts, Finished, Read, Reader, Taken};
pub use inspect::{AttemptLine, StreamFacts, Summary, WaitingDelivery};
pub use keys::Keys;
pub use load::Load;
pub use parks::{DueParks, Park, Parked, ToPark, Unpark, Unparked, Which};
pub use progress::{EventWords, Tried};
pub use publish::{Once, PublishError, Published, Publisher};
pub use server::LastOutage;
pub use waiting::{Found, Waiting};
pub use webhooks::WebhookPage;
pub use workers::{Beat, Pending, TakeOver, TakenOver};

/// The consumer group of both streams.
pub const GROUP: &str = "posthaste";
