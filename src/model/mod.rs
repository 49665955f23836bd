//! Values only: what an event, a destination, a delivery and an outcome are.
//!
//! Nothing here reads a clock, Redis or the network. Everything above speaks in these types.

mod body;
mod delivery;
mod destination;
mod endpoint;
mod envelope;
mod event;
pub mod format;
mod outcome;
mod post;
mod receipt;
mod refusal;
mod secret;
mod server;
mod tls;
mod trace;
mod webhook;

pub use body::{Body, DestinationMember};
pub use delivery::{Attempted, DeadReason, Delivery, EntryId, ParkReason, Settlement, Source};
pub use destination::{Destination, DestinationError};
pub use endpoint::Endpoint;
pub use envelope::{Envelope, EnvelopeError};
pub(crate) use envelope::{array_elements, object_members};
pub use event::{Event, EventId, EventIdError, EventKey, EventName, EventNameError, KNOWN_EVENTS};
pub use outcome::{LastAttempt, Outcome, Reply, TransportError};
pub use post::Post;
pub use receipt::{Held, Hold, Receipt};
pub use refusal::Refusal;
pub use secret::{Secret, display_url};
pub use server::ServerFacts;
pub use tls::TlsSettings;
pub use trace::is_traceparent;
pub use webhook::{Certificates, Owner, Signer, Target, Webhook};
