//! Events that are taken in over HTTP: what is acknowledged is in Redis, and what is refused is named.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::caller::{Answered, Caller};
use crate::support::{Answer, Fields, Receiver, RedisServer, eventually, until};
use crate::wire::Wire;

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

/// A worker whose events have nowhere to go and a stream that it cannot read: what is pushed stays where it is.
async fn still(redis: &RedisServer, settings: &[(&str, &str)]) -> Caller {
    let caller = Caller::start(redis, settings).await;
    caller.until_ready().await;
    // Its reads fail from here on, and nothing else does.
    redis.command::<redis::Value>(&["ACL", "SETUSER", "default", "-xreadgroup"]).await;
    let _: u64 = redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    caller
}

/// What is in the stream: payload, id, traceparent.
async fn pushed(redis: &RedisServer) -> Vec<(String, Option<String>, Option<String>)> {
    let entries = redis.entries("webhooks").await;
    let entry = |(_, fields): (String, Fields)| {
        let text = |name: &str| {
            let field = fields.iter().find(|(field, _)| field == name.as_bytes());
            field.map(|(_, value)| String::from_utf8(value.clone()).unwrap())
        };
        (text("payload").unwrap(), text("id"), text("traceparent"))
    };
    entries.into_iter().map(entry).collect()
}

async fn payloads(redis: &RedisServer) -> Vec<String> {
    pushed(redis).await.into_iter().map(|(payload, ..)| payload).collect()
}

fn event(number: usize) -> String {
    format!(r#"{{"event":"order.paid","instance":"shop","data":{number}}}"#)
}

fn ids(answered: &Answered) -> Vec<Option<String>> {
    serde_json::from_value(answered.json()["ids"].clone()).expect("ids")
}

#[tokio::test]
async fn one_event_is_acknowledged_with_its_id_and_delivered_as_it_was_written() {
    let redis = RedisServer::start();
    let receiver = Receiver::start().await;
    redis.set_url("shop", &receiver.url("/hook")).await;
    let caller = Caller::start(&redis, &[]).await;
    let body = "\u{feff} {\"event\":\"order.paid\",\n \"instance\":\"shop\",\"data\":12345678901234567890.10,\"a\":1e3,\"a\":\"\\u00e9\"}\r\n";
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let answered = caller.ask("POST", "/events", &[("traceparent", trace)], body).await;
    assert_eq!(answered.status, 202, "{:?}", answered.json());
    let request = receiver.wait_for(1).await.remove(0);
    assert_eq!(answered.json(), json!({"id": request.id(), "duplicate": false}));
    assert_eq!(request.header("traceparent"), trace);
    let url = receiver.url("/hook");
    assert_eq!(
        request.text(),
        format!(
            "{{\"event\":\"order.paid\",\n \"instance\":\"shop\",\"data\":12345678901234567890.10,\"destination\":\"{url}\",\"a\":1e3,\"a\":\"\\u00e9\"}}"
        ),
    );
    redis.until_settled().await;
    redis.assert_settled().await;
}

#[tokio::test]
async fn lists_are_taken_in_their_order_whatever_they_are_written_as() {
    let redis = RedisServer::start();
    let caller = still(&redis, &[]).await;
    let array = format!("[{},\n {} ,{}]", event(0), event(1), event(2));
    let lines = format!("{}\n\n{}\r\n{}", event(3), event(4), event(5));
    let declared = event(6);
    let mut all = Vec::new();
    for (headers, body, count) in [
        (&[][..], &array, 3),
        (&[("content-type", "text/plain")], &lines, 3),
        (&[NDJSON], &declared, 1),
        (&[], &"[]".to_owned(), 0),
    ] {
        let answered = caller.ask("POST", "/events", headers, body.as_str()).await;
        assert_eq!(answered.status, 202);
        let told = answered.json();
        assert_eq!(
            (&told["accepted"], &told["refused"], &told["errors"]),
            (&json!(count), &json!(0), &json!([]))
        );
        all.extend(ids(&answered).into_iter().flatten());
    }
    assert_eq!(payloads(&redis).await, (0..7).map(event).collect::<Vec<_>>());
    let entries: Vec<String> = redis.entries("webhooks").await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(all, entries);
}

#[tokio::test]
async fn of_a_list_each_event_is_taken_or_refused_with_the_reason() {
    let redis = RedisServer::start();
    let caller = still(&redis, &[("MAX_EVENT_BYTES", "1024")]).await;
    let large = format!(r#"{{"event":"x","data":"{}"}}"#, "y".repeat(2000));
    let elements = [
        event(0),
        "{}".into(),
        large.clone(),
        r#"{"event":5}"#.into(),
        "[1]".into(),
        event(1),
        r#"{"event":"x","instance":7}"#.into(),
    ];
    for body in [format!("[{}]", elements.join(",")), elements.join("\n")] {
        let answered = caller.post("/events", body).await;
        assert_eq!(answered.status, 207);
        let told = answered.json();
        assert_eq!((&told["accepted"], &told["refused"]), (&json!(2), &json!(5)));
        let taken: Vec<bool> = ids(&answered).iter().map(Option::is_some).collect();
        assert_eq!(taken, [true, false, false, false, false, true, false]);
        let errors = told["errors"].as_array().unwrap();
        let each = |key: &str| errors.iter().map(|error| error[key].as_u64().unwrap()).collect::<Vec<_>>();
        assert_eq!(each("index"), [1, 2, 3, 4, 6]);
        assert_eq!(each("status"), [422, 413, 422, 422, 422]);
        assert!(errors[1]["message"].as_str().unwrap().contains("MAX_EVENT_BYTES allows 1024"));
    }
    assert_eq!(payloads(&redis).await, [event(0), event(1), event(0), event(1)]);
    for (body, status) in
        [("[{},5]".to_owned(), 422), (format!("[{large}]"), 413), (format!("[{large},{{}}]"), 422)]
    {
        let answered = caller.post("/events", body).await;
        assert_eq!(answered.status, status);
        assert!(answered.error().contains("details.errors"));
        assert_eq!(answered.json()["response"]["details"]["accepted"], 0);
    }
    assert_eq!(redis.len("webhooks").await, 4);
}

#[tokio::test]
async fn one_event_that_is_none_is_refused_with_the_reason() {
    let redis = RedisServer::start();
    let caller = still(&redis, &[("MAX_EVENT_BYTES", "1024")]).await;
    let large = format!(r#"{{"event":"x","data":"{}"}}"#, "y".repeat(20_000_000));
    for (body, status, why) in [
        ("", 400, "it is empty"),
        ("hello", 400, "neither { nor ["),
        (r#"{"event":"x""#, 400, "the object has no end"),
        (r#"{"event":tru}"#, 400, "not JSON"),
        (r#"{"event":"x"} {"event":"y"}"#, 400, "something follows"),
        ("[{\"event\":\"x\"},{\"event\":\"y\"", 400, "the array has no end"),
        ("[{\"event\":\"x\"},{\"event\":y},{\"event\":\"z\"}]", 400, "the event with index 1"),
        ("{}", 422, "no `event`"),
        (r#"{"event":""}"#, 422, "non-empty"),
        (large.as_str(), 413, "MAX_EVENT_BYTES allows 1024"),
    ] {
        let answered = caller.post("/events", body).await;
        assert_eq!(answered.status, status, "{why}: {}", answered.error());
        assert!(answered.error().contains(why), "{}", answered.error());
    }
    let invalid = caller.ask("POST", "/events", &[], b"{\"event\":\"\xff\"}".to_vec()).await;
    assert_eq!(invalid.status, 422, "it is JSON but for its text: {}", invalid.error());
    let zipped = caller.ask("POST", "/events", &[("content-encoding", "gzip")], "x").await;
    assert_eq!(zipped.status, 400);
    assert!(zipped.error().contains("gzip"));
    assert_eq!(caller.get("/events").await.status, 405);
    assert_eq!(redis.len("webhooks").await, 0, "a body of a batch or less is taken whole or not at all");
}

#[tokio::test]
async fn a_route_names_what_has_no_name_and_nothing_else() {
    let redis = RedisServer::start();
    let caller = still(&redis, &[("WEBHOOK_CUSTOM_EVENTS", "ORDER_PAID")]).await;
    for (route, body, pushed) in [
        ("messages-upsert", r#"{"event":"call","data":1}"#, r#"{"event":"call","data":1}"#),
        ("messages-upsert", r#"{ "data" : 1 }"#, r#"{"event":"messages.upsert", "data" : 1 }"#),
        ("message-set", "{ }", r#"{"event":"messages.set" }"#),
        ("order-paid", r#"{"data":1}"#, r#"{"event":"order-paid","data":1}"#),
        ("whatever", r#"[{"event":"x"}]"#, r#"{"event":"x"}"#),
    ] {
        let answered = caller.post(&format!("/events/{route}"), body).await;
        assert_eq!(answered.status, 202, "{route}");
        assert_eq!(payloads(&redis).await.last().unwrap(), pushed);
    }
    let answered = caller.post("/events/whatever", "{}").await;
    assert_eq!(answered.status, 422);
    assert!(answered.error().contains("'whatever'"), "{}", answered.error());
    assert_eq!(caller.post("/events/%ff", "{}").await.status, 400);
    assert_eq!(caller.post("/events/a/b", "{}").await.status, 404);
}

#[tokio::test]
async fn an_event_with_a_key_is_taken_once() {
    let redis = RedisServer::start();
    let caller = still(&redis, &[("DEDUP_WINDOW_SECONDS", "3600")]).await;
    let post = |key: &'static str, body: String| {
        let caller = &caller;
        async move { caller.ask("POST", "/events", &[("idempotency-key", key)], body).await }
    };
    let first = post("\"order-1\"", event(1)).await;
    assert_eq!((first.status, first.json()), (202, json!({"id": "order-1", "duplicate": false})));
    // At the same time, too.
    let again = futures_util::future::join_all((0..20).map(|_| post("order-1", event(1)))).await;
    for again in again {
        assert_eq!((again.status, again.json()), (202, json!({"id": "order-1", "duplicate": true})));
    }
    let other = post("order-1", event(2)).await;
    assert_eq!(other.status, 422);
    assert!(other.error().contains("order-1"), "{}", other.error());
    let both = [("idempotency-key", "k"), ("webhook-id", "i")];
    for is_duplicate in [false, true] {
        let answered = caller.ask("POST", "/events", &both, event(3)).await;
        assert_eq!(answered.json(), json!({"id": "i", "duplicate": is_duplicate}));
    }
    let pushed: Vec<_> =
        pushed(&redis).await.into_iter().map(|(payload, id, _)| (payload, id.unwrap())).collect();
    assert_eq!(pushed, [(event(1), "order-1".to_owned()), (event(3), "i".to_owned())]);

    for (body, headers) in
        [(format!("[{}]", event(4)), &[("webhook-id", "a")][..]), (event(4), &[("webhook-id", "a"), NDJSON])]
    {
        let many = caller.ask("POST", "/events", headers, body).await;
        assert_eq!(many.status, 422, "a key is one event's");
    }
    assert_eq!(caller.ask("POST", "/events", &[("webhook-id", "a b")], event(4)).await.status, 422);
    assert_eq!(redis.len("webhooks").await, 2);
    let expires_ms: i64 = redis.command(&["PTTL", "{webhooks}:dedup:order-1"]).await;
    assert!((3_500_000..=3_600_000).contains(&expires_ms), "{expires_ms}");
}

#[tokio::test]
async fn a_key_is_forgotten_after_its_window_or_never_remembered() {
    let redis = RedisServer::start();
    let caller = still(&redis, &[("DEDUP_WINDOW_SECONDS", "0.2")]).await;
    let post = || caller.ask("POST", "/events", &[("webhook-id", "a")], event(1));
    assert_eq!(post().await.json()["duplicate"], false);
    until("the key to be forgotten", || async { post().await.json()["duplicate"] == false }).await;

    let redis = RedisServer::start();
    let caller = still(&redis, &[("DEDUP_WINDOW_SECONDS", "0")]).await;
    for _ in 0..2 {
        let answered = caller.ask("POST", "/events", &[("webhook-id", "a")], event(1)).await;
        assert_eq!(answered.json(), json!({"id": "a", "duplicate": false}));
    }
    assert_eq!(redis.len("webhooks").await, 2);
    assert_eq!(redis.stray_keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_trace_that_is_none_is_not_passed_on() {
    let redis = RedisServer::start();
    let caller = still(&redis, &[]).await;
    let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    for trace in [good, "00-00000000000000000000000000000000-b7ad6b7169203331-01", "x"] {
        caller.ask("POST", "/events", &[("traceparent", trace)], event(1)).await;
    }
    caller.ask("POST", "/events", &[("traceparent", good)], format!("[{},{}]", event(1), event(2))).await;
    let traces: Vec<_> = pushed(&redis).await.into_iter().map(|(.., trace)| trace).collect();
    let good = Some(good.to_owned());
    assert_eq!(traces, [good.clone(), None, None, good.clone(), good]);
}

/// A request whose body is written by hand.
struct Upload(TcpStream);

impl Upload {
    async fn begin(caller: &Caller, headers: &str) -> Self {
        let addr = caller.base.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(addr).await.unwrap();
        let head =
            format!("POST /events HTTP/1.1\r\nhost: {addr}\r\ntransfer-encoding: chunked\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        Self(stream)
    }

    async fn send(&mut self, chunk: &[u8]) -> std::io::Result<()> {
        self.0.write_all(format!("{:x}\r\n", chunk.len()).as_bytes()).await?;
        self.0.write_all(chunk).await?;
        self.0.write_all(b"\r\n").await
    }

    async fn end(mut self) -> (u16, Value) {
        self.0.write_all(b"0\r\n\r\n").await.unwrap();
        self.answer().await
    }

    async fn answer(&mut self) -> (u16, Value) {
        let mut answer = Vec::new();
        let mut part = [0; 4096];
        loop {
            let text = String::from_utf8_lossy(&answer);
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let head = head.to_ascii_lowercase();
                let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                if body.len() >= length.expect("a length").trim().parse().unwrap() {
                    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                    return (status, serde_json::from_str(body).unwrap());
                }
            }
            let read = tokio::time::timeout(Duration::from_secs(20), self.0.read(&mut part)).await;
            let read = read.expect("an answer in time").expect("an answer");
            assert!(read > 0, "the connection ended: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&part[..read]);
        }
    }
}

#[tokio::test]
async fn a_stream_is_pushed_as_it_comes_and_holds_no_more_than_a_batch() {
    let redis = RedisServer::start();
    let caller = still(&redis, &[]).await;
    let before = resident_mb(caller.worker.pid());
    let mut upload = Upload::begin(&caller, "content-type: application/jsonl\r\n").await;
    upload.send(event(0).as_bytes()).await.unwrap();
    upload.send(b"\n{\"event\":").await.unwrap();
    // The first is there while the second is still coming.
    until("the first event", || async { redis.len("webhooks").await == 1 }).await;
    upload.send(b"\"x\",\"data\":1}\n").await.unwrap();
    until("the second event", || async { redis.len("webhooks").await == 2 }).await;

    // 200 MB of one stream; what was pushed is taken away, for this Redis to bear it.
    let line = format!("{{\"event\":\"x\",\"data\":\"{}\"}}\n", "y".repeat(1000));
    let chunk = line.repeat(100);
    for number in 0..2000 {
        upload.send(chunk.as_bytes()).await.unwrap();
        if number % 100 == 99 {
            let _: u64 = redis.command(&["XTRIM", "webhooks", "MAXLEN", "0"]).await;
        }
    }
    let (status, told) = upload.end().await;
    assert_eq!((status, &told["accepted"], &told["refused"]), (202, &json!(200_002), &json!(0)));
    assert_eq!(told["truncated"], true);
    let after = resident_mb(caller.worker.pid());
    println!("200 MB in one stream: {before:.0} MB before, {after:.0} MB after");
    assert!(after < before + 40.0, "{before:.0} MB before, {after:.0} MB after");
}

#[tokio::test]
async fn many_large_bodies_at_once_stay_within_the_budget() {
    const CLIENTS: usize = 24;
    let redis = RedisServer::start();
    let caller = std::sync::Arc::new(still(&redis, &[]).await);
    let body = format!("{{\"event\":\"x\",\"data\":\"{}\"}}", "y".repeat(12 * 1024 * 1024));
    let body: bytes::Bytes = body.into();
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..CLIENTS {
        let (caller, body) = (std::sync::Arc::clone(&caller), body.clone());
        clients.spawn(async move { caller.ask("POST", "/events", &[], body.to_vec()).await.status });
    }
    let (mut peak, mut taken, mut busy) = (0.0_f64, 0, 0);
    while !clients.is_empty() {
        tokio::select! {
            Some(status) = clients.join_next() => match status.unwrap() {
                202 => taken += 1,
                503 => busy += 1,
                status => panic!("{status}"),
            },
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        peak = peak.max(resident_mb(caller.worker.pid()));
    }
    println!(
        "{CLIENTS} clients with 12 MB each: {taken} taken, {busy} told to come again, {peak:.0} MB at most"
    );
    assert!(taken > 0);
    assert_eq!(redis.len("webhooks").await, taken);
    assert!(peak < 160.0, "{peak:.0} MB");
}

/// The memory a process has; 0 where the system does not tell.
fn resident_mb(pid: u32) -> f64 {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else { return 0.0 };
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

#[tokio::test]
async fn what_came_before_a_body_broke_is_told() {
    let redis = RedisServer::start();
    let caller = still(&redis, &[]).await;
    let mut upload = Upload::begin(&caller, "").await;
    upload.send(format!("[{},5,", event(0)).as_bytes()).await.unwrap();
    until("the first event", || async { redis.len("webhooks").await == 1 }).await;
    upload.send(b"oops]").await.unwrap();
    let (status, told) = upload.answer().await;
    let details = &told["response"]["details"];
    assert_eq!(
        (status, &details["accepted"], &details["refused"], &details["next"]),
        (400, &json!(1), &json!(1), &json!(2))
    );
    assert!(details["ids"][0].is_string(), "{details}");

    // A connection that ends in the middle: what is whole was pushed, and what may not be is not.
    let mut upload = Upload::begin(&caller, "").await;
    upload.send(format!("{}\n{}", event(1), event(2)).as_bytes()).await.unwrap();
    until("the second event", || async { redis.len("webhooks").await == 2 }).await;
    drop(upload);
    let answered = caller.post("/events", event(3)).await;
    assert_eq!(answered.status, 202);
    assert_eq!(payloads(&redis).await, [event(0), event(1), event(3)]);
}

#[tokio::test]
async fn a_redis_that_is_away_costs_what_was_not_pushed_and_no_more() {
    let always = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];
    let mut redis = RedisServer::start_with(&always);
    let caller = still(&redis, &[]).await;
    let mut upload = Upload::begin(&caller, "").await;
    upload.send(format!("{}\n{}\n", event(0), event(1)).as_bytes()).await.unwrap();
    until("two events", || async { redis.len("webhooks").await == 2 }).await;
    redis.kill();
    upload.send(format!("{}\n", event(2)).as_bytes()).await.unwrap();
    let (status, told) = upload.answer().await;
    let details = &told["response"]["details"];
    assert_eq!((status, &details["accepted"], &details["next"]), (503, &json!(2), &json!(2)), "{told}");

    let answered = caller.post("/events", event(3)).await;
    assert_eq!(answered.status, 503);
    assert_eq!(answered.headers["retry-after"], "1");
    redis.restart();
    eventually("events to be taken again", || async {
        (caller.post("/events", event(3)).await.status == 202).then_some(())
    })
    .await;
    let payloads = payloads(&redis).await;
    assert!(payloads.starts_with(&[event(0), event(1)]), "{payloads:?}");
    assert_eq!(payloads.last(), Some(&event(3)));
}

#[tokio::test]
async fn a_redis_that_takes_nothing_is_told_and_nothing_is_half_taken() {
    let redis = RedisServer::start();
    let caller = still(&redis, &[]).await;
    let list = format!("[{},{}]", event(1), event(2));
    let refused = async |why: &str| {
        for (headers, body) in [(&[][..], event(1)), (&[], list.clone()), (&[("webhook-id", "k")], event(1))]
        {
            let answered = caller.ask("POST", "/events", headers, body).await;
            assert_eq!(answered.status, 503, "{why}");
            assert!(answered.headers.contains_key("retry-after"));
            assert!(answered.error().contains(why), "{}", answered.error());
            assert_eq!(answered.json()["response"]["details"].get("unknown"), None, "{why}");
        }
    };
    let _: String = redis.command(&["REPLICAOF", "127.0.0.1", "1"]).await;
    refused("READONLY").await;
    let _: String = redis.command(&["REPLICAOF", "NO", "ONE"]).await;
    caller.post("/events", event(0)).await;
    assert_eq!(payloads(&redis).await, [event(0)]);

    // Before it is looked at how full it is, the push itself is refused.
    let used = redis_info(&redis, "used_memory").await;
    let _: String = redis.command(&["CONFIG", "SET", "maxmemory", &(used - 1000).to_string()]).await;
    let answered = caller.ask("POST", "/events", &[], list.clone()).await;
    assert_eq!(answered.status, 503, "{}", answered.error());
    eventually("it to be seen that redis is nearly full", || async {
        let answered = caller.post("/events", event(1)).await;
        (answered.status == 503 && answered.error().contains("maxmemory")).then_some(())
    })
    .await;
    refused("maxmemory").await;
    assert_eq!(payloads(&redis).await, [event(0)]);
    assert_eq!(redis.stray_keys().await, Vec::<String>::new(), "no key is remembered of what was not pushed");
    let _: String = redis.command(&["CONFIG", "SET", "maxmemory", "0"]).await;
    eventually("events to be taken again", || async {
        (caller.post("/events", list.clone()).await.status == 202).then_some(())
    })
    .await;
    assert_eq!(payloads(&redis).await, [event(0), event(1), event(2)]);
}

async fn redis_info(redis: &RedisServer, name: &str) -> u64 {
    let info: String = redis.command(&["INFO"]).await;
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap().trim().parse().unwrap()
}

#[tokio::test]
async fn no_more_is_taken_than_may_wait() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|_| Answer::status(500)).await;
    redis.set_url("shop", &receiver.url("/")).await;
    let caller =
        Caller::start(&redis, &[("BACKLOG_LIMIT", "10"), ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "1000")])
            .await;
    caller.until_ready().await;
    let begun = Instant::now();
    let (mut taken, mut refused) = (0, 0);
    while refused < 3 {
        let answered = caller.post("/events", event(taken)).await;
        match answered.status {
            202 => (taken, refused) = (taken + 1, 0),
            503 => {
                assert!(answered.error().contains("BACKLOG_LIMIT allows 10"), "{}", answered.error());
                assert_eq!(answered.headers["retry-after"], "5");
                refused += 1;
                tokio::time::sleep(Duration::from_millis(60)).await;
            }
            status => panic!("{status}"),
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
    }
    // They wait as retries or in the park, and count there as they did in the stream.
    // What moves while it is counted may be counted twice, or not at all.
    assert!((10..=11).contains(&taken), "{taken}");
    redis.delete_webhook("shop").await;
    redis.end_all_waits().await;
    eventually("room", || async { (caller.post("/events", event(0)).await.status == 202).then_some(()) })
        .await;
}

#[tokio::test]
async fn what_began_while_there_was_room_is_asked_again_when_it_has_come() {
    for body in [event(1), format!("[{}]", event(1))] {
        let redis = RedisServer::start();
        let caller = still(&redis, &[("BACKLOG_LIMIT", "1")]).await;
        let mut wire = Wire::connect(&caller).await;
        let length = body.len();
        wire.send(format!(
            "POST /events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nexpect: 100-continue\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        ))
        .await;
        // It is asked for once there is known to be room.
        assert_eq!(wire.status(Duration::from_secs(5)).await, Some(100));
        assert_eq!(caller.post("/events", event(0)).await.status, 202);
        wire.send(&body).await;
        let said = wire.until_closed(Duration::from_secs(5)).await.expect("it answers");
        assert!(said.contains("HTTP/1.1 503") && said.contains("BACKLOG_LIMIT allows 1"), "{said}");
        assert_eq!(payloads(&redis).await, [event(0)]);
    }
}

#[tokio::test]
async fn an_event_that_was_acknowledged_outlives_the_worker() {
    let always = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];
    let redis = RedisServer::start_with(&always);
    let receiver = Receiver::start().await;
    redis.set_url("shop", &receiver.url("/")).await;
    let mut caller = Caller::start(&redis, &[]).await;
    let base = caller.base.clone();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let sending = tokio::spawn(async move {
        let mut acknowledged = Vec::new();
        for number in 0.. {
            let id = format!("e{number}");
            let request = client.post(format!("{base}/events")).header("webhook-id", &id).body(event(number));
            match request.send().await {
                Ok(answered) if answered.status() == 202 => acknowledged.push(id),
                _ => return acknowledged,
            }
        }
        acknowledged
    });
    receiver.wait_for(50).await;
    caller.worker.kill();
    let acknowledged = sending.await.unwrap();
    assert!(acknowledged.len() >= 50);
    let _next = Caller::start(&redis, &[]).await;
    redis.until_settled().await;
    let received: std::collections::HashSet<String> =
        receiver.received().iter().map(|request| request.id().to_owned()).collect();
    let lost: Vec<_> = acknowledged.iter().filter(|id| !received.contains(*id)).collect();
    assert_eq!(lost, Vec::<&String>::new());
}
