//! Events that have a hash: those with deliveries that wait, or of which some are settled.

use bytes::Bytes;
use redis::{RedisResult, Value};

use super::{ErrorKind, Redis, StoreError};
use crate::model::{Destination, EventKey, LastAttempt};

/// What became of the hash of a delivery that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is there.
    Waiting(Waiting),
    /// There is none.
    Gone,
    /// Its key is not what posthaste writes there; Redis' words.
    Unusable(String),
}

/// What the hash of a waiting event holds, as far as one destination is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The pushed bytes.
    pub payload: Bytes,
    /// The event's id.
    pub event_id: String,
    /// When it was pushed or last replayed, Unix ms.
    pub pushed_ms: u64,
    /// The trace context.
    pub traceparent: Option<String>,
    /// How many attempts were made.
    pub attempts: u32,
    /// When the first was made, Unix ms.
    pub first_attempt_ms: Option<u64>,
    /// What the last came to.
    pub last_attempt: Option<LastAttempt>,
    /// How often a worker died that held it, since that one.
    pub takeovers: u32,
    /// Whether no other delivery of the event is left.
    pub is_last: bool,
}

impl Redis {
    /// Loads what the hashes of due deliveries hold, in one pipeline: what is not read of the reply takes Redis' memory.
    ///
    /// # Errors
    /// When Redis does not answer. A key that is not a hash is none: it is [`Found::Unusable`].
    pub async fn waiting(&self, due: &[(EventKey, Destination)]) -> Result<Vec<Found>, StoreError> {
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        for (key, destination) in due {
            pipeline
                .cmd("HMGET")
                .arg(self.keys().event(key))
                .arg(&["payload", "id", "pushed", "traceparent"])
                .arg(format!("attempts:{destination}"))
                .arg(format!("first:{destination}"))
                .arg(format!("last:{destination}"))
                .arg(format!("taken:{destination}"))
                .arg("live");
        }
        // One key that cannot be read must not hold up the others.
        let hashes: Vec<RedisResult<Vec<Value>>> = self.pipe(pipeline.ignore_errors()).await?;
        let found = hashes.into_iter().map(|hash| {
            Ok(match one(hash)? {
                Ok(hash) => waiting(hash).map_or(Found::Gone, Found::Waiting),
                Err(error) => Found::Unusable(error.to_string()),
            })
        });
        found.collect()
    }

    /// For each event, which destinations an earlier owner settled or rescheduled before it died; none for an event
    /// of which nothing was recorded.
    ///
    /// # Errors
    /// When Redis does not answer. A key that is not a hash records nothing.
    pub async fn recorded(&self, keys: &[EventKey]) -> Result<Vec<Option<Vec<Destination>>>, StoreError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        for key in keys {
            pipeline.cmd("HKEYS").arg(self.keys().event(key));
        }
        let hashes: Vec<RedisResult<Vec<String>>> = self.pipe(pipeline.ignore_errors()).await?;
        hashes.into_iter().map(|fields| Ok(one(fields)?.ok().and_then(|fields| recorded(&fields)))).collect()
    }
}

impl Found {
    /// The bytes of its payload.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Waiting(waiting) => waiting.payload.len(),
            Self::Gone | Self::Unusable(_) => 0,
        }
    }
}

/// One reply of a pipeline: an error is this key's own only where it is not one of the whole server's.
fn one<T>(reply: RedisResult<T>) -> Result<Result<T, StoreError>, StoreError> {
    match reply.map_err(StoreError::from) {
        Err(error) if error.kind() != ErrorKind::Other => Err(error),
        reply => Ok(reply),
    }
}

fn recorded(fields: &[String]) -> Option<Vec<Destination>> {
    let settled = fields.iter().filter_map(|field| {
        let name = field.strip_prefix("attempts:").or_else(|| field.strip_prefix("done:"))?;
        name.parse().ok()
    });
    (!fields.is_empty()).then(|| settled.collect())
}

fn waiting(hash: Vec<Value>) -> Option<Waiting> {
    let [payload, event_id, pushed, traceparent, attempts, first, last, taken, live] =
        <[Value; 9]>::try_from(hash).ok()?;
    let last: Option<String> = redis::from_redis_value(last).ok().flatten();
    let Value::BulkString(payload) = payload else {
        return None;
    };
    let attempts = redis::from_redis_value::<Option<u32>>(attempts).ok().flatten().unwrap_or(0);
    let taken: Option<String> = redis::from_redis_value(taken).ok().flatten();
    Some(Waiting {
        payload: payload.into(),
        event_id: redis::from_redis_value(event_id).ok()?,
        pushed_ms: redis::from_redis_value(pushed).unwrap_or(0),
        traceparent: redis::from_redis_value(traceparent).ok().flatten(),
        attempts,
        takeovers: taken.and_then(|taken| takeovers(&taken, attempts)).unwrap_or(0),
        first_attempt_ms: redis::from_redis_value(first).ok().flatten(),
        last_attempt: last.as_deref().and_then(LastAttempt::parse),
        is_last: redis::from_redis_value(live).is_ok_and(|live: Option<u64>| live == Some(1)),
    })
}

/// What was kept when it was parked, after so many attempts: `<attempts> <takeovers>`.
fn takeovers(kept: &str, attempts: u32) -> Option<u32> {
    let (after, takeovers) = kept.split_once(' ')?;
    if after.parse() == Ok(attempts) { takeovers.parse().ok() } else { None }
}
