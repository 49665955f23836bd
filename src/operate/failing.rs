//! Which destinations failed lately, of the attempts that were recorded.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::format::{short, spell};
use crate::store::AttemptLine;

/// How many failing destinations are shown.
const FAILING: usize = 10;

/// A destination that failed lately.
#[derive(Debug, PartialEq, Eq)]
pub struct Failing<'a> {
    /// The destination, as text.
    pub destination: &'a str,
    /// How many attempts are recorded …
    pub attempts: u64,
    /// … and how many of them failed.
    pub failed: u64,
    /// The latest of those.
    pub last_failure: &'a AttemptLine<'static>,
    /// Whether its latest attempt succeeded.
    pub recovered: bool,
}

/// The destinations that failed lately, the worst first.
pub fn failing<'a>(attempts: &'a [AttemptLine<'static>]) -> Vec<Failing<'a>> {
    let mut by_destination: BTreeMap<&str, Vec<&AttemptLine<'static>>> = BTreeMap::new();
    for line in attempts {
        by_destination.entry(&line.destination).or_default().push(line);
    }
    let mut failing: Vec<Failing<'_>> = by_destination
        .into_iter()
        .filter_map(|(destination, mut lines)| {
            lines.sort_by_key(|line| line.started_ms);
            let last_failure = lines.iter().rev().find(|line| failed(line)).copied()?;
            Some(Failing {
                destination,
                attempts: lines.len() as u64,
                failed: lines.iter().filter(|line| failed(line)).count() as u64,
                last_failure,
                recovered: lines.last().is_some_and(|last| !failed(last)),
            })
        })
        .collect();
    failing.sort_by_key(|failing| (failing.recovered, std::cmp::Reverse(failing.failed)));
    failing.truncate(FAILING);
    failing
}

/// Whether the latest attempt to a destination succeeded, of those that were recorded.
pub fn works(attempts: &[AttemptLine<'static>], destination: &str) -> bool {
    let of_it = attempts.iter().filter(|line| line.destination == destination);
    of_it.max_by_key(|line| line.started_ms).is_some_and(|last| !failed(last))
}

fn failed(line: &AttemptLine<'static>) -> bool {
    !line.status.is_some_and(|status| (200..300).contains(&status))
}

/// What an attempt came to, shortly.
pub fn outcome(line: &AttemptLine<'static>) -> String {
    let what = match (line.status, line.error.as_deref()) {
        (Some(status), _) => status.to_string(),
        (None, Some(error)) => short(error, 60),
        (None, None) => "no answer".to_owned(),
    };
    format!(
        "{what} after {}, then {}",
        spell(Duration::from_millis(line.took_ms)),
        short(&line.settlement, 30)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(destination: &str, started_ms: u64, status: u16) -> AttemptLine<'static> {
        AttemptLine {
            started_ms,
            took_ms: 20,
            id: "1-0".into(),
            event: "CALL".into(),
            destination: destination.to_owned().into(),
            attempt: 1,
            status: Some(status),
            error: None,
            settlement: "retry".into(),
        }
    }

    #[test]
    fn destinations_that_fail_still_come_before_those_that_recovered() {
        let attempts = [
            attempt("global", 9000, 200),
            attempt("instance:a", 8000, 503),
            attempt("global", 7000, 500),
            attempt("global", 6000, 500),
            attempt("instance:fine", 5000, 204),
        ];
        let failing: Vec<_> = failing(&attempts)
            .iter()
            .map(|f| (f.destination.to_owned(), f.failed, f.attempts, f.recovered))
            .collect();
        assert_eq!(failing, [("instance:a".to_owned(), 1, 1, false), ("global".to_owned(), 2, 3, true)]);
        let working = ["global", "instance:a", "instance:new"].map(|to| works(&attempts, to));
        assert_eq!(working, [true, false, false]);
    }
}
