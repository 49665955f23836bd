//! End to end: the real binary, a real Redis, real receivers.

#[path = "../support/mod.rs"]
mod support;

mod delivery;
