//! `GET /healthz` and `GET /readyz`: for probes, without a key. They tell nothing but how the worker is.

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};

use super::Api;

/// The process lives and serves: to be asked before it is killed.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Whether it takes and delivers events: 503 with the reason where it does not.
pub(super) async fn ready(State(api): State<Api>) -> (StatusCode, Json<Value>) {
    match api.health.unready() {
        None => (StatusCode::OK, Json(json!({ "status": "ok" }))),
        Some(reason) => {
            let body = json!({ "status": "unready", "reason": reason.to_string() });
            (StatusCode::SERVICE_UNAVAILABLE, Json(body))
        }
    }
}
