//! `posthaste explain`: where an event goes, and why not elsewhere.

mod words;

use clap::Args;

use self::words::{extras, retries};
use super::format::{clean, short};
use super::output::{Output, Tone, note, paint};
use super::session::Session;
use super::table::{Table, plain};
use crate::decide::explain::{Explained, Rules};
use crate::flow;
use crate::model::EventName;

const EXAMPLES: &str = "\
Examples:
  posthaste explain --event messages.upsert --instance sales
  posthaste explain --event order.paid --json

It asks the very rules the worker asks, with the settings of this environment: give it those of the worker.";

/// Tell where an event would go, and why not elsewhere
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExplainArgs {
    /// Name of the event, in any of its spellings (messages.upsert, MESSAGES_UPSERT)
    #[arg(long, value_parser = super::input::event)]
    event: EventName,
    /// Instance the event belongs to
    #[arg(long)]
    instance: Option<String>,
}

/// Runs the command.
pub(super) async fn run(args: &ExplainArgs, session: &Session) -> anyhow::Result<()> {
    let instance = args.instance.as_deref().filter(|instance| !instance.is_empty());
    let (rules, permits) = (session.config.rules(), &session.config.permits);
    let explained = flow::explain(&session.redis, (&rules, permits), args.event.clone(), instance).await?;
    if session.out.is_json() {
        return Ok(session.out.json(&explained.as_json(&rules))?);
    }
    print(&explained, &rules, session.out)
}

fn print(explained: &Explained, rules: &Rules, out: Output) -> anyhow::Result<()> {
    let mut table = Table::new(&["DESTINATION", "SENT", "WHERE, OR WHY NOT"], &[]).cutting(&[0]);
    for way in &explained.ways {
        let destination = plain(short(&way.destination, 100));
        match (&way.why_not, &way.url) {
            (None, Some(url)) => table.row([destination, ("yes".to_owned(), Tone::Good), plain(url)]),
            (Some(why), _) => table.row([destination, ("no".to_owned(), Tone::Doubtful), plain(why)]),
            (None, None) => table.row([destination, ("no".to_owned(), Tone::Bad), plain("no URL")]),
        }
    }
    out.table(&table)?;
    out.line("")?;
    let errors = match rules.errors() {
        Ok(url) => format!("kept, and {url} is told"),
        Err(why) => format!("kept; nobody is told: {why}"),
    };
    let mut fields = vec![
        ("event", explained.name.to_string()),
        ("route", explained.route.clone()),
        ("retries", retries(&rules.retry)),
        ("dead letters", errors),
    ];
    for way in explained.ways.iter().filter(|way| way.why_not.is_none()) {
        if let Some(settings) = &way.settings {
            fields.push((&way.destination, extras(settings)));
        }
    }
    out.fields(&fields)?;
    if let Some(hint) = &explained.hint {
        note(clean(hint));
    }
    if !explained.is_sent() {
        note(paint(Tone::Doubtful, "it goes nowhere: it would be acknowledged, and counted as unrouted"));
    }
    Ok(())
}
