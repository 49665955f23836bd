//! Asking the API.

use serde_json::Value;

use crate::support::{RedisServer, Worker, eventually};

/// The key of workers that have one.
pub const KEY: &str = "a-key-of-these-tests-alone";

/// A worker that serves the API, and how to ask it.
pub struct Caller {
    pub worker: Worker,
    pub base: String,
    client: reqwest::Client,
    key: Option<String>,
}

/// An answer.
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Vec<u8>,
}

impl Answered {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The messages of an error, which has to have the one shape of errors.
    pub fn error(&self) -> String {
        let json = self.json();
        assert_eq!(json["status"], self.status, "{json}");
        assert!(json["error"].is_string(), "{json}");
        let messages = json["response"]["message"].as_array().expect("messages");
        assert!(!messages.is_empty(), "{json}");
        messages.iter().map(|message| message.as_str().expect("text")).collect::<Vec<_>>().join("\n")
    }
}

impl Caller {
    /// Starts a worker without a key on a free port of loopback.
    pub async fn start(redis: &RedisServer, settings: &[(&str, &str)]) -> Self {
        Self::of(Worker::spawn(&redis.url(), &with_addr(settings)), None).await
    }

    /// As [`Self::start`], with [`KEY`].
    pub async fn start_with_key(redis: &RedisServer, settings: &[(&str, &str)]) -> Self {
        let mut settings = with_addr(settings);
        settings.push(("AUTHENTICATION_API_KEY", KEY));
        Self::of(Worker::spawn(&redis.url(), &settings), Some(KEY.to_owned())).await
    }

    /// Of a worker that was started with `ADMIN_ADDR=127.0.0.1:0`.
    pub async fn of(worker: Worker, key: Option<String>) -> Self {
        // Needed to build a client; installing fails where there is one already.
        _ = rustls::crypto::ring::default_provider().install_default();
        let base = eventually("the API to listen", || async {
            let log = worker.log();
            let line = log.lines().find(|line| line.contains("the HTTP API listens"))?;
            Some(format!("http://{}", line.split("addr=").nth(1)?.trim()))
        })
        .await;
        Self { worker, base, client: reqwest::Client::builder().no_proxy().build().unwrap(), key }
    }

    pub async fn get(&self, path: &str) -> Answered {
        self.ask("GET", path, &[], Vec::new()).await
    }

    pub async fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> Answered {
        self.ask("POST", path, &[("content-type", "application/json")], body).await
    }

    pub async fn delete(&self, path: &str) -> Answered {
        self.ask("DELETE", path, &[], Vec::new()).await
    }

    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Answered {
        let mut request =
            self.client.request(method.parse().unwrap(), format!("{}{path}", self.base)).body(body.into());
        if let Some(key) = &self.key {
            request = request.header("apikey", key);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.expect("an answer");
        Answered {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await.expect("a body").to_vec(),
        }
    }

    /// The same worker, asked with another key or none.
    pub fn with_key(self, key: Option<&str>) -> Self {
        Self { key: key.map(str::to_owned), ..self }
    }

    pub async fn until_ready(&self) {
        eventually("the worker to be ready", || async {
            (self.get("/readyz").await.status == 200).then_some(())
        })
        .await;
    }
}

fn with_addr<'a>(settings: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut all = vec![("ADMIN_ADDR", "127.0.0.1:0")];
    all.extend_from_slice(settings);
    all
}
