//! Destinations: what this worker knows of each, and what Redis does.

use serde_json::{Value, json};

use crate::flow::{BreakerView, Desk, KnownLane, NoAnswer};
use crate::model::format::time;
use crate::model::{Destination, display_url};
use crate::store::{ParkFacts, Redis, StoreError};

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// With the destinations this worker knows, behind this one.
    Lanes(Option<Destination>),
    /// With those that only Redis knows, from there.
    Parks(u64),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum DestinationsError {
    /// The worker has not begun, or is stopping.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// Redis does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Some destinations as JSON: first those that this worker knows, in order, then the others with something parked, in
/// no order. About `limit`, and where to go on.
///
/// # Errors
/// When the worker's lanes or Redis do not answer.
pub async fn list(
    desk: &Desk,
    redis: &Redis,
    cursor: Cursor,
    limit: usize,
) -> Result<(Vec<Value>, Option<Cursor>), DestinationsError> {
    let (mut told, mut scan) = (Vec::new(), 0);
    match cursor {
        Cursor::Lanes(after) => {
            let lanes = desk.lanes(after, limit).await?;
            let last = lanes.last().map(|known| known.destination.clone());
            told = with_parks(redis, lanes).await?;
            if told.len() >= limit {
                return Ok((told, Some(Cursor::Lanes(last))));
            }
        }
        Cursor::Parks(at) => scan = at,
    }
    let page = redis.park_page(scan, limit - told.len()).await?;
    let known = desk.lanes_of(page.destinations.clone()).await?;
    let is_known = |to: &Destination| known.iter().any(|known| known.destination == *to);
    let others: Vec<&Destination> = page.destinations.iter().filter(|to| !is_known(to)).collect();
    let parks = redis.park_facts(&others).await?;
    told.extend(others.iter().zip(parks).map(|(to, park)| as_json(to, None, &park)));
    Ok((told, page.next.map(Cursor::Parks)))
}

/// One destination as JSON, where this worker or Redis knows something of it.
///
/// # Errors
/// When the worker's lanes or Redis do not answer.
pub async fn show(
    desk: &Desk,
    redis: &Redis,
    destination: &Destination,
) -> Result<Option<Value>, DestinationsError> {
    let known = desk.lanes_of(vec![destination.clone()]).await?;
    let park = redis.park_facts(&[destination]).await?.into_iter().next().unwrap_or_default();
    if known.is_empty() && park == ParkFacts::default() {
        return Ok(None);
    }
    Ok(Some(as_json(destination, known.first(), &park)))
}

/// Ends the backoff of everything to a destination, and has what is parked for it tried at once: tells of how many.
///
/// # Errors
/// When the worker's lanes or Redis do not answer; doing it again is harmless.
pub async fn retry_now(
    desk: &Desk,
    redis: &Redis,
    destination: &Destination,
) -> Result<Value, DestinationsError> {
    let retries = redis.end_backoff(std::slice::from_ref(destination)).await?;
    let parked = redis.parked_for(destination).await?;
    redis.look_at_park(destination).await?;
    desk.retry_now(destination.clone()).await?;
    Ok(json!({ "destination": destination.to_string(), "retries": retries, "parked": parked }))
}

/// Pauses a destination for all workers, or has it go on.
///
/// # Errors
/// When Redis does not answer; doing it again is harmless.
pub async fn set_paused(redis: &Redis, destination: &Destination, paused: bool) -> Result<Value, StoreError> {
    let changed = if paused { redis.pause(destination).await? } else { redis.resume(destination).await? };
    Ok(json!({ "destination": destination.to_string(), "paused": paused, "changed": changed }))
}

async fn with_parks(redis: &Redis, lanes: Vec<KnownLane>) -> Result<Vec<Value>, StoreError> {
    let destinations: Vec<&Destination> = lanes.iter().map(|known| &known.destination).collect();
    let parks = redis.park_facts(&destinations).await?;
    Ok(lanes.iter().zip(parks).map(|(known, park)| as_json(&known.destination, Some(known), &park)).collect())
}

fn as_json(destination: &Destination, known: Option<&KnownLane>, park: &ParkFacts) -> Value {
    let parked = json!({
        "deliveries": park.parked,
        "oldest": park.oldest_ms.map(time),
        "since": park.since_ms.map(time),
        "reason": park.reason,
        "next": park.next_ms.filter(|ms| *ms > 0).map(time),
    });
    json!({
        "destination": destination.to_string(),
        "paused": park.paused_ms.map(time),
        "lane": known.map(lane),
        "parked": (park.parked > 0).then_some(parked),
    })
}

fn lane(known: &KnownLane) -> Value {
    let lane = &known.lane;
    let (breaker, probe_in) = match lane.breaker {
        BreakerView::Closed => ("closed", None),
        BreakerView::Open(left) => ("open", Some(left.as_secs_f64())),
        BreakerView::HalfOpen => ("half_open", None),
    };
    json!({
        "url": lane.url.as_deref().map(display_url),
        "breaker": breaker,
        "probe_in_seconds": probe_in,
        "in_flight": lane.in_flight,
        "limit": lane.limit,
        "waiting": lane.waiting,
        "last_failure": known.last_failure.as_ref().map(|failure| {
            json!({ "at": time(failure.at_ms), "error": failure.summary })
        }),
    })
}
