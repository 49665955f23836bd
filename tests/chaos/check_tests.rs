//! The checker itself, on histories that are made up: it has to be able to fail.

use std::collections::HashSet;

use super::check::{Wrong, check};
use super::history::{End, Fault, FaultKind, History, Letter, Ms, Request};
use super::traffic::{MAX_ATTEMPTS, Place, Traffic};

/// Two events that were pushed and delivered, each 100 ms after its push, and nothing broken.
fn good() -> History {
    let traffic = Traffic { seed: 7 };
    let mut requests = Vec::new();
    for event in 0..2 {
        requests.extend(traffic.places(event).map(|place| Request {
            event,
            place,
            attempt: 1,
            from: 10_100,
            to: 10_110,
            end: End::Answered(200),
        }));
    }
    History {
        traffic,
        acknowledged: vec![Some(10_000), Some(10_000)],
        requests,
        faults: Vec::new(),
        letters: Vec::new(),
        told: HashSet::new(),
        strange: Vec::new(),
    }
}

fn wrong(history: &History) -> Vec<Wrong> {
    check(history).0.into_iter().map(|violation| violation.wrong).collect()
}

fn fault(kind: FaultKind, from: Ms, to: Ms) -> Fault {
    Fault { kind, target: "it".to_owned(), from, to, in_flight: 10 }
}

/// Makes the first delivery one that failed every time.
fn fail(history: &mut History, attempts: u16, end: End) -> (u32, Place) {
    let first = history.requests.remove(0);
    for attempt in 1..=attempts {
        let from = first.from + 1000 * Ms::from(attempt);
        history.requests.push(Request { attempt, from, to: from + 10, end, ..first });
    }
    (first.event, first.place)
}

/// Adds a dead letter that the ERRORS webhook was told of.
fn bury(
    history: &mut History,
    (event, place): (u32, Place),
    reason: &str,
    attempts: u32,
    status: Option<u16>,
) {
    history.letters.push(Letter { event, place, reason: reason.to_owned(), attempts, status });
    history.told.insert((event, place));
}

/// The first request once more, so many ms later.
fn again(history: &mut History, later: Ms) {
    let first = history.requests[0];
    let (from, to) = (first.from + later, first.to + later);
    history.requests.push(Request { from, to, ..first });
}

#[test]
fn a_good_history_has_nothing_wrong() {
    let (violations, figures) = check(&good());
    assert_eq!(violations, []);
    assert_eq!((figures.pushed, figures.acknowledged, figures.duplicates), (2, 2, 0));
    assert_eq!(figures.deliveries, figures.delivered);
    assert_eq!(figures.slowest.0, 100);
}

#[test]
fn an_acknowledged_event_that_never_arrived_is_lost() {
    let mut history = good();
    history.requests.remove(0);
    assert_eq!(wrong(&history), [Wrong::Lost]);
    // The same of an event whose push nobody confirmed is none.
    history.acknowledged[0] = None;
    assert_eq!(wrong(&history), []);
}

#[test]
fn an_event_whose_attempts_all_failed_is_lost_without_a_dead_letter() {
    for end in [End::Answered(500), End::Closed, End::Left, End::Open] {
        let mut history = good();
        fail(&mut history, MAX_ATTEMPTS as u16, end);
        assert_eq!(wrong(&history), [Wrong::Lost], "{end:?}");
    }
}

#[test]
fn exhausted_has_to_be_true() {
    let mut history = good();
    let delivery = fail(&mut history, MAX_ATTEMPTS as u16, End::Answered(500));
    bury(&mut history, delivery, "exhausted", MAX_ATTEMPTS, Some(500));
    assert_eq!(wrong(&history), []);

    history.letters[0].attempts = 3;
    assert!(matches!(wrong(&history)[..], [Wrong::FalseReason(_)]));

    let mut history = good();
    let delivery = fail(&mut history, 3, End::Answered(500));
    bury(&mut history, delivery, "exhausted", MAX_ATTEMPTS, Some(500));
    assert!(matches!(wrong(&history)[..], [Wrong::FalseReason(_)]));
    // The others may not have come through.
    history.faults.push(fault(FaultKind::CutReceivers, 12_000, 13_000));
    assert_eq!(wrong(&history), []);
    history.faults[0] = fault(FaultKind::CutReceivers, 42_000, 43_000);
    assert!(matches!(wrong(&history)[..], [Wrong::FalseReason(_)]));
}

#[test]
fn rejected_needs_a_receiver_that_refused() {
    let mut history = good();
    let delivery = fail(&mut history, 1, End::Answered(404));
    bury(&mut history, delivery, "rejected", 1, Some(404));
    assert_eq!(wrong(&history), []);
    history.requests.last_mut().expect("there is one").end = End::Answered(500);
    assert!(matches!(wrong(&history)[..], [Wrong::FalseReason(_)]));
}

#[test]
fn poison_needs_workers_that_died_and_other_reasons_cannot_be() {
    let mut history = good();
    let delivery = fail(&mut history, 1, End::Left);
    bury(&mut history, delivery, "poison", 0, None);
    assert!(matches!(wrong(&history)[..], [Wrong::FalseReason(_)]));
    history.faults = vec![fault(FaultKind::KillWorker, 0, 1); 5];
    assert_eq!(wrong(&history), []);
    for reason in ["expired", "gone", "removed", "unreadable", "too_large", ""] {
        history.letters[0].reason = reason.to_owned();
        assert!(matches!(wrong(&history)[..], [Wrong::FalseReason(_)]), "{reason}");
    }
}

#[test]
fn a_delivery_dies_once_and_the_errors_webhook_is_told() {
    let mut history = good();
    let delivery = fail(&mut history, 1, End::Answered(404));
    bury(&mut history, delivery, "rejected", 1, Some(404));
    history.told.clear();
    assert_eq!(wrong(&history), [Wrong::NotTold]);
    bury(&mut history, delivery, "rejected", 1, Some(404));
    assert_eq!(wrong(&history), [Wrong::DeadTwice]);
}

#[test]
fn a_duplicate_needs_a_fault_that_explains_it() {
    let mut history = good();
    again(&mut history, 5000);
    let duplicate = [Wrong::Duplicate, Wrong::TooManyDuplicates { found: 1, in_flight: 0 }];
    assert_eq!(wrong(&history), duplicate);
    history.faults.push(fault(FaultKind::KillWorker, 10_105, 12_000));
    assert_eq!(wrong(&history), []);
    assert_eq!(check(&history).1.duplicates, 1);
    // Long before, long after, or one that repeats nothing.
    for (kind, from) in
        [(FaultKind::KillWorker, 1000), (FaultKind::KillWorker, 14_000), (FaultKind::FlushScripts, 10_105)]
    {
        history.faults[0] = fault(kind, from, from + 1000);
        assert!(wrong(&history).contains(&Wrong::Duplicate), "{kind:?} at {from}");
    }
}

#[test]
fn there_are_no_more_duplicates_than_were_in_flight() {
    let mut history = good();
    history.faults.push(Fault { in_flight: 1, ..fault(FaultKind::KillWorker, 9_000, 20_000) });
    again(&mut history, 1000);
    again(&mut history, 2000);
    assert_eq!(wrong(&history), []);
    again(&mut history, 3000);
    assert_eq!(wrong(&history), [Wrong::TooManyDuplicates { found: 3, in_flight: 2 }]);
}

#[test]
fn two_attempts_at_once_need_a_lost_lease() {
    let mut history = good();
    (history.requests[0].to, history.requests[0].end) = (11_900, End::Left);
    let first = history.requests[0];
    history.requests.push(Request { from: 11_700, to: 11_710, end: End::Answered(200), ..first });
    assert_eq!(wrong(&history), [Wrong::Overlap]);
    // A killed worker attempts nothing any more, and a short pause costs no lease.
    for (kind, to) in [(FaultKind::KillWorker, 12_000), (FaultKind::PauseWorker, 10_500)] {
        history.faults = vec![fault(kind, 10_000, to)];
        assert_eq!(wrong(&history), [Wrong::Overlap], "{kind:?}");
    }
    history.faults = vec![fault(FaultKind::PauseWorker, 9_000, 11_500)];
    assert_eq!(wrong(&history), []);
    assert_eq!(check(&history).1.overlaps, 1);
}

#[test]
fn a_receiver_that_hangs_holds_no_attempt_beyond_its_timeout() {
    let mut history = good();
    (history.requests[0].to, history.requests[0].end) = (Ms::MAX, End::Open);
    let first = history.requests[0];
    history.requests.push(Request { attempt: 2, from: 12_300, to: 12_310, end: End::Answered(200), ..first });
    assert_eq!(wrong(&history), []);
}

#[test]
fn what_is_left_over_and_what_nobody_pushed_is_found() {
    let mut history = good();
    history.strange.push("a key {webhooks}:event:1-0".to_owned());
    assert!(matches!(wrong(&history)[..], [Wrong::Strange(_)]));

    let mut history = good();
    let first = history.requests[0];
    history.requests.push(Request { event: 2, ..first });
    assert_eq!(wrong(&history), [Wrong::Misdelivered]);
}
