//! `GET /metrics`: what this worker counts, and what waits in Redis, as Prometheus reads it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::Api;
use crate::flow::DEAD_AFTER;
use crate::model::{Held, ServerFacts};
use crate::store::{LastOutage, Parked, Redis, StoreError, StreamFacts, Summary};
use crate::telemetry::Scrape;
use crate::telemetry::metrics::{CONTENT_TYPE, Metrics};

/// For how long what Redis told is told again: however many ask, and how often, it is read once in this time.
const FRESH: Duration = Duration::from_secs(2);
/// How long Redis may take to tell. Prometheus waits ten seconds for all.
const PATIENCE: Duration = Duration::from_secs(3);
/// Of how many destinations it is looked up since when something has been parked for them: those with most.
const PARKS: usize = 100;

/// The routes of this group.
pub(super) fn routes() -> Router<Api> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    let scrape = Scrape::default();
    api.scraper.scrape(&scrape).await;
    let ready = f64::from(u8::from(api.health.unready().is_none()));
    scrape.gauge(
        "posthaste_ready",
        "Whether this worker takes and delivers events: 1, or 0 where it does not.",
        ready,
    );
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], api.scraper.metrics.text(&scrape))
}

/// Where the numbers come from. Cheap to clone; all clones share what was read last.
#[derive(Clone, Debug)]
pub struct Scraper {
    redis: Redis,
    metrics: Arc<Metrics>,
    held: Held,
    /// Whoever asks while Redis is asked waits for that.
    last: Arc<Mutex<Option<Asked>>>,
}

/// When Redis was asked last, and what it told; none where it did not.
type Asked = (Instant, Option<Arc<Facts>>);

/// What is read from Redis, in a bounded number of commands.
#[derive(Debug)]
struct Facts {
    summary: Summary,
    parked: Parked,
    /// None where the server does not tell.
    server: Option<ServerFacts>,
    last_outage: Option<LastOutage>,
}

impl Scraper {
    /// Of a worker that counts in `metrics` and holds `held`.
    pub fn new(redis: Redis, metrics: Arc<Metrics>, held: Held) -> Self {
        Self { redis, metrics, held, last: Arc::default() }
    }

    async fn scrape(&self, scrape: &Scrape) {
        scrape.build_info(env!("CARGO_PKG_VERSION"));
        scrape.process();
        self.own(scrape);
        let facts = self.facts().await;
        let up = f64::from(u8::from(facts.is_some()));
        scrape.gauge(
            "posthaste_redis_up",
            "Whether Redis told what waits in it: 1, or 0 where it did not.",
            up,
        );
        if let Some(facts) = facts {
            facts.tell(scrape);
        }
    }

    /// What this process knows by itself.
    fn own(&self, scrape: &Scrape) {
        let (entries, bytes) = self.held.load();
        scrape.gauge(
            "posthaste_held_entries",
            "Stream entries that this process holds: in flight, waiting, or being settled.",
            entries as f64,
        );
        scrape.gauge(
            "posthaste_held_bytes",
            "Bytes of their payloads, and of the bodies made of them.",
            bytes as f64,
        );
        let errors = self.redis.errors().map(|(kind, count)| (kind.as_str(), count));
        scrape.counters(
            "posthaste_redis_errors_total",
            "Redis commands of this process that failed, by what can be done about it.",
            "kind",
            &errors,
        );
    }

    async fn facts(&self) -> Option<Arc<Facts>> {
        let mut last = self.last.lock().await;
        match &*last {
            Some((at, facts)) if at.elapsed() < FRESH => facts.clone(),
            _ => {
                let facts = timeout(PATIENCE, Facts::read(&self.redis)).await;
                let facts = facts.ok().and_then(Result::ok).map(Arc::new);
                *last = Some((Instant::now(), facts.clone()));
                facts
            }
        }
    }
}

impl Facts {
    async fn read(redis: &Redis) -> Result<Self, StoreError> {
        Ok(Self {
            server: redis.server_facts_if_told().await?,
            summary: redis.summary().await?,
            parked: redis.parked(PARKS).await?,
            last_outage: redis.last_outage().await?,
        })
    }

    fn tell(&self, scrape: &Scrape) {
        self.tell_streams(scrape);
        self.tell_waits(scrape);
        self.tell_server(scrape);
    }

    fn tell_streams(&self, scrape: &Scrape) {
        let Summary { stream, ready, now_ms, .. } = &self.summary;
        let of_both = |value: fn(&StreamFacts, u64) -> f64| {
            [("events", value(stream, *now_ms)), ("ready", value(ready, *now_ms))]
        };
        scrape.gauges(
            "posthaste_stream_backlog",
            "Entries that no worker has read yet: of the producers' stream (events), and of what is due again (ready).",
            "stream",
            &of_both(|facts, _| facts.length.saturating_sub(facts.in_flight) as f64),
        );
        scrape.gauges(
            "posthaste_stream_in_flight",
            "Entries that workers hold.",
            "stream",
            &of_both(|facts, _| facts.in_flight as f64),
        );
        scrape.gauges(
            "posthaste_stream_oldest_age_seconds",
            "How long ago the oldest entry was written that is not settled; 0 where there is none.",
            "stream",
            &of_both(|facts, now_ms| {
                facts.oldest_ms.map_or(0.0, |oldest| seconds(now_ms.saturating_sub(oldest)))
            }),
        );
    }

    fn tell_waits(&self, scrape: &Scrape) {
        let Self { summary, parked, .. } = self;
        let overdue = summary.next_due_ms.map_or(0, |due| summary.now_ms.saturating_sub(due));
        let since = parked.largest.iter().filter_map(|park| park.since_ms).min();
        let parked_for = since.map_or(0, |since| summary.now_ms.saturating_sub(since));
        let alive = summary.workers.iter().filter(|(_, ms)| Duration::from_millis(*ms) < DEAD_AFTER).count();
        let gauges = [
            ("posthaste_retries_waiting", "Deliveries in backoff.", summary.waiting as f64),
            (
                "posthaste_retries_overdue_seconds",
                "For how long the first delivery in backoff has been due.",
                seconds(overdue),
            ),
            (
                "posthaste_parked_deliveries",
                "Deliveries that are parked; of very many destinations, of the 2000 that are looked at soonest.",
                parked.deliveries as f64,
            ),
            (
                "posthaste_parked_destinations",
                "Destinations with parked deliveries.",
                parked.destinations as f64,
            ),
            (
                "posthaste_parked_longest_seconds",
                "For how long there have been parked deliveries, of the destination of which that is longest.",
                seconds(parked_for),
            ),
            ("posthaste_dead_letters_stored", "Dead letters that are kept.", summary.dead as f64),
            ("posthaste_webhooks", "Instances with a webhook.", summary.webhooks as f64),
            ("posthaste_workers_alive", "Workers with a heartbeat in the last three seconds.", alive as f64),
        ];
        for (name, help, value) in gauges {
            scrape.gauge(name, help, value);
        }
    }

    fn tell_server(&self, scrape: &Scrape) {
        scrape.counter(
            "posthaste_redis_outages_total",
            "Outages of Redis that are over, as workers saw them.",
            self.last_outage.as_ref().map_or(0, |outage| outage.count) as f64,
        );
        let Some(server) = &self.server else { return };
        let used = server.used_memory.saturating_sub(server.uncounted_memory);
        let gauges = [
            (
                "posthaste_redis_memory_used_bytes",
                "Memory of Redis that counts against its maxmemory.",
                used as f64,
            ),
            (
                "posthaste_redis_memory_max_bytes",
                "The maxmemory of Redis; 0 where it has none.",
                server.max_memory.unwrap_or(0) as f64,
            ),
            ("posthaste_redis_uptime_seconds", "For how long Redis has been up.", server.uptime_s as f64),
        ];
        for (name, help, value) in gauges {
            scrape.gauge(name, help, value);
        }
    }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}
