//! `park` and `unpark`, which move many deliveries at a time.

use posthaste::model::ParkReason;
use posthaste::store::{EventWords, ToPark, Unpark, Waiting, Which};

use super::*;

const PARK: &str = "{webhooks}:park:instance:a b:{c}";
/// More than is sent with the call, and what no JSON library would write like that.
const LARGE_BYTES: usize = 10_000;

impl Scene {
    async fn park(&self, deliveries: &[&Delivery]) -> Vec<Result<Ownership, StoreError>> {
        self.park_for(deliveries, ParkReason::Slow, Duration::from_secs(5)).await
    }

    async fn park_for(
        &self,
        deliveries: &[&Delivery],
        reason: ParkReason,
        wait: Duration,
    ) -> Vec<Result<Ownership, StoreError>> {
        self.store.park(&ToPark { deliveries, reason, wait }).await.unwrap()
    }

    async fn parked(&self) -> Vec<String> {
        self.redis.command(&["ZRANGE", PARK, "0", "-1"]).await
    }

    /// Takes up to `count` back: their entries in the ready stream, and the events.
    async fn unpark(&self, count: usize) -> Vec<(Arc<Receipt>, EventKey)> {
        let destination = instance();
        let ask = Unpark {
            worker: ME,
            destination: &destination,
            which: Which::Oldest(count),
            expired_before_ms: 0,
            most_expired: 1,
            wait: None,
        };
        let entries = self.store.unpark(&ask).await.unwrap().entries;
        let held = |taken| match taken {
            Taken::Due { id, delivery: Some((key, to)), was_parked: true } => {
                assert_eq!(to, instance());
                (held(Source::Ready, id.as_str(), ME, 1), key)
            }
            other => panic!("{other:?}"),
        };
        entries.into_iter().map(held).collect()
    }

    async fn load(&self, key: &EventKey) -> Waiting {
        match self.store.waiting(&[(key.clone(), instance())]).await.unwrap().remove(0) {
            Found::Waiting(waiting) => waiting,
            other => panic!("{other:?}"),
        }
    }
}

fn large() -> String {
    format!(r#"{{ "event":"x","instance":"a b","data":[1.0e3,"{}é"]}}"#, "y".repeat(LARGE_BYTES))
}

/// What the results came to, in short.
fn short(results: &[Result<Ownership, StoreError>]) -> Vec<&'static str> {
    let short = |result: &Result<Ownership, StoreError>| match result {
        Ok(Ownership::Ours) => "ours",
        Ok(Ownership::Lost) => "lost",
        Err(_) => "error",
    };
    results.iter().map(short).collect()
}

#[tokio::test]
async fn many_are_parked_in_one_call_and_each_as_it_has_to_be() {
    let scene = Scene::new().await;
    let mut receipts = Vec::new();
    for fan_out in [1, 2, 1, 1, 1] {
        receipts.push(scene.taken(fan_out).await);
        // Others' entries, and those of other destinations, are between them.
        scene.taken_by(ANOTHER, 1).await;
        scene.taken(1).await;
    }
    let another = scene.taken_by(ANOTHER, 1).await;
    receipts.insert(3, held(Source::Stream, another.id.as_str(), ME, 1));
    scene.acknowledge(&receipts[5]).await.unwrap();
    let unusable = scene.store.keys().event(&EventKey::new(receipts[2].id.as_str()));
    let _: () = scene.redis.command(&["SET", &unusable, "of another type"]).await;
    let deliveries: Vec<Delivery> = receipts.iter().map(|receipt| delivery(receipt, instance())).collect();
    let to_park: Vec<&Delivery> = deliveries.iter().collect();
    let (all, pending) = (scene.redis.len("webhooks").await, scene.redis.pending("webhooks").await);

    let results = scene.park(&to_park).await;
    assert_eq!(short(&results), ["ours", "ours", "error", "lost", "ours", "lost"]);
    let error = results[2].as_ref().unwrap_err();
    assert!(error.to_string().contains("WRONGTYPE") && error.kind() == ErrorKind::Other, "{error}");

    let parked: Vec<&str> = [0, 1, 4].map(|n: usize| receipts[n].id.as_str()).to_vec();
    assert_eq!(scene.parked().await, parked, "the oldest first");
    assert_eq!(scene.redis.len("webhooks").await, all - 2, "an entry with another delivery stays");
    assert_eq!(scene.redis.pending("webhooks").await, pending - 2);
    let of = |n: usize| EventKey::new(receipts[n].id.as_str());
    let sole = map(&[("tried:instance:a b:{c}", "0")]);
    assert_eq!(scene.progress(&of(0)).await, sole);
    assert_eq!(scene.progress(&of(4)).await, sole);
    assert_eq!(scene.progress(&of(1)).await["live"], "2");

    // A reply that was lost: it changes nothing.
    let after = scene.everything().await;
    let again = scene.park(&to_park).await;
    assert_eq!(short(&again), ["lost", "ours", "error", "lost", "lost", "lost"]);
    assert_eq!(scene.everything().await, after);
    // In whatever order they are named.
    let backwards: Vec<&Delivery> = to_park.iter().rev().copied().collect();
    let again = scene.park(&backwards).await;
    assert_eq!(short(&again), ["lost", "lost", "lost", "error", "ours", "lost"]);
    assert_eq!(scene.everything().await, after);

    // What could not be parked can be, once its key is free.
    let _: u64 = scene.redis.command(&["DEL", &unusable]).await;
    assert_eq!(short(&scene.park(&[to_park[2]]).await), ["ours"]);
    assert_eq!(scene.parked().await.len(), 4);
}

#[tokio::test]
async fn entries_named_out_of_order_are_parked_all_the_same() {
    let scene = Scene::new().await;
    let mut receipts = Vec::new();
    for _ in 0..5 {
        receipts.push(scene.taken(1).await);
    }
    receipts.reverse();
    receipts.swap(1, 3);
    let deliveries: Vec<Delivery> = receipts.iter().map(|receipt| delivery(receipt, instance())).collect();
    assert_eq!(short(&scene.park(&deliveries.iter().collect::<Vec<_>>()).await), ["ours"; 5]);
    assert_eq!(scene.parked().await.len(), 5);
    assert_eq!(scene.redis.len("webhooks").await, 0);
}

#[tokio::test]
async fn what_was_parked_comes_back_byte_for_byte_and_can_be_parked_again() {
    let scene = Scene::new().await;
    for payload in [PUSHED.to_owned(), large()] {
        let entry = fields(&[("payload", &payload), ("id", "evt")]);
        let id = scene.redis.push_entry("webhooks", &entry).await;
        scene.read("webhooks", ME).await;
        let mut delivery = delivery(&held(Source::Stream, &id, ME, 1), instance());
        let event = Event {
            key: delivery.event.key.clone(),
            id: delivery.event.id.clone(),
            pushed_ms: delivery.event.pushed_ms,
            traceparent: None,
            envelope: Envelope::parse(payload.clone().into()).unwrap(),
        };
        delivery.event = Arc::new(event);
        assert_eq!(short(&scene.park(&[&delivery]).await), ["ours"]);

        for _ in 0..2 {
            let (receipt, key) = scene.unpark(10).await.remove(0);
            let loaded = scene.load(&key).await;
            assert_eq!(loaded.payload, payload.as_bytes());
            let EventWords { id, pushed_ms, .. } = &loaded.event;
            assert_eq!((id.as_str(), *pushed_ms, loaded.tried.attempts), ("evt", 99, 0));
            assert!(loaded.is_last, "{loaded:?}");
            assert_eq!(scene.redis.len("{webhooks}:ready").await, 1);
            let again = delivery_of(&receipt, key.clone(), instance(), 1);
            assert_eq!(short(&scene.park(&[&again]).await), ["ours"]);
            assert_eq!(short(&scene.park(&[&again]).await), ["lost"], "repeated");
            assert_eq!(scene.redis.len("{webhooks}:ready").await, 0);
        }
        let (receipt, key) = scene.unpark(10).await.remove(0);
        scene.done(&receipt, &key, Some(instance())).await;
        assert!(scene.redis.keys().await.iter().all(|key| !key.contains("event:") && !key.contains(":park")));
    }
}

#[tokio::test]
async fn attempts_that_were_made_stay_counted_while_it_is_parked() {
    let scene = Scene::new().await;
    let receipt = scene.taken(1).await;
    scene.retry(&delivery(&receipt, instance())).await.unwrap();
    let due = scene.due(1).await;
    let waits = delivery_of(&due[0], EventKey::new(receipt.id.as_str()), instance(), 2);
    let before = scene.progress(&waits.event.key).await;
    assert_eq!(short(&scene.park(&[&waits]).await), ["ours"]);
    assert_eq!(scene.progress(&waits.event.key).await, before);
    assert_eq!(scene.load(&waits.event.key).await.tried.attempts, 1);
}

#[tokio::test]
async fn the_index_says_when_to_look_and_why() {
    let scene = Scene::new().await;
    let mut parked = Vec::new();
    for (reason, wait) in
        [(ParkReason::Slow, 5), (ParkReason::Behind, 60), (ParkReason::Down, 30), (ParkReason::Down, 10)]
    {
        let delivery = delivery(&scene.taken(1).await, instance());
        let wait = Duration::from_secs(wait);
        assert_eq!(short(&scene.park_for(&[&delivery], reason, wait).await), ["ours"]);
        let park = scene.store.parked(1).await.unwrap().largest.remove(0);
        assert!(park.since_ms.is_some());
        parked.push((park.reason, park.next_ms));
    }
    let reasons: Vec<&str> = parked.iter().map(|(reason, _)| reason.as_str()).collect();
    assert_eq!(reasons, ["slow", "slow", "down", "down"]);
    let next: Vec<u64> = parked.iter().map(|(_, next)| *next).collect();
    assert_eq!(next[0], next[1], "more of them put nothing off");
    assert!(next[2] > next[1] + 20_000, "while it is down nobody asks sooner");
    assert_eq!(next[2], next[3]);
}

#[tokio::test]
async fn what_a_pause_parks_after_its_end_is_looked_at_at_once() {
    let (scene, minute) = (Scene::new().await, Duration::from_secs(60));
    let park = async |reason| {
        let delivery = delivery(&scene.taken(1).await, instance());
        assert_eq!(short(&scene.park_for(&[&delivery], reason, minute).await), ["ours"]);
        let park = scene.store.parked(1).await.unwrap().largest.remove(0);
        let due = park.next_ms <= scene.store.time_ms().await.unwrap();
        (park.reason, due)
    };
    assert!(scene.store.pause(&instance()).await.unwrap());
    assert_eq!(park(ParkReason::Paused).await, ("paused".to_owned(), false));
    scene.unpark(10).await;

    // Queued before the end of the pause, and written after it.
    assert!(scene.store.resume(&instance()).await.unwrap());
    assert_eq!(park(ParkReason::Paused).await, ("behind".to_owned(), true));
    scene.unpark(10).await;

    // Also where others wait there already; but who is down is not asked sooner.
    assert_eq!(park(ParkReason::Slow).await, ("slow".to_owned(), false));
    assert_eq!(park(ParkReason::Paused).await, ("slow".to_owned(), true));
    assert_eq!(park(ParkReason::Down).await, ("down".to_owned(), false));
    assert_eq!(park(ParkReason::Paused).await, ("down".to_owned(), false));
}

#[tokio::test]
async fn nothing_is_lost_where_the_park_cannot_be_written() {
    for broken in [PARK, "{webhooks}:parks", "{webhooks}:parked"] {
        let scene = Scene::new().await;
        let deliveries =
            [delivery(&scene.taken(1).await, instance()), delivery(&scene.taken(2).await, instance())];
        let to_park = ToPark {
            deliveries: &[&deliveries[0], &deliveries[1]],
            reason: ParkReason::Down,
            wait: Duration::ZERO,
        };
        let _: () = scene.redis.command(&["SET", broken, "of another type"]).await;
        for _ in 0..2 {
            assert!(scene.store.park(&to_park).await.is_err(), "{broken}");
        }
        assert_eq!(scene.redis.pending("webhooks").await, 2, "{broken}");
        // Whoever took the entries over now would not find that anything was done for them.
        for delivery in &deliveries {
            assert_eq!(scene.progress(&delivery.event.key).await, BTreeMap::new(), "{broken}");
        }
        let _: u64 = scene.redis.command(&["DEL", broken]).await;
        assert_eq!(short(&scene.store.park(&to_park).await.unwrap()), ["ours", "ours"]);
        assert_eq!(scene.parked().await.len(), 2);
        assert_eq!(scene.redis.pending("webhooks").await, 1);
    }
}

#[tokio::test]
async fn parks_are_filled_and_emptied_when_redis_has_no_memory_left() {
    let scene = Scene::new().await;
    let (sole, several) = (scene.taken(1).await, scene.taken(2).await);
    let _: String = scene.redis.command(&["CONFIG", "SET", "maxmemory-policy", "noeviction"]).await;
    let _: String = scene.redis.command(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let deliveries = [delivery(&sole, instance()), delivery(&several, instance())];
    let results = scene.park(&[&deliveries[0], &deliveries[1]]).await;
    assert_eq!(short(&results), ["ours", "ours"]);
    let back = scene.unpark(10).await;
    assert_eq!(back.len(), 2);
    let again: Vec<Delivery> =
        back.iter().map(|(receipt, key)| delivery_of(receipt, key.clone(), instance(), 1)).collect();
    assert_eq!(short(&scene.park(&again.iter().collect::<Vec<_>>()).await), ["ours", "ours"]);
    assert_eq!(scene.parked().await.len(), 2);
}
