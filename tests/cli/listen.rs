//! `posthaste listen`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Listener, Running, posthaste};

/// Sends a request; the whole reply, empty where the connection was closed without one.
fn send(listener: &Listener, method: &str, path: &str, id: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(&listener.addr).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout can be set");
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\nwebhook-id: {id}\r\ncontent-length: {length}"
    );
    let request = format!("{head}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).expect("it takes the request");
    let mut reply = String::new();
    _ = stream.read_to_string(&mut reply);
    reply
}

fn status(reply: &str) -> u16 {
    reply.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

#[test]
fn what_arrives_is_told_and_get_is_answered() {
    let mut listener = Listener::start(&[]);
    let body = "{\n \"event\": \"messages.upsert\", \"instance\": \"a\", \"n\": 12345678901234567890123 }";
    assert_eq!(status(&send(&listener, "GET", "/", "", "")), 200);
    assert_eq!(status(&send(&listener, "POST", "/x/y?q=1", "ev-1", body)), 200);
    let told = listener.next();
    assert_eq!(
        (&told["method"], &told["path"], &told["id"]),
        (&json!("POST"), &json!("/x/y?q=1"), &json!("ev-1"))
    );
    assert_eq!((&told["event"], &told["instance"]), (&json!("messages.upsert"), &json!("a")));
    assert_eq!((&told["answer"], &told["signature"]), (&json!(200), &Value::Null));
    assert_eq!(told["bytes"], body.len());
    assert_eq!(status(&send(&listener, "POST", "/", "ev-2", "not JSON")), 200);
    assert_eq!(listener.next()["body_base64"], "bm90IEpTT04=");
}

#[test]
fn each_event_fails_as_often_as_was_asked_and_then_works() {
    let listener = Listener::start(&["--fail-first", "2", "--retry-after", "7"]);
    for id in ["ev-1", "ev-2"] {
        for _ in 0..2 {
            let reply = send(&listener, "POST", "/", id, "{}");
            assert_eq!(status(&reply), 503);
            assert!(reply.contains("\r\nretry-after: 7\r\n"), "{reply}");
        }
        let reply = send(&listener, "POST", "/", id, "{}");
        assert_eq!(status(&reply), 200);
        assert!(!reply.contains("retry-after"), "{reply}");
    }
}

#[test]
fn it_closes_and_delays_on_demand() {
    let mut closing = Listener::start(&["--close", "--fail-first", "1"]);
    assert_eq!(send(&closing, "POST", "/", "ev-1", "{}"), "");
    assert_eq!(closing.next()["answer"], "close");
    assert_eq!(status(&send(&closing, "POST", "/", "ev-1", "{}")), 200);
    let slow = Listener::start(&["--delay", "300ms", "--status", "204"]);
    let started = Instant::now();
    assert_eq!(status(&send(&slow, "POST", "/", "ev-1", "{}")), 204);
    assert!(started.elapsed() >= Duration::from_millis(300));
}

#[test]
fn a_bad_signature_is_told() {
    let mut listener = Listener::start(&["--secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]);
    send(&listener, "POST", "/", "ev-1", "{}");
    let told = listener.next();
    assert_eq!(told["signature"], "bad");
    assert!(told["signature_error"].as_str().unwrap().contains("webhook-signature"), "{told}");
}

#[test]
fn it_ends_in_order_though_a_request_hangs() {
    let mut listener = Listener::start(&["--hang"]);
    let mut stream = TcpStream::connect(&listener.addr).unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 2\r\n\r\n{}").unwrap();
    assert_eq!(listener.next()["answer"], "hang");
    let pid = listener.running.child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    assert_eq!(listener.running.ended(), Some(0));
}

#[test]
fn an_address_that_is_taken_is_named() {
    let listener = Listener::start(&[]);
    let mut command = posthaste("", &["listen", "--addr", &listener.addr]);
    let mut running = Running::start(command.stderr(std::process::Stdio::piped()));
    let mut stderr = String::new();
    running.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(running.ended(), Some(1));
    assert!(stderr.contains(&format!("cannot listen on {}", listener.addr)), "{stderr}");
}
