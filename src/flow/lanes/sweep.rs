//! What no event would make anybody look at: what waits for too long, and lanes that nobody needs.

use std::time::Duration;

use super::{Entry, Lanes, Load, Parking, Place};
use crate::decide::lane::PATIENCE;
use crate::model::{Destination, ParkReason};

/// A delivery that could not begin for so long, whatever was expected, is parked.
const OVERDUE: Duration = Duration::from_millis(1500);
/// A lane that has had nothing to do for so long is forgotten, and what was learnt about its receiver with it.
pub(super) const FORGET: Duration = Duration::from_secs(600);

impl<T: Load> Lanes<T> {
    /// Looks at everything that nothing else would: what waits for too long, lanes that were short of slots, lanes
    /// nobody needs. Returns what is to be parked.
    pub(in crate::flow) fn sweep(&mut self, now: Duration) -> Vec<Parking<T>> {
        while let Some(to) = self.crowded.pop_front() {
            self.ring_again(&to, Place::Crowded);
        }
        let mut parkings = Vec::new();
        let forgotten = |entry: &Entry<T>| {
            let is_idle = entry.lane.in_flight() + entry.waiting.len() == 0;
            is_idle && !entry.parked && !entry.fetching && now.saturating_sub(entry.active) > FORGET
        };
        self.lanes.retain(|_, entry| !forgotten(entry));
        let busy = self.lanes.iter().filter(|(_, e)| e.parked || e.lane.in_flight() + e.waiting.len() > 0);
        let busy: Vec<Destination> = busy.map(|(to, _)| to.clone()).collect();
        for to in busy {
            self.refresh(&to, now);
            if self.lanes[&to].lane.may_begin(now).is_ok() {
                self.ring_again(&to, Place::Away);
            }
            let entry = &self.lanes[&to];
            let is_overdue = |since: &Duration| now.saturating_sub((*since).max(entry.begun)) > OVERDUE;
            let reason = if entry.lane.is_closed() { ParkReason::Slow } else { ParkReason::Down };
            let left = match entry.waiting.front() {
                Some((since, _)) if is_overdue(since) => self.empty(&to, reason, now),
                Some(_) if entry.lane.wait(entry.waiting.len(), now) > PATIENCE * 2 => self.trim(&to, now),
                _ => Vec::new(),
            };
            self.refresh(&to, now);
            parkings.extend(left);
        }
        parkings
    }
}
