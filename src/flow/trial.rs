//! A trial: one attempt of a sample event at an instance's webhook, here and now, outside of the queue.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use url::Url;

use super::attempt::unix_ms;
use crate::decide::error_event::without_secrets;
use crate::decide::route::Routes;
use crate::decide::sample::sample;
use crate::decide::webhook::WebhookError;
use crate::decide::{fan_out, request, webhook};
use crate::http::Client;
use crate::model::{
    Delivery, Destination, EntryId, Envelope, Event, EventId, EventKey, EventName, Held, Outcome, Receipt,
    Source, Target, Webhook, display_url,
};

/// What the worker sends first to an instance whose webhook names no events.
const USUAL: &str = "messages.upsert";

/// What a trial came to.
#[derive(Debug)]
pub struct Trial {
    /// Where it was sent, as it may be shown.
    pub url: String,
    /// The event that was sent a sample of.
    pub event: EventName,
    /// The sample's id; begins with `test-`.
    pub id: EventId,
    /// Why the worker would not send this event there, where it would not.
    pub why_not: Option<String>,
    /// What the attempt came to.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
    /// Whether it was signed.
    pub signed: bool,
    /// The start of the reply; secrets of the webhook that the receiver repeated are masked.
    pub reply: String,
}

/// Sends a sample of `event` (none: the first the webhook lists, or `messages.upsert`) exactly as the worker would make
/// the first attempt: route, headers, signature and all. It is neither queued nor retried, and becomes no dead letter.
///
/// # Errors
/// When the webhook cannot be sent to at all: it is switched off and has no URL.
pub async fn try_out(
    client: &Client,
    routes: &Routes,
    (instance, webhook): (&str, &Webhook),
    event: Option<EventName>,
) -> Result<Trial, WebhookError> {
    let event = event.or_else(|| webhook.events.first().cloned());
    let event = event.unwrap_or_else(|| EventName::parse(USUAL).expect("it is a name"));
    let why_not = fan_out::instance(Some(webhook), Some(instance), &event).err().map(|why| why.to_string());
    let target = webhook::target(webhook)?;
    let now_ms = unix_ms();
    let delivery = delivery(instance, &event, target.clone(), now_ms);
    let url = display_url(&request::url(&target, &event, routes));
    let started = Instant::now();
    let (sent, outcome) = match request::post(&delivery, &target, routes, now_ms / 1000) {
        Ok(post) => (post.headers.clone(), client.post(post).await),
        Err(error) => (HeaderMap::new(), Outcome::Failed(error)),
    };
    let reply = match &outcome {
        Outcome::Replied(reply) => masked(&reply.start, webhook, &sent),
        Outcome::Failed(_) => String::new(),
    };
    let (took, signed) = (started.elapsed(), !webhook.secrets.is_empty());
    Ok(Trial { url, event, id: delivery.event.id.clone(), why_not, outcome, took, signed, reply })
}

impl Trial {
    /// As programs read it: `{"delivered","url","event","id","why_not","status","outcome","error","took_ms","signed",
    /// "reply"}`. `status` is null where no answer came, and `error` is null where one did.
    pub fn as_json(&self) -> Value {
        let error = match &self.outcome {
            Outcome::Replied(_) => None,
            Outcome::Failed(error) => Some(json!({ "kind": error.kind(), "message": error.to_string() })),
        };
        json!({
            "delivered": self.outcome.is_success(),
            "url": self.url,
            "event": self.event.as_str(),
            "id": self.id.as_str(),
            "why_not": self.why_not,
            "status": self.outcome.status(),
            "outcome": self.outcome.summary(),
            "error": error,
            "took_ms": u64::try_from(self.took.as_millis()).unwrap_or(u64::MAX),
            "signed": self.signed,
            "reply": self.reply,
        })
    }
}

/// The first attempt of a sample.
fn delivery(instance: &str, name: &EventName, target: Target, now_ms: u64) -> Delivery {
    let entry = EntryId::new("0-0");
    let sample = sample(name, instance, &time(now_ms)).to_string();
    let event = Event {
        key: EventKey::new(entry.as_str()),
        id: EventId::parse(&format!("test-{now_ms}")).expect("it is visible ASCII, and short"),
        pushed_ms: now_ms,
        traceparent: None,
        envelope: Envelope::parse(sample.into()).expect("a sample is an event"),
    };
    let receipt = Receipt::new(&Held::default(), Source::Stream, entry, "test".into(), 1, 0);
    let destination = Destination::Instance(instance.into());
    Delivery::first(Arc::new(receipt), Arc::new(event), destination, Ok(Arc::new(target)))
}

/// A time in RFC 3339, UTC, to the millisecond.
fn time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    format!("{:.3}", time.unwrap_or(jiff::Timestamp::MAX))
}

/// A reply without the secrets of the webhook: a receiver may well repeat what it was sent.
fn masked(reply: &[u8], webhook: &Webhook, sent: &HeaderMap) -> String {
    let values = webhook.headers.iter().map(|(_, value)| value).chain(&webhook.secrets);
    let mut secrets: Vec<Vec<u8>> = values.map(|value| value.expose().trim().into()).collect();
    for value in sent.get_all(AUTHORIZATION) {
        secrets.extend(credentials(value.as_bytes()));
    }
    if let Ok(url) = Url::parse(&webhook.url) {
        secrets.extend(secrets_of(&url));
    }
    let masked = without_secrets(reply, &secrets.iter().map(Vec::as_slice).collect::<Vec<_>>());
    String::from_utf8_lossy(&masked).into_owned()
}

/// The value of an `authorization`, and what of it follows the scheme.
fn credentials(value: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let after_scheme = value.iter().position(|byte| *byte == b' ').map(|at| value[at..].trim_ascii());
    [Some(value), after_scheme].into_iter().flatten().map(<[u8]>::to_vec)
}

/// What of a URL is not shown: its query and each value in it, and its userinfo; as they are written, as they are read,
/// and as they are sent.
fn secrets_of(url: &Url) -> Vec<Vec<u8>> {
    let mut secrets = Vec::new();
    let mut add = |text: &str| secrets.extend([text.into(), percent_decode_str(text).collect::<Vec<u8>>()]);
    if let Some(query) = url.query() {
        add(query);
        for pair in query.split('&') {
            let value = pair.split_once('=').map_or(pair, |(_, value)| value);
            add(value);
            add(&value.replace('+', " "));
        }
    }
    let (user, password) = (url.username(), url.password());
    // A name with a password is none; one alone is a token.
    add(password.unwrap_or(user));
    let userinfo = format!("{user}:{}", password.unwrap_or_default());
    if userinfo != ":" {
        let basic = STANDARD.encode(percent_decode_str(&userinfo).collect::<Vec<u8>>());
        secrets.extend(credentials(format!("Basic {basic}").as_bytes()));
    }
    secrets
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::decide::webhook::CustomEvents;

    fn webhook(json: &str) -> Webhook {
        webhook::parse(json.as_bytes(), &CustomEvents::Any).unwrap()
    }

    #[test]
    fn what_a_receiver_repeats_of_the_secrets_is_masked() {
        let json = r#"{"url":"https://u:p4ss@h/?key=8","headers":{"Authorization":"Bearer hunter2","X-A":"hunter2","X-B":"1"}}"#;
        let said = r#"{"authorization":"Bearer hunter2","x-a":"hunter2","x-b":"1"} GET /?key=8"#;
        assert_eq!(
            masked(said.as_bytes(), &webhook(json), &HeaderMap::new()),
            r#"{"authorization":"***","x-a":"***","x-b":"1"} GET /?***"#
        );
    }

    #[test]
    fn each_part_of_the_url_is_masked_as_it_is_written_and_as_it_is_read() {
        let webhook = webhook(r#"{"url":"https://ann:p%40ss@h/a?token=s3%2Fcret&n=12&note=a+b%21c&bare"}"#);
        for (said, shown) in [
            ("unknown token s3%2Fcret", "unknown token ***"),
            (r#"{"token":"s3/cret","n":"12"}"#, r#"{"token":"***","n":"12"}"#),
            ("a+b%21c, a+b!c, a b!c", "***, ***, ***"),
            ("ann has p%40ss or p@ss", "ann has *** or ***"),
            ("authorization: Basic YW5uOnBAc3M=", "authorization: ***"),
            ("sent YW5uOnBAc3M=", "sent ***"),
            ("/a?token=s3%2Fcret&n=12&note=a+b%21c&bare", "/a?***"),
            ("bare", "***"),
        ] {
            assert_eq!(masked(said.as_bytes(), &webhook, &HeaderMap::new()), shown);
        }
    }

    #[test]
    fn the_authorization_that_was_sent_is_masked_with_and_without_its_scheme() {
        let webhook = webhook(r#"{"url":"https://token@h/"}"#);
        let sent = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Bearer ey.ey.x"))]);
        let said = "Bearer ey.ey.x is not ey.ey.x; token Basic dG9rZW46";
        assert_eq!(masked(said.as_bytes(), &webhook, &sent), "*** is not ***; *** ***");
    }
}
