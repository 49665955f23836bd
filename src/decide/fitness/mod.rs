//! Whether a Redis server is fit to hold events: what could be lost with it, and the line that mends it.

mod finding;
mod trouble;

pub use finding::{Finding, Level};
pub use trouble::troubles;

use crate::model::ServerFacts;

/// The oldest server whose commands suffice, and the oldest that is tested with.
const NEEDED: (u32, u32) = (6, 2);
const BASELINE: (u32, u32) = (7, 0);

/// What of the server bears on the events.
pub fn of_server(facts: &ServerFacts) -> Vec<Finding> {
    let mut findings = vec![version(facts), role(facts), persistence(facts)];
    if facts.aof {
        findings.push(fsync(facts));
    }
    findings.extend(trouble::disk(facts));
    findings.extend([eviction(facts), memory(facts), replicas(facts)]);
    findings
}

fn version(facts: &ServerFacts) -> Finding {
    let mut numbers = facts.version.split('.').map(|number| number.parse::<u32>().ok());
    let version = numbers.next().flatten().zip(numbers.next().flatten());
    match version {
        None => Finding::warning("version", "the server does not tell its version; 7.0 or newer is needed"),
        Some(version) if version < NEEDED => Finding::problem(
            "version",
            format!("{} is too old; 6.2 is needed, 7.0 or newer is better", facts.version),
        ),
        Some(version) if version < BASELINE => Finding::warning(
            "version",
            format!("{} works, but only 7.0 and newer are tested with", facts.version),
        ),
        Some(_) => Finding::ok("version", facts.version.clone()),
    }
}

fn role(facts: &ServerFacts) -> Finding {
    trouble::replica(facts).unwrap_or_else(|| Finding::ok("role", "a primary: it takes events"))
}

fn persistence(facts: &ServerFacts) -> Finding {
    if facts.aof {
        return Finding::ok("persistence", "the append-only file is on");
    }
    let lost = match facts.save.as_deref() {
        Some("") => {
            "neither append-only file nor snapshots: a restart or crash of Redis loses every event that waits"
        }
        Some(_) => "snapshots only: a crash of Redis loses everything since the last one, minutes of events",
        None => {
            "the append-only file is off: a crash of Redis loses at least everything since the last snapshot"
        }
    };
    Finding::problem("persistence", lost).mended_by("appendonly yes")
}

fn fsync(facts: &ServerFacts) -> Finding {
    match facts.fsync.as_deref() {
        Some("always") => Finding::ok("appendfsync", "always: what was acknowledged survives a power cut"),
        Some("everysec") => {
            let detail = "everysec: a power cut or a crash of the machine loses up to 1 s of acknowledged events (2 s at \
                          worst); a crash of Redis alone loses none";
            Finding::warning("appendfsync", detail).mended_by("appendfsync always")
        }
        Some(other) => {
            let detail = format!(
                "{other}: a power cut loses what the system had not written yet, half a minute is usual"
            );
            Finding::problem("appendfsync", detail).mended_by("appendfsync always")
        }
        None => {
            Finding::warning("appendfsync", "the server does not tell; ask its provider how often it syncs")
        }
    }
}

fn eviction(facts: &ServerFacts) -> Finding {
    let unlimited = facts.max_memory == Some(0);
    match facts.eviction.as_deref() {
        Some("noeviction") => Finding::ok("eviction", "noeviction: nothing is deleted to make room"),
        Some(policy) if policy.starts_with("volatile-") => {
            let detail = format!(
                "{policy}: keys that expire are deleted to make room; posthaste has none, other users may"
            );
            Finding::warning("eviction", detail).mended_by("maxmemory-policy noeviction")
        }
        Some(policy) if unlimited => {
            let detail = format!("{policy}: once maxmemory is set, waiting events are deleted to make room");
            Finding::warning("eviction", detail).mended_by("maxmemory-policy noeviction")
        }
        Some(policy) => {
            let detail =
                format!("{policy}: when memory is full, waiting events are deleted without telling anybody");
            Finding::problem("eviction", detail).mended_by("maxmemory-policy noeviction")
        }
        None => Finding::warning(
            "eviction",
            "the server does not tell its maxmemory-policy; it has to be noeviction",
        ),
    }
}

fn memory(facts: &ServerFacts) -> Finding {
    if let Some(short) = trouble::short_memory(facts) {
        return short;
    }
    let used = size(facts.used_memory);
    match facts.max_memory {
        Some(0) => {
            let detail = format!(
                "{used} used, without a limit: a long backlog can take the memory of the whole machine"
            );
            Finding::warning("memory", detail).mended_by("maxmemory 512mb")
        }
        Some(max) => Finding::ok("memory", format!("{used} of {} used", size(max))),
        None => Finding::ok("memory", format!("{used} used")),
    }
}

fn replicas(facts: &ServerFacts) -> Finding {
    match facts.replicas {
        0 => Finding::ok("replicas", "none: what waits is as safe as this server's disk"),
        replicas => {
            let detail = format!(
                "{replicas} connected; they lag a little: a failover loses the last moments before it, whatever \
                 appendfsync says"
            );
            Finding::warning("replicas", detail)
        }
    }
}

/// Bytes, in words.
fn size(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / (1 << 20) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn safe() -> ServerFacts {
        ServerFacts {
            version: "7.0.15".to_owned(),
            eviction: Some("noeviction".to_owned()),
            max_memory: Some(512 << 20),
            used_memory: 1 << 20,
            aof: true,
            fsync: Some("always".to_owned()),
            save: Some(String::new()),
            role: "master".to_owned(),
            replicas: 0,
            ..ServerFacts::default()
        }
    }

    fn level_of(what: &str, facts: &ServerFacts) -> Level {
        of_server(facts).into_iter().find(|finding| finding.what == what).unwrap().level
    }

    #[test]
    fn a_durable_server_is_fit() {
        assert!(of_server(&safe()).iter().all(|finding| finding.level == Level::Ok));
    }

    #[test]
    fn what_can_lose_events_is_a_problem_with_the_line_that_mends_it() {
        let cases = [
            ("persistence", ServerFacts { aof: false, ..safe() }),
            ("appendfsync", ServerFacts { fsync: Some("no".to_owned()), ..safe() }),
            ("eviction", ServerFacts { eviction: Some("allkeys-lru".to_owned()), ..safe() }),
        ];
        for (what, facts) in cases {
            let finding = of_server(&facts).into_iter().find(|finding| finding.what == what).unwrap();
            assert_eq!(finding.level, Level::Problem, "{what}");
            assert!(finding.fix.is_some(), "{what}");
        }
    }

    #[test]
    fn what_is_worth_knowing_is_a_warning() {
        let cases = [
            ("version", ServerFacts { version: "6.2.14".to_owned(), ..safe() }),
            ("appendfsync", ServerFacts { fsync: Some("everysec".to_owned()), ..safe() }),
            ("eviction", ServerFacts { eviction: Some("volatile-lru".to_owned()), ..safe() }),
            (
                "eviction",
                ServerFacts { eviction: Some("allkeys-lru".to_owned()), max_memory: Some(0), ..safe() },
            ),
            ("memory", ServerFacts { max_memory: Some(0), ..safe() }),
            ("memory", ServerFacts { used_memory: 500 << 20, ..safe() }),
            ("replicas", ServerFacts { replicas: 1, ..safe() }),
        ];
        for (what, facts) in cases {
            assert_eq!(level_of(what, &facts), Level::Warning, "{what}: {facts:?}");
        }
    }

    #[test]
    fn a_server_that_cannot_be_used_is_a_problem() {
        assert_eq!(
            level_of("version", &ServerFacts { version: "6.0.16".to_owned(), ..safe() }),
            Level::Problem
        );
        assert_eq!(
            level_of("version", &ServerFacts { version: "5.0.7".to_owned(), ..safe() }),
            Level::Problem
        );
        assert_eq!(level_of("role", &ServerFacts { role: "slave".to_owned(), ..safe() }), Level::Problem);
    }
}
