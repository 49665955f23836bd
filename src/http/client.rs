//! One shared client: POSTs, and tells how each ended.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use http::header::RETRY_AFTER;
use tokio::time::{Instant, timeout_at};

use super::failure::classify;
use super::resolver::Resolver;
use crate::decide::retry::retry_after;
use crate::model::{Outcome, Post, Reply, TransportError};

/// How much of a reply is read; past it the connection is dropped and the status alone counts.
const READ_BYTES: usize = 16 * 1024;
/// How much of a reply is kept for the records.
const KEPT_BYTES: usize = 1024;
/// How long an idle connection to a receiver is kept.
const IDLE: Duration = Duration::from_secs(60);

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct ClientSettings {
    /// The whole attempt, up to the last byte that is read of the reply.
    pub request_timeout: Duration,
    /// Resolving, connecting and the TLS handshake.
    pub connect_timeout: Duration,
}

/// The client cannot be built.
#[derive(Debug, thiserror::Error)]
#[error(
    "the HTTP client cannot be built: {0} (are CA certificates installed? e.g. the package ca-certificates)"
)]
pub struct BuildError(String);

/// The shared client. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    client: reqwest::Client,
    settings: ClientSettings,
}

impl Client {
    /// Builds the client. A rustls `CryptoProvider` has to be installed.
    ///
    /// # Errors
    /// When the system's trust store cannot be read.
    pub fn new(settings: ClientSettings) -> Result<Self, BuildError> {
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(IDLE)
            .tcp_nodelay(true)
            .dns_resolver(Arc::new(Resolver))
            .build()
            .map_err(|error| BuildError(error.to_string()))?;
        Ok(Self { client, settings })
    }

    /// Sends one request and reads as much of the reply as is wanted, all within the request timeout.
    pub async fn post(&self, post: Post) -> Outcome {
        let deadline = Instant::now() + self.settings.request_timeout;
        match timeout_at(deadline, self.exchange(post)).await {
            Ok(Ok(reply)) => Outcome::Replied(reply),
            Ok(Err(error)) => Outcome::Failed(error),
            Err(_) => Outcome::Failed(TransportError::Timeout(self.settings.request_timeout)),
        }
    }

    async fn exchange(&self, post: Post) -> Result<Reply, TransportError> {
        let failed = |error| classify(error, self.settings.connect_timeout);
        let url =
            reqwest::Url::parse(&post.url).map_err(|error| TransportError::BadRequest(error.to_string()))?;
        let request = self.client.post(url).headers(post.headers).body(post.body);
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
}
