//! What breaks: a Redis, workers, and the ways between them and to the receivers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use posthaste::store::Redis;
use redis::Value;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::history::{Clock, History};
use super::ingest::Apis;
use super::producer::connect;
use super::proxy::Proxy;
use super::receiver::{ERRORS, Receivers};
use super::run::Run;
use super::support::{RedisServer, Worker};
use super::traffic::{Character, MAX_AGE, MAX_ATTEMPTS, MAX_DELAY, Place, TIMEOUT, Traffic};

const SLOTS: usize = 64;
/// What a worker can have in its hands at most: attempts, what waits for them, what is on its way to both, and what
/// waits to be settled.
const MOST_HELD: u64 = SLOTS as u64 + 1024 + 256 + 1280;

/// So many deliveries parked or come back from one look to the next are many.
const BUSY: u64 = 8;
const LONGEST_WAIT_FOR_PARKS: Duration = Duration::from_millis(2500);

/// One place for a worker: when it ends another takes its place.
pub(crate) struct Post {
    pub(crate) worker: Worker,
    /// Those before it, kept for their logs.
    pub(crate) past: Vec<Worker>,
}

/// All that breaks. What has a lock is broken by one fault at a time.
pub(crate) struct Cluster {
    pub(crate) clock: Clock,
    /// To Redis, with nothing between.
    pub(crate) url: String,
    pub(crate) redis: Mutex<RedisServer>,
    /// The operator's way to it.
    pub(crate) store: Redis,
    pub(crate) posts: Vec<Mutex<Post>>,
    /// Where their APIs are.
    pub(crate) apis: Arc<Apis>,
    /// From each worker to Redis.
    pub(crate) to_redis: Vec<Mutex<Proxy>>,
    /// From the producer to Redis.
    pub(crate) of_producer: Mutex<Proxy>,
    /// From the workers to the receivers.
    pub(crate) to_receivers: Mutex<Proxy>,
    pub(crate) receivers: Receivers,
    traffic: Traffic,
    /// Where the workers find the receivers.
    base: String,
    settings: Vec<(&'static str, String)>,
    redis_ports: Vec<u16>,
}

impl Cluster {
    pub(crate) async fn start(run: &Run) -> Self {
        let clock = Clock::start();
        let traffic = run.traffic();
        let receivers = Receivers::start(traffic, clock).await;
        let to_receivers = Proxy::start(receivers.port()).await;
        let always = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];
        let redis = RedisServer::start_with(&always);
        let base = format!("http://127.0.0.1:{}", to_receivers.port());
        let store = redis.store_of("webhooks");
        for (place, instance) in Place::instances() {
            let stored = store.set_webhook(instance, &webhook(traffic, &base, place)).await;
            stored.expect("webhooks are stored");
        }
        let settings = settings(&base, run);
        let (mut to_redis, mut redis_ports, mut workers) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..run.workers {
            let proxy = Proxy::start(redis.port()).await;
            redis_ports.push(proxy.port());
            workers.push(spawn(proxy.port(), &settings));
            to_redis.push(Mutex::new(proxy));
        }
        let apis = Arc::new(Apis::of(workers.iter()));
        let posts = workers.into_iter().map(|worker| Mutex::new(Post { worker, past: Vec::new() })).collect();
        let of_producer = Mutex::new(Proxy::start(redis.port()).await);
        Self {
            clock,
            url: redis.url(),
            redis: Mutex::new(redis),
            store,
            posts,
            apis,
            to_redis,
            of_producer,
            to_receivers: Mutex::new(to_receivers),
            receivers,
            traffic,
            base,
            settings,
            redis_ports,
        }
    }

    /// An instance, and its webhook as the operator stores it.
    pub(crate) fn webhook(&self, place: Place) -> (&'static str, String) {
        let instance = place.instance().expect("an instance");
        (instance, webhook(self.traffic, &self.base, place))
    }

    /// Waits until deliveries are parked or come back in numbers, for some time at most.
    pub(crate) async fn until_parks_are_busy(&self) {
        let begun = Instant::now();
        let mut before = None;
        while begun.elapsed() < LONGEST_WAIT_FOR_PARKS {
            let parks = tokio::time::timeout(Duration::from_millis(200), self.store.parked(1)).await;
            if let Ok(Ok(parks)) = parks {
                let now = parks.deliveries;
                if before.is_some_and(|before| now.abs_diff(before) >= BUSY) {
                    return;
                }
                before = Some(now);
            }
            sleep(Duration::from_millis(25)).await;
        }
    }

    /// Where the producer finds Redis.
    pub(crate) async fn producers_url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.of_producer.lock().await.port())
    }

    /// Puts a new worker in a place whose worker has ended.
    pub(crate) fn replace(&self, place: usize, post: &mut Post) {
        let ended = std::mem::replace(&mut post.worker, spawn(self.redis_ports[place], &self.settings));
        self.apis.replace(place, &post.worker);
        post.past.push(ended);
    }

    /// How many entries the worker with this process id has in its hands, or all workers together. Where Redis does
    /// not tell: as many as there can be.
    pub(crate) async fn in_flight(&self, pid: Option<u32>) -> u64 {
        let workers = if pid.is_some() { 1 } else { self.posts.len() as u64 };
        match self.try_in_flight(pid).await {
            // A read may be on its way.
            Some(pending) => pending + workers * SLOTS as u64,
            None => workers * MOST_HELD,
        }
    }

    async fn try_in_flight(&self, pid: Option<u32>) -> Option<u64> {
        let mut connection = connect(&self.url, Duration::from_millis(500)).await?;
        let mut total = 0;
        for stream in ["webhooks", "{webhooks}:ready"] {
            let mut command = redis::cmd("XINFO");
            command.arg("CONSUMERS").arg(stream).arg("posthaste");
            let consumers: Vec<HashMap<String, Value>> = command.query_async(&mut connection).await.ok()?;
            for mut consumer in consumers {
                let name: String = redis::from_redis_value(consumer.remove("name")?).ok()?;
                let pending: u64 = redis::from_redis_value(consumer.remove("pending")?).ok()?;
                if pid.is_none_or(|pid| name.contains(&format!("-{pid}-"))) {
                    total += pending;
                }
            }
        }
        Some(total)
    }

    /// Runs a command for the nemesis; that it may fail is part of it.
    pub(crate) async fn try_command(&self, words: &[&str]) {
        if let Some(mut connection) = connect(&self.url, Duration::from_secs(1)).await {
            let mut command = redis::Cmd::new();
            words.iter().for_each(|word| _ = command.arg(word));
            let _: redis::RedisResult<Value> = command.query_async(&mut connection).await;
        }
    }

    /// How many events were ever put in the stream; Redis tells since version 7.
    pub(crate) async fn in_stream(&self) -> Option<u64> {
        let redis = self.redis.lock().await;
        let mut facts: HashMap<String, Value> = redis.command(&["XINFO", "STREAM", "webhooks"]).await;
        redis::from_redis_value(facts.remove("entries-added")?).ok()
    }

    /// About how many parked deliveries came back: the due ones that were neither retries nor error events.
    pub(crate) async fn came_back(&self, history: &History) -> Option<u64> {
        let redis = self.redis.lock().await;
        let mut facts: HashMap<String, Value> = redis.command(&["XINFO", "STREAM", "{webhooks}:ready"]).await;
        let due: u64 = redis::from_redis_value(facts.remove("entries-added")?).ok()?;
        let others = redis.counter("retried").await + history.letters.len() as u64;
        Some(due.saturating_sub(others))
    }

    /// What keeps things from being settled: entries, entries in flight, deliveries that wait.
    pub(crate) async fn unsettled(&self) -> Vec<String> {
        // In one step: what moves from one key to another while each is looked at would not be seen.
        let script = "local function pending(key) return redis.call('XPENDING', key, 'posthaste')[1] end
            local parked = 0
            for _, to in ipairs(redis.call('ZRANGE', KEYS[4], 0, -1)) do
                parked = parked + redis.call('ZCARD', '{webhooks}:park:' .. to)
            end
            return {redis.call('XLEN', KEYS[1]), pending(KEYS[1]), redis.call('XLEN', KEYS[2]), pending(KEYS[2]),
                redis.call('ZCARD', KEYS[3]), redis.call('ZCARD', KEYS[4]), parked}";
        let keys = ["webhooks", "{webhooks}:ready", "{webhooks}:retry", "{webhooks}:parks"];
        let redis = self.redis.lock().await;
        let mut words = vec!["EVAL", script, "4"];
        words.extend(keys);
        let counts: Vec<u64> = redis.command(&words).await;
        let names = [
            "new entries",
            "of them in flight",
            "due entries",
            "of them in flight",
            "retries",
            "parks",
            "parked",
        ];
        match counts.iter().sum() {
            0 => Vec::new(),
            _ => names.iter().zip(counts).map(|(name, count)| format!("{count} {name}")).collect(),
        }
    }
}

fn webhook(traffic: Traffic, base: &str, place: Place) -> String {
    let url = format!("{base}{}", place.path());
    match place.character() {
        Character::Metered => serde_json::json!({ "url": url, "rate_limit": traffic.rate_limit() }),
        _ => serde_json::json!({ "url": url }),
    }
    .to_string()
}

fn settings(base: &str, run: &Run) -> Vec<(&'static str, String)> {
    vec![
        ("WORKER_CONCURRENCY", SLOTS.to_string()),
        ("WEBHOOK_GLOBAL_ENABLED", "true".to_owned()),
        ("WEBHOOK_GLOBAL_URL", format!("{base}{}", Place::GLOBAL.path())),
        ("WEBHOOK_EVENTS_MESSAGES_UPSERT", "true".to_owned()),
        ("WEBHOOK_EVENTS_ERRORS", "true".to_owned()),
        ("WEBHOOK_EVENTS_ERRORS_WEBHOOK", format!("{base}{ERRORS}")),
        ("WEBHOOK_REQUEST_TIMEOUT_MS", TIMEOUT.as_millis().to_string()),
        ("WEBHOOK_CONNECT_TIMEOUT_MS", TIMEOUT.as_millis().to_string()),
        ("WEBHOOK_RETRY_MAX_ATTEMPTS", MAX_ATTEMPTS.to_string()),
        ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "0.2".to_owned()),
        ("WEBHOOK_RETRY_MAX_DELAY_SECONDS", MAX_DELAY.as_secs().to_string()),
        ("WEBHOOK_RETRY_MAX_AGE_SECONDS", MAX_AGE.as_secs().to_string()),
        ("SHUTDOWN_GRACE_SECONDS", "1".to_owned()),
        ("ADMIN_ADDR", "127.0.0.1:0".to_owned()),
        ("LOG_LEVEL", run.log_level.clone()),
    ]
}

fn spawn(redis_port: u16, settings: &[(&'static str, String)]) -> Worker {
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Worker::spawn(&format!("redis://127.0.0.1:{redis_port}"), &settings)
}
