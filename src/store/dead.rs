//! Dead letters: written with the settlement, listed, replayed, purged.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use redis::{Value, cmd};

use super::events::array;
use super::{GROUP, Ownership, Redis, StoreError, script};
use crate::model::{DeadReason, Destination, EntryId, EventKey, Receipt, Source};

/// How many dead letters are looked at in one command …
const PAGE: usize = 200;
/// … and how many bytes of payloads, which Redis copies to look at them: others have their turns between.
const PAGE_BYTES: usize = 8 << 20;

/// A dead letter as it is kept, less its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The event's id, as receivers know it.
    pub event_id: String,
    /// Where it could not be delivered; none for an entry that is not an event.
    pub destination: Option<Destination>,
    /// The event's canonical name; empty for an entry that is not an event.
    pub event: String,
    /// The event's instance.
    pub instance: Option<String>,
    /// Why it is dead.
    pub reason: DeadReason,
    /// How many attempts were made.
    pub attempts: u32,
    /// When the first attempt was begun, Unix ms.
    pub first_attempt_ms: Option<u64>,
    /// When the last attempt was begun, Unix ms.
    pub last_attempt_ms: Option<u64>,
    /// The last HTTP status.
    pub status: Option<u16>,
    /// What went wrong last, in words.
    pub error: String,
    /// The first 1 KiB of the last reply.
    pub reply: Bytes,
    /// The URL of the last attempt, without what may be secret.
    pub url: String,
    /// The trace context.
    pub traceparent: Option<String>,
}

/// A dead letter to be written, and what it is settled with.
#[derive(Clone, Debug)]
pub struct DeadRecord<'a> {
    /// The entry it is held by.
    pub receipt: &'a Receipt,
    /// The event's hash; none for an entry that is not an event.
    pub key: Option<&'a EventKey>,
    /// What is written.
    pub letter: &'a DeadLetter,
    /// The error delivery to queue in the same step.
    pub error: Option<ErrorDelivery<'a>>,
}

/// An error event on its way to the ERRORS webhook.
#[derive(Clone, Copy, Debug)]
pub struct ErrorDelivery<'a> {
    /// Its id; unique, and the same when the settlement has to be repeated.
    pub id: &'a str,
    /// Its body.
    pub body: &'a [u8],
}

/// A stored dead letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadSource {
    /// The dead letter's own id: `<ms>-<seq>` of when it was written.
    pub id: EntryId,
    /// What was written.
    pub letter: DeadLetter,
    /// The payload's size in bytes.
    pub payload_bytes: usize,
    /// Whether there is a payload; else the entry it was made of is kept in its place.
    pub has_payload: bool,
}

/// Which dead letters; an empty filter means all.
#[derive(Clone, Debug, Default)]
pub struct DeadFilter {
    /// Of this destination.
    pub destination: Option<Destination>,
    /// Of this instance.
    pub instance: Option<String>,
    /// Of the event with this canonical name.
    pub event: Option<String>,
    /// With this reason.
    pub reason: Option<DeadReason>,
    /// Written at or after this time, Unix ms.
    pub since_ms: Option<u64>,
    /// Written before this time, Unix ms.
    pub until_ms: Option<u64>,
}

impl DeadFilter {
    fn matches(&self, letter: &DeadLetter) -> bool {
        let same = |wanted: &Option<String>, found: Option<&str>| {
            wanted.as_ref().is_none_or(|wanted| Some(wanted.as_str()) == found)
        };
        self.destination.as_ref().is_none_or(|wanted| letter.destination.as_ref() == Some(wanted))
            && same(&self.instance, letter.instance.as_deref())
            && same(&self.event, Some(&letter.event))
            && self.reason.is_none_or(|wanted| wanted == letter.reason)
    }

    /// The ids it spans, oldest and newest, as XRANGE takes them.
    fn span(&self) -> (String, String) {
        (
            self.since_ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string()),
            self.until_ms.map_or_else(|| "+".to_owned(), |ms| format!("({ms}-0")),
        )
    }
}

/// Some of the dead letters that match a filter.
#[derive(Clone, Debug)]
pub struct DeadPage {
    /// The letters.
    pub letters: Vec<DeadSource>,
    /// Where the next page begins; none when this was the last.
    pub next: Option<EntryId>,
}

impl Redis {
    /// Turns a delivery into a dead letter, and queues the error delivery, in one step. Where the entry is no longer
    /// this consumer's, its new owner answers for the delivery.
    ///
    /// # Errors
    /// When Redis did not confirm it; doing it again is harmless.
    pub async fn bury(&self, record: &DeadRecord<'_>) -> Result<Ownership, StoreError> {
        let DeadRecord { receipt, key, letter, error } = record;
        let keys = self.keys();
        let no_event = EventKey::new("-");
        let error_key = EventKey::new(error.map_or("-", |error| error.id));
        let mut dead = script::DEAD.key(self.key_of(receipt.source));
        dead.key(keys.event(key.unwrap_or(&no_event))).key(keys.dead()).key(keys.ready());
        dead.key(keys.event(&error_key));
        dead.arg(GROUP).arg(&*receipt.consumer).arg(receipt.id.as_str());
        dead.arg(u8::from(receipt.is_sole())).arg(u8::from(receipt.source == Source::Ready));
        dead.arg(letter.destination.as_ref().map(ToString::to_string).unwrap_or_default());
        dead.arg(error.map_or(&b""[..], |error| error.body));
        dead.arg(error.map_or("", |error| error.id)).arg(error_key.as_str());
        for (field, value) in fields(letter) {
            dead.arg(field).arg(&value[..]);
        }
        Ok(Ownership::of(self.script(&dead).await?))
    }

    /// Up to `limit` dead letters that match `filter`, the newest first, from `from` on.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn dead_letters(
        &self,
        filter: &DeadFilter,
        from: Option<&EntryId>,
        limit: usize,
    ) -> Result<DeadPage, StoreError> {
        self.dead_letters_of(filter, from, limit, usize::MAX).await
    }

    /// The same, of what is found in `looks` looks at up to 200 letters or 8 MiB of payloads: there may be more even where
    /// none was found.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn dead_letters_of(
        &self,
        filter: &DeadFilter,
        from: Option<&EntryId>,
        limit: usize,
        looks: usize,
    ) -> Result<DeadPage, StoreError> {
        let (oldest, newest) = filter.span();
        let mut from = from.map_or(newest, ToString::to_string);
        let mut letters = Vec::new();
        let mut looks_left = looks;
        loop {
            let is_enough = looks_left == 0;
            looks_left = looks_left.saturating_sub(1);
            let count = if is_enough { 1 } else { PAGE };
            let (page, has_more) = self.dead_page("newest", &from, &oldest, count).await?;
            for letter in page {
                if letters.len() == limit || is_enough {
                    return Ok(DeadPage { letters, next: Some(letter.id) });
                }
                from = format!("({}", letter.id);
                if filter.matches(&letter.letter) {
                    letters.push(letter);
                }
            }
            if !has_more {
                return Ok(DeadPage { letters, next: None });
            }
        }
    }

    /// Of up to 200 dead letters, or 8 MiB of payloads, those that match `filter`, the oldest first, after `after` and
    /// up to `last`; and the id of the last that was looked at, none at the end. To work through all of them.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn dead_letters_after(
        &self,
        filter: &DeadFilter,
        after: Option<&EntryId>,
        last: &EntryId,
    ) -> Result<DeadPage, StoreError> {
        let (oldest, _) = filter.span();
        let from = after.map_or(oldest, |after| format!("({after}"));
        let mut letters = self.dead_page("oldest", &from, last.as_str(), PAGE).await?.0;
        let next = letters.last().map(|letter| letter.id.clone());
        letters.retain(|letter| {
            filter.until_ms.is_none_or(|until| letter.id.ms() < until) && filter.matches(&letter.letter)
        });
        Ok(DeadPage { letters, next })
    }

    /// Up to `count` letters, fewer where they are large; and whether there may be more.
    async fn dead_page(
        &self,
        order: &str,
        from: &str,
        to: &str,
        count: usize,
    ) -> Result<(Vec<DeadSource>, bool), StoreError> {
        let mut page = script::DEAD_PAGE.key(self.keys().dead());
        page.arg(order).arg(from).arg(to).arg(count).arg(PAGE_BYTES);
        let (has_more, entries): (bool, Vec<(String, Vec<Bytes>)>) = self.script(&page).await?;
        Ok((entries.into_iter().map(|(id, fields)| stored(&id, fields).0).collect(), has_more))
    }

    /// One dead letter with its payload, or the entry as netstrings where it had none.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn dead_letter(&self, id: &EntryId) -> Result<Option<(DeadSource, Bytes)>, StoreError> {
        let mut range = cmd("XRANGE");
        range.arg(self.keys().dead()).arg(id.as_str()).arg(id.as_str());
        let found: Value = self.query(&range).await?;
        let Some([entry]) = array(found) else {
            return Ok(None);
        };
        let (id, fields): (String, Vec<Bytes>) =
            redis::from_redis_value(entry).map_err(redis::RedisError::from)?;
        Ok(Some(stored(&id, fields)))
    }

    /// The id of the newest dead letter.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn newest_dead_letter(&self) -> Result<Option<EntryId>, StoreError> {
        let (newest, _) = self.dead_page("newest", "+", "-", 1).await?;
        Ok(newest.into_iter().next().map(|letter| letter.id))
    }

    /// Sends a dead letter on its way again. Returns whether it was there to be sent.
    ///
    /// # Errors
    /// When Redis did not confirm it; doing it again is harmless.
    pub async fn replay(&self, id: &EntryId) -> Result<Replayed, StoreError> {
        let key = EventKey::new(&format!("replay-{id}"));
        let keys = self.keys();
        let mut replay = script::REPLAY.key(keys.dead());
        replay.key(keys.stream()).key(keys.ready()).key(keys.event(&key));
        replay.arg(id.as_str()).arg(key.as_str());
        Ok(match self.script::<i8>(&replay).await? {
            1 => Replayed::Sent,
            -1 => Replayed::WithoutPayload,
            _ => Replayed::Missing,
        })
    }

    /// Deletes dead letters; returns how many there were.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn purge(&self, ids: &[EntryId]) -> Result<usize, StoreError> {
        if ids.is_empty() {
            return Ok(0);
        }
        let ids: Vec<&str> = ids.iter().map(EntryId::as_str).collect();
        self.query(cmd("XDEL").arg(self.keys().dead()).arg(ids)).await
    }

    /// Drops dead letters older than `max_age` or beyond the newest `max_len`; returns how many went.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn trim_dead(
        &self,
        max_age: Option<Duration>,
        max_len: Option<u64>,
    ) -> Result<usize, StoreError> {
        let dead = self.keys().dead();
        let mut dropped = 0;
        if let Some(max_len) = max_len {
            dropped += self.query::<usize>(cmd("XTRIM").arg(&dead).arg("MAXLEN").arg(max_len)).await?;
        }
        if let Some(max_age) = max_age {
            let oldest =
                self.time_ms().await?.saturating_sub(u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX));
            dropped += self.query::<usize>(cmd("XTRIM").arg(&dead).arg("MINID").arg(oldest)).await?;
        }
        Ok(dropped)
    }
}

/// What became of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It is on its way.
    Sent,
    /// There is no such dead letter (any more).
    Missing,
    /// The entry had no payload: there is nothing to send.
    WithoutPayload,
}

/// A letter as fields; those without a value are left out.
fn fields(letter: &DeadLetter) -> Vec<(&'static str, Bytes)> {
    let text = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let number = |number: Option<u64>| number.map(|number| Bytes::from(number.to_string()));
    let destination = letter.destination.as_ref().map(ToString::to_string).unwrap_or_default();
    let optional = [
        ("instance", letter.instance.as_deref().map(text)),
        ("first_attempt_ms", number(letter.first_attempt_ms)),
        ("last_attempt_ms", number(letter.last_attempt_ms)),
        ("status", number(letter.status.map(u64::from))),
        ("reply", Some(letter.reply.clone()).filter(|reply| !reply.is_empty())),
        ("url", Some(text(&letter.url)).filter(|url| !url.is_empty())),
        ("traceparent", letter.traceparent.as_deref().map(text)),
    ];
    let mut fields = vec![
        ("id", text(&letter.event_id)),
        ("destination", text(&destination)),
        ("event", text(&letter.event)),
        ("reason", text(letter.reason.as_str())),
        ("attempts", Bytes::from(letter.attempts.to_string())),
        ("error", text(&letter.error)),
    ];
    fields.extend(optional.into_iter().filter_map(|(field, value)| Some((field, value?))));
    fields
}

/// A letter of fields as they are stored, and its payload (or the entry it was made of).
fn stored(id: &str, fields: Vec<Bytes>) -> (DeadSource, Bytes) {
    let mut map: HashMap<Bytes, Bytes> = HashMap::new();
    let mut fields = fields.into_iter();
    while let (Some(field), Some(value)) = (fields.next(), fields.next()) {
        map.insert(field, value);
    }
    let text =
        |field: &str| map.get(field.as_bytes()).map(|value| String::from_utf8_lossy(value).into_owned());
    let number = |field: &str| text(field).and_then(|number| number.parse::<u64>().ok());
    let body = map.get(&b"payload"[..]).or_else(|| map.get(&b"entry"[..])).cloned().unwrap_or_default();
    let letter = DeadLetter {
        event_id: text("id").unwrap_or_default(),
        destination: text("destination").and_then(|text| text.parse().ok()),
        event: text("event").unwrap_or_default(),
        instance: text("instance"),
        reason: text("reason").and_then(|text| text.parse().ok()).unwrap_or(DeadReason::Unreadable),
        attempts: number("attempts").and_then(|n| u32::try_from(n).ok()).unwrap_or(0),
        first_attempt_ms: number("first_attempt_ms"),
        last_attempt_ms: number("last_attempt_ms"),
        status: number("status").and_then(|n| u16::try_from(n).ok()),
        error: text("error").unwrap_or_default(),
        reply: map.get(&b"reply"[..]).cloned().unwrap_or_default(),
        url: text("url").unwrap_or_default(),
        traceparent: text("traceparent"),
    };
    let payload_bytes = number("payload_bytes")
        .or_else(|| number("entry_bytes"))
        .map_or(body.len(), |n| usize::try_from(n).unwrap_or(usize::MAX));
    let has_payload = map.contains_key(&b"payload"[..]) || map.contains_key(&b"payload_bytes"[..]);
    (DeadSource { id: EntryId::new(id), letter, payload_bytes, has_payload }, body)
}
