//! The schedule of retries: the only place that uses `backoff`.
//!
//! The crate is unmaintained (RUSTSEC-2025-0012), so nothing but this one pure function rests on it; see `deny.toml`.

use std::time::Duration;

use backoff::backoff::Backoff;
use backoff::{ExponentialBackoff, ExponentialBackoffBuilder};

use super::RetrySettings;

/// No base delay is longer, whatever the settings say: it keeps a century's milliseconds exact in the calculator's
/// floating-point numbers, and every sum of times far from overflow.
const MAX_BASE_DELAY: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The wait after the failed attempt number `attempt` (from 1) without jitter, in whole milliseconds: `initial_delay`,
/// doubled for each attempt before this one, up to `max_delay`.
pub fn base_delay(settings: &RetrySettings, attempt: u32) -> Duration {
    let longest = settings.max_delay.min(MAX_BASE_DELAY);
    let initial = settings.initial_delay.min(longest);
    if !settings.exponential {
        return whole_ms(initial).min(longest);
    }
    let mut schedule: ExponentialBackoff = ExponentialBackoffBuilder::new()
        .with_initial_interval(initial)
        .with_max_interval(longest)
        .with_multiplier(2.0)
        // The crate draws its own random numbers and caps before it varies. Here randomness is a parameter and the
        // cap is hard, so `delay` varies instead.
        .with_randomization_factor(0.0)
        // Age is measured since the push, by Redis' clock and across processes: see `settle`.
        .with_max_elapsed_time(None)
        .build();
    // The calculator counts its own steps, but a retry may be another process's: it is put to the step it is at.
    schedule.current_interval = doubled(initial, attempt.saturating_sub(1)).min(longest);
    let interval = schedule.next_backoff().unwrap_or(longest);
    // Even without variation the crate adds up to a nanosecond at random, which rounding takes away.
    whole_ms(interval).min(longest)
}

/// Rounded to milliseconds, which is what Redis counts.
fn whole_ms(wait: Duration) -> Duration {
    let ms = wait.as_micros().saturating_add(500) / 1000;
    Duration::from_millis(ms.try_into().unwrap_or(u64::MAX))
}

/// `interval` × 2^`times`, at most [`MAX_BASE_DELAY`].
fn doubled(interval: Duration, times: u32) -> Duration {
    // Below 2^62 ns, so that shifting by 62 cannot overflow a u128, and makes even 1 ns longer than the maximum.
    let nanos = interval.min(MAX_BASE_DELAY).as_nanos() << times.min(62);
    Duration::from_nanos(nanos.try_into().unwrap_or(u64::MAX)).min(MAX_BASE_DELAY)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{any_attempt, any_settings, without_jitter};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn delays_double_up_to_the_maximum() {
        let delays: Vec<_> =
            (1..=9).map(|attempt| base_delay(&without_jitter(), attempt).as_secs()).collect();
        assert_eq!(delays, [5, 10, 20, 40, 80, 160, 300, 300, 300]);
        assert_eq!(base_delay(&without_jitter(), u32::MAX), 300 * SECOND);
        assert_eq!(base_delay(&without_jitter(), 0), 5 * SECOND);
        let fractional = RetrySettings { initial_delay: Duration::from_millis(250), ..without_jitter() };
        assert_eq!(base_delay(&fractional, 3), SECOND);
    }

    #[test]
    fn delays_stay_the_same_without_exponential_backoff() {
        let linear = RetrySettings { exponential: false, ..without_jitter() };
        assert_eq!([1, 2, 9].map(|attempt| base_delay(&linear, attempt)), [5 * SECOND; 3]);
    }

    #[test]
    fn even_a_nanosecond_grows_to_the_maximum() {
        let tiny = RetrySettings {
            initial_delay: Duration::from_nanos(1),
            max_delay: Duration::MAX,
            ..without_jitter()
        };
        assert_eq!(base_delay(&tiny, u32::MAX), MAX_BASE_DELAY);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_base_never_falls_and_stays_within_its_bounds(
            settings in any_settings(), attempt in any_attempt(),
        ) {
            let base = base_delay(&settings, attempt);
            prop_assert!(base <= settings.max_delay);
            prop_assert!(base <= base_delay(&settings, attempt.saturating_add(1)));
            prop_assert_eq!(base, base_delay(&settings, attempt), "it is no matter of chance");
        }
    }
}
