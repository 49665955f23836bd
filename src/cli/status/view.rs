//! What `posthaste status` shows, made of what was read.

use std::time::Duration;

use serde_json::{Value, json};

use super::super::format::{count, relative, short, size, spell, time};
use super::super::output::Tone;
use super::super::table::{Table, plain};
use super::failing::{Failing, failing, outcome};
use super::parked;
use crate::decide::fitness;
use crate::model::ServerFacts;
use crate::store::{AttemptLine, Counter, LastOutage, Parked, StreamFacts, Summary, WaitingDelivery};

/// A worker that was silent for so long is taken for dead.
const SILENT: Duration = Duration::from_secs(3);
/// How many workers are shown by name.
const WORKERS: usize = 4;

/// What was read.
pub(super) struct View {
    pub(super) stream: String,
    pub(super) redis_url: String,
    /// None where the server does not tell.
    pub(super) server: Option<ServerFacts>,
    pub(super) last_outage: Option<LastOutage>,
    pub(super) summary: Summary,
    pub(super) next: Vec<WaitingDelivery>,
    pub(super) parked: Parked,
    /// The newest batch first.
    pub(super) attempts: Vec<AttemptLine>,
}

impl View {
    /// The counters in words.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        let summary = &self.summary;
        let now_ms = summary.now_ms;
        let deliveries = parked::deliveries(summary.waiting);
        let waiting = match summary.next_due_ms {
            Some(due) if due <= now_ms => format!("{deliveries}, the next due now"),
            Some(due) => format!("{deliveries}, the next due {}", relative(due, now_ms)),
            None => "none".to_owned(),
        };
        let dead = match summary.dead_span_ms {
            Some((oldest, newest)) if summary.dead > 1 => {
                let (oldest, newest) = (relative(oldest, now_ms), relative(newest, now_ms));
                format!("{}, from {oldest} to {newest}", count(summary.dead, "letter"))
            }
            Some((only, _)) => format!("1 letter, {}", relative(only, now_ms)),
            None => "none".to_owned(),
        };
        let totals: Vec<String> = Counter::ALL
            .iter()
            .map(|counter| format!("{} {}", self.total(*counter), counter.as_str()))
            .collect();
        let mut fields = vec![("stream", format!("{} on {}", self.stream, self.redis_url))];
        fields.extend(self.redis());
        fields.extend([
            ("new events", stream(&summary.stream, now_ms)),
            ("due again", stream(&summary.ready, now_ms)),
            ("in backoff", waiting),
            ("parked", parked::total(&self.parked)),
            ("dead", dead),
            ("workers", self.workers()),
            ("webhooks", summary.webhooks.to_string()),
            ("totals", totals.join(", ")),
        ]);
        fields
    }

    /// How Redis is, and was.
    fn redis(&self) -> Vec<(&'static str, String)> {
        let mut told = Vec::new();
        if let Some(server) = &self.server {
            let used = size(server.used_memory);
            let memory = match server.max_memory {
                Some(max) if max > 0 => format!("{used} of {}", size(max)),
                _ => used,
            };
            let up = spell(Duration::from_secs(server.uptime_s));
            told.push(("redis", format!("up {up}, {memory} used")));
            told.extend(fitness::troubles(server).into_iter().map(|trouble| ("trouble", trouble.detail)));
        } else {
            told.push(("redis", "does not tell how it is: let its user run INFO".to_owned()));
        }
        if let Some(outage) = &self.last_outage {
            let took = spell(Duration::from_millis(outage.took_ms()));
            let ago = relative(outage.ended_ms, self.summary.now_ms);
            let error = short(outage.error.trim_start_matches("redis: "), 120);
            told.push(("last outage", format!("{took}, {ago}: {error}; {} so far", outage.count)));
        }
        told
    }

    fn total(&self, counter: Counter) -> u64 {
        self.summary.counters.get(counter.as_str()).copied().unwrap_or(0)
    }

    fn workers(&self) -> String {
        let (alive, silent): (Vec<_>, Vec<_>) =
            self.summary.workers.iter().partition(|(_, ms)| Duration::from_millis(*ms) < SILENT);
        let mut named: Vec<String> = alive
            .iter()
            .take(WORKERS)
            .map(|(name, ms)| format!("{} ({})", short(name, 80), relative(0, *ms)))
            .collect();
        if alive.len() > WORKERS {
            named.push(format!("and {} more", alive.len() - WORKERS));
        }
        let mut told = match alive.len() {
            0 => "none is running: start one with `posthaste run`".to_owned(),
            alive => format!("{alive}: {}", named.join(", ")),
        };
        if let Some((name, ms)) = silent.first() {
            let ago = relative(0, *ms);
            told.push_str(&format!("; {} silent ({}, last heartbeat {ago})", silent.len(), short(name, 80)));
        }
        told
    }

    /// The deliveries in backoff that are due next.
    pub(super) fn next_retries(&self) -> Table {
        let mut table = Table::new(&["DUE", "DESTINATION", "EVENT ID", "ATTEMPTS", "LAST OUTCOME"], &[3]);
        table = table.cutting(&[1, 2]);
        for waiting in &self.next {
            table.row([
                plain(relative(waiting.due_ms, self.summary.now_ms)),
                plain(short(&waiting.destination, 60)),
                plain(short(&waiting.event_id, 60)),
                plain(waiting.attempts),
                plain(short(&waiting.last, 100)),
            ]);
        }
        table
    }

    /// The destinations that most is parked for, and what to say of the others.
    pub(super) fn parked_table(&self) -> (Table, Option<String>) {
        parked::table(&self.parked, &self.attempts, self.summary.now_ms)
    }

    /// The destinations that failed lately, the worst first.
    pub(super) fn failing_table(&self) -> Table {
        let header = ["DESTINATION", "FAILED", "OF", "NOW", "LAST FAILURE", "OUTCOME"];
        let mut table = Table::new(&header, &[1, 2]).cutting(&[0]);
        for failing in failing(&self.attempts) {
            let last = failing.last_failure;
            let now = if failing.recovered { ("works", Tone::Good) } else { ("fails", Tone::Bad) };
            table.row([
                plain(short(failing.destination, 60)),
                plain(failing.failed),
                plain(failing.attempts),
                (now.0.to_owned(), now.1),
                (relative(last.started_ms, self.summary.now_ms), Tone::Faint),
                plain(outcome(last)),
            ]);
        }
        table
    }

    /// All of it as JSON; times in RFC 3339.
    pub(super) fn as_json(&self) -> Value {
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
            "parked": parked::list_json(&self.parked, summary.now_ms),
            "parked_total": parked::total_json(&self.parked),
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

fn stream(facts: &StreamFacts, now_ms: u64) -> String {
    let waiting = facts.length.saturating_sub(facts.in_flight);
    let oldest = match facts.oldest_ms {
        Some(oldest) => format!(", the oldest pushed {}", relative(oldest, now_ms)),
        None => String::new(),
    };
    format!("{waiting} waiting, {} in flight{oldest}", facts.in_flight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(attempts: Vec<AttemptLine>) -> View {
        let summary = Summary { now_ms: 10_000, ..Summary::default() };
        View {
            stream: "s".to_owned(),
            redis_url: "redis://h".to_owned(),
            server: None,
            last_outage: None,
            summary,
            next: Vec::new(),
            parked: Parked::default(),
            attempts,
        }
    }

    #[test]
    fn silent_workers_are_told_apart() {
        let mut view = view(Vec::new());
        assert!(view.workers().starts_with("none is running"));
        view.summary.workers = vec![("a".to_owned(), 400), ("b".to_owned(), 60_000)];
        assert_eq!(view.workers(), "1: a (400 ms ago); 1 silent (b, last heartbeat 1 min ago)");
    }
}
