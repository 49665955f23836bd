//! posthaste: a durable webhook delivery worker on Redis Streams.
//!
//! The modules in reading order; imports go downward only (`tests/layering.rs` holds this):
//!
//! 1. [`model`]: values only.
//! 2. [`decide`]: pure decisions, without async, clock, randomness, Redis or HTTP.
//! 3. [`store`]: the only user of Redis. [`http`]: the only user of the HTTP client.
//! 4. [`flow`]: one file per stage of an event's journey, and its back edges.
//! 5. [`operate`]: what operators see and do. [`api`]: the HTTP API. [`cli`]: the commands. [`config`]: environment →
//!    settings, or every problem at once.
//! 6. [`app`]: the only wiring: tasks and the order in which they stop.

pub mod api;
pub mod app;
pub mod cli;
pub mod config;
pub mod decide;
pub mod flow;
pub mod http;
pub mod model;
pub mod operate;
pub mod store;
pub mod telemetry;

pub use store::{PublishError, Published, Publisher};
