//! What is parked, and why, in words.

use std::time::Duration;

use super::super::format::{relative, short, spell};
use super::super::output::Tone;
use super::super::table::{Table, plain};
use crate::model::ParkReason;
use crate::operate::stats::works;
use crate::store::{AttemptLine, Park, Parked};

/// How many destinations are shown; as JSON, all that were read are.
const SHOWN: usize = 5;

/// How many deliveries, in words.
pub(super) fn deliveries(number: u64) -> String {
    if number == 1 { "1 delivery".to_owned() } else { format!("{number} deliveries") }
}

/// The total in words.
pub(super) fn total(parked: &Parked) -> String {
    let destinations = match parked.destinations {
        0 => return "none".to_owned(),
        1 => "1 destination".to_owned(),
        several => format!("{several} destinations"),
    };
    let least = if parked.counted < parked.destinations { "at least " } else { "" };
    format!("{least}{} for {destinations}", deliveries(parked.deliveries))
}

/// The destinations with most, and what to say of the others.
pub(super) fn table(
    parked: &Parked,
    attempts: &[AttemptLine<'static>],
    now_ms: u64,
) -> (Table, Option<String>) {
    let mut table = Table::new(&["DESTINATION", "PARKED", "SINCE", "WHY"], &[1]).cutting(&[0]);
    for park in parked.largest.iter().take(SHOWN) {
        let since = park.since_ms.map(|since| relative(since, now_ms)).unwrap_or_default();
        let (why, tone) = why(park, works(attempts, &park.destination), now_ms);
        table.row([
            plain(short(&park.destination, 60)),
            plain(park.parked),
            (since, Tone::Faint),
            (why, tone),
        ]);
    }
    let more = parked.destinations.saturating_sub(parked.largest.len().min(SHOWN) as u64);
    (table, (more > 0).then(|| format!("and {more} more")))
}

/// Why deliveries are parked. `works`: whether the latest attempt that is known succeeded.
fn why(park: &Park, works: bool, now_ms: u64) -> (String, Tone) {
    let reason = ParkReason::ALL.into_iter().find(|reason| reason.as_str() == park.reason);
    let (why, tone) = match reason {
        // What is parked is down until the last of it has left.
        Some(ParkReason::Down) if works => ("was down and is back: it gets what waited", Tone::Good),
        Some(ParkReason::Down) => {
            let next = match park.next_ms.checked_sub(now_ms) {
                Some(ms) if ms > 0 => format!("is made in {}", spell(Duration::from_millis(ms))),
                _ => "is due".to_owned(),
            };
            return (format!("down: the next attempt {next}"), Tone::Bad);
        }
        Some(ParkReason::Slow) => ("slower than what comes", Tone::Doubtful),
        Some(ParkReason::RateLimit) => ("rate limit: more comes than it allows", Tone::Plain),
        Some(ParkReason::Slots) => {
            ("no free slots for receivers that are not known to be good", Tone::Doubtful)
        }
        Some(ParkReason::Behind) => ("behind others that were parked before", Tone::Plain),
        Some(ParkReason::Paused) => ("paused by an operator, until it is resumed", Tone::Doubtful),
        None => return (short(&park.reason, 40), Tone::Plain),
    };
    (why.to_owned(), tone)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn park(reason: &str) -> Park {
        Park {
            destination: "instance:a".to_owned(),
            parked: 7,
            since_ms: Some(4_000),
            reason: reason.to_owned(),
            next_ms: 22_000,
        }
    }

    fn parked(destinations: u64, counted: u64, deliveries: u64) -> Parked {
        Parked { destinations, counted, deliveries, largest: vec![park("slow")] }
    }

    #[test]
    fn every_reason_is_told_in_words() {
        let told = |reason, works| why(&park(reason), works, 10_000).0;
        assert_eq!(told("down", false), "down: the next attempt is made in 12 s");
        assert_eq!(why(&park("down"), false, 22_000).0, "down: the next attempt is due");
        assert_eq!(told("down", true), "was down and is back: it gets what waited");
        assert_eq!(told("something\u{1b}new", false), "something\\u{1b}new");
        for reason in ParkReason::ALL {
            assert_ne!(told(reason.as_str(), false), reason.as_str());
        }
    }

    #[test]
    fn the_total_is_a_lower_bound_where_not_all_were_counted() {
        assert_eq!(total(&Parked::default()), "none");
        assert_eq!(total(&parked(1, 1, 1)), "1 delivery for 1 destination");
        assert_eq!(total(&parked(3000, 2000, 9)), "at least 9 deliveries for 3000 destinations");
        assert_eq!(table(&parked(3000, 2000, 9), &[], 10_000).1.as_deref(), Some("and 2999 more"));
        assert_eq!(table(&parked(1, 1, 7), &[], 10_000).1, None);
    }
}
