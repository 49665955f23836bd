//! `POST /events` and `POST /events/{route}`: events are taken in over HTTP.
//!
//! The body is one envelope, an array of them, or one a line (NDJSON), of any length: it is cut into events as it comes
//! (`split`), and they are pushed in batches (`take`), so that what is held does not depend on its length. All requests
//! together hold what `share` allows. `gauge` knows whether Redis should be given more.
//!
//! **An event is acknowledged once Redis has it; what is refused is named, and never taken.** One envelope: 202 with
//! `{"id", "duplicate"}`, or an error. A list: each event is taken or refused on its own, and `{"accepted", "refused",
//! "ids", "errors"}` tells which, with 202 when all were taken, 207 when some were, 422 (or 413, where only their size
//! was wrong) when none was. So a producer that sends a list again only when the answer is neither 202 nor 207 loses no
//! event that is one. Where the body ends early, is not JSON from somewhere on, or Redis does not take a batch, the
//! answer is an error whose `details` hold the same, and `next`: the index of the first event that was not dealt with.
//! What comes before it need not be sent again. With `unknown`, Redis did not answer: the events from `next` to there
//! have been taken either all or not at all.

mod ask;
mod gauge;
mod report;
mod share;
mod split;
mod take;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request};
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Router};
use http::HeaderMap;

use self::ask::Ask;
use self::gauge::Gauge;
use self::share::Shares;
use super::{Api, ApiError, ApiSettings};
use crate::store::{Publisher, Redis};

/// How long a push may take.
const PUSH_TIMEOUT: Duration = Duration::from_secs(5);

/// The routes that take events in.
pub(super) fn routes(api: &Api) -> Router<Api> {
    let intake = Arc::new(Intake::new(api));
    Router::new()
        .route("/events", post(at_root))
        .route("/events/{route}", post(at_route))
        .layer(Extension(intake))
}

/// What all requests share.
#[derive(Debug)]
struct Intake {
    publisher: Publisher,
    gauge: Gauge,
    shares: Shares,
    settings: Arc<ApiSettings>,
}

impl Intake {
    fn new(api: &Api) -> Self {
        // On connections of its own: neither large events nor settlements wait behind the other.
        let redis: Redis = api.redis.apart(PUSH_TIMEOUT).unwrap_or_else(|_| api.redis.clone());
        let settings = Arc::clone(&api.settings);
        Self {
            publisher: Publisher::on(redis.clone()),
            gauge: Gauge::new(redis, settings.backlog_limit),
            shares: Shares::new(settings.memory_budget_bytes / 2, settings.max_event_bytes),
            settings,
        }
    }

    /// What a request says of its events.
    fn ask(&self, headers: &HeaderMap, route: Option<&str>) -> Result<Ask, ApiError> {
        Ask::read(headers, route, self.settings.max_event_bytes, &self.settings.rules.custom_events)
    }
}

async fn at_root(Extension(intake): Extension<Arc<Intake>>, request: Request) -> Result<Response, ApiError> {
    let (head, body) = request.into_parts();
    let ask = intake.ask(&head.headers, None)?;
    take::take(&intake, ask, body).await
}

/// Evolution API's by-events mode. What counts is the envelope's `event`; the route is for envelopes that have none.
async fn at_route(
    Extension(intake): Extension<Arc<Intake>>,
    route: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let Path(route) = route?;
    let (head, body) = request.into_parts();
    let ask = intake.ask(&head.headers, Some(&route))?;
    take::take(&intake, ask, body).await
}
