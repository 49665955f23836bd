//! The breaker: a receiver that is down is asked now and then, by one attempt at a time.

use std::time::Duration;

/// So many failures in a row open it …
const FAILURES: u32 = 5;
/// … or fewer that together took this long: an attempt that hangs costs more than one that is refused.
const SPENT: Duration = Duration::from_secs(25);
/// By which share of itself an interval is varied at random, up or down, so that receivers that went down together
/// are not all asked together.
const JITTER: f64 = 0.2;

/// How long the breaker stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// At first.
    pub first: Duration,
    /// At most: it doubles with each probe that fails.
    pub longest: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { first: Duration::from_secs(5), longest: Duration::from_secs(60) }
    }
}

impl BreakerSettings {
    /// Open for as long as where retries wait longer, and shorter where they do: who asks for quick retries gets quick
    /// probes.
    pub fn for_retries(initial_delay: Duration, max_delay: Duration) -> Self {
        let Self { first, longest } = Self::default();
        let first = first.min(initial_delay);
        Self { first, longest: longest.min(max_delay).max(first) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed { failures: u32, spent: Duration },
    Open { until: Duration },
    HalfOpen,
}

/// Which of the deliveries that wait one is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// Those that wait longest.
    Oldest,
    /// One of those that came later, any of them.
    Late,
}

/// Whether attempts may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Any number.
    Closed,
    /// One.
    ProbeDue,
    /// None before this time.
    OpenUntil(Duration),
    /// None until the probe has ended.
    Probing,
}

#[derive(Debug)]
pub(super) struct Breaker {
    settings: BreakerSettings,
    state: State,
    /// How long it opens the next time.
    interval: Duration,
    /// What the next probe is made with.
    pick: Pick,
}

const CLOSED: State = State::Closed { failures: 0, spent: Duration::ZERO };

impl Breaker {
    pub(super) fn new(settings: BreakerSettings) -> Self {
        Self { settings, state: CLOSED, interval: settings.first, pick: Pick::Oldest }
    }

    pub(super) fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed { .. })
    }

    pub(super) fn gate(&self, now: Duration) -> Gate {
        match self.state {
            State::Closed { .. } => Gate::Closed,
            State::Open { until } if now < until => Gate::OpenUntil(until),
            State::Open { .. } => Gate::ProbeDue,
            State::HalfOpen => Gate::Probing,
        }
    }

    /// Begins an attempt; true when it is the probe.
    pub(super) fn begin(&mut self, now: Duration) -> bool {
        let is_probe = self.gate(now) == Gate::ProbeDue;
        if is_probe {
            self.state = State::HalfOpen;
        }
        is_probe
    }

    /// What the next probe is made with.
    ///
    /// A receiver may fail with some events only. Those that opened the breaker were the oldest, and those that are
    /// retried come back to the front: were it asked with these only, it would not be found out that it takes others.
    /// Nor with others only, where it takes none at the first attempt. So they take turns.
    pub(super) fn pick(&self) -> Pick {
        self.pick
    }

    /// The receiver is there, whichever attempt found out; true when the breaker was not closed.
    pub(super) fn alive(&mut self, is_probe: bool) -> bool {
        if !is_probe {
            self.pick = Pick::Oldest;
        }
        let was_closed = self.is_closed();
        self.state = CLOSED;
        self.interval = self.settings.first;
        !was_closed
    }

    /// An attempt failed; true when the breaker opened that was closed.
    pub(super) fn failed(&mut self, is_probe: bool, took: Duration, now: Duration, random: f64) -> bool {
        match self.state {
            State::Closed { failures, spent } => {
                let (failures, spent) = (failures + 1, spent + took);
                self.state = State::Closed { failures, spent };
                let opens = failures >= FAILURES || spent >= SPENT;
                if opens {
                    self.open(now, random);
                }
                opens
            }
            State::HalfOpen if is_probe => {
                self.pick = match self.pick {
                    Pick::Oldest => Pick::Late,
                    Pick::Late => Pick::Oldest,
                };
                self.open(now, random);
                false
            }
            // Of an attempt begun before: it says nothing new.
            State::Open { .. } | State::HalfOpen => false,
        }
    }

    /// An attempt came to nothing: where it was the probe, another is due.
    pub(super) fn abandoned(&mut self, is_probe: bool, now: Duration) {
        if is_probe && self.state == State::HalfOpen {
            self.state = State::Open { until: now };
        }
    }

    /// Where it is open, the probe is due. How long it opens next stays as it is.
    pub(super) fn probe_now(&mut self, now: Duration) {
        if let State::Open { until } = &mut self.state {
            *until = now.min(*until);
        }
    }

    fn open(&mut self, now: Duration, random: f64) {
        let factor = 1.0 + JITTER * (2.0 * random.clamp(0.0, 1.0) - 1.0);
        self.state = State::Open { until: now + self.interval.mul_f64(factor) };
        self.interval = (self.interval * 2).min(self.settings.longest);
    }
}
