//! The limit: how many attempts at a time a receiver bears. It starts small, doubles with each round of successes until
//! the first timeout, and grows by one a round after it.

use std::time::Duration;

const FIRST: f64 = 4.0;

#[derive(Debug)]
pub(super) struct Limit {
    limit: f64,
    most: f64,
    /// Below it the limit doubles, above it it grows by one a round.
    threshold: f64,
    halved: Option<Duration>,
}

impl Limit {
    pub(super) fn new(most: usize) -> Self {
        let most = most.max(1) as f64;
        Self { limit: FIRST.min(most), most, threshold: f64::INFINITY, halved: None }
    }

    /// At least 1.
    pub(super) fn get(&self) -> usize {
        self.limit as usize
    }

    /// What it will be within a few rounds of successes.
    pub(super) fn soon(&self) -> usize {
        if self.limit < self.threshold { (self.limit * 8.0).min(self.most) as usize } else { self.get() }
    }

    /// An attempt succeeded, and the limit was what held others back.
    pub(super) fn grow(&mut self) {
        let step = if self.limit < self.threshold { 1.0 } else { 1.0 / self.limit };
        self.limit = (self.limit + step).min(self.most);
    }

    /// An attempt that began at `began` timed out. Of those in flight together the first one counts.
    pub(super) fn halve(&mut self, began: Duration, now: Duration) {
        if self.halved.is_some_and(|halved| began <= halved) {
            return;
        }
        self.halved = Some(now);
        self.limit = (self.limit / 2.0).max(1.0);
        self.threshold = self.limit;
    }

    /// The receiver is back: it gets one at a time, and soon as many as it bore before.
    pub(super) fn restart(&mut self) {
        self.threshold = (self.limit / 2.0).max(FIRST);
        self.limit = 1.0;
    }
}
