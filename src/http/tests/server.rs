//! Receivers and proxies for the tests of the client.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::request::Parts;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

type Answer = dyn Fn(&str) -> String + Send + Sync;

#[derive(Default)]
struct Seen {
    requests: Vec<String>,
    connections: Vec<TcpStream>,
}

/// A receiver of bytes, each of whose connections ends with an answer that is empty.
pub(super) struct Receiver {
    pub(super) port: u16,
    seen: Arc<Mutex<Seen>>,
}

impl Receiver {
    pub(super) fn start(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::new(Arc::new(answer), false)
    }

    /// One that hangs up as soon as it has answered.
    pub(super) fn hanging_up(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::new(Arc::new(answer), true)
    }

    fn new(answer: Arc<Answer>, hangs_up: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let told = Arc::clone(&seen);
        std::thread::spawn(move || {
            for connection in listener.incoming().map_while(Result::ok) {
                lock(&told).connections.push(connection.try_clone().unwrap());
                let (answer, told) = (Arc::clone(&answer), Arc::clone(&told));
                std::thread::spawn(move || converse(connection, &*answer, hangs_up, &told));
            }
        });
        Self { port, seen }
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// What was read, request by request.
    pub(super) fn requests(&self) -> Vec<String> {
        lock(&self.seen).requests.clone()
    }

    pub(super) fn connections(&self) -> usize {
        lock(&self.seen).connections.len()
    }

    /// Ends every connection.
    pub(super) fn hang_up(&self) {
        for connection in &lock(&self.seen).connections {
            _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn converse(mut connection: TcpStream, answer: &Answer, hangs_up: bool, seen: &Mutex<Seen>) {
    while let Some(request) = request(&mut connection) {
        let answer = answer(&request);
        lock(seen).requests.push(request);
        if connection.write_all(answer.as_bytes()).is_err() || answer.is_empty() || hangs_up {
            break;
        }
    }
    // The clone that is kept to hang up would hold it open.
    _ = connection.shutdown(Shutdown::Both);
}

fn request(connection: &mut TcpStream) -> Option<String> {
    let mut read = Vec::new();
    let whole = |read: &[u8]| {
        let text = String::from_utf8_lossy(read);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let (_, length) = head.split_once("content-length: ")?;
        let length: usize = length.lines().next()?.parse().ok()?;
        (body.len() == length).then(|| text.into_owned())
    };
    loop {
        let mut part = [0; 4096];
        match connection.read(&mut part) {
            Ok(0) | Err(_) => return None,
            Ok(length) => read.extend_from_slice(&part[..length]),
        }
        if let Some(request) = whole(&read) {
            return Some(request);
        }
    }
}

/// A certificate with its key, PEM.
pub(super) struct Identity {
    pub(super) certificate: String,
    key: KeyPair,
    params: CertificateParams,
}

impl Identity {
    /// A CA.
    pub(super) fn authority() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        Self { certificate: params.self_signed(&key).unwrap().pem(), key, params }
    }

    /// For a server of this name.
    pub(super) fn issue(&self, name: &str) -> Self {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.key);
        Self { certificate: params.signed_by(&key, &issuer).unwrap().pem(), key, params }
    }

    fn acceptor(&self, protocols: &[&[u8]]) -> TlsAcceptor {
        let chain = vec![CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(self.key.serialize_pem().as_bytes()).unwrap();
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config).into()
    }
}

type Requests = Arc<Mutex<Vec<(Parts, Bytes)>>>;

/// A receiver behind TLS, which speaks whatever was agreed on.
pub(super) struct TlsReceiver {
    pub(super) port: u16,
    requests: Requests,
    connections: Arc<Mutex<usize>>,
    serving: JoinHandle<()>,
}

impl TlsReceiver {
    pub(super) async fn start(identity: &Identity) -> Self {
        Self::speaking(identity, &[b"h2", b"http/1.1"]).await
    }

    pub(super) async fn speaking(identity: &Identity, protocols: &[&[u8]]) -> Self {
        let acceptor = identity.acceptor(protocols);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (requests, connections) = (Requests::default(), Arc::new(Mutex::new(0)));
        let (told, counted) = (Arc::clone(&requests), Arc::clone(&connections));
        let serving = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                *lock(&counted) += 1;
                let (acceptor, told) = (acceptor.clone(), Arc::clone(&told));
                tokio::spawn(async move {
                    if let Ok(stream) = acceptor.accept(tcp).await {
                        serve(stream, told).await;
                    }
                });
            }
        });
        Self { port, requests, connections, serving }
    }

    pub(super) fn requests(&self) -> Vec<(Parts, Bytes)> {
        lock(&self.requests).clone()
    }

    pub(super) fn connections(&self) -> usize {
        *lock(&self.connections)
    }
}

impl Drop for TlsReceiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(stream: TlsStream<tokio::net::TcpStream>, told: Requests) {
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let service = service_fn(move |request: Request<Incoming>| {
        let told = Arc::clone(&told);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await?.to_bytes();
            lock(&told).push((parts, body));
            Ok::<_, hyper::Error>(Response::new(Empty::<Bytes>::new()))
        }
    });
    let stream = TokioIo::new(stream);
    // What fails is for the client to tell.
    _ = match is_h2 {
        true => {
            hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(stream, service)
                .await
        }
        false => hyper::server::conn::http1::Builder::new().serve_connection(stream, service).await,
    };
}

/// A proxy behind TLS: wherever it is asked to go, it connects to one port of this machine.
pub(super) struct TlsProxy {
    pub(super) port: u16,
    heads: Arc<Mutex<Vec<String>>>,
    serving: JoinHandle<()>,
}

impl TlsProxy {
    pub(super) async fn start(identity: &Identity, to: u16) -> Self {
        let acceptor = identity.acceptor(&[b"h2", b"http/1.1"]);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&heads);
        let serving = tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, told) = (acceptor.clone(), Arc::clone(&told));
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(tcp).await.unwrap();
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await.unwrap());
                    }
                    lock(&told).push(String::from_utf8(head).unwrap());
                    let mut inner = tokio::net::TcpStream::connect(("127.0.0.1", to)).await.unwrap();
                    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                    _ = copy_bidirectional(&mut stream, &mut inner).await;
                });
            }
        });
        Self { port, heads, serving }
    }

    /// What it was asked.
    pub(super) fn heads(&self) -> Vec<String> {
        lock(&self.heads).clone()
    }
}

impl Drop for TlsProxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
