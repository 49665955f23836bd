//! The reader's connection: what comes by our own hand, over TCP and a Unix socket, is what the client reads over TLS.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use posthaste::model::Secret;
use posthaste::store::{ErrorKind, Read, Reader, Redis, RedisSettings, StoreError, Taken};

use crate::support::{Authority, Files, RedisServer, fields, payload, until};

const READY: &str = "{webhooks}:ready";
const SHORT: Duration = Duration::from_millis(30);

fn open(url: &str, ca: Option<&str>) -> Redis {
    let ca = ca.map(Into::into);
    Redis::open(&RedisSettings { url: Secret::new(url.to_owned()), stream: "webhooks".to_owned(), ca })
        .unwrap()
}

async fn read(url: &str) -> Result<Read, StoreError> {
    Reader::new(open(url, None), "me".into(), SHORT).read(100).await
}

/// A Redis that is reached with and without TLS.
struct Both {
    redis: RedisServer,
    ca: String,
    tls_port: u16,
    _files: Files,
}

impl Both {
    fn start() -> Self {
        let (files, ca) = (Files::new(), Authority::new("ours"));
        let server = ca.server(&["localhost"]);
        let certificate = files.write("redis.pem", &server.certificate);
        let key = files.write("redis.key", &server.key);
        let tls_port = crate::support::free_port();
        let tls =
            ["--tls-port", &tls_port.to_string(), "--tls-cert-file", &certificate, "--tls-key-file", &key];
        let rest = ["--tls-auth-clients", "no", "--tls-ca-cert-file", &files.write("ca.pem", &ca.pem)];
        let kept = ["--save", "", "--appendonly", "no"];
        let redis = RedisServer::start_with(&[&tls[..], &rest[..], &kept[..]].concat());
        Self { redis, ca: ca.pem, tls_port, _files: files }
    }

    /// What each way reads of all there is, as this user and from this path.
    async fn read(&self, user: &str, path: &str) -> [Result<Read, StoreError>; 2] {
        let plain = open(&format!("redis://{user}127.0.0.1:{}{path}", self.redis.port()), None);
        let tls = open(&format!("rediss://{user}localhost:{}{path}", self.tls_port), Some(&self.ca));
        let mut reads = Vec::new();
        for store in [plain, tls] {
            for stream in ["webhooks", READY] {
                let _: redis::RedisResult<redis::Value> =
                    self.redis.try_command(&["XGROUP", "SETID", stream, "posthaste", "0"]).await;
            }
            let read = Reader::new(store.clone(), "me".into(), SHORT).read(100).await;
            let counted: u64 = store.errors().iter().map(|(_, count)| count).sum();
            assert_eq!(counted, u64::from(read.is_err()), "an error is counted once");
            reads.push(read);
        }
        reads.try_into().unwrap()
    }

    /// Both ways fail alike; how.
    async fn fails(&self, user: &str, path: &str) -> (ErrorKind, Option<String>) {
        let [plain, tls] = self.read(user, path).await.map(|read| {
            let error = read.unwrap_err();
            (error.kind(), error.code(), error.to_string())
        });
        assert_eq!(plain, tls);
        (plain.0, plain.1)
    }
}

#[tokio::test]
async fn entries_are_what_the_client_reads() {
    let both = Both::start();
    let redis = &both.redis;
    redis.store().create_group().await.unwrap();
    let [plain, tls] = both.read("", "").await.map(Result::unwrap);
    assert_eq!((&plain, plain.entries.len(), plain.webhooks_version), (&tls, 0, 0), "nothing came");

    let all_bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let many =
        fields(&[("payload", "{}"), ("id", "evt"), ("x", "y"), ("traceparent", "00-1"), ("id", "again")]);
    let long_name = vec![(vec![b'n'; 200_000], b"v".to_vec()), (b"payload".to_vec(), all_bytes.clone())];
    let due = fields(&[("event", "1-0"), ("destination", "instance:a b"), ("parked", "1")]);
    for entry in [
        many,
        payload(&all_bytes),
        long_name,
        payload("\r\n$5\r\n"),
        payload(""),
        payload(vec![b'x'; 5_000_000]),
    ] {
        redis.push_entry("webhooks", &entry).await;
    }
    let deleted = redis.push_entry("webhooks", &payload("deleted")).await;
    let _: u64 = redis.command(&["XDEL", "webhooks", &deleted]).await;
    redis.push_entry("webhooks", &fields(&[("other", "field")])).await;
    for entry in [due, fields(&[("event", "1-0")]), fields(&[("event", "1 0"), ("destination", "?")])] {
        redis.push_entry(READY, &entry).await;
    }
    redis.set_url("sales", "http://localhost/").await;
    let [plain, tls] = both.read("", "").await.map(Result::unwrap);
    assert!(plain == tls, "both ways read the same");
    assert_eq!((plain.entries.len(), plain.webhooks_version > 0), (10, true));
    let of_stream = plain.entries.iter().filter(|entry| matches!(entry, Taken::New { .. })).count();
    assert_eq!(of_stream, 7);
}

#[tokio::test]
async fn refusals_are_what_the_client_makes_of_them() {
    let both = Both::start();
    let redis = &both.redis;
    assert_eq!(both.fails("", "").await, (ErrorKind::NoGroup, Some("NOGROUP".to_owned())));
    assert_eq!(both.fails("", "/99").await.0, ErrorKind::Other, "no such database");

    redis.store().create_group().await.unwrap();
    redis.push("{}").await;
    let key = open(&redis.url(), None).keys().webhooks_version();
    let _: redis::Value = redis.command(&["LPUSH", &key, "x"]).await;
    assert_eq!(
        both.fails("", "").await,
        (ErrorKind::Other, Some("WRONGTYPE".to_owned())),
        "the second reply"
    );
    let _: u64 = redis.command(&["DEL", &key]).await;

    let _: redis::Value = redis.command(&["REPLICAOF", "127.0.0.1", "1"]).await;
    assert_eq!(both.fails("", "").await, (ErrorKind::NoWrites, Some("READONLY".to_owned())));
    let _: redis::Value = redis.command(&["REPLICAOF", "NO", "ONE"]).await;

    let only_pings: &[&str] = &["ACL", "SETUSER", "pinger", "on", ">secret", "+ping", "+client"];
    let _: redis::Value = redis.command(only_pings).await;
    assert_eq!(both.fails("pinger:secret@", "").await, (ErrorKind::Denied, Some("NOPERM".to_owned())));
    assert_eq!(both.fails("pinger:wrong@", "").await.0, ErrorKind::Denied);
    assert_eq!(both.fails("nobody:secret@", "").await.0, ErrorKind::Denied);

    let _: redis::Value = redis.command(&["CONFIG", "SET", "requirepass", "open sesame"]).await;
    // So many words of a stranger are too many for the server, which hangs up.
    assert_eq!(both.fails("", "").await, (ErrorKind::Unreachable, None));
    assert_eq!(both.fails("", "/3").await.0, ErrorKind::Denied);
    assert_eq!(both.fails(":wrong@", "/3").await.0, ErrorKind::Denied);
    assert!(both.read(":open%20sesame@", "").await.iter().all(Result::is_ok));
}

#[tokio::test]
async fn users_and_databases_of_the_url_are_those_of_the_reader() {
    let redis = RedisServer::start();
    let user: &[&str] = &["ACL", "SETUSER", "reader", "on", ">se:cret", "~*", "+@all"];
    let _: redis::Value = redis.command(user).await;
    let _: redis::Value = redis.command(&["ACL", "SETUSER", "default", "off"]).await;
    let url = format!("redis://reader:se%3Acret@127.0.0.1:{}/3", redis.port());
    let store = open(&url, None);
    store.create_group().await.unwrap();
    let mut reader = Reader::new(store, "me".into(), SHORT);
    assert_eq!(reader.read(10).await.unwrap(), Read::default());

    let mut connection = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
    let mut push = redis::cmd("XADD");
    push.arg(&["webhooks", "1-0", "payload", "{}"]);
    let _: String = push.query_async(&mut connection).await.unwrap();
    assert_eq!(reader.read(10).await.unwrap().entries.len(), 1);
}

#[tokio::test]
async fn a_unix_socket_is_read_too() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("redis.sock");
    let redis = RedisServer::start_with(&[
        "--save",
        "",
        "--appendonly",
        "no",
        "--unixsocket",
        socket.to_str().unwrap(),
    ]);
    let url = format!("unix://{}?db=2", socket.display());
    assert_eq!(read(&url).await.unwrap_err().kind(), ErrorKind::NoGroup);
    open(&url, None).create_group().await.unwrap();
    assert_eq!(read(&url).await.unwrap(), Read::default());
    drop(redis);
    assert_eq!(read(&url).await.unwrap_err().kind(), ErrorKind::Unreachable);
}

#[tokio::test]
async fn a_server_that_is_gone_or_silent_is_unreachable() {
    let mut redis = RedisServer::start();
    let store = redis.store();
    store.create_group().await.unwrap();
    let mut reader = Reader::new(store, "me".into(), SHORT);
    reader.read(1).await.unwrap();
    redis.kill();
    for _ in 0..2 {
        assert_eq!(reader.read(1).await.unwrap_err().kind(), ErrorKind::Unreachable);
    }
    redis.restart();
    assert_eq!(reader.read(1).await.unwrap_err().kind(), ErrorKind::NoGroup);
    redis.store().create_group().await.unwrap();
    reader.read(1).await.unwrap();
    redis.signal("STOP");
    let error = reader.read(1).await.unwrap_err();
    assert!(error.is_timeout() && error.kind() == ErrorKind::Unreachable, "{error}");
    redis.signal("CONT");
    reader.read(1).await.unwrap();
}

#[tokio::test]
async fn one_connection_serves_until_a_read_is_dropped() {
    let redis = RedisServer::start();
    let store = redis.store();
    store.create_group().await.unwrap();
    let connections = async || -> u64 {
        let info: String = redis.command(&["INFO", "stats"]).await;
        let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:"));
        line.unwrap().parse().unwrap()
    };
    let mut reader = Reader::new(store.clone(), "me".into(), SHORT);
    reader.read(1).await.unwrap();
    let before = connections().await;
    for _ in 0..3 {
        reader.read(1).await.unwrap();
    }
    assert_eq!(connections().await, before);

    let mut reader = Reader::new(store, "me".into(), Duration::from_secs(10));
    assert!(tokio::time::timeout(SHORT, reader.read(1)).await.is_err(), "it blocks");
    until("the server to see that nobody waits any more", || async {
        let info: String = redis.command(&["INFO", "clients"]).await;
        info.contains("blocked_clients:0")
    })
    .await;
    redis.push("{}").await;
    assert_eq!(reader.read(1).await.unwrap().entries.len(), 1);
    assert_eq!(connections().await, before + 2);
}
