//! A worker, its Redis and its receiver, with events in every state: what each test of a fault begins and ends with.

use std::collections::{BTreeMap, BTreeSet};

use crate::support::{Answer, Gate, Receiver, RedisServer, Worker, eventually, until};

/// Redis keeps what it acknowledged, whatever happens to it.
pub(crate) const DURABLE: [&str; 6] = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];
/// Failed attempts are made again after about a second; so are the probes of a receiver that is down.
pub(crate) const SECOND_WAITS: [(&str, &str); 3] = [
    ("WEBHOOK_RETRY_INITIAL_DELAY_SECONDS", "1"),
    ("WEBHOOK_RETRY_USE_EXPONENTIAL_BACKOFF", "false"),
    ("WEBHOOK_RETRY_MAX_DELAY_SECONDS", "2"),
];
/// How many warnings one outage may cause: a few for each of the six stages that speak to Redis.
const WARNINGS: usize = 24;

/// How an event fares at the receiver. Each kind is an instance with a path of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It is taken at once.
    Taken,
    /// Its first attempt fails, the second is taken.
    Repeated,
    /// It is in flight until the gate opens.
    Held,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Taken, Self::Repeated, Self::Held];

    fn instance(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Repeated => "repeated",
            Self::Held => "held",
        }
    }

    fn envelope(self) -> String {
        format!(r#"{{"event":"messages.upsert","instance":"{}","data":{{"n":1.0}}}}"#, self.instance())
    }

    fn attempts(self) -> u32 {
        if self == Self::Repeated { 2 } else { 1 }
    }
}

/// One worker, its Redis and its receiver.
pub(crate) struct Scene {
    pub(crate) redis: RedisServer,
    pub(crate) receiver: Receiver,
    pub(crate) worker: Worker,
    pub(crate) gate: Gate,
    pushed: Vec<(String, Kind)>,
}

impl Scene {
    /// A scene on a Redis of these settings.
    pub(crate) async fn on(redis: RedisServer) -> Self {
        let (receiver, gate) = receiver().await;
        set_webhooks(&redis, &receiver).await;
        let worker = Worker::start(&redis, &SECOND_WAITS).await;
        Self { redis, receiver, worker, gate, pushed: Vec::new() }
    }

    /// Pushes an event; whether Redis took it.
    pub(crate) async fn try_push(&mut self, kind: Kind) -> bool {
        let envelope = kind.envelope();
        match self.redis.try_command(&["XADD", "webhooks", "*", "payload", &envelope]).await {
            Ok(id) => {
                self.pushed.push((id, kind));
                true
            }
            Err(_) => false,
        }
    }

    pub(crate) async fn push(&mut self, kind: Kind, count: usize) {
        for _ in 0..count {
            assert!(self.try_push(kind).await, "redis takes an event");
        }
    }

    /// Some events of each kind, attempted once: delivered, waiting, and in flight.
    pub(crate) async fn before(&mut self) {
        for kind in Kind::ALL {
            self.push(kind, 3).await;
        }
        self.receiver.wait_for(9).await;
    }

    /// What was pushed so far is lost, as far as this scene is concerned.
    pub(crate) fn forget(&mut self) {
        self.pushed.clear();
    }

    /// Waits until the worker has warned of something that holds this text.
    pub(crate) async fn until_warned(&self, text: &str) {
        until(&format!("a warning with {text:?}"), || async {
            self.worker.warnings().iter().any(|line| line.contains(text))
        })
        .await;
    }

    /// Pushes some more and waits until everything has been delivered, by the worker that was there all along.
    pub(crate) async fn after(&mut self) {
        self.gate.open();
        self.push(Kind::Taken, 3).await;
        self.push(Kind::Repeated, 2).await;
        self.until_delivered().await;
        self.redis.until_settled().await;
        self.redis.assert_settled().await;
        assert_eq!(self.redis.letters().await.len(), 0, "no dead letters");
        assert!(self.worker.is_running(), "the worker goes on");
        let warnings = self.worker.warnings();
        assert!(warnings.len() <= WARNINGS, "{} warnings:\n{}", warnings.len(), warnings.join("\n"));
    }

    /// Waits until every event has had the attempt that is taken.
    pub(crate) async fn until_delivered(&self) {
        eventually("every event to be delivered", || async {
            let attempts: BTreeSet<(String, u32)> = self.attempts().into_keys().collect();
            let arrived = |(id, kind): &(String, Kind)| attempts.contains(&(id.clone(), kind.attempts()));
            self.pushed.iter().all(arrived).then_some(())
        })
        .await;
    }

    /// How often each attempt of each event came.
    pub(crate) fn attempts(&self) -> BTreeMap<(String, u32), usize> {
        let mut attempts = BTreeMap::new();
        for request in self.receiver.received() {
            *attempts.entry((request.id().to_owned(), request.attempt())).or_default() += 1;
        }
        attempts
    }

    /// Holds that no attempt was made twice.
    pub(crate) fn assert_no_duplicates(&self) {
        let twice: Vec<_> = self.attempts().into_iter().filter(|(_, times)| *times > 1).collect();
        assert_eq!(twice, [], "attempts that were made twice");
    }
}

/// A receiver of all kinds, and the gate of those that are held.
async fn receiver() -> (Receiver, Gate) {
    let gate = Gate::closed();
    let held = gate.clone();
    let receiver = Receiver::answering(move |request| match request.path.as_str() {
        "/held" => Answer::status(200).behind(&held),
        "/repeated" if request.attempt() == 1 => Answer::status(500),
        _ => Answer::status(200),
    })
    .await;
    (receiver, gate)
}

/// How many attempts a destination of which nothing is known may have in flight; one that hangs never gets more.
const FIRST: usize = 4;

/// Instances that are the same to their receiver. Where that hangs, each of them holds four attempts, so that many can
/// be in flight all the same, as long as that is less than half of `WORKER_CONCURRENCY`.
pub(crate) struct Instances {
    names: Vec<String>,
    pushed: usize,
}

impl Instances {
    /// As many instances as are needed to have `in_flight` attempts at this URL.
    pub(crate) async fn holding(redis: &RedisServer, in_flight: usize, name: &str, url: &str) -> Self {
        let names: Vec<_> = (0..in_flight.div_ceil(FIRST)).map(|n| format!("{name}-{n}")).collect();
        for name in &names {
            redis.set_url(name, url).await;
        }
        Self { names, pushed: 0 }
    }

    /// Pushes events, one for each instance in turn; their ids.
    pub(crate) async fn push(&mut self, redis: &RedisServer, count: usize) -> Vec<String> {
        let mut ids = Vec::new();
        for _ in 0..count {
            let name = &self.names[self.pushed % self.names.len()];
            ids.push(redis.push(&format!(r#"{{"event":"call","instance":"{name}"}}"#)).await);
            self.pushed += 1;
        }
        ids
    }
}

/// Sets the webhook of each kind, as the commands do.
pub(crate) async fn set_webhooks(redis: &RedisServer, receiver: &Receiver) {
    for kind in Kind::ALL {
        let url = receiver.url(&format!("/{}", kind.instance()));
        let webhook = serde_json::json!({ "url": url }).to_string();
        redis.store().set_webhook(kind.instance(), &webhook).await.expect("redis takes a webhook");
    }
}
