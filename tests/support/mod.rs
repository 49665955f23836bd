//! What the tests stand on: real redis-servers, real workers, real receivers, each with an owner that ends it.

#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::print_stderr,
    reason = "each test binary uses its own part"
)]

pub mod pki;
pub mod ports;
pub mod probe;
pub mod receiver;
pub mod redis_server;
pub mod tls_server;
pub mod worker;

use std::future::Future;
use std::time::{Duration, Instant};

pub use pki::{Authority, Files, Issued};
pub use ports::free_port;
pub use probe::{Fields, Letter, fields, payload};
pub use receiver::{Answer, Gate, Received, Receiver};
pub use redis_server::RedisServer;
pub use tls_server::{CA_FILE, TlsServer};
pub use worker::{HERE, LONG_WAITS, SHORT_WAITS, Worker, command, run_command};

/// How long anything may take before a test calls it lost.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `found` yields something.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut found: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = found().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until `holds` does.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    eventually(what, || {
        let holds = holds();
        async move { holds.await.then_some(()) }
    })
    .await;
}
