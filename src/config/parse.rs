//! Values: each is read into its type, or refused with what is allowed.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use crate::decide::route::Routes;
use crate::decide::sign::parse_secret;
use crate::decide::webhook::{self, CustomEvents};
use crate::model::Secret;
use crate::telemetry::{self, LogFormat};

/// What came of a value; the error says what is allowed.
pub(super) type Parsed<T> = Result<T, String>;

/// Ten years: no wait or age that is meant seriously is longer, and sums of two stay far from overflow.
pub(super) const MAX_SECONDS: f64 = 315_360_000.0;

const REDIS_URL_FORM: &str = "write redis://[user:password@]host[:port][/database], rediss://… for TLS, or \
                              unix:///path/to/socket; in a password, @ : / ? # and % are written %40 %3A %2F %3F %23 \
                              and %25";

pub(super) fn boolean(text: &str) -> Parsed<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("write true or false (or 1/0, yes/no, on/off)".to_owned()),
    }
}

const ADMIN_ADDR_FORM: &str =
    "write an address and a port, such as 127.0.0.1:8090, [::1]:8090 or 0.0.0.0:8090, or off";

/// Where to listen: a literal address, `localhost`, or nowhere.
pub(super) fn admin_addr(text: &str) -> Parsed<Option<SocketAddr>> {
    if ["off", "none", "false"].iter().any(|off| text.eq_ignore_ascii_case(off)) {
        return Ok(None);
    }
    let local = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
    local.as_deref().unwrap_or(text).parse().map(Some).map_err(|_| ADMIN_ADDR_FORM.to_owned())
}

/// A key that can be sent in a header.
pub(super) fn api_key(text: &str) -> Parsed<Secret> {
    match text.bytes().all(|b| b.is_ascii_graphic()) {
        true => Ok(Secret::new(text)),
        false => Err("write visible ASCII characters, such as `openssl rand -hex 32` prints".to_owned()),
    }
}

pub(super) fn whole<T>(range: RangeInclusive<T>) -> impl Fn(&str) -> Parsed<T>
where
    T: FromStr + PartialOrd + Display,
{
    move |text| match text.parse() {
        Ok(number) if text.bytes().all(|b| b.is_ascii_digit()) && range.contains(&number) => Ok(number),
        _ => Err(format!("write a whole number from {} to {}", range.start(), range.end())),
    }
}

/// A number with or without decimals, which are divided by a point.
pub(super) fn decimal(range: RangeInclusive<f64>) -> impl Fn(&str) -> Parsed<f64> {
    move |text| {
        let is_plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        match text.parse() {
            Ok(number) if is_plain && range.contains(&number) => Ok(number),
            _ => Err(format!("write a number from {} to {}, such as 0.5", range.start(), range.end())),
        }
    }
}

/// Seconds, with or without decimals.
pub(super) fn seconds(range: RangeInclusive<f64>) -> impl Fn(&str) -> Parsed<Duration> {
    let allowed = format!("write a number of seconds from {} to {}, such as 1.5", range.start(), range.end());
    let number = decimal(range);
    move |text| number(text).map(Duration::from_secs_f64).map_err(|_| allowed.clone())
}

/// Whole milliseconds, up to an hour.
pub(super) fn milliseconds(text: &str) -> Parsed<Duration> {
    whole(1..=3_600_000)(text)
        .map(Duration::from_millis)
        .map_err(|_| "write a whole number of milliseconds from 1 to 3600000".to_owned())
}

/// A value of a setting that has none by default.
pub(super) fn some<T>(parse: impl Fn(&str) -> Parsed<T>) -> impl Fn(&str) -> Parsed<Option<T>> {
    move |text| parse(text).map(Some)
}

/// Values divided by commas; at least one.
pub(super) fn list<T: FromStr<Err: Display>>(text: &str) -> Parsed<Vec<T>> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let values: Vec<T> =
        parts.map(|part| part.parse().map_err(|error: T::Err| error.to_string())).collect::<Parsed<_>>()?;
    if values.is_empty() { Err("write one or several, divided by commas".to_owned()) } else { Ok(values) }
}

pub(super) fn statuses(text: &str) -> Parsed<BTreeSet<u16>> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(BTreeSet::new());
    }
    text.split(',')
        .map(str::trim)
        .filter(|status| !status.is_empty())
        .map(|status| whole(100..=599)(status))
        .collect::<Parsed<BTreeSet<_>>>()
        .ok()
        .filter(|statuses| !statuses.is_empty())
        .ok_or_else(|| {
            "write statuses from 100 to 599 divided by commas, such as 400,404, or none".to_owned()
        })
}

/// The producers' stream. Braces are refused because every other key is `{<STREAM>}:…`: another brace would end or move
/// the part that Redis Cluster hashes, and the keys would not share a slot. Spaces and control characters are refused
/// because such a name is a slip of the pen, and a stream that nobody pushes to is noticed late.
pub(super) fn stream(text: &str) -> Parsed<String> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'{' && b != b'}') {
        Ok(text.to_owned())
    } else {
        Err("write a name of visible ASCII characters without spaces and braces (every other key begins with \
             {<STREAM>}: and has to stay in one cluster slot)"
            .to_owned())
    }
}

pub(super) fn redis_url(text: &str) -> Parsed<Secret> {
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme).to_ascii_lowercase();
    if ["redis-cluster", "rediss-cluster", "redis-sentinel", "rediss-sentinel"].contains(&scheme.as_str()) {
        return Err(format!("{scheme}:// is not supported yet; {REDIS_URL_FORM}"));
    }
    let refused = |what: &str| Err(format!("{what}; {REDIS_URL_FORM}"));
    let Ok(url) = Url::parse(text) else {
        return refused("this is not a URL");
    };
    match scheme.as_str() {
        "redis" | "rediss" => match url.host_str() {
            None | Some("") => return refused("the host is missing"),
            Some("0.0.0.0" | "[::]") => return refused("nothing can connect to the wildcard address"),
            Some(_) if !is_database(url.path().trim_matches('/')) => {
                return refused("the path is not the number of a database");
            }
            Some(_) => {}
        },
        "unix" | "redis+unix" => {
            if url.path().len() < 2 || url.to_file_path().is_err() {
                return refused("the path of the socket is missing");
            }
            if !url.query_pairs().all(|(key, value)| key != "db" || is_database(&value)) {
                return refused("db is not the number of a database");
            }
        }
        _ => return refused("the scheme is none that is supported"),
    }
    match (scheme.as_str(), url.fragment()) {
        (_, None) | ("rediss", Some("insecure")) => Ok(Secret::new(text)),
        _ => refused("there is a # in it"),
    }
}

fn is_database(text: &str) -> bool {
    text.is_empty() || whole(0..=i64::MAX)(text).is_ok()
}

pub(super) fn webhook_url(text: &str) -> Parsed<String> {
    match webhook::check_url(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => Err(format!("it {error}")),
    }
}

pub(super) fn headers(text: &str) -> Parsed<Vec<(String, Secret)>> {
    webhook::parse_headers(text).map_err(|error| {
        format!(r#"{error}; write a JSON object of strings, such as {{"x-tenant":"7"}} (in a .env file in single quotes)"#)
    })
}

pub(super) fn routes(text: &str) -> Parsed<Routes> {
    Routes::parse(text).map_err(|error| error.to_string())
}

pub(super) fn custom_events(text: &str) -> Parsed<CustomEvents> {
    Ok(CustomEvents::parse(text))
}

/// One or several signing secrets, divided by spaces or commas.
pub(super) fn secrets(text: &str) -> Parsed<Vec<Secret>> {
    let secrets: Vec<&str> =
        text.split(|c: char| c == ',' || c.is_whitespace()).filter(|secret| !secret.is_empty()).collect();
    for secret in if secrets.is_empty() { &[""][..] } else { &secrets } {
        parse_secret(secret).map_err(|error| error.to_string())?;
    }
    Ok(secrets.into_iter().map(Secret::new).collect())
}

pub(super) fn log_level(text: &str) -> Parsed<String> {
    match telemetry::filter(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

pub(super) fn log_format(text: &str) -> Parsed<LogFormat> {
    match text.to_ascii_lowercase().as_str() {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("write text or json".to_owned()),
    }
}
