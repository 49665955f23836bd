//! Outcomes: what an attempt came to.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use super::Refusal;

/// What one attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver answered.
    Replied(Reply),
    /// No whole answer came.
    Failed(TransportError),
}

/// A receiver's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status, 100–999.
    pub status: u16,
    /// `Retry-After` as a wait from now, whichever of its two forms was used (RFC 9110, 10.2.3).
    pub retry_after: Option<Duration>,
    /// The first 1 KiB of the body.
    pub start: Bytes,
}

/// Why no whole answer came. The text of each names the cause and never holds a URL, header or secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The host name could not be resolved.
    #[error("the host name could not be resolved: {0}")]
    Dns(String),
    /// The receiver is where webhooks of instances may not be sent to; no connection was made.
    #[error("not sent: {0}")]
    Refused(Box<Refusal>),
    /// No connection could be made (refused, unreachable, …).
    #[error("could not connect: {0}")]
    Connect(String),
    /// The TLS handshake failed (an unknown or expired certificate, …).
    #[error("TLS failed: {0}")]
    Tls(String),
    /// No connection within `WEBHOOK_CONNECT_TIMEOUT_MS`.
    #[error("no connection within {} ms", .0.as_millis())]
    ConnectTimeout(Duration),
    /// No whole answer within `WEBHOOK_REQUEST_TIMEOUT_MS`.
    #[error("no whole answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The receiver closed the connection before its answer was whole.
    #[error("the receiver closed the connection before its answer was whole: {0}")]
    ClosedEarly(String),
    /// What came back was not HTTP.
    #[error("the answer is not valid HTTP: {0}")]
    BadReply(String),
    /// The request could not be made of the destination's settings.
    #[error("the request could not be made: {0}")]
    BadRequest(String),
    /// The stored webhook cannot be read.
    #[error("{0}")]
    BadWebhook(String),
    /// Anything else the HTTP client reports.
    #[error("the attempt failed: {0}")]
    Other(String),
}

/// What the last attempt of a waiting delivery came to. Written `<ms> <status or -> <summary>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastAttempt {
    /// When it was begun, Unix ms.
    pub at_ms: u64,
    /// The HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// What happened in one line.
    pub summary: String,
}

impl fmt::Display for LastAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
        write!(f, "{} {status} {}", self.at_ms, self.summary)
    }
}

impl LastAttempt {
    /// Reads it as it is written.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        let at_ms = parts.next()?.parse().ok()?;
        let status = parts.next()?.parse().ok();
        Some(Self { at_ms, status, summary: parts.next()?.to_owned() })
    }
}

impl TransportError {
    /// Every kind.
    pub const KINDS: [&str; 10] = [
        "dns",
        "connect",
        "tls",
        "connect_timeout",
        "timeout",
        "closed_early",
        "bad_reply",
        "bad_request",
        "bad_webhook",
        "other",
    ];

    /// A short name of the kind, for records and metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Dns(_) => "dns",
            Self::Refused(_) => "refused_address",
            Self::Connect(_) => "connect",
            Self::Tls(_) => "tls",
            Self::ConnectTimeout(_) => "connect_timeout",
            Self::Timeout(_) => "timeout",
            Self::ClosedEarly(_) => "closed_early",
            Self::BadReply(_) => "bad_reply",
            Self::BadRequest(_) => "bad_request",
            Self::BadWebhook(_) => "bad_webhook",
            Self::Other(_) => "other",
        }
    }
}

impl Outcome {
    /// The HTTP status, where there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Replied(reply) => Some(reply.status),
            Self::Failed(_) => None,
        }
    }

    /// Whether the receiver took the event: any 2xx.
    pub fn is_success(&self) -> bool {
        self.status().is_some_and(|status| (200..300).contains(&status))
    }

    /// What happened in one line, for people.
    pub fn summary(&self) -> String {
        match self {
            Self::Replied(reply) => format!("the receiver answered {}", reply.status),
            Self::Failed(error) => error.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_last_attempt_is_read_as_it_is_written() {
        for status in [Some(503), None] {
            let last = LastAttempt { at_ms: 1_700_000_000_000, status, summary: "a b  c".to_owned() };
            assert_eq!(LastAttempt::parse(&last.to_string()), Some(last));
        }
        assert_eq!(LastAttempt::parse("nonsense"), None);
    }
}
