//! Who is served, and what everybody gets.

use crate::caller::{Caller, KEY};
use crate::support::{RedisServer, Worker, until};

#[tokio::test]
async fn probes_tell_without_a_key_how_the_worker_is() {
    let mut redis = RedisServer::start();
    let caller = Caller::start_with_key(&redis, &[]).await.with_key(None);
    caller.until_ready().await;
    assert_eq!(caller.get("/healthz").await.json()["status"], "ok");
    redis.kill();
    until("it to be unready without redis", || async { caller.get("/readyz").await.status == 503 }).await;
    let told = caller.get("/readyz").await.json();
    assert_eq!(told["status"], "unready");
    assert!(told["reason"].as_str().unwrap().contains("redis"), "{told}");
    assert_eq!(caller.get("/healthz").await.status, 200, "the process lives");
    redis.restart();
    caller.until_ready().await;
}

#[tokio::test]
async fn everything_else_needs_the_key() {
    let redis = RedisServer::start();
    let caller = Caller::start_with_key(&redis, &[]).await;
    assert_eq!(caller.get("/nowhere").await.status, 404);
    let caller = caller.with_key(None);
    for path in ["/nowhere", "/webhook", "/stats"] {
        let answered = caller.get(path).await;
        assert_eq!(answered.status, 401);
        assert!(answered.error().contains("AUTHENTICATION_API_KEY"));
    }
    let bearer = format!("Bearer {KEY}");
    assert_eq!(caller.ask("GET", "/nowhere", &[("authorization", &bearer)], "").await.status, 404);
    let caller = caller.with_key(Some("another"));
    let answered = caller.get("/nowhere").await;
    assert_eq!(answered.status, 401);
    assert!(!answered.error().contains(KEY));
}

#[tokio::test]
async fn without_a_key_only_this_machine_is_served() {
    let redis = RedisServer::start();
    let caller = Caller::start(&redis, &[]).await;
    let answered = caller.get("/nowhere").await;
    assert_eq!(answered.status, 404);
    assert_eq!(answered.error(), "Cannot GET /nowhere");
    for header in [("host", "rebound.example:8090"), ("origin", "https://page.example")] {
        assert_eq!(caller.ask("GET", "/nowhere", &[header], "").await.status, 403, "{header:?}");
    }

    let mut refused = Worker::spawn(&redis.url(), &[("ADMIN_ADDR", "0.0.0.0:0")]);
    assert_eq!(refused.ended().await, Some(78));
    let log = refused.log();
    assert!(log.contains("ADMIN_ADDR") && log.contains("AUTHENTICATION_API_KEY"), "{log}");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let redis = RedisServer::start();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let mut worker = Worker::spawn(&redis.url(), &[("ADMIN_ADDR", &addr)]);
    assert_eq!(worker.ended().await, Some(1));
    let log = worker.log();
    assert!(log.contains("ADMIN_ADDR") && log.contains(&addr), "{log}");
}
