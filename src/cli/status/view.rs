//! What `posthaste status` shows, made of what was read.

use std::time::Duration;

use super::super::format::{count, relative, short, size, spell};
use super::super::output::Tone;
use super::super::table::{Table, plain};
use super::parked;
use crate::decide::fitness;
use crate::operate::stats::{Stats, failing, outcome};
use crate::store::{Counter, StreamFacts};

/// A worker that was silent for so long is taken for dead.
const SILENT: Duration = Duration::from_secs(3);
/// How many workers are shown by name.
const WORKERS: usize = 4;

/// How many paused destinations are shown by name.
const PAUSED: usize = 4;

/// What was read, as it is shown.
pub(super) struct View(pub(super) Stats);

impl View {
    /// The counters in words.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        let summary = &self.0.summary;
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
            .map(|counter| format!("{} {}", self.0.total(*counter), counter.as_str()))
            .collect();
        let mut fields = vec![("stream", format!("{} on {}", self.0.stream, self.0.redis_url))];
        fields.extend(self.redis());
        fields.extend([
            ("new events", stream(&summary.stream, now_ms)),
            ("due again", stream(&summary.ready, now_ms)),
            ("in backoff", waiting),
            ("parked", parked::total(&self.0.parked)),
            ("paused", self.paused()),
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
        if let Some(server) = &self.0.server {
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
        if let Some(outage) = &self.0.last_outage {
            let took = spell(Duration::from_millis(outage.took_ms()));
            let ago = relative(outage.ended_ms, self.0.summary.now_ms);
            let error = short(outage.error.trim_start_matches("redis: "), 120);
            told.push(("last outage", format!("{took}, {ago}: {error}; {} so far", outage.count)));
        }
        told
    }

    fn paused(&self) -> String {
        let paused = &self.0.paused;
        let named = paused.iter().take(PAUSED).map(|(to, since)| {
            format!("{} ({})", short(&to.to_string(), 60), relative(*since, self.0.summary.now_ms))
        });
        let mut named: Vec<String> = named.collect();
        match paused.len() {
            0 => return "none".to_owned(),
            all if all > PAUSED => named.push(format!("and {} more", all - PAUSED)),
            _ => {}
        }
        named.join(", ")
    }

    fn workers(&self) -> String {
        let (alive, silent): (Vec<_>, Vec<_>) =
            self.0.summary.workers.iter().partition(|(_, ms)| Duration::from_millis(*ms) < SILENT);
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
        for waiting in &self.0.next {
            table.row([
                plain(relative(waiting.due_ms, self.0.summary.now_ms)),
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
        parked::table(&self.0.parked, &self.0.attempts, self.0.summary.now_ms)
    }

    /// The destinations that failed lately, the worst first.
    pub(super) fn failing_table(&self) -> Table {
        let header = ["DESTINATION", "FAILED", "OF", "NOW", "LAST FAILURE", "OUTCOME"];
        let mut table = Table::new(&header, &[1, 2]).cutting(&[0]);
        for failing in failing(&self.0.attempts) {
            let last = failing.last_failure;
            let now = if failing.recovered { ("works", Tone::Good) } else { ("fails", Tone::Bad) };
            table.row([
                plain(short(failing.destination, 60)),
                plain(failing.failed),
                plain(failing.attempts),
                (now.0.to_owned(), now.1),
                (relative(last.started_ms, self.0.summary.now_ms), Tone::Faint),
                plain(outcome(last)),
            ]);
        }
        table
    }
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
    use crate::store::{AttemptLine, Parked, Summary};

    fn view(attempts: Vec<AttemptLine<'static>>) -> View {
        let summary = Summary { now_ms: 10_000, ..Summary::default() };
        View(Stats {
            stream: "s".to_owned(),
            redis_url: "redis://h".to_owned(),
            server: None,
            last_outage: None,
            summary,
            next: Vec::new(),
            parked: Parked::default(),
            paused: Vec::new(),
            attempts,
        })
    }

    #[test]
    fn silent_workers_are_told_apart() {
        let mut view = view(Vec::new());
        assert!(view.workers().starts_with("none is running"));
        view.0.summary.workers = vec![("a".to_owned(), 400), ("b".to_owned(), 60_000)];
        assert_eq!(view.workers(), "1: a (400 ms ago); 1 silent (b, last heartbeat 1 min ago)");
    }
}
