//! `GET /stats`: what waits, what is under way, what failed lately.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;

use super::{Api, ApiError};
use crate::operate::stats::Stats;
use crate::store::Redis;

/// The routes of this group.
pub(super) fn routes() -> Router<Api> {
    Router::new().route("/stats", get(stats))
}

/// What `posthaste status --json` tells.
async fn stats(State(redis): State<Redis>) -> Result<Json<Value>, ApiError> {
    Ok(Json(Stats::read(&redis).await?.as_json()))
}
