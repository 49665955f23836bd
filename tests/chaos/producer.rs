//! The producer: pushes events at a rate, and remembers which pushes were acknowledged.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::history::{Clock, Push};
use super::traffic::Traffic;

const TICK: Duration = Duration::from_millis(50);
/// How long an acknowledgement may take; later ones count as none.
const PATIENCE: Duration = Duration::from_secs(5);

/// Pushes events to a Redis until a moment.
pub(crate) struct Producer {
    pub(crate) url: String,
    pub(crate) traffic: Traffic,
    pub(crate) clock: Clock,
    /// Events per second while Redis is there.
    pub(crate) rate: u64,
}

impl Producer {
    /// An event whose push was not acknowledged may be in the stream or not; it is not pushed again.
    pub(crate) async fn push_until(self, end: Instant) -> Vec<Push> {
        let each_tick = (self.rate * TICK.as_millis() as u64 / 1000).max(1) as u32;
        let mut pushes: Vec<Push> = Vec::new();
        let mut connection = None;
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while Instant::now() < end {
            ticks.tick().await;
            let Some(mut open) = self.connected(connection.take()).await else { continue };
            let first = pushes.len() as u32;
            let mut pipeline = redis::pipe();
            for event in first..first + each_tick {
                let (id, payload) = (Traffic::id(event), self.traffic.payload(event));
                pipeline.cmd("XADD").arg("webhooks").arg("*").arg("payload").arg(payload).arg("id").arg(id);
            }
            let sent = self.clock.now();
            let pushed: redis::RedisResult<Vec<String>> = pipeline.query_async(&mut open).await;
            let acknowledged = pushed.as_ref().ok().map(|_| self.clock.now());
            pushes.resize(pushes.len() + each_tick as usize, Push { sent, acknowledged });
            if pushed.is_ok() {
                connection = Some(open);
            }
        }
        pushes
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
