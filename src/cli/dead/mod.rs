//! `posthaste dead …`: what could not be delivered.

mod filter;
mod list;
mod purge;
mod replay;
mod select;
mod show;

use clap::Subcommand;

use super::session::Session;
use crate::model::EntryId;
use crate::store::DeadSource;

const EXAMPLES: &str = "\
Examples:
  posthaste dead list --since 2h --reason exhausted
  posthaste dead show 1761038164871-0
  posthaste dead replay --instance sales --rate 20
  posthaste dead purge --until 30d

A dead letter is kept until it is replayed or purged, unless DEAD_LETTER_MAX_AGE_SECONDS or DEAD_LETTER_MAX_LEN is set.";

/// List, show, replay and purge what could not be delivered
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum DeadCommand {
    List(list::ListArgs),
    Show(show::ShowArgs),
    Replay(replay::ReplayArgs),
    Purge(purge::PurgeArgs),
}

/// Runs the command.
pub(super) async fn run(command: DeadCommand, session: &Session) -> anyhow::Result<()> {
    match command {
        DeadCommand::List(args) => list::run(&args, session).await,
        DeadCommand::Show(args) => show::run(&args, session).await,
        DeadCommand::Replay(args) => replay::run(&args, session).await,
        DeadCommand::Purge(args) => purge::run(&args, session).await,
    }
}

/// Reads a dead letter's id: `<ms>-<seq>`.
fn id(text: &str) -> Result<EntryId, String> {
    let is_number = |part: &str| !part.is_empty() && part.parse::<u64>().is_ok();
    match text.split_once('-') {
        Some((ms, seq)) if is_number(ms) && is_number(seq) => Ok(EntryId::new(text)),
        _ => Err("write the id of a dead letter as `posthaste dead list` shows it, such as 1761038164871-0"
            .to_owned()),
    }
}

/// Where a dead letter was to go, as text; empty for an entry that is not an event.
fn destination(found: &DeadSource) -> String {
    found.letter.destination.as_ref().map(ToString::to_string).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_two_numbers() {
        assert!(id("1761038164871-0").is_ok());
        for wrong in ["", "-", "1", "1-", "a-0", "1-0-0", "+", "1-99999999999999999999"] {
            assert!(id(wrong).is_err(), "{wrong}");
        }
    }
}
