//! The HTTP API of a real worker, asked as anybody would.

#![allow(missing_docs, unreachable_pub, dead_code, clippy::unwrap_used, reason = "tests")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod caller;
mod drop_in;
mod events;
