//! A redis-server of the test's own.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, ToRedisArgs, Value};

use super::{PATIENCE, free_port, until};

/// A server on a free port, with its data in a temporary directory; it ends with its owner.
pub struct RedisServer {
    child: Child,
    port: u16,
    args: Vec<String>,
    dir: tempfile::TempDir,
    connection: tokio::sync::OnceCell<MultiplexedConnection>,
}

impl RedisServer {
    /// A server that keeps nothing on disk.
    pub fn start() -> Self {
        Self::start_with(&["--save", "", "--appendonly", "no"])
    }

    /// A server with settings of its own.
    pub fn start_with(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let args: Vec<String> = args.iter().map(ToString::to_string).collect();
        for _ in 0..10 {
            let port = free_port();
            if let Some(child) = spawn(port, &args, dir.path()) {
                return Self { child, port, args, dir, connection: tokio::sync::OnceCell::new() };
            }
        }
        panic!("redis-server did not start; is its port taken again and again?");
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash would.
    pub fn kill(&mut self) {
        self.child.kill().expect("redis-server is ours to kill");
        self.child.wait().expect("redis-server ends");
        self.connection = tokio::sync::OnceCell::new();
    }

    /// Ends it in good order: it writes what its settings ask for.
    pub fn shut_down(&mut self) {
        self.signal("TERM");
        self.child.wait().expect("redis-server ends");
        self.connection = tokio::sync::OnceCell::new();
    }

    /// Sends it a signal by name (STOP, CONT, …).
    pub fn signal(&self, signal: &str) {
        super::worker::signal(self.pid(), signal);
    }

    /// Where it keeps its data.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Starts it again on the same port and directory, after [`Self::kill`] or [`Self::shut_down`].
    pub fn restart(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(child) = spawn(self.port, &self.args, self.dir.path()) {
                self.child = child;
                return;
            }
            assert!(Instant::now() < deadline, "redis-server did not start again on port {}", self.port);
        }
    }

    /// Runs one command.
    pub async fn command<T: FromRedisValue>(&self, args: &[impl ToRedisArgs]) -> T {
        let connection = self
            .connection
            .get_or_init(|| async {
                let client = redis::Client::open(self.url()).expect("a URL");
                // By default a reply may take half a second, which 16 MiB on a busy machine do.
                let config = redis::AsyncConnectionConfig::new()
                    .set_connection_timeout(Some(PATIENCE))
                    .set_response_timeout(Some(PATIENCE));
                let connection = client.get_multiplexed_async_connection_with_config(&config);
                connection.await.expect("redis-server answers")
            })
            .await;
        let mut command = redis::Cmd::new();
        for arg in args {
            command.arg(arg);
        }
        let mut connection = connection.clone();
        command.query_async(&mut connection).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Runs one command on a connection of its own, however long the server takes.
    pub async fn try_command<T: FromRedisValue>(&self, args: &[impl ToRedisArgs]) -> redis::RedisResult<T> {
        let config = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(Duration::from_secs(30)))
            .set_response_timeout(Some(Duration::from_secs(30)));
        let client = redis::Client::open(self.url()).expect("a URL");
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        let mut command = redis::Cmd::new();
        for arg in args {
            command.arg(arg);
        }
        command.query_async(&mut connection).await
    }

    /// Pushes an envelope; returns its entry's id.
    pub async fn push(&self, envelope: &str) -> String {
        self.command(&["XADD", "webhooks", "*", "payload", envelope]).await
    }

    /// Pushes an envelope with an id of the producer's choice.
    pub async fn push_with_id(&self, id: &str, envelope: &str) -> String {
        self.command(&["XADD", "webhooks", "*", "payload", envelope, "id", id]).await
    }

    /// Stores an instance's webhook, as the commands do.
    pub async fn set_webhook(&self, instance: &str, json: &str) {
        self.store().set_webhook(instance, json).await.expect("the webhook is stored");
    }

    /// Stores an instance's webhook that is nothing but a URL.
    pub async fn set_url(&self, instance: &str, url: &str) {
        let webhook = serde_json::json!({ "url": url });
        self.set_webhook(instance, &webhook.to_string()).await;
    }

    /// Removes an instance's webhook, as the commands do.
    pub async fn delete_webhook(&self, instance: &str) {
        self.store().delete_webhook(instance).await.expect("the webhook is removed");
    }

    /// An instance's webhook as it is stored.
    pub async fn webhook(&self, instance: &str) -> serde_json::Value {
        let json: String = self.command(&["HGET", "{webhooks}:webhooks", instance]).await;
        serde_json::from_str(&json).expect("what is stored is JSON")
    }

    /// Waits until an instance's webhook is switched off.
    pub async fn until_disabled(&self, instance: &str) {
        until("the webhook to be switched off", || async {
            self.webhook(instance).await["enabled"] == false
        })
        .await;
    }

    /// How many deliveries wait for another attempt.
    pub async fn waiting(&self) -> u64 {
        self.command(&["ZCARD", "{webhooks}:retry"]).await
    }

    /// Waits until this many deliveries wait for another attempt.
    pub async fn until_waiting(&self, count: u64) {
        until(&format!("{count} deliveries that wait"), || async { self.waiting().await == count }).await;
    }

    /// Makes everything that waits for another attempt due now.
    pub async fn end_all_waits(&self) {
        let script = "for _, delivery in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
                        redis.call('ZADD', KEYS[1], 0, delivery)
                      end";
        let _: Value = self.command(&["EVAL", script, "1", "{webhooks}:retry"]).await;
    }

    /// Waits until every event that was pushed, and every retry, is settled.
    pub async fn until_settled(&self) {
        // In one step: what moves from one key to another while each is looked at would not be seen.
        let script = "return redis.call('XLEN', KEYS[1]) + redis.call('XLEN', KEYS[2])
            + redis.call('ZCARD', KEYS[3]) + redis.call('ZCARD', KEYS[4])";
        let keys = ["webhooks", "{webhooks}:ready", "{webhooks}:retry", "{webhooks}:parks"];
        until("everything to be settled", || async {
            let [stream, ready, retry, parks] = keys;
            let left: u64 = self.command(&["EVAL", script, "4", stream, ready, retry, parks]).await;
            left == 0
        })
        .await;
    }

    pub async fn len(&self, stream: &str) -> u64 {
        self.command(&["XLEN", stream]).await
    }

    pub async fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.command(&["KEYS", "*"]).await;
        keys.sort();
        keys
    }

    /// The dead letters, oldest first, each as a map of its fields.
    pub async fn dead(&self) -> Vec<std::collections::HashMap<String, Vec<u8>>> {
        let entries: Vec<(String, std::collections::HashMap<String, Vec<u8>>)> =
            self.command(&["XRANGE", "{webhooks}:dead", "-", "+"]).await;
        entries.into_iter().map(|(_, fields)| fields).collect()
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a server, and waits until it answers; none when it ends at once, as it does when the port is taken.
fn spawn(port: u16, args: &[String], dir: &std::path::Path) -> Option<Child> {
    let mut child = Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--dir"])
        .arg(dir)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("redis-server is needed on the PATH; scripts/test.sh installs it");
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if child.try_wait().expect("its state is ours to know").is_some() {
            return None;
        }
        if answers(port, child.id()) {
            return Some(child);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// Whether the server of this process id is ready there: one that loads its data answers PING with an error, and another
/// that has the port is not ours.
fn answers(port: u16, pid: u32) -> bool {
    let ours = format!("\r\nprocess_id:{pid}\r\n");
    ask(port, &ours).unwrap_or(false)
}

fn ask(port: u16, ours: &str) -> std::io::Result<bool> {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"PING\r\nINFO server\r\nQUIT\r\n")?;
    let mut told = String::new();
    stream.read_to_string(&mut told)?;
    Ok(told.starts_with("+PONG\r\n") && told.contains(ours))
}
