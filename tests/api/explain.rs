//! `GET /explain`.

use serde_json::{Value, json};

use crate::caller::Caller;
use crate::support::{RedisServer, command};

const SETTINGS: [(&str, &str); 4] = [
    ("WEBHOOK_GLOBAL_ENABLED", "true"),
    ("WEBHOOK_GLOBAL_URL", "https://u:hunter2@g.example/in?key=hunter2"),
    ("WEBHOOK_GLOBAL_WEBHOOK_BY_EVENTS", "true"),
    ("WEBHOOK_EVENTS_MESSAGES_SET", "true"),
];

#[tokio::test]
async fn tells_what_the_command_tells() {
    let redis = RedisServer::start();
    let caller = Caller::start(&redis, &SETTINGS).await;
    redis.set_webhook("sales", r#"{"url":"https://i.example/x","byEvents":true,"events":["CALL"]}"#).await;
    redis.set_webhook("broken", "{}").await;
    for (event, instance) in [
        ("messages.set", Some("sales")),
        ("call", Some("sales")),
        ("call", Some("broken")),
        ("call", Some("a/b &ü")),
        ("mesages.upsert", None),
    ] {
        let mut args = vec!["explain", "--json", "--event", event];
        args.extend(instance.into_iter().flat_map(|instance| ["--instance", instance]));
        let output = command().args(args).envs(SETTINGS).env("REDIS_URL", redis.url()).output().unwrap();
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("event", event)
            .extend_pairs(instance.map(|instance| ("instance", instance)))
            .finish();
        let told = caller.get(&format!("/explain?{query}")).await;
        assert_eq!((told.status, told.json()), (200, printed), "{query}");
        assert!(!String::from_utf8_lossy(&told.body).contains("hunter2"));
    }
    let told = caller.get("/explain?event=messages.set&instance=sales").await.json();
    assert_eq!(told["destinations"][0]["url"], "https://***@g.example/in/message-set?***");
    assert_eq!(told["destinations"][1]["sent"], json!(false));
}

#[tokio::test]
async fn what_cannot_be_explained_is_refused() {
    let redis = RedisServer::start();
    let caller = Caller::start(&redis, &[]).await;
    for query in [
        "",
        "?instance=sales",
        "?event=",
        "?event=call&instanc=sales",
        "?event=call&event=b",
        "?event=%ff%zz",
    ] {
        let answered = caller.get(&format!("/explain{query}")).await;
        // What is no UTF-8 is replaced, as forms have it: an event of that name goes nowhere.
        let expected = if query.contains("%ff") { 200 } else { 400 };
        assert_eq!(answered.status, expected, "{query}");
    }
    let long = format!("/explain?event=call&instance={}", "x".repeat(513));
    assert_eq!(caller.get(&long).await.status, 400);
    let long = format!("/explain?event={}", "x".repeat(20_000));
    assert_eq!(caller.get(&long).await.status, 200);
}
