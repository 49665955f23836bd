//! One request: its body is read, cut, checked and pushed, a batch at a time.

use std::time::Duration;

use axum::Json;
use axum::body::{Body, BodyDataStream};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use http::StatusCode;
use serde::de::IgnoredAny;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::super::ApiError;
use super::Intake;
use super::ask::Ask;
use super::report::{Refusal, Report};
use super::share::{SMALL_BYTES, Share};
use super::split::{Piece, Splitter};
use crate::store::{Once, Published, StoreError};

/// A batch is pushed once it has so many bytes …
const BATCH_BYTES: usize = 64 * 1024;
/// … or so many events.
const BATCH_EVENTS: usize = 512;
/// A body that is no longer is one batch, however many events it has: of tiny ones, each costs many times its length.
const SHORT_BYTES: u64 = 8 * 1024;
/// How long one event may take to come: meanwhile it holds its share of the memory.
const WHOLE: Duration = Duration::from_secs(120);
/// When a producer should try again that found no room.
const RETRY_AFTER_SECONDS: u64 = 1;
/// How much of what a refused request still sends is read, and for how long, so that its sender comes to read the
/// answer.
const DRAINED_BYTES: usize = 1024 * 1024;
const DRAINED_FOR: Duration = Duration::from_secs(1);

/// Takes the events of a body in, and answers.
pub(super) async fn take(intake: &Intake, ask: Ask, body: Body) -> Result<Response, ApiError> {
    let mut body = body.into_data_stream();
    let answer = match intake.gauge.check().await {
        Ok(()) => Taking::new(intake, &ask).run(&mut body).await,
        Err(full) => Err(full.into()),
    };
    if answer.is_err() {
        drain(&mut body).await;
    }
    answer
}

async fn drain(body: &mut BodyDataStream) {
    let mut left = DRAINED_BYTES;
    let deadline = Instant::now() + DRAINED_FOR;
    while let Ok(Some(Ok(chunk))) = timeout_at(deadline, body.next()).await {
        match left.checked_sub(chunk.len()) {
            Some(less) => left = less,
            None => return,
        }
    }
}

/// What has come of a body, and what became of it.
struct Taking<'a> {
    intake: &'a Intake,
    ask: &'a Ask,
    splitter: Splitter,
    share: Share<'a>,
    batch: Batch,
    report: Report,
    /// Whether the body is short: then a list is pushed when all of it is known to be one.
    is_short: bool,
    /// Since when what is held has been coming.
    began: Option<Instant>,
}

/// Events about to be pushed.
#[derive(Default)]
struct Batch {
    events: Vec<Published>,
    indices: Vec<u64>,
    bytes: usize,
}

/// Why the rest of a body is not looked at.
struct Halt {
    error: Box<ApiError>,
    /// The index of the first event that was not dealt with.
    next: u64,
    /// Where nobody knows whether Redis took a batch: the index behind its last event.
    unknown: Option<u64>,
}

impl<'a> Taking<'a> {
    fn new(intake: &'a Intake, ask: &'a Ask) -> Self {
        Self {
            intake,
            ask,
            splitter: Splitter::new(ask.is_lines, intake.settings.max_event_bytes),
            share: intake.shares.of_body(ask.length),
            batch: Batch::default(),
            report: Report::default(),
            is_short: ask.length.is_some_and(|length| length <= SHORT_BYTES),
            began: None,
        }
    }

    async fn run(mut self, body: &mut BodyDataStream) -> Result<Response, ApiError> {
        match self.read(body).await {
            Ok(Some(single)) => self.push_single(single).await,
            Ok(None) => Ok(self.answer()),
            Err(halt) => Err(self.halted(halt)),
        }
    }

    /// Reads the body to its end, and pushes what is in it; but not one that is a single event, which is returned.
    async fn read(&mut self, body: &mut BodyDataStream) -> Result<Option<Piece>, Halt> {
        while let Some(mut chunk) = self.next_chunk(body).await? {
            self.grow_to(1).await?;
            loop {
                let piece = self.splitter.next(&mut chunk).map_err(|error| self.broken(&error))?;
                if self.ask.key.is_some() && !self.splitter.is_single() {
                    return Err(self.halt(key_of_many()));
                }
                let Some(piece) = piece else { break };
                self.add(piece)?;
                if !self.is_short && self.batch.is_full() {
                    self.push().await?;
                }
            }
            self.make_room().await?;
        }
        let last = self.splitter.end().map_err(|error| self.broken(&error))?;
        if self.splitter.is_single() {
            return Ok(last);
        }
        if let Some(piece) = last {
            self.add(piece)?;
        }
        self.push().await?;
        Ok(None)
    }

    /// The next bytes; none at the end. What is whole does not wait for them.
    async fn next_chunk(&mut self, body: &mut BodyDataStream) -> Result<Option<Bytes>, Halt> {
        let next = match body.next().now_or_never() {
            Some(next) => next,
            None => {
                if !self.is_short {
                    self.push().await?;
                    self.share.shrink_to(self.splitter.kept());
                }
                if self.splitter.kept() == 0 && self.batch.events.is_empty() {
                    body.next().await
                } else {
                    let began = *self.began.get_or_insert_with(Instant::now);
                    let next = timeout_at(began + WHOLE, body.next()).await;
                    next.map_err(|_| self.halt(too_slow()))?
                }
            }
        };
        match next {
            None => Ok(None),
            Some(Ok(chunk)) => Ok(Some(chunk)),
            Some(Err(error)) => Err(self.halt(broken_off(&error))),
        }
    }

    /// Makes sure that the event that is coming may be held as far as it has come.
    async fn make_room(&mut self) -> Result<(), Halt> {
        let kept = self.splitter.kept();
        if !self.share.holds(kept) {
            self.push().await?;
            self.grow_to(SMALL_BYTES.max(kept) + 1).await?;
        }
        Ok(())
    }

    async fn grow_to(&mut self, bytes: usize) -> Result<(), Halt> {
        let grown = self.share.grow_to(bytes).await;
        grown.map_err(|busy| self.halt(ApiError::unavailable(busy.to_string(), RETRY_AFTER_SECONDS)))
    }

    /// Takes a piece of a list into the batch, or refuses it.
    fn add(&mut self, piece: Piece) -> Result<(), Halt> {
        if !self.is_short {
            self.began = None;
        }
        let event = match piece {
            Piece::TooLarge(bytes) => Err(self.ask.too_large(bytes)),
            Piece::Whole(payload) => {
                let event = self.ask.event(&payload);
                // What follows a value that is no JSON may be a part of it.
                if event.is_err()
                    && !self.splitter.is_lines()
                    && let Err(error) = serde_json::from_slice::<IgnoredAny>(&payload)
                {
                    let index = self.report.come();
                    let message = format!("the body is not JSON: the event with index {index}: {error}");
                    return Err(self.halt(ApiError::bad_request(message)));
                }
                event
            }
        };
        let index = self.report.next_index();
        match event {
            Ok(event) => self.batch.add(index, event),
            Err(refusal) => self.report.refuse(index, &refusal),
        }
        Ok(())
    }

    /// Pushes the batch.
    async fn push(&mut self) -> Result<(), Halt> {
        if self.batch.events.is_empty() {
            return Ok(());
        }
        // It may have become full since the body began.
        self.intake.gauge.check().await.map_err(|full| self.halt(full.into()))?;
        match self.intake.publisher.publish_all(&self.batch.events).await {
            Ok(ids) => {
                self.intake.gauge.count(ids.len());
                for (index, id) in self.batch.indices.iter().zip(&ids) {
                    self.report.accept(*index, id);
                }
                self.batch = Batch::default();
                Ok(())
            }
            Err(error) => {
                let unknown = error.code().is_none().then(|| self.report.come());
                Err(Halt { unknown, ..self.halt(refused_by_redis(error)) })
            }
        }
    }

    /// The body cannot be read on. What of it was not pushed yet is not pushed any more.
    fn broken(&self, error: &super::split::Malformed) -> Halt {
        self.halt(ApiError::bad_request(error.to_string()))
    }

    fn halt(&self, error: ApiError) -> Halt {
        let next = self.batch.indices.first().copied().unwrap_or(self.report.come());
        Halt { error: Box::new(error), next, unknown: None }
    }

    fn halted(&self, halt: Halt) -> ApiError {
        let Halt { error, next, unknown } = halt;
        if self.splitter.is_single() && self.report.come() == 0 {
            return *error;
        }
        let mut details = self.report.json();
        details["next"] = next.into();
        if let Some(unknown) = unknown {
            details["unknown"] = unknown.into();
        }
        error.with_details(details)
    }

    /// The answer to a list all of which has come.
    fn answer(&self) -> Response {
        let (status, told) = (self.report.status(), self.report.json());
        if status.is_success() {
            return (status, Json(told)).into_response();
        }
        let message = "no event could be taken; details.errors says of each why";
        ApiError::new(status, message).with_details(told).into_response()
    }

    async fn push_single(self, piece: Piece) -> Result<Response, ApiError> {
        let event = match piece {
            Piece::Whole(payload) => self.ask.single(&payload).map_err(|refusal| wrong(&payload, refusal))?,
            Piece::TooLarge(bytes) => return Err(refused(self.ask.too_large(bytes))),
        };
        let (intake, window) = (self.intake, self.intake.settings.dedup_window);
        // It may have become full since the body began.
        intake.gauge.check().await?;
        let (id, is_duplicate) = match (&self.ask.key, self.ask.id()) {
            (Some(key), Some(id)) if !window.is_zero() => {
                let once = intake.publisher.publish_once(&event, key, window).await;
                match once.map_err(refused_by_redis)? {
                    Once::Now => (id.to_string(), false),
                    Once::Before(id) => (id, true),
                    Once::Differs(id) => return Err(key_is_taken(&id)),
                }
            }
            (_, id) => {
                let pushed = intake.publisher.publish_all(&[event]).await.map_err(refused_by_redis)?;
                let entry = pushed.into_iter().next().unwrap_or_default();
                (id.map_or(entry, ToString::to_string), false)
            }
        };
        intake.gauge.count(usize::from(!is_duplicate));
        let told = json!({ "id": id, "duplicate": is_duplicate });
        Ok((StatusCode::ACCEPTED, Json(told)).into_response())
    }
}

impl Batch {
    fn add(&mut self, index: u64, event: Published) {
        self.bytes += event.bytes();
        self.events.push(event);
        self.indices.push(index);
    }

    fn is_full(&self) -> bool {
        self.bytes >= BATCH_BYTES || self.events.len() >= BATCH_EVENTS
    }
}

/// Of a body that is one value: whether it is no JSON, or no event.
fn wrong(payload: &Bytes, refusal: Refusal) -> ApiError {
    match serde_json::from_slice::<IgnoredAny>(payload) {
        Err(error) => ApiError::bad_request(format!("the body is not JSON: {error}")),
        Ok(_) => refused(refusal),
    }
}

fn refused(refusal: Refusal) -> ApiError {
    ApiError::new(refusal.status, refusal.why)
}

fn refused_by_redis(error: StoreError) -> ApiError {
    if error.code().is_some() {
        return error.into();
    }
    let message = format!(
        "redis did not answer ({error}): the event may or may not have been taken; send it again, with the same \
         Idempotency-Key if it must not be taken twice"
    );
    ApiError::unavailable(message, RETRY_AFTER_SECONDS)
}

fn key_of_many() -> ApiError {
    ApiError::unprocessable("Idempotency-Key and webhook-id name one event: send it alone, or leave them out")
}

fn key_is_taken(id: &str) -> ApiError {
    ApiError::unprocessable(format!(
        "another event was taken under this key, with the id {id}: each event needs a key of its own"
    ))
}

fn too_slow() -> ApiError {
    let message = format!("the event did not come within {} s", WHOLE.as_secs());
    ApiError::new(StatusCode::REQUEST_TIMEOUT, message)
}

fn broken_off(error: &axum::Error) -> ApiError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if cause.is::<tower_http::timeout::TimeoutError>() {
            return ApiError::new(StatusCode::REQUEST_TIMEOUT, "the body did not go on for too long");
        }
        source = cause.source();
    }
    ApiError::bad_request("the body broke off before its end")
}
