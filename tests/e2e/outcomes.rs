//! Every way in which an attempt can end: each is told apart, retried, and named in the dead letter.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

use crate::support::{Answer, CA_FILE, Letter, Receiver, RedisServer, TlsServer, Worker};

/// Two attempts each, the second soon.
const TWO_ATTEMPTS: [(&str, &str); 2] =
    [("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.05"), ("WEBHOOK_RETRY_MAX_ATTEMPTS", "2")];

/// Sets a webhook, pushes an event for it, and returns what became of it after two failed attempts.
async fn dead_after_two_attempts(redis: &RedisServer, url: &str) -> Letter {
    redis.set_url(url, url).await;
    let envelope = json!({"event": "x", "instance": url}).to_string();
    let id = redis.push(&envelope).await;
    let letter = redis.wait_for_letter(&id).await;
    assert_eq!(letter.text("reason"), "exhausted");
    assert_eq!(letter.text("attempts"), "2");
    letter
}

/// The same, for a receiver that gives this answer; it must have been asked twice.
async fn dead_of(redis: &RedisServer, answer: Answer) -> Letter {
    let receiver = Receiver::answering(move |_| answer.clone()).await;
    let letter = dead_after_two_attempts(redis, &receiver.url("/")).await;
    let received = receiver.received();
    let attempts: Vec<_> = received.iter().map(|request| request.attempt()).collect();
    assert_eq!(attempts, [1, 2]);
    letter
}

fn raw(reply: &str) -> Answer {
    Answer::Raw(reply.as_bytes().to_vec())
}

#[track_caller]
fn assert_error(letter: &Letter, words: &str) {
    let error = letter.text("error");
    assert!(error.contains(words), "'{error}' does not name '{words}'");
    assert_eq!(letter.text("status"), "", "{error}");
    assert_eq!(letter.text("reply"), "", "{error}");
}

#[tokio::test]
async fn a_receiver_that_takes_too_long_costs_the_request_timeout() {
    let redis = RedisServer::start();
    let timeout = [("WEBHOOK_REQUEST_TIMEOUT_MS", "1000")];
    let _worker = Worker::start(&redis, &[&TWO_ATTEMPTS[..], &timeout].concat()).await;
    let answers = [
        // Nothing, half a head, half a body, and a body that never ends.
        Answer::Stall(Vec::new()),
        Answer::Stall(b"HTTP/1.1 200 OK\r\ncontent-le".to_vec()),
        Answer::Stall(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345".to_vec()),
        Answer::Drip(Duration::from_millis(20)),
    ];
    for letter in join_all(answers.map(|answer| dead_of(&redis, answer))).await {
        assert_error(&letter, "no whole answer within 1000 ms");
    }
}

#[tokio::test]
async fn a_receiver_that_takes_almost_too_long_is_waited_for() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|_| Answer::status(200).later(Duration::from_millis(1500))).await;
    redis.set_url("sales", &receiver.url("/")).await;
    let timeout = [("WEBHOOK_REQUEST_TIMEOUT_MS", "15000")];
    let _worker = Worker::start(&redis, &timeout).await;
    redis.push(r#"{"event":"x","instance":"sales"}"#).await;
    redis.until_settled().await;
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn a_host_that_takes_no_connections_costs_the_connect_timeout() {
    let redis = RedisServer::start();
    let timeout = [("WEBHOOK_CONNECT_TIMEOUT_MS", "300")];
    let _worker = Worker::start(&redis, &[&TWO_ATTEMPTS[..], &timeout].concat()).await;
    let full = FullListener::start().await;
    let letter = dead_after_two_attempts(&redis, &format!("http://{}/", full.address)).await;
    assert_error(&letter, "no connection within 300 ms");
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_refuses_the_connection() {
    let redis = RedisServer::start();
    let _worker = Worker::start(&redis, &TWO_ATTEMPTS).await;
    // Bound and not listened on: it refuses, and nobody else is given it meanwhile.
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let address = socket.local_addr().expect("its address");
    let letter = dead_after_two_attempts(&redis, &format!("http://{address}/")).await;
    assert_error(&letter, "could not connect");
    assert_error(&letter, "refused");
}

#[tokio::test]
async fn a_receiver_that_comes_up_meanwhile_gets_what_was_refused() {
    let redis = RedisServer::start();
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let url = format!("http://{}/", socket.local_addr().expect("its address"));
    redis.set_url("sales", &url).await;
    let settings = [("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.5")];
    let _worker = Worker::start(&redis, &settings).await;
    let id = redis.push(r#"{"event":"x","instance":"sales"}"#).await;
    redis.until_waiting(1).await;
    let listener = socket.listen(16).expect("the port is ours");
    let receiver = Receiver::on(listener, |_| Answer::status(200));
    let received = receiver.wait_for(1).await;
    assert_eq!(received[0].id(), id);
    assert!(received[0].attempt() > 1);
    redis.until_settled().await;
    assert_eq!(receiver.count(), 1);
}

#[tokio::test]
async fn a_connection_that_is_closed_before_the_reply_is_whole_is_a_failure() {
    let redis = RedisServer::start();
    let _worker = Worker::start(&redis, &TWO_ATTEMPTS).await;
    for reply in [
        "",
        "HTTP/1.1 200 OK\r\ncontent-le",
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of it",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nwhole\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n50\r\nhalf",
    ] {
        let letter = dead_of(&redis, raw(reply)).await;
        assert_error(&letter, "closed the connection before its answer was whole");
    }
}

#[tokio::test]
async fn a_reply_that_is_not_http_is_a_failure() {
    let redis = RedisServer::start();
    let _worker = Worker::start(&redis, &TWO_ATTEMPTS).await;
    let endless_head = format!("HTTP/1.1 200 OK\r\nx: {}", "x".repeat(1024 * 1024));
    for reply in [
        "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n",
        "\0\u{1}\u{2}\u{3}\r\n\r\n",
        "HTTP/1.1 twohundred OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n",
        &endless_head,
    ] {
        let letter = dead_of(&redis, raw(reply)).await;
        assert_error(&letter, "not valid HTTP");
    }
}

#[tokio::test]
async fn a_chunked_reply_of_nonsense_is_a_failure() {
    let redis = RedisServer::start();
    let _worker = Worker::start(&redis, &TWO_ATTEMPTS).await;
    let reply = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nnonsense\r\n";
    let letter = dead_of(&redis, raw(reply)).await;
    assert_eq!(letter.text("status"), "");
    assert!(!letter.text("error").is_empty());
}

#[tokio::test]
async fn a_host_name_that_does_not_exist_is_a_failure_that_names_it() {
    let redis = RedisServer::start();
    let _worker = Worker::start(&redis, &TWO_ATTEMPTS).await;
    // The second is no name that DNS could be asked for, so that this holds without a network, too.
    for host in ["nonexistent.invalid", &"x".repeat(64)] {
        let letter = dead_after_two_attempts(&redis, &format!("http://{host}/")).await;
        assert_error(&letter, "the host name could not be resolved");
        assert_error(&letter, host);
    }
}

#[tokio::test]
async fn tls_to_a_port_without_it_is_a_failure() {
    let redis = RedisServer::start();
    let _worker = Worker::start(&redis, &TWO_ATTEMPTS).await;
    for reply in ["HTTP/1.1 400 Bad Request\r\n\r\n", "220 smtp.example ESMTP\r\n"] {
        let server = PlainServer::start(reply).await;
        let letter = dead_after_two_attempts(&redis, &format!("https://{}/", server.address)).await;
        assert_error(&letter, "TLS failed");
    }
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_or_for_another_name_is_a_failure() {
    let (redis, server) = (RedisServer::start(), TlsServer::start());
    for (settings, host) in [
        (&TWO_ATTEMPTS[..], "localhost"),
        (&[&TWO_ATTEMPTS[..], &[("SSL_CERT_FILE", CA_FILE)]].concat(), "127.0.0.1"),
    ] {
        let _worker = Worker::start(&redis, settings).await;
        let letter = dead_after_two_attempts(&redis, &server.url(host)).await;
        assert_error(&letter, "TLS failed: invalid peer certificate");
    }
    assert_eq!(server.count(), 0);
}

#[tokio::test]
async fn a_certificate_of_a_ca_that_the_system_trusts_is_accepted() {
    let (redis, server) = (RedisServer::start(), TlsServer::start());
    redis.set_url("sales", &server.url("localhost")).await;
    let _worker = Worker::start(&redis, &[("SSL_CERT_FILE", CA_FILE)]).await;
    for _ in 0..3 {
        redis.push(r#"{"event":"x","instance":"sales"}"#).await;
    }
    redis.until_settled().await;
    assert_eq!(server.count(), 3);
}

#[tokio::test]
async fn a_huge_reply_costs_little_and_counts_by_its_status() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|_| Answer::Flood(400_000_000)).await;
    redis.set_url("sales", &receiver.url("/")).await;
    let _worker = Worker::start(&redis, &[]).await;
    redis.push(r#"{"event":"x","instance":"sales"}"#).await;
    redis.until_settled().await;
    assert!(redis.dead().await.is_empty());
    assert_eq!(receiver.count(), 1);
    let flooded = receiver.wait_for_flood().await;
    // What is more than 16 KiB lies in the buffers of the system.
    assert!(flooded < 16_000_000, "{flooded} bytes were taken");
}

#[tokio::test]
async fn of_a_long_reply_the_first_kib_is_kept() {
    let redis = RedisServer::start();
    let _worker = Worker::start(&redis, &TWO_ATTEMPTS).await;
    let body: Vec<u8> = (0..100_000_u32).map(|i| b'a' + (i % 26) as u8).collect();
    let answer = Answer::Reply { status: 500, headers: Vec::new(), body: body.clone() };
    let letter = dead_of(&redis, answer).await;
    assert_eq!(letter.text("status"), "500");
    assert_eq!(letter.text("reply").as_bytes(), &body[..1024]);
}

#[tokio::test]
async fn every_reply_that_http_allows_is_understood() {
    let redis = RedisServer::start();
    let _worker = Worker::start(&redis, &TWO_ATTEMPTS).await;
    for reply in [
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nuntil the end",
        "HTTP/1.1 200 OK\r\n\r\nuntil the end",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nwhole\r\n0\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nset-cookie: a=\u{e9}\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 8\r\n\r\nnot gzip",
    ] {
        let answer = raw(reply);
        let receiver = Receiver::answering(move |_| answer.clone()).await;
        redis.set_url("sales", &receiver.url("/")).await;
        redis.push(r#"{"event":"x","instance":"sales"}"#).await;
        redis.until_settled().await;
        assert_eq!(receiver.count(), 1, "{reply:?}");
    }
    assert!(redis.dead().await.is_empty());
}

#[tokio::test]
async fn connections_are_kept_between_events() {
    let redis = RedisServer::start();
    let receiver = Receiver::start().await;
    redis.set_url("sales", &receiver.url("/")).await;
    let _worker = Worker::start(&redis, &[]).await;
    for _ in 0..20 {
        redis.push(r#"{"event":"x","instance":"sales"}"#).await;
        redis.until_settled().await;
    }
    let received = receiver.received();
    assert_eq!(received.len(), 20);
    // One, but where the machine is so slow that the next event comes before the connection is free again.
    let connections: HashSet<_> = received.iter().map(|request| request.client).collect();
    assert!(connections.len() <= 5, "{connections:?}");
}

#[tokio::test]
async fn a_receiver_that_hangs_delays_no_other_while_there_are_slots() {
    let redis = RedisServer::start();
    let receiver = Receiver::answering(|request| match request.path.as_str() {
        "/hangs" => Answer::Stall(Vec::new()),
        _ => Answer::status(200),
    })
    .await;
    for instance in ["hangs", "works"] {
        let url = receiver.url(&format!("/{instance}"));
        redis.set_url(instance, &url).await;
    }
    let _worker = Worker::start(&redis, &[]).await;
    for _ in 0..10 {
        redis.push(r#"{"event":"x","instance":"hangs"}"#).await;
        redis.push(r#"{"event":"x","instance":"works"}"#).await;
    }
    receiver.wait_for_on("/works", 10).await;
    receiver.wait_for_on("/hangs", 1).await;
}

/// A listener whose backlog is full: the system answers no further connection.
struct FullListener {
    address: SocketAddr,
    _listener: TcpListener,
    _connections: Vec<TcpStream>,
}

impl FullListener {
    async fn start() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        let listener = socket.listen(1).expect("a listener");
        let address = listener.local_addr().expect("its address");
        let mut connections = Vec::new();
        let full = Duration::from_millis(500);
        while let Ok(connected) = tokio::time::timeout(full, TcpStream::connect(address)).await {
            connections.push(connected.expect("a connection"));
            assert!(connections.len() < 100, "the backlog does not fill");
        }
        Self { address, _listener: listener, _connections: connections }
    }
}

/// A server that sends the same to whoever connects, once it has heard something.
struct PlainServer {
    address: SocketAddr,
    serving: JoinHandle<()>,
}

impl PlainServer {
    async fn start(reply: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut heard = [0; 4096];
                let _ = stream.read(&mut heard).await;
                let _ = stream.write_all(reply.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { address, serving }
    }
}

impl Drop for PlainServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
