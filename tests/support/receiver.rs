//! A receiver of webhooks: HTTP/1.1 by hand, so that it can also break the rules.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::eventually;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Received {
    pub at: Instant,
    /// The client's end of the connection: the same port, the same connection.
    pub client: SocketAddr,
    pub method: String,
    /// Path and query.
    pub path: String,
    /// By lower-case name; of repeated headers the last.
    pub headers: HashMap<String, String>,
    /// The names of all headers, repeated ones too, in lower case and sorted.
    pub header_names: Vec<String>,
    pub body: Vec<u8>,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("the body is UTF-8")
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }

    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    pub fn attempt(&self) -> u32 {
        self.header("webhook-attempt").parse().expect("webhook-attempt is a number")
    }
}

/// Holds answers back until it is opened. All clones are one.
#[derive(Clone, Debug)]
pub struct Gate(Arc<tokio::sync::watch::Sender<bool>>);

impl Gate {
    pub fn closed() -> Self {
        Self(Arc::new(tokio::sync::watch::Sender::new(false)))
    }

    pub fn open(&self) {
        self.0.send_replace(true);
    }

    async fn opened(&self) {
        // The sender is this gate's own, so the wait ends only when it is opened.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

/// What to answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// A whole reply.
    Reply { status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    /// The same, after a while.
    Later(Duration, Box<Answer>),
    /// The same, once a gate is open.
    Behind(Gate, Box<Answer>),
    /// These bytes, and then the connection is closed.
    Raw(Vec<u8>),
    /// These bytes, and then nothing more; the connection stays open.
    Stall(Vec<u8>),
    /// One byte of the body each time the interval passes, for ever.
    Drip(Duration),
    /// A 200 whose body has this many bytes, written as far as the client reads.
    Flood(usize),
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Self::Reply { status, headers: Vec::new(), body: b"{\"message\":\"as asked\"}".to_vec() }
    }

    pub fn with_header(status: u16, name: &str, value: &str) -> Self {
        Self::Reply { status, headers: vec![(name.to_owned(), value.to_owned())], body: Vec::new() }
    }

    pub fn later(self, by: Duration) -> Self {
        Self::Later(by, Box::new(self))
    }

    pub fn behind(self, gate: &Gate) -> Self {
        Self::Behind(gate.clone(), Box::new(self))
    }
}

type Script = dyn Fn(&Received) -> Answer + Send + Sync;

/// A receiver on a free port; it ends with its owner.
pub struct Receiver {
    port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    flooded: Arc<AtomicUsize>,
    connections: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Receiver {
    /// A receiver that answers 200 to everything.
    pub async fn start() -> Self {
        Self::answering(|_| Answer::status(200)).await
    }

    /// A receiver that answers 500 to all attempts before this one, and 200 from it on.
    pub async fn working_from(attempt: u32) -> Self {
        Self::answering(move |request| Answer::status(if request.attempt() < attempt { 500 } else { 200 }))
            .await
    }

    /// A receiver that answers nothing until it is told that it works.
    pub async fn hanging() -> (Self, Arc<AtomicBool>) {
        let works = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&works);
        let answer = move |_: &Received| {
            if told.load(Ordering::SeqCst) { Answer::status(200) } else { Answer::Stall(Vec::new()) }
        };
        (Self::answering(answer).await, works)
    }

    /// A receiver that answers everything with a status, this one at first, that can be changed.
    pub async fn switchable(status: u16) -> (Self, Arc<AtomicU16>) {
        let now = Arc::new(AtomicU16::new(status));
        let switch = Arc::clone(&now);
        (Self::answering(move |_| Answer::status(now.load(Ordering::SeqCst))).await, switch)
    }

    /// A receiver that answers as `script` says.
    pub async fn answering(script: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::on(listener, script)
    }

    /// The same, on a listener that exists.
    pub fn on(listener: TcpListener, script: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        let port = listener.local_addr().expect("its address").port();
        let received = Arc::new(Mutex::new(Vec::new()));
        let flooded = Arc::new(AtomicUsize::new(0));
        let (record, script): (_, Arc<Script>) = (Arc::clone(&received), Arc::new(script));
        let flood = Arc::clone(&flooded);
        let connections = Arc::new(AtomicUsize::new(0));
        let connected = Arc::clone(&connections);
        let accepting = tokio::spawn(async move {
            let mut serving = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connected.fetch_add(1, Ordering::SeqCst);
                serving.spawn(serve(stream, Arc::clone(&record), Arc::clone(&script), Arc::clone(&flood)));
                while serving.try_join_next().is_some() {}
            }
        });
        Self { port, received, flooded, connections, accepting }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The URL of a path, which begins with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// What came so far.
    pub fn received(&self) -> Vec<Received> {
        self.received.lock().expect("no receiver panicked").clone()
    }

    /// How much came so far.
    pub fn count(&self) -> usize {
        self.received.lock().expect("no receiver panicked").len()
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// What came to a path so far.
    pub fn received_on(&self, path: &str) -> Vec<Received> {
        self.received_where(|request| request.path == path)
    }

    /// What came of an event so far.
    pub fn received_of(&self, id: &str) -> Vec<Received> {
        self.received_where(|request| request.id() == id)
    }

    fn received_where(&self, wanted: impl Fn(&Received) -> bool) -> Vec<Received> {
        let received = self.received.lock().expect("no receiver panicked");
        received.iter().filter(|request| wanted(request)).cloned().collect()
    }

    /// Waits until an [`Answer::Flood`] has ended; how many bytes of it the client took, what lay in the system's
    /// buffers included.
    pub async fn wait_for_flood(&self) -> usize {
        eventually("the flood to end", || async {
            Some(self.flooded.load(Ordering::SeqCst)).filter(|bytes| *bytes > 0)
        })
        .await
    }

    /// Waits until at least `count` requests came to a path, and returns all that came there so far.
    pub async fn wait_for_on(&self, path: &str, count: usize) -> Vec<Received> {
        eventually(&format!("{count} requests on {path}"), || async {
            Some(self.received_on(path)).filter(|received| received.len() >= count)
        })
        .await
    }

    /// Waits until at least `count` requests came of an event, and returns all that came of it so far.
    pub async fn wait_for_of(&self, id: &str, count: usize) -> Vec<Received> {
        eventually(&format!("{count} requests of event {id}"), || async {
            Some(self.received_of(id)).filter(|received| received.len() >= count)
        })
        .await
    }

    /// Waits until at least `count` requests came, and returns all that came so far.
    pub async fn wait_for(&self, count: usize) -> Vec<Received> {
        eventually(&format!("{count} requests at the receiver (there are {})", self.count()), || async {
            (self.count() >= count).then(|| self.received())
        })
        .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    record: Arc<Mutex<Vec<Received>>>,
    script: Arc<Script>,
    flooded: Arc<AtomicUsize>,
) {
    let _ = stream.set_nodelay(true);
    let mut buffer = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut buffer).await {
        let answer = script(&request);
        record.lock().expect("no receiver panicked").push(request);
        if !reply(&mut stream, answer, &flooded).await {
            return;
        }
    }
}

/// One request, as far as it is whole; none at the end of the connection.
async fn read_request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Received> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let mut start = lines.next()?.split(' ');
    let (method, path) = (start.next()?.to_owned(), start.next()?.to_owned());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut header_names: Vec<_> = headers.iter().map(|(name, _)| name.clone()).collect();
    header_names.sort();
    let headers: HashMap<_, _> = headers.into_iter().collect();
    let length: usize = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while buffer.len() < head_end + length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = buffer[head_end..head_end + length].to_vec();
    buffer.drain(..head_end + length);
    Some(Received {
        at: Instant::now(),
        client: stream.peer_addr().ok()?,
        method,
        path,
        headers,
        header_names,
        body,
    })
}

/// Answers; whether the connection serves further requests.
async fn reply(stream: &mut TcpStream, answer: Answer, flooded: &AtomicUsize) -> bool {
    match answer {
        Answer::Later(by, answer) => {
            tokio::time::sleep(by).await;
            Box::pin(reply(stream, *answer, flooded)).await
        }
        Answer::Behind(gate, answer) => {
            gate.opened().await;
            Box::pin(reply(stream, *answer, flooded)).await
        }
        Answer::Reply { status, headers, body } => {
            let mut head = format!("HTTP/1.1 {status} Whatever\r\ncontent-length: {}\r\n", body.len());
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            head.push_str("\r\n");
            let whole = [head.as_bytes(), &body].concat();
            stream.write_all(&whole).await.is_ok()
        }
        Answer::Raw(bytes) => {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            false
        }
        Answer::Stall(bytes) => {
            let _ = stream.write_all(&bytes).await;
            std::future::pending::<()>().await;
            false
        }
        Answer::Drip(interval) => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await;
            while stream.write_all(b".").await.is_ok() {
                tokio::time::sleep(interval).await;
            }
            false
        }
        Answer::Flood(bytes) => {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            let chunk = vec![b'x'; 64 * 1024];
            let mut written = 0;
            while written < bytes && stream.write_all(&chunk).await.is_ok() {
                written += chunk.len();
            }
            flooded.fetch_add(written, Ordering::SeqCst);
            false
        }
    }
}
