//! Replaying and purging: as much as one request may do.

use futures_util::StreamExt;
use http::StatusCode;
use serde_json::{Value, json};

use super::select::{Cursor, Select, Which};
use crate::api::ApiError;
use crate::model::EntryId;
use crate::operate::dead::{Counts, Pace, Selection};
use crate::store::{Redis, StoreError};

/// How many times up to 200 letters are looked at in one request.
const LOOKS: usize = 50;
/// How long a replay may take because of its rate. Clients and proxies do not wait for ever.
const SECONDS: f64 = 20.0;

/// Letters of a selection that were chosen within the bounds.
struct Chosen {
    ids: Vec<EntryId>,
    /// Where to go on; none when there are no further ones.
    next: Option<Cursor>,
}

/// Sends letters on their way again.
pub(super) async fn replay(redis: &Redis, select: Select) -> Result<Value, ApiError> {
    let Select { which, limit, rate } = select;
    let in_time = rate.map_or(usize::MAX, |rate| (rate * SECONDS).floor().max(1.0) as usize);
    if let Which::Ids(ids) = &which
        && ids.len() > in_time
    {
        let message = format!("at this rate a request may replay {in_time} letters, and not {}", ids.len());
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, message));
    }
    let Chosen { ids, next } = choose(redis, which, limit.min(in_time)).await?;
    let mut counts = Counts::default();
    let mut pace = Pace::new(rate);
    let mut replays = std::pin::pin!(pace.replay(redis, ids));
    while let Some(replayed) = replays.next().await {
        match replayed {
            Ok(replayed) => counts.add(replayed),
            // What is told does not include what was under way, and may have been done.
            Err(error) => return Err(ApiError::from(error).with_details(counts.as_json())),
        }
    }
    let mut told = counts.as_json();
    told["next"] = next.map(|next| next.to_string()).into();
    Ok(told)
}

/// Deletes letters for good.
pub(super) async fn purge(redis: &Redis, select: Select) -> Result<Value, ApiError> {
    let Chosen { ids, next } = choose(redis, select.which, select.limit).await?;
    let purged = redis.purge(&ids).await?;
    Ok(json!({ "purged": purged, "next": next.map(|next| next.to_string()) }))
}

async fn choose(redis: &Redis, which: Which, limit: usize) -> Result<Chosen, StoreError> {
    let (wanted, cursor) = match which {
        Which::Ids(ids) => return Ok(Chosen { ids, next: None }),
        Which::Matching(wanted, cursor) => (wanted, cursor),
    };
    let filter = wanted.filter(redis).await?;
    let mut selection = match cursor {
        Some(Cursor { after, last }) => Selection::Matching { filter, after: Some(after), last: Some(last) },
        None => Selection::matching(filter, redis).await?,
    };
    let mut ids = Vec::new();
    for _ in 0..LOOKS {
        ids.extend(selection.look(redis).await?);
        if ids.len() >= limit || selection.is_over() {
            break;
        }
    }
    let next = match selection {
        Selection::Matching { last: Some(last), .. } if ids.len() > limit => {
            ids.truncate(limit);
            ids.last().map(|after| Cursor { after: after.clone(), last })
        }
        Selection::Matching { after: Some(after), last: Some(last), .. } => Some(Cursor { after, last }),
        _ => None,
    };
    Ok(Chosen { ids, next })
}
