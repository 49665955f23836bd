//! The rate limit: a token bucket.

use std::time::Duration;

/// How long the bucket takes to fill: what may be made up for when the owner is late.
const BURST: Duration = Duration::from_millis(100);

/// At most so many attempts a second.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    per_second: f64,
    tokens: f64,
    at: Duration,
}

impl Rate {
    /// `per_second` attempts, more than 0.
    pub fn new(per_second: f64, now: Duration) -> Self {
        Self { per_second: per_second.max(f64::MIN_POSITIVE), tokens: 1.0, at: now }
    }

    /// The same bucket at another rate.
    #[must_use]
    pub fn at(mut self, per_second: f64, now: Duration) -> Self {
        if (self.per_second - per_second).abs() > f64::EPSILON {
            self = Self { tokens: self.tokens(now).min(1.0), ..Self::new(per_second, now) };
        }
        self
    }

    /// When the next attempt may begin; none when it may now.
    pub fn next(&self, now: Duration) -> Option<Duration> {
        let missing = 1.0 - self.tokens(now);
        // What rounding leaves must not make anyone wait for a nanosecond, again and again.
        (missing > 1e-6).then(|| now + self.time_for(missing))
    }

    /// Counts an attempt.
    pub fn take(&mut self, now: Duration) {
        self.tokens = self.tokens(now) - 1.0;
        self.at = now;
    }

    /// How long an attempt behind `ahead` others has to wait.
    pub fn wait(&self, ahead: usize, now: Duration) -> Duration {
        self.time_for((ahead as f64 + 1.0 - self.tokens(now)).max(0.0))
    }

    /// How many attempts a second, at least 1.
    pub(super) fn a_second(&self) -> usize {
        (self.per_second as usize).max(1)
    }

    fn tokens(&self, now: Duration) -> f64 {
        let filled = self.tokens + self.per_second * now.saturating_sub(self.at).as_secs_f64();
        filled.min((self.per_second * BURST.as_secs_f64()).max(1.0))
    }

    fn time_for(&self, tokens: f64) -> Duration {
        Duration::try_from_secs_f64(tokens / self.per_second).unwrap_or(Duration::MAX / 4)
    }
}
