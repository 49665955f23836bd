//! The ERRORS webhook: what it is told of dead letters, and what it is not.

use posthaste::store::Replayed;

use crate::support::{Answer, Received, Receiver, RedisServer, Worker, fields, payload, until};

/// Settings under which everything fails fast, with an ERRORS webhook at `url`.
fn telling(url: &str) -> Vec<(&'static str, String)> {
    [
        ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.05"),
        // A receiver that is down is asked as often.
        ("WEBHOOK_RETRY_MAX_DELAY_SECONDS", "0.05"),
        ("WEBHOOK_RETRY_JITTER_FACTOR", "0"),
        ("WEBHOOK_RETRY_MAX_ATTEMPTS", "2"),
        ("WEBHOOK_EVENTS_ERRORS", "true"),
        ("WEBHOOK_EVENTS_ERRORS_WEBHOOK", url),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .into()
}

async fn start(redis: &RedisServer, settings: &[(&'static str, String)]) -> Worker {
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Worker::start(redis, &settings).await
}

async fn hook(redis: &RedisServer, instance: &str, url: &str) {
    redis.set_webhook(instance, &format!(r#"{{"url":"{url}"}}"#)).await;
}

/// A receiver that takes everything on `/errors` and answers with this status elsewhere.
async fn taking_errors_only(status: u16) -> Receiver {
    Receiver::answering(move |request| Answer::status(if request.path == "/errors" { 200 } else { status }))
        .await
}

/// A time as RFC 3339 in UTC with milliseconds, as text; `at` names where it stands.
fn time(value: &serde_json::Value, at: &str) -> String {
    let text = value
        .pointer(at)
        .and_then(serde_json::Value::as_str)
        .unwrap_or_else(|| panic!("{at} is a time: {value}"));
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{at}");
    text.to_owned()
}

#[tokio::test]
async fn the_body_has_exactly_the_documented_form() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|request| {
        if request.path.starts_with("/errors") {
            return Answer::status(200);
        }
        Answer::Reply {
            status: 503,
            headers: Vec::new(),
            body: format!("{{\"oops\":\"é\"}}{}", "x".repeat(5000)).into_bytes(),
        }
    })
    .await;
    let port = receiver.port();
    redis
        .set_webhook(
            "sales",
            &format!(
                r#"{{"url":"http://u:p@127.0.0.1:{port}/hook?token=1","byEvents":true,"base64":false}}"#
            ),
        )
        .await;
    // Everything that could add to a URL or a request is switched on.
    let mut settings = telling(&receiver.url("/errors?key=1"));
    settings.extend([
        ("WEBHOOK_GLOBAL_WEBHOOK_BY_EVENTS", "true".to_owned()),
        ("WEBHOOK_GLOBAL_HEADERS", r#"{"x-global":"1"}"#.to_owned()),
        ("WEBHOOK_GLOBAL_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned()),
    ]);
    redis
        .push_with_id(
            "evt-1",
            r#"{"event":"messages.upsert","instance":"sales","data":{"key":1},"date_time":"2026-01-01T00:00:00Z","sender":"s","server_url":"https:\/\/evo.example","apikey":"k"}"#,
        )
        .await;
    let _worker = start(&redis, &settings).await;

    let received = receiver.wait_for_on("/errors?key=1", 1).await;
    let body = received[0].text();
    let json = received[0].json();
    let first = time(&json, "/data/delivery/first_attempt");
    let last = time(&json, "/data/delivery/last_attempt");
    let now = time(&json, "/date_time");
    assert!(first < last && last <= now, "{body}");
    let reply = format!(r#"{{\"oops\":\"é\"}}{}"#, "x".repeat(1024 - 13));
    let expected = [
        r#"{"event":"error","instance":"sales","data":{"error":"Delivery failed","#,
        r#""message":"the receiver answered 503","status":503,"#,
        &format!(r#""response":{{"message":"{reply}"}},"#),
        r#""delivery":{"id":"evt-1","destination":"instance:sales","#,
        &format!(r#""url":"http://127.0.0.1:{port}/hook","event":"messages.upsert","#),
        r#""reason":"exhausted","attempts":2,"#,
        &format!(r#""first_attempt":"{first}","last_attempt":"{last}"}}}},"#),
        &format!(r#""date_time":"{now}","server_url":"https:\/\/evo.example"}}"#),
    ]
    .concat();
    assert_eq!(body, expected);

    assert_eq!(received[0].method, "POST");
    assert_eq!(received[0].header("content-type"), "application/json");
    assert_eq!(received[0].attempt(), 1);
    assert!(!received[0].id().is_empty() && received[0].id() != "evt-1");
    for header in ["x-global", "webhook-signature", "authorization"] {
        assert_eq!(received[0].header(header), "", "the global webhook's {header}");
    }
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(receiver.received_on("/errors?key=1").len(), 1);
}

#[tokio::test]
async fn each_delivery_that_dies_is_told_of_by_itself() {
    let redis = RedisServer::start();
    let receiver = taking_errors_only(404).await;
    hook(&redis, "sales", &receiver.url("/sales")).await;
    let mut settings = telling(&receiver.url("/errors"));
    settings.extend([
        ("WEBHOOK_GLOBAL_ENABLED", "true".to_owned()),
        ("WEBHOOK_GLOBAL_URL", receiver.url("/global")),
        ("WEBHOOK_EVENTS_X", "true".to_owned()),
    ]);
    for i in 0..5 {
        redis.push_with_id(&format!("evt-{i}"), r#"{"event":"x","instance":"sales"}"#).await;
    }
    let _worker = start(&redis, &settings).await;
    let received = receiver.wait_for_on("/errors", 10).await;
    let mut told: Vec<String> = received
        .iter()
        .map(|request| {
            let delivery = &request.json()["data"]["delivery"];
            assert_eq!(delivery["reason"], "rejected");
            assert_eq!(delivery["attempts"], 1);
            assert_eq!(delivery["first_attempt"], delivery["last_attempt"]);
            format!("{} {}", delivery["id"], delivery["destination"])
        })
        .collect();
    told.sort();
    told.dedup();
    assert_eq!(told.len(), 10, "each of 5 events × 2 destinations: {told:?}");
    let mut ids: Vec<&str> = received.iter().map(Received::id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 10, "each error event has an id of its own");
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(receiver.received_on("/errors").len(), 10);
}

#[tokio::test]
async fn what_never_got_an_answer_has_no_status_and_no_response() {
    let redis = RedisServer::start();
    let receiver = Receiver::start().await;
    let closed = {
        let closed = Receiver::start().await;
        closed.url("/")
    };
    hook(&redis, "sales", &closed).await;
    redis.push(r#"{"event":"x","instance":"sales"}"#).await;
    let _worker = start(&redis, &telling(&receiver.url("/errors"))).await;
    let body = receiver.wait_for(1).await[0].text();
    assert!(body.contains(r#","status":null,"response":{"message":null},"#), "{body}");
    assert!(body.contains("could not connect"), "{body}");
    assert!(body.ends_with("Z\"}"), "without a server_url there is none: {body}");
}

#[tokio::test]
async fn an_errors_webhook_that_is_down_is_told_again_and_then_dead_without_another_error() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|_| Answer::status(500)).await;
    hook(&redis, "sales", &receiver.url("/sales")).await;
    redis.push_with_id("evt-1", r#"{"event":"x","instance":"sales"}"#).await;
    let unreadable = redis.push("nope").await;
    let _worker = start(&redis, &telling(&receiver.url("/errors"))).await;
    let letters = redis.wait_for_letters(4).await;
    redis.until_settled().await;
    redis.assert_settled().await;

    let received = receiver.received_on("/errors");
    assert_eq!(received.len(), 4, "two errors, two attempts of each");
    for about in ["evt-1", unreadable.as_str()] {
        let of: Vec<&Received> =
            received.iter().filter(|request| request.json()["data"]["delivery"]["id"] == about).collect();
        assert_eq!(of.len(), 2, "{about}");
        assert_eq!([of[0].attempt(), of[1].attempt()], [1, 2]);
        assert_eq!(of[0].id(), of[1].id());
        assert_eq!(of[0].body, of[1].body);
        let letter = letters
            .iter()
            .find(|letter| letter.text("id") == of[0].id())
            .expect("the error event is dead too");
        assert_eq!(letter.text("destination"), "errors");
        assert_eq!(letter.text("reason"), "exhausted");
        assert_eq!(letter.text("event"), "ERROR");
        assert_eq!(letter.number("attempts"), 2);
        assert_eq!(letter.number("status"), 500);
        assert_eq!(letter.bytes("payload"), of[0].body);
        assert_eq!(letter.text("url"), receiver.url("/errors"));
    }
    assert_eq!(redis.letters().await.len(), 4);
    assert_eq!(redis.counter("dead").await, 4);
}

#[tokio::test]
async fn a_dead_error_can_be_replayed() {
    let redis = RedisServer::start();
    let (up, now) =
        (std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false)), std::sync::atomic::Ordering::SeqCst);
    let is_up = std::sync::Arc::clone(&up);
    let receiver = Receiver::answering(move |request| {
        Answer::status(if request.path == "/errors" && is_up.load(now) { 200 } else { 404 })
    })
    .await;
    hook(&redis, "sales", &receiver.url("/sales")).await;
    redis.push(r#"{"event":"x","instance":"sales"}"#).await;
    let _worker = start(&redis, &telling(&receiver.url("/errors"))).await;
    let letters = redis.wait_for_letters(2).await;
    let dead =
        letters.iter().find(|letter| letter.text("destination") == "errors").expect("the error is dead too");
    up.store(true, now);
    assert_eq!(redis.store().replay(&dead.key).await.unwrap(), Replayed::Sent);
    let received = receiver.wait_for_on("/errors", 2).await;
    assert_eq!(received[0].body, received[1].body);
    assert_eq!(received[0].id(), received[1].id());
    assert_eq!(received[1].attempt(), 1);
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(redis.letters().await.len(), 1);
}

#[tokio::test]
async fn it_is_told_of_entries_that_are_no_events() {
    let redis = RedisServer::start();
    let receiver = Receiver::start().await;
    let mut settings = telling(&receiver.url("/errors"));
    settings.push(("MAX_EVENT_BYTES", "1024".to_owned()));
    let secret = r#"{"apikey":"s3cr3t","instance":"sales","data":"s3cr3t"}"#;
    let unreadable = redis.push(secret).await;
    let too_large = redis.push(&format!(r#"{{"event":"x","data":"{}"}}"#, "s3cr3t".repeat(500))).await;
    let no_payload = redis.push_entry("webhooks", &fields(&[("s3cr3t", "s3cr3t")])).await;
    let _worker = start(&redis, &settings).await;
    let received = receiver.wait_for(3).await;
    for (id, reason, message) in [
        (&unreadable, "unreadable", "the payload has no `event`"),
        (&too_large, "too_large", "the payload has 3023 bytes, MAX_EVENT_BYTES allows 1024"),
        (&no_payload, "unreadable", "the entry has no field `payload`"),
    ] {
        let request = received
            .iter()
            .find(|request| request.json()["data"]["delivery"]["id"] == id.as_str())
            .expect("each is told of");
        let now = time(&request.json(), "/date_time");
        assert_eq!(
            request.text(),
            [
                r#"{"event":"error","instance":null,"data":{"error":"Delivery failed","#,
                &format!(r#""message":"{message}","status":null,"response":{{"message":null}},"#),
                &format!(r#""delivery":{{"id":"{id}","destination":null,"url":null,"event":null,"#),
                &format!(r#""reason":"{reason}","attempts":0,"first_attempt":null,"last_attempt":null}}}},"#),
                &format!(r#""date_time":"{now}"}}"#),
            ]
            .concat()
        );
        assert!(!request.text().contains("s3cr3t"));
    }
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(redis.letters().await.len(), 3);
}

#[tokio::test]
async fn it_is_told_nothing_unless_it_is_switched_on() {
    let redis = RedisServer::start();
    let receiver = taking_errors_only(404).await;
    hook(&redis, "sales", &receiver.url("/sales")).await;
    let mut settings = telling(&receiver.url("/errors"));
    settings.push(("WEBHOOK_EVENTS_ERRORS", "false".to_owned()));
    redis.push(r#"{"event":"x","instance":"sales"}"#).await;
    redis.push("nope").await;
    let _worker = start(&redis, &settings).await;
    redis.wait_for_letters(2).await;
    redis.until_settled().await;
    redis.assert_settled().await;
    assert_eq!(receiver.received_on("/errors").len(), 0);
}

#[tokio::test]
async fn an_error_that_waits_when_it_is_switched_off_is_dead_without_another_error() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|_| Answer::status(503)).await;
    let mut settings = telling(&receiver.url("/errors"));
    settings.push(("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "1".to_owned()));
    redis.push("nope").await;
    let mut worker = start(&redis, &settings).await;
    redis.until_waiting(1).await;
    worker.stop();
    settings.push(("WEBHOOK_EVENTS_ERRORS", "false".to_owned()));
    let _worker = start(&redis, &settings).await;
    redis.until_settled().await;
    redis.assert_settled().await;
    let letters = redis.letters().await;
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[1].text("destination"), "errors");
    assert_eq!(letters[1].text("reason"), "removed");
    assert_eq!(receiver.count(), 1);
}

/// Everything that must not be shown has this in it, and nothing else does.
const MARK: &str = "s3cr3t";
const USERINFO: &str = "s3cr3t-user:s3cr3t-pass@";
const QUERY: &str = "?k=s3cr3t-query";
const HEADERS: &str = r#"{"x-api-key":"s3cr3t-header","jwt_key":"s3cr3t-jwt"}"#;
/// The base64 of `s3cr3t-signing-key-signing-key`.
const SIGNING_KEY: &str = "whsec_czNjcjN0LXNpZ25pbmcta2V5LXNpZ25pbmcta2V5";

/// A receiver that fails in every way; each is the path of an instance.
async fn failing_in_every_way() -> Receiver {
    Receiver::answering(|request| match request.path.trim_end_matches(QUERY) {
        "/errors" => Answer::status(200),
        "/redirect" => Answer::with_header(302, "location", "http://127.0.0.1:1/s3cr3t-location"),
        "/early" => Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()),
        "/garbage" => Answer::Raw(b"not HTTP at all\r\n\r\n".to_vec()),
        "/slow" => Answer::Stall(Vec::new()),
        "/gone" => Answer::status(410),
        _ => Answer::status(500),
    })
    .await
}

/// Instances and their URLs, of which none can be delivered to.
fn hopeless_urls(receiver: &Receiver) -> Vec<(&'static str, String)> {
    let port = receiver.port();
    let closed = crate::support::free_port();
    let mut urls: Vec<(&str, String)> = ["redirect", "early", "garbage", "slow", "gone"]
        .map(|path| (path, format!("http://{USERINFO}127.0.0.1:{port}/{path}{QUERY}")))
        .into();
    urls.extend([
        ("status", format!("http://{USERINFO}127.0.0.1:{port}/{QUERY}#s3cr3t-fragment")),
        ("refused", format!("http://{USERINFO}127.0.0.1:{closed}/{QUERY}")),
        ("dns", format!("http://{USERINFO}nowhere.invalid/{QUERY}")),
        ("tls", format!("https://{USERINFO}127.0.0.1:{port}/{QUERY}")),
        ("broken", format!("http://{USERINFO}/{QUERY}")),
    ]);
    urls
}

/// A worker with secrets wherever there can be some.
fn worker_with_secrets(redis: &RedisServer, receiver: &Receiver) -> Worker {
    let url = |path: &str| format!("http://{USERINFO}127.0.0.1:{}{path}{QUERY}", receiver.port());
    let mut settings = telling(&url("/errors"));
    settings.extend([
        ("WEBHOOK_REQUEST_TIMEOUT_MS", "1000".to_owned()),
        ("WEBHOOK_GLOBAL_ENABLED", "true".to_owned()),
        ("WEBHOOK_GLOBAL_URL", url("/global")),
        ("WEBHOOK_GLOBAL_HEADERS", HEADERS.to_owned()),
        ("WEBHOOK_GLOBAL_SECRET", SIGNING_KEY.to_owned()),
        ("WEBHOOK_EVENTS_X", "true".to_owned()),
        ("AUTHENTICATION_API_KEY", "s3cr3t-admin".to_owned()),
    ]);
    let settings: Vec<(&str, &str)> = settings.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let redis_url = format!("redis://:s3cr3t-redis@127.0.0.1:{}", redis.port());
    Worker::spawn(&redis_url, &settings)
}

#[tokio::test]
async fn no_secret_is_told_or_logged() {
    let redis = RedisServer::start();
    let receiver = failing_in_every_way().await;
    let urls = hopeless_urls(&receiver);
    for (instance, url) in &urls {
        let webhook = format!(r#"{{"url":"{url}","headers":{HEADERS},"secret":["{SIGNING_KEY}"]}}"#);
        redis.set_webhook(instance, &webhook).await;
        let head =
            format!(r#""event":"x","instance":"{instance}","server_url":"https://{USERINFO}evo/{QUERY}""#);
        let rest = r#""data":{"text":"s3cr3t-data"},"sender":"s3cr3t-sender","apikey":"s3cr3t-apikey""#;
        redis.push(&format!("{{{head},{rest}}}")).await;
    }
    let _: String = redis.command(&["CONFIG", "SET", "requirepass", "s3cr3t-redis"]).await;
    let mut worker = worker_with_secrets(&redis, &receiver);
    let errors_path = format!("/errors{QUERY}");
    receiver.wait_for_on(&errors_path, 2 * urls.len()).await;
    // An outage, for what is logged then.
    let _: u64 = redis.command(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    redis.push("s3cr3t-unreadable").await;
    redis.wait_for_letters(2 * urls.len() + 1).await;
    redis.until_settled().await;
    worker.stop();

    let told = receiver.received_on(&errors_path);
    assert!(told.len() > 2 * urls.len(), "{}", told.len());
    for request in told {
        assert_no_secret("the error", &request.text());
    }
    for letter in redis.letters().await {
        for (field, value) in &letter.fields {
            if field != "payload" {
                assert_no_secret(field, &String::from_utf8_lossy(value));
            }
        }
    }
    for (_, entry) in redis.entries("{webhooks}:attempts").await {
        for (_, value) in entry {
            assert_no_secret("the attempts", &String::from_utf8_lossy(&value));
        }
    }
    let log = worker.log();
    assert!(log.contains("attempted") && log.contains("dead letter"), "{log}");
    for line in log.lines() {
        assert_no_secret("the log", line);
    }
}

fn assert_no_secret(place: &str, text: &str) {
    // The second is how a secret begins in base64, as in Basic authentication.
    for secret in [MARK, "czNjcjN0"] {
        assert!(!text.contains(secret), "{place} holds a secret: {text}");
    }
}

#[tokio::test]
async fn a_dead_letter_and_its_error_appear_together() {
    let redis = RedisServer::start();
    // Errors are never settled here, so that there are as many of them as there are dead letters.
    let receiver = Receiver::answering(|request| {
        if request.path == "/errors" {
            Answer::Stall(Vec::new())
        } else {
            Answer::status(if request.id().len() % 2 == 0 { 404 } else { 500 })
        }
    })
    .await;
    hook(&redis, "sales", &receiver.url("/sales")).await;
    for i in 0..100 {
        let id = "i".repeat(i + 1);
        redis.push_with_id(&id, r#"{"event":"x","instance":"sales"}"#).await;
        redis.push(&format!("nope {i}")).await;
    }
    let settings = telling(&receiver.url("/errors"));
    let look = "local errors = 0
        for _, entry in ipairs(redis.call('XRANGE', KEYS[2], '-', '+')) do
          for i = 1, #entry[2], 2 do
            if entry[2][i] == 'event' and string.find(entry[2][i + 1], '^error') then errors = errors + 1 end
          end
        end
        for _, event in ipairs(redis.call('ZRANGE', KEYS[3], 0, -1)) do
          if string.find(event, '^error') then errors = errors + 1 end
        end
        return {redis.call('XLEN', KEYS[1]), errors, #redis.call('KEYS', '*:event:error-*')}";
    let keys = ["{webhooks}:dead", "{webhooks}:ready", "{webhooks}:park:errors"];
    let looked = async || {
        let counts: (u64, u64, u64) = redis.command(&[&["EVAL", look, "3"], &keys[..]].concat()).await;
        assert!(
            counts.0 == counts.1 && counts.0 == counts.2,
            "dead letters, errors queued, bodies of errors: {counts:?}"
        );
        counts.0
    };
    let mut worker = start(&redis, &settings).await;
    until("some to be dead", || async { looked().await > 20 }).await;
    // However it ends.
    worker.kill();
    looked().await;
    let mut worker = start(&redis, &settings).await;
    until("all to be dead", || async { looked().await >= 200 }).await;
    assert_eq!(looked().await, 200);
    worker.kill();
}

#[tokio::test]
async fn entries_of_both_streams_with_the_same_id_are_told_of_by_themselves() {
    let redis = RedisServer::start();
    let receiver = taking_errors_only(404).await;
    hook(&redis, "sales", &receiver.url("/sales")).await;
    let envelope = r#"{"event":"x","instance":"sales"}"#;
    let mut new = payload(envelope);
    new.extend(fields(&[("id", "new")]));
    redis.push_entry_as("webhooks", "5-1", &new).await;
    let now = redis.store().time_ms().await.expect("redis answers").to_string();
    let hash = ["payload", envelope, "event", &format!("replayed {now}")];
    let _: u64 = redis.command(&[&["HSET", "{webhooks}:event:replay-1-1"], &hash[..]].concat()).await;
    let due = fields(&[("event", "replay-1-1"), ("destination", "instance:sales")]);
    redis.push_entry_as("{webhooks}:ready", "5-1", &due).await;
    let _worker = start(&redis, &telling(&receiver.url("/errors"))).await;
    let letters = redis.wait_for_letters(2).await;
    assert!(letters.iter().all(|letter| letter.text("attempts") == "1"), "{letters:?}");
    redis.until_settled().await;
    redis.assert_settled().await;
    let mut told: Vec<(String, String)> = receiver
        .received_on("/errors")
        .iter()
        .map(|request| {
            let about = request.json()["data"]["delivery"]["id"].to_string();
            (about, request.id().to_owned())
        })
        .collect();
    told.sort();
    assert_eq!(told.len(), 2);
    assert_eq!((told[0].0.as_str(), told[1].0.as_str()), ("\"new\"", "\"replayed\""));
    assert_ne!(told[0].1, told[1].1, "their ids");
}

#[tokio::test]
async fn a_receiver_that_repeats_what_it_was_sent_gives_no_secret_away() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|request| match request.path.as_str() {
        "/errors" => Answer::status(200),
        _ => Answer::Reply {
            status: 400,
            headers: Vec::new(),
            body: format!("{} {}", request.header("x-token"), request.text()).into_bytes(),
        },
    })
    .await;
    let webhook =
        serde_json::json!({"url": receiver.url("/sales"), "headers": {"X-Token": "header-secret-1"}})
            .to_string();
    redis.set_webhook("sales", &webhook).await;
    let errors = receiver.url("/errors");
    let settings = [("WEBHOOK_EVENTS_ERRORS", "true"), ("WEBHOOK_EVENTS_ERRORS_WEBHOOK", errors.as_str())];
    let _worker = Worker::start(&redis, &settings).await;
    redis.push(r#"{"event":"x","instance":"sales","apikey":"body-secret-2"}"#).await;
    let received = receiver.wait_for(2).await;
    let told = received[1].text();
    assert!(told.contains(r#""message":"*** {"#), "{told}");
    assert!(!told.contains("secret"), "{told}");
}
