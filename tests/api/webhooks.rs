//! Webhooks over HTTP, as Evolution API's clients set and find them.

use serde_json::{Value, json};

use crate::caller::{Answered, Caller};
use crate::support::{Answer, Receiver, RedisServer, SHORT_WAITS};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn set(caller: &Caller, instance: &str, webhook: &Value) -> Answered {
    caller.post(&format!("/webhook/set/{instance}"), webhook.to_string()).await
}

#[tokio::test]
async fn all_three_generations_are_set_and_found_in_the_shape_of_evolution_api() {
    let redis = RedisServer::start();
    let caller = Caller::start(&redis, &[]).await;
    let url = "https://example.com/hook";
    let bodies = [
        json!({ "url": url, "webhook_by_events": true, "webhook_base64": true, "events": ["CALL"] }),
        json!({ "enabled": true, "url": url, "webhookByEvents": true, "webhookBase64": true, "events": ["call"] }),
        json!({ "webhook": { "enabled": true, "url": url, "headers": null, "byEvents": true, "base64": true,
            "events": ["CALL"] } }),
    ];
    let record = json!({ "id": "sales", "url": url, "headers": {}, "enabled": true, "events": ["CALL"],
        "webhookByEvents": true, "webhookBase64": true, "createdAt": null, "updatedAt": null, "instanceId": "sales" });
    for body in &bodies {
        let named = |key: &str| {
            let mut body = body.clone();
            body[key] = "sales".into();
            body.to_string()
        };
        for (path, body) in [
            ("/webhook/set/sales", body.to_string()),
            ("/webhook/sales", body.to_string()),
            ("/webhook/sales", named("instance")),
            ("/webhook/instance", named("instance")),
            ("/webhook/instance", named("instanceName")),
        ] {
            caller.delete("/webhook/sales").await;
            let answered = caller.post(path, body.clone()).await;
            assert_eq!((answered.status, &answered.json()), (201, &record), "{path} {body}");
            let found = caller.get("/webhook/find/sales").await;
            assert_eq!((found.status, &found.json()), (200, &record), "{path} {body}");
        }
    }
    assert_eq!(
        redis.webhook("sales").await,
        json!({ "enabled": true, "url": url, "headers": {}, "byEvents": true, "base64": true, "events": ["CALL"] })
    );
    let nobody = caller.get("/webhook/find/nobody").await;
    assert_eq!((nobody.status, nobody.json()), (200, Value::Null));
}

#[tokio::test]
async fn what_was_set_applies_to_the_next_event_and_what_was_deleted_does_not() {
    let redis = RedisServer::start();
    let receiver = Receiver::start().await;
    let caller = Caller::start(&redis, &SHORT_WAITS).await;
    assert_eq!(set(&caller, "sales", &json!({ "url": receiver.url("/a") })).await.status, 201);
    redis.push(&json!({ "event": "call", "instance": "sales" }).to_string()).await;
    receiver.wait_for_on("/a", 1).await;
    let deleted = caller.delete("/webhook/sales").await;
    assert_eq!((deleted.status, deleted.json()), (200, json!({ "deleted": "sales" })));
    assert_eq!(caller.delete("/webhook/sales").await.status, 404);
    redis.push(&json!({ "event": "call", "instance": "sales" }).to_string()).await;
    // One that is not routed yet may go where the next webhook says.
    redis.until_settled().await;
    assert_eq!(set(&caller, "sales", &json!({ "url": receiver.url("/b") })).await.status, 201);
    redis.push(&json!({ "event": "call", "instance": "sales" }).to_string()).await;
    receiver.wait_for_on("/b", 1).await;
    assert_eq!((receiver.received_on("/a").len(), receiver.received_on("/b").len()), (1, 1));
}

#[tokio::test]
async fn what_would_not_fire_is_refused_with_what_was_meant_and_nothing_is_stored() {
    let redis = RedisServer::start();
    let caller = Caller::start(&redis, &[]).await;
    let url = "https://h.example/";
    let headers: serde_json::Map<String, Value> = (0..101).map(|i| (format!("x-{i}"), "1".into())).collect();
    for (body, says) in [
        (json!({ "url": url, "event": ["CALL"] }), "did you mean events?"),
        (json!({ "url": url, "events": ["MESAGES_UPSERT"] }), "did you mean MESSAGES_UPSERT?"),
        (json!({ "webhook": { "url": url, "by_events": true } }), "unknown key `by_events`"),
        (json!({ "url": url, "events": ["order.paid"] }), "WEBHOOK_CUSTOM_EVENTS"),
        (json!({ "url": "ftp://h" }), "not http or https"),
        (json!({ "enabled": true }), "`url` is missing"),
        (json!({ "url": url, "instance": "other" }), "the path names instance sales, and the body other"),
        (json!({ "url": url, "headers": { "webhook-id": "1" } }), "cannot be set"),
        (json!({ "url": url, "headers": headers }), "101 headers"),
        (json!({ "url": url, "events": vec!["CALL"; 1001] }), "at most 1000"),
        (json!([]), "it has to be a JSON object"),
        (json!(null), "it has to be a JSON object"),
    ] {
        let answered = set(&caller, "sales", &body).await;
        assert_eq!(answered.status, 400, "{body}");
        assert!(answered.error().contains(says), "{says}: {answered:?}");
    }
    let answered = caller.post("/webhook/instance", json!({ "url": url }).to_string()).await;
    assert_eq!((answered.status, answered.error().contains("names no instance")), (400, true));
    let stored: u64 = redis.command(&["EXISTS", "{webhooks}:webhooks"]).await;
    assert_eq!(stored, 0);

    let custom = Caller::start(&redis, &[("WEBHOOK_CUSTOM_EVENTS", "order.paid")]).await;
    assert_eq!(set(&custom, "sales", &json!({ "url": url, "events": ["order.paid"] })).await.status, 201);
}

#[tokio::test]
async fn secrets_are_masked_and_what_is_masked_cannot_be_set() {
    let redis = RedisServer::start();
    let caller = Caller::start(&redis, &[]).await;
    let real = json!({ "url": "https://user:hunter2@example.com/hook?token=hunter2",
        "headers": { "X-Key": "hunter2" }, "secret": SECRET });
    let told = set(&caller, "sales", &real).await;
    let found = caller.get("/webhook/find/sales").await;
    let listed = caller.get("/webhook").await;
    let explained = caller.get("/explain?event=call&instance=sales").await;
    for answered in [&told, &found, &listed, &explained] {
        let text = String::from_utf8(answered.body.clone()).unwrap();
        assert!(text.contains("https://***@example.com/hook?***"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("MfKQ"), "{text}");
    }
    let log = caller.worker.log();
    assert!(!log.contains("hunter2") && !log.contains("MfKQ"), "{log}");

    // Handed in again as it came, or with any one of the masked values in it.
    let stored = redis.webhook("sales").await;
    let public = "https://example.com/hook";
    for masked in [
        found.json(),
        json!({ "url": found.json()["url"] }),
        json!({ "url": public, "headers": { "X-Key": "***" } }),
        json!({ "url": public, "secret": ["***"] }),
        json!({ "url": public, "secret": "***" }),
        json!({ "url": "https://example.com/hook?***" }),
    ] {
        let answered = set(&caller, "sales", &masked).await;
        assert_eq!(answered.status, 400, "{masked}");
        assert!(!answered.error().contains("hunter2"), "{answered:?}");
    }
    assert!(set(&caller, "sales", &found.json()).await.error().contains("is masked with ***; write it out"));
    assert_eq!(redis.webhook("sales").await, stored);

    // Without secrets, what is found is what can be set.
    set(&caller, "plain", &json!({ "url": public, "events": ["CALL"], "rate_limit": 5 })).await;
    let found = caller.get("/webhook/find/plain").await.json();
    assert_eq!(set(&caller, "plain", &found).await.json(), found);
}

#[tokio::test]
async fn an_instance_may_have_any_name() {
    let redis = RedisServer::start();
    let receiver = Receiver::start().await;
    let caller = Caller::start(&redis, &[]).await;
    let long = "x".repeat(512);
    for (name, written) in [
        ("a b", "a%20b"),
        ("a/b", "a%2Fb"),
        ("../..", "%2e%2e%2F.."),
        ("número 1 🙏", "n%C3%BAmero%201%20%F0%9F%99%8F"),
        ("set", "set"),
        ("find", "find"),
        ("instance", "instance"),
        ("test", "test"),
        ("100%", "100%25"),
        ("{x}", "%7Bx%7D"),
        ("a?b#c", "a%3Fb%23c"),
        (&long, &long),
    ] {
        let url = receiver.url("/hook");
        let answered = set(&caller, written, &json!({ "url": url })).await;
        assert_eq!((answered.status, &answered.json()["instanceId"]), (201, &json!(name)), "{name}");
        assert_eq!(redis.webhook(name).await["url"], url);
        let found = caller.get(&format!("/webhook/find/{written}")).await;
        assert_eq!(found.json()["instanceId"], name);
        // A word of the API's own paths is meant as a name where it is percent-encoded.
        let tested = match name {
            "set" => "%73et",
            "find" => "%66ind",
            _ => written,
        };
        let answered = caller.post(&format!("/webhook/{tested}/test"), "").await;
        assert_eq!((answered.status, &answered.json()["delivered"]), (200, &json!(true)), "{name}");
        assert_eq!(receiver.received().last().unwrap().json()["instance"], name);
        let deleted = caller.delete(&format!("/webhook/{written}")).await;
        assert_eq!((deleted.status, &deleted.json()["deleted"]), (200, &json!(name)), "{name}");
    }
    let webhook = json!({ "url": "https://h.example/" }).to_string();
    for (path, status) in [
        ("/webhook/set", 400),
        ("/webhook/find", 400),
        ("/webhook/instance", 400),
        ("/webhook/set/", 404),
        ("/webhook/set/a/b", 404),
        ("/webhook/set/%ff", 400),
        (&format!("/webhook/set/{long}x"), 400),
        (&format!("/webhook/set/{}", "%C3%BC".repeat(257)), 400),
    ] {
        let answered = caller.post(path, webhook.clone()).await;
        assert_eq!(answered.status, status, "{path}");
        assert!(!answered.error().is_empty());
    }
    let empty = json!({ "instance": "", "url": "https://h.example/" }).to_string();
    assert!(caller.post("/webhook/instance", empty).await.error().contains("is empty"));
    assert_eq!(redis.command::<u64>(&["HLEN", "{webhooks}:webhooks"]).await, 0);
}

#[tokio::test]
async fn webhooks_are_listed_page_by_page() {
    let redis = RedisServer::start();
    let caller = Caller::start(&redis, &[]).await;
    let empty = caller.get("/webhook").await.json();
    assert_eq!(empty, json!({ "webhooks": [], "cursor": null }));
    let expected: std::collections::BTreeSet<String> = (0..1000).map(|i| format!("i-{i}")).collect();
    for name in &expected {
        redis
            .set_webhook(name, r#"{"url":"https://h.example/a/long/enough/path/that/is/no/listpack"}"#)
            .await;
    }
    redis.set_webhook("broken", r#"{"what":"is this"}"#).await;
    let (mut seen, mut pages, mut path) =
        (std::collections::BTreeSet::new(), 0, "/webhook?limit=50".to_owned());
    loop {
        let page = caller.get(&path).await.json();
        let webhooks = page["webhooks"].as_array().unwrap();
        assert!(webhooks.len() <= 150, "about 50 were asked for, not {}", webhooks.len());
        for webhook in webhooks {
            let name = webhook["instanceId"].as_str().unwrap();
            if name == "broken" {
                assert!(webhook["error"].as_str().unwrap().contains("unknown key"), "{webhook}");
            } else {
                seen.insert(name.to_owned());
            }
        }
        pages += 1;
        let Some(cursor) = page["cursor"].as_str() else { break };
        path = format!("/webhook?limit=50&cursor={cursor}");
    }
    assert_eq!(seen, expected);
    assert!(pages > 5, "{pages}");
    let unusable = caller.get("/webhook/find/broken").await;
    assert_eq!((unusable.status, unusable.error().contains("set it anew")), (422, true));
    for query in ["limit=0", "limit=501", "limit=x", "cursor=x", "cursor=-1", "limits=5"] {
        assert_eq!(caller.get(&format!("/webhook?{query}")).await.status, 400, "{query}");
    }
}

#[tokio::test]
async fn a_test_makes_one_real_attempt_and_tells_what_it_came_to() {
    let redis = RedisServer::start();
    let caller = Caller::start(&redis, &SHORT_WAITS).await;
    let receiver = Receiver::answering(|request| match request.path.as_str() {
        "/echo/connection-update" => Answer::Reply {
            status: 200,
            headers: Vec::new(),
            body: format!("you sent {}", request.header("x-key")).into_bytes(),
        },
        "/fails" => Answer::status(503),
        _ => Answer::Raw(b"nonsense".to_vec()),
    })
    .await;
    let webhook = json!({ "url": receiver.url("/echo"), "byEvents": true, "headers": { "X-Key": "hunter2" },
        "secret": SECRET, "events": ["CONNECTION_UPDATE"] });
    set(&caller, "sales", &webhook).await;
    let told = caller.post("/webhook/sales/test", "").await.json();
    assert_eq!(told["delivered"], true);
    assert_eq!(
        (&told["status"], &told["error"], &told["why_not"]),
        (&json!(200), &json!(null), &json!(null))
    );
    assert_eq!(told["reply"], "you sent ***", "{told}");
    assert_eq!((&told["event"], &told["signed"]), (&json!("CONNECTION_UPDATE"), &json!(true)));
    assert!(told["took_ms"].is_u64());
    let sent = &receiver.received()[0];
    assert_eq!(told["id"], sent.id());
    assert!(sent.id().starts_with("test-") && sent.attempt() == 1);
    assert_eq!((&sent.json()["instance"], sent.header("x-key")), (&json!("sales"), "hunter2"));
    let headers: http::HeaderMap = ["webhook-id", "webhook-timestamp", "webhook-signature"]
        .into_iter()
        .map(|name| (name.parse::<http::HeaderName>().unwrap(), sent.header(name).parse().unwrap()))
        .collect();
    standardwebhooks::Webhook::new(SECRET).unwrap().verify(&sent.body, &headers).unwrap();

    let told = caller.post("/webhook/sales/test?event=call", "").await.json();
    assert!(told["why_not"].as_str().unwrap().contains("does not list CALL"), "{told}");
    assert_eq!((&told["delivered"], &told["error"]["kind"]), (&json!(false), &json!("bad_reply")), "{told}");
    assert_eq!(told["status"], Value::Null);
    set(&caller, "fails", &json!({ "url": receiver.url("/fails") })).await;
    let told = caller.post("/webhook/fails/test", "").await.json();
    assert_eq!((&told["delivered"], &told["status"]), (&json!(false), &json!(503)), "{told}");

    assert_eq!(receiver.count(), 3, "nothing is retried");
    for key in ["{webhooks}:retry", "{webhooks}:dead", "webhooks"] {
        let kept: u64 = redis.command(&["EXISTS", key]).await;
        let left: u64 = if key == "webhooks" { redis.command(&["XLEN", key]).await } else { kept };
        assert_eq!(left, 0, "{key}");
    }
    assert_eq!(caller.post("/webhook/nobody/test", "").await.status, 404);
    for query in ["event=", "evnt=call"] {
        assert_eq!(caller.post(&format!("/webhook/sales/test?{query}"), "").await.status, 400, "{query}");
    }
    set(&caller, "off", &json!({ "enabled": false })).await;
    assert_eq!(caller.post("/webhook/off/test", "").await.status, 422);
}

/// The settings of an operator who permits nothing.
const NOTHING: [(&str, &str); 2] = [("WEBHOOK_ALLOW_CIDRS", ""), ("WEBHOOK_ALLOW_HOSTS", "")];

#[tokio::test]
async fn what_may_not_be_sent_to_is_refused_and_names_the_setting() {
    let redis = RedisServer::start();
    let strict = Caller::start(&redis, &NOTHING).await;
    // An IPv4-mapped address is permitted as what it is, not as what it carries.
    let permitted =
        [("WEBHOOK_ALLOW_CIDRS", "127.0.0.0/8, ::ffff:127.0.0.1"), ("WEBHOOK_ALLOW_INSECURE_TLS", "true")];
    let permitting = Caller::start(&redis, &permitted).await;
    let here = "127.0.0.1 is loopback (this machine)";
    for (webhook, says) in [
        (json!({ "url": "http://127.0.0.1:5678/x" }), here),
        (json!({ "webhook": { "enabled": true, "url": "http://127.0.0.1:5678/x" } }), here),
        (
            json!({ "url": "http://localhost.:5678/" }),
            "WEBHOOK_ALLOW_HOSTS=localhost or WEBHOOK_ALLOW_CIDRS=127.0.0.1",
        ),
        (json!({ "url": "http://[::ffff:127.0.0.1]/" }), "IPv4-mapped"),
        (json!({ "url": "http://2130706433/" }), "WEBHOOK_ALLOW_CIDRS=127.0.0.1"),
        (json!({ "url": "http://u:hunter2@0x7f.1/x?token=hunter2" }), "WEBHOOK_ALLOW_CIDRS=127.0.0.1"),
        (json!({ "url": "https://127.0.0.1/", "insecureTls": true }), "WEBHOOK_ALLOW_INSECURE_TLS=true"),
    ] {
        for path in ["/webhook/set/sales", "/webhook/sales"] {
            let answered = strict.post(path, webhook.to_string()).await;
            assert_eq!(answered.status, 400, "{webhook}");
            let error = answered.error();
            assert!(error.contains(says) && !error.contains("hunter2"), "{says}: {error}");
        }
        assert_eq!(redis.command::<u64>(&["EXISTS", "{webhooks}:webhooks"]).await, 0, "{webhook}");
        let answered = set(&permitting, "sales", &webhook).await;
        // Not every system resolves `localhost.`.
        let is_sound =
            answered.json().get("warning").is_none() || webhook["url"] == "http://localhost.:5678/";
        assert!(answered.status == 201 && is_sound, "{webhook}: {answered:?}");
        assert_eq!(permitting.delete("/webhook/sales").await.status, 200);
    }
    let metadata = json!({ "url": "http://169.254.169.254/latest/meta-data" });
    assert_eq!(set(&permitting, "sales", &metadata).await.status, 400);
    // What is switched off is sent nowhere.
    let off = json!({ "enabled": false, "url": "http://127.0.0.1:5678/x" });
    assert_eq!(set(&strict, "sales", &off).await.status, 201);
}

#[tokio::test]
async fn a_name_that_leads_nowhere_is_set_with_a_warning() {
    let redis = RedisServer::start();
    let caller = Caller::start(&redis, &[]).await;
    let answered = set(&caller, "sales", &json!({ "url": "https://u:hunter2@nowhere.invalid/" })).await;
    let warning = answered.json()["warning"].as_str().expect("a warning").to_owned();
    assert!(answered.status == 201 && warning.contains("could not be resolved"), "{answered:?}");
    let warned = caller.worker.warnings();
    let told =
        warned.iter().any(|line| line.contains("instance=\"sales\"") && line.contains("nowhere.invalid"));
    assert!(told && !caller.worker.log().contains("hunter2"), "{warned:?}");
    assert_eq!(redis.webhook("sales").await["url"], "https://u:hunter2@nowhere.invalid/");
    // It is no setting: it is not kept, and passed over where an answer is handed in again.
    assert_eq!(caller.get("/webhook/find/sales").await.json().get("warning"), None);
    let again = json!({ "url": "https://example.com/", "warning": warning });
    let answered = set(&caller, "sales", &again).await;
    assert_eq!((answered.status, answered.json().get("warning")), (201, None), "{answered:?}");
}

#[tokio::test]
async fn a_test_is_sent_nowhere_else_than_an_event() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let strict = Caller::start(&redis, &NOTHING).await;
    redis.set_url("sales", &receiver.url("/")).await;
    let told = strict.post("/webhook/sales/test", "").await.json();
    assert_eq!(
        (&told["delivered"], &told["error"]["kind"]),
        (&json!(false), &json!("refused_address")),
        "{told}"
    );
    let explained = strict.get("/explain?event=call&instance=sales").await.json();
    let why = explained["destinations"][1]["why_not"].as_str().expect("a reason");
    assert!(
        why.starts_with("every attempt fails: ") && why.contains("WEBHOOK_ALLOW_CIDRS=127.0.0.1"),
        "{why}"
    );
    assert_eq!(receiver.connections(), 0);
    let permitting = Caller::start(&redis, &[]).await;
    assert_eq!(permitting.post("/webhook/sales/test", "").await.json()["delivered"], true);
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn tests_that_hang_take_only_so_many_places_and_leave_deliveries_alone() {
    let redis = RedisServer::start();
    let (hanging, works) = Receiver::hanging().await;
    let receiver = Receiver::start().await;
    let caller = Caller::start(&redis, &[("WEBHOOK_REQUEST_TIMEOUT_MS", "3000")]).await;
    set(&caller, "hangs", &json!({ "url": hanging.url("/") })).await;
    set(&caller, "sales", &json!({ "url": receiver.url("/") })).await;
    let tests = (0..40).map(|_| caller.post("/webhook/hangs/test", ""));
    let (statuses, ()) = tokio::join!(futures_util::future::join_all(tests), async {
        hanging.wait_for(16).await;
        redis.push(&json!({ "event": "call", "instance": "sales" }).to_string()).await;
        receiver.wait_for(1).await;
    });
    let busy = statuses.iter().filter(|answered| answered.status == 503).count();
    assert_eq!((busy, hanging.count()), (24, 16));
    for answered in &statuses {
        match answered.status {
            200 => assert_eq!(answered.json()["error"]["kind"], "timeout"),
            _ => assert!(answered.headers.contains_key("retry-after")),
        }
    }
    works.store(true, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(caller.post("/webhook/hangs/test", "").await.json()["delivered"], true);
}

#[tokio::test]
async fn without_redis_nothing_is_pretended() {
    let mut redis = RedisServer::start();
    let caller = Caller::start(&redis, &[]).await;
    caller.until_ready().await;
    redis.kill();
    let webhook = json!({ "url": "https://h.example/" });
    for answered in [
        set(&caller, "sales", &webhook).await,
        caller.get("/webhook/find/sales").await,
        caller.get("/webhook").await,
        caller.delete("/webhook/sales").await,
        caller.get("/explain?event=call&instance=sales").await,
    ] {
        assert_eq!(answered.status, 503, "{answered:?}");
        assert!(answered.headers.contains_key("retry-after") && answered.error().contains("redis"));
    }
    redis.restart();
    caller.until_ready().await;
    assert_eq!(set(&caller, "sales", &webhook).await.status, 201);
}
