//! The receiver: an HTTP server that records what arrives, and behaves as it is told.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, Method, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::behaviour::{Answer, Behaviour, for_path};
use super::connection::{Closable, Closer};
use super::signature::Signature;
use crate::model::Envelope;

/// Larger bodies are answered with 413. Above the largest `MAX_EVENT_BYTES`.
const MAX_BODY_BYTES: usize = 513 * 1024 * 1024;
/// Of how many webhook-ids it is known how often they came; older ones are forgotten.
const KNOWN_IDS: usize = 100_000;

/// A request as it arrived, and what it gets.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Record {
    /// When it was whole, Unix ms.
    pub(in crate::cli) at_ms: u64,
    /// The method.
    pub(in crate::cli) method: Method,
    /// Path and query.
    pub(in crate::cli) path: String,
    /// The headers.
    pub(in crate::cli) headers: HeaderMap,
    /// The body.
    pub(in crate::cli) body: Bytes,
    /// `webhook-id`.
    pub(in crate::cli) id: Option<String>,
    /// `webhook-attempt`.
    pub(in crate::cli) attempt: Option<u32>,
    /// `event` of the body, as it is written there.
    pub(in crate::cli) event: Option<String>,
    /// `instance` of the body.
    pub(in crate::cli) instance: Option<String>,
    /// Whether the signature is good.
    pub(in crate::cli) signature: Signature,
    /// What the request gets.
    pub(in crate::cli) answer: Answer,
}

/// A receiver.
#[derive(Debug)]
pub(in crate::cli) struct Receiver {
    rules: Vec<(String, Behaviour)>,
    seen: Mutex<Seen>,
    records: mpsc::Sender<Record>,
}

#[derive(Debug, Default)]
struct Seen {
    times: HashMap<(usize, String), u32>,
    order: VecDeque<(usize, String)>,
}

#[derive(Clone)]
struct Serving {
    receiver: Arc<Receiver>,
    stop: CancellationToken,
}

impl Receiver {
    /// A receiver whose paths behave by the longest prefix in `rules` (`/flaky` is that of `/flaky/messages-upsert`);
    /// other paths answer 404. What arrives goes to `records`; requests wait while there is no room.
    pub(in crate::cli) fn new(rules: Vec<(String, Behaviour)>, records: mpsc::Sender<Record>) -> Self {
        Self { rules, seen: Mutex::default(), records }
    }

    /// Serves until `stop`; then requests under way are answered, and those that hang are let go.
    ///
    /// # Errors
    /// When the listener cannot be used.
    pub(in crate::cli) async fn run(self, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        let serving = Serving { receiver: Arc::new(self), stop: stop.clone() };
        let router = Router::new().fallback(handle).with_state(serving);
        let service = router.into_make_service_with_connect_info::<Closer>();
        axum::serve(Closable(listener), service).with_graceful_shutdown(stop.cancelled_owned()).await
    }

    fn record(&self, method: Method, path: String, headers: HeaderMap, body: Bytes) -> (Record, Behaviour) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let id = text("webhook-id");
        let plain_path = path.split('?').next().unwrap_or_default();
        let (behaviour, answer) = match for_path(&self.rules, plain_path) {
            Some((rule, behaviour)) => {
                let seen = self.count(rule, id.clone().unwrap_or_default());
                (behaviour.clone(), behaviour.answer(seen))
            }
            None => (Behaviour::default(), Answer::Status(404, None)),
        };
        let envelope = Envelope::parse(body.clone()).ok();
        let record = Record {
            at_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            attempt: text("webhook-attempt").and_then(|text| text.parse().ok()),
            event: envelope.as_ref().map(Envelope::written_name),
            instance: envelope.as_ref().and_then(|envelope| envelope.instance().map(ToString::to_string)),
            signature: Signature::check(&behaviour.signers, &headers, &body, now.as_secs()),
            method,
            path,
            headers,
            body,
            id,
            answer,
        };
        (record, behaviour)
    }

    /// Counts a request of a webhook-id under a rule; which one it is, from 1.
    fn count(&self, rule: usize, id: String) -> u32 {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (rule, id);
        if let Some(times) = seen.times.get_mut(&key) {
            *times = times.saturating_add(1);
            return *times;
        }
        if seen.order.len() >= KNOWN_IDS
            && let Some(oldest) = seen.order.pop_front()
        {
            seen.times.remove(&oldest);
        }
        seen.order.push_back(key.clone());
        seen.times.insert(key, 1);
        1
    }
}

async fn handle(
    State(Serving { receiver, stop }): State<Serving>,
    ConnectInfo(closer): ConnectInfo<Closer>,
    request: Request,
) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return reply(StatusCode::OK, "text/plain", "posthaste listens here; webhooks are POSTed\n");
    }
    let (head, body) = request.into_parts();
    let body = match to_bytes(body, MAX_BODY_BYTES).await {
        Ok(body) => body,
        Err(_) => {
            return reply(
                StatusCode::PAYLOAD_TOO_LARGE,
                "text/plain",
                "the body is too large or not whole\n",
            );
        }
    };
    let path = head.uri.path_and_query().map_or_else(|| head.uri.path().to_owned(), ToString::to_string);
    let (record, behaviour) = receiver.record(head.method, path, head.headers, body);
    let answer = record.answer;
    // Fails only when nobody listens any more.
    _ = receiver.records.send(record).await;
    tokio::select! {
        () = tokio::time::sleep(behaviour.delay) => {}
        () = stop.cancelled() => {}
    }
    match answer {
        Answer::Status(status, retry_after_s) => answered(status, retry_after_s),
        Answer::Hang => {
            stop.cancelled().await;
            closer.close();
            Response::default()
        }
        Answer::Close => {
            closer.close();
            Response::default()
        }
    }
}

fn answered(status: u16, retry_after_s: Option<u32>) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = if status.is_success() {
        r#"{"received":true}"#
    } else {
        r#"{"message":"failed as it was told to"}"#
    };
    let mut response = reply(status, "application/json", body);
    if let Some(seconds) = retry_after_s {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

fn reply(status: StatusCode, content_type: &'static str, body: &'static str) -> Response {
    // These may not have a body (RFC 9110, 15.3.5, 15.4.5).
    let is_bodiless = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let mut response = Response::new(if is_bodiless { Body::empty() } else { Body::from(body) });
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(content_type));
    response
}
