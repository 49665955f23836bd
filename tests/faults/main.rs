//! Faults, one at a time and on purpose: what was pushed before, during and after each is delivered, by the same worker.

#[path = "../support/mod.rs"]
mod support;

mod scene;

mod crashes;
mod fitness;
mod outages;
mod parks;
mod pauses;
mod poison;
mod reconciling;
mod refusals;
mod stops;
mod wipes;
