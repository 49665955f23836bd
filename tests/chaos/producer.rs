//! The producer: pushes events at a rate, some straight to Redis and some through the workers' HTTP API, and remembers
//! which pushes were acknowledged.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::history::{Clock, Push};
use super::ingest::{Apis, Posted, Poster};
use super::traffic::Traffic;

const TICK: Duration = Duration::from_millis(50);
/// One of so many events is posted to a worker.
const POSTED: u32 = 3;
/// How long an acknowledgement may take; later ones count as none.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pushes events to a Redis until a moment.
pub(crate) struct Producer {
    pub(crate) url: String,
    pub(crate) apis: Arc<Apis>,
    pub(crate) traffic: Traffic,
    pub(crate) clock: Clock,
    /// Events per second while Redis is there.
    pub(crate) rate: u64,
}

impl Producer {
    /// An event whose push was not acknowledged may be in the stream or not. It is not pushed again; but it is posted
    /// again, under the same key, which must not put it there twice.
    pub(crate) async fn push_until(self, end: Instant) -> (Vec<Push>, Posted) {
        let each_tick = (self.rate * TICK.as_millis() as u64 / 1000).max(1) as u32;
        let mut pushes: Vec<Push> = Vec::new();
        let mut poster = Poster::new(Arc::clone(&self.apis), self.traffic, self.clock, end);
        let mut connection = None;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while Instant::now() < end {
            ticks.tick().await;
            let Some(mut open) = self.connected(connection.take()).await else { continue };
            let first = pushes.len() as u32;
            let sent = self.clock.now();
            let mut pipeline = redis::pipe();
            for event in first..first + each_tick {
                if event % POSTED == 0 {
                    poster.post(event);
                    continue;
                }
                let (id, payload) = (Traffic::id(event), self.traffic.payload(event));
                pipeline.cmd("XADD").arg("webhooks").arg("*").arg("payload").arg(payload).arg("id").arg(id);
            }
            let pushed: redis::RedisResult<Vec<String>> = pipeline.query_async(&mut open).await;
            let acknowledged = pushed.as_ref().ok().map(|_| self.clock.now());
            for event in first..first + each_tick {
                let is_posted = event % POSTED == 0;
                pushes.push(Push { sent, acknowledged: acknowledged.filter(|_| !is_posted) });
            }
            if pushed.is_ok() {
                connection = Some(open);
            }
        }
        let posted = poster.end(&mut pushes).await;
        (pushes, posted)
    }

    async fn connected(&self, open: Option<MultiplexedConnection>) -> Option<MultiplexedConnection> {
        if open.is_some() {
            return open;
        }
        connect(&self.url, PATIENCE).await
    }
}

/// A connection to Redis without anything between.
pub(crate) async fn connect(url: &str, patience: Duration) -> Option<MultiplexedConnection> {
    let client = Client::open(url).expect("a URL");
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(Duration::from_secs(1)))
        .set_response_timeout(Some(patience));
    client.get_multiplexed_async_connection_with_config(&config).await.ok()
}
