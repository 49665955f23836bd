//! One shared client: POSTs, and tells how each ended.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use http::header::{PROXY_AUTHORIZATION, RETRY_AFTER};
use http::uri::Scheme;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::proxy::matcher::Intercept;
use tokio::time::{Instant, timeout, timeout_at};

use super::clients::{BuildError, Clients, Pool, Way};
use super::failure::{cut_short, unanswered};
use super::proxies::Proxies;
use super::resolver::lookup;
use crate::decide::address::{Permits, Reach};
use crate::decide::retry::retry_after;
use crate::model::{Outcome, Owner, Post, Refusal, Reply, TlsSettings, TransportError};

/// How much of a reply is read; past it the connection is dropped and the status alone counts.
const READ_BYTES: usize = 16 * 1024;
/// How much of a reply is kept for the records.
const KEPT_BYTES: usize = 1024;

/// How long things may take, and what is allowed.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    /// The whole attempt, up to the last byte that is read of the reply.
    pub request_timeout: Duration,
    /// Resolving, connecting and the TLS handshake.
    pub connect_timeout: Duration,
    /// What webhooks of instances are permitted.
    pub permits: Permits,
    /// Whose certificates are trusted, and the client's own.
    pub tls: TlsSettings,
}

/// The shared client. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clients: Clients,
    settings: ClientSettings,
}

impl Client {
    /// Builds the client. A rustls `CryptoProvider` has to be installed.
    ///
    /// # Errors
    /// When the system's trust store or a certificate cannot be read, and for a proxy that is not supported.
    pub fn new(settings: ClientSettings) -> Result<Self, BuildError> {
        Self::with_proxies(settings, Proxies::from_env()?.map(Arc::new))
    }

    pub(super) fn with_proxies(
        settings: ClientSettings,
        proxies: Option<Arc<Proxies>>,
    ) -> Result<Self, BuildError> {
        Ok(Self { inner: Arc::new(Inner { clients: Clients::build(&settings, proxies)?, settings }) })
    }

    /// The proxies that are used, as they may be shown.
    pub fn proxies(&self) -> impl Iterator<Item = &str> {
        self.inner.clients.proxies()
    }

    /// Sends one request and reads as much of the reply as is wanted, all within the request timeout. Nothing is sent
    /// where the webhook of an instance is at an address that is not permitted.
    pub async fn post(&self, post: Post<'_>) -> Outcome {
        let request_timeout = self.inner.settings.request_timeout;
        match timeout_at(Instant::now() + request_timeout, self.exchange(post)).await {
            Ok(Ok(reply)) => Outcome::Replied(reply),
            Ok(Err(error)) => Outcome::Failed(error),
            Err(_) => Outcome::Failed(TransportError::Timeout(request_timeout)),
        }
    }

    async fn exchange(&self, post: Post<'_>) -> Result<Reply, TransportError> {
        let (pool, proxy) = self.pool(&post).await?;
        let mut request = Request::new(Full::new(post.body));
        *request.method_mut() = Method::POST;
        *request.headers_mut() = post.headers;
        // Through a tunnel, the proxy is told when it makes it.
        if let Some(proxy) = proxy.filter(|_| post.uri.scheme() == Some(&Scheme::HTTP))
            && let Some(authorization) = proxy.basic_auth()
        {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        *request.uri_mut() = post.uri;
        let connect_timeout = self.inner.settings.connect_timeout;
        let answered = pool.request(request).await;
        let mut response = answered.map_err(|error| unanswered(&error, connect_timeout))?;
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after(value, SystemTime::now()));
        let mut start = BytesMut::new();
        let mut read = 0;
        while read < READ_BYTES {
            let Some(frame) = response.body_mut().frame().await else {
                break;
            };
            // What is no data are trailers.
            let Ok(chunk) = frame.map_err(|error| cut_short(&error))?.into_data() else {
                continue;
            };
            read += chunk.len();
            let wanted = KEPT_BYTES.saturating_sub(start.len()).min(chunk.len());
            start.extend_from_slice(&chunk[..wanted]);
        }
        Ok(Reply { status, retry_after, start: start.freeze() })
    }

    /// What may send to a URL, once the URL's host is checked as far as that is not done when it is dialled; and the
    /// proxy between, if there is one.
    async fn pool(&self, post: &Post<'_>) -> Result<(&Pool, Option<Intercept>), TransportError> {
        let Inner { clients, settings } = &*self.inner;
        let certificates = match post.owner {
            Owner::Operator => return Ok(clients.operators(&post.uri)),
            Owner::Instance(certificates) => certificates,
        };
        // An address in the URL is dialled without being resolved: here is the only place to check it.
        let reach = settings.permits.host(&post.host).map_err(refused)?;
        match clients.way(&post.uri, certificates) {
            Way::Direct(pool) => Ok((pool, None)),
            Way::Proxy(pool, proxy) => {
                self.check_resolved(reach).await?;
                Ok((pool, Some(proxy)))
            }
        }
    }

    /// Checks where a proxy is to connect to, by what its name leads to here. The proxy resolves it by itself and takes
    /// which address it likes, so each has to be permitted.
    async fn check_resolved(&self, reach: Reach<'_>) -> Result<(), TransportError> {
        let Reach::Name(name) = reach else {
            return Ok(());
        };
        let ClientSettings { connect_timeout, permits, .. } = &self.inner.settings;
        let found = timeout(*connect_timeout, lookup(name)).await;
        let found = found.map_err(|_| TransportError::ConnectTimeout(*connect_timeout))?;
        let found = found.map_err(|error| {
            TransportError::Dns(format!(
                "{error} (it is resolved here to be checked before a proxy is asked; WEBHOOK_ALLOW_HOSTS={name} \
                 leaves that out)"
            ))
        })?;
        permits.all_addresses(name, &found).map_err(refused)
    }
}

fn refused(refusal: Refusal) -> TransportError {
    TransportError::Refused(Box::new(refusal))
}
