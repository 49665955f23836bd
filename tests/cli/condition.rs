//! What `posthaste status` tells of Redis itself: how it is, where it answers, and what to do, where it does not.

use serde_json::{Value, json};

use crate::support::{RedisServer, until};
use crate::{finish, posthaste, run};

async fn config(redis: &RedisServer, name: &str, value: &str) {
    let _: redis::Value = redis.command(&["CONFIG", "SET", name, value]).await;
}

/// What the status calls troubles, each by what it concerns.
fn troubles(redis: &RedisServer) -> Vec<String> {
    let told = run(redis, &["status", "--json"]).ended(0).json();
    let troubles = told["server"]["troubles"].as_array().expect("a list").iter();
    troubles.map(|trouble| trouble["what"].as_str().expect("a name").to_owned()).collect()
}

/// The lines of the status that tell of a trouble.
fn told(redis: &RedisServer) -> String {
    let text = run(redis, &["status"]).ended(0).stdout;
    text.lines().filter(|line| line.starts_with("trouble ")).collect()
}

#[tokio::test]
async fn a_redis_that_is_well_tells_its_memory_and_no_trouble() {
    let redis = RedisServer::start_with(&["--save", "", "--maxmemory", "100mb"]);
    let status = run(&redis, &["status", "--json"]).ended(0).json();
    let server = &status["server"];
    assert_eq!((&server["memory_max_bytes"], &server["troubles"]), (&json!(100 << 20), &json!([])));
    assert!(server["memory_used_bytes"].as_u64() > Some(0) && server["version"].is_string(), "{server}");
    assert_eq!(status["last_outage"], Value::Null);
    let text = run(&redis, &["status"]).ended(0).stdout;
    assert!(text.contains("of 100.0 MiB used") && !text.contains("last outage"), "{text}");
    assert_eq!(told(&redis), "");
}

#[tokio::test]
async fn a_full_redis_is_told_with_what_it_means() {
    let redis = RedisServer::start();
    config(&redis, "maxmemory", "1").await;
    assert_eq!(troubles(&redis), ["memory"]);
    let told = told(&redis);
    for shown in ["it is full", "new events are refused", "is still delivered", "Raise maxmemory"] {
        assert!(told.contains(shown), "{shown}: {told}");
    }
}

#[tokio::test]
async fn a_replica_is_told_with_what_it_means() {
    let redis = RedisServer::start();
    // Nobody listens there.
    let _: redis::Value = redis.command(&["REPLICAOF", "127.0.0.1", "1"]).await;
    assert_eq!(troubles(&redis), ["role"]);
    let told = told(&redis);
    assert!(told.contains("takes no events") && told.contains("let REDIS_URL name the primary"), "{told}");
}

#[tokio::test]
async fn a_disk_that_fails_is_told_while_writes_are_refused() {
    let redis = RedisServer::start_with(&["--save", "3600 1000000"]);
    // A snapshot cannot replace a directory.
    std::fs::create_dir_all(redis.dir().join("dump.rdb/in the way")).expect("a directory");
    let _: redis::Value = redis.command(&["BGSAVE"]).await;
    until("the snapshot to fail", || async { troubles(&redis) == ["disk"] }).await;
    assert!(told(&redis).contains("no events are taken"), "{}", told(&redis));
    let refused = run(&redis, &["publish", "--event", "call"]).ended(1).stderr;
    assert!(refused.contains("MISCONF") && refused.contains("make room on its disk"), "{refused}");
    config(&redis, "stop-writes-on-bgsave-error", "no").await;
    assert_eq!(troubles(&redis), Vec::<String>::new());
    run(&redis, &["publish", "--event", "call"]).ended(0);
}

#[tokio::test]
async fn a_server_that_keeps_its_condition_to_itself_has_a_status_all_the_same() {
    let redis = RedisServer::start();
    let _: redis::Value =
        redis.command(&["ACL", "SETUSER", "kim", "on", ">sesame", "~*", "+@all", "-info", "-config"]).await;
    let url = format!("redis://kim:sesame@127.0.0.1:{}", redis.port());
    let text = finish(&mut posthaste(&url, &["status"])).ended(0).stdout;
    assert!(text.contains("does not tell how it is") && text.contains("new events"), "{text}");
    let told = finish(&mut posthaste(&url, &["status", "--json"])).ended(0).json();
    assert_eq!((&told["server"], &told["dead"]["letters"]), (&Value::Null, &json!(0)));
}

#[tokio::test]
async fn a_redis_that_refuses_this_user_is_named_with_what_to_do() {
    let redis = RedisServer::start();
    let _: redis::Value = redis.command(&["ACL", "SETUSER", "ann", "on", ">sesame", "~*", "+ping"]).await;
    config(&redis, "requirepass", "sesame").await;
    let port = redis.port();
    let cases = [
        (format!("redis://127.0.0.1:{port}"), "check user and password in REDIS_URL"),
        (format!("redis://127.0.0.1:{port}/1"), "check user and password in REDIS_URL"),
        (format!("redis://:hunter2@127.0.0.1:{port}"), "authentication failed); check user and password"),
        (format!("redis://bob:hunter2@127.0.0.1:{port}"), "authentication failed); check user and password"),
        (format!("redis://ann:sesame@127.0.0.1:{port}"), "allow it with ACL SETUSER"),
        (format!("redis://:sesame@127.0.0.1:{port}/99"), "correct the number of the database in REDIS_URL"),
    ];
    for (url, shown) in cases {
        let said = finish(&mut posthaste(&url, &["status"])).ended(1).stderr;
        assert!(said.contains(&format!("redis at redis://127.0.0.1:{port}")), "{url}: {said}");
        assert!(said.contains(shown), "{url}: {said}");
        assert!(!said.contains("hunter2") && !said.contains("sesame"), "{url}: {said}");
    }
}

#[tokio::test]
async fn a_redis_that_hangs_is_named_with_what_to_do() {
    let redis = RedisServer::start();
    redis.signal("STOP");
    let said = run(&redis, &["status"]).ended(69).stderr;
    redis.signal("CONT");
    let shown = format!("no answer from redis at {} (timed out); see whether it hangs", redis.url());
    assert!(said.contains(&shown), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_loads_its_data_is_to_be_waited_for() {
    let slow_load = [
        "--rdbcompression",
        "no",
        "--key-load-delay",
        "10000",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    let settings = [&["--save", "", "--enable-debug-command", "yes"], &slow_load[..]].concat();
    let redis = RedisServer::start_with(&settings);
    let fill = "for i = 1, 300 do redis.call('SET', i, string.rep('x', 500)) end";
    let _: redis::Value = redis.command(&["EVAL", fill, "0"]).await;
    let meanwhile = async {
        until("the status to tell that it loads", || async {
            let ran = run(&redis, &["status"]);
            let tells = ran.stderr.contains("LOADING") && ran.stderr.contains("wait until it has loaded");
            assert!(ran.status == 0 || (ran.status == 69 && tells), "{ran:?}");
            tells
        })
        .await;
    };
    let (loaded, ()) = tokio::join!(redis.try_command::<redis::Value>(&["DEBUG", "RELOAD"]), meanwhile);
    loaded.expect("it has loaded its data");
    run(&redis, &["status"]).ended(0);
}
