//! Lanes as they are told of.

use super::{Lanes, Load};

impl<T: Load> Lanes<T> {
    /// Deliveries that wait.
    pub(in crate::flow) fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many lanes there are, and of how many the breaker is not closed.
    pub(in crate::flow) fn count(&self) -> (usize, usize) {
        (self.lanes.len(), self.lanes.values().filter(|entry| !entry.lane.is_closed()).count())
    }
}
