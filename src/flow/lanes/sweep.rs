//! What no event would make anybody look at: what waits for too long, and lanes that nobody needs.

use std::time::Duration;

use super::{Lanes, Load, Parking, Place};
use crate::decide::lane::PATIENCE;
use crate::model::{Destination, ParkReason};

/// A delivery that could not begin for so long, whatever was expected, is parked.
const OVERDUE: Duration = Duration::from_millis(1500);
/// How many that were short of slots or memory are looked at again each time.
const STARVED: usize = 256;
/// A lane that has had nothing to do for so long is forgotten, within as long again, and what was learnt about its
/// receiver with it.
pub(super) const FORGET: Duration = Duration::from_secs(600);

impl<T: Load> Lanes<T> {
    /// Looks at everything that nothing else would: what waits for too long, lanes that were short of slots, lanes
    /// nobody needs. Returns what is to be parked.
    ///
    /// It costs as much as there is in flight and waiting here; what is parked has a lane too, and there may be very
    /// many of those.
    pub(in crate::flow) fn sweep(&mut self, now: Duration) -> Vec<Parking<T>> {
        while let Some(to) = self.crowded.pop_front() {
            self.ring_again(&to, Place::Crowded);
        }
        self.feed(STARVED, now);
        self.forget(now);
        let mut parkings = Vec::new();
        for to in std::mem::take(&mut self.attended) {
            self.refresh(&to, now);
            let Some(entry) = self.lanes.get(&to) else { continue };
            if entry.lane.may_begin(now).is_ok() {
                self.ring_again(&to, Place::Away);
            }
            parkings.extend(self.late(&to, now));
            self.refresh(&to, now);
            if let Some(entry) = self.lanes.get_mut(&to) {
                entry.attended = entry.lane.in_flight() + entry.waiting.len() > 0;
                if entry.attended {
                    self.attended.push(to);
                } else {
                    // There may be very many that have nothing to do.
                    entry.waiting.shrink_to_fit();
                    entry.lane.rest();
                }
            }
        }
        parkings
    }

    /// Puts a lane among those that are swept, until it has nothing in flight and nothing waiting.
    pub(super) fn attend(&mut self, to: &Destination, now: Duration) {
        let entry = self.entry(to, now);
        if !entry.attended {
            entry.attended = true;
            self.attended.push(to.clone());
        }
    }

    /// Takes what waits for too long out.
    fn late(&mut self, to: &Destination, now: Duration) -> Vec<Parking<T>> {
        let Some(entry) = self.lanes.get(to) else { return Vec::new() };
        let is_overdue = |since: &Duration| now.saturating_sub((*since).max(entry.begun)) > OVERDUE;
        let reason = if entry.lane.is_closed() { ParkReason::Slow } else { ParkReason::Down };
        match entry.waiting.front() {
            Some((since, _)) if is_overdue(since) => self.empty(to, reason, now),
            Some(_) if entry.lane.wait(entry.waiting.len(), now) > PATIENCE * 2 => self.trim(to, now),
            _ => Vec::new(),
        }
    }

    /// Forgets lanes nobody needs. Each is looked at once in a while.
    fn forget(&mut self, now: Duration) {
        while let Some((at, _)) = self.known.front()
            && *at <= now
            && let Some((_, to)) = self.known.pop_front()
        {
            let Some(entry) = self.lanes.get(&to) else { continue };
            let is_idle = entry.lane.in_flight() + entry.waiting.len() == 0;
            let is_old = now.saturating_sub(entry.active) >= FORGET;
            if is_idle && is_old && !entry.parked && !entry.fetching {
                self.down -= entry.down;
                self.lanes.remove(&to);
            } else {
                self.refresh(&to, now);
                self.known.push_back((now + FORGET, to));
            }
        }
    }
}
