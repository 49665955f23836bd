//! An entry that kills its workers ends as a dead letter, and takes nobody with it.

use std::time::{Duration, Instant};

use crate::support::{Answer, LONG_WAITS, Receiver, RedisServer, Worker, until};

const POISON: &str = r#"{"event":"call","instance":"poison"}"#;
const INNOCENT: &str = r#"{"event":"call","instance":"innocent"}"#;

/// A worker that crashed holds everything there is, which had been handed out so many times.
async fn held_by_the_dead(redis: &RedisServer, ids: &[String], times: u32) {
    let read = ["XREADGROUP", "GROUP", "posthaste", "dead", "COUNT", "100", "STREAMS", "webhooks", ">"];
    let _: redis::Value = redis.command(&read).await;
    // It beat once, long ago. Without a heartbeat it would count as one that left in order.
    let _: redis::Value = redis.command(&["ZADD", "{webhooks}:workers", "1000", "dead"]).await;
    let times = times.to_string();
    for id in ids {
        let claim = ["XCLAIM", "webhooks", "posthaste", "dead", "0", id, "RETRYCOUNT", &times, "JUSTID"];
        let _: redis::Value = redis.command(&claim).await;
    }
}

async fn create_groups(redis: &RedisServer) {
    redis.store().create_group().await.expect("redis creates the groups");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_attempted_alone_after_more_than_three_takeovers() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|_| Answer::status(200).later(Duration::from_millis(100))).await;
    redis.set_url("innocent", &receiver.url("/innocent")).await;
    create_groups(&redis).await;
    let mut suspects = Vec::new();
    for _ in 0..3 {
        suspects.push(redis.push(INNOCENT).await);
    }
    held_by_the_dead(&redis, &suspects, 4).await;
    let mut worker = Worker::start(&redis, &[]).await;
    for _ in 0..20 {
        redis.push(INNOCENT).await;
    }
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(redis.letters().await.len(), 0, "they harmed nobody");
    let received = receiver.received();
    for suspect in &suspects {
        let at = receiver.received_of(suspect)[0].at;
        let meanwhile = received.iter().filter(|request| {
            request.id() != suspect
                && request.at + Duration::from_millis(90) > at
                && request.at < at + Duration::from_millis(90)
        });
        assert_eq!(meanwhile.count(), 0, "{suspect} is attempted alone");
    }
    assert!(worker.is_running());
}

/// A worker that attempts the poison dies, each time; the innocents are held by the same workers.
#[tokio::test(flavor = "multi_thread")]
async fn an_entry_that_kills_its_workers_is_dead_and_those_held_with_it_are_delivered() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|_| Answer::Stall(Vec::new())).await;
    let taken = Receiver::start().await;
    redis.set_url("poison", &receiver.url("/poison")).await;
    redis.set_url("innocent", &receiver.url("/innocent")).await;
    create_groups(&redis).await;
    let began = Instant::now();
    // The oldest, so that it is the first to be attempted in each round.
    let poison = redis.push(POISON).await;
    let mut innocents = Vec::new();
    // As many as can be in flight at a receiver that hangs.
    for _ in 0..4 {
        innocents.push(redis.push(INNOCENT).await);
    }
    let mut deaths = 0;
    loop {
        let mut worker = Worker::start(&redis, &[]).await;
        let before = deaths;
        until("the poison to be attempted, or to be dead", || async {
            receiver.received_of(&poison).len() > before || !redis.letters().await.is_empty()
        })
        .await;
        if receiver.received_of(&poison).len() == before {
            break;
        }
        if before == 0 {
            // They are in flight with it; from here on they would be taken.
            receiver.wait_for(5).await;
            redis.set_url("innocent", &taken.url("/innocent")).await;
        }
        worker.kill();
        deaths += 1;
        assert!(deaths <= 5, "it goes on and on");
    }
    println!("poison was dead after {deaths} deaths of workers, {:?}", began.elapsed());
    redis.until_settled().await;
    let letters = redis.letters().await;
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!((letters[0].text("id"), letters[0].text("reason")), (poison.as_str(), "poison"));
    assert_eq!(letters[0].bytes("payload"), POISON.as_bytes());
    for innocent in &innocents {
        // Twice, where a worker died between its arrival and its settlement.
        assert!(!taken.received_of(innocent).is_empty(), "{innocent} is delivered");
    }
    redis.assert_settled().await;
}

/// All of them have changed hands as often as the poison: none may be condemned before it was attempted alone.
#[tokio::test(flavor = "multi_thread")]
async fn entries_that_were_suspected_together_are_condemned_one_by_one() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|request| match request.path.as_str() {
        "/poison" => Answer::Stall(Vec::new()),
        _ => Answer::status(200),
    })
    .await;
    redis.set_url("poison", &receiver.url("/poison")).await;
    redis.set_url("innocent", &receiver.url("/innocent")).await;
    create_groups(&redis).await;
    let poison = redis.push(POISON).await;
    let mut innocents = Vec::new();
    for _ in 0..5 {
        innocents.push(redis.push(INNOCENT).await);
    }
    let all = [&innocents[..], std::slice::from_ref(&poison)].concat();
    held_by_the_dead(&redis, &all, 4).await;
    let mut worker = Worker::start(&redis, &[]).await;
    receiver.wait_for_of(&poison, 1).await;
    worker.kill();
    let _next = Worker::start(&redis, &[]).await;
    redis.until_settled().await;
    let letters = redis.letters().await;
    let dead: Vec<_> = letters.iter().map(|letter| (letter.text("id"), letter.text("reason"))).collect();
    assert_eq!(dead, [(poison.as_str(), "poison")]);
    for innocent in &innocents {
        assert_eq!(receiver.received_of(innocent).len(), 1, "{innocent} is delivered");
    }
}

/// Parked, it becomes another entry, which nobody was seen to die of.
#[tokio::test(flavor = "multi_thread")]
async fn how_often_its_holders_died_is_kept_while_it_is_parked() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|request| match request.path.as_str() {
        "/hangs" => Answer::Stall(Vec::new()),
        _ => Answer::status(500),
    })
    .await;
    redis.set_url("poison", &receiver.url("/down")).await;
    create_groups(&redis).await;
    let poison = redis.push(POISON).await;
    held_by_the_dead(&redis, std::slice::from_ref(&poison), 3).await;
    // Taken over in three seconds: by then its receiver is known to be down.
    let now: Vec<String> = redis.command(&["TIME"]).await;
    let _: redis::Value =
        redis.command(&["ZADD", "{webhooks}:workers", &format!("{}000", now[0]), "dead"]).await;
    let mut worker = Worker::start(&redis, &LONG_WAITS).await;
    for _ in 0..20 {
        redis.push(POISON).await;
    }
    until("it to be parked", || async {
        let parked: Option<f64> =
            redis.command(&["ZSCORE", "{webhooks}:park:instance:poison", &poison]).await;
        parked.is_some()
    })
    .await;
    redis.set_url("poison", &receiver.url("/hangs")).await;
    receiver.wait_for_of(&poison, 1).await;
    worker.kill();
    let next = Worker::start(&redis, &LONG_WAITS).await;
    until("it to be suspected", || async {
        next.warnings().iter().any(|line| line.contains("attempted alone") && line.contains(&poison))
    })
    .await;
}
