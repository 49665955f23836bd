//! What the head of a request says of the events in its body.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};

use super::super::ApiError;
use super::report::Refusal;
use crate::decide::webhook::CustomEvents;
use crate::model::{EnvelopeError, EventId, EventName, is_traceparent};
use crate::store::{PublishError, Published};

/// A key under which a producer may send an event several times, and it is taken once.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The same of Standard Webhooks; it is also the id under which receivers get the event.
const WEBHOOK_ID: &str = "webhook-id";
const TRACEPARENT: &str = "traceparent";
/// What bodies of one value a line are called.
const LINES: [&str; 6] = [
    "application/x-ndjson",
    "application/ndjson",
    "application/jsonl",
    "application/x-jsonl",
    "application/jsonlines",
    "application/x-jsonlines",
];

/// What a request says of its events.
#[derive(Debug)]
pub(super) struct Ask {
    /// Whether the body is one value a line.
    pub(super) is_lines: bool,
    /// How many bytes the body has, if it told.
    pub(super) length: Option<u64>,
    /// The key under which its one event is taken once.
    pub(super) key: Option<EventId>,
    /// The id of its one event.
    id: Option<EventId>,
    traceparent: Option<String>,
    /// The `event` of envelopes that have none, and the route it was taken from.
    event: Option<String>,
    route: Option<String>,
    max_event_bytes: usize,
}

impl Ask {
    /// Reads a head. `route` is what of the path names an event.
    pub(super) fn read(
        headers: &HeaderMap,
        route: Option<&str>,
        max_event_bytes: usize,
        custom: &CustomEvents,
    ) -> Result<Self, ApiError> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(coding) =
            text("content-encoding").filter(|coding| !coding.eq_ignore_ascii_case("identity"))
        {
            let message = format!("content-encoding '{coding}' is not understood: send the body as it is");
            return Err(ApiError::bad_request(message));
        }
        let media_type =
            text("content-type").unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let (key, id) = (given_id(headers, IDEMPOTENCY_KEY)?, given_id(headers, WEBHOOK_ID)?);
        Ok(Self {
            is_lines: LINES.iter().any(|lines| media_type.eq_ignore_ascii_case(lines)),
            length: text(header::CONTENT_LENGTH.as_str()).and_then(|length| length.parse().ok()),
            id: id.clone().or_else(|| key.clone()),
            key: key.or(id),
            traceparent: text(TRACEPARENT).filter(|text| is_traceparent(text)).map(str::to_owned),
            event: route.and_then(|route| event_of(route, custom)),
            route: route.map(str::to_owned),
            max_event_bytes,
        })
    }

    /// The event that `payload` is, or why it is none.
    pub(super) fn event(&self, payload: &Bytes) -> Result<Published, Refusal> {
        let event = match Published::new(payload.clone()) {
            Err(PublishError::Envelope(EnvelopeError::NoEvent)) => self.named_by_route(payload)?,
            event => event.map_err(|error| invalid(error.to_string()))?,
        };
        Ok(match &self.traceparent {
            Some(traceparent) => event.with_traceparent(traceparent),
            None => event,
        })
    }

    /// The same, of the one event of a request: with its id.
    pub(super) fn single(&self, payload: &Bytes) -> Result<Published, Refusal> {
        let event = self.event(payload)?;
        match &self.id {
            Some(id) => event.with_id(id.as_str()).map_err(|error| invalid(error.to_string())),
            None => Ok(event),
        }
    }

    /// The id that the one event of a request is known by, where it has one of its own.
    pub(super) fn id(&self) -> Option<&EventId> {
        self.id.as_ref()
    }

    /// Why an event of so many bytes is refused.
    pub(super) fn too_large(&self, bytes: u64) -> Refusal {
        let why = format!("the event has {bytes} bytes, MAX_EVENT_BYTES allows {}", self.max_event_bytes);
        Refusal { status: StatusCode::PAYLOAD_TOO_LARGE, why }
    }

    /// An envelope without `event`, with the one that the route stands for.
    fn named_by_route(&self, payload: &Bytes) -> Result<Published, Refusal> {
        let Some(event) = &self.event else {
            return Err(invalid(match &self.route {
                Some(route) => {
                    format!("the payload has no `event`, and the route '{route}' is no known event's")
                }
                None => EnvelopeError::NoEvent.to_string(),
            }));
        };
        let (start, rest) = payload.split_at(1);
        let is_empty = rest.trim_ascii_start().starts_with(b"}");
        // A name is text, which JSON can always hold.
        let name = serde_json::to_string(event).unwrap_or_default();
        let mut named = BytesMut::with_capacity(payload.len() + name.len() + 10);
        named.put_slice(start);
        named.put_slice(b"\"event\":");
        named.put_slice(name.as_bytes());
        named.put_slice(if is_empty { b"" } else { b"," });
        named.put_slice(rest);
        if named.len() > self.max_event_bytes {
            return Err(self.too_large(named.len() as u64));
        }
        Published::new(named.freeze()).map_err(|error| invalid(error.to_string()))
    }
}

/// A header that names an event. The quotes of a structured field (the draft of Idempotency-Key has them) are not part
/// of it.
fn given_id(headers: &HeaderMap, name: &str) -> Result<Option<EventId>, ApiError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let text = value.to_str().unwrap_or("\u{fffd}").trim();
    let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
    match EventId::parse(bare) {
        Ok(id) => Ok(Some(id)),
        Err(error) => Err(ApiError::unprocessable(format!("{name}: {error}"))),
    }
}

/// The event that a route stands for, spelt as Evolution API spells it.
fn event_of(route: &str, custom: &CustomEvents) -> Option<String> {
    let name = match route {
        "message-set" => EventName::parse("MESSAGES_SET").ok()?,
        route => EventName::parse(route).ok()?,
    };
    if !custom.allow(&name) {
        return None;
    }
    Some(match name.as_str() {
        "GROUP_PARTICIPANTS_UPDATE" => "group-participants.update".to_owned(),
        "TYPEBOT_CHANGE_STATUS" => "typebot.change-status".to_owned(),
        "NEW_TOKEN" => "new.jwt".to_owned(),
        known if name.is_known() => known.to_ascii_lowercase().replace('_', "."),
        _ => route.to_owned(),
    })
}

fn invalid(why: String) -> Refusal {
    Refusal { status: StatusCode::UNPROCESSABLE_ENTITY, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(pairs: &[(&'static str, &str)], route: Option<&str>) -> Result<Ask, ApiError> {
        let headers =
            pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        Ask::read(&headers, route, 100, &CustomEvents::default())
    }

    #[test]
    fn either_header_names_the_event_and_with_both_each_has_its_part() {
        for header in ["idempotency-key", "webhook-id"] {
            let ask = ask(&[(header, "\"a-1\"")], None).unwrap();
            assert_eq!((ask.key.unwrap().as_str(), ask.id.unwrap().as_str()), ("a-1", "a-1"));
        }
        let both = ask(&[("idempotency-key", "k"), ("webhook-id", "i")], None).unwrap();
        assert_eq!((both.key.unwrap().as_str(), both.id.unwrap().as_str()), ("k", "i"));
        for bad in ["", "a b", &"x".repeat(129)] {
            assert!(ask(&[("idempotency-key", bad)], None).is_err(), "{bad}");
        }
    }

    #[test]
    fn lines_are_told_by_the_content_type() {
        assert!(ask(&[("content-type", "Application/X-NDJSON; charset=utf-8")], None).unwrap().is_lines);
        for other in ["application/json", "text/plain", ""] {
            assert!(!ask(&[("content-type", other)], None).unwrap().is_lines);
        }
    }

    #[test]
    fn a_route_names_events_that_have_no_name() {
        for (route, event) in [
            ("messages-upsert", "messages.upsert"),
            ("message-set", "messages.set"),
            ("messages-set", "messages.set"),
            ("new-jwt", "new.jwt"),
            ("group-participants-update", "group-participants.update"),
            ("typebot-change-status", "typebot.change-status"),
            ("CALL", "call"),
        ] {
            let named = ask(&[], Some(route)).unwrap();
            assert_eq!(named.event.as_deref(), Some(event));
            // Whatever it is called, it is read as the same event again.
            let parsed = EventName::parse(event).unwrap();
            assert!(parsed.is_known(), "{event}");
        }
        assert_eq!(ask(&[], Some("order-paid")).unwrap().event, None);
    }
}
