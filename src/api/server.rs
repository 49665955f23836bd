//! Connections: so many at most, none of which may dawdle.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_http::timeout::RequestBodyTimeoutLayer;

use super::Api;
use super::stream::Impatient;

/// How many connections are open at once, if the system allows four times as many files; others wait to be accepted.
const CONNECTIONS: usize = 4096;
/// How many wait to be accepted, as far as the system has it (`net.core.somaxconn`).
const WAITING: u32 = 1024;
/// How long a client may take for the head of a request, and how long a connection may idle between two.
const HEAD: Duration = Duration::from_secs(10);
/// How long a client may let a body rest.
const BODY: Duration = Duration::from_secs(10);
/// How long a client need take nothing of an answer.
const UNREAD: Duration = Duration::from_secs(10);
/// What of a request's head is held at most.
const HEAD_BYTES: usize = 64 * 1024;
/// How many headers a request may have.
const HEADERS: usize = 100;
/// How long to wait when no connection can be accepted (too many open files, say).
const ACCEPT_AGAIN: Duration = Duration::from_millis(200);
/// How long requests under way may take to end after `stop`.
const GRACE: Duration = Duration::from_secs(5);

/// Listens on `addr`, with room for many who come at once: the standard library's is for 128.
///
/// # Errors
/// When the system refuses: the address is in use, say.
pub fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(WAITING)
}

/// Serves the API until `stop`; then requests under way are answered.
pub async fn serve(api: Api, listener: TcpListener, stop: CancellationToken) {
    let router = api.router().layer(RequestBodyTimeoutLayer::new(BODY));
    let places = Arc::new(Semaphore::new(places()));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &places) => accepted,
            Some(_) = connections.join_next() => continue,
            () = stop.cancelled() => break,
        };
        let Some((stream, place)) = accepted else { continue };
        let (service, stop) = (TowerToHyperService::new(router.clone()), stop.clone());
        connections.spawn(async move {
            let _place = place;
            converse(stream, service, stop).await;
        });
    }
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, ended).await.is_err() {
        connections.shutdown().await;
    }
}

/// How many connections there may be: deliveries need files, too.
fn places() -> usize {
    let files = getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok());
    files.map_or(CONNECTIONS, |files| CONNECTIONS.min(files / 4))
}

/// A connection, and its place among them, once there is one.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> Option<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(error) => {
            tracing::debug!(%error, "a connection to the HTTP API could not be accepted");
            tokio::time::sleep(ACCEPT_AGAIN).await;
            None
        }
    }
}

/// Answers one connection's requests until it ends, or until `stop` and the end of the one under way.
async fn converse(stream: TcpStream, service: TowerToHyperService<axum::Router>, stop: CancellationToken) {
    // Only latency is at stake.
    _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        // Who says no more may still listen; and what was begun is not dropped half way.
        .half_close(true)
        .serve_connection(TokioIo::new(Impatient::new(stream, UNREAD)), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the HTTP API ended early");
    }
}
