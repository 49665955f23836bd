//! `/dead`: what could not be delivered is listed, shown, replayed and purged.
//!
//! Every request does a bounded piece of work, and tells where to go on.

mod change;
mod select;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRef, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::{StatusCode, header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::select::{FilterText, Select};
use super::body::Small;
use super::{Api, ApiError, InPath};
use crate::model::EntryId;
use crate::operate::dead::{self, Whole, as_json};
use crate::store::Redis;

/// How many letters a page has at most, and where nothing is said.
const MOST: usize = 500;
const PAGE: usize = 50;
/// How many times up to 200 letters are looked at for one page.
const LOOKS: usize = 25;

/// How many letters are shown at a time: each may be as large as an event, and its client may read it slowly.
const SHOWN: usize = 2;
/// After how many seconds a client should ask again while as many are.
const RETRY_AFTER_SECONDS: u64 = 1;
/// How long Redis may take for a command.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What the requests of this group share.
#[derive(Clone, Debug)]
struct Letters {
    /// On connections of its own: settlements do not wait behind letters.
    redis: Redis,
    /// The right to show one.
    places: Arc<Semaphore>,
}

impl FromRef<Letters> for Redis {
    fn from_ref(letters: &Letters) -> Self {
        letters.redis.clone()
    }
}

/// The routes of this group.
pub(super) fn routes(api: &Api) -> Router<Api> {
    let redis = api.redis.apart(TIMEOUT).unwrap_or_else(|_| api.redis.clone());
    let letters = Letters { redis, places: Arc::new(Semaphore::new(SHOWN)) };
    Router::new()
        .route("/dead", get(list).delete(purge))
        .route("/dead/replay", post(replay))
        .route("/dead/{id}", get(show).delete(purge_one))
        .with_state(letters)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    destination: Option<String>,
    instance: Option<String>,
    event: Option<String>,
    reason: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// The newest first.
async fn list(
    State(redis): State<Redis>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(ListQuery { destination, instance, event, reason, since, until, limit, cursor }) = query?;
    let text = FilterText { destination, instance, event, reason, since, until };
    let wanted = text.wanted().map_err(ApiError::bad_request)?;
    let limit = limit.unwrap_or(PAGE);
    if !(1..=MOST).contains(&limit) {
        return Err(ApiError::bad_request(format!("limit is {limit}; write a number from 1 to {MOST}")));
    }
    let from = cursor.as_deref().map(id_of).transpose()?;
    let filter = wanted.filter(&redis).await?;
    let page = redis.dead_letters_of(&filter, from.as_ref(), limit, LOOKS).await?;
    let letters: Vec<Value> = page.letters.iter().map(as_json).collect();
    Ok(Json(json!({ "letters": letters, "next": page.next.as_ref().map(EntryId::as_str) })))
}

/// A letter on its way to who asked for it. Its place is taken until it is written.
struct Shown {
    text: String,
    _place: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Shown {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

/// With its payload as it was pushed.
async fn show(State(letters): State<Letters>, id: InPath) -> Result<Response, ApiError> {
    let id = id_of(&id?.0)?;
    let place = letters.places.try_acquire_owned().map_err(|_| {
        let message = format!("{SHOWN} dead letters are being shown, as many as may be at a time; ask again");
        ApiError::unavailable(message, RETRY_AFTER_SECONDS)
    })?;
    let (found, body) = letters.redis.dead_letter(&id).await?.ok_or_else(|| missing(&id))?;
    // Not by way of a `Value`: the payload stays as it was pushed, byte for byte.
    let text = serde_json::to_string(&Whole::new(&found, &body))
        .map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let text = Bytes::from_owner(Shown { text, _place: place });
    Ok(([(header::CONTENT_TYPE, "application/json")], text).into_response())
}

async fn replay(State(redis): State<Redis>, Small(body): Small) -> Result<Json<Value>, ApiError> {
    change::replay(&redis, Select::of_body(&body)?).await.map(Json)
}

async fn purge(
    State(redis): State<Redis>,
    query: Result<Query<select::PurgeQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    change::purge(&redis, query?.0.select()?).await.map(Json)
}

async fn purge_one(State(redis): State<Redis>, id: InPath) -> Result<Json<Value>, ApiError> {
    let id = id_of(&id?.0)?;
    match redis.purge(std::slice::from_ref(&id)).await? {
        0 => Err(missing(&id)),
        purged => Ok(Json(json!({ "purged": purged }))),
    }
}

fn id_of(text: &str) -> Result<EntryId, ApiError> {
    dead::id(text).map_err(|why| ApiError::bad_request(format!("'{text}' is no dead letter's id: {why}")))
}

fn missing(id: &EntryId) -> ApiError {
    ApiError::not_found(format!("there is no dead letter {id}: it was replayed or purged, or never was"))
}
