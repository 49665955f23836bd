//! The HTTP API: webhooks are set, events taken in, and the worker watched, over HTTP.
//!
//! `server` holds connections, `auth` lets requests in, `error` gives every refusal one shape; each other file is one
//! group of routes. Nothing here keeps state of its own: what is stored is in Redis, through `store`.

mod auth;
mod error;
mod events;
mod health;
mod server;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRef;
use axum::routing::get;
use axum::{Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;

pub use self::error::ApiError;
pub use self::server::serve;
use crate::decide::webhook::CustomEvents;
use crate::flow::Health;
use crate::http::Client;
use crate::model::Secret;
use crate::store::Redis;

/// What the API does as the settings say.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// The key that requests need; none: only callers of this machine are served.
    pub api_key: Option<Secret>,
    /// The largest event that is taken.
    pub max_event_bytes: usize,
    /// How many bytes of payloads a process holds; events that are being taken in have half as many besides.
    pub memory_budget_bytes: usize,
    /// How many events may wait before no more are taken.
    pub backlog_limit: Option<u64>,
    /// How long a producer's key is remembered; zero: not at all.
    pub dedup_window: Duration,
    /// The events beyond the known ones that webhooks may list.
    pub custom_events: CustomEvents,
}

/// What every handler may use.
#[derive(Clone, Debug)]
pub struct Api {
    /// The server.
    pub redis: Redis,
    /// What sends test events.
    pub client: Client,
    /// How the worker is.
    pub health: Health,
    /// The settings.
    pub settings: Arc<ApiSettings>,
}

impl FromRef<Api> for Redis {
    fn from_ref(api: &Api) -> Self {
        api.redis.clone()
    }
}

impl Api {
    /// All routes.
    fn router(self) -> Router {
        let keyed = Router::new().merge(events::routes(&self));
        let open = Router::new().route("/healthz", get(health::alive)).route("/readyz", get(health::ready));
        keyed
            .fallback(error::no_route)
            .method_not_allowed_fallback(error::no_method)
            .layer(middleware::from_fn_with_state(self.clone(), auth::check))
            .merge(open)
            .layer(CatchPanicLayer::custom(error::panicked))
            .with_state(self)
    }
}
