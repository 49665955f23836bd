//! The error event: what the ERRORS webhook is told about a dead letter.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::model::{DeadReason, Destination, display_url};

/// How much of a reply is told, in bytes.
const MAX_REPLY_BYTES: usize = 1024;

/// A delivery that was given up. What is not known of it, as of an entry that could not be read, is none.
#[derive(Clone, Debug)]
pub struct Failure<'a> {
    /// The event's id (the stream entry's, for one that could not be read).
    pub id: &'a str,
    /// Where it was to go.
    pub destination: Option<&'a Destination>,
    /// The URL it was to be sent to, as it was configured: secrets in it are left out here.
    pub url: Option<&'a str>,
    /// The event's name as it was pushed (`messages.upsert`, see `Envelope::written_name`).
    pub event: Option<&'a str>,
    /// The instance it belongs to.
    pub instance: Option<&'a str>,
    /// `server_url` as it was pushed (JSON, see `Envelope::server_url`).
    pub server_url: Option<&'a [u8]>,
    /// Why it was given up.
    pub reason: DeadReason,
    /// How many attempts were made.
    pub attempts: u32,
    /// When the first was begun, Unix milliseconds.
    pub first_attempt_ms: Option<u64>,
    /// When the last was begun, Unix milliseconds.
    pub last_attempt_ms: Option<u64>,
    /// What happened in one line, for people. Never with a secret in it.
    pub message: &'a str,
    /// The last HTTP status.
    pub status: Option<u16>,
    /// The start of the last reply; 1 KiB of it is told.
    pub reply: Option<&'a [u8]>,
}

/// The body of the ERRORS webhook for a delivery that was given up at `now_ms` (Unix milliseconds):
///
/// ```json
/// {"event":"error","instance":"sales","data":{"error":"Delivery failed","message":"…","status":503,
///  "response":{"message":"…"},"delivery":{"id":"…","destination":"instance:sales","url":"…","event":"messages.upsert",
///  "reason":"exhausted","attempts":10,"first_attempt":"…","last_attempt":"…"}},"date_time":"…","server_url":"…"}
/// ```
///
/// Times are RFC 3339 in UTC with milliseconds. What is not known is null; `server_url` is left out. There are no header
/// values, no `apikey`, and no userinfo or query of a URL in it.
pub fn error_event(failure: &Failure<'_>, now_ms: u64) -> Vec<u8> {
    let server_url = failure.server_url.and_then(shown_server_url);
    let body = Body {
        event: "error",
        instance: failure.instance,
        data: Data {
            error: "Delivery failed",
            message: failure.message,
            status: failure.status,
            response: Response { message: failure.reply.and_then(text) },
            delivery: DeliveryData {
                id: failure.id,
                destination: failure.destination.map(ToString::to_string),
                url: failure.url.map(display_url),
                event: failure.event,
                reason: failure.reason.as_str(),
                attempts: failure.attempts,
                first_attempt: failure.first_attempt_ms.map(time),
                last_attempt: failure.last_attempt_ms.map(time),
            },
        },
        date_time: time(now_ms),
        server_url: server_url.as_deref(),
    };
    serde_json::to_vec(&body).expect("texts and numbers can always be written as JSON")
}

/// How a destination is.
#[derive(Clone, Copy, Debug)]
pub struct Health<'a> {
    /// Which.
    pub destination: &'a Destination,
    /// Where it is, as it was configured: secrets in it are left out here.
    pub url: Option<&'a str>,
    /// What its last attempt came to in one line, and the HTTP status, where it went down; none when it came back.
    pub down: Option<(&'a str, Option<u16>)>,
    /// How many deliveries are parked for it.
    pub parked: u64,
}

/// The body of the ERRORS webhook for a destination that went down, or came back:
///
/// ```json
/// {"event":"destination.down","instance":"sales","data":{"error":"Destination down","message":"…","status":503,
///  "destination":{"name":"instance:sales","url":"…","parked":120}},"date_time":"…"}
/// ```
///
/// `destination.recovered` says `Destination recovered`, and has no message and no status.
pub fn health_event(health: &Health<'_>, now_ms: u64) -> Vec<u8> {
    let (event, error) = match health.down {
        Some(_) => ("destination.down", "Destination down"),
        None => ("destination.recovered", "Destination recovered"),
    };
    let instance = health.destination.instance().map(|instance| &**instance);
    let data = HealthData {
        error,
        message: health.down.map(|(message, _)| message),
        status: health.down.and_then(|(_, status)| status),
        destination: DestinationData {
            name: health.destination.to_string(),
            url: health.url.map(display_url),
            parked: health.parked,
        },
    };
    let body = Body { event, instance, data, date_time: time(now_ms), server_url: None };
    serde_json::to_vec(&body).expect("texts and numbers can always be written as JSON")
}

#[derive(Serialize)]
struct HealthData<'a> {
    error: &'a str,
    message: Option<&'a str>,
    status: Option<u16>,
    destination: DestinationData,
}

#[derive(Serialize)]
struct DestinationData {
    name: String,
    url: Option<String>,
    parked: u64,
}

#[derive(Serialize)]
struct Body<'a, D> {
    event: &'a str,
    instance: Option<&'a str>,
    data: D,
    date_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_url: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Data<'a> {
    error: &'a str,
    message: &'a str,
    status: Option<u16>,
    response: Response,
    delivery: DeliveryData<'a>,
}

#[derive(Serialize)]
struct Response {
    message: Option<String>,
}

#[derive(Serialize)]
struct DeliveryData<'a> {
    id: &'a str,
    destination: Option<String>,
    url: Option<String>,
    event: Option<&'a str>,
    reason: &'a str,
    attempts: u32,
    first_attempt: Option<String>,
    last_attempt: Option<String>,
}

/// `server_url` as it was written, unless it carries userinfo or a query: then without them. None for anything but a
/// string or null: what a producer puts there instead may be anything.
fn shown_server_url(json: &[u8]) -> Option<Box<RawValue>> {
    let as_written = || serde_json::from_slice(json).ok();
    match serde_json::from_slice::<Option<String>>(json).ok()? {
        Some(url) if display_url(&url) != url => serde_json::value::to_raw_value(&display_url(&url)).ok(),
        Some(_) | None => as_written(),
    }
}

/// A reply without the secrets that it repeats: some receivers echo what they were sent. Secrets of fewer than four
/// bytes are left, for they would be found everywhere.
pub fn without_secrets(reply: &[u8], secrets: &[&[u8]]) -> Vec<u8> {
    let mut masked = Vec::with_capacity(reply.len());
    let mut rest = reply;
    while let Some((first, after_one)) = rest.split_first() {
        let found = secrets.iter().filter(|secret| secret.len() >= 4 && rest.starts_with(secret));
        match found.map(|secret| secret.len()).max() {
            Some(length) => {
                masked.extend_from_slice(b"***");
                rest = &rest[length..];
            }
            None => {
                masked.push(*first);
                rest = after_one;
            }
        }
    }
    masked
}

/// The start of a reply as text; none where it is empty. A character cut in half at the end is left out.
fn text(reply: &[u8]) -> Option<String> {
    let start = &reply[..reply.len().min(MAX_REPLY_BYTES)];
    let whole = match std::str::from_utf8(start) {
        Err(error) if error.error_len().is_none() => &start[..error.valid_up_to()],
        Err(_) | Ok(_) => start,
    };
    (!whole.is_empty()).then(|| String::from_utf8_lossy(whole).into_owned())
}

/// Unix milliseconds as RFC 3339 in UTC with milliseconds: `2026-05-09T07:30:00.000Z`.
fn time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    format!("{:.3}", time.unwrap_or(jiff::Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    const NOW_MS: u64 = 1_778_311_800_042;

    fn unreadable() -> Failure<'static> {
        Failure {
            id: "1778311800000-0",
            destination: None,
            url: None,
            event: None,
            instance: None,
            server_url: None,
            reason: DeadReason::Unreadable,
            attempts: 0,
            first_attempt_ms: None,
            last_attempt_ms: None,
            message: "the payload has no `event`",
            status: None,
            reply: None,
        }
    }

    fn written(failure: &Failure<'_>) -> String {
        let body = String::from_utf8(error_event(failure, NOW_MS)).unwrap();
        let value: Value = serde_json::from_str(&body).unwrap();
        assert!(value.get("destination").is_none() && value.get("apikey").is_none());
        body
    }

    #[test]
    fn has_the_documented_shape_and_order() {
        let destination = Destination::Instance("sales".into());
        let failure = Failure {
            id: "msg_1",
            destination: Some(&destination),
            url: Some("https://user:p4ss@h.example/hook?token=t0ken"),
            event: Some("messages.upsert"),
            instance: Some("sales"),
            server_url: Some(br#""https:\/\/evo.example""#),
            reason: DeadReason::Exhausted,
            attempts: 10,
            first_attempt_ms: Some(1_778_311_200_000),
            last_attempt_ms: Some(1_778_311_799_999),
            message: "the receiver answered 503",
            status: Some(503),
            reply: Some("{\"oops\":\"é\"}".as_bytes()),
        };
        assert_eq!(
            written(&failure),
            concat!(
                r#"{"event":"error","instance":"sales","data":{"error":"Delivery failed","#,
                r#""message":"the receiver answered 503","status":503,"response":{"message":"{\"oops\":\"é\"}"},"#,
                r#""delivery":{"id":"msg_1","destination":"instance:sales","url":"https://h.example/hook","#,
                r#""event":"messages.upsert","reason":"exhausted","attempts":10,"#,
                r#""first_attempt":"2026-05-09T07:20:00.000Z","last_attempt":"2026-05-09T07:29:59.999Z"}},"#,
                r#""date_time":"2026-05-09T07:30:00.042Z","server_url":"https:\/\/evo.example"}"#
            )
        );
    }

    #[test]
    fn an_unreadable_entry_has_nulls() {
        assert_eq!(
            written(&unreadable()),
            concat!(
                r#"{"event":"error","instance":null,"data":{"error":"Delivery failed","#,
                r#""message":"the payload has no `event`","status":null,"response":{"message":null},"#,
                r#""delivery":{"id":"1778311800000-0","destination":null,"url":null,"event":null,"#,
                r#""reason":"unreadable","attempts":0,"first_attempt":null,"last_attempt":null}},"#,
                r#""date_time":"2026-05-09T07:30:00.042Z"}"#
            )
        );
    }

    #[test]
    fn a_server_url_with_a_secret_loses_it() {
        let with = |json: &'static str| {
            let body = written(&Failure { server_url: Some(json.as_bytes()), ..unreadable() });
            serde_json::from_str::<Value>(&body).unwrap().get("server_url").cloned()
        };
        assert_eq!(with(r#""https://u:p4ss@evo/?k=1""#), Some("https://evo/".into()));
        assert_eq!(with("null"), Some(Value::Null));
        assert_eq!(with(r#"{"apikey":"s3cret"}"#), None);
    }

    #[test]
    fn a_reply_does_not_give_away_the_secrets_it_repeats() {
        let secrets: [&[u8]; 3] = [b"B6D711", b"B6D711-longer", b"abc"];
        let masked = without_secrets(b"key B6D711, B6D711-longer abc \xff B6D71", &secrets);
        assert_eq!(masked, b"key ***, *** abc \xff B6D71");
    }

    #[test]
    fn a_reply_is_told_as_text_up_to_1_kib() {
        assert_eq!(text(b""), None);
        assert_eq!(text(b"a\xffb").unwrap(), "a\u{fffd}b");
        assert_eq!(text("é".repeat(1000).as_bytes()).unwrap(), "é".repeat(512));
        assert_eq!(
            text(format!("a{}", "é".repeat(1000)).as_bytes()).unwrap(),
            format!("a{}", "é".repeat(511))
        );
    }

    proptest! {
        #[test]
        fn whatever_failed_the_body_is_json(
            id in ".*", event in ".*", instance in ".*", url in ".*", message in ".*",
            reply in proptest::collection::vec(any::<u8>(), 0..2000), at: u64, now: u64,
            server_url in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let failure = Failure {
                id: &id, event: Some(&event), instance: Some(&instance), url: Some(&url), message: &message,
                reply: Some(&reply), server_url: Some(&server_url), first_attempt_ms: Some(at), ..unreadable()
            };
            let body: Value = serde_json::from_slice(&error_event(&failure, now)).unwrap();
            prop_assert_eq!(body["instance"].as_str(), Some(instance.as_str()));
        }
    }
}
