//! What is known of a Redis server.

/// What of the server bears on durability.
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
    /// Whether the append-only file is on.
    pub aof: bool,
    /// `appendfsync`.
    pub fsync: Option<String>,
    /// `save`: snapshots.
    pub save: Option<String>,
    /// `master` or `slave`.
    pub role: String,
    /// Connected replicas.
    pub replicas: u64,
}
