mod slow;

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

fn lane(most: usize) -> Lane {
    Lane::new(most, BreakerSettings::default())
}

/// Makes an attempt of 10 ms.
fn attempt(lane: &mut Lane, now: &mut Duration, sign: Sign) -> Change {
    assert_eq!(lane.may_begin(*now), Ok(()));
    let ticket = lane.begin(*now);
    *now += 10 * MS;
    lane.end(ticket, Some(sign), *now, 0.5)
}

/// A lane whose breaker has just opened.
fn down(now: &mut Duration) -> Lane {
    let mut lane = lane(64);
    for _ in 0..4 {
        assert_eq!(attempt(&mut lane, now, Sign::Failed), Change::None);
    }
    assert_eq!(attempt(&mut lane, now, Sign::Failed), Change::Down);
    lane
}

#[test]
fn five_failures_in_a_row_open_the_breaker_and_a_success_between_them_does_not() {
    let mut now = SECOND;
    let lane = down(&mut now);
    assert_eq!(lane.may_begin(now), Err(Hold::Open(now + 5 * SECOND)));
    assert_eq!(lane.open_until(now), Some(now + 5 * SECOND));

    let mut lane = super::tests::lane(64);
    for _ in 0..20 {
        for sign in [Sign::Failed, Sign::Failed, Sign::TimedOut, Sign::Failed, Sign::Alive] {
            assert_eq!(attempt(&mut lane, &mut now, sign), Change::None);
        }
    }
}

#[test]
fn one_attempt_that_hangs_for_half_a_minute_opens_it_too() {
    let mut lane = lane(64);
    let ticket = lane.begin(SECOND);
    assert_eq!(lane.end(ticket, Some(Sign::TimedOut), 31 * SECOND, 0.5), Change::Down);
}

#[test]
fn it_is_open_for_five_seconds_doubling_to_a_minute_and_asks_once_each_time() {
    let mut now = SECOND;
    let mut lane = down(&mut now);
    for seconds in [5, 10, 20, 40, 60, 60] {
        assert_eq!(lane.may_begin(now), Err(Hold::Open(now + seconds * SECOND)));
        now += seconds * SECOND;
        assert_eq!(lane.may_begin(now), Ok(()));
        let probe = lane.begin(now);
        assert_eq!(lane.may_begin(now), Err(Hold::Probing));
        assert_eq!(lane.end(probe, Some(Sign::Failed), now, 0.5), Change::None);
    }
    now += 60 * SECOND;
    assert_eq!(attempt(&mut lane, &mut now, Sign::Alive), Change::Recovered);
    assert_eq!(lane.limit(), 1, "it begins with one at a time");
    let mut again = 0;
    while lane.is_closed() {
        attempt(&mut lane, &mut now, Sign::Failed);
        again += 1;
    }
    assert_eq!(again, 5);
    assert_eq!(lane.open_until(now), Some(now + 5 * SECOND), "and the intervals begin anew");
}

#[test]
fn the_first_probe_is_made_with_the_oldest_and_then_a_later_one_and_the_oldest_take_turns() {
    let mut now = SECOND;
    let mut lane = down(&mut now);
    let mut probe = |lane: &mut Lane, sign| {
        now += 73 * SECOND;
        attempt(lane, &mut now, sign)
    };
    assert_eq!(lane.pick(), Pick::Oldest);
    for expected in [Pick::Late, Pick::Oldest, Pick::Late] {
        probe(&mut lane, Sign::Failed);
        assert_eq!(lane.pick(), expected);
    }
    assert_eq!(probe(&mut lane, Sign::Alive), Change::Recovered);
    assert_eq!(lane.pick(), Pick::Oldest, "in order from here on");
    for _ in 0..5 {
        probe(&mut lane, Sign::Failed);
    }
    assert!(!lane.is_closed());
    assert_eq!(lane.pick(), Pick::Late, "the oldest fail still");
    probe(&mut lane, Sign::Alive);
    probe(&mut lane, Sign::Alive);
    for _ in 0..5 {
        probe(&mut lane, Sign::Failed);
    }
    assert_eq!(lane.pick(), Pick::Oldest, "one that was no probe succeeded");
}

#[test]
fn a_probe_that_came_to_nothing_is_made_again() {
    let mut now = SECOND;
    let mut lane = down(&mut now);
    now += 6 * SECOND;
    let probe = lane.begin(now);
    lane.end(probe, None, now, 0.5);
    assert_eq!(lane.may_begin(now), Ok(()));
}

#[test]
fn a_late_success_of_an_attempt_from_before_closes_it() {
    let mut lane = lane(64);
    let slow = lane.begin(SECOND);
    let mut now = 2 * SECOND;
    for _ in 0..5 {
        attempt(&mut lane, &mut now, Sign::Failed);
    }
    assert!(!lane.is_closed());
    assert_eq!(lane.end(slow, Some(Sign::Alive), now, 0.5), Change::Recovered);
}

#[test]
fn intervals_vary_by_a_fifth() {
    for (random, ms) in [(0.0, 4000), (1.0, 6000)] {
        let (mut lane, mut now) = (lane(8), SECOND);
        for _ in 0..5 {
            let ticket = lane.begin(now);
            now += MS;
            lane.end(ticket, Some(Sign::Failed), now, random);
        }
        assert_eq!(lane.open_until(now), Some(now + ms * MS));
    }
}

#[test]
fn the_limit_grows_while_it_holds_successes_back_and_halves_once_for_timeouts_of_one_time() {
    let (mut lane, mut now) = (lane(32), SECOND);
    let round = |lane: &mut Lane, now: &mut Duration, sign| {
        let tickets: Vec<_> = (0..lane.limit()).map(|_| lane.begin(*now)).collect();
        *now += 10 * MS;
        tickets.into_iter().for_each(|ticket| {
            lane.end(ticket, Some(sign), *now, 0.5);
        });
    };
    assert_eq!(lane.limit(), 4);
    for _ in 0..100 {
        round(&mut lane, &mut now, Sign::Alive);
    }
    assert_eq!(lane.limit(), 32);
    let tickets: Vec<_> = (0..4).map(|_| lane.begin(now)).collect();
    now += SECOND;
    for ticket in tickets {
        lane.end(ticket, Some(Sign::TimedOut), now, 0.5);
    }
    assert_eq!(lane.limit(), 16);
    now += SECOND;
    attempt(&mut lane, &mut now, Sign::Alive);
    assert_eq!(lane.limit(), 16, "one at a time is not held back by it");
}

#[test]
fn trust_is_earned_by_quick_answers_and_lost_by_failures_hanging_and_time() {
    let (mut lane, mut now) = (lane(32), SECOND);
    assert_eq!(lane.trust(now), Trust::New);
    let first = lane.begin(now);
    assert_eq!(lane.trust(now + 500 * MS), Trust::New);
    assert_eq!(lane.trust(now + 2 * SECOND), Trust::None, "its first attempt hangs");
    lane.end(first, None, now, 0.5);
    assert_eq!(lane.trust(now), Trust::New, "it came to nothing");
    attempt(&mut lane, &mut now, Sign::Alive);
    assert_eq!(lane.trust(now), Trust::Live);
    assert_eq!(lane.trust(now + SECOND), Trust::Proven);
    assert_eq!(lane.trust(now + 3 * SECOND), Trust::Good);
    let hanging = lane.begin(now);
    assert_eq!(lane.trust(now + 500 * MS), Trust::Proven);
    assert_eq!(lane.trust(now + 2 * SECOND), Trust::None);
    lane.end(hanging, Some(Sign::Alive), now + 100 * SECOND, 0.5);
    assert_eq!(lane.trust(now + 100 * SECOND), Trust::None, "it is slow");
    for _ in 0..30 {
        attempt(&mut lane, &mut now, Sign::Alive);
    }
    assert_eq!(lane.trust(now), Trust::Live);
    attempt(&mut lane, &mut now, Sign::Failed);
    assert_eq!(lane.trust(now), Trust::None);
}

proptest! {
    #[test]
    fn a_new_lane_has_a_first_attempt_below_three_quarters_and_those_not_trusted_no_more_than_that_together(
        slots in 1usize..300,
        running in 0usize..300,
        untrusted in 0usize..300,
        mine in 0usize..150,
    ) {
        let (running, half, most) = (running.min(slots), slots.div_ceil(2), (slots * 3 / 4).max(slots.div_ceil(2)));
        let (untrusted, mine) = (untrusted.min(running), mine.min(running));
        let may = |trust| fits(trust, mine, running, untrusted, slots);
        if mine == 0 && running < slots * 3 / 4 {
            prop_assert!(may(Trust::New) && may(Trust::Good) && may(Trust::Proven) && may(Trust::Live));
        }
        prop_assert!(!may(Trust::New) || untrusted < most);
        prop_assert!(!may(Trust::None) || untrusted < half);
        if mine > 0 {
            prop_assert_eq!(may(Trust::New), may(Trust::None), "one first attempt");
        }
        if running < slots && mine == 0 {
            prop_assert!(may(Trust::Live), "the last slots are for those that answer now");
        }
    }
}

#[test]
fn the_wait_is_estimated_from_what_is_ahead_the_duration_and_the_limit() {
    let (mut lane, mut now) = (lane(32), SECOND);
    assert_eq!(lane.wait(1000, now), Duration::ZERO, "nothing is known");
    for _ in 0..50 {
        attempt(&mut lane, &mut now, Sign::Alive);
    }
    assert_eq!(lane.wait(0, now), Duration::ZERO);
    let near =
        |wait: Duration, ms: u32| assert!(wait > MS * ms * 9 / 10 && wait < MS * ms * 11 / 10, "{wait:?}");
    near(lane.wait(32 * 10, now), 100);
    let lane = down(&mut now);
    assert_eq!(lane.wait(0, now), 5 * SECOND);
}

#[test]
fn a_rate_limit_is_kept_to_the_attempt() {
    for per_second in [0.5, 3.0, 50.0, 1000.0] {
        let mut lane = super::tests::lane(64);
        lane.set_rate(Some(per_second), SECOND);
        let (mut now, mut begun) = (SECOND, 0);
        while now < 101 * SECOND {
            match lane.may_begin(now) {
                Ok(()) => {
                    let ticket = lane.begin(now);
                    lane.end(ticket, Some(Sign::Alive), now, 0.5);
                    begun += 1;
                }
                Err(Hold::Rate(at)) => {
                    assert!(at > now);
                    now = at;
                }
                Err(other) => panic!("{other:?}"),
            }
        }
        let expected = 100.0 * per_second;
        assert!((f64::from(begun) - expected).abs() <= expected * 0.001 + 2.0, "{begun} of {expected}");
    }
}

#[derive(Clone, Debug)]
enum Move {
    Pass(u64),
    Begin,
    End(usize, Option<Sign>, f64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let sign = prop_oneof![
        Just(Some(Sign::Alive)),
        Just(Some(Sign::Failed)),
        Just(Some(Sign::TimedOut)),
        Just(None)
    ];
    let one = prop_oneof![
        2 => (0u64..20_000).prop_map(Move::Pass),
        4 => Just(Move::Begin),
        4 => (any::<prop::sample::Index>(), sign, 0.0..1.0).prop_map(|(i, sign, r)| Move::End(i.index(64), sign, r)),
    ];
    prop::collection::vec(one, 0..300)
}

proptest! {
    #[test]
    fn whatever_happens_limits_hold_probes_are_alone_and_a_receiver_that_is_back_is_found(
        moves in moves(),
        most in 1usize..20,
    ) {
        let mut lane = lane(most);
        let (mut now, mut open, mut is_known) = (SECOND, Vec::new(), false);
        for step in moves {
            match step {
                Move::Pass(ms) => now += Duration::from_millis(ms),
                Move::Begin => if lane.may_begin(now).is_ok() {
                    let was_closed = lane.is_closed();
                    if was_closed {
                        prop_assert!(open.len() < lane.limit() && lane.limit() <= most);
                    }
                    open.push(lane.begin(now));
                    if !was_closed {
                        prop_assert_eq!(lane.may_begin(now + 1000 * SECOND), Err(Hold::Probing));
                    }
                },
                Move::End(which, sign, random) => if !open.is_empty() {
                    let ticket = open.swap_remove(which % open.len());
                    let is_probe = ticket.is_probe && lane.may_begin(now) == Err(Hold::Probing);
                    let before = lane.pick();
                    lane.end(ticket, sign, now, random);
                    is_known |= sign.is_some();
                    let failed = matches!(sign, Some(Sign::Failed | Sign::TimedOut));
                    if is_probe && failed {
                        prop_assert_ne!(lane.pick(), before, "the next probe is made with another one");
                    }
                },
            }
            if lane.is_closed() {
                prop_assert_eq!(lane.pick(), Pick::Oldest);
            }
            prop_assert_eq!(lane.in_flight(), open.len(), "no slot leaks");
            let trust = lane.trust(now);
            prop_assert!(trust != Trust::New || !is_known);
            prop_assert!(is_known || matches!(trust, Trust::New | Trust::None));
            prop_assert!((1..=most).contains(&lane.limit()));
        }
        for ticket in open {
            lane.end(ticket, Some(Sign::Failed), now, 0.5);
        }
        // However it got here: within the longest interval an attempt may begin, and successes bring the limit back.
        now += 73 * SECOND;
        for _ in 0..400 {
            prop_assert_eq!(lane.may_begin(now), Ok(()));
            let mut tickets = Vec::new();
            while lane.may_begin(now).is_ok() {
                tickets.push(lane.begin(now));
            }
            now += 10 * MS;
            for ticket in tickets {
                lane.end(ticket, Some(Sign::Alive), now, 0.5);
            }
        }
        prop_assert!(lane.is_closed());
        prop_assert_eq!(lane.limit(), most);
    }
}

#[test]
fn nothing_is_asked_back_that_a_rate_limit_would_keep_waiting() {
    let mut lane = lane(64);
    lane.set_rate(Some(0.05), SECOND);
    let mut now = SECOND;
    attempt(&mut lane, &mut now, Sign::Alive);
    assert_eq!(lane.appetite(now), 0, "the next turn is in twenty seconds");
    assert!(lane.appetite(now + 20 * SECOND) > 0);
    let ticket = lane.begin(now + 20 * SECOND);
    lane.end(ticket, Some(Sign::TimedOut), now + 50 * SECOND, 0.5);
    assert!(!lane.is_closed());
    let ticket = lane.begin(now + 60 * SECOND);
    lane.end(ticket, Some(Sign::Failed), now + 60 * SECOND, 0.5);
    assert_eq!(lane.appetite(now + 73 * SECOND), 0, "the probe is due, and its turn is not");
    assert_eq!(lane.appetite(now + 81 * SECOND), 1);
}

#[test]
fn a_receiver_that_somebody_mended_is_tried_at_once_and_by_one_attempt() {
    let mut now = SECOND;
    let mut lane = down(&mut now);
    assert!(matches!(lane.may_begin(now), Err(Hold::Open(_))));
    lane.probe_now(now);
    assert_eq!((lane.may_begin(now), lane.is_closed()), (Ok(()), false));
    let ticket = lane.begin(now);
    lane.probe_now(now);
    assert_eq!(lane.may_begin(now), Err(Hold::Probing), "it is under way");
    assert_eq!(lane.end(ticket, Some(Sign::Failed), now, 0.5), Change::None);
    assert!(lane.open_until(now).is_some(), "it is down still");
}
