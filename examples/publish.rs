//! Pushing events from a Rust program: one, and many at once.
//!
//! ```text
//! REDIS_URL=redis://127.0.0.1:6379 cargo run --example publish
//! ```
//!
//! `posthaste run` then delivers them; `posthaste webhook set shop --url …` says where to.

#![allow(clippy::print_stdout, reason = "an example shows what it does")]

use std::error::Error;
use std::time::Instant;

use posthaste::{Published, Publisher};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // For `rediss://`: TLS needs a provider, once per process.
    _ = rustls::crypto::ring::default_provider().install_default();
    let url = std::env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1:6379".to_owned());
    let stream = std::env::var("STREAM").unwrap_or_else(|_| "webhooks".to_owned());
    let publisher = Publisher::connect(&url, &stream)?;

    // One event. When this returns, Redis has it, and it will be delivered at least once.
    let event = r#"{"event":"order.paid","instance":"shop","data":{"order":4711,"total":"129.90"}}"#;
    let id = publisher.publish(event).await?;
    println!("pushed one as {id}");

    // Many events in one round trip, each with an id of our own: receivers know it as `webhook-id`, and can drop what
    // comes a second time.
    let many = (0..1000)
        .map(|order| {
            let event = serde_json::json!({ "event": "order.shipped", "instance": "shop", "data": { "order": order } });
            Published::new(event.to_string())?.with_id(&format!("shipped-{order}"))
        })
        .collect::<Result<Vec<_>, _>>()?;
    let started = Instant::now();
    let ids = publisher.publish_all(&many).await?;
    println!("pushed {} in {:?}", ids.len(), started.elapsed());

    // What a worker could not read is refused here, before it is pushed.
    if let Err(error) = publisher.publish(r#"{"instance":"shop"}"#).await {
        println!("not pushed: {error}");
    }
    Ok(())
}
