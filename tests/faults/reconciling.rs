//! Entries that were handed out and never arrived: they are in a pending list, and nobody works at them.

use std::time::{Duration, Instant};

use crate::support::{Receiver, RedisServer, Worker};

const ENVELOPE: &str = r#"{"event":"call","instance":"sales"}"#;

/// Reads everything there is under a consumer's name, as a reply that is lost would have.
async fn read_as(redis: &RedisServer, consumer: &str) {
    let read = ["XREADGROUP", "GROUP", "posthaste", consumer, "COUNT", "100", "STREAMS", "webhooks", ">"];
    let _: redis::Value = redis.command(&read).await;
}

/// Pushes and reads in one step, before any worker can.
async fn push_lost(redis: &RedisServer, consumer: &str) -> String {
    let script = "local id = redis.call('XADD', 'webhooks', '*', 'payload', ARGV[1])
                  redis.call('XREADGROUP', 'GROUP', 'posthaste', ARGV[2], 'STREAMS', 'webhooks', '>')
                  return id";
    redis.command(&["EVAL", script, "0", ENVELOPE, consumer]).await
}

/// A worker, and three events that were handed out to it in replies that it never got.
async fn three_lost() -> (RedisServer, Receiver, Worker) {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    redis.set_url("sales", &receiver.url("/sales")).await;
    let worker = Worker::start(&redis, &[]).await;
    let workers: Vec<String> = redis.command(&["ZRANGE", "{webhooks}:workers", "0", "-1"]).await;
    for _ in 0..3 {
        push_lost(&redis, &workers[0]).await;
    }
    (redis, receiver, worker)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_reply_brought_is_delivered_once() {
    let (redis, receiver, _worker) = three_lost().await;
    let began = Instant::now();
    // Others are not held up.
    let other = redis.push(ENVELOPE).await;
    receiver.wait_for_of(&other, 1).await;
    assert_eq!(receiver.count(), 1);
    receiver.wait_for(4).await;
    let took = began.elapsed();
    println!("what a lost reply brought was delivered after {took:?}");
    assert!(took < Duration::from_secs(18), "{took:?}");
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(receiver.count(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_lost_connection_what_its_reply_brought_is_claimed_again_at_once() {
    let (redis, receiver, _worker) = three_lost().await;
    let began = Instant::now();
    let _: u64 = redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    receiver.wait_for(3).await;
    let took = began.elapsed();
    println!("what a reply on a lost connection brought was delivered after {took:?}");
    // Without the lost connection it has to be pending for eight seconds first.
    assert!(took < Duration::from_secs(7), "{took:?}");
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(receiver.count(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_consumer_without_a_heartbeat_holds_is_taken_over() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    redis.set_url("sales", &receiver.url("/sales")).await;
    redis.store().create_group().await.expect("redis creates the groups");
    redis.push(ENVELOPE).await;
    read_as(&redis, "unknown").await;
    let began = Instant::now();
    let _worker = Worker::start(&redis, &[]).await;
    receiver.wait_for(1).await;
    println!("what an unknown consumer held was delivered {:?} after the start", began.elapsed());
    redis.until_settled().await;
    redis.assert_settled().await;
    crate::support::until("its consumer to be gone", || async {
        !redis.consumers("webhooks").await.contains(&"unknown".to_owned())
    })
    .await;
}
