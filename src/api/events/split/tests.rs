use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

use super::*;

const LIMIT: usize = 1000;

/// What is cut from a body that comes in these chunks, whether it is a single object, and how it ended.
fn cut(chunks: &[&[u8]], is_lines: bool, limit: usize) -> (Vec<Piece>, bool, Result<(), Malformed>) {
    let mut splitter = Splitter::new(is_lines, limit);
    let mut pieces = Vec::new();
    for chunk in chunks {
        let mut chunk = Bytes::copy_from_slice(chunk);
        loop {
            match splitter.next(&mut chunk) {
                Ok(Some(piece)) => pieces.push(piece),
                Ok(None) => break,
                Err(error) => return (pieces, splitter.is_single(), Err(error)),
            }
            assert!(splitter.kept() <= limit + 1 + limit, "{}", splitter.kept());
        }
    }
    match splitter.end() {
        Ok(last) => {
            pieces.extend(last);
            (pieces, splitter.is_single(), Ok(()))
        }
        Err(error) => (pieces, splitter.is_single(), Err(error)),
    }
}

fn texts(pieces: Vec<Piece>) -> Vec<String> {
    pieces
        .into_iter()
        .map(|piece| match piece {
            Piece::Whole(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Piece::TooLarge(length) => format!("too large: {length}"),
        })
        .collect()
}

/// The same pieces, whatever the chunks.
fn all(body: &str) -> (Vec<String>, bool) {
    let (whole, single, ended) = cut(&[body.as_bytes()], false, LIMIT);
    assert_eq!(ended, Ok(()), "{body}");
    let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
    assert_eq!(cut(&bytes, false, LIMIT), (whole.clone(), single, Ok(())), "{body}");
    (texts(whole), single)
}

fn refused(body: &str) -> String {
    let (_, _, ended) = cut(&[body.as_bytes()], false, LIMIT);
    let bytes: Vec<&[u8]> = body.as_bytes().chunks(1).collect();
    assert_eq!(cut(&bytes, false, LIMIT).2, ended, "{body}");
    ended.expect_err(body).to_string()
}

#[test]
fn one_object_is_single_however_it_is_laid_out() {
    for body in ["{}", " {\"a\":1}\n", "\u{feff}{\"a\":\n{\"b\":[1,\"}\\\"\"]}}\r\n\r\n"] {
        let (pieces, single) = all(body);
        assert_eq!(pieces, [body.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}')]);
        assert!(single);
    }
}

#[test]
fn lines_are_told_by_the_first_of_them() {
    let (pieces, single) = all("{\"a\":1}\n\n {\"b\":2} \r\nnot json\n[1]\n{\"c\":3}");
    assert_eq!(pieces, ["{\"a\":1}", "{\"b\":2}", "not json", "[1]", "{\"c\":3}"]);
    assert!(!single);
    let (pieces, single) = all("{\n\"a\":1}\n{\n\"b\":2}{\"c\":3}");
    assert_eq!(pieces, ["{\n\"a\":1}", "{\n\"b\":2}", "{\"c\":3}"]);
    assert!(!single);
}

#[test]
fn lines_that_are_declared_need_not_be_objects_and_are_a_list_even_if_one() {
    let (pieces, single, ended) = cut(&[b"5\n{\"a\":1}"], true, LIMIT);
    assert_eq!((texts(pieces), single, ended), (vec!["5".into(), "{\"a\":1}".into()], false, Ok(())));
    let (pieces, single, _) = cut(&[b"{\"a\":1}"], true, LIMIT);
    assert_eq!((pieces.len(), single), (1, false));
    assert_eq!(cut(&[b" \n"], true, LIMIT), (Vec::new(), false, Ok(())));
    // Nobody sends events as lines of arrays.
    let (pieces, single, _) = cut(&[b"[{\"a\":1},\n{}]"], true, LIMIT);
    assert_eq!((texts(pieces), single), (vec!["{\"a\":1}".into(), "{}".into()], false));
}

#[test]
fn an_array_is_a_list_even_of_one_or_none() {
    assert_eq!(all("[]"), (vec![], false));
    assert_eq!(all("[{}]"), (vec!["{}".into()], false));
    let (pieces, _) = all("[ {\"a\":[{}]} ,1.5e3,\"a\\\\\\\"]\",null\n,true,[[]],-0]\n ");
    assert_eq!(pieces, ["{\"a\":[{}]}", "1.5e3", "\"a\\\\\\\"]\"", "null", "true", "[[]]", "-0"]);
}

#[test]
fn what_cannot_be_cut_is_refused_with_the_place() {
    for (body, why) in [
        ("", "it is empty, at byte 0"),
        ("  ", "it is empty, at byte 2"),
        ("\u{feff}", "it is empty, at byte 3"),
        ("hello", "it begins with neither { nor [, at byte 0"),
        ("\"{}\"", "it begins with neither { nor [, at byte 0"),
        ("{\"a\":\"}", "the object has no end, at byte 7"),
        ("{\"a\":1} x", "something follows the object, at byte 8"),
        ("{\"a\":1}{\"b\":2}", "something follows the object, at byte 7"),
        ("{\n} x", "something follows the object, at byte 4"),
        ("[", "the array has no end, at byte 1"),
        ("[1", "the array has no end, at byte 2"),
        ("[1,]", "a value is missing, at byte 3"),
        ("[,1]", "a value is missing, at byte 1"),
        ("[1 2]", "a comma or ] is missing, at byte 3"),
        ("[1]]", "something follows the array, at byte 3"),
    ] {
        assert_eq!(refused(body), format!("the body is not JSON: {why}"), "{body}");
    }
    assert!(cut(&[b"\xef\xbb{"], false, LIMIT).2.is_err());
}

#[test]
fn what_is_too_large_is_told_and_costs_no_other() {
    let exact = format!("{{\"a\":\"{}\"}}", "x".repeat(12));
    let limit = exact.len();
    let large = format!("{{\"a\":\"{}\"}}", "y\\\"".repeat(100));
    let told = format!("too large: {}", large.len());
    for (body, is_lines) in [
        (format!("[{exact},{large},{exact}]"), false),
        (format!("{exact}\n{large}\n{exact}"), false),
        (format!("{exact}\r\n{large}\n{exact}\r\n"), true),
        (format!("{exact}\n{large}\n{exact}"), true),
    ] {
        for size in [1, 7, body.len()] {
            let chunks: Vec<&[u8]> = body.as_bytes().chunks(size).collect();
            let (pieces, single, ended) = cut(&chunks, is_lines, limit);
            assert_eq!(
                (texts(pieces), single, ended),
                (vec![exact.clone(), told.clone(), exact.clone()], false, Ok(()))
            );
        }
    }
    let (pieces, single, _) = cut(&[large.as_bytes()], false, limit);
    assert_eq!((texts(pieces), single), (vec![told], true));
}

/// Any JSON, with strings that are hard to cut.
fn json() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["[\\[\\]{}\",:\\\\ \n\ta-zä💥]{0,12}", ".{0,8}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((text.clone(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Value> {
    prop::collection::vec(("[a-z\"\\\\{]{1,4}", json()), 0..4)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

fn chunks<'a>(body: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
    places.sort_unstable();
    let mut start = 0;
    let mut parts: Vec<&[u8]> = Vec::new();
    for place in places {
        parts.push(&body[start..place]);
        start = place;
    }
    parts.push(&body[start..]);
    parts
}

fn cuts() -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..12)
}

proptest! {
    #[test]
    fn an_array_is_cut_as_a_parser_would(
        values in prop::collection::vec(json(), 0..6), pretty in any::<bool>(), cuts in cuts(),
    ) {
        let array = Value::from(values);
        let body = if pretty { serde_json::to_string_pretty(&array) } else { serde_json::to_string(&array) }.unwrap();
        let expected: Vec<&RawValue> = serde_json::from_str(&body).unwrap();
        let (pieces, single, ended) = cut(&chunks(body.as_bytes(), &cuts), false, 1 << 20);
        prop_assert_eq!(ended, Ok(()));
        prop_assert!(!single);
        prop_assert_eq!(texts(pieces), expected.iter().map(|raw| raw.get().to_owned()).collect::<Vec<_>>());
    }

    #[test]
    fn lines_are_cut_as_lines(
        values in prop::collection::vec(json(), 1..6), is_lines in any::<bool>(), end in "(\r?\n){1,2}", cuts in cuts(),
    ) {
        // Without a declaration, the first line has to be an object.
        let first = if is_lines { None } else { Some("{}".to_owned()) };
        let lines: Vec<String> =
            first.into_iter().chain(values.iter().map(|value| serde_json::to_string(value).unwrap())).collect();
        prop_assume!(!lines[0].starts_with('['));
        let (pieces, single, ended) = cut(&chunks(lines.join(&end).as_bytes(), &cuts), is_lines, 1 << 20);
        prop_assert_eq!(ended, Ok(()));
        prop_assert!(!single);
        prop_assert_eq!(texts(pieces), lines);
    }

    #[test]
    fn one_object_is_itself(value in object(), pretty in any::<bool>(), cuts in cuts()) {
        let body = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
        let (pieces, single, ended) = cut(&chunks(body.as_bytes(), &cuts), false, 1 << 20);
        prop_assert_eq!((texts(pieces), single, ended), (vec![body], true, Ok(())));
    }

    #[test]
    fn anything_is_cut_alike_whatever_the_chunks_and_never_panics(
        body in "[\\[\\]{}\",:\\\\ \n\ra1]{0,40}", is_lines in any::<bool>(), limit in 1..30_usize, cuts in cuts(),
    ) {
        let whole = cut(&[body.as_bytes()], is_lines, limit);
        prop_assert_eq!(cut(&chunks(body.as_bytes(), &cuts), is_lines, limit), whole);
    }

    #[test]
    fn bytes_that_are_no_text_never_panic(body in prop::collection::vec(any::<u8>(), 0..60), is_lines in any::<bool>()) {
        let _ = cut(&[&body], is_lines, 20);
    }
}
