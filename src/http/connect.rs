//! Making connections: resolving, TCP, TLS, and a proxy between.

use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::Scheme;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Intercept;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use super::proxies::Proxies;
use super::resolver::Resolver;
use super::stream::Stream;
use super::tls::without_alpn;

/// After how long without a sign of life a connection is asked for one, how often, and how many times.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(15), Duration::from_secs(15), 3);
/// How long what was sent may go without being acknowledged, by the system of the receiver.
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);

/// What goes wrong is told apart by its cause, see [`super::failure`].
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Makes the connections of a pool. Cheap to clone: the pool does that with every request.
#[derive(Clone, Debug)]
pub(super) struct Connector(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    tcp: HttpConnector<Resolver>,
    tls: Arc<ClientConfig>,
    proxies: Option<Proxying>,
    patience: Duration,
}

#[derive(Debug)]
struct Proxying {
    proxies: Arc<Proxies>,
    /// For the connection to a proxy that makes tunnels.
    tls: Arc<ClientConfig>,
}

/// No connection was made in time.
#[derive(Debug, thiserror::Error)]
#[error("no connection in time")]
pub(super) struct TimedOut;

impl Connector {
    /// Connects within `patience` to what `resolver` finds, or to the proxy that `proxies` have for a URL.
    pub(super) fn new(
        resolver: Resolver,
        tls: &Arc<ClientConfig>,
        proxies: Option<&Arc<Proxies>>,
        patience: Duration,
    ) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Several addresses share it, so that one that does not answer leaves time for the next.
        tcp.set_connect_timeout(Some(patience));
        let (idle, interval, retries) = KEEPALIVE;
        tcp.set_keepalive(Some(idle));
        tcp.set_keepalive_interval(Some(interval));
        tcp.set_keepalive_retries(Some(retries));
        #[cfg(target_os = "linux")]
        tcp.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
        let proxies =
            proxies.map(|proxies| Proxying { proxies: Arc::clone(proxies), tls: without_alpn(tls) });
        Self(Arc::new(Inner { tcp, tls: Arc::clone(tls), proxies, patience }))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            let made = timeout(inner.patience, inner.connect(to)).await;
            made.unwrap_or_else(|_| Err(TimedOut.into())).map(TokioIo::new)
        })
    }
}

impl Inner {
    async fn connect(&self, to: Uri) -> Result<Stream, BoxError> {
        let proxying = self.proxies.as_ref();
        match proxying.and_then(|proxying| Some((proxying, proxying.proxies.intercept(&to)?))) {
            None => self.open(to, &self.tls).await,
            Some((proxying, proxy)) if is_https(&to) => self.tunnel(to, &proxy, &proxying.tls).await,
            Some((_, proxy)) => {
                Ok(Stream::Forwarded(Box::new(self.open(proxy.uri().clone(), &self.tls).await?)))
            }
        }
    }

    /// To the host of a URL, by its scheme.
    async fn open(&self, to: Uri, tls: &Arc<ClientConfig>) -> Result<Stream, BoxError> {
        // Before anything is connected: not every host has a name that TLS can ask for.
        let name = is_https(&to).then(|| server_name(&to)).transpose()?;
        // It is ready at any time, as the resolver is.
        let tcp = self.tcp.clone().call(to).await?;
        let stream = Stream::Tcp(tcp.into_inner());
        match name {
            None => Ok(stream),
            Some(name) => encrypted(stream, name, tls).await,
        }
    }

    /// To the host of an `https` URL, through what its proxy connects to it.
    async fn tunnel(
        &self,
        to: Uri,
        proxy: &Intercept,
        tls_to_proxy: &Arc<ClientConfig>,
    ) -> Result<Stream, BoxError> {
        let name = server_name(&to)?;
        let stream = self.open(proxy.uri().clone(), tls_to_proxy).await?;
        let mut tunnel = Tunnel::new(proxy.uri().clone(), Opened(Some(stream)));
        if let Some(authorization) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        let stream = tunnel.call(to).await?.into_inner();
        encrypted(stream, name, &self.tls).await
    }
}

fn is_https(uri: &Uri) -> bool {
    uri.scheme() == Some(&Scheme::HTTPS)
}

/// Whose certificate the host of a URL has to show.
fn server_name(uri: &Uri) -> Result<ServerName<'static>, BoxError> {
    let host = uri.host().unwrap_or_default();
    // As URLs write addresses of IPv6, and nothing else does.
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Ok(ServerName::try_from(host)?.to_owned())
}

async fn encrypted(
    stream: Stream,
    name: ServerName<'static>,
    tls: &Arc<ClientConfig>,
) -> Result<Stream, BoxError> {
    let tls = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await?;
    Ok(Stream::Tls(Box::new(tls)))
}

/// A connection to a proxy that was made already, for the one tunnel through it.
struct Opened(Option<Stream>);

impl Service<Uri> for Opened {
    type Response = TokioIo<Stream>;
    type Error = std::io::Error;
    type Future = Ready<std::io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().map(TokioIo::new).ok_or_else(|| std::io::ErrorKind::NotConnected.into()))
    }
}
