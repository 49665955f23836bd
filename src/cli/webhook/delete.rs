//! `posthaste webhook delete`.

use anyhow::ensure;
use clap::Args;
use serde_json::json;

use super::super::session::Session;
use super::shown;

const EXAMPLES: &str = "\
Examples:
  posthaste webhook delete sales

Deliveries to it that wait for a retry become dead letters (removed) when they are due; they can be replayed once \
there is a webhook again. The same goes for `posthaste webhook set sales --update --disabled`, which keeps the settings.";

/// Delete the webhook of an instance
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct DeleteArgs {
    /// Name of the instance
    #[arg(value_parser = super::instance)]
    instance: String,
}

/// Runs the command.
pub(super) async fn run(args: &DeleteArgs, session: &Session) -> anyhow::Result<()> {
    let deleted = session.redis.delete_webhook(&args.instance).await?;
    ensure!(deleted, "instance {} has no webhook", shown(&args.instance));
    if session.out.is_json() {
        return Ok(session.out.json(&json!({ "deleted": args.instance }))?);
    }
    Ok(session.out.line(format!("deleted the webhook of instance {}", shown(&args.instance)))?)
}
