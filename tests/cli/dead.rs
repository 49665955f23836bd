//! `posthaste dead …`, on dead letters made by hand.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::support::{RedisServer, until};
use crate::{Running, posthaste, run};

const PAYLOAD: &[u8] = b"{ \"event\":\"messages.upsert\",\"n\":12345678901234567890123 }";

/// Writes a dead letter of an instance; its id.
async fn letter(redis: &RedisServer, instance: &str, reason: &str) -> String {
    let destination = format!("instance:{instance}");
    let fields: &[(&str, &[u8])] = &[
        ("id", b"ev-1"),
        ("destination", destination.as_bytes()),
        ("event", b"MESSAGES_UPSERT"),
        ("instance", instance.as_bytes()),
        ("reason", reason.as_bytes()),
        ("attempts", b"10"),
        ("error", b"the receiver answered 503"),
        ("first_attempt_ms", b"1761038164871"),
        ("last_attempt_ms", b"1761038174871"),
        ("status", b"503"),
        ("reply", b"busy\x1b[31m"),
        ("url", b"https://h.example/in"),
        ("payload", PAYLOAD),
    ];
    add(redis, fields).await
}

/// Writes the dead letter of an entry without payload; its id.
async fn letter_without_payload(redis: &RedisServer) -> String {
    let fields: &[(&str, &[u8])] = &[
        ("id", b"1-0"),
        ("destination", b""),
        ("event", b""),
        ("reason", b"unreadable"),
        ("attempts", b"0"),
        ("error", b"the entry has no field `payload`"),
        ("entry", b"4:data,3:a,b,"),
    ];
    add(redis, fields).await
}

async fn add(redis: &RedisServer, fields: &[(&str, &[u8])]) -> String {
    let mut command: Vec<&[u8]> = vec![b"XADD", b"{webhooks}:dead", b"*"];
    command.extend(fields.iter().flat_map(|(name, value)| [name.as_bytes(), value]));
    redis.command(&command).await
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().expect("a list").iter().filter_map(|letter| letter["id"].as_str()).collect()
}

#[tokio::test]
async fn letters_are_listed_newest_first_by_filter_and_page() {
    let redis = RedisServer::start();
    let list = |args: &[&str]| run(&redis, &[&["dead", "list"], args].concat()).ended(0);
    assert_eq!(list(&["--json"]).json(), json!([]));
    assert!(list(&[]).stderr.contains("no dead letters match"));
    let a = letter(&redis, "a", "exhausted").await;
    let b = letter(&redis, "b", "rejected").await;
    let c = letter_without_payload(&redis).await;
    for (filter, expected) in [
        (vec![], vec![&c, &b, &a]),
        (vec!["--instance", "a"], vec![&a]),
        (vec!["--destination", "instance:b"], vec![&b]),
        (vec!["--event", "messages.upsert"], vec![&b, &a]),
        (vec!["--reason", "unreadable"], vec![&c]),
        (vec!["--since", "1h"], vec![&c, &b, &a]),
        (vec!["--until", "1h"], vec![]),
        (vec!["--until", "2020-01-01T00:00:00Z"], vec![]),
        (vec!["--from", &b], vec![&b, &a]),
        (vec!["--limit", "2"], vec![&c, &b]),
    ] {
        let found = list(&[&filter[..], &["--json"]].concat()).json();
        assert_eq!(ids(&found), expected, "{filter:?}");
    }
    let text = list(&["--limit", "2"]);
    assert!(text.stderr.contains(&format!("there are more: --from {a}")), "{text:?}");
    assert!(text.stdout.starts_with("ID ") && text.stdout.lines().count() == 3, "{text:?}");
    for wrong in [["--reason", "tired"], ["--since", "1761038164"], ["--destination", "a"], ["--from", "x"]] {
        run(&redis, &[&["dead", "list"], &wrong[..]].concat()).ended(2);
    }
}

#[tokio::test]
async fn a_letter_is_shown_with_every_field_and_its_payload_byte_for_byte() {
    let redis = RedisServer::start();
    let id = letter(&redis, "a", "exhausted").await;
    let text = run(&redis, &["dead", "show", &id]).ended(0).stdout;
    for shown in [
        &id,
        "ev-1",
        "instance:a",
        "MESSAGES_UPSERT",
        "exhausted",
        "10",
        "2025-10-21T09:16:04.871Z",
        "2025-10-21T09:16:14.871Z",
        "503",
        "the receiver answered 503",
        "busy\\u{1b}[31m",
        "https://h.example/in",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert!(text.ends_with(&format!("\n{}\n", String::from_utf8_lossy(PAYLOAD))), "{text}");
    let payload = run(&redis, &["dead", "show", &id, "--payload"]).ended(0);
    assert_eq!(payload.stdout.as_bytes(), PAYLOAD);
    let told = run(&redis, &["dead", "show", &id, "--json"]).ended(0);
    assert!(told.stdout.contains(std::str::from_utf8(PAYLOAD).unwrap()), "{told:?}");
    assert_eq!((&told.json()["reply"], &told.json()["attempts"]), (&json!("busy\u{1b}[31m"), &json!(10)));
    let pretty = run(&redis, &["dead", "show", &id, "--pretty"]).ended(0);
    assert!(pretty.stdout.contains("\n  \"event\": \"messages.upsert\""), "{pretty:?}");

    let without = letter_without_payload(&redis).await;
    let text = run(&redis, &["dead", "show", &without]).ended(0).stdout;
    assert!(text.ends_with("its fields:\ndata  a,b\n"), "{text}");
    run(&redis, &["dead", "show", &without, "--payload"]).ended(1);
    let ran = run(&redis, &["dead", "show", "1-1"]).ended(1);
    assert!(ran.stderr.contains("there is no dead letter 1-1"), "{ran:?}");
}

#[tokio::test]
async fn replaying_needs_a_selection() {
    let redis = RedisServer::start();
    for command in ["replay", "purge"] {
        let ran = run(&redis, &["dead", command]).ended(2);
        assert!(ran.stderr.contains("--all"), "{ran:?}");
        run(&redis, &["dead", command, "1-0", "--all"]).ended(2);
        run(&redis, &["dead", command, "--all", "--instance", "a"]).ended(2);
    }
    run(&redis, &["dead", "replay", "--all", "--rate", "0"]).ended(2);
}

#[tokio::test]
async fn a_replayed_letter_is_due_again_with_the_same_body_and_id() {
    let redis = RedisServer::start();
    let id = letter(&redis, "a", "exhausted").await;
    let kept = letter(&redis, "b", "exhausted").await;
    let ran = run(&redis, &["dead", "replay", &id]).ended(0);
    assert!(ran.stdout.starts_with("replayed 1 dead letter in "), "{ran:?}");
    let left = run(&redis, &["dead", "list", "--json"]).json();
    assert_eq!(ids(&left), [&kept]);
    let ready: Vec<(String, HashMap<String, String>)> =
        redis.command(&["XRANGE", "{webhooks}:ready", "-", "+"]).await;
    assert_eq!(ready.len(), 1);
    let entry = &ready[0].1;
    assert_eq!(entry["destination"], "instance:a");
    let event: HashMap<String, Vec<u8>> =
        redis.command(&["HGETALL", &format!("{{webhooks}}:event:{}", entry["event"])]).await;
    assert_eq!(event["payload"], PAYLOAD);
    assert!(event["event"].starts_with(b"ev-1 "), "{event:?}");

    let ran = run(&redis, &["dead", "replay", &id, "--json"]).ended(1);
    assert_eq!(ran.json(), json!({ "replayed": 0, "missing": 1, "without_payload": 0 }));
    let without = letter_without_payload(&redis).await;
    run(&redis, &["dead", "replay", &without]).ended(1);
    let told = run(&redis, &["dead", "replay", "--all", "--json"]).ended(0).json();
    assert_eq!(told, json!({ "replayed": 1, "missing": 0, "without_payload": 1 }));
}

#[tokio::test]
async fn a_replay_by_filter_takes_what_matches_and_more_than_a_page() {
    let redis = RedisServer::start();
    for _ in 0..450 {
        letter(&redis, "a", "exhausted").await;
    }
    letter(&redis, "b", "exhausted").await;
    let told = run(&redis, &["dead", "replay", "--instance", "a", "--json"]).ended(0).json();
    assert_eq!(told["replayed"], 450);
    assert_eq!((redis.len("{webhooks}:dead").await, redis.len("{webhooks}:ready").await), (1, 450));
}

#[tokio::test]
async fn a_replay_keeps_its_rate_and_ends_though_letters_die_meanwhile() {
    let redis = RedisServer::start();
    for _ in 0..10 {
        letter(&redis, "a", "exhausted").await;
    }
    let started = std::time::Instant::now();
    let mut command = posthaste(&redis.url(), &["dead", "replay", "--all", "--rate", "10"]);
    let running = Running::start(command.stdout(std::process::Stdio::null()));
    until("the first to be replayed", || async { redis.len("{webhooks}:ready").await > 0 }).await;
    let died = letter(&redis, "a", "exhausted").await;
    assert_eq!(running.ended(), Some(0));
    assert!(started.elapsed() >= std::time::Duration::from_millis(900), "{:?}", started.elapsed());
    let left = run(&redis, &["dead", "list", "--json"]).json();
    assert_eq!(ids(&left), [&died]);
}

#[tokio::test]
async fn purging_deletes_what_is_selected_and_asks_first() {
    let redis = RedisServer::start();
    let a = letter(&redis, "a", "exhausted").await;
    letter(&redis, "b", "exhausted").await;
    letter(&redis, "b", "rejected").await;
    let ran = run(&redis, &["dead", "purge", "--all"]).ended(2);
    assert!(ran.stderr.contains("--yes"), "{ran:?}");
    assert_eq!(redis.len("{webhooks}:dead").await, 3);
    let purge = |args: &[&str]| run(&redis, &[&["dead", "purge", "--yes", "--json"], args].concat());
    assert_eq!(purge(&[&a]).ended(0).json(), json!({ "purged": 1 }));
    assert_eq!(purge(&[&a]).ended(1).json(), json!({ "purged": 0 }));
    assert_eq!(purge(&["--reason", "rejected"]).ended(0).json(), json!({ "purged": 1 }));
    assert_eq!(purge(&["--all"]).ended(0).json(), json!({ "purged": 1 }));
    assert_eq!(redis.len("{webhooks}:dead").await, 0);
}
