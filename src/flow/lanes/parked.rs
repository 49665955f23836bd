//! Parked deliveries: what a lane gives up, and when it asks for it back.

use std::time::Duration;

use super::{Lanes, Load};
use crate::decide::lane::{PATIENCE, Pick, Trust, fits};
use crate::model::{Destination, ParkReason};

/// How many parked deliveries are asked for at a time at most.
const MOST: usize = 256;
/// How long a look at parked deliveries tells enough of those there is no room for: later some may have expired, or
/// another worker may have taken them.
const LOOK: Duration = Duration::from_secs(30);

/// A delivery to be parked, and for how long nobody need look for it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::flow) struct Parking<T> {
    pub(in crate::flow) item: T,
    pub(in crate::flow) reason: ParkReason,
    pub(in crate::flow) wait: Duration,
}

/// What is asked for of the parked deliveries to a destination.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::flow) struct Hunger {
    pub(in crate::flow) to: Destination,
    /// How many; 0: only what has expired.
    pub(in crate::flow) count: usize,
    pub(in crate::flow) pick: Pick,
}

impl<T: Load> Lanes<T> {
    /// Redis may hold parked deliveries to `to`, and it is time to look at them: they are fetched as there is room; and
    /// what has expired in any case.
    pub(in crate::flow) fn set_due(&mut self, to: &Destination, now: Duration) {
        let entry = self.entry(to, now);
        (entry.due, entry.active) = (true, now);
        if !entry.fetching && !entry.hungry {
            entry.hungry = true;
            self.hungry.push_back(to.clone());
        }
    }

    /// A destination whose parked deliveries there is room for; [`Self::fetched`] is to follow.
    pub(in crate::flow) fn next_hungry(&mut self, now: Duration) -> Option<Hunger> {
        while let Some(to) = self.hungry.pop_front() {
            let free = self.bounds.deliveries.saturating_sub(self.waiting);
            let free_bytes = self.bounds.bytes.saturating_sub(self.bytes);
            let Some(entry) = self.lanes.get_mut(&to) else { continue };
            entry.hungry = false;
            let affordable = (free_bytes / 4 / entry.heaviest.max(1)).clamp(1, MOST);
            let appetite = entry.lane.appetite(now).saturating_sub(entry.waiting.len());
            let room = appetite.min(free).min(affordable);
            let (is_probe, in_flight) = (!entry.lane.is_closed(), entry.lane.in_flight());
            let has_slots = self.untrusted_full.is_none()
                || match entry.lane.trust(now) {
                    Trust::None => false,
                    new @ Trust::New => fits(new, in_flight, self.running, self.untrusted, self.bounds.slots),
                    Trust::Good | Trust::Proven | Trust::Live => true,
                };
            let room = if !has_slots || (is_probe && in_flight > 0) { 0 } else { room };
            // Where it is open, the index is to be told for how long.
            let is_news = entry.looked.is_none_or(|at| now.saturating_sub(at) >= LOOK)
                || entry.lane.open_until(now).is_some();
            let looks = entry.due && (is_news || room > 0);
            if entry.fetching {
                continue;
            }
            entry.due = false;
            if entry.parked && appetite > 0 && (free == 0 || !has_slots) && !entry.starved {
                entry.starved = true;
                self.starved.push_back(to.clone());
            }
            if !(looks || entry.parked && room > 0) {
                // What keeps it waiting by now tells when to look again.
                if appetite == 0 {
                    self.refresh(&to, now);
                }
                continue;
            }
            (entry.fetching, entry.parked_since) = (true, false);
            return Some(Hunger { count: room, pick: entry.lane.pick(), to });
        }
        None
    }

    /// Parked deliveries to `to` have been fetched, and so many are left; none where they could not be.
    pub(in crate::flow) fn fetched(&mut self, to: &Destination, left: Option<u64>, now: Duration) {
        if let Some(entry) = self.lanes.get_mut(to) {
            (entry.fetching, entry.parked) = (false, left.is_some_and(|left| left > 0) || entry.parked_since);
            entry.looked = left.map(|_| now);
        }
        self.refresh(to, now);
    }

    /// Looks again at some of those that were short of slots or memory.
    pub(super) fn feed(&mut self, most: usize, now: Duration) {
        for _ in 0..most {
            let Some(to) = self.starved.pop_front() else { return };
            if let Some(entry) = self.lanes.get_mut(&to) {
                entry.starved = false;
                self.refresh(&to, now);
            }
        }
    }

    /// The breaker of `to`: how long until its probe is due, where it is open.
    pub(in crate::flow) fn open_for(&self, to: &Destination, now: Duration) -> Option<Duration> {
        self.lanes.get(to)?.lane.open_until(now).map(|until| until.saturating_sub(now))
    }

    /// Takes all that waits for a lane out.
    pub(super) fn empty(&mut self, to: &Destination, reason: ParkReason, now: Duration) -> Vec<Parking<T>> {
        self.take_back(to, 0, reason, now)
    }

    /// Takes what cannot begin within the patience out: the last that came.
    pub(super) fn trim(&mut self, to: &Destination, now: Duration) -> Vec<Parking<T>> {
        let Some(entry) = self.lanes.get(to) else { return Vec::new() };
        let (mut keep, mut over) = (0, entry.waiting.len());
        while keep < over {
            let middle = (keep + over).div_ceil(2);
            if entry.lane.wait(middle, now) > PATIENCE { over = middle - 1 } else { keep = middle }
        }
        let reason =
            if entry.lane.is_rate_limited(keep, now) { ParkReason::RateLimit } else { ParkReason::Slow };
        self.take_back(to, keep.max(1), reason, now)
    }

    fn take_back(
        &mut self,
        to: &Destination,
        keep: usize,
        reason: ParkReason,
        now: Duration,
    ) -> Vec<Parking<T>> {
        let Some(entry) = self.lanes.get_mut(to) else { return Vec::new() };
        let wait = entry.lane.wait(keep, now).min(PATIENCE * 60);
        let keep = keep.min(entry.waiting.len());
        let taken: Vec<_> =
            entry.waiting.drain(keep..).map(|(_, item)| Parking { item, reason, wait }).collect();
        let bytes: usize = taken.iter().map(|parking| parking.item.bytes()).sum();
        entry.parked |= !taken.is_empty();
        entry.parked_since |= !taken.is_empty();
        entry.bytes -= bytes;
        self.bytes -= bytes;
        self.waiting -= taken.len();
        taken
    }
}
