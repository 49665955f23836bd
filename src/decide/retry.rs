//! Retry: what is done with a delivery after an attempt, and how long it waits.

mod schedule;

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

pub use self::schedule::base_delay;
use crate::model::{DeadReason, Outcome, Reply, Settlement};

/// The longest wait a receiver can ask for with `Retry-After`; longer ones are shortened to it.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// When failed deliveries are tried again and when they are given up (`WEBHOOK_RETRY_*`).
#[derive(Clone, Debug, PartialEq)]
pub struct RetrySettings {
    /// How many attempts a delivery has. At least one is always made.
    pub max_attempts: u32,
    /// The wait after the first failed attempt.
    pub initial_delay: Duration,
    /// Whether the wait doubles after every further one; else it is the initial delay every time.
    pub exponential: bool,
    /// The longest wait, jitter included.
    pub max_delay: Duration,
    /// The share of the wait by which it is varied at random, up or down: 0 to 1.
    pub jitter_factor: f64,
    /// How old a delivery becomes, counted from when its event was pushed.
    pub max_age: Duration,
    /// The statuses that are not retried.
    pub non_retryable: BTreeSet<u16>,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            max_attempts: 10,
            initial_delay: Duration::from_secs(5),
            exponential: true,
            max_delay: Duration::from_secs(300),
            jitter_factor: 0.2,
            max_age: Duration::from_secs(86_400),
            non_retryable: BTreeSet::from([400, 401, 403, 404, 422]),
        }
    }
}

/// Decides what is done with a delivery.
///
/// `attempt` is the number of the attempt that came to `outcome`, from 1; `age` the time since the event was pushed;
/// `random` a number in `0..1`. A delivery whose next attempt would come later than `max_age` is given up at once:
/// waiting would change nothing.
pub fn settle(
    settings: &RetrySettings,
    attempt: u32,
    age: Duration,
    outcome: &Outcome,
    random: f64,
) -> Settlement {
    match outcome.status() {
        Some(200..=299) => return Settlement::Delivered,
        Some(410) => return Settlement::Dead(DeadReason::Gone),
        Some(status) if settings.non_retryable.contains(&status) => {
            return Settlement::Dead(DeadReason::Rejected);
        }
        _ => {}
    }
    if attempt >= settings.max_attempts {
        return Settlement::Dead(DeadReason::Exhausted);
    }
    let wait = delay(settings, attempt, random).max(asked_wait(outcome).unwrap_or_default());
    if age.saturating_add(wait) > settings.max_age {
        return Settlement::Dead(DeadReason::Expired);
    }
    Settlement::Retry(wait)
}

/// The wait after the failed attempt number `attempt` (from 1): the base delay varied by the jitter factor, and never
/// longer than `max_delay`. `random` is a number in `0..1`.
pub fn delay(settings: &RetrySettings, attempt: u32, random: f64) -> Duration {
    let base = base_delay(settings, attempt);
    let share = settings.jitter_factor.clamp(0.0, 1.0) * (2.0 * random.clamp(0.0, 1.0) - 1.0);
    // Fails only for what is not a number.
    Duration::try_from_secs_f64(base.as_secs_f64() * (1.0 + share)).unwrap_or(base).min(settings.max_delay)
}

/// `Retry-After` as a wait from `now`: seconds, or a date in one of the forms of RFC 9110, 5.6.7 (a past one is no
/// wait at all). None where the header is neither.
pub fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    if !header.is_empty() && header.bytes().all(|b| b.is_ascii_digit()) {
        // A number too big for u64 still means "very long".
        return Some(Duration::from_secs(header.parse().unwrap_or(u64::MAX)));
    }
    let at = httpdate::parse_http_date(header).ok()?;
    Some(at.duration_since(now).unwrap_or_default())
}

/// How long the receiver asked to be left alone, where it answered with a status for which that counts.
fn asked_wait(outcome: &Outcome) -> Option<Duration> {
    match outcome {
        Outcome::Replied(Reply { status: 429 | 503, retry_after, .. }) => {
            retry_after.map(|wait| wait.min(MAX_RETRY_AFTER))
        }
        Outcome::Replied(_) | Outcome::Failed(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::model::TransportError;

    const SECOND: Duration = Duration::from_secs(1);

    fn replied(status: u16) -> Outcome {
        Outcome::Replied(Reply { status, ..Reply::default() })
    }

    fn asking(status: u16, wait: Duration) -> Outcome {
        Outcome::Replied(Reply { status, retry_after: Some(wait), start: Bytes::new() })
    }

    pub(in crate::decide::retry) fn without_jitter() -> RetrySettings {
        RetrySettings { jitter_factor: 0.0, ..RetrySettings::default() }
    }

    fn settled(attempt: u32, outcome: &Outcome) -> Settlement {
        settle(&without_jitter(), attempt, SECOND, outcome, 0.5)
    }

    #[test]
    fn jitter_varies_both_ways_and_never_beyond_the_maximum() {
        let settings = RetrySettings::default();
        assert_eq!(delay(&settings, 1, 0.0), 4 * SECOND);
        assert_eq!(delay(&settings, 1, 0.5), 5 * SECOND);
        assert_eq!(delay(&settings, 1, 1.0), 6 * SECOND);
        assert_eq!(delay(&settings, 9, 0.0), 240 * SECOND);
        assert_eq!(delay(&settings, 9, 0.9), 300 * SECOND);
    }

    #[test]
    fn any_2xx_is_delivered_even_at_the_last_attempt() {
        for status in [200, 201, 204, 299] {
            assert_eq!(settled(10, &replied(status)), Settlement::Delivered);
        }
        let late = settle(&without_jitter(), 99, Duration::MAX, &replied(200), 0.5);
        assert_eq!(late, Settlement::Delivered);
    }

    #[test]
    fn refusals_are_dead_at_once_and_410_always_is() {
        for status in [400, 401, 403, 404, 422] {
            assert_eq!(settled(1, &replied(status)), Settlement::Dead(DeadReason::Rejected));
        }
        let retry_all = RetrySettings { non_retryable: BTreeSet::new(), ..without_jitter() };
        assert_eq!(settle(&retry_all, 1, SECOND, &replied(410), 0.5), Settlement::Dead(DeadReason::Gone));
        assert_eq!(settle(&retry_all, 1, SECOND, &replied(404), 0.5), Settlement::Retry(5 * SECOND));
    }

    #[test]
    fn anything_else_is_retried_until_the_attempts_are_used_up() {
        let timeout = Outcome::Failed(TransportError::Timeout(SECOND));
        for outcome in [timeout, replied(500), replied(301), replied(408), replied(999), replied(101)] {
            assert_eq!(settled(1, &outcome), Settlement::Retry(5 * SECOND));
            assert_eq!(settled(9, &outcome), Settlement::Retry(300 * SECOND));
            assert_eq!(settled(10, &outcome), Settlement::Dead(DeadReason::Exhausted));
        }
    }

    #[test]
    fn a_delivery_expires_when_its_next_attempt_would_be_too_late() {
        let settings = without_jitter();
        let at_age = |age| settle(&settings, 1, age, &replied(500), 0.5);
        assert_eq!(at_age(settings.max_age - 5 * SECOND), Settlement::Retry(5 * SECOND));
        assert_eq!(at_age(settings.max_age - 4 * SECOND), Settlement::Dead(DeadReason::Expired));
        assert_eq!(at_age(Duration::MAX), Settlement::Dead(DeadReason::Expired));
    }

    #[test]
    fn retry_after_is_honoured_for_429_and_503_when_longer_than_the_backoff() {
        for status in [429, 503] {
            assert_eq!(settled(1, &asking(status, 900 * SECOND)), Settlement::Retry(900 * SECOND));
            assert_eq!(settled(1, &asking(status, SECOND)), Settlement::Retry(5 * SECOND));
            assert_eq!(settled(1, &asking(status, Duration::MAX)), Settlement::Retry(MAX_RETRY_AFTER));
        }
        assert_eq!(settled(1, &asking(500, 900 * SECOND)), Settlement::Retry(5 * SECOND));
        let nearly_too_old = Duration::from_secs(86_400 - 600);
        let expired = settle(&without_jitter(), 1, nearly_too_old, &asking(503, 900 * SECOND), 0.5);
        assert_eq!(expired, Settlement::Dead(DeadReason::Expired));
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 30); // Sun, 06 Nov 1994 08:49:37 GMT
        assert_eq!(retry_after("120", now), Some(120 * SECOND));
        assert_eq!(retry_after(" 0 ", now), Some(Duration::ZERO));
        assert_eq!(retry_after("99999999999999999999999", now), Some(Duration::from_secs(u64::MAX)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", now), Some(30 * SECOND));
        assert_eq!(retry_after("Sunday, 06-Nov-94 08:49:37 GMT", now), Some(30 * SECOND));
        assert_eq!(retry_after("Sun Nov  6 08:49:37 1994", now), Some(30 * SECOND));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:00 GMT", now), Some(Duration::ZERO));
        for garbage in ["", " ", "-1", "+5", "1.5", "soon", "1 2", "\u{661}"] {
            assert_eq!(retry_after(garbage, now), None, "{garbage}");
        }
    }

    fn any_duration() -> impl Strategy<Value = Duration> {
        prop_oneof![
            Just(Duration::ZERO),
            Just(Duration::MAX),
            (0..10_000_000_000u64).prop_map(Duration::from_nanos),
            (0..100_000_000u64).prop_map(Duration::from_millis),
            (any::<u64>(), 0..1_000_000_000u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
        ]
    }

    pub(in crate::decide::retry) fn any_attempt() -> impl Strategy<Value = u32> {
        prop_oneof![0..70u32, any::<u32>()]
    }

    prop_compose! {
        pub(in crate::decide::retry) fn any_settings()(
            max_attempts: u32, initial_delay in any_duration(), exponential: bool, max_delay in any_duration(),
            jitter_factor in prop_oneof![0.0..=1.0f64, any::<f64>()], max_age in any_duration(),
        ) -> RetrySettings {
            let non_retryable = BTreeSet::from([404]);
            RetrySettings { max_attempts, initial_delay, exponential, max_delay, jitter_factor, max_age, non_retryable }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_delay_stays_within_the_jitter_and_the_cap(
            settings in any_settings(), attempt in any_attempt(), random in 0.0..1.0f64,
        ) {
            let (base, wait) = (base_delay(&settings, attempt), delay(&settings, attempt, random));
            prop_assert!(wait <= settings.max_delay);
            if (0.0..=1.0).contains(&settings.jitter_factor) {
                let (low, high) = (1.0 - settings.jitter_factor, 1.0 + settings.jitter_factor);
                let share = wait.as_secs_f64() / base.as_secs_f64().max(1e-9);
                prop_assert!(base.is_zero() || share <= high + 1e-6, "{} of {:?}", share, base);
                prop_assert!(base.is_zero() || share >= low - 1e-6, "{} of {:?}", share, base);
            }
        }

        #[test]
        fn nothing_makes_settling_panic_or_wait_too_long(
            settings in any_settings(), attempt: u32, age in any_duration(), status in 100..1000u16,
            asked in proptest::option::of(any_duration()), random in any::<f64>(),
        ) {
            let outcome = Outcome::Replied(Reply { status, retry_after: asked, start: Bytes::new() });
            if let Settlement::Retry(wait) = settle(&settings, attempt, age, &outcome, random) {
                prop_assert!(wait <= settings.max_delay.max(MAX_RETRY_AFTER));
                prop_assert!(age.saturating_add(wait) <= settings.max_age);
                prop_assert!(attempt < settings.max_attempts);
            }
        }

        #[test]
        fn any_header_is_read_without_panic(header in ".*") {
            let _ = retry_after(&header, SystemTime::UNIX_EPOCH);
        }
    }
}
