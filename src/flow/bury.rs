//! Burying: dead letters, the error events that go with them, and webhooks that are gone.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::attempt::unix_ms;
use super::{Cause, News, Unreadable, Work};
use crate::decide::error_event::{self, Failure, Health};
use crate::decide::webhook::{self, CustomEvents};
use crate::model::{Attempted, DeadReason, Delivery, Destination, Envelope, Outcome, Source, display_url};
use crate::store::{DeadLetter, DeadRecord, ErrorDelivery, Ownership, Redis, StoreError};

/// For how long the ERRORS webhook is not told again that a destination went down.
const QUIET: Duration = Duration::from_secs(300);

/// Writes dead letters, and tells the ERRORS webhook.
#[derive(Debug)]
pub struct Undertaker {
    /// The server.
    pub redis: Redis,
    /// Whether the ERRORS webhook is told.
    pub tell_errors: bool,
}

/// A dead letter, and what its error event says besides.
struct Obituary<'a> {
    letter: DeadLetter,
    delivery: Option<&'a Delivery>,
}

impl Undertaker {
    /// Turns a piece of work into a dead letter.
    pub(super) async fn bury(&self, work: &Work, reason: DeadReason) -> Result<Ownership, StoreError> {
        let Some(Obituary { letter, delivery }) = obituary(work, reason) else {
            return Ok(Ownership::Ours);
        };
        let (receipt, key) = match (work, delivery) {
            (Work::Unreadable(unreadable), _) => (&unreadable.receipt, unreadable.key.as_ref()),
            (_, Some(delivery)) => (&delivery.receipt, Some(&delivery.event.key)),
            (_, None) => return Ok(Ownership::Ours),
        };
        let tell = self.tell_errors && letter.destination != Some(Destination::Errors);
        // Unique, and the same when the step has to be repeated after a lost reply. Entries of the two streams may
        // have the same id.
        let stream = match receipt.source {
            Source::Stream => "stream",
            Source::Ready => "ready",
        };
        let place = letter.destination.as_ref().map_or_else(|| "entry".to_owned(), kind);
        let id = format!("error-{stream}-{}-{place}-{}", receipt.id, letter.attempts);
        let body = if tell { Self::error_body(&letter, delivery) } else { Vec::new() };
        let error = tell.then_some(ErrorDelivery { id: &id, body: &body });
        let record = DeadRecord { receipt, key, letter: &letter, error };
        let ownership = self.redis.bury(&record).await?;
        // Of those whose webhook was removed there may be a million; that is told once, where they are found.
        if ownership == Ownership::Ours && letter.reason != DeadReason::Removed {
            tracing::warn!(
                id = %letter.event_id,
                destination = ?letter.destination.as_ref().map(ToString::to_string).unwrap_or_default(),
                reason = %letter.reason,
                attempts = letter.attempts,
                error = ?letter.error,
                "dead letter"
            );
        }
        Ok(ownership)
    }

    fn error_body(letter: &DeadLetter, delivery: Option<&Delivery>) -> Vec<u8> {
        let envelope = delivery.map(|delivery| &delivery.event.envelope);
        let event = envelope.map(Envelope::written_name);
        let api_key = envelope.and_then(Envelope::api_key).unwrap_or_default();
        let headers =
            delivery.and_then(|delivery| delivery.target.as_ref().ok()).map(|target| &target.headers);
        let mut secrets: Vec<&[u8]> =
            headers.into_iter().flat_map(|headers| headers.values().map(AsRef::as_ref)).collect();
        secrets.push(api_key.as_bytes());
        let reply = error_event::without_secrets(&letter.reply, &secrets);
        error_event::error_event(
            &Failure {
                id: &letter.event_id,
                destination: letter.destination.as_ref(),
                url: Some(letter.url.as_str()).filter(|url| !url.is_empty()),
                event: event.as_deref(),
                instance: letter.instance.as_deref(),
                server_url: envelope.and_then(Envelope::server_url),
                reason: letter.reason,
                attempts: letter.attempts,
                first_attempt_ms: letter.first_attempt_ms,
                last_attempt_ms: letter.last_attempt_ms,
                message: &letter.error,
                status: letter.status,
                reply: Some(&reply[..]).filter(|reply| !reply.is_empty()),
            },
            unix_ms(),
        )
    }

    /// Tells the ERRORS webhook that a destination went down, or came back after that was told. `told`: of which it was.
    /// It is news and no promise: where Redis is away, it is left out.
    pub(super) async fn tell(&self, news: &News, told: &mut HashSet<Destination>) {
        let News { destination, url, down } = news;
        let was_told = down.is_none() && told.remove(destination);
        if !self.tell_errors || *destination == Destination::Errors || (down.is_none() && !was_told) {
            return;
        }
        match self.try_tell(destination, url.as_deref(), down.as_ref()).await {
            Ok(true) if down.is_some() => {
                told.insert(destination.clone());
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "the ERRORS webhook was not told how a destination is")
            }
        }
    }

    async fn try_tell(
        &self,
        destination: &Destination,
        url: Option<&str>,
        down: Option<&Cause>,
    ) -> Result<bool, StoreError> {
        let parked = self.redis.parked_for(destination).await?;
        let (word, quiet) = if down.is_some() { ("down", Some(QUIET)) } else { ("recovered", None) };
        let now_ms = unix_ms();
        let health = Health {
            destination,
            url,
            down: down.map(|cause| (cause.summary.as_str(), cause.status)),
            parked,
        };
        let id = format!("destination-{word}-{now_ms}-{:08x}", rand::random::<u32>());
        let body = error_event::health_event(&health, now_ms);
        self.redis.tell(destination, quiet, &ErrorDelivery { id: &id, body: &body }).await
    }

    /// Disables the webhook of the instance whose receiver answered 410, unless it was changed meanwhile.
    pub(super) async fn disable(&self, delivery: &Delivery) {
        let (Destination::Instance(instance), Ok(target)) = (&delivery.destination, &delivery.target) else {
            return;
        };
        match self.try_disable(instance, &target.url).await {
            Ok(true) => {
                tracing::warn!(?instance, "the receiver answered 410: the instance's webhook is disabled")
            }
            Ok(false) => {}
            // The next delivery meets the same answer, and tries again.
            Err(error) => {
                tracing::warn!(?instance, %error, "the webhook of a receiver that is gone was not disabled")
            }
        }
    }

    async fn try_disable(&self, instance: &str, url: &Arc<str>) -> Result<bool, StoreError> {
        let Some(stored) = self.redis.webhook(instance).await? else {
            return Ok(false);
        };
        let Ok(mut webhook) = webhook::parse(&stored, &CustomEvents::Any) else {
            return Ok(false);
        };
        if !webhook.enabled || webhook.url != **url {
            return Ok(false);
        }
        webhook.enabled = false;
        webhook.disabled_reason = Some("gone".to_owned());
        // By the clock that gave the events their times.
        webhook.disabled_at_ms = Some(self.redis.time_ms().await?);
        self.redis.swap_webhook(instance, &stored, &webhook::to_json(&webhook)).await
    }
}

/// The kind of a destination, in characters that an event id may hold.
fn kind(destination: &Destination) -> String {
    match destination {
        Destination::Global => "global".to_owned(),
        Destination::Instance(_) => "instance".to_owned(),
        Destination::Errors => "errors".to_owned(),
    }
}

fn obituary(work: &Work, reason: DeadReason) -> Option<Obituary<'_>> {
    match work {
        Work::Attempted(attempted) => {
            let Attempted { delivery, outcome, started_ms, .. } = &**attempted;
            let reply = match outcome {
                Outcome::Replied(reply) => reply.start.clone(),
                Outcome::Failed(_) => Bytes::new(),
            };
            let letter = DeadLetter {
                attempts: delivery.attempt,
                first_attempt_ms: Some(delivery.first_attempt_ms.unwrap_or(*started_ms)),
                last_attempt_ms: Some(*started_ms),
                status: outcome.status(),
                error: outcome.summary(),
                reply,
                ..letter(delivery, reason)
            };
            Some(Obituary { letter, delivery: Some(delivery) })
        }
        Work::Buried(delivery, _, why) => {
            let last = delivery.last_attempt.as_ref();
            let letter = DeadLetter {
                last_attempt_ms: last.map(|last| last.at_ms),
                status: last.and_then(|last| last.status),
                error: last.map_or_else(|| why.clone(), |last| format!("{why}; before: {}", last.summary)),
                ..letter(delivery, reason)
            };
            Some(Obituary { letter, delivery: Some(delivery) })
        }
        Work::Unreadable(Unreadable { id, why, .. }) => {
            let letter = DeadLetter {
                event_id: id.clone(),
                destination: None,
                event: String::new(),
                instance: None,
                reason,
                attempts: 0,
                first_attempt_ms: None,
                last_attempt_ms: None,
                status: None,
                error: why.clone(),
                reply: Bytes::new(),
                url: String::new(),
                traceparent: None,
            };
            Some(Obituary { letter, delivery: None })
        }
        Work::Parked(..) | Work::Told(_) | Work::Idle(_) => None,
    }
}

/// What is known of a delivery whatever its attempts came to.
fn letter(delivery: &Delivery, reason: DeadReason) -> DeadLetter {
    let event = &delivery.event;
    DeadLetter {
        event_id: event.id.to_string(),
        destination: Some(delivery.destination.clone()),
        event: event.envelope.name().to_string(),
        instance: event.envelope.instance().map(ToString::to_string),
        reason,
        attempts: delivery.attempt,
        first_attempt_ms: delivery.first_attempt_ms,
        last_attempt_ms: None,
        status: None,
        error: String::new(),
        reply: Bytes::new(),
        url: delivery.target.as_ref().map(|target| display_url(&target.url)).unwrap_or_default(),
        traceparent: event.traceparent.as_ref().map(ToString::to_string),
    }
}
