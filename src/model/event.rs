//! Events: what producers push, and what they are called.

use std::fmt;
use std::sync::Arc;

use super::Envelope;

/// The canonical names of the events Evolution API is known to emit (2.3 and earlier).
pub const KNOWN_EVENTS: &[&str] = &[
    "APPLICATION_STARTUP",
    "QRCODE_UPDATED",
    "CONNECTION_UPDATE",
    "MESSAGES_SET",
    "MESSAGES_UPSERT",
    "MESSAGES_UPDATE",
    "MESSAGES_DELETE",
    "SEND_MESSAGE",
    "CONTACTS_SET",
    "CONTACTS_UPSERT",
    "CONTACTS_UPDATE",
    "PRESENCE_UPDATE",
    "CHATS_SET",
    "CHATS_UPDATE",
    "CHATS_UPSERT",
    "CHATS_DELETE",
    "GROUPS_UPSERT",
    "GROUPS_UPDATE",
    "GROUP_PARTICIPANTS_UPDATE",
    "NEW_TOKEN",
    "TYPEBOT_START",
    "TYPEBOT_CHANGE_STATUS",
    "MESSAGES_EDITED",
    "SEND_MESSAGE_UPDATE",
    "LABELS_EDIT",
    "LABELS_ASSOCIATION",
    "CALL",
    "REMOVE_INSTANCE",
    "LOGOUT_INSTANCE",
    "INSTANCE_CREATE",
    "INSTANCE_DELETE",
    "STATUS_INSTANCE",
];

/// The canonical name of an event: upper case, words joined by `_` (`MESSAGES_UPSERT`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventName(Arc<str>);

/// Why a text is not an event name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventNameError {
    /// The name has no characters.
    #[error("the event name is empty")]
    Empty,
}

impl EventName {
    /// Reads a name as producers write it: `messages.upsert`, `MESSAGES_UPSERT` and `messages-upsert` are one
    /// event, and the names that Evolution API has used for the same thing over time are joined.
    ///
    /// # Errors
    /// When `written` is empty.
    pub fn parse(written: &str) -> Result<Self, EventNameError> {
        if written.is_empty() {
            return Err(EventNameError::Empty);
        }
        let canonical: String = written
            .chars()
            .map(|c| if c == '.' || c == '-' { '_' } else { c.to_ascii_uppercase() })
            .collect();
        Ok(Self(match canonical.as_str() {
            "GROUP_UPDATE" => "GROUPS_UPDATE".into(),
            "NEW_JWT" | "NEW_JWT_TOKEN" => "NEW_TOKEN".into(),
            _ => canonical.into(),
        }))
    }

    /// The canonical name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is one of [`KNOWN_EVENTS`].
    pub fn is_known(&self) -> bool {
        KNOWN_EVENTS.contains(&self.as_str())
    }
}

impl fmt::Display for EventName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An event's id, sent as `webhook-id`: 1–128 visible ASCII characters, the same on every attempt and to every
/// receiver.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventId(Arc<str>);

/// Why a text is not an event id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event id is 1 to 128 visible ASCII characters, without spaces")]
pub struct EventIdError;

impl EventId {
    /// Reads an id.
    ///
    /// # Errors
    /// When it is empty, longer than 128 characters, or holds anything but visible ASCII.
    pub fn parse(text: &str) -> Result<Self, EventIdError> {
        if (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.into()))
        } else {
            Err(EventIdError)
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What the hash of an event that waits in Redis is called: `{<STREAM>}:event:<key>`.
///
/// Unique where an event id need not be (producers choose those): the id of the stream entry, with a prefix for
/// replays and error events. It never holds a space.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventKey(Arc<str>);

impl EventKey {
    /// Wraps a key.
    pub fn new(key: &str) -> Self {
        debug_assert!(!key.contains(' '), "an event key has no spaces");
        Self(key.into())
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One event in flight.
#[derive(Clone, Debug)]
pub struct Event {
    /// What its hash in Redis is called, once it has one.
    pub key: EventKey,
    /// What receivers know it by.
    pub id: EventId,
    /// When it was pushed (or last replayed), Unix milliseconds.
    pub pushed_ms: u64,
    /// The W3C trace context to pass on.
    pub traceparent: Option<Arc<str>>,
    /// What was pushed.
    pub envelope: Envelope,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_spellings_are_one_event() {
        for written in ["messages.upsert", "MESSAGES_UPSERT", "messages-upsert", "Messages.Upsert"] {
            assert_eq!(EventName::parse(written).unwrap().as_str(), "MESSAGES_UPSERT");
        }
        assert_eq!(
            EventName::parse("group-participants.update").unwrap().as_str(),
            "GROUP_PARTICIPANTS_UPDATE"
        );
    }

    #[test]
    fn old_names_are_joined() {
        assert_eq!(EventName::parse("group.update").unwrap().as_str(), "GROUPS_UPDATE");
        assert_eq!(EventName::parse("new.jwt").unwrap().as_str(), "NEW_TOKEN");
        assert_eq!(EventName::parse("NEW_JWT_TOKEN").unwrap().as_str(), "NEW_TOKEN");
    }

    #[test]
    fn known_names_are_canonical() {
        for name in KNOWN_EVENTS {
            assert_eq!(EventName::parse(name).unwrap().as_str(), *name);
        }
    }

    #[test]
    fn ids_are_visible_ascii() {
        assert!(EventId::parse("msg_2Lh9").is_ok());
        for bad in ["", "a b", "ä", "a\n", &"x".repeat(129)] {
            assert!(EventId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
