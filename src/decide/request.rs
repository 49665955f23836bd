//! The request of an attempt.

use http::HeaderMap;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};

use super::route::{Routes, join_url};
use super::sign::{bearer_token, signature_header};
use super::strip::base64_cuts;
use crate::model::{Delivery, Post, Target};

const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_ATTEMPT: HeaderName = HeaderName::from_static("webhook-attempt");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What is sent for a delivery to its target at `now_s` (Unix seconds).
pub fn post(delivery: &Delivery, target: &Target, routes: &Routes, now_s: u64) -> Post {
    let envelope = &delivery.event.envelope;
    let url = if target.by_events {
        join_url(&target.url, &routes.suffix(envelope.name()))
    } else {
        target.url.to_string()
    };
    let body = match &target.destination_json {
        Some(destination) => {
            let cuts = if target.base64 { Vec::new() } else { base64_cuts(envelope) };
            envelope.body(destination, &cuts)
        }
        None => envelope.payload().clone(),
    };
    let headers = headers(delivery, target, now_s, &body);
    Post { url, owner: target.owner, headers, body }
}

fn headers(delivery: &Delivery, target: &Target, now_s: u64, body: &[u8]) -> HeaderMap {
    let event = &delivery.event;
    let mut headers = HeaderMap::with_capacity(9 + target.headers.len());
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(USER_AGENT, HeaderValue::from_static(concat!("posthaste/", env!("CARGO_PKG_VERSION"))));
    if let Some(traceparent) = event.traceparent.as_deref().and_then(|text| HeaderValue::from_str(text).ok())
    {
        headers.insert(TRACEPARENT, traceparent);
    }
    // The destination's own come after the defaults they may replace, and before those that identify the attempt.
    for name in target.headers.keys() {
        headers.remove(name);
    }
    for (name, value) in &target.headers {
        headers.append(name, value.clone());
    }
    if let Some(mut value) = target
        .jwt_key
        .as_ref()
        .and_then(|key| HeaderValue::try_from(format!("Bearer {}", bearer_token(key, now_s))).ok())
    {
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    if let Ok(id) = HeaderValue::from_str(event.id.as_str()) {
        headers.insert(WEBHOOK_ID, id);
    }
    headers.insert(WEBHOOK_TIMESTAMP, now_s.into());
    headers.insert(WEBHOOK_ATTEMPT, delivery.attempt.into());
    if let Some(signature) = signature_header(&target.signers, event.id.as_str(), now_s, body)
        && let Ok(value) = HeaderValue::try_from(signature)
    {
        headers.insert(WEBHOOK_SIGNATURE, value);
    }
    headers
}
