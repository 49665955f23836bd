//! Pure decisions: what is done with an event, a delivery, an outcome or a setting.
//!
//! Nothing here waits, reads a clock, draws a random number, or knows Redis or the HTTP client: `now` and randomness
//! are parameters, and everything is decided from its arguments alone. So every rule can be tested by itself, and
//! `posthaste explain` tells the truth because it asks the very functions the worker asks.

pub mod address;
pub mod error_event;
pub mod explain;
pub mod fan_out;
pub mod fitness;
pub mod lane;
pub mod poison;
pub mod request;
pub mod retry;
pub mod route;
pub mod sample;
pub mod sign;
pub mod strip;
pub mod suggest;
pub mod webhook;
