//! What makes a reason true, what an absent webhook excuses, and what they do not.

use std::collections::HashSet;

use super::check::{Wrong, check};
use super::check_tests::{bury, fail, fault, good, wrong};
use super::history::{Absence, End, FaultKind, History, Ms, Push, Why};
use super::traffic::Place;

/// The webhook of the first delivery's place was not there between two times.
fn absent(history: &mut History, why: Why, from: Ms, to: Ms) -> &mut Absence {
    let place = history.requests[0].place;
    let (waiting, in_stream) = (HashSet::new(), HashSet::new());
    history.absences.push(Absence { place, why, from, to, waiting, in_stream });
    history.absences.last_mut().expect("it was just added")
}

/// A delivery that was never attempted, and died at 30,000 (its event was pushed at 9,990).
fn dead(reason: &str) -> History {
    let mut history = good();
    let delivery = fail(&mut history, 0, End::Open);
    history.absences.clear();
    bury(&mut history, delivery, reason, 0, None);
    history
}

/// Puts the absence where the dead delivery went.
fn of_the_dead(history: &mut History, why: Why, from: Ms, to: Ms) {
    let place = history.letters[0].place;
    absent(history, why, from, to).place = place;
}

#[track_caller]
fn is_false(history: &History) {
    assert!(matches!(wrong(history)[..], [Wrong::FalseReason(_)]), "{:?}", wrong(history));
}

#[test]
fn removed_and_gone_need_a_webhook_that_was_not_there() {
    for (reason, why, other) in [("removed", Why::Removed, Why::Gone), ("gone", Why::Gone, Why::Removed)] {
        let mut history = dead(reason);
        is_false(&history);
        of_the_dead(&mut history, why, 29_000, 31_000);
        assert_eq!(wrong(&history), []);
        // It may have been found out before the webhook was there again.
        history.absences[0].from = 18_000;
        history.absences[0].to = 20_000;
        assert_eq!(wrong(&history), []);
        // Later, long before, before it was pushed, another, for another reason.
        for (from, to) in [(30_100, 31_000), (10_500, 11_000), (5000, 9_989)] {
            history.absences.clear();
            of_the_dead(&mut history, why, from, to);
            is_false(&history);
        }
        history.absences.clear();
        of_the_dead(&mut history, why, 29_000, 31_000);
        history.absences[0].place = Place::of_destination("instance:doomed").expect("it is one");
        is_false(&history);
        history.absences.clear();
        of_the_dead(&mut history, other, 29_000, 31_000);
        is_false(&history);
    }
}

#[test]
fn gone_is_true_of_a_delivery_that_was_answered_410() {
    let mut history = good();
    let delivery = fail(&mut history, 1, End::Answered(410));
    bury(&mut history, delivery, "gone", 1, Some(410));
    assert_eq!(wrong(&history), []);
    history.letters[0].status = Some(500);
    is_false(&history);
    history.letters[0].status = Some(410);
    history.requests.last_mut().expect("there is one").end = End::Answered(500);
    is_false(&history);
}

#[test]
fn nothing_expires_before_its_time() {
    let mut history = dead("expired");
    is_false(&history);
    // Pushed at 9,990; 40 s later it is too old, and nobody waits for more than 2 s for that.
    history.letters[0].died = 47_900;
    is_false(&history);
    history.letters[0].died = 47_990;
    assert_eq!(wrong(&history), []);
}

#[test]
fn a_number_without_the_ones_before_needs_something_that_hid_them() {
    let mut history = good();
    let first = history.requests[0];
    history.requests[0].attempt = 3;
    assert_eq!(wrong(&history), [Wrong::Skipped]);
    history.requests.push(super::history::Request {
        attempt: 1,
        end: End::Closed,
        from: 9_995,
        to: 9_996,
        ..first
    });
    assert_eq!(wrong(&history), [Wrong::Skipped]);
    for kind in [FaultKind::CutReceivers, FaultKind::StallReceivers, FaultKind::PauseWorker] {
        history.faults = vec![fault(kind, 10_000, 10_050)];
        assert_eq!(wrong(&history), [], "{kind:?}");
    }
    for kind in [FaultKind::KillRedis, FaultKind::KillWorker, FaultKind::CutRedis] {
        history.faults = vec![fault(kind, 10_000, 10_050)];
        assert_eq!(wrong(&history), [Wrong::Skipped], "{kind:?}");
    }
    history.faults = vec![fault(FaultKind::CutReceivers, 20_000, 21_000)];
    assert_eq!(wrong(&history), [Wrong::Skipped]);
}

/// Of the first delivery nothing was seen; its event was pushed between 9,990 and 10,000.
fn vanished(why: Why, from: Ms, to: Ms) -> History {
    let mut history = good();
    absent(&mut history, why, from, to);
    history.requests.remove(0);
    history
}

#[test]
fn what_is_pushed_while_there_is_no_webhook_goes_nowhere_and_nothing_else() {
    for why in [Why::Removed, Why::Gone] {
        for (from, to) in [(9_980, 12_000), (9_995, 12_000), (5_000, 9_990), (5_000, Ms::MAX)] {
            let history = vanished(why, from, to);
            assert_eq!(wrong(&history), [], "{why:?} {from}–{to}");
            assert_eq!(check(&history).1.unwanted, 1);
        }
        for (from, to) in [(10_100, 12_000), (5_000, 9_989)] {
            assert_eq!(wrong(&vanished(why, from, to)), [Wrong::Lost], "{why:?} {from}–{to}");
        }
        let mut elsewhere = vanished(why, 9_980, 12_000);
        elsewhere.absences[0].place = Place::of_destination("instance:doomed").expect("it is one");
        assert_eq!(wrong(&elsewhere), [Wrong::Lost]);
    }
}

#[test]
fn what_was_in_the_stream_at_a_removal_may_go_nowhere_and_what_was_parked_may_not() {
    let mut history = vanished(Why::Removed, 10_100, 12_000);
    history.absences[0].in_stream.insert(0);
    assert_eq!(wrong(&history), []);
    history.absences[0].waiting.insert(0);
    assert_eq!(wrong(&history), [Wrong::Lost]);
}

#[test]
fn of_an_event_that_may_go_nowhere_nobody_knows_whether_it_is_in_the_stream() {
    let mut history = vanished(Why::Removed, 9_000, 12_000);
    let place = history.absences[0].place;
    history.requests.retain(|request| request.event != 0);
    history.pushes[0] = Push { sent: 9_990, acknowledged: None };
    for in_stream in [1, 2] {
        history.in_stream = Some(in_stream);
        assert_eq!(wrong(&history), []);
    }
    for in_stream in [0, 3] {
        history.in_stream = Some(in_stream);
        assert_eq!(wrong(&history), [Wrong::Miscounted { in_stream, known: 1, unsure: 1 }]);
    }
    // Where it was to arrive, it has to be known.
    history.absences[0].to = 9_000;
    assert_eq!(history.absences[0].place, place);
    history.in_stream = Some(2);
    assert_eq!(wrong(&history), [Wrong::Miscounted { in_stream: 2, known: 1, unsure: 0 }]);
}
