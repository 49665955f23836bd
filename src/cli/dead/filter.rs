//! Which dead letters, by what they are.

use clap::Args;

use super::super::format::When;
use super::super::input;
use super::super::session::Session;
use crate::model::{DeadReason, Destination, EventName};
use crate::store::DeadFilter;

/// A filter as arguments.
#[derive(Debug, Args)]
#[group(id = "filter", multiple = true)]
pub(super) struct FilterArgs {
    /// Of this destination: global, errors or instance:<name>
    #[arg(long)]
    destination: Option<Destination>,
    /// Of the events of this instance, whatever the destination
    #[arg(long)]
    instance: Option<String>,
    /// Of this event, in any of its spellings
    #[arg(long, value_parser = input::event)]
    event: Option<EventName>,
    /// Dead for this reason: exhausted, rejected, gone, expired, unreadable, too_large, poison or removed
    #[arg(long)]
    reason: Option<DeadReason>,
    /// Dead since then: a duration ago (90s, 2h, 1d), an RFC 3339 time, or Unix ms
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    since: Option<When>,
    /// Dead before then, written in the same way
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    until: Option<When>,
}

impl FilterArgs {
    /// Whether it excludes nothing.
    pub(super) fn is_empty(&self) -> bool {
        let Self { destination, instance, event, reason, since, until } = self;
        destination.is_none()
            && instance.is_none()
            && event.is_none()
            && reason.is_none()
            && since.is_none()
            && until.is_none()
    }

    /// The filter; durations count from now, by Redis' clock.
    pub(super) async fn filter(&self, session: &Session) -> anyhow::Result<DeadFilter> {
        let relative = [self.since, self.until].iter().any(|when| matches!(when, Some(When::Ago(_))));
        let now_ms = if relative { session.redis.time_ms().await? } else { 0 };
        Ok(DeadFilter {
            destination: self.destination.clone(),
            instance: self.instance.clone(),
            event: self.event.as_ref().map(ToString::to_string),
            reason: self.reason,
            since_ms: self.since.map(|when| when.ms(now_ms)),
            until_ms: self.until.map(|when| when.ms(now_ms)),
        })
    }
}
