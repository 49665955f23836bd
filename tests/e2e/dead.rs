//! Dead letters: what they hold, and how they are sent again, trimmed and deleted.

use std::sync::atomic::Ordering;

use posthaste::model::{DeadReason, Destination, EntryId};
use posthaste::store::{DeadFilter, Replayed};

use crate::support::{
    Answer, Fields, Letter, Received, Receiver, RedisServer, Worker, fields, payload, until,
};

const RETRY_AT_ONCE: [(&str, &str); 2] =
    [("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.1"), ("WEBHOOK_RETRY_JITTER_FACTOR", "0")];
/// A payload in which nothing may be changed.
const PUSHED: &str = "{ \"event\":\"messages.upsert\",\"a\":1.0,\"a\":12345678901234567890,\"instance\" : \"sales\",\"data\":\"\\u00e9\\/é\"\t}";

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// The fields of a dead letter that has everything.
const FIELDS: [&str; 14] = [
    "attempts",
    "destination",
    "error",
    "event",
    "first_attempt_ms",
    "id",
    "instance",
    "last_attempt_ms",
    "payload",
    "reason",
    "reply",
    "status",
    "traceparent",
    "url",
];

fn once(settings: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    RETRY_AT_ONCE.into_iter().chain(settings.iter().copied()).collect()
}

async fn hook(redis: &RedisServer, receiver: &Receiver, instance: &str) {
    let url = receiver.url(&format!("/{instance}"));
    redis.set_webhook(instance, &format!(r#"{{"url":"{url}"}}"#)).await;
}

fn attempts(received: &[Received]) -> Vec<u32> {
    received.iter().map(Received::attempt).collect()
}

fn pushed_as(id: &str, envelope: &str) -> Fields {
    fields(&[("payload", envelope), ("id", id)])
}

#[tokio::test]
async fn an_exhausted_delivery_leaves_every_field() {
    let redis = RedisServer::start();
    let reply: Vec<u8> = (0..3000_u32).map(|i| (i % 251) as u8).collect();
    let told = reply.clone();
    let receiver =
        Receiver::answering(move |_| Answer::Reply { status: 503, headers: Vec::new(), body: told.clone() })
            .await;
    let port = receiver.port();
    let url = format!("http://user:p4ssw0rd@127.0.0.1:{port}/sales?token=t0ken#frag");
    redis.set_webhook("sales", &format!(r#"{{"url":"{url}","byEvents":true}}"#)).await;
    let mut entry = pushed_as("evt-1", PUSHED);
    entry.extend(fields(&[("traceparent", TRACE)]));
    let store = redis.store();
    let before = store.time_ms().await.unwrap();
    redis.push_entry("webhooks", &entry).await;
    let global = receiver.url("/global");
    let settings = [
        ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.1"),
        ("WEBHOOK_RETRY_JITTER_FACTOR", "0"),
        ("WEBHOOK_RETRY_MAX_ATTEMPTS", "3"),
        ("WEBHOOK_GLOBAL_ENABLED", "true"),
        ("WEBHOOK_GLOBAL_URL", &global),
        ("WEBHOOK_EVENTS_MESSAGES_UPSERT", "true"),
    ];
    let _worker = Worker::start(&redis, &settings).await;
    let letters = redis.wait_for_letters(2).await;
    redis.until_settled().await;
    redis.assert_settled().await;
    let after = store.time_ms().await.unwrap();

    for (destination, shown) in
        [("instance:sales", format!("http://127.0.0.1:{port}/sales")), ("global", global.clone())]
    {
        let letter = letters
            .iter()
            .find(|letter| letter.text("destination") == destination)
            .expect("each delivery has its own");
        assert_eq!(letter.names(), FIELDS);
        assert_eq!(letter.text("id"), "evt-1");
        assert_eq!(letter.text("event"), "MESSAGES_UPSERT");
        assert_eq!(letter.text("instance"), "sales");
        assert_eq!(letter.text("reason"), "exhausted");
        assert_eq!(letter.number("attempts"), 3);
        assert_eq!(letter.number("status"), 503);
        assert_eq!(letter.text("error"), "the receiver answered 503");
        assert_eq!(letter.bytes("reply"), &reply[..1024]);
        assert_eq!(letter.text("url"), shown);
        assert_eq!(letter.text("traceparent"), TRACE);
        assert_eq!(letter.text("payload"), PUSHED);
        // The waits between the attempts: 0.1 and 0.2 s.
        let (first, last) = (letter.number("first_attempt_ms"), letter.number("last_attempt_ms"));
        assert!(before <= first && first + 300 <= last && last <= after, "{letter:?}");
    }
}

#[tokio::test]
async fn a_delivery_that_never_got_an_answer_has_neither_status_nor_reply() {
    let redis = RedisServer::start();
    let url = {
        let closed = Receiver::start().await;
        closed.url("/")
    };
    redis.set_webhook("sales", &format!(r#"{{"url":"{url}"}}"#)).await;
    redis.push_entry("webhooks", &pushed_as("evt-1", PUSHED)).await;
    let _worker = Worker::start(&redis, &once(&[("WEBHOOK_RETRY_MAX_ATTEMPTS", "2")])).await;
    let letter = redis.wait_for_letter("evt-1").await;
    assert_eq!(letter.text("reason"), "exhausted");
    assert_eq!(letter.number("attempts"), 2);
    assert!(letter.text("error").contains("could not connect"), "{letter:?}");
    assert!(!letter.fields.contains_key("status") && !letter.fields.contains_key("reply"));
    assert!(letter.number("last_attempt_ms") > letter.number("first_attempt_ms"));
    assert_eq!(letter.text("payload"), PUSHED);
}

#[tokio::test]
async fn a_rejected_delivery_is_dead_at_once() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|request| {
        let status = request.path.trim_start_matches('/').parse().unwrap_or(500);
        Answer::status(status)
    })
    .await;
    let statuses = ["400", "401", "403", "404", "422"];
    for status in statuses {
        hook(&redis, &receiver, status).await;
        let envelope = format!(r#"{{"event":"x","instance":"{status}"}}"#);
        redis.push_with_id(status, &envelope).await;
    }
    let _worker = Worker::start(&redis, &RETRY_AT_ONCE).await;
    redis.wait_for_letters(statuses.len()).await;
    redis.until_settled().await;
    redis.assert_settled().await;
    for status in statuses {
        let letter = redis.wait_for_letter(status).await;
        assert_eq!(letter.text("reason"), "rejected");
        assert_eq!(letter.text("status"), status);
        assert_eq!(letter.number("attempts"), 1);
        assert_eq!(letter.number("first_attempt_ms"), letter.number("last_attempt_ms"));
        assert_eq!(letter.text("reply"), r#"{"message":"as asked"}"#);
        assert_eq!(letter.text("payload"), format!(r#"{{"event":"x","instance":"{status}"}}"#));
    }
    assert_eq!(receiver.count(), statuses.len());
}

#[tokio::test]
async fn a_receiver_that_is_gone_ends_its_instances_webhook() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|request| {
        Answer::status(match request.id() {
            "waits" => 500,
            "gone" | "gone-global" => 410,
            _ => 200,
        })
    })
    .await;
    hook(&redis, &receiver, "sales").await;
    let global = receiver.url("/global");
    let settings = [
        ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "1"),
        ("WEBHOOK_RETRY_JITTER_FACTOR", "0"),
        ("WEBHOOK_GLOBAL_ENABLED", "true"),
        ("WEBHOOK_GLOBAL_URL", &global),
        ("WEBHOOK_EVENTS_G", "true"),
    ];
    let _worker = Worker::start(&redis, &settings).await;
    redis.push_with_id("waits", r#"{"event":"x","instance":"sales"}"#).await;
    redis.until_waiting(1).await;
    redis.push_with_id("gone", r#"{"event":"x","instance":"sales"}"#).await;
    let letter = redis.wait_for_letter("gone").await;
    assert_eq!(letter.text("reason"), "gone");
    assert_eq!(letter.number("status"), 410);
    assert_eq!(letter.number("attempts"), 1);
    until("the webhook is disabled", || async {
        let webhook = redis.webhook("sales").await;
        webhook["enabled"] == false && webhook["url"] == receiver.url("/sales")
    })
    .await;

    // What waited for it has nowhere to go; what comes now is not routed there any more.
    let letter = redis.wait_for_letter("waits").await;
    assert_eq!(letter.text("reason"), "gone");
    assert_eq!(letter.number("attempts"), 1);
    redis.push_with_id("later", r#"{"event":"x","instance":"sales"}"#).await;
    redis.until_settled().await;
    assert_eq!(redis.counter("unrouted").await, 1);
    assert_eq!(receiver.count(), 2);

    // The global destination is the operator's: it stays.
    for id in ["gone-global", "next-global"] {
        redis.push_with_id(id, r#"{"event":"g"}"#).await;
        receiver.wait_for_of(id, 1).await;
    }
    assert_eq!(redis.wait_for_letter("gone-global").await.text("reason"), "gone");
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(redis.letters().await.len(), 3);
}

#[tokio::test]
async fn what_would_come_too_late_is_expired() {
    let redis = RedisServer::start();
    let (receiver, _) = Receiver::switchable(500).await;
    hook(&redis, &receiver, "sales").await;
    // Pushed in 1970, and pushed now but with a wait that is longer than it may become old.
    redis.push_entry_as("webhooks", "1-1", &pushed_as("old", PUSHED)).await;
    redis.push_entry("webhooks", &pushed_as("young", PUSHED)).await;
    let settings = [
        ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.1"),
        ("WEBHOOK_RETRY_MAX_DELAY_SECONDS", "100000"),
        ("WEBHOOK_RETRY_JITTER_FACTOR", "0"),
        ("WEBHOOK_RETRY_MAX_AGE_SECONDS", "2"),
    ];
    let _worker = Worker::start(&redis, &settings).await;
    let old = redis.wait_for_letter("old").await;
    assert_eq!(old.number("attempts"), 1);
    let young = redis.wait_for_letter("young").await;
    // 0.1, 0.3, 0.7 and 1.5 s after the first: a sixth attempt would come at 3.1 s. A slow machine makes fewer.
    assert!((2..=5).contains(&young.number("attempts")), "{young:?}");
    for letter in [&old, &young] {
        assert_eq!(letter.text("reason"), "expired");
        assert_eq!(letter.number("status"), 500);
        assert_eq!(letter.text("error"), "the receiver answered 500");
        assert_eq!(letter.text("payload"), PUSHED);
        assert!(letter.number("last_attempt_ms") >= letter.number("first_attempt_ms"));
    }
    let waited = young.number("last_attempt_ms") - young.number("first_attempt_ms");
    assert!(waited < 2000, "{waited} ms");
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(receiver.count() as u64, 1 + young.number("attempts"));
}

#[tokio::test]
async fn what_waits_for_a_destination_that_is_taken_away_is_removed() {
    let redis = RedisServer::start();
    let (receiver, _) = Receiver::switchable(500).await;
    for instance in ["deleted", "disabled"] {
        hook(&redis, &receiver, instance).await;
    }
    let global = receiver.url("/global");
    let settings = [("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "1"), ("WEBHOOK_RETRY_JITTER_FACTOR", "0")];
    let with_global = [
        ("WEBHOOK_GLOBAL_ENABLED", "true"),
        ("WEBHOOK_GLOBAL_URL", global.as_str()),
        ("WEBHOOK_EVENTS_G", "true"),
    ];
    let mut worker = Worker::start(&redis, &[&settings[..], &with_global].concat()).await;
    for (id, envelope) in [
        ("deleted", r#"{"event":"x","instance":"deleted"}"#),
        ("disabled", r#"{"event":"x","instance":"disabled"}"#),
        ("global", r#"{"event":"g"}"#),
    ] {
        redis.push_with_id(id, envelope).await;
    }
    redis.until_waiting(3).await;
    redis.delete_webhook("deleted").await;
    let url = receiver.url("/disabled");
    redis.set_webhook("disabled", &format!(r#"{{"url":"{url}","enabled":false}}"#)).await;
    worker.stop();
    let _worker = Worker::start(&redis, &settings).await;
    redis.until_settled().await;
    redis.assert_settled().await;
    for (id, destination, why) in [
        ("deleted", "instance:deleted", "webhook was removed"),
        ("disabled", "instance:disabled", "webhook was disabled"),
        ("global", "global", "global webhook was disabled"),
    ] {
        let letter = redis.wait_for_letter(id).await;
        assert_eq!(letter.text("reason"), "removed");
        assert_eq!(letter.text("destination"), destination);
        assert!(letter.text("error").contains(why), "{letter:?}");
        assert!(letter.number("attempts") >= 1);
        assert!(letter.number("first_attempt_ms") > 0);
    }
    assert_eq!(redis.letters().await.len(), 3);
}

#[tokio::test]
async fn a_removed_delivery_keeps_what_its_last_attempt_came_to() {
    let redis = RedisServer::start();
    let (receiver, _) = Receiver::switchable(503).await;
    hook(&redis, &receiver, "sales").await;
    let _worker = Worker::start(&redis, &[("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.5")]).await;
    redis.push_entry("webhooks", &pushed_as("evt-1", PUSHED)).await;
    redis.until_waiting(1).await;
    redis.delete_webhook("sales").await;
    let letter = redis.wait_for_letter("evt-1").await;
    assert_eq!(letter.text("reason"), "removed");
    assert_eq!(letter.number("attempts"), 1);
    assert_eq!(letter.text("payload"), PUSHED);
    assert_eq!(letter.number("last_attempt_ms"), letter.number("first_attempt_ms"));
    assert_eq!(letter.number("status"), 503);
    assert!(letter.text("error").contains("the receiver answered 503"), "{letter:?}");
}

#[tokio::test]
async fn a_replay_sends_the_same_bytes_under_the_same_id_from_attempt_1_on() {
    let redis = RedisServer::start();
    let (receiver, status) = Receiver::switchable(503).await;
    hook(&redis, &receiver, "sales").await;
    let mut entry = pushed_as("evt-1", PUSHED);
    entry.extend(fields(&[("traceparent", TRACE)]));
    redis.push_entry("webhooks", &entry).await;
    let _worker = Worker::start(&redis, &once(&[("WEBHOOK_RETRY_MAX_ATTEMPTS", "2")])).await;
    let first = redis.wait_for_letter("evt-1").await;
    let store = redis.store();

    // Replayed too early it dies again, with attempts and times of its own.
    assert_eq!(store.replay(&first.key).await.unwrap(), Replayed::Sent);
    receiver.wait_for(4).await;
    redis.until_settled().await;
    let second = redis.wait_for_letter("evt-1").await;
    assert_ne!(second.key, first.key);
    assert_eq!(second.number("attempts"), 2);
    assert!(second.number("first_attempt_ms") >= first.number("last_attempt_ms"));
    for field in ["id", "destination", "event", "instance", "payload", "url", "traceparent"] {
        assert_eq!(second.text(field), first.text(field), "{field}");
    }

    status.store(200, Ordering::SeqCst);
    assert_eq!(store.replay(&second.key).await.unwrap(), Replayed::Sent);
    let received = receiver.wait_for(5).await;
    assert_eq!(attempts(&received), [1, 2, 1, 2, 1]);
    for request in &received {
        assert_eq!(request.id(), "evt-1");
        assert_eq!(request.body, received[0].body);
        assert_eq!(request.header("traceparent"), TRACE);
    }
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(redis.letters().await.len(), 0);
}

#[tokio::test]
async fn a_replay_begins_a_new_age() {
    let redis = RedisServer::start();
    let receiver =
        Receiver::answering(|request| Answer::status(if request.attempt() < 3 { 500 } else { 200 })).await;
    hook(&redis, &receiver, "sales").await;
    redis.push_entry_as("webhooks", "1-1", &pushed_as("evt-1", PUSHED)).await;
    let _worker = Worker::start(&redis, &RETRY_AT_ONCE).await;
    let letter = redis.wait_for_letter("evt-1").await;
    assert_eq!(letter.text("reason"), "expired");
    assert_eq!(redis.store().replay(&letter.key).await.unwrap(), Replayed::Sent);
    let received = receiver.wait_for(4).await;
    assert_eq!(attempts(&received), [1, 1, 2, 3]);
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(redis.letters().await.len(), 0);
}

#[tokio::test]
async fn a_replay_goes_where_the_webhook_points_now() {
    let redis = RedisServer::start();
    let receiver =
        Receiver::answering(|request| Answer::status(if request.path == "/right" { 200 } else { 404 })).await;
    hook(&redis, &receiver, "sales").await;
    redis.push_entry("webhooks", &pushed_as("evt-1", PUSHED)).await;
    let _worker = Worker::start(&redis, &RETRY_AT_ONCE).await;
    let letter = redis.wait_for_letter("evt-1").await;
    let right = receiver.url("/right");
    redis.set_webhook("sales", &format!(r#"{{"url":"{right}"}}"#)).await;
    redis.store().replay(&letter.key).await.unwrap();
    let received = receiver.wait_for_on("/right", 1).await;
    assert_eq!(received[0].json()["destination"], right);
    redis.until_settled().await;
    redis.assert_settled().await;
}

#[tokio::test]
async fn what_was_no_event_is_replayed_to_the_stream() {
    let redis = RedisServer::start();
    let receiver = Receiver::start().await;
    hook(&redis, &receiver, "sales").await;
    let big = format!(r#"{{"event":"x","instance":"sales","data":"{}"}}"#, "x".repeat(2000));
    redis.push_entry("webhooks", &pushed_as("not-json", "{nope")).await;
    redis.push_entry("webhooks", &pushed_as("big", &big)).await;
    let without = fields(&[("foo", "bar")]);
    let without_id = redis.push_entry("webhooks", &without).await;
    let mut worker = Worker::start(&redis, &[("MAX_EVENT_BYTES", "1024")]).await;
    let letters = redis.wait_for_letters(3).await;
    let of = |letters: &[Letter], id: &str| {
        letters.iter().find(|letter| letter.text("id") == id).cloned().expect("a letter of each")
    };
    let (not_json, too_large) = (of(&letters, "not-json"), of(&letters, "big"));
    assert_eq!(too_large.text("reason"), "too_large");

    let store = redis.store();
    for letter in [&not_json, &too_large] {
        assert_eq!(store.replay(&letter.key).await.unwrap(), Replayed::Sent);
    }
    let nothing_to_send = of(&letters, &without_id);
    assert_eq!(store.replay(&nothing_to_send.key).await.unwrap(), Replayed::WithoutPayload);
    // They are what they were, and dead again.
    until("new dead letters", || async {
        let letters = redis.letters().await;
        letters.len() == 3 && letters.iter().all(|letter| letter.key != not_json.key)
    })
    .await;
    redis.until_settled().await;
    redis.assert_settled().await;
    let again = redis.letters().await;
    for letter in [&not_json, &too_large, &nothing_to_send] {
        assert_eq!(of(&again, letter.text("id")).fields, letter.fields);
    }
    assert_eq!(of(&again, &without_id).key, nothing_to_send.key);

    // With another limit the one that was too large is an event.
    worker.stop();
    let _worker = Worker::start(&redis, &[]).await;
    assert_eq!(store.replay(&of(&again, "big").key).await.unwrap(), Replayed::Sent);
    let received = receiver.wait_for_of("big", 1).await;
    assert_eq!(received[0].attempt(), 1);
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(redis.letters().await.len(), 2);
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn replayed_twice_a_dead_letter_is_sent_once() {
    let redis = RedisServer::start();
    let (receiver, status) = Receiver::switchable(404).await;
    hook(&redis, &receiver, "sales").await;
    for i in 0..10 {
        let id = format!("evt-{i}");
        redis.push_entry("webhooks", &pushed_as(&id, PUSHED)).await;
    }
    let _worker = Worker::start(&redis, &RETRY_AT_ONCE).await;
    let letters = redis.wait_for_letters(10).await;
    status.store(200, Ordering::SeqCst);
    let (one, other) = (redis.store(), redis.store());
    for letter in &letters {
        let (a, b) = tokio::join!(one.replay(&letter.key), other.replay(&letter.key));
        let mut replayed = [a.unwrap(), b.unwrap()];
        replayed.sort_by_key(|replayed| *replayed == Replayed::Missing);
        assert_eq!(replayed, [Replayed::Sent, Replayed::Missing]);
        assert_eq!(one.replay(&letter.key).await.unwrap(), Replayed::Missing);
    }
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(receiver.count(), 20);
    assert_eq!(redis.letters().await.len(), 0);
}

/// Dead letters written by hand, the first in 1970; the ids of those after it.
async fn letters_by_hand(redis: &RedisServer) -> Vec<String> {
    let letter = fields(&[
        ("id", "evt"),
        ("destination", "global"),
        ("event", "X"),
        ("reason", "exhausted"),
        ("attempts", "1"),
        ("error", ""),
        ("payload", "{}"),
    ]);
    let mut ids = vec![redis.push_entry_as("{webhooks}:dead", "1-1", &letter).await];
    for _ in 0..4 {
        ids.push(redis.push_entry("{webhooks}:dead", &letter).await);
    }
    ids
}

async fn left(redis: &RedisServer) -> Vec<String> {
    let letters = redis.letters().await;
    letters.iter().map(|letter| letter.key.to_string()).collect()
}

#[tokio::test]
async fn dead_letters_go_only_where_an_age_or_a_number_is_set() {
    let redis = RedisServer::start();
    let ids = letters_by_hand(&redis).await;

    // Nothing is set: after a whole journey of another event they are all there.
    let (receiver, _) = Receiver::switchable(404).await;
    hook(&redis, &receiver, "sales").await;
    let mut worker = Worker::start(&redis, &[]).await;
    redis.push_with_id("last", r#"{"event":"x","instance":"sales"}"#).await;
    let last = redis.wait_for_letter("last").await.key.to_string();
    assert_eq!(left(&redis).await[..5], ids);
    worker.stop();
    assert_eq!(left(&redis).await.len(), 6);

    let mut worker = Worker::start(&redis, &[("DEAD_LETTER_MAX_AGE_SECONDS", "3600")]).await;
    until("the old one to go", || async { left(&redis).await.len() == 5 }).await;
    assert_eq!(left(&redis).await[..4], ids[1..]);
    worker.stop();

    let _worker = Worker::start(&redis, &[("DEAD_LETTER_MAX_LEN", "2")]).await;
    until("all but the newest two to go", || async { left(&redis).await == [ids[4].clone(), last.clone()] })
        .await;
}

/// 500 dead letters of five kinds, written from the millisecond 1000 on; their ids.
async fn many_letters(redis: &RedisServer) -> Vec<String> {
    let mut ids = Vec::new();
    for i in 0..500 {
        let (destination, reason, instance) = match i % 5 {
            0 => ("global", "exhausted", ""),
            1 => ("instance:a", "rejected", "a"),
            2 => ("instance:b", "exhausted", "b"),
            3 => ("errors", "expired", "a"),
            _ => ("", "unreadable", ""),
        };
        let mut letter = fields(&[
            ("id", &format!("evt-{i}")),
            ("destination", destination),
            ("event", if i % 2 == 0 { "EVEN" } else { "ODD" }),
            ("reason", reason),
            ("attempts", "3"),
            ("error", "e"),
        ]);
        if !instance.is_empty() {
            letter.extend(fields(&[("instance", instance)]));
        }
        letter.extend(payload(format!("payload {i}")));
        let id = format!("{}-0", 1000 + i);
        ids.push(redis.push_entry_as("{webhooks}:dead", &id, &letter).await);
    }
    ids
}

#[tokio::test]
async fn dead_letters_are_found_by_what_they_are() {
    let redis = RedisServer::start();
    many_letters(&redis).await;
    let store = redis.store();
    let all = DeadFilter::default;
    let a = || Some("a".to_owned());
    let exhausted = Some(DeadReason::Exhausted);
    let global = Some(Destination::Global);
    let filters = [
        (all(), 500),
        (DeadFilter { destination: global, ..all() }, 100),
        (DeadFilter { instance: a(), ..all() }, 200),
        (DeadFilter { event: Some("ODD".to_owned()), ..all() }, 250),
        (DeadFilter { reason: exhausted, ..all() }, 200),
        (DeadFilter { since_ms: Some(1100), until_ms: Some(1200), ..all() }, 100),
        (DeadFilter { instance: a(), reason: exhausted, ..all() }, 0),
        (DeadFilter { instance: a(), since_ms: Some(1250), ..all() }, 100),
    ];
    for (filter, expected) in filters {
        let page = store.dead_letters(&filter, None, 1000).await.unwrap();
        assert!(page.next.is_none());
        assert_eq!(page.letters.len(), expected, "{filter:?}");
    }
}

#[tokio::test]
async fn pages_of_dead_letters_leave_none_out_and_show_none_twice() {
    let redis = RedisServer::start();
    let ids = many_letters(&redis).await;
    let store = redis.store();
    let filter = DeadFilter { destination: Some(Destination::Global), ..DeadFilter::default() };
    let (mut from, mut seen): (Option<EntryId>, Vec<String>) = (None, Vec::new());
    loop {
        let page = store.dead_letters(&filter, from.as_ref(), 7).await.unwrap();
        assert!(page.letters.len() <= 7);
        seen.extend(page.letters.iter().map(|letter| letter.id.to_string()));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    let newest_first: Vec<String> = ids.iter().step_by(5).rev().cloned().collect();
    assert_eq!(seen, newest_first);

    // Looking at few at a time finds as many, if not at once.
    let (mut from, mut seen, mut looks): (Option<EntryId>, Vec<String>, u32) = (None, Vec::new(), 0);
    loop {
        let page = store.dead_letters_of(&filter, from.as_ref(), 1000, 1).await.unwrap();
        assert!(page.letters.len() <= 40, "of 200 that were looked at");
        seen.extend(page.letters.iter().map(|letter| letter.id.to_string()));
        (from, looks) = (page.next, looks + 1);
        if from.is_none() {
            break;
        }
    }
    assert_eq!((&seen, looks), (&newest_first, 3));

    // The other way round, to work through them.
    let last = store.newest_dead_letter().await.unwrap().expect("there is one");
    let (mut after, mut seen): (Option<EntryId>, Vec<String>) = (None, Vec::new());
    loop {
        let page = store.dead_letters_after(&filter, after.as_ref(), &last).await.unwrap();
        seen.extend(page.letters.iter().map(|letter| letter.id.to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    seen.reverse();
    assert_eq!(seen, newest_first);
}

#[tokio::test]
async fn of_large_dead_letters_few_are_looked_at_at_a_time() {
    let redis = RedisServer::start();
    let mut ids = Vec::new();
    // Small ones first, so that several are read at a time where the large ones begin.
    for i in 0..42 {
        let mut letter = fields(&[("id", "evt"), ("destination", "global"), ("reason", "exhausted")]);
        letter.extend(payload("x".repeat(if i < 12 { 1 } else { 1 << 20 })));
        ids.push(redis.push_entry_as("{webhooks}:dead", &format!("{}-0", 1000 + i), &letter).await);
    }
    let store = redis.store();
    let filter = DeadFilter::default();
    let last = store.newest_dead_letter().await.unwrap().expect("there is one");
    assert_eq!(last.to_string(), ids[41]);
    let (mut after, mut pages): (Option<EntryId>, Vec<Vec<String>>) = (None, Vec::new());
    loop {
        let page = store.dead_letters_after(&filter, after.as_ref(), &last).await.unwrap();
        after = page.next;
        if after.is_none() {
            break;
        }
        pages.push(page.letters.iter().map(|letter| letter.id.to_string()).collect());
    }
    assert_eq!(pages.concat(), ids);
    assert!(pages.len() >= 4, "{pages:?}");
    assert!(pages[1..].iter().all(|page| page.len() <= 8), "{pages:?}");

    let (mut from, mut seen): (Option<EntryId>, Vec<String>) = (None, Vec::new());
    loop {
        let page = store.dead_letters_of(&filter, from.as_ref(), 1000, 1).await.unwrap();
        assert!(page.letters.iter().filter(|letter| letter.payload_bytes == 1 << 20).count() <= 17);
        seen.extend(page.letters.iter().map(|letter| letter.id.to_string()));
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    seen.reverse();
    assert_eq!(seen, ids);
    // However large they are, a page has what was asked for.
    let all = store.dead_letters(&filter, None, 1000).await.unwrap();
    assert_eq!((all.letters.len(), all.next), (42, None));
}

#[tokio::test]
async fn dead_letters_are_shown_and_deleted_one_by_one() {
    let redis = RedisServer::start();
    let ids = many_letters(&redis).await;
    let store = redis.store();
    let one = EntryId::new(&ids[7]);
    let (source, body) = store.dead_letter(&one).await.unwrap().expect("it is there");
    assert_eq!(source.letter.event_id, "evt-7");
    assert_eq!(source.letter.attempts, 3);
    assert_eq!(&body[..], b"payload 7");
    assert_eq!(source.payload_bytes, body.len());

    let gone = [one.clone(), EntryId::new(&ids[9]), EntryId::new("9-9")];
    assert_eq!(store.purge(&gone).await.unwrap(), 2);
    assert!(store.dead_letter(&one).await.unwrap().is_none());
    assert_eq!(store.replay(&one).await.unwrap(), Replayed::Missing);
    assert_eq!(redis.len("{webhooks}:dead").await, 498);
}
