//! Lanes: one receiver's trouble is not another's.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::support::{Answer, Received, Receiver, RedisServer, Worker, until};

fn envelope(instance: &str) -> String {
    format!(r#"{{"event":"call","instance":"{instance}"}}"#)
}

async fn push(redis: &RedisServer, instance: &str, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(redis.push(&envelope(instance)).await);
    }
    ids
}

/// Sets the webhooks of instances at one receiver, each at a path of its name.
async fn hook(redis: &RedisServer, receiver: &Receiver, instances: &[String]) {
    for instance in instances {
        redis.set_url(instance, &receiver.url(&format!("/{instance}"))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_that_hang_do_not_hold_up_the_others() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|request: &Received| match request.path.as_str() {
        "/good" => Answer::status(200),
        _ => Answer::Stall(Vec::new()),
    })
    .await;
    let dead: Vec<String> = (0..30).map(|n| format!("dead-{n}")).collect();
    hook(&redis, &receiver, &dead).await;
    hook(&redis, &receiver, &["good".to_owned()]).await;
    let _worker = Worker::start(&redis, &[("WORKER_CONCURRENCY", "16")]).await;
    // It is known to be good before the trouble begins.
    push(&redis, "good", 10).await;
    receiver.wait_for_on("/good", 10).await;
    for instance in &dead {
        push(&redis, instance, 20).await;
    }
    let began = Instant::now();
    push(&redis, "good", 200).await;
    receiver.wait_for_on("/good", 210).await;
    println!("200 events past 600 to 30 hanging receivers took {:?}", began.elapsed());
    let hanging = receiver.count() - 210;
    // Each is new, and has a first attempt while there are slots for these.
    assert!((1..=12).contains(&hanging), "{hanging} of 16 slots hang");
    // What cannot begin is not in the worker's hands: it has parked it.
    until("the rest to be parked", || async {
        let parks: u64 = redis.command(&["ZCARD", "{webhooks}:parks"]).await;
        parks > 20 && redis.len("webhooks").await == u64::try_from(hanging).unwrap()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_instance_has_its_turn_beside_many_that_are_refused() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|request: &Received| {
        Answer::status(if request.path == "/new" { 200 } else { 500 })
    })
    .await;
    let dead: Vec<String> = (0..300).map(|n| format!("dead-{n}")).collect();
    hook(&redis, &receiver, &dead).await;
    let _worker = Worker::start(&redis, &[("WORKER_CONCURRENCY", "8")]).await;
    for instance in &dead {
        push(&redis, instance, 3).await;
    }
    hook(&redis, &receiver, &["new".to_owned()]).await;
    let id = redis.push(&envelope("new")).await;
    assert_eq!(receiver.wait_for_of(&id, 1).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_instance_has_its_turn_at_once_beside_many_that_hang() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|request: &Received| {
        if request.path.starts_with("/new") { Answer::status(200) } else { Answer::Stall(Vec::new()) }
    })
    .await;
    let dead: Vec<String> = (0..30).map(|n| format!("dead-{n}")).collect();
    hook(&redis, &receiver, &dead).await;
    let settings = [
        ("WORKER_CONCURRENCY", "16"),
        ("WEBHOOK_REQUEST_TIMEOUT_MS", "2000"),
        // They are asked again and again: far more of them wait for a slot than there are.
        ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.2"),
        ("WEBHOOK_RETRY_MAX_DELAY_SECONDS", "0.2"),
        ("WEBHOOK_RETRY_MAX_ATTEMPTS", "1000"),
    ];
    let worker = Worker::start(&redis, &settings).await;
    for instance in &dead {
        push(&redis, instance, 5).await;
    }
    until("all of them to be known", || async {
        let log = worker.log();
        dead.iter().all(|instance| log.contains(&format!("destination=\"instance:{instance}\" attempt=1")))
    })
    .await;
    let mut slowest = Duration::ZERO;
    for n in 0..10 {
        let instance = format!("new-{n}");
        hook(&redis, &receiver, std::slice::from_ref(&instance)).await;
        let pushed = Instant::now();
        let id = redis.push(&envelope(&instance)).await;
        receiver.wait_for_of(&id, 1).await;
        slowest = slowest.max(pushed.elapsed());
    }
    println!("the slowest of ten new instances beside 30 that hang waited {slowest:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_for_a_slow_instance_delays_no_other() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|request: &Received| match request.path.as_str() {
        "/slow" => Answer::status(200).later(Duration::from_millis(200)),
        _ => Answer::status(200),
    })
    .await;
    hook(&redis, &receiver, &["slow".to_owned(), "quick".to_owned()]).await;
    let _worker = Worker::start(&redis, &[("WORKER_CONCURRENCY", "32")]).await;
    push(&redis, "quick", 10).await;
    receiver.wait_for_on("/quick", 10).await;
    // Far more than a second's worth.
    push(&redis, "slow", 1000).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..20 {
        let pushed = Instant::now();
        let id = redis.push(&envelope("quick")).await;
        receiver.wait_for_of(&id, 1).await;
        slowest = slowest.max(pushed.elapsed());
    }
    println!("the slowest of 20 beside a flood took {slowest:?}");
    assert!(receiver.received_on("/slow").len() < 900, "the flood is over before the test");
    receiver.wait_for_on("/slow", 1000).await;
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(receiver.count(), 1030, "each arrived once");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_quick_destination_never_parks_however_long_its_backlog() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    hook(&redis, &receiver, &["one".to_owned()]).await;
    push(&redis, "one", 3000).await;
    let _worker = Worker::start(&redis, &[]).await;
    receiver.wait_for(3000).await;
    redis.until_settled().await;
    redis.assert_settled().await;
    // What is parked comes back through this stream.
    let facts: std::collections::HashMap<String, redis::Value> =
        redis.command(&["XINFO", "STREAM", "{webhooks}:ready"]).await;
    assert_eq!(facts["entries-added"], redis::Value::Int(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_down_is_asked_now_and_then_and_gets_everything_when_it_is_back() {
    let redis = RedisServer::start();
    let (receiver, status) = Receiver::switchable(503).await;
    hook(&redis, &receiver, &["sales".to_owned()]).await;
    let settings = [
        ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.4"),
        ("WEBHOOK_RETRY_JITTER_FACTOR", "0"),
        // Had each of them been tried all along, all would be dead.
        ("WEBHOOK_RETRY_MAX_ATTEMPTS", "4"),
    ];
    let _worker = Worker::start(&redis, &settings).await;
    let ids = push(&redis, "sales", 300).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    // Five failures and what was in flight beside them; then probes after about 0.4, 0.8 and 1.6 s.
    let asked = receiver.count();
    assert!((5..=14).contains(&asked), "{asked} attempts within four seconds");
    assert!(redis.dead().await.is_empty());
    status.store(200, Ordering::SeqCst);
    redis.until_settled().await;
    redis.assert_settled().await;
    assert!(redis.dead().await.is_empty(), "nothing was used up by waiting");
    let mut arrived: Vec<String> =
        receiver.received()[asked..].iter().map(|request| request.id().to_owned()).collect();
    arrived.sort();
    arrived.dedup();
    assert_eq!(arrived.len(), ids.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_is_kept_by_one_worker_and_shared_by_two() {
    for workers in [1, 2] {
        let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
        let url = receiver.url("/sales");
        redis.set_webhook("sales", &format!(r#"{{"url":"{url}","rate_limit":40}}"#)).await;
        let mut running = Vec::new();
        for _ in 0..workers {
            running.push(Worker::start(&redis, &[]).await);
        }
        // Each has learnt how many they are.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        push(&redis, "sales", 160).await;
        let received = receiver.wait_for(160).await;
        redis.until_settled().await;
        redis.assert_settled().await;
        assert_eq!(receiver.count(), 160);
        let at: Vec<Instant> = received.iter().map(|request| request.at).collect();
        let (first, last) = (*at.iter().min().unwrap(), *at.iter().max().unwrap());
        println!("{workers} workers: 160 at 40/s took {:?}", last - first);
        for start in &at {
            let within =
                at.iter().filter(|at| *at >= start && **at < *start + Duration::from_secs(1)).count();
            // A tenth of a second's worth may be made up for, and the scheduler is not exact.
            assert!(within <= 50, "{within} within a second");
        }
        assert!(last - first < Duration::from_secs(8), "half of the limit was left: {:?}", last - first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limit_that_two_workers_share_is_kept_where_both_have_to_begin_anew() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let webhook = format!(r#"{{"url":"{}","rate_limit":40}}"#, receiver.url("/sales"));
    let _workers = [Worker::start(&redis, &[]).await, Worker::start(&redis, &[]).await];
    // Each has learnt how many they are.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    // Each takes a new name, and finds nobody else at first.
    let _: String = redis.command(&["FLUSHALL"]).await;
    redis.set_webhook("sales", &webhook).await;
    push(&redis, "sales", 200).await;
    let received = receiver.wait_for(200).await;
    let at: Vec<Instant> = received.iter().map(|request| request.at).collect();
    let most = at
        .iter()
        .map(|start| at.iter().filter(|at| *at >= start && **at < *start + Duration::from_secs(1)).count());
    let most = most.max().expect("they came");
    println!("{most} within a second");
    assert!(most <= 50, "{most} within a second");
}

/// Quick retries and probes, and an ERRORS webhook that is told.
fn telling(errors_url: &str) -> [(&str, &str); 4] {
    [
        ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.2"),
        ("WEBHOOK_RETRY_MAX_DELAY_SECONDS", "0.4"),
        ("WEBHOOK_EVENTS_ERRORS", "true"),
        ("WEBHOOK_EVENTS_ERRORS_WEBHOOK", errors_url),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_errors_webhook_is_told_once_that_a_destination_is_down_and_that_it_is_back() {
    let (redis, errors) = (RedisServer::start(), Receiver::start().await);
    let (receiver, status) = Receiver::switchable(503).await;
    let url = receiver.url("/sales?key=s3cr3t");
    redis.set_url("sales", &url).await;
    let errors_url = errors.url("/errors");
    let _worker = Worker::start(&redis, &telling(&errors_url)).await;
    for _ in 0..2 {
        status.store(503, Ordering::SeqCst);
        push(&redis, "sales", 20).await;
        // Until it is down: five failures, and probes after them.
        let seen = receiver.count();
        until("probes", || async { receiver.count() > seen + 8 }).await;
        status.store(200, Ordering::SeqCst);
        redis.until_settled().await;
    }
    redis.assert_settled().await;
    let told: Vec<_> = errors.received().iter().map(Received::json).collect();
    let [down, recovered] = &told[..] else { panic!("{told:#?}") };
    assert_eq!(down["event"], "destination.down");
    assert_eq!(down["instance"], "sales");
    assert_eq!(down["data"]["error"], "Destination down");
    assert_eq!(down["data"]["status"], 503);
    assert_eq!(down["data"]["message"], "the receiver answered 503");
    let about = &down["data"]["destination"];
    assert_eq!(about["name"], "instance:sales");
    assert_eq!(about["url"], receiver.url("/sales"), "without its query");
    assert!(about["parked"].is_u64());
    assert_eq!(recovered["event"], "destination.recovered");
    assert_eq!(recovered["data"]["error"], "Destination recovered");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_errors_webhook_is_told_of_the_return_where_the_url_was_corrected() {
    let (redis, errors) = (RedisServer::start(), Receiver::start().await);
    let receiver = Receiver::answering(|request: &Received| {
        Answer::status(if request.path == "/right" { 200 } else { 503 })
    })
    .await;
    hook(&redis, &receiver, &["wrong".to_owned()]).await;
    let errors_url = errors.url("/errors");
    let _worker = Worker::start(&redis, &telling(&errors_url)).await;
    push(&redis, "wrong", 20).await;
    errors.wait_for(1).await;
    redis.set_url("wrong", &receiver.url("/right")).await;
    redis.until_settled().await;
    let told = errors.wait_for(2).await;
    let told: Vec<_> = told.iter().map(Received::json).collect();
    assert_eq!(told[0]["event"], "destination.down");
    assert_eq!(told[1]["event"], "destination.recovered");
    assert_eq!(told[1]["data"]["destination"]["url"], receiver.url("/right"));
    redis.until_settled().await;
    assert_eq!(errors.count(), 2, "each is told once");
}
