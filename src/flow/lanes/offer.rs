//! What comes: a delivery is taken in, or is to be parked.

use std::time::Duration;

use super::{Lanes, Load, Parking, Place, QUICK, quick};
use crate::decide::lane::{PATIENCE, Trust, fits};
use crate::model::{Destination, ParkReason};

/// So many deliveries may wait for a lane however full the memory is.
const FEW: usize = 4;

impl<T: Load> Lanes<T> {
    /// Takes a delivery to `to` in, or says why it has to be parked. `rate`: attempts a second at most.
    pub(in crate::flow) fn offer(
        &mut self,
        to: &Destination,
        item: T,
        rate: Option<f64>,
        now: Duration,
    ) -> Result<(), Parking<T>> {
        let (free, free_bytes) = (
            self.bounds.deliveries.saturating_sub(self.waiting),
            self.bounds.bytes.saturating_sub(self.bytes),
        );
        let crowd = self.untrusted_full.is_some() && free < self.bounds.deliveries / 4 * 3;
        let starved = self.untrusted_full.is_some_and(|since| now.saturating_sub(since) > PATIENCE);
        let (running, untrusted, slots) = (self.running, self.untrusted, self.bounds.slots);
        self.attend(to, now);
        let entry = self.entry(to, now);
        entry.lane.set_rate(rate, now);
        entry.active = now;
        // It grows at once and shrinks slowly.
        entry.heaviest = item.bytes().max(entry.heaviest - entry.heaviest / 64);
        let ahead = entry.waiting.len();
        let wait = entry.lane.wait(ahead, now);
        let is_crowded = crowd || (ahead >= FEW && entry.is_short_of_slots(now));
        let trust = entry.lane.trust(now);
        let is_new = trust == Trust::New;
        let begins = is_new && ahead == 0 && fits(trust, entry.lane.in_flight(), running, untrusted, slots);
        let has_slot = !(starved || is_crowded) || begins;
        let many = ahead >= FEW && ahead >= free / 2;
        let heavy =
            ahead >= FEW && entry.bytes + item.bytes() > free_bytes / 2 && !entry.lane.is_quick(QUICK);
        let reason = if !entry.lane.is_closed() && (wait > Duration::ZERO || ahead > 0) {
            Some(ParkReason::Down)
        } else if item.was_parked() {
            None
        } else if entry.parked {
            Some(ParkReason::Behind)
        } else if wait <= quick(&entry.lane) && has_slot && !heavy {
            None
        } else if entry.lane.is_rate_limited(ahead, now) && wait > PATIENCE {
            Some(ParkReason::RateLimit)
        } else if !has_slot && !trust.is_earned() {
            Some(ParkReason::Slots)
        } else if wait > PATIENCE || many || heavy {
            Some(ParkReason::Slow)
        } else {
            None
        };
        if let Some(reason) = reason {
            (entry.parked, entry.parked_since) = (true, true);
            return Err(Parking { item, reason, wait: wait.min(PATIENCE * 60) });
        }
        let bytes = item.bytes();
        entry.bytes += bytes;
        if entry.waiting.capacity() == 0 {
            // Most lanes never have more than one.
            entry.waiting.reserve_exact(1);
        }
        entry.waiting.push_back((now, item));
        self.bytes += bytes;
        self.waiting += 1;
        self.ring_again(to, Place::Away);
        self.refresh(to, now);
        Ok(())
    }
}
