//! `posthaste webhook …`.

use serde_json::{Value, json};

use crate::support::RedisServer;
use crate::{Listener, run, run_on, run_with};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn version(redis: &RedisServer) -> Option<u64> {
    redis.command(&["GET", "{webhooks}:webhooks:version"]).await
}

#[tokio::test]
async fn all_three_generations_of_the_settings_are_stored_alike() {
    let redis = RedisServer::start();
    let url = "https://example.com/hook";
    let bodies = [
        json!({ "url": url, "webhook_by_events": true, "webhook_base64": true, "events": ["CALL"] }),
        json!({ "enabled": true, "url": url, "webhookByEvents": true, "webhookBase64": true, "events": ["call"] }),
        json!({ "webhook": { "enabled": true, "url": url, "headers": null, "byEvents": true, "base64": true,
            "events": ["CALL"] } }),
    ];
    let mut versions = Vec::new();
    for (i, body) in bodies.iter().enumerate() {
        let instance = format!("gen-{i}");
        let body = body.to_string();
        run_on(&redis, body.as_bytes(), &["webhook", "set", &instance, "--json-body", "-"]).ended(0);
        let expected = json!({ "enabled": true, "url": url, "headers": {}, "byEvents": true, "base64": true,
            "events": ["CALL"] });
        assert_eq!(redis.webhook(&instance).await, expected, "{body}");
        versions.push(version(&redis).await);
    }
    assert!(versions.is_sorted_by(|a, b| a < b) && versions[0].is_some(), "{versions:?}");
}

#[tokio::test]
async fn what_would_silently_not_fire_is_refused_with_what_was_meant() {
    let redis = RedisServer::start();
    let body = |json: &'static str| ["webhook", "set", "a", "--json-body", json];
    let flags = |rest: [&'static str; 4]| ["webhook", "set", "a", rest[0], rest[1], rest[2], rest[3]];
    let url = "https://h.example/";
    let cases: [(Vec<&str>, &str); 8] = [
        (body(r#"{"url":"https://h/","event":["CALL"]}"#).to_vec(), "did you mean events?"),
        (
            body(r#"{"url":"https://h/","events":["MESAGES_UPSERT"]}"#).to_vec(),
            "did you mean MESSAGES_UPSERT?",
        ),
        (body(r#"{"url":"https://h/","webhook":{"urll":"x"}}"#).to_vec(), "unknown key"),
        (body("[]").to_vec(), "it has to be a JSON object"),
        (flags(["--url", url, "--event", "order.paid"]).to_vec(), "WEBHOOK_CUSTOM_EVENTS"),
        (flags(["--url", url, "--header", "a: 1\nb: 2"]).to_vec(), "line break"),
        (flags(["--url", url, "--secret", "not base64!"]).to_vec(), "the secret is not base64"),
        (flags(["--url", "ftp://h", "--event", "CALL"]).to_vec(), "not http or https"),
    ];
    for (args, says) in cases {
        let ran = run(&redis, &args).ended(2);
        assert_eq!(ran.stderr.matches(says).count(), 1, "{says}: {ran:?}");
    }
    for (args, says) in [
        (vec!["webhook", "test", "a", "--event", ""], "the event name is empty"),
        (vec!["webhook", "set", "a"], "nothing to set"),
        (vec!["webhook", "set", "", "--url", url], "not empty"),
        (vec!["webhook", "set", "a", "--url", url, "--header", "hunter2"], "write 'Name: value'"),
        (vec!["webhook", "set", "a", "--url", url, "--json-body", "{}"], "cannot be used with"),
    ] {
        let ran = run(&redis, &args).ended(2);
        assert!(ran.stderr.contains(says) && !ran.stderr.contains("hunter2"), "{ran:?}");
    }
    assert_eq!(redis.keys().await, Vec::<String>::new());
    let custom = [("WEBHOOK_CUSTOM_EVENTS", "order.paid")];
    run_with(&redis, &custom, &["webhook", "set", "a", "--url", url, "--event", "order.paid"]).ended(0);
}

#[tokio::test]
async fn secrets_are_masked_unless_they_are_asked_for() {
    let redis = RedisServer::start();
    let url = "https://user:hunter2@example.com/hook?token=hunter2";
    let args = ["webhook", "set", "sales", "--url", url, "--header", "X-Key: hunter2", "--secret", SECRET];
    let set = run(&redis, &args).ended(0);
    let get = run(&redis, &["webhook", "get", "sales"]).ended(0);
    let list = run(&redis, &["webhook", "list"]).ended(0);
    let json = run(&redis, &["webhook", "list", "--json"]).ended(0);
    for ran in [&set, &get, &list, &json] {
        assert!(ran.stdout.contains("https://***@example.com/hook?***"), "{ran:?}");
        assert!(!ran.stdout.contains("hunter2") && !ran.stdout.contains("MfKQ"), "{ran:?}");
        assert!(!ran.stdout.contains('\u{1b}'), "no colours where there is no terminal: {ran:?}");
    }
    let revealed = run(&redis, &["webhook", "get", "sales", "--reveal"]).ended(0);
    assert!(revealed.stdout.contains(url) && revealed.stdout.contains("X-Key: hunter2"), "{revealed:?}");

    // What is revealed can be set again, and what is masked cannot.
    let json = run(&redis, &["webhook", "get", "sales", "--reveal", "--json"]).ended(0).stdout;
    run_on(&redis, json.as_bytes(), &["webhook", "set", "copy", "--json-body", "-"]).ended(0);
    assert_eq!(redis.webhook("copy").await, redis.webhook("sales").await);
    let masked = run(&redis, &["webhook", "get", "sales", "--json"]).ended(0).stdout;
    let ran = run_on(&redis, masked.as_bytes(), &["webhook", "set", "copy", "--json-body", "-"]).ended(2);
    assert!(ran.stderr.contains("masked"), "{ran:?}");
}

#[tokio::test]
async fn an_update_changes_only_what_is_given() {
    let redis = RedisServer::start();
    let ran = run(&redis, &["webhook", "set", "a", "--update", "--disabled"]).ended(1);
    assert!(ran.stderr.contains("instance a has no webhook"), "{ran:?}");
    let args = [
        "webhook",
        "set",
        "a",
        "--url",
        "https://h.example/",
        "--event",
        "CALL,qrcode.updated",
        "--by-events",
    ];
    run(&redis, &args).ended(0);
    run(&redis, &["webhook", "set", "a", "--update", "--disabled", "--base64"]).ended(0);
    let expected = json!({ "enabled": false, "url": "https://h.example/", "headers": {}, "byEvents": true,
        "base64": true, "events": ["CALL", "QRCODE_UPDATED"] });
    assert_eq!(redis.webhook("a").await, expected);
    run(&redis, &["webhook", "set", "a", "--update", "--enabled", "--by-events=false"]).ended(0);
    let webhook = redis.webhook("a").await;
    assert_eq!((&webhook["enabled"], &webhook["byEvents"]), (&json!(true), &json!(false)));
    run(&redis, &["webhook", "set", "a", "--url", "https://h.example/"]).ended(0);
    assert_eq!(redis.webhook("a").await["events"], json!([]));
}

#[tokio::test]
async fn a_rate_limit_is_set_shown_kept_and_taken_away() {
    let redis = RedisServer::start();
    let set = |rest: &[&str]| run(&redis, &[&["webhook", "set", "a"], rest].concat());
    let url = ["--url", "https://h.example/"];
    let told = set(&[&url[..], &["--rate-limit", "20"]].concat()).ended(0).stdout;
    assert!(told.contains("at most 20 requests a second"), "{told}");
    assert_eq!(redis.webhook("a").await["rate_limit"], json!(20.0));
    set(&["--update", "--by-events"]).ended(0);
    let get = run(&redis, &["webhook", "get", "a"]).ended(0).stdout;
    assert!(get.contains("at most 20 requests a second"), "{get}");
    let list = run(&redis, &["webhook", "list"]).ended(0).stdout;
    assert!(list.contains("RATE LIMIT") && list.contains("20/s"), "{list}");
    let explain = run(&redis, &["explain", "--event", "call", "--instance", "a"]).ended(0).stdout;
    assert!(explain.contains("at most 20 requests a second"), "{explain}");

    // What is told as JSON can be set again.
    let json = run(&redis, &["webhook", "get", "a", "--reveal", "--json"]).ended(0).stdout;
    run_on(&redis, json.as_bytes(), &["webhook", "set", "copy", "--json-body", "-"]).ended(0);
    assert_eq!(redis.webhook("copy").await, redis.webhook("a").await);

    set(&["--update", "--rate-limit", "none"]).ended(0);
    assert_eq!(redis.webhook("a").await.get("rate_limit"), None);
    assert_eq!(redis.webhook("a").await["byEvents"], json!(true));
    set(&["--json-body", r#"{"webhook":{"url":"https://h.example/","rateLimit":0.5}}"#]).ended(0);
    assert_eq!(redis.webhook("a").await["rate_limit"], json!(0.5));
    set(&url).ended(0);
    assert_eq!(redis.webhook("a").await.get("rate_limit"), None, "the webhook is replaced as a whole");
}

#[tokio::test]
async fn a_rate_limit_that_is_none_is_refused_with_what_is_allowed() {
    let redis = RedisServer::start();
    for rate in ["0", "-1", "-0.5", "NaN", "inf", "1000001", "ten", "5/s", ""] {
        let args = ["webhook", "set", "a", "--url", "https://h.example/", "--rate-limit", rate];
        let ran = run(&redis, &args).ended(2);
        let says = "write requests a second, a number from 0.001 to 1000000 such as 20 or 0.5, or none";
        assert!(ran.stderr.contains(says) && ran.stderr.contains(&format!("'{rate}'")), "{ran:?}");
    }
    for (rate, given) in [
        ("0", "too small a number"),
        ("-1", "too small a number"),
        ("1e7", "too large a number"),
        (r#""20""#, "a string"),
        ("[]", "an array"),
        ("NaN", "not JSON"),
    ] {
        let body = format!(r#"{{"url":"https://h.example/","rate_limit":{rate}}}"#);
        let ran = run(&redis, &["webhook", "set", "a", "--json-body", &body]).ended(2);
        assert!(ran.stderr.contains(given), "{ran:?}");
    }
    let args = ["webhook", "set", "a", "--rate-limit", "1", "--json-body", "{}"];
    assert!(run(&redis, &args).ended(2).stderr.contains("cannot be used with"));
    assert_eq!(redis.keys().await, Vec::<String>::new());
}

#[tokio::test]
async fn webhooks_are_listed_by_name_and_deleted() {
    let redis = RedisServer::start();
    for n in 0..600 {
        redis.set_webhook(&format!("i{n:03}"), r#"{"url":"https://h.example/","events":[]}"#).await;
    }
    redis.set_webhook("broken", "{\"url\":5}").await;
    redis.set_webhook("a\u{1b}[31m\nb", "{\"url\":\"https://h.example/\"}").await;
    let all = run(&redis, &["webhook", "list", "--json"]).ended(0).json();
    let names: Vec<&str> =
        all.as_array().unwrap().iter().filter_map(|entry| entry["instance"].as_str()).collect();
    assert_eq!(names.len(), 602);
    assert!(names.is_sorted());
    assert!(all[1]["error"].as_str().unwrap().contains("`url` is a number"), "{}", all[1]);

    let some = run(&redis, &["webhook", "list", "--limit", "3"]).ended(0);
    assert_eq!(some.stdout.lines().count(), 4, "{some:?}");
    assert!(some.stdout.contains("a\\u{1b}[31m\\nb") && !some.stdout.contains('\u{1b}'), "{some:?}");
    assert!(some.stderr.contains("3 of 602 webhooks shown"), "{some:?}");

    let before = version(&redis).await;
    run(&redis, &["webhook", "delete", "i000"]).ended(0);
    assert!(version(&redis).await > before);
    let ran = run(&redis, &["webhook", "delete", "i000"]).ended(1);
    assert!(ran.stderr.contains("instance i000 has no webhook"), "{ran:?}");
    run(&redis, &["webhook", "get", "i000"]).ended(1);
}

#[tokio::test]
async fn a_test_event_is_sent_as_the_worker_would_send_it() {
    let redis = RedisServer::start();
    let mut listener = Listener::start(&["--secret", SECRET, "--headers"]);
    let url = listener.url("/in");
    let args = [
        "webhook",
        "set",
        "sales",
        "--url",
        &url,
        "--by-events",
        "--header",
        "X-Tenant: 7",
        "--secret",
        SECRET,
    ];
    run(&redis, &args).ended(0);
    let told =
        run(&redis, &["webhook", "test", "sales", "--event", "connection.update", "--json"]).ended(0).json();
    assert_eq!((&told["delivered"], &told["status"]), (&json!(true), &json!(200)));
    assert!(told["took_ms"].is_u64() && told["reply"] == r#"{"received":true}"#, "{told}");
    let request = listener.next();
    let expected = [
        ("method", json!("POST")),
        ("path", json!("/in/connection-update")),
        ("event", json!("connection.update")),
        ("instance", json!("sales")),
        ("attempt", json!(1)),
        ("signature", json!("ok")),
        ("id", told["id"].clone()),
    ];
    for (field, value) in expected {
        assert_eq!(request[field], value, "{field}: {request}");
    }
    assert_eq!(request["headers"]["x-tenant"], "7");
    assert_eq!(request["body"]["destination"], Value::from(url));
    assert_eq!(redis.len("webhooks").await, 0);
}

#[tokio::test]
async fn a_test_that_fails_says_so() {
    let redis = RedisServer::start();
    let failing = Listener::start(&["--status", "503"]);
    run(&redis, &["webhook", "set", "a", "--url", &failing.url("/")]).ended(0);
    let ran = run(&redis, &["webhook", "test", "a"]).ended(1);
    assert!(ran.stdout.starts_with("failed: the receiver answered 503\n"), "{ran:?}");
    assert!(ran.stdout.contains("failed as it was told to"), "{ran:?}");

    let closing = Listener::start(&["--close"]);
    run(&redis, &["webhook", "set", "a", "--url", &closing.url("/"), "--event", "CALL"]).ended(0);
    let ran = run(&redis, &["webhook", "test", "a", "--event", "qrcode.updated"]).ended(1);
    assert!(ran.stdout.contains("closed the connection"), "{ran:?}");
    assert!(ran.stderr.contains("does not list QRCODE_UPDATED"), "{ran:?}");

    let hanging = Listener::start(&["--hang"]);
    run(&redis, &["webhook", "set", "a", "--url", &hanging.url("/")]).ended(0);
    let ran = run_with(&redis, &[("WEBHOOK_REQUEST_TIMEOUT_MS", "200")], &["webhook", "test", "a"]).ended(1);
    assert!(ran.stdout.contains("no whole answer within 200 ms"), "{ran:?}");
    let ran = run(&redis, &["webhook", "test", "nobody"]).ended(1);
    assert!(ran.stderr.contains("instance nobody has no webhook"), "{ran:?}");
}
