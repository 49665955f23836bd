//! Connections: one shared by all quick commands, and a pool behind it.
//!
//! Commands are multiplexed on one shared connection (a `get` from a pool for each costs a PING, 4–8× in
//! throughput); it is taken from the pool, and replaced by another from it once it fails. What blocks has a
//! connection of its own ([`Redis::dedicated`]).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use deadpool_redis::{Connection, Manager, Pool, PoolError, Runtime};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue, IntoConnectionInfo,
    Pipeline, ScriptInvocation, TlsCertificates,
};
use tokio::time::Instant;

use super::{ErrorKind, Keys, StoreError};
use crate::model::{Secret, display_url};

/// How long a connection may take to be made.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a quick command may take.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long nothing may have come over a connection that is used unchecked for what must not be sent twice. Less than
/// the shortest `timeout` that Redis can be set to.
const IDLE: Duration = Duration::from_millis(500);
/// The shared connection and a few that are being replaced.
const POOL_SIZE: usize = 4;

/// Where Redis is.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// `redis://`, `rediss://` or `unix://`.
    pub url: Secret,
    /// The producers' stream.
    pub stream: String,
    /// Certificates of CAs, PEM, that a `rediss://` server is trusted by; none: those that the system trusts.
    pub ca: Option<Arc<str>>,
}

/// A Redis server and the names of the keys in it. Cheap to clone.
#[derive(Clone)]
pub struct Redis {
    inner: Arc<Inner>,
}

struct Inner {
    keys: Keys,
    info: ConnectionInfo,
    /// Where it is, as it may be shown.
    shown_url: Arc<str>,
    client: Client,
    pool: Pool,
    shared: Mutex<Option<Arc<Shared>>>,
    /// Held by the one that connects; when connecting failed last, and why.
    connecting: tokio::sync::Mutex<Option<(Instant, StoreError)>>,
    errors: Arc<Errors>,
}

/// How many commands failed, in the order of [`ErrorKind::ALL`].
type Errors = [AtomicU64; ErrorKind::ALL.len()];

/// What servers that are apart have in common.
struct Apart {
    info: ConnectionInfo,
    keys: Keys,
    shown_url: Arc<str>,
    errors: Arc<Errors>,
}

/// A connection, and when the server last answered on it.
struct Shared {
    connection: MultiplexedConnection,
    answered: Mutex<Instant>,
}

impl Redis {
    /// Prepares connections; none is made yet.
    ///
    /// # Errors
    /// When the URL is not one that the client can use.
    pub fn open(settings: &RedisSettings) -> Result<Self, StoreError> {
        let info = settings.url.expose().into_connection_info()?;
        // Off by default in the client; without it a pipeline's tail waits for the server's delayed ACK.
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let info = match &settings.ca {
            Some(ca) if matches!(info.addr(), ConnectionAddr::TcpTls { .. }) => trusting(info, ca)?,
            _ => info,
        };
        let apart = Apart {
            info,
            keys: Keys::new(&settings.stream),
            shown_url: display_url(settings.url.expose()).into(),
            errors: Arc::default(),
        };
        Self::build(apart, RESPONSE_TIMEOUT)
    }

    /// The same server and keys on connections of one's own, whose commands may take up to `response_timeout`.
    ///
    /// # Errors
    /// None that [`Self::open`] had not.
    pub fn apart(&self, response_timeout: Duration) -> Result<Self, StoreError> {
        let inner = &self.inner;
        let apart = Apart {
            info: inner.info.clone(),
            keys: inner.keys.clone(),
            shown_url: Arc::clone(&inner.shown_url),
            errors: Arc::clone(&inner.errors),
        };
        Self::build(apart, response_timeout)
    }

    /// The same server and keys on connections of one's own, for another runtime: what drives a connection is part of
    /// the runtime that made it.
    ///
    /// # Errors
    /// None that [`Self::open`] had not.
    pub fn on_its_own(&self) -> Result<Self, StoreError> {
        self.apart(RESPONSE_TIMEOUT)
    }

    fn build(apart: Apart, response_timeout: Duration) -> Result<Self, StoreError> {
        let Apart { info, keys, shown_url, errors } = apart;
        let manager = Manager::new_with_config(info.clone(), config(response_timeout))?;
        let pool = Pool::builder(manager)
            .max_size(POOL_SIZE)
            .runtime(Runtime::Tokio1)
            .build()
            .expect("a pool with a runtime and without a wait timeout can be built");
        Ok(Self {
            inner: Arc::new(Inner {
                keys,
                client: Client::open(info.clone())?,
                info,
                shown_url,
                pool,
                shared: Mutex::new(None),
                connecting: tokio::sync::Mutex::new(None),
                errors,
            }),
        })
    }

    /// The names of the keys.
    pub fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    /// Where it is, as it may be shown.
    pub fn shown_url(&self) -> &str {
        &self.inner.shown_url
    }

    /// Where it is and who asks, for connections that are not the client's.
    pub(super) fn info(&self) -> &ConnectionInfo {
        &self.inner.info
    }

    /// How many commands failed so far, by kind, on these connections and those that are [apart](Self::apart).
    pub fn errors(&self) -> [(ErrorKind, u64); ErrorKind::ALL.len()] {
        ErrorKind::ALL.map(|kind| (kind, self.inner.errors[kind as usize].load(Ordering::Relaxed)))
    }

    /// Counts an error, and passes it on.
    pub(super) fn counted(&self, error: StoreError) -> StoreError {
        self.inner.errors[error.kind() as usize].fetch_add(1, Ordering::Relaxed);
        error
    }

    /// Whether the server answers.
    pub async fn is_up(&self) -> bool {
        self.query::<String>(&redis::cmd("PING")).await.is_ok()
    }

    /// The directory in which the server keeps its data.
    ///
    /// # Errors
    /// When Redis does not answer, or does not tell.
    pub async fn data_dir(&self) -> Result<String, StoreError> {
        let (_, dir): (String, String) = self.query(redis::cmd("CONFIG").arg("GET").arg("dir")).await?;
        Ok(dir)
    }

    /// Asks the server to write what it has and to end. For `posthaste dev`, whose server it is.
    pub async fn shut_down(&self) {
        // It ends without an answer.
        let _: Result<(), _> = self.query(redis::cmd("SHUTDOWN").arg("NOSAVE")).await;
    }

    /// A connection of one's own, for commands that block for up to `response_timeout`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) async fn dedicated(
        &self,
        response_timeout: Duration,
    ) -> Result<MultiplexedConnection, StoreError> {
        let config = config(response_timeout);
        let connection = self.inner.client.get_multiplexed_async_connection_with_config(&config).await;
        connection.map_err(|error| self.counted(error.into()))
    }

    /// Runs one command on the shared connection.
    pub(super) async fn query<T: FromRedisValue>(&self, cmd: &Cmd) -> Result<T, StoreError> {
        let shared = self.shared().await?;
        let result = cmd.query_async(&mut shared.connection.clone()).await;
        self.checked(&shared, result)
    }

    /// Runs a pipeline (or a MULTI, where it is atomic) on the shared connection.
    pub(super) async fn pipe<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StoreError> {
        let shared = self.shared().await?;
        let result = pipeline.query_async(&mut shared.connection.clone()).await;
        self.checked(&shared, result)
    }

    /// Runs a script on the shared connection, loading it where the server does not know it.
    pub(super) async fn script<T: FromRedisValue>(
        &self,
        invocation: &ScriptInvocation<'_>,
    ) -> Result<T, StoreError> {
        let shared = self.shared().await?;
        let result = invocation.invoke_async(&mut shared.connection.clone()).await;
        self.checked(&shared, result)
    }

    /// Makes sure, where the shared connection was idle, that it is still one: servers, proxies and firewalls drop those
    /// that nobody uses. For commands that must not be sent again once it is unknown what became of them.
    pub(super) async fn check_idle(&self) {
        let is_idle = lock(&self.inner.shared).as_ref().is_some_and(|shared| shared.idle() >= IDLE);
        if is_idle {
            // A connection that fails is dropped, and the next command makes another.
            self.is_up().await;
        }
    }

    /// Passes a result on; after an error that spoils it, the connection is not shared any more.
    fn checked<T>(&self, used: &Arc<Shared>, result: redis::RedisResult<T>) -> Result<T, StoreError> {
        let result = result.map_err(|error| self.counted(error.into()));
        match &result {
            Err(error) if error.spoils_connection() => {
                // Another may have taken its place by now, which is as good as it was.
                lock(&self.inner.shared).take_if(|shared| Arc::ptr_eq(shared, used));
            }
            _ => *lock(&used.answered) = Instant::now(),
        }
        result
    }

    async fn shared(&self) -> Result<Arc<Shared>, StoreError> {
        if let Some(shared) = lock(&self.inner.shared).clone() {
            return Ok(shared);
        }
        // One caller connects. Those who waited for it find the connection, or fail as it did: were each to try in turn,
        // the last would wait as many times for a server that does not answer.
        let came = Instant::now();
        let mut failure = self.inner.connecting.lock().await;
        if let Some(shared) = lock(&self.inner.shared).clone() {
            return Ok(shared);
        }
        if let Some((at, error)) = &*failure
            && *at > came
        {
            return Err(error.clone());
        }
        match self.connect().await {
            Ok(connection) => {
                let shared = Arc::new(Shared { connection, answered: Mutex::new(Instant::now()) });
                *lock(&self.inner.shared) = Some(Arc::clone(&shared));
                Ok(shared)
            }
            Err(error) => {
                *failure = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, StoreError> {
        match self.inner.pool.get().await {
            Ok(object) => Ok(Connection::take(object)),
            Err(PoolError::Backend(error)) => Err(self.counted(error.into())),
            Err(error) => {
                let text = error.to_string();
                Err(self.counted(redis::RedisError::from(std::io::Error::other(text)).into()))
            }
        }
    }
}

impl Shared {
    /// How long ago the server last answered.
    fn idle(&self) -> Duration {
        lock(&self.answered).elapsed()
    }
}

/// The same server, trusted by these certificates and no others.
fn trusting(info: ConnectionInfo, ca: &str) -> Result<ConnectionInfo, StoreError> {
    let certificates = TlsCertificates { client_tls: None, root_cert: Some(ca.as_bytes().to_vec()) };
    Ok(Client::build_with_tls(info, certificates)?.get_connection_info().clone())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("stream", &self.keys().stream()).finish_non_exhaustive()
    }
}

fn config(response_timeout: Duration) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_TIMEOUT))
        .set_response_timeout(Some(response_timeout))
}
