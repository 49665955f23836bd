//! The webhooks of instances, as Evolution API's clients set and find them.
//!
//! An instance may be called anything, `set`, `find` and `instance` too. `/webhook/set/{instance}` and
//! `/webhook/find/{instance}` take any name; of the shorter forms those are refused that somebody may have written who
//! forgot the name.

mod trial;

use axum::extract::{Path, Query, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::Small;
use super::instance::{checked, shown};
use super::{Api, ApiError, InPath};
use crate::decide::webhook::{
    CustomEvents, WARNING_KEY, WebhookError, parse, parse_named, to_json, to_record,
};
use crate::http::{Vetted, vet};
use crate::model::Webhook;

/// How many webhooks a page has about, unless it is asked for otherwise.
const PAGE: usize = 100;
const LARGEST_PAGE: usize = 500;

/// The instance whose name is a path of its own.
const INSTANCE: &str = "instance";

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/webhook", get(list))
        .route("/webhook/set/{instance}", post(set))
        .route("/webhook/find/{instance}", get(find))
        .route("/webhook/instance", post(set_by_body).delete(delete_instance))
        .route("/webhook/{instance}", post(set_short).delete(delete))
        .route("/webhook/{instance}/test", post(trial::run))
}

type Reply = Result<(StatusCode, Json<Value>), ApiError>;

/// `POST /webhook/set/{instance}`.
async fn set(State(api): State<Api>, path: InPath, Small(body): Small) -> Reply {
    store(&api, Some(path?.0), &body).await
}

/// `POST /webhook/{instance}`, as version 1 has it.
async fn set_short(State(api): State<Api>, path: InPath, Small(body): Small) -> Reply {
    let Path(name) = path?;
    if name == "set" || name == "find" {
        let message = format!(
            "`/webhook/{name}` names no instance: write /webhook/set/<instance>; an instance that is called {name} is \
             set at /webhook/set/{name}"
        );
        return Err(ApiError::bad_request(message));
    }
    store(&api, Some(name), &body).await
}

/// `POST /webhook/instance`, with the instance's name in the body.
async fn set_by_body(State(api): State<Api>, Small(body): Small) -> Reply {
    store(&api, None, &body).await
}

/// Stores what was given, under the name of the path or else of the body.
async fn store(api: &Api, of_path: Option<String>, body: &[u8]) -> Reply {
    let Admitted { name: of_body, webhook, warning } = admitted(api, body).await?;
    let instance = checked(match (of_path, of_body) {
        (Some(path), Some(body)) if path != body => {
            let message = format!(
                "the path names instance {}, and the body {}; leave one out",
                shown(&path),
                shown(&body)
            );
            return Err(ApiError::bad_request(message));
        }
        (Some(name), _) | (None, Some(name)) => name,
        (None, None) => {
            let message = "the body names no instance: add \"instance\", or write /webhook/set/<instance>";
            return Err(ApiError::bad_request(message));
        }
    })?;
    api.redis.set_webhook(&instance, &to_json(&webhook)).await?;
    tracing::info!(instance = shown(&instance), enabled = webhook.enabled, "a webhook was set");
    let mut record = to_record(&instance, &webhook);
    if let Some(warning) = warning {
        tracing::warn!(
            instance = shown(&instance),
            warning,
            "a webhook was set that cannot be sent to as yet"
        );
        record[WARNING_KEY] = warning.into();
    }
    Ok((StatusCode::CREATED, Json(record)))
}

/// A webhook that may be set.
struct Admitted {
    /// The name beside it.
    name: Option<String>,
    webhook: Webhook,
    /// Why it cannot be sent to as yet.
    warning: Option<String>,
}

/// The webhook that was given, if it may be set: the one place that decides this. Its host is resolved, for two seconds
/// at most.
async fn admitted(api: &Api, body: &[u8]) -> Result<Admitted, ApiError> {
    let refused = |error: WebhookError| ApiError::bad_request(error.to_string());
    let (name, webhook) = parse_named(body, &api.settings.rules.custom_events).map_err(refused)?;
    let warning = match vet(&webhook, &api.settings.permits).await.map_err(refused)? {
        Vetted::Permitted => None,
        Vetted::Unresolved(why) => Some(why),
    };
    Ok(Admitted { name, webhook, warning })
}

/// `GET /webhook/find/{instance}`: null where there is none.
async fn find(State(api): State<Api>, path: InPath) -> Result<Json<Value>, ApiError> {
    let name = checked(path?.0)?;
    let found = stored(&api, &name).await?;
    Ok(Json(found.map_or(Value::Null, |webhook| to_record(&name, &webhook))))
}

/// The stored webhook of an instance.
async fn stored(api: &Api, instance: &str) -> Result<Option<Webhook>, ApiError> {
    let Some(json) = api.redis.webhook(instance).await? else { return Ok(None) };
    parse(&json, &CustomEvents::Any).map(Some).map_err(|error| unusable(instance, &error))
}

fn unusable(instance: &str, error: &WebhookError) -> ApiError {
    let instance = shown(instance);
    ApiError::unprocessable(format!(
        "the stored webhook of instance {instance} cannot be used: {error}; set it anew"
    ))
}

fn none(instance: &str) -> ApiError {
    let instance = shown(instance);
    ApiError::not_found(format!("instance {instance} has no webhook: set one at /webhook/set/{instance}"))
}

/// `DELETE /webhook/{instance}`.
async fn delete(State(api): State<Api>, path: InPath) -> Result<Json<Value>, ApiError> {
    remove(&api, checked(path?.0)?).await
}

/// `DELETE /webhook/instance`: of the instance that is called so.
async fn delete_instance(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    remove(&api, INSTANCE.to_owned()).await
}

async fn remove(api: &Api, instance: String) -> Result<Json<Value>, ApiError> {
    if !api.redis.delete_webhook(&instance).await? {
        return Err(none(&instance));
    }
    tracing::info!(instance = shown(&instance), "a webhook was deleted");
    Ok(Json(json!({ "deleted": instance })))
}

/// Which webhooks to list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    cursor: Option<u64>,
    limit: Option<usize>,
}

/// `GET /webhook`: about so many, and the cursor of the next page.
async fn list(State(api): State<Api>, page: QueryOf<Page>) -> Result<Json<Value>, ApiError> {
    let Query(page) = page?;
    let limit = page.limit.unwrap_or(PAGE);
    if !(1..=LARGEST_PAGE).contains(&limit) {
        return Err(ApiError::bad_request(format!("`limit` is {limit}; 1 to {LARGEST_PAGE} are allowed")));
    }
    let found = api.redis.webhook_page(page.cursor.unwrap_or(0), limit).await?;
    let webhooks = found.webhooks.into_iter().map(|(instance, json)| listed(&instance, &json));
    let next = found.next.map(|cursor| cursor.to_string());
    Ok(Json(json!({ "webhooks": webhooks.collect::<Vec<_>>(), "cursor": next })))
}

fn listed(instance: &str, json: &[u8]) -> Value {
    match parse(json, &CustomEvents::Any) {
        Ok(webhook) => to_record(instance, &webhook),
        Err(error) => json!({ "id": instance, "instanceId": instance, "error": error.to_string() }),
    }
}

/// What is asked for, or why it cannot be read.
type QueryOf<T> = Result<Query<T>, axum::extract::rejection::QueryRejection>;
