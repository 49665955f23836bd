//! The webhooks of instances: in every generation of their settings, and as they are at the moment an event is pushed.

use serde_json::{Value, json};

use crate::support::{Answer, LONG_WAITS, Receiver, RedisServer, Worker, run_command};

/// Pushes an event of an instance; returns its id.
async fn push(redis: &RedisServer, instance: &str) -> String {
    let envelope = json!({"event": "messages.upsert", "instance": instance, "data": {}}).to_string();
    redis.push(&envelope).await
}

/// The settings of one and the same webhook in every generation: by events, with media, for one event.
fn every_generation(url: &str) -> [Value; 6] {
    let events = json!(["SEND_MESSAGE"]);
    [
        json!({"url": url, "webhook_by_events": true, "webhook_base64": true, "events": events}),
        json!({"enabled": true, "url": url, "webhook_by_events": true, "webhook_base64": true, "events": events}),
        json!({"enabled": true, "url": url, "webhookByEvents": true, "webhookBase64": true, "events": events}),
        json!({"webhook": {"enabled": true, "url": url, "headers": {}, "byEvents": true, "base64": true, "events": events}}),
        // Of several at once.
        json!({"webhook": {"url": url, "webhookByEvents": true}, "webhook_base64": true, "events": events}),
        json!({"enabled": null, "url": url, "headers": null, "byEvents": true, "webhook_by_events": null, "base64": true, "events": events}),
    ]
}

/// Pushes two events, of which one is wanted, and checks how that arrives.
async fn assert_applies(redis: &RedisServer, receiver: &Receiver, settings: &Value) {
    let before = receiver.count();
    let data = json!({"message": {"base64": "AAAA"}});
    for event in ["messages.upsert", "send.message"] {
        let envelope = json!({"event": event, "instance": "sales", "data": data}).to_string();
        redis.push(&envelope).await;
    }
    redis.until_settled().await;
    let received = &receiver.received()[before..];
    assert_eq!(received.len(), 1, "{settings}");
    assert_eq!(received[0].path, "/hook/send-message", "{settings}");
    assert_eq!(received[0].json()["data"], data, "{settings}");
}

#[tokio::test]
async fn a_webhook_applies_that_was_stored_in_any_generation_of_the_settings() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let _worker = Worker::start(&redis, &[]).await;
    for settings in every_generation(&receiver.url("/hook")) {
        redis.set_webhook("sales", &settings.to_string()).await;
        assert_applies(&redis, &receiver, &settings).await;
    }
}

#[tokio::test]
async fn a_webhook_applies_that_was_set_by_command_in_any_generation_of_the_settings() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let _worker = Worker::start(&redis, &[]).await;
    for settings in every_generation(&receiver.url("/hook")) {
        redis.delete_webhook("sales").await;
        let json = settings.to_string();
        run_command(&redis, &["webhook", "set", "sales", "--json-body", &json]);
        assert_applies(&redis, &receiver, &settings).await;
    }
}

#[tokio::test]
async fn what_is_not_given_is_off() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let _worker = Worker::start(&redis, &[]).await;
    for (instance, settings) in [
        ("1", json!({"url": receiver.url("/1")})),
        (
            "2.3",
            json!({"webhook": {"url": receiver.url("/2.3"), "byEvents": false, "base64": false, "events": []}}),
        ),
    ] {
        redis.set_webhook(instance, &settings.to_string()).await;
        let data = json!({"message": {"base64": "AAAA"}});
        let envelope = json!({"event": "send.message", "instance": instance, "data": data}).to_string();
        redis.push(&envelope).await;
        let received = receiver.wait_for_on(&format!("/{instance}"), 1).await;
        assert_eq!(received[0].json()["data"], json!({"message": {}}));
    }
}

#[tokio::test]
async fn a_webhook_set_just_before_the_push_gets_the_first_event_of_each_of_500_new_instances() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let _worker = Worker::start(&redis, &[]).await;
    let mut ids = Vec::new();
    for i in 0..500 {
        let instance = format!("fresh-{i}");
        redis.set_url(&instance, &receiver.url(&format!("/{instance}"))).await;
        ids.push((push(&redis, &instance).await, format!("/{instance}")));
    }
    redis.until_settled().await;
    let mut received: Vec<_> =
        receiver.received().into_iter().map(|request| (request.id().to_owned(), request.path)).collect();
    received.sort_unstable();
    ids.sort_unstable();
    assert_eq!(received, ids);
}

#[tokio::test]
async fn events_of_an_instance_that_had_no_webhook_yet_do_not_hide_the_one_it_gets() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let _worker = Worker::start(&redis, &[]).await;
    for i in 0..50 {
        let instance = format!("fresh-{i}");
        // The worker has looked for its webhook, and knows that there is none.
        push(&redis, &instance).await;
        redis.until_settled().await;
        redis.set_url(&instance, &receiver.url("/hook")).await;
        let id = push(&redis, &instance).await;
        receiver.wait_for_of(&id, 1).await;
    }
    assert_eq!(receiver.count(), 50);
}

#[tokio::test]
async fn an_event_never_goes_to_a_url_that_was_replaced_before_it_was_pushed() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let _worker = Worker::start(&redis, &[]).await;
    for i in 0..200 {
        redis.set_url("sales", &receiver.url(&format!("/{i}"))).await;
        let envelope = json!({"event": "messages.upsert", "instance": "sales", "data": i}).to_string();
        redis.push(&envelope).await;
    }
    redis.until_settled().await;
    let received = receiver.received();
    assert_eq!(received.len(), 200);
    for request in received {
        let pushed_at = request.json()["data"].as_i64().expect("a number");
        let sent_to: i64 = request.path[1..].parse().expect("a number");
        assert!(sent_to >= pushed_at, "event {pushed_at} went to /{sent_to}");
    }
}

#[tokio::test]
async fn a_webhook_that_is_set_changed_switched_off_and_deleted_applies_exactly_to_what_is_pushed_after() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let marker = Receiver::start().await;
    redis.set_url("marker", &marker.url("/")).await;
    let _worker = Worker::start(&redis, &[]).await;
    let url = |path: &str| receiver.url(path);
    let mut expected = Vec::new();
    for (settings, paths) in [
        (None, &[][..]),
        (Some(json!({"url": url("/first")})), &["/first"]),
        (Some(json!({"url": url("/second"), "byEvents": true})), &["/second/messages-upsert"]),
        (Some(json!({"url": url("/second"), "events": ["CALL"]})), &[]),
        (Some(json!({"url": url("/second"), "enabled": false})), &[]),
        (Some(json!({"url": url("/third")})), &["/third"]),
        (None, &[]),
        (Some(json!({"url": url("/fourth")})), &["/fourth"]),
    ] {
        match settings {
            Some(settings) => redis.set_webhook("sales", &settings.to_string()).await,
            None => redis.delete_webhook("sales").await,
        }
        push(&redis, "sales").await;
        let id = push(&redis, "marker").await;
        marker.wait_for_of(&id, 1).await;
        redis.until_settled().await;
        expected.extend(paths.iter().map(ToString::to_string));
        let received: Vec<_> = receiver.received().into_iter().map(|request| request.path).collect();
        assert_eq!(received, expected);
    }
}

/// A receiver that fails everything on `/wrong`.
async fn right_and_wrong() -> Receiver {
    Receiver::answering(|request| Answer::status(if request.path == "/wrong" { 500 } else { 200 })).await
}

#[tokio::test]
async fn a_new_url_rescues_what_waits_for_the_old_one() {
    let (redis, receiver) = (RedisServer::start(), right_and_wrong().await);
    redis.set_url("sales", &receiver.url("/wrong")).await;
    let _worker = Worker::start(&redis, &LONG_WAITS).await;
    let mut ids = vec![push(&redis, "sales").await, push(&redis, "sales").await];
    redis.until_waiting(2).await;
    let right = receiver.url("/right");
    let webhook = json!({"url": right, "headers": {"x-own": "new"}});
    redis.set_webhook("sales", &webhook.to_string()).await;
    redis.end_all_waits().await;
    let mut received = receiver.wait_for_on("/right", 2).await;
    received.sort_by_key(|request| request.id().to_owned());
    ids.sort_unstable();
    for (request, id) in received.iter().zip(ids) {
        assert_eq!((request.id(), request.attempt()), (id.as_str(), 2));
        assert_eq!(request.json()["destination"], Value::from(right.as_str()));
        assert_eq!(request.header("x-own"), "new");
    }
    redis.until_settled().await;
    assert_eq!(receiver.count(), 4);
    assert!(redis.dead().await.is_empty());
}

#[tokio::test]
async fn what_waits_for_a_webhook_that_is_switched_off_or_deleted_becomes_a_dead_letter() {
    let (redis, receiver) = (RedisServer::start(), right_and_wrong().await);
    for instance in ["deleted", "switched-off"] {
        redis.set_url(instance, &receiver.url("/wrong")).await;
    }
    let _worker = Worker::start(&redis, &LONG_WAITS).await;
    push(&redis, "deleted").await;
    push(&redis, "switched-off").await;
    redis.until_waiting(2).await;
    redis.delete_webhook("deleted").await;
    let webhook = json!({"url": receiver.url("/right"), "enabled": false});
    redis.set_webhook("switched-off", &webhook.to_string()).await;
    redis.end_all_waits().await;
    redis.until_settled().await;
    let dead = redis.letters().await;
    assert_eq!(dead.len(), 2);
    for letter in dead {
        assert_eq!(letter.text("reason"), "removed");
        assert_eq!(letter.text("event"), "MESSAGES_UPSERT");
        assert_eq!(letter.text("attempts"), "1");
    }
    assert_eq!(receiver.count(), 2);
}

#[tokio::test]
async fn a_stored_webhook_that_cannot_be_read_holds_its_events_until_it_is_set_anew() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    redis.set_webhook("sales", "{nonsense").await;
    redis.set_url("other", &receiver.url("/other")).await;
    let worker = Worker::start(&redis, &LONG_WAITS).await;
    let id = push(&redis, "sales").await;
    push(&redis, "other").await;
    receiver.wait_for_on("/other", 1).await;
    redis.until_waiting(1).await;
    assert!(worker.log().contains("the stored webhook cannot be used"));
    redis.set_url("sales", &receiver.url("/sales")).await;
    redis.end_all_waits().await;
    let received = receiver.wait_for_on("/sales", 1).await;
    assert_eq!(received[0].id(), id);
    redis.until_settled().await;
    assert_eq!(receiver.count(), 2);
}
