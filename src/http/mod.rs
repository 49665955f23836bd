//! HTTP: the only module that speaks to receivers.

mod client;
mod failure;
mod resolver;

pub use client::{BuildError, Client, ClientSettings};
