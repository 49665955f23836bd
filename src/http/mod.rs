//! HTTP: the only module that speaks to receivers.

mod client;
mod clients;
mod connect;
mod failure;
mod proxies;
mod resolver;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod vet;

pub use client::{Client, ClientSettings};
pub use clients::BuildError;
pub use proxies::ProxyError;
pub use vet::{Vetted, vet};
