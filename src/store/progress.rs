//! What the hash of an event tells in words: of the event, and of what was attempted at one destination.
//!
//! Few fields with several words each, since each field costs Redis as much as the words in it.

use crate::model::{Event, LastAttempt};

/// The field with the words of the event.
pub(super) const EVENT: &str = "event";
/// The field with the pushed bytes.
pub(super) const PAYLOAD: &str = "payload";
/// The field with how many deliveries there are; a hash without it has one.
pub(super) const LIVE: &str = "live";

/// The field that tells what was attempted at a destination.
pub(super) fn tried_field(destination: &str) -> String {
    format!("tried:{destination}")
}

/// The words of an event: its id, when it was pushed (Unix ms) and, where there is one, its trace context.
pub(super) fn event_words(event: &Event) -> String {
    let Event { id, pushed_ms, traceparent, .. } = event;
    match traceparent {
        Some(traceparent) => format!("{id} {pushed_ms} {traceparent}"),
        None => format!("{id} {pushed_ms}"),
    }
}

/// What the words of an event tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventWords {
    /// The event's id; empty where there is none.
    pub id: String,
    /// When it was pushed or last replayed, Unix ms; 0 where that is not known.
    pub pushed_ms: u64,
    /// The trace context.
    pub traceparent: Option<String>,
}

impl EventWords {
    pub(super) fn parse(words: &str) -> Self {
        let mut words = words.splitn(3, ' ');
        Self {
            id: words.next().unwrap_or_default().to_owned(),
            pushed_ms: words.next().and_then(|ms| ms.parse().ok()).unwrap_or(0),
            traceparent: words.next().map(str::to_owned),
        }
    }
}

/// What was attempted at a destination.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// How many attempts were made.
    pub attempts: u32,
    /// When the first was made, Unix ms.
    pub first_ms: Option<u64>,
    /// What the last came to.
    pub last: Option<LastAttempt>,
}

impl Tried {
    /// `<attempts>[ <first, Unix ms>|-[ <last>]]`
    pub(super) fn words(&self) -> String {
        let Self { attempts, first_ms, last } = self;
        let first = first_ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string());
        match last {
            Some(last) => format!("{attempts} {first} {last}"),
            None => format!("{attempts} {first}"),
        }
    }

    pub(super) fn parse(words: &str) -> Self {
        let mut words = words.splitn(3, ' ');
        Self {
            attempts: words.next().and_then(|attempts| attempts.parse().ok()).unwrap_or(0),
            first_ms: words.next().and_then(|first| first.parse().ok()),
            last: words.next().and_then(LastAttempt::parse),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_tried_is_read_as_it_is_written(
            attempts: u32,
            first_ms: Option<u64>,
            last in proptest::option::of((any::<u64>(), proptest::option::of(100..600_u16), ".{0,40}")),
        ) {
            let last = last.map(|(at_ms, status, summary)| LastAttempt { at_ms, status, summary });
            let tried = Tried { attempts, first_ms, last };
            prop_assert_eq!(Tried::parse(&tried.words()), tried);
        }

        #[test]
        fn words_of_anything_are_read(words: String) {
            let _ = (EventWords::parse(&words), Tried::parse(&words));
        }
    }

    #[test]
    fn the_words_of_an_event_tell_its_id_its_push_and_its_trace_context() {
        let words = |id: &str, pushed_ms, traceparent: Option<&str>| EventWords {
            id: id.to_owned(),
            pushed_ms,
            traceparent: traceparent.map(str::to_owned),
        };
        for (text, told) in [
            ("evt 99", words("evt", 99, None)),
            ("evt 99 00-a-b-01", words("evt", 99, Some("00-a-b-01"))),
            ("evt 99 of many words", words("evt", 99, Some("of many words"))),
            ("evt", words("evt", 0, None)),
            ("", words("", 0, None)),
        ] {
            assert_eq!(EventWords::parse(text), told, "{text:?}");
        }
    }
}
