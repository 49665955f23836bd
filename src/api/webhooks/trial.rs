//! `POST /webhook/{instance}/test`: a sample event, sent now.

use axum::Json;
use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{InPath, QueryOf, none, stored, unusable};
use crate::api::instance::checked;
use crate::api::{Api, ApiError};
use crate::flow::try_out;
use crate::model::EventName;

/// How many are sent at once: they are beside the worker's slots, and each may take the whole request timeout.
static PLACES: Semaphore = Semaphore::const_new(16);
/// After how many seconds somebody should ask again who found no place.
const RETRY_AFTER_SECONDS: u64 = 5;

/// What to send.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    event: Option<String>,
}

/// One real attempt. It is neither retried nor does it become a dead letter.
pub(super) async fn run(
    State(api): State<Api>,
    path: InPath,
    query: QueryOf<Asked>,
) -> Result<Json<Value>, ApiError> {
    let name = checked(path?.0)?;
    let Query(Asked { event }) = query?;
    let event = match event.map(|event| EventName::parse(&event)).transpose() {
        Ok(event) => event,
        Err(error) => return Err(ApiError::bad_request(format!("`event`: {error}"))),
    };
    let webhook = stored(&api, &name).await?.ok_or_else(|| none(&name))?;
    let Ok(_place) = PLACES.try_acquire() else {
        return Err(ApiError::unavailable("too many tests are under way", RETRY_AFTER_SECONDS));
    };
    let routes = &api.settings.rules.routes;
    let trial = try_out(&api.client, routes, (&name, &webhook), event).await;
    trial.map(|trial| Json(trial.as_json())).map_err(|error| unusable(&name, &error))
}
