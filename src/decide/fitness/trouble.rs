//! What is wrong with a server just now: it is full, a replica, or cannot write to its disk.

use super::{Finding, size};
use crate::model::ServerFacts;

/// From this share of `maxmemory` on, in percent, memory is said to be short.
const SHORT_PERCENT: u64 = 80;

/// What keeps the server from taking events or results now, or soon.
pub fn troubles(facts: &ServerFacts) -> Vec<Finding> {
    [replica(facts), disk(facts), short_memory(facts)].into_iter().flatten().collect()
}

pub(super) fn replica(facts: &ServerFacts) -> Option<Finding> {
    let detail = "a replica: it takes no events, and nothing is delivered; let REDIS_URL name the primary";
    (facts.role == "slave").then(|| Finding::problem("role", detail))
}

/// A server that could not write to its disk refuses all writes (MISCONF).
pub(super) fn disk(facts: &ServerFacts) -> Option<Finding> {
    let takes_snapshots = facts.save.as_deref() != Some("");
    let detail = if facts.aof && facts.append_failed {
        "the last write of the append-only file failed: no events are taken and no results kept until one succeeds; \
         make room on its disk, its log says more"
    } else if facts.snapshot_failed && takes_snapshots && facts.stops_writes != Some(false) {
        "the last snapshot failed: no events are taken and no results kept until one succeeds; make room on its disk, \
         its log says more, then BGSAVE"
    } else {
        return None;
    };
    Some(Finding::problem("disk", detail))
}

/// A server that is full, or nearly.
pub(super) fn short_memory(facts: &ServerFacts) -> Option<Finding> {
    let max = facts.max_memory.filter(|max| *max > 0)?;
    let counted = facts.used_memory.saturating_sub(facts.uncounted_memory);
    let evicts = facts.eviction.as_deref().is_some_and(|policy| policy.starts_with("allkeys-"));
    if counted.saturating_mul(100) < max.saturating_mul(SHORT_PERCENT) {
        return None;
    }
    let used = format!("{} of {} used", size(facts.used_memory), size(max));
    let detail = match (evicts, counted > max) {
        (false, true) => format!(
            "{used}: it is full; new events are refused, what is there is still delivered. Raise maxmemory, or purge \
             dead letters"
        ),
        (false, false) => format!("{used}: when it is full, new events are refused"),
        (true, _) => format!("{used}: when it is full, waiting events are deleted (maxmemory-policy)"),
    };
    Some(Finding::warning("memory", detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn well() -> ServerFacts {
        ServerFacts { role: "master".to_owned(), max_memory: Some(1000), ..ServerFacts::default() }
    }

    fn told(facts: &ServerFacts) -> String {
        troubles(facts).into_iter().map(|finding| finding.detail).collect()
    }

    #[test]
    fn a_server_that_is_well_has_no_troubles() {
        assert_eq!(troubles(&well()), []);
        assert_eq!(troubles(&ServerFacts::default()), []);
        assert_eq!(troubles(&ServerFacts { max_memory: Some(0), used_memory: 1 << 40, ..well() }), []);
    }

    #[test]
    fn memory_is_short_before_it_is_full() {
        let used = |used_memory| told(&ServerFacts { used_memory, uncounted_memory: 100, ..well() });
        assert_eq!(used(899), "");
        assert!(used(900).contains("when it is full, new events are refused"), "{}", used(900));
        assert!(
            used(1100).contains("when it is full"),
            "what does not count does not fill it: {}",
            used(1100)
        );
        assert!(used(1101).contains("it is full; new events are refused"), "{}", used(1101));
        let evicting = ServerFacts { eviction: Some("allkeys-lru".to_owned()), used_memory: 990, ..well() };
        assert!(told(&evicting).contains("deleted"));
    }

    #[test]
    fn a_disk_that_fails_is_told_where_writes_are_refused() {
        let snapshot = ServerFacts { snapshot_failed: true, save: Some("60 1".to_owned()), ..well() };
        assert!(told(&snapshot).contains("snapshot failed"));
        assert!(told(&ServerFacts { save: None, ..snapshot.clone() }).contains("snapshot failed"));
        assert_eq!(told(&ServerFacts { stops_writes: Some(false), ..snapshot.clone() }), "");
        assert_eq!(told(&ServerFacts { save: Some(String::new()), ..snapshot }), "");
        let append = ServerFacts { aof: true, append_failed: true, ..well() };
        assert!(told(&append).contains("append-only file failed"));
    }
}
