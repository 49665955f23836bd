//! Where an event goes: its route, and the webhooks that want it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::support::{Receiver, RedisServer, Worker};

/// Every known event, its route, and its other names.
const ROUTES: &[(&str, &str, &[&str])] = &[
    ("APPLICATION_STARTUP", "application-startup", &[]),
    ("QRCODE_UPDATED", "qrcode-updated", &[]),
    ("CONNECTION_UPDATE", "connection-update", &[]),
    ("MESSAGES_SET", "message-set", &[]),
    ("MESSAGES_UPSERT", "messages-upsert", &[]),
    ("MESSAGES_UPDATE", "messages-update", &[]),
    ("MESSAGES_DELETE", "messages-delete", &[]),
    ("SEND_MESSAGE", "send-message", &[]),
    ("CONTACTS_SET", "contacts-set", &[]),
    ("CONTACTS_UPSERT", "contacts-upsert", &[]),
    ("CONTACTS_UPDATE", "contacts-update", &[]),
    ("PRESENCE_UPDATE", "presence-update", &[]),
    ("CHATS_SET", "chats-set", &[]),
    ("CHATS_UPDATE", "chats-update", &[]),
    ("CHATS_UPSERT", "chats-upsert", &[]),
    ("CHATS_DELETE", "chats-delete", &[]),
    ("GROUPS_UPSERT", "groups-upsert", &[]),
    ("GROUPS_UPDATE", "groups-update", &["GROUP_UPDATE"]),
    ("GROUP_PARTICIPANTS_UPDATE", "group-participants-update", &[]),
    ("NEW_TOKEN", "new-jwt", &["NEW_JWT", "NEW_JWT_TOKEN"]),
    ("TYPEBOT_START", "typebot-start", &[]),
    ("TYPEBOT_CHANGE_STATUS", "typebot-change-status", &[]),
    // Of Evolution API 2.3.
    ("MESSAGES_EDITED", "messages-edited", &[]),
    ("SEND_MESSAGE_UPDATE", "send-message-update", &[]),
    ("LABELS_EDIT", "labels-edit", &[]),
    ("LABELS_ASSOCIATION", "labels-association", &[]),
    ("CALL", "call", &[]),
    ("REMOVE_INSTANCE", "remove-instance", &[]),
    ("LOGOUT_INSTANCE", "logout-instance", &[]),
    ("INSTANCE_CREATE", "instance-create", &[]),
    ("INSTANCE_DELETE", "instance-delete", &[]),
    ("STATUS_INSTANCE", "status-instance", &[]),
];

/// Every way in which every known event may be written, and the route it has.
fn every_spelling() -> Vec<(String, &'static str)> {
    let mut spellings = BTreeMap::new();
    for (name, route, aliases) in ROUTES {
        for name in aliases.iter().chain([name]) {
            let lower = name.to_lowercase();
            let written = [
                lower.replace('_', "."),
                lower.replace('_', "-"),
                name.replace('_', "-"),
                lower.replacen('_', "-", 1).replace('_', "."),
                lower,
                (*name).to_owned(),
            ];
            spellings.extend(written.map(|written| (written, *route)));
        }
    }
    spellings.into_iter().collect()
}

/// Pushes an event of every spelling, with the spelling for its id.
async fn push_every_spelling(redis: &RedisServer, instance: Option<&str>) {
    for (event, _) in every_spelling() {
        let envelope = json!({"event": event, "instance": instance, "data": {}}).to_string();
        redis.push_with_id(&event, &envelope).await;
    }
}

/// Which event came on which path, of those on paths that begin with `prefix`; each came once.
fn paths_of(receiver: &Receiver, prefix: &str) -> BTreeMap<String, String> {
    let received = receiver.received();
    let received: Vec<_> = received.iter().filter(|request| request.path.starts_with(prefix)).collect();
    let paths: BTreeMap<_, _> =
        received.iter().map(|request| (request.id().to_owned(), request.path.clone())).collect();
    assert_eq!(paths.len(), received.len(), "every event comes once");
    paths
}

fn expected(path: impl Fn(&str) -> String) -> BTreeMap<String, String> {
    let spellings = every_spelling().into_iter();
    spellings.map(|(event, route)| (event, path(route))).collect()
}

/// The settings of a global webhook that wants every known event.
fn global(url: &str, by_events: bool) -> Vec<(String, String)> {
    let mut settings: Vec<_> =
        ROUTES.iter().map(|(name, ..)| (format!("WEBHOOK_EVENTS_{name}"), "true".to_owned())).collect();
    for (name, value) in [
        ("WEBHOOK_GLOBAL_ENABLED", "true"),
        ("WEBHOOK_GLOBAL_URL", url),
        ("WEBHOOK_GLOBAL_WEBHOOK_BY_EVENTS", &by_events.to_string()),
    ] {
        settings.push((name.to_owned(), value.to_owned()));
    }
    settings
}

async fn start(redis: &RedisServer, settings: &[(String, String)]) -> Worker {
    let settings: Vec<_> = settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Worker::start(redis, &settings).await
}

#[tokio::test]
async fn by_events_every_event_in_every_spelling_goes_to_its_route_of_the_global_webhook() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let _worker = start(&redis, &global(&receiver.url("/global"), true)).await;
    push_every_spelling(&redis, None).await;
    redis.until_settled().await;
    assert_eq!(paths_of(&receiver, "/"), expected(|route| format!("/global/{route}")));
}

#[tokio::test]
async fn without_by_events_every_event_goes_to_the_url_of_the_global_webhook() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let _worker = start(&redis, &global(&receiver.url("/global"), false)).await;
    push_every_spelling(&redis, None).await;
    redis.until_settled().await;
    assert_eq!(paths_of(&receiver, "/"), expected(|_| "/global".to_owned()));
}

#[tokio::test]
async fn every_event_in_every_spelling_goes_to_the_webhook_of_its_instance_by_route_or_not() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let by_events = json!({"url": receiver.url("/by-events"), "byEvents": true});
    redis.set_webhook("by-events", &by_events.to_string()).await;
    let plain = json!({"url": receiver.url("/plain"), "byEvents": false});
    redis.set_webhook("plain", &plain.to_string()).await;
    let _worker = Worker::start(&redis, &[]).await;
    push_every_spelling(&redis, Some("by-events")).await;
    push_every_spelling(&redis, Some("plain")).await;
    redis.until_settled().await;
    assert_eq!(paths_of(&receiver, "/by-events"), expected(|route| format!("/by-events/{route}")));
    assert_eq!(paths_of(&receiver, "/plain"), expected(|_| "/plain".to_owned()));
}

#[tokio::test]
async fn an_event_of_ones_own_goes_to_its_lower_case_name_whatever_it_is_called() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let webhook = json!({"url": receiver.url("/hook?q=1"), "byEvents": true});
    redis.set_webhook("shop", &webhook.to_string()).await;
    let _worker = Worker::start(&redis, &[]).await;
    let mut expected = BTreeMap::new();
    for (event, route) in [
        ("order.paid", "order-paid"),
        ("ORDER_PAID", "order-paid"),
        ("Order-Refunded_2", "order-refunded-2"),
        ("message-set", "message-set"),
        ("a/b?c#d e", "a%2Fb%3Fc%23d%20e"),
        ("..", "--"),
        ("%2e%2e/x", "%252e%252e%2Fx"),
        ("pedido.pago.ção", "pedido-pago-%C3%A7%C3%A3o"),
        ("line\nbreak", "line%0Abreak"),
    ] {
        let envelope = json!({"event": event, "instance": "shop"}).to_string();
        expected.insert(redis.push(&envelope).await, format!("/hook/{route}?q=1"));
    }
    redis.until_settled().await;
    assert_eq!(paths_of(&receiver, "/"), expected);
}

#[tokio::test]
async fn webhook_routes_overrides_the_routes_of_known_events_and_of_ones_own() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let webhook = json!({"url": receiver.url("/instance"), "byEvents": true});
    redis.set_webhook("shop", &webhook.to_string()).await;
    let mut settings = global(&receiver.url("/global/"), true);
    let routes = "MESSAGES_SET=messages-set, foo=bar,group.update=/groups/changed,";
    settings.push(("WEBHOOK_ROUTES".to_owned(), routes.to_owned()));
    settings.push(("WEBHOOK_EVENTS_FOO".to_owned(), "true".to_owned()));
    let _worker = start(&redis, &settings).await;
    let (mut at_global, mut at_instance) = (BTreeMap::new(), BTreeMap::new());
    for (event, route) in [
        ("messages.set", "messages-set"),
        ("FOO", "bar"),
        ("groups-update", "groups/changed"),
        ("messages.upsert", "messages-upsert"),
    ] {
        let envelope = json!({"event": event, "instance": "shop"}).to_string();
        let id = redis.push(&envelope).await;
        at_global.insert(id.clone(), format!("/global/{route}"));
        at_instance.insert(id, format!("/instance/{route}"));
    }
    redis.until_settled().await;
    assert_eq!(paths_of(&receiver, "/global"), at_global);
    assert_eq!(paths_of(&receiver, "/instance"), at_instance);
}

#[tokio::test]
async fn a_route_is_appended_to_the_path_before_query_and_fragment_with_one_slash() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let _worker = start(&redis, &global(&receiver.url("/global/?token=a%2Fb#top"), true)).await;
    let mut expected = BTreeMap::new();
    for (i, (url, path)) in [
        ("", "/qrcode-updated"),
        ("/", "/qrcode-updated"),
        ("/webhook-test/code", "/webhook-test/code/qrcode-updated"),
        ("/webhook-test/code/", "/webhook-test/code/qrcode-updated"),
        ("/code//", "/code/qrcode-updated"),
        ("?q=1", "/qrcode-updated?q=1"),
        ("/?q=1", "/qrcode-updated?q=1"),
        ("/code?q=/a/&r=b?c", "/code/qrcode-updated?q=/a/&r=b?c"),
        ("/code/?q=1#frag/ment", "/code/qrcode-updated?q=1"),
        ("/code#frag?ment", "/code/qrcode-updated"),
        ("/a%2Fb/c%20d", "/a%2Fb/c%20d/qrcode-updated"),
    ]
    .into_iter()
    .enumerate()
    {
        let instance = format!("instance {i}");
        let webhook = json!({"url": receiver.url(url), "byEvents": true});
        redis.set_webhook(&instance, &webhook.to_string()).await;
        let envelope = json!({"event": "qrcode.updated", "instance": instance}).to_string();
        expected.insert(redis.push(&envelope).await, path.to_owned());
    }
    redis.until_settled().await;
    let mut paths = BTreeMap::new();
    for request in receiver.received() {
        if request.path == "/global/qrcode-updated?token=a%2Fb" {
            continue;
        }
        paths.insert(request.id().to_owned(), request.path);
    }
    assert_eq!(paths, expected);
    assert_eq!(receiver.count(), 2 * expected.len());
}

#[tokio::test]
async fn without_by_events_a_url_is_used_as_it_is() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let _worker = Worker::start(&redis, &[]).await;
    let mut expected = BTreeMap::new();
    for (i, (url, path)) in [
        ("", "/"),
        ("/", "/"),
        ("/code/", "/code/"),
        ("/code//x", "/code//x"),
        ("/code/?q=1&r=%20#frag", "/code/?q=1&r=%20"),
        ("?q=1", "/?q=1"),
    ]
    .into_iter()
    .enumerate()
    {
        let instance = format!("instance {i}");
        let webhook = json!({"url": receiver.url(url)});
        redis.set_webhook(&instance, &webhook.to_string()).await;
        let envelope = json!({"event": "qrcode.updated", "instance": instance}).to_string();
        expected.insert(redis.push(&envelope).await, path.to_owned());
    }
    redis.until_settled().await;
    assert_eq!(paths_of(&receiver, "/"), expected);
}

#[tokio::test]
async fn the_global_webhook_gets_the_events_that_are_switched_on() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let _worker = Worker::start(
        &redis,
        &[
            ("WEBHOOK_GLOBAL_ENABLED", "true"),
            ("WEBHOOK_GLOBAL_URL", &receiver.url("/global")),
            ("WEBHOOK_EVENTS_MESSAGES_UPSERT", "true"),
            ("WEBHOOK_EVENTS_CALL", "YES"),
            ("WEBHOOK_EVENTS_GROUP_UPDATE", "1"),
            ("WEBHOOK_EVENTS_NEW_JWT_TOKEN", "on"),
            ("WEBHOOK_EVENTS_ORDER_PAID", "true"),
            ("WEBHOOK_EVENTS_PRESENCE_UPDATE", "false"),
            ("WEBHOOK_EVENTS_CHATS_SET", "0"),
            ("WEBHOOK_EVENTS_CHATS_DELETE", ""),
        ],
    )
    .await;
    let wanted = ["messages.upsert", "call", "groups.update", "new.token", "order.paid"];
    let unwanted = ["presence.update", "chats.set", "chats.delete", "contacts.set", "order.sent"];
    for event in wanted.into_iter().chain(unwanted) {
        // An instance without a webhook of its own changes nothing.
        let envelope = json!({"event": event, "instance": "sales", "data": {}}).to_string();
        redis.push_with_id(event, &envelope).await;
    }
    redis.until_settled().await;
    assert_eq!(events_received(&receiver, "/global"), wanted.map(str::to_owned).into());
    assert_eq!(redis.counter("unrouted").await, unwanted.len() as u64);
}

#[tokio::test]
async fn a_global_webhook_that_is_switched_off_or_has_no_url_gets_nothing() {
    let receiver = Receiver::start().await;
    let url = receiver.url("/global");
    for settings in [
        [("WEBHOOK_GLOBAL_ENABLED", "false"), ("WEBHOOK_GLOBAL_URL", url.as_str())],
        [("WEBHOOK_GLOBAL_ENABLED", ""), ("WEBHOOK_GLOBAL_URL", &url)],
        [("WEBHOOK_GLOBAL_ENABLED", "true"), ("WEBHOOK_GLOBAL_URL", "")],
    ] {
        let redis = RedisServer::start();
        let event_on = [("WEBHOOK_EVENTS_MESSAGES_UPSERT", "true")];
        let _worker = Worker::start(&redis, &[&settings[..], &event_on[..]].concat()).await;
        redis.push(r#"{"event":"messages.upsert","instance":"sales"}"#).await;
        redis.until_settled().await;
        assert_eq!(redis.counter("unrouted").await, 1);
    }
    assert_eq!(receiver.count(), 0);
}

#[tokio::test]
async fn an_instance_gets_the_events_its_webhook_lists_in_whatever_spelling() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let _worker = Worker::start(&redis, &[]).await;
    let pushed = ["messages.upsert", "MESSAGES_UPDATE", "groups-update", "new.token", "order.paid"];
    let mut expected = BTreeMap::new();
    for (instance, listed, gets) in [
        ("all", json!([]), &pushed[..]),
        ("null", json!(null), &pushed[..]),
        ("dotted", json!(["messages.upsert"]), &pushed[..1]),
        ("upper", json!(["MESSAGES_UPSERT"]), &pushed[..1]),
        ("dashed", json!(["Messages-Upsert"]), &pushed[..1]),
        ("two", json!(["messages-update", "MESSAGES_UPSERT"]), &pushed[..2]),
        ("aliases", json!(["GROUP_UPDATE", "NEW_JWT"]), &["groups-update", "new.token"]),
        ("own", json!(["ORDER_PAID"]), &["order.paid"]),
        ("others", json!(["CALL"]), &[]),
    ] {
        let webhook = json!({"url": receiver.url(&format!("/{instance}")), "events": listed});
        redis.set_webhook(instance, &webhook.to_string()).await;
        for event in pushed {
            let envelope = json!({"event": event, "instance": instance}).to_string();
            redis.push_with_id(event, &envelope).await;
        }
        expected.insert(instance, gets.iter().copied().collect::<BTreeSet<_>>());
    }
    redis.until_settled().await;
    for (instance, gets) in expected {
        let got = events_received(&receiver, &format!("/{instance}"));
        assert_eq!(got, gets.into_iter().map(str::to_owned).collect(), "{instance}");
    }
}

#[tokio::test]
async fn an_event_that_nobody_wants_is_acknowledged_and_counted() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let disabled = json!({"enabled": false, "url": receiver.url("/disabled")});
    redis.set_webhook("disabled", &disabled.to_string()).await;
    let switched_off = json!({"enabled": false, "url": ""});
    redis.set_webhook("no url", &switched_off.to_string()).await;
    let neighbour = json!({"url": receiver.url("/neighbour")});
    redis.set_webhook("sales", &neighbour.to_string()).await;
    let _worker = Worker::start(&redis, &[]).await;
    let nowhere = [
        r#"{"event":"messages.upsert","instance":"disabled"}"#,
        r#"{"event":"messages.upsert","instance":"no url"}"#,
        r#"{"event":"messages.upsert","instance":"without a webhook"}"#,
        r#"{"event":"messages.upsert","instance":"SALES"}"#,
        r#"{"event":"messages.upsert","instance":""}"#,
        r#"{"event":"messages.upsert","instance":null}"#,
        r#"{"event":"messages.upsert"}"#,
        r#"{"event":"messages.upsert","instance":"sales","instance":"sales "}"#,
    ];
    for envelope in nowhere {
        redis.push(envelope).await;
    }
    redis.until_settled().await;
    assert_eq!(receiver.count(), 0);
    assert_eq!(redis.counter("unrouted").await, nowhere.len() as u64);
    assert!(redis.dead().await.is_empty());
}

/// Which events came to a path, by the ids they were pushed with; each came once.
fn events_received(receiver: &Receiver, path: &str) -> BTreeSet<String> {
    let received = receiver.received_on(path);
    let events: BTreeSet<_> = received.iter().map(|request| request.id().to_owned()).collect();
    assert_eq!(events.len(), received.len(), "every event comes once");
    events
}
