//! `/dead`: what could not be delivered is listed, shown, replayed and purged.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::caller::{Answered, Caller};
use crate::support::{Receiver, RedisServer, SHORT_WAITS, until};

/// A worker with dead letters: of instance `a` `of_a` calls, of instance `b` one message.
struct Scene {
    redis: RedisServer,
    caller: Caller,
    receiver: Receiver,
    status: Arc<AtomicU16>,
}

const ODD: &str = r#"{ "event":"messages.upsert","instance":"b","data":{"n":12345678901234567890123,"n":1e400,"t":"\u00e9" }}"#;

impl Scene {
    async fn start(of_a: usize) -> Self {
        let redis = RedisServer::start();
        let caller = Caller::start(&redis, &SHORT_WAITS).await;
        caller.until_ready().await;
        let (receiver, status) = Receiver::switchable(404).await;
        redis.set_url("a", &receiver.url("/a")).await;
        redis.set_url("b", &receiver.url("/b")).await;
        for n in 0..of_a {
            redis.push(&format!(r#"{{"event":"call","instance":"a","data":{n}}}"#)).await;
        }
        redis.push_with_id("odd-1", ODD).await;
        let all = of_a as u64 + 1;
        until("all to be dead", || async { redis.len("{webhooks}:dead").await == all }).await;
        Self { redis, caller, receiver, status }
    }

    fn mend(&self) {
        self.status.store(200, Ordering::SeqCst);
    }

    async fn list(&self, query: &str) -> Value {
        let answered = self.caller.get(&format!("/dead{query}")).await;
        assert_eq!(answered.status, 200, "{}", String::from_utf8_lossy(&answered.body));
        answered.json()
    }

    async fn replay(&self, body: &str) -> Answered {
        self.caller.post("/dead/replay", body).await
    }

    async fn stored(&self) -> u64 {
        self.redis.len("{webhooks}:dead").await
    }
}

fn ids(page: &Value) -> Vec<String> {
    page["letters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| letter["id"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn letters_are_listed_by_what_they_are() {
    let scene = Scene::start(3).await;
    let all = scene.list("").await;
    assert_eq!(ids(&all).len(), 4);
    assert_eq!(all["next"], Value::Null);
    for (query, count) in [
        ("?instance=a", 3),
        ("?instance=nobody", 0),
        ("?destination=instance:b", 1),
        ("?destination=instance%3Ab", 1),
        ("?event=MESSAGES-UPSERT", 1),
        ("?reason=rejected", 4),
        ("?reason=exhausted", 0),
        ("?since=1h", 4),
        ("?until=1h", 0),
        ("?instance=a&event=call&since=2020-01-01T00:00:00Z", 3),
    ] {
        assert_eq!(ids(&scene.list(query).await).len(), count, "{query}");
    }
    let letter = &scene.list("?instance=b").await["letters"][0];
    assert_eq!(letter["event_id"], "odd-1");
    assert_eq!(letter["status"], 404);
    assert_eq!(letter["destination"], "instance:b");
}

#[tokio::test]
async fn pages_have_all_letters_once() {
    let scene = Scene::start(7).await;
    for filter in ["", "&instance=a"] {
        let whole = ids(&scene.list(&format!("?limit=500{filter}")).await);
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = scene.list(&format!("?limit=3{filter}{cursor}")).await;
            assert!(ids(&page).len() <= 3);
            found.extend(ids(&page));
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(found, whole, "the same, and in the same order");
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_refused_with_what_can() {
    let scene = Scene::start(0).await;
    for (query, word) in [
        ("?limit=0", "limit"),
        ("?limit=501", "500"),
        ("?limit=x", "limit"),
        ("?reason=bored", "exhausted"),
        ("?destination=sales", "instance:<name>"),
        ("?since=yesterday", "since"),
        ("?cursor=x", "dead letter's id"),
        ("?instanse=a", "instanse"),
    ] {
        let answered = scene.caller.get(&format!("/dead{query}")).await;
        assert_eq!(answered.status, 400, "{query}");
        assert!(answered.error().contains(word), "{query}: {}", answered.error());
    }
    for id in ["x", "-", "+", "1", "1-0-0", "%00", "%ff"] {
        let refused = scene.caller.get(&format!("/dead/{id}")).await;
        assert_eq!(refused.status, 400, "{id}: {}", refused.error());
        assert_eq!(scene.caller.delete(&format!("/dead/{id}")).await.status, 400, "{id}");
    }
    let answered = scene.caller.get("/dead/1-0").await;
    assert_eq!(answered.status, 404);
    assert!(answered.error().contains("1-0"));
    assert_eq!(scene.caller.delete("/dead/1-0").await.status, 404);
}

#[tokio::test]
async fn a_letter_is_shown_with_what_was_pushed_to_the_byte() {
    let scene = Scene::start(0).await;
    let id = ids(&scene.list("").await).remove(0);
    let answered = scene.caller.get(&format!("/dead/{id}")).await;
    assert_eq!(answered.status, 200);
    let text = String::from_utf8(answered.body).unwrap();
    assert!(text.contains(&format!("\"payload\":{ODD}")), "{text}");
    assert!(text.contains("\"event_id\":\"odd-1\""), "{text}");
}

#[tokio::test]
async fn letters_that_are_read_slowly_take_only_so_many_places() {
    let redis = RedisServer::start();
    let caller = Caller::start(&redis, &SHORT_WAITS).await;
    caller.until_ready().await;
    // More than the system takes off the worker's hands.
    let payload = "1".repeat(24 << 20);
    let letter =
        ["XADD", "{webhooks}:dead", "1000-0", "id", "evt", "reason", "exhausted", "payload", &payload];
    let _: String = redis.command(&letter).await;
    let mut readers = Vec::new();
    for _ in 0..2 {
        let address = caller.base.strip_prefix("http://").unwrap();
        let mut reader = TcpStream::connect(address).await.unwrap();
        reader.write_all(b"GET /dead/1000-0 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").await.unwrap();
        let mut status = [0; 12];
        reader.read_exact(&mut status).await.unwrap();
        assert_eq!(&status, b"HTTP/1.1 200");
        readers.push(reader);
    }
    let refused = caller.get("/dead/1000-0").await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.headers["retry-after"], "1");
    assert!(refused.error().contains("ask again"));
    assert_eq!(caller.get("/dead").await.status, 200, "without payloads there is room");

    readers.pop();
    until("a place to be free", || async { caller.get("/dead/1000-0").await.status == 200 }).await;
    let whole = caller.get("/dead/1000-0").await;
    assert!(whole.body.len() > payload.len());
}

#[tokio::test]
async fn what_is_no_json_is_shown_too() {
    let scene = Scene::start(0).await;
    let _: String = scene.redis.command(&["XADD", "webhooks", "*", "payload", "no json"]).await;
    let _: String = scene.redis.command(&["XADD", "webhooks", "*", "other", "field"]).await;
    until("them to be dead", || async { scene.stored().await == 3 }).await;
    let mut shown = Vec::new();
    for id in ids(&scene.list("?reason=unreadable").await) {
        shown.push(scene.caller.get(&format!("/dead/{id}")).await.json());
    }
    assert!(shown.iter().any(|letter| letter["payload_base64"] == "bm8ganNvbg=="), "{shown:?}");
    assert!(
        shown.iter().any(|letter| letter["entry"][0] == serde_json::json!(["other", "field"])),
        "{shown:?}"
    );
}

#[tokio::test]
async fn a_replayed_letter_is_sent_again_as_it_was() {
    let scene = Scene::start(2).await;
    let first = scene.receiver.received_of("odd-1").remove(0);
    scene.mend();
    let id = ids(&scene.list("?instance=b").await).remove(0);
    let told = scene.replay(&format!(r#"{{"ids":["{id}","1-0"]}}"#)).await.json();
    assert_eq!(told, serde_json::json!({ "replayed": 1, "missing": 1, "without_payload": 0, "next": null }));
    let again = scene.receiver.wait_for_of("odd-1", 2).await.remove(1);
    assert_eq!(again.body, first.body);
    assert_eq!(again.header("webhook-id"), "odd-1");
    assert_eq!(again.attempt(), 1);
    assert_eq!(scene.stored().await, 2);
    assert_eq!(scene.replay(&format!(r#"{{"ids":["{id}"]}}"#)).await.json()["missing"], 1);
}

#[tokio::test]
async fn many_are_replayed_request_by_request_and_each_once() {
    let scene = Scene::start(9).await;
    scene.mend();
    let before = scene.receiver.count();
    let (mut cursor, mut replayed, mut requests) = (Value::Null, 0, 0);
    loop {
        let body = serde_json::json!({ "filter": { "instance": "a" }, "limit": 4, "cursor": cursor });
        let told = scene.replay(&body.to_string()).await.json();
        assert!(told["replayed"].as_u64().unwrap() <= 4, "{told}");
        replayed += told["replayed"].as_u64().unwrap();
        requests += 1;
        cursor = told["next"].clone();
        if cursor.is_null() {
            break;
        }
        assert!(requests < 10);
    }
    assert_eq!(replayed, 9);
    let received = scene.receiver.wait_for(before + 9).await;
    let again: BTreeSet<&str> = received[before..].iter().map(|request| request.id()).collect();
    assert_eq!(again.len(), 9);
    assert_eq!(scene.stored().await, 1, "that of the other instance");
}

#[tokio::test]
async fn what_dies_again_is_not_replayed_for_ever() {
    let scene = Scene::start(5).await;
    let told = scene.replay(r#"{"all":true,"limit":3}"#).await.json();
    assert_eq!(told["replayed"], 3);
    until("they to be dead again", || async { scene.stored().await == 6 }).await;
    let next = told["next"].as_str().unwrap();
    let told = scene.replay(&format!(r#"{{"all":true,"cursor":"{next}"}}"#)).await.json();
    assert_eq!(told["replayed"], 3, "{told}");
    let next = told["next"].as_str().unwrap_or_default().to_owned();
    if !next.is_empty() {
        let told = scene.replay(&format!(r#"{{"all":true,"cursor":"{next}"}}"#)).await.json();
        assert_eq!((told["replayed"].as_u64(), &told["next"]), (Some(0), &Value::Null));
    }
}

#[tokio::test]
async fn a_rate_is_kept() {
    let scene = Scene::start(5).await;
    scene.mend();
    let began = std::time::Instant::now();
    let told = scene.replay(r#"{"filter":{"instance":"a"},"rate":10}"#).await.json();
    assert_eq!(told["replayed"], 5);
    assert!(began.elapsed().as_millis() >= 400, "{:?}", began.elapsed());
    let many: Vec<String> = (0..30).map(|n| format!("\"{n}-0\"")).collect();
    let refused = scene.replay(&format!(r#"{{"ids":[{}],"rate":1}}"#, many.join(","))).await;
    assert_eq!(refused.status, 422);
    assert!(refused.error().contains("20"), "{}", refused.error());
}

#[tokio::test]
async fn nothing_is_purged_or_replayed_by_accident() {
    let scene = Scene::start(2).await;
    for query in [
        "",
        "?",
        "?all=false",
        "?ids=",
        "?instanse=a",
        "?instanse=a&all=true",
        "?instance=a&all=true",
        "?all=1",
    ] {
        let refused = scene.caller.delete(&format!("/dead{query}")).await;
        assert_eq!(refused.status, 400, "{query}: {}", refused.error());
    }
    for body in [
        "",
        "{}",
        r#"{"filter":{}}"#,
        r#"{"filter":{"instanse":"a"},"all":true}"#,
        "null",
        "[1]",
        "[null,null,true]",
    ] {
        let refused = scene.replay(body).await;
        assert_eq!(refused.status, 400, "{body}: {}", refused.error());
    }
    assert_eq!(scene.stored().await, 3);
}

#[tokio::test]
async fn letters_are_purged_one_some_or_all() {
    let scene = Scene::start(6).await;
    let all = ids(&scene.list("?instance=a").await);
    let purge = async |query: String| scene.caller.delete(&format!("/dead{query}")).await.json();
    assert_eq!(purge(format!("/{}", all[0])).await["purged"], 1);
    assert_eq!(purge(format!("?ids={},{},1-0", all[1], all[2])).await["purged"], 2);
    assert_eq!(purge("?destination=instance:b".to_owned()).await["purged"], 1);
    assert_eq!(scene.stored().await, 3);
    let told = purge("?all=true&limit=2".to_owned()).await;
    assert_eq!(told["purged"], 2);
    let next = told["next"].as_str().unwrap();
    assert_eq!(purge(format!("?all=true&cursor={next}")).await["purged"], 1);
    assert_eq!(scene.stored().await, 0);
}
