//! The HTTP API's place in the worker: where it listens, and when it ends.
//!
//! It has threads and connections of its own. Deliveries are made on one thread, where nothing has to be woken across
//! threads; requests, of which each may be large, must not hold them up.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Runtime;
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
/// How many threads it has at most.
const THREADS: usize = 4;

/// The HTTP API while it is served.
pub(super) struct Admin {
    serving: Option<(Threads, JoinHandle<()>)>,
    stop: CancellationToken,
}

/// Its threads. They end with this, which may be dropped where nothing may block, as a runtime may not.
struct Threads(Option<Runtime>);

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
        let threads = Threads::start().map_err(StartError::Thread)?;
        let listener = match threads.listen(addr) {
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
        let redis = redis.on_its_own()?;
        let api = Api {
            redis: redis.clone(),
            client: client.clone(),
            health: watched.health.clone(),
            desk,
            scraper: Scraper::new(redis, Arc::clone(&watched.metrics), watched.held.clone()),
            settings: Arc::new(settings),
        };
        let serving = threads.spawn(serve(api, addr, listener, stop.clone()));
        Ok(Self { serving: Some((threads, serving)), stop })
    }

    /// Answers what is under way, and ends.
    pub(super) async fn end(self) {
        self.stop.cancel();
        if let Some((_threads, serving)) = self.serving {
            _ = serving.await;
        }
    }
}

impl Threads {
    fn start() -> std::io::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get().min(THREADS));
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        Ok(Self(Some(builder.worker_threads(threads).thread_name("api").enable_all().build()?)))
    }

    /// Listens, driven by these threads.
    fn listen(&self, addr: SocketAddr) -> std::io::Result<TcpListener> {
        let _inside = self.0.as_ref().map(Runtime::enter);
        api::listen(addr)
    }

    fn spawn(&self, serving: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
        match &self.0 {
            Some(runtime) => runtime.spawn(serving),
            None => tokio::spawn(serving),
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
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
