//! The name of every key.

use crate::model::{Destination, EventId, EventKey};

/// The keys of one stream. All but the stream itself are `{<STREAM>}:…`, so that they share its cluster slot.
#[derive(Clone, Debug)]
pub struct Keys {
    stream: String,
    prefix: String,
}

impl Keys {
    /// The keys of the producers' stream `stream`, which holds no braces.
    pub fn new(stream: &str) -> Self {
        Self { stream: stream.to_owned(), prefix: format!("{{{stream}}}:") }
    }

    /// The producers' stream.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// String that remembers what was pushed under a producer's key.
    pub fn dedup(&self, key: &EventId) -> String {
        self.of(&format!("dedup:{key}"))
    }

    /// Stream of deliveries that are due: retries, replays, error deliveries.
    pub fn ready(&self) -> String {
        self.of("ready")
    }

    /// ZSET of waiting deliveries, `<event key> <destination>` → due time in Unix ms.
    pub fn retry(&self) -> String {
        self.of("retry")
    }

    /// Hash of one event that waits for a retry.
    pub fn event(&self, key: &EventKey) -> String {
        self.of(&format!("event:{key}"))
    }

    /// ZSET of the deliveries parked for one destination: event key → when it was pushed, Unix ms.
    pub fn park(&self, destination: &Destination) -> String {
        self.park_of(&destination.to_string())
    }

    /// The same, of a destination as text.
    pub(super) fn park_of(&self, destination: &str) -> String {
        self.of(&format!("park:{destination}"))
    }

    /// ZSET of destinations with parked deliveries → when to look at them next, Unix ms.
    pub fn parks(&self) -> String {
        self.of("parks")
    }

    /// Hash of destination with parked deliveries → since when and why.
    pub fn parked(&self) -> String {
        self.of("parked")
    }

    /// Hash of paused destination → since when, Unix ms.
    pub fn paused(&self) -> String {
        self.of("paused")
    }

    /// String that is there for as long as nothing more is to be told of a destination.
    pub fn told(&self, destination: &Destination) -> String {
        self.of(&format!("told:{destination}"))
    }

    /// Stream of dead letters.
    pub fn dead(&self) -> String {
        self.of("dead")
    }

    /// Capped stream of recent attempts, one entry per settled batch.
    pub fn attempts(&self) -> String {
        self.of("attempts")
    }

    /// Hash of totals since the stream's first day.
    pub fn counters(&self) -> String {
        self.of("counters")
    }

    /// ZSET of worker → last heartbeat in Unix ms.
    pub fn workers(&self) -> String {
        self.of("workers")
    }

    /// Hash of the latest outage that is over.
    pub fn outage(&self) -> String {
        self.of("outage")
    }

    /// Hash of instance → webhook.
    pub fn webhooks(&self) -> String {
        self.of("webhooks")
    }

    /// Counter that every change of a webhook moves.
    pub fn webhooks_version(&self) -> String {
        self.of("webhooks:version")
    }

    fn of(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_shares_the_streams_slot() {
        let keys = Keys::new("webhooks");
        assert_eq!(keys.stream(), "webhooks");
        assert_eq!(keys.ready(), "{webhooks}:ready");
        assert_eq!(keys.event(&EventKey::new("1-0")), "{webhooks}:event:1-0");
    }
}
