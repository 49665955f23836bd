//! What a slow receiver gets, millisecond by millisecond.

use super::*;

/// Lets a receiver that takes 200 ms answer as many attempts at a time as it may have, for so long; the most that began
/// within one millisecond in the last second, and how many began in it.
fn begun_at_a_slow_receiver(lane: &mut Lane, lasting: Duration) -> (usize, usize) {
    let mut now = SECOND;
    let mut running = std::collections::VecDeque::new();
    let (mut most, mut last_second) = (0, 0);
    let end = now + lasting;
    while now < end {
        let mut begun = 0;
        loop {
            while lane.may_begin(now).is_ok() {
                running.push_back((now, lane.begin(now)));
                begun += 1;
            }
            if running.front().is_none_or(|(since, _)| now.saturating_sub(*since) < 200 * MS) {
                break;
            }
            let (_, ticket) = running.pop_front().unwrap();
            let _ = lane.end(ticket, Some(Sign::Alive), now, 0.5);
        }
        if end - now <= SECOND {
            most = most.max(begun);
            last_second += begun;
        }
        now += MS;
    }
    (most, last_second)
}

#[test]
fn what_a_slow_receiver_gets_is_spread_and_no_less() {
    let mut lane = lane(128);
    let (most, last_second) = begun_at_a_slow_receiver(&mut lane, 5 * SECOND);
    assert_eq!(lane.limit(), 128, "the limit grows all the same");
    assert!(most <= 8, "{most} began at once");
    assert!(last_second >= 620, "{last_second} of the 640 a second that it bears");
}
