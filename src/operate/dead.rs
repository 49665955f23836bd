//! Dead letters: which, as what they are told, and how they are sent again.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::model::format::{When, time};
use crate::model::{DeadReason, Destination, EntryId, EventName};
use crate::store::{DeadFilter, DeadSource, Redis, Replayed, StoreError};

/// How many letters are handled in one go.
const AT_A_TIME: usize = 200;
/// How many replays are on their way to Redis at once, where no rate holds them back.
const AT_ONCE: usize = 64;

/// Reads a dead letter's id: `<ms>-<seq>`.
///
/// # Errors
/// When it is none; in words.
pub fn id(text: &str) -> Result<EntryId, String> {
    let is_number = |part: &str| !part.is_empty() && part.parse::<u64>().is_ok();
    match text.split_once('-') {
        Some((ms, seq)) if is_number(ms) && is_number(seq) => Ok(EntryId::new(text)),
        _ => Err("write the id of a dead letter as `posthaste dead list` shows it, such as 1761038164871-0"
            .to_owned()),
    }
}

/// Reads how many letters a second are to be replayed.
///
/// # Errors
/// When it is not possible; in words.
pub fn rate(per_second: f64) -> Result<f64, String> {
    match per_second.is_finite() && (0.001..=1e6).contains(&per_second) {
        true => Ok(per_second),
        false => Err("write how many per second, for example 20 or 0.5".to_owned()),
    }
}

/// Which letters are wanted, by what they are.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of this destination.
    pub destination: Option<Destination>,
    /// Of the events of this instance, whatever the destination.
    pub instance: Option<String>,
    /// Of this event.
    pub event: Option<EventName>,
    /// Dead for this reason.
    pub reason: Option<DeadReason>,
    /// Dead since then.
    pub since: Option<When>,
    /// Dead before then.
    pub until: Option<When>,
}

impl Wanted {
    /// Whether it excludes nothing.
    pub fn is_empty(&self) -> bool {
        let Self { destination, instance, event, reason, since, until } = self;
        destination.is_none()
            && instance.is_none()
            && event.is_none()
            && reason.is_none()
            && since.is_none()
            && until.is_none()
    }

    /// The filter; durations count from now, by Redis' clock.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn filter(&self, redis: &Redis) -> Result<DeadFilter, StoreError> {
        let relative = [self.since, self.until].iter().any(|when| matches!(when, Some(When::Ago(_))));
        let now_ms = if relative { redis.time_ms().await? } else { 0 };
        Ok(DeadFilter {
            destination: self.destination.clone(),
            instance: self.instance.clone(),
            event: self.event.as_ref().map(ToString::to_string),
            reason: self.reason,
            since_ms: self.since.map(|when| when.ms(now_ms)),
            until_ms: self.until.map(|when| when.ms(now_ms)),
        })
    }
}

/// Letters that something is done with. They do not become more while they are worked through: what dies meanwhile is
/// not among them.
#[derive(Debug)]
pub enum Selection {
    /// These.
    Ids(std::vec::IntoIter<EntryId>),
    /// Those that match, up to the newest there was.
    Matching {
        /// What they match.
        filter: DeadFilter,
        /// Up to where they have been looked at.
        after: Option<EntryId>,
        /// The newest; none when there are none, or no further ones.
        last: Option<EntryId>,
    },
}

impl Selection {
    /// Those that match, of the letters that there are now.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn matching(filter: DeadFilter, redis: &Redis) -> Result<Self, StoreError> {
        Ok(Self::Matching { filter, after: None, last: redis.newest_dead_letter().await? })
    }

    /// The next ids, the oldest first; none at the end.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn next(&mut self, redis: &Redis) -> Result<Vec<EntryId>, StoreError> {
        loop {
            let some = self.look(redis).await?;
            if !some.is_empty() || self.is_over() {
                return Ok(some);
            }
        }
    }

    /// One look at up to 200 letters; those of them that are selected, the oldest first. None may be, and others still.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn look(&mut self, redis: &Redis) -> Result<Vec<EntryId>, StoreError> {
        match self {
            Self::Ids(ids) => Ok(ids.take(AT_A_TIME).collect()),
            Self::Matching { last: None, .. } => Ok(Vec::new()),
            Self::Matching { filter, after, last: last @ Some(_) } => {
                let Some(newest) = &*last else { return Ok(Vec::new()) };
                let page = redis.dead_letters_after(filter, after.as_ref(), newest).await?;
                match page.next {
                    Some(looked_at) => *after = Some(looked_at),
                    None => *last = None,
                }
                Ok(page.letters.into_iter().map(|letter| letter.id).collect())
            }
        }
    }

    /// Whether all have been handed out.
    pub fn is_over(&self) -> bool {
        match self {
            Self::Ids(ids) => ids.as_slice().is_empty(),
            Self::Matching { last, .. } => last.is_none(),
        }
    }
}

/// What became of replays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// They are on their way.
    pub sent: u64,
    /// There was no such letter (any more).
    pub missing: u64,
    /// There was nothing to send.
    pub without_payload: u64,
}

impl Counts {
    /// Adds one.
    pub fn add(&mut self, replayed: Replayed) {
        match replayed {
            Replayed::Sent => self.sent += 1,
            Replayed::Missing => self.missing += 1,
            Replayed::WithoutPayload => self.without_payload += 1,
        }
    }

    /// They as JSON.
    pub fn as_json(&self) -> Value {
        json!({ "replayed": self.sent, "missing": self.missing, "without_payload": self.without_payload })
    }
}

/// How fast letters are replayed.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    began: Instant,
    per_second: Option<f64>,
    begun: u32,
}

impl Pace {
    /// From now on, so many a second at most; none: as fast as Redis takes them.
    pub fn new(per_second: Option<f64>) -> Self {
        Self { began: Instant::now(), per_second, begun: 0 }
    }

    /// Since when.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Replays letters, each when its time has come; what became of each, in order.
    pub fn replay<'a>(
        &mut self,
        redis: &'a Redis,
        ids: Vec<EntryId>,
    ) -> impl Stream<Item = Result<Replayed, StoreError>> + use<'a> {
        let Self { began, per_second, .. } = *self;
        let first = self.begun;
        self.begun = first.saturating_add(u32::try_from(ids.len()).unwrap_or(u32::MAX));
        let paced = ids.into_iter().zip(first..).map(move |(id, number)| async move {
            if let Some(per_second) = per_second {
                let due = began + Duration::from_secs_f64(f64::from(number) / per_second);
                tokio::time::sleep_until(due).await;
            }
            redis.replay(&id).await
        });
        stream::iter(paced).buffered(AT_ONCE)
    }
}

/// Where a dead letter was to go, as text; empty for an entry that is not an event.
pub fn destination(found: &DeadSource) -> String {
    found.letter.destination.as_ref().map(ToString::to_string).unwrap_or_default()
}

/// A dead letter's fields, less the payload.
pub fn as_json(found: &DeadSource) -> Value {
    let letter = &found.letter;
    json!({
        "id": found.id.as_str(),
        "at": time(found.id.ms()),
        "event_id": letter.event_id,
        "destination": destination(found),
        "event": letter.event,
        "instance": letter.instance,
        "reason": letter.reason.as_str(),
        "attempts": letter.attempts,
        "first_attempt": letter.first_attempt_ms.map(time),
        "last_attempt": letter.last_attempt_ms.map(time),
        "status": letter.status,
        "error": letter.error,
        "reply": String::from_utf8_lossy(&letter.reply),
        "url": letter.url,
        "traceparent": letter.traceparent,
        "payload_bytes": found.payload_bytes,
    })
}

/// A dead letter with what was pushed, as JSON.
#[derive(Debug, serde::Serialize)]
pub struct Whole<'a> {
    #[serde(flatten)]
    letter: Value,
    /// As it was pushed, where it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<Value>,
}

impl<'a> Whole<'a> {
    /// A letter and its body, as the store has them.
    pub fn new(found: &DeadSource, body: &'a Bytes) -> Self {
        let payload = if found.has_payload { serde_json::from_slice::<&RawValue>(body).ok() } else { None };
        Self {
            letter: as_json(found),
            payload,
            payload_base64: (found.has_payload && payload.is_none()).then(|| STANDARD.encode(body)),
            entry: (!found.has_payload).then(|| json!(entry_fields(body))),
        }
    }
}

/// The fields of an entry without payload, which are kept as netstrings: `<length>:<bytes>,`.
pub fn entry_fields(netstrings: &[u8]) -> Vec<(String, String)> {
    let mut rest = netstrings;
    let mut next = || {
        let colon = rest.iter().position(|b| *b == b':')?;
        let length: usize = std::str::from_utf8(&rest[..colon]).ok()?.parse().ok()?;
        let end = (colon + 1).checked_add(length)?;
        let text = String::from_utf8_lossy(rest.get(colon + 1..end)?).into_owned();
        rest = rest.get(end + 1..)?;
        Some(text)
    };
    let mut fields = Vec::new();
    while let (Some(name), Some(value)) = (next(), next()) {
        fields.push((name, value));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_two_numbers() {
        assert!(id("1761038164871-0").is_ok());
        for wrong in ["", "-", "1", "1-", "a-0", "1-0-0", "+", "1-99999999999999999999"] {
            assert!(id(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_entry_without_payload_is_told_field_by_field() {
        let fields = entry_fields("4:data,3:a,b,0:,2:é,".as_bytes());
        let expected = [("data", "a,b"), ("", "é")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(fields, expected);
        for broken in ["", "5:abc,", "x:abc,", "18446744073709551615:a,1:b,", "1:a,"] {
            assert!(entry_fields(broken.as_bytes()).is_empty(), "{broken}");
        }
    }
}
