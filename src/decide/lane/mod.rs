//! Lanes: how many attempts one destination may have in flight, and whether it may have any.
//!
//! A lane is pure state: `now` is the time since some fixed moment, and randomness is a parameter. It does not know the
//! deliveries; whoever owns it asks before it begins an attempt, and tells how each ended.

mod breaker;
mod limit;
mod pace;
mod rate;
mod share;

use std::time::Duration;

use self::breaker::{Breaker, Gate};
pub use self::breaker::{BreakerSettings, Pick};
use self::limit::Limit;
use self::pace::Pace;
pub use self::rate::Rate;
pub use self::share::fits;
use crate::model::{Outcome, TransportError};

/// An attempt that takes as long is slow, and a delivery that has to wait as long leaves the process.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// How long a success proves that a receiver is there.
const FRESH: Duration = Duration::from_secs(2);
/// How long it proves that it is there still.
const JUST_NOW: Duration = Duration::from_millis(300);
/// The share of the latest attempt in the typical duration.
const WEIGHT: f64 = 0.2;

/// What an attempt told of its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// It is there and answers for itself: it took the event, or refused it for good.
    Alive,
    /// It failed; another attempt may succeed.
    Failed,
    /// It did not answer in time.
    TimedOut,
}

impl Sign {
    /// What an outcome tells. `is_final`: whether its status is one that is not retried.
    pub fn of(outcome: &Outcome, is_final: impl Fn(u16) -> bool) -> Self {
        match outcome {
            Outcome::Replied(reply) if (200..300).contains(&reply.status) || is_final(reply.status) => {
                Self::Alive
            }
            Outcome::Replied(_) => Self::Failed,
            Outcome::Failed(TransportError::Timeout(_) | TransportError::ConnectTimeout(_)) => Self::TimedOut,
            Outcome::Failed(_) => Self::Failed,
        }
    }
}

/// How far a lane is trusted with the slots that all lanes share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Its receiver answers at this very moment, and quickly.
    Live,
    /// Its receiver took or refused something moments ago, and quickly.
    Proven,
    /// The last it is known for is a quick answer, but not of late.
    Good,
    /// Nothing is known of it yet.
    New,
    /// It failed last, is slow, or hangs.
    None,
}

impl Trust {
    /// Whether its receiver is known to be good.
    pub fn is_earned(self) -> bool {
        !matches!(self, Self::New | Self::None)
    }
}

/// Why no attempt may begin now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// The breaker is open until then.
    Open(Duration),
    /// The breaker is half open, and its one probe is under way.
    Probing,
    /// As many attempts are in flight as the receiver bears.
    Full,
    /// The rate limit, or the pace, allows the next at this time.
    Rate(Duration),
}

/// An attempt in flight; to be given back when it has ended.
#[derive(Debug)]
#[must_use]
pub struct Ticket {
    number: u64,
    is_probe: bool,
}

/// What the end of an attempt changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing of note.
    None,
    /// The breaker opened: its receiver is down.
    Down,
    /// The breaker was not closed, and is now.
    Recovered,
}

/// The limits of one destination.
#[derive(Debug)]
pub struct Lane {
    limit: Limit,
    breaker: Breaker,
    rate: Option<Rate>,
    pace: Pace,
    /// The number of each attempt in flight and when it began, the oldest first.
    in_flight: Vec<(u64, Duration)>,
    begun: u64,
    typical: Option<Duration>,
    last: Option<Sign>,
    last_alive: Option<Duration>,
}

impl Lane {
    /// A lane of which nothing is known. `most`: attempts in flight at most, whatever the receiver bears.
    pub fn new(most: usize, breaker: BreakerSettings) -> Self {
        Self {
            limit: Limit::new(most),
            breaker: Breaker::new(breaker),
            rate: None,
            pace: Pace::default(),
            in_flight: Vec::new(),
            begun: 0,
            typical: None,
            last: None,
            last_alive: None,
        }
    }

    /// Attempts in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// Gives back the memory that only attempts in flight need.
    pub fn rest(&mut self) {
        self.in_flight.shrink_to_fit();
    }

    /// How many attempts the receiver bears at a time.
    pub fn limit(&self) -> usize {
        self.limit.get()
    }

    /// Whether the breaker is closed.
    pub fn is_closed(&self) -> bool {
        self.breaker.is_closed()
    }

    /// Sets what the rate limit is now, in attempts a second.
    pub fn set_rate(&mut self, per_second: Option<f64>, now: Duration) {
        self.rate = match (self.rate.take(), per_second) {
            (Some(rate), Some(per_second)) => Some(rate.at(per_second, now)),
            (None, Some(per_second)) => Some(Rate::new(per_second, now)),
            (_, None) => None,
        };
    }

    /// Whether an attempt may begin at `now`.
    ///
    /// # Errors
    /// Why not.
    pub fn may_begin(&self, now: Duration) -> Result<(), Hold> {
        match self.breaker.gate(now) {
            Gate::Closed if self.in_flight() >= self.limit() => return Err(Hold::Full),
            Gate::Closed | Gate::ProbeDue => {}
            Gate::OpenUntil(until) => return Err(Hold::Open(until)),
            Gate::Probing => return Err(Hold::Probing),
        }
        match self.rate.as_ref().and_then(|rate| rate.next(now)).or(self.pace.next(now)) {
            Some(at) => Err(Hold::Rate(at)),
            None => Ok(()),
        }
    }

    /// Begins an attempt that [`Self::may_begin`] allowed.
    pub fn begin(&mut self, now: Duration) -> Ticket {
        self.begun += 1;
        self.pace.begin(self.typical, self.in_flight(), self.limit(), now);
        self.in_flight.push((self.begun, now));
        if let Some(rate) = &mut self.rate {
            rate.take(now);
        }
        Ticket { number: self.begun, is_probe: self.breaker.begin(now) }
    }

    /// Ends an attempt. `sign`: what it told, none when it came to nothing. `random`: a number in `0..1`.
    #[expect(clippy::needless_pass_by_value, reason = "a ticket is given back once")]
    pub fn end(&mut self, ticket: Ticket, sign: Option<Sign>, now: Duration, random: f64) -> Change {
        let full = self.in_flight() >= self.limit() || self.pace.next(now).is_some();
        let place = self.in_flight.binary_search_by_key(&ticket.number, |(number, _)| *number);
        let began = place.map_or(now, |place| self.in_flight.remove(place).1);
        let took = now.saturating_sub(began);
        let Some(sign) = sign else {
            self.breaker.abandoned(ticket.is_probe, now);
            return Change::None;
        };
        self.typical = Some(match self.typical {
            Some(typical) => typical.mul_f64(1.0 - WEIGHT) + took.mul_f64(WEIGHT),
            None => took,
        });
        self.last = Some(sign);
        if sign == Sign::Alive {
            self.last_alive = Some(now);
            let recovered = self.breaker.alive(ticket.is_probe);
            if recovered {
                self.limit.restart();
            } else if full {
                self.limit.grow();
            }
            return if recovered { Change::Recovered } else { Change::None };
        }
        if sign == Sign::TimedOut {
            self.limit.halve(began, now);
        }
        if self.breaker.failed(ticket.is_probe, took, now, random) { Change::Down } else { Change::None }
    }

    /// How far the lane is trusted at `now`.
    pub fn trust(&self, now: Duration) -> Trust {
        let typical = self.typical.unwrap_or_default();
        let oldest = self.oldest(now);
        let hangs = oldest > PATIENCE && oldest > typical * 3;
        if self.last.is_none() && !hangs && self.is_closed() {
            return Trust::New;
        }
        if self.last != Some(Sign::Alive) || typical >= PATIENCE || hangs || !self.is_closed() {
            return Trust::None;
        }
        match self.last_alive {
            Some(at) if now.saturating_sub(at) <= JUST_NOW => Trust::Live,
            Some(at) if now.saturating_sub(at) <= FRESH => Trust::Proven,
            _ => Trust::Good,
        }
    }

    /// How long a delivery would wait for its turn behind `ahead` others, as far as the receiver goes.
    pub fn wait(&self, ahead: usize, now: Duration) -> Duration {
        let of_breaker = match self.breaker.gate(now) {
            Gate::Closed | Gate::ProbeDue => Duration::ZERO,
            Gate::OpenUntil(until) => until.saturating_sub(now),
            Gate::Probing => PATIENCE * 2,
        };
        let of_rate = self.rate.as_ref().map_or(Duration::ZERO, |rate| rate.wait(ahead, now));
        of_breaker.max(of_rate).max(self.turns(ahead, now))
    }

    /// Whether attempts are known to take no longer than `within`.
    pub fn is_quick(&self, within: Duration) -> bool {
        self.typical.is_some_and(|typical| typical <= within)
    }

    /// Whether the rate limit is what a delivery behind `ahead` others would wait for.
    pub fn is_rate_limited(&self, ahead: usize, now: Duration) -> bool {
        self.rate.as_ref().is_some_and(|rate| rate.wait(ahead, now) > self.turns(ahead, now))
    }

    fn turns(&self, ahead: usize, now: Duration) -> Duration {
        let Some(typical) = self.typical else {
            // Nothing is known until the first attempt has ended, or hangs.
            return self.oldest(now);
        };
        let turns = (self.in_flight() + ahead) as f64 / self.limit.soon() as f64;
        if turns < 1.0 { Duration::ZERO } else { typical.mul_f64(turns) }
    }

    /// How many deliveries to have at hand: those that can begin, and the next round.
    pub fn appetite(&self, now: Duration) -> usize {
        // What has no turn within the patience would only be parked again.
        if self.rate.as_ref().and_then(|rate| rate.next(now)).is_some_and(|at| at > now + PATIENCE) {
            return 0;
        }
        match self.breaker.gate(now) {
            Gate::Closed => {
                let of_rate = self.rate.as_ref().map_or(usize::MAX, Rate::a_second);
                // Of an unknown receiver for which something is parked, nothing good is to be expected.
                if self.last.is_none() { 1 } else { (2 * self.limit()).min(of_rate) }
            }
            // One that has no token yet would be parked again, and asked for again.
            Gate::ProbeDue => usize::from(self.rate.as_ref().is_none_or(|rate| rate.next(now).is_none())),
            Gate::OpenUntil(_) | Gate::Probing => 0,
        }
    }

    /// Which of those that wait elsewhere to have at hand.
    pub fn pick(&self) -> Pick {
        if self.is_closed() { Pick::Oldest } else { self.breaker.pick() }
    }

    /// For how long the oldest attempt has been in flight.
    fn oldest(&self, now: Duration) -> Duration {
        self.in_flight.first().map_or(Duration::ZERO, |(_, began)| now.saturating_sub(*began))
    }

    /// Makes the probe of an open breaker due: somebody says that the receiver is back.
    pub fn probe_now(&mut self, now: Duration) {
        self.breaker.probe_now(now);
    }

    /// Until when the breaker is open, if it is: then its probe is due.
    pub fn open_until(&self, now: Duration) -> Option<Duration> {
        match self.breaker.gate(now) {
            Gate::OpenUntil(until) => Some(until),
            Gate::Closed | Gate::ProbeDue | Gate::Probing => None,
        }
    }
}

#[cfg(test)]
mod tests;
