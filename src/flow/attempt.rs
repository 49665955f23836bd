//! One attempt: the request, the POST, the outcome.

use std::future::ready;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use futures_util::future::Either;

use crate::decide::request;
use crate::decide::route::Routes;
use crate::http::Client;
use crate::model::{Attempted, Delivery, Outcome, TransportError};
use crate::telemetry::metrics::Metrics;

/// What every attempt needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Attempting {
    client: Client,
    routes: Arc<Routes>,
    metrics: Arc<Metrics>,
}

impl Attempting {
    /// Attempts through `client`, to the routes of `routes`, counted in `metrics`.
    pub fn new(client: Client, routes: Arc<Routes>, metrics: Arc<Metrics>) -> Self {
        Self { client, routes, metrics }
    }

    /// Attempts a delivery.
    pub async fn attempt(&self, delivery: Delivery) -> Attempted {
        let started_ms = unix_ms();
        let started = Instant::now();
        let in_flight = self.metrics.attempt_begins();
        // A panic would leave the entry pending for as long as this process lives.
        let outcome =
            AssertUnwindSafe(self.post(&delivery, started_ms / 1000)).catch_unwind().await.unwrap_or_else(
                |_| Outcome::Failed(TransportError::Other("a fault in posthaste (panic)".to_owned())),
            );
        let took = started.elapsed();
        drop(in_flight);
        self.metrics.attempted(&delivery.destination, &outcome, took);
        tracing::debug!(
            id = %delivery.event.id,
            destination = ?delivery.destination.to_string(),
            attempt = delivery.attempt,
            outcome = %outcome.summary(),
            took_ms = took.as_millis(),
            "attempted"
        );
        Attempted { delivery, outcome, started_ms, took }
    }

    async fn post(&self, delivery: &Delivery, now_s: u64) -> Outcome {
        self.sending(delivery, now_s).await
    }

    /// The request is made at once, and is no part of what is waited for: each attempt is moved into a task.
    fn sending(&self, delivery: &Delivery, now_s: u64) -> impl Future<Output = Outcome> + Send + use<'_> {
        let target = delivery.target.as_ref().map_err(TransportError::clone);
        match target.and_then(|target| request::post(delivery, target, &self.routes, now_s)) {
            Ok(post) => Either::Left(self.client.post(post)),
            Err(error) => Either::Right(ready(Outcome::Failed(error))),
        }
    }
}

/// This machine's time, Unix ms.
pub(super) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
