//! Webhooks: reading, checking and writing how a destination is configured.
//!
//! Evolution API has spelled these settings in three ways over time, and its users mix them; what does not fit is
//! silently ignored there, and the webhook never fires. Here every spelling is understood, and everything else is
//! refused with what was probably meant.

mod endpoint;
mod given;
mod headers;
mod json;
mod parse;
mod permit;
mod show;
mod url;

use std::collections::HashSet;

use self::endpoint::endpoint;
pub use self::given::{RATES, WARNING_KEY};
pub use self::headers::{HeaderError, headers_map, parse_headers};
pub use self::json::JsonError;
pub use self::parse::{parse, parse_named, parse_stored};
pub use self::permit::check_permitted;
pub use self::show::{to_json, to_public_json, to_record};
pub use self::url::{UrlError, check_url};
use super::request::template;
use super::sign::{SecretError, parse_secret};
use crate::model::{
    Certificates, DestinationMember, EventName, Owner, Refusal, Secret, Signer, Target, Webhook,
};

/// What stands for a text that is not shown.
const MASK: &str = "***";

/// The events beyond the known ones that a webhook may list (`WEBHOOK_CUSTOM_EVENTS`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CustomEvents {
    /// Every name is allowed. Also right for reading what is stored already: it was checked when it was set.
    Any,
    /// These are; none by default.
    Only(HashSet<EventName>),
}

impl Default for CustomEvents {
    fn default() -> Self {
        Self::Only(HashSet::new())
    }
}

impl CustomEvents {
    /// Reads `WEBHOOK_CUSTOM_EVENTS`: a comma list of names in any spelling, or `*` for every name. White space and
    /// empty parts are ignored.
    pub fn parse(list: &str) -> Self {
        let mut names = HashSet::new();
        for name in list.split(',').map(str::trim) {
            match EventName::parse(name) {
                Ok(_) if name == "*" => return Self::Any,
                Ok(name) => _ = names.insert(name),
                Err(_) => {}
            }
        }
        Self::Only(names)
    }

    /// Whether a webhook may list this event: a known one, or one that is allowed here.
    pub fn allow(&self, name: &EventName) -> bool {
        match self {
            Self::Any => true,
            Self::Only(names) => name.is_known() || names.contains(name),
        }
    }
}

/// Why a webhook's settings are refused. The messages name the key and what is allowed, and never hold a header's
/// value, a secret or the URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// Not a JSON object.
    #[error("the webhook {0}")]
    Json(#[from] JsonError),
    /// A key that no generation of the settings has.
    #[error("unknown key `{}`{}", .key.escape_debug(), hint(*.nearest, "; known are enabled, url, headers, byEvents, base64, events, secret, rate_limit and insecure_tls"))]
    UnknownKey {
        /// The key as it was written.
        key: String,
        /// What was probably meant.
        nearest: Option<&'static str>,
    },
    /// An event that is neither known nor listed in `WEBHOOK_CUSTOM_EVENTS`.
    #[error("unknown event '{}'{}", .event.escape_debug(), hint(.nearest.as_deref(), "; an event of your own is listed in WEBHOOK_CUSTOM_EVENTS first, and an empty list means all events"))]
    UnknownEvent {
        /// The name as it was written.
        event: String,
        /// What was probably meant.
        nearest: Option<String>,
    },
    /// A value of the wrong type.
    #[error("`{key}` is {given}; it has to be {allowed}")]
    WrongType {
        /// The key as it was written, with the place in a list: `events[2]`.
        key: String,
        /// The type that was given.
        given: &'static str,
        /// What is allowed.
        allowed: &'static str,
    },
    /// One setting twice with different values.
    #[error("`{first}` and `{second}` set the same thing to different values; leave one out")]
    Twice {
        /// One of the keys.
        first: String,
        /// The other, or the same again.
        second: String,
    },
    /// No URL, though the webhook is not switched off.
    #[error("`url` is missing; set it to where the events are to be sent, or `enabled` to false")]
    NoUrl,
    /// A URL that nothing can be sent to.
    #[error("`url` {0}")]
    Url(#[from] UrlError),
    /// A header that cannot or may not be sent.
    #[error("`headers`: {0}")]
    Header(#[from] HeaderError),
    /// A secret that nothing can be signed with.
    #[error("`secret`: {0}")]
    Secret(#[from] SecretError),
    /// A URL at an address that webhooks of instances may not be sent to.
    #[error("`url`: {0}")]
    Refused(Box<Refusal>),
    /// Certificates that are not to be verified, which the operator does not permit.
    #[error(
        "`insecure_tls` is not permitted; WEBHOOK_ALLOW_INSECURE_TLS=true permits it, and WEBHOOK_CA_FILE makes a CA of your own trusted without it"
    )]
    InsecureTls,
}

/// What an attempt needs of the settings of an instance's webhook.
///
/// # Errors
/// When the URL, a header or a secret cannot be used. What [`parse()`] accepted as enabled can.
pub fn target(webhook: &Webhook) -> Result<Target, WebhookError> {
    let certificates = if webhook.insecure_tls { Certificates::Any } else { Certificates::Verified };
    target_of(webhook, Owner::Instance(certificates))
}

/// As [`target()`], for a destination of the operator's own, which may be anywhere.
///
/// # Errors
/// As [`target()`].
pub fn operators_target(webhook: &Webhook) -> Result<Target, WebhookError> {
    target_of(webhook, Owner::Operator)
}

fn target_of(webhook: &Webhook, owner: Owner) -> Result<Target, WebhookError> {
    let (endpoint, authorization) = endpoint(&webhook.url, webhook.by_events)?;
    let (own, jwt_key) = headers_map(&webhook.headers)?;
    Ok(Target {
        url: webhook.url.as_str().into(),
        endpoint,
        owner,
        destination: Some(DestinationMember::new(&webhook.url)),
        by_events: webhook.by_events,
        base64: webhook.base64,
        headers: template(own, authorization),
        jwt_key: jwt_key.map(|key| Signer::new(key.expose().into())),
        signers: signers(&webhook.secrets)?,
        rate_limit: webhook.rate_limit,
    })
}

fn signers(secrets: &[Secret]) -> Result<Vec<Signer>, SecretError> {
    secrets.iter().map(|secret| parse_secret(secret.expose())).collect()
}

fn hint(nearest: Option<&str>, otherwise: &str) -> String {
    match nearest {
        Some(nearest) => format!(": did you mean {nearest}?"),
        None => otherwise.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn custom_events_are_a_list_or_all() {
        let name = |name: &str| EventName::parse(name).unwrap();
        let some = CustomEvents::parse(" order.paid,, ORDER-SENT ");
        assert!(
            some.allow(&name("ORDER_PAID")) && some.allow(&name("order.sent")) && some.allow(&name("call"))
        );
        assert!(!some.allow(&name("other")));
        assert_eq!(CustomEvents::parse("a, *"), CustomEvents::Any);
        assert!(CustomEvents::Any.allow(&name("other")));
        assert_eq!(CustomEvents::parse(""), CustomEvents::default());
        assert!(!CustomEvents::default().allow(&name("order.paid")));
    }

    #[test]
    fn a_target_is_ready_for_an_attempt() {
        let json =
            br#"{"url":"https://h/a?q=\"","webhook_by_events":true,"headers":{"X-A":"1","jwt_key":"k"},
            "secret":["whsec_YWJjZA==","ZWZnaA"]}"#;
        let target = target(&parse(json, &CustomEvents::default()).unwrap()).unwrap();
        assert_eq!(&*target.url, "https://h/a?q=\"");
        assert!(target.by_events && !target.base64);
        assert_eq!(target.endpoint.uri(), "https://h/a/?q=%22");
        assert_eq!(target.headers.len(), 4);
        assert_eq!(target.headers["x-a"], "1");
        assert!(target.headers["x-a"].is_sensitive());
        assert_eq!(target.jwt_key.unwrap().key(), b"k");
        assert_eq!(target.signers, [Signer::new(b"abcd".to_vec()), Signer::new(b"efgh".to_vec())]);
    }

    #[test]
    fn there_is_no_target_without_a_url() {
        let off = parse(br#"{"enabled":false,"url":""}"#, &CustomEvents::default()).unwrap();
        assert_eq!(target(&off).unwrap_err(), WebhookError::Url(UrlError::Empty));
    }
}
