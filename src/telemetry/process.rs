//! What Linux tells of this process: <https://man7.org/linux/man-pages/man5/proc.5.html>. Elsewhere, nothing.

use std::fs;

/// What is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Facts {
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: f64,
    pub(super) virtual_bytes: f64,
    pub(super) open_fds: f64,
    pub(super) max_fds: f64,
    pub(super) threads: f64,
    /// Unix time.
    pub(super) started_seconds: f64,
}

/// What is told of this process; none where there is no `/proc`.
pub(super) fn facts() -> Option<Facts> {
    let open_fds = fs::read_dir("/proc/self/fd").ok()?.count();
    read(
        &fs::read_to_string("/proc/self/stat").ok()?,
        &fs::read_to_string("/proc/self/limits").ok()?,
        &fs::read_to_string("/proc/stat").ok()?,
        open_fds,
    )
}

fn read(stat: &str, limits: &str, system: &str, open_fds: usize) -> Option<Facts> {
    let (ticks, page) = (rustix::param::clock_ticks_per_second() as f64, rustix::param::page_size() as f64);
    // The second field, the program's name in brackets, may hold spaces; field n of the manual is n - 3 here.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
    let soft =
        limits.lines().find_map(|line| line.strip_prefix("Max open files"))?.split_whitespace().next()?;
    let booted: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(Facts {
        cpu_seconds: (field(14)? + field(15)?) / ticks,
        resident_bytes: field(24)? * page,
        virtual_bytes: field(23)?,
        open_fds: open_fds as f64,
        max_fds: soft.parse().unwrap_or(f64::INFINITY),
        threads: field(20)?,
        started_seconds: booted + field(22)? / ticks,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "77 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 13 14 15 16 8 18 300 4096000 25 99 0";

    #[test]
    fn fields_are_those_of_the_manual() {
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let limits =
            "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024   524288   files\n";
        let facts = read(STAT, limits, "cpu 1 2\nbtime 1700000000\n", 9).unwrap();
        assert_eq!(facts.cpu_seconds, 300.0 / ticks);
        assert_eq!(facts.virtual_bytes, 4_096_000.0);
        assert_eq!(facts.resident_bytes, 25.0 * rustix::param::page_size() as f64);
        assert_eq!((facts.open_fds, facts.max_fds, facts.threads), (9.0, 1024.0, 8.0));
        assert_eq!(facts.started_seconds, 1_700_000_000.0 + 300.0 / ticks);
        let unlimited = read(STAT, "Max open files  unlimited  unlimited  files", "btime 1", 9).unwrap();
        assert_eq!(unlimited.max_fds, f64::INFINITY);
        assert_eq!(read("77 (a)", limits, "btime 1", 9), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_can_be_told_of() {
        let facts = facts().unwrap();
        assert!(
            facts.resident_bytes > 100_000.0 && facts.open_fds > 2.0 && facts.threads >= 1.0,
            "{facts:?}"
        );
    }
}
