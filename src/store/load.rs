//! How full Redis is: what tells whether it should be given more.

use std::collections::HashMap;

use redis::cmd;

use super::{Redis, StoreError};

/// How much waits in Redis, and how much more it takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Entries of both streams, deliveries in backoff, and parked ones; 0 where it was not asked for.
    pub backlog: u64,
    /// The share of `maxmemory` in use, in thousandths; none where Redis has no limit, or makes room by itself.
    pub memory_permille: Option<u64>,
}

impl Redis {
    /// How full Redis is. Costs one round trip; with the backlog two or more, by the number of destinations with
    /// something parked (of which 2000 are counted at most).
    ///
    /// # Errors
    /// When Redis does not answer, or its INFO is not for this user.
    pub async fn load(&self, with_backlog: bool) -> Result<Load, StoreError> {
        let info: String = self.query(cmd("INFO").arg("memory")).await?;
        let backlog = if with_backlog { self.backlog().await? } else { 0 };
        Ok(Load { backlog, memory_permille: memory_permille(&info) })
    }

    async fn backlog(&self) -> Result<u64, StoreError> {
        let keys = self.keys();
        let mut counting = redis::pipe();
        counting.cmd("XLEN").arg(keys.stream()).cmd("XLEN").arg(keys.ready());
        counting.cmd("ZCARD").arg(keys.retry());
        let (stream, ready, retry): (u64, u64, u64) = self.pipe(&counting).await?;
        Ok(stream + ready + retry + self.parked(0).await?.deliveries)
    }
}

/// What of INFO counts against `maxmemory`. Under any policy but `noeviction` it is always full, and never refuses.
fn memory_permille(info: &str) -> Option<u64> {
    let info: HashMap<&str, &str> = info.lines().filter_map(|line| line.trim().split_once(':')).collect();
    let number = |field: &str| info.get(field).and_then(|value| value.parse::<u64>().ok());
    if *info.get("maxmemory_policy")? != "noeviction" {
        return None;
    }
    let limit = number("maxmemory").filter(|limit| *limit > 0)?;
    let uncounted = number("mem_not_counted_for_evict").unwrap_or(0);
    let used = number("used_memory")?.saturating_sub(uncounted);
    Some(used.saturating_mul(1000) / limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(policy: &str, limit: u64) -> String {
        format!(
            "# Memory\r\nused_memory:960\r\nmaxmemory:{limit}\r\nmaxmemory_policy:{policy}\r\n\
             mem_not_counted_for_evict:10\r\n"
        )
    }

    #[test]
    fn memory_counts_where_redis_refuses_for_want_of_it() {
        assert_eq!(memory_permille(&info("noeviction", 1000)), Some(950));
        assert_eq!(memory_permille(&info("noeviction", 0)), None);
        assert_eq!(memory_permille(&info("allkeys-lru", 1000)), None);
        assert_eq!(memory_permille(""), None);
    }
}
