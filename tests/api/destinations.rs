//! `/destinations`: how each is, and trying one now.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use serde_json::Value;

use crate::caller::Caller;
use crate::support::{
    Answer, Gate, LONG_WAITS, Receiver, RedisServer, Worker, eventually, run_command, until,
};

async fn show(caller: &Caller, destination: &str) -> Value {
    let answered = caller.get(&format!("/destinations/{destination}")).await;
    assert_eq!(answered.status, 200, "{}", String::from_utf8_lossy(&answered.body));
    answered.json()
}

async fn list(caller: &Caller, query: &str) -> Value {
    let answered = caller.get(&format!("/destinations{query}")).await;
    assert_eq!(answered.status, 200, "{}", String::from_utf8_lossy(&answered.body));
    answered.json()
}

fn names(page: &Value) -> Vec<String> {
    let destinations = page["destinations"].as_array().unwrap().iter();
    destinations.map(|told| told["destination"].as_str().unwrap().to_owned()).collect()
}

/// Waits until a destination's breaker is open and something is parked for it.
async fn until_down(caller: &Caller, destination: &str) -> Value {
    eventually("the destination to be down", || async {
        let answered = caller.get(&format!("/destinations/{destination}")).await;
        if answered.status != 200 {
            return None;
        }
        let told = answered.json();
        (told["lane"]["breaker"] == "open" && !told["parked"].is_null()).then_some(told)
    })
    .await
}

#[tokio::test]
async fn a_destination_that_works_is_told_with_what_is_under_way() {
    let redis = RedisServer::start();
    let caller = Caller::start(&redis, &[]).await;
    caller.until_ready().await;
    assert_eq!(caller.get("/destinations/instance:a").await.status, 404);
    let gate = Gate::closed();
    let held = gate.clone();
    let receiver = Receiver::answering(move |_| Answer::status(200).behind(&held)).await;
    let url = receiver.url("/x");
    redis.set_url("a", &format!("{url}?token=secret")).await;
    redis.push(r#"{"event":"call","instance":"a"}"#).await;
    receiver.wait_for(1).await;
    let told = show(&caller, "instance:a").await;
    assert_eq!(told["lane"]["in_flight"], 1, "{told}");
    assert_eq!(told["lane"]["breaker"], "closed");
    assert_eq!(told["lane"]["url"], url, "without what may be secret");
    assert_eq!(told["lane"]["last_failure"], Value::Null);
    assert_eq!(told["parked"], Value::Null);
    gate.open();
    until("it to be over", || async { show(&caller, "instance:a").await["lane"]["in_flight"] == 0 }).await;
}

#[tokio::test]
async fn one_that_is_down_is_told_with_why_and_tried_when_asked_to() {
    let redis = RedisServer::start();
    // Nothing comes back by itself while this test runs, but for the first probes.
    let caller = Caller::start(&redis, &LONG_WAITS).await;
    caller.until_ready().await;
    let (receiver, status) = Receiver::switchable(503).await;
    redis.set_url("a b/c", &receiver.url("/")).await;
    let path = "instance:a%20b%2Fc";
    for _ in 0..12 {
        redis.push(r#"{"event":"call","instance":"a b/c"}"#).await;
    }
    until("it to be down", || async {
        let answered = caller.get(&format!("/destinations/{path}")).await;
        answered.status == 200 && answered.json()["lane"]["breaker"] == "open"
    })
    .await;
    redis.push(r#"{"event":"call","instance":"a b/c"}"#).await;
    let told = until_down(&caller, path).await;
    assert_eq!(told["destination"], "instance:a b/c");
    assert!(told["lane"]["probe_in_seconds"].as_f64().unwrap() > 0.0, "{told}");
    assert!(told["lane"]["last_failure"]["error"].as_str().unwrap().contains("503"), "{told}");
    assert_eq!(told["parked"]["reason"], "down");
    assert!(
        told["parked"]["oldest"].is_string() && told["parked"]["deliveries"].as_u64() > Some(0),
        "{told}"
    );

    status.store(200, Ordering::SeqCst);
    let waiting = redis.waiting().await;
    let asked = caller.post(&format!("/destinations/{path}/retry-now"), "").await;
    assert_eq!(asked.status, 200);
    assert_eq!(asked.json()["retries"], waiting);
    let ids: BTreeSet<String> = eventually("all to arrive", || async {
        let taken = receiver.received();
        let ids: BTreeSet<String> = taken.iter().map(|request| request.id().to_owned()).collect();
        (ids.len() == 13 && redis.waiting().await == 0).then_some(ids)
    })
    .await;
    assert_eq!(ids.len(), 13);
    redis.until_settled().await;
    let told = show(&caller, path).await;
    assert_eq!(told["lane"]["breaker"], "closed");
    assert_eq!(told["parked"], Value::Null);
}

#[tokio::test]
async fn pages_have_each_destination_once_those_of_other_workers_too() {
    let redis = RedisServer::start();
    let caller = Caller::start(&redis, &[]).await;
    caller.until_ready().await;
    let receiver = Receiver::start().await;
    let mut expected = BTreeSet::new();
    for n in 0..23 {
        redis.set_url(&format!("i{n}"), &receiver.url("/")).await;
        redis.push(&format!(r#"{{"event":"call","instance":"i{n}"}}"#)).await;
        expected.insert(format!("instance:i{n}"));
    }
    receiver.wait_for(23).await;
    // What another worker parked, and is not due here yet.
    for n in 0..5 {
        let to = format!("instance:other{n}");
        let _: u64 = redis.command(&["ZADD", "{webhooks}:parks", "99999999999999", &to]).await;
        let _: u64 = redis.command(&["HSET", "{webhooks}:parked", &to, "1700000000000 slow"]).await;
        let _: u64 =
            redis.command(&["ZADD", &format!("{{webhooks}}:park:{to}"), "1600000000000", "1-0"]).await;
        expected.insert(to);
    }
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = list(&caller, &format!("?limit=7{cursor}")).await;
        found.extend(names(&page));
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
        assert!(found.len() < 100);
    }
    assert_eq!(found.len(), expected.len(), "{found:?}");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), expected);
    let other = show(&caller, "instance:other3").await;
    assert_eq!(other["lane"], Value::Null);
    assert_eq!(other["parked"]["reason"], "slow");
    assert_eq!(other["parked"]["oldest"], "2020-09-13T12:26:40.000Z");
}

#[tokio::test]
async fn what_cannot_be_read_is_refused() {
    let mut redis = RedisServer::start();
    let caller = Caller::start(&redis, &[]).await;
    caller.until_ready().await;
    for query in ["?limit=0", "?limit=501", "?cursor=x", "?state=down"] {
        assert_eq!(caller.get(&format!("/destinations{query}")).await.status, 400, "{query}");
    }
    let long = format!("instance:{}", "x".repeat(513));
    for path in ["%ff".to_owned(), long] {
        let answered = caller.post(&format!("/destinations/{path}/pause"), "").await;
        assert_eq!(answered.status, 400, "{path}: {}", answered.error());
    }
    for destination in ["sales", "instance:", "Global"] {
        let answered = caller.post(&format!("/destinations/{destination}/retry-now"), "").await;
        assert_eq!(answered.status, 400, "{destination}");
        assert!(answered.error().contains("instance:<name>"));
    }
    assert_eq!(caller.get("/destinations/global/retry-now").await.status, 405);
    redis.kill();
    assert_eq!(caller.get("/destinations").await.status, 503);
}

async fn order(caller: &Caller, destination: &str, what: &str) -> Value {
    let answered = caller.post(&format!("/destinations/{destination}/{what}"), "").await;
    assert_eq!(answered.status, 200, "{}", String::from_utf8_lossy(&answered.body));
    answered.json()
}

#[tokio::test]
async fn nothing_is_sent_to_a_paused_destination_and_all_of_it_once_it_goes_on() {
    let redis = RedisServer::start();
    let caller = Caller::start(&redis, &LONG_WAITS).await;
    let mut other = Worker::start(&redis, &LONG_WAITS).await;
    caller.until_ready().await;
    let (receiver, status) = Receiver::switchable(503).await;
    redis.set_url("a", &receiver.url("/a")).await;
    redis.set_url("b", &receiver.url("/b")).await;
    // One that waits for its second attempt when the pause begins.
    let early = redis.push(r#"{"event":"call","instance":"a"}"#).await;
    redis.until_waiting(1).await;
    status.store(200, Ordering::SeqCst);
    assert_eq!(order(&caller, "instance:a", "pause").await["changed"], true);
    assert_eq!(order(&caller, "instance:a", "pause").await["changed"], false);
    redis.end_all_waits().await;
    for _ in 0..20 {
        redis.push(r#"{"event":"call","instance":"a"}"#).await;
        redis.push(r#"{"event":"call","instance":"b"}"#).await;
    }
    receiver.wait_for_on("/b", 20).await;
    until("all to be parked", || async {
        let told = caller.get("/destinations/instance:a").await.json();
        told["parked"]["deliveries"] == 21 && told["parked"]["reason"] == "paused"
    })
    .await;
    // Whoever restarts, or is asked to try now, respects it as well.
    other.stop();
    let _other = Worker::start(&redis, &LONG_WAITS).await;
    order(&caller, "instance:a", "retry-now").await;
    redis.push(r#"{"event":"call","instance":"a"}"#).await;
    until("that to be parked too", || async {
        show(&caller, "instance:a").await["parked"]["deliveries"] == 22
    })
    .await;
    assert_eq!(receiver.received_on("/a").len(), 1, "the attempt from before");
    assert!(show(&caller, "instance:a").await["paused"].is_string());
    assert_eq!(caller.get("/stats").await.json()["paused"][0]["destination"], "instance:a");
    assert!(run_command(&redis, &["status"]).contains("instance:a ("));

    assert_eq!(order(&caller, "instance:a", "resume").await["changed"], true);
    assert_eq!(order(&caller, "instance:a", "resume").await["changed"], false);
    let received = receiver.wait_for_on("/a", 23).await;
    redis.until_settled().await;
    assert_eq!(receiver.received_on("/a").len(), 23, "each once");
    let second = received.iter().rfind(|request| request.id() == early).unwrap();
    assert_eq!(second.attempt(), 2, "waiting used up no attempt");
    let told = show(&caller, "instance:a").await;
    assert_eq!((&told["paused"], &told["parked"]), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn what_is_paused_for_too_long_is_given_up_as_anything_that_waits() {
    let redis = RedisServer::start();
    let caller = Caller::start(&redis, &[("WEBHOOK_RETRY_MAX_AGE_SECONDS", "1")]).await;
    caller.until_ready().await;
    let receiver = Receiver::start().await;
    redis.set_url("a", &receiver.url("/")).await;
    order(&caller, "instance:a", "pause").await;
    redis.push(r#"{"event":"call","instance":"a"}"#).await;
    until("it to be parked", || async { redis.len("webhooks").await == 0 }).await;
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    // Somebody looks once a minute; now is sooner.
    order(&caller, "instance:a", "retry-now").await;
    until("it to be dead", || async { redis.dead().await.len() == 1 }).await;
    assert_eq!(redis.dead().await[0]["reason"], b"expired");
    assert_eq!(receiver.count(), 0);
}

/// No webhook is looked up for these, and yet the worker learns of the pause.
#[tokio::test]
async fn the_global_destination_can_be_paused_where_no_event_has_an_instance() {
    let redis = RedisServer::start();
    let receiver = Receiver::working_from(1).await;
    let url = receiver.url("/");
    let settings = [
        ("WEBHOOK_GLOBAL_ENABLED", "true"),
        ("WEBHOOK_GLOBAL_URL", url.as_str()),
        ("WEBHOOK_EVENTS_CALL", "true"),
    ];
    let caller = Caller::start(&redis, &settings).await;
    caller.until_ready().await;
    redis.push(r#"{"event":"call"}"#).await;
    receiver.wait_for(1).await;
    assert_eq!(order(&caller, "global", "pause").await["changed"], true);
    for _ in 0..5 {
        redis.push(r#"{"event":"call"}"#).await;
    }
    until("them to be parked", || async {
        show(&caller, "global").await["parked"]["deliveries"] == 5 && receiver.count() == 1
    })
    .await;
    assert_eq!(order(&caller, "global", "resume").await["changed"], true);
    receiver.wait_for(6).await;
    redis.until_settled().await;
    redis.push(r#"{"event":"call"}"#).await;
    receiver.wait_for(7).await;
}
