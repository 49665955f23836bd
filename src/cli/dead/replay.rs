//! `posthaste dead replay`.

use std::time::Duration;

use clap::Args;
use futures_util::StreamExt;

use super::super::exit::Told;
use super::super::format::{count, spell};
use super::super::output::{Tone, complain, progress};
use super::super::session::Session;
use super::select::SelectArgs;
use crate::operate::dead::{self, Counts, Pace};

const EXAMPLES: &str = "\
Examples:
  posthaste dead replay 1761038164871-0
  posthaste dead replay --instance sales --since 2h
  posthaste dead replay --all --rate 50

A replayed letter leaves the dead letters and is due at once, at its one destination: the same body, the same \
webhook-id, attempts counted anew. What dies again meanwhile is not replayed a second time.";

/// Send dead letters on their way again
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct ReplayArgs {
    #[command(flatten)]
    select: SelectArgs,
    /// Replay no more than so many per second
    #[arg(long, value_name = "N", value_parser = rate)]
    rate: Option<f64>,
}

/// Runs the command.
pub(super) async fn run(args: &ReplayArgs, session: &Session) -> anyhow::Result<()> {
    let mut selection = args.select.selection("replay", session).await?;
    let bar = progress(args.select.len(session).await?, "letters");
    let mut counts = Counts::default();
    let mut pace = Pace::new(args.rate);
    let ended = loop {
        let ids = match selection.next(&session.redis).await {
            Ok(ids) if ids.is_empty() => break Ok(()),
            Ok(ids) => ids,
            Err(error) => break Err(error),
        };
        let mut replays = pace.replay(&session.redis, ids);
        let mut failed = None;
        while let Some(replayed) = replays.next().await {
            match replayed {
                Ok(replayed) => counts.add(replayed),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
            bar.inc(1);
        }
        if let Some(error) = failed {
            break Err(error);
        }
    };
    bar.finish_and_clear();
    print(&counts, pace.began().elapsed(), session)?;
    ended?;
    if args.select.is_by_id() && counts.missing + counts.without_payload > 0 {
        return Err(Told.into());
    }
    Ok(())
}

fn print(counts: &Counts, took: Duration, session: &Session) -> anyhow::Result<()> {
    let Counts { sent, missing, without_payload } = counts;
    if session.out.is_json() {
        session.out.json(&counts.as_json())?;
    } else {
        session.out.line(format!("replayed {} in {}", count(*sent, "dead letter"), spell(took)))?;
    }
    if *missing > 0 {
        complain(Tone::Doubtful, "warning", &format!("{missing} not found: replayed or purged before"));
    }
    if *without_payload > 0 {
        let text = format!(
            "{without_payload} cannot be replayed: there is no payload; `dead show` tells what was pushed"
        );
        complain(Tone::Doubtful, "warning", &text);
    }
    Ok(())
}

fn rate(text: &str) -> Result<f64, String> {
    // What is no number is none that is possible.
    dead::rate(text.parse().unwrap_or(f64::NAN))
}
