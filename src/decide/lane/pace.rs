//! The pace: many attempts at one slow receiver do not begin in one moment.
//!
//! What begins together ends together, and the next begin together again: a receiver that takes 200 ms and bears a
//! hundred at a time would have all others wait for a burst of a hundred five times a second.

use std::time::Duration;

/// Attempts that take less do not gather.
const SLOW: Duration = Duration::from_millis(50);
/// So many may begin together.
const TOGETHER: usize = 16;
/// How far apart the others begin at most.
const APART: Duration = Duration::from_micros(500);
/// What may be made up for when the owner was late.
const LATE: Duration = Duration::from_millis(2);

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    next: Duration,
}

impl Pace {
    /// When the next attempt may begin; none when it may now.
    pub(super) fn next(&self, now: Duration) -> Option<Duration> {
        (self.next > now).then_some(self.next)
    }

    /// Counts an attempt. It never slows the receiver down: twice as many may begin as end.
    pub(super) fn begin(&mut self, typical: Option<Duration>, in_flight: usize, limit: usize, now: Duration) {
        let Some(typical) = typical else { return };
        if typical >= SLOW && in_flight >= TOGETHER {
            let apart = APART.min(typical / u32::try_from(2 * limit.max(1)).unwrap_or(u32::MAX));
            self.next = self.next.max(now.saturating_sub(LATE)) + apart;
        }
    }
}
