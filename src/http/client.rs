//! One shared client: POSTs, and tells how each ended.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::header::{PROXY_AUTHORIZATION, RETRY_AFTER};
use http::uri::Scheme;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::{self, ResponseFuture};
use tokio::time::{Instant, timeout, timeout_at};

use super::clients::{BuildError, Clients};
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
    ///
    /// Nothing of the request is in the future that is returned: what moves an attempt moves little.
    pub fn post<'a>(&'a self, post: Post<'_>) -> impl Future<Output = Outcome> + Send + use<'a> {
        let request_timeout = self.inner.settings.request_timeout;
        let deadline = Instant::now() + request_timeout;
        let reply = self.inner.reply(self.inner.send(post));
        timeout_at(deadline, reply).map(move |within| match within {
            Ok(Ok(reply)) => Outcome::Replied(reply),
            Ok(Err(error)) => Outcome::Failed(error),
            Err(_) => Outcome::Failed(TransportError::Timeout(request_timeout)),
        })
    }
}

/// A request on its way.
enum Sending<'a> {
    /// It is made as soon as it is waited for.
    Now(ResponseFuture),
    /// Where its proxy is to connect to is checked before.
    Checked(Pin<Box<dyn Future<Output = Result<Response<Incoming>, TransportError>> + Send + 'a>>),
}

impl Inner {
    /// Sends by what may send to the URL, once the URL's host is checked as far as that is not done when it is dialled.
    fn send(&self, mut post: Post<'_>) -> Result<Sending<'_>, TransportError> {
        let (pool, proxy) = self.clients.way(&post.uri, post.owner);
        let name = match post.owner {
            Owner::Operator => None,
            // An address in the URL is dialled without being resolved: here is the only place to check it.
            Owner::Instance(_) => match self.settings.permits.host(&post.host).map_err(refused)? {
                Reach::Name(name) if proxy.is_some() => Some(name.to_owned()),
                Reach::Name(_) | Reach::Permitted => None,
            },
        };
        // Through a tunnel, the proxy is told when it makes it.
        if let Some(proxy) = proxy.filter(|_| post.uri.scheme() == Some(&Scheme::HTTP))
            && let Some(authorization) = proxy.basic_auth()
        {
            post.headers.insert(PROXY_AUTHORIZATION, authorization.clone());
        }
        let mut request = Request::new(Full::new(post.body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = post.uri;
        *request.headers_mut() = post.headers;
        Ok(match name {
            None => Sending::Now(pool.request(request)),
            Some(name) => Sending::Checked(Box::pin(async move {
                self.check_resolved(&name).await?;
                pool.request(request).await.map_err(|error| self.unanswered(&error))
            })),
        })
    }

    async fn reply(&self, sending: Result<Sending<'_>, TransportError>) -> Result<Reply, TransportError> {
        let answer = match sending? {
            Sending::Now(answer) => answer.await.map_err(|error| self.unanswered(&error))?,
            Sending::Checked(answer) => answer.await?,
        };
        let (status, retry_after, body) = taken_apart(answer);
        Ok(Reply { status, retry_after, start: start_of(body).await? })
    }

    fn unanswered(&self, error: &legacy::Error) -> TransportError {
        unanswered(error, self.settings.connect_timeout)
    }

    /// Checks where a proxy is to connect to, by what its name leads to here. The proxy resolves it by itself and takes
    /// which address it likes, so each has to be permitted.
    async fn check_resolved(&self, name: &str) -> Result<(), TransportError> {
        let ClientSettings { connect_timeout, permits, .. } = &self.settings;
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

fn taken_apart(answer: Response<Incoming>) -> (u16, Option<Duration>, Incoming) {
    let retry_after = answer
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| retry_after(value, SystemTime::now()));
    (answer.status().as_u16(), retry_after, answer.into_body())
}

/// Reads a reply as far as that is wanted; what of it is kept.
async fn start_of(mut body: Incoming) -> Result<Bytes, TransportError> {
    let mut start = BytesMut::new();
    let mut read = 0;
    while read < READ_BYTES {
        let Some(frame) = body.frame().await else {
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
    Ok(start.freeze())
}

fn refused(refusal: Refusal) -> TransportError {
    TransportError::Refused(Box::new(refusal))
}
