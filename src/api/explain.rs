//! `GET /explain`: where an event would go, and why not elsewhere.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::Value;

use super::instance::checked;
use super::{Api, ApiError};
use crate::flow;
use crate::model::EventName;

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/explain", get(explain))
}

/// What to explain.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    event: Option<String>,
    instance: Option<String>,
}

/// What `posthaste explain --json` prints, with the settings of this worker.
async fn explain(
    State(api): State<Api>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Value>, ApiError> {
    let Query(Asked { event, instance }) = query?;
    let event = event.ok_or_else(|| ApiError::bad_request("`event` is missing; write ?event=<its name>"))?;
    let event =
        EventName::parse(&event).map_err(|error| ApiError::bad_request(format!("`event`: {error}")))?;
    let instance = instance.filter(|name| !name.is_empty()).map(checked).transpose()?;
    let (rules, permits) = (&api.settings.rules, &api.settings.permits);
    let explained = flow::explain(&api.redis, (rules, permits), event, instance.as_deref()).await?;
    Ok(Json(explained.as_json(rules)))
}
