//! `posthaste webhook get`.

use clap::Args;

use super::super::session::Session;
use super::{existing, print};

const EXAMPLES: &str = "\
Examples:
  posthaste webhook get sales
  posthaste webhook get sales --json --reveal > sales.json
  posthaste webhook set support --json-body @sales.json

Header values, secrets, and userinfo and query of the URL are masked unless --reveal is given.";

/// Show the webhook of an instance
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct GetArgs {
    /// Name of the instance
    #[arg(value_parser = super::instance)]
    instance: String,
    /// Show header values, secrets and the whole URL
    #[arg(long)]
    reveal: bool,
}

/// Runs the command.
pub(super) async fn run(args: &GetArgs, session: &Session) -> anyhow::Result<()> {
    let (_, webhook) = existing(&args.instance, session).await?;
    print(&args.instance, &webhook, args.reveal, session.out)
}
