//! Webhooks: how a destination is configured, and what an attempt needs of it.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use sha2::Sha256;

use super::{DestinationMember, Endpoint, EventName, Secret};

/// An instance's webhook, as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Webhook {
    /// Whether events are sent at all.
    pub enabled: bool,
    /// Why it was switched off by posthaste rather than by a person (`gone`: its receiver answered 410).
    pub disabled_reason: Option<String>,
    /// When posthaste switched it off, Unix ms: what was pushed before is owed to it, and given up as a dead letter.
    pub disabled_at_ms: Option<u64>,
    /// Where they are sent: an absolute `http` or `https` URL, checked when it was set.
    pub url: String,
    /// Whether the event's route is appended to the URL's path.
    pub by_events: bool,
    /// Whether `data.message.base64` is kept.
    pub base64: bool,
    /// The events wanted; empty means all.
    pub events: Vec<EventName>,
    /// Headers of its own, in the order they were set. `jwt_key` is not sent but used to mint a token.
    pub headers: Vec<(String, Secret)>,
    /// Signing secrets, `whsec_<base64>` or bare base64; several while one is being rotated.
    pub secrets: Vec<Secret>,
    /// How many attempts a second it gets at most, more than 0; none for any number.
    pub rate_limit: Option<f64>,
    /// Whether it wants any certificate of its receiver to be accepted; the operator has to permit that too.
    pub insecure_tls: bool,
}

impl Webhook {
    /// Whether the event is among those it asks for, whether or not it is enabled.
    pub fn wants(&self, name: &EventName) -> bool {
        self.events.is_empty() || self.events.contains(name)
    }
}

/// A signing key: the bytes behind a `whsec_` secret (Standard Webhooks, symmetric), or those of a `jwt_key`.
#[derive(Clone)]
pub struct Signer {
    key: Vec<u8>,
    keyed: Hmac<Sha256>,
}

impl Signer {
    /// Wraps the decoded key.
    pub fn new(key: Vec<u8>) -> Self {
        let keyed = Hmac::new_from_slice(&key).expect("HMAC takes a key of any length");
        Self { key, keyed }
    }

    /// The key itself.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// HMAC-SHA256 (RFC 2104) over `parts`, one after the other. The key was taken in once for all of them.
    pub fn mac<'a>(&self, parts: impl IntoIterator<Item = &'a [u8]>) -> [u8; 32] {
        let mut mac = self.keyed.clone();
        for part in parts {
            mac.update(part);
        }
        mac.finalize().into_bytes().into()
    }
}

impl PartialEq for Signer {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl Eq for Signer {}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Whose a destination is, and with it where it may be and how its receiver shows who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The operator's own: wherever it is.
    Operator,
    /// An instance's: only at addresses that are public, or that the operator permits.
    Instance(Certificates),
}

/// Which certificates of a receiver are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Certificates {
    /// Those that a trusted CA vouches for.
    Verified,
    /// Any, where the operator permits that.
    Any,
}

/// What an attempt needs of a destination's settings: everything is parsed, so that an attempt cannot fail on it.
#[derive(Clone, Debug)]
pub struct Target {
    /// The configured URL, as it was written (without a route suffix).
    pub url: Arc<str>,
    /// The same, ready for requests.
    pub endpoint: Endpoint,
    /// Whose it is, and so where it may be.
    pub owner: Owner,
    /// [`Self::url`] as it is set in the body; none where the body is sent as it is.
    pub destination: Option<DestinationMember>,
    /// Whether the event's route is appended to the URL's path.
    pub by_events: bool,
    /// Whether `data.message.base64` is kept.
    pub base64: bool,
    /// The headers that every attempt has: the defaults, and the destination's own in their place.
    pub headers: Arc<HeaderMap>,
    /// The key for a bearer token minted for each attempt.
    pub jwt_key: Option<Signer>,
    /// The keys to sign with; one signature each.
    pub signers: Vec<Signer>,
    /// How many attempts a second it gets at most.
    pub rate_limit: Option<f64>,
}
