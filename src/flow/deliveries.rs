//! What an entry asks for: deliveries to be attempted, or something to be settled at once.

use std::collections::HashMap;
use std::sync::Arc;

use super::entry::Entry;
use super::hooks::{ByInstance, Hook};
use super::{Idle, Unreadable, Work};
use crate::decide::fan_out::{self, GlobalRule};
use crate::decide::poison::{self, Verdict};
use crate::model::{
    DeadReason, Delivery, Destination, EntryId, Event, Held, Receipt, Source, Target, TransportError, Webhook,
};
use crate::store::Tried;

/// The operator's own destinations.
#[derive(Clone, Debug)]
pub struct Destinations {
    /// Which events the global destination wants.
    pub rule: GlobalRule,
    /// The global destination, where it is enabled and has a URL.
    pub global: Option<Arc<Target>>,
    /// The ERRORS webhook, likewise.
    pub errors: Option<Arc<Target>>,
}

/// What making deliveries of entries needs.
pub(super) struct Make<'a> {
    /// The operator's own destinations.
    pub(super) destinations: &'a Destinations,
    /// The webhooks of the instances concerned.
    pub(super) hooks: &'a ByInstance,
    /// What earlier owners settled or rescheduled of entries of the producers' stream.
    pub(super) settled: &'a HashMap<EntryId, Vec<Destination>>,
    /// The name the entries were read under.
    pub(super) consumer: &'a Arc<str>,
    /// What this process holds.
    pub(super) held: &'a Held,
    /// What was pushed before this time has no further attempts, Unix ms.
    pub(super) expired_before_ms: u64,
}

/// Why what waits for a receiver that is gone is given up.
const GONE: &str = "the receiver answered 410 to another delivery";

/// What an entry turned out to be.
#[derive(Debug)]
pub(super) enum Step {
    /// A delivery to be attempted.
    Attempt(Box<Delivery>),
    /// Something to be settled as it is.
    Settle(Work),
}

/// Where a delivery goes, or why it is dead.
pub(super) type Resolved = Result<Result<Arc<Target>, TransportError>, (DeadReason, String)>;

impl Make<'_> {
    /// What is to be done for an entry that was taken over so many times.
    pub(super) fn steps(&self, entry: Entry, takeovers: u32) -> Vec<Step> {
        // Those of before it was parked, too: that makes another entry of it.
        let takeovers = takeovers.saturating_add(entry.takeovers());
        let steps = self.innocent(entry);
        match takeovers {
            0 => steps,
            _ => steps.into_iter().map(|step| judged(step, takeovers)).collect(),
        }
    }

    fn innocent(&self, entry: Entry) -> Vec<Step> {
        match entry {
            Entry::Unreadable { source, id, key, event_id, reason, why } => {
                let receipt = self.receipt(source, id, 1, 0);
                vec![Step::Settle(Work::Unreadable(Unreadable { receipt, key, id: event_id, reason, why }))]
            }
            Entry::Lost { id, key } => {
                vec![Step::Settle(Work::Idle(Idle::Settled(self.receipt(Source::Ready, id, 0, 0), key)))]
            }
            Entry::New { id, event } => self.first(id, &event),
            Entry::Due {
                id,
                event,
                destination,
                tried: Tried { attempts, first_ms: first_attempt_ms, last: last_attempt },
                was_parked,
                is_last,
                takeovers: _,
            } => {
                let resolved = resolve(self.destinations, self.hooks, &destination).and_then(|target| {
                    // The first attempt is made however old the event is, unless its receiver had its time.
                    match (attempts > 0 || was_parked) && event.pushed_ms < self.expired_before_ms {
                        true => Err((
                            DeadReason::Expired,
                            "it waited past WEBHOOK_RETRY_MAX_AGE_SECONDS".to_owned(),
                        )),
                        false => Ok(target),
                    }
                });
                let receipt = self.receipt(Source::Ready, id, 1, weight(&event, 1));
                let target = match &resolved {
                    Ok(target) => target.clone(),
                    Err((_, why)) => Err(TransportError::BadWebhook(why.clone())),
                };
                let attempt = if resolved.is_ok() { attempts + 1 } else { attempts };
                let delivery = Delivery {
                    receipt,
                    event,
                    destination,
                    target,
                    attempt,
                    first_attempt_ms,
                    last_attempt,
                    suspect: false,
                    takeovers: 0,
                    was_parked,
                    is_last,
                };
                vec![match resolved {
                    Ok(_) => Step::Attempt(Box::new(delivery)),
                    Err((reason, why)) => Step::Settle(Work::Buried(Box::new(delivery), reason, why)),
                }]
            }
        }
    }

    /// The first attempts of an event.
    fn first(&self, id: EntryId, event: &Arc<Event>) -> Vec<Step> {
        let settled = self.settled.get(&id);
        let mut targets = self.wanted(event);
        let unrouted = targets.is_empty();
        targets.retain(|(destination, _)| settled.is_none_or(|settled| !settled.contains(destination)));
        let receipt = self.receipt(Source::Stream, id, targets.len(), weight(event, targets.len()));
        if settled.is_some() {
            receipt.record();
        }
        if targets.is_empty() {
            let idle = if unrouted && settled.is_none() {
                Idle::Unrouted(receipt)
            } else {
                Idle::Settled(receipt, event.key.clone())
            };
            return vec![Step::Settle(Work::Idle(idle))];
        }
        let step = |(destination, resolved): (Destination, Resolved)| {
            let delivery = |target, attempt| {
                let (receipt, event) = (Arc::clone(&receipt), Arc::clone(event));
                Box::new(Delivery { attempt, ..Delivery::first(receipt, event, destination, target) })
            };
            match resolved {
                Ok(target) => Step::Attempt(delivery(target, 1)),
                Err((reason, why)) => {
                    let target = Err(TransportError::BadWebhook(why.clone()));
                    Step::Settle(Work::Buried(delivery(target, 0), reason, why))
                }
            }
        };
        targets.into_iter().map(step).collect()
    }

    /// The destinations an event has.
    fn wanted(&self, event: &Event) -> Vec<(Destination, Resolved)> {
        let name = event.envelope.name();
        let mut targets = Vec::with_capacity(2);
        if let Some(target) = &self.destinations.global
            && fan_out::global(&self.destinations.rule, name).is_ok()
        {
            targets.push((Destination::Global, Ok(Ok(Arc::clone(target)))));
        }
        let Some(instance) = event.envelope.instance() else {
            return targets;
        };
        let to = Destination::Instance(Arc::clone(instance));
        match self.hooks.get(instance).map(|hook| &**hook) {
            Some(Hook::Set(webhook, target))
                if fan_out::instance(Some(webhook), Some(instance), name).is_ok() =>
            {
                targets.push((to, Ok(Ok(Arc::clone(target)))));
            }
            Some(Hook::Broken(why)) => {
                targets.push((to, Ok(Err(TransportError::BadWebhook(why.clone())))));
            }
            Some(Hook::Off(webhook)) if is_owed(webhook, event) => {
                targets.push((to, Err((DeadReason::Gone, GONE.to_owned()))));
            }
            Some(Hook::Set(..) | Hook::Off(_) | Hook::Missing) | None => {}
        }
        targets
    }

    fn receipt(&self, source: Source, id: EntryId, fan_out: usize, bytes: usize) -> Arc<Receipt> {
        Arc::new(Receipt::new(self.held, source, id, Arc::clone(self.consumer), fan_out, bytes))
    }
}

/// The target of a delivery that waited: the settings may have changed since.
pub(super) fn resolve(
    destinations: &Destinations,
    hooks: &ByInstance,
    destination: &Destination,
) -> Resolved {
    let removed = |why: &str| Err((DeadReason::Removed, why.to_owned()));
    match destination {
        Destination::Global => match &destinations.global {
            Some(target) => Ok(Ok(Arc::clone(target))),
            None => removed("the global webhook was disabled while the delivery waited"),
        },
        Destination::Errors => match &destinations.errors {
            Some(target) => Ok(Ok(Arc::clone(target))),
            None => removed("the ERRORS webhook was disabled while the delivery waited"),
        },
        Destination::Instance(instance) => match hooks.get(instance).map(|hook| &**hook) {
            Some(Hook::Broken(why)) => Ok(Err(TransportError::BadWebhook(why.clone()))),
            Some(Hook::Set(_, target)) => Ok(Ok(Arc::clone(target))),
            Some(Hook::Off(webhook)) if webhook.disabled_reason.is_some() => {
                Err((DeadReason::Gone, GONE.to_owned()))
            }
            Some(Hook::Off(_)) => removed("the instance's webhook was disabled while the delivery waited"),
            Some(Hook::Missing) | None => {
                removed("the instance's webhook was removed while the delivery waited")
            }
        },
    }
}

/// How many bytes an event takes up: its payload, and what of it the body of each attempt copies.
fn weight(event: &Event, deliveries: usize) -> usize {
    event.envelope.payload().len() + deliveries * event.envelope.body_bytes()
}

/// Whether an event was pushed while the webhook, which its receiver's 410 has switched off since, was to have it.
fn is_owed(webhook: &Webhook, event: &Event) -> bool {
    webhook.disabled_at_ms.is_some_and(|at_ms| event.pushed_ms < at_ms)
        && webhook.wants(event.envelope.name())
}

/// What becomes of a step whose entry was taken over so many times, which is kept while its delivery is parked.
fn judged(step: Step, takeovers: u32) -> Step {
    let Step::Attempt(mut delivery) = step else { return step };
    delivery.takeovers = takeovers;
    match poison::judge(takeovers) {
        // What workers may have died of is not parked behind others: it is soon to be found out.
        Verdict::Innocent => delivery.was_parked = true,
        Verdict::Suspect => {
            tracing::warn!(
                id = %delivery.event.id,
                destination = ?delivery.destination.to_string(),
                "workers died again and again while they held this delivery; it is attempted alone"
            );
            delivery.suspect = true;
        }
        Verdict::Guilty => {
            // The attempt that would have been next was not made.
            delivery.attempt -= 1;
            let deaths = takeovers % poison::ALONE;
            let why =
                format!("{deaths} workers died while they held it, the last while it attempted nothing else");
            return Step::Settle(Work::Buried(delivery, DeadReason::Poison, why));
        }
    }
    Step::Attempt(delivery)
}
