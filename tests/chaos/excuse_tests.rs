//! What faults excuse, and above all what they do not.

use super::excuse::{CATCHING_UP, Excuses, HALF_DONE, ON_ITS_WAY, RECOVERY, SETTLEMENT, Success};
use super::history::{End, Fault, FaultKind, Ms, Request};
use super::machine::stall;
use super::traffic::{Place, TIMEOUT};

const TIMEOUT_MS: Ms = TIMEOUT.as_millis() as Ms;

fn fault(kind: FaultKind, from: Ms, to: Ms) -> Fault {
    Fault { kind, target: "it".to_owned(), worker: None, from, to, ended: None, in_flight: 10 }
}

fn at(worker: usize, fault: Fault) -> Fault {
    Fault { worker: Some(worker), ..fault }
}

/// A success that ended at this moment.
fn success(to: Ms) -> Success {
    Success { from: to - 10, to, attempt: 1, shared: false }
}

fn excused(faults: &[Fault], success: Success) -> bool {
    Excuses(faults).of(success).next().is_some()
}

/// Whether it is, by a request that comes at this moment.
fn explained(faults: &[Fault], success: Success, from: Ms) -> bool {
    Excuses(faults).explain(success, &request(1, from, from + 10)).next().is_some()
}

fn request(attempt: u16, from: Ms, to: Ms) -> Request {
    Request { event: 0, place: Place::GLOBAL, attempt, from, to, end: End::Answered(200) }
}

/// Holds that of the successes that ended within these times, and of no others, a repetition is excused.
#[track_caller]
fn excuses(faults: &[Fault], from: Ms, to: Ms) {
    assert!(!excused(faults, success(from - 1)), "before {from}");
    assert!(excused(faults, success(from)), "at {from}");
    assert!(excused(faults, success(to)), "at {to}");
    assert!(!excused(faults, success(to + 1)), "after {to}");
}

#[test]
fn a_killed_worker_excuses_what_it_had_not_settled_and_not_the_time_it_was_absent() {
    for kind in [FaultKind::KillWorker, FaultKind::KillAllWorkers] {
        excuses(&[fault(kind, 20_000, 29_000)], 20_000 - SETTLEMENT, 20_000 + ON_ITS_WAY);
    }
}

#[test]
fn a_stopped_worker_excuses_what_it_had_not_settled_when_it_ended() {
    let stopped = Fault { ended: Some(21_000), ..fault(FaultKind::TermWorker, 20_000, 29_000) };
    excuses(&[stopped], 21_000 - SETTLEMENT, 21_000 + ON_ITS_WAY);
}

#[test]
fn half_done_events_may_wait_for_a_note() {
    let killed = [fault(FaultKind::KillWorker, 20_000, 21_000)];
    let early = success(20_000 - SETTLEMENT - HALF_DONE);
    assert!(!excused(&killed, early));
    assert!(excused(&killed, Success { shared: true, ..early }));
    let earlier = success(20_000 - SETTLEMENT - HALF_DONE - 1);
    assert!(!excused(&killed, Success { shared: true, ..earlier }));
    // The note cannot be made, so it lasts until the other destination is done.
    let cut = fault(FaultKind::CutRedis, 16_000, 16_500);
    let killed = fault(FaultKind::KillWorker, 16_500 + RECOVERY + TIMEOUT_MS, 30_000);
    let long_ago = success(16_100);
    assert!(!excused(&[cut.clone(), killed.clone()], long_ago));
    assert!(excused(&[cut, killed], Success { shared: true, ..long_ago }));
}

#[test]
fn a_paused_worker_excuses_what_was_under_way_when_it_was_frozen() {
    let paused = [fault(FaultKind::PauseWorker, 20_000, 26_000)];
    excuses(&paused, 20_000 - SETTLEMENT, 20_000 + ON_ITS_WAY + 10);
    // Too short for anybody to notice.
    assert!(!excused(&[fault(FaultKind::PauseWorker, 20_000, 20_900)], success(20_000)));
}

#[test]
fn an_attempt_that_was_frozen_on_its_way_comes_when_its_worker_goes_on() {
    let paused = [fault(FaultKind::PauseWorker, 20_000, 26_000)];
    // The other worker's success, long after the pause began.
    let resumed = |from| explained(&paused, success(24_000), from);
    assert!(!resumed(25_999));
    assert!(resumed(26_000) && resumed(26_000 + ON_ITS_WAY));
    assert!(!resumed(26_000 + ON_ITS_WAY + 1));
    let short = [fault(FaultKind::PauseWorker, 20_000, 20_900)];
    assert!(!explained(&short, success(24_000), 20_900));
}

#[test]
fn nobody_takes_over_before_heartbeats_can_have_been_missed() {
    for kind in [FaultKind::KillWorker, FaultKind::CutRedis, FaultKind::PauseWorker] {
        let faults = [at(1, fault(kind, 20_000, 29_000))];
        assert!(!explained(&faults, success(20_000), 21_499), "{kind:?}");
        assert!(explained(&faults, success(20_000), 21_500), "{kind:?}");
    }
    // They were missed before, too.
    let killed = at(1, fault(FaultKind::KillWorker, 20_000, 29_000));
    for (worker, earliest) in [(1, 20_600), (0, 21_500)] {
        let faults = [at(worker, fault(FaultKind::CutRedis, 19_100, 19_900)), killed.clone()];
        assert!(!explained(&faults, success(20_000), earliest - 1), "{worker}");
        assert!(explained(&faults, success(20_000), earliest), "{worker}");
    }
    // A worker that stops tells the others, and one whose answer was lost tries again.
    for kind in [FaultKind::TermWorker, FaultKind::CutReceivers] {
        assert!(explained(&[fault(kind, 20_000, 29_000)], success(20_000), 20_100), "{kind:?}");
    }
}

#[test]
fn an_outage_excuses_what_was_begun_before_the_lease_ended() {
    for kind in [FaultKind::KillRedis, FaultKind::PauseRedis, FaultKind::CutRedis, FaultKind::StallRedis] {
        excuses(&[fault(kind, 20_000, 29_000)], 20_000 - SETTLEMENT, 20_000 + 3000 + 10);
        // Too short to cost a lease, and two of them together are not.
        let short = fault(kind, 20_000, 20_900);
        assert!(!excused(std::slice::from_ref(&short), success(20_000)), "{kind:?}");
        assert!(excused(&[short, fault(kind, 21_000, 21_500)], success(20_000)), "{kind:?}");
    }
}

#[test]
fn receivers_that_are_cut_off_excuse_the_answers_on_their_way() {
    for kind in [FaultKind::CutReceivers, FaultKind::StallReceivers] {
        let faults = [fault(kind, 20_000, 29_000)];
        excuses(&faults, 20_000 - ON_ITS_WAY, 20_000 + ON_ITS_WAY + 10);
        // A slow answer to a request that had come before does not come back, either.
        assert!(excused(&faults, Success { from: 20_000, to: 21_200, attempt: 1, shared: false }));
    }
}

#[test]
fn faults_that_undo_nothing_excuse_nothing() {
    use FaultKind::{
        CutProducer, DelayReceivers, DelayRedis, FlushScripts, KillClients, MuteProducer, StallProducer,
    };
    for kind in
        [CutProducer, DelayReceivers, DelayRedis, FlushScripts, KillClients, MuteProducer, StallProducer]
    {
        for moment in (15_000..30_000).step_by(50) {
            assert!(!excused(&[fault(kind, 20_000, 25_000)], success(moment)), "{kind:?} at {moment}");
        }
    }
}

#[test]
fn what_redis_holds_up_is_settled_later() {
    let killed = at(1, fault(FaultKind::KillWorker, 20_000, 21_000));
    for (held_up, since) in [
        (fault(FaultKind::KillRedis, 15_000, 20_000 - RECOVERY), 15_000 - SETTLEMENT),
        (at(1, fault(FaultKind::CutRedis, 16_900, 20_000 - RECOVERY)), 16_900 - SETTLEMENT),
        (at(1, fault(FaultKind::DelayRedis, 17_000, 20_000 - CATCHING_UP)), 17_000 - SETTLEMENT),
        (at(1, fault(FaultKind::PauseWorker, 18_500, 20_000 - CATCHING_UP)), 18_500 - SETTLEMENT),
    ] {
        let kind = held_up.kind;
        let faults = [held_up, killed.clone()];
        let by_the_kill = |moment| Excuses(&faults).of(success(moment)).any(|fault| fault == 1);
        assert!(by_the_kill(since) && !by_the_kill(since - 1), "{kind:?}");
    }
    // Of another worker, or long ago, or on the way of the producer.
    for other in [
        at(0, fault(FaultKind::CutRedis, 15_000, 17_000)),
        fault(FaultKind::KillRedis, 10_000, 15_999),
        fault(FaultKind::StallProducer, 15_000, 19_000),
    ] {
        let kind = other.kind;
        let faults = [other, killed.clone()];
        assert!(!Excuses(&faults).of(success(20_000 - SETTLEMENT - 1)).any(|fault| fault == 1), "{kind:?}");
    }
}

#[test]
fn what_was_not_settled_is_repeated_under_its_number() {
    let next = |faults: &[Fault]| {
        Excuses(faults).explain(success(20_000), &request(2, 24_000, 24_010)).next().is_some()
    };
    for kind in [FaultKind::KillWorker, FaultKind::CutRedis, FaultKind::TermWorker] {
        let undone = fault(kind, 20_100, 29_000);
        assert!(explained(std::slice::from_ref(&undone), success(20_000), 24_000), "{kind:?}");
        assert!(!next(std::slice::from_ref(&undone)), "{kind:?}");
        // The first repetition came to nobody.
        assert!(next(&[undone, fault(FaultKind::CutReceivers, 22_000, 23_000)]), "{kind:?}");
    }
    // Here its worker took it for failed.
    for kind in [FaultKind::StallReceivers, FaultKind::PauseWorker] {
        assert!(next(&[fault(kind, 20_100, 29_000)]), "{kind:?}");
    }
}

#[test]
fn of_two_attempts_at_once_the_second_has_the_number_of_the_first() {
    let cut = [fault(FaultKind::CutRedis, 20_000, 25_000)];
    let (first, again) = (request(1, 22_900, 24_900), request(1, 23_100, 23_110));
    let next = request(2, 23_500, 23_510);
    assert!(Excuses(&cut).overlap(&[first, again]));
    assert!(!Excuses(&cut).overlap(&[first, next]));
    // It has it all the same when the new owner's own attempt failed, or may have.
    assert!(Excuses(&cut).overlap(&[first, again, next]));
    let hidden = [cut[0].clone(), fault(FaultKind::CutReceivers, 23_200, 23_300)];
    assert!(Excuses(&hidden).overlap(&[first, next]));
    // Without a lost lease nothing helps.
    assert!(!Excuses(&hidden[1..]).overlap(&[first, again]));
}

#[test]
fn a_machine_that_stands_still_excuses_what_was_on_its_way_or_unsettled_then() {
    excuses(&[stall(20_000, 21_000)], 20_000 - SETTLEMENT, 21_000 + ON_ITS_WAY + 10);
    let stalled = [stall(20_000, 21_000)];
    assert!(explained(&stalled, success(20_500), 22_500));
    assert!(!explained(&stalled, success(19_000), 22_500));
}
