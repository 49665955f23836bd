//! What posthaste is held against, each this program once more in a process of its own. Both POST the payload as it
//! is to one URL; neither retries, recovers, signs, routes or survives anything.
//!
//! - *afternoon*: what a Rust user would write in an afternoon. `XREADGROUP COUNT 64` by the redis crate, reqwest in
//!   `buffer_unordered(64)`, an `XACK` for each message.
//! - *floor*: what is possible. One thread, RESP by hand, 64 HTTP/1 connections of hyper, `XACK` and `XDEL` of many
//!   messages together.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{Request, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use redis::AsyncCommands;
use redis::streams::{StreamReadOptions, StreamReadReply};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

const STREAM: &str = "webhooks";
const GROUP: &str = "baseline";
const AT_A_TIME: usize = 64;
/// How many events of the floor wait for a connection at most.
const AHEAD: usize = 256;

/// Runs a baseline until it is killed.
pub fn run(name: &str, redis_port: u16, url: &str) {
    let mut builder = match name {
        "afternoon" => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder.enable_all().build().unwrap();
    match name {
        "afternoon" => runtime.block_on(afternoon(redis_port, url)),
        "floor" => tokio::task::LocalSet::new().block_on(&runtime, floor(redis_port, url)),
        name => panic!("no baseline is called {name}"),
    }
}

async fn afternoon(redis_port: u16, url: &str) {
    let redis = redis::Client::open(format!("redis://127.0.0.1:{redis_port}")).unwrap();
    let reader = redis.get_multiplexed_async_connection().await.unwrap();
    // Behind a read that blocks, acknowledgements would wait.
    let settler = redis.get_multiplexed_async_connection().await.unwrap();
    let _: Result<(), _> = reader.clone().xgroup_create_mkstream(STREAM, GROUP, "0").await;
    // Which it wants even where nothing is encrypted.
    _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::new();
    let entries = stream::unfold(reader, |mut reader| async move {
        let options = StreamReadOptions::default().group(GROUP, "one").count(AT_A_TIME).block(1000);
        let reply: StreamReadReply = reader.xread_options(&[STREAM], &[">"], &options).await.unwrap();
        Some((reply.keys.into_iter().flat_map(|key| key.ids), reader))
    });
    let attempts = entries.flat_map(stream::iter).map(|entry| {
        let (client, mut settler) = (client.clone(), settler.clone());
        async move {
            let payload: Vec<u8> = entry.get("payload").unwrap();
            let request = client.post(url).header("content-type", "application/json").body(payload);
            let response = request.send().await.unwrap();
            assert!(response.status().is_success());
            let _: u64 = settler.xack(STREAM, GROUP, &[entry.id]).await.unwrap();
        }
    });
    attempts.buffer_unordered(AT_A_TIME).for_each(|()| async {}).await;
}

#[derive(Default)]
struct Queue {
    events: RefCell<VecDeque<(Bytes, Bytes)>>,
    done: RefCell<Vec<Bytes>>,
    came: Notify,
    /// So many have ended that the next should be read.
    low: Notify,
}

async fn floor(redis_port: u16, url: &str) {
    let queue = Rc::new(Queue::default());
    for _ in 0..AT_A_TIME {
        tokio::task::spawn_local(deliver(Rc::clone(&queue), url.to_owned()));
    }
    let mut redis = TcpStream::connect(("127.0.0.1", redis_port)).await.unwrap();
    redis.set_nodelay(true).unwrap();
    let mut buffer = BytesMut::with_capacity(512 * 1024);
    let mut command = Vec::new();
    write_command(
        &mut command,
        &[b"XGROUP", b"CREATE", STREAM.as_bytes(), GROUP.as_bytes(), b"0", b"MKSTREAM"],
    );
    redis.write_all(&command).await.unwrap();
    reply(&mut redis, &mut buffer).await;
    loop {
        command.clear();
        let done = queue.done.take();
        if !done.is_empty() {
            let ids = done.iter().map(|id| &id[..]);
            let of_group: [&[u8]; 3] = [b"XACK", STREAM.as_bytes(), GROUP.as_bytes()];
            write_command(&mut command, &of_group.into_iter().chain(ids.clone()).collect::<Vec<_>>());
            let of_stream: [&[u8]; 2] = [b"XDEL", STREAM.as_bytes()];
            write_command(&mut command, &of_stream.into_iter().chain(ids).collect::<Vec<_>>());
        }
        let (count, block) = (AHEAD.to_string(), if done.is_empty() { "100" } else { "1" });
        write_command(
            &mut command,
            &[
                b"XREADGROUP",
                b"GROUP",
                GROUP.as_bytes(),
                b"one",
                b"COUNT",
                count.as_bytes(),
                b"BLOCK",
                block.as_bytes(),
                b"STREAMS",
                STREAM.as_bytes(),
                b">",
            ],
        );
        redis.write_all(&command).await.unwrap();
        if !done.is_empty() {
            reply(&mut redis, &mut buffer).await;
            reply(&mut redis, &mut buffer).await;
        }
        let read = reply(&mut redis, &mut buffer).await;
        let entries = read.list().first().map_or(&[][..], |stream| stream.list()[1].list());
        queue.events.borrow_mut().extend(entries.iter().map(|entry| {
            let [id, fields] = entry.list() else { panic!("not an entry: {entry:?}") };
            let mut pairs = fields.list().chunks_exact(2);
            let payload = pairs.find(|pair| &pair[0].text()[..] == b"payload").expect("a payload");
            (id.text().clone(), payload[1].text().clone())
        }));
        queue.came.notify_waiters();
        while queue.events.borrow().len() >= AHEAD / 2 {
            queue.low.notified().await;
        }
    }
}

/// One connection: sends what waits, one after the other.
async fn deliver(queue: Rc<Queue>, url: String) {
    let uri: http::Uri = url.parse().unwrap();
    let authority = uri.authority().unwrap().as_str().to_owned();
    let stream = TcpStream::connect(&authority).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::task::spawn_local(connection);
    loop {
        let next = queue.events.borrow_mut().pop_front();
        let Some((id, payload)) = next else {
            queue.came.notified().await;
            continue;
        };
        if queue.events.borrow().len() == AHEAD / 2 - 1 {
            queue.low.notify_one();
        }
        let request = Request::post(uri.path())
            .header(header::HOST, &authority)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(payload))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert!(response.status().is_success());
        response.into_body().collect().await.unwrap();
        queue.done.borrow_mut().push(id);
        sender.ready().await.unwrap();
    }
}

fn write_command(to: &mut Vec<u8>, parts: &[&[u8]]) {
    to.extend_from_slice(format!("*{}\r\n", parts.len()).as_bytes());
    for part in parts {
        to.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
        to.extend_from_slice(part);
        to.extend_from_slice(b"\r\n");
    }
}

/// What Redis answered.
#[derive(Debug)]
enum Value {
    Text(Bytes),
    List(Vec<Value>),
}

impl Value {
    fn text(&self) -> &Bytes {
        let Self::Text(text) = self else { panic!("not a text: {self:?}") };
        text
    }

    fn list(&self) -> &[Value] {
        let Self::List(list) = self else { return &[] };
        list
    }
}

/// Reads the next reply.
async fn reply(redis: &mut TcpStream, buffer: &mut BytesMut) -> Value {
    loop {
        let mut at = 0;
        if let Some(end) = whole(buffer, &mut at) {
            return parse(&mut buffer.split_to(end).freeze());
        }
        assert!(redis.read_buf(buffer).await.unwrap() > 0, "redis has closed the connection");
    }
}

/// Where the reply that begins at `at` ends, once it is whole.
fn whole(buffer: &[u8], at: &mut usize) -> Option<usize> {
    let line = buffer.get(*at..)?.windows(2).position(|two| two == b"\r\n")?;
    let number = || std::str::from_utf8(&buffer[*at + 1..*at + line]).ok()?.parse::<i64>().ok();
    let (kind, number) = (buffer[*at], number());
    *at += line + 2;
    match (kind, number) {
        (b'$', Some(length)) if length >= 0 => *at += length as usize + 2,
        (b'*', Some(count)) => {
            for _ in 0..count.max(0) {
                whole(buffer, at)?;
            }
        }
        _ => {}
    }
    (*at <= buffer.len()).then_some(*at)
}

fn parse(rest: &mut Bytes) -> Value {
    let line = rest.windows(2).position(|two| two == b"\r\n").unwrap();
    let head = rest.split_to(line);
    rest.advance(2);
    let number = std::str::from_utf8(&head[1..]).ok().and_then(|text| text.parse::<i64>().ok());
    match (head[0], number) {
        (b'$', Some(length)) if length >= 0 => {
            let text = rest.split_to(length as usize);
            rest.advance(2);
            Value::Text(text)
        }
        (b'*', Some(count)) => Value::List((0..count.max(0)).map(|_| parse(rest)).collect()),
        _ => Value::Text(head),
    }
}
