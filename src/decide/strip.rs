//! Stripping: the bytes to cut from an event so that it goes out without its media.
//!
//! Evolution API puts the bytes of media as base64 at `data.message.base64`. A webhook with `base64: false` gets the
//! event without that member and otherwise byte for byte as it was pushed; so what is decided here are ranges of the
//! pushed bytes, not a new document.

use std::ops::Range;

use crate::model::{Envelope, array_elements, object_members};

/// The ranges of [`Envelope::payload`] to leave out so that `data.message.base64` disappears, in every element where
/// `data` is an array. Rising and without overlap; empty where there is nothing to remove.
///
/// Each range is that member (its duplicates too) with one of the commas next to it and the white space between.
/// Nothing else is touched: not `data.qrcode.base64`, nor a `base64` at any other place.
pub fn base64_cuts(envelope: &Envelope) -> Vec<Range<usize>> {
    let Some(place) = envelope.data() else {
        return Vec::new();
    };
    let data = Part { json: &envelope.payload()[place.clone()], at: place.start };
    if !data.may_hold_base64() {
        return Vec::new();
    }
    let mut cuts = Vec::new();
    match data.json.first() {
        Some(b'{') => cut_from_data(data, &mut cuts),
        Some(b'[') => {
            for element in array_elements(data.json).unwrap_or_default() {
                cut_from_data(data.part(element), &mut cuts);
            }
        }
        _ => {}
    }
    cuts
}

/// A value inside the payload: its text, and where that starts.
#[derive(Clone, Copy)]
struct Part<'a> {
    json: &'a [u8],
    at: usize,
}

impl<'a> Part<'a> {
    fn part(self, place: Range<usize>) -> Self {
        Part { at: self.at + place.start, json: &self.json[place] }
    }

    fn is_object(self) -> bool {
        self.json.first() == Some(&b'{')
    }

    /// Whether a key `base64` can be in here at all: written out, or with some of its letters as `\uXXXX`. This
    /// search is many times faster than reading the members, and settles it for most events.
    fn may_hold_base64(self) -> bool {
        std::str::from_utf8(self.json).is_ok_and(|json| json.contains("\"base64\"") || json.contains("\\u00"))
    }
}

fn cut_from_data(data: Part<'_>, cuts: &mut Vec<Range<usize>>) {
    if !data.is_object() || !data.may_hold_base64() {
        return;
    }
    // The payload was read before, so none of its parts can fail to be read.
    for member in object_members(data.json).unwrap_or_default() {
        let message = data.part(member.value);
        if *member.key == *b"message" && message.is_object() {
            cut_from_message(message, cuts);
        }
    }
}

/// Cuts the members `base64` of an object. With a member that stays in front of them, they go with the comma in front
/// of each; without one, with the comma behind each, if any: so exactly the commas between what stays remain.
fn cut_from_message(message: Part<'_>, cuts: &mut Vec<Range<usize>>) {
    // Where the text of the member in front ends: at first, behind the opening brace.
    let mut end_before = 1;
    let mut one_stays = false;
    // Where members began to go that have no member in front of them which stays.
    let mut leading = None;
    for member in object_members(message.json).unwrap_or_default() {
        let start = key_start(message.json, end_before);
        let goes = *member.key == *b"base64";
        match (goes, one_stays) {
            (true, true) => cuts.push(message.at + end_before..message.at + member.value.end),
            (true, false) => leading = leading.or(Some(start)),
            (false, _) => {
                cuts.extend(leading.take().map(|leading| message.at + leading..message.at + start));
                one_stays = true;
            }
        }
        end_before = member.value.end;
    }
    cuts.extend(leading.map(|leading| message.at + leading..message.at + end_before));
}

/// Where the key behind `at` starts: only white space and at most a comma lie between.
fn key_start(object: &[u8], at: usize) -> usize {
    object[at..].iter().position(|&b| b == b'"').map_or(at, |distance| at + distance)
}

#[cfg(test)]
mod arbitrary;

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use serde_json::Value;

    use super::arbitrary::{Tree, any_tree};
    use super::*;
    use crate::model::{Body, DestinationMember};

    fn cuts_of(json: &str) -> Vec<Range<usize>> {
        base64_cuts(&Envelope::parse(Bytes::copy_from_slice(json.as_bytes())).unwrap())
    }

    fn without(json: &str, cuts: &[Range<usize>]) -> String {
        let mut kept = String::new();
        let mut at = 0;
        for cut in cuts {
            assert!(at <= cut.start && cut.start < cut.end, "{cuts:?} rise and do not overlap");
            kept.push_str(&json[at..cut.start]);
            at = cut.end;
        }
        kept + &json[at..]
    }

    /// What becomes of `data`.
    fn stripped(data: &str) -> String {
        let json = format!(r#"{{"event":"x","data":{data}}}"#);
        let kept = without(&json, &cuts_of(&json));
        kept[r#"{"event":"x","data":"#.len()..kept.len() - 1].to_owned()
    }

    #[test]
    fn the_member_goes_with_one_comma_wherever_it_stands() {
        for (message, kept) in [
            (r#"{"base64":"QQ=="}"#, r#"{}"#),
            (r#"{ "base64" : "QQ==" }"#, r#"{  }"#),
            (r#"{"base64":"QQ==","a":1}"#, r#"{"a":1}"#),
            (r#"{ "base64" : "QQ==" , "a":1 }"#, r#"{ "a":1 }"#),
            (r#"{"a":1,"base64":"QQ=="}"#, r#"{"a":1}"#),
            (r#"{"a":1 , "base64": "QQ==" }"#, r#"{"a":1 }"#),
            (r#"{"a":1,"base64":null,"b":2}"#, r#"{"a":1,"b":2}"#),
            (r#"{"a":1 , "base64":{"x":[1,","]} , "b":2}"#, r#"{"a":1 , "b":2}"#),
        ] {
            assert_eq!(stripped(&format!(r#"{{"message":{message}}}"#)), format!(r#"{{"message":{kept}}}"#));
        }
    }

    #[test]
    fn all_duplicates_go() {
        for (message, kept) in [
            (r#"{"base64":1,"base64":2}"#, r#"{}"#),
            (r#"{"base64":1,"base64":2,"a":3}"#, r#"{"a":3}"#),
            (r#"{"a":0,"base64":1,"base64":2}"#, r#"{"a":0}"#),
            (r#"{"base64":1,"a":2,"base64":3}"#, r#"{"a":2}"#),
            (r#"{"base64":1,"a":2,"base64":3,"base64":4,"b":5,"base64":6}"#, r#"{"a":2,"b":5}"#),
        ] {
            let again = format!(r#"{{"message":{message},"x":1,"message":{message}}}"#);
            assert_eq!(stripped(&again), format!(r#"{{"message":{kept},"x":1,"message":{kept}}}"#));
        }
    }

    #[test]
    fn escaped_keys_are_recognised() {
        assert_eq!(
            stripped(r#"{"m\u0065ssage":{"b\u0061se6\u0034":"QQ==","a":1}}"#),
            r#"{"m\u0065ssage":{"a":1}}"#
        );
    }

    #[test]
    fn every_element_of_an_array_is_stripped() {
        assert_eq!(
            stripped(
                r#"[{"message":{"base64":1}},2,[{"message":{"base64":1}}],{"message":{"a":1,"base64":1}}]"#
            ),
            r#"[{"message":{}},2,[{"message":{"base64":1}}],{"message":{"a":1}}]"#
        );
    }

    #[test]
    fn everything_else_is_left_alone() {
        for data in [
            r#"null"#,
            r#""base64""#,
            r#"{"qrcode":{"base64":"data:image/png;base64,QQ=="}}"#,
            r#"{"base64":"QQ=="}"#,
            r#"{"message":{"imageMessage":{"base64":"QQ=="}}}"#,
            r#"{"message":"{\"base64\":1}"}"#,
            r#"{"message":[{"base64":1}]}"#,
            r#"{"message":{"Base64":1,"base64 ":2,"conversation":"\"base64\":1"}}"#,
            r#"{"data":{"message":{"base64":1}}}"#,
        ] {
            assert_eq!(stripped(data), data);
        }
        assert!(cuts_of(r#"{"event":"x"}"#).is_empty());
        assert!(cuts_of(r#"{"event":"x","message":{"base64":1}}"#).is_empty());
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(
            stripped(&format!(r#"{{"message":{{"x":{deep},"base64":{deep}}},"y":{deep}}}"#)),
            format!(r#"{{"message":{{"x":{deep}}},"y":{deep}}}"#)
        );
        assert_eq!(stripped(&format!(r#"[["base64"],{deep}]"#)), format!(r#"[["base64"],{deep}]"#));
    }

    fn body_of(json: &str) -> Body {
        let envelope = Envelope::parse(Bytes::copy_from_slice(json.as_bytes())).unwrap();
        envelope.body(&DestinationMember::new("u"), &base64_cuts(&envelope))
    }

    fn text(body: &Body) -> String {
        String::from_utf8(body.pieces().collect::<Vec<_>>().concat()).unwrap()
    }

    #[test]
    fn a_body_is_made_of_what_is_left() {
        let json = r#"{"event":"x","data":{"message":{"base64":"QQ=="}},"n":1e400}"#;
        assert_eq!(
            text(&body_of(json)),
            r#"{"event":"x","data":{"message":{}},"destination":"u","n":1e400}"#
        );
    }

    fn minify(json: &str) -> String {
        let (mut out, mut in_string, mut escaped) = (String::new(), false, false);
        for c in json.chars() {
            if in_string || !c.is_ascii_whitespace() {
                out.push(c);
            }
            in_string = if c == '"' && !escaped { !in_string } else { in_string };
            escaped = in_string && c == '\\' && !escaped;
        }
        out
    }

    fn write(data: &Tree, blanks: Vec<String>) -> String {
        let envelope = Tree::Object(vec![
            ("base64".to_owned(), Tree::Leaf("1".to_owned())),
            ("event".to_owned(), Tree::Leaf("\"x\"".to_owned())),
            ("data".to_owned(), data.clone()),
            ("message".to_owned(), Tree::Leaf(r#"{"base64":1}"#.to_owned())),
        ]);
        let mut json = String::new();
        envelope.write(&mut json, &mut blanks.into_iter().cycle());
        json
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn exactly_the_members_go_from_arbitrary_json(
            data in any_tree(), blanks in proptest::collection::vec("[ \n\r\t]{0,3}", 1..7),
        ) {
            let json = write(&data, blanks);
            let cuts = cuts_of(&json);
            let kept = without(&json, &cuts);

            // Every token but the removed members' is still there, in order and as it was written.
            prop_assert_eq!(minify(&kept), minify(&write(&data.clone().stripped(), vec![String::new()])));
            // What was cut is whole members and one comma for each, so no more white space than lay between.
            for cut in &cuts {
                let cut = json[cut.clone()].trim();
                let members = cut.trim_start_matches(',').trim_end_matches(',');
                prop_assert!(!(cut.starts_with(',') && cut.ends_with(',')), "{}", cut);
                let members: Value = match serde_json::from_str(&format!("{{{members}}}")) {
                    Ok(members) => members,
                    Err(error) => return if error.to_string().contains("out of range") { Ok(()) } else {
                        Err(TestCaseError::fail(format!("{cut}: {error}")))
                    },
                };
                prop_assert_eq!(members.as_object().unwrap().keys().collect::<Vec<_>>(), ["base64"]);
            }
            // And it is still JSON that an independent reader reads.
            serde_json::from_str::<&serde_json::value::RawValue>(&kept).unwrap();
            if data.minified() == data.stripped().minified() {
                prop_assert!(cuts.is_empty());
            }
        }

        #[test]
        fn a_body_has_the_same_bytes_in_pieces_and_in_one(
            data in any_tree(), blanks in proptest::collection::vec("[ \n\r\t]{0,3}", 1..7),
        ) {
            let json = write(&data, blanks);
            let cuts = cuts_of(&json);
            let end = Envelope::parse(Bytes::copy_from_slice(json.as_bytes())).unwrap().data().unwrap().end;
            let mut expected = without(&json, &cuts);
            expected.insert_str(end - cuts.iter().map(Range::len).sum::<usize>(), ",\"destination\":\"u\"");
            let small = body_of(&json);
            prop_assert_eq!((small.pieces().count(), text(&small)), (1, expected.clone()));
            let padding = " ".repeat((4 + cuts.len()) * 4096);
            let large = body_of(&format!("{json}{padding}"));
            prop_assert!(large.pieces().count() >= 3);
            prop_assert_eq!(text(&large), expected + &padding);
        }

        #[test]
        fn the_rest_has_the_same_value(data in any_tree()) {
            let json = write(&data, vec![" ".to_owned()]);
            let kept = without(&json, &cuts_of(&json));
            let (Ok(mut value), Ok(kept)) = (serde_json::from_str::<Value>(&json), serde_json::from_str::<Value>(&kept))
            else {
                return Ok(()); // a number that serde_json cannot hold
            };
            let strip = |data: &mut Value| {
                if let Some(message) = data.get_mut("message").and_then(Value::as_object_mut) {
                    message.remove("base64");
                }
            };
            match &mut value["data"] {
                Value::Array(elements) => elements.iter_mut().for_each(strip),
                data => strip(data),
            }
            prop_assert_eq!(value, kept);
        }
    }
}
