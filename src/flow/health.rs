//! How the worker is: for probes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::lease::Lease;

/// A reader that has heard nothing of Redis for so long is as good as dead: a read of nothing takes two seconds.
const SILENT: Duration = Duration::from_secs(15);

/// Why a worker takes no events now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// Redis has not answered yet.
    #[error("it waits for redis")]
    Starting,
    /// Its heartbeats do not get through.
    #[error("redis is away")]
    RedisAway,
    /// Nothing has been read for long.
    #[error("its reader has heard nothing of redis for {} s", SILENT.as_secs())]
    ReaderSilent,
    /// It was told to stop.
    #[error("it is stopping")]
    Stopping,
}

/// How the worker is. Cheap to clone; all clones tell the same.
#[derive(Clone, Debug)]
pub struct Health {
    state: Arc<Mutex<State>>,
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    lease: Option<watch::Receiver<Lease>>,
    /// When the reader last heard of Redis; none while it waits for room, and need not.
    heard: Option<Instant>,
}

impl Health {
    /// Of a worker that has not begun, and ends with `stop`.
    pub fn new(stop: CancellationToken) -> Self {
        Self { state: Arc::default(), stop }
    }

    /// It has joined the workers, under this lease.
    pub fn joined(&self, lease: watch::Receiver<Lease>) {
        let mut state = self.state();
        state.lease = Some(lease);
        state.heard = Some(Instant::now());
    }

    /// Its reader has heard of Redis.
    pub(super) fn heard(&self) {
        self.state().heard = Some(Instant::now());
    }

    /// Its reader waits for room.
    pub(super) fn waits_for_room(&self) {
        self.state().heard = None;
    }

    /// Why it takes no events; none where it does.
    pub fn unready(&self) -> Option<Unready> {
        let (state, now) = (self.state(), Instant::now());
        if self.stop.is_cancelled() {
            return Some(Unready::Stopping);
        }
        let Some(lease) = &state.lease else { return Some(Unready::Starting) };
        if !lease.borrow().is_valid(now) {
            return Some(Unready::RedisAway);
        }
        let is_silent = state.heard.is_some_and(|heard| now.saturating_duration_since(heard) > SILENT);
        is_silent.then_some(Unready::ReaderSilent)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
