//! The headers of a POST: what identifies it, what proves where it comes from, and the receiver's own.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use jwt_compact::alg::{Hs256, Hs256Key};
use jwt_compact::{AlgorithmExt, UntrustedToken};
use serde_json::json;

use crate::support::{Received, Receiver, RedisServer, SHORT_WAITS, Worker, fields, payload};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const ENVELOPE: &str = r#"{"event":"messages.upsert","instance":"sales","data":{"text":"Olá"}}"#;
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn unix_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.expect("it is after 1970").as_secs()
}

/// Whether an independent library takes the request's signature for one made with `secret`.
fn verifies(secret: &str, request: &Received) -> bool {
    let mut headers = http::HeaderMap::new();
    for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
        headers.insert(name, request.header(name).parse().expect("a header's value"));
    }
    let webhook = standardwebhooks::Webhook::new(secret).expect("a secret");
    webhook.verify(&request.body, &headers).is_ok()
}

#[tokio::test]
async fn a_post_says_what_it_is_and_when_it_was_sent() {
    let (redis, receiver) = (RedisServer::start(), Receiver::working_from(2).await);
    redis.set_url("sales", &receiver.url("/hook")).await;
    let _worker = Worker::start(&redis, &SHORT_WAITS).await;
    let before = unix_s();
    let id = redis.push(ENVELOPE).await;
    let received = receiver.wait_for(2).await;
    for (request, attempt) in received.iter().zip(["1", "2"]) {
        assert_eq!(request.method, "POST");
        assert_eq!(request.header("content-type"), "application/json");
        assert_eq!(request.header("user-agent"), concat!("posthaste/", env!("CARGO_PKG_VERSION")));
        assert_eq!(request.header("content-length"), request.body.len().to_string());
        assert_eq!(request.header("webhook-id"), id);
        assert_eq!(request.header("webhook-attempt"), attempt);
        let sent: u64 = request.header("webhook-timestamp").parse().expect("a number");
        assert!((before..=unix_s()).contains(&sent), "{sent}, not about {before}");
        assert_eq!(
            request.header_names,
            [
                "accept",
                "content-length",
                "content-type",
                "host",
                "user-agent",
                "webhook-attempt",
                "webhook-id",
                "webhook-timestamp"
            ]
        );
    }
}

#[tokio::test]
async fn the_id_and_the_trace_of_the_producer_are_sent_on_every_attempt() {
    let (redis, receiver) = (RedisServer::start(), Receiver::working_from(2).await);
    redis.set_url("sales", &receiver.url("/hook")).await;
    let _worker = Worker::start(
        &redis,
        &[
            SHORT_WAITS[0],
            ("WEBHOOK_GLOBAL_ENABLED", "true"),
            ("WEBHOOK_GLOBAL_URL", &receiver.url("/global")),
            ("WEBHOOK_EVENTS_MESSAGES_UPSERT", "true"),
        ],
    )
    .await;
    let longest = "x".repeat(128);
    for id in ["order-7/paid?{}", "0", &longest] {
        let fields = fields(&[("traceparent", TRACEPARENT), ("id", id), ("payload", ENVELOPE)]);
        redis.push_entry("webhooks", &fields).await;
        for request in receiver.wait_for_of(id, 4).await {
            assert_eq!(request.header("traceparent"), TRACEPARENT);
        }
    }
}

#[tokio::test]
async fn two_events_of_one_id_are_both_delivered() {
    let (redis, receiver) = (RedisServer::start(), Receiver::working_from(2).await);
    redis.set_url("sales", &receiver.url("/hook")).await;
    let _worker = Worker::start(&redis, &SHORT_WAITS).await;
    for n in 0..2 {
        let envelope = json!({"event": "x", "instance": "sales", "data": n}).to_string();
        redis.push_with_id("same", &envelope).await;
    }
    redis.until_settled().await;
    let received = receiver.received_of("same");
    let mut seen: Vec<_> =
        received.iter().map(|request| (request.json()["data"].as_i64(), request.attempt())).collect();
    seen.sort_unstable();
    assert_eq!(seen, [(Some(0), 1), (Some(0), 2), (Some(1), 1), (Some(1), 2)]);
}

#[tokio::test]
async fn an_id_that_no_header_could_carry_gives_way_to_that_of_the_entry() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    redis.set_url("sales", &receiver.url("/hook")).await;
    let _worker = Worker::start(&redis, &[]).await;
    let too_long = "x".repeat(129);
    for id in ["", "two words", "line\r\nbreak", "é", &too_long] {
        let entry = redis.push_with_id(id, ENVELOPE).await;
        receiver.wait_for_of(&entry, 1).await;
    }
}

#[tokio::test]
async fn a_trace_that_no_header_could_carry_is_left_out() {
    let (redis, receiver) = (RedisServer::start(), Receiver::working_from(2).await);
    redis.set_url("sales", &receiver.url("/hook")).await;
    let _worker = Worker::start(&redis, &SHORT_WAITS).await;
    for trace in [&b""[..], b"line\r\nbreak: 1", b"\xff\xfe"] {
        let mut fields = payload(ENVELOPE);
        fields.push((b"traceparent".to_vec(), trace.to_vec()));
        let id = redis.push_entry("webhooks", &fields).await;
        for request in receiver.wait_for_of(&id, 2).await {
            assert_eq!(request.header("traceparent"), "");
            assert!(!request.headers.contains_key("break"));
        }
    }
}

#[tokio::test]
async fn headers_of_an_instances_own_are_sent_to_it_and_may_replace_the_defaults() {
    let (redis, receiver) = (RedisServer::start(), Receiver::working_from(2).await);
    let webhook = json!({
        "url": receiver.url("/own"),
        "headers": {
            "X-Tenant": "7",
            "Content-Type": "application/vnd.evolution+json",
            "User-Agent": "a bot's friend/1.0",
            "Authorization": "Basic dTpw",
        },
    });
    redis.set_webhook("sales", &webhook.to_string()).await;
    redis.set_url("other", &receiver.url("/other")).await;
    let _worker = Worker::start(&redis, &SHORT_WAITS).await;
    redis.push(ENVELOPE).await;
    redis.push(r#"{"event":"x","instance":"other"}"#).await;
    for request in receiver.wait_for_on("/own", 2).await {
        assert_eq!(request.header("x-tenant"), "7");
        assert_eq!(request.header("content-type"), "application/vnd.evolution+json");
        assert_eq!(request.header("user-agent"), "a bot's friend/1.0");
        assert_eq!(request.header("authorization"), "Basic dTpw");
        let mut names = request.header_names.clone();
        names.dedup();
        assert_eq!(names, request.header_names, "no header comes twice");
    }
    for request in receiver.wait_for_on("/other", 2).await {
        assert_eq!(request.header("content-type"), "application/json");
        assert!(!request.headers.contains_key("x-tenant"));
        assert!(!request.headers.contains_key("authorization"));
    }
}

#[tokio::test]
async fn a_user_in_a_url_is_sent_as_basic_authorization() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let url = receiver.url("/hook").replace("http://", "http://user:p%40ss@");
    redis.set_url("sales", &url).await;
    let _worker = Worker::start(&redis, &[]).await;
    redis.push(ENVELOPE).await;
    let request = &receiver.wait_for(1).await[0];
    // base64 of user:p@ss
    assert_eq!(request.header("authorization"), "Basic dXNlcjpwQHNz");
    assert_eq!(request.path, "/hook");
}

/// Checks that a request carries a token minted with `key` for this very attempt.
fn assert_token(request: &Received, key: &[u8]) {
    assert!(!request.headers.contains_key("jwt_key"));
    let token = request.header("authorization").strip_prefix("Bearer ").expect("a bearer token");
    let untrusted = UntrustedToken::new(token).expect("a token");
    let token = Hs256
        .validator::<HashMap<String, String>>(&Hs256Key::new(key))
        .validate(&untrusted)
        .expect("the key it was made with");
    let claims = token.claims();
    let issued_at = claims.issued_at.expect("iat").timestamp();
    assert_eq!(issued_at.to_string(), request.header("webhook-timestamp"));
    assert_eq!(claims.expiration.expect("exp").timestamp() - issued_at, 600);
    assert_eq!(
        claims.custom,
        HashMap::from(
            [("app", "evolution"), ("action", "webhook")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        )
    );
}

#[tokio::test]
async fn a_header_jwt_key_becomes_a_bearer_token_of_each_attempt() {
    let (redis, receiver) = (RedisServer::start(), Receiver::working_from(2).await);
    let webhook = json!({
        "url": receiver.url("/hook"),
        "headers": {"jwt_key": "a key of any kind: é", "authorization": "gives way"},
    });
    redis.set_webhook("sales", &webhook.to_string()).await;
    let _worker = Worker::start(
        &redis,
        &[
            SHORT_WAITS[0],
            ("WEBHOOK_GLOBAL_ENABLED", "true"),
            ("WEBHOOK_GLOBAL_URL", &receiver.url("/global")),
            ("WEBHOOK_GLOBAL_HEADERS", r#"{"jwt_key":"another key"}"#),
            ("WEBHOOK_EVENTS_MESSAGES_UPSERT", "true"),
        ],
    )
    .await;
    redis.push(ENVELOPE).await;
    for request in receiver.wait_for_on("/hook", 2).await {
        assert_token(&request, "a key of any kind: é".as_bytes());
    }
    for request in receiver.wait_for_on("/global", 2).await {
        assert_token(&request, b"another key");
    }
}

#[tokio::test]
async fn a_secret_signs_every_attempt() {
    let (redis, receiver) = (RedisServer::start(), Receiver::working_from(2).await);
    let webhook = json!({"url": receiver.url("/hook"), "secret": SECRET});
    redis.set_webhook("sales", &webhook.to_string()).await;
    let _worker = Worker::start(&redis, &SHORT_WAITS).await;
    redis.push_with_id("msg_1", ENVELOPE).await;
    for request in receiver.wait_for(2).await {
        assert!(verifies(SECRET, &request));
        assert!(!verifies(OTHER_SECRET, &request));
        let mut changed = request.clone();
        changed.body.pop();
        assert!(!verifies(SECRET, &changed));
        let mut renamed = request;
        renamed.headers.insert("webhook-id".to_owned(), "msg_2".to_owned());
        assert!(!verifies(SECRET, &renamed));
    }
}

#[tokio::test]
async fn several_secrets_make_several_signatures_each_of_which_verifies() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    // With and without the prefix.
    let bare = OTHER_SECRET.trim_start_matches("whsec_");
    let webhook = json!({"url": receiver.url("/hook"), "secret": [SECRET, bare]});
    redis.set_webhook("sales", &webhook.to_string()).await;
    let _worker = Worker::start(&redis, &[]).await;
    redis.push(ENVELOPE).await;
    let request = &receiver.wait_for(1).await[0];
    let signatures: Vec<_> = request.header("webhook-signature").split(' ').collect();
    assert_eq!(signatures.len(), 2);
    for (signature, (secret, other)) in
        signatures.iter().zip([(SECRET, OTHER_SECRET), (OTHER_SECRET, SECRET)])
    {
        let mut alone = request.clone();
        alone.headers.insert("webhook-signature".to_owned(), (*signature).to_owned());
        assert!(verifies(secret, &alone));
        assert!(!verifies(other, &alone));
    }
    assert!(verifies(SECRET, request) && verifies(OTHER_SECRET, request));
}

#[tokio::test]
async fn the_global_webhook_has_headers_and_secrets_of_its_own() {
    let (redis, receiver) = (RedisServer::start(), Receiver::working_from(2).await);
    let webhook = json!({
        "url": receiver.url("/hook"),
        "headers": {"x-instance": "sales"},
        "secret": SECRET,
    });
    redis.set_webhook("sales", &webhook.to_string()).await;
    let _worker = Worker::start(
        &redis,
        &[
            SHORT_WAITS[0],
            ("WEBHOOK_GLOBAL_ENABLED", "true"),
            ("WEBHOOK_GLOBAL_URL", &receiver.url("/global")),
            ("WEBHOOK_GLOBAL_HEADERS", r#"{"X-Tenant":"7","content-type":"text/json"}"#),
            ("WEBHOOK_GLOBAL_SECRET", OTHER_SECRET),
            ("WEBHOOK_EVENTS_MESSAGES_UPSERT", "true"),
        ],
    )
    .await;
    redis.push(ENVELOPE).await;
    for request in receiver.wait_for_on("/global", 2).await {
        assert_eq!(request.header("x-tenant"), "7");
        assert_eq!(request.header("content-type"), "text/json");
        assert!(!request.headers.contains_key("x-instance"));
        assert!(verifies(OTHER_SECRET, &request) && !verifies(SECRET, &request));
    }
    for request in receiver.wait_for_on("/hook", 2).await {
        assert_eq!(request.header("x-instance"), "sales");
        assert_eq!(request.header("content-type"), "application/json");
        assert!(!request.headers.contains_key("x-tenant"));
        assert!(verifies(SECRET, &request) && !verifies(OTHER_SECRET, &request));
    }
}
