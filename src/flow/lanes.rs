//! The lanes of all destinations: what waits in memory, and whose turn it is.
//!
//! Turns go round. Slots are shared so that no number of bad receivers takes them from the good ones:
//!
//! - lanes that are not trusted (they failed last, are slow, or hang) have half of all slots together;
//! - a new lane shares that half, but for a first attempt, which it begins until three quarters are taken;
//! - those that were good, but not of late, begin nothing once a sixteenth more is taken, and the last eighth is for
//!   those that answer at this moment;
//! - no lane has more in flight than slots are free: however many lanes are busy, some are left;
//! - memory is shared alike. What could not begin within about a second is to be parked.

mod offer;
mod parked;
mod sweep;
pub(super) mod view;

use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

pub(super) use self::parked::{Hunger, Parking};
use self::sweep::FORGET;
use crate::decide::lane::{BreakerSettings, Change, Hold, Lane, Sign, Ticket, fits};
use crate::model::{Destination, ParkReason};

/// What waits for less is on its way: the reader waits for it, instead of it being parked.
const QUICK: Duration = Duration::from_millis(100);
/// A receiver whose attempts take no longer is fast. Where all of this process' time is used up, they take as long as
/// all others that are in flight: what waits for it is given longer then, since parking it would take more of that time.
const FAST: Duration = Duration::from_millis(50);
const QUICK_IF_FAST: Duration = Duration::from_millis(250);
/// How many lanes that were short of slots are looked at again for each attempt that ends.
const AGAIN: usize = 4;

/// What a lane holds of each delivery.
pub(super) trait Load {
    /// Bytes of payload.
    fn bytes(&self) -> usize;
    /// Whether it was parked, and asked back.
    fn was_parked(&self) -> bool;
}

/// How much may be in this process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Attempts in flight.
    pub(super) slots: usize,
    /// Deliveries that wait.
    pub(super) deliveries: usize,
    /// Bytes of their payloads.
    pub(super) bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Nothing waits, or an attempt of its own has to end first.
    Away,
    /// In the ring.
    Ring,
    /// Short of slots.
    Crowded,
    /// Its rate limit has the next turn later.
    Timed,
}

#[derive(Debug)]
struct Entry<T> {
    lane: Lane,
    /// Where its receiver is.
    url: Option<Arc<str>>,
    /// Whether it was down where it was before, and has not come back yet.
    was_down: bool,
    waiting: VecDeque<(Duration, T)>,
    bytes: usize,
    /// What its heaviest deliveries weighed lately.
    heaviest: usize,
    place: Place,
    /// When something began or came last.
    active: Duration,
    begun: Duration,
    /// Whether Redis holds parked deliveries.
    parked: bool,
    /// Whether more were parked since they were last fetched.
    parked_since: bool,
    /// When they were fetched last.
    looked: Option<Duration>,
    /// Whether they are being fetched.
    fetching: bool,
    /// Whether it is among the hungry.
    hungry: bool,
    /// Whether it is among the starved.
    starved: bool,
    /// Whether it is among those that are swept.
    attended: bool,
    /// When it is looked at next by itself.
    wakes: Option<Duration>,
    /// Whether somebody has to look at them, room or not.
    due: bool,
    /// What it adds to the totals.
    untrusted: usize,
    /// 1 where its breaker is not closed.
    down: usize,
    quick: usize,
}

impl<T> Entry<T> {
    /// Whether it has no slot and will not have one in a moment, as a fast one has among others that are: those give
    /// theirs back all the time.
    fn is_short_of_slots(&self, now: Duration) -> bool {
        self.place == Place::Crowded && !(self.lane.trust(now).is_earned() && self.lane.is_quick(FAST))
    }
}

/// The lanes.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    bounds: Bounds,
    breaker: BreakerSettings,
    /// Boxed: a table of all that is known of each would be moved as a whole whenever it grows, and half empty then.
    lanes: HashMap<Destination, Box<Entry<T>>>,
    ring: VecDeque<Destination>,
    crowded: VecDeque<Destination>,
    timed: BinaryHeap<(std::cmp::Reverse<Duration>, Destination)>,
    /// With parked deliveries, and room for them.
    hungry: VecDeque<Destination>,
    /// The same, but short of slots or memory, which all share.
    starved: VecDeque<Destination>,
    /// With something in flight or waiting, or lately so.
    attended: Vec<Destination>,
    /// All, and when each may be forgotten: looking at all of them at a time would cost too much.
    known: VecDeque<(Duration, Destination)>,
    running: usize,
    untrusted: usize,
    /// Lanes whose breaker is not closed.
    down: usize,
    /// Since when the slots of lanes that are not trusted are all taken.
    untrusted_full: Option<Duration>,
    waiting: usize,
    bytes: usize,
    quick: usize,
}

impl<T: Load> Lanes<T> {
    pub(super) fn new(bounds: Bounds, breaker: BreakerSettings) -> Self {
        Self {
            bounds,
            breaker,
            lanes: HashMap::new(),
            ring: VecDeque::new(),
            crowded: VecDeque::new(),
            timed: BinaryHeap::new(),
            hungry: VecDeque::new(),
            starved: VecDeque::new(),
            attended: Vec::new(),
            known: VecDeque::new(),
            running: 0,
            untrusted: 0,
            down: 0,
            untrusted_full: None,
            waiting: 0,
            bytes: 0,
            quick: 0,
        }
    }

    /// Deliveries that wait and are expected to begin in a moment.
    pub(super) fn quick(&self) -> usize {
        self.quick
    }

    /// The next delivery to be attempted, with what to give back when that has ended; none when none may begin.
    pub(super) fn next(&mut self, now: Duration) -> Option<(T, Ticket)> {
        while let Some((std::cmp::Reverse(at), _)) = self.timed.peek()
            && *at <= now
            && let Some((_, to)) = self.timed.pop()
        {
            if let Some(entry) = self.lanes.get_mut(&to)
                && entry.wakes.is_some_and(|at| at <= now)
            {
                entry.wakes = None;
            }
            self.ring_again(&to, Place::Timed);
            // Its breaker may have been open until now.
            self.refresh(&to, now);
        }
        while self.running < self.bounds.slots {
            let to = self.ring.pop_front()?;
            let Some(entry) = self.lanes.get_mut(&to) else { continue };
            entry.place = Place::Away;
            if entry.waiting.is_empty() {
                continue;
            }
            match entry.lane.may_begin(now) {
                Ok(()) => {}
                // Looked at again when an attempt of its own has ended.
                Err(Hold::Full | Hold::Probing | Hold::Open(_)) => continue,
                Err(Hold::Rate(at)) => {
                    entry.place = Place::Timed;
                    self.timed.push((std::cmp::Reverse(at), to));
                    continue;
                }
            }
            let trust = entry.lane.trust(now);
            if !fits(trust, entry.lane.in_flight(), self.running, self.untrusted, self.bounds.slots) {
                entry.place = Place::Crowded;
                self.crowded.push_back(to.clone());
                self.refresh(&to, now);
                continue;
            }
            let Some((_, item)) = entry.waiting.pop_front() else { continue };
            let ticket = entry.lane.begin(now);
            entry.begun = now;
            entry.bytes -= item.bytes();
            self.bytes -= item.bytes();
            self.waiting -= 1;
            self.running += 1;
            self.ring_again(&to, Place::Away);
            self.refresh(&to, now);
            return Some((item, ticket));
        }
        None
    }

    /// An attempt has ended. What the lane's queue held is returned with [`Change::Down`]: it is to be parked.
    pub(super) fn end(
        &mut self,
        to: &Destination,
        ticket: Ticket,
        sign: Option<Sign>,
        now: Duration,
        random: f64,
    ) -> (Change, Vec<Parking<T>>) {
        self.running -= 1;
        let Some(entry) = self.lanes.get_mut(to) else { return (Change::None, Vec::new()) };
        entry.active = now;
        let mut change = entry.lane.end(ticket, sign, now, random);
        if change == Change::None && sign == Some(Sign::Alive) && entry.was_down {
            change = Change::Recovered;
        }
        entry.was_down &= change != Change::Recovered;
        let left = match entry.lane.open_until(now) {
            Some(_) => self.empty(to, ParkReason::Down, now),
            None => Vec::new(),
        };
        self.ring_again(to, Place::Away);
        self.refresh(to, now);
        for _ in 0..AGAIN {
            let Some(to) = self.crowded.pop_front() else { break };
            self.ring_again(&to, Place::Crowded);
        }
        self.feed(AGAIN, now);
        (change, left)
    }

    /// Takes everything that waits out.
    pub(super) fn clear(&mut self) -> Vec<T> {
        let entries = self.lanes.values_mut();
        let taken = entries.flat_map(|entry| {
            (entry.bytes, entry.quick) = (0, 0);
            std::mem::take(&mut entry.waiting)
        });
        let taken = taken.map(|(_, item)| item).collect();
        (self.waiting, self.bytes, self.quick) = (0, 0, 0);
        taken
    }

    /// When the next lane has its turn that its rate limit keeps waiting.
    pub(super) fn next_turn(&self) -> Option<Duration> {
        self.timed.peek().map(|(std::cmp::Reverse(at), _)| *at)
    }

    /// Notes where a destination is. What was learnt about another receiver says nothing about this one; but while an
    /// attempt at the old one is in flight, that has to be asked again.
    pub(super) fn is_at(&mut self, to: &Destination, url: &Arc<str>, now: Duration) {
        let (most, breaker) = (self.most(), self.breaker);
        let entry = self.entry(to, now);
        match &entry.url {
            Some(known) if known == url => return,
            Some(_) if entry.lane.in_flight() > 0 => return,
            Some(_) => {
                entry.was_down |= !entry.lane.is_closed();
                entry.lane = Lane::new(most, breaker);
            }
            None => {}
        }
        entry.url = Some(Arc::clone(url));
        self.refresh(to, now);
    }

    /// Where a destination was last, as far as is known.
    pub(super) fn url(&self, to: &Destination) -> Option<&Arc<str>> {
        self.lanes.get(to)?.url.as_ref()
    }

    fn most(&self) -> usize {
        self.bounds.slots.div_ceil(2)
    }

    fn entry(&mut self, to: &Destination, now: Duration) -> &mut Entry<T> {
        let (most, breaker) = (self.most(), self.breaker);
        let known = &mut self.known;
        self.lanes.entry(to.clone()).or_insert_with(|| {
            known.push_back((now + FORGET, to.clone()));
            Box::new(Entry {
                lane: Lane::new(most, breaker),
                url: None,
                was_down: false,
                waiting: VecDeque::new(),
                bytes: 0,
                heaviest: 0,
                place: Place::Away,
                active: now,
                begun: now,
                parked: false,
                parked_since: false,
                looked: None,
                fetching: false,
                hungry: false,
                starved: false,
                attended: false,
                wakes: None,
                due: false,
                untrusted: 0,
                down: 0,
                quick: 0,
            })
        })
    }

    /// Brings a lane's share in the totals up to date.
    fn refresh(&mut self, to: &Destination, now: Duration) {
        let Some(entry) = self.lanes.get_mut(to) else { return };
        let untrusted = if entry.lane.trust(now).is_earned() { 0 } else { entry.lane.in_flight() };
        self.untrusted = self.untrusted - entry.untrusted + untrusted;
        entry.untrusted = untrusted;
        let down = usize::from(!entry.lane.is_closed());
        self.down = self.down - entry.down + down;
        entry.down = down;
        let wait = entry.lane.wait(entry.waiting.len(), now);
        let is_quick = !entry.is_short_of_slots(now) && wait <= quick(&entry.lane);
        let quick = if is_quick { entry.waiting.len() } else { 0 };
        self.quick = self.quick - entry.quick + quick;
        entry.quick = quick;
        let has_room = entry.waiting.len() < entry.lane.appetite(now).div_ceil(2);
        if entry.parked && !entry.fetching && !entry.hungry && !entry.starved {
            match entry.lane.may_begin(now) {
                _ if has_room => {
                    entry.hungry = true;
                    self.hungry.push_back(to.clone());
                }
                Err(Hold::Open(at) | Hold::Rate(at)) if entry.wakes.is_none_or(|earlier| at < earlier) => {
                    entry.wakes = Some(at);
                    self.timed.push((std::cmp::Reverse(at), to.clone()));
                }
                Ok(()) | Err(_) => {}
            }
        }
        // A slot that is free for a moment, as those of receivers that refuse at once are, changes nothing.
        if self.untrusted * 4 < self.most() * 3 {
            self.untrusted_full = None;
        } else if self.untrusted >= self.most() {
            self.untrusted_full.get_or_insert(now);
        }
    }

    fn ring_again(&mut self, to: &Destination, from: Place) {
        if let Some(entry) = self.lanes.get_mut(to)
            && entry.place == from
        {
            entry.place = Place::Away;
            if !entry.waiting.is_empty() {
                entry.place = Place::Ring;
                self.ring.push_back(to.clone());
            }
        }
    }
}

/// Up to which wait a delivery of this lane is on its way.
fn quick(lane: &Lane) -> Duration {
    if lane.is_quick(FAST) { QUICK_IF_FAST } else { QUICK }
}

#[cfg(test)]
mod tests;
