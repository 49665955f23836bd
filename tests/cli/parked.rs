//! What `posthaste status` tells of parked deliveries.

use std::time::Duration;

use serde_json::{Value, json};

use crate::run;
use crate::support::{Answer, Receiver, RedisServer, Worker, eventually, until};

async fn status(redis: &RedisServer) -> Value {
    run(redis, &["status", "--json"]).ended(0).json()
}

async fn text(redis: &RedisServer) -> String {
    run(redis, &["status"]).ended(0).stdout
}

/// Puts deliveries into a park as a worker would.
async fn park(redis: &RedisServer, destination: &str, count: usize, reason: &str, next_ms: u64) {
    let key = format!("{{webhooks}}:park:{destination}");
    for n in 0..count {
        let _: i64 = redis.command(&["ZADD", &key, "1", &format!("{n}-0")]).await;
    }
    let since = format!("1760000000000 {reason}");
    let _: i64 = redis.command(&["HSET", "{webhooks}:parked", destination, &since]).await;
    let _: i64 = redis.command(&["ZADD", "{webhooks}:parks", &next_ms.to_string(), destination]).await;
}

/// Redis' time, Unix ms.
async fn now_ms(redis: &RedisServer) -> u64 {
    let (seconds, micros): (u64, u64) = redis.command(&["TIME"]).await;
    seconds * 1000 + micros / 1000
}

#[tokio::test]
async fn what_waits_for_a_receiver_that_is_down_is_told_until_it_is_back() {
    let redis = RedisServer::start();
    let receiver = Receiver::start().await;
    redis.set_url("fine", &receiver.url("/fine")).await;
    // Nobody listens there.
    redis.set_url("dead", "http://127.0.0.1:1/").await;
    let _worker = Worker::start(&redis, &[]).await;
    for n in 0..30 {
        redis.push(&format!(r#"{{"event":"call","instance":"dead","data":{n}}}"#)).await;
        redis.push(&format!(r#"{{"event":"call","instance":"fine","data":{n}}}"#)).await;
    }
    receiver.wait_for(30).await;
    let told = eventually("what is not waiting for its retry to be parked", || async {
        let told = status(&redis).await;
        let total = told["parked_total"]["deliveries"].as_u64().unwrap();
        let retried = told["waiting"]["deliveries"].as_u64().unwrap();
        (total > 0 && total + retried == 30).then_some(told)
    })
    .await;
    let [park] = told["parked"].as_array().unwrap().as_slice() else { panic!("{told}") };
    assert_eq!((&park["destination"], &park["reason"]), (&json!("instance:dead"), &json!("down")));
    assert_eq!(park["parked"], told["parked_total"]["deliveries"]);
    assert_eq!(
        (&told["parked_total"]["destinations"], &told["parked_total"]["counted"]),
        (&json!(1), &json!(1))
    );
    let (since, next) = (park["since"].as_str().unwrap(), park["next"].as_str().unwrap());
    assert!(since <= told["at"].as_str().unwrap() && since < next, "{told}");
    let shown = text(&redis).await;
    for part in [" deliveries for 1 destination", "instance:dead", "down: the next attempt is"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }

    redis.set_url("dead", &receiver.url("/back")).await;
    until("nothing to be parked", || async {
        let told = status(&redis).await;
        told["parked"] == json!([]) && told["parked_total"]["deliveries"] == 0
    })
    .await;
    assert!(text(&redis).await.lines().any(|line| line.starts_with("parked ") && line.ends_with("none")));
}

#[tokio::test]
async fn what_a_rate_limit_holds_back_is_told_as_such() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|_| Answer::status(200).later(Duration::from_millis(1))).await;
    let json = format!(r#"{{"url":"{}","rate_limit":2}}"#, receiver.url("/"));
    redis.set_webhook("limited", &json).await;
    let _worker = Worker::start(&redis, &[]).await;
    for _ in 0..20 {
        redis.push(r#"{"event":"call","instance":"limited"}"#).await;
    }
    until("some to be parked for the rate limit", || async {
        let told = status(&redis).await;
        told["parked"][0]["reason"] == "rate_limit"
    })
    .await;
    assert!(text(&redis).await.contains("rate limit: more comes than it allows"));
}

#[tokio::test]
async fn of_many_destinations_those_with_most_are_told() {
    let redis = RedisServer::start();
    let soon = now_ms(&redis).await + 55_000;
    for n in 1..=8 {
        park(&redis, &format!("instance:i{n}"), n, if n == 8 { "slow" } else { "down" }, soon).await;
    }
    // A webhook was changed: it is looked at as soon as may be.
    park(&redis, "global", 3, "slots", 0).await;
    let told = status(&redis).await;
    assert_eq!(told["parked_total"], json!({ "deliveries": 39, "destinations": 9, "counted": 9 }));
    let named: Vec<(&str, u64)> = told["parked"]
        .as_array()
        .unwrap()
        .iter()
        .map(|park| (park["destination"].as_str().unwrap(), park["parked"].as_u64().unwrap()))
        .collect();
    assert_eq!(named[..2], [("instance:i8", 8), ("instance:i7", 7)]);
    assert_eq!(named[5..7], [("global", 3), ("instance:i3", 3)]);
    assert_eq!(told["parked"][0]["since"], "2025-10-09T08:53:20.000Z");
    assert_eq!(told["parked"][5]["next"], told["at"]);
    let shown = text(&redis).await;
    for part in
        ["39 deliveries for 9 destinations", "slower than what comes", "is made in 5", "\nand 4 more\n"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(shown.contains("instance:i4") && !shown.contains("instance:i3"), "{shown}");
}

#[tokio::test]
async fn of_thousands_of_destinations_some_are_counted() {
    let redis = RedisServer::start();
    let fill = "for n = 1, 5000 do redis.call('ZADD', '{webhooks}:parks', n, 'instance:' .. n) \
                redis.call('ZADD', '{webhooks}:park:instance:' .. n, 1, 'a', 1, 'b') end";
    let _: redis::Value = redis.command(&["EVAL", fill, "0"]).await;
    let told = status(&redis).await;
    assert_eq!(told["parked_total"], json!({ "deliveries": 4000, "destinations": 5000, "counted": 2000 }));
    assert_eq!((told["parked"].as_array().unwrap().len(), &told["parked"][0]["since"]), (100, &Value::Null));
    assert!(text(&redis).await.contains("at least 4000 deliveries for 5000 destinations"));
}
