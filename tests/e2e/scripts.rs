//! The Lua scripts, through the library's own store, straight against Redis.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

mod parking;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use posthaste::model::{
    DeadReason, Delivery, Destination, EntryId, Envelope, Event, EventId, EventKey, Held, LastAttempt,
    Receipt, Source, TransportError,
};
use posthaste::store::{
    Beat, Counter, Counts, DeadLetter, DeadRecord, ErrorDelivery, ErrorKind, Finished, Found, Ownership,
    PutBack, Redis, Replayed, StoreError, TakeOver, Taken, Tried,
};
use redis::Value;

use crate::support::{RedisServer, fields, payload};

const PUSHED: &str = "{\"event\":\"x\",\"instance\":\"a b\",\"data\":12345678901234567890.0}";
const ME: &str = "me";
const ANOTHER: &str = "another worker";
const DEAD_AFTER: Duration = Duration::from_secs(3);

fn instance() -> Destination {
    Destination::Instance("a b:{c}".into())
}

/// A Redis with both streams and their group.
struct Scene {
    redis: RedisServer,
    store: Redis,
}

impl Scene {
    async fn new() -> Self {
        let redis = RedisServer::start();
        let store = redis.store();
        store.create_group().await.unwrap();
        Self { redis, store }
    }

    /// An entry of the producers' stream, read by `consumer`, with this many deliveries.
    async fn taken_by(&self, consumer: &str, fan_out: usize) -> Arc<Receipt> {
        let entry = fields(&[("payload", PUSHED), ("id", "evt"), ("traceparent", "00-1")]);
        let id = self.redis.push_entry("webhooks", &entry).await;
        self.read("webhooks", consumer).await;
        held(Source::Stream, &id, consumer, fan_out)
    }

    async fn taken(&self, fan_out: usize) -> Arc<Receipt> {
        self.taken_by(ME, fan_out).await
    }

    /// Reads what is new in a stream as `consumer`.
    async fn read(&self, stream: &str, consumer: &str) {
        self.read_some(stream, consumer, 1000).await;
    }

    async fn read_some(&self, stream: &str, consumer: &str, count: usize) {
        let command = ["XREADGROUP", "GROUP", "posthaste", consumer, "COUNT", &count.to_string()];
        let _: Value = self.redis.command(&[&command[..], &["STREAMS", stream, ">"]].concat()).await;
    }

    /// What is due goes to the ready stream and is read from there; the receipts, in the order they were due.
    async fn due(&self, count: usize) -> Vec<Arc<Receipt>> {
        let promoted = self.store.promote(100).await.unwrap();
        assert_eq!(promoted.moved, count);
        self.read("{webhooks}:ready", ME).await;
        let entries = self.redis.entries("{webhooks}:ready").await;
        entries[entries.len() - count..].iter().map(|(id, _)| held(Source::Ready, id, ME, 1)).collect()
    }

    async fn retry(&self, delivery: &Delivery) -> Result<Ownership, StoreError> {
        self.retry_all(&[delivery]).await?.pop().unwrap()
    }

    async fn retry_all(
        &self,
        deliveries: &[&Delivery],
    ) -> Result<Vec<Result<Ownership, StoreError>>, StoreError> {
        let put = deliveries.iter().map(|delivery| PutBack {
            delivery,
            tried: Tried { attempts: delivery.attempt, first_ms: Some(111), last: Some(last_attempt()) },
            wait: Duration::ZERO,
        });
        let put: Vec<_> = put.collect();
        self.store.put_back(&put).await
    }

    async fn bury(&self, delivery: &Delivery) -> Result<Ownership, StoreError> {
        self.bury_telling(delivery, None).await
    }

    async fn bury_telling(
        &self,
        delivery: &Delivery,
        error: Option<ErrorDelivery<'_>>,
    ) -> Result<Ownership, StoreError> {
        let letter = letter(delivery);
        self.store
            .bury(&DeadRecord {
                receipt: &delivery.receipt,
                key: Some(&delivery.event.key),
                letter: &letter,
                error,
            })
            .await
    }

    /// The delivery arrived, or with no destination: the entry is done.
    async fn done(&self, receipt: &Receipt, key: &EventKey, destination: Option<Destination>) {
        self.done_as(receipt, key, destination, false).await;
    }

    /// Whether a delivery of an event that was loaded now would be all that is left of it.
    async fn is_last(&self, key: &EventKey) -> bool {
        let loaded = self.store.waiting(&[(key.clone(), instance())]).await.unwrap();
        let [Found::Waiting(loaded)] = &loaded[..] else { panic!("{loaded:?}") };
        loaded.is_last
    }

    async fn done_as(
        &self,
        receipt: &Receipt,
        event: &EventKey,
        destination: Option<Destination>,
        is_last: bool,
    ) {
        let (entry, event) = (receipt.id.clone(), event.clone());
        let finished = Finished { entry, event, destination, is_last };
        self.store.finish(receipt.source, &mut [finished]).await.unwrap();
    }

    async fn acknowledge(&self, receipt: &Receipt) -> Result<(), StoreError> {
        self.store.acknowledge(std::slice::from_ref(&receipt.id), b"{}", &counts(Counter::Delivered)).await
    }

    /// The hash of an event, less what does not change.
    async fn progress(&self, key: &EventKey) -> BTreeMap<String, String> {
        let mut hash: BTreeMap<String, String> =
            self.redis.command(&["HGETALL", &self.store.keys().event(key)]).await;
        for field in ["payload", "event"] {
            hash.remove(field);
        }
        hash
    }

    /// Everything in Redis, byte for byte.
    async fn everything(&self) -> BTreeMap<String, Vec<u8>> {
        let mut all = BTreeMap::new();
        for key in self.redis.keys().await {
            all.insert(key.clone(), self.redis.command(&["DUMP", &key]).await);
        }
        all
    }

    async fn forget_scripts(&self) {
        let _: String = self.redis.command(&["SCRIPT", "FLUSH"]).await;
    }

    async fn workers(&self) -> Vec<(String, u64)> {
        self.redis.command(&["ZRANGE", "{webhooks}:workers", "0", "-1", "WITHSCORES"]).await
    }
}

/// The receipt of an entry that `consumer` has read.
fn held(source: Source, id: &str, consumer: &str, fan_out: usize) -> Arc<Receipt> {
    Arc::new(Receipt::new(&Held::default(), source, EntryId::new(id), consumer.into(), fan_out, 0))
}

/// A delivery of the entry of `receipt` (whose hash is called after it) to `destination`.
fn delivery(receipt: &Arc<Receipt>, destination: Destination) -> Delivery {
    delivery_of(receipt, EventKey::new(receipt.id.as_str()), destination, 1)
}

fn delivery_of(receipt: &Arc<Receipt>, key: EventKey, destination: Destination, attempt: u32) -> Delivery {
    let event = Event {
        key,
        id: EventId::parse("evt").unwrap(),
        pushed_ms: 99,
        traceparent: Some("00-1".into()),
        envelope: Envelope::parse(PUSHED.into()).unwrap(),
    };
    let target = Err(TransportError::Other("there is none".to_owned()));
    Delivery { attempt, ..Delivery::first(Arc::clone(receipt), Arc::new(event), destination, target) }
}

/// What a hash tells of a delivery that was attempted once.
const TRIED: &str = "1 111 222 500 the receiver answered 500";

fn last_attempt() -> LastAttempt {
    LastAttempt { at_ms: 222, status: Some(500), summary: "the receiver answered 500".to_owned() }
}

fn letter(delivery: &Delivery) -> DeadLetter {
    DeadLetter {
        event_id: "evt".to_owned(),
        destination: Some(delivery.destination.clone()),
        event: "X".to_owned(),
        instance: None,
        reason: DeadReason::Exhausted,
        attempts: delivery.attempt,
        first_attempt_ms: None,
        last_attempt_ms: None,
        status: None,
        error: String::new(),
        reply: bytes::Bytes::new(),
        url: String::new(),
        traceparent: None,
    }
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(field, value)| ((*field).to_owned(), (*value).to_owned())).collect()
}

/// One.
fn counts(of: Counter) -> Counts {
    let mut counts = Counts::default();
    counts.add(of);
    counts
}

#[tokio::test]
async fn what_another_worker_owns_or_has_settled_is_left_alone() {
    let scene = Scene::new().await;
    let mut lost = Vec::new();
    // Another's, from the start; and acknowledged already; and one that never was.
    let of_another = scene.taken_by(ANOTHER, 1).await;
    let settled = scene.taken(1).await;
    scene.acknowledge(&settled).await.unwrap();
    for (id, fan_out) in [(&of_another.id, 1), (&of_another.id, 2), (&settled.id, 1), (&settled.id, 2)] {
        lost.push(held(Source::Stream, id.as_str(), ME, fan_out));
    }
    lost.push(held(Source::Stream, "9-9", ME, 1));
    // A delivery in the ready stream that another has read.
    let waits = scene.taken(1).await;
    scene.retry(&delivery(&waits, instance())).await.unwrap();
    scene.store.promote(1).await.unwrap();
    scene.read("{webhooks}:ready", ANOTHER).await;
    let ready = scene.redis.entries("{webhooks}:ready").await;
    lost.push(held(Source::Ready, &ready[0].0, ME, 1));

    let before = scene.everything().await;
    for receipt in lost {
        let key = EventKey::new(waits.id.as_str());
        let lost = delivery_of(&receipt, key, instance(), 2);
        assert_eq!(scene.retry(&lost).await.unwrap(), Ownership::Lost, "{receipt:?}");
        let error = ErrorDelivery { id: "error-1", body: b"{}" };
        let buried = scene.bury_telling(&lost, Some(error)).await.unwrap();
        assert_eq!(buried, Ownership::Lost, "{receipt:?}");
        if receipt.source == Source::Stream {
            assert_eq!(scene.store.mark_done(ME, &[lost]).await.unwrap(), [Ownership::Lost]);
        }
        assert_eq!(scene.everything().await, before, "{receipt:?}");
    }
}

#[tokio::test]
async fn of_many_retries_each_is_settled_by_itself() {
    let scene = Scene::new().await;
    let (first, unusable) = (scene.taken(1).await, scene.taken(1).await);
    let of_another = scene.taken_by(ANOTHER, 1).await;
    let (one_of_two, last) = (scene.taken(2).await, scene.taken(1).await);
    let key = scene.store.keys().event(&EventKey::new(unusable.id.as_str()));
    let _: Value = scene.redis.command(&["SET", &key, "of somebody else"]).await;
    let receipts = [&first, &unusable, &of_another, &one_of_two, &last];
    let deliveries = receipts.map(|receipt| match receipt.consumer.as_ref() {
        ANOTHER => delivery(&held(Source::Stream, receipt.id.as_str(), ME, 1), instance()),
        _ => delivery(receipt, instance()),
    });
    let results = scene.retry_all(&deliveries.iter().collect::<Vec<_>>()).await.unwrap();
    let told = |result: &Result<Ownership, StoreError>| result.as_ref().ok().copied();
    let ours = Some(Ownership::Ours);
    assert_eq!(results.iter().map(told).collect::<Vec<_>>(), [ours, None, Some(Ownership::Lost), ours, ours]);
    assert!(results[1].as_ref().unwrap_err().to_string().contains("WRONGTYPE"), "{results:?}");

    let waiting: Vec<String> = scene.redis.command(&["ZRANGE", "{webhooks}:retry", "0", "-1"]).await;
    let member = |receipt: &Receipt| format!("{} {}", receipt.id, instance());
    let mut expected = [member(&first), member(&one_of_two), member(&last)];
    expected.sort();
    let mut waiting = waiting;
    waiting.sort();
    assert_eq!(waiting, expected);
    // What could not be settled is pending still, and what has another delivery.
    let left: Vec<String> = scene.redis.entries("webhooks").await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(left, [&unusable, &of_another, &one_of_two].map(|receipt| receipt.id.to_string()));
    for (receipt, live) in [(&first, None), (&one_of_two, Some("2")), (&last, None)] {
        let progress = scene.progress(&EventKey::new(receipt.id.as_str())).await;
        assert_eq!(progress.get("live").map(String::as_str), live, "{progress:?}");
        assert_eq!(progress["tried:instance:a b:{c}"], TRIED, "{progress:?}");
    }
}

#[tokio::test]
async fn a_retry_that_is_repeated_after_a_lost_reply_changes_nothing() {
    let scene = Scene::new().await;
    // All the entry is held for: the repetition finds it acknowledged.
    let sole = scene.taken(1).await;
    let failed = delivery(&sole, instance());
    assert_eq!(scene.retry(&failed).await.unwrap(), Ownership::Ours);
    let after = scene.everything().await;
    assert_eq!(scene.retry(&failed).await.unwrap(), Ownership::Lost);
    assert_eq!(scene.everything().await, after);

    // The same from the ready stream.
    let due = scene.due(1).await;
    let again = delivery_of(&due[0], failed.event.key.clone(), instance(), 2);
    assert_eq!(scene.retry(&again).await.unwrap(), Ownership::Ours);
    let after = scene.everything().await;
    assert_eq!(scene.retry(&again).await.unwrap(), Ownership::Lost);
    assert_eq!(scene.everything().await, after);

    // One of several: the repetition finds what it did.
    let several = scene.taken(2).await;
    for destination in [Destination::Global, instance()] {
        let failed = delivery(&several, destination);
        assert_eq!(scene.retry(&failed).await.unwrap(), Ownership::Ours);
        let after = scene.everything().await;
        assert_eq!(scene.retry(&failed).await.unwrap(), Ownership::Ours);
        assert_eq!(scene.everything().await, after);
    }

    // Even when it has been delivered in the meantime.
    let key = EventKey::new(several.id.as_str());
    let due = scene.due(3).await;
    scene.done(&due[1], &key, Some(Destination::Global)).await;
    assert!(scene.progress(&key).await.contains_key("done:global"));
    let after = scene.everything().await;
    let failed = delivery(&several, Destination::Global);
    assert_eq!(scene.retry(&failed).await.unwrap(), Ownership::Ours);
    assert_eq!(scene.everything().await, after);
}

#[tokio::test]
async fn a_burial_that_is_repeated_after_a_lost_reply_changes_nothing() {
    let scene = Scene::new().await;
    let error = || Some(ErrorDelivery { id: "error-1", body: b"{\"event\":\"error\"}" });
    for (fan_out, repeated) in [(1, Ownership::Lost), (2, Ownership::Ours)] {
        let receipt = scene.taken(fan_out).await;
        let failed = delivery(&receipt, instance());
        assert_eq!(scene.bury_telling(&failed, error()).await.unwrap(), Ownership::Ours);
        let after = scene.everything().await;
        assert_eq!(scene.bury_telling(&failed, error()).await.unwrap(), repeated);
        assert_eq!(scene.everything().await, after, "{fan_out} deliveries");
    }
    assert_eq!(scene.redis.letters().await.len(), 2);
    assert_eq!(scene.redis.len("{webhooks}:ready").await, 2);

    let scene = Scene::new().await;
    let waits = scene.taken(1).await;
    scene.retry(&delivery(&waits, instance())).await.unwrap();
    let due = scene.due(1).await;
    let failed = delivery_of(&due[0], EventKey::new(waits.id.as_str()), instance(), 2);
    assert_eq!(scene.bury_telling(&failed, error()).await.unwrap(), Ownership::Ours);
    let after = scene.everything().await;
    assert_eq!(scene.bury_telling(&failed, error()).await.unwrap(), Ownership::Lost);
    assert_eq!(scene.everything().await, after);
    assert_eq!(scene.redis.letters().await.len(), 1);
}

#[tokio::test]
async fn a_success_that_is_reported_twice_counts_once() {
    let scene = Scene::new().await;
    // Of an entry of the producers' stream.
    let receipt = scene.taken(1).await;
    scene.acknowledge(&receipt).await.unwrap();
    scene.acknowledge(&receipt).await.unwrap();
    scene.redis.assert_settled().await;

    // Of two that wait in one hash: the second report of one must not settle the other.
    let several = scene.taken(2).await;
    let key = EventKey::new(several.id.as_str());
    for destination in [Destination::Global, instance()] {
        scene.retry(&delivery(&several, destination)).await.unwrap();
    }
    scene.done(&several, &key, None).await;
    let due = scene.due(2).await;
    for _ in 0..3 {
        scene.done(&due[0], &key, Some(Destination::Global)).await;
        scene.done(&several, &key, None).await;
    }
    assert_eq!(scene.progress(&key).await["live"], "1");
    scene.done(&due[1], &key, Some(instance())).await;
    scene.done(&due[1], &key, Some(instance())).await;
    scene.redis.assert_settled().await;
}

#[tokio::test]
async fn many_entries_are_done_at_a_time_whoever_holds_them_and_in_any_order() {
    let scene = Scene::new().await;
    for number in 0..20 {
        let event = format!("e{number}");
        let _: u64 = scene
            .redis
            .command(&["HSET", &format!("{{webhooks}}:event:{event}"), "payload", PUSHED, "event", "evt 9"])
            .await;
        let entry = fields(&[("event", &event), ("destination", "global")]);
        scene.redis.push_entry("{webhooks}:ready", &entry).await;
        // Every other is another worker's; the last nobody has.
        if number < 19 {
            scene.read_some("{webhooks}:ready", if number % 2 == 0 { ME } else { "another" }, 1).await;
        }
    }
    let ids: Vec<String> =
        scene.redis.entries("{webhooks}:ready").await.into_iter().map(|(id, _)| id).collect();
    let finished = |number: usize, is_last| Finished {
        entry: EntryId::new(&ids[number]),
        event: EventKey::new(&format!("e{number}")),
        destination: Some(Destination::Global),
        is_last,
    };
    // The first and one far behind it; several; again, and one that nobody holds.
    let calls =
        [&[(18, true), (0, true)][..], &[(4, true), (2, false), (3, true), (4, true), (0, true), (19, true)]];
    let mut left: Vec<usize> = (0..20).collect();
    for done in [calls[0], calls[1], calls[1]] {
        let mut entries: Vec<_> = done.iter().map(|(number, is_last)| finished(*number, *is_last)).collect();
        scene.store.finish(Source::Ready, &mut entries).await.unwrap();
        left.retain(|number| *number == 19 || !done.iter().any(|(done, _)| done == number));
        let entries: Vec<String> =
            scene.redis.entries("{webhooks}:ready").await.into_iter().map(|(id, _)| id).collect();
        assert_eq!(entries, left.iter().map(|number| ids[*number].clone()).collect::<Vec<_>>());
        assert_eq!(scene.redis.pending("{webhooks}:ready").await, left.len() as u64 - 1);
        let events: BTreeSet<String> = scene.redis.command(&["KEYS", "{webhooks}:event:*"]).await;
        assert_eq!(events, left.iter().map(|number| format!("{{webhooks}}:event:e{number}")).collect());
    }
}

#[tokio::test]
async fn the_payload_is_kept_once_and_byte_for_byte() {
    let scene = Scene::new().await;
    let receipt = scene.taken(2).await;
    for destination in [Destination::Global, instance()] {
        let failed = delivery(&receipt, destination);
        assert_eq!(scene.retry(&failed).await.unwrap(), Ownership::Ours);
    }
    let key = EventKey::new(receipt.id.as_str());
    let hash: BTreeMap<String, String> =
        scene.redis.command(&["HGETALL", &scene.store.keys().event(&key)]).await;
    assert_eq!(
        hash,
        map(&[
            ("payload", PUSHED),
            ("event", "evt 99 00-1"),
            ("live", "3"),
            ("tried:global", TRIED),
            ("tried:instance:a b:{c}", TRIED),
        ])
    );
    let waiting = scene
        .store
        .waiting(&[
            (key.clone(), instance()),
            (key.clone(), Destination::Errors),
            (EventKey::new("none"), instance()),
        ])
        .await
        .unwrap();
    let [Found::Waiting(found), Found::Waiting(of_another), Found::Gone] = &waiting[..] else {
        panic!("{waiting:?}");
    };
    assert_eq!(&found.payload[..], PUSHED.as_bytes());
    assert_eq!(found.tried, Tried { attempts: 1, first_ms: Some(111), last: Some(last_attempt()) });
    assert_eq!((found.event.id.as_str(), found.event.pushed_ms), ("evt", 99));
    assert_eq!(found.event.traceparent.as_deref(), Some("00-1"));
    assert_eq!(of_another.tried, Tried::default());
    assert!(!found.is_last && !of_another.is_last, "live is 3");
}

/// What happens to one of an event's two deliveries, in the order of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It fails and waits.
    Retry(usize),
    /// It dies.
    Dead(usize),
    /// It arrives, and that is noted because the other takes its time.
    Marked(usize),
    /// What waited arrives.
    Arrives(usize),
    /// What waited fails once more.
    FailsAgain(usize),
    /// What waited dies.
    DiesLate(usize),
    /// All deliveries of the entry have been settled or put to wait (or have arrived), so it is acknowledged.
    Close,
}

#[tokio::test]
async fn however_an_events_deliveries_end_its_hash_lives_just_as_long() {
    use Step::{Arrives, Close, Dead, DiesLate, FailsAgain, Marked, Retry};
    // Steps, and how much lives after each: the deliveries that wait, and the entry until it is acknowledged.
    let journeys: [&[(Step, u32)]; 14] = [
        // One fails while the other arrives.
        &[(Retry(0), 2), (Close, 1), (Arrives(0), 0)],
        // It arrives before the other's attempt has ended.
        &[(Retry(0), 2), (Arrives(0), 1), (Close, 0)],
        // Both fail.
        &[(Retry(0), 2), (Retry(1), 3), (Close, 2), (Arrives(1), 1), (Arrives(0), 0)],
        &[(Retry(0), 2), (Arrives(0), 1), (Retry(1), 2), (Close, 1), (Arrives(1), 0)],
        // And fail again.
        &[
            (Retry(0), 2),
            (Retry(1), 3),
            (FailsAgain(0), 3),
            (Close, 2),
            (FailsAgain(1), 2),
            (Arrives(0), 1),
            (FailsAgain(1), 1),
            (Arrives(1), 0),
        ],
        // One dies at once.
        &[(Dead(0), 1), (Close, 0)],
        &[(Dead(0), 1), (Retry(1), 2), (Close, 1), (Arrives(1), 0)],
        &[(Retry(0), 2), (Dead(1), 2), (Arrives(0), 1), (Close, 0)],
        &[(Dead(0), 1), (Dead(1), 1), (Close, 0)],
        // One dies late.
        &[(Retry(0), 2), (Retry(1), 3), (Close, 2), (DiesLate(0), 1), (Arrives(1), 0)],
        // One arrives long before the other's first attempt ends.
        &[(Marked(0), 1), (Close, 0)],
        &[(Marked(0), 1), (Retry(1), 2), (Close, 1), (Arrives(1), 0)],
        &[(Marked(0), 1), (Dead(1), 1), (Close, 0)],
        &[(Marked(0), 1), (Marked(1), 1), (Close, 0)],
    ];
    for journey in journeys {
        follow(journey).await;
    }
}

async fn follow(journey: &[(Step, u32)]) {
    let destinations = [Destination::Global, instance()];
    let scene = Scene::new().await;
    let entry = scene.taken(2).await;
    let key = EventKey::new(entry.id.as_str());
    // What Redis must know of, lest it be attempted twice should the worker die now.
    let mut known = BTreeSet::new();
    let mut dead = 0;
    for &(step, lives) in journey {
        match step {
            Step::Retry(of) => {
                let failed = delivery(&entry, destinations[of].clone());
                assert_eq!(scene.retry(&failed).await.unwrap(), Ownership::Ours);
                known.insert(destinations[of].clone());
            }
            Step::Dead(of) => {
                let failed = delivery(&entry, destinations[of].clone());
                assert_eq!(scene.bury(&failed).await.unwrap(), Ownership::Ours);
                known.insert(destinations[of].clone());
                dead += 1;
            }
            Step::Marked(of) => {
                let arrived = delivery(&entry, destinations[of].clone());
                for _ in 0..2 {
                    let marked = scene.store.mark_done(ME, std::slice::from_ref(&arrived)).await;
                    assert_eq!(marked.unwrap(), [Ownership::Ours]);
                }
                known.insert(destinations[of].clone());
            }
            Step::Close => scene.done(&entry, &key, None).await,
            Step::Arrives(of) | Step::FailsAgain(of) | Step::DiesLate(of) => {
                let member = format!("{key} {}", destinations[of]);
                let due: i64 =
                    scene.redis.command(&["ZADD", "{webhooks}:retry", "XX", "CH", "0", &member]).await;
                assert_eq!(due, 1, "{member} waits");
                // Only that one is due.
                assert_eq!(scene.store.promote(1).await.unwrap().moved, 1);
                scene.read("{webhooks}:ready", ME).await;
                let ready = scene.redis.entries("{webhooks}:ready").await;
                assert_eq!(
                    ready[0].1,
                    fields(&[("event", key.as_str()), ("destination", &destinations[of].to_string())])
                );
                let receipt = held(Source::Ready, &ready[0].0, ME, 1);
                let again = delivery_of(&receipt, key.clone(), destinations[of].clone(), 2);
                let is_last = scene.is_last(&key).await;
                match step {
                    Step::Arrives(_) => {
                        assert_eq!(is_last, lives == 0, "at {step:?} of {journey:?}");
                        scene.done_as(&receipt, &key, Some(destinations[of].clone()), is_last).await;
                    }
                    Step::FailsAgain(_) => {
                        assert_eq!(scene.retry(&again).await.unwrap(), Ownership::Ours);
                        let field = format!("tried:{}", destinations[of]);
                        assert_eq!(scene.progress(&key).await[&field], TRIED.replacen('1', "2", 1));
                    }
                    _ => {
                        assert_eq!(scene.bury(&again).await.unwrap(), Ownership::Ours);
                        dead += 1;
                    }
                }
            }
        }
        let progress = scene.progress(&key).await;
        let sole = u32::from(!progress.is_empty());
        let found = progress.get("live").map_or(sole, |live| live.parse().unwrap());
        assert_eq!(found, lives, "after {step:?} of {journey:?}: {progress:?}");
        let recorded = scene.store.recorded(std::slice::from_ref(&key)).await.unwrap().remove(0);
        match lives {
            0 => assert_eq!(recorded, None, "after {step:?} of {journey:?}"),
            _ => assert_eq!(
                recorded.unwrap().into_iter().collect::<BTreeSet<_>>(),
                known,
                "after {step:?} of {journey:?}"
            ),
        }
    }
    let letters = scene.redis.letters().await;
    assert_eq!(letters.len(), dead);
    assert!(letters.iter().all(|letter| letter.text("payload") == PUSHED));
    scene.redis.assert_settled().await;
}

#[tokio::test]
async fn what_is_due_becomes_ready_the_longest_due_first() {
    let scene = Scene::new().await;
    let now = scene.store.time_ms().await.unwrap();
    for (member, due) in
        [("k2 instance:two  words", 20), ("k3 global", 30), ("k1 errors", 10), ("k4 global", now + 60_000)]
    {
        let _: u64 = scene.redis.command(&["ZADD", "{webhooks}:retry", &due.to_string(), member]).await;
    }
    let first = scene.store.promote(2).await.unwrap();
    assert_eq!((first.moved, first.next), (2, Some(Duration::ZERO)));
    let second = scene.store.promote(2).await.unwrap();
    assert_eq!(second.moved, 1);
    let next = second.next.expect("one waits");
    assert!(next <= Duration::from_secs(60) && next > Duration::from_secs(30), "{next:?}");
    let third = scene.store.promote(2).await.unwrap();
    assert_eq!(third.moved, 0);
    let ready: Vec<_> =
        scene.redis.entries("{webhooks}:ready").await.into_iter().map(|(_, entry)| entry).collect();
    assert_eq!(
        ready,
        [
            fields(&[("event", "k1"), ("destination", "errors")]),
            fields(&[("event", "k2"), ("destination", "instance:two  words")]),
            fields(&[("event", "k3"), ("destination", "global")]),
        ]
    );
    let _: u64 = scene.redis.command(&["ZREM", "{webhooks}:retry", "k4 global"]).await;
    assert_eq!(scene.store.promote(2).await.unwrap().next, None);
}

impl Scene {
    /// Beats for `worker`; who is dead, or nothing where it is itself.
    async fn beat(&self, worker: &str, join: bool) -> Option<Vec<String>> {
        match self.store.beat(worker, DEAD_AFTER, join).await.unwrap() {
            Beat::Alive { dead, .. } => Some(dead),
            Beat::Fenced => None,
        }
    }

    /// Sets the latest heartbeat of a worker, Unix ms.
    async fn beat_at(&self, worker: &str, at_ms: u64) {
        let _: u64 = self.redis.command(&["ZADD", "{webhooks}:workers", &at_ms.to_string(), worker]).await;
    }
}

#[tokio::test]
async fn a_worker_learns_who_is_dead_and_whether_it_is_itself() {
    let scene = Scene::new().await;
    let nobody = || Some(Vec::new());
    assert_eq!(scene.beat(ME, false).await, None);
    assert_eq!(scene.beat(ME, true).await, nobody());
    assert_eq!(scene.beat(ANOTHER, true).await, nobody());
    assert_eq!(scene.beat(ME, false).await, nobody());
    scene.beat_at(ANOTHER, 1).await;
    assert_eq!(scene.beat(ME, false).await, Some(vec![ANOTHER.to_owned()]));
    let _: u64 = scene.redis.command(&["ZREM", "{webhooks}:workers", ME]).await;
    assert_eq!(scene.beat(ME, false).await, None);
}

#[tokio::test]
async fn a_worker_learns_when_the_next_may_be_dead() {
    let scene = Scene::new().await;
    let next = async || match scene.store.beat(ME, Duration::from_secs(60), true).await.unwrap() {
        Beat::Alive { next, .. } => next,
        Beat::Fenced => panic!("it has just joined"),
    };
    assert_eq!(next().await, None, "there is no other");
    let now = scene.store.time_ms().await.unwrap();
    scene.beat_at(ANOTHER, now + 40_000).await;
    let until = next().await.expect("another is alive");
    assert!(until <= Duration::from_secs(60), "{until:?}: a beat from the future counts as one from now");
    scene.beat_at(ANOTHER, now - 40_000).await;
    scene.beat_at("third", now - 20_000).await;
    let until = next().await.expect("another is alive");
    assert!(until <= Duration::from_secs(20) && until > Duration::from_secs(5), "{until:?}");
}

#[tokio::test]
async fn consumers_that_never_beat_are_marked_as_dead() {
    let scene = Scene::new().await;
    scene.beat(ME, true).await;
    let before = scene.workers().await;
    scene.taken(1).await;
    scene.taken_by(ANOTHER, 1).await;
    let due = fields(&[("event", "k"), ("destination", "global")]);
    scene.redis.push_entry("{webhooks}:ready", &due).await;
    scene.read("{webhooks}:ready", "third").await;
    for _ in 0..2 {
        scene.store.notice_strays().await.unwrap();
        let mut workers = scene.workers().await;
        workers.retain(|worker| !before.contains(worker));
        assert_eq!(workers, [(ANOTHER.to_owned(), 0), ("third".to_owned(), 0)]);
    }
    assert_eq!(scene.workers().await.len(), 3);
}

#[tokio::test]
async fn the_groups_are_created_once_and_from_the_first_entry_on() {
    let redis = RedisServer::start();
    redis.push(PUSHED).await;
    let scene = Scene { store: redis.store(), redis };
    for _ in 0..2 {
        scene.store.create_group().await.unwrap();
    }
    scene.read("webhooks", ME).await;
    assert_eq!(scene.redis.pending("webhooks").await, 1);
    scene.store.create_group().await.unwrap();
    assert_eq!(scene.redis.pending("webhooks").await, 1, "an existing group is left alone");

    let _: u64 = scene.redis.command(&["DEL", "webhooks"]).await;
    let _: String = scene.redis.command(&["SET", "webhooks", "not a stream"]).await;
    let error = scene.store.create_group().await.unwrap_err().to_string();
    assert!(error.contains("WRONGTYPE"), "{error}");
}

fn take_over(count: usize, bytes: usize) -> TakeOver<'static> {
    TakeOver { worker: ME, dead_after: DEAD_AFTER, count, bytes }
}

#[tokio::test]
async fn what_a_dead_worker_held_is_taken_over_piece_by_piece() {
    let scene = Scene::new().await;
    let mut held = Vec::new();
    for _ in 0..5 {
        held.push(scene.taken_by(ANOTHER, 1).await.id.to_string());
    }
    let due = fields(&[("event", "k"), ("destination", "global")]);
    held.push(scene.redis.push_entry("{webhooks}:ready", &due).await);
    scene.read("{webhooks}:ready", ANOTHER).await;
    // One of them is gone from the stream, as after an XDEL by hand.
    let deleted = held.remove(2);
    let _: u64 = scene.redis.command(&["XDEL", "webhooks", &deleted]).await;

    // As long as it beats, nothing is.
    scene.beat(ANOTHER, true).await;
    let before = scene.everything().await;
    let taken = scene.store.take_over(ANOTHER, &take_over(10, 10_000)).await.unwrap();
    assert!(taken.entries.is_empty());
    assert_eq!(scene.everything().await, before);

    let _: u64 = scene.redis.command(&["ZADD", "{webhooks}:workers", "1", ANOTHER]).await;
    let mut found = Vec::new();
    for request in [take_over(2, 10_000), take_over(10, 1), take_over(10, 10_000)] {
        let taken = scene.store.take_over(ANOTHER, &request).await.unwrap();
        assert!(taken.entries.len() <= 2, "{taken:?}");
        found.extend(taken.entries.into_iter().map(|(taken, times)| {
            assert_eq!(times, 1);
            match taken {
                Taken::New { id, .. } | Taken::Due { id, .. } => id.to_string(),
            }
        }));
        assert_eq!(scene.workers().await.len(), 1, "it still has some, or had");
    }
    assert_eq!(found, held);
    let left = scene.store.take_over(ANOTHER, &take_over(10, 10_000)).await.unwrap();
    assert!(left.entries.is_empty());
    assert!(scene.workers().await.is_empty());
    for stream in ["webhooks", "{webhooks}:ready"] {
        assert_eq!(scene.redis.consumers(stream).await, [ME], "{stream}");
    }
    assert_eq!(scene.redis.pending("webhooks").await, 4);
    assert_eq!(scene.redis.pending("{webhooks}:ready").await, 1);

    // Whoever takes them over from a crash next is told that they were before; what was left in order does not count.
    for (from, to, beaten, times) in [(ME, "third", "5", 2), ("third", "fourth", "0", 2)] {
        let _: u64 = scene.redis.command(&["ZADD", "{webhooks}:workers", beaten, from]).await;
        let again = TakeOver { worker: to, ..take_over(10, 10_000) };
        let taken = scene.store.take_over(from, &again).await.unwrap();
        assert!(taken.entries.iter().all(|(_, found)| *found == times), "{taken:?}");
        assert_eq!(taken.entries.len(), 5);
    }
}

#[tokio::test]
async fn what_cannot_be_written_leaves_the_entry_pending() {
    for (broken, buried) in [("{webhooks}:dead", true), ("{webhooks}:retry", false)] {
        let scene = Scene::new().await;
        scene.beat(ME, true).await;
        let delivery = delivery(&scene.taken(1).await, instance());
        let _: () = scene.redis.command(&["SET", broken, "of another type"]).await;
        for _ in 0..2 {
            let settled = if buried { scene.bury(&delivery).await } else { scene.retry(&delivery).await };
            assert!(settled.is_err(), "{settled:?}");
        }
        assert_eq!(scene.redis.pending("webhooks").await, 1, "{broken}");
        assert_eq!(scene.redis.len("webhooks").await, 1, "{broken}");
        let _: u64 = scene.redis.command(&["DEL", broken]).await;
        let settled = if buried { scene.bury(&delivery).await } else { scene.retry(&delivery).await };
        assert_eq!(settled.unwrap(), Ownership::Ours);
        assert_eq!(scene.redis.pending("webhooks").await, 0);
    }
}

#[tokio::test]
async fn a_worker_that_leaves_takes_its_name_along_unless_it_holds_something() {
    let scene = Scene::new().await;
    scene.beat(ME, true).await;
    let receipt = scene.taken(1).await;
    assert!(scene.store.leave(ME).await.unwrap());
    assert_eq!(scene.workers().await, [(ME.to_owned(), 0)], "it counts as dead at once");
    assert_eq!(scene.redis.consumers("webhooks").await, [ME]);
    scene.acknowledge(&receipt).await.unwrap();
    for _ in 0..2 {
        assert!(!scene.store.leave(ME).await.unwrap());
        assert!(scene.workers().await.is_empty());
        assert!(scene.redis.consumers("webhooks").await.is_empty());
    }
}

/// One of everything that is done with scripts while a worker runs, each with a name; `between` comes before each.
async fn one_of_everything(scene: &Scene, prepared: Prepared, between: impl AsyncFn(&str)) {
    every_settlement(scene, &prepared, &between).await;
    every_move(scene, &prepared, &between).await;
}

async fn every_settlement(scene: &Scene, prepared: &Prepared, between: &impl AsyncFn(&str)) {
    let Prepared { plain, sole, several, due, dying, unreadable, .. } = prepared;
    let key = |receipt: &Receipt| EventKey::new(receipt.id.as_str());

    between("ack").await;
    scene.acknowledge(plain).await.unwrap();
    between("ack without entries").await;
    scene.store.acknowledge(&[], b"", &counts(Counter::Retried)).await.unwrap();
    between("retry, sole").await;
    assert_eq!(scene.retry(&delivery(sole, instance())).await.unwrap(), Ownership::Ours);
    between("mark").await;
    let arrived = [delivery(several, Destination::Errors)];
    assert_eq!(scene.store.mark_done(ME, &arrived).await.unwrap(), [Ownership::Ours]);
    between("retry, one of several").await;
    let failed = delivery(several, Destination::Global);
    assert_eq!(scene.retry(&failed).await.unwrap(), Ownership::Ours);
    between("dead, one of several").await;
    assert_eq!(scene.bury(&delivery(several, instance())).await.unwrap(), Ownership::Ours);
    between("done, an entry").await;
    scene.done(several, &key(several), None).await;
    between("retry, from the ready stream").await;
    let failed = delivery_of(&due[0], EventKey::new("due"), instance(), 2);
    assert_eq!(scene.retry(&failed).await.unwrap(), Ownership::Ours);
    between("done, from the ready stream").await;
    scene.done(&due[1], &EventKey::new("due"), Some(Destination::Global)).await;
    between("dead, sole, with its error").await;
    let error = ErrorDelivery { id: "error-1", body: b"{}" };
    let buried = scene.bury_telling(&delivery(dying, instance()), Some(error)).await;
    assert_eq!(buried.unwrap(), Ownership::Ours);
    between("dead, unreadable").await;
    let made = delivery(unreadable, instance());
    let record = DeadRecord {
        receipt: unreadable,
        key: None,
        letter: &DeadLetter { destination: None, ..self::letter(&made) },
        error: None,
    };
    assert_eq!(scene.store.bury(&record).await.unwrap(), Ownership::Ours);
}

async fn every_move(scene: &Scene, prepared: &Prepared, between: &impl AsyncFn(&str)) {
    between("promote").await;
    assert_eq!(scene.store.promote(10).await.unwrap().moved, 3);
    between("beat, the first").await;
    scene.beat(ME, true).await;
    between("beat").await;
    assert_eq!(scene.beat(ME, false).await, Some(vec![ANOTHER.to_owned()]));
    between("strays").await;
    scene.store.notice_strays().await.unwrap();
    between("create").await;
    scene.store.create_group().await.unwrap();
    between("take over").await;
    let taken = scene.store.take_over(ANOTHER, &take_over(10, 10_000)).await.unwrap();
    assert_eq!(taken.entries.len(), 1);
    between("take over, the end").await;
    let taken = scene.store.take_over(ANOTHER, &take_over(10, 10_000)).await.unwrap();
    assert_eq!(taken.entries.len(), 0);
    assert_eq!(scene.workers().await.len(), 1);
    between("read dead letters").await;
    let page = scene.store.dead_letters(&Default::default(), None, 10).await.unwrap();
    assert_eq!(page.letters.len(), 4);
    between("replay").await;
    assert_eq!(scene.store.replay(&prepared.letter).await.unwrap(), Replayed::Sent);
    between("leave, with something held").await;
    assert!(scene.store.leave(ME).await.unwrap());
    let _: u64 = scene.redis.command(&["XGROUP", "DELCONSUMER", "webhooks", "posthaste", ME]).await;
    between("leave").await;
    assert!(!scene.store.leave(ME).await.unwrap());
    assert!(scene.workers().await.is_empty());
}

/// What [`one_of_everything`] needs.
struct Prepared {
    plain: Arc<Receipt>,
    sole: Arc<Receipt>,
    several: Arc<Receipt>,
    due: Vec<Arc<Receipt>>,
    dying: Arc<Receipt>,
    unreadable: Arc<Receipt>,
    letter: EntryId,
}

async fn prepare(scene: &Scene) -> Prepared {
    let _: u64 = scene
        .redis
        .command(&["HSET", "{webhooks}:event:due", "payload", PUSHED, "event", "evt 9", "live", "2"])
        .await;
    let _: u64 = scene
        .redis
        .command(&["ZADD", "{webhooks}:retry", "1", "due instance:a b:{c}", "2", "due global"])
        .await;
    let dead = fields(&[("id", "evt"), ("destination", "global"), ("payload", PUSHED)]);
    let letter = scene.redis.push_entry("{webhooks}:dead", &dead).await;
    let unreadable = scene.redis.push_entry("webhooks", &payload(b"not \xff JSON")).await;
    let prepared = Prepared {
        plain: scene.taken(1).await,
        sole: scene.taken(1).await,
        several: scene.taken(2).await,
        due: scene.due(2).await,
        dying: scene.taken(1).await,
        unreadable: held(Source::Stream, &unreadable, ME, 1),
        letter: EntryId::new(&letter),
    };
    scene.taken_by(ANOTHER, 1).await;
    let _: u64 = scene.redis.command(&["ZADD", "{webhooks}:workers", "1", ANOTHER]).await;
    prepared
}

#[tokio::test]
async fn all_goes_on_when_redis_has_no_memory_left() {
    let scene = Scene::new().await;
    let prepared = prepare(&scene).await;
    let _: String = scene.redis.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    let _: String = scene.redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    // So it is: producers are refused.
    let producer = posthaste::Publisher::on(scene.store.clone());
    let refused = producer.publish(PUSHED).await.unwrap_err().to_string();
    assert!(refused.contains("OOM"), "{refused}");
    // And a server that was started anew knows no script.
    one_of_everything(&scene, prepared, async |step| {
        println!("{step}");
        scene.forget_scripts().await;
    })
    .await;
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_loaded_again() {
    let scene = Scene::new().await;
    let prepared = prepare(&scene).await;
    one_of_everything(&scene, prepared, async |step| {
        println!("{step}");
        scene.forget_scripts().await;
    })
    .await;
    scene.store.set_webhook("a", "1").await.unwrap();
    scene.forget_scripts().await;
    assert!(scene.store.swap_webhook("a", b"1", "2").await.unwrap());
    scene.forget_scripts().await;
    assert!(!scene.store.swap_webhook("a", b"1", "3").await.unwrap());
    scene.forget_scripts().await;
    assert_eq!(scene.store.webhook("a").await.unwrap().unwrap(), b"2");
}

#[tokio::test]
async fn without_the_group_nothing_is_done_and_the_error_says_so() {
    let scene = Scene::new().await;
    let sole = scene.taken(1).await;
    let several = scene.taken(2).await;
    let _: u64 = scene.redis.command(&["ZADD", "{webhooks}:workers", "1", ANOTHER]).await;
    for stream in ["webhooks", "{webhooks}:ready"] {
        let _: u64 = scene.redis.command(&["XGROUP", "DESTROY", stream, "posthaste"]).await;
    }
    for emptied in [false, true] {
        if emptied {
            let _: String = scene.redis.command(&["FLUSHALL"]).await;
            let _: u64 = scene.redis.command(&["ZADD", "{webhooks}:workers", "1", ANOTHER]).await;
        }
        let before = scene.everything().await;
        for receipt in [&sole, &several] {
            let failed = delivery(receipt, instance());
            let ready = held(Source::Ready, receipt.id.as_str(), ME, 1);
            let due = delivery_of(&ready, EventKey::new("k"), instance(), 2);
            for error in [
                scene.retry(&failed).await.unwrap_err(),
                scene.bury(&failed).await.unwrap_err(),
                scene.retry(&due).await.unwrap_err(),
                scene.bury(&due).await.unwrap_err(),
            ] {
                assert_eq!(error.kind(), ErrorKind::NoGroup, "{error}");
            }
        }
        let request = take_over(10, 10_000);
        let error = scene.store.take_over(ANOTHER, &request).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoGroup, "{error}");
        let marked = [delivery(&several, instance())];
        let error = scene.store.mark_done(ME, &marked).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoGroup, "{error}");
        let (entry, event) = (several.id.clone(), EventKey::new("k"));
        let finished = Finished { entry, event, destination: None, is_last: false };
        let error = scene.store.finish(Source::Stream, &mut [finished]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoGroup, "{error}");
        let error = scene.store.leave(ME).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoGroup, "{error}");
        assert_eq!(scene.everything().await, before);
    }
    // What needs no group needs none; and the group can be created again.
    scene.beat(ME, true).await;
    scene.store.promote(10).await.unwrap();
    scene.acknowledge(&sole).await.unwrap();
    scene.store.create_group().await.unwrap();
    scene.store.create_group().await.unwrap();
    let again = scene.taken(1).await;
    let failed = delivery(&again, instance());
    assert_eq!(scene.retry(&failed).await.unwrap(), Ownership::Ours);
}

#[tokio::test]
async fn a_webhook_is_replaced_only_if_it_is_the_one_that_was_read() {
    let scene = Scene::new().await;
    let version = async || scene.store.webhooks(&[]).await.unwrap().0;
    scene.store.set_webhook("a", "old").await.unwrap();
    let before = version().await;
    for (instance, read) in [("a", "other"), ("none", "old"), ("none", "")] {
        assert!(!scene.store.swap_webhook(instance, read.as_bytes(), "new").await.unwrap());
    }
    assert_eq!(version().await, before);
    assert!(scene.store.swap_webhook("a", b"old", "new").await.unwrap());
    assert_eq!(scene.store.webhook("a").await.unwrap().unwrap(), b"new");
    let swapped = version().await;
    assert!(swapped > before);

    // Every change moves the version, and after a loss of all data it comes to none that was there before.
    assert!(scene.store.delete_webhook("a").await.unwrap());
    assert!(!scene.store.delete_webhook("a").await.unwrap());
    assert_eq!(scene.store.webhook("a").await.unwrap(), None);
    let deleted = version().await;
    assert!(deleted > swapped);
    let _: String = scene.redis.command(&["FLUSHALL"]).await;
    scene.store.set_webhook("a", "again").await.unwrap();
    assert!(version().await > deleted);
}

/// The scripts, by file name.
fn sources() -> BTreeMap<String, String> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store/lua");
    std::fs::read_dir(dir)
        .expect("the scripts are there")
        .map(|file| {
            let path = file.expect("a file").path();
            let name = path.file_name().expect("it has a name").to_string_lossy().into_owned();
            (name, std::fs::read_to_string(&path).expect("it is text"))
        })
        .collect()
}

/// The comment a script begins with, and the rest of it.
fn header_and_code(source: &str) -> (String, String) {
    let is_header = |line: &&str| line.starts_with("--");
    let header: Vec<&str> = source.lines().take_while(is_header).collect();
    let code: Vec<&str> = source
        .lines()
        .skip_while(is_header)
        .map(|line| line.split("--").next().unwrap_or_default())
        .collect();
    (header.join("\n"), code.join("\n"))
}

/// The numbers `n` of every `KEYS[n]` in a text; `name` is `KEYS` or `ARGV`.
fn indices(code: &str, name: &str) -> BTreeSet<usize> {
    code.split(&format!("{name}[")).skip(1).filter_map(|rest| rest.split(']').next()?.parse().ok()).collect()
}

/// Whether the header numbers something from `KEYS  1 …` or `ARGV  1 …` on up to `n`.
fn documents(header: &str, name: &str, n: usize) -> bool {
    let Some(at) = header.find(&format!("-- {name}  1 ")) else {
        return false;
    };
    let section: String = header[at..]
        .lines()
        .enumerate()
        .take_while(|(i, line)| *i == 0 || line.starts_with("--     "))
        .flat_map(|(_, line)| [line, " "])
        .collect();
    let words: Vec<&str> = section.split_whitespace().collect();
    (1..=n).all(|n| {
        let plain = n.to_string();
        words.iter().any(|word| *word == plain || word.strip_suffix('…') == Some(plain.as_str()))
    })
}

#[test]
fn every_script_documents_its_keys_arguments_and_reply() {
    let sources = sources();
    assert!(sources.len() >= 15, "{:?}", sources.keys());
    for (name, source) in &sources {
        let (header, code) = header_and_code(source);
        assert!(!header.trim_start_matches("--").trim().is_empty(), "{name} says what it does");
        for (what, used) in [("KEYS", indices(&code, "KEYS")), ("ARGV", indices(&code, "ARGV"))] {
            let most = used.last().copied().unwrap_or(0);
            assert!(most > 0, "{name} has {what}");
            assert!(documents(&header, what, most), "{name} documents {what} up to {most}:\n{header}");
        }
        assert!(header.contains("\n-- Returns"), "{name} says what it returns:\n{header}");
        assert!(!source.contains("cjson"), "{name} decodes no JSON");
        assert!(!code.contains("'{") && !code.contains("\"{"), "{name} makes no key of its own");
    }
}

#[test]
fn every_script_is_listed_in_script_rs() {
    let listed = include_str!("../../src/store/script.rs");
    let files: BTreeSet<String> = sources().into_keys().collect();
    let named: BTreeSet<String> =
        listed.split('"').filter(|part| part.ends_with(".lua")).map(str::to_owned).collect();
    assert_eq!(named, files);
}

#[test]
fn the_check_of_the_headers_finds_what_is_missing() {
    let header = "-- Does.\n--\n-- KEYS  1 stream   2… hashes\n-- ARGV  1 group   2 the\n--       3 last\n-- Returns 4.";
    assert!(documents(header, "KEYS", 2));
    assert!(!documents(header, "KEYS", 3));
    assert!(documents(header, "ARGV", 3));
    assert!(!documents(header, "ARGV", 4));
    assert!(!documents("-- Does.", "KEYS", 1));
    assert_eq!(indices("KEYS[1] .. KEYS[12] KEYS[s] ARGV[3]", "KEYS"), BTreeSet::from([1, 12]));
}

#[tokio::test]
async fn nobody_is_told_dead_when_redis_itself_stood_still() {
    let scene = Scene::new().await;
    scene.beat(ME, true).await;
    let now = scene.store.time_ms().await.unwrap();
    for worker in [ME, ANOTHER] {
        scene.beat_at(worker, now - 10_000).await;
    }
    let dead = async || match scene.store.beat(ME, Duration::from_secs(3), false).await.unwrap() {
        Beat::Alive { dead, .. } => dead,
        Beat::Fenced => panic!("nobody has taken anything over"),
    };
    assert!(dead().await.is_empty(), "this worker's own beat was as old");
    assert_eq!(dead().await, [ANOTHER], "by now it could have beaten");
}

#[tokio::test]
async fn only_its_own_pending_entries_are_handed_out_again() {
    let scene = Scene::new().await;
    let mine = scene.taken_by(ME, 1).await;
    let (source, id) = (mine.source, mine.id.clone());
    let again = scene.store.reclaim(source, ME, &id).await.unwrap();
    assert!(matches!(again, Some(Taken::New { id: again, .. }) if again == id));
    assert_eq!(scene.store.reclaim(source, ANOTHER, &id).await.unwrap(), None);
    let pending = scene.store.idle_entries(source, Some(ME), Duration::ZERO, None, 10).await.unwrap();
    assert_eq!(pending.len(), 1, "it is where it was");
    assert_eq!(pending[0].times, 1, "which is no further takeover");
}
