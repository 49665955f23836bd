//! What is sent: the bytes that were pushed, with `destination` set and nothing else changed.

use serde_json::{Value, json};

use crate::support::{Answer, Receiver, RedisServer, Worker};

/// Envelopes of instance `i`; `‸` is where `destination` is put.
const AS_PUSHED: &[&str] = &[
    // As Evolution API writes them.
    r#"{"event":"messages.upsert","instance":"i","data":{"key":{"id":"A"}}‸,"date_time":"2026-05-09T07:30:00.000Z","sender":"5511999999999@s.whatsapp.net","server_url":"https://evo.example","apikey":null}"#,
    // Numbers as they were written.
    r#"{"event":"x","instance":"i","data":{"big":123456789012345678901234567890,"a":1.0,"b":1e3,"c":-0,"d":1E-7,"e":0.1000}‸,"f":18446744073709551616,"g":1.0}"#,
    // Duplicate keys: all are kept, the last counts.
    r#"{"event":"y","event":"x","instance":"h","instance":"i","data":1,"data":{"a":1,"a":2}‸,"b":1,"b":2}"#,
    // Escapes, in keys too.
    r#"{"\u0065vent":"\u006d\u0065ssages.upsert","instance":"\u0069","d\u0061ta":"\u00e9\/\ud83d\ude00\"\\\n\u0000"‸,"\u00e9":"é"}"#,
    // What a str cannot hold.
    r#"{"event":"x","instance":"i","data":{"\ud800":"\udfff"}‸}"#,
    // Texts of more than one byte.
    r#"{"event":"x","instance":"i","data":"Olá, 世界 👋🏽"‸,"é":"ü"}"#,
    // White space.
    "\n { \"event\"\t:\r\n\"x\" , \"instance\" : \"i\",\"data\" : { \"a\" : [ 1 , 2 ] }‸ \n,\t\"z\":1 }\r\n ",
    // Every type of `data`.
    r#"{"event":"x","instance":"i","data":null‸}"#,
    r#"{"event":"x","instance":"i","data":true‸}"#,
    r#"{"event":"x","instance":"i","data":-12.50e+2‸}"#,
    r#"{"event":"x","instance":"i","data":"text"‸}"#,
    r#"{"event":"x","instance":"i","data":""‸}"#,
    r#"{"event":"x","instance":"i","data":[]‸}"#,
    r#"{"event":"x","instance":"i","data":[null,{"a":[]},"b"]‸}"#,
    r#"{"event":"x","instance":"i","data":{}‸}"#,
    // No `data`.
    r#"{"event":"x"‸,"instance":"i"}"#,
    r#"{"instance":"i","event":"x"‸}"#,
    // In another order.
    r#"{"z":[{"data":1}],"data":{"event":"y","instance":"h","destination":"d"}‸,"instance":"i","event":"x"}"#,
    // What only looks like media, or is not at its place.
    r#"{"event":"qrcode.updated","instance":"i","data":{"qrcode":{"base64":"data:image/png;base64,AAAA","code":"2@"}}‸}"#,
    r#"{"event":"x","instance":"i","base64":"A","message":{"base64":"A"},"data":{"base64":"A","Message":{"base64":"A"},"message":{"BASE64":"A","x":{"base64":"A"},"y":"base64"}}‸}"#,
    r#"{"event":"x","instance":"i","data":[[{"message":{"base64":"A"}}],{"message":[{"base64":"A"}]},{"message":"base64"}]‸}"#,
];

fn pushed(template: &str) -> String {
    template.replace('‸', "")
}

/// What has to arrive at a URL.
fn sent(template: &str, url: &str) -> String {
    template.replace('‸', &format!(",\"destination\":{}", Value::from(url)))
}

#[tokio::test]
async fn an_event_arrives_byte_for_byte_with_its_destination_on_every_attempt() {
    let redis = RedisServer::start();
    // Every instance's delivery fails once: its retry is sent what Redis kept meanwhile.
    let receiver = Receiver::answering(|request| {
        let fails = request.path != "/global?q=1" && request.attempt() == 1;
        Answer::status(if fails { 500 } else { 200 })
    })
    .await;
    let (global, instance) = (receiver.url("/global?q=1"), receiver.url("/i/#frag"));
    let webhook = json!({"url": instance, "byEvents": true});
    redis.set_webhook("i", &webhook.to_string()).await;
    let _worker = Worker::start(
        &redis,
        &[
            ("WEBHOOK_GLOBAL_ENABLED", "true"),
            ("WEBHOOK_GLOBAL_URL", &global),
            ("WEBHOOK_EVENTS_MESSAGES_UPSERT", "true"),
            ("WEBHOOK_EVENTS_QRCODE_UPDATED", "true"),
            ("WEBHOOK_EVENTS_X", "true"),
            ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.05"),
        ],
    )
    .await;
    let mut ids = Vec::new();
    for template in AS_PUSHED {
        ids.push(redis.push(&pushed(template)).await);
    }
    redis.until_settled().await;
    for (id, template) in ids.iter().zip(AS_PUSHED) {
        let received = receiver.received_of(id);
        let (at_global, at_instance): (Vec<_>, Vec<_>) =
            received.iter().partition(|request| request.path.starts_with("/global"));
        assert_eq!(at_global.len(), 1, "{template}");
        assert_eq!(at_global[0].text(), sent(template, &global));
        assert_eq!(at_instance.len(), 2, "{template}");
        assert_eq!(at_instance[0].text(), sent(template, &instance));
        assert_eq!(at_instance[1].text(), sent(template, &instance));
    }
}

#[tokio::test]
async fn a_destination_that_was_pushed_is_replaced_where_it_stands() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let url = receiver.url("/hook/é?q=\"a\"");
    redis.set_url("i", &url).await;
    let _worker = Worker::start(&redis, &[]).await;
    let destination = Value::from(url).to_string();
    for (pushed, sent) in [
        (
            r#"{"event":"x","destination":"https://old/","instance":"i","data":1}"#,
            r#"{"event":"x","destination":‸,"instance":"i","data":1}"#,
        ),
        (
            r#"{"event":"x","destination" : null ,"instance":"i","destination":{"a":[1]}}"#,
            r#"{"event":"x","destination" : ‸ ,"instance":"i","destination":‸}"#,
        ),
        (
            r#"{"event":"x","instance":"i","data":{"destination":"kept"},"destin\u0061tion":5}"#,
            r#"{"event":"x","instance":"i","data":{"destination":"kept"},"destin\u0061tion":‸}"#,
        ),
    ] {
        let id = redis.push(pushed).await;
        let received = receiver.wait_for_of(&id, 1).await;
        assert_eq!(received[0].text(), sent.replace('‸', &destination));
        assert_eq!(received[0].json()["destination"].to_string(), destination);
    }
}

/// What was pushed, and the same without its media; `‸` is where `destination` is put.
const WITH_MEDIA: &[(&str, &str)] = &[
    (
        r#"{"event":"x","instance":"i","data":{"message":{"imageMessage":{"url":"u"},"base64":"AAAA"}}‸}"#,
        r#"{"event":"x","instance":"i","data":{"message":{"imageMessage":{"url":"u"}}}‸}"#,
    ),
    (
        r#"{"event":"x","instance":"i","data":{"message":{"base64":"AAAA","n":1.0,"n":1e3}}‸}"#,
        r#"{"event":"x","instance":"i","data":{"message":{"n":1.0,"n":1e3}}‸}"#,
    ),
    (
        r#"{"event":"x","instance":"i","data":{"message":{"a":1,"base64":"AAAA","b":12345678901234567890123}}‸}"#,
        r#"{"event":"x","instance":"i","data":{"message":{"a":1,"b":12345678901234567890123}}‸}"#,
    ),
    (
        r#"{"event":"x","instance":"i","data":{"message":{"base64":"AAAA"},"message":{"base64":null,"base64":{"a":[1]}}}‸}"#,
        r#"{"event":"x","instance":"i","data":{"message":{},"message":{}}‸}"#,
    ),
    (
        r#"{"event":"x","instance":"i","data":{"mess\u0061ge":{"b\u0061se64":"AAAA","\/":"\u00e9"}}‸}"#,
        r#"{"event":"x","instance":"i","data":{"mess\u0061ge":{"\/":"\u00e9"}}‸}"#,
    ),
    (
        r#"{"event":"x","instance":"i","data":[{"message":{"base64":"AAAA"}},null,{"message":{"a":1,"base64":"BBBB"}},{"qrcode":{"base64":"C"}}]‸}"#,
        r#"{"event":"x","instance":"i","data":[{"message":{}},null,{"message":{"a":1}},{"qrcode":{"base64":"C"}}]‸}"#,
    ),
    (
        r#"{"event":"x","instance":"i","data":{"qrcode":{"base64":"Q"},"base64":"D","message":{"base64":"AAAA","x":{"base64":"X"}}}‸}"#,
        r#"{"event":"x","instance":"i","data":{"qrcode":{"base64":"Q"},"base64":"D","message":{"x":{"base64":"X"}}}‸}"#,
    ),
];

#[tokio::test]
async fn media_go_to_the_global_webhook_and_to_instances_that_asked_for_them() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let url = receiver.url("/hook");
    let _worker = Worker::start(
        &redis,
        &[
            ("WEBHOOK_GLOBAL_ENABLED", "true"),
            ("WEBHOOK_GLOBAL_URL", &receiver.url("/global")),
            ("WEBHOOK_EVENTS_X", "true"),
        ],
    )
    .await;
    for (settings, keeps) in [
        (json!({"url": url}), false),
        (json!({"url": url, "base64": false}), false),
        (json!({"url": url, "webhook_base64": true}), true),
    ] {
        redis.set_webhook("i", &settings.to_string()).await;
        for (with, without) in WITH_MEDIA {
            let id = redis.push(&pushed(with)).await;
            for request in receiver.wait_for_of(&id, 2).await {
                let expected = match request.path.as_str() {
                    "/global" => sent(with, &receiver.url("/global")),
                    _ => sent(if keeps { with } else { without }, &url),
                };
                assert_eq!(request.text(), expected, "{settings}");
            }
        }
    }
}

#[tokio::test]
async fn media_do_not_go_to_a_global_webhook_that_is_set_so_and_the_instance_decides_for_itself() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let (global, instance) = (receiver.url("/global"), receiver.url("/hook"));
    let webhook = json!({"url": instance, "base64": true});
    redis.set_webhook("i", &webhook.to_string()).await;
    let _worker = Worker::start(
        &redis,
        &[
            ("WEBHOOK_GLOBAL_ENABLED", "true"),
            ("WEBHOOK_GLOBAL_URL", &global),
            ("WEBHOOK_EVENTS_X", "true"),
            ("WEBHOOK_GLOBAL_BASE64", "false"),
        ],
    )
    .await;
    for (with, without) in WITH_MEDIA {
        let id = redis.push(&pushed(with)).await;
        for request in receiver.wait_for_of(&id, 2).await {
            let expected = match request.path.as_str() {
                "/global" => sent(without, &global),
                _ => sent(with, &instance),
            };
            assert_eq!(request.text(), expected);
        }
    }
}

#[tokio::test]
async fn five_megabytes_of_media_are_carried_whole_or_removed_on_every_attempt() {
    let redis = RedisServer::start();
    let receiver =
        Receiver::answering(|request| Answer::status(if request.attempt() == 1 { 500 } else { 200 })).await;
    let media: String = "QmFzZTY0/+".chars().cycle().take(5 * 1024 * 1024).collect();
    let template = format!(
        r#"{{"event":"messages.upsert","instance":"i","data":{{"message":{{"a":1.0,"base64":"{media}"}}}}‸,"z":1e3}}"#
    );
    let stripped = r#"{"event":"messages.upsert","instance":"i","data":{"message":{"a":1.0}}‸,"z":1e3}"#;
    let (global, instance) = (receiver.url("/global"), receiver.url("/hook"));
    redis.set_url("i", &instance).await;
    let _worker = Worker::start(
        &redis,
        &[
            ("WEBHOOK_GLOBAL_ENABLED", "true"),
            ("WEBHOOK_GLOBAL_URL", &global),
            ("WEBHOOK_EVENTS_MESSAGES_UPSERT", "true"),
            ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.05"),
        ],
    )
    .await;
    redis.push(&pushed(&template)).await;
    redis.until_settled().await;
    let at_global = receiver.received_on("/global");
    let at_instance = receiver.received_on("/hook");
    assert_eq!((at_global.len(), at_instance.len()), (2, 2));
    for request in at_global {
        // Not assert_eq: nobody wants to read five megabytes twice.
        assert!(request.text() == sent(&template, &global));
    }
    for request in at_instance {
        assert_eq!(request.text(), sent(stripped, &instance));
    }
}
