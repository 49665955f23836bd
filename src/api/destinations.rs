//! `/destinations`: how each is, as this worker and Redis know it; and what operators do about it.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::instance::checked;
use super::{Api, ApiError, InPath};
use crate::model::{Destination, DestinationError};
use crate::operate::destinations::{self, Cursor, DestinationsError};

/// How many destinations a page has at most, and where nothing is said.
const MOST: usize = 500;
const PAGE: usize = 100;

/// The routes of this group.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/destinations", get(list))
        .route("/destinations/{destination}", get(show))
        .route("/destinations/{destination}/retry-now", post(retry_now))
        .route("/destinations/{destination}/pause", post(pause))
        .route("/destinations/{destination}/resume", post(resume))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListQuery {
    limit: Option<usize>,
    cursor: Option<String>,
}

async fn list(
    State(api): State<Api>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(ListQuery { limit, cursor }) = query?;
    let limit = limit.unwrap_or(PAGE);
    if !(1..=MOST).contains(&limit) {
        return Err(ApiError::bad_request(format!("limit is {limit}; write a number from 1 to {MOST}")));
    }
    let cursor = cursor.map_or(Ok(Cursor::Lanes(None)), |text| {
        read(&text).ok_or_else(|| {
            ApiError::bad_request(format!("'{text}' is no cursor: send back `next` as it was told"))
        })
    })?;
    let (told, next) = destinations::list(&api.desk, &api.redis, cursor, limit).await?;
    Ok(Json(json!({ "destinations": told, "next": next.as_ref().map(write) })))
}

async fn show(State(api): State<Api>, destination: InPath) -> Result<Json<Value>, ApiError> {
    let destination = parse(destination)?;
    let told = destinations::show(&api.desk, &api.redis, &destination).await?;
    told.map(Json).ok_or_else(|| {
        ApiError::not_found(format!(
            "nothing is known of {destination}: nothing was sent there lately, or waits"
        ))
    })
}

async fn retry_now(State(api): State<Api>, destination: InPath) -> Result<Json<Value>, ApiError> {
    let destination = parse(destination)?;
    Ok(Json(destinations::retry_now(&api.desk, &api.redis, &destination).await?))
}

async fn pause(State(api): State<Api>, destination: InPath) -> Result<Json<Value>, ApiError> {
    Ok(Json(destinations::set_paused(&api.redis, &parse(destination)?, true).await?))
}

async fn resume(State(api): State<Api>, destination: InPath) -> Result<Json<Value>, ApiError> {
    Ok(Json(destinations::set_paused(&api.redis, &parse(destination)?, false).await?))
}

fn parse(destination: InPath) -> Result<Destination, ApiError> {
    let Path(text) = destination?;
    let parsed: Result<Destination, DestinationError> = text.parse();
    let destination = parsed.map_err(|error| ApiError::bad_request(error.to_string()))?;
    if let Destination::Instance(name) = &destination {
        checked(name.to_string())?;
    }
    Ok(destination)
}

/// A cursor as text that needs no escapes in a URL, whatever instances are called.
fn write(cursor: &Cursor) -> String {
    match cursor {
        Cursor::Lanes(after) => {
            let after = after.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("l{}", URL_SAFE_NO_PAD.encode(after))
        }
        Cursor::Parks(at) => format!("p{at}"),
    }
}

fn read(text: &str) -> Option<Cursor> {
    if let Some(at) = text.strip_prefix('p') {
        return at.parse().ok().map(Cursor::Parks);
    }
    let after = String::from_utf8(URL_SAFE_NO_PAD.decode(text.strip_prefix('l')?).ok()?).ok()?;
    after.parse().ok().map(|after| Cursor::Lanes(Some(after)))
}

impl From<DestinationsError> for ApiError {
    fn from(error: DestinationsError) -> Self {
        match error {
            DestinationsError::Store(error) => error.into(),
            DestinationsError::NoAnswer(error) => Self::unavailable(error.to_string(), 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        for cursor in [
            Cursor::Parks(17),
            Cursor::Lanes(Some(Destination::Global)),
            Cursor::Lanes(Some(Destination::Instance("a b/&=\u{1f600}".into()))),
        ] {
            let text = write(&cursor);
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{text}");
            assert_eq!(read(&text), Some(cursor));
        }
        for wrong in ["", "l", "p", "x", "p-1", "l!!", "lYQ"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
