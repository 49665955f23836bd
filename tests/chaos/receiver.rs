//! The receivers: one server, a path for each destination, and a record of every request.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use super::history::{Clock, End, Ms, Request};
use super::spells::Mood;
use super::traffic::{AT_A_TIME, Behaviour, Place, Traffic};

const FOREVER: Duration = Duration::from_secs(120);

/// The path of the ERRORS webhook.
pub(crate) const ERRORS: &str = "/errors";

/// What the slow receiver has not begun to work on after so long, it forgets: it answers well before its client gives
/// up, or never.
const LONGEST_QUEUE: Duration = Duration::from_millis(800);

/// What was received.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) requests: Vec<Request>,
    /// Deliveries of whose death the ERRORS webhook was told.
    pub(crate) told: HashSet<(u32, Place)>,
    /// Requests that nobody can have caused.
    pub(crate) strange: Vec<String>,
    /// How often each delivery came so far.
    times: HashMap<(u32, Place), u32>,
}

/// The server; it ends with its owner.
pub(crate) struct Receivers {
    port: u16,
    received: Arc<Mutex<Received>>,
    healed: Arc<AtomicBool>,
    accepting: JoinHandle<()>,
}

#[derive(Clone)]
struct Serving {
    traffic: Traffic,
    clock: Clock,
    received: Arc<Mutex<Received>>,
    healed: Arc<AtomicBool>,
    /// What the slow receiver can do at a time.
    hands: Arc<Semaphore>,
}

impl Receivers {
    pub(crate) async fn start(traffic: Traffic, clock: Clock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("its address").port();
        let received = Arc::new(Mutex::new(Received::default()));
        let healed = Arc::new(AtomicBool::new(false));
        let serving = Serving {
            traffic,
            clock,
            received: Arc::clone(&received),
            healed: Arc::clone(&healed),
            hands: Arc::new(Semaphore::new(AT_A_TIME)),
        };
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serving.clone().serve(stream));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { port, received, healed, accepting }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on every receiver is up.
    pub(crate) fn heal(&self) {
        self.healed.store(true, Ordering::Relaxed);
    }

    /// Takes what was received so far.
    pub(crate) fn take(&self) -> Received {
        std::mem::take(&mut self.received.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Receivers {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A request as far as it matters here.
struct Head {
    path: String,
    id: String,
    attempt: u16,
    body: Vec<u8>,
}

impl Serving {
    async fn serve(self, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut buffer = Vec::new();
        while let Some(head) = read(&mut stream, &mut buffer).await {
            let from = self.clock.now();
            if !self.answer(&mut stream, &head, from).await {
                return;
            }
        }
    }

    /// Whether the connection goes on.
    async fn answer(&self, stream: &mut TcpStream, head: &Head, from: Ms) -> bool {
        if head.path == ERRORS {
            self.tell(head);
            return reply(stream, 200).await;
        }
        let (Some(event), Some(place)) = (Traffic::of_id(&head.id), Place::of_path(&head.path)) else {
            self.lock().strange.push(format!("a request to {} with the id {}", head.path, head.id));
            return reply(stream, 200).await;
        };
        let (at, nth) = {
            let mut received = self.lock();
            let request = Request { event, place, attempt: head.attempt, from, to: Ms::MAX, end: End::Open };
            received.requests.push(request);
            let at = received.requests.len() - 1;
            let times = received.times.entry((event, place)).or_default();
            *times += 1;
            (at, *times - 1)
        };
        let mood =
            if self.healed.load(Ordering::Relaxed) { Mood::Up } else { self.traffic.mood(place, from) };
        match self.traffic.behaviour(event, place, nth, mood) {
            Behaviour::Answer(status, after) => {
                if !after.is_zero() && left_within(stream, after).await {
                    self.end(at, End::Left);
                    return false;
                }
                self.end(at, End::Answered(status));
                reply(stream, status).await
            }
            Behaviour::Close => {
                self.end(at, End::Closed);
                false
            }
            Behaviour::Work(length) => {
                let worked = async {
                    let hand = tokio::time::timeout(LONGEST_QUEUE, self.hands.acquire()).await;
                    if hand.is_err() {
                        std::future::pending::<()>().await;
                    }
                    tokio::time::sleep(length).await;
                };
                tokio::select! {
                    () = worked => {}
                    _ = left_within(stream, FOREVER) => {
                        self.end(at, End::Left);
                        return false;
                    }
                }
                self.end(at, End::Answered(200));
                reply(stream, 200).await
            }
            Behaviour::Hang => {
                left_within(stream, FOREVER).await;
                self.end(at, End::Left);
                false
            }
        }
    }

    fn tell(&self, head: &Head) {
        if is_news(&head.body) {
            return;
        }
        let told = dead_delivery(&head.body);
        let mut received = self.lock();
        match told {
            Some(delivery) => _ = received.told.insert(delivery),
            None => received.strange.push(format!("an error event {} of nothing that was pushed", head.id)),
        }
    }

    fn end(&self, at: usize, end: End) {
        let to = self.clock.now();
        // What was taken at the end of the run is not there any more.
        if let Some(request) = self.lock().requests.get_mut(at) {
            (request.to, request.end) = (to, end);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether it tells of a receiver that is down or back.
fn is_news(body: &[u8]) -> bool {
    let body: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    body["event"].as_str().is_some_and(|event| event.starts_with("destination."))
}

/// Which delivery an error event is about.
pub(crate) fn dead_delivery(error_event: &[u8]) -> Option<(u32, Place)> {
    let event: serde_json::Value = serde_json::from_slice(error_event).ok()?;
    let delivery = &event["data"]["delivery"];
    let place = Place::of_destination(delivery["destination"].as_str()?)?;
    Some((Traffic::of_id(delivery["id"].as_str()?)?, place))
}

/// Whether the client closes the connection within this time.
async fn left_within(stream: &mut TcpStream, time: Duration) -> bool {
    let mut byte = [0];
    tokio::time::timeout(time, stream.read(&mut byte)).await.is_ok()
}

async fn reply(stream: &mut TcpStream, status: u16) -> bool {
    let length = if status == 204 { "" } else { "content-length: 0\r\n" };
    let text = format!("HTTP/1.1 {status} As Asked\r\n{length}\r\n");
    stream.write_all(text.as_bytes()).await.is_ok()
}

/// The next request of a connection; none when it ends.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Head> {
    loop {
        if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let length = header(&head, "content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
            if buffer.len() >= end + 4 + length {
                let body = buffer[end + 4..end + 4 + length].to_vec();
                buffer.drain(..end + 4 + length);
                return Some(Head {
                    path: head.split(' ').nth(1)?.to_owned(),
                    id: header(&head, "webhook-id")?.to_owned(),
                    attempt: header(&head, "webhook-attempt")?.parse().ok()?,
                    body,
                });
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}
