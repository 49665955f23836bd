//! The operator: removes webhooks while deliveries wait for them, sets them anew, and watches the parks.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use posthaste::store::Redis;
use redis::Value;
use tokio::time::{Instant, sleep};

use super::cluster::Cluster;
use super::history::{Absence, Ms, Why};
use super::producer::connect;
use super::traffic::{Character, Place, Traffic};

/// How long to wait before asking a Redis again that did not answer.
const AGAIN: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(5);
/// How often the parks are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How many parks are looked at.
const PARKS: usize = 64;

/// What was seen of the parks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parked {
    /// How many deliveries were parked at least: what they grew by between two looks.
    pub(crate) came: u64,
    /// How many were parked at a time, at most.
    pub(crate) most: u64,
    /// How often each destination's park was seen that held something, by the reason.
    pub(crate) seen: BTreeMap<String, u64>,
}

/// Operates until a moment; tells which webhooks were not there, and when.
pub(crate) async fn operate(cluster: &Cluster, traffic: Traffic, until: Instant) -> Vec<Absence> {
    let (leaver, quitter) = (Place::of(Character::Leaver), Place::of(Character::Quitter));
    let removed = removals(cluster, traffic, leaver, until);
    let (mut absences, gone) = tokio::join!(removed, returns(cluster, traffic, quitter, until));
    absences.extend(gone);
    absences
}

async fn removals(cluster: &Cluster, traffic: Traffic, place: Place, until: Instant) -> Vec<Absence> {
    let mut absences = Vec::new();
    for cycle in 0.. {
        let Some([remove, set]) = traffic.removal(place, cycle) else { break };
        if !reached(cluster, remove, until).await {
            break;
        }
        let mut absence = remove_webhook(cluster, place).await;
        if reached(cluster, set, until).await {
            let (instance, json) = cluster.webhook(place);
            insist(|| cluster.store.set_webhook(instance, &json)).await;
            absence.to = cluster.clock.now();
        }
        absences.push(absence);
    }
    absences
}

async fn remove_webhook(cluster: &Cluster, place: Place) -> Absence {
    let (from, (waiting, in_stream)) = loop {
        let from = cluster.clock.now();
        match snapshot(cluster, place).await {
            Some(seen) => break (from, seen),
            None => sleep(AGAIN).await,
        }
    };
    let (instance, _) = cluster.webhook(place);
    insist(|| cluster.store.delete_webhook(instance)).await;
    Absence { place, why: Why::Removed, from, to: Ms::MAX, waiting, in_stream }
}

/// Which events wait in the park of a place, and which are in the stream.
async fn snapshot(cluster: &Cluster, place: Place) -> Option<(HashSet<u32>, HashSet<u32>)> {
    let mut connection = connect(&cluster.url, PATIENCE).await?;
    let mut park = redis::cmd("ZRANGE");
    park.arg(format!("{{webhooks}}:park:{}", place.destination())).arg(0).arg(-1);
    let keys: Vec<String> = park.query_async(&mut connection).await.ok()?;
    let mut ids = redis::pipe();
    keys.iter().for_each(|key| _ = ids.cmd("HGET").arg(format!("{{webhooks}}:event:{key}")).arg("id"));
    let ids: Vec<Option<String>> = match keys.is_empty() {
        true => Vec::new(),
        false => ids.query_async(&mut connection).await.ok()?,
    };
    let waiting = ids.iter().flatten().filter_map(|id| Traffic::of_id(id)).collect();
    let stream = redis::cmd("XRANGE").arg("webhooks").arg("-").arg("+").to_owned();
    let entries: Vec<(String, HashMap<String, Value>)> = stream.query_async(&mut connection).await.ok()?;
    let event = |mut fields: HashMap<String, Value>| {
        let id: String = redis::from_redis_value(fields.remove("id")?).ok()?;
        Traffic::of_id(&id)
    };
    Some((waiting, entries.into_iter().filter_map(|(_, fields)| event(fields)).collect()))
}

async fn returns(cluster: &Cluster, traffic: Traffic, place: Place, until: Instant) -> Vec<Absence> {
    let mut absences = Vec::new();
    for cycle in 0.. {
        let Some(at) = traffic.return_of(place, cycle) else { break };
        if !reached(cluster, at, until).await {
            break;
        }
        absences.extend(switch_on(cluster, place).await);
    }
    absences
}

/// Switches the webhook of a place on, where a 410 has switched it off.
async fn switch_on(cluster: &Cluster, place: Place) -> Vec<Absence> {
    let (instance, json) = cluster.webhook(place);
    let mut absences: Vec<Absence> = Vec::new();
    loop {
        let stored = insist(|| cluster.store.webhook(instance)).await.unwrap_or_default();
        let Some(from) = disabled_at(cluster, &stored) else { break };
        if absences.last().is_none_or(|last| last.from != from) {
            absences.push(gone(place, from));
        }
        // Whether or not it was stored is seen at the next look.
        let _ = cluster.store.swap_webhook(instance, &stored, &json).await;
    }
    let to = cluster.clock.now();
    absences.iter_mut().for_each(|absence| absence.to = to);
    absences
}

/// The webhook that is switched off still.
pub(crate) async fn still_gone(cluster: &Cluster) -> Option<Absence> {
    let place = Place::of(Character::Quitter);
    let stored = insist(|| cluster.store.webhook(cluster.webhook(place).0)).await.unwrap_or_default();
    disabled_at(cluster, &stored).map(|from| gone(place, from))
}

fn gone(place: Place, from: Ms) -> Absence {
    let (waiting, in_stream) = (HashSet::new(), HashSet::new());
    Absence { place, why: Why::Gone, from, to: Ms::MAX, waiting, in_stream }
}

fn disabled_at(cluster: &Cluster, stored: &[u8]) -> Option<Ms> {
    let webhook: serde_json::Value = serde_json::from_slice(stored).ok()?;
    let at = webhook["disabledAt"].as_u64().filter(|_| webhook["enabled"] == false)?;
    Some(cluster.clock.of_unix_ms(at))
}

/// Waits for a time of the run; false when the run ends before.
async fn reached(cluster: &Cluster, at: Ms, until: Instant) -> bool {
    let left = Duration::from_millis(u64::from(at.saturating_sub(cluster.clock.now())));
    let comes = Instant::now() + left;
    tokio::time::sleep_until(comes.min(until)).await;
    comes < until
}

/// Does something in Redis until it is confirmed.
async fn insist<T, E, F: Future<Output = Result<T, E>>>(mut what: impl FnMut() -> F) -> T {
    loop {
        match what().await {
            Ok(done) => return done,
            Err(_) => sleep(AGAIN).await,
        }
    }
}

/// Watches the parks until it is dropped.
pub(crate) async fn watch(store: &Redis, parked: &mut Parked) {
    let mut before = 0;
    loop {
        sleep(LOOK).await;
        let Ok(parks) = store.parked(PARKS).await else { continue };
        let now = parks.deliveries;
        parked.came += now.saturating_sub(before);
        parked.most = now.max(parked.most);
        for park in parks.largest {
            *parked.seen.entry(park.reason).or_default() += 1;
        }
        before = now;
    }
}
