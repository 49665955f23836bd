//! `posthaste status`: what waits, what is under way, what failed lately.

mod failing;
mod parked;
mod view;

use std::time::Duration;

use clap::Args;

use self::view::View;
use super::output::{Output, Tone, paint};
use super::session::Session;
use crate::store::{ErrorKind, StoreError};

/// How many deliveries in backoff are shown.
const WAITING: usize = 5;
/// How many destinations with parked deliveries are told of.
const PARKED: usize = 100;
/// How many batches of recent attempts are looked at.
const BATCHES: usize = 100;
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
            Ok(session.out.json(&view.as_json())?)
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
            session.out.json_line(&view.as_json())?;
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
    let redis = &session.redis;
    let server = match redis.server_facts().await {
        Ok(facts) => Some(facts),
        Err(error) if error.kind() == ErrorKind::Unreachable => return Err(error),
        // It answers, but not this user.
        Err(_) => None,
    };
    Ok(View {
        server,
        last_outage: redis.last_outage().await?,
        stream: session.config.stream.clone(),
        redis_url: super::session::shown_url(&session.config),
        summary: redis.summary().await?,
        next: redis.waiting_deliveries(WAITING).await?,
        parked: redis.parked(PARKED).await?,
        attempts: redis.recent_attempts(BATCHES).await?,
    })
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
