//! Workers: heartbeats, and taking over what a dead one held.

use std::time::Duration;

use redis::{Value, cmd};

use super::events::{array, read_entry};
use super::{GROUP, Redis, StoreError, Taken, script};
use crate::decide::poison;
use crate::model::{EntryId, Receipt, Source};

/// What a heartbeat told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beat {
    /// This worker is alive.
    Alive {
        /// The names of those that are not.
        dead: Vec<String>,
        /// How long until the next counts as dead, if it does not beat until then.
        next: Option<Duration>,
        /// How many are alive, this one among them.
        alive: usize,
    },
    /// This worker has been reaped: what it held is another's now.
    Fenced,
}

/// Entries taken over from a dead worker.
#[derive(Clone, Debug, Default)]
pub struct TakenOver {
    /// The entries, and how often each was taken over from a crash, this time included.
    pub entries: Vec<(Taken, u32)>,
}

impl Redis {
    /// Beats for `worker`; with `join`, for the first time under this name.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn beat(&self, worker: &str, dead_after: Duration, join: bool) -> Result<Beat, StoreError> {
        let mut beat = script::BEAT.key(self.keys().workers());
        beat.arg(worker).arg(dead_after.as_millis() as u64).arg(u8::from(join));
        let reply: Vec<Value> = self.script(&beat).await?;
        let mut reply = reply.into_iter();
        match reply.next() {
            Some(Value::Int(1)) => {
                let next = match reply.next() {
                    Some(Value::Int(ms)) => u64::try_from(ms).ok().map(Duration::from_millis),
                    _ => None,
                };
                let alive = match reply.next() {
                    Some(Value::Int(alive)) => usize::try_from(alive).unwrap_or(1).max(1),
                    _ => 1,
                };
                let dead = reply.filter_map(|name| redis::from_redis_value(name).ok()).collect();
                Ok(Beat::Alive { dead, next, alive })
            }
            _ => Ok(Beat::Fenced),
        }
    }

    /// Marks consumers of the group that never beat, or no longer do (their heartbeats were lost with a FLUSHALL),
    /// as dead, so that they are taken over.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn notice_strays(&self) -> Result<(), StoreError> {
        let mut strays = script::STRAYS.key(self.keys().workers());
        strays.key(self.keys().stream()).key(self.keys().ready()).arg(GROUP);
        self.script(&strays).await
    }

    /// Takes over up to `count` pending entries of the worker `dead`, or fewer once they exceed `bytes`. None are
    /// left when none came.
    ///
    /// # Errors
    /// When Redis does not answer. What it may have handed over all the same is in this worker's pending list.
    pub async fn take_over(&self, dead: &str, request: &TakeOver<'_>) -> Result<TakenOver, StoreError> {
        let keys = self.keys();
        let mut take = script::TAKE_OVER.key(keys.workers());
        take.key(keys.stream()).key(keys.ready());
        take.arg(GROUP).arg(dead).arg(request.worker).arg(request.dead_after.as_millis() as u64);
        take.arg(request.count).arg(request.bytes);
        let (stream, ready): (Vec<Value>, Vec<Value>) = self.script(&take).await?;
        let mut entries = Vec::with_capacity(stream.len() + ready.len());
        for (source, found) in [(Source::Stream, stream), (Source::Ready, ready)] {
            for entry in found {
                if let Some([Value::BulkString(id), fields, Value::Int(times)]) = array(entry)
                    && let Some(taken) = read_entry(source, &id, fields)
                {
                    entries.push((taken, u32::try_from(times).unwrap_or(0)));
                }
            }
        }
        Ok(TakenOver { entries })
    }

    /// Notes that an entry is about to be attempted alone; false when it is not its holder's any more.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn note_alone(&self, receipt: &Receipt) -> Result<bool, StoreError> {
        let mut alone = script::ALONE.key(self.key_of(receipt.source));
        alone.arg(GROUP).arg(&*receipt.consumer).arg(receipt.id.as_str()).arg(poison::ALONE);
        self.script(&alone).await
    }

    /// Hands back entries of one stream that were read under the name `worker` and not begun, so that other workers
    /// take them over at once.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn release(&self, source: Source, worker: &str, entries: &[EntryId]) -> Result<(), StoreError> {
        if entries.is_empty() {
            return Ok(());
        }
        let mut release = script::RELEASE.key(self.key_of(source));
        release.key(self.keys().workers()).arg(GROUP).arg(worker).arg(format!("{worker}-left"));
        for id in entries {
            release.arg(id.as_str());
        }
        self.script(&release).await
    }

    /// Leaves: returns whether entries are left to the other workers.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn leave(&self, worker: &str) -> Result<bool, StoreError> {
        let mut leave = script::LEAVE.key(self.keys().workers());
        leave.key(self.keys().stream()).key(self.keys().ready()).arg(GROUP).arg(worker);
        let left: usize = self.script(&leave).await?;
        Ok(left > 0)
    }
}

/// An entry that has been pending for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Its id.
    pub id: EntryId,
    /// How often it was handed out.
    pub times: u32,
}

impl Redis {
    /// Up to `count` entries that have been pending for `idle` or longer, after `after`; of one consumer, or of all.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn idle_entries(
        &self,
        source: Source,
        consumer: Option<&str>,
        idle: Duration,
        after: Option<&EntryId>,
        count: usize,
    ) -> Result<Vec<Pending>, StoreError> {
        let mut pending = cmd("XPENDING");
        pending.arg(self.key_of(source)).arg(GROUP).arg("IDLE").arg(idle.as_millis() as u64);
        pending.arg(after.map_or_else(|| "-".to_owned(), |after| format!("({after}"))).arg("+").arg(count);
        if let Some(consumer) = consumer {
            pending.arg(consumer);
        }
        let found: Vec<(String, String, u64, u32)> = self.query(&pending).await?;
        Ok(found.into_iter().map(|(id, _, _, times)| Pending { id: EntryId::new(&id), times }).collect())
    }

    /// Hands out again an entry that `worker` has pending; none when it has it no more.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn reclaim(
        &self,
        source: Source,
        worker: &str,
        id: &EntryId,
    ) -> Result<Option<Taken>, StoreError> {
        let mut reclaim = script::RECLAIM.key(self.key_of(source));
        reclaim.arg(GROUP).arg(worker).arg(id.as_str());
        Ok(claimed(source, self.script(&reclaim).await?))
    }

    /// Claims an entry for `worker` if it is still idle, without counting it as a further takeover.
    ///
    /// # Errors
    /// When Redis does not answer. What it may have handed over all the same is in this worker's pending list.
    pub async fn claim(
        &self,
        source: Source,
        worker: &str,
        idle: Duration,
        entry: &Pending,
    ) -> Result<Option<Taken>, StoreError> {
        let mut claim = cmd("XCLAIM");
        claim.arg(self.key_of(source)).arg(GROUP).arg(worker).arg(idle.as_millis() as u64);
        claim.arg(entry.id.as_str()).arg("RETRYCOUNT").arg(entry.times);
        Ok(claimed(source, self.query(&claim).await?))
    }
}

/// The entry of an XCLAIM reply of at most one.
fn claimed(source: Source, reply: Value) -> Option<Taken> {
    match array(reply).and_then(|[entry]| array(entry)) {
        Some([Value::BulkString(id), fields]) => read_entry(source, &id, fields),
        _ => None,
    }
}

/// Who takes over, and how much at a time.
#[derive(Clone, Copy, Debug)]
pub struct TakeOver<'a> {
    /// The worker that takes over.
    pub worker: &'a str,
    /// How long a worker is silent before it counts as dead.
    pub dead_after: Duration,
    /// Entries at most.
    pub count: usize,
    /// Bytes after which no further entry is taken.
    pub bytes: usize,
}
