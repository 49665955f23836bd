//! The client against receivers of bytes: what it writes, what it never writes twice, and by which connections.

mod server;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Version};
use url::Host;

use self::server::{Identity, Receiver, TlsProxy, TlsReceiver};
use super::proxies::Proxies;
use super::{Client, ClientSettings};
use crate::decide::address::Permits;
use crate::decide::strip::base64_cuts;
use crate::model::{Body, DestinationMember, Envelope, Outcome, Owner, Post, TlsSettings, TransportError};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

/// A client that trusts this CA, and nothing of the environment.
fn client(ca: Option<&Identity>, proxy: Option<&str>) -> Client {
    let settings = ClientSettings {
        request_timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(5),
        permits: Permits::default(),
        tls: TlsSettings { ca: ca.map(|ca| ca.certificate.as_str().into()), identity: None },
    };
    let proxies = proxy.map(|url| Arc::new(Proxies::one(url)));
    Client::with_proxies(settings, proxies).unwrap()
}

fn post(url: &str, id: &str) -> Post<'static> {
    post_of(url, id, Bytes::from_static(b"{\"a\":1}").into())
}

fn post_of(url: &str, id: &str, body: Body) -> Post<'static> {
    let mut headers = HeaderMap::new();
    headers.insert("webhook-id", HeaderValue::from_str(id).unwrap());
    Post { uri: url.parse().unwrap(), host: Host::Domain("not asked"), owner: Owner::Operator, headers, body }
}

fn is_ok(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Replied(reply) if reply.status == 200)
}

#[tokio::test]
async fn a_request_is_written_so() {
    let receiver = Receiver::start(|_| OK.into());
    let url = format!("http://127.0.0.1:{}/hook/%C3%A9?a=b#c", receiver.port);
    assert!(is_ok(&client(None, None).post(post(&url, "1")).await));
    let written = format!(
        "POST /hook/%C3%A9?a=b HTTP/1.1\r\nwebhook-id: 1\r\n\
         host: 127.0.0.1:{}\r\ncontent-length: 7\r\n\r\n{{\"a\":1}}",
        receiver.port
    );
    assert_eq!(receiver.requests(), [written]);
}

#[tokio::test]
async fn an_attempt_in_flight_is_small() {
    // It is copied into a task, and each step of it out of there; the request itself need not be.
    let client = client(None, None);
    let sending = client.post(post("http://127.0.0.1:1/", "1"));
    assert!(size_of_val(&sending) <= 512, "{} bytes", size_of_val(&sending));
}

#[tokio::test]
async fn a_body_in_pieces_arrives_whole() {
    // More of them than a system takes in one call, and more bytes than a connection takes at once.
    let element = format!(r#"{{"message":{{"base64":"AAAA","text":"{}"}}}}"#, "é".repeat(5000));
    let json = format!(r#"{{"event":"x","data":[{}]}}"#, vec![element; 200].join(","));
    let envelope = Envelope::parse(json.into()).unwrap();
    let body = envelope.body(&DestinationMember::new("https://h/"), &base64_cuts(&envelope));
    assert!(body.pieces().count() > 200);
    let whole = body.pieces().collect::<Vec<_>>().concat();

    let receiver = Receiver::start(|_| OK.into());
    assert!(is_ok(&client(None, None).post(post_of(&receiver.url(), "1", body.clone())).await));
    assert!(receiver.requests()[0].ends_with(&format!(
        "content-length: {}\r\n\r\n{}",
        whole.len(),
        String::from_utf8(whole.clone()).unwrap()
    )));

    let ca = Identity::authority();
    for protocol in [b"h2".as_slice(), b"http/1.1"] {
        let receiver = TlsReceiver::speaking(&ca.issue("localhost"), &[protocol]).await;
        let url = format!("https://localhost:{}/", receiver.port);
        assert!(is_ok(&client(Some(&ca), None).post(post_of(&url, "1", body.clone())).await));
        let (parts, received) = &receiver.requests()[0];
        assert_eq!(parts.headers["content-length"], whole.len().to_string());
        assert!(*received == whole);
    }
}

#[tokio::test]
async fn a_request_that_may_have_arrived_is_not_written_again() {
    // The first is answered, so that the second goes by a connection that was used before.
    let receiver =
        Receiver::start(|request| if request.contains("webhook-id: 1\r\n") { OK.into() } else { "".into() });
    let client = client(None, None);
    assert!(is_ok(&client.post(post(&receiver.url(), "1")).await));
    let outcome = client.post(post(&receiver.url(), "2")).await;
    assert!(matches!(outcome, Outcome::Failed(TransportError::ClosedEarly(_))), "{outcome:?}");
    assert_eq!((receiver.requests().len(), receiver.connections()), (2, 1));
}

#[tokio::test]
async fn a_connection_that_ended_while_nothing_was_sent_costs_no_attempt() {
    let receiver = Receiver::start(|_| OK.into());
    let client = client(None, None);
    assert!(is_ok(&client.post(post(&receiver.url(), "1")).await));
    receiver.hang_up();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(is_ok(&client.post(post(&receiver.url(), "2")).await));
    assert_eq!((receiver.requests().len(), receiver.connections()), (2, 2));
}

#[tokio::test]
async fn where_connections_end_at_the_worst_moment_no_request_arrives_twice() {
    // It announces nothing: whether the next request is on its way by then is left to chance.
    let receiver = Receiver::hanging_up(|_| OK.into());
    let client = client(None, None);
    let mut ok = 0;
    for id in 0..300 {
        ok += usize::from(is_ok(&client.post(post(&receiver.url(), &id.to_string())).await));
    }
    let mut arrived: HashMap<String, usize> = HashMap::new();
    for request in receiver.requests() {
        *arrived.entry(request).or_default() += 1;
    }
    assert!(arrived.values().all(|times| *times == 1), "{arrived:?}");
    assert!(ok > 0 && arrived.len() >= ok, "{ok} of {}", arrived.len());
}

#[tokio::test]
async fn a_receiver_that_speaks_http_2_is_spoken_to_in_it() {
    let ca = Identity::authority();
    let receiver = TlsReceiver::start(&ca.issue("localhost")).await;
    let client = client(Some(&ca), None);
    for id in ["1", "2"] {
        assert!(is_ok(&client.post(post(&format!("https://localhost:{}/a?b", receiver.port), id)).await));
    }
    let requests = receiver.requests();
    assert_eq!((requests.len(), receiver.connections()), (2, 1));
    let (parts, body) = &requests[0];
    assert_eq!((parts.version, &body[..]), (Version::HTTP_2, &b"{\"a\":1}"[..]));
    assert_eq!(parts.uri.to_string(), format!("https://localhost:{}/a?b", receiver.port));
    assert_eq!(parts.headers["content-length"], "7");
    assert!(!parts.headers.contains_key("host"));
}

#[tokio::test]
async fn a_tunnel_goes_through_tls_to_the_proxy() {
    let ca = Identity::authority();
    let receiver = TlsReceiver::start(&ca.issue("receiver.invalid")).await;
    let proxy = TlsProxy::start(&ca.issue("localhost"), receiver.port).await;
    let client = client(Some(&ca), Some(&format!("https://ann:hunter2@localhost:{}", proxy.port)));
    let outcome = client.post(post("https://receiver.invalid/a", "1")).await;
    assert!(is_ok(&outcome), "{outcome:?}");
    assert_eq!(
        proxy.heads(),
        ["CONNECT receiver.invalid:443 HTTP/1.1\r\nHost: receiver.invalid:443\r\n\
          Proxy-Authorization: Basic YW5uOmh1bnRlcjI=\r\n\r\n"]
    );
    let (parts, _) = &receiver.requests()[0];
    assert_eq!(parts.version, Version::HTTP_2);
    assert!(!parts.headers.contains_key("proxy-authorization"));

    // Who the receiver is has to be shown all the same.
    let outcome = client.post(post("https://another.invalid/a", "2")).await;
    assert!(matches!(outcome, Outcome::Failed(TransportError::Tls(_))), "{outcome:?}");
}

#[tokio::test]
async fn a_proxy_behind_tls_forwards_what_is_not_encrypted() {
    let ca = Identity::authority();
    let proxy = TlsReceiver::speaking(&ca.issue("localhost"), &[b"http/1.1"]).await;
    let client = client(Some(&ca), Some(&format!("https://ann:hunter2@localhost:{}", proxy.port)));
    assert!(is_ok(&client.post(post("http://receiver.invalid/a?b", "1")).await));
    let (parts, _) = &proxy.requests()[0];
    assert_eq!(
        (parts.version, parts.uri.to_string().as_str()),
        (Version::HTTP_11, "http://receiver.invalid/a?b")
    );
    assert_eq!(parts.headers["host"], "receiver.invalid");
    assert_eq!(parts.headers["proxy-authorization"], "Basic YW5uOmh1bnRlcjI=");
}
