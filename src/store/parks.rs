//! Parks: deliveries that wait for their destination, out of every process.

use std::collections::HashSet;
use std::time::Duration;

use redis::{Value, cmd};

use super::deliveries::{millis, sent};
use super::events::{array, read_entry};
use super::progress::event_words;
use super::{ErrorDelivery, GROUP, Ownership, Redis, StoreError, Taken, script};
use crate::model::{Delivery, Destination, EventKey, ParkReason, Source};

/// How many deliveries in backoff are looked at in one command: it runs about a millisecond then.
const SCAN: usize = 1000;

/// How many destinations are counted by [`Redis::parked`] …
const COUNTED: usize = 2000;
/// … so many in one round trip, for others have their turns between them.
const AT_A_TIME: usize = 500;

/// Which parked deliveries to hand out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Which {
    /// Up to so many, those of the oldest events.
    Oldest(usize),
    /// One that came later. The number, in `0..1` and drawn by chance, says which: its place, counted from the latest,
    /// is the number of all to this power. So any of them may come, and the last ten as often as those from ten to a
    /// hundred: wherever in the park those are that the receiver takes, they are found soon.
    Late(f64),
}

impl Which {
    /// The same, of no more than `most` at a time.
    #[must_use]
    pub fn at_most(self, most: usize) -> Self {
        match self {
            Self::Oldest(count) => Self::Oldest(count.min(most)),
            Self::Late(_) => self,
        }
    }
}

/// Deliveries to be parked: to one destination, of entries of one stream that were read under one name.
#[derive(Clone, Copy, Debug)]
pub struct ToPark<'a> {
    /// They.
    pub deliveries: &'a [&'a Delivery],
    /// Why.
    pub reason: ParkReason,
    /// How long nobody need look at their park.
    pub wait: Duration,
}

/// What a worker asks for of parked deliveries.
#[derive(Clone, Copy, Debug)]
pub struct Unpark<'a> {
    /// The name under which the worker will hold them.
    pub worker: &'a str,
    /// Where they go.
    pub destination: &'a Destination,
    /// Which it has room for.
    pub which: Which,
    /// What was pushed before this time, Unix ms, is handed out in any case …
    pub expired_before_ms: u64,
    /// … up to so many at a time.
    pub most_expired: usize,
    /// How long nobody need look at what is left; none: as was said before.
    pub wait: Option<Duration>,
}

/// Parked deliveries that were handed out.
#[derive(Clone, Debug, Default)]
pub struct Unparked {
    /// They, as entries of the ready stream, and what was in it before.
    pub entries: Vec<Taken>,
    /// How many of them had expired.
    pub expired: usize,
    /// How many are parked still.
    pub left: u64,
}

/// Destinations whose parked deliveries somebody should look at.
#[derive(Clone, Debug, Default)]
pub struct DueParks {
    /// They.
    pub destinations: Vec<Destination>,
    /// How long until the next are; none when nothing is parked.
    pub next: Option<Duration>,
}

/// What is parked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parked {
    /// For how many destinations something is.
    pub destinations: u64,
    /// How many of them were counted: all, unless there are very many.
    pub counted: u64,
    /// How many deliveries are parked for those that were counted.
    pub deliveries: u64,
    /// Of those that were counted the ones with most, first the one with the most.
    pub largest: Vec<Park>,
}

/// What is parked for one destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Park {
    /// The destination, as text.
    pub destination: String,
    /// How many deliveries.
    pub parked: u64,
    /// Since when there have been any, Unix ms, where that is known.
    pub since_ms: Option<u64>,
    /// Why: see [`ParkReason`](crate::model::ParkReason).
    pub reason: String,
    /// When somebody looks at them next (probes, where the receiver is down), Unix ms.
    pub next_ms: u64,
}

impl Redis {
    /// Parks deliveries. Entries that are held for no other delivery are acknowledged with it. Of an entry that is no
    /// longer this consumer's, its new owner answers for the delivery.
    ///
    /// # Errors
    /// When Redis did not confirm it; doing it again is harmless. Within: for each delivery, why it alone could not be.
    pub async fn park(&self, to_park: &ToPark<'_>) -> Result<Vec<Result<Ownership, StoreError>>, StoreError> {
        let Some(first) = to_park.deliveries.first() else {
            return Ok(Vec::new());
        };
        let (keys, source, destination) = (self.keys(), first.receipt.source, &first.destination);
        let mut park = script::PARK.key(self.key_of(source));
        park.key(keys.park(destination)).key(keys.parks()).key(keys.parked()).key(keys.paused());
        park.arg(GROUP).arg(&*first.receipt.consumer).arg(destination.to_string());
        park.arg(u8::from(source == Source::Ready)).arg(millis(to_park.wait)).arg(to_park.reason.as_str());
        for delivery in to_park.deliveries {
            let (receipt, event) = (&delivery.receipt, &delivery.event);
            park.key(keys.event(&event.key));
            park.arg(receipt.id.as_str()).arg(u8::from(receipt.is_sole())).arg(event.key.as_str());
            park.arg(event.pushed_ms).arg(event_words(event));
            park.arg(sent(source, event));
            let kept =
                (delivery.takeovers > 0).then(|| format!("{} {}", delivery.attempt - 1, delivery.takeovers));
            park.arg(kept.unwrap_or_default());
        }
        let parked: Vec<Value> = self.script(&park).await?;
        Ok(parked.into_iter().map(Ownership::of_one).collect())
    }

    /// Hands parked deliveries to a worker; they are in its pending list then.
    ///
    /// # Errors
    /// When Redis does not answer. What it may have handed out all the same is in the pending list.
    pub async fn unpark(&self, ask: &Unpark<'_>) -> Result<Unparked, StoreError> {
        let keys = self.keys();
        let mut unpark = script::UNPARK.key(keys.park(ask.destination));
        unpark.key(keys.parks()).key(keys.parked()).key(keys.ready());
        unpark.arg(GROUP).arg(ask.worker).arg(ask.destination.to_string());
        let (count, late) = match ask.which {
            Which::Oldest(count) => (count, None),
            Which::Late(power) => (1, Some(power)),
        };
        unpark
            .arg(count)
            .arg(ask.most_expired)
            .arg(ask.expired_before_ms)
            .arg(ask.wait.map(|wait| wait.as_millis().to_string()).unwrap_or_default())
            .arg(late.map(|power| power.to_string()).unwrap_or_default());
        let (entries, expired, left): (Vec<Value>, usize, u64) = self.script(&unpark).await?;
        let entries = entries.into_iter().filter_map(|entry| match array(entry) {
            Some([Value::BulkString(id), fields]) => read_entry(Source::Ready, &id, fields),
            _ => None,
        });
        Ok(Unparked { entries: entries.collect(), expired, left })
    }

    /// Queues an event about a destination for the ERRORS webhook; with `quiet`, unless one was queued so lately.
    /// Returns whether it was.
    ///
    /// # Errors
    /// When Redis did not confirm it.
    pub async fn tell(
        &self,
        destination: &Destination,
        quiet: Option<Duration>,
        event: &ErrorDelivery<'_>,
    ) -> Result<bool, StoreError> {
        let (keys, key) = (self.keys(), EventKey::new(event.id));
        let mut tell = script::TELL.key(keys.told(destination));
        tell.key(keys.ready()).key(keys.event(&key));
        tell.arg(quiet.unwrap_or_default().as_millis() as u64)
            .arg(event.body)
            .arg(event.id)
            .arg(key.as_str());
        self.script(&tell).await
    }

    /// How many deliveries are parked for a destination.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn parked_for(&self, destination: &Destination) -> Result<u64, StoreError> {
        self.query(cmd("ZCARD").arg(self.keys().park(destination))).await
    }

    /// Ends the backoff of every delivery to some destinations; of how many it did.
    ///
    /// # Errors
    /// When Redis does not answer; doing it again is harmless.
    pub async fn end_backoff(&self, destinations: &[Destination]) -> Result<u64, StoreError> {
        let texts: HashSet<String> = destinations.iter().map(ToString::to_string).collect();
        let (mut cursor, mut ended) = (0, 0);
        loop {
            let mut scan = cmd("ZSCAN");
            scan.arg(self.keys().retry()).arg(cursor).arg("COUNT").arg(SCAN);
            let (next, found): (u64, Vec<(String, f64)>) = self.query(&scan).await?;
            let is_to = |member: &str| member.split_once(' ').is_some_and(|(_, to)| texts.contains(to));
            let members: Vec<&str> =
                found.iter().map(|(member, _)| member.as_str()).filter(|member| is_to(member)).collect();
            if !members.is_empty() {
                ended += members.len() as u64;
                let mut end = cmd("ZADD");
                end.arg(self.keys().retry()).arg("XX");
                for member in members {
                    end.arg(0).arg(member);
                }
                let _: Value = self.query(&end).await?;
            }
            if next == 0 {
                return Ok(ended);
            }
            cursor = next;
        }
    }

    /// Up to `limit` destinations whose parked deliveries are to be looked at now. Nobody else is told of them for
    /// `lease`.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn due_parks(&self, limit: usize, lease: Duration) -> Result<DueParks, StoreError> {
        let mut parks = script::PARKS.key(self.keys().parks());
        parks.arg(limit).arg(lease.as_millis() as u64);
        let reply: Vec<Value> = self.script(&parks).await?;
        let mut reply = reply.into_iter();
        let next = match reply.next() {
            Some(Value::Int(ms)) => u64::try_from(ms).ok().map(Duration::from_millis),
            _ => None,
        };
        let mut due = DueParks { destinations: Vec::new(), next };
        for text in reply.filter_map(|value| redis::from_redis_value::<String>(value).ok()) {
            match text.parse() {
                Ok(destination) => due.destinations.push(destination),
                // Nothing can be parked for what is no destination.
                Err(_) => self.query(cmd("ZREM").arg(self.keys().parks()).arg(text)).await?,
            }
        }
        Ok(due)
    }

    /// What is parked: how much, and the destinations for which it is most, `limit` at most.
    ///
    /// However many destinations there are, 2000 of them are counted at most: those that are looked at soonest.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn parked(&self, limit: usize) -> Result<Parked, StoreError> {
        let keys = self.keys();
        let mut index = redis::pipe();
        index.cmd("ZRANGE").arg(keys.parks()).arg(0).arg(COUNTED - 1).arg("WITHSCORES");
        index.cmd("ZCARD").arg(keys.parks());
        let (soonest, destinations): (Vec<(String, f64)>, u64) = self.pipe(&index).await?;
        let mut parked = Parked { destinations, ..Parked::default() };
        for some in soonest.chunks(AT_A_TIME) {
            let mut counting = redis::pipe();
            for (destination, _) in some {
                counting.cmd("ZCARD").arg(keys.park_of(destination));
            }
            let counts: Vec<u64> = self.pipe(&counting).await?;
            for ((destination, next), count) in some.iter().zip(counts) {
                // One of which only the webhook was changed, or that was emptied in between.
                if count == 0 {
                    parked.destinations = parked.destinations.saturating_sub(1);
                } else {
                    parked.counted += 1;
                    parked.deliveries += count;
                    let destination = destination.clone();
                    let next_ms = *next as u64;
                    let park =
                        Park { destination, parked: count, next_ms, since_ms: None, reason: String::new() };
                    parked.largest.push(park);
                }
            }
        }
        parked
            .largest
            .sort_by(|a, b| b.parked.cmp(&a.parked).then_with(|| a.destination.cmp(&b.destination)));
        parked.largest.truncate(limit);
        self.tell_why(&mut parked.largest).await?;
        Ok(parked)
    }

    /// Adds since when and why.
    async fn tell_why(&self, parks: &mut [Park]) -> Result<(), StoreError> {
        if parks.is_empty() {
            return Ok(());
        }
        let mut about = cmd("HMGET");
        about.arg(self.keys().parked());
        for park in &*parks {
            about.arg(&park.destination);
        }
        let told: Vec<Option<String>> = self.query(&about).await?;
        for (park, told) in parks.iter_mut().zip(told) {
            if let Some((since, reason)) = told.as_deref().and_then(|told| told.split_once(' ')) {
                (park.since_ms, park.reason) = (since.parse().ok(), reason.to_owned());
            }
        }
        Ok(())
    }
}
