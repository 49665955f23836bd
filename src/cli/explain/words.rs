//! Settings in words.

use serde_json::Value;

use super::super::format::{rate, spell};
use crate::decide::retry::RetrySettings;

/// What is special about a webhook, in words.
pub(super) fn extras(settings: &Value) -> String {
    let headers: Vec<&str> =
        settings["headers"].as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let mut extras = vec![match settings["secret"].as_array().map_or(0, Vec::len) {
        0 => "not signed".to_owned(),
        1 => "signed".to_owned(),
        several => format!("signed with {several} secrets"),
    }];
    extras.push(match settings["base64"] == true {
        true => "data.message.base64 is kept".to_owned(),
        false => "data.message.base64 is removed".to_owned(),
    });
    if !headers.is_empty() {
        extras.push(format!("headers {}", headers.join(", ")));
    }
    extras.extend(settings["rate_limit"].as_f64().map(rate));
    extras.join("; ")
}

/// The retry settings in words.
pub(super) fn retries(retry: &RetrySettings) -> String {
    let growth = if retry.exponential { "doubling" } else { "always the same" };
    let statuses: Vec<String> = retry.non_retryable.iter().chain(&[410]).map(ToString::to_string).collect();
    format!(
        "{} attempts; first wait {}, {growth}, at most {}, varied by {:.0} %; given up after {}, and at once on {}",
        retry.max_attempts,
        spell(retry.initial_delay),
        spell(retry.max_delay),
        retry.jitter_factor * 100.0,
        spell(retry.max_age),
        statuses.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_told_in_words() {
        let told = retries(&RetrySettings::default());
        assert_eq!(
            told,
            "10 attempts; first wait 5 s, doubling, at most 5 min, varied by 20 %; given up after 1 d, and at once on \
             400, 401, 403, 404, 422, 410"
        );
    }
}
