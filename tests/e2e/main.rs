//! End to end: the real binary, a real Redis, real receivers.

#[path = "../support/mod.rs"]
mod support;

mod addresses;
mod bad_input;
mod bodies;
mod dead;
mod delivery;
mod errors;
mod given_up;
mod headers;
mod lanes;
mod outcomes;
mod parks;
mod proxies;
mod residue;
mod restarts;
mod retries;
mod routes;
mod scripts;
mod tls;
mod webhooks;
mod wire;
