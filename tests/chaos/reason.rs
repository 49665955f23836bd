//! Whether what a dead letter says is true, and what the numbers of attempts say.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::history::{CLOCKS, End, Fault, History, Letter, Ms, Push, Request, Why, ms};
use super::traffic::{MAX_AGE, MAX_ATTEMPTS, MAX_DELAY};

/// How long the effects of a fault on attempts may last beyond it.
const AFTERMATH: Ms = 2000;
/// More deaths of its holders than this make an entry poison.
const INNOCENT_TAKEOVERS: usize = 4;

/// Whether a delivery that had these requests died of what its letter says; why not, in words.
pub(super) fn verify(history: &History, letter: &Letter, requests: &[Request]) -> Result<(), String> {
    let nobody = Push { sent: 0, acknowledged: None };
    let push = history.pushes.get(letter.event as usize).unwrap_or(&nobody);
    let answered = |status| {
        letter.status == Some(status) && requests.iter().any(|request| request.end == End::Answered(status))
    };
    let absent = |why| {
        let mut absences =
            history.absences.iter().filter(|absence| absence.place == letter.place && absence.why == why);
        absences.any(|absence| absence.explains(letter, push))
    };
    let is_true = match letter.reason.as_str() {
        "exhausted" => return exhausted(history, letter, requests),
        "poison" => return poison(history, letter, push),
        "rejected" => answered(404),
        "gone" => answered(410) || absent(Why::Gone),
        "removed" => absent(Why::Removed),
        // It is given up when its next attempt would come too late.
        "expired" => letter.died.saturating_add(CLOCKS + ms(MAX_DELAY)) >= push.sent + ms(MAX_AGE),
        other => return Err(format!("nothing can have caused the reason {other}")),
    };
    is_true.then_some(()).ok_or_else(|| format!("{}, and nothing caused that", letter.reason))
}

fn poison(history: &History, letter: &Letter, push: &Push) -> Result<(), String> {
    let killed = |fault: &&Fault| {
        // One that is over may have cost a lease of which the others learn only now.
        let since = fault.to.saturating_add(AFTERMATH);
        fault.kind.ends_leases() && fault.from <= letter.died && since >= push.sent
    };
    let faults = history.faults.iter().filter(killed).count();
    let possible = faults > INNOCENT_TAKEOVERS;
    possible
        .then_some(())
        .ok_or_else(|| format!("poison, with {faults} faults since its push that end leases"))
}

/// Every attempt was made and failed. One that its receiver did not see fail needs a fault that explains it.
fn exhausted(history: &History, letter: &Letter, requests: &[Request]) -> Result<(), String> {
    if letter.attempts != MAX_ATTEMPTS {
        return Err(format!("exhausted after {} attempts of {MAX_ATTEMPTS}", letter.attempts));
    }
    let failed: HashSet<u16> =
        requests.iter().filter(|request| !request.succeeded()).map(|request| request.attempt).collect();
    let sent = history.pushes.get(letter.event as usize).map_or(0, |push| push.sent);
    for missing in (1..=MAX_ATTEMPTS as u16).filter(|attempt| !failed.contains(attempt)) {
        // It was made after those before it, and before those after it.
        let before = requests.iter().filter(|request| request.attempt < missing);
        let after = requests.iter().filter(|request| request.attempt > missing);
        let from = before.map(|request| (request.attempt, Reverse(request.from))).max();
        let to = after.map(|request| (Reverse(request.attempt), request.from)).max();
        let from = from.map_or(sent, |(_, Reverse(from))| from);
        let to = to.map_or(letter.died, |(_, to)| to);
        if !is_hidden(history, from, to) {
            return Err(format!("exhausted, and no receiver saw attempt {missing} fail"));
        }
    }
    Ok(())
}

/// Whether its receiver saw each attempt before the last that it saw, unless something hid it: what is parked uses
/// none.
pub(super) fn numbers_are_whole(history: &History, event: u32, requests: &[Request]) -> bool {
    let seen: HashSet<u16> = requests.iter().map(|request| request.attempt).collect();
    let Some(last) = requests.iter().max_by_key(|request| request.attempt) else { return true };
    let whole = (1..last.attempt).all(|attempt| seen.contains(&attempt));
    whole || is_hidden(history, begins(history, event, requests), last.from)
}

fn begins(history: &History, event: u32, requests: &[Request]) -> Ms {
    let pushed = history.pushes.get(event as usize).map(|push| push.sent);
    requests.iter().map(|request| request.from).chain(pushed).min().unwrap_or(0)
}

/// Whether a fault can have hidden an attempt between two times.
fn is_hidden(history: &History, from: Ms, to: Ms) -> bool {
    let hides = |fault: &Fault| fault.kind.hides_answers() && fault.touches(from, to, AFTERMATH);
    history.faults.iter().any(hides)
}
