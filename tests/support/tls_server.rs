//! A receiver behind TLS, with a certificate for `localhost` of a CA of the tests' own.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::{Authority, Issued};

/// The CA's certificate, valid from 2020 to 2120 as the other is; nobody has its key any more.
pub const CA_FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/tls/ca.pem");
const CERTIFICATE: &[u8] = include_bytes!("tls/localhost.pem");
/// Worth nothing: no system trusts the CA.
const KEY: &[u8] = include_bytes!("tls/localhost.key.pem");

/// A receiver that answers 200 to what comes through TLS; it ends with its owner.
pub struct TlsServer {
    port: u16,
    posts: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
}

impl TlsServer {
    /// With a certificate for `localhost` of [`CA_FILE`].
    pub fn start() -> Self {
        Self::start_as(CERTIFICATE, KEY, None)
    }

    /// With this certificate.
    pub fn with(identity: &Issued) -> Self {
        Self::start_as(identity.certificate.as_bytes(), identity.key.as_bytes(), None)
    }

    /// The same, for clients that have a certificate of this CA.
    pub fn for_clients_of(identity: &Issued, clients: &Authority) -> Self {
        Self::start_as(identity.certificate.as_bytes(), identity.key.as_bytes(), Some(&clients.pem))
    }

    fn start_as(certificate: &[u8], key: &[u8], clients: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let (posts, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, stopped, config) =
            (Arc::clone(&posts), Arc::clone(&stop), config(certificate, key, clients));
        let serving = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                // What fails is for the client to tell.
                let _ = stream.and_then(|stream| serve(stream, &config, &count));
            }
        });
        Self { port, posts, stop, serving: Some(serving) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self, host: &str) -> String {
        format!("https://{host}:{}/", self.port)
    }

    /// How many POSTs were answered.
    pub fn count(&self) -> usize {
        self.posts.load(Ordering::SeqCst)
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes it.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
        let _ = self.serving.take().map(JoinHandle::join);
    }
}

fn config(certificate: &[u8], key: &[u8], clients: Option<&str>) -> Arc<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let of_pem = |pem| CertificateDer::from_pem_slice(pem).expect("a certificate");
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("the provider knows the versions");
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(of_pem(ca.as_bytes())).expect("a CA");
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
            builder.with_client_cert_verifier(verifier.expect("a CA is enough"))
        }
    };
    let key = PrivateKeyDer::from_pem_slice(key).expect("a key");
    Arc::new(builder.with_single_cert(vec![of_pem(certificate)], key).expect("they belong together"))
}

fn serve(stream: TcpStream, config: &Arc<ServerConfig>, posts: &AtomicUsize) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let connection = ServerConnection::new(Arc::clone(config)).map_err(std::io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    // The body of every event ends so.
    let mut request = Vec::new();
    while !request.ends_with(b"}") {
        let mut part = [0; 4096];
        let read = stream.read(&mut part)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        request.extend_from_slice(&part[..read]);
    }
    posts.fetch_add(1, Ordering::SeqCst);
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    stream.conn.send_close_notify();
    stream.flush()
}
