//! Evolution API as it is: its global webhook points here, by events, and nothing else is changed.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::caller::{Caller, KEY};
use crate::support::{Answer, Gate, Receiver, RedisServer};

/// The bodies Evolution API 2.3 sends, with the route it appends to `WEBHOOK_GLOBAL_URL`.
const SENT: [(&str, &str); 4] = [
    (
        "/qrcode-updated",
        r#"{"event":"qrcode.updated","instance":"sales","data":{"qrcode":{"instance":"sales","pairingCode":null,"code":"2@x","base64":"data:image/png;base64,iVBORw0KGgo="}},"destination":"http://any:a-key@127.0.0.1/events","date_time":"2026-05-09T04:30:00.000Z","server_url":"http://localhost:8080","apikey":null}"#,
    ),
    (
        "/messages-upsert",
        r#"{"event":"messages.upsert","instance":"sales","data":{"key":{"remoteJid":"5511999999999@s.whatsapp.net","fromMe":false,"id":"3EB0"},"pushName":"Ana","status":"DELIVERY_ACK","message":{"conversation":"Olá"},"contextInfo":null,"messageType":"conversation","messageTimestamp":1778311800,"instanceId":"7f3","source":"android"},"destination":"http://any:a-key@127.0.0.1/events","date_time":"2026-05-09T04:30:01.000Z","sender":"5511888888888@s.whatsapp.net","server_url":"http://localhost:8080","apikey":"B6D7"}"#,
    ),
    (
        "/group-participants-update",
        r#"{"event":"group-participants.update","instance":"sales","data":{"id":"1@g.us","participants":["2@s.whatsapp.net"],"action":"add"},"destination":"x","date_time":"2026-05-09T04:30:02.000Z","sender":"5511888888888@s.whatsapp.net","server_url":"http://localhost:8080","apikey":null}"#,
    ),
    (
        "/remove-instance",
        r#"{"event":"remove.instance","instance":"sales","data":null,"destination":"x","date_time":"2026-05-09T04:30:03.000Z","server_url":"http://localhost:8080","apikey":null}"#,
    ),
];

/// Sends as axios does: JSON, and of a URL with userinfo the key as Basic credentials.
async fn send(caller: &Caller, route: &str, body: &str) -> u16 {
    let url = caller.base.replace("http://", &format!("http://any:{KEY}@"));
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .post(format!("{url}/events{route}"))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/plain, */*")
        .header("user-agent", "axios/1.7.9");
    request.body(body.to_owned()).send().await.expect("an answer").status().as_u16()
}

#[tokio::test]
async fn what_evolution_api_posts_reaches_the_instances_webhook_through_a_kill_of_the_worker() {
    let always = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];
    let redis = RedisServer::start_with(&always);
    // It answers nothing before the worker is killed.
    let gate = Gate::closed();
    let behind = gate.clone();
    let receiver = Receiver::answering(move |_| Answer::status(200).behind(&behind)).await;
    let webhook =
        json!({"url": receiver.url("/n8n?token=1"), "webhook_by_events": true, "webhook_base64": false});
    redis.set_webhook("sales", &webhook.to_string()).await;
    let mut caller = Caller::start_with_key(&redis, &[]).await;
    let keyless = reqwest::Client::builder().no_proxy().build().unwrap();
    let keyless = keyless.post(format!("{}/events", caller.base)).body(SENT[0].1).send().await.unwrap();
    assert_eq!(keyless.status(), 401);
    for (route, body) in SENT {
        assert_eq!(send(&caller, route, body).await, 202, "{route}");
    }
    receiver.wait_for(SENT.len()).await;
    caller.worker.kill();
    gate.open();
    let _next = Caller::start_with_key(&redis, &[]).await;
    redis.until_settled().await;

    let received = receiver.received();
    let paths: HashSet<&str> = received.iter().map(|request| request.path.as_str()).collect();
    let routes: Vec<String> = SENT.iter().map(|(route, _)| format!("/n8n{route}?token=1")).collect();
    assert_eq!(paths, routes.iter().map(String::as_str).collect());
    for (route, body) in SENT {
        let mut sent: Value = serde_json::from_str(body).unwrap();
        sent["destination"] = json!(receiver.url("/n8n?token=1"));
        let of_route = received.iter().filter(|request| request.path == format!("/n8n{route}?token=1"));
        let of_route: Vec<_> = of_route.collect();
        assert!(of_route.iter().all(|request| request.json() == sent), "{route}");
        assert!(of_route.iter().all(|request| request.id() == of_route[0].id()), "each has one id");
    }
    redis.assert_settled().await;
}
