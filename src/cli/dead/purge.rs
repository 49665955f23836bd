//! `posthaste dead purge`.

use std::io::IsTerminal;

use clap::Args;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::super::exit::{Told, Usage};
use super::super::format::count;
use super::super::output::{Tone, complain, note, progress};
use super::super::session::Session;
use super::select::SelectArgs;
use crate::operate::dead::Selection;

const EXAMPLES: &str = "\
Examples:
  posthaste dead purge 1761038164871-0
  posthaste dead purge --until 30d
  posthaste dead purge --all --yes

Purged letters are gone for good. On a terminal it asks first; elsewhere it needs --yes.";

/// Delete dead letters for good
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct PurgeArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

/// Runs the command.
pub(super) async fn run(args: &PurgeArgs, session: &Session) -> anyhow::Result<()> {
    let mut selection = args.select.selection("purge", session).await?;
    if !args.yes {
        if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
            return Err(
                Usage("purging deletes for good: give --yes where nobody can be asked".to_owned()).into()
            );
        }
        if !confirmed(args, session).await? {
            note("nothing was deleted");
            return Err(Told.into());
        }
    }
    let bar = progress(args.select.len(session).await?, "letters");
    let (mut purged, mut looked_at) = (0, 0);
    let ended = loop {
        let ids = match selection.next(&session.redis).await {
            Ok(ids) if ids.is_empty() => break Ok(()),
            Ok(ids) => ids,
            Err(error) => break Err(error),
        };
        match session.redis.purge(&ids).await {
            Ok(gone) => purged += gone as u64,
            Err(error) => break Err(error),
        }
        looked_at += ids.len() as u64;
        bar.set_position(looked_at);
    };
    bar.finish_and_clear();
    if session.out.is_json() {
        session.out.json(&json!({ "purged": purged }))?;
    } else {
        session.out.line(format!("purged {}", count(purged, "dead letter")))?;
    }
    ended?;
    if args.select.is_by_id() && purged < looked_at {
        complain(
            Tone::Doubtful,
            "warning",
            &format!("{} not found: replayed or purged before", looked_at - purged),
        );
        return Err(Told.into());
    }
    Ok(())
}

async fn confirmed(args: &PurgeArgs, session: &Session) -> anyhow::Result<bool> {
    let number = match args.select.len(session).await? {
        Some(number) => number,
        None => matching(args.select.selection("purge", session).await?, session).await?,
    };
    note(format!("delete {} for good? [y/N]", count(number, "dead letter")));
    let mut answer = String::new();
    BufReader::new(tokio::io::stdin()).read_line(&mut answer).await?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

async fn matching(mut selection: Selection, session: &Session) -> anyhow::Result<u64> {
    let mut number = 0;
    loop {
        match selection.next(&session.redis).await?.len() {
            0 => return Ok(number),
            more => number += more as u64,
        }
    }
}
