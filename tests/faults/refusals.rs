//! Redis is there and refuses: no writes on a replica, no memory, no disk, no password.

use std::time::Duration;

use crate::scene::{DURABLE, Kind, SECOND_WAITS, Scene};
use crate::support::{Answer, Gate, Receiver, RedisServer, Worker, until};

async fn config(redis: &RedisServer, name: &str, value: &str) {
    let _: redis::Value = redis.command(&["CONFIG", "SET", name, value]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_a_replica_for_a_while() {
    let mut scene = Scene::on(RedisServer::start()).await;
    scene.before().await;
    // Nobody listens there: what it has stays as it is, and it takes no writes.
    let _: redis::Value = scene.redis.command(&["REPLICAOF", "127.0.0.1", "1"]).await;
    scene.gate.open();
    assert!(!scene.try_push(Kind::Taken).await);
    scene.until_warned("READONLY").await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let _: redis::Value = scene.redis.command(&["REPLICAOF", "NO", "ONE"]).await;
    scene.after().await;
    scene.assert_no_duplicates();
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_full_for_a_while() {
    let mut scene = Scene::on(RedisServer::start()).await;
    scene.before().await;
    config(&scene.redis, "maxmemory", "1").await;
    assert!(!scene.try_push(Kind::Taken).await);
    scene.gate.open();
    // What is there is delivered and makes room, while nothing new is taken.
    scene.until_delivered().await;
    scene.redis.until_settled().await;
    config(&scene.redis, "maxmemory", "0").await;
    scene.after().await;
    scene.assert_no_duplicates();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_starts_while_redis_is_full_takes_over_what_a_dead_one_held() {
    let mut scene = Scene::on(RedisServer::start()).await;
    scene.before().await;
    scene.worker.kill();
    scene.push(Kind::Taken, 3).await;
    config(&scene.redis, "maxmemory", "1").await;
    assert!(!scene.try_push(Kind::Taken).await);
    scene.gate.open();
    scene.worker = Worker::start(&scene.redis, &SECOND_WAITS).await;
    scene.until_delivered().await;
    scene.redis.until_settled().await;
    config(&scene.redis, "maxmemory", "0").await;
    scene.after().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_is_full_for_a_while() {
    let mut scene = Scene::on(RedisServer::start_with(&["--save", "3600 1000000"])).await;
    scene.before().await;
    // A snapshot cannot replace a directory, so it fails, and redis stops taking writes.
    let snapshot = scene.redis.dir().join("dump.rdb");
    std::fs::create_dir_all(snapshot.join("in the way")).expect("a directory");
    let _: redis::Value = scene.redis.command(&["BGSAVE"]).await;
    until("the snapshot to fail", || async { status_of_snapshots(&scene.redis).await == "err" }).await;
    scene.gate.open();
    assert!(!scene.try_push(Kind::Taken).await);
    scene.until_warned("MISCONF").await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    std::fs::remove_dir_all(&snapshot).expect("the directory is gone");
    let _: redis::Value = scene.redis.command(&["BGSAVE"]).await;
    until("the snapshot to succeed", || async { status_of_snapshots(&scene.redis).await == "ok" }).await;
    scene.after().await;
    scene.assert_no_duplicates();
}

/// "ok" or "err", once no snapshot is being made.
async fn status_of_snapshots(redis: &RedisServer) -> String {
    let info: String = redis.command(&["INFO", "persistence"]).await;
    if info.contains("rdb_bgsave_in_progress:1") {
        return String::new();
    }
    let status = info.lines().find_map(|line| line.strip_prefix("rdb_last_bgsave_status:"));
    status.unwrap_or_default().trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_with_a_wrong_password_waits_until_it_is_the_right_one() {
    let redis = RedisServer::start();
    // The test's own connection is made before, and stays allowed.
    redis.push(r#"{"event":"call","instance":"nobody"}"#).await;
    let url = format!("redis://:hunter2@127.0.0.1:{}", redis.port());
    let receiver = Receiver::start().await;
    redis.set_url("sales", &receiver.url("/sales")).await;
    config(&redis, "requirepass", "another").await;
    let mut worker = Worker::spawn(&url, &[]);
    until("it to say that it waits", || async { worker.log().contains("stage=\"start\"") }).await;
    assert!(worker.log().contains("authentication failed"), "{}", worker.log());
    assert!(!worker.log().contains("hunter2"), "no password is logged");
    redis.push(r#"{"event":"call","instance":"sales"}"#).await;
    config(&redis, "requirepass", "hunter2").await;
    redis.push(r#"{"event":"call","instance":"sales"}"#).await;
    receiver.wait_for(2).await;
    redis.until_settled().await;
    assert!(worker.is_running());
    assert!(worker.warnings().len() <= 6, "{}", worker.warnings().join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_password_is_changed_while_the_worker_runs() {
    let redis = RedisServer::start_with(&DURABLE);
    redis.push(r#"{"event":"call","instance":"nobody"}"#).await;
    let gate = Gate::closed();
    let held = gate.clone();
    let receiver = Receiver::answering(move |_| Answer::status(200).behind(&held)).await;
    // On a connection of its own, which knows no password.
    redis.set_url("sales", &receiver.url("/sales")).await;
    config(&redis, "requirepass", "hunter2").await;
    let url = format!("redis://:hunter2@127.0.0.1:{}", redis.port());
    let mut worker = Worker::spawn(&url, &[]);
    redis.push(r#"{"event":"call","instance":"sales"}"#).await;
    receiver.wait_for(1).await;
    config(&redis, "requirepass", "changed").await;
    let _: redis::Value = redis.command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    gate.open();
    redis.push(r#"{"event":"call","instance":"sales"}"#).await;
    until("it to say so", || async {
        worker.warnings().iter().any(|line| line.contains("authentication failed"))
    })
    .await;
    assert_eq!(receiver.count(), 1);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    config(&redis, "requirepass", "hunter2").await;
    redis.push(r#"{"event":"call","instance":"sales"}"#).await;
    receiver.wait_for(3).await;
    redis.until_settled().await;
    redis.assert_settled().await;
    let outage = || async { redis.command::<Vec<String>>(&["HGETALL", "{webhooks}:outage"]).await.concat() };
    until("the outage to be recorded", || async { outage().await.contains("authentication failed") }).await;
    assert!(!outage().await.contains("hunter2"), "no password is recorded");
    assert_eq!(receiver.count(), 3);
    assert!(worker.is_running());
    assert!(!worker.log().contains("hunter2"), "no password is logged");
    assert!(worker.warnings().len() <= 18, "{}", worker.warnings().join("\n"));
}
