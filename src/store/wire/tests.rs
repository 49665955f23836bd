use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use proptest::collection::vec;
use proptest::prelude::*;
use redis::{RedisConnectionInfo, Value};
use tokio::io::ReadBuf;

use super::*;
use crate::store::events::streams;
use crate::store::{ErrorKind, StoreError};

/// A server that says this, a piece at a time, and goes.
#[derive(Default)]
struct Server {
    says: VecDeque<Vec<u8>>,
    heard: Vec<u8>,
}

impl Server {
    /// Says `reply` in pieces of these lengths, over and over.
    fn saying(mut reply: &[u8], lengths: &[usize]) -> Self {
        let mut says = VecDeque::new();
        for length in lengths.iter().cycle() {
            if reply.is_empty() {
                break;
            }
            let (piece, rest) = reply.split_at((*length).min(reply.len()));
            says.push_back(piece.to_vec());
            reply = rest;
        }
        Self { says, heard: Vec::new() }
    }
}

impl AsyncRead for Server {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.says.pop_front() {
            let rest = piece.split_off(piece.len().min(into.remaining()));
            into.put_slice(&piece);
            if !rest.is_empty() {
                self.says.push_front(rest);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Server {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.heard.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn keys() -> Keys {
    Keys::new("webhooks")
}

/// What is read of two replies that come in pieces.
fn read(replies: &[u8], lengths: &[usize]) -> Result<Read, StoreError> {
    let mut wire = Wire::over(Server::saying(replies, lengths));
    let read = wire.replies(&keys()).now_or_never().expect("all that comes is there");
    read.map_err(StoreError::from)
}

/// What the client makes of the same.
fn read_by_client(mut replies: &[u8]) -> Result<Read, StoreError> {
    let mut parser = redis::Parser::new();
    let mut next = || parser.parse_value(&mut replies).expect("a value");
    let (entries, version) = (next(), next());
    let read = || -> RedisResult<Read> {
        let (entries, version) = (entries.extract_error()?, version.extract_error()?);
        let version: Option<u64> = redis::from_redis_value(version)?;
        Ok(Read { entries: streams(entries, &keys()), webhooks_version: version.unwrap_or(0) })
    };
    read().map_err(StoreError::from)
}

fn told(read: Result<Read, StoreError>) -> Result<Read, (ErrorKind, String)> {
    read.map_err(|error| (error.kind(), error.to_string()))
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn array(values: &[Vec<u8>]) -> Vec<u8> {
    [format!("*{}\r\n", values.len()).into_bytes(), values.concat()].concat()
}

/// A reply with one entry of the producers' stream, and one with the version.
fn one_entry(fields: &[&[u8]]) -> Vec<u8> {
    let fields: Vec<_> = fields.iter().map(|field| string(field)).collect();
    let entry = array(&[string(b"1-0"), array(&fields)]);
    let entries = array(&[array(&[string(b"webhooks"), array(&[entry])])]);
    [entries, string(b"7")].concat()
}

fn line(text: &'static str) -> BoxedStrategy<Vec<u8>> {
    Just(text.as_bytes().to_vec()).boxed()
}

fn any_string() -> BoxedStrategy<Vec<u8>> {
    vec(any::<u8>(), 0..40).prop_map(|bytes| string(&bytes)).boxed()
}

fn any_value() -> BoxedStrategy<Vec<u8>> {
    let leaf = prop_oneof![
        4 => any_string(),
        1 => line("$-1\r\n"),
        1 => line("*-1\r\n"),
        1 => line("+OK\r\n"),
        1 => any::<i64>().prop_map(|number| format!(":{number}\r\n").into_bytes()),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| vec(inner, 0..4).prop_map(|values| array(&values))).boxed()
}

/// Mostly `expected`.
fn mostly(expected: impl Strategy<Value = Vec<u8>> + 'static) -> BoxedStrategy<Vec<u8>> {
    prop_oneof![30 => expected, 1 => any_value(), 1 => prop_oneof![line("*-1\r\n"), line("$-1\r\n")]].boxed()
}

fn name(names: &'static [&'static str]) -> BoxedStrategy<Vec<u8>> {
    mostly(proptest::sample::select(names).prop_map(|name| string(name.as_bytes())))
}

fn entry() -> BoxedStrategy<Vec<u8>> {
    let field = name(&["payload", "id", "traceparent", "event", "destination", "parked", "x", ""]);
    let value = prop_oneof![
        any_string(),
        proptest::sample::select(&["global", "instance:a b", "1-0"][..]).prop_map(|v| string(v.as_bytes())),
    ];
    let fields = vec((field, mostly(value)), 0..5).prop_map(|pairs| {
        array(&pairs.into_iter().flat_map(|(field, value)| [field, value]).collect::<Vec<_>>())
    });
    let id = name(&["1-0", "1700000000000-12", ""]);
    mostly((id, mostly(fields)).prop_map(|(id, fields)| array(&[id, fields])))
}

fn replies() -> BoxedStrategy<Vec<u8>> {
    let stream =
        (name(&["webhooks", "{webhooks}:ready"]), mostly(vec(entry(), 0..6).prop_map(|e| array(&e))))
            .prop_map(|(name, entries)| array(&[name, entries]));
    let entries = prop_oneof![
        12 => mostly(vec(mostly(stream), 0..3).prop_map(|streams| array(&streams))),
        1 => line("-NOGROUP No such key 'webhooks'\r\n"),
        1 => line("-LOADING Redis is loading the dataset in memory\r\n"),
        1 => line("*1\r\n*2\r\n$8\r\nwebhooks\r\n*1\r\n-READONLY You can't write\r\n"),
    ];
    let version = prop_oneof![
        6 => any::<u64>().prop_map(|version| string(version.to_string().as_bytes())),
        2 => line("$-1\r\n"),
        1 => line("-WRONGTYPE Operation against a key\r\n"),
        1 => any_value(),
    ];
    (entries, version).prop_map(|(entries, version)| [entries, version].concat()).boxed()
}

fn pieces() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![1..4_usize, 1..100_usize, 1..10_000_usize], 1..20)
}

proptest! {
    #[test]
    fn what_is_read_is_what_the_client_reads_in_whatever_pieces_it_comes(
        replies in replies(),
        lengths in pieces(),
    ) {
        let by_client = read_by_client(&replies);
        if let (Err(ours), Err(theirs)) = (read(&replies, &lengths), &by_client) {
            prop_assert_eq!(ours.kind(), theirs.kind());
            prop_assert_eq!(ours.code(), theirs.code());
        } else {
            prop_assert_eq!(told(read(&replies, &lengths)), told(by_client));
        }
    }

    #[test]
    fn what_is_cut_short_is_a_lost_connection(
        entry in entry(),
        at in any::<proptest::sample::Index>(),
        lengths in pieces(),
    ) {
        let entries = array(&[array(&[string(b"webhooks"), array(&[entry])])]);
        let replies = [entries, string(b"7")].concat();
        prop_assert!(read(&replies, &lengths).is_ok());
        let cut = read(&replies[..at.index(replies.len())], &lengths);
        prop_assert_eq!(cut.map_err(|error| error.kind()), Err(ErrorKind::Unreachable));
    }

    #[test]
    fn garbage_is_an_error_or_passed_over(
        mut replies in replies(),
        garbage in vec((any::<proptest::sample::Index>(), prop_oneof![
            any::<u8>(),
            proptest::sample::select(&b"$*-:+09\r\n%|"[..]),
        ]), 0..4),
        noise in vec(any::<u8>(), 0..60),
        lengths in pieces(),
    ) {
        for (at, byte) in garbage {
            let at = at.index(replies.len());
            replies[at] = byte;
        }
        let _ = read(&replies, &lengths);
        let _ = read(&noise, &lengths);
    }

    #[test]
    fn long_values_are_read_whole(
        length in prop_oneof![65_530..65_545_usize, 0..400_000_usize, 2_090_000..2_110_000_usize],
        lengths in vec(1..200_000_usize, 1..6),
    ) {
        let payload: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
        let replies = one_entry(&[&payload, &payload, b"payload", &payload, b"id", b"x", &payload, b""]);
        let mut wire = Wire::over(Server::saying(&replies, &[lengths, vec![100_000]].concat()));
        let read = wire.replies(&keys()).now_or_never().expect("all is there").expect("replies");
        let [Taken::New { payload: read, event_id, .. }] = &read.entries[..] else {
            panic!("one entry")
        };
        prop_assert!(read.as_deref() == Some(&payload[..]) && event_id.as_deref() == Some(b"x"));
        prop_assert!(wire.values.capacity() <= 1024 * 1024);
    }
}

#[test]
fn a_deleted_entry_has_no_fields() {
    for nil in ["*-1\r\n", "$-1\r\n"] {
        let replies = format!("*1\r\n*2\r\n$8\r\nwebhooks\r\n*1\r\n*2\r\n$3\r\n1-0\r\n{nil}$1\r\n7\r\n");
        let id = EntryId::new("1-0");
        let entries = vec![Taken::New { id, payload: None, event_id: None, traceparent: None }];
        assert_eq!(told(read(replies.as_bytes(), &[3])), Ok(Read { entries, webhooks_version: 7 }));
    }
}

#[test]
fn lengths_are_not_believed() {
    let most = i64::MAX;
    let payload = String::from_utf8(one_entry(&[b"payload", b"y"])).expect("text");
    for hostile in [
        format!("*{most}\r\n"),
        format!("*{most}\r\n*{most}\r\n*{most}\r\n"),
        format!("*1\r\n*3\r\n*{most}\r\n*{most}\r\n*{most}\r\n"),
        format!("${most}\r\n"),
        payload.replace("*2\r\n$7", &format!("*{most}\r\n$7")),
        payload.replace("$7\r\n", &format!("${most}\r\n")),
        payload.replace("$1\r\ny", &format!("${most}\r\ny")),
        payload.replace("$1\r\ny", "$99999999999999999999\r\ny"),
        payload.replace("$8\r\n", &format!("${most}\r\n")),
        format!("+{}", "x".repeat(200_000)),
        "%1\r\n+a\r\n+b\r\n$1\r\n7\r\n".to_owned(),
    ] {
        assert!(read(hostile.as_bytes(), &[1000]).is_err(), "{}", &hostile[..hostile.len().min(80)]);
    }
}

#[test]
fn a_server_that_goes_after_a_refusal_is_gone() {
    let refused = "-NOGROUP No such key\r\n";
    assert_eq!(read(refused.as_bytes(), &[9]).map_err(|error| error.kind()), Err(ErrorKind::Unreachable));
    let both = format!("{refused}$-1\r\n");
    assert_eq!(read(both.as_bytes(), &[9]).map_err(|error| error.kind()), Err(ErrorKind::NoGroup));
}

#[test]
fn more_than_was_asked_is_an_error() {
    let replies = [&one_entry(&[b"payload", b"y"])[..], b"+OK\r\n"].concat();
    assert!(read(&replies, &[1000]).is_err());
    assert!(read(&one_entry(&[b"payload", b"y"]), &[1000]).is_ok());
}

#[test]
fn a_server_that_knows_no_users_is_asked_again_without_one() {
    let says = b"-ERR wrong number of arguments for 'auth' command\r\n-NOAUTH x\r\n+OK\r\n+OK\r\n";
    let mut values = Values::of(Server::saying(says, &[7]));
    let info = RedisConnectionInfo::default().set_username("me").set_password("secret").set_db(3);
    greet::greet(&mut values, &info).now_or_never().expect("all is there").expect("it is let in");
    let command =
        |words: &[&str]| array(&words.iter().map(|word| string(word.as_bytes())).collect::<Vec<_>>());
    let select = command(&["SELECT", "3"]);
    let heard =
        [command(&["AUTH", "me", "secret"]), select.clone(), command(&["AUTH", "secret"]), select].concat();
    assert_eq!(values.carrier().heard, heard);
}

#[test]
fn refusals_are_told_as_the_client_tells_them() {
    let greet = |says: &[u8]| {
        let mut values = Values::of(Server::saying(says, &[1000]));
        let info = RedisConnectionInfo::default().set_password("secret").set_db(3);
        let greeted = greet::greet(&mut values, &info).now_or_never().expect("all is there");
        greeted.map_err(|error| StoreError::from(error).kind())
    };
    assert_eq!(greet(b"+OK\r\n+OK\r\n"), Ok(()));
    assert_eq!(greet(b"-WRONGPASS invalid\r\n-NOAUTH x\r\n"), Err(ErrorKind::Denied));
    assert_eq!(greet(b"+OK\r\n-ERR DB index is out of range\r\n"), Err(ErrorKind::Other));
    assert_eq!(greet(b"+OK\r\n-NOAUTH Authentication required.\r\n"), Err(ErrorKind::Denied));
    assert_eq!(greet(b"+what\r\n+OK\r\n"), Err(ErrorKind::Other));
    assert_eq!(greet(b"+OK\r\n"), Err(ErrorKind::Unreachable));
    // The client's own kind of value, so that nothing else is taken for it.
    assert_eq!(redis::parse_redis_value(b"+OK\r\n").expect("a line"), Value::Okay);
}
