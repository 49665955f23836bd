//! Looking into Redis: what is kept there, byte for byte.

use std::collections::{BTreeMap, HashMap};

use posthaste::model::{EntryId, Secret};
use posthaste::store::{Redis, RedisSettings};
use redis::Value;

use super::{RedisServer, eventually};

/// The fields and values of an entry, in order.
pub type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// A dead letter, every byte of it.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Its own id.
    pub key: EntryId,
    pub fields: BTreeMap<String, Vec<u8>>,
}

impl Letter {
    /// A field as text; empty where there is none.
    pub fn text(&self, field: &str) -> &str {
        std::str::from_utf8(self.bytes(field)).expect("the field is text")
    }

    pub fn bytes(&self, field: &str) -> &[u8] {
        self.fields.get(field).map(Vec::as_slice).unwrap_or_default()
    }

    pub fn number(&self, field: &str) -> u64 {
        self.text(field).parse().unwrap_or_else(|_| panic!("{field} is a number: {:?}", self.text(field)))
    }

    /// The names of its fields, sorted.
    pub fn names(&self) -> Vec<&str> {
        self.fields.keys().map(String::as_str).collect()
    }

    /// The fields of the entry it was made of, where that had no payload.
    pub fn entry(&self) -> Fields {
        let parts = netstrings(self.bytes("entry"));
        assert_eq!(parts.len() % 2, 0, "a value for each field");
        parts.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
    }
}

/// `<length>:<bytes>,` repeated.
fn netstrings(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = Vec::new();
    while !bytes.is_empty() {
        let colon = bytes.iter().position(|&byte| byte == b':').expect("a netstring has a colon");
        let length: usize = std::str::from_utf8(&bytes[..colon])
            .ok()
            .and_then(|length| length.parse().ok())
            .expect("a netstring has a length");
        let (part, rest) = bytes[colon + 1..].split_at(length);
        parts.push(part.to_vec());
        bytes = rest.strip_prefix(b",").expect("a netstring ends in a comma");
    }
    parts
}

/// What a worker leaves standing when there is nothing to do.
const STANDING: [&str; 9] = [
    "webhooks",
    "{webhooks}:attempts",
    "{webhooks}:counters",
    "{webhooks}:dead",
    "{webhooks}:outage",
    "{webhooks}:ready",
    "{webhooks}:webhooks",
    "{webhooks}:webhooks:version",
    "{webhooks}:workers",
];

impl RedisServer {
    /// The library's own view of this server.
    pub fn store(&self) -> Redis {
        self.store_of("webhooks")
    }

    /// The same, for another stream.
    pub fn store_of(&self, stream: &str) -> Redis {
        let settings = RedisSettings { url: Secret::new(self.url()), stream: stream.to_owned(), ca: None };
        Redis::open(&settings).expect("a URL")
    }

    /// Pushes an entry of any bytes to a stream; returns its id.
    pub async fn push_entry(&self, stream: &str, fields: &[(Vec<u8>, Vec<u8>)]) -> String {
        self.push_entry_as(stream, "*", fields).await
    }

    /// The same, with an entry id of one's own.
    pub async fn push_entry_as(&self, stream: &str, id: &str, fields: &[(Vec<u8>, Vec<u8>)]) -> String {
        let mut command: Vec<&[u8]> = vec![b"XADD", stream.as_bytes(), id.as_bytes()];
        for (field, value) in fields {
            command.extend([&field[..], &value[..]]);
        }
        self.command(&command).await
    }

    /// All entries of a stream, the oldest first.
    pub async fn entries(&self, stream: &str) -> Vec<(String, Fields)> {
        let entries: Vec<(String, Vec<Vec<u8>>)> = self.command(&["XRANGE", stream, "-", "+"]).await;
        let pairs =
            |flat: Vec<Vec<u8>>| flat.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect();
        entries.into_iter().map(|(id, flat)| (id, pairs(flat))).collect()
    }

    /// All dead letters, the oldest first.
    pub async fn letters(&self) -> Vec<Letter> {
        let letter = |(key, fields): (String, Fields)| Letter {
            key: EntryId::new(&key),
            fields: fields
                .into_iter()
                .map(|(field, value)| (String::from_utf8(field).expect("fields are named in ASCII"), value))
                .collect(),
        };
        let entries = self.entries("{webhooks}:dead").await;
        entries.into_iter().map(letter).collect()
    }

    /// Waits until there are at least `count` dead letters, and returns all.
    pub async fn wait_for_letters(&self, count: usize) -> Vec<Letter> {
        eventually(&format!("{count} dead letters"), || async {
            let letters = self.letters().await;
            (letters.len() >= count).then_some(letters)
        })
        .await
    }

    /// Waits for a dead letter of an event and returns it.
    pub async fn wait_for_letter(&self, event_id: &str) -> Letter {
        eventually(&format!("a dead letter of {event_id}"), || async {
            let letters = self.letters().await;
            letters.into_iter().find(|letter| letter.text("id") == event_id)
        })
        .await
    }

    /// How many entries of a stream are in flight.
    pub async fn pending(&self, stream: &str) -> u64 {
        let (pending, ..): (u64, Value, Value, Value) =
            self.command(&["XPENDING", stream, "posthaste"]).await;
        pending
    }

    /// The consumers of a stream's group.
    pub async fn consumers(&self, stream: &str) -> Vec<String> {
        let consumers: Vec<HashMap<String, Value>> =
            self.command(&["XINFO", "CONSUMERS", stream, "posthaste"]).await;
        consumers
            .into_iter()
            .map(|mut consumer| {
                let name = consumer.remove("name").expect("a consumer has a name");
                redis::from_redis_value(name).expect("a name is text")
            })
            .collect()
    }

    /// The totals.
    pub async fn counters(&self) -> HashMap<String, u64> {
        self.command(&["HGETALL", "{webhooks}:counters"]).await
    }

    /// One of the totals.
    pub async fn counter(&self, name: &str) -> u64 {
        self.counters().await.get(name).copied().unwrap_or(0)
    }

    /// Keys that have no business in a Redis whose events are all settled.
    pub async fn stray_keys(&self) -> Vec<String> {
        let mut keys = self.keys().await;
        // What expires by itself is no trace: what the ERRORS webhook was told, and producers' keys.
        let expires = ["{webhooks}:told:", "{webhooks}:dedup:"];
        keys.retain(|key| {
            !STANDING.contains(&key.as_str()) && !expires.iter().any(|start| key.starts_with(start))
        });
        keys
    }

    /// Holds that everything is settled and nothing is left over: no entry, none in flight, no key of an event.
    pub async fn assert_settled(&self) {
        for stream in ["webhooks", "{webhooks}:ready"] {
            assert_eq!(self.len(stream).await, 0, "{stream} is empty");
            assert_eq!(self.pending(stream).await, 0, "nothing of {stream} is in flight");
        }
        assert_eq!(self.stray_keys().await, Vec::<String>::new(), "no stray key");
    }
}

/// Fields of text.
pub fn fields(pairs: &[(&str, &str)]) -> Fields {
    pairs.iter().map(|(field, value)| (field.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

/// An entry with this payload alone.
pub fn payload(bytes: impl AsRef<[u8]>) -> Fields {
    vec![(b"payload".to_vec(), bytes.as_ref().to_vec())]
}
