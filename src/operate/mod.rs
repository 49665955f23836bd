//! What operators see and do, by whichever way they ask: the commands and the HTTP API are two faces of it.

pub mod dead;
pub mod destinations;
mod failing;
pub mod stats;
