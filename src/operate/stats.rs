//! What waits, what is under way, what failed lately: for `posthaste status` and `GET /stats`.

use serde_json::{Value, json};

pub use super::failing::{Failing, failing, outcome, works};
use crate::decide::fitness;
use crate::model::format::time;
use crate::model::{Destination, ServerFacts};
use crate::store::{
    AttemptLine, Counter, LastOutage, Park, Parked, Redis, StoreError, StreamFacts, Summary, WaitingDelivery,
};

/// How many deliveries in backoff are read.
const WAITING: usize = 5;
/// How many destinations with parked deliveries are told of.
const PARKED: usize = 100;
/// How many batches of recent attempts are looked at.
const BATCHES: usize = 100;

/// What was read, in a bounded number of commands, whatever the backlog.
#[derive(Debug)]
pub struct Stats {
    /// The producers' stream.
    pub stream: String,
    /// Where Redis is, without what may be secret.
    pub redis_url: String,
    /// None where the server does not tell.
    pub server: Option<ServerFacts>,
    /// The latest outage of Redis that is over.
    pub last_outage: Option<LastOutage>,
    /// What waits, and the totals.
    pub summary: Summary,
    /// The deliveries in backoff that are due next.
    pub next: Vec<WaitingDelivery>,
    /// What is parked.
    pub parked: Parked,
    /// The paused destinations, and since when each is, Unix ms.
    pub paused: Vec<(Destination, u64)>,
    /// Recent attempts, the newest batch first.
    pub attempts: Vec<AttemptLine<'static>>,
}

impl Stats {
    /// Reads it.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn read(redis: &Redis) -> Result<Self, StoreError> {
        Ok(Self {
            server: redis.server_facts_if_told().await?,
            last_outage: redis.last_outage().await?,
            stream: redis.keys().stream().to_owned(),
            redis_url: redis.shown_url().to_owned(),
            summary: redis.summary().await?,
            next: redis.waiting_deliveries(WAITING).await?,
            parked: redis.parked(PARKED).await?,
            paused: redis.paused().await?,
            attempts: redis.recent_attempts(BATCHES).await?,
        })
    }

    /// A total since the stream's first day.
    pub fn total(&self, counter: Counter) -> u64 {
        self.summary.counters.get(counter.as_str()).copied().unwrap_or(0)
    }

    /// All of it as JSON; times in RFC 3339.
    pub fn as_json(&self) -> Value {
        let summary = &self.summary;
        let stream = |facts: &StreamFacts| {
            json!({
                "backlog": facts.length.saturating_sub(facts.in_flight),
                "in_flight": facts.in_flight,
                "oldest": facts.oldest_ms.map(time),
            })
        };
        let workers: Vec<Value> = summary
            .workers
            .iter()
            .map(|(name, ms)| json!({ "name": name, "last_heartbeat_ms_ago": ms }))
            .collect();
        let next = |next: &WaitingDelivery| {
            json!({
                "event_id": next.event_id,
                "destination": next.destination,
                "due": time(next.due_ms),
                "attempts": next.attempts,
                "last": next.last,
            })
        };
        let as_failing = |failing: &Failing<'_>| {
            json!({
                "destination": failing.destination,
                "attempts": failing.attempts,
                "failed": failing.failed,
                "last_failure": time(failing.last_failure.started_ms),
                "outcome": outcome(failing.last_failure),
                "recovered": failing.recovered,
            })
        };
        let totals: serde_json::Map<String, Value> = Counter::ALL
            .iter()
            .map(|counter| (counter.as_str().to_owned(), self.total(*counter).into()))
            .collect();
        json!({
            "at": time(summary.now_ms),
            "name": self.stream,
            "redis": self.redis_url,
            "server": self.server.as_ref().map(server_json),
            "last_outage": self.last_outage.as_ref().map(outage_json),
            "stream": stream(&summary.stream),
            "ready": stream(&summary.ready),
            "waiting": {
                "deliveries": summary.waiting,
                "next_due": summary.next_due_ms.map(time),
                "next": self.next.iter().map(next).collect::<Vec<_>>(),
            },
            "parked": list_json(&self.parked, summary.now_ms),
            "parked_total": total_json(&self.parked),
            "paused": self.paused.iter().map(paused_json).collect::<Vec<_>>(),
            "dead": {
                "letters": summary.dead,
                "oldest": summary.dead_span_ms.map(|(oldest, _)| time(oldest)),
                "newest": summary.dead_span_ms.map(|(_, newest)| time(newest)),
            },
            "webhooks": summary.webhooks,
            "workers": workers,
            "totals": totals,
            "failing": failing(&self.attempts).iter().map(as_failing).collect::<Vec<_>>(),
        })
    }
}

fn paused_json((destination, since): &(Destination, u64)) -> Value {
    json!({ "destination": destination.to_string(), "since": time(*since) })
}

fn server_json(server: &ServerFacts) -> Value {
    json!({
        "version": server.version,
        "uptime_seconds": server.uptime_s,
        "memory_used_bytes": server.used_memory,
        "memory_max_bytes": server.max_memory.filter(|max| *max > 0),
        "troubles": fitness::troubles(server),
    })
}

fn outage_json(outage: &LastOutage) -> Value {
    json!({
        "began": time(outage.began_ms),
        "ended": time(outage.ended_ms),
        "took_ms": outage.took_ms(),
        "error": outage.error,
        "worker": outage.worker,
        "count": outage.count,
    })
}

/// The total as JSON. Where fewer destinations are counted than there are, there are more deliveries.
fn total_json(parked: &Parked) -> Value {
    json!({
        "deliveries": parked.deliveries,
        "destinations": parked.destinations,
        "counted": parked.counted,
    })
}

/// The destinations with most as JSON.
fn list_json(parked: &Parked, now_ms: u64) -> Vec<Value> {
    let as_json = |park: &Park| {
        // 0 stands for at once.
        let next_ms = if park.next_ms == 0 { now_ms } else { park.next_ms };
        json!({
            "destination": park.destination,
            "parked": park.parked,
            "since": park.since_ms.map(time),
            "reason": park.reason,
            "next": time(next_ms),
        })
    };
    parked.largest.iter().map(as_json).collect()
}
