mod histories;

use super::sweep::FORGET;
use super::*;
use crate::decide::lane::Pick;

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);
const BOUNDS: Bounds = Bounds { slots: 16, deliveries: 400, bytes: 100_000 };

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    number: usize,
    bytes: usize,
    was_parked: bool,
}

impl Load for Item {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn was_parked(&self) -> bool {
        self.was_parked
    }
}

fn to(n: usize) -> Destination {
    Destination::Instance(format!("i{n}").into())
}

fn item(number: usize) -> Item {
    Item { number, bytes: 100, was_parked: false }
}

fn lanes() -> Lanes<Item> {
    Lanes::new(BOUNDS, BreakerSettings::default())
}

fn hunger(n: usize, count: usize, pick: Pick) -> Option<Hunger> {
    Some(Hunger { to: to(n), count, pick })
}

impl Lanes<Item> {
    fn begin_all(&mut self, now: Duration) -> Vec<(usize, Ticket)> {
        std::iter::from_fn(|| self.next(now)).map(|(item, ticket)| (item.number, ticket)).collect()
    }

    /// Lets `n` answer a few deliveries, so that it is trusted.
    fn prove(&mut self, n: usize, now: &mut Duration) {
        for number in 0..20 {
            self.offer(&to(n), item(number), None, *now).unwrap();
            let (_, ticket) = self.next(*now).unwrap();
            *now += 5 * MS;
            self.end(&to(n), ticket, Some(Sign::Alive), *now, 0.5);
        }
    }
}

#[test]
fn turns_go_round_however_many_wait_for_one() {
    let (mut lanes, mut now) = (lanes(), SECOND);
    for n in 0..3 {
        lanes.prove(n, &mut now);
    }
    for number in 0..100 {
        lanes.offer(&to(0), item(number), None, now).unwrap();
    }
    for n in 1..3 {
        lanes.offer(&to(n), item(1000 * n), None, now).unwrap();
    }
    let begun: Vec<usize> = lanes.begin_all(now).into_iter().map(|(number, _)| number).collect();
    assert_eq!(begun[..4], [0, 1000, 2000, 1]);
}

#[test]
fn dead_receivers_leave_slots_for_the_good_ones_at_every_moment() {
    let (mut lanes, mut now) = (lanes(), SECOND);
    lanes.prove(0, &mut now);
    let mut hanging = Vec::new();
    for round in 0..50 {
        for n in 1..40 {
            let _ = lanes.offer(&to(n), item(round * 100 + n), None, now);
        }
        hanging.extend(lanes.begin_all(now));
        assert!(hanging.len() <= 12, "{} of 16 slots hang", hanging.len());
        lanes.offer(&to(0), item(7), None, now).unwrap();
        let (begun, ticket) = lanes.next(now).expect("a slot is free");
        assert_eq!(begun.number, 7);
        now += 100 * MS;
        lanes.end(&to(0), ticket, Some(Sign::Alive), now, 0.5);
        lanes.sweep(now);
    }
}

#[test]
fn a_crowd_of_new_receivers_that_hang_does_not_stop_the_reader() {
    let (mut lanes, mut now) = (lanes(), SECOND);
    for round in 0..20 {
        for n in 0..100 {
            let _ = lanes.offer(&to(n), item(round), None, now);
        }
        lanes.begin_all(now);
        assert!(lanes.quick <= 12, "{} are said to begin in a moment", lanes.quick);
        now += 200 * MS;
        lanes.sweep(now);
        assert!(lanes.waiting < 400, "{} wait", lanes.waiting);
    }
    assert_eq!(lanes.running, 12);
    assert_eq!(lanes.next_hungry(now), None, "nothing is fetched for which there is no slot");
}

#[test]
fn a_new_receiver_has_a_first_attempt_at_once_beside_any_number_that_hang() {
    let (mut lanes, mut now) = (lanes(), SECOND);
    // Each is known to hang, and more wait for them than have slots.
    for n in 1..=1000 {
        lanes.offer(&to(n), item(n), None, now).unwrap();
        let (_, ticket) = lanes.next(now).unwrap();
        now += 2 * SECOND;
        lanes.end(&to(n), ticket, Some(Sign::TimedOut), now, 0.5);
    }
    for round in 0..10 {
        for n in 1..=1000 {
            let _ = lanes.offer(&to(n), item(n), None, now);
        }
        let hanging = lanes.begin_all(now).len();
        assert_eq!(hanging, if round == 0 { 8 } else { 0 }, "they have half, and keep it");
        for n in 0..10 {
            let new = to(2000 + round * 10 + n);
            lanes.offer(&new, item(n), None, now).unwrap();
            let (begun, ticket) = lanes.next(now).expect("it begins at once");
            assert_eq!(begun.number, n);
            now += 20 * MS;
            lanes.end(&new, ticket, Some(Sign::Alive), now, 0.5);
        }
        now += 300 * MS;
        lanes.sweep(now);
    }
}

#[test]
fn a_parked_delivery_to_a_receiver_that_is_not_known_is_fetched_beside_those_that_hang() {
    let (mut lanes, mut now) = (lanes(), SECOND);
    for n in 1..=20 {
        lanes.offer(&to(n), item(n), None, now).unwrap();
        let (_, ticket) = lanes.next(now).unwrap();
        now += 2 * SECOND;
        lanes.end(&to(n), ticket, Some(Sign::TimedOut), now, 0.5);
    }
    for n in 1..=20 {
        let _ = lanes.offer(&to(n), item(n), None, now);
    }
    assert_eq!(lanes.begin_all(now).len(), 8);
    for n in [1, 50] {
        lanes.set_due(&to(n), now);
    }
    assert_eq!(lanes.next_hungry(now), hunger(1, 0, Pick::Oldest));
    assert_eq!(lanes.next_hungry(now), hunger(50, 1, Pick::Oldest));
}

#[test]
fn what_there_is_no_room_for_is_not_looked_at_each_time_it_is_due() {
    let (mut lanes, mut now) = (lanes(), SECOND);
    for number in 0..2 {
        let _ = lanes.offer(&to(0), item(number), Some(0.01), now);
    }
    let (_, ticket) = lanes.next(now).unwrap();
    lanes.end(&to(0), ticket, Some(Sign::Alive), now, 0.5);
    let mut looks = 0;
    for _ in 0..45 {
        lanes.set_due(&to(0), now);
        if lanes.next_hungry(now) == hunger(0, 0, Pick::Oldest) {
            looks += 1;
            lanes.fetched(&to(0), Some(1), now);
        }
        assert_eq!(lanes.next_hungry(now), None);
        now += 2 * SECOND;
    }
    assert_eq!(looks, 3, "in a minute and a half, in which some may have expired");
    now += 20 * SECOND;
    lanes.set_due(&to(0), now);
    assert_eq!(lanes.next_hungry(now), hunger(0, 1, Pick::Oldest), "its turn is at hand");
    lanes.fetched(&to(0), None, now);
    lanes.set_due(&to(1), now);
    assert!(lanes.next_hungry(now).is_some(), "nothing is known of this one");
}

#[test]
fn a_hundred_thousand_parked_destinations_are_not_swept_and_each_comes_back_when_it_is_due() {
    let (mut lanes, mut now) = (lanes(), SECOND);
    for n in 0..100_000 {
        // Each has a turn in a minute.
        let taken = (0..2).filter(|_| lanes.offer(&to(n), item(n), Some(1.0 / 60.0), now).is_ok()).count();
        assert_eq!(taken, 1);
        let (_, ticket) = lanes.next(now).unwrap();
        lanes.end(&to(n), ticket, Some(Sign::Alive), now, 0.5);
    }
    lanes.sweep(now);
    assert_eq!(lanes.attended.len(), 0, "nothing is in flight, and nothing waits here");
    assert_eq!(lanes.next_hungry(now), None);
    now += 61 * SECOND;
    assert!(lanes.next(now).is_none());
    for _ in 0..100_000 {
        let Hunger { to, .. } = lanes.next_hungry(now).expect("each has its turn now");
        lanes.fetched(&to, Some(0), now);
    }
    lanes.sweep(now + 2 * FORGET);
    assert_eq!(lanes.lanes.len(), 0);
}

#[test]
fn a_receiver_that_begins_to_hang_loses_its_trust_before_it_has_timed_out() {
    let (mut lanes, mut now) = (lanes(), SECOND);
    lanes.prove(0, &mut now);
    for number in 0..30 {
        let _ = lanes.offer(&to(0), item(number), None, now);
    }
    assert!(lanes.begin_all(now).len() <= 8, "no lane has more than is free");
    assert_eq!(lanes.untrusted, 0);
    now += 2 * SECOND;
    let parked = lanes.sweep(now);
    assert_eq!(parked.len(), 30 - lanes.running, "what waits behind it is parked");
    assert_eq!(lanes.untrusted, lanes.running);
}

#[test]
fn what_waits_for_a_receiver_that_is_down_is_parked_and_comes_back_when_it_is_up() {
    let (mut lanes, mut now) = (lanes(), SECOND);
    for number in 0..20 {
        lanes.offer(&to(0), item(number), None, now).unwrap();
    }
    let (mut parked, mut changes) = (Vec::new(), Vec::new());
    while let Some((_, ticket)) = lanes.next(now) {
        now += MS;
        let (change, left) = lanes.end(&to(0), ticket, Some(Sign::Failed), now, 0.5);
        changes.push(change);
        parked.extend(left);
    }
    assert_eq!(changes, [Change::None, Change::None, Change::None, Change::None, Change::Down]);
    assert_eq!(parked.len(), 15);
    assert!(parked.iter().all(|parking| parking.reason == ParkReason::Down && parking.wait == 5 * SECOND));
    let refused = lanes.offer(&to(0), item(20), None, now).unwrap_err();
    assert_eq!((refused.reason, refused.item.number), (ParkReason::Down, 20));
    assert_eq!(lanes.next_hungry(now), None);

    now += 5 * SECOND;
    lanes.sweep(now);
    assert_eq!(lanes.next_hungry(now), hunger(0, 1, Pick::Oldest), "one is fetched for the probe");
    assert_eq!(lanes.next_hungry(now), None);
    lanes.offer(&to(0), Item { was_parked: true, ..item(5) }, None, now).unwrap();
    lanes.fetched(&to(0), Some(1), now);
    let (_, ticket) = lanes.next(now).unwrap();
    assert_eq!(lanes.next_hungry(now), None, "and no other while it is under way");
    assert_eq!(lanes.end(&to(0), ticket, Some(Sign::Alive), now, 0.5).0, Change::Recovered);
    assert_eq!(lanes.next_hungry(now), hunger(0, 2, Pick::Oldest));
    let behind = lanes.offer(&to(0), item(21), None, now).unwrap_err();
    assert_eq!(behind.reason, ParkReason::Behind);
    lanes.fetched(&to(0), Some(0), now);
    assert_eq!(lanes.next_hungry(now), hunger(0, 2, Pick::Oldest), "one was parked behind them meanwhile");
    lanes.fetched(&to(0), Some(0), now);
    lanes.offer(&to(0), item(22), None, now).unwrap();
    assert_eq!(lanes.next_hungry(now), None);
}

#[test]
fn an_outage_ends_with_the_first_success_at_another_url() {
    let (mut lanes, now) = (lanes(), SECOND);
    lanes.is_at(&to(0), &"http://old".into(), now);
    let attempt = |lanes: &mut Lanes<Item>, sign| {
        lanes.offer(&to(0), Item { was_parked: true, ..item(0) }, None, now).unwrap();
        let (_, ticket) = lanes.next(now).unwrap();
        lanes.end(&to(0), ticket, Some(sign), now, 0.5).0
    };
    for n in 1..=5 {
        let change = attempt(&mut lanes, Sign::Failed);
        assert_eq!(change, if n == 5 { Change::Down } else { Change::None });
    }
    lanes.is_at(&to(0), &"http://new".into(), now);
    assert_eq!(attempt(&mut lanes, Sign::Failed), Change::None);
    lanes.is_at(&to(0), &"http://newer".into(), now);
    assert_eq!(attempt(&mut lanes, Sign::Alive), Change::Recovered);
    assert_eq!(attempt(&mut lanes, Sign::Alive), Change::None, "told once");
    lanes.is_at(&to(0), &"http://newest".into(), now);
    assert_eq!(attempt(&mut lanes, Sign::Alive), Change::None, "it was not down");
}

#[test]
fn a_probe_after_one_that_failed_is_asked_for_from_elsewhere() {
    let (mut lanes, mut now) = (lanes(), SECOND);
    for number in 0..20 {
        lanes.offer(&to(0), item(number), None, now).unwrap();
    }
    while let Some((_, ticket)) = lanes.next(now) {
        lanes.end(&to(0), ticket, Some(Sign::Failed), now, 0.5);
    }
    for (seconds, pick) in [(5, Pick::Oldest), (10, Pick::Late), (20, Pick::Oldest)] {
        now += seconds * SECOND;
        assert!(lanes.next(now).is_none());
        assert_eq!(lanes.next_hungry(now), hunger(0, 1, pick));
        lanes.offer(&to(0), Item { was_parked: true, ..item(5) }, None, now).unwrap();
        lanes.fetched(&to(0), Some(1), now);
        let (_, ticket) = lanes.next(now).unwrap();
        lanes.end(&to(0), ticket, Some(Sign::Failed), now, 0.5);
    }
}

#[test]
fn more_than_a_slow_receiver_takes_in_a_second_is_parked_and_a_quick_one_never_is() {
    let (mut lanes, mut now) = (lanes(), SECOND);
    lanes.prove(0, &mut now);
    for number in 0..10 {
        lanes.offer(&to(1), item(number), None, now).unwrap();
        let (_, ticket) = lanes.next(now).unwrap();
        now += 400 * MS;
        lanes.end(&to(1), ticket, Some(Sign::Alive), now, 0.5);
    }
    lanes.prove(0, &mut now);
    let refused = (0..100).filter(|number| lanes.offer(&to(1), item(*number), None, now).is_err()).count();
    assert!((50..95).contains(&refused), "{refused} of 100");
    let refused = (0..100).filter(|number| lanes.offer(&to(0), item(*number), None, now).is_err()).count();
    assert_eq!(refused, 0);
}

#[test]
fn large_payloads_leave_room_for_others() {
    let (mut lanes, mut now) = (lanes(), SECOND);
    for n in 0..2 {
        lanes.prove(n, &mut now);
    }
    for _ in 0..10 {
        lanes.offer(&to(1), item(1), None, now).unwrap();
        let (_, ticket) = lanes.next(now).unwrap();
        now += 300 * MS;
        lanes.end(&to(1), ticket, Some(Sign::Alive), now, 0.5);
    }
    let mut held = 0;
    for number in 0..100 {
        let large = Item { bytes: 10_000, ..item(number) };
        held += usize::from(lanes.offer(&to(1), large, None, now).is_ok()) * large.bytes;
    }
    assert!((20_000..=60_000).contains(&held), "{held} of {} bytes", BOUNDS.bytes);
}

#[test]
fn a_rate_limit_is_kept_and_its_excess_parked() {
    let (mut lanes, mut now) = (lanes(), SECOND);
    let mut parked = 0;
    for number in 0..100 {
        match lanes.offer(&to(0), item(number), Some(10.0), now) {
            Ok(()) => {}
            Err(parking) => {
                assert!(matches!(parking.reason, ParkReason::RateLimit | ParkReason::Behind), "{parking:?}");
                parked += 1;
            }
        }
    }
    assert!((85..=95).contains(&parked), "{parked}");
    let mut begun = 0;
    let end = now + SECOND;
    while now < end {
        while let Some((_, ticket)) = lanes.next(now) {
            begun += 1;
            lanes.end(&to(0), ticket, Some(Sign::Alive), now, 0.5);
        }
        now += MS;
    }
    assert!((9..=11).contains(&begun), "{begun}");
}
