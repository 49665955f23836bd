//! Destinations: what Redis knows of them, for operators.

use redis::cmd;

use super::{Redis, StoreError};
use crate::model::Destination;

/// What is parked for one destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ParkFacts {
    /// How many deliveries.
    pub parked: u64,
    /// When the oldest of them was pushed, Unix ms.
    pub oldest_ms: Option<u64>,
    /// Since when there have been any, Unix ms.
    pub since_ms: Option<u64>,
    /// Why: see [`ParkReason`](crate::model::ParkReason).
    pub reason: Option<String>,
    /// When somebody looks at them next, Unix ms; 0 for at once.
    pub next_ms: Option<u64>,
    /// Since when the destination is paused, Unix ms.
    pub paused_ms: Option<u64>,
}

/// Some of the destinations with parked deliveries.
#[derive(Clone, Debug)]
pub struct ParkPage {
    /// They, in no order.
    pub destinations: Vec<Destination>,
    /// The cursor of the next page; none when this was the last.
    pub next: Option<u64>,
}

impl Redis {
    /// What is parked for each of some destinations.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn park_facts(&self, destinations: &[&Destination]) -> Result<Vec<ParkFacts>, StoreError> {
        if destinations.is_empty() {
            return Ok(Vec::new());
        }
        let keys = self.keys();
        let mut pipeline = redis::pipe();
        for to in destinations {
            let (park, text) = (keys.park(to), to.to_string());
            pipeline.cmd("ZCARD").arg(&park);
            pipeline.cmd("ZRANGE").arg(&park).arg(0).arg(0).arg("WITHSCORES");
            pipeline.cmd("HGET").arg(keys.parked()).arg(&text);
            pipeline.cmd("ZSCORE").arg(keys.parks()).arg(&text);
            pipeline.cmd("HGET").arg(keys.paused()).arg(&text);
        }
        let replies: Vec<redis::Value> = self.pipe(&pipeline).await?;
        replies.chunks_exact(5).map(facts).collect()
    }

    /// About `count` destinations with parked deliveries, from `cursor` (0: the beginning) on; one may come twice.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn park_page(&self, cursor: u64, count: usize) -> Result<ParkPage, StoreError> {
        let mut scan = cmd("HSCAN");
        scan.arg(self.keys().parked()).arg(cursor).arg("COUNT").arg(count);
        let (next, found): (u64, Vec<(String, String)>) = self.query(&scan).await?;
        let destinations =
            found.into_iter().filter_map(|(destination, _)| destination.parse().ok()).collect();
        Ok(ParkPage { destinations, next: (next != 0).then_some(next) })
    }

    /// Makes what is parked for a destination due to be looked at; returns whether anything is.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn look_at_park(&self, destination: &Destination) -> Result<bool, StoreError> {
        let mut due = cmd("ZADD");
        due.arg(self.keys().parks()).arg("XX").arg(0).arg(destination.to_string());
        let _: u64 = self.query(&due).await?;
        Ok(self.parked_for(destination).await? > 0)
    }
}

fn facts(replies: &[redis::Value]) -> Result<ParkFacts, StoreError> {
    fn read<T: redis::FromRedisValue>(reply: &redis::Value) -> Result<T, StoreError> {
        Ok(redis::from_redis_value(reply.clone()).map_err(redis::RedisError::from)?)
    }
    let oldest: Vec<(String, f64)> = read(&replies[1])?;
    let told: Option<String> = read(&replies[2])?;
    let next: Option<f64> = read(&replies[3])?;
    let told = told.as_deref().and_then(|told| told.split_once(' '));
    Ok(ParkFacts {
        parked: read(&replies[0])?,
        oldest_ms: oldest.first().map(|(_, ms)| *ms as u64),
        since_ms: told.and_then(|(since, _)| since.parse().ok()),
        reason: told.map(|(_, reason)| reason.to_owned()),
        next_ms: next.map(|ms| ms as u64),
        paused_ms: read(&replies[4])?,
    })
}
