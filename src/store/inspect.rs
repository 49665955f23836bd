//! What of the events `status` shows: read-only.

use std::borrow::Cow;
use std::collections::HashMap;

use redis::{Value, cmd};
use serde::{Serialize, Serializer};

use super::events::array;
use super::progress::{EVENT, EventWords, Tried, tried_field};
use super::{Counter, GROUP, Redis, StoreError};
use crate::model::EntryId;

/// Everything that waits, and the totals.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The producers' stream.
    pub stream: StreamFacts,
    /// The ready stream.
    pub ready: StreamFacts,
    /// Deliveries in backoff.
    pub waiting: u64,
    /// Unix ms at which the next of them is due.
    pub next_due_ms: Option<u64>,
    /// Dead letters.
    pub dead: u64,
    /// When the oldest and the newest dead letter were written, Unix ms.
    pub dead_span_ms: Option<(u64, u64)>,
    /// Stored webhooks.
    pub webhooks: u64,
    /// Worker and ms since its last heartbeat.
    pub workers: Vec<(String, u64)>,
    /// Totals since the stream's first day.
    pub counters: HashMap<&'static str, u64>,
    /// Redis' time, Unix ms.
    pub now_ms: u64,
}

/// A stream with its group.
#[derive(Clone, Copy, Debug, Default)]
pub struct StreamFacts {
    /// Entries, those in flight among them.
    pub length: u64,
    /// Entries held by workers.
    pub in_flight: u64,
    /// When the oldest entry was pushed, Unix ms.
    pub oldest_ms: Option<u64>,
}

/// One delivery in backoff.
#[derive(Clone, Debug)]
pub struct WaitingDelivery {
    /// The event's id.
    pub event_id: String,
    /// Where it goes, as text.
    pub destination: String,
    /// When it is due, Unix ms.
    pub due_ms: u64,
    /// How many attempts were made.
    pub attempts: u32,
    /// What the last came to.
    pub last: String,
}

/// One recent attempt, as settled batches record it: a JSON array of the fields in this order. (Objects are read, too.)
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct AttemptLine<'a> {
    /// When it was begun, Unix ms.
    pub started_ms: u64,
    /// How long it took, ms.
    pub took_ms: u64,
    /// The event's id.
    pub id: Cow<'a, str>,
    /// The event's canonical name.
    pub event: Cow<'a, str>,
    /// Where it went.
    pub destination: Cow<'a, str>,
    /// Its number.
    pub attempt: u32,
    /// The HTTP status.
    pub status: Option<u16>,
    /// The kind of failure where there was no status.
    pub error: Option<Cow<'a, str>>,
    /// What was done with the delivery then.
    pub settlement: Cow<'a, str>,
}

impl Serialize for AttemptLine<'_> {
    /// Each byte is copied several times on its way into Redis and its append-only file: the names of the fields would
    /// be half of them.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { started_ms, took_ms, id, event, destination, attempt, status, error, settlement } = self;
        (started_ms, took_ms, id, event, destination, attempt, status, error, settlement)
            .serialize(serializer)
    }
}

impl Redis {
    /// Redis' time, Unix ms.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn time_ms(&self) -> Result<u64, StoreError> {
        let (s, us): (u64, u64) = self.query(&cmd("TIME")).await?;
        Ok(s * 1000 + us / 1000)
    }

    /// Everything that waits.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn summary(&self) -> Result<Summary, StoreError> {
        let keys = self.keys();
        let now_ms = self.time_ms().await?;
        let mut pipeline = redis::pipe();
        pipeline.cmd("ZCARD").arg(keys.retry());
        pipeline.cmd("ZRANGE").arg(keys.retry()).arg(0).arg(0).arg("WITHSCORES");
        pipeline.cmd("XLEN").arg(keys.dead());
        pipeline.cmd("HLEN").arg(keys.webhooks());
        pipeline.cmd("ZRANGE").arg(keys.workers()).arg(0).arg(-1).arg("WITHSCORES");
        pipeline.cmd("HGETALL").arg(keys.counters());
        type Replies = (u64, Vec<(Value, f64)>, u64, u64, Vec<(String, f64)>, HashMap<String, u64>);
        let (waiting, next, dead, webhooks, workers, totals): Replies = self.pipe(&pipeline).await?;
        let ends =
            (self.end_of(&keys.dead(), "XRANGE").await?, self.end_of(&keys.dead(), "XREVRANGE").await?);
        let total = |counter: Counter| (counter.as_str(), totals.get(counter.as_str()).copied().unwrap_or(0));
        Ok(Summary {
            stream: self.stream_facts(keys.stream()).await?,
            ready: self.stream_facts(&keys.ready()).await?,
            waiting,
            next_due_ms: next.first().map(|(_, due)| *due as u64),
            dead,
            dead_span_ms: ends.0.zip(ends.1),
            webhooks,
            workers: workers.into_iter().map(|(name, at)| (name, now_ms.saturating_sub(at as u64))).collect(),
            counters: Counter::ALL.into_iter().map(total).collect(),
            now_ms,
        })
    }

    async fn stream_facts(&self, stream: &str) -> Result<StreamFacts, StoreError> {
        let length = self.query(cmd("XLEN").arg(stream)).await?;
        // Errors (no such key, no group yet) mean that nothing is in flight.
        let pending: Result<Vec<Value>, _> = self.query(cmd("XPENDING").arg(stream).arg(GROUP)).await;
        let in_flight = match pending.ok().and_then(|reply| reply.into_iter().next()) {
            Some(Value::Int(pending)) => u64::try_from(pending).unwrap_or(0),
            _ => 0,
        };
        Ok(StreamFacts { length, in_flight, oldest_ms: self.end_of(stream, "XRANGE").await? })
    }

    /// When the first entry of a stream in the order of `range` was written, Unix ms.
    async fn end_of(&self, stream: &str, range: &str) -> Result<Option<u64>, StoreError> {
        let (from, to) = if range == "XRANGE" { ("-", "+") } else { ("+", "-") };
        let mut first = cmd(range);
        first.arg(stream).arg(from).arg(to).arg("COUNT").arg(1);
        let found: Value = self.query(&first).await?;
        let Some([entry]) = array(found) else {
            return Ok(None);
        };
        Ok(match array(entry) {
            Some([Value::BulkString(id), _]) => Some(EntryId::new(&String::from_utf8_lossy(&id)).ms()),
            _ => None,
        })
    }

    /// Up to `count` deliveries in backoff, the next due first.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn waiting_deliveries(&self, count: usize) -> Result<Vec<WaitingDelivery>, StoreError> {
        let keys = self.keys();
        let mut range = cmd("ZRANGE");
        range.arg(keys.retry()).arg(0).arg(count.saturating_sub(1)).arg("WITHSCORES");
        let found: Vec<(String, f64)> = self.query(&range).await?;
        let mut pipeline = redis::pipe();
        let split: Vec<(&str, &str, u64)> = found
            .iter()
            .filter_map(|(member, due)| member.split_once(' ').map(|(key, to)| (key, to, *due as u64)))
            .collect();
        for (key, destination, _) in &split {
            pipeline.cmd("HMGET").arg(keys.event(&crate::model::EventKey::new(key))).arg(EVENT);
            pipeline.arg(tried_field(destination));
        }
        if split.is_empty() {
            return Ok(Vec::new());
        }
        let hashes: Vec<[Option<String>; 2]> = self.pipe(&pipeline).await?;
        let join = |((_, destination, due_ms), [event, tried]): ((&str, &str, u64), [Option<String>; 2])| {
            let tried = Tried::parse(&tried.unwrap_or_default());
            WaitingDelivery {
                event_id: EventWords::parse(&event.unwrap_or_default()).id,
                destination: destination.to_owned(),
                due_ms,
                attempts: tried.attempts,
                last: tried.last.map(|last| last.summary).unwrap_or_default(),
            }
        };
        Ok(split.into_iter().zip(hashes).map(join).collect())
    }

    /// Recent attempts, the newest batch first; `batches` at most.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn recent_attempts(&self, batches: usize) -> Result<Vec<AttemptLine<'static>>, StoreError> {
        let mut range = cmd("XREVRANGE");
        range.arg(self.keys().attempts()).arg("+").arg("-").arg("COUNT").arg(batches);
        let entries: Vec<(String, HashMap<String, String>)> = self.query(&range).await?;
        let lines = entries.iter().filter_map(|(_, fields)| fields.get("batch"));
        Ok(lines
            .flat_map(|batch| serde_json::from_str::<Vec<AttemptLine<'static>>>(batch).unwrap_or_default())
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_read_as_they_are_written_and_as_objects() {
        let line = AttemptLine {
            started_ms: 1,
            took_ms: 2,
            id: "1-0".into(),
            event: "CALL".into(),
            destination: "instance:sales".into(),
            attempt: 3,
            status: None,
            error: Some("timeout".into()),
            settlement: "retry".into(),
        };
        let written = serde_json::to_string(&line).unwrap();
        assert_eq!(written, r#"[1,2,"1-0","CALL","instance:sales",3,null,"timeout","retry"]"#);
        assert_eq!(serde_json::from_str::<AttemptLine<'_>>(&written).unwrap(), line);
        let object = r#"{"started_ms":1,"took_ms":2,"id":"1-0","event":"CALL","destination":"instance:sales",
            "attempt":3,"status":null,"error":"timeout","settlement":"retry"}"#;
        assert_eq!(serde_json::from_str::<AttemptLine<'_>>(object).unwrap(), line);
    }
}
