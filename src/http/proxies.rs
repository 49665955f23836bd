//! The proxies of the environment: `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`, in either case.
//!
//! What is said here of a URL is what the clients do: they ask the same.

use std::collections::{BTreeSet, HashSet};

use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};

/// The variables that name one.
const VARIABLES: [&str; 6] =
    ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];
/// A host that no `NO_PROXY` names, by either scheme.
const ANY_HOST: [&str; 2] = ["http://some-host.invalid/", "https://some-host.invalid/"];

/// A proxy that cannot be used. Its text holds nothing of the value, in which there may be a password.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// No URL of a proxy.
    #[error("{0} is not the URL of a proxy; write http://[user:password@]host:port")]
    Malformed(&'static str),
    /// A kind that is not supported.
    #[error(
        "{0}:// proxies are not supported; let HTTPS_PROXY, HTTP_PROXY and ALL_PROXY name one of http:// or https://"
    )]
    Kind(String),
}

/// Which URLs go through a proxy.
#[derive(Debug)]
pub(super) struct Proxies {
    matcher: Matcher,
    /// The hosts of the proxies.
    hosts: HashSet<String>,
    /// Each as it may be shown.
    pub(super) shown: BTreeSet<String>,
}

impl Proxies {
    /// Those of the environment; none where it names none.
    ///
    /// # Errors
    /// For one that cannot be used. Not using it would send past a proxy what was to go through it.
    pub(super) fn from_env() -> Result<Option<Self>, ProxyError> {
        let is_malformed = |name: &&str| match std::env::var(name) {
            Ok(value) => {
                let alone = Matcher::builder().all(value.clone()).build();
                !value.is_empty() && alone.intercept(&Uri::from_static(ANY_HOST[0])).is_none()
            }
            Err(std::env::VarError::NotUnicode(_)) => true,
            Err(std::env::VarError::NotPresent) => false,
        };
        if let Some(name) = VARIABLES.into_iter().find(is_malformed) {
            return Err(ProxyError::Malformed(name));
        }
        let proxies = Self::of(Matcher::from_system())?;
        Ok((!proxies.hosts.is_empty()).then_some(proxies))
    }

    fn of(matcher: Matcher) -> Result<Self, ProxyError> {
        let (mut hosts, mut shown) = (HashSet::new(), BTreeSet::new());
        for proxy in ANY_HOST.iter().filter_map(|url| matcher.intercept(&Uri::from_static(url))) {
            match proxy.uri().scheme_str() {
                Some("http" | "https") | None => {}
                Some(other) => return Err(ProxyError::Kind(other.to_owned())),
            }
            hosts.extend(proxy.uri().host().map(str::to_owned));
            // User and password are not part of it any more.
            shown.insert(proxy.uri().to_string());
        }
        Ok(Self { matcher, hosts, shown })
    }

    /// The one that a URL goes through, if any.
    pub(super) fn intercept(&self, uri: &Uri) -> Option<Intercept> {
        self.matcher.intercept(uri)
    }

    /// Whether this is the host of one.
    pub(super) fn are_at(&self, host: &str) -> bool {
        self.hosts.contains(host)
    }

    /// One for every URL.
    #[cfg(test)]
    pub(super) fn one(url: &str) -> Self {
        Self::of(Matcher::builder().all(url).build()).unwrap()
    }
}
