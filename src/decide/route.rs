//! Routes: the path suffix of each event, and where it goes in a URL.

use std::borrow::Cow;
use std::collections::HashMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::model::{EventName, KNOWN_EVENTS};

/// What of an event's name is percent-encoded in its route: all but RFC 3986's unreserved characters. The `.` is
/// encoded too, for a segment `..` would climb; it does not occur in canonical names anyway.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~');

/// The route of every event.
///
/// By default an event's name in lower case with `-` for `_`, except `MESSAGES_SET` (`message-set`) and `NEW_TOKEN`
/// (`new-jwt`): these are what Evolution API uses, and receivers are written for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routes {
    table: HashMap<EventName, String>,
}

/// Why a text is not a value of `WEBHOOK_ROUTES`. Each message names the offending part and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoutesError {
    /// A part without `=`, or with nothing in front of it.
    #[error("'{}' is not a route; write EVENT=route, for example MESSAGES_SET=messages-set", .0.escape_debug())]
    NoPair(String),
    /// A route that cannot be appended to a path.
    #[error(
        "'{}' is no route for {event}; it may hold letters, digits, -, _, ~ and ., in segments divided by / that are \
         neither empty nor . nor ..",
        .route.escape_debug()
    )]
    BadRoute {
        /// The event's canonical name.
        event: EventName,
        /// The route as it was written.
        route: String,
    },
    /// An event with two different routes.
    #[error("{0} has two different routes; leave one out")]
    Twice(EventName),
}

impl Default for Routes {
    fn default() -> Self {
        let known = KNOWN_EVENTS.iter().filter_map(|name| EventName::parse(name).ok());
        Self { table: known.map(|name| (name.clone(), default_route(&name))).collect() }
    }
}

impl Routes {
    /// The default routes with the overrides of `WEBHOOK_ROUTES`: `MESSAGES_SET=messages-set,FOO=bar`. Event names
    /// may be written in any of their spellings; a route may have several segments (`a/b`) and end in `/`; leading
    /// slashes are dropped; empty parts and white space around parts are ignored.
    ///
    /// # Errors
    /// When a part is not `EVENT=route`, a route holds what it may not, or an event has two different routes.
    pub fn parse(overrides: &str) -> Result<Self, RoutesError> {
        let mut given: HashMap<EventName, &str> = HashMap::new();
        for part in overrides.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (event, route) = part.split_once('=').ok_or_else(|| RoutesError::NoPair(part.to_owned()))?;
            let event = EventName::parse(event.trim()).map_err(|_| RoutesError::NoPair(part.to_owned()))?;
            let route = route.trim().trim_start_matches('/');
            if !is_route(route) {
                return Err(RoutesError::BadRoute { event, route: route.to_owned() });
            }
            if given.insert(event.clone(), route).is_some_and(|earlier| earlier != route) {
                return Err(RoutesError::Twice(event));
            }
        }
        let mut routes = Self::default();
        routes.table.extend(given.into_iter().map(|(event, route)| (event, route.to_owned())));
        Ok(routes)
    }

    /// The route of an event, without a leading slash, ready to be put into a URL's path: whatever a producer calls
    /// an event, it adds exactly one path segment, and no query, fragment or control character.
    pub fn suffix(&self, name: &EventName) -> Cow<'_, str> {
        match self.table.get(name) {
            Some(route) => Cow::Borrowed(route),
            None => Cow::Owned(default_route(name)),
        }
    }
}

/// `url` with `suffix` appended to its path (before `?` and `#`), with exactly one `/` between. Every other byte of
/// `url` stays as it was written.
pub fn join_url(url: &str, suffix: &str) -> String {
    let path_end = url.find(['?', '#']).unwrap_or(url.len());
    let (path, rest) = url.split_at(path_end);
    format!("{}/{}{rest}", path.trim_end_matches('/'), suffix.trim_start_matches('/'))
}

fn default_route(name: &EventName) -> String {
    match name.as_str() {
        "MESSAGES_SET" => "message-set".to_owned(),
        "NEW_TOKEN" => "new-jwt".to_owned(),
        name => {
            let route = name.to_ascii_lowercase().replace('_', "-");
            utf8_percent_encode(&route, ENCODED).to_string()
        }
    }
}

/// Whether an operator's route consists of plain segments. One `/` at the end is allowed: some frameworks want it.
fn is_route(route: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_~.".contains(c);
    route.strip_suffix('/').unwrap_or(route).split('/').all(|segment| {
        !segment.is_empty() && segment != "." && segment != ".." && segment.chars().all(is_plain)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn suffix(routes: &Routes, event: &str) -> String {
        routes.suffix(&EventName::parse(event).unwrap()).into_owned()
    }

    #[test]
    fn every_known_event_has_its_documented_route() {
        let documented = "APPLICATION_STARTUP /application-startup · QRCODE_UPDATED /qrcode-updated · \
            CONNECTION_UPDATE /connection-update · MESSAGES_SET /message-set · MESSAGES_UPSERT /messages-upsert · \
            MESSAGES_UPDATE /messages-update · MESSAGES_DELETE /messages-delete · SEND_MESSAGE /send-message · \
            CONTACTS_SET /contacts-set · CONTACTS_UPSERT /contacts-upsert · CONTACTS_UPDATE /contacts-update · \
            PRESENCE_UPDATE /presence-update · CHATS_SET /chats-set · CHATS_UPDATE /chats-update · \
            CHATS_UPSERT /chats-upsert · CHATS_DELETE /chats-delete · GROUPS_UPSERT /groups-upsert · \
            GROUPS_UPDATE /groups-update · GROUP_PARTICIPANTS_UPDATE /group-participants-update · \
            NEW_TOKEN /new-jwt · TYPEBOT_START /typebot-start · TYPEBOT_CHANGE_STATUS /typebot-change-status · \
            MESSAGES_EDITED /messages-edited · SEND_MESSAGE_UPDATE /send-message-update · LABELS_EDIT /labels-edit · \
            LABELS_ASSOCIATION /labels-association · CALL /call · REMOVE_INSTANCE /remove-instance · \
            LOGOUT_INSTANCE /logout-instance · INSTANCE_CREATE /instance-create · \
            INSTANCE_DELETE /instance-delete · STATUS_INSTANCE /status-instance";
        let routes = Routes::default();
        let mut rows = 0;
        for row in documented.split(" · ") {
            let (event, route) = row.split_once(" /").unwrap();
            assert_eq!(suffix(&routes, event), route);
            rows += 1;
        }
        assert_eq!(rows, KNOWN_EVENTS.len());
        assert_eq!(suffix(&routes, "order.paid_in-full"), "order-paid-in-full");
    }

    #[test]
    fn routes_can_be_overridden() {
        let routes = Routes::parse(" messages.set = /messages-set , FOO=a/b,,new-jwt=token/,").unwrap();
        assert_eq!(suffix(&routes, "MESSAGES_SET"), "messages-set");
        assert_eq!(suffix(&routes, "foo"), "a/b");
        assert_eq!(suffix(&routes, "NEW_TOKEN"), "token/");
        assert_eq!(suffix(&routes, "MESSAGES_UPSERT"), "messages-upsert");
        assert_eq!(Routes::parse("").unwrap(), Routes::default());
    }

    #[test]
    fn a_bad_override_is_named() {
        for bad in ["FOO", "=x", " = x"] {
            assert_eq!(Routes::parse(bad).unwrap_err(), RoutesError::NoPair(bad.trim().to_owned()), "{bad}");
        }
        for bad in
            ["FOO=", "FOO=/", "FOO=a//b", "FOO=..", "FOO=a/../b", "FOO=a?b", "FOO=a b", "FOO=ä", "FOO=%2e"]
        {
            let error = Routes::parse(bad).unwrap_err();
            assert!(matches!(&error, RoutesError::BadRoute { .. }), "{bad}");
            assert!(error.to_string().contains("FOO"), "{error}");
        }
        assert!(matches!(Routes::parse("FOO=a,foo=b"), Err(RoutesError::Twice(_))));
        assert!(Routes::parse("FOO=a,foo=a").is_ok());
    }

    #[test]
    fn the_suffix_is_appended_to_the_path() {
        for (url, joined) in [
            ("https://sub.domain.com/webhook-test/code", "https://sub.domain.com/webhook-test/code/x"),
            ("https://h", "https://h/x"),
            ("https://h/", "https://h/x"),
            ("https://h/a//", "https://h/a/x"),
            ("https://h?t=1/2#f", "https://h/x?t=1/2#f"),
            ("https://h/a/?t=a%20b", "https://h/a/x?t=a%20b"),
            ("https://h/a#f?no", "https://h/a/x#f?no"),
            ("https://u:p@h:8/%7Ea", "https://u:p@h:8/%7Ea/x"),
        ] {
            assert_eq!(join_url(url, "x"), joined);
            assert_eq!(join_url(url, "/x"), joined);
        }
    }

    #[test]
    fn a_hostile_event_name_stays_one_segment() {
        for event in
            ["../../admin", "..", ".", "a?b=c", "a#b", "a/b", "a\\b", "%2e%2e", "a\r\nb", "\u{202e}ä 💥", " "]
        {
            let joined = join_url("https://h/base?q", &suffix(&Routes::default(), event));
            let url = url::Url::parse(&joined).unwrap();
            let segments: Vec<_> = url.path_segments().unwrap().collect();
            assert_eq!(
                (segments.len(), segments[0], url.query(), url.fragment()),
                (2, "base", Some("q"), None),
                "{event}"
            );
            assert!(joined.bytes().all(|b| b.is_ascii_graphic()), "{joined}");
        }
    }

    proptest! {
        #[test]
        fn any_event_name_adds_exactly_one_segment(event in ".{1,40}") {
            let joined = join_url("https://h/a", &suffix(&Routes::default(), &event));
            let url = url::Url::parse(&joined).unwrap();
            prop_assert_eq!(url.path_segments().unwrap().count(), 2);
            prop_assert_eq!(url.path(), &joined["https://h".len()..]);
            prop_assert_eq!((url.query(), url.fragment()), (None, None));
        }

        #[test]
        fn joining_changes_nothing_but_the_place_between(
            path in "(/[a-z%~.]{0,5}){0,4}", rest in "([?#][ -~]{0,10})?", suffix in "[a-z-]{1,10}(/[a-z-]{1,5})?",
        ) {
            let joined = join_url(&format!("https://u:p@h{path}{rest}"), &suffix);
            prop_assert_eq!(joined, format!("https://u:p@h{}/{suffix}{rest}", path.trim_end_matches('/')));
        }
    }
}
