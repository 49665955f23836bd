//! The HTTP API of a real worker, asked as anybody would.

#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests"
)]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod caller;
mod dead;
mod destinations;
mod drop_in;
mod events;
mod explain;
mod hostile;
mod metrics;
mod openapi;
mod readme;
mod stats;
mod webhooks;
mod wire;
