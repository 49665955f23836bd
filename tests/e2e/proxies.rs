//! Proxies: POSTs go through those of the environment, and where they go is checked all the same.

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::{Authority, Files, HERE, Letter, Receiver, RedisServer, TlsServer, Worker};

const TWO_ATTEMPTS: [(&str, &str); 2] =
    [("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.05"), ("WEBHOOK_RETRY_MAX_ATTEMPTS", "2")];
/// A public address; nothing is sent there, for the proxy of a test answers itself.
const PUBLIC: &str = "192.0.1.7";

async fn worker(redis: &RedisServer, settings: &[(&str, &str)]) -> Worker {
    let nothing = [("WEBHOOK_ALLOW_CIDRS", ""), ("WEBHOOK_ALLOW_HOSTS", "")];
    Worker::start(redis, &[&nothing[..], &TWO_ATTEMPTS, settings].concat()).await
}

async fn push(redis: &RedisServer, url: &str) -> String {
    redis.set_url(url, url).await;
    redis.push(&json!({ "event": "x", "instance": url }).to_string()).await
}

async fn dead(redis: &RedisServer, url: &str) -> Letter {
    let id = push(redis, url).await;
    redis.wait_for_letter(&id).await
}

/// A proxy that answers every request itself, as a receiver would.
async fn proxy() -> (Receiver, String) {
    let proxy = Receiver::start().await;
    let url = format!("http://ann:hunter2@127.0.0.1:{}", proxy.port());
    (proxy, url)
}

#[tokio::test]
async fn what_is_public_goes_through_the_proxy_which_itself_may_be_anywhere() {
    for variable in ["HTTP_PROXY", "ALL_PROXY", "http_proxy"] {
        let redis = RedisServer::start();
        let (proxy, proxy_url) = proxy().await;
        let worker = worker(&redis, &[(variable, &proxy_url)]).await;
        let url = format!("http://{PUBLIC}/hook?a=1");
        push(&redis, &url).await;
        redis.until_settled().await;
        assert!(redis.dead().await.is_empty());
        let request = &proxy.received()[0];
        assert_eq!((request.path.as_str(), request.header("host")), (url.as_str(), PUBLIC), "{variable}");
        assert!(request.header("proxy-authorization").starts_with("Basic "), "{variable}");
        assert!(!worker.log().contains("hunter2"), "{}", worker.log());
    }
}

#[tokio::test]
async fn what_is_not_public_does_not_go_through_the_proxy_either() {
    let redis = RedisServer::start();
    let (proxy, proxy_url) = proxy().await;
    let _worker = worker(&redis, &[("HTTP_PROXY", &proxy_url), ("HTTPS_PROXY", &proxy_url)]).await;
    for host in ["127.0.0.1", "10.0.0.1", "0x7f.1", "[::1]", "localhost", "a.localhost.", "169.254.169.254"] {
        for scheme in ["http", "https"] {
            let letter = dead(&redis, &format!("{scheme}://{host}:{}/", proxy.port())).await;
            let error = letter.text("error");
            assert!(error.starts_with("not sent: ") && error.contains("WEBHOOK_ALLOW_CIDRS="), "{error}");
        }
    }
    assert_eq!(proxy.connections(), 0);
}

#[tokio::test]
async fn a_name_is_resolved_here_before_the_proxy_is_asked() {
    let redis = RedisServer::start();
    let (proxy, proxy_url) = proxy().await;
    let refusing = worker(&redis, &[("HTTP_PROXY", &proxy_url)]).await;
    // The name of this machine leads to it or to nowhere; neither is for the proxy to find out.
    let uname = std::process::Command::new("uname").arg("-n").output().expect("every system has it");
    let this_machine = String::from_utf8_lossy(&uname.stdout).trim().to_owned();
    let letter = dead(&redis, &format!("http://{this_machine}/")).await;
    assert!(letter.text("error").contains("WEBHOOK_ALLOW_HOSTS="), "{}", letter.text("error"));
    let letter = dead(&redis, "http://nowhere.invalid/").await;
    assert!(letter.text("error").contains("WEBHOOK_ALLOW_HOSTS=nowhere.invalid"), "{}", letter.text("error"));
    assert_eq!(proxy.connections(), 0);
    drop(refusing);

    // What is listed is not even resolved: the proxy alone may know it.
    let _permitting =
        worker(&redis, &[("HTTP_PROXY", &proxy_url), ("WEBHOOK_ALLOW_HOSTS", "*.invalid")]).await;
    push(&redis, "http://somewhere.invalid/").await;
    proxy.wait_for(1).await;
    redis.until_settled().await;
    assert_eq!(proxy.received()[0].path, "http://somewhere.invalid/");
}

#[tokio::test]
async fn no_proxy_leaves_the_proxy_out_and_not_the_check() {
    let (redis, receiver) = (RedisServer::start(), Receiver::start().await);
    let (proxy, proxy_url) = proxy().await;
    let proxied = [("HTTP_PROXY", proxy_url.as_str()), ("NO_PROXY", "127.0.0.0/8,localhost")];
    let refusing = worker(&redis, &proxied).await;
    let letter = dead(&redis, &receiver.url("/")).await;
    assert!(letter.text("error").starts_with("not sent: "), "{}", letter.text("error"));
    // Nor may the proxy itself be sent to.
    let letter = dead(&redis, &format!("http://localhost:{}/", proxy.port())).await;
    assert!(letter.text("error").starts_with("not sent: "), "{}", letter.text("error"));
    drop(refusing);
    let _permitting = worker(&redis, &[&proxied[..], &[("WEBHOOK_ALLOW_CIDRS", HERE)]].concat()).await;
    push(&redis, &receiver.url("/direct")).await;
    redis.until_settled().await;
    assert_eq!((receiver.received()[0].path.as_str(), receiver.count()), ("/direct", 1));
    assert_eq!(proxy.connections(), 0);
}

#[tokio::test]
async fn the_operators_own_destination_goes_through_the_proxy_unchecked() {
    let redis = RedisServer::start();
    let (proxy, proxy_url) = proxy().await;
    let settings = [
        ("HTTP_PROXY", proxy_url.as_str()),
        ("WEBHOOK_GLOBAL_ENABLED", "true"),
        ("WEBHOOK_GLOBAL_URL", "http://inner.invalid/all"),
        ("WEBHOOK_EVENTS_X", "true"),
    ];
    let _worker = worker(&redis, &settings).await;
    redis.push(r#"{"event":"x"}"#).await;
    assert_eq!(proxy.wait_for(1).await[0].path, "http://inner.invalid/all");
}

#[tokio::test]
async fn a_proxy_that_cannot_be_used_stops_the_start_rather_than_being_left_out() {
    let redis = RedisServer::start();
    for (variable, value, says) in [
        ("ALL_PROXY", "socks5://ann:hunter2@127.0.0.1:1", "socks5:// proxies are not supported"),
        ("https_proxy", "htp://ann:hunter2@127.0.0.1:1", "https_proxy is not the URL of a proxy"),
    ] {
        let mut worker = Worker::spawn(&redis.url(), &[(variable, value)]);
        assert_eq!(worker.ended().await, Some(1), "{}", worker.log());
        assert!(worker.log().contains(says) && !worker.log().contains("hunter2"), "{}", worker.log());
    }
}

/// A proxy that makes tunnels: wherever it is asked to go, it connects to `port` of this machine.
struct Tunnels {
    port: u16,
    asked: std::sync::Arc<std::sync::Mutex<Vec<String>>>,
    accepting: JoinHandle<()>,
}

impl Tunnels {
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own_port = listener.local_addr().expect("its address").port();
        let asked = std::sync::Arc::default();
        let told = std::sync::Arc::clone(&asked);
        let accepting = tokio::spawn(async move {
            let mut tunnels = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                tunnels.spawn(tunnel(stream, port, std::sync::Arc::clone(&told)));
            }
        });
        Self { port: own_port, asked, accepting }
    }

    /// Where it was asked to go.
    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no tunnel panicked").clone()
    }
}

impl Drop for Tunnels {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn tunnel(mut stream: TcpStream, port: u16, asked: std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    asked.lock().expect("no tunnel panicked").push(head.lines().next().unwrap_or_default().to_owned());
    let Ok(mut inner) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    if stream.write_all(b"HTTP/1.1 200 Connected\r\n\r\n").await.is_ok() {
        let _ = copy_bidirectional(&mut stream, &mut inner).await;
    }
}

#[tokio::test]
async fn https_goes_through_a_tunnel_and_the_receivers_certificate_is_checked() {
    let (redis, files, ca) = (RedisServer::start(), Files::new(), Authority::new("ours"));
    let server = TlsServer::with(&ca.server(&[PUBLIC]));
    let tunnels = Tunnels::to(server.port()).await;
    let proxy_url = format!("http://127.0.0.1:{}", tunnels.port);
    let ca_file = files.write("ca.pem", &ca.pem);
    let _worker = worker(&redis, &[("HTTPS_PROXY", &proxy_url), ("WEBHOOK_CA_FILE", &ca_file)]).await;
    push(&redis, &format!("https://{PUBLIC}:8443/hook")).await;
    redis.until_settled().await;
    assert_eq!((redis.dead().await.len(), server.count()), (0, 1));
    assert_eq!(tunnels.asked(), [format!("CONNECT {PUBLIC}:8443 HTTP/1.1")]);

    let letter = dead(&redis, "https://1.1.1.1:8443/hook").await;
    assert!(letter.text("error").starts_with("TLS failed: "), "{}", letter.text("error"));
    assert_eq!(server.count(), 1);
}
