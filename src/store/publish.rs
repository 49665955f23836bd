//! Pushing events: what any producer can do with XADD, checked and pipelined.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use redis::{Cmd, cmd};
use sha2::{Digest, Sha256};

use super::{Redis, RedisSettings, StoreError, script};
use crate::model::{Envelope, EnvelopeError, EventId, EventIdError, Secret};

/// A producer.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let publisher = posthaste::Publisher::connect("redis://127.0.0.1:6379", "webhooks")?;
/// let id = publisher.publish(r#"{"event":"order.paid","instance":"shop","data":{"order":1}}"#).await?;
/// println!("pushed as {id}");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Publisher {
    redis: Redis,
}

/// An event to push: its envelope, and what may go with it.
#[derive(Clone, Debug)]
pub struct Published {
    payload: Bytes,
    id: Option<EventId>,
    traceparent: Option<String>,
}

/// What became of an event that is pushed once, however often it is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Once {
    /// It was pushed.
    Now,
    /// It had been pushed before, under this id, with the same payload.
    Before(String),
    /// Another was pushed before under the same key: one with this id, and with another payload.
    Differs(String),
}

/// How many bytes of a hash tell payloads apart that are sent under one key. There are many keys: less is remembered.
const HASH_BYTES: usize = 12;

/// Why an event was not pushed.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It is not an event.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Its id is not one.
    #[error(transparent)]
    Id(#[from] EventIdError),
    /// Redis did not confirm it: it may or may not have been pushed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Published {
    /// Checks that `payload` is an envelope.
    ///
    /// # Errors
    /// When it is not: a worker would turn it into a dead letter.
    pub fn new(payload: impl Into<Bytes>) -> Result<Self, PublishError> {
        let payload = payload.into();
        Envelope::parse(payload.clone())?;
        Ok(Self { payload, id: None, traceparent: None })
    }

    /// Gives the event an id of the producer's choice, 1–128 visible ASCII characters.
    ///
    /// # Errors
    /// When it is not of this form.
    pub fn with_id(mut self, id: &str) -> Result<Self, PublishError> {
        self.id = Some(EventId::parse(id)?);
        Ok(self)
    }

    /// How many bytes the envelope has.
    pub fn bytes(&self) -> usize {
        self.payload.len()
    }

    /// Passes a W3C trace context on to the receivers.
    #[must_use]
    pub fn with_traceparent(mut self, traceparent: &str) -> Self {
        self.traceparent = Some(traceparent.to_owned());
        self
    }
}

impl Publisher {
    /// A producer for the stream `stream` at `url` (`redis://`, `rediss://`, `unix://`). It connects when it is
    /// first used, and again whenever it has to: that nothing was pushed for a while costs no error.
    ///
    /// # Errors
    /// When the URL is not one.
    pub fn connect(url: &str, stream: &str) -> Result<Self, StoreError> {
        let settings = RedisSettings { url: Secret::new(url), stream: stream.to_owned(), ca: None };
        Ok(Self { redis: Redis::open(&settings)? })
    }

    /// A producer on connections that exist.
    pub fn on(redis: Redis) -> Self {
        Self { redis }
    }

    /// Pushes one event; returns its stream entry's id once Redis has it. It is the event's id, unless one was given.
    ///
    /// # Errors
    /// When it is not an event, or Redis did not confirm it.
    pub async fn publish(&self, payload: impl Into<Bytes>) -> Result<String, PublishError> {
        let ids = self.publish_all(&[Published::new(payload)?]).await?;
        Ok(ids.into_iter().next().unwrap_or_default())
    }

    /// Pushes many events in one step, in order, all or none; returns their stream entries' ids once Redis has them all.
    ///
    /// # Errors
    /// When Redis refused them, and has none; or when it did not answer, and has all or none.
    pub async fn publish_all(&self, events: &[Published]) -> Result<Vec<String>, StoreError> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        if events.len() > 1 {
            pipeline.atomic();
        }
        for event in events {
            pipeline.add_command(self.add(event));
        }
        // Without an answer nobody knows whether the events were pushed, and none is to be pushed twice. So it is found
        // out before whether the connection is still there.
        self.redis.check_idle().await;
        self.redis.pipe(&pipeline).await
    }

    /// Pushes an event under the id it was given, unless one was pushed under the same `key` within the last `window`.
    /// So it can be tried again when Redis did not answer.
    ///
    /// # Errors
    /// When Redis did not confirm it: it may or may not have been pushed.
    pub async fn publish_once(
        &self,
        event: &Published,
        key: &EventId,
        window: Duration,
    ) -> Result<Once, StoreError> {
        let keys = self.redis.keys();
        let mut push = script::PUSH.key(keys.stream());
        push.key(keys.dedup(key)).arg(&event.payload[..]);
        let id = event.id.as_ref().unwrap_or(key);
        push.arg(id.as_str()).arg(event.traceparent.as_deref().unwrap_or_default());
        push.arg(hash(&event.payload)).arg(window.as_millis().max(1) as u64).arg(u8::from(id == key));
        let (known, id): (u8, String) = self.redis.script(&push).await?;
        let id = if id.is_empty() { key.to_string() } else { id };
        Ok(match known {
            0 => Once::Now,
            1 => Once::Before(id),
            _ => Once::Differs(id),
        })
    }

    fn add(&self, event: &Published) -> Cmd {
        let mut add = cmd("XADD");
        add.arg(self.redis.keys().stream()).arg("*").arg("payload").arg(&event.payload[..]);
        if let Some(id) = &event.id {
            add.arg("id").arg(id.as_str());
        }
        if let Some(traceparent) = &event.traceparent {
            add.arg("traceparent").arg(traceparent);
        }
        add
    }
}

/// The beginning of a payload's SHA-256, as text.
fn hash(payload: &[u8]) -> String {
    STANDARD_NO_PAD.encode(&Sha256::digest(payload)[..HASH_BYTES])
}
