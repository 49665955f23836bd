//! Events that have a hash: those with deliveries that wait, or of which some are settled.

use bytes::Bytes;
use redis::{RedisResult, Value};

use super::progress::{EVENT, EventWords, LIVE, PAYLOAD, Tried, tried_field};
use super::{ErrorKind, Redis, StoreError};
use crate::model::{Destination, EventKey};

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
    /// The event's id, push and trace context.
    pub event: EventWords,
    /// What was attempted.
    pub tried: Tried,
    /// How often a worker died that held it, since that one.
    pub takeovers: u32,
    /// Whether no other delivery of the event is left.
    pub is_last: bool,
}

impl Redis {
    /// How many bytes the payloads of waiting events have: 0 for what is not there, or is no such event.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn payload_sizes(&self, keys: &[EventKey]) -> Result<Vec<usize>, StoreError> {
        let mut pipeline = redis::pipe();
        for key in keys {
            pipeline.cmd("HSTRLEN").arg(self.keys().event(key)).arg(PAYLOAD);
        }
        let sizes: Vec<RedisResult<usize>> = self.pipe(pipeline.ignore_errors()).await?;
        sizes.into_iter().map(|size| Ok(one(size)?.unwrap_or(0))).collect()
    }

    /// Loads what the hashes of due deliveries hold, in one reply.
    ///
    /// # Errors
    /// When Redis does not answer. A key that is not a hash is none: it is [`Found::Unusable`].
    pub async fn waiting(&self, due: &[(EventKey, Destination)]) -> Result<Vec<Found>, StoreError> {
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let mut pipeline = redis::pipe();
        for (key, destination) in due {
            let destination = destination.to_string();
            pipeline.cmd("HMGET").arg(self.keys().event(key)).arg(&[PAYLOAD, EVENT, LIVE]);
            pipeline.arg(tried_field(&destination)).arg(format!("taken:{destination}"));
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

/// One reply of a pipeline: an error is this key's own only where it is not one of the whole server's.
fn one<T>(reply: RedisResult<T>) -> Result<Result<T, StoreError>, StoreError> {
    match reply.map_err(StoreError::from) {
        Err(error) if error.kind() != ErrorKind::Other => Err(error),
        reply => Ok(reply),
    }
}

fn recorded(fields: &[String]) -> Option<Vec<Destination>> {
    let settled = fields.iter().filter_map(|field| {
        let name = field.strip_prefix("tried:").or_else(|| field.strip_prefix("done:"))?;
        name.parse().ok()
    });
    (!fields.is_empty()).then(|| settled.collect())
}

fn waiting(hash: Vec<Value>) -> Option<Waiting> {
    let [payload, event, live, tried, taken] = <[Value; 5]>::try_from(hash).ok()?;
    let Value::BulkString(payload) = payload else {
        return None;
    };
    let words = |value| redis::from_redis_value::<Option<String>>(value).ok().flatten().unwrap_or_default();
    let tried = Tried::parse(&words(tried));
    Some(Waiting {
        payload: payload.into(),
        event: EventWords::parse(&words(event)),
        takeovers: takeovers(&words(taken), tried.attempts).unwrap_or(0),
        tried,
        is_last: matches!(words(live).as_str(), "" | "1"),
    })
}

/// What was kept when it was parked, after so many attempts: `<attempts> <takeovers>`.
fn takeovers(kept: &str, attempts: u32) -> Option<u32> {
    let (after, takeovers) = kept.split_once(' ')?;
    if after.parse() == Ok(attempts) { takeovers.parse().ok() } else { None }
}
