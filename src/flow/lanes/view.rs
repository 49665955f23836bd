//! Lanes as they are told of, and told to try again.

use std::collections::BinaryHeap;
use std::sync::Arc;
use std::time::Duration;

use super::{Entry, Lanes, Load, Place};
use crate::model::Destination;

/// What a breaker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerView {
    /// Attempts are made.
    Closed,
    /// None is made, for so long.
    Open(Duration),
    /// One is made or due, to see whether the receiver is back.
    HalfOpen,
}

/// A lane at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneView {
    /// Where its receiver is, where that is known.
    pub url: Option<Arc<str>>,
    /// What its breaker says.
    pub breaker: BreakerView,
    /// Attempts in flight.
    pub in_flight: usize,
    /// How many there may be.
    pub limit: usize,
    /// Deliveries that wait in memory.
    pub waiting: usize,
}

impl<T: Load> Lanes<T> {
    /// Deliveries that wait.
    pub(in crate::flow) fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many lanes there are, and of how many the breaker is not closed.
    pub(in crate::flow) fn count(&self) -> (usize, usize) {
        (self.lanes.len(), self.down)
    }

    /// Up to `limit` lanes in the order of their destinations, behind `after`. It looks at each lane once, and keeps
    /// no more than are asked for.
    pub(in crate::flow) fn views_after(
        &self,
        after: Option<&Destination>,
        limit: usize,
        now: Duration,
    ) -> Vec<(Destination, LaneView)> {
        let mut first: BinaryHeap<&Destination> = BinaryHeap::with_capacity(limit + 1);
        for to in self.lanes.keys().filter(|to| after.is_none_or(|after| *to > after)) {
            first.push(to);
            if first.len() > limit {
                first.pop();
            }
        }
        let views = first.into_sorted_vec().into_iter();
        views.filter_map(|to| Some((to.clone(), self.view(to, now)?))).collect()
    }

    /// A lane, where there is one.
    pub(in crate::flow) fn view(&self, to: &Destination, now: Duration) -> Option<LaneView> {
        self.lanes.get(to).map(|entry| entry.view(now))
    }

    /// Whatever the breaker of `to` found out: an attempt may be made at once, and what is parked is asked for. Where
    /// there is no lane, there is nothing to do.
    pub(in crate::flow) fn retry_now(&mut self, to: &Destination, now: Duration) {
        let Some(entry) = self.lanes.get_mut(to) else { return };
        entry.lane.probe_now(now);
        self.set_due(to, now);
        self.ring_again(to, Place::Away);
        self.refresh(to, now);
    }
}

impl<T> Entry<T> {
    fn view(&self, now: Duration) -> LaneView {
        let breaker = match self.lane.open_until(now) {
            Some(until) => BreakerView::Open(until.saturating_sub(now)),
            None if self.lane.is_closed() => BreakerView::Closed,
            None => BreakerView::HalfOpen,
        };
        LaneView {
            url: self.url.clone(),
            breaker,
            in_flight: self.lane.in_flight(),
            limit: self.lane.limit(),
            waiting: self.waiting.len(),
        }
    }
}
