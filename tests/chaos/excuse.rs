//! What a fault excuses: which deliveries can be made again because of it, and which leases can be lost by it.
//!
//! A delivery is made again when its success was not settled in time: its worker ended first, or lost its lease, or was
//! never told. So a fault excuses only what can have been unsettled at its moment, and nothing of the time it lasted.

use super::history::{Fault, FaultKind, Ms, Request, ms};
use super::traffic::TIMEOUT;

/// How long a settlement takes at most while nothing holds it up: the batch before it, and its own.
pub(super) const SETTLEMENT: Ms = 500;
/// How long a worker may take to settle again after what held it up: it waits up to 2 s between two tries.
pub(super) const RECOVERY: Ms = 3000;
/// The same where nothing failed: what has gathered is settled first.
pub(super) const CATCHING_UP: Ms = 1000;
/// How long an event may have reached one of two destinations before that is noted.
pub(super) const HALF_DONE: Ms = 500;
/// How long a request or its answer may be on its way: the delay of a slow link, the slowest answer, and a margin.
pub(super) const ON_ITS_WAY: Ms = 400;
/// How long a worker, or its way to Redis, has to be away at least for the others to take it for dead: they wait 3 s,
/// of which up to 1 s may have passed before, and up to 1 s passes until it tries again. A shorter absence is no reason
/// for an attempt to run into its timeout, either.
const LEASE_AT_RISK: Ms = 1000;
/// A worker begins nothing later than this after its last heartbeat (2.75 s, and the way of the request).
const LAST_BEGINNING: Ms = 3000;
/// The others do not take over sooner than this after the last heartbeat they can have missed (2 s, and a margin).
const FIRST_TAKEOVER: Ms = 1500;

/// A delivery as its receiver accepted it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Success {
    pub(super) from: Ms,
    pub(super) to: Ms,
    pub(super) attempt: u16,
    /// Whether the entry is held for another destination, too.
    pub(super) shared: bool,
}

impl Success {
    /// The success of a request of an event with so many destinations. What is tried again has an entry of its own.
    pub(super) fn of(request: &Request, places: usize) -> Self {
        let shared = places > 1 && request.attempt == 1;
        Self { from: request.from, to: request.to, attempt: request.attempt, shared }
    }
}

/// The faults of a run, in the order of their beginning.
pub(super) struct Excuses<'a>(pub(super) &'a [Fault]);

impl Excuses<'_> {
    /// The faults that a success may be repeated because of, by their places in the list; at any moment.
    pub(super) fn of(&self, success: Success) -> impl Iterator<Item = usize> {
        // Whoever it was that made the delivery; what a fault says of one worker is looked at after that.
        let latest = self.settled_by(success, None);
        let near = move |fault: &Fault| {
            fault.from <= latest && fault.over().saturating_add(LAST_BEGINNING) >= success.from
        };
        self.0
            .iter()
            .enumerate()
            .filter(move |(_, fault)| near(fault) && self.repeats(fault, success))
            .map(|(place, _)| place)
    }

    /// Of those, the faults because of which it may be followed by this request.
    pub(super) fn explain(&self, success: Success, next: &Request) -> impl Iterator<Item = usize> {
        let (came_at, counted) = (next.from, next.attempt > success.attempt);
        let explains = move |fault: &Fault| {
            // What was not settled is repeated under its number. Under the next one comes what its worker took for
            // failed, or what comes after a repetition that nobody saw.
            let number = !counted || fault.kind.hides_answers() || self.unseen(success.to, came_at);
            number && self.repeated_from(fault) <= came_at
        };
        let of = self.of(success).filter(move |place| explains(&self.0[*place]));
        let resumed = self.0.iter().enumerate().filter(move |(_, fault)| self.resumed(fault, came_at));
        of.chain(resumed.map(|(place, _)| place))
    }

    /// Whether an attempt within these times may not have come to its receiver.
    fn unseen(&self, from: Ms, to: Ms) -> bool {
        use FaultKind::{CutReceivers, Stall, StallReceivers};
        let hides = |fault: &&Fault| matches!(fault.kind, CutReceivers | StallReceivers | Stall);
        self.0.iter().filter(hides).any(|fault| fault.touches(from, to, ON_ITS_WAY))
    }

    /// Whether a delivery that arrived may be a dead letter.
    pub(super) fn may_die(&self, success: Success) -> bool {
        self.of(success).next().is_some() || self.0.iter().any(|fault| self.resumed(fault, success.from))
    }

    /// Whether this is a pause that may have held an attempt between its worker's last look at the lease and the
    /// receiver.
    fn resumed(&self, fault: &Fault, came_at: Ms) -> bool {
        fault.kind == FaultKind::PauseWorker
            && self.costs_a_lease(fault)
            && (fault.to..=fault.to + ON_ITS_WAY).contains(&came_at)
    }

    /// From when on what a fault undid can be done again: another worker has to miss heartbeats first, unless it was
    /// told, or the worker is still there.
    fn repeated_from(&self, fault: &Fault) -> Ms {
        use FaultKind::{CutReceivers, Stall, StallReceivers, TermWorker};
        if matches!(fault.kind, TermWorker | CutReceivers | StallReceivers | Stall) {
            return fault.from;
        }
        // Its heartbeats may not have come through before, either.
        let mut silent = fault.from;
        let concerns =
            |other: &Fault| fault.worker.is_none() || other.worker.is_none_or(|it| Some(it) == fault.worker);
        for other in self.0.iter().rev().filter(|other| other.may_cost_a_lease() && concerns(other)) {
            if other.from <= silent && other.to + LEASE_AT_RISK >= silent {
                silent = other.from;
            }
        }
        silent + FIRST_TAKEOVER
    }

    /// Whether a success can have been unsettled when this fault ended its worker or its worker's lease, or can have
    /// been kept from its worker by it.
    fn repeats(&self, fault: &Fault, success: Success) -> bool {
        use FaultKind::{
            CutReceivers, CutRedis, KillAllWorkers, KillRedis, KillWorker, PauseRedis, PauseWorker, Stall,
            StallReceivers, StallRedis, TermWorker,
        };
        let unsettled_at = |moment: Ms| moment <= self.settled_by(success, fault.worker);
        match fault.kind {
            // Not while it was absent: nothing was attempted under its name then.
            KillWorker | KillAllWorkers | TermWorker => {
                let gone = fault.over();
                success.to <= gone + ON_ITS_WAY && unsettled_at(gone)
            }
            PauseWorker | KillRedis | PauseRedis | CutRedis | StallRedis => {
                success.from <= self.last_beginning(fault)
                    && unsettled_at(fault.from)
                    && self.costs_a_lease(fault)
            }
            // Only the answers to requests that had come before: nothing new comes to a receiver meanwhile.
            CutReceivers | StallReceivers => {
                success.to + ON_ITS_WAY >= fault.from && success.from <= fault.from + ON_ITS_WAY
            }
            // Whatever was on its way or unsettled then.
            Stall => success.from <= fault.to + ON_ITS_WAY && unsettled_at(fault.from),
            _ => false,
        }
    }

    /// When a success is settled at the latest, if this worker made the delivery (any, when none is named).
    fn settled_by(&self, success: Success, worker: Option<usize>) -> Ms {
        let mut by = success.to.saturating_add(SETTLEMENT + if success.shared { HALF_DONE } else { 0 });
        for fault in self.0 {
            if fault.from > by {
                break;
            }
            let concerned = worker.is_none() || fault.worker.is_none() || fault.worker == worker;
            if let Some(recovery) = recovery(fault.kind).filter(|_| concerned) {
                // A note that cannot be made is left out: it is half done then until the other destination is, too.
                let other = if success.shared { ms(TIMEOUT) } else { 0 };
                let over = fault.to.saturating_add(recovery + other);
                if over >= success.to {
                    by = by.max(over);
                }
            }
        }
        by
    }

    /// Until when a worker that this fault costs its lease may begin attempts.
    fn last_beginning(&self, fault: &Fault) -> Ms {
        if fault.kind == FaultKind::PauseWorker && self.outage_end(fault) == fault.to {
            // It begins nothing while it is paused, and beats before anything else when it goes on.
            return fault.from + ON_ITS_WAY;
        }
        fault.from + LAST_BEGINNING
    }

    /// Whether the first of these requests may still be under way when the last comes: the worker of one of them has
    /// lost its lease, or was paused on its way. Those between came between.
    pub(super) fn overlap(&self, requests: &[Request]) -> bool {
        let [before, between @ .., after] = requests else { return true };
        // The next owner begins with the same number; it comes to the next one only when its own attempt has failed.
        let number = after.attempt <= before.attempt
            || between.iter().any(|request| request.attempt + 1 == after.attempt)
            || self.unseen(before.from, after.from);
        let taken_over = |fault: &Fault| {
            let in_time =
                before.from <= self.last_beginning(fault) && after.from >= fault.from + FIRST_TAKEOVER;
            in_time && number && self.costs_a_lease(fault)
        };
        self.0.iter().any(|fault| taken_over(fault) || self.resumed(fault, after.from))
    }

    fn costs_a_lease(&self, fault: &Fault) -> bool {
        fault.may_cost_a_lease() && self.outage_end(fault) - fault.from >= LEASE_AT_RISK
    }

    /// When all was whole again: the moment between two outages may not suffice for a heartbeat.
    fn outage_end(&self, first: &Fault) -> Ms {
        let mut end = first.to;
        for fault in self.0.iter().filter(|fault| fault.may_cost_a_lease()) {
            if fault.from >= first.from && fault.from <= end + LEASE_AT_RISK {
                end = end.max(fault.to);
            }
        }
        end
    }
}

/// How long settlements may wait after a fault that holds them up.
fn recovery(kind: FaultKind) -> Option<Ms> {
    use FaultKind::{
        CutRedis, DelayRedis, KillClients, KillRedis, PauseRedis, PauseWorker, Stall, StallRedis,
    };
    match kind {
        KillRedis | PauseRedis | CutRedis | StallRedis | Stall => Some(RECOVERY),
        PauseWorker | KillClients | DelayRedis => Some(CATCHING_UP),
        _ => None,
    }
}
