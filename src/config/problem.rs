//! Problems: what is wrong with the settings, without the secrets in them.

use std::fmt;

/// Values are cut to this many characters: they are to be recognised, not read.
const MAX_SHOWN_CHARS: usize = 120;

/// Everything that is wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// One for each wrong value; never empty.
    pub problems: Vec<Problem>,
}

/// A wrong value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The variable, or the line of the `.env` file.
    pub variable: String,
    /// Its value as it may be shown: masked where it may hold a secret, escaped and cut where it is odd.
    pub value: String,
    /// What is wrong with it where that is not plain, and what is allowed.
    pub allowed: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => f.write_str("a setting is wrong:")?,
            count => write!(f, "{count} settings are wrong:")?,
        }
        self.problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { variable, value, allowed } = self;
        write!(f, "{variable} is '{value}': {allowed}")
    }
}

impl Problem {
    pub(super) fn new(variable: &str, value: &str, allowed: impl Into<String>) -> Self {
        Self { variable: variable.to_owned(), value: shown(variable, value), allowed: allowed.into() }
    }
}

/// The value of a variable as it may be shown.
fn shown(variable: &str, value: &str) -> String {
    let holds = |suffix| variable.ends_with(suffix);
    // The name of a file, unless the key itself was pasted there.
    let is_file = variable == "WEBHOOK_CLIENT_KEY" && !value.contains("-----") && !value.contains('\n');
    if holds("_SECRET") || holds("_HEADERS") || holds("_KEY") && !is_file {
        "***".to_owned()
    } else if holds("_URL") || holds("_WEBHOOK") {
        cut(&masked_url(value))
    } else {
        cut(value)
    }
}

/// Stricter than [`crate::model::display_url`], for what is shown here is most probably *not* a well-formed URL: a
/// password with a raw `/` or `?` ends no authority, and a missing `//` hides no userinfo.
fn masked_url(value: &str) -> String {
    let scheme_end = value.find("://").map_or(0, |at| at + 3);
    let (scheme, rest) = value.split_at(scheme_end);
    let (mask, rest) = match rest.rfind('@') {
        Some(at) => ("***@", &rest[at + 1..]),
        None => ("", rest),
    };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let scheme = if scheme.contains('@') { "" } else { scheme };
    format!("{scheme}{mask}{}", &rest[..end])
}

fn cut(value: &str) -> String {
    match value.char_indices().nth(MAX_SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", value[..end].escape_debug()),
        None => value.escape_debug().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_malformed_url_shows_no_secret_either() {
        for (value, expected) in [
            ("redis://user:hunter2@h:1", "redis://***@h:1"),
            ("redis://user:hun/ter2@h", "redis://***@h"),
            ("redis://user:hun?ter2@h", "redis://***@h"),
            ("redis://user:hun#ter@2@h", "redis://***@h"),
            ("user:hunter2@h:6379", "***@h:6379"),
            ("a:b@c://h", "h"),
            ("unix:///run/redis.sock?pass=hunter2", "unix:///run/redis.sock"),
            ("localhost:6379", "localhost:6379"),
        ] {
            assert_eq!(masked_url(value), expected, "{value}");
        }
    }

    #[test]
    fn odd_values_are_escaped_and_long_ones_cut() {
        assert_eq!(cut("a\nb\u{1b}[31m"), "a\\nb\\u{1b}[31m");
        assert_eq!(cut(&"ä".repeat(1000)).chars().count(), MAX_SHOWN_CHARS + 1);
    }
}
