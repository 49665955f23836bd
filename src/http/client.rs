//! One shared client: POSTs, and tells how each ended.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use http::header::RETRY_AFTER;
use reqwest::Url;
use tokio::time::{Instant, timeout, timeout_at};

use super::clients::{BuildError, Clients, Way};
use super::failure::classify;
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
        Ok(Self { inner: Arc::new(Inner { clients: Clients::build(&settings)?, settings }) })
    }

    /// The proxies that are used, as they may be shown.
    pub fn proxies(&self) -> impl Iterator<Item = &str> {
        self.inner.clients.proxies()
    }

    /// Sends one request and reads as much of the reply as is wanted, all within the request timeout. Nothing is sent
    /// where the webhook of an instance is at an address that is not permitted.
    pub async fn post(&self, post: Post) -> Outcome {
        let request_timeout = self.inner.settings.request_timeout;
        match timeout_at(Instant::now() + request_timeout, self.exchange(post)).await {
            Ok(Ok(reply)) => Outcome::Replied(reply),
            Ok(Err(error)) => Outcome::Failed(error),
            Err(_) => Outcome::Failed(TransportError::Timeout(request_timeout)),
        }
    }

    async fn exchange(&self, post: Post) -> Result<Reply, TransportError> {
        let failed = |error| classify(error, self.inner.settings.connect_timeout);
        let url = Url::parse(&post.url).map_err(|error| TransportError::BadRequest(error.to_string()))?;
        let client = self.client(&url, post.owner).await?;
        let request = client.post(url).headers(post.headers).body(post.body);
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| retry_after(value, SystemTime::now()));
        let mut start = BytesMut::new();
        let mut read = 0;
        while read < READ_BYTES {
            let Some(chunk) = response.chunk().await.map_err(failed)? else {
                break;
            };
            read += chunk.len();
            let wanted = KEPT_BYTES.saturating_sub(start.len()).min(chunk.len());
            start.extend_from_slice(&chunk[..wanted]);
        }
        Ok(Reply { status, retry_after, start: start.freeze() })
    }

    /// The client that may send to a URL, once the URL's host is checked as far as that client does not do it itself.
    async fn client(&self, url: &Url, owner: Owner) -> Result<&reqwest::Client, TransportError> {
        let Inner { clients, settings } = &*self.inner;
        let certificates = match owner {
            Owner::Operator => return Ok(&clients.operators),
            Owner::Instance(certificates) => certificates,
        };
        // An address in the URL is dialled without being resolved: here is the only place to check it.
        let reach = settings.permits.host(url).map_err(refused)?;
        match clients.way(url, certificates) {
            Way::Direct(client) => Ok(client),
            Way::Proxy(client) => {
                self.check_resolved(reach).await?;
                Ok(client)
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
