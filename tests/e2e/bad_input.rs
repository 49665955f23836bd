//! Bad input: it is kept, told apart, and never delays or loses its neighbours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use posthaste::store::Replayed;

use crate::support::{
    Answer, Fields, Letter, Received, Receiver, RedisServer, Worker, eventually, fields, payload, until,
};

const RETRY_AT_ONCE: (&str, &str) = ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.05");

/// A Redis and a receiver at which the instance `good` gets everything.
struct Scene {
    redis: RedisServer,
    receiver: Receiver,
}

impl Scene {
    async fn new() -> Self {
        Self::answering(|_| Answer::status(200)).await
    }

    async fn answering(script: impl Fn(&Received) -> Answer + Send + Sync + 'static) -> Self {
        let scene = Self { redis: RedisServer::start(), receiver: Receiver::answering(script).await };
        scene.hook("good").await;
        scene
    }

    /// Sets the webhook of an instance, to a path of its name.
    async fn hook(&self, instance: &str) {
        let url = self.receiver.url(&format!("/{instance}"));
        self.redis.set_webhook(instance, &format!(r#"{{"url":"{url}"}}"#)).await;
    }

    /// Pushes entries, each between two good events; returns their ids. To be called before there is a worker, which
    /// then reads all in one batch.
    async fn push_between_good_ones(&self, entries: &[Fields]) -> Vec<String> {
        let mut ids = Vec::new();
        self.push_good(0).await;
        for (i, entry) in entries.iter().enumerate() {
            ids.push(self.redis.push_entry("webhooks", entry).await);
            self.push_good(i + 1).await;
        }
        ids
    }

    async fn push_good(&self, number: usize) {
        let envelope = format!(r#"{{"event":"messages.upsert","instance":"good","data":{number}}}"#);
        self.redis.push_with_id(&format!("good-{number}"), &envelope).await;
    }

    /// Waits until the good events around `bad` entries have arrived; each at its first attempt, and once.
    async fn good_ones_arrived(&self, bad: usize) {
        for number in 0..=bad {
            let received = self.receiver.wait_for_of(&format!("good-{number}"), 1).await;
            assert_eq!(received.len(), 1, "good-{number} arrived once");
            assert_eq!(received[0].attempt(), 1, "good-{number} arrived at once");
            assert_eq!(received[0].json()["data"], number);
        }
    }

    /// Waits until all is settled; then nothing is left over.
    async fn settled(&self) {
        self.redis.until_settled().await;
        self.redis.assert_settled().await;
    }

    /// The dead letter made of an entry.
    fn letter_of<'a>(letters: &'a [Letter], id: &str) -> &'a Letter {
        letters
            .iter()
            .find(|letter| letter.text("id") == id)
            .unwrap_or_else(|| panic!("entry {id} has a dead letter: {letters:#?}"))
    }
}

const NO_OBJECT: [&str; 17] = [
    "",
    " ",
    "nope",
    "[]",
    r#"[{"event":"x","instance":"good"}]"#,
    "5",
    "-0.0",
    "null",
    "true",
    r#""event""#,
    r#"{"event":"x""#,
    r#"{"event":"x"} {}"#,
    "{'event':'x'}",
    r#"{"event":"x","n":01}"#,
    r#"{"event":"x","n":NaN}"#,
    r#"{"event":"x",}"#,
    "{\"event\":\"x\",\"data\":\"a\nb\"}",
];
const NO_EVENT: [&str; 2] = ["{}", r#"{"Event":"x","data":{"event":"x"}}"#];
const BAD_EVENT: [&str; 8] = [
    r#"{"event":5}"#,
    r#"{"event":null}"#,
    r#"{"event":""}"#,
    r#"{"event":["x"]}"#,
    r#"{"event":{"event":"x"}}"#,
    r#"{"event":true}"#,
    r#"{"event":"\ud800"}"#,
    r#"{"event":"x","event":5}"#,
];
const BAD_INSTANCE: [&str; 5] = [
    r#"{"event":"x","instance":5}"#,
    r#"{"event":"x","instance":true}"#,
    r#"{"event":"x","instance":["good"]}"#,
    r#"{"event":"x","instance":{"name":"good"}}"#,
    r#"{"event":"x","instance":"\ud800"}"#,
];

/// Entries that cannot be read, and what is said about each.
fn unreadable() -> Vec<(Fields, &'static str)> {
    let no_payload = "no field `payload`";
    let no_object = "the payload is not a JSON object";
    let bad_event = "`event` is not a non-empty string";
    let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
    let two_payloads = [r#"{"event":"x","instance":"good"}"#, "the last counts"];
    let odd_bytes: Fields =
        vec![(b"\xff\x00:1,".to_vec(), b"\x00\xfe".to_vec()), (b"\r\n".to_vec(), Vec::new())];
    let mut cases = vec![
        (fields(&[("foo", "bar")]), no_payload),
        (fields(&[("", "")]), no_payload),
        (fields(&[("PAYLOAD", r#"{"event":"x"}"#)]), no_payload),
        (fields(&[("data", r#"{"event":"x"}"#)]), no_payload),
        (odd_bytes, no_payload),
        (fields(&two_payloads.map(|text| ("payload", text))), no_object),
        (payload(b"{\"event\":\"x\",\"data\":\"\xff\xfe\"}"), no_object),
        (payload(b"\x00\xff\xfe"), no_object),
        (payload("\u{feff}{\"event\":\"x\"}"), no_object),
        (payload(&open), no_object),
        (payload("{\"event\":".repeat(100_000)), no_object),
        (payload(format!("{{\"event\":\"x\",\"data\":{open}")), no_object),
        (payload(format!("{{\"event\":{open}{close}}}")), bad_event),
    ];
    for (texts, why) in [
        (&NO_OBJECT[..], no_object),
        (&NO_EVENT, "the payload has no `event`"),
        (&BAD_EVENT, bad_event),
        (&BAD_INSTANCE, "`instance` is neither a string nor null"),
    ] {
        cases.extend(texts.iter().map(|text| (payload(text), why)));
    }
    cases
}

#[tokio::test]
async fn an_entry_that_is_no_event_becomes_a_dead_letter_byte_for_byte() {
    let scene = Scene::new().await;
    let cases = unreadable();
    let entries: Vec<Fields> = cases.iter().map(|(entry, _)| entry.clone()).collect();
    let ids = scene.push_between_good_ones(&entries).await;
    let mut worker = Worker::start(&scene.redis, &[]).await;
    scene.good_ones_arrived(cases.len()).await;
    scene.settled().await;

    let letters = scene.redis.letters().await;
    assert_eq!(letters.len(), cases.len());
    for (id, (entry, why)) in ids.iter().zip(&cases) {
        let letter = Scene::letter_of(&letters, id);
        assert_eq!(letter.text("reason"), "unreadable", "{letter:?}");
        assert!(letter.text("error").contains(why), "{letter:?}");
        assert_eq!(letter.text("attempts"), "0");
        assert_eq!((letter.text("destination"), letter.text("event")), ("", ""));
        match entry.iter().rev().find(|(field, _)| field == b"payload") {
            Some((_, pushed)) => assert!(letter.bytes("payload") == pushed, "{letter:?}"),
            None => assert_eq!(&letter.entry(), entry),
        }
    }

    // They stay what they are: another start of the worker finds nothing to do.
    assert_eq!(worker.stop(), Some(0));
    let _worker = Worker::start(&scene.redis, &[]).await;
    scene.push_good(cases.len() + 1).await;
    scene.good_ones_arrived(cases.len() + 1).await;
    scene.settled().await;
    assert_eq!(scene.redis.letters().await.len(), cases.len());
    assert_eq!(scene.redis.counter("dead").await, cases.len() as u64);
    assert_eq!(scene.redis.counter("delivered").await, cases.len() as u64 + 2);
    assert_eq!(scene.receiver.count(), cases.len() + 2);
}

#[tokio::test]
async fn an_entry_may_have_ten_thousand_fields() {
    let scene = Scene::new().await;
    let odd: Fields = (0..10_000).map(|i| (format!("field-{i}").into_bytes(), vec![0xff; i % 7])).collect();
    let envelope = payload(r#"{"event":"x","instance":"good","data":"among many"}"#);
    let with_event = [&odd[..5000], &envelope[..], &odd[5000..]].concat();
    let ids = scene.push_between_good_ones(&[odd.clone(), with_event]).await;
    let _worker = Worker::start(&scene.redis, &[]).await;
    scene.good_ones_arrived(2).await;
    let received = scene.receiver.wait_for_of(&ids[1], 1).await;
    assert_eq!(received[0].json()["data"], "among many");
    scene.settled().await;
    let letters = scene.redis.letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].text("reason"), "unreadable");
    assert!(letters[0].entry() == odd);
}

#[tokio::test]
async fn a_payload_of_16_mib_is_delivered_and_one_byte_more_is_too_large() {
    const LIMIT: usize = 16 * 1024 * 1024;
    let of_size = |size: usize| {
        let (head, tail) = (r#"{"event":"x","instance":"good","data":""#, "\"}");
        format!("{head}{}{tail}", "x".repeat(size - head.len() - tail.len()))
    };
    let scene = Scene::new().await;
    let (largest, too_large) = (of_size(LIMIT), of_size(LIMIT + 1));
    let ids = scene.push_between_good_ones(&[payload(&too_large), payload(&largest)]).await;
    let _worker = Worker::start(&scene.redis, &[]).await;
    scene.good_ones_arrived(2).await;
    let received = scene.receiver.wait_for_of(&ids[1], 1).await;
    let url = scene.receiver.url("/good");
    let sent = format!(r#"{},"destination":"{url}"}}"#, &largest[..LIMIT - 1]);
    assert!(received[0].body == sent.as_bytes(), "the body is what was pushed");
    scene.settled().await;

    let letters = scene.redis.letters().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].text("id"), ids[0]);
    assert_eq!(letters[0].text("reason"), "too_large");
    let error = letters[0].text("error");
    assert!(
        error.contains("MAX_EVENT_BYTES") && error.contains("16777217") && error.contains("16777216"),
        "{error}"
    );
    assert!(letters[0].bytes("payload") == too_large.as_bytes());
}

#[tokio::test]
async fn nesting_of_any_depth_is_delivered_with_and_without_its_media() {
    let scene = Scene::answering(|request| {
        Answer::status(if request.id().starts_with("deep") && request.attempt() == 1 { 500 } else { 200 })
    })
    .await;
    let (bare, full) = (scene.receiver.url("/bare"), scene.receiver.url("/full"));
    scene.redis.set_webhook("bare", &format!(r#"{{"url":"{bare}","base64":false}}"#)).await;
    scene.redis.set_webhook("full", &format!(r#"{{"url":"{full}","base64":true}}"#)).await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let objects = format!("{}1{}", r#"{"base64":"#.repeat(100_000), "}".repeat(100_000));
    let with = |instance: &str, message: &str| {
        format!(r#"{{"event":"x","instance":"{instance}","data":{{"a":{deep},"message":{{{message}}}}}"#)
    };
    let media = format!(r#""base64":{deep},"b":{objects}"#);
    let kept = format!(r#""b":{objects}"#);
    for instance in ["bare", "full"] {
        scene.push_good(0).await;
        scene.redis.push_with_id(&format!("deep-{instance}"), &format!("{}}}", with(instance, &media))).await;
    }
    scene.push_good(1).await;
    let _worker = Worker::start(&scene.redis, &[RETRY_AT_ONCE]).await;
    for (instance, message, url) in [("bare", &kept, &bare), ("full", &media, &full)] {
        let received = scene.receiver.wait_for_of(&format!("deep-{instance}"), 2).await;
        let expected = format!(r#"{},"destination":"{url}"}}"#, with(instance, message));
        for request in &received {
            assert!(request.body == expected.as_bytes(), "{instance}");
        }
    }
    scene.receiver.wait_for_of("good-1", 1).await;
    scene.settled().await;
    assert_eq!(scene.redis.letters().await.len(), 0);
}

/// Names that are hard on keys, logs and scripts.
fn strange_names() -> Vec<String> {
    let mut names: Vec<String> = [
        "line\nbreak\r\n\ttab\u{1}\u{1f}\u{7f}",
        "x\nforged log line",
        "\u{1b}[31mred",
        "{webhooks}:dead",
        "}{",
        "{}",
        " two  spaces ",
        " ",
        "a:b::c:",
        ":",
        "instance:x",
        "global",
        "errors",
        "*?[a-z]^$",
        "ü😀\u{202e}",
        "\0",
        "'\"`\\$(id)%s%n",
        "../../etc/passwd",
    ]
    .map(str::to_owned)
    .into();
    names.push("n".repeat(10 * 1024));
    names.push("é{ :\n".repeat(1024));
    names
}

#[tokio::test]
async fn an_instance_may_have_any_name() {
    let mended = Arc::new(AtomicBool::new(false));
    let mended_too = Arc::clone(&mended);
    let scene = Scene::answering(move |request| {
        let hopeless = request.id().starts_with("hopeless") && !mended_too.load(Ordering::SeqCst);
        let flaky = request.id().starts_with("flaky") && request.attempt() == 1;
        Answer::status(match (hopeless, flaky) {
            (true, _) => 404,
            (_, true) => 500,
            _ => 200,
        })
    })
    .await;
    let names = strange_names();
    let json = |name: &str| serde_json::to_string(name).expect("a string");
    scene.push_good(0).await;
    for (i, name) in names.iter().enumerate() {
        let url = scene.receiver.url(&format!("/{i}"));
        scene.redis.set_webhook(name, &format!(r#"{{"url":"{url}"}}"#)).await;
        for kind in ["flaky", "hopeless"] {
            let envelope = format!(r#"{{"event":"x","instance":{},"data":{i}}}"#, json(name));
            scene.redis.push_with_id(&format!("{kind}-{i}"), &envelope).await;
        }
        scene.push_good(i + 1).await;
    }
    let settings = [RETRY_AT_ONCE, ("WEBHOOK_RETRY_JITTER_FACTOR", "0")];
    let worker = Worker::start(&scene.redis, &settings).await;

    for (i, name) in names.iter().enumerate() {
        let received = scene.receiver.wait_for_of(&format!("flaky-{i}"), 2).await;
        assert_eq!(received.iter().map(Received::attempt).collect::<Vec<_>>(), [1, 2]);
        for request in &received {
            assert_eq!(request.path, format!("/{i}"), "{name:?}");
            assert_eq!(request.json()["instance"], name.as_str());
        }
    }
    scene.good_ones_arrived(names.len()).await;
    scene.settled().await;
    let letters = scene.redis.letters().await;
    assert_eq!(letters.len(), names.len());
    for (i, name) in names.iter().enumerate() {
        let letter = Scene::letter_of(&letters, &format!("hopeless-{i}"));
        assert_eq!(letter.text("destination"), format!("instance:{name}"));
        assert_eq!(letter.text("instance"), name);
        assert_eq!(letter.text("reason"), "rejected");
    }
    assert!(!worker.log().contains("\nforged log line"), "a name does not break out of its line of the log");
    assert!(!worker.log().contains('\u{1b}'), "a name does not steer the terminal");

    mended.store(true, Ordering::SeqCst);
    let store = scene.redis.store();
    for letter in &letters {
        assert_eq!(store.replay(&letter.key).await.unwrap(), Replayed::Sent);
    }
    for i in 0..names.len() {
        let received = scene.receiver.wait_for_of(&format!("hopeless-{i}"), 2).await;
        assert_eq!(received[0].body, received[1].body);
    }
    scene.settled().await;
    assert_eq!(scene.redis.letters().await.len(), 0);
}

#[tokio::test]
async fn without_an_instance_only_the_global_destination_applies() {
    let scene = Scene::new().await;
    scene.hook("").await;
    scene.hook("null").await;
    let global = scene.receiver.url("/global");
    let texts =
        [r#"{"event":"x","data":1}"#, r#"{"event":"x","instance":null}"#, r#"{"event":"x","instance":""}"#];
    let entries = texts.map(payload);
    let ids = scene.push_between_good_ones(&entries).await;
    let _worker = Worker::start(
        &scene.redis,
        &[("WEBHOOK_GLOBAL_ENABLED", "true"), ("WEBHOOK_GLOBAL_URL", &global), ("WEBHOOK_EVENTS_X", "true")],
    )
    .await;
    scene.good_ones_arrived(texts.len()).await;
    scene.settled().await;
    for id in &ids {
        let received = scene.receiver.received_of(id);
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].path, "/global");
    }
}

#[tokio::test]
async fn an_event_may_have_any_name() {
    let scene = Scene::answering(|request| {
        Answer::status(if request.id() == "good-0" || request.attempt() > 1 { 200 } else { 500 })
    })
    .await;
    let url = scene.receiver.url("/hook?token=1");
    scene.redis.set_webhook("by", &format!(r#"{{"url":"{url}","byEvents":true}}"#)).await;
    scene.push_good(0).await;
    let names = [
        "..",
        "../../admin",
        "a/b",
        "a?b#c",
        "x HTTP/1.1\r\nhost: evil\r\n\r\n",
        "\0",
        " ",
        "%2e%2e",
        "ü😀",
        "{webhooks}:dead",
        "error",
        &"e".repeat(5000),
    ];
    for (i, name) in names.iter().enumerate() {
        let name = serde_json::to_string(name).expect("a string");
        scene
            .redis
            .push_with_id(&format!("event-{i}"), &format!(r#"{{"event":{name},"instance":"by"}}"#))
            .await;
    }
    let _worker = Worker::start(&scene.redis, &[RETRY_AT_ONCE]).await;
    for (i, name) in names.iter().enumerate() {
        let received = scene.receiver.wait_for_of(&format!("event-{i}"), 2).await;
        for request in &received {
            let route = request
                .path
                .strip_prefix("/hook/")
                .and_then(|rest| rest.strip_suffix("?token=1"))
                .unwrap_or_else(|| panic!("{name:?} is one more segment of the path: {}", request.path));
            assert!(!route.is_empty() && !route.contains(['/', '?', '#', ' ']), "{route}");
            assert_ne!(route, "..");
            assert_eq!(request.header("host"), format!("127.0.0.1:{}", scene.receiver.port()));
            assert_eq!(request.json()["event"], *name);
        }
    }
    scene.settled().await;
    assert_eq!(scene.redis.letters().await.len(), 0);
}

#[tokio::test]
async fn an_id_that_is_none_is_replaced_by_that_of_the_entry() {
    let scene =
        Scene::answering(|request| Answer::status(if request.attempt() == 1 { 500 } else { 200 })).await;
    let envelope = br#"{"event":"x","instance":"good"}"#;
    let longest = "x".repeat(128);
    let with_id = |id: &[u8]| -> Fields {
        vec![(b"payload".to_vec(), envelope.to_vec()), (b"id".to_vec(), id.to_vec())]
    };
    let bad: [&[u8]; 8] =
        [b"", b" ", b"a b", b"a\r\nx-evil: 1", "ä".as_bytes(), b"\xff", b"\0", &[b'x'; 129]];
    let mut expected = Vec::new();
    for id in bad {
        expected.push(scene.redis.push_entry("webhooks", &with_id(id)).await);
    }
    for id in [longest.as_str(), "!\"#~", "{a}:b"] {
        scene.redis.push_entry("webhooks", &with_id(id.as_bytes())).await;
        expected.push(id.to_owned());
    }
    let _worker = Worker::start(&scene.redis, &[RETRY_AT_ONCE]).await;
    for id in &expected {
        let received = scene.receiver.wait_for_of(id, 2).await;
        assert_eq!(received.iter().map(Received::attempt).collect::<Vec<_>>(), [1, 2]);
        assert!(received.iter().all(|request| request.header("x-evil").is_empty()));
    }
    scene.settled().await;
    assert_eq!(scene.receiver.count(), 2 * expected.len());
}

#[tokio::test]
async fn a_trace_context_that_cannot_be_sent_is_left_out() {
    const GOOD: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let scene = Scene::answering(|request| {
        Answer::status(if request.id().starts_with("trace") && request.attempt() == 1 { 500 } else { 200 })
    })
    .await;
    let cases: [(&[u8], &[u8]); 5] =
        [(GOOD, GOOD), (b"00-a\r\nx-evil: 1", b""), (b"a\nb", b""), (b"\xff\xfe", b""), (b"\0", b"")];
    let entries: Vec<Fields> = cases
        .iter()
        .enumerate()
        .map(|(i, (traceparent, _))| {
            let mut entry = payload(r#"{"event":"x","instance":"good"}"#);
            entry.push((b"id".to_vec(), format!("trace-{i}").into_bytes()));
            entry.push((b"traceparent".to_vec(), traceparent.to_vec()));
            entry
        })
        .collect();
    scene.push_between_good_ones(&entries).await;
    let _worker = Worker::start(&scene.redis, &[RETRY_AT_ONCE]).await;
    scene.good_ones_arrived(cases.len()).await;
    for (i, (_, sent)) in cases.iter().enumerate() {
        for request in scene.receiver.wait_for_of(&format!("trace-{i}"), 2).await {
            assert_eq!(request.header("traceparent").as_bytes(), *sent);
            assert_eq!(request.header("x-evil"), "");
        }
    }
    scene.settled().await;
}

#[tokio::test]
async fn of_two_payloads_the_last_counts_at_every_attempt() {
    let scene = Scene::answering(|request| {
        Answer::status(match (request.id(), request.attempt()) {
            ("twice", 1) => 500,
            ("dead", _) => 404,
            _ => 200,
        })
    })
    .await;
    let entry = |id: &str| {
        fields(&[
            ("payload", r#"{"event":"x","instance":"good","data":"first"}"#),
            ("id", "x"),
            ("payload", r#"{"event":"x","instance":"good","data":"last"}"#),
            ("id", id),
        ])
    };
    scene.push_between_good_ones(&[entry("twice"), entry("dead")]).await;
    let _worker = Worker::start(&scene.redis, &[RETRY_AT_ONCE]).await;
    scene.good_ones_arrived(2).await;
    for request in scene.receiver.wait_for_of("twice", 2).await {
        assert_eq!(request.json()["data"], "last");
    }
    let letter = scene.redis.wait_for_letter("dead").await;
    assert_eq!(letter.text("payload"), r#"{"event":"x","instance":"good","data":"last"}"#);
    scene.settled().await;
}

#[tokio::test]
async fn an_event_whose_webhook_cannot_be_used_is_retried_and_then_dead() {
    const SECRET: &str = "s3cr3t-value";
    let scene = Scene::new().await;
    let good = scene.receiver.url("/x");
    let cases: Vec<(String, &str)> = vec![
        ("not json".to_owned(), "JSON"),
        (String::new(), "JSON"),
        ("[]".to_owned(), "object"),
        ("5".to_owned(), "object"),
        ("{}".to_owned(), "url"),
        (r#"{"url":5}"#.to_owned(), "url"),
        (r#"{"url":""}"#.to_owned(), "url"),
        (r#"{"url":"example.com/hook"}"#.to_owned(), "scheme"),
        (format!(r#"{{"url":"ftp://u:{SECRET}@h/"}}"#), "ftp"),
        (format!(r#"{{"url":"http://h/a b?k={SECRET}"}}"#), "%20"),
        (format!(r#"{{"url":"http://u:{SECRET}@/"}}"#), "host"),
        (format!(r#"{{"url":"http://h:99999/?k={SECRET}"}}"#), "port"),
        (format!(r#"{{"url":"{good}","headers":{{"x-key":"{SECRET}\r\nx-evil: 1"}}}}"#), "x-key"),
        (format!(r#"{{"url":"{good}","headers":{{"bad name":"{SECRET}"}}}}"#), "bad name"),
        (format!(r#"{{"url":"{good}","secret":"{SECRET} is not base64"}}"#), "secret"),
        (format!(r#"{{"url":"{good}","events":"all"}}"#), "events"),
        (format!(r#"{{"url":"{good}","enabled":"perhaps"}}"#), "enabled"),
        (format!(r#"{{"url":"{good}","urll":"x"}}"#), "urll"),
    ];
    let mut entries = Vec::new();
    for (i, (json, _)) in cases.iter().enumerate() {
        // By hand: the commands would not store it.
        let _: u64 = scene
            .redis
            .command(&["HSET", "{webhooks}:webhooks", &format!("broken {i}"), json.as_str()])
            .await;
        entries.push(payload(format!(r#"{{"event":"x","instance":"broken {i}"}}"#)));
    }
    let ids = scene.push_between_good_ones(&entries).await;
    let settings = [RETRY_AT_ONCE, ("WEBHOOK_RETRY_MAX_ATTEMPTS", "2")];
    let worker = Worker::start(&scene.redis, &settings).await;
    scene.good_ones_arrived(cases.len()).await;
    scene.settled().await;

    let letters = scene.redis.letters().await;
    assert_eq!(letters.len(), cases.len());
    for (i, (json, named)) in cases.iter().enumerate() {
        let letter = Scene::letter_of(&letters, &ids[i]);
        assert_eq!(letter.text("reason"), "exhausted");
        assert_eq!(letter.text("attempts"), "2");
        assert_eq!(letter.bytes("payload"), entries[i][0].1);
        let error = letter.text("error");
        assert!(error.contains(&format!("broken {i} cannot be used")), "{error}");
        assert!(error.contains(named), "{json} is refused for its {named}: {error}");
        assert!(!error.contains(SECRET), "{error}");
    }
    assert!(!worker.log().contains(SECRET));
    assert_eq!(scene.receiver.count(), cases.len() + 1, "only the good ones were sent");
}

#[tokio::test]
async fn mending_a_webhook_rescues_what_waits() {
    let scene = Scene::new().await;
    for (instance, broken) in [("garbage", "not json"), ("bad-url", r#"{"url":"ftp://h/"}"#)] {
        scene.redis.set_webhook(instance, broken).await;
        scene
            .redis
            .push_with_id(instance, &format!(r#"{{"event":"x","instance":"{instance}","data":1.0}}"#))
            .await;
    }
    scene.push_good(0).await;
    let settings = [
        ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.3"),
        ("WEBHOOK_RETRY_USE_EXPONENTIAL_BACKOFF", "false"),
        ("WEBHOOK_RETRY_MAX_ATTEMPTS", "1000"),
    ];
    let _worker = Worker::start(&scene.redis, &settings).await;
    scene.good_ones_arrived(0).await;
    for instance in ["garbage", "bad-url"] {
        eventually("a failed attempt", || async {
            let keys = scene.redis.keys().await;
            keys.iter().any(|key| key.contains(":event:")).then_some(())
        })
        .await;
        until("its retry waits", || async {
            scene
                .redis
                .store()
                .waiting_deliveries(10)
                .await
                .unwrap()
                .iter()
                .any(|waiting| waiting.event_id == instance && waiting.last.contains("cannot be used"))
        })
        .await;
        scene.hook(instance).await;
        let received = scene.receiver.wait_for_of(instance, 1).await;
        assert!(received[0].attempt() > 1);
        assert!(received[0].text().contains(r#""data":1.0,"#));
    }
    scene.settled().await;
    assert_eq!(scene.redis.letters().await.len(), 0);
}

const DUE: &str = r#"{"event":"x","instance":"good","data":"due"}"#;

/// An entry of the ready stream.
fn due(event: &str, destination: &str) -> Fields {
    fields(&[("event", event), ("destination", destination)])
}

impl Scene {
    /// The hash of an event of which `live` deliveries wait.
    async fn wait(&self, key: &str, id: &str, payload: &str, live: &str) {
        let now = self.redis.store().time_ms().await.expect("redis answers");
        let (key, words) = (format!("{{webhooks}}:event:{key}"), format!("{id} {now}"));
        let hash = ["payload", payload, "event", &words, "live", live];
        let _: u64 = self.redis.command(&[&["HSET", key.as_str()], &hash[..]].concat()).await;
    }

    /// A good delivery that is due: `due-<number>`.
    async fn push_due(&self, number: usize) {
        let key = format!("due-{number}");
        self.wait(&key, &key, DUE, "1").await;
        self.push_ready(&due(&key, "instance:good")).await;
    }

    async fn push_ready(&self, entry: &Fields) -> String {
        self.redis.push_entry("{webhooks}:ready", entry).await
    }
}

#[tokio::test]
async fn garbage_in_the_ready_stream_harms_nothing() {
    let scene = Scene::new().await;
    let garbage = [
        fields(&[("foo", "bar")]),
        fields(&[("payload", DUE)]),
        fields(&[("destination", "global")]),
        fields(&[("event", "due-0")]),
        due("due-0", "nonsense"),
        due("due-0", "instance:"),
        vec![(b"event".to_vec(), b"\xff \x00".to_vec()), (b"destination".to_vec(), b"\xff".to_vec())],
        due("a key has no spaces", "global"),
        due("", "global"),
    ];
    scene.push_due(0).await;
    let mut ids = Vec::new();
    for (i, entry) in garbage.iter().enumerate() {
        ids.push(scene.push_ready(entry).await);
        scene.push_due(i + 1).await;
    }
    scene.push_good(0).await;
    let _worker = Worker::start(&scene.redis, &[]).await;
    scene.good_ones_arrived(0).await;
    for i in 0..=garbage.len() {
        let received = scene.receiver.wait_for_of(&format!("due-{i}"), 1).await;
        assert_eq!(received.len(), 1);
        assert_eq!(received[0].json()["data"], "due");
    }
    scene.settled().await;
    let letters = scene.redis.letters().await;
    assert_eq!(letters.len(), garbage.len(), "{letters:#?}");
    for (id, entry) in ids.iter().zip(&garbage) {
        let letter = Scene::letter_of(&letters, id);
        assert_eq!(letter.text("reason"), "unreadable");
        assert_eq!(&letter.entry(), entry, "the entry is kept");
    }
}

#[tokio::test]
async fn a_due_delivery_whose_event_is_gone_or_spoilt_harms_nothing() {
    let scene = Scene::new().await;
    // Delivered or settled already, as far as anyone knows.
    scene.push_ready(&due("gone", "global")).await;
    scene.push_due(0).await;
    scene.push_ready(&due("gone", "instance:good")).await;
    let _: u64 = scene.redis.command(&["HSET", "{webhooks}:event:no-payload", "event", "x 9"]).await;
    scene.push_ready(&due("no-payload", "global")).await;
    // Two deliveries of an event that has become something else.
    scene.wait("spoilt", "spoilt", "[5]", "2").await;
    for destination in ["global", "instance:good"] {
        scene.push_ready(&due("spoilt", destination)).await;
    }
    scene.push_due(1).await;
    scene.wait("bad-id", "ä", DUE, "1").await;
    let bad_id = scene.push_ready(&due("bad-id", "instance:good")).await;
    scene.push_good(0).await;

    let _worker = Worker::start(&scene.redis, &[]).await;
    scene.good_ones_arrived(0).await;
    for id in ["due-0", "due-1", bad_id.as_str()] {
        assert_eq!(scene.receiver.wait_for_of(id, 1).await.len(), 1);
    }
    scene.settled().await;
    let letters = scene.redis.letters().await;
    assert_eq!(letters.len(), 2, "{letters:#?}");
    for letter in letters {
        assert_eq!(letter.text("reason"), "unreadable");
        assert_eq!(letter.text("payload"), "[5]", "what it has become is kept");
    }
}

#[tokio::test]
async fn a_due_delivery_whose_key_holds_something_else_becomes_a_dead_letter() {
    let scene = Scene::new().await;
    scene.push_due(0).await;
    let _: String = scene.redis.command(&["SET", "{webhooks}:event:taken", "somebody else's"]).await;
    let entry = due("taken", "instance:good");
    let id = scene.push_ready(&entry).await;
    scene.push_due(1).await;
    scene.push_good(0).await;

    let _worker = Worker::start(&scene.redis, &[]).await;
    scene.good_ones_arrived(0).await;
    for id in ["due-0", "due-1"] {
        assert_eq!(scene.receiver.wait_for_of(id, 1).await.len(), 1);
    }
    scene.redis.until_settled().await;
    let value: String = scene.redis.command(&["GETDEL", "{webhooks}:event:taken"]).await;
    assert_eq!(value, "somebody else's", "what is not ours is left alone");
    scene.redis.assert_settled().await;
    let letters = scene.redis.letters().await;
    assert_eq!(letters.len(), 1, "{letters:#?}");
    let letter = Scene::letter_of(&letters, &id);
    assert_eq!((letter.text("reason"), letter.entry()), ("unreadable", entry));
    assert!(letter.text("error").contains("WRONGTYPE"), "{letter:#?}");
}
