//! The checker itself, on histories that are made up: it has to be able to fail.

use std::collections::HashSet;

use super::check::{Wrong, check};
use super::history::{End, Fault, FaultKind, History, Letter, Ms, Push, Request};
use super::traffic::{Character, MAX_ATTEMPTS, Place, Traffic};

/// Two events that were pushed and delivered, each 100 ms after its push, and nothing broken.
pub(super) fn good() -> History {
    let is_steady = |(_, place): &(u32, Place)| place.character() == Character::Steady;
    let mut seeds = (0..).map(|seed| Traffic { seed, rate: 100 });
    let traffic = seeds.find(|traffic| {
        (0..2)
            .flat_map(|event| traffic.places(event).map(move |place| (event, place)))
            .all(|to| is_steady(&to))
    });
    let traffic = traffic.expect("most are");
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
        pushes: vec![Push { sent: 9_990, acknowledged: Some(10_000) }; 2],
        in_stream: Some(2),
        requests,
        faults: Vec::new(),
        healed: 60_000,
        workers: 3,
        absences: Vec::new(),
        letters: Vec::new(),
        told: HashSet::new(),
        strange: Vec::new(),
    }
}

pub(super) fn wrong(history: &History) -> Vec<Wrong> {
    check(history).0.into_iter().map(|violation| violation.wrong).collect()
}

pub(super) fn fault(kind: FaultKind, from: Ms, to: Ms) -> Fault {
    Fault { kind, target: "it".to_owned(), worker: None, from, to, ended: None, in_flight: 10 }
}

/// Makes the first delivery one that failed every time.
pub(super) fn fail(history: &mut History, attempts: u16, end: End) -> (u32, Place) {
    let first = history.requests.remove(0);
    for attempt in 1..=attempts {
        let from = first.from + 1000 * Ms::from(attempt);
        history.requests.push(Request { attempt, from, to: from + 10, end, ..first });
    }
    (first.event, first.place)
}

/// Adds a dead letter that the ERRORS webhook was told of.
pub(super) fn bury(
    history: &mut History,
    (event, place): (u32, Place),
    reason: &str,
    attempts: u32,
    status: Option<u16>,
) {
    let reason = reason.to_owned();
    history.letters.push(Letter { event, place, reason, attempts, status, died: 30_000 });
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
}

#[test]
fn an_event_whose_push_nobody_confirmed_arrives_everywhere_or_is_not_in_the_stream() {
    // The first event that has two destinations, and that alone.
    let traffic = good().traffic;
    let event = (0..).find(|event| traffic.places(*event).count() == 2).expect("there are many");
    let mut history = good();
    history.pushes = vec![Push { sent: 9_990, acknowledged: None }; event as usize + 1];
    let first = Request { event, ..history.requests[0] };
    history.requests = traffic.places(event).map(|place| Request { place, ..first }).collect();

    history.in_stream = Some(1);
    assert_eq!(wrong(&history), []);
    let figures = check(&history).1;
    assert_eq!((figures.acknowledged, figures.unsure_and_there, figures.deliveries), (0, 1, 2));
    // It came to one of two, or was only tried there, or is a dead letter there.
    let other = history.requests.pop().expect("there are two");
    assert_eq!(wrong(&history), [Wrong::Lost]);
    history.requests[0].end = End::Answered(500);
    assert_eq!(wrong(&history), [Wrong::Lost, Wrong::Lost]);
    history.requests[0].end = End::Answered(404);
    let refused = history.requests.remove(0);
    bury(&mut history, (event, refused.place), "gone", 1, Some(410));
    assert!(wrong(&history).contains(&Wrong::Lost));
    // It came nowhere, and Redis has it or has it not.
    history.letters.clear();
    assert_eq!(wrong(&history), [Wrong::Miscounted { in_stream: 1, known: 0, unsure: 0 }]);
    history.in_stream = Some(0);
    assert_eq!(wrong(&history), []);
    history.requests.extend([refused, other].map(|request| Request { end: End::Answered(200), ..request }));
    assert_eq!(wrong(&history), [Wrong::Miscounted { in_stream: 0, known: 1, unsure: 0 }]);
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
    // The others may not have come through: after the third (13,100), and before its death (30,000).
    for (from, explains) in [(29_000, true), (13_200, true), (10_000, false), (32_500, false)] {
        history.faults = vec![fault(FaultKind::CutReceivers, from, from + 500)];
        assert_eq!(wrong(&history).is_empty(), explains, "{from}");
    }

    // The fifth did not come through: between the fourth (14,100) and the sixth (16,100).
    let mut history = good();
    let delivery = fail(&mut history, MAX_ATTEMPTS as u16, End::Answered(500));
    bury(&mut history, delivery, "exhausted", MAX_ATTEMPTS, Some(500));
    history.requests.retain(|request| request.attempt != 5);
    for (from, explains) in [(15_000, true), (11_000, false), (19_000, false)] {
        history.faults = vec![fault(FaultKind::StallReceivers, from, from + 500)];
        assert_eq!(wrong(&history).is_empty(), explains, "{from}");
    }
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
    // Between its push (9,990) and its death (30,000), not before, not after, and not too few.
    let killed = |from| fault(FaultKind::KillWorker, from, from + 1000);
    history.faults = vec![killed(11_000); 5];
    assert_eq!(wrong(&history), []);
    for other in [killed(1000), killed(30_001), fault(FaultKind::CutProducer, 11_000, 12_000)] {
        history.faults[0] = other;
        assert!(matches!(wrong(&history)[..], [Wrong::FalseReason(_)]));
    }
    history.faults[0] = killed(11_000);
    for reason in ["gone", "removed", "unreadable", "too_large", ""] {
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
fn what_arrived_does_not_die_unless_that_was_hidden() {
    let mut history = good();
    let delivery = fail(&mut history, MAX_ATTEMPTS as u16, End::Answered(500));
    bury(&mut history, delivery, "exhausted", MAX_ATTEMPTS, None);
    let last = history.requests.last_mut().expect("there is one");
    (last.to, last.end) = (last.from + 10, End::Answered(200));
    let moment = last.to;
    history.faults = vec![fault(FaultKind::CutReceivers, moment + 1000, moment + 2000)];
    assert_eq!(wrong(&history), [Wrong::DeadAndDelivered]);
    history.faults = vec![fault(FaultKind::CutReceivers, moment, moment + 1000)];
    assert_eq!(wrong(&history), []);
    assert_eq!(check(&history).1.dead_and_delivered, 1);
}

#[test]
fn a_failed_attempt_after_a_success_is_a_repetition_too() {
    let mut history = good();
    again(&mut history, 5000);
    history.requests.last_mut().expect("there is one").end = End::Answered(500);
    assert_eq!(wrong(&history), [Wrong::Duplicate]);
    assert_eq!(check(&history).1.duplicates, 0);
}

#[test]
fn a_duplicate_needs_a_fault_that_explains_it() {
    let mut history = good();
    again(&mut history, 5000);
    assert_eq!(wrong(&history), [Wrong::Duplicate]);
    assert_eq!(check(&history).1.repeatable, 0);
    history.faults.push(fault(FaultKind::KillWorker, 10_105, 12_000));
    assert_eq!(wrong(&history), []);
    // Both events could have been repeated, one was.
    let figures = check(&history).1;
    assert_eq!((figures.duplicates, figures.repeatable), (1, figures.deliveries as u64));
    // Long before, while it was absent, long after, or one that repeats nothing.
    for (kind, from) in [
        (FaultKind::KillWorker, 1000),
        (FaultKind::KillWorker, 9_000),
        (FaultKind::KillWorker, 14_000),
        (FaultKind::FlushScripts, 10_105),
        (FaultKind::CutProducer, 10_105),
    ] {
        history.faults[0] = fault(kind, from, from + 3000);
        assert_eq!(wrong(&history), [Wrong::Duplicate], "{kind:?} at {from}");
        assert_eq!(check(&history).1.repeatable, 0, "{kind:?} at {from}");
    }
}

#[test]
fn a_fault_explains_no_more_duplicates_than_were_in_flight() {
    let mut history = good();
    let first = history.requests[0];
    // One entry, that is two deliveries at most.
    history.faults.push(Fault { in_flight: 1, ..fault(FaultKind::KillWorker, 10_300, 20_000) });
    history.pushes = vec![history.pushes[0]; 3];
    history.in_stream = Some(3);
    history.requests.clear();
    for event in 0..3 {
        for place in history.traffic.places(event) {
            history.requests.push(Request { event, place, ..first });
        }
    }
    let once = history.requests.clone();
    let repeated = |request: &Request| Request { from: 13_000, to: 13_010, ..*request };
    history.requests.extend(once[..2].iter().map(repeated));
    assert_eq!(wrong(&history), []);
    history.requests.push(repeated(&once[2]));
    assert_eq!(wrong(&history), [Wrong::TooManyDuplicates]);
    // What another fault had in flight long before is no excuse; at the same time it is.
    history.faults.insert(0, fault(FaultKind::KillWorker, 5000, 5001));
    assert_eq!(wrong(&history), [Wrong::TooManyDuplicates]);
    history.faults[0] = fault(FaultKind::KillWorker, 10_250, 20_000);
    assert_eq!(wrong(&history), []);
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
    history.faults = vec![fault(FaultKind::PauseWorker, 10_050, 11_500)];
    assert_eq!(wrong(&history), []);
    assert_eq!(check(&history).1.overlaps, 1);
    // What is paused begins nothing; a worker without Redis goes on for a while.
    history.faults = vec![fault(FaultKind::PauseWorker, 9_000, 11_000)];
    assert_eq!(wrong(&history), [Wrong::Overlap]);
    history.faults = vec![fault(FaultKind::CutRedis, 9_000, 11_000)];
    assert_eq!(wrong(&history), []);
    // An attempt that was paused on its way comes late.
    history.faults = vec![fault(FaultKind::PauseWorker, 9_000, 11_600)];
    assert_eq!(wrong(&history), []);
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
