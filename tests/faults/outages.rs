//! Redis is away: it stops, crashes, hangs, loads its data, or cuts connections.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::scene::{DURABLE, Kind, Scene};
use crate::support::{RedisServer, eventually, run_command, until};

/// A second and a half of an outage pass at least: results come in meanwhile, and waits end.
const AWAY: Duration = Duration::from_millis(1500);

#[tokio::test(flavor = "multi_thread")]
async fn redis_is_stopped_and_started_again() {
    let mut scene = Scene::on(RedisServer::start_with(&DURABLE)).await;
    scene.before().await;
    scene.redis.shut_down();
    scene.gate.open();
    assert!(!scene.try_push(Kind::Taken).await);
    scene.until_warned("redis").await;
    tokio::time::sleep(AWAY).await;
    scene.redis.restart();
    scene.after().await;
    scene.assert_no_duplicates();
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_crashes_and_is_started_again() {
    let mut scene = Scene::on(RedisServer::start_with(&DURABLE)).await;
    scene.before().await;
    // Some of these are read, some are not, some are settled: the crash comes amid it.
    scene.push(Kind::Taken, 20).await;
    scene.redis.kill();
    scene.gate.open();
    assert!(!scene.try_push(Kind::Taken).await);
    tokio::time::sleep(AWAY).await;
    scene.redis.restart();
    scene.after().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_crashes_three_times_in_a_row() {
    let mut scene = Scene::on(RedisServer::start_with(&DURABLE)).await;
    scene.before().await;
    for _ in 0..3 {
        scene.push(Kind::Taken, 5).await;
        scene.push(Kind::Repeated, 2).await;
        scene.redis.kill();
        scene.redis.restart();
    }
    scene.after().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_hangs() {
    let mut scene = Scene::on(RedisServer::start()).await;
    scene.before().await;
    let began = Instant::now();
    scene.redis.signal("STOP");
    scene.gate.open();
    let pid = scene.redis.pid();
    // It takes the event once it goes on.
    let resumed = async {
        tokio::time::sleep_until((began + Duration::from_secs(6)).into()).await;
        crate::support::worker::signal(pid, "CONT");
    };
    let (pushed, ()) = tokio::join!(scene.try_push(Kind::Taken), resumed);
    assert!(pushed, "an event that was sent while redis hung");
    scene.after().await;
    scene.assert_no_duplicates();
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_loads_its_data() {
    let slow_load = [
        "--save",
        "3600 1000000",
        "--appendonly",
        "no",
        "--key-load-delay",
        "10000",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    let mut scene = Scene::on(RedisServer::start_with(&slow_load)).await;
    scene.before().await;
    // In another database, so that they are not taken for something left over.
    let fill = "redis.call('SELECT', 1) for i = 1, 300 do redis.call('SET', i, string.rep('x', 500)) end";
    let _: redis::Value = scene.redis.command(&["EVAL", fill, "0"]).await;
    scene.redis.shut_down();
    scene.gate.open();
    scene.redis.restart();
    assert!(scene.worker.log().contains("LOADING"), "the worker met a server that loads its data");
    scene.after().await;
    scene.assert_no_duplicates();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_data_is_loaded_anew() {
    let mut scene =
        Scene::on(RedisServer::start_with(&["--save", "", "--enable-debug-command", "yes"])).await;
    scene.before().await;
    let _: redis::Value = scene.redis.try_command(&["DEBUG", "RELOAD"]).await.expect("it is allowed");
    scene.push(Kind::Taken, 3).await;
    scene.after().await;
    scene.assert_no_duplicates();
}

#[tokio::test(flavor = "multi_thread")]
async fn all_connections_are_cut_again_and_again() {
    let mut scene = Scene::on(RedisServer::start()).await;
    scene.before().await;
    for round in 0..10 {
        scene.push(Kind::Taken, 3).await;
        if round == 5 {
            scene.gate.open();
        }
        let _: redis::Value = scene.redis.command(&["CLIENT", "KILL", "TYPE", "normal"]).await;
    }
    scene.after().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_are_forgotten() {
    let mut scene = Scene::on(RedisServer::start()).await;
    scene.before().await;
    for _ in 0..5 {
        let _: redis::Value = scene.redis.command(&["SCRIPT", "FLUSH"]).await;
        scene.push(Kind::Taken, 2).await;
        scene.push(Kind::Repeated, 2).await;
    }
    scene.gate.open();
    scene.after().await;
    scene.assert_no_duplicates();
    // They are loaded again without a word, unless they are forgotten between that and their call.
    let told = scene.worker.warnings().iter().filter(|line| line.contains("stage")).count();
    assert!(told <= 3, "{}", scene.worker.warnings().join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_five_seconds_is_told_once_by_each_stage() {
    let mut scene = Scene::on(RedisServer::start_with(&DURABLE)).await;
    scene.before().await;
    scene.redis.kill();
    scene.gate.open();
    tokio::time::sleep(Duration::from_secs(5)).await;
    let mut told = BTreeMap::<String, usize>::new();
    for line in scene.worker.warnings() {
        if let Some(stage) = line.split("stage=\"").nth(1).and_then(|rest| rest.split('"').next()) {
            *told.entry(stage.to_owned()).or_default() += 1;
        }
    }
    println!("warnings in an outage of 5 s: {told:?}");
    assert!(told.contains_key("read") && told.contains_key("heartbeat"), "{told:?}");
    assert!(told.values().all(|times| *times <= 3), "{told:?}\n{}", scene.worker.warnings().join("\n"));
    scene.redis.restart();
    let back = Instant::now();
    scene.push(Kind::Taken, 1).await;
    scene.until_delivered().await;
    println!("first delivery {:?} after redis was back", back.elapsed());
    scene.after().await;
    // Each stage that told of the outage tells of its end.
    for stage in told.keys() {
        let end = format!("stage=\"{stage}\"");
        until(&format!("{stage} to tell that redis is back"), || async {
            scene.worker.log().lines().any(|line| line.contains("redis is back") && line.contains(&end))
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_starts_before_its_redis_waits_for_it() {
    let mut redis = RedisServer::start_with(&DURABLE);
    redis.shut_down();
    // Nothing can be set up while it is away; so the webhooks come with the first events.
    let url = redis.url();
    let worker = crate::support::Worker::spawn(&url, &crate::scene::SECOND_WAITS);
    eventually("it to say that it waits", || async {
        worker.log().contains("stage=\"start\"").then_some(())
    })
    .await;
    redis.restart();
    let receiver = crate::support::Receiver::start().await;
    redis.set_url("sales", &receiver.url("/sales")).await;
    redis.push(r#"{"event":"call","instance":"sales"}"#).await;
    receiver.wait_for(1).await;
    assert_eq!(worker.warnings().iter().filter(|line| line.contains("stage=\"start\"")).count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_wait_for_one_connection_learn_together_that_there_is_none() {
    const CALLERS: u32 = 8;
    let redis = RedisServer::start();
    let store = redis.store();
    // Its connections are taken by the system and never answered.
    redis.signal("STOP");
    let began = Instant::now();
    let asked = futures_util::future::join_all((0..CALLERS).map(|_| store.time_ms())).await;
    let together = began.elapsed();
    assert!(asked.iter().all(|answer| answer.is_err()), "{asked:?}");
    let began = Instant::now();
    store.time_ms().await.expect_err("it does not answer");
    let alone = began.elapsed();
    println!("{CALLERS} callers without a connection: {together:?} together, {alone:?} for one alone");
    assert!(together < alone * (CALLERS / 2), "{together:?} together, {alone:?} alone");
    // Who comes after a failure finds out for himself.
    redis.signal("CONT");
    store.time_ms().await.expect("it answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_of_the_last_outage() {
    let mut scene = Scene::on(RedisServer::start_with(&DURABLE)).await;
    let last = |redis: &RedisServer| {
        let told = run_command(redis, &["status", "--json"]);
        serde_json::from_str::<serde_json::Value>(&told).expect("it is JSON")["last_outage"].clone()
    };
    assert!(last(&scene.redis).is_null());
    for count in 1..=2 {
        scene.redis.kill();
        tokio::time::sleep(AWAY).await;
        scene.redis.restart();
        until("the outage to be recorded", || async { last(&scene.redis)["count"] == count }).await;
        let told = last(&scene.redis);
        let took_ms = told["took_ms"].as_u64().expect("a number");
        assert!((100..15_000).contains(&took_ms), "{told}");
        assert!(told["error"].as_str().is_some_and(|error| error.contains("refused")), "{told}");
        assert!(told["worker"].is_string() && told["began"].as_str() < told["ended"].as_str(), "{told}");
    }
    let text = run_command(&scene.redis, &["status"]);
    let line = text.lines().find(|line| line.starts_with("last outage ")).unwrap_or_default();
    assert!(line.contains(" ago: ") && line.ends_with("; 2 so far"), "{text}");
    scene.after().await;
    // It is forgotten with all else, and nothing hangs on it.
    let _: redis::Value = scene.redis.command(&["FLUSHALL"]).await;
    assert!(last(&scene.redis).is_null());
    // One that all workers see counts once.
    let (store, long) = (scene.redis.store(), Duration::from_secs(60));
    for worker in ["a", "b"] {
        store.record_outage(worker, long, "redis: gone").await.expect("redis takes it");
    }
    tokio::time::sleep(Duration::from_millis(5)).await;
    store.record_outage("a", Duration::ZERO, &"x".repeat(1000)).await.expect("redis takes it");
    let outage = store.last_outage().await.expect("redis answers").expect("one");
    assert_eq!((outage.count, outage.worker.as_str(), outage.error.len()), (2, "a", 300));
}
