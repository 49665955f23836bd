//! Clients that mean harm, or do not know better: they get refusals, and nobody else notices.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde_json::json;
use tokio::time::sleep;

use crate::caller::Caller;
use crate::support::{Answer, Gate, Receiver, RedisServer, until};
use crate::wire::Wire;

const SECOND: Duration = Duration::from_secs(1);
const MIB: usize = 1 << 20;

/// What the worker may grow by, whatever is sent to it.
const GROWTH_MIB: u64 = 64;

/// Lets this process have as many files open as it may.
fn allow_files(needed: u64) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
}

fn head(start: &str, headers: &str) -> String {
    format!("{start} HTTP/1.1\r\nhost: 127.0.0.1\r\n{headers}\r\n")
}

/// The memory of the worker, in MiB.
fn resident_mib(caller: &Caller) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", caller.worker.pid())).expect("it runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it has memory");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
}

/// That the worker serves and delivers as if nothing were.
async fn assert_works(caller: &Caller, redis: &RedisServer, receiver: &Receiver) {
    let before = receiver.count();
    redis.push(r#"{"event":"call","instance":"sales"}"#).await;
    receiver.wait_for(before + 1).await;
    assert_eq!(caller.get("/readyz").await.status, 200);
    assert_eq!(caller.get("/webhook/find/sales").await.status, 200);
    let log = caller.worker.log();
    assert!(!log.contains("a fault in posthaste"), "{log}");
}

async fn scene() -> (RedisServer, Receiver, Caller) {
    let redis = RedisServer::start();
    let receiver = Receiver::start().await;
    redis.set_url("sales", &receiver.url("/")).await;
    let caller = Caller::start(&redis, &[("LOG_LEVEL", "info")]).await;
    caller.until_ready().await;
    (redis, receiver, caller)
}

/// Ways to be slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slow {
    /// Nothing is ever sent.
    Silent,
    /// A byte of the head every second, which never ends.
    Head,
    /// A byte of the body every second.
    Body,
    /// A request, and then nothing.
    Idle,
    /// Requests without end, none of whose answers is read.
    Deaf,
}

/// Is slow until the other end closes; how long that took.
async fn be_slow(slow: Slow, caller: &Caller) -> Duration {
    let started = Instant::now();
    let mut wire = Wire::connect(caller).await;
    match slow {
        Slow::Silent => {}
        Slow::Idle => _ = wire.send(head("GET /healthz", "")).await,
        Slow::Head => {
            _ = wire.send("GET /healthz HTTP/1.1\r\nx-slow: ").await;
            while started.elapsed() < 60 * SECOND && wire.send("a").await {
                sleep(SECOND).await;
            }
        }
        Slow::Body => {
            _ = wire.send(head("POST /webhook/set/sales", "content-length: 1000\r\n")).await;
            while started.elapsed() < 60 * SECOND && wire.send(" ").await {
                sleep(SECOND).await;
            }
        }
        Slow::Deaf => {
            let requests = head("GET /openapi.json", "").repeat(100);
            while started.elapsed() < 60 * SECOND && wire.send_within(40 * SECOND, &requests).await {}
            assert!(started.elapsed() < 40 * SECOND, "{slow:?}");
            return started.elapsed();
        }
    }
    assert!(wire.until_closed(60 * SECOND).await.is_some(), "{slow:?} was not closed");
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_slow_connections_disturb_nobody_and_are_closed() {
    allow_files(4096);
    let (redis, receiver, caller) = scene().await;
    let before = resident_mib(&caller);
    let ways = [Slow::Silent, Slow::Head, Slow::Body, Slow::Idle];
    let mut slow: Vec<Slow> = ways.into_iter().cycle().take(1000).collect();
    slow.extend([Slow::Deaf; 8]);
    // Not all in one moment: what overflows the system's queue would be connected for one side alone.
    let slow = join_all(slow.into_iter().enumerate().map(|(i, slow)| {
        let caller = &caller;
        async move {
            sleep(Duration::from_millis(2) * u32::try_from(i).unwrap()).await;
            be_slow(slow, caller).await
        }
    }));
    let meanwhile = async {
        let (began, mut worst) = (Instant::now(), Duration::ZERO);
        while began.elapsed() < 8 * SECOND {
            let asked = Instant::now();
            assert_works(&caller, &redis, &receiver).await;
            worst = worst.max(asked.elapsed());
            sleep(SECOND / 5).await;
        }
        (worst, resident_mib(&caller))
    };
    let (took, (worst, held)) = tokio::join!(slow, meanwhile);
    let longest = took.iter().max().unwrap();
    println!(
        "slowest round of probe, API and delivery: {worst:?}; all were closed after {longest:?}; {before} → {held} MiB"
    );
    assert!(worst < 5 * SECOND, "{worst:?}");
    assert!(*longest < 40 * SECOND, "{longest:?}");
    assert!(held < before + GROWTH_MIB, "{before} → {held} MiB");
    assert_works(&caller, &redis, &receiver).await;
}

#[tokio::test]
async fn a_body_of_a_gigabyte_is_refused_before_it_is_read() {
    let (redis, receiver, caller) = scene().await;
    let before = resident_mib(&caller);
    for start in ["POST /webhook/set/sales", "POST /webhook/sales", "POST /webhook/instance"] {
        // Told by its length: refused without a byte of it.
        let mut wire = Wire::connect(&caller).await;
        wire.send(head(start, "content-length: 1073741824\r\nexpect: 100-continue\r\n")).await;
        assert_eq!(wire.status(5 * SECOND).await, Some(413), "{start}");
        assert!(wire.until_closed(5 * SECOND).await.is_some());

        // Sent all the same.
        let mut wire = Wire::connect(&caller).await;
        wire.send(head(start, "content-length: 1073741824\r\n")).await;
        let sent = wire.flood(&vec![b' '; MIB], 1024 * MIB).await;
        assert!(sent < 64 * MIB, "{start} took {sent} bytes");

        // Of a length that is not told: refused once it is too long.
        let mut wire = Wire::connect(&caller).await;
        wire.send(head(start, "transfer-encoding: chunked\r\n")).await;
        let chunk = [b"100000\r\n".to_vec(), vec![b' '; MIB], b"\r\n".to_vec()].concat();
        let sent = wire.flood(&chunk, 1024 * MIB).await;
        assert!(sent < 64 * MIB, "{start} took {sent} bytes");
    }
    // Where no body is expected, none is read either.
    for start in
        ["GET /webhook", "DELETE /webhook/nobody", "POST /webhook/sales/test", "GET /healthz", "GET /nowhere"]
    {
        let mut wire = Wire::connect(&caller).await;
        wire.send(head(start, "content-length: 1073741824\r\n")).await;
        let sent = wire.flood(&vec![b' '; MIB], 1024 * MIB).await;
        assert!(sent < 64 * MIB, "{start} took {sent} bytes");
    }
    let many = (0..32).map(|_| async {
        let mut wire = Wire::connect(&caller).await;
        wire.send(head("POST /webhook/set/sales", "transfer-encoding: chunked\r\n")).await;
        wire.flood(&[b"10000\r\n".to_vec(), vec![b' '; 0x10000], b"\r\n".to_vec()].concat(), 64 * MIB).await
    });
    assert!(join_all(many).await.into_iter().all(|sent| sent < 64 * MIB));
    let after = resident_mib(&caller);
    println!("{before} → {after} MiB");
    assert!(after < before + GROWTH_MIB, "{before} → {after} MiB");
    assert_works(&caller, &redis, &receiver).await;

    let largest = format!(r#"{{"url":"{}"{}}}"#, receiver.url("/"), " ".repeat(200 * 1024));
    assert_eq!(caller.post("/webhook/set/sales", largest).await.status, 201);
    let larger = caller.post("/webhook/set/sales", " ".repeat(256 * 1024 + 1)).await;
    assert_eq!((larger.status, larger.error().contains("at most 256 KiB")), (413, true));
}

#[tokio::test]
async fn heads_that_are_too_large_are_refused() {
    let (redis, receiver, caller) = scene().await;
    let before = resident_mib(&caller);
    let many = |count: usize| (0..count).map(|i| format!("x-{i}: 1\r\n")).collect::<String>();
    for (what, bomb) in [
        ("headers", head("GET /healthz", &many(101))),
        ("small headers", head("GET /healthz", &many(1_000_000))),
        ("a header", head("GET /healthz", &format!("x-a: {}\r\n", "a".repeat(16 * MIB)))),
        ("a header's name", head("GET /healthz", &format!("{}: a\r\n", "a".repeat(16 * MIB)))),
        ("a path", head(&format!("GET /webhook/find/{}", "a".repeat(16 * MIB)), "")),
        ("a path beyond HTTP's", head(&format!("GET /webhook/find/{}", "a".repeat(65_530)), "")),
        ("a method", head(&format!("{} /", "A".repeat(16 * MIB)), "")),
        ("an endless line", "a".repeat(16 * MIB)),
        ("a key", head("GET /webhook", &format!("apikey: {}\r\n", "a".repeat(MIB)))),
    ] {
        let mut wire = Wire::connect(&caller).await;
        wire.send(&bomb).await;
        let status = wire.status(5 * SECOND).await;
        assert!(matches!(status, None | Some(400 | 414 | 431)), "{what}: {status:?}");
        assert!(wire.until_closed(15 * SECOND).await.is_some(), "{what}");
    }
    let mut wire = Wire::connect(&caller).await;
    wire.send(head("GET /healthz", &many(90))).await;
    assert_eq!(wire.status(5 * SECOND).await, Some(200));
    let after = resident_mib(&caller);
    println!("{before} → {after} MiB");
    assert!(after < before + GROWTH_MIB, "{before} → {after} MiB");
    assert_works(&caller, &redis, &receiver).await;
}

#[tokio::test]
async fn what_is_no_http_is_refused() {
    let (redis, receiver, caller) = scene().await;
    let set = |headers: &str, body: &str| head("POST /webhook/set/x", headers) + body;
    let webhook = r#"{"url":"https://h.example/"}"#;
    for (what, bytes) in [
        ("nonsense", b"\x00\xff\xfe nonsense\r\n\r\n".to_vec()),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".repeat(50)),
        ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()),
        ("Redis", b"*1\r\n$8\r\nFLUSHALL\r\n".to_vec()),
        ("a NUL", head("GET /healthz", "x-a: a\0b\r\n").into_bytes()),
        ("a space before the colon", head("GET /healthz", "x-a : b\r\n").into_bytes()),
        ("two lengths", set("content-length: 28\r\ncontent-length: 5\r\n", webhook).into_bytes()),
        ("a negative length", set("content-length: -1\r\n", webhook).into_bytes()),
        ("a length beyond numbers", set("content-length: 99999999999999999999999\r\n", webhook).into_bytes()),
        ("a bad chunk", set("transfer-encoding: chunked\r\n", "zz\r\nabc").into_bytes()),
        ("an endless chunk", set("transfer-encoding: chunked\r\n", "fffffffffffffffff\r\n").into_bytes()),
        ("an unknown coding", set("transfer-encoding: gzip\r\n", webhook).into_bytes()),
        ("a host of elsewhere", b"GET /webhook HTTP/1.1\r\nhost: evil.example\r\n\r\n".to_vec()),
    ] {
        let mut wire = Wire::connect(&caller).await;
        wire.send(&bytes).await;
        wire.close_writing().await;
        let said = wire.until_closed(15 * SECOND).await.unwrap_or_else(|| panic!("{what} was not closed"));
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{what}: {said}");
    }
    // Both a length and chunks: the chunks count (RFC 9112, 6.3), and nothing is taken for a second request.
    let mut wire = Wire::connect(&caller).await;
    let smuggled = head("GET /smuggled", "");
    wire.send(set("content-length: 4\r\ntransfer-encoding: chunked\r\n", &format!("0\r\n\r\n{smuggled}")))
        .await;
    wire.close_writing().await;
    let said = wire.until_closed(15 * SECOND).await.expect("it is closed");
    assert!(said.starts_with("HTTP/1.1 400"), "{said}");
    assert_works(&caller, &redis, &receiver).await;
    assert_eq!(caller.get("/webhook/find/x").await.json(), json!(null));
}

#[tokio::test]
async fn what_is_no_json_is_refused() {
    let (redis, receiver, caller) = scene().await;
    let deep =
        |open: &str, close: &str| format!("{}{}", open.repeat(100_000 / open.len()), close.repeat(10_000));
    for (what, body) in [
        ("nothing", Vec::new()),
        ("no UTF-8", b"{\"url\":\"https://h/\xff\xfe\"}".to_vec()),
        ("a key that is no UTF-8", b"{\"url\":\"https://h.example/\",\"\xff\":1}".to_vec()),
        ("a byte order mark", b"\xef\xbb\xbf{\"url\":\"https://h.example/\"}".to_vec()),
        ("half a surrogate", br#"{"url":"https://h.example/\ud800"}"#.to_vec()),
        ("a NUL", br#"{"url":"https://h.example/\u0000"}"#.to_vec()),
        ("a number beyond numbers", br#"{"url":"https://h.example/","rate_limit":1e999}"#.to_vec()),
        ("no end", br#"{"url":"https://h.example/""#.to_vec()),
        ("two values", br#"{"url":"https://h.example/"}{"url":"https://h.example/"}"#.to_vec()),
        ("comments", br#"{"url":"https://h.example/" /* a */}"#.to_vec()),
        ("deep arrays", deep("[", "]").into_bytes()),
        ("deep objects", deep("{\"webhook\":", "}").into_bytes()),
        (
            "a deep member",
            format!(r#"{{"url":"https://h.example/","headers":{}}}"#, deep("[", "]")).into_bytes(),
        ),
        ("a form", b"url=https://h.example/".to_vec()),
        ("many keys", format!("{{{}}}", r#""a":1,"#.repeat(40_000)).into_bytes()),
    ] {
        for path in ["/webhook/set/x", "/webhook/instance"] {
            let asked = Instant::now();
            let answered = caller.post(path, body.clone()).await;
            assert_eq!(answered.status, 400, "{what}");
            assert!(!answered.error().is_empty() && answered.body.len() < 1000, "{what}: {answered:?}");
            assert!(asked.elapsed() < 2 * SECOND, "{what} took {:?}", asked.elapsed());
        }
    }
    assert_works(&caller, &redis, &receiver).await;
}

#[tokio::test]
async fn requests_in_one_go_are_answered_in_order() {
    let (_redis, _receiver, caller) = scene().await;
    let mut wire = Wire::connect(&caller).await;
    let requests: String = (0..200)
        .map(|i| head(&format!("GET /nowhere/{i}"), if i == 199 { "connection: close\r\n" } else { "" }))
        .collect();
    wire.send(requests).await;
    let said = wire.until_closed(10 * SECOND).await.expect("it is closed");
    let places: Vec<_> =
        (0..200).map(|i| said.find(&format!("/nowhere/{i}\"")).expect("an answer")).collect();
    assert!(places.is_sorted());
    assert_eq!(said.matches("HTTP/1.1 404").count(), 200);
}

#[tokio::test]
async fn who_says_no_more_is_still_answered_and_who_leaves_half_way_is_not_waited_for() {
    let (redis, receiver, caller) = scene().await;
    let body = json!({ "url": receiver.url("/") }).to_string();
    let length = |bytes: usize| format!("content-length: {bytes}\r\n");
    let mut wire = Wire::connect(&caller).await;
    wire.send(head("POST /webhook/set/half", &length(body.len())) + &body).await;
    wire.close_writing().await;
    let said = wire.until_closed(5 * SECOND).await.expect("it is closed");
    assert!(said.starts_with("HTTP/1.1 201"), "{said}");

    for part in [
        "POST /webhook/set/never HT".to_owned(),
        head("POST /webhook/set/never", &length(body.len() + 1)) + &body,
        head("POST /webhook/set/never", "transfer-encoding: chunked\r\n") + "5\r\n{\"ur",
    ] {
        let mut wire = Wire::connect(&caller).await;
        wire.send(&part).await;
        wire.close_writing().await;
        let said = wire.until_closed(5 * SECOND).await.expect("it is closed");
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{said}");
    }
    assert_eq!(caller.get("/webhook/find/never").await.json(), json!(null));
    assert_works(&caller, &redis, &receiver).await;
}

#[tokio::test]
async fn what_is_under_way_is_answered_when_the_worker_stops() {
    let redis = RedisServer::start();
    let gate = Gate::closed();
    let behind = gate.clone();
    let receiver = Receiver::answering(move |_| Answer::status(200).behind(&behind)).await;
    let mut caller = Caller::start(&redis, &[]).await;
    caller.until_ready().await;
    redis.set_url("sales", &receiver.url("/")).await;
    // Some that never end, and one that does.
    let mut slow = Vec::new();
    for bytes in
        ["", "GET / HT", "POST /webhook/set/a HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{"]
    {
        let mut wire = Wire::connect(&caller).await;
        wire.send(bytes).await;
        slow.push(wire);
    }
    let mut asked = Wire::connect(&caller).await;
    asked.send(head("POST /webhook/sales/test", "")).await;
    receiver.wait_for(1).await;
    caller.worker.signal("TERM");
    until("it to stop", || async { caller.worker.log().contains("stopped;") }).await;
    gate.open();
    let said = asked.until_closed(10 * SECOND).await.expect("it is closed after the answer");
    assert!(said.starts_with("HTTP/1.1 200") && said.contains(r#""delivered":true"#), "{said}");
    assert_eq!(caller.worker.ended().await, Some(0));
    for mut wire in slow {
        assert!(wire.until_closed(5 * SECOND).await.is_some());
    }
}
