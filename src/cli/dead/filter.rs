//! Which dead letters, by what they are.

use clap::Args;

use super::super::format::When;
use super::super::input;
use crate::model::{DeadReason, Destination, EventName};
use crate::operate::dead::Wanted;

/// A filter as arguments.
#[derive(Clone, Debug, Args)]
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
    /// What is wanted.
    pub(super) fn wanted(&self) -> Wanted {
        let Self { destination, instance, event, reason, since, until } = self.clone();
        Wanted { destination, instance, event, reason, since, until }
    }
}
