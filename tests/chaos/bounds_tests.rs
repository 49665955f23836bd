//! The bounds of what receivers get, and the spells in which they are down.

use super::bounds::{in_a_second, while_down, while_known_to_be_down};
use super::check::{Wrong, check};
use super::check_tests::{fault, good};
use super::history::{Fault, FaultKind, History, Ms, Request};
use super::spells::{Mood, Spell};
use super::traffic::{Character, Place, Traffic};

fn spell(history: &History) -> Spell {
    let fitful = Place::of(Character::Fitful);
    let mut spells = history.traffic.spells(history.healed);
    spells.find(|spell| spell.place == fitful && spell.from > 16_000).expect("it is down now and then")
}

/// So many requests to a place, one a millisecond.
fn rush(history: &mut History, place: Place, from: Ms, count: u64) {
    let first = history.requests[0];
    let request = |at: u64| {
        let from = from + at as Ms;
        Request { place, from, to: from + 10, ..first }
    };
    history.requests.extend((0..count).map(request));
}

fn too_many(history: &History) -> bool {
    check(history).0.iter().any(|violation| matches!(violation.wrong, Wrong::TooManyWhileDown(_)))
}

fn over_the_rate(history: &History) -> bool {
    check(history).0.iter().any(|violation| matches!(violation.wrong, Wrong::OverTheRate(_)))
}

#[test]
fn a_receiver_that_is_down_gets_what_finds_that_out_and_probes() {
    let spell = spell(&good());
    let allowed = |history: &History| {
        let load = while_down(history).find(|load| load.seen > 0).expect("something came");
        load.allowed
    };
    let mut history = good();
    rush(&mut history, spell.place, spell.from, 1);
    let most = allowed(&history);
    assert!((3 * 40..3 * 60).contains(&most), "{most}");
    rush(&mut history, spell.place, spell.from + 500, most - 1);
    assert!(!too_many(&history));
    rush(&mut history, spell.place, spell.from + 1000, 1);
    assert!(too_many(&history));
    // A worker that began meanwhile has to find out, too; one that was paused knows, and one that began before.
    let began = |kind, at| Fault { to: at, ..fault(kind, spell.from - 3000, at) };
    for kind in [FaultKind::KillWorker, FaultKind::TermWorker, FaultKind::KillAllWorkers] {
        history.faults = vec![began(kind, spell.from + 700)];
        assert!(!too_many(&history), "{kind:?}");
        history.faults = vec![began(kind, spell.from - 2000)];
        assert!(too_many(&history), "{kind:?}");
    }
    history.faults = vec![began(FaultKind::PauseWorker, spell.from + 700)];
    assert!(too_many(&history));
}

#[test]
fn once_that_is_known_it_gets_probes_alone() {
    let mut history = good();
    let spell = spell(&history);
    rush(&mut history, spell.place, spell.from + 3000, 1);
    let load = while_known_to_be_down(&history).find(|load| load.seen > 0).expect("something came");
    assert!((3 * 7..3 * 12).contains(&load.allowed), "{load}");
    rush(&mut history, spell.place, spell.from + 3100, load.allowed - 1);
    assert!(!too_many(&history));
    rush(&mut history, spell.place, spell.from + 3200, 1);
    assert!(too_many(&history));
    // A fault may have kept a worker from finding out, and not one that was over before.
    for kind in [FaultKind::PauseWorker, FaultKind::CutReceivers, FaultKind::KillWorker] {
        history.faults = vec![fault(kind, spell.from, spell.from + 500)];
        assert!(!too_many(&history), "{kind:?}");
        history.faults = vec![fault(kind, spell.from - 5000, spell.from - 1001)];
        assert!(too_many(&history), "{kind:?}");
    }
    history.faults = vec![fault(FaultKind::CutProducer, spell.from, spell.to)];
    assert!(too_many(&history));
}

#[test]
fn one_that_is_up_gets_any_number() {
    let mut history = good();
    let spell = spell(&history);
    rush(&mut history, spell.place, spell.to, 1000);
    assert!(!too_many(&history));
    // Once all is healed nobody is down.
    rush(&mut history, spell.place, spell.from + 500, 500);
    assert!(too_many(&history));
    history.healed = spell.from + 500;
    assert!(!too_many(&history));
}

#[test]
fn a_rate_limit_holds_for_each_worker_and_second() {
    let place = Place::of(Character::Metered);
    let mut history = good();
    rush(&mut history, place, 20_000, 1);
    let most = in_a_second(&history).allowed;
    let rate = history.traffic.rate_limit();
    assert!(most as f64 >= 3.0 * rate && most as f64 <= 3.0 * (rate * 1.1 + 2.0), "{most} for {rate}");
    rush(&mut history, place, 20_500, most - 1);
    assert!(!over_the_rate(&history));
    rush(&mut history, place, 20_999, 1);
    assert!(over_the_rate(&history));
    // Together with what a worker may have held back.
    history.faults = vec![fault(FaultKind::PauseWorker, 15_000, 20_000)];
    assert!(!over_the_rate(&history));
    history.faults = vec![fault(FaultKind::KillRedis, 15_000, 20_000)];
    assert!(over_the_rate(&history));
    history.faults = vec![fault(FaultKind::PauseWorker, 10_000, 15_000)];
    assert!(over_the_rate(&history));
    // In the next second as many again.
    let mut history = good();
    rush(&mut history, place, 20_000, most);
    rush(&mut history, place, 21_000, most);
    assert!(!over_the_rate(&history));
}

#[test]
fn receivers_are_down_now_and_then_and_webhooks_go_while_they_are() {
    for seed in 0..50 {
        let traffic = Traffic { seed, rate: 100 };
        let (leaver, quitter) = (Place::of(Character::Leaver), Place::of(Character::Quitter));
        for cycle in 0..5 {
            let [removed, set] = traffic.removal(leaver, cycle).expect("it leaves");
            assert!(removed < set);
            assert!(matches!(traffic.mood(leaver, removed), Mood::Fails | Mood::Hangs));
            let returns = traffic.return_of(quitter, cycle).expect("it quits");
            assert_eq!(traffic.mood(quitter, returns - 1), Mood::Gone);
            assert_eq!(traffic.mood(quitter, returns), Mood::Up);
            assert_eq!(traffic.mood(quitter, returns - 2600), Mood::Fails);
        }
        for spell in traffic.spells(80_000) {
            assert_eq!(traffic.mood(spell.place, spell.from), spell.mood);
            assert_eq!(traffic.mood(spell.place, spell.from - 1), Mood::Up);
            assert_ne!(traffic.mood(spell.place, spell.to), spell.mood);
        }
        let up = |place| (0..80_000).step_by(100).filter(|at| traffic.mood(place, *at) == Mood::Up).count();
        assert!((400..640).contains(&up(Place::of(Character::Fitful))));
        assert_eq!(up(Place::of(Character::Metered)), 800);
        assert_eq!(up(Place::of(Character::Doomed)), 0);
    }
}

#[test]
fn on_average_nobody_gets_more_than_it_takes() {
    let traffic = Traffic { seed: 3, rate: 450 };
    let events = 8 * 1024;
    let share = |character| {
        let place = Place::of(character);
        let got = (0..events).filter(|event| traffic.places(*event).any(|to| to == place)).count();
        got as f64 / f64::from(events)
    };
    assert!(share(Character::Metered) < traffic.rate_limit() / 450.0);
    assert!(share(Character::Slow) < 1.0 / 6.0);
    assert!(share(Character::Doomed) > 0.004);
}
