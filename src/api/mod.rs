//! The HTTP API: webhooks are set, events taken in, and the worker watched, over HTTP.
//!
//! `server` holds connections, `auth` lets requests in, `error` gives every refusal one shape; each other file is one
//! group of routes. Nothing here keeps what has to last: that is in Redis, through `store`.

mod auth;
mod body;
mod dead;
mod destinations;
mod error;
mod events;
mod explain;
mod health;
mod instance;
mod metrics;
mod openapi;
mod server;
mod stats;
mod stream;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRef, Path};
use axum::{Router, middleware};
use tower_http::catch_panic::CatchPanicLayer;

pub use self::error::ApiError;
pub use self::metrics::Scraper;
pub use self::server::{listen, serve};
use crate::decide::address::Permits;
use crate::decide::explain::Rules;
use crate::flow::{Desk, Health};
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
    /// Where events go.
    pub rules: Rules,
    /// Where webhooks of instances may be sent to.
    pub permits: Permits,
    /// How many bytes of payloads a process holds; events that are being taken in have half as many besides.
    pub memory_budget_bytes: usize,
    /// How many events may wait before no more are taken.
    pub backlog_limit: Option<u64>,
    /// How long a producer's key is remembered; zero: not at all.
    pub dedup_window: Duration,
}

/// A part of the path, decoded; or why it cannot be.
type InPath = Result<Path<String>, PathRejection>;

/// What every handler may use.
#[derive(Clone, Debug)]
pub struct Api {
    /// The server.
    pub redis: Redis,
    /// What sends test events.
    pub client: Client,
    /// How the worker is.
    pub health: Health,
    /// Where its lanes are asked.
    pub desk: Desk,
    /// Where its numbers come from.
    pub scraper: Scraper,
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
        let keyed = Router::new()
            .merge(dead::routes(&self))
            .merge(destinations::routes())
            .merge(events::routes(&self))
            .merge(explain::routes())
            .merge(metrics::routes())
            .merge(stats::routes())
            .merge(webhooks::routes());
        let open = Router::new().merge(health::routes()).merge(openapi::routes());
        keyed
            .fallback(error::no_route)
            .method_not_allowed_fallback(error::no_method)
            .layer(middleware::from_fn_with_state(self.clone(), auth::check))
            .merge(open)
            .layer(CatchPanicLayer::custom(error::panicked))
            .with_state(self)
    }
}
