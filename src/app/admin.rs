//! The HTTP API's place in the worker: where it listens, and when it ends.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::StartError;
use super::stages::Watched;
use crate::api::{self, Api, ApiSettings, Scraper};
use crate::config::{Config, DEFAULT_ADMIN_ADDR};
use crate::flow::Desk;
use crate::http::Client;
use crate::store::Redis;

/// How often it is tried again to listen where another process does.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// The HTTP API while it is served.
pub(super) struct Admin {
    serving: Option<JoinHandle<()>>,
    stop: CancellationToken,
}

impl Admin {
    /// Listens, and serves until [`Admin::end`].
    pub(super) async fn start(
        config: &Config,
        redis: &Redis,
        client: &Client,
        watched: &Watched,
        desk: Desk,
    ) -> Result<Self, StartError> {
        let stop = CancellationToken::new();
        let Some(addr) = config.admin_addr else { return Ok(Self { serving: None, stop }) };
        let listener = match api::listen(addr) {
            Ok(listener) => Some(listener),
            // Any number of workers may run on a machine, with no settings at all.
            Err(error) if error.kind() == ErrorKind::AddrInUse && addr == DEFAULT_ADMIN_ADDR => {
                tracing::warn!(
                    "another process listens on {addr}: this worker has no HTTP API until that ends; set ADMIN_ADDR \
                     to another address, or to off"
                );
                None
            }
            Err(error) => return Err(StartError::Listen { addr, error }),
        };
        let settings = ApiSettings {
            api_key: config.api_key.clone(),
            max_event_bytes: config.max_event_bytes,
            rules: config.rules(),
            permits: config.permits.clone(),
            memory_budget_bytes: config.memory_budget_bytes,
            backlog_limit: config.backlog_limit,
            dedup_window: config.dedup_window,
        };
        let api = Api {
            redis: redis.clone(),
            client: client.clone(),
            health: watched.health.clone(),
            desk,
            scraper: Scraper::new(redis.clone(), Arc::clone(&watched.metrics), watched.held.clone()),
            settings: Arc::new(settings),
        };
        let serving = tokio::spawn(serve(api, addr, listener, stop.clone()));
        Ok(Self { serving: Some(serving), stop })
    }

    /// Answers what is under way, and ends.
    pub(super) async fn end(self) {
        self.stop.cancel();
        if let Some(serving) = self.serving {
            _ = serving.await;
        }
    }
}

/// Serves on `listener`, or on one that is had as soon as nobody else listens there.
async fn serve(api: Api, addr: SocketAddr, listener: Option<TcpListener>, stop: CancellationToken) {
    let listener = match listener {
        Some(listener) => listener,
        None => loop {
            tokio::select! {
                () = tokio::time::sleep(LISTEN_AGAIN) => {}
                () = stop.cancelled() => return,
            }
            if let Ok(listener) = api::listen(addr) {
                break listener;
            }
        },
    };
    // Port 0 is any that is free.
    let addr = listener.local_addr().unwrap_or(addr);
    tracing::info!(%addr, "the HTTP API listens");
    api::serve(api, listener, stop).await;
}
