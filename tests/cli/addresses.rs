//! What webhooks of instances are permitted, told to those who set and check them.

use serde_json::json;

use crate::support::{Authority, Files, Receiver, RedisServer};
use crate::{run, run_on, run_with};

/// The settings of an operator who permits nothing.
const NOTHING: [(&str, &str); 2] = [("WEBHOOK_ALLOW_CIDRS", ""), ("WEBHOOK_ALLOW_HOSTS", "")];

fn set(redis: &RedisServer, settings: &[(&str, &str)], url: &str) -> crate::Ran {
    run_with(redis, &[&NOTHING[..], settings].concat(), &["webhook", "set", "sales", "--url", url])
}

async fn is_set(redis: &RedisServer) -> bool {
    redis.command::<bool>(&["HEXISTS", "{webhooks}:webhooks", "sales"]).await
}

#[tokio::test]
async fn a_webhook_at_an_address_that_is_not_public_is_refused_when_it_is_set() {
    let redis = RedisServer::start();
    for (url, says) in [
        ("http://127.0.0.1:5678/x", "127.0.0.1 is loopback (this machine)"),
        ("http://0x7f.1/", "WEBHOOK_ALLOW_CIDRS=127.0.0.1"),
        ("http://169.254.169.254/latest/meta-data", "the metadata service of clouds"),
        ("http://[::ffff:10.0.0.1]/", "IPv4-mapped"),
        ("https://u:hunter2@10.1.2.3/x?token=hunter2", "10.1.2.3 is private"),
        ("http://localhost:5678/", "WEBHOOK_ALLOW_HOSTS=localhost"),
        ("http://a.LOCALHOST.:5678/", "WEBHOOK_ALLOW_HOSTS=a.localhost or"),
    ] {
        let ran = set(&redis, &[], url).ended(1);
        assert!(ran.stderr.contains(says) && !ran.stderr.contains("hunter2"), "{says}: {ran:?}");
    }
    // In JSON, of whichever generation, as well.
    let body = json!({ "webhook": { "enabled": true, "url": "http://10.0.0.1/" } }).to_string();
    let args = ["webhook", "set", "sales", "--json-body", body.as_str()];
    let ran = run_with(&redis, &NOTHING, &args).ended(1);
    assert!(ran.stderr.contains("WEBHOOK_ALLOW_CIDRS=10.0.0.1"), "{ran:?}");
    assert!(!is_set(&redis).await);
}

#[tokio::test]
async fn what_the_settings_permit_can_be_set() {
    for (setting, value, url) in [
        ("WEBHOOK_ALLOW_CIDRS", "10.0.0.0/8", "http://10.1.2.3/"),
        ("WEBHOOK_ALLOW_CIDRS", "127.0.0.0/8", "http://localhost:5678/"),
        ("WEBHOOK_ALLOW_HOSTS", "n8n", "http://n8n:5678/"),
        ("WEBHOOK_ALLOW_HOSTS", "*.lan", "http://bot.lan/"),
    ] {
        let redis = RedisServer::start();
        let ran = set(&redis, &[(setting, value)], url).ended(0);
        assert!(is_set(&redis).await && ran.stderr.is_empty(), "{ran:?}");
    }
}

#[tokio::test]
async fn a_name_that_leads_nowhere_is_set_with_a_warning() {
    let redis = RedisServer::start();
    let ran = set(&redis, &[], "https://nowhere.invalid/").ended(0);
    assert!(ran.stderr.contains("warning") && ran.stderr.contains("could not be resolved"), "{ran:?}");
    assert!(is_set(&redis).await);
}

#[tokio::test]
async fn an_update_may_switch_off_but_not_on_what_is_not_permitted() {
    let redis = RedisServer::start();
    redis.set_url("sales", "http://10.0.0.1/").await;
    let update = |flag: &str| run_with(&redis, &NOTHING, &["webhook", "set", "sales", "--update", flag]);
    assert!(update("--base64").ended(1).stderr.contains("WEBHOOK_ALLOW_CIDRS=10.0.0.1"));
    update("--disabled").ended(0);
    update("--enabled").ended(1);
    assert_eq!(redis.webhook("sales").await["enabled"], false);
    run_with(
        &redis,
        &NOTHING,
        &["webhook", "set", "sales", "--update", "--enabled", "--url", "https://8.8.8.8/"],
    )
    .ended(0);
}

#[tokio::test]
async fn insecure_tls_has_to_be_permitted() {
    let redis = RedisServer::start();
    let body = r#"{"url":"https://h.example/","insecureTls":true}"#;
    let ran = run_on(&redis, body.as_bytes(), &["webhook", "set", "sales", "--json-body", "-"]).ended(1);
    assert!(ran.stderr.contains("WEBHOOK_ALLOW_INSECURE_TLS=true"), "{ran:?}");
    assert!(!is_set(&redis).await);
    let permitted = [("WEBHOOK_ALLOW_INSECURE_TLS", "true")];
    let args = ["webhook", "set", "sales", "--url", "https://h.example/", "--insecure-tls"];
    let ran = run_with(&redis, &permitted, &args).ended(0);
    assert!(ran.stdout.contains("any certificate"), "{ran:?}");
    assert_eq!(redis.webhook("sales").await["insecure_tls"], true);
    // Taken back, by the one and then by the other.
    let ran = run(&redis, &["webhook", "set", "sales", "--update", "--base64"]).ended(1);
    assert!(ran.stderr.contains("WEBHOOK_ALLOW_INSECURE_TLS"), "{ran:?}");
    run(&redis, &["webhook", "set", "sales", "--update", "--insecure-tls=false"]).ended(0);
    assert_eq!(redis.webhook("sales").await["insecure_tls"], serde_json::Value::Null);
}

// The commands block a thread, on which the receiver could not answer.
#[tokio::test(flavor = "multi_thread")]
async fn a_test_of_a_webhook_is_sent_nowhere_else_than_an_event() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    redis.set_url("sales", &receiver.url("/")).await;
    let ran = run_with(&redis, &NOTHING, &["webhook", "test", "sales"]).ended(1);
    assert!(ran.stdout.contains("not sent: 127.0.0.1 is loopback"), "{ran:?}");
    let explained =
        run_with(&redis, &NOTHING, &["explain", "--event", "call", "--instance", "sales"]).ended(0);
    assert!(explained.stdout.contains("WEBHOOK_ALLOW_CIDRS=127.0.0.1"), "{explained:?}");
    assert_eq!(receiver.connections(), 0);
    run(&redis, &["webhook", "test", "sales"]).ended(0);
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn check_tells_what_is_permitted() {
    let redis = RedisServer::start();
    let check = |settings: &[(&str, &str)]| {
        let ran = run_with(&redis, &[&NOTHING[..], settings].concat(), &["check", "--json"]);
        let findings = ran.json()["findings"].as_array().expect("a list").clone();
        let details =
            findings.iter().map(|finding| finding["detail"].as_str().unwrap_or_default().to_owned());
        details.collect::<Vec<_>>().join("\n")
    };
    assert!(check(&[]).contains("public addresses only"));
    let told = check(&[("WEBHOOK_ALLOW_HOSTS", "n8n, *.lan"), ("WEBHOOK_ALLOW_CIDRS", "10.0.0.0/8, ::1")]);
    assert!(told.contains("to public addresses, and to n8n, *.lan, 10.0.0.0/8, ::1/128"), "{told}");
    assert!(check(&[("WEBHOOK_ALLOW_HOSTS", "*")]).contains("permits everything"));
    assert!(check(&[("WEBHOOK_ALLOW_CIDRS", "0.0.0.0/0")]).contains("permits everything"));
    let told = check(&[("HTTPS_PROXY", "http://ann:hunter2@127.0.0.1:3128")]);
    assert!(told.contains("through the proxy http://127.0.0.1:3128/") && !told.contains("hunter2"), "{told}");
    assert!(check(&[("ALL_PROXY", "socks4://127.0.0.1:1")]).contains("cannot be sent: socks4://"));
    let files = Files::new();
    let ca = files.write("ca.pem", &Authority::new("ours").pem);
    let told = check(&[("WEBHOOK_CA_FILE", &ca), ("WEBHOOK_ALLOW_INSECURE_TLS", "yes")]);
    assert!(told.contains("insecure_tls"), "{told}");
}
