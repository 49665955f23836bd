//! Redis forgets: all of it, a stream, a group, the heartbeats. What is gone is gone; everything after it is delivered.

use crate::scene::{Kind, Scene, set_webhooks};
use crate::support::{Receiver, RedisServer, until};

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_wiped() {
    let mut scene = Scene::on(RedisServer::start()).await;
    scene.before().await;
    let _: redis::Value = scene.redis.command(&["FLUSHALL"]).await;
    scene.forget();
    set_webhooks(&scene.redis, &scene.receiver).await;
    scene.push(Kind::Taken, 3).await;
    scene.after().await;
    // A consumer comes to be with the first entry that is read under its name.
    until("the old name to be gone", || async { scene.redis.consumers("webhooks").await.len() <= 1 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_wiped_again_and_again_while_events_come() {
    let mut scene = Scene::on(RedisServer::start()).await;
    for _ in 0..5 {
        scene.push(Kind::Repeated, 3).await;
        scene.push(Kind::Held, 1).await;
        let _: redis::Value = scene.redis.command(&["FLUSHALL"]).await;
        scene.forget();
        set_webhooks(&scene.redis, &scene.receiver).await;
        scene.push(Kind::Taken, 3).await;
        scene.until_delivered().await;
    }
    scene.after().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_is_set_again_after_a_wipe_is_the_one_that_counts() {
    let redis = RedisServer::start();
    let (old, new) = (Receiver::start().await, Receiver::start().await);
    let set = async |receiver: &Receiver| {
        let webhook = serde_json::json!({ "url": receiver.url("/") }).to_string();
        redis.store().set_webhook("sales", &webhook).await.expect("redis takes a webhook");
    };
    let envelope = r#"{"event":"call","instance":"sales"}"#;
    // Each time the webhook's version is the first one that this Redis ever had.
    set(&old).await;
    let mut worker = crate::support::Worker::start(&redis, &[]).await;
    redis.push(envelope).await;
    old.wait_for(1).await;
    for round in 1..=5 {
        let _: redis::Value = redis.command(&["FLUSHALL"]).await;
        set(&new).await;
        redis.push(envelope).await;
        new.wait_for(round).await;
        assert_eq!(old.count(), 1);
    }
    assert!(worker.is_running());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_producers_stream_is_deleted() {
    let mut scene = Scene::on(RedisServer::start()).await;
    scene.before().await;
    let _: redis::Value = scene.redis.command(&["DEL", "webhooks"]).await;
    // What was in flight goes on, and what waited was safe elsewhere.
    scene.push(Kind::Taken, 3).await;
    scene.after().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ready_stream_is_deleted() {
    let mut scene = Scene::on(RedisServer::start()).await;
    scene.push(Kind::Taken, 3).await;
    scene.push(Kind::Held, 3).await;
    scene.receiver.wait_for(6).await;
    let _: redis::Value = scene.redis.command(&["DEL", "{webhooks}:ready"]).await;
    scene.push(Kind::Repeated, 3).await;
    scene.after().await;
    scene.assert_no_duplicates();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_groups_are_destroyed() {
    let mut scene = Scene::on(RedisServer::start()).await;
    scene.before().await;
    for stream in ["webhooks", "{webhooks}:ready"] {
        let _: redis::Value = scene.redis.command(&["XGROUP", "DESTROY", stream, "posthaste"]).await;
    }
    scene.push(Kind::Taken, 3).await;
    // Nobody remembers who held what: all that is left is attempted once more.
    scene.after().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_heartbeats_are_deleted() {
    let mut scene = Scene::on(RedisServer::start()).await;
    scene.before().await;
    let _: redis::Value = scene.redis.command(&["DEL", "{webhooks}:workers"]).await;
    scene.until_warned("going on under a new name").await;
    scene.push(Kind::Taken, 3).await;
    scene.after().await;
}
