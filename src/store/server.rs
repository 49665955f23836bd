//! The server itself: what it says of its own condition, and the latest outage that a worker saw.

use std::collections::HashMap;
use std::time::Duration;

use redis::cmd;

use super::{ErrorKind, Redis, StoreError};
use crate::model::ServerFacts;

/// Characters that are kept of an error.
const ERROR_CHARS: usize = 300;

/// An outage that is over, as a worker saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastOutage {
    /// The worker.
    pub worker: String,
    /// When its first heartbeat failed, Unix ms.
    pub began_ms: u64,
    /// When one succeeded again, Unix ms.
    pub ended_ms: u64,
    /// Why the last that failed did.
    pub error: String,
    /// How many outages there have been, this one included.
    pub count: u64,
}

impl LastOutage {
    /// How long it took, ms.
    pub fn took_ms(&self) -> u64 {
        self.ended_ms.saturating_sub(self.began_ms)
    }
}

impl Redis {
    /// As [`Self::server_facts`]; none where Redis answers, but does not tell this user.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn server_facts_if_told(&self) -> Result<Option<ServerFacts>, StoreError> {
        match self.server_facts().await {
            Ok(facts) => Ok(Some(facts)),
            Err(error) if error.kind() == ErrorKind::Unreachable => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// What of the server bears on durability, and on whether it takes events now. Settings that CONFIG does not tell
    /// (managed servers forbid it) are none.
    ///
    /// # Errors
    /// When Redis does not answer, or its INFO is not for this user.
    pub async fn server_facts(&self) -> Result<ServerFacts, StoreError> {
        let info: String = self.query(&cmd("INFO")).await?;
        let info: HashMap<&str, &str> = info.lines().filter_map(|line| line.trim().split_once(':')).collect();
        let text = |field: &str| info.get(field).map(|value| (*value).to_owned());
        let number = |field: &str| info.get(field).and_then(|value| value.parse().ok());
        Ok(ServerFacts {
            version: text("redis_version").unwrap_or_default(),
            eviction: text("maxmemory_policy"),
            max_memory: number("maxmemory"),
            used_memory: number("used_memory").unwrap_or(0),
            uncounted_memory: number("mem_not_counted_for_evict").unwrap_or(0),
            uptime_s: number("uptime_in_seconds").unwrap_or(0),
            aof: info.get("aof_enabled") == Some(&"1"),
            fsync: self.setting("appendfsync").await,
            append_failed: info.get("aof_last_write_status") == Some(&"err"),
            save: self.setting("save").await,
            snapshot_failed: info.get("rdb_last_bgsave_status") == Some(&"err"),
            stops_writes: self.setting("stop-writes-on-bgsave-error").await.map(|value| value == "yes"),
            role: text("role").unwrap_or_default(),
            replicas: number("connected_slaves").unwrap_or(0),
        })
    }

    /// A setting of the server, where it tells.
    async fn setting(&self, name: &str) -> Option<String> {
        let found: Result<HashMap<String, String>, _> = self.query(cmd("CONFIG").arg("GET").arg(name)).await;
        found.ok()?.remove(name)
    }

    /// Keeps an outage that `worker` saw and that is over now, in place of the one before. Other workers saw the same
    /// one: those that overlap count once.
    ///
    /// # Errors
    /// When Redis does not answer, or takes no new data.
    pub async fn record_outage(&self, worker: &str, took: Duration, error: &str) -> Result<(), StoreError> {
        let key = self.keys().outage();
        let mut look = redis::pipe();
        look.cmd("TIME").cmd("HGET").arg(&key).arg("ended_ms");
        let ((s, us), last_ended_ms): ((u64, u64), Option<u64>) = self.pipe(&look).await?;
        let ended_ms = s * 1000 + us / 1000;
        let began_ms = ended_ms.saturating_sub(u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        let error: String = error.chars().take(ERROR_CHARS).collect();
        let mut write = redis::pipe();
        write.atomic().cmd("HSET").arg(&key).arg("worker").arg(worker).arg("error").arg(error);
        write.arg("began_ms").arg(began_ms).arg("ended_ms").arg(ended_ms);
        if last_ended_ms.is_none_or(|last| last < began_ms) {
            write.cmd("HINCRBY").arg(&key).arg("count").arg(1);
        }
        self.pipe(&write).await
    }

    /// The latest outage that is over, as far as it is known.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn last_outage(&self) -> Result<Option<LastOutage>, StoreError> {
        let mut kept: HashMap<String, String> = self.query(cmd("HGETALL").arg(self.keys().outage())).await?;
        let number = |field: &str| kept.get(field).and_then(|value| value.parse().ok());
        let (Some(began_ms), Some(ended_ms)) = (number("began_ms"), number("ended_ms")) else {
            return Ok(None);
        };
        let count = number("count").unwrap_or(1);
        let mut text = |field: &str| kept.remove(field).unwrap_or_default();
        Ok(Some(LastOutage { worker: text("worker"), began_ms, ended_ms, error: text("error"), count }))
    }
}
