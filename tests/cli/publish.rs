//! `posthaste publish`.

use std::collections::HashMap;
use std::io::Write;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{RedisServer, until};
use crate::{Running, posthaste, run, run_on, run_with};

type Entry = (String, HashMap<String, String>);

async fn pushed(redis: &RedisServer) -> Vec<Entry> {
    redis.command(&["XRANGE", "webhooks", "-", "+"]).await
}

#[tokio::test]
async fn one_event_is_pushed_with_its_data_byte_for_byte() {
    let redis = RedisServer::start();
    let data = r#"{"n":12345678901234567890123,"a":1.0,"a":1e3, "s":"\u00e9"}"#;
    let args = ["publish", "--event", "order.paid", "--instance", "shop", "--data", data, "--json"];
    let told = run(&redis, &args).ended(0).json();
    let entries = pushed(&redis).await;
    assert_eq!(entries.len(), 1);
    let (id, fields) = &entries[0];
    assert_eq!(told, json!({ "id": id, "entry": id }));
    let start = format!(r#"{{"event":"order.paid","instance":"shop","data":{data},"date_time":""#);
    assert!(fields["payload"].starts_with(&start), "{fields:?}");
    assert_eq!(fields.len(), 1);
}

#[tokio::test]
async fn a_whole_event_is_pushed_as_it_is_from_an_argument_a_file_or_stdin() {
    let redis = RedisServer::start();
    let event = "{ \"event\" : \"x\",\n \"data\": [1.0] }";
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("event.json");
    std::fs::write(&path, event).unwrap();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    run(&redis, &["publish", "--envelope", event, "--id", "my-1", "--traceparent", trace]).ended(0);
    run(&redis, &["publish", "--envelope", &format!("@{}", path.display())]).ended(0);
    run_on(&redis, event.as_bytes(), &["publish", "--envelope", "-"]).ended(0);
    let entries = pushed(&redis).await;
    assert_eq!(entries.len(), 3);
    assert!(entries.iter().all(|(_, fields)| fields["payload"] == event), "{entries:?}");
    assert_eq!((entries[0].1["id"].as_str(), entries[0].1["traceparent"].as_str()), ("my-1", trace));
}

#[tokio::test]
async fn a_bad_line_is_told_with_its_number_and_does_not_stop_the_others() {
    let redis = RedisServer::start();
    let big = format!("{{\"event\":\"{}\"}}", "x".repeat(2000));
    let lines = format!("{{\"event\":\"a\"}}\r\n\nnope\n{{\"event\":5}}\n{big}\n[]\n{{\"event\":\"b\"}}");
    let limit = [("MAX_EVENT_BYTES", "1024")];
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("events.ndjson");
    std::fs::write(&path, &lines).unwrap();
    let path = path.display().to_string();

    let ran = run_with(&redis, &limit, &["publish", &path]).ended(1);
    assert!(ran.stdout.starts_with("pushed 2 events in "), "{ran:?}");
    assert!(ran.stdout.ends_with("; 4 lines refused\n"), "{ran:?}");
    for line in ["line 3: ", "line 4: ", "line 5: ", "line 6: "] {
        assert!(ran.stderr.contains(line), "{line}: {ran:?}");
    }
    assert!(ran.stderr.contains("has 2012 bytes, MAX_EVENT_BYTES allows 1024"), "{ran:?}");

    let told = run_with(&redis, &limit, &["publish", &path, "--json"]).ended(1).json();
    let entries = pushed(&redis).await;
    let ids: Vec<&str> = entries[2..].iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!((&told["pushed"], &told["refused"], &told["ids"]), (&json!(2), &json!(4), &json!(ids)));
    assert_eq!(told["errors"][0]["line"], 3);
    let payloads: Vec<&str> = entries.iter().map(|(_, fields)| fields["payload"].as_str()).collect();
    assert_eq!(payloads, [r#"{"event":"a"}"#, r#"{"event":"b"}"#, r#"{"event":"a"}"#, r#"{"event":"b"}"#]);
}

#[tokio::test]
async fn many_events_from_stdin_keep_their_order() {
    let redis = RedisServer::start();
    let lines: String = (0..3000).map(|n| format!("{{\"event\":\"x\",\"data\":{n}}}\n")).collect();
    let ran = run_on(&redis, lines.as_bytes(), &["publish", "--ndjson"]).ended(0);
    assert!(ran.stdout.starts_with("pushed 3000 events in "), "{ran:?}");
    let entries = pushed(&redis).await;
    let numbers =
        entries.iter().map(|(_, fields)| serde_json::from_str::<Value>(&fields["payload"]).unwrap());
    assert!(numbers.map(|event| event["data"].clone()).eq((0..3000).map(|n| json!(n))));
}

#[tokio::test]
async fn an_event_does_not_wait_for_the_next_line() {
    let redis = RedisServer::start();
    let mut command = posthaste(&redis.url(), &["publish", "-"]);
    let mut running = Running::start(command.stdin(Stdio::piped()).stdout(Stdio::null()));
    let mut stdin = running.child.stdin.take().unwrap();
    for count in 1..=2 {
        stdin.write_all(b"{\"event\":\"x\"}\n").unwrap();
        until("the event to be pushed", || async { redis.len("webhooks").await == count }).await;
    }
    drop(stdin);
    assert_eq!(running.ended(), Some(0));
}

#[tokio::test]
async fn what_is_no_event_is_refused() {
    let redis = RedisServer::start();
    let cases: &[(&[&str], i32, &str)] = &[
        (&["publish"], 2, "nothing to publish: give --event, --envelope, a file of events, or - for stdin"),
        (&["publish", "--event", ""], 2, "the event name is empty"),
        (&["publish", "--event", "x", "--data", "{"], 2, "--data is not JSON"),
        (&["publish", "--event", "x", "--id", "a b"], 2, "1 to 128 visible ASCII characters"),
        (&["publish", "--event", "x", "--traceparent", "1"], 2, "2-32-16-2"),
        (&["publish", "--envelope", "[]"], 2, "is not a JSON object"),
        (&["publish", "--envelope", "{\"instance\":\"a\"}"], 2, "the payload has no `event`"),
        (&["publish", "/nowhere/events.ndjson"], 1, "cannot read /nowhere/events.ndjson"),
        (&["publish", "/usr"], 1, "cannot read /usr: it is a directory"),
    ];
    for (args, status, says) in cases {
        let ran = run(&redis, args).ended(*status);
        assert!(ran.stderr.contains(says), "{args:?}: {ran:?}");
    }
    assert_eq!(redis.len("webhooks").await, 0);
}

#[tokio::test]
async fn a_misspelt_event_is_pushed_with_a_warning() {
    let redis = RedisServer::start();
    let ran = run(&redis, &["publish", "--event", "mesages.upsert"]).ended(0);
    assert!(ran.stderr.contains("did you mean MESSAGES_UPSERT?"), "{ran:?}");
    assert_eq!(redis.len("webhooks").await, 1);
}
