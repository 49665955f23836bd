//! Reading entries of the two streams, and acknowledging what arrived.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, RedisResult, Value};

use super::connect::CONNECT_TIMEOUT;
use super::wire::Wire;
use super::{ErrorKind, GROUP, Keys, Redis, StoreError, script};
use crate::model::{Destination, EntryId, EventKey, Source};

/// How much longer than BLOCK the client waits for a reply: a reply that is given up has moved entries into the
/// pending list all the same.
const REPLY_SLACK: Duration = Duration::from_secs(5);
/// About how many batches of attempts are kept for `posthaste status`.
const ATTEMPT_BATCHES: usize = 256;

/// How many entries with a hash are acknowledged in one call: it takes Redis half a millisecond at most.
const FINISHED_AT_A_TIME: usize = 64;

/// An entry as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// An entry of the producers' stream.
    New {
        /// Its id.
        id: EntryId,
        /// The field `payload`; none when there is no such field.
        payload: Option<Bytes>,
        /// The field `id`.
        event_id: Option<Bytes>,
        /// The field `traceparent`.
        traceparent: Option<Bytes>,
    },
    /// An entry of the ready stream: a delivery whose event is in a hash.
    Due {
        /// Its id.
        id: EntryId,
        /// The event's hash, and where the delivery goes; none when they cannot be read.
        delivery: Option<(EventKey, Destination)>,
        /// Whether it was parked before.
        was_parked: bool,
    },
}

/// What a read brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Entries of both streams.
    pub entries: Vec<Taken>,
    /// The version the webhooks had when these had been read.
    pub webhooks_version: u64,
}

/// Totals kept in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counter {
    /// Deliveries that arrived.
    Delivered,
    /// Attempts that failed and will be repeated.
    Retried,
    /// Deliveries that became dead letters.
    Dead,
    /// Events without a destination.
    Unrouted,
}

impl Counter {
    /// Every counter.
    pub const ALL: [Self; 4] = [Self::Delivered, Self::Retried, Self::Dead, Self::Unrouted];

    /// The counter's field.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retried => "retried",
            Self::Dead => "dead",
            Self::Unrouted => "unrouted",
        }
    }
}

/// An entry whose event has a hash, and of which something is done.
#[derive(Clone, Debug)]
pub struct Finished {
    /// The entry.
    pub entry: EntryId,
    /// Its event.
    pub event: EventKey,
    /// The destination that is done; none for the entry itself, all its deliveries being settled.
    pub destination: Option<Destination>,
    /// Whether nothing else is left of the event.
    pub is_last: bool,
}

/// What is to be added to the totals.
#[derive(Clone, Debug, Default)]
pub struct Counts([u64; Counter::ALL.len()]);

impl Counts {
    /// Counts one.
    pub fn add(&mut self, counter: Counter) {
        self.0[counter as usize] += 1;
    }

    /// Those that are not zero.
    fn some(&self) -> impl Iterator<Item = (Counter, u64)> {
        Counter::ALL.into_iter().zip(self.0).filter(|(_, by)| *by > 0)
    }
}

/// The reader's own connection, on which XREADGROUP blocks.
#[derive(Debug)]
pub struct Reader {
    redis: Redis,
    consumer: Arc<str>,
    block: Duration,
    connection: Option<Connection>,
}

/// How the server is reached.
#[derive(Debug)]
enum Connection {
    /// TCP or a Unix socket: what makes most of the traffic is read by our own hand.
    Plain(Wire),
    /// TLS, by the client.
    Tls(MultiplexedConnection),
}

impl Reader {
    /// A reader under the name `consumer` that waits up to `block` for entries.
    pub fn new(redis: Redis, consumer: Arc<str>, block: Duration) -> Self {
        Self { redis, consumer, block, connection: None }
    }

    /// Takes up to `count` new entries of each stream into this consumer's pending list; none after `block`. The version
    /// of the webhooks is read after them.
    ///
    /// # Errors
    /// When Redis does not answer. What it may have handed out all the same stays in the pending list.
    pub async fn read(&mut self, count: usize) -> Result<Read, StoreError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let commands = self.commands(count);
        let keys = self.redis.keys();
        let read = match &mut connection {
            Connection::Plain(wire) => wire.read(&commands, keys, self.block + REPLY_SLACK).await,
            Connection::Tls(connection) => read_by_client(&commands, keys, connection).await,
        };
        let read = read.map_err(|error| self.redis.counted(error.into()))?;
        // Kept only after a success: an error may have left a reply on its way.
        self.connection = Some(connection);
        Ok(read)
    }

    async fn connect(&self) -> Result<Connection, StoreError> {
        match Wire::connect(self.redis.info(), CONNECT_TIMEOUT).await {
            Some(Ok(wire)) => Ok(Connection::Plain(wire)),
            Some(Err(error)) => Err(self.redis.counted(error.into())),
            None => Ok(Connection::Tls(self.redis.dedicated(self.block + REPLY_SLACK).await?)),
        }
    }

    fn commands(&self, count: usize) -> Pipeline {
        let keys = self.redis.keys();
        let mut read = redis::pipe();
        read.cmd("XREADGROUP").arg("GROUP").arg(GROUP).arg(&*self.consumer).arg("COUNT").arg(count);
        read.arg("BLOCK").arg(u64::try_from(self.block.as_millis()).unwrap_or(u64::MAX));
        read.arg("STREAMS").arg(keys.ready()).arg(keys.stream()).arg(">").arg(">");
        read.cmd("GET").arg(keys.webhooks_version());
        read.ignore_errors();
        read
    }
}

async fn read_by_client(
    commands: &Pipeline,
    keys: &Keys,
    connection: &mut MultiplexedConnection,
) -> RedisResult<Read> {
    // Each error as it is, for its kind.
    let replies: (RedisResult<Value>, RedisResult<Option<u64>>) = commands.query_async(connection).await?;
    let (entries, version) = (replies.0?, replies.1?);
    Ok(Read { entries: streams(entries, keys), webhooks_version: version.unwrap_or(0) })
}

impl Redis {
    /// Creates both streams with their group, from the first entry on, where they do not exist.
    ///
    /// # Errors
    /// When Redis does not do it.
    pub async fn create_group(&self) -> Result<(), StoreError> {
        let mut create = script::CREATE.key(self.keys().stream());
        create.key(self.keys().ready()).key(self.keys().workers()).arg(GROUP);
        self.script(&create).await
    }

    /// Acknowledges and deletes entries of the producers' stream whose deliveries all arrived, and records with them
    /// `attempts`, JSON values with commas between them, and `counts`.
    ///
    /// # Errors
    /// When Redis did not confirm it; doing it again is harmless but for the totals.
    pub async fn acknowledge(
        &self,
        entries: &[EntryId],
        attempts: &[u8],
        counts: &Counts,
    ) -> Result<(), StoreError> {
        let counted = counts.some().count();
        if entries.is_empty() && attempts.is_empty() && counted == 0 {
            return Ok(());
        }
        let keys = self.keys();
        let mut ack = script::ACK.key(keys.stream());
        ack.key(keys.attempts()).key(keys.counters());
        let attempts = if attempts.is_empty() { Vec::new() } else { [b"[", attempts, b"]"].concat() };
        ack.arg(GROUP).arg(ATTEMPT_BATCHES).arg(attempts).arg(counted);
        for (counter, by) in counts.some() {
            ack.arg(counter.as_str()).arg(by);
        }
        for id in entries {
            ack.arg(id.as_str());
        }
        self.script(&ack).await
    }

    /// Acknowledges entries of one stream whose events have a hash. They are sorted for it.
    ///
    /// # Errors
    /// When Redis did not confirm it; doing it again is harmless.
    pub async fn finish(&self, source: Source, entries: &mut [Finished]) -> Result<(), StoreError> {
        entries.sort_by_key(|finished| finished.entry.place());
        let finish = entries.chunks(FINISHED_AT_A_TIME).map(|some| async move {
            let mut done = script::DONE.key(self.key_of(source));
            done.arg(GROUP);
            for Finished { entry, event, destination, is_last } in some {
                done.key(self.keys().event(event)).arg(entry.as_str());
                done.arg(destination.as_ref().map(ToString::to_string).unwrap_or_default());
                done.arg(u8::from(*is_last));
            }
            self.script::<u64>(&done).await.map(drop)
        });
        join_all(finish).await.into_iter().collect()
    }

    /// The stream entries of `source` are in.
    pub(super) fn key_of(&self, source: Source) -> String {
        match source {
            Source::Stream => self.keys().stream().to_owned(),
            Source::Ready => self.keys().ready(),
        }
    }
}

/// The entries of an XREADGROUP reply. What is not of the expected shape is passed over: it stays pending.
pub(super) fn streams(reply: Value, keys: &Keys) -> Vec<Taken> {
    let Value::Array(streams) = reply else {
        return Vec::new();
    };
    let mut taken = Vec::new();
    for stream in streams {
        let Some([Value::BulkString(name), Value::Array(entries)]) = array(stream) else {
            continue;
        };
        let source = if name == keys.stream().as_bytes() { Source::Stream } else { Source::Ready };
        for entry in entries {
            if let Some([Value::BulkString(id), fields]) = array(entry) {
                taken.extend(read_entry(source, &id, fields));
            }
        }
    }
    taken
}

/// One entry: its id, and its fields and values in turn.
pub(super) fn read_entry(source: Source, id: &[u8], fields: Value) -> Option<Taken> {
    let id = EntryId::new(std::str::from_utf8(id).ok()?);
    let fields = match fields {
        Value::Array(fields) => fields,
        _ => Vec::new(),
    };
    let mut kept = Fields::of(source);
    let mut fields = fields.into_iter();
    while let (Some(Value::BulkString(field)), Some(Value::BulkString(value))) =
        (fields.next(), fields.next())
    {
        if let Some(place) = kept.place(&field) {
            *place = Some(Bytes::from(value));
        }
    }
    Some(kept.entry(id))
}

/// The fields of an entry that count, while they are gathered.
#[derive(Debug)]
pub(super) struct Fields {
    source: Source,
    values: [Option<Bytes>; 3],
}

impl Fields {
    /// Those of an entry of `source`; none yet.
    pub(super) fn of(source: Source) -> Self {
        Self { source, values: Default::default() }
    }

    /// Where the value of a field goes; none when it does not count.
    pub(super) fn place(&mut self, field: &[u8]) -> Option<&mut Option<Bytes>> {
        let names: [&[u8]; 3] = match self.source {
            Source::Stream => [b"payload", b"id", b"traceparent"],
            Source::Ready => [b"event", b"destination", b"parked"],
        };
        self.values.iter_mut().zip(names).find(|(_, name)| *name == field).map(|(value, _)| value)
    }

    /// The entry that they make.
    pub(super) fn entry(self, id: EntryId) -> Taken {
        match (self.source, self.values) {
            (Source::Stream, [payload, event_id, traceparent]) => {
                Taken::New { id, payload, event_id, traceparent }
            }
            (Source::Ready, [event, destination, parked]) => {
                Taken::Due { id, delivery: due(event, destination), was_parked: parked.is_some() }
            }
        }
    }
}

fn due(event: Option<Bytes>, destination: Option<Bytes>) -> Option<(EventKey, Destination)> {
    let (event, destination) = (event?, destination?);
    let event = std::str::from_utf8(&event).ok()?;
    // No key that was ever given to an event is of this form.
    if event.is_empty() || event.contains(' ') {
        return None;
    }
    let destination = std::str::from_utf8(&destination).ok()?.parse().ok()?;
    Some((EventKey::new(event), destination))
}

/// The elements of an array reply of exactly `N`.
pub(super) fn array<const N: usize>(value: Value) -> Option<[Value; N]> {
    match value {
        Value::Array(elements) => elements.try_into().ok(),
        _ => None,
    }
}

/// Whether reading failed for want of the group, which [`Redis::create_group`] mends.
impl StoreError {
    /// See [`ErrorKind::NoGroup`].
    pub fn is_no_group(&self) -> bool {
        self.kind() == ErrorKind::NoGroup
    }
}
