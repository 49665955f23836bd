//! The envelope: an event as it was pushed, read once.
//!
//! Nothing is re-serialised. Reading yields where the members of interest lie in the pushed bytes, so that what is
//! sent is those bytes with `destination` replaced: big integers, key order, duplicate keys, escapes and white
//! space reach the receiver as the producer wrote them. `serde_json` skips over raw values without recursion, so
//! the depth of nesting is of no concern.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::body::Building;
use super::{Body, DestinationMember, EventName, EventNameError};

/// A pushed event, with the places of the members that matter.
#[derive(Clone, Debug)]
pub struct Envelope {
    payload: Bytes,
    name: EventName,
    /// Where the value of `event` lies.
    event: Range<usize>,
    instance: Option<Arc<str>>,
    data: Option<Range<usize>>,
    server_url: Option<Range<usize>>,
    destinations: Vec<Range<usize>>,
    /// Where a `destination` member is put when there is none: behind `data`, else behind the first member.
    insert_at: Range<usize>,
}

/// Why bytes are not an envelope.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not JSON, or not an object.
    #[error("the payload is not a JSON object: {0}")]
    NotAnObject(String),
    /// No `event` member.
    #[error("the payload has no `event`")]
    NoEvent,
    /// `event` is not a string, or an empty one.
    #[error("`event` is not a non-empty string")]
    BadEvent,
    /// `instance` is neither a string nor null.
    #[error("`instance` is neither a string nor null")]
    BadInstance,
}

impl From<EventNameError> for EnvelopeError {
    fn from(_: EventNameError) -> Self {
        Self::BadEvent
    }
}

impl Envelope {
    /// Reads what was pushed. Of duplicate keys the last counts, as in every common JSON parser.
    ///
    /// # Errors
    /// When `payload` is not a JSON object with an `event`, or `event` or `instance` have the wrong type.
    pub fn parse(payload: Bytes) -> Result<Self, EnvelopeError> {
        let members =
            object_members(&payload).map_err(|error| EnvelopeError::NotAnObject(error.to_string()))?;
        let (mut event, mut instance, mut data, mut server_url) = (None, None, None, None);
        let mut destinations = Vec::new();
        for member in &members {
            match &*member.key {
                b"event" => event = Some(member.value.clone()),
                b"instance" => instance = Some(member.value.clone()),
                b"data" => data = Some(member.value.clone()),
                b"server_url" => server_url = Some(member.value.clone()),
                b"destination" => destinations.push(member.value.clone()),
                _ => {}
            }
        }
        let event = event.ok_or(EnvelopeError::NoEvent)?;
        let name: String =
            serde_json::from_slice(&payload[event.clone()]).map_err(|_| EnvelopeError::BadEvent)?;
        let instance = match instance {
            Some(place) => serde_json::from_slice::<Option<String>>(&payload[place])
                .map_err(|_| EnvelopeError::BadInstance)?
                .filter(|instance| !instance.is_empty())
                .map(Arc::from),
            None => None,
        };
        let end = data.as_ref().unwrap_or(&event).end;
        let name = EventName::parse(&name)?;
        Ok(Self { payload, name, event, instance, data, server_url, destinations, insert_at: end..end })
    }

    /// The event's canonical name.
    pub fn name(&self) -> &EventName {
        &self.name
    }

    /// The event's name as the producer wrote it (`messages.upsert`).
    pub fn written_name(&self) -> String {
        serde_json::from_slice(&self.payload[self.event.clone()]).unwrap_or_else(|_| self.name.to_string())
    }

    /// The member `apikey`, where it is a string: a secret that receivers may repeat in their answers.
    pub fn api_key(&self) -> Option<String> {
        let members = object_members(&self.payload).ok()?;
        let member = members.iter().rfind(|member| *member.key == *b"apikey")?;
        serde_json::from_slice(&self.payload[member.value.clone()]).ok()
    }

    /// The instance the event belongs to; an empty one counts as none.
    pub fn instance(&self) -> Option<&Arc<str>> {
        self.instance.as_ref()
    }

    /// The bytes that were pushed.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Where the value of `data` lies in [`Self::payload`].
    pub fn data(&self) -> Option<&Range<usize>> {
        self.data.as_ref()
    }

    /// The value of `server_url` as it was pushed (JSON), if any.
    pub fn server_url(&self) -> Option<&[u8]> {
        self.server_url.clone().map(|place| &self.payload[place])
    }

    /// The body of a POST: what was pushed, less the bytes in `cuts`, with `destination` set.
    ///
    /// `cuts` are ranges of [`Self::payload`] in rising order that lie within `data`.
    pub fn body(&self, destination: &DestinationMember, cuts: &[Range<usize>]) -> Body {
        let (places, text) = self.edits(destination);
        let gone: usize = cuts.iter().chain(places).map(Range::len).sum();
        let pieces = 1 + cuts.len() + 2 * places.len();
        let bytes = self.payload.len() - gone + places.len() * text.len();
        self.built(Building::of(pieces, bytes), (places, &text), cuts)
    }

    /// How many bytes a body of it takes up at most beside [`Self::payload`]: what it copies of it. Only an array can
    /// lose so much here and there that what is left of a large one is copied all the same.
    pub fn body_bytes(&self) -> usize {
        match self.data.as_ref().and_then(|data| self.payload.get(data.start)) {
            Some(b'[') => self.payload.len(),
            _ => self.payload.len().min(Body::COPIED_BYTES),
        }
    }

    /// Where something is set, and what: the value of each `destination` that was pushed, or a member where there is
    /// none.
    fn edits(&self, destination: &DestinationMember) -> (&[Range<usize>], Bytes) {
        match &self.destinations[..] {
            [] => (std::slice::from_ref(&self.insert_at), destination.member().clone()),
            pushed => (pushed, destination.value()),
        }
    }

    fn built(
        &self,
        mut body: Building,
        (places, text): (&[Range<usize>], &Bytes),
        cuts: &[Range<usize>],
    ) -> Body {
        let mut cuts = cuts.iter().peekable();
        let mut at = 0;
        for place in places {
            while let Some(cut) = cuts.next_if(|cut| cut.start < place.start) {
                body.keep(&self.payload, at..cut.start);
                at = cut.end;
            }
            body.keep(&self.payload, at..place.start);
            body.set(text);
            at = place.end;
        }
        for cut in cuts {
            body.keep(&self.payload, at..cut.start);
            at = cut.end;
        }
        body.keep(&self.payload, at..self.payload.len());
        body.done()
    }
}

/// One member of a JSON object: its key (unescaped) and where its value lies.
#[derive(Debug)]
pub(crate) struct Member<'a> {
    pub(crate) key: Key<'a>,
    pub(crate) value: Range<usize>,
}

/// The members of the JSON object `json`, with places relative to its start. Fails when it is not an object.
pub(crate) fn object_members(json: &[u8]) -> serde_json::Result<Vec<Member<'_>>> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let members = reader.deserialize_map(Members { json })?;
    reader.end()?;
    Ok(members)
}

/// The places of the elements of the JSON array `json`, relative to its start. Fails when it is not an array.
pub(crate) fn array_elements(json: &[u8]) -> serde_json::Result<Vec<Range<usize>>> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let elements = reader.deserialize_seq(Elements { json })?;
    reader.end()?;
    Ok(elements)
}

/// Where `part`, which was borrowed from `whole`, lies in it.
fn place_of(part: &RawValue, whole: &[u8]) -> Range<usize> {
    let start = part.get().as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.get().len()
}

struct Members<'a> {
    json: &'a [u8],
}

impl<'a> Visitor<'a> for Members<'a> {
    type Value = Vec<Member<'a>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(8);
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let value = place_of(map.next_value::<&RawValue>()?, self.json);
            members.push(Member { key, value });
        }
        Ok(members)
    }
}

struct Elements<'a> {
    json: &'a [u8],
}

impl<'a> Visitor<'a> for Elements<'a> {
    type Value = Vec<Range<usize>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element::<&RawValue>()? {
            elements.push(place_of(element, self.json));
        }
        Ok(elements)
    }
}

/// A key as bytes: JavaScript can write keys with lone surrogates, which a `str` cannot hold.
pub(crate) type Key<'a> = std::borrow::Cow<'a, [u8]>;

struct KeySeed;

impl<'a> DeserializeSeed<'a> for KeySeed {
    type Value = Key<'a>;

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<Key<'a>, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl<'a> Visitor<'a> for KeySeed {
    type Value = Key<'a>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_bytes<E>(self, key: &'a [u8]) -> Result<Key<'a>, E> {
        Ok(Key::Borrowed(key))
    }

    fn visit_borrowed_str<E>(self, key: &'a str) -> Result<Key<'a>, E> {
        Ok(Key::Borrowed(key.as_bytes()))
    }

    fn visit_bytes<E>(self, key: &[u8]) -> Result<Key<'a>, E> {
        Ok(Key::Owned(key.to_vec()))
    }

    fn visit_str<E>(self, key: &str) -> Result<Key<'a>, E> {
        Ok(Key::Owned(key.as_bytes().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    fn parse(json: &str) -> Result<Envelope, EnvelopeError> {
        Envelope::parse(Bytes::copy_from_slice(json.as_bytes()))
    }

    /// The body, whether or not it is copied.
    fn body(json: &str) -> String {
        let (envelope, destination) = (parse(json).unwrap(), DestinationMember::new("http://h/"));
        let (places, text) = envelope.edits(&destination);
        let read = |body: Body| String::from_utf8(body.pieces().collect::<Vec<_>>().concat()).unwrap();
        let pieces = read(envelope.built(Building::Pieces(VecDeque::new()), (places, &text), &[]));
        assert_eq!(read(envelope.body(&destination, &[])), pieces);
        pieces
    }

    #[test]
    fn reads_event_and_instance() {
        let envelope = parse(r#"{"event":"messages.upsert","instance":"sales","data":[1]}"#).unwrap();
        assert_eq!(envelope.name().as_str(), "MESSAGES_UPSERT");
        assert_eq!(envelope.written_name(), "messages.upsert");
        assert_eq!(envelope.instance().map(|i| &**i), Some("sales"));
        assert_eq!(&envelope.payload()[envelope.data().unwrap().clone()], b"[1]");
        assert!(parse(r#"{"event":"x","instance":null}"#).unwrap().instance().is_none());
        assert!(parse(r#"{"event":"x","instance":""}"#).unwrap().instance().is_none());
    }

    #[test]
    fn sets_destination_and_keeps_every_other_byte() {
        assert_eq!(
            body(
                "{ \"event\" : \"x\", \"data\": 12345678901234567890123, \"a\":1.0,\"a\":1e3, \"s\":\"\\u00e9\\/\" }"
            ),
            "{ \"event\" : \"x\", \"data\": 12345678901234567890123,\"destination\":\"http://h/\", \"a\":1.0,\"a\":1e3, \"s\":\"\\u00e9\\/\" }"
        );
        assert_eq!(
            body(r#"{"destination":"old","event":"x","destination":{"a":1}}"#),
            r#"{"destination":"http://h/","event":"x","destination":"http://h/"}"#
        );
        assert_eq!(body(r#"{"event":"x"}"#), r#"{"event":"x","destination":"http://h/"}"#);
        assert_eq!(
            body(r#"{"e\u0076ent":"x","d\u0061ta":1}"#),
            r#"{"e\u0076ent":"x","d\u0061ta":1,"destination":"http://h/"}"#
        );
    }

    #[test]
    fn refuses_what_is_not_an_envelope() {
        for json in ["", "nope", "[]", "5", "\"event\"", "null", "{\"event\":\"x\"", "{\"event\":\"x\"} x"] {
            assert!(matches!(parse(json), Err(EnvelopeError::NotAnObject(_))), "{json}");
        }
        assert_eq!(parse("{}").unwrap_err(), EnvelopeError::NoEvent);
        for json in [r#"{"event":5}"#, r#"{"event":""}"#, r#"{"event":null}"#] {
            assert_eq!(parse(json).unwrap_err(), EnvelopeError::BadEvent, "{json}");
        }
        assert_eq!(parse(r#"{"event":"x","instance":5}"#).unwrap_err(), EnvelopeError::BadInstance);
        assert!(Envelope::parse(Bytes::from_static(b"{\"event\":\"\xff\"}")).is_err());
        assert!(Envelope::parse(Bytes::from_static(b"{\"event\":\"x\",\"data\":\"\xff\"}")).is_err());
    }

    #[test]
    fn deep_nesting_and_lone_surrogates_are_carried_through() {
        let deep = format!(r#"{{"event":"x","data":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(parse(&deep).is_ok());
        assert!(parse(r#"{"event":"x","data":"\ud800","\udfff":1}"#).is_ok());
    }
}
