//! What is known of a Redis server.

/// What of the server bears on durability, and on whether it takes events now.
#[derive(Clone, Debug, Default)]
pub struct ServerFacts {
    /// Its version, as it says it.
    pub version: String,
    /// `maxmemory-policy`.
    pub eviction: Option<String>,
    /// `maxmemory` in bytes; 0 means no limit.
    pub max_memory: Option<u64>,
    /// Memory in use, bytes.
    pub used_memory: u64,
    /// The part of it that does not count against `maxmemory`, bytes.
    pub uncounted_memory: u64,
    /// Seconds since it was started.
    pub uptime_s: u64,
    /// Whether the append-only file is on.
    pub aof: bool,
    /// `appendfsync`.
    pub fsync: Option<String>,
    /// Whether the last write of the append-only file failed.
    pub append_failed: bool,
    /// `save`: snapshots.
    pub save: Option<String>,
    /// Whether the last snapshot failed.
    pub snapshot_failed: bool,
    /// `stop-writes-on-bgsave-error`: whether it takes no writes then.
    pub stops_writes: Option<bool>,
    /// `master` or `slave`.
    pub role: String,
    /// Connected replicas.
    pub replicas: u64,
}
