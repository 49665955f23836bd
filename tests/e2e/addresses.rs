//! Where webhooks of instances are sent to, and where not.

use serde_json::json;

use crate::support::{Answer, HERE, Letter, Receiver, RedisServer, Worker, run_command};

/// What a worker permits that was told nothing.
const NOTHING: [(&str, &str); 2] = [("WEBHOOK_ALLOW_CIDRS", ""), ("WEBHOOK_ALLOW_HOSTS", "")];
const TWO_ATTEMPTS: [(&str, &str); 2] =
    [("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.05"), ("WEBHOOK_RETRY_MAX_ATTEMPTS", "2")];

async fn worker(redis: &RedisServer, settings: &[(&str, &str)]) -> Worker {
    Worker::start(redis, &[&NOTHING[..], &TWO_ATTEMPTS, settings].concat()).await
}

/// Stores a webhook as it is, pushes an event for it, and returns the dead letter that it becomes.
async fn dead(redis: &RedisServer, url: &str) -> Letter {
    redis.set_url(url, url).await;
    let id = redis.push(&json!({ "event": "x", "instance": url }).to_string()).await;
    redis.wait_for_letter(&id).await
}

/// The same, for one that is delivered.
async fn delivered(redis: &RedisServer, url: &str) {
    redis.set_url(url, url).await;
    redis.push(&json!({ "event": "x", "instance": url }).to_string()).await;
    redis.until_settled().await;
    assert!(redis.dead().await.is_empty(), "{url}");
}

#[tokio::test]
async fn no_notation_of_this_machine_is_sent_to() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let worker = worker(&redis, &[]).await;
    let port = receiver.port();
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "0",
        "127.0.0.1.",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::1]",
        "localhost",
        "localhost.",
        "LOCALHOST",
        "a.localhost",
        "example.com@127.0.0.1",
        "example.com:80@localhost",
        "①②⑦.0.0.1",
        "%6cocalhost",
        "169.254.169.254",
        "10.0.0.1",
        "[fd00:ec2::254]",
    ] {
        let letter = dead(&redis, &format!("http://{host}:{port}/")).await;
        let error = letter.text("error");
        assert!(error.starts_with("not sent: ") && error.contains("WEBHOOK_ALLOW_CIDRS="), "{host}: {error}");
        assert_eq!((letter.text("reason"), letter.text("attempts")), ("exhausted", "2"), "{host}");
        assert_eq!((letter.text("status"), letter.text("reply")), ("", ""), "{host}");
    }
    assert_eq!(receiver.connections(), 0);
    assert!(!worker.log().contains("panicked"), "{}", worker.log());
}

#[tokio::test]
async fn what_the_settings_permit_is_sent_to() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    for (setting, value, host) in [
        ("WEBHOOK_ALLOW_CIDRS", "127.0.0.0/8", "127.0.0.1"),
        ("WEBHOOK_ALLOW_CIDRS", "10.0.0.0/8, 127.0.0.1", "0x7f.1"),
        ("WEBHOOK_ALLOW_CIDRS", HERE, "localhost"),
        ("WEBHOOK_ALLOW_HOSTS", "n8n,LocalHost.", "localhost"),
    ] {
        let before = receiver.count();
        let _worker = worker(&redis, &[(setting, value)]).await;
        delivered(&redis, &format!("http://{host}:{}/", receiver.port())).await;
        assert_eq!(receiver.count(), before + 1, "{setting}={value} {host}");
    }
}

#[tokio::test]
async fn of_the_addresses_of_a_name_only_those_that_are_permitted_are_dialled() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    // It listens on 127.0.0.1, which `localhost` is; but only ::1 is permitted.
    let _worker = worker(&redis, &[("WEBHOOK_ALLOW_CIDRS", "::1")]).await;
    dead(&redis, &format!("http://localhost:{}/", receiver.port())).await;
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn what_was_permitted_when_it_was_set_is_checked_again_before_each_attempt() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    // With the settings of the tests, which permit this machine.
    run_command(&redis, &["webhook", "set", "sales", "--url", &receiver.url("/")]);
    let first = worker(&redis, &[("WEBHOOK_ALLOW_CIDRS", HERE)]).await;
    redis.push(r#"{"event":"x","instance":"sales"}"#).await;
    receiver.wait_for(1).await;
    redis.until_settled().await;
    drop(first);
    let _second = worker(&redis, &[]).await;
    let id = redis.push(r#"{"event":"x","instance":"sales"}"#).await;
    let letter = redis.wait_for_letter(&id).await;
    assert!(letter.text("error").contains("127.0.0.1 is loopback"), "{}", letter.text("error"));
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn a_setting_that_is_corrected_rescues_what_waits() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    redis.set_url("sales", &receiver.url("/")).await;
    let patient = [("WEBHOOK_RETRY_MAX_ATTEMPTS", "1000")];
    let refusing = worker(&redis, &patient).await;
    redis.push(r#"{"event":"x","instance":"sales"}"#).await;
    redis.until_waiting(1).await;
    drop(refusing);
    assert_eq!(receiver.connections(), 0);
    let _permitting =
        worker(&redis, &[("WEBHOOK_ALLOW_CIDRS", HERE), ("WEBHOOK_RETRY_MAX_ATTEMPTS", "1000")]).await;
    receiver.wait_for(1).await;
    redis.until_settled().await;
    assert!(redis.dead().await.is_empty());
}

#[tokio::test]
async fn a_redirect_leads_nowhere() {
    let (redis, inner) = (RedisServer::start(), Receiver::start().await);
    let target = inner.url("/latest/meta-data");
    let outer = Receiver::answering(move |_| Answer::with_header(307, "location", &target)).await;
    let _worker = worker(&redis, &[("WEBHOOK_ALLOW_CIDRS", HERE)]).await;
    let letter = dead(&redis, &outer.url("/")).await;
    assert_eq!((letter.text("status"), outer.count(), inner.connections()), ("307", 2, 0));
}

#[tokio::test]
async fn the_operators_own_destinations_may_be_anywhere() {
    let (redis, global, errors) = (RedisServer::start(), Receiver::start().await, Receiver::start().await);
    let (global_url, errors_url) = (global.url("/"), errors.url("/"));
    let settings = [
        ("WEBHOOK_GLOBAL_ENABLED", "true"),
        ("WEBHOOK_GLOBAL_URL", global_url.as_str()),
        ("WEBHOOK_EVENTS_X", "true"),
        ("WEBHOOK_EVENTS_ERRORS", "true"),
        ("WEBHOOK_EVENTS_ERRORS_WEBHOOK", errors_url.as_str()),
    ];
    let _worker = worker(&redis, &settings).await;
    redis.push(r#"{"event":"x"}"#).await;
    global.wait_for(1).await;
    dead(&redis, &global.url("/instance")).await;
    global.wait_for(2).await;
    errors.wait_for(1).await;
    redis.until_settled().await;
    assert!(global.received().iter().all(|request| request.path == "/"), "only the global one was sent to");
    let told = errors.received()[0].json();
    assert!(told["data"]["message"].as_str().is_some_and(|text| text.starts_with("not sent: ")), "{told}");
}

#[tokio::test]
async fn a_connection_that_is_open_for_the_operator_serves_no_instance() {
    let (redis, global) = (RedisServer::start(), Receiver::start().await);
    let url = |path: &str| format!("http://localhost:{}{path}", global.port());
    let global_url = url("/");
    let settings = [
        // So that it depends on the addresses of the name: it listens on 127.0.0.1.
        ("WEBHOOK_ALLOW_CIDRS", "::1"),
        ("WEBHOOK_GLOBAL_ENABLED", "true"),
        ("WEBHOOK_GLOBAL_URL", global_url.as_str()),
        ("WEBHOOK_EVENTS_Y", "true"),
    ];
    let _worker = worker(&redis, &settings).await;
    redis.push(r#"{"event":"y"}"#).await;
    global.wait_for(1).await;
    redis.until_settled().await;
    dead(&redis, &url("/instance")).await;
    assert_eq!((global.count(), global.connections()), (1, 1));
}
