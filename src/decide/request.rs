//! The request of an attempt.

use std::borrow::Cow;
use std::sync::{Arc, LazyLock};

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{HeaderMap, Uri};

use super::route::{Routes, join_url};
use super::sign::{bearer, signature_over};
use super::strip::base64_cuts;
use crate::model::{Body, Delivery, EventName, Post, Target, TransportError};

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_ATTEMPT: HeaderName = HeaderName::from_static("webhook-attempt");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// How many headers an attempt has beyond those of the template: the five above, a token or the authorization of a
/// proxy, and `host` and `content-length`, which HTTP adds.
const OF_AN_ATTEMPT: usize = 9;

/// What every destination has that sets no headers of its own.
static DEFAULTS: LazyLock<Arc<HeaderMap>> = LazyLock::new(|| {
    let mut headers = HeaderMap::with_capacity(3);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("posthaste/", env!("CARGO_PKG_VERSION"))));
    Arc::new(headers)
});

/// The headers that every attempt at a destination has: the defaults, the destination's own in their place, and without
/// one of its own the `authorization` of its URL.
pub(super) fn template(own: HeaderMap, authorization: Option<HeaderValue>) -> Arc<HeaderMap> {
    if own.is_empty() && authorization.is_none() {
        return Arc::clone(&DEFAULTS);
    }
    let mut headers = HeaderMap::clone(&DEFAULTS);
    headers.extend(own);
    if let Some(authorization) = authorization {
        headers.entry(AUTHORIZATION).or_insert(authorization);
    }
    Arc::new(headers)
}

/// What is sent for a delivery to its target at `now_s` (Unix seconds).
///
/// # Errors
/// When no request can be made: the event's name makes a route that is too long for a URL.
pub fn post<'a>(
    delivery: &Delivery,
    target: &'a Target,
    routes: &Routes,
    now_s: u64,
) -> Result<Post<'a>, TransportError> {
    let envelope = &delivery.event.envelope;
    let body = match &target.destination {
        Some(destination) => {
            let cuts = if target.base64 { Vec::new() } else { base64_cuts(envelope) };
            envelope.body(destination, &cuts)
        }
        None => envelope.payload().clone().into(),
    };
    let uri = uri(target, envelope.name(), routes)
        .map_err(|error| TransportError::BadRequest(format!("its URL with the event's route: {error}")))?;
    let headers = headers(delivery, target, now_s, &body);
    Ok(Post { uri, host: target.endpoint.host(), owner: target.owner, headers, body })
}

fn uri(target: &Target, event: &EventName, routes: &Routes) -> Result<Uri, http::Error> {
    match target.by_events {
        true => target.endpoint.with_route(&routes.suffix(event)),
        false => Ok(target.endpoint.uri().clone()),
    }
}

/// Where an event is sent, as the URL was written.
pub fn url<'a>(target: &'a Target, event: &EventName, routes: &Routes) -> Cow<'a, str> {
    match target.by_events {
        true => join_url(&target.url, &routes.suffix(event)).into(),
        false => Cow::Borrowed(&target.url),
    }
}

fn headers(delivery: &Delivery, target: &Target, now_s: u64, body: &Body) -> HeaderMap {
    let event = &delivery.event;
    // With room for all from the start: a clone of the template would have to grow twice.
    let mut headers = HeaderMap::with_capacity(target.headers.len() + OF_AN_ATTEMPT);
    headers.extend(target.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
    if let Some(traceparent) = event.traceparent.as_deref().and_then(|text| HeaderValue::from_str(text).ok())
    {
        headers.entry(TRACEPARENT).or_insert(traceparent);
    }
    if let Some(key) = &target.jwt_key
        && let Ok(mut value) = HeaderValue::try_from(bearer(key, now_s))
    {
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    let id = event.id.as_str();
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(WEBHOOK_ID, id);
    }
    let timestamp = HeaderValue::from(now_s);
    if let Some(signatures) = signature_over(&target.signers, id, timestamp.as_bytes(), &body.pieces())
        && let Ok(value) = HeaderValue::try_from(signatures)
    {
        headers.insert(WEBHOOK_SIGNATURE, value);
    }
    headers.insert(WEBHOOK_TIMESTAMP, timestamp);
    let attempt = match delivery.attempt {
        // As most are.
        1 => HeaderValue::from_static("1"),
        attempt => attempt.into(),
    };
    headers.insert(WEBHOOK_ATTEMPT, attempt);
    headers
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;
    use crate::decide::webhook::{self, CustomEvents};
    use crate::model::{
        Destination, EntryId, Envelope, Event, EventId, EventKey, Held, Receipt, Signer, Source,
    };

    fn own(headers: &[(&'static str, &'static str)]) -> HeaderMap {
        headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn shown(headers: &HeaderMap) -> Vec<String> {
        let mut shown: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        shown.sort();
        shown
    }

    const AGENT: &str = concat!("user-agent: posthaste/", env!("CARGO_PKG_VERSION"));

    #[test]
    fn a_destinations_own_headers_take_the_place_of_the_defaults() {
        let basic = || Some(HeaderValue::from_static("Basic YTpi"));
        assert_eq!(
            shown(&template(own(&[]), None)),
            ["accept: */*", "content-type: application/json", AGENT]
        );
        assert_eq!(
            shown(&template(own(&[]), basic())),
            ["accept: */*", "authorization: Basic YTpi", "content-type: application/json", AGENT]
        );
        let all = [("accept", "a"), ("authorization", "b"), ("content-type", "c"), ("user-agent", "d")];
        let replaced = ["accept: a", "authorization: b", "content-type: c", "user-agent: d", "x-own: e"];
        assert_eq!(shown(&template(own(&[&all[..], &[("x-own", "e")]].concat()), basic())), replaced);
    }

    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn delivery(name: &str, attempt: u32) -> Delivery {
        let envelope = Envelope::parse(format!(r#"{{"event":"{name}","data":1}}"#).into()).unwrap();
        let receipt =
            Receipt::new(&Held::default(), Source::Stream, EntryId::new("1-0"), "test".into(), 1, 0);
        let event = Event {
            key: EventKey::new("1-0"),
            id: EventId::parse("id-1").unwrap(),
            pushed_ms: 0,
            traceparent: Some(TRACE.into()),
            envelope,
        };
        let target = Err(TransportError::Other("not asked".to_owned()));
        let first = Delivery::first(Arc::new(receipt), Arc::new(event), Destination::Global, target);
        Delivery { attempt, ..first }
    }

    fn target(json: &str) -> Target {
        let webhook = webhook::parse(json.as_bytes(), &CustomEvents::Any).unwrap();
        webhook::target(&webhook).unwrap()
    }

    /// What is sent of an event `X` to this webhook, beside the defaults.
    fn sent(json: &str, attempt: u32) -> (String, Vec<String>) {
        let (delivery, target) = (delivery("X", attempt), target(json));
        let post = post(&delivery, &target, &Routes::default(), 1_700_000_000).unwrap();
        let defaults = shown(&DEFAULTS);
        let mut headers = shown(&post.headers);
        headers.retain(|header| !defaults.contains(header));
        (post.uri.to_string(), headers)
    }

    #[test]
    fn an_attempt_has_headers_of_its_own() {
        let trace = format!("traceparent: {TRACE}");
        assert_eq!(
            sent(r#"{"url":"https://u:p@h/a?b"}"#, 1),
            (
                "https://h/a?b".to_owned(),
                vec![
                    "authorization: Basic dTpw".to_owned(),
                    trace.clone(),
                    "webhook-attempt: 1".to_owned(),
                    "webhook-id: id-1".to_owned(),
                    "webhook-timestamp: 1700000000".to_owned(),
                ]
            )
        );
        let (uri, headers) = sent(
            r#"{"url":"https://u:p@h/a?b","byEvents":true,"secret":["YWJjZA","ZWZnaA"],"headers":{"jwt_key":"k"}}"#,
            23,
        );
        assert_eq!(uri, "https://h/a/x?b");
        assert_eq!((headers.len(), &headers[1], headers[2].as_str()), (6, &trace, "webhook-attempt: 23"));
        assert!(headers[0].starts_with("authorization: Bearer ey"), "{headers:?}");
        let signed = r#"id-1.1700000000.{"event":"X","data":1,"destination":"https://u:p@h/a?b"}"#;
        let signature = |key: &[u8]| STANDARD.encode(Signer::new(key.to_vec()).mac([signed.as_bytes()]));
        assert_eq!(
            headers[4],
            format!("webhook-signature: v1,{} v1,{}", signature(b"abcd"), signature(b"efgh"))
        );
    }

    #[test]
    fn a_destinations_own_headers_take_the_place_of_those_of_the_event_and_the_url() {
        let json = r#"{"url":"https://u:p@h/","headers":{"Traceparent":"mine","Authorization":"Bearer 1","Host":"i"}}"#;
        let (_, headers) = sent(json, 1);
        assert_eq!(headers[..3], ["authorization: Bearer 1", "host: i", "traceparent: mine"]);
        assert_eq!(headers.len(), 6);
    }

    #[test]
    fn an_event_whose_name_is_too_long_for_a_url_fails_as_an_attempt() {
        let (delivery, target) =
            (delivery(&"x".repeat(70_000), 1), target(r#"{"url":"https://h/","byEvents":true}"#));
        let error = post(&delivery, &target, &Routes::default(), 0).unwrap_err();
        assert!(matches!(&error, TransportError::BadRequest(why) if why.contains("too long")), "{error}");
    }
}
