//! The clients behind the one: connections are only shared among requests that may use the same.

use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use http_body_util::Full;
use hyper_util::client::legacy;
use hyper_util::client::proxy::matcher::Intercept;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;

use super::ClientSettings;
use super::connect::Connector;
use super::proxies::{Proxies, ProxyError};
use super::resolver::Resolver;
use super::tls::{self, TlsError};
use crate::model::{Body, Certificates, Owner};

/// How long an idle connection to a receiver is kept.
const IDLE: Duration = Duration::from_secs(60);

/// A pool of connections, and what makes them.
pub(super) type Pool = legacy::Client<Connector, Full<Body>>;

/// The client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The HTTP client cannot be built.
    #[error(
        "the HTTP client cannot be built: {0} (are CA certificates installed? e.g. the package ca-certificates)"
    )]
    Client(String),
    /// A proxy of the environment that cannot be used.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
}

impl From<TlsError> for BuildError {
    fn from(error: TlsError) -> Self {
        Self::Client(error.to_string())
    }
}

/// Every client there is.
#[derive(Debug)]
pub(super) struct Clients {
    /// For destinations of the operator's own: dials whatever it is told, through proxies where there are any.
    operators: Pool,
    /// For webhooks of instances: dials only what may be.
    direct: Pair,
    /// The same through a proxy: dials nothing but the proxy.
    proxied: Option<(Arc<Proxies>, Pair)>,
}

/// One that verifies certificates, and where it is permitted one that does not.
#[derive(Debug)]
struct Pair {
    verifying: Pool,
    trusting: Option<Pool>,
}

impl Clients {
    /// Builds all that can be needed.
    pub(super) fn build(
        settings: &ClientSettings,
        proxies: Option<Arc<Proxies>>,
    ) -> Result<Self, BuildError> {
        let ClientSettings { connect_timeout, permits, tls: tls_settings, .. } = settings;
        let verifying = tls::verifying(tls_settings)?;
        let trusting = permits.insecure_tls.then(|| tls::trusting(tls_settings)).transpose()?;
        let pool = |resolver, tls: &Arc<ClientConfig>, proxies: Option<&Arc<Proxies>>| {
            pool(Connector::new(resolver, tls, proxies, *connect_timeout))
        };
        let pair = |resolver: &Resolver, proxies: Option<&Arc<Proxies>>| Pair {
            verifying: pool(resolver.clone(), &verifying, proxies),
            trusting: trusting.as_ref().map(|trusting| pool(resolver.clone(), trusting, proxies)),
        };
        let operators = pool(Resolver::System, &verifying, proxies.as_ref());
        let direct = pair(&Resolver::Guarded(Arc::new(permits.clone())), None);
        let proxied = proxies.map(|proxies| {
            let pair = pair(&Resolver::Only(Arc::clone(&proxies)), Some(&proxies));
            (proxies, pair)
        });
        Ok(Self { operators, direct, proxied })
    }

    /// The proxies, as they may be shown.
    pub(super) fn proxies(&self) -> impl Iterator<Item = &str> {
        self.proxied.iter().flat_map(|(proxies, _)| proxies.shown.iter().map(String::as_str))
    }

    /// The client that sends to a URL, and the proxy that it does it through. For a webhook of an instance it checks what
    /// it dials; with a proxy that is the proxy, and where that is to connect to has to be checked before.
    pub(super) fn way(&self, uri: &Uri, owner: Owner) -> (&Pool, Option<Intercept>) {
        let proxied = self.proxied.as_ref().and_then(|(proxies, pair)| Some((proxies.intercept(uri)?, pair)));
        match (owner, proxied) {
            (Owner::Operator, proxied) => (&self.operators, proxied.map(|(proxy, _)| proxy)),
            (Owner::Instance(certificates), Some((proxy, pair))) => (pair.of(certificates), Some(proxy)),
            (Owner::Instance(certificates), None) => (self.direct.of(certificates), None),
        }
    }
}

impl Pair {
    /// A webhook may have been stored when not verifying was still permitted: then it is verified.
    fn of(&self, certificates: Certificates) -> &Pool {
        match (certificates, &self.trusting) {
            (Certificates::Any, Some(trusting)) => trusting,
            (Certificates::Any, None) | (Certificates::Verified, _) => &self.verifying,
        }
    }
}

fn pool(connector: Connector) -> Pool {
    legacy::Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        // Only what was handed to a connection that had ended before, and of which nothing was written: the pool learns
        // that a receiver has closed an idle connection when it uses it. What may have reached a receiver comes back
        // as an error, and is for the retries.
        .retry_canceled_requests(true)
        .build(connector)
}
