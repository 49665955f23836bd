//! Ports for servers that have to be told theirs before they listen.

use std::net::TcpListener;
use std::ops::Range;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below it are ports that services are known to use.
const LOWEST: u16 = 10_000;
/// Where ephemeral ports begin where the system does not say, as Linux has it.
const EPHEMERAL: u16 = 32_768;
/// With fewer than these, test binaries beside each other would take each other's.
const ENOUGH: u16 = 1_000;

/// A port of loopback on which nobody listens. No connection is given it by the kernel, as it could be with an
/// ephemeral one before the server listens, and this process is not given it again soon.
pub fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let range = range();
    let count = u32::from(range.end - range.start);
    // Processes that follow each other start far apart.
    let start = std::process::id().wrapping_mul(7919) % count;
    for _ in 0..count {
        let further = u32::from(TAKEN.fetch_add(1, Ordering::Relaxed));
        let above = u16::try_from((start + further) % count).expect("it is below the count");
        let port = range.start + above;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port of {range:?} is free");
}

/// Ports that the kernel gives to nobody by itself.
fn range() -> Range<u16> {
    let told = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let ephemeral = told.split_whitespace().next().and_then(|first| first.parse().ok());
    match ephemeral.unwrap_or(EPHEMERAL) {
        first if first >= LOWEST + ENOUGH => LOWEST..first,
        // A system that gives away nearly all of them: then any may be taken, and whoever starts a server tries again.
        _ => LOWEST..EPHEMERAL,
    }
}
