//! Parking: deliveries that cannot begin now leave the process.
//!
//! It has a queue of its own, so that a flood that is parked does not hold up the settlements of others, and is done by
//! many at a time, so that it costs little; a little at a time, so that others have their turns at Redis between.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::batch::{Batch, Failed};
use super::tries::{GivenUp, Next, Tries};
use crate::model::{Delivery, Destination, ParkReason, Source};
use crate::store::{Ownership, Redis, StoreError, ToPark};
use crate::telemetry::metrics::Metrics;

/// How many deliveries are taken from the queue at a time …
const BATCH: usize = 256;
/// … and for how long more are waited for: nobody waits for them to be parked, and one by one they would cost several
/// times as much.
const LINGER: Duration = Duration::from_millis(10);
/// How many are parked at a time, in one call or in a few to different destinations, and past how many bytes of payload
/// it is fewer: it takes Redis a third of a millisecond.
const AT_A_TIME: usize = 32;
const AT_A_TIME_BYTES: usize = 1024 * 1024;

/// A delivery that has to wait for its destination.
#[derive(Debug)]
pub(super) struct ToWait {
    pub(super) delivery: Box<Delivery>,
    pub(super) reason: ParkReason,
    /// For how long nobody need look for it.
    pub(super) wait: Duration,
}

/// Parks deliveries in Redis.
#[derive(Debug)]
pub(super) struct Parker {
    pub(super) redis: Redis,
    pub(super) metrics: Arc<Metrics>,
}

impl Parker {
    /// Parks what comes through `queue` until it ends, or, where Redis is away, until `give_up`.
    pub(super) async fn run(&self, mut queue: mpsc::Receiver<ToWait>, give_up: &CancellationToken) {
        let mut at_hand = Vec::with_capacity(BATCH);
        while queue.recv_many(&mut at_hand, BATCH).await > 0 {
            gather(&mut queue, &mut at_hand).await;
            for round in rounds(calls(&at_hand)) {
                if self.park(round, give_up).await.is_err() {
                    return;
                }
            }
            at_hand.clear();
        }
    }

    /// Parks deliveries of a few calls; tries until it is done, or cannot be.
    async fn park(&self, mut left: Vec<Vec<&ToWait>>, give_up: &CancellationToken) -> Result<(), GivenUp> {
        let mut tries = Tries::new(&self.redis, "park", give_up);
        let (mut batch, mut again) = (Batch::default(), false);
        loop {
            let parked = tokio::select! {
                parked = self.try_once(&mut left, &mut batch, again) => parked,
                () = give_up.cancelled() => return Err(GivenUp),
            };
            let Err(error) = parked else { break };
            again = true;
            match tries.failed(&error).await? {
                Next::Again => {}
                Next::WithoutFailed => left.clear(),
                Next::Nothing => return Ok(()),
            }
        }
        tries.over();
        Ok(())
    }

    /// One try of the calls that are `left`; what was parked is not parked again.
    async fn try_once(
        &self,
        left: &mut Vec<Vec<&ToWait>>,
        batch: &mut Batch,
        again: bool,
    ) -> Result<(), StoreError> {
        let replies = join_all(left.iter().map(|call| self.call(call))).await;
        let (mut failed, mut first_error) = (Vec::new(), None);
        for (call, reply) in left.drain(..).zip(replies) {
            match reply {
                Ok(results) => self.settled(&call, results, batch, again),
                Err(error) => {
                    first_error.get_or_insert(error);
                    failed.push(call);
                }
            }
        }
        *left = failed;
        match first_error {
            Some(error) => Err(error),
            None => batch.acknowledge(&self.redis).await,
        }
    }

    async fn call(&self, call: &[&ToWait]) -> Result<Vec<Result<Ownership, StoreError>>, StoreError> {
        let deliveries: Vec<&Delivery> = call.iter().map(|parking| &*parking.delivery).collect();
        let Some(first) = call.first() else { return Ok(Vec::new()) };
        self.redis.park(&ToPark { deliveries: &deliveries, reason: first.reason, wait: wait(call) }).await
    }

    /// Notes what became of a call's deliveries. One that alone could not be parked has an event whose key is not
    /// posthaste's: that does not pass with time, and the others do not wait for it.
    fn settled(
        &self,
        call: &[&ToWait],
        results: Vec<Result<Ownership, StoreError>>,
        batch: &mut Batch,
        again: bool,
    ) {
        for (parking, result) in call.iter().zip(results) {
            match result {
                Ok(ownership) => {
                    let delivery = Some(&*parking.delivery);
                    if batch.failed(delivery, ownership, Failed::Parked, again) == Ownership::Ours {
                        self.metrics.parked(parking.reason);
                    }
                }
                Err(error) => {
                    let id = parking.delivery.event.id.as_str();
                    tracing::error!(id, %error, "cannot be parked; its entry stays pending and is attempted again");
                }
            }
        }
    }
}

/// Waits a moment for more.
async fn gather(queue: &mut mpsc::Receiver<ToWait>, at_hand: &mut Vec<ToWait>) {
    let until = Instant::now() + LINGER;
    while at_hand.len() < BATCH {
        let room = BATCH - at_hand.len();
        match timeout_at(until, queue.recv_many(at_hand, room)).await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return,
        }
    }
}

/// For how long nobody need look at what is parked in one call: while its receiver is down until the probe, and else
/// until the first would have its turn.
fn wait(parkings: &[&ToWait]) -> Duration {
    let mut waits = parkings.iter().map(|parking| parking.wait);
    match parkings.first() {
        Some(ToWait { reason: ParkReason::Down, .. }) => waits.max().unwrap_or_default(),
        _ => waits.next().unwrap_or_default(),
    }
}

/// Divides what is to be parked into what one call can park: to one destination, for one reason, of one stream and
/// read under one name; in the order in which it came.
fn calls(parkings: &[ToWait]) -> Vec<Vec<&ToWait>> {
    type Of<'a> = (&'a Destination, ParkReason, Source, &'a Arc<str>);
    struct Open {
        call: usize,
        bytes: usize,
    }
    let mut calls: Vec<Vec<&ToWait>> = Vec::new();
    let mut open: HashMap<Of<'_>, Open> = HashMap::new();
    for parking in parkings {
        let ToWait { delivery, reason, .. } = parking;
        let of = (&delivery.destination, *reason, delivery.receipt.source, &delivery.receipt.consumer);
        let bytes = delivery.event.envelope.payload().len();
        let has_room = |open: &&mut Open| calls[open.call].len() < AT_A_TIME && open.bytes < AT_A_TIME_BYTES;
        if let Some(open) = open.get_mut(&of).filter(has_room) {
            calls[open.call].push(parking);
            open.bytes += bytes;
        } else {
            open.insert(of, Open { call: calls.len(), bytes });
            calls.push(vec![parking]);
        }
    }
    calls
}

/// Calls that are made together, in rounds after one another: each as much as one call may park. Where much is for many
/// destinations, a round trip for each would hold up the reader.
fn rounds(calls: Vec<Vec<&ToWait>>) -> Vec<Vec<Vec<&ToWait>>> {
    let mut rounds: Vec<Vec<Vec<&ToWait>>> = Vec::new();
    let (mut deliveries, mut bytes) = (0, 0);
    for call in calls {
        let heavy: usize = call.iter().map(|parking| parking.delivery.event.envelope.payload().len()).sum();
        let count = call.len();
        let has_room = deliveries + count <= AT_A_TIME && bytes + heavy <= AT_A_TIME_BYTES;
        match rounds.last_mut().filter(|_| has_room) {
            Some(round) => round.push(call),
            None => {
                (deliveries, bytes) = (0, 0);
                rounds.push(vec![call]);
            }
        }
        deliveries += count;
        bytes += heavy;
    }
    rounds
}
