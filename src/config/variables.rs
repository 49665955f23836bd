//! The variables: one table for `.env.example`, the documentation and the suggestions.

use crate::model::KNOWN_EVENTS;

/// A setting as it is written in the environment or a `.env` file.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// Its default as it would be written; none where it is unset by default.
    pub default: Option<&'static str>,
    /// What it is, in one line.
    pub help: &'static str,
}

/// What the variables begin with that switch an event on for the global destination: `WEBHOOK_EVENTS_<EVENT>`.
pub const EVENT_PREFIX: &str = "WEBHOOK_EVENTS_";

/// Every setting but `WEBHOOK_EVENTS_<EVENT>` (see [`EVENT_PREFIX`]), in the order in which they are explained.
pub const VARIABLES: &[Variable] = &[
    set(
        "REDIS_URL",
        "redis://127.0.0.1:6379",
        "Where Redis is: redis://, rediss:// (TLS) or unix:// (a socket).",
    ),
    unset(
        "REDIS_CA_FILE",
        "Certificates that a rediss:// server is trusted by instead of the system's, a PEM file.",
    ),
    set("STREAM", "webhooks", "The stream that producers push to; every other key begins with {<STREAM>}:"),
    set("WORKER_CONCURRENCY", "256", "How many attempts may be under way at once in this process."),
    set(
        "MAX_EVENT_BYTES",
        "16777216",
        "The largest event that is taken, in bytes; a larger one is a dead letter.",
    ),
    set(
        "MEMORY_BUDGET_BYTES",
        "67108864",
        "How many bytes of payloads, and bodies made of them, this process holds; the rest waits in Redis.",
    ),
    set(
        "SHUTDOWN_GRACE_SECONDS",
        "25",
        "How many seconds attempts under way may take to finish after SIGTERM.",
    ),
    set("WEBHOOK_GLOBAL_ENABLED", "false", "Whether events are sent to the global webhook."),
    unset("WEBHOOK_GLOBAL_URL", "Where the global webhook is: http:// or https://."),
    set(
        "WEBHOOK_GLOBAL_WEBHOOK_BY_EVENTS",
        "false",
        "Whether the event's route is appended to the path of WEBHOOK_GLOBAL_URL.",
    ),
    set(
        "WEBHOOK_GLOBAL_BASE64",
        "true",
        "Whether the global webhook gets data.message.base64; false removes it.",
    ),
    unset(
        "WEBHOOK_GLOBAL_HEADERS",
        "Headers for the global webhook, a JSON object; from jwt_key a bearer token is made.",
    ),
    unset(
        "WEBHOOK_GLOBAL_SECRET",
        "Signing secrets for the global webhook (Standard Webhooks), divided by commas.",
    ),
    unset(
        "WEBHOOK_GLOBAL_RATE_LIMIT",
        "How many requests a second the global webhook gets at most, decimals allowed.",
    ),
    set("WEBHOOK_EVENTS_ERRORS", "false", "Whether the ERRORS webhook is told of every dead letter."),
    unset("WEBHOOK_EVENTS_ERRORS_WEBHOOK", "Where the ERRORS webhook is: http:// or https://."),
    unset("WEBHOOK_ROUTES", "Routes other than the default ones: EVENT=route, divided by commas."),
    unset(
        "WEBHOOK_CUSTOM_EVENTS",
        "Event names of your own that webhooks may list, divided by commas; * for any.",
    ),
    unset(
        "WEBHOOK_ALLOW_HOSTS",
        "Hosts that instances' webhooks may be sent to wherever they are, divided by commas: n8n, *.lan or *.",
    ),
    unset(
        "WEBHOOK_ALLOW_CIDRS",
        "Networks that instances' webhooks may be sent to beside public addresses, divided by commas.",
    ),
    set(
        "WEBHOOK_ALLOW_INSECURE_TLS",
        "false",
        "Whether a webhook may have insecure_tls: any certificate of its receiver is accepted then.",
    ),
    unset(
        "WEBHOOK_CA_FILE",
        "Certificates of CAs that receivers are trusted by beside the system's, a PEM file.",
    ),
    unset("WEBHOOK_CLIENT_CERT", "The certificate shown to receivers that ask for one (mTLS), a PEM file."),
    unset("WEBHOOK_CLIENT_KEY", "Its key, a PEM file; without it the key is in WEBHOOK_CLIENT_CERT."),
    set("WEBHOOK_REQUEST_TIMEOUT_MS", "30000", "How long a whole attempt may take, in milliseconds."),
    set("WEBHOOK_CONNECT_TIMEOUT_MS", "5000", "How long connecting to a receiver may take, in milliseconds."),
    set("WEBHOOK_RETRY_MAX_ATTEMPTS", "10", "How many attempts a delivery has."),
    set(
        "WEBHOOK_RETRY_INITIAL_DELAY_SECONDS",
        "5",
        "The wait after the first failed attempt, in seconds; decimals allowed.",
    ),
    set(
        "WEBHOOK_RETRY_USE_EXPONENTIAL_BACKOFF",
        "true",
        "Whether the wait doubles each time; false: always the same.",
    ),
    set("WEBHOOK_RETRY_MAX_DELAY_SECONDS", "300", "The longest wait, in seconds, jitter included."),
    set(
        "WEBHOOK_RETRY_JITTER_FACTOR",
        "0.2",
        "The share of the wait by which it is varied, up or down: 0 to 1.",
    ),
    set(
        "WEBHOOK_RETRY_NON_RETRYABLE_STATUS_CODES",
        "400,401,403,404,422",
        "Statuses that are not retried, divided by commas, or none; 410 never is.",
    ),
    set(
        "WEBHOOK_RETRY_MAX_AGE_SECONDS",
        "86400",
        "How many seconds after its event was pushed a delivery is given up.",
    ),
    unset(
        "DEAD_LETTER_MAX_AGE_SECONDS",
        "Dead letters older than this many seconds are removed; unset, none ever is.",
    ),
    unset("DEAD_LETTER_MAX_LEN", "How many dead letters are kept, the newest ones; unset, all are."),
    set(
        "ADMIN_ADDR",
        "127.0.0.1:8090",
        "Where the HTTP API listens: an address and port, or off. Beyond loopback it takes a key.",
    ),
    unset(
        "AUTHENTICATION_API_KEY",
        "The key of the HTTP API, which requests carry as `apikey: <key>` or as a bearer token.",
    ),
    unset(
        "BACKLOG_LIMIT",
        "How many events may wait in Redis, in all, before the HTTP API takes no more; unset, any number.",
    ),
    set(
        "DEDUP_WINDOW_SECONDS",
        "86400",
        "For how many seconds an Idempotency-Key of the HTTP API is remembered; 0: not at all.",
    ),
    set(
        "LOG_LEVEL",
        "info",
        "What is logged: trace, debug, info, warn, error, or tracing filter directives.",
    ),
    set("LOG_FORMAT", "text", "How it is logged: text, or json (one object a line)."),
];

const fn set(name: &'static str, default: &'static str, help: &'static str) -> Variable {
    Variable { name, default: Some(default), help }
}

const fn unset(name: &'static str, help: &'static str) -> Variable {
    Variable { name, default: None, help }
}

/// Whether a variable is in [`VARIABLES`].
pub(super) fn is_setting(name: &str) -> bool {
    VARIABLES.iter().any(|variable| variable.name == name)
}

/// The event that a variable switches on, as it is written there.
pub(super) fn event_of(name: &str) -> Option<&str> {
    if is_setting(name) {
        return None;
    }
    name.strip_prefix(EVENT_PREFIX).filter(|event| !event.is_empty())
}

/// Whether a variable is read, or will be: others are other programs'.
pub(super) fn is_ours(name: &str) -> bool {
    is_setting(name) || event_of(name).is_some()
}

/// Every name worth suggesting.
pub(super) fn all_names() -> impl Iterator<Item = String> {
    let events = KNOWN_EVENTS.iter().map(|event| format!("{EVENT_PREFIX}{event}"));
    VARIABLES.iter().map(|variable| variable.name.to_owned()).chain(events)
}
