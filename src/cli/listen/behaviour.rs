//! How a path of the receiver behaves.

use std::time::Duration;

use crate::model::Signer;

/// How a path behaves; by default it answers 200 at once.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Behaviour {
    /// What a request that is to fail gets; none: nothing fails.
    pub(in crate::cli) failure: Option<Failure>,
    /// How many requests of each webhook-id fail; none: all do.
    pub(in crate::cli) fail_first: Option<u32>,
    /// How long an answer takes.
    pub(in crate::cli) delay: Duration,
    /// `Retry-After` of failures, in seconds.
    pub(in crate::cli) retry_after_s: Option<u32>,
    /// Keys to check signatures with; without one they are not checked.
    pub(in crate::cli) signers: Vec<Signer>,
}

/// A way to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Failure {
    /// With this status.
    Status(u16),
    /// No answer ever.
    Hang,
    /// The connection is closed without one.
    Close,
}

/// What a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Answer {
    /// An answer with this status, and `Retry-After` in seconds.
    Status(u16, Option<u32>),
    /// No answer ever.
    Hang,
    /// The connection is closed without one.
    Close,
}

impl Behaviour {
    /// What the request gets that is the `seen`-th of its webhook-id, from 1.
    pub(super) fn answer(&self, seen: u32) -> Answer {
        match self.failure {
            Some(failure) if self.fail_first.is_none_or(|first| seen <= first) => match failure {
                Failure::Status(status) => Answer::Status(status, self.retry_after_s),
                Failure::Hang => Answer::Hang,
                Failure::Close => Answer::Close,
            },
            _ => Answer::Status(200, None),
        }
    }
}

/// The behaviour for a path: that of the longest prefix, counted in whole segments.
pub(super) fn for_path<'a>(rules: &'a [(String, Behaviour)], path: &str) -> Option<(usize, &'a Behaviour)> {
    let covers = |prefix: &str| {
        let prefix = prefix.trim_end_matches('/');
        path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let found = rules.iter().enumerate().filter(|(_, (prefix, _))| covers(prefix));
    found
        .max_by_key(|(_, (prefix, _))| prefix.trim_end_matches('/').len())
        .map(|(i, (_, behaviour))| (i, behaviour))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_requests_fail_and_then_it_works() {
        let behaviour = Behaviour {
            failure: Some(Failure::Status(503)),
            fail_first: Some(2),
            retry_after_s: Some(7),
            ..Behaviour::default()
        };
        let answers: Vec<Answer> = (1..=3).map(|seen| behaviour.answer(seen)).collect();
        let failed = Answer::Status(503, Some(7));
        assert_eq!(answers, [failed, failed, Answer::Status(200, None)]);
        assert_eq!(Behaviour::default().answer(1), Answer::Status(200, None));
        let hangs = Behaviour { failure: Some(Failure::Hang), ..Behaviour::default() };
        assert_eq!(hangs.answer(1000), Answer::Hang);
    }

    #[test]
    fn the_longest_prefix_counts() {
        let rules: Vec<_> =
            ["/", "/flaky", "/flaky/deep/"].map(|prefix| (prefix.to_owned(), Behaviour::default())).into();
        let of = |path: &str| for_path(&rules, path).map(|(i, _)| i);
        assert_eq!(of("/"), Some(0));
        assert_eq!(of("/flakyish"), Some(0));
        assert_eq!(of("/flaky"), Some(1));
        assert_eq!(of("/flaky/messages-upsert"), Some(1));
        assert_eq!(of("/flaky/deep/x"), Some(2));
        assert_eq!(for_path(&rules[1..], "/other").map(|(i, _)| i), None);
    }
}
