//! What `posthaste dev` shows, and whether it came out as it should.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use serde_json::{Value, json};

use super::super::listen::Record;
use super::super::output::{Output, Tone};
use super::super::table::{Table, plain};
use crate::decide::sample::SAMPLES;
use crate::store::{DeadFilter, Published, Redis};

/// The sample that the flaky and the broken receiver get.
const TEXT_MESSAGE: &str = "messages-upsert-text";
/// The events that the global webhook wants.
const GLOBAL: [&str; 2] = ["MESSAGES_UPSERT", "CONNECTION_UPDATE"];
/// How often a delivery is attempted.
const ATTEMPTS: u32 = 3;

/// The events of one run, and what has been seen of them.
#[derive(Debug)]
pub(super) struct Story {
    base: String,
    /// Part of every event's id, so that runs in the same directory can be told apart.
    run: String,
    /// Attempts by path (its first segment) and event id.
    attempts: BTreeMap<(String, String), BTreeSet<u32>>,
    /// Event ids that the ERRORS webhook was told of.
    errors: BTreeSet<String>,
    dead: BTreeSet<String>,
}

impl Story {
    /// A story whose receiver is at `base`.
    pub(super) fn begin(base: &str) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            base: base.to_owned(),
            run: format!("{:x}", now.as_millis()),
            attempts: BTreeMap::new(),
            errors: BTreeSet::new(),
            dead: BTreeSet::new(),
        }
    }

    /// Instance and webhook.
    pub(super) fn webhooks(&self) -> Vec<(String, String)> {
        let webhook = |path: &str, by_events: bool| {
            json!({ "url": format!("{}{path}", self.base), "byEvents": by_events, "base64": false })
                .to_string()
        };
        vec![
            ("demo".to_owned(), webhook("/demo", true)),
            ("demo-flaky".to_owned(), webhook("/flaky", false)),
            ("demo-broken".to_owned(), webhook("/broken", false)),
        ]
    }

    /// The worker's settings.
    pub(super) fn settings(&self, redis_url: &str) -> Vec<(String, String)> {
        let setting = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut settings = vec![
            setting("REDIS_URL", redis_url),
            setting("STREAM", super::STREAM),
            // The receiver is on this machine, where webhooks of instances may not be sent to by default.
            setting("WEBHOOK_ALLOW_CIDRS", super::PERMITTED),
            setting("WEBHOOK_GLOBAL_ENABLED", "true"),
            setting("WEBHOOK_GLOBAL_URL", &format!("{}/global", self.base)),
            setting("WEBHOOK_EVENTS_ERRORS", "true"),
            setting("WEBHOOK_EVENTS_ERRORS_WEBHOOK", &format!("{}/errors", self.base)),
            setting("WEBHOOK_RETRY_MAX_ATTEMPTS", &ATTEMPTS.to_string()),
            setting("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.5"),
        ];
        settings.extend(GLOBAL.map(|event| setting(&format!("WEBHOOK_EVENTS_{event}"), "true")));
        settings
    }

    /// The events to publish: every sample to `demo`, a message each to the others.
    pub(super) fn events(&self) -> anyhow::Result<Vec<Published>> {
        let now = format!("{:.3}", jiff::Timestamp::now());
        let event = |name: &str, text: &str, instance: &str| {
            let mut event: Value = serde_json::from_str(text).with_context(|| format!("sample {name}"))?;
            event["instance"] = instance.into();
            event["date_time"] = now.as_str().into();
            anyhow::Ok(Published::new(event.to_string())?.with_id(&self.id(instance, name))?)
        };
        let to_demo = SAMPLES.iter().map(|(name, text)| event(name, text, "demo"));
        let to_others = ["demo-flaky", "demo-broken"].into_iter().flat_map(|instance| {
            let of_text = SAMPLES.iter().filter(|(name, _)| *name == TEXT_MESSAGE);
            of_text.map(move |(name, text)| (name, text, instance))
        });
        to_demo.chain(to_others.map(|(name, text, instance)| event(name, text, instance))).collect()
    }

    fn id(&self, instance: &str, sample: &str) -> String {
        format!("{instance}-{sample}-{}", self.run)
    }

    /// Takes note of a request.
    pub(super) fn hear(&mut self, record: &Record) {
        let path =
            record.path.trim_start_matches('/').split(['/', '?']).next().unwrap_or_default().to_owned();
        if path == "errors" {
            let body: Value = serde_json::from_slice(&record.body).unwrap_or_default();
            self.errors.extend(body["data"]["delivery"]["id"].as_str().map(str::to_owned));
        }
        let (Some(id), Some(attempt)) = (&record.id, record.attempt) else { return };
        self.attempts.entry((path, id.clone())).or_default().insert(attempt);
    }

    /// How many attempts of an event were seen at a path.
    fn seen(&self, path: &str, id: &str) -> u32 {
        let attempts = self.attempts.get(&(path.to_owned(), id.to_owned()));
        attempts.map_or(0, |attempts| u32::try_from(attempts.len()).unwrap_or(u32::MAX))
    }

    fn arrived_at_demo(&self) -> usize {
        SAMPLES.iter().filter(|(name, _)| self.seen("demo", &self.id("demo", name)) > 0).count()
    }

    fn flaky(&self) -> u32 {
        self.seen("flaky", &self.id("demo-flaky", TEXT_MESSAGE))
    }

    fn broken(&self) -> u32 {
        self.seen("broken", &self.id("demo-broken", TEXT_MESSAGE))
    }

    fn at_global(&self) -> usize {
        self.attempts.keys().filter(|(path, _)| path == "global").count()
    }

    /// How many of the events the global webhook wants.
    fn wanted_by_global() -> usize {
        let wanted = |name: &&str| {
            let name = name.to_ascii_uppercase().replace('-', "_");
            GLOBAL.iter().any(|event| name.starts_with(event))
        };
        SAMPLES.iter().map(|(name, _)| *name).filter(wanted).count() + 2
    }

    fn was_told_of_the_broken_one(&self) -> bool {
        self.errors.contains(&self.id("demo-broken", TEXT_MESSAGE))
    }

    /// Whether everything was seen at the receiver that should be.
    pub(super) fn is_told(&self) -> bool {
        self.arrived_at_demo() == SAMPLES.len()
            && self.at_global() == Self::wanted_by_global()
            && self.flaky() == ATTEMPTS
            && self.broken() == ATTEMPTS
            && self.was_told_of_the_broken_one()
    }

    /// Whether Redis holds the dead letter, and nothing else that waits.
    pub(super) async fn is_settled(&mut self, redis: &Redis) -> anyhow::Result<bool> {
        let filter = DeadFilter { instance: Some("demo-broken".to_owned()), ..DeadFilter::default() };
        let page = redis.dead_letters(&filter, None, 1).await?;
        self.dead.extend(page.letters.into_iter().map(|letter| letter.letter.event_id));
        let summary = redis.summary().await?;
        let nothing_waits = summary.stream.length + summary.ready.length + summary.waiting == 0;
        Ok(nothing_waits && self.dead.contains(&self.id("demo-broken", TEXT_MESSAGE)))
    }

    /// Tells what was seen.
    pub(super) async fn sum_up(&self, out: Output, redis: &Redis) -> anyhow::Result<()> {
        let summary = redis.summary().await?;
        let waiting = summary.stream.length + summary.ready.length + summary.waiting;
        let letter = self.dead.contains(&self.id("demo-broken", TEXT_MESSAGE));
        let expected = Self::wanted_by_global();
        let facts = [
            (
                self.arrived_at_demo() == SAMPLES.len(),
                format!(
                    "{} of {} events of demo arrived at its webhook",
                    self.arrived_at_demo(),
                    SAMPLES.len()
                ),
            ),
            (
                self.at_global() == expected,
                format!("{} of {expected} events arrived at the global webhook", self.at_global()),
            ),
            (
                self.flaky() == ATTEMPTS,
                format!("the flaky receiver failed twice and then worked: {} attempts", self.flaky()),
            ),
            (
                self.broken() == ATTEMPTS && letter,
                format!("the broken one got {} attempts, and its event became a dead letter", self.broken()),
            ),
            (self.was_told_of_the_broken_one(), "the ERRORS webhook was told of it".to_owned()),
            (waiting == 0, format!("{waiting} deliveries wait")),
        ];
        if out.is_json() {
            let facts: Vec<_> = facts.iter().map(|(ok, text)| json!({ "ok": ok, "what": text })).collect();
            let ok = facts.iter().all(|fact| fact["ok"] == json!(true));
            return Ok(out.json_line(&json!({ "summary": facts, "ok": ok }))?);
        }
        let mut table = Table::new(&[], &[]).without_header();
        for (ok, text) in facts {
            let (mark, tone) = if ok { ("ok", Tone::Good) } else { ("NOT OK", Tone::Bad) };
            table.row([(mark.to_owned(), tone), plain(text)]);
        }
        out.line("")?;
        Ok(out.table(&table)?)
    }

    /// What can be done while it stays.
    pub(super) fn hints(&self, redis_url: &str) -> String {
        let port = redis_url.rsplit(':').next().unwrap_or_default();
        format!(
            "\nIt stays until Ctrl-C. In another terminal:\n\
             \n  export REDIS_URL={redis_url} WEBHOOK_ALLOW_CIDRS={}\
             \n  redis-cli -p {port} XADD {} '*' payload '{{\"event\":\"messages.upsert\",\"instance\":\"demo\",\"data\":{{}}}}'\
             \n  posthaste publish --event messages.upsert --instance demo-flaky --data '{{\"text\":\"hello\"}}'\
             \n  posthaste status\
             \n  posthaste dead list\n",
            super::PERMITTED,
            super::STREAM
        )
    }
}
