//! Values as people read and write them: durations, sizes, times, and text that came from outside. No clock is read:
//! where now matters, it is given.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo, Timestamp};

/// A Unix time below this, read as milliseconds, lies before 1973: it was most probably meant in seconds.
const EARLIEST_MS: u64 = 100_000_000_000;

/// A point in time as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// So long before now.
    Ago(Duration),
    /// Unix ms.
    At(u64),
}

impl When {
    /// Reads `2h`, an RFC 3339 time, or Unix milliseconds.
    ///
    /// # Errors
    /// When it is none of these; in words, with what is.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
            let ms = text.parse().map_err(|_| format!("'{text}' is too large for Unix milliseconds"))?;
            return if ms < EARLIEST_MS {
                Err(format!("'{text}' looks like seconds; write Unix milliseconds, or a duration such as 2h"))
            } else {
                Ok(Self::At(ms))
            };
        }
        if let Ok(at) = text.parse::<Timestamp>() {
            return Ok(Self::At(u64::try_from(at.as_millisecond()).unwrap_or(0)));
        }
        duration(text).map(Self::Ago).map_err(|_| {
            format!("'{text}' is no time; write a duration ago such as 90s, 2h or 1d, 2026-01-31T12:00:00Z, or Unix ms")
        })
    }

    /// The time in Unix ms, at `now_ms`.
    pub fn ms(self, now_ms: u64) -> u64 {
        match self {
            Self::Ago(ago) => now_ms.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)),
            Self::At(ms) => ms,
        }
    }
}

/// Reads a duration with its unit: `500ms`, `2s`, `1h30m`, `1d`.
///
/// # Errors
/// When it is none; in words, with what is.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("'{text}' is no duration; write a number with its unit, such as 500ms, 2s, 1h30m or 1d");
    let span: Span = text.parse().map_err(|_| wrong())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(duration).map_err(|_| wrong())
}

/// A duration in its one or two largest units: `350 ms`, `4.2 s`, `3 min 20 s`, `2 d 4 h`.
pub fn spell(duration: Duration) -> String {
    let (ms, s) = (duration.as_millis(), duration.as_secs());
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {large_unit}"),
        small => format!("{large} {large_unit} {small} {small_unit}"),
    };
    match s {
        0 => format!("{ms} ms"),
        1..60 if ms.is_multiple_of(1000) => format!("{s} s"),
        1..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{s} s"),
        60..3600 => two(s / 60, "min", s % 60, "s"),
        3600..86_400 => two(s / 3600, "h", s % 3600 / 60, "min"),
        _ => two(s / 86_400, "d", s % 86_400 / 3600, "h"),
    }
}

/// How long ago, or in how long, a time is.
pub fn relative(ms: u64, now_ms: u64) -> String {
    if ms > now_ms {
        format!("in {}", spell(Duration::from_millis(ms - now_ms)))
    } else {
        format!("{} ago", spell(Duration::from_millis(now_ms - ms)))
    }
}

/// A time in RFC 3339, UTC, to the millisecond.
pub fn time(ms: u64) -> String {
    match i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()) {
        Some(time) => format!("{time:.3}"),
        None => format!("{ms} ms"),
    }
}

/// A size: `613 B`, `1.4 KiB`, `16.0 MiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    // 1023.95 would be shown as 1024.0.
    while size >= 1023.95 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// A rate limit: `at most 20 requests a second`.
pub fn rate(per_second: f64) -> String {
    let requests = if per_second == 1.0 { "request" } else { "requests" };
    format!("at most {per_second} {requests} a second")
}

/// `1 event`, `2 events`.
pub fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A text from outside as it may be printed: what would steer a terminal, or turn the text around, is escaped.
pub fn clean(text: &str) -> Cow<'_, str> {
    clean_but(text, |_| false)
}

/// As [`clean`], but with its lines and tabs.
pub fn clean_lines(text: &str) -> Cow<'_, str> {
    clean_but(text, |c| matches!(c, '\n' | '\t'))
}

fn clean_but(text: &str, allowed: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(|c| steers(c) && !allowed(c)) {
        return Cow::Borrowed(text);
    }
    let mut cleaned = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            c if allowed(c) || !steers(c) => cleaned.push(c),
            '\n' | '\r' | '\t' => cleaned.extend(c.escape_debug()),
            c => cleaned.extend(c.escape_unicode()),
        }
    }
    Cow::Owned(cleaned)
}

/// JSON as it may be printed: what [`clean`] would escape is, as JSON escapes it. It is the same JSON then.
pub fn clean_json(json: &str) -> Cow<'_, str> {
    let steers = |c| steers(c) && !matches!(c, '\n' | '\r' | '\t');
    if !json.chars().any(steers) {
        return Cow::Borrowed(json);
    }
    let mut cleaned = String::with_capacity(json.len() + 16);
    for c in json.chars() {
        if steers(c) {
            // They are all within the Basic Multilingual Plane, and in valid JSON only within strings.
            _ = write!(cleaned, "\\u{:04x}", u32::from(c));
        } else {
            cleaned.push(c);
        }
    }
    Cow::Owned(cleaned)
}

/// The first `chars` characters of a text on one line, cleaned, with `…` where there is more.
pub fn short(text: &str, chars: usize) -> String {
    let cut = match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    };
    clean(&cut).into_owned()
}

/// Control characters, line separators, and the marks that change the direction of text.
fn steers(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        for (text, ms) in
            [("500ms", 500), ("2s", 2000), ("1h30m", 5_400_000), ("1d", 86_400_000), ("1m 5s", 65_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "-2s", "soon", "1 month", "2h ago"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_is_a_duration_ago_a_date_or_milliseconds() {
        assert_eq!(When::parse("2h"), Ok(When::Ago(Duration::from_secs(7200))));
        assert_eq!(When::parse("2025-10-21T09:16:04.871Z"), Ok(When::At(1_761_038_164_871)));
        assert_eq!(When::parse("1761038164871"), Ok(When::At(1_761_038_164_871)));
        assert!(When::parse("1761038164").unwrap_err().contains("looks like seconds"));
        assert!(When::parse("yesterday").unwrap_err().contains("'yesterday' is no time"));
        assert_eq!(When::Ago(Duration::from_secs(2)).ms(5000), 3000);
    }

    #[test]
    fn durations_and_sizes_are_short() {
        let spelt = |ms| spell(Duration::from_millis(ms));
        assert_eq!(spelt(0), "0 ms");
        assert_eq!(spelt(4_230), "4.2 s");
        assert_eq!(spelt(5_000), "5 s");
        assert_eq!(spelt(42_900), "42 s");
        assert_eq!(spelt(200_000), "3 min 20 s");
        assert_eq!(spelt(86_400_000), "1 d");
        assert_eq!(spelt(187_200_000), "2 d 4 h");
        assert_eq!(size(613), "613 B");
        assert_eq!(size(1434), "1.4 KiB");
        assert_eq!(size(16 * 1024 * 1024), "16.0 MiB");
        assert_eq!(size(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(relative(1000, 3500), "2.5 s ago");
        assert_eq!(relative(5000, 3000), "in 2 s");
        assert_eq!([rate(1.0), rate(0.5)], ["at most 1 request a second", "at most 0.5 requests a second"]);
        assert_eq!(time(1_761_038_164_871), "2025-10-21T09:16:04.871Z");
    }

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        assert_eq!(clean("ação 🙏"), "ação 🙏");
        assert_eq!(clean("a\u{1b}[31mb\nc\u{9b}\u{202e}"), "a\\u{1b}[31mb\\nc\\u{9b}\\u{202e}");
        assert_eq!(clean_lines("a\n\tb\r\u{7}"), "a\n\tb\\r\\u{7}");
        assert_eq!(short("abc\ndef", 5), "abc\\nd…");
        let json = "{\n  \"a\": \"x\u{9b}\u{202e}\u{7f}\"\n}";
        let cleaned = clean_json(json);
        assert!(!cleaned.contains('\u{9b}'));
        let (read, meant): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(&cleaned).unwrap(), serde_json::from_str(json).unwrap());
        assert_eq!(read, meant);
    }
}
