//! Events, and how they are pushed.

use std::time::{Duration, Instant};

use super::unix_us;

pub const EVENT_BYTES: usize = 600;

/// An envelope of so many bytes; a sink that notes what comes notes its number.
pub fn envelope(instance: &str, number: usize, bytes: usize) -> String {
    let start = format!(
        r#"{{"event":"messages.upsert","instance":"{instance}","data":{{"n":{number},"message":{{"base64":""#
    );
    let end = r#""}},"date_time":"2026-01-01T00:00:00.000Z","sender":"5500999990000@s.whatsapp.net"}"#;
    let filler = "x".repeat(bytes.saturating_sub(start.len() + end.len()));
    format!("{start}{filler}{end}")
}

/// The command that pushes an event now; its id tells the receiver what it needs to know, and its `n` when it was pushed
/// (Unix µs) where no id is sent.
pub fn push(instance: &str, number: usize, bytes: usize) -> redis::Cmd {
    let now_us = unix_us();
    let mut command = redis::cmd("XADD");
    command.arg("webhooks").arg("*").arg("payload").arg(envelope(instance, now_us as usize, bytes));
    command.arg("id").arg(format!("{instance}/{number}/{now_us}"));
    command
}

/// Pushes so many events as fast as Redis takes them.
pub fn push_at_once(redis: &mut redis::Connection, instance: &str, count: usize) {
    push_backlog(redis, &[instance.to_owned()], count, EVENT_BYTES);
}

/// The same, of so many bytes: the next instance gets the next.
pub fn push_backlog(redis: &mut redis::Connection, instances: &[String], count: usize, bytes: usize) {
    let at_a_time = (2_000_000 / bytes.max(1)).clamp(1, 500);
    for first in (0..count).step_by(at_a_time) {
        let mut pipeline = redis::pipe();
        for number in first..count.min(first + at_a_time) {
            pipeline.add_command(push(&instances[number % instances.len()], number, bytes)).ignore();
        }
        pipeline.query::<()>(redis).unwrap();
    }
}

/// Pushes events one by one at a steady rate: the next instance gets the next. What is late is made up for.
pub fn push_steadily(
    redis: &mut redis::Connection,
    instances: &[String],
    per_second: f64,
    lasting: Duration,
) {
    let start = Instant::now();
    let count = (lasting.as_secs_f64() * per_second) as usize;
    for number in 0..count {
        let due = start + Duration::from_secs_f64(number as f64 / per_second);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        push(&instances[number % instances.len()], number, EVENT_BYTES).query::<()>(redis).unwrap();
    }
}
