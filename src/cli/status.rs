//! `posthaste status`: what waits, what is under way, what failed lately.

mod parked;
mod view;

use std::time::Duration;

use clap::Args;

use self::view::View;
use super::output::{Output, Tone, paint};
use super::session::Session;
use crate::operate::stats::Stats;
use crate::store::StoreError;

/// How often it is shown anew.
const REFRESH: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Examples:
  posthaste status
  posthaste status --watch
  posthaste status --json | jq .dead.letters
  posthaste status --json | jq -r '.parked[] | [.destination, .parked, .reason] | @tsv'

It reads a bounded number of counters, whatever the backlog: it may be asked as often as you like.";

/// Show what waits, what is under way, and what failed lately
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct StatusArgs {
    /// Show it anew every second until Ctrl-C; with --json one document a line
    #[arg(long)]
    watch: bool,
}

/// Runs the command.
pub(super) async fn run(args: &StatusArgs, session: &Session) -> anyhow::Result<()> {
    if !args.watch {
        let view = view(session).await?;
        return if session.out.is_json() {
            Ok(session.out.json(&view.0.as_json())?)
        } else {
            print(&view, session.out)
        };
    }
    let stop = tokio::signal::ctrl_c();
    tokio::pin!(stop);
    let mut ticks = tokio::time::interval(REFRESH);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = &mut stop => return Ok(()),
            _ = ticks.tick() => {}
        }
        let view = view(session).await?;
        if session.out.is_json() {
            session.out.json_line(&view.0.as_json())?;
        } else {
            session.out.clear()?;
            print(&view, session.out)?;
            if !session.out.is_terminal() {
                session.out.line("")?;
            }
        }
    }
}

async fn view(session: &Session) -> Result<View, StoreError> {
    Ok(View(Stats::read(&session.redis).await?))
}

fn print(view: &View, out: Output) -> anyhow::Result<()> {
    out.fields(&view.fields())?;
    let (parked, more) = view.parked_table();
    let tables = [
        ("parked", parked, more),
        ("next retries", view.next_retries(), None),
        ("failing lately", view.failing_table(), None),
    ];
    for (title, table, more) in tables {
        if !table.is_empty() {
            out.line(format!("\n{}", paint(Tone::Strong, title)))?;
            out.table(&table)?;
            if let Some(more) = more {
                out.line(paint(Tone::Faint, &more))?;
            }
        }
    }
    Ok(())
}
