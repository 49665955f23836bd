//! `GET /healthz` and `GET /readyz`: for probes, without a key. They tell nothing but how the worker is.

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde_json::{Value, json};

use super::Api;

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/healthz", get(alive)).route("/readyz", get(ready))
}

/// The process lives and serves: to be asked before it is killed.
async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Whether it takes and delivers events: 503 with the reason where it does not.
async fn ready(State(api): State<Api>) -> (StatusCode, Json<Value>) {
    match api.health.unready() {
        None => (StatusCode::OK, Json(json!({ "status": "ok" }))),
        Some(reason) => {
            let body = json!({ "status": "unready", "reason": reason.to_string() });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body))
        }
    }
}
