//! `posthaste explain`.

use serde_json::json;

use crate::support::RedisServer;
use crate::{run, run_with};

#[tokio::test]
async fn every_destination_is_told_with_its_url_or_why_not() {
    let redis = RedisServer::start();
    let settings = [
        ("WEBHOOK_GLOBAL_ENABLED", "true"),
        ("WEBHOOK_GLOBAL_URL", "https://u:hunter2@g.example/in/?key=hunter2"),
        ("WEBHOOK_GLOBAL_WEBHOOK_BY_EVENTS", "true"),
        ("WEBHOOK_EVENTS_MESSAGES_SET", "true"),
        ("WEBHOOK_GLOBAL_RATE_LIMIT", "2.5"),
    ];
    redis.set_webhook("sales", r#"{"url":"https://i.example/x","byEvents":true,"events":["CALL"]}"#).await;
    let told =
        run_with(&redis, &settings, &["explain", "--event", "messages.set", "--instance", "sales", "--json"]);
    let told = told.ended(0).json();
    assert_eq!((&told["event"], &told["route"]), (&json!("MESSAGES_SET"), &json!("/message-set")));
    let [global, instance] = [&told["destinations"][0], &told["destinations"][1]];
    assert_eq!((&global["destination"], &global["sent"]), (&json!("global"), &json!(true)));
    assert_eq!(global["url"], "https://***@g.example/in/message-set?***");
    assert_eq!(global["webhook"]["rate_limit"], 2.5);
    assert_eq!((&instance["destination"], &instance["sent"]), (&json!("instance:sales"), &json!(false)));
    assert!(instance["why_not"].as_str().unwrap().contains("does not list MESSAGES_SET"), "{instance}");
    assert_eq!(told["retry"]["max_attempts"], 10);

    let text = run_with(&redis, &settings, &["explain", "--event", "call", "--instance", "sales"]).ended(0);
    assert!(text.stdout.contains("WEBHOOK_EVENTS_CALL is not true"), "{text:?}");
    assert!(text.stdout.contains("https://i.example/x/call"), "{text:?}");
    assert!(!text.stdout.contains("hunter2"), "{text:?}");
}

#[tokio::test]
async fn what_goes_nowhere_is_told() {
    let redis = RedisServer::start();
    redis.set_webhook("broken", "{}").await;
    redis
        .set_webhook("gone", r#"{"enabled":false,"disabledReason":"gone","url":"https://h.example/"}"#)
        .await;
    for (instance, why) in [
        ("nobody", "set one with `posthaste webhook set nobody"),
        ("broken", "the stored webhook cannot be used"),
        ("gone", "answered 410"),
    ] {
        let ran = run(&redis, &["explain", "--event", "call", "--instance", instance]).ended(0);
        assert!(ran.stdout.contains("WEBHOOK_GLOBAL_ENABLED is not true"), "{ran:?}");
        assert!(ran.stdout.contains(why), "{ran:?}");
        assert!(ran.stderr.contains("it goes nowhere"), "{ran:?}");
    }
    let ran = run(&redis, &["explain", "--event", "mesages.upsert"]).ended(0);
    assert!(
        ran.stderr.contains("did you mean MESSAGES_UPSERT?") && ran.stderr.contains("WEBHOOK_CUSTOM_EVENTS")
    );
    let ran = run(&redis, &["explain", "--event", ""]).ended(2);
    assert!(ran.stderr.contains("the event name is empty"), "{ran:?}");
}
