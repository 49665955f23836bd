//! `posthaste destination …`: a destination is paused, or goes on.

use clap::{Args, Subcommand};

use super::format::clean;
use super::session::Session;
use crate::model::Destination;
use crate::operate::destinations::set_paused;

const EXAMPLES: &str = "\
Examples:
  posthaste destination pause instance:sales
  posthaste destination resume instance:sales
  posthaste status";
const PAUSE: &str = "\
Examples:
  posthaste destination pause instance:sales

What comes for it is parked in Redis: it uses up no attempts, and keeps its age. The pause holds for all workers, \
restarts included. What a worker has at hand, about a second's worth, is still sent.";
const RESUME: &str = "\
Examples:
  posthaste destination resume instance:sales

What waited is sent within a few seconds, the oldest first.";

/// Pause a destination, or have it go on
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum DestinationCommand {
    /// Send nothing more there until it is resumed
    #[command(after_help = PAUSE)]
    Pause(Which),
    /// Send what waited, and what comes
    #[command(after_help = RESUME)]
    Resume(Which),
}

#[derive(Debug, Args)]
pub(super) struct Which {
    /// global, errors or instance:<name>
    destination: Destination,
}

/// Runs the command.
pub(super) async fn run(command: DestinationCommand, session: &Session) -> anyhow::Result<()> {
    let (Which { destination }, paused) = match command {
        DestinationCommand::Pause(which) => (which, true),
        DestinationCommand::Resume(which) => (which, false),
    };
    let told = set_paused(&session.redis, &destination, paused).await?;
    if session.out.is_json() {
        return Ok(session.out.json(&told)?);
    }
    let words = match (paused, told["changed"] == true) {
        (true, true) => "is paused",
        (true, false) => "was paused before",
        (false, true) => "goes on",
        (false, false) => "was not paused",
    };
    Ok(session.out.line(format!("{} {words}", clean(&destination.to_string())))?)
}
