//! What was given of a webhook's settings: under which key, and of which type.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde_json::Value;

use super::headers;
use super::json::{Member, members, type_of};
use super::{CustomEvents, WebhookError};
use crate::decide::suggest::nearest;
use crate::model::{EventName, KNOWN_EVENTS, Secret};

/// The settings, whatever their keys are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Setting {
    Enabled,
    Url,
    ByEvents,
    Base64,
    Events,
    Headers,
    Secret,
    RateLimit,
    InsecureTls,
    DisabledReason,
    DisabledAt,
}

/// What the HTTP API adds to a webhook that was set and cannot be sent to as yet.
pub const WARNING_KEY: &str = "warning";

/// What Evolution API's `GET /webhook/find` and our answer to a set tell beside the settings: passed over, so that an
/// answer can be handed on as it is.
const RECORD_KEYS: [&str; 5] = ["id", "instanceId", "createdAt", "updatedAt", WARNING_KEY];

/// Every key that is understood: Evolution API 1 (`webhook_by_events`), early 2 (`webhookByEvents`), now (`byEvents`),
/// and our own.
const KEYS: &[(&str, Setting)] = &[
    ("enabled", Setting::Enabled),
    ("url", Setting::Url),
    ("webhook_by_events", Setting::ByEvents),
    ("webhookByEvents", Setting::ByEvents),
    ("byEvents", Setting::ByEvents),
    ("webhook_base64", Setting::Base64),
    ("webhookBase64", Setting::Base64),
    ("base64", Setting::Base64),
    ("events", Setting::Events),
    ("headers", Setting::Headers),
    ("secret", Setting::Secret),
    ("rate_limit", Setting::RateLimit),
    ("rateLimit", Setting::RateLimit),
    ("insecure_tls", Setting::InsecureTls),
    ("insecureTls", Setting::InsecureTls),
    ("disabledReason", Setting::DisabledReason),
    ("disabledAt", Setting::DisabledAt),
];

/// What a rate limit may be, in requests a second.
pub const RATES: RangeInclusive<f64> = 0.001..=1e6;

/// How many events a webhook may list.
const MOST_EVENTS: usize = 1000;

/// Under which the newest generation puts all of them.
const WRAPPER: &str = "webhook";

/// Under which the name of the instance may be given beside the settings.
const NAME_KEYS: [&str; 2] = ["instance", "instanceName"];

/// What was given, by setting; nulls are left out.
pub(super) struct Given<'a>(BTreeMap<Setting, Member<'a>>);

impl<'a> Given<'a> {
    pub(super) fn read(json: &'a [u8]) -> Result<Self, WebhookError> {
        Self::of(members(json)?)
    }

    /// The name of the instance, where it was given, and the settings.
    pub(super) fn read_named(json: &'a [u8]) -> Result<(Option<String>, Self), WebhookError> {
        let (names, settings): (Vec<_>, Vec<_>) =
            members(json)?.into_iter().partition(|member| NAME_KEYS.contains(&&*member.key));
        let mut found: Option<(String, String)> = None;
        for Member { key, value, .. } in names {
            let name = match value {
                Value::Null => continue,
                Value::String(name) => name,
                other => return Err(wrong_type(&key, &other, "the name of an instance")),
            };
            match &found {
                Some((first, earlier)) if *earlier != name => {
                    return Err(WebhookError::Twice { first: first.clone(), second: key });
                }
                _ => found = Some((key, name)),
            }
        }
        Ok((found.map(|(_, name)| name), Self::of(settings)?))
    }

    fn of(members_given: Vec<Member<'a>>) -> Result<Self, WebhookError> {
        let mut given = Self(BTreeMap::new());
        for member in members_given {
            match &member.value {
                Value::Object(_) if member.key == WRAPPER => {
                    for member in members(member.json)? {
                        given.add(member)?;
                    }
                }
                value if member.key == WRAPPER => {
                    return Err(wrong_type(WRAPPER, value, "an object with the webhook's settings"));
                }
                _ => given.add(member)?,
            }
        }
        Ok(given)
    }

    fn add(&mut self, member: Member<'a>) -> Result<(), WebhookError> {
        if RECORD_KEYS.contains(&&*member.key) {
            return Ok(());
        }
        let Some((_, setting)) = KEYS.iter().find(|(key, _)| *key == member.key) else {
            let nearest = nearest(&member.key, KEYS.iter().map(|(key, _)| *key));
            return Err(WebhookError::UnknownKey { key: member.key, nearest });
        };
        if member.value.is_null() {
            return Ok(());
        }
        match self.0.get(setting) {
            Some(earlier) if earlier.value != member.value => {
                Err(WebhookError::Twice { first: earlier.key.clone(), second: member.key })
            }
            Some(_) => Ok(()),
            None => {
                self.0.insert(*setting, member);
                Ok(())
            }
        }
    }

    pub(super) fn boolean(&self, setting: Setting) -> Result<Option<bool>, WebhookError> {
        match self.0.get(&setting) {
            None => Ok(None),
            Some(Member { value: Value::Bool(value), .. }) => Ok(Some(*value)),
            Some(member) => Err(wrong_type(&member.key, &member.value, "true or false, without quotes")),
        }
    }

    pub(super) fn number(&self, setting: Setting) -> Result<Option<u64>, WebhookError> {
        match self.0.get(&setting) {
            None => Ok(None),
            Some(member) => match member.value.as_u64() {
                Some(number) => Ok(Some(number)),
                None => Err(wrong_type(&member.key, &member.value, "a time in Unix milliseconds")),
            },
        }
    }

    pub(super) fn rate(&self, setting: Setting) -> Result<Option<f64>, WebhookError> {
        match self.0.get(&setting) {
            None => Ok(None),
            Some(Member { key, value, .. }) => {
                let given = match value.as_f64() {
                    Some(rate) if RATES.contains(&rate) => return Ok(Some(rate)),
                    Some(rate) if rate < *RATES.start() => "too small a number",
                    Some(_) => "too large a number",
                    None => type_of(value),
                };
                let allowed = "requests a second, a number from 0.001 to 1000000; leave it out for no limit";
                Err(WebhookError::WrongType { key: key.clone(), given, allowed })
            }
        }
    }

    pub(super) fn string(&self, setting: Setting) -> Result<Option<String>, WebhookError> {
        match self.0.get(&setting) {
            None => Ok(None),
            Some(Member { value: Value::String(value), .. }) => Ok(Some(value.clone())),
            Some(member) => Err(wrong_type(&member.key, &member.value, "a string")),
        }
    }

    pub(super) fn events(&self, custom: &CustomEvents) -> Result<Vec<EventName>, WebhookError> {
        let Some(member) = self.0.get(&Setting::Events) else {
            return Ok(Vec::new());
        };
        let allowed = "an array of event names (an empty one means all)";
        let Value::Array(elements) = &member.value else {
            return Err(wrong_type(&member.key, &member.value, allowed));
        };
        if elements.len() > MOST_EVENTS {
            let allowed = "an array of at most 1000 event names (an empty one means all)";
            return Err(WebhookError::WrongType {
                key: member.key.clone(),
                given: "a longer array",
                allowed,
            });
        }
        let mut events = Vec::with_capacity(elements.len());
        for (i, element) in elements.iter().enumerate() {
            let Value::String(written) = element else {
                return Err(wrong_type(&format!("{}[{i}]", member.key), element, "an event's name"));
            };
            let event = known_event(written, custom)?;
            if !events.contains(&event) {
                events.push(event);
            }
        }
        Ok(events)
    }

    pub(super) fn headers(&self) -> Result<Vec<(String, Secret)>, WebhookError> {
        match self.0.get(&Setting::Headers) {
            None => Ok(Vec::new()),
            Some(member) if !member.value.is_object() => {
                Err(wrong_type(&member.key, &member.value, "an object of header names and strings"))
            }
            // From the text, where a header given twice is still seen twice.
            Some(member) => Ok(headers::read(member.json)?),
        }
    }

    pub(super) fn secrets(&self) -> Result<Vec<Secret>, WebhookError> {
        let Some(member) = self.0.get(&Setting::Secret) else {
            return Ok(Vec::new());
        };
        match &member.value {
            Value::String(secret) => Ok(vec![Secret::new(secret.as_str())]),
            Value::Array(secrets) => secrets
                .iter()
                .enumerate()
                .map(|(i, secret)| match secret {
                    Value::String(secret) => Ok(Secret::new(secret.as_str())),
                    other => Err(wrong_type(&format!("{}[{i}]", member.key), other, "a string")),
                })
                .collect(),
            other => Err(wrong_type(&member.key, other, "a string or an array of strings")),
        }
    }
}

fn known_event(written: &str, custom: &CustomEvents) -> Result<EventName, WebhookError> {
    let unknown = |nearest| WebhookError::UnknownEvent { event: written.to_owned(), nearest };
    let name = EventName::parse(written.trim()).map_err(|_| unknown(None))?;
    if custom.allow(&name) {
        return Ok(name);
    }
    let mut allowed: Vec<&str> = KNOWN_EVENTS.to_vec();
    if let CustomEvents::Only(names) = custom {
        allowed.extend(names.iter().map(EventName::as_str));
    }
    Err(unknown(nearest(name.as_str(), allowed).map(str::to_owned)))
}

fn wrong_type(key: &str, given: &Value, allowed: &'static str) -> WebhookError {
    WebhookError::WrongType { key: key.to_owned(), given: type_of(given), allowed }
}
