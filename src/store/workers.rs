//! Workers: heartbeats, and taking over what a dead one held.

use std::time::Duration;

use redis::{Value, cmd};

use super::events::{array, read_entry};
use super::{GROUP, Redis, StoreError, Taken, script};
use crate::model::Source;

/// What a heartbeat told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beat {
    /// This worker is alive; these others are not.
    Alive {
        /// The names of the dead.
        dead: Vec<String>,
    },
    /// This worker has been reaped: what it held is another's now.
    Fenced,
}

/// Entries taken over from a dead worker.
#[derive(Clone, Debug, Default)]
pub struct TakenOver {
    /// The entries, and how often each had been taken over before.
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
            Some(Value::Int(1)) => Ok(Beat::Alive {
                dead: reply.filter_map(|name| redis::from_redis_value(name).ok()).collect(),
            }),
            _ => Ok(Beat::Fenced),
        }
    }

    /// Marks consumers of the group that never beat, or no longer do (their heartbeats were lost with a FLUSHALL),
    /// as dead, so that they are taken over.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn notice_strays(&self) -> Result<(), StoreError> {
        for source in [Source::Stream, Source::Ready] {
            let mut info = cmd("XINFO");
            info.arg("CONSUMERS").arg(self.key_of(source)).arg(GROUP);
            let consumers: Vec<std::collections::HashMap<String, Value>> = self.query(&info).await?;
            let mut add = cmd("ZADD");
            add.arg(self.keys().workers()).arg("NX");
            let mut any = false;
            for consumer in consumers {
                if let Some(Value::BulkString(name)) = consumer.get("name") {
                    add.arg(0).arg(name);
                    any = true;
                }
            }
            if any {
                self.query::<()>(&add).await?;
            }
        }
        Ok(())
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
