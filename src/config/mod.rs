//! Settings: environment → [`Config`], or every problem at once.
//!
//! Names and meaning are Evolution API's where it has a setting. The environment is read once, at the start; everything
//! is parsed here into types that need no further check, and each part of the program is handed its own share.

mod dotenv;
mod parse;
mod pem;
mod problem;
mod raw;
mod rules;
mod variables;
mod warn;

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use self::problem::{ConfigError, Problem};
pub use self::variables::{EVENT_PREFIX, VARIABLES, Variable};
use crate::decide::address::Permits;
use crate::decide::retry::RetrySettings;
use crate::decide::route::Routes;
use crate::decide::webhook::CustomEvents;
use crate::model::{EventName, Secret, TlsSettings, display_url};
pub use crate::telemetry::LogFormat;

/// All settings. [`VARIABLES`] names the variable of each; `Default` is what an empty environment yields.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `redis://`, `rediss://`, `unix://` or `redis+unix://`, with a host or path that can be used.
    pub redis_url: Secret,
    /// Whose certificates a `rediss://` server is trusted by, PEM; none: those that the system trusts.
    pub redis_ca: Option<Arc<str>>,
    /// The producers' stream: visible ASCII without spaces and braces.
    pub stream: String,
    /// How many attempts may be under way at once: 1 to 65536.
    pub worker_concurrency: usize,
    /// The largest payload that is taken: 1 KiB to 512 MiB (what one Redis value can hold).
    pub max_event_bytes: usize,
    /// How many bytes of payloads this process holds at most.
    pub memory_budget_bytes: usize,
    /// How long attempts under way may take to finish after SIGTERM.
    pub shutdown_grace: Duration,
    /// The global destination.
    pub global: GlobalSettings,
    /// The ERRORS webhook.
    pub errors: ErrorsSettings,
    /// The path suffix of each event.
    pub routes: Routes,
    /// The events beyond the known ones that webhooks may list.
    pub custom_events: CustomEvents,
    /// What webhooks of instances are permitted.
    pub permits: Permits,
    /// TLS towards receivers.
    pub tls: TlsSettings,
    /// How long a whole attempt may take.
    pub request_timeout: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// When failed deliveries are tried again and when they are given up.
    pub retry: RetrySettings,
    /// How old a dead letter becomes before it is removed; none: it is kept.
    pub dead_letter_max_age: Option<Duration>,
    /// How many dead letters are kept; none: all.
    pub dead_letter_max_len: Option<u64>,
    /// Where the HTTP API listens; none: there is none.
    pub admin_addr: Option<SocketAddr>,
    /// The key of the HTTP API; there is one where it listens beyond loopback.
    pub api_key: Option<Secret>,
    /// How many events may wait before the HTTP API takes no more; none: any number.
    pub backlog_limit: Option<u64>,
    /// How long the HTTP API remembers an `Idempotency-Key`; zero: not at all.
    pub dedup_window: Duration,
    /// What is logged, for [`crate::telemetry::init`].
    pub log_level: String,
    /// How it is logged.
    pub log_format: LogFormat,
    /// What is most probably not meant, in one line each: to be logged, once logging has begun.
    pub warnings: Vec<String>,
}

/// Where the HTTP API listens unless told otherwise: 127.0.0.1:8090. The second worker of a machine does without.
pub const DEFAULT_ADMIN_ADDR: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8090);

/// The global destination.
#[derive(Clone, PartialEq)]
pub struct GlobalSettings {
    /// Whether events are sent to it at all.
    pub enabled: bool,
    /// Where it is: a URL that can be sent to.
    pub url: Option<String>,
    /// Whether the event's route is appended to the URL's path.
    pub by_events: bool,
    /// Whether `data.message.base64` is kept.
    pub base64: bool,
    /// Its headers, each of which can be sent; `jwt_key` is not sent but used to mint a token.
    pub headers: Vec<(String, Secret)>,
    /// The signing secrets, each of which can be signed with.
    pub secrets: Vec<Secret>,
    /// How many attempts a second it gets at most.
    pub rate_limit: Option<f64>,
    /// The events that are sent to it.
    pub events: HashSet<EventName>,
}

/// The ERRORS webhook.
#[derive(Clone, Default, PartialEq)]
pub struct ErrorsSettings {
    /// Whether it is told of dead letters.
    pub enabled: bool,
    /// Where it is: a URL that can be sent to.
    pub url: Option<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            redis_url: Secret::new("redis://127.0.0.1:6379"),
            redis_ca: None,
            stream: "webhooks".to_owned(),
            worker_concurrency: 256,
            max_event_bytes: 16 * 1024 * 1024,
            memory_budget_bytes: 64 * 1024 * 1024,
            shutdown_grace: Duration::from_secs(25),
            global: GlobalSettings::default(),
            errors: ErrorsSettings::default(),
            routes: Routes::default(),
            custom_events: CustomEvents::default(),
            permits: Permits::default(),
            tls: TlsSettings::default(),
            request_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            retry: RetrySettings::default(),
            dead_letter_max_age: None,
            dead_letter_max_len: None,
            admin_addr: Some(DEFAULT_ADMIN_ADDR),
            api_key: None,
            backlog_limit: None,
            dedup_window: Duration::from_secs(86_400),
            log_level: "info".to_owned(),
            log_format: LogFormat::Text,
            warnings: Vec::new(),
        }
    }
}

impl Default for GlobalSettings {
    fn default() -> Self {
        Self {
            enabled: false,
            url: None,
            by_events: false,
            base64: true,
            headers: Vec::new(),
            secrets: Vec::new(),
            rate_limit: None,
            events: HashSet::new(),
        }
    }
}

impl Config {
    /// Reads the process environment, and a `.env` file for what is not set there. A missing file is fine.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn from_env(dotenv: Option<&Path>) -> Result<Self, ConfigError> {
        Self::from_sources(std::env::vars_os(), dotenv)
    }

    /// As [`Self::from_env`], with any environment. A variable that is set there wins even when it is empty, so that
    /// `X= posthaste run` brings the default of `X` back.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn from_sources(
        environment: impl IntoIterator<Item = (OsString, OsString)>,
        dotenv: Option<&Path>,
    ) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let from_file = dotenv.map(|path| dotenv::read(path, &mut problems)).unwrap_or_default();
        let mut pairs: BTreeMap<String, String> = from_file.into_iter().collect();
        for (name, value) in environment {
            // No setting's name is anything but ASCII.
            let Ok(name) = name.into_string() else { continue };
            match value.into_string() {
                Ok(value) => _ = pairs.insert(name, value),
                Err(value) if variables::is_ours(&name) => {
                    pairs.remove(&name);
                    problems.push(Problem::new(&name, &value.to_string_lossy(), "write text in UTF-8"));
                }
                Err(_) => {}
            }
        }
        Self::read(pairs, problems)
    }

    /// Reads settings from names and values alone; of one name given twice, the last counts. Values are trimmed, and an
    /// empty one is as none.
    ///
    /// # Errors
    /// Every problem at once.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Self, ConfigError> {
        Self::read(pairs.into_iter().collect(), Vec::new())
    }

    fn read(pairs: BTreeMap<String, String>, problems: Vec<Problem>) -> Result<Self, ConfigError> {
        let pairs: BTreeMap<String, String> = pairs
            .into_iter()
            .map(|(name, value)| (name, value.trim().to_owned()))
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let mut config = raw::read(&pairs, problems)?;
        config.warnings = warn::warnings(&config, &pairs);
        Ok(config)
    }
}

impl fmt::Debug for GlobalSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GlobalSettings")
            .field("enabled", &self.enabled)
            .field("url", &self.url.as_deref().map(display_url))
            .field("by_events", &self.by_events)
            .field("base64", &self.base64)
            .field("headers", &self.headers)
            .field("secrets", &self.secrets)
            .field("rate_limit", &self.rate_limit)
            .field("events", &self.events)
            .finish()
    }
}

impl fmt::Debug for ErrorsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ErrorsSettings")
            .field("enabled", &self.enabled)
            .field("url", &self.url.as_deref().map(display_url))
            .finish()
    }
}
