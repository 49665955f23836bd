//! Random histories of many lanes.

use proptest::prelude::*;

use super::*;
use crate::decide::lane::Trust;

/// What Redis would hold.
#[derive(Debug, Default)]
struct Parks(std::collections::HashMap<Destination, VecDeque<Item>>);

impl Parks {
    fn len(&self) -> usize {
        self.0.values().map(VecDeque::len).sum()
    }

    fn put(&mut self, parkings: impl IntoIterator<Item = Parking<Item>>) {
        for Parking { item, .. } in parkings {
            self.0.entry(to(item.number)).or_default().push_back(item);
        }
    }

    /// Fetches what is asked for.
    fn fetch(&mut self, lanes: &mut Lanes<Item>, now: Duration) {
        for _ in 0..8 {
            let Some(Hunger { to, count, pick }) = lanes.next_hungry(now) else { return };
            for _ in 0..count {
                let park = self.0.entry(to.clone()).or_default();
                let taken = if pick == Pick::Late { park.pop_back() } else { park.pop_front() };
                let Some(item) = taken else { break };
                let rate = (to == self::to(3)).then_some(5.0);
                let came = lanes.offer(&to, Item { was_parked: true, ..item }, rate, now);
                self.put(came.err());
            }
            let left = self.0.get(&to).map_or(0, VecDeque::len);
            lanes.fetched(&to, Some(left as u64), now);
        }
    }
}

#[derive(Clone, Debug)]
enum Move {
    Pass(u64),
    Offer(usize, usize),
    Begin,
    End(usize, Option<Sign>, f64),
    Sweep,
    Fetch,
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let sign = prop_oneof![
        4 => Just(Some(Sign::Alive)),
        3 => Just(Some(Sign::Failed)),
        1 => Just(Some(Sign::TimedOut)),
        1 => Just(None),
    ];
    let one = prop_oneof![
        2 => (0u64..3000).prop_map(Move::Pass),
        6 => (0usize..30, 1usize..20_000).prop_map(|(n, bytes)| Move::Offer(n, bytes)),
        6 => Just(Move::Begin),
        5 => (any::<prop::sample::Index>(), sign, 0.0..1.0).prop_map(|(i, s, r)| Move::End(i.index(64), s, r)),
        1 => Just(Move::Sweep),
        2 => Just(Move::Fetch),
    ];
    prop::collection::vec(one, 0..400)
}

proptest! {
    #[test]
    fn whatever_happens_bounds_hold_nothing_vanishes_and_everybody_has_a_turn(
        moves in moves(),
        slots in 1usize..20,
    ) {
        let mut lanes: Lanes<Item> = Lanes::new(Bounds { slots, ..BOUNDS }, BreakerSettings::default());
        let (mut now, mut running, mut number) = (SECOND, Vec::new(), 0);
        let (mut begun, mut parks) = (0, Parks::default());
        for step in moves {
            match step {
                Move::Pass(ms) => now += Duration::from_millis(ms),
                Move::Offer(n, bytes) => {
                    number += 1;
                    let rate = (n == 3).then_some(5.0);
                    let item = Item { number: n, bytes, was_parked: number % 3 == 0 };
                    parks.put(lanes.offer(&to(n), item, rate, now).err());
                }
                Move::Begin => if let Some((item, ticket)) = lanes.next(now) {
                    begun += 1;
                    running.push((item.number, ticket));
                },
                Move::End(which, sign, random) => if !running.is_empty() {
                    let (n, ticket) = running.swap_remove(which % running.len());
                    parks.put(lanes.end(&to(n), ticket, sign, now, random).1);
                },
                Move::Sweep => {
                    parks.put(lanes.sweep(now));
                    let busy = lanes.lanes.values().filter(|e| e.lane.in_flight() + e.waiting.len() > 0).count();
                    prop_assert_eq!(lanes.attended.len(), busy, "what is parked is not swept");
                    while let Some((item, ticket)) = lanes.next(now) {
                        begun += 1;
                        running.push((item.number, ticket));
                    }
                    let is_new = |entry: &Entry<Item>| entry.lane.trust(now) == Trust::New;
                    let can_begin = |entry: &Entry<Item>| entry.lane.may_begin(now).is_ok() && entry.lane.in_flight() == 0;
                    let waits = |entry: &&Entry<Item>| is_new(entry) && can_begin(entry) && !entry.waiting.is_empty();
                    prop_assert!(
                        lanes.running >= slots * 3 / 4 || lanes.lanes.values().map(|entry| &**entry).find(waits).is_none(),
                        "a new receiver waits beside free slots"
                    );
                }
                Move::Fetch => { parks.fetch(&mut lanes, now); }
            }
            prop_assert_eq!(lanes.running, running.len());
            prop_assert!(running.len() <= slots);
            prop_assert_eq!(begun + parks.len() + lanes.waiting, number, "nothing vanishes");
            let down = lanes.lanes.values().filter(|entry| !entry.lane.is_closed()).count();
            prop_assert_eq!(lanes.count(), (lanes.lanes.len(), down));
            let (mut waiting, mut bytes) = (0, 0);
            for entry in lanes.lanes.values() {
                prop_assert!(entry.lane.in_flight() <= slots.div_ceil(2));
                waiting += entry.waiting.len();
                bytes += entry.waiting.iter().map(|(_, item)| item.bytes).sum::<usize>();
            }
            prop_assert_eq!((lanes.waiting, lanes.bytes), (waiting, bytes));
        }
        // From now on all is well: everything that waits, here or in parks, has its turn, though nobody is told of parks
        // that are due.
        for _ in 0..2000 {
            running.extend(std::iter::from_fn(|| lanes.next(now)).map(|(item, ticket)| (item.number, ticket)));
            now += 50 * MS;
            for (n, ticket) in running.drain(..) {
                parks.put(lanes.end(&to(n), ticket, Some(Sign::Alive), now, 0.5).1);
            }
            parks.put(lanes.sweep(now));
            parks.fetch(&mut lanes, now);
            if lanes.waiting + parks.len() == 0 {
                break;
            }
        }
        prop_assert_eq!((lanes.waiting, lanes.bytes, lanes.running, lanes.quick), (0, 0, 0, 0));
        prop_assert_eq!(parks.len(), 0, "what is parked comes back");
        lanes.sweep(now + 2 * FORGET);
        prop_assert_eq!(lanes.lanes.len(), 0, "lanes nobody needs are forgotten");
        prop_assert_eq!((lanes.untrusted, lanes.down), (0, 0));
    }
}
