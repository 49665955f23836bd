//! An explanation: where an event of an instance would go with what is stored now, outside of the queue.

use crate::decide::address::Permits;
use crate::decide::explain::{Explained, Rules};
use crate::decide::webhook::{self, CustomEvents};
use crate::http;
use crate::model::EventName;
use crate::store::{Redis, StoreError};

/// Explains where an event would go, by the rules that the worker asks. The instance's webhook is read, and the host of
/// its URL is resolved, for two seconds at most, and checked as before an attempt.
///
/// # Errors
/// When the instance's webhook cannot be read.
pub async fn explain(
    redis: &Redis,
    (rules, permits): (&Rules, &Permits),
    name: EventName,
    instance: Option<&str>,
) -> Result<Explained, StoreError> {
    let stored = match instance {
        Some(instance) => redis.webhook(instance).await?,
        None => None,
    };
    let stored = stored.map(|json| webhook::parse(&json, &CustomEvents::Any));
    let refused = match &stored {
        Some(Ok(webhook)) => http::vet(webhook, permits).await.err(),
        _ => None,
    };
    Ok(rules.explain(name, instance, stored, refused.as_ref()))
}
