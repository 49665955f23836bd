//! Headers of a destination's own.

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use super::MASK;
use super::json::{JsonError, members, type_of};
use crate::model::Secret;

/// Headers that HTTP itself or posthaste sets on each request. Another value would break the request, or let a
/// receiver take it for something it is not.
const RESERVED: &[&str] = &[
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "keep-alive",
    "webhook-id",
    "webhook-timestamp",
    "webhook-attempt",
    "webhook-signature",
];

/// More headers than any receiver takes.
const MOST: usize = 100;

/// The header that is not sent but used to mint `Authorization: Bearer …`.
const JWT_KEY: &str = "jwt_key";

/// Why headers are refused. The messages name the header and never hold its value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not a JSON object.
    #[error("the value {0}")]
    Json(#[from] JsonError),
    /// More than any receiver takes.
    #[error("there are {0} headers; at most {MOST} are allowed")]
    TooMany(usize),
    /// A value of another type than string.
    #[error("header {} is {given}; it has to be a string", .name.escape_debug())]
    NotAString {
        /// The header's name as it was written.
        name: String,
        /// The type that was given.
        given: &'static str,
    },
    /// Not a header's name (RFC 9110, 5.1).
    #[error("'{}' is no header name; it may hold letters, digits and - _ . ! # $ % & ' * + ^ ` | ~", .0.escape_debug())]
    BadName(String),
    /// A value with a line break or another control character.
    #[error("the value of header {} holds a line break or another control character; take it out", .0.escape_debug())]
    BadValue(String),
    /// A header that HTTP or posthaste sets.
    #[error("header {0} cannot be set: posthaste or HTTP itself sets it; leave it out")]
    Reserved(String),
    /// One header twice with different values.
    #[error("header {0} is given twice; leave one out")]
    Twice(String),
    /// A value that was masked for showing, and then handed in.
    #[error("the value of header {0} is masked with {MASK}; write it out")]
    Masked(String),
    /// `jwt_key` without a key.
    #[error("header jwt_key is empty; set it to the key to sign tokens with, or leave it out")]
    EmptyJwtKey,
}

/// Reads headers from a JSON object of strings, in its order: `{"X-Tenant":"7","jwt_key":"…"}`
/// (`WEBHOOK_GLOBAL_HEADERS`, and `headers` of a webhook).
///
/// # Errors
/// When it is not an object of strings, or a header cannot or may not be sent (see [`headers_map`]).
pub fn parse_headers(json: &str) -> Result<Vec<(String, Secret)>, HeaderError> {
    let headers = read(json.as_bytes())?;
    headers_map(&headers)?;
    Ok(headers)
}

/// The headers as they are sent, each marked sensitive, and the value of `jwt_key` if there is one. With it an
/// `authorization` is left out: the token takes its place.
///
/// # Errors
/// When a name or value is not valid in HTTP, a header is one that HTTP or posthaste sets, or one is given twice.
pub fn headers_map(headers: &[(String, Secret)]) -> Result<(HeaderMap, Option<Secret>), HeaderError> {
    let mut map = HeaderMap::with_capacity(headers.len());
    let mut jwt_key = None;
    for (written, value) in headers {
        let (name, header_value) = checked(written, value.expose())?;
        let is_twice = if name == JWT_KEY {
            jwt_key.replace(value.clone()).is_some()
        } else {
            map.insert(name, header_value).is_some()
        };
        if is_twice {
            return Err(HeaderError::Twice(written.clone()));
        }
    }
    if jwt_key.is_some() {
        map.remove(AUTHORIZATION);
    }
    Ok((map, jwt_key))
}

/// The members of a JSON object of strings. The same header with the same value again is one.
pub(super) fn read(json: &[u8]) -> Result<Vec<(String, Secret)>, HeaderError> {
    let mut headers: Vec<(String, Secret)> = Vec::new();
    let members = members(json)?;
    if members.len() > MOST {
        return Err(HeaderError::TooMany(members.len()));
    }
    for member in members {
        let serde_json::Value::String(value) = member.value else {
            return Err(HeaderError::NotAString { given: type_of(&member.value), name: member.key });
        };
        let header = (member.key, Secret::new(value));
        if !headers.contains(&header) {
            headers.push(header);
        }
    }
    Ok(headers)
}

fn checked(written: &str, value: &str) -> Result<(HeaderName, HeaderValue), HeaderError> {
    let name =
        HeaderName::from_bytes(written.as_bytes()).map_err(|_| HeaderError::BadName(written.to_owned()))?;
    if RESERVED.contains(&name.as_str()) || name.as_str().starts_with("proxy-") {
        return Err(HeaderError::Reserved(written.to_owned()));
    }
    if value == MASK {
        return Err(HeaderError::Masked(written.to_owned()));
    }
    if name == JWT_KEY && value.is_empty() {
        return Err(HeaderError::EmptyJwtKey);
    }
    let mut value = HeaderValue::from_str(value).map_err(|_| HeaderError::BadValue(written.to_owned()))?;
    value.set_sensitive(true);
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(json: &str) -> Result<(HeaderMap, Option<Secret>), HeaderError> {
        headers_map(&parse_headers(json)?)
    }

    #[test]
    fn headers_are_a_json_object_of_strings() {
        let json =
            r#"{"X-B":"2","x-a":"é\t\u00fc","Content-Type":"text/x","Host":"h","Authorization":"Bearer 1"}"#;
        let (map, jwt_key) = map(json).unwrap();
        assert_eq!(map["x-b"], "2");
        assert_eq!(map["x-a"].as_bytes(), "é\tü".as_bytes());
        assert_eq!(map["content-type"], "text/x");
        assert_eq!(map["authorization"], "Bearer 1");
        assert_eq!((map.len(), jwt_key), (5, None));
        assert!(map.values().all(HeaderValue::is_sensitive));
        let names: Vec<_> = parse_headers(json).unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["X-B", "x-a", "Content-Type", "Host", "Authorization"]);
    }

    #[test]
    fn more_headers_than_a_receiver_takes_are_refused() {
        let of = |count: usize| {
            let headers: Vec<String> = (0..count).map(|i| format!(r#""x-{i}":"1""#)).collect();
            parse_headers(&format!("{{{}}}", headers.join(",")))
        };
        assert_eq!(of(MOST).unwrap().len(), MOST);
        assert_eq!(of(50_000), Err(HeaderError::TooMany(50_000)));
    }

    #[test]
    fn jwt_key_is_not_sent_and_takes_the_place_of_authorization() {
        let (map, jwt_key) = map(r#"{"JWT_Key":"k","authorization":"x","a":"b"}"#).unwrap();
        assert_eq!(map.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(jwt_key.unwrap().expose(), "k");
    }

    #[test]
    fn what_cannot_or_may_not_be_sent_is_refused_without_showing_it() {
        for (json, message) in [
            (r#"["s3cret"]"#, "the value is an array; it has to be a JSON object"),
            (r#""s3cret""#, "the value is a string; it has to be a JSON object"),
            (r#"{"X-A":5}"#, "header X-A is a number; it has to be a string"),
            (r#"{"X-A":true}"#, "header X-A is a boolean; it has to be a string"),
            (r#"{"X-A":null}"#, "header X-A is null; it has to be a string"),
            (r#"{"X-A":["s3cret"]}"#, "header X-A is an array; it has to be a string"),
            (
                r#"{"X-A":"s3cret\r\nX-B: 1"}"#,
                "the value of header X-A holds a line break or another control character; take it out",
            ),
            (
                r#"{"X-A":"s3cret\u0000"}"#,
                "the value of header X-A holds a line break or another control character; take it out",
            ),
            (r#"{"X-A":"***"}"#, "the value of header X-A is masked with ***; write it out"),
            (r#"{"X-A":"s3cret","x-a":"2"}"#, "header x-a is given twice; leave one out"),
            (r#"{"X-A":"s3cret","X-A":"2"}"#, "header X-A is given twice; leave one out"),
            (
                r#"{"jwt_key":""}"#,
                "header jwt_key is empty; set it to the key to sign tokens with, or leave it out",
            ),
        ] {
            assert_eq!(map(json).unwrap_err().to_string(), message, "{json}");
        }
        for name in ["", "a b", "ä", "a:", "a\\r\\n"] {
            let error = map(&format!(r#"{{"{name}":"s3cret"}}"#)).unwrap_err();
            assert!(matches!(error, HeaderError::BadName(_)), "{name}");
        }
        for name in RESERVED.iter().chain(&["Proxy-Authorization", "Webhook-ID", "proxy-x"]) {
            let error = map(&format!(r#"{{"{name}":"1"}}"#)).unwrap_err();
            assert_eq!(error, HeaderError::Reserved((*name).to_owned()));
        }
        assert!(map(r#"{"X-A":"1","X-A":"1"}"#).is_ok());
    }
}
