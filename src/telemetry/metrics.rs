//! Metrics: what this process counts, and the text that Prometheus reads.
//!
//! Counting is an atomic addition or two: the series are known beforehand, and none has a lock or a name to look up.
//! Labels are bounded for the same reason: kinds and reasons, never an instance, a URL, or an event's name.

use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use super::scrape::Scrape;
use crate::model::{DeadReason, Destination, Outcome, ParkReason, TransportError};

/// The type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// What replies come to; the kinds of [`TransportError`] follow.
const REPLIES: [&str; 5] = ["success", "status_3xx", "status_4xx", "status_5xx", "status_other"];

/// Bounds in seconds: attempts, from receivers next door to `WEBHOOK_REQUEST_TIMEOUT_MS`.
const ATTEMPT: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
/// Bounds in seconds: from the push to the success, retries and parks included.
const DELIVERY: &[f64] = &[
    0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 1800.0, 7200.0, 43_200.0, 86_400.0,
];

/// What of a destination's kind is counted.
#[derive(Debug)]
struct OfKind {
    /// By what they came to: [`REPLIES`], then [`TransportError::KINDS`].
    attempts: Vec<IntCounter>,
    attempt_seconds: Histogram,
    delivered: IntCounter,
    dead: IntCounter,
    retried: IntCounter,
    delivery_seconds: Histogram,
}

/// What a worker counts. Cheap to write to, from anywhere.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// In the order of [`Destination::KINDS`].
    kinds: Vec<OfKind>,
    /// In the order of [`ParkReason::ALL`].
    parked: Vec<IntCounter>,
    /// In the order of [`DeadReason::ALL`].
    dead_letters: Vec<IntCounter>,
    unrouted: IntCounter,
    in_flight: IntGauge,
    waiting: IntGauge,
    lanes: IntGauge,
    breakers_open: IntGauge,
}

/// An attempt is counted as in flight for as long as this lives.
#[derive(Debug)]
pub struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Everything at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let attempts = counters(
            &registry,
            "posthaste_attempts_total",
            "Attempts that have ended, by the kind of destination and what they came to.",
            &["kind", "outcome"],
        );
        let deliveries = counters(
            &registry,
            "posthaste_deliveries_total",
            "Deliveries that are over: delivered, or dead. One is one event to one destination.",
            &["kind", "outcome"],
        );
        let retries = counters(
            &registry,
            "posthaste_retries_total",
            "Attempts that failed and after which another was scheduled.",
            &["kind"],
        );
        let attempt_seconds = histograms(
            &registry,
            "posthaste_attempt_duration_seconds",
            "How long attempts took, whatever they came to.",
            ATTEMPT,
        );
        let delivery_seconds = histograms(
            &registry,
            "posthaste_delivery_duration_seconds",
            "From when an event was pushed (or replayed) to when it was delivered, retries and waits included.",
            DELIVERY,
        );
        let kinds = Destination::KINDS.into_iter().map(|kind| OfKind {
            attempts: outcomes().map(|outcome| attempts.with_label_values(&[kind, outcome])).collect(),
            attempt_seconds: attempt_seconds.with_label_values(&[kind]),
            delivered: deliveries.with_label_values(&[kind, "delivered"]),
            dead: deliveries.with_label_values(&[kind, "dead"]),
            retried: retries.with_label_values(&[kind]),
            delivery_seconds: delivery_seconds.with_label_values(&[kind]),
        });
        let kinds = kinds.collect();
        let parked = counters(
            &registry,
            "posthaste_parkings_total",
            "Deliveries that were put into their destination's park, by why.",
            &["reason"],
        );
        let dead_letters = counters(
            &registry,
            "posthaste_dead_letters_total",
            "Dead letters that were written, by why.",
            &["reason"],
        );
        let unrouted =
            counters(&registry, "posthaste_unrouted_events_total", "Events that had no destination.", &[]);
        let gauge = |name, help| registered(&registry, IntGauge::new(name, help).expect(FIXED));
        Self {
            kinds,
            parked: ParkReason::ALL
                .iter()
                .map(|reason| parked.with_label_values(&[reason.as_str()]))
                .collect(),
            dead_letters: DeadReason::ALL
                .iter()
                .map(|reason| dead_letters.with_label_values(&[reason.as_str()]))
                .collect(),
            unrouted: unrouted.with_label_values::<&str>(&[]),
            in_flight: gauge("posthaste_attempts_in_flight", "Attempts under way in this process."),
            waiting: gauge(
                "posthaste_deliveries_waiting",
                "Deliveries that wait in this process for their turn.",
            ),
            lanes: gauge("posthaste_lanes", "Destinations that this process knows something of."),
            breakers_open: gauge(
                "posthaste_breakers_open",
                "Destinations that this process takes for down: their breaker is open, or half open.",
            ),
            registry,
        }
    }

    /// An attempt begins.
    pub fn attempt_begins(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// An attempt has ended.
    pub fn attempted(&self, to: &Destination, outcome: &Outcome, took: Duration) {
        let of_kind = self.of(to);
        of_kind.attempt_seconds.observe(took.as_secs_f64());
        of_kind.attempts[place(outcome)].inc();
    }

    /// A delivery arrived, so long after the push.
    pub fn delivered(&self, to: &Destination, after: Duration) {
        let of_kind = self.of(to);
        of_kind.delivered.inc();
        of_kind.delivery_seconds.observe(after.as_secs_f64());
    }

    /// A delivery is to be attempted again.
    pub fn retried(&self, to: &Destination) {
        self.of(to).retried.inc();
    }

    /// A delivery was parked.
    pub fn parked(&self, reason: ParkReason) {
        self.parked[ParkReason::ALL.iter().position(|known| *known == reason).unwrap_or(0)].inc();
    }

    /// A dead letter was written; `to` is none for an entry that is not an event.
    pub fn buried(&self, to: Option<&Destination>, reason: DeadReason) {
        if let Some(to) = to {
            self.of(to).dead.inc();
        }
        self.dead_letters[DeadReason::ALL.iter().position(|known| *known == reason).unwrap_or(0)].inc();
    }

    /// An event had no destination.
    pub fn unrouted(&self) {
        self.unrouted.inc();
    }

    /// So many deliveries wait in this process.
    pub fn set_waiting(&self, deliveries: usize) {
        self.waiting.set(int(deliveries));
    }

    /// So many destinations are known, of which so many have a breaker that is not closed.
    pub fn set_lanes(&self, lanes: usize, breakers_open: usize) {
        self.lanes.set(int(lanes));
        self.breakers_open.set(int(breakers_open));
    }

    /// Everything as Prometheus reads it, with what `scrape` adds.
    pub fn text(&self, scrape: &Scrape) -> String {
        let mut families = self.registry.gather();
        families.extend(scrape.gather());
        let mut text = String::with_capacity(32 * 1024);
        TextEncoder::new().encode_utf8(&families, &mut text).expect("families of a registry are whole");
        text
    }

    fn of(&self, to: &Destination) -> &OfKind {
        &self.kinds[match to {
            Destination::Global => 0,
            Destination::Instance(_) => 1,
            Destination::Errors => 2,
        }]
    }
}

/// Why building a series cannot fail.
pub(super) const FIXED: &str = "names and labels are fixed and valid, each is registered once";

fn outcomes() -> impl Iterator<Item = &'static str> {
    REPLIES.into_iter().chain(TransportError::KINDS)
}

/// The place of an outcome in [`outcomes`].
fn place(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Replied(reply) => match reply.status {
            200..300 => 0,
            300..400 => 1,
            400..500 => 2,
            500..600 => 3,
            _ => 4,
        },
        Outcome::Failed(error) => {
            let kind = TransportError::KINDS.iter().position(|kind| *kind == error.kind());
            REPLIES.len() + kind.unwrap_or(TransportError::KINDS.len() - 1)
        }
    }
}

pub(super) fn registered<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> C {
    registry.register(Box::new(collector.clone())).expect(FIXED);
    collector
}

pub(super) fn counters(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(registry, IntCounterVec::new(Opts::new(name, help), labels).expect(FIXED))
}

fn histograms(registry: &Registry, name: &str, help: &str, bounds: &[f64]) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(bounds.to_vec());
    registered(registry, HistogramVec::new(options, &["kind"]).expect(FIXED))
}

fn int(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Reply;

    fn text(metrics: &Metrics) -> String {
        metrics.text(&Scrape::default())
    }

    #[test]
    fn every_outcome_has_a_series_of_its_own() {
        let metrics = Metrics::new();
        let replied = |status| Outcome::Replied(Reply { status, ..Reply::default() });
        let failed = |error| Outcome::Failed(error);
        let words = "x".to_owned();
        let outcomes = [
            replied(204),
            replied(301),
            replied(404),
            replied(503),
            replied(700),
            failed(TransportError::Dns(words.clone())),
            failed(TransportError::Connect(words.clone())),
            failed(TransportError::Tls(words.clone())),
            failed(TransportError::ConnectTimeout(Duration::ZERO)),
            failed(TransportError::Timeout(Duration::ZERO)),
            failed(TransportError::ClosedEarly(words.clone())),
            failed(TransportError::BadReply(words.clone())),
            failed(TransportError::BadRequest(words.clone())),
            failed(TransportError::BadWebhook(words.clone())),
            failed(TransportError::Other(words)),
        ];
        for outcome in &outcomes {
            metrics.attempted(
                &Destination::Instance("secret-name".into()),
                outcome,
                Duration::from_millis(20),
            );
        }
        let text = text(&metrics);
        let counted = |line: &&str| line.starts_with("posthaste_attempts_total{") && line.ends_with(" 1");
        assert_eq!(text.lines().filter(counted).count(), outcomes.len(), "{text}");
        assert!(text.contains("posthaste_attempts_total{kind=\"instance\",outcome=\"tls\"} 1"), "{text}");
        assert!(text.contains("posthaste_attempt_duration_seconds_count{kind=\"instance\"} 15"), "{text}");
        assert!(!text.contains("secret-name"));
    }

    #[test]
    fn an_attempt_is_in_flight_until_it_is_dropped() {
        let metrics = Metrics::new();
        let in_flight = metrics.attempt_begins();
        assert!(text(&metrics).contains("posthaste_attempts_in_flight 1"));
        drop(in_flight);
        assert!(text(&metrics).contains("posthaste_attempts_in_flight 0"));
    }

    #[test]
    fn what_is_looked_up_stands_beside_what_is_counted() {
        let (metrics, scrape) = (Metrics::new(), Scrape::default());
        scrape.gauges("posthaste_x", "X.", "of", &[("a", 1.5), ("b", 2.0)]);
        scrape.counters("posthaste_y_total", "Y.", "of", &[("a", 7)]);
        scrape.build_info("1.2.3");
        metrics.buried(None, DeadReason::Unreadable);
        let text = metrics.text(&scrape);
        for line in [
            "posthaste_x{of=\"a\"} 1.5",
            "posthaste_y_total{of=\"a\"} 7",
            "posthaste_build_info{version=\"1.2.3\"} 1",
            "posthaste_dead_letters_total{reason=\"unreadable\"} 1",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
    }
}
