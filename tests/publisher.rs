//! `posthaste::Publisher`: what it pushes, what it refuses, and how it bears a Redis that is away.

#![allow(missing_docs, reason = "a test")]

mod support;

use std::time::{Duration, Instant};

use posthaste::model::EventId;
use posthaste::store::{ErrorKind, Once};
use posthaste::{PublishError, Published, Publisher};
use support::{Receiver, RedisServer, Worker, eventually, fields, payload};

const ENVELOPE: &str = "{ \"event\":\"order.paid\",\"instance\":\"shop\",\"data\":{\"n\":1.0,\"n\":1e3}\t}";
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn publisher(redis: &RedisServer) -> Publisher {
    Publisher::connect(&redis.url(), "webhooks").expect("a URL")
}

fn numbered(number: usize) -> Published {
    Published::new(format!(r#"{{"event":"x","data":{number}}}"#)).expect("an envelope")
}

fn kind(error: &PublishError) -> Option<ErrorKind> {
    match error {
        PublishError::Store(error) => Some(error.kind()),
        PublishError::Envelope(_) | PublishError::Id(_) => None,
    }
}

#[tokio::test]
async fn an_event_is_pushed_byte_for_byte() {
    let redis = RedisServer::start();
    let publisher = publisher(&redis);
    let id = publisher.publish(ENVELOPE).await.unwrap();
    let owned = publisher.publish(ENVELOPE.as_bytes().to_vec()).await.unwrap();
    let entries = redis.entries("webhooks").await;
    assert_eq!(entries, [(id, payload(ENVELOPE)), (owned, payload(ENVELOPE))]);
}

#[tokio::test]
async fn an_id_and_a_trace_context_go_with_it_to_the_receiver() {
    let redis = RedisServer::start();
    let receiver = Receiver::start().await;
    redis.set_webhook("shop", &format!(r#"{{"url":"{}"}}"#, receiver.url("/"))).await;
    let event =
        Published::new(ENVELOPE).and_then(|event| event.with_id("order-1")).unwrap().with_traceparent(TRACE);
    publisher(&redis).publish_all(&[event]).await.unwrap();
    let mut entry = payload(ENVELOPE);
    entry.extend(fields(&[("id", "order-1"), ("traceparent", TRACE)]));
    assert_eq!(redis.entries("webhooks").await[0].1, entry);

    let _worker = Worker::start(&redis, &[]).await;
    let received = receiver.wait_for(1).await;
    assert_eq!(received[0].id(), "order-1");
    assert_eq!(received[0].header("traceparent"), TRACE);
}

#[tokio::test]
async fn many_are_pushed_in_order() {
    const MANY: usize = 10_000;
    let redis = RedisServer::start();
    let publisher = publisher(&redis);
    assert_eq!(publisher.publish_all(&[]).await.unwrap(), Vec::<String>::new());
    assert_eq!(redis.keys().await, Vec::<String>::new());

    let events: Vec<Published> = (0..MANY).map(numbered).collect();
    let ids = publisher.publish_all(&events).await.unwrap();
    let entries = redis.entries("webhooks").await;
    assert_eq!(entries.len(), MANY);
    for (number, (entry, id)) in entries.iter().zip(&ids).enumerate() {
        assert_eq!(&entry.0, id);
        assert_eq!(entry.1, payload(format!(r#"{{"event":"x","data":{number}}}"#)));
    }
}

#[tokio::test]
async fn tasks_share_a_publisher_and_each_keeps_its_order() {
    let redis = RedisServer::start();
    let publisher = publisher(&redis);
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8 {
        let publisher = publisher.clone();
        tasks.spawn(async move {
            for number in 0..50 {
                let envelope = format!(r#"{{"event":"x","instance":"{task}","data":{number}}}"#);
                publisher.publish(envelope).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    let mut next = [0; 8];
    for (_, entry) in redis.entries("webhooks").await {
        let envelope: serde_json::Value = serde_json::from_slice(&entry[0].1).unwrap();
        let task: usize = envelope["instance"].as_str().unwrap().parse().unwrap();
        assert_eq!(envelope["data"], next[task]);
        next[task] += 1;
    }
    assert_eq!(next, [50; 8]);
}

#[tokio::test]
async fn what_is_no_envelope_is_refused_and_not_pushed() {
    let redis = RedisServer::start();
    let publisher = publisher(&redis);
    let texts: [&[u8]; 10] = [
        b"",
        b"nope",
        b"[]",
        b"5",
        b"null",
        b"{}",
        br#"{"event":5}"#,
        br#"{"event":""}"#,
        br#"{"event":"x","instance":5}"#,
        b"{\"event\":\"x\",\"data\":\"\xff\"}",
    ];
    for text in texts {
        let error = publisher.publish(text.to_vec()).await.unwrap_err();
        assert!(matches!(error, PublishError::Envelope(_)), "{text:?}: {error}");
        assert!(Published::new(text.to_vec()).is_err());
    }
    for id in ["", "a b", "a\n", "ä", &"x".repeat(129)] {
        let error = numbered(1).with_id(id).unwrap_err();
        assert!(matches!(error, PublishError::Id(_)), "{id:?}: {error}");
        assert!(error.to_string().contains("128"), "{error}");
    }
    assert!(numbered(1).with_id(&"x".repeat(128)).is_ok());
    assert_eq!(redis.keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn it_pushes_to_the_stream_it_was_given() {
    let redis = RedisServer::start();
    let publisher = Publisher::connect(&redis.url(), "orders").unwrap();
    publisher.publish(ENVELOPE).await.unwrap();
    assert_eq!(redis.keys().await, ["orders"]);
    for url in ["", "nonsense", "http://127.0.0.1:1/"] {
        assert!(Publisher::connect(url, "orders").is_err(), "{url}");
    }
}

#[tokio::test]
async fn what_redis_refuses_is_an_error() {
    let redis = RedisServer::start();
    let publisher = publisher(&redis);
    let _: String = redis.command(&["SET", "webhooks", "not a stream"]).await;
    let error = publisher.publish(ENVELOPE).await.unwrap_err();
    assert!(error.to_string().contains("WRONGTYPE"), "{error}");
    // The connection is as good as before.
    let _: u64 = redis.command(&["DEL", "webhooks"]).await;
    publisher.publish(ENVELOPE).await.unwrap();
    assert_eq!(redis.len("webhooks").await, 1);
}

/// Leaves a Redis so many bytes.
async fn leave_bytes(redis: &RedisServer, bytes: u64) {
    let info: String = redis.command(&["INFO", "memory"]).await;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("it tells");
    let limit = used.trim().parse::<u64>().expect("a number") + bytes;
    let _: String = redis.command(&["CONFIG", "SET", "maxmemory", &limit.to_string()]).await;
}

#[tokio::test]
async fn of_many_redis_has_all_or_none() {
    let redis = RedisServer::start();
    let publisher = publisher(&redis);
    let large = format!(r#"{{"event":"x","data":"{}"}}"#, "y".repeat(100_000));
    let events = vec![Published::new(large).unwrap(); 100];
    publisher.publish_all(&events[..2]).await.unwrap();
    // Room for some of them.
    leave_bytes(&redis, 4_000_000).await;
    let error = publisher.publish_all(&events).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoWrites, "{error}");
    assert!(error.code().is_some(), "it was refused, and not left open: {error}");
    assert_eq!(redis.len("webhooks").await, 2);
    publisher.publish_all(&events[..2]).await.unwrap();
}

#[tokio::test]
async fn what_has_a_key_is_pushed_once_or_leaves_nothing() {
    let redis = RedisServer::start();
    let publisher = publisher(&redis);
    let (key, window) = (EventId::parse("k").unwrap(), Duration::from_secs(60));
    let named = numbered(1).with_id("i").unwrap();
    leave_bytes(&redis, 0).await;
    let error = publisher.publish_once(&named, &key, window).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoWrites, "{error}");
    let _: String = redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(redis.keys().await, Vec::<String>::new());

    assert_eq!(publisher.publish_once(&named, &key, window).await.unwrap(), Once::Now);
    assert_eq!(publisher.publish_once(&named, &key, window).await.unwrap(), Once::Before("i".to_owned()));
    assert_eq!(
        publisher.publish_once(&numbered(2), &key, window).await.unwrap(),
        Once::Differs("i".to_owned())
    );
    let other = EventId::parse("a{b}").unwrap();
    let event = numbered(3).with_traceparent(TRACE);
    assert_eq!(publisher.publish_once(&event, &other, window).await.unwrap(), Once::Now);
    assert_eq!(
        publisher.publish_once(&event, &other, window).await.unwrap(),
        Once::Before("a{b}".to_owned())
    );
    let entries: Vec<_> = redis.entries("webhooks").await.into_iter().map(|(_, fields)| fields).collect();
    let one = |number: usize, id: &str| {
        let mut entry = payload(format!(r#"{{"event":"x","data":{number}}}"#));
        entry.extend(fields(&[("id", id)]));
        entry
    };
    let mut traced = one(3, "a{b}");
    traced.extend(fields(&[("traceparent", TRACE)]));
    assert_eq!(entries, [one(1, "i"), traced]);
}

#[tokio::test]
async fn a_redis_that_is_not_there_is_an_error_at_once() {
    let url = format!("redis://127.0.0.1:{}", support::free_port());
    let publisher = Publisher::connect(&url, "webhooks").unwrap();
    let began = Instant::now();
    let error = publisher.publish(ENVELOPE).await.unwrap_err();
    assert_eq!(kind(&error), Some(ErrorKind::Unreachable), "{error}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_redis_that_does_not_answer_is_an_error_in_bounded_time() {
    let redis = RedisServer::start();
    let publisher = publisher(&redis);
    publisher.publish(ENVELOPE).await.unwrap();
    signal(&redis, "STOP");
    let began = Instant::now();
    let error = publisher.publish(ENVELOPE).await.unwrap_err();
    let took = began.elapsed();
    signal(&redis, "CONT");
    assert_eq!(kind(&error), Some(ErrorKind::Unreachable), "{error}");
    assert!(took < Duration::from_secs(12), "{took:?}");
    // It is not known whether that one was pushed; what follows is.
    eventually("the publisher to be well again", || async { publisher.publish(ENVELOPE).await.ok() }).await;
}

fn signal(redis: &RedisServer, signal: &str) {
    let sent =
        std::process::Command::new("kill").args([&format!("-{signal}"), &redis.pid().to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()));
}

#[tokio::test]
async fn it_goes_on_after_redis_was_restarted() {
    let mut redis =
        RedisServer::start_with(&["--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
    let publisher = publisher(&redis);
    let mut confirmed = vec![publisher.publish(ENVELOPE).await.unwrap()];
    redis.kill();
    for _ in 0..3 {
        let error = publisher.publish(ENVELOPE).await.unwrap_err();
        assert_eq!(kind(&error), Some(ErrorKind::Unreachable), "{error}");
    }
    redis.restart();
    let id =
        eventually("the publisher to reconnect", || async { publisher.publish(ENVELOPE).await.ok() }).await;
    confirmed.push(id);
    confirmed.extend(publisher.publish_all(&[numbered(1), numbered(2)]).await.unwrap());
    let entries = redis.entries("webhooks").await;
    let ids: Vec<String> = entries.into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, confirmed, "what was confirmed is there, once");
}

#[tokio::test]
async fn a_connection_that_was_lost_costs_at_most_one_error() {
    let redis = RedisServer::start();
    let publisher = publisher(&redis);
    publisher.publish(ENVELOPE).await.unwrap();
    // As an idle timeout or a proxy in between does.
    let _: u64 = redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    if let Err(error) = publisher.publish(ENVELOPE).await {
        assert_eq!(kind(&error), Some(ErrorKind::Unreachable), "{error}");
        publisher.publish(ENVELOPE).await.unwrap();
    }
    assert_eq!(redis.len("webhooks").await, 2);
}

/// Longer than a connection may be idle and be used unchecked.
const QUIET: Duration = Duration::from_millis(700);

#[tokio::test]
async fn a_connection_that_was_lost_while_the_producer_was_quiet_costs_no_error() {
    let redis = RedisServer::start();
    let publisher = publisher(&redis);
    publisher.publish(ENVELOPE).await.unwrap();
    let _: u64 = redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    tokio::time::sleep(QUIET).await;
    // All at once: each of them finds the connection gone, and one makes another.
    let pushes = (0..8).map(|_| publisher.publish(ENVELOPE));
    for pushed in futures_util::future::join_all(pushes).await {
        pushed.expect("a producer that was only quiet");
    }
    assert_eq!(redis.len("webhooks").await, 9);
}

#[tokio::test]
async fn a_server_that_ends_idle_connections_costs_no_error() {
    let redis = RedisServer::start_with(&["--save", "", "--timeout", "1"]);
    let publisher = publisher(&redis);
    publisher.publish(ENVELOPE).await.unwrap();
    let others = || async {
        let clients: String =
            redis.try_command(&["CLIENT", "LIST", "TYPE", "normal"]).await.expect("it answers");
        clients.lines().count() - 1
    };
    eventually("the connection to be ended", || async { (others().await == 0).then_some(()) }).await;
    publisher.publish(ENVELOPE).await.expect("a producer that was only quiet");
}

#[tokio::test]
async fn a_restart_while_the_producer_was_quiet_costs_no_error() {
    let mut redis =
        RedisServer::start_with(&["--save", "", "--appendonly", "yes", "--appendfsync", "always"]);
    let publisher = publisher(&redis);
    let before = publisher.publish(ENVELOPE).await.unwrap();
    redis.kill();
    redis.restart();
    tokio::time::sleep(QUIET).await;
    let after = publisher.publish(ENVELOPE).await.expect("a producer that was only quiet");
    let entries = redis.entries("webhooks").await;
    let ids: Vec<String> = entries.into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [before, after], "what was confirmed is there, once");
}
