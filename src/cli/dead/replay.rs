//! `posthaste dead replay`.

use std::time::Duration;

use clap::Args;
use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::time::Instant;

use super::super::exit::Told;
use super::super::format::{count, spell};
use super::super::output::{Tone, complain, progress};
use super::super::session::Session;
use super::select::SelectArgs;
use crate::store::Replayed;

/// How many replays are on their way to Redis at once, where no rate holds them back.
const AT_ONCE: usize = 64;

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

#[derive(Default)]
struct Counts {
    sent: u64,
    missing: u64,
    without_payload: u64,
}

/// Runs the command.
pub(super) async fn run(args: &ReplayArgs, session: &Session) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut selection = args.select.selection("replay", session).await?;
    let bar = progress(args.select.len(session).await?, "letters");
    let mut counts = Counts::default();
    let mut begun: u32 = 0;
    let ended = loop {
        let ids = match selection.next(session).await {
            Ok(ids) if ids.is_empty() => break Ok(()),
            Ok(ids) => ids,
            Err(error) => break Err(error),
        };
        let paced = ids.into_iter().map(|id| {
            let due = args.rate.map(|rate| started + Duration::from_secs_f64(f64::from(begun) / rate));
            begun = begun.saturating_add(1);
            async move {
                if let Some(due) = due {
                    tokio::time::sleep_until(due).await;
                }
                session.redis.replay(&id).await
            }
        });
        let paced: Vec<_> = paced.collect();
        let mut replays = stream::iter(paced).buffered(AT_ONCE);
        let mut failed = None;
        while let Some(replayed) = replays.next().await {
            match replayed {
                Ok(Replayed::Sent) => counts.sent += 1,
                Ok(Replayed::Missing) => counts.missing += 1,
                Ok(Replayed::WithoutPayload) => counts.without_payload += 1,
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
    print(&counts, started.elapsed(), session)?;
    ended?;
    if args.select.is_by_id() && counts.missing + counts.without_payload > 0 {
        return Err(Told.into());
    }
    Ok(())
}

fn print(counts: &Counts, took: Duration, session: &Session) -> anyhow::Result<()> {
    let Counts { sent, missing, without_payload } = counts;
    if session.out.is_json() {
        let told = json!({ "replayed": sent, "missing": missing, "without_payload": without_payload });
        session.out.json(&told)?;
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
    match text.parse::<f64>() {
        Ok(rate) if rate.is_finite() && (0.001..=1e6).contains(&rate) => Ok(rate),
        _ => Err("write how many per second, for example 20 or 0.5".to_owned()),
    }
}
