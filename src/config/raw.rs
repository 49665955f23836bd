//! Variables as they are written, and how each becomes a setting.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;

use super::parse::{self, MAX_SECONDS, Parsed, decimal, seconds, some, whole};
use super::variables::{event_of, is_setting};
use super::{Config, ConfigError, Problem, pem};
use crate::decide::retry::RetrySettings;
use crate::decide::webhook::RATES;
use crate::model::{EventName, Secret};

/// Every setting's text. Only texts: `envy` stops at the first value that is not of its type, and knows `true` but not
/// `TRUE`; so it is left to find the variables, and the values are read here.
#[derive(Default, Deserialize)]
struct Raw {
    redis_url: Option<String>,
    redis_ca_file: Option<String>,
    stream: Option<String>,
    worker_concurrency: Option<String>,
    max_event_bytes: Option<String>,
    memory_budget_bytes: Option<String>,
    shutdown_grace_seconds: Option<String>,
    webhook_global_enabled: Option<String>,
    webhook_global_url: Option<String>,
    webhook_global_webhook_by_events: Option<String>,
    webhook_global_base64: Option<String>,
    webhook_global_headers: Option<String>,
    webhook_global_secret: Option<String>,
    webhook_global_rate_limit: Option<String>,
    webhook_events_errors: Option<String>,
    webhook_events_errors_webhook: Option<String>,
    webhook_routes: Option<String>,
    webhook_custom_events: Option<String>,
    webhook_allow_hosts: Option<String>,
    webhook_allow_cidrs: Option<String>,
    webhook_allow_insecure_tls: Option<String>,
    webhook_ca_file: Option<String>,
    webhook_client_cert: Option<String>,
    webhook_client_key: Option<String>,
    webhook_request_timeout_ms: Option<String>,
    webhook_connect_timeout_ms: Option<String>,
    webhook_retry_max_attempts: Option<String>,
    webhook_retry_initial_delay_seconds: Option<String>,
    webhook_retry_use_exponential_backoff: Option<String>,
    webhook_retry_max_delay_seconds: Option<String>,
    webhook_retry_jitter_factor: Option<String>,
    webhook_retry_non_retryable_status_codes: Option<String>,
    webhook_retry_max_age_seconds: Option<String>,
    dead_letter_max_age_seconds: Option<String>,
    dead_letter_max_len: Option<String>,
    admin_addr: Option<String>,
    authentication_api_key: Option<String>,
    backlog_limit: Option<String>,
    dedup_window_seconds: Option<String>,
    log_level: Option<String>,
    log_format: Option<String>,
}

/// A setting as it was written: the field's name, which is the variable's in lower case, and the text if it is set.
type Written<'a> = (&'static str, Option<&'a str>);

macro_rules! written {
    ($raw:ident.$field:ident) => {
        (stringify!($field), $raw.$field.as_deref())
    };
}

/// Reads the settings from variables whose values are trimmed and not empty, with the `problems` there are already.
pub(super) fn read(pairs: &BTreeMap<String, String>, problems: Vec<Problem>) -> Result<Config, ConfigError> {
    let settings = pairs.iter().filter(|(name, _)| is_setting(name));
    let raw: Raw = envy::from_iter(settings.map(|(name, value)| (name.clone(), value.clone())))
        .expect("an optional text can be read from any value, and each name occurs once");
    let mut config = Config::default();
    let mut reader = Reader { problems };
    reader.process(&raw, &mut config);
    reader.api(&raw, &mut config);
    reader.webhooks(&raw, &mut config);
    reader.receivers(&raw, &mut config);
    reader.retry(&raw, &mut config.retry);
    config.global.events = reader.events(pairs);
    if reader.problems.is_empty() { Ok(config) } else { Err(ConfigError { problems: reader.problems }) }
}

/// Reads values one by one, and keeps the problems for the end.
struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    /// The process itself: Redis, sizes, times, the dead letters, the log.
    fn process(&mut self, raw: &Raw, config: &mut Config) {
        self.set(&mut config.redis_url, written!(raw.redis_url), parse::redis_url);
        self.set(&mut config.redis_ca, written!(raw.redis_ca_file), some(pem::authorities));
        self.set(&mut config.stream, written!(raw.stream), parse::stream);
        self.set(&mut config.worker_concurrency, written!(raw.worker_concurrency), whole(1..=65_536));
        self.set(&mut config.max_event_bytes, written!(raw.max_event_bytes), whole(1024..=512 * 1024 * 1024));
        self.set(
            &mut config.memory_budget_bytes,
            written!(raw.memory_budget_bytes),
            whole(1024 * 1024..=1 << 40),
        );
        self.set(&mut config.shutdown_grace, written!(raw.shutdown_grace_seconds), seconds(0.0..=3600.0));
        let max_age = some(seconds(1.0..=MAX_SECONDS));
        self.set(&mut config.dead_letter_max_age, written!(raw.dead_letter_max_age_seconds), max_age);
        self.set(
            &mut config.dead_letter_max_len,
            written!(raw.dead_letter_max_len),
            some(whole(1..=u64::MAX)),
        );
        self.set(&mut config.log_level, written!(raw.log_level), parse::log_level);
        self.set(&mut config.log_format, written!(raw.log_format), parse::log_format);
    }

    /// The HTTP API. Whoever can reach it can send events and change webhooks: without a key nobody else may.
    fn api(&mut self, raw: &Raw, config: &mut Config) {
        self.set(&mut config.admin_addr, written!(raw.admin_addr), parse::admin_addr);
        self.set(&mut config.api_key, written!(raw.authentication_api_key), some(parse::api_key));
        self.set(&mut config.backlog_limit, written!(raw.backlog_limit), some(whole(1..=u64::MAX)));
        self.set(&mut config.dedup_window, written!(raw.dedup_window_seconds), seconds(0.0..=MAX_SECONDS));
        if let (Some(addr), None) = (config.admin_addr, &config.api_key)
            && !addr.ip().is_loopback()
        {
            let allowed =
                "set AUTHENTICATION_API_KEY too, or listen on 127.0.0.1 only: others could reach it";
            self.problems.push(Problem::new("ADMIN_ADDR", &addr.to_string(), allowed));
        }
    }

    /// Where events are sent, and how.
    fn webhooks(&mut self, raw: &Raw, config: &mut Config) {
        let (global, errors) = (&mut config.global, &mut config.errors);
        self.set(&mut global.enabled, written!(raw.webhook_global_enabled), parse::boolean);
        self.set(&mut global.url, written!(raw.webhook_global_url), some(parse::webhook_url));
        self.set(&mut global.by_events, written!(raw.webhook_global_webhook_by_events), parse::boolean);
        self.set(&mut global.base64, written!(raw.webhook_global_base64), parse::boolean);
        self.set(&mut global.headers, written!(raw.webhook_global_headers), parse::headers);
        self.set(&mut global.secrets, written!(raw.webhook_global_secret), parse::secrets);
        self.set(&mut global.rate_limit, written!(raw.webhook_global_rate_limit), some(decimal(RATES)));
        self.set(&mut errors.enabled, written!(raw.webhook_events_errors), parse::boolean);
        self.set(&mut errors.url, written!(raw.webhook_events_errors_webhook), some(parse::webhook_url));
        self.set(&mut config.routes, written!(raw.webhook_routes), parse::routes);
        self.set(&mut config.custom_events, written!(raw.webhook_custom_events), parse::custom_events);
        self.set(&mut config.request_timeout, written!(raw.webhook_request_timeout_ms), parse::milliseconds);
        self.set(&mut config.connect_timeout, written!(raw.webhook_connect_timeout_ms), parse::milliseconds);
    }

    /// What webhooks of instances are permitted, and TLS.
    fn receivers(&mut self, raw: &Raw, config: &mut Config) {
        let (permits, tls) = (&mut config.permits, &mut config.tls);
        self.set(&mut permits.hosts, written!(raw.webhook_allow_hosts), parse::list);
        self.set(&mut permits.networks, written!(raw.webhook_allow_cidrs), parse::list);
        self.set(&mut permits.insecure_tls, written!(raw.webhook_allow_insecure_tls), parse::boolean);
        self.set(&mut tls.ca, written!(raw.webhook_ca_file), some(pem::authorities));
        let given = (raw.webhook_client_cert.as_deref(), raw.webhook_client_key.as_deref());
        match identity(given) {
            Ok(identity) => tls.identity = identity,
            Err(problems) => self.problems.extend(problems),
        }
    }

    fn retry(&mut self, raw: &Raw, retry: &mut RetrySettings) {
        let wait = || seconds(0.0..=MAX_SECONDS);
        let use_exponential = written!(raw.webhook_retry_use_exponential_backoff);
        let non_retryable = written!(raw.webhook_retry_non_retryable_status_codes);
        self.set(&mut retry.max_attempts, written!(raw.webhook_retry_max_attempts), whole(1..=10_000));
        self.set(&mut retry.initial_delay, written!(raw.webhook_retry_initial_delay_seconds), wait());
        self.set(&mut retry.exponential, use_exponential, parse::boolean);
        self.set(&mut retry.max_delay, written!(raw.webhook_retry_max_delay_seconds), wait());
        self.set(&mut retry.jitter_factor, written!(raw.webhook_retry_jitter_factor), decimal(0.0..=1.0));
        self.set(&mut retry.non_retryable, non_retryable, parse::statuses);
        // An age of 0 would give up everything after its first attempt; whoever writes it means "no limit".
        let max_age = seconds(1.0..=MAX_SECONDS);
        self.set(&mut retry.max_age, written!(raw.webhook_retry_max_age_seconds), max_age);
    }

    /// The events that are switched on. Of several names of one event (`GROUP_UPDATE`, `GROUPS_UPDATE`) any will do.
    fn events(&mut self, pairs: &BTreeMap<String, String>) -> HashSet<EventName> {
        let mut events = HashSet::new();
        for (variable, text) in pairs {
            let Some(Ok(event)) = event_of(variable).map(EventName::parse) else {
                continue;
            };
            match parse::boolean(text) {
                Ok(true) => _ = events.insert(event),
                Ok(false) => {}
                Err(allowed) => self.problems.push(Problem::new(variable, text, allowed)),
            }
        }
        events
    }

    /// Sets a setting to what was written, if anything was; what is wrong becomes a problem.
    fn set<T>(&mut self, setting: &mut T, written: Written<'_>, parse: impl FnOnce(&str) -> Parsed<T>) {
        let (field, Some(text)) = written else { return };
        match parse(text) {
            Ok(value) => *setting = value,
            Err(allowed) => self.problems.push(Problem::new(&field.to_ascii_uppercase(), text, allowed)),
        }
    }
}

/// The certificate and the key of this client, of the files of both. They may be in one file.
fn identity(given: (Option<&str>, Option<&str>)) -> Result<Option<Secret>, Vec<Problem>> {
    let (certificate_is, key_is) = ("WEBHOOK_CLIENT_CERT", "WEBHOOK_CLIENT_KEY");
    match given {
        (None, None) => Ok(None),
        (None, Some(key)) => {
            let allowed = "set WEBHOOK_CLIENT_CERT too, to the file with the certificate of this key";
            Err(vec![Problem::new(key_is, key, allowed)])
        }
        (Some(certificate), key) => {
            let problem = |wrong| match (wrong, key) {
                (pem::Wrong::Certificate(allowed), _) => Problem::new(certificate_is, certificate, allowed),
                (pem::Wrong::Key(allowed), Some(key)) => Problem::new(key_is, key, allowed),
                (pem::Wrong::Key(allowed), None) => {
                    let allowed = format!("{allowed}; or set WEBHOOK_CLIENT_KEY to the file with its key");
                    Problem::new(certificate_is, certificate, allowed)
                }
            };
            pem::identity(certificate, key.unwrap_or(certificate)).map(Some).map_err(|wrong| {
                let mut problems: Vec<Problem> = wrong.into_iter().map(problem).collect();
                problems.dedup_by(|later, earlier| later.variable == earlier.variable);
                problems
            })
        }
    }
}
