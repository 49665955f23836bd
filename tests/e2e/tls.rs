//! TLS: which receivers are believed to be who they say, how this worker shows who it is, and TLS to Redis.

use serde_json::json;

use crate::support::{Authority, Files, Issued, Letter, RedisServer, TlsServer, Worker};

const TWO_ATTEMPTS: [(&str, &str); 2] =
    [("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.05"), ("WEBHOOK_RETRY_MAX_ATTEMPTS", "2")];

async fn worker(redis: &RedisServer, settings: &[(&str, &str)]) -> Worker {
    Worker::start(redis, &[&TWO_ATTEMPTS[..], settings].concat()).await
}

async fn push(redis: &RedisServer, webhook: &serde_json::Value) -> String {
    let instance = webhook.to_string();
    redis.set_webhook(&instance, &instance).await;
    redis.push(&json!({ "event": "x", "instance": instance }).to_string()).await
}

async fn delivered(redis: &RedisServer, webhook: &serde_json::Value) {
    let dead = redis.dead().await.len();
    push(redis, webhook).await;
    redis.until_settled().await;
    assert_eq!(redis.dead().await.len(), dead, "{webhook}");
}

async fn dead(redis: &RedisServer, webhook: &serde_json::Value) -> Letter {
    let id = push(redis, webhook).await;
    redis.wait_for_letter(&id).await
}

#[tokio::test]
async fn a_ca_of_ones_own_is_trusted_once_it_is_named() {
    let (redis, files, ca) = (RedisServer::start(), Files::new(), Authority::new("ours"));
    let server = TlsServer::with(&ca.server(&["localhost", "127.0.0.1"]));
    let (by_name, by_address) =
        (json!({ "url": server.url("localhost") }), json!({ "url": server.url("127.0.0.1") }));
    let distrusting = worker(&redis, &[]).await;
    let letter = dead(&redis, &by_name).await;
    let error = letter.text("error");
    assert!(error.starts_with("TLS failed: invalid peer certificate: UnknownIssuer"), "{error}");
    assert!(error.contains("WEBHOOK_CA_FILE"), "{error}");
    assert_eq!(server.count(), 0);
    drop(distrusting);

    // Several certificates may be in one file.
    let both = format!("{}{}", Authority::new("another").pem, ca.pem);
    let _trusting = worker(&redis, &[("WEBHOOK_CA_FILE", &files.write("ca.pem", &both))]).await;
    delivered(&redis, &by_name).await;
    delivered(&redis, &by_address).await;
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn a_certificate_that_signs_itself_is_trusted_once_it_is_named_unless_it_is_a_ca() {
    let (redis, files) = (RedisServer::start(), Files::new());
    let own = Issued::self_signed("localhost", false);
    let server = TlsServer::with(&own);
    let trusting = worker(&redis, &[("WEBHOOK_CA_FILE", &files.write("own.pem", &own.certificate))]).await;
    delivered(&redis, &json!({ "url": server.url("localhost") })).await;
    assert_eq!(server.count(), 1);
    drop(trusting);

    let own = Issued::self_signed("localhost", true);
    let server = TlsServer::with(&own);
    let _trusting = worker(&redis, &[("WEBHOOK_CA_FILE", &files.write("own.pem", &own.certificate))]).await;
    let letter = dead(&redis, &json!({ "url": server.url("localhost") })).await;
    assert!(letter.text("error").contains("basicConstraints=CA:FALSE"), "{}", letter.text("error"));
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused_whoever_issued_it() {
    let (redis, files, ca) = (RedisServer::start(), Files::new(), Authority::new("ours"));
    let server = TlsServer::with(&ca.server(&["other.example"]));
    let _worker = worker(&redis, &[("WEBHOOK_CA_FILE", &files.write("ca.pem", &ca.pem))]).await;
    let letter = dead(&redis, &json!({ "url": server.url("localhost") })).await;
    let error = letter.text("error");
    assert!(error.starts_with("TLS failed: ") && error.contains("other.example"), "{error}");
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn the_operators_own_destinations_are_trusted_by_the_same_file() {
    let (redis, files, ca) = (RedisServer::start(), Files::new(), Authority::new("ours"));
    let server = TlsServer::with(&ca.server(&["localhost"]));
    let (ca_file, url) = (files.write("ca.pem", &ca.pem), server.url("localhost"));
    let settings = [
        ("WEBHOOK_CA_FILE", ca_file.as_str()),
        ("WEBHOOK_GLOBAL_ENABLED", "true"),
        ("WEBHOOK_GLOBAL_URL", url.as_str()),
        ("WEBHOOK_EVENTS_X", "true"),
    ];
    let _worker = worker(&redis, &settings).await;
    redis.push(r#"{"event":"x"}"#).await;
    redis.until_settled().await;
    assert_eq!((redis.dead().await.len(), server.count()), (0, 1));
}

#[tokio::test]
async fn insecure_tls_holds_for_its_webhook_alone_and_as_long_as_it_is_permitted() {
    let (redis, ca) = (RedisServer::start(), Authority::new("nobody's"));
    let server = TlsServer::with(&ca.server(&["other.example"]));
    let insecure = json!({ "url": server.url("localhost"), "insecure_tls": true });
    let secure = json!({ "url": server.url("localhost") });
    let permitting = worker(&redis, &[("WEBHOOK_ALLOW_INSECURE_TLS", "true")]).await;
    delivered(&redis, &insecure).await;
    assert_eq!(server.count(), 1);
    assert!(dead(&redis, &secure).await.text("error").starts_with("TLS failed: "));
    drop(permitting);

    let _strict = worker(&redis, &[]).await;
    let letter = dead(&redis, &insecure).await;
    assert!(letter.text("error").starts_with("TLS failed: "), "{}", letter.text("error"));
    assert_eq!(server.count(), 1);
}

#[tokio::test]
async fn a_receiver_that_asks_for_a_certificate_gets_the_one_that_is_set() {
    let (redis, files) = (RedisServer::start(), Files::new());
    let (ca, clients) = (Authority::new("servers"), Authority::new("clients"));
    let server = TlsServer::for_clients_of(&ca.server(&["localhost"]), &clients);
    let webhook = json!({ "url": server.url("localhost") });
    let ca_file = files.write("ca.pem", &ca.pem);
    let trusting = ("WEBHOOK_CA_FILE", ca_file.as_str());
    let anonymous = worker(&redis, &[trusting]).await;
    let letter = dead(&redis, &webhook).await;
    assert!(letter.text("error").starts_with("TLS failed: "), "{}", letter.text("error"));
    assert!(letter.text("error").contains("WEBHOOK_CLIENT_CERT"), "{}", letter.text("error"));
    drop(anonymous);

    let known = clients.client("posthaste.example");
    let (certificate, key) =
        (files.write("client.pem", &known.certificate), files.write("client.key", &known.key));
    let whole = files.write("whole.pem", &format!("{}{}", known.key, known.certificate));
    let two = [trusting, ("WEBHOOK_CLIENT_CERT", certificate.as_str()), ("WEBHOOK_CLIENT_KEY", key.as_str())];
    let one = [trusting, ("WEBHOOK_CLIENT_CERT", whole.as_str())];
    for (settings, count) in [(&two[..], 1), (&one[..], 2)] {
        let _known = worker(&redis, settings).await;
        delivered(&redis, &webhook).await;
        assert_eq!(server.count(), count);
    }

    let stranger = Authority::new("strangers").client("posthaste.example");
    let whole = files.write("stranger.pem", &format!("{}{}", stranger.certificate, stranger.key));
    let _stranger = worker(&redis, &[trusting, ("WEBHOOK_CLIENT_CERT", &whole)]).await;
    assert!(dead(&redis, &webhook).await.text("error").starts_with("TLS failed: "));
    assert_eq!(server.count(), 2);
}

#[tokio::test]
async fn files_that_cannot_be_used_stop_the_start_and_are_named_all_at_once() {
    let files = Files::new();
    let ca = Authority::new("ours");
    let (one, other) = (ca.client("one.example"), ca.client("other.example"));
    let secret = one.key.lines().nth(1).expect("a key has several lines");
    let certificate = files.write("one.pem", &one.certificate);
    let cases = [
        (vec![("WEBHOOK_CA_FILE", "/nowhere/ca.pem".to_owned())], vec!["/nowhere/ca.pem", "No such file"]),
        (vec![("REDIS_CA_FILE", "/nowhere/ca.pem".to_owned())], vec!["REDIS_CA_FILE is '/nowhere/ca.pem'"]),
        (vec![("WEBHOOK_CA_FILE", files.write("empty", "none"))], vec!["there is no certificate in it"]),
        (
            vec![("WEBHOOK_CLIENT_CERT", certificate.clone())],
            vec!["WEBHOOK_CLIENT_CERT is", "there is no key in it", "set WEBHOOK_CLIENT_KEY"],
        ),
        (vec![("WEBHOOK_CLIENT_KEY", files.write("a.key", &one.key))], vec!["set WEBHOOK_CLIENT_CERT too"]),
        (vec![("WEBHOOK_CLIENT_KEY", one.key.clone())], vec!["WEBHOOK_CLIENT_KEY is '***'"]),
        (
            vec![
                ("WEBHOOK_CLIENT_CERT", certificate.clone()),
                ("WEBHOOK_CLIENT_KEY", files.write("b.key", &other.key)),
            ],
            vec!["WEBHOOK_CLIENT_KEY", "b.key", "not the key of the first certificate", "one.pem"],
        ),
        (
            vec![
                (
                    "WEBHOOK_CA_FILE",
                    files.write("bad", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
                ),
                ("WEBHOOK_ALLOW_CIDRS", "10.0.0.1/8".to_owned()),
                ("WEBHOOK_ALLOW_HOSTS", "n8n:5678".to_owned()),
            ],
            vec!["3 settings are wrong", "WEBHOOK_CA_FILE", "10.0.0.0/8", "without scheme, port and path"],
        ),
    ];
    for (settings, says) in cases {
        let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let mut worker = Worker::spawn("redis://127.0.0.1:1", &settings);
        assert_eq!(worker.ended().await, Some(78), "{settings:?}: {}", worker.log());
        for words in says {
            assert!(worker.log().contains(words), "{words}: {}", worker.log());
        }
        assert!(!worker.log().contains(secret), "{}", worker.log());
    }
}

#[tokio::test]
async fn a_redis_behind_tls_is_trusted_by_a_ca_of_ones_own() {
    let (files, ca) = (Files::new(), Authority::new("ours"));
    let server = ca.server(&["localhost", "127.0.0.1"]);
    let (certificate, key) =
        (files.write("redis.pem", &server.certificate), files.write("redis.key", &server.key));
    let ca_file = files.write("ca.pem", &ca.pem);
    let port = crate::support::free_port();
    let redis = RedisServer::start_with(&[
        "--save",
        "",
        "--appendonly",
        "no",
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-ca-cert-file",
        &ca_file,
        "--tls-auth-clients",
        "no",
    ]);
    let receiver = crate::support::Receiver::start().await;
    redis.set_url("sales", &receiver.url("/")).await;
    for host in ["localhost", "127.0.0.1"] {
        let url = format!("rediss://{host}:{port}");
        let count = receiver.count();
        // The last one of a setting counts, so this is its URL.
        let worker = Worker::start(&redis, &[("REDIS_URL", &url), ("REDIS_CA_FILE", &ca_file)]).await;
        redis.push(r#"{"event":"x","instance":"sales"}"#).await;
        receiver.wait_for(count + 1).await;
        redis.until_settled().await;
        assert_eq!(
            worker.warnings().iter().filter(|line| line.contains("TLS")).count(),
            0,
            "{}",
            worker.log()
        );
    }

    // Without it, the server is a stranger.
    let url = format!("rediss://localhost:{port}");
    let check = |settings: &[(&str, &str)]| {
        let mut command = crate::support::worker::command();
        command.arg("check").env("REDIS_URL", &url).envs(settings.iter().copied()).output().expect("it runs")
    };
    let stranger = check(&[]);
    let told = String::from_utf8_lossy(&stranger.stderr).into_owned();
    assert_eq!(stranger.status.code(), Some(69), "{told}");
    assert!(told.contains("UnknownIssuer") && told.contains("REDIS_CA_FILE"), "{told}");
    let insecure = format!("rediss://127.0.0.1:{port}/#insecure");
    for settings in [[("REDIS_CA_FILE", ca_file.as_str())], [("REDIS_URL", insecure.as_str())]] {
        let known = check(&settings);
        let told = String::from_utf8_lossy(&known.stdout).into_owned();
        assert!(told.contains("answers at rediss://"), "{told} {}", String::from_utf8_lossy(&known.stderr));
    }
}
