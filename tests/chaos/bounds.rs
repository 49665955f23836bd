//! How much receivers may get: those that are down, and those with a rate limit.

use std::fmt;

use super::history::{Fault, FaultKind, History, Ms};
use super::spells::Spell;
use super::traffic::{Character, Place};

/// How many attempts one worker makes until it knows that a receiver is down: those it has in flight at a time, and
/// those that begin until five have failed.
const FINDING_OUT: u64 = 40;
/// The same for a worker that has just begun, and has four in flight at a time.
const FINDING_OUT_ANEW: u64 = 9;
/// A worker asks a receiver that is down so often in the first seconds …
const FIRST_PROBES: u64 = 4;
/// … and then not more often than this: 2 s, varied by a fifth.
const PROBE_EVERY: Ms = 1600;
/// After so long a worker that gets a few attempts a second knows that a receiver is down, even if that hangs.
const FOUND_OUT: Ms = 3000;
/// How long a fault may keep a worker from finding out.
const DISTURBED: Ms = 1000;
/// How long a worker that was replaced may still make itself felt.
const AFTERMATH: Ms = 1000;
const SECOND: Ms = 1000;

/// What a receiver got in some time, and what it may have got at most.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    pub(crate) what: String,
    pub(crate) seen: u64,
    pub(crate) allowed: u64,
}

impl Load {
    /// Becomes the one that is closer to what is allowed, or further beyond it.
    pub(crate) fn raise(&mut self, other: Self) {
        if self.seen * other.allowed.max(1) <= other.seen * self.allowed.max(1) {
            *self = other;
        }
    }
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} requests {}, at most {} allowed", self.seen, self.what, self.allowed)
    }
}

/// Of each spell, how many attempts came to the receiver that was down.
pub(super) fn while_down(history: &History) -> impl Iterator<Item = Load> {
    history.traffic.spells(history.healed).map(|spell| of_spell(history, spell))
}

/// Of each spell, how many attempts came once every worker had had its time to find out, undisturbed until the end.
pub(super) fn while_known_to_be_down(history: &History) -> impl Iterator<Item = Load> {
    let disturbs = |fault: &&Fault| fault.kind.ends_leases() || fault.kind.hides_answers();
    history.traffic.spells(history.healed).filter_map(move |spell| {
        let to = spell.to.min(history.healed);
        let faults = history.faults.iter().filter(disturbs);
        let touching = faults.filter(|fault| fault.touches(spell.from, to, DISTURBED));
        let disturbed = touching.map(|fault| fault.to + DISTURBED).max().unwrap_or(0);
        let from = spell.from.max(disturbed) + FOUND_OUT;
        if from >= to {
            return None;
        }
        let seen = came(history, spell.place, from, to);
        // One that gets little may have seen less than five failures.
        let each = 5 + 2 + u64::from((to - from) / PROBE_EVERY);
        let what = format!("to {} when that was known ({from}–{to} ms)", spell.place.destination());
        Some(Load { what, seen, allowed: history.workers as u64 * each })
    })
}

fn came(history: &History, place: Place, from: Ms, to: Ms) -> u64 {
    let requests = history.requests.iter().filter(|request| request.place == place);
    requests.filter(|request| (from..to).contains(&request.from)).count() as u64
}

fn of_spell(history: &History, spell: Spell) -> Load {
    let to = spell.to.min(history.healed);
    let seen = came(history, spell.place, spell.from, to);
    let probes = FIRST_PROBES + u64::from(to.saturating_sub(spell.from) / PROBE_EVERY) + 1;
    let begun: u64 = history.faults.iter().map(|fault| begun_by(history, fault, spell.from, to)).sum();
    let allowed = history.workers as u64 * (FINDING_OUT + probes) + begun * (FINDING_OUT_ANEW + probes);
    let what = format!("to {} while it was down ({}–{to} ms)", spell.place.destination(), spell.from);
    Load { what, seen, allowed }
}

/// How many workers began in a time because of a fault.
fn begun_by(history: &History, fault: &Fault, from: Ms, to: Ms) -> u64 {
    if !(from..to).contains(&fault.to) && !(from..to).contains(&(fault.to + AFTERMATH)) {
        return 0;
    }
    match fault.kind {
        FaultKind::KillWorker | FaultKind::TermWorker => 1,
        FaultKind::KillAllWorkers => history.workers as u64,
        _ => 0,
    }
}

/// The second in which most attempts came to the receiver whose webhook has a rate limit, as compared with what each
/// worker may make of them.
pub(super) fn in_a_second(history: &History) -> Load {
    let place = Place::of(Character::Metered);
    let mut times: Vec<Ms> = history
        .requests
        .iter()
        .filter(|request| request.place == place)
        .map(|request| request.from)
        .collect();
    times.sort_unstable();
    let rate = history.traffic.rate_limit();
    // A tenth of a second's attempts, or one, may come at once, and one is always begun.
    let each = rate + (rate / 10.0).max(1.0) + 1.0;
    let mut most = Load::default();
    for (first, &from) in times.iter().enumerate() {
        let seen = times[first..].partition_point(|time| *time < from + SECOND) as u64;
        let more = history.faults.iter().filter(|fault| presses(fault, from)).map(|fault| match fault.kind {
            FaultKind::KillAllWorkers => history.workers as f64,
            FaultKind::DelayReceivers => history.workers as f64 / 4.0,
            _ => 1.0,
        });
        let allowed = ((history.workers as f64 + more.sum::<f64>()) * each) as u64;
        let what = format!("to {} in a second ({from} ms)", place.destination());
        most.raise(Load { what, seen, allowed });
    }
    most
}

/// Whether a fault makes more attempts come in the second after a time: those of a worker that begins, those that were
/// held back.
fn presses(fault: &Fault, from: Ms) -> bool {
    use FaultKind::{DelayReceivers, KillAllWorkers, KillWorker, PauseWorker, StallReceivers, TermWorker};
    let presses = matches!(
        fault.kind,
        DelayReceivers | KillAllWorkers | KillWorker | PauseWorker | StallReceivers | TermWorker
    );
    presses && fault.touches(from, from + SECOND, AFTERMATH)
}
