//! `posthaste webhook test`: one attempt, right now, outside of the queue.

use anyhow::Context;
use clap::Args;

use super::super::exit::Told;
use super::super::format::{short, spell};
use super::super::input;
use super::super::output::{Tone, complain, paint};
use super::super::session::{Session, client_settings};
use super::{existing, shown};
use crate::flow::{Trial, try_out};
use crate::http::Client;
use crate::model::EventName;

/// How much of the reply is shown.
const REPLY_CHARS: usize = 500;

const EXAMPLES: &str = "\
Examples:
  posthaste webhook test sales
  posthaste webhook test sales --event connection.update

One POST with invented data, made here and now exactly as the worker would make it: route, headers, signature and all. \
It is neither queued nor retried, and its webhook-id begins with test-. The exit status is 1 when it failed.";

/// Send a sample event to the webhook of an instance
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct TestArgs {
    /// Name of the instance
    #[arg(value_parser = super::instance)]
    instance: String,
    /// The event to send a sample of [default: the first it wants, or messages.upsert]
    #[arg(long, value_parser = input::event)]
    event: Option<EventName>,
}

/// Runs the command.
pub(super) async fn run(args: &TestArgs, session: &Session) -> anyhow::Result<()> {
    let (_, webhook) = existing(&args.instance, session).await?;
    let config = &session.config;
    let client = Client::new(client_settings(config))?;
    let of = (args.instance.as_str(), &webhook);
    let trial = try_out(&client, &config.routes, of, args.event.clone()).await.with_context(|| {
        format!("the webhook of instance {} cannot be used; set it anew", shown(&args.instance))
    })?;
    print(&trial, session)
}

fn print(trial: &Trial, session: &Session) -> anyhow::Result<()> {
    if let Some(why) = &trial.why_not {
        complain(Tone::Doubtful, "warning", &format!("the worker would not send it: {why}"));
    }
    let delivered = trial.outcome.is_success();
    if session.out.is_json() {
        session.out.json(&trial.as_json())?;
    } else {
        let (tone, word) = if delivered { (Tone::Good, "delivered") } else { (Tone::Bad, "failed") };
        session.out.line(format!("{}: {}", paint(tone, word), short(&trial.outcome.summary(), 500)))?;
        let mut fields = vec![
            ("url", trial.url.clone()),
            ("event", trial.event.to_string()),
            ("id", trial.id.to_string()),
            ("time", spell(trial.took)),
            ("signed", if trial.signed { "yes" } else { "no" }.to_owned()),
        ];
        if !trial.reply.is_empty() {
            fields.push(("reply", short(&trial.reply, REPLY_CHARS)));
        }
        session.out.fields(&fields)?;
    }
    if delivered { Ok(()) } else { Err(Told.into()) }
}
