//! `posthaste dead …`: what could not be delivered.

mod filter;
mod list;
mod purge;
mod replay;
mod select;
mod show;

use clap::Subcommand;

use super::session::Session;
use crate::operate::dead::{destination, id};

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
