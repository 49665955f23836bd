//! The command line: one file per command.
//!
//! Results go to stdout, as text or with `--json` as JSON; everything else to stderr. Exit statuses: 0; 1 it failed;
//! 2 the command line is wrong; 69 Redis is unreachable; 78 the settings are wrong.

mod check;
mod dead;
mod destination;
mod dev;
mod exit;
mod explain;
mod input;
mod listen;
mod output;
mod publish;
mod run;
mod session;
mod status;
mod table;
mod webhook;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use self::exit::Exit;
use self::output::{Output, Tone, complain};
pub use self::run::Worker;
use self::session::{Session, settings, shown_url};
pub use self::session::{client_settings, redis_settings};
use crate::config::Config;
use crate::model::format;

const LONG_ABOUT: &str = "\
Durable webhook delivery on Redis.

Producers push events onto a Redis stream; `posthaste run` POSTs each one to the global webhook and to the webhook of \
its instance, retries what fails, and keeps what could not be delivered as dead letters, to be looked at and replayed.

Settings come from the environment and from a .env file (the environment wins).";

const EXAMPLES: &str = "\
The first steps:
  posthaste dev      everything on one terminal, to see how it works
  posthaste check    are the settings and the Redis server fit for it?
  posthaste run      the worker
  posthaste webhook set sales --url https://example.com/hook
  posthaste publish --event call --instance sales --data '{\"text\":\"hello\"}'

When something does not arrive:
  posthaste explain --event messages.upsert --instance sales
  posthaste status
  posthaste dead list

Exit statuses: 0; 1 it failed; 2 the command line is wrong; 69 Redis is unreachable; 78 the settings are wrong.";

/// The command line, parsed.
#[derive(Debug, Parser)]
#[command(name = "posthaste", version, about = "Durable webhook delivery on Redis", long_about = LONG_ABOUT)]
#[command(after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true, max_term_width = 110)]
pub struct Cli {
    /// Print JSON instead of text
    #[arg(long, global = true, display_order = 900)]
    json: bool,
    /// Read settings from this file too; without it from .env, if there is one
    #[arg(long, global = true, value_name = "PATH", display_order = 901)]
    env_file: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::RunArgs),
    Dev(dev::DevArgs),
    Publish(publish::PublishArgs),
    #[command(subcommand)]
    Webhook(webhook::WebhookCommand),
    Explain(explain::ExplainArgs),
    #[command(subcommand)]
    Dead(dead::DeadCommand),
    #[command(subcommand)]
    Destination(destination::DestinationCommand),
    Status(status::StatusArgs),
    Listen(listen::ListenArgs),
    Check(check::CheckArgs),
}

/// Runs a command to its end, on this thread; `run` runs `worker`. What went wrong has been told when this returns. `worker` is what `posthaste run` runs.
pub fn run(cli: Cli, worker: Worker) -> ExitCode {
    let mut redis_url = None;
    let ended = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let ended = runtime.block_on(dispatch(cli, worker, &mut redis_url));
            // A read of stdin that nobody waits for any more cannot be ended.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(error).context("cannot start the runtime"),
    };
    match ended.err().and_then(|error| Exit::of(&error, redis_url.as_deref())) {
        None => ExitCode::SUCCESS,
        Some(exit) => {
            if let Some(message) = exit.message() {
                complain(Tone::Bad, "error", message);
            }
            exit.into()
        }
    }
}

/// Runs a command; `redis_url` is filled in, as it may be shown, once it is known.
async fn dispatch(cli: Cli, worker: Worker, redis_url: &mut Option<String>) -> anyhow::Result<()> {
    let out = Output::new(cli.json);
    let mut config = || -> anyhow::Result<Config> {
        let config = settings(cli.env_file.as_ref())?;
        *redis_url = Some(shown_url(&config));
        Ok(config)
    };
    match cli.command {
        Command::Run(args) => run::run(args, config()?, out, worker).await,
        Command::Dev(args) => dev::run(args, out).await,
        Command::Publish(args) => publish::run(args, &Session::open(config()?, out)?).await,
        Command::Webhook(command) => webhook::run(command, &Session::open(config()?, out)?).await,
        Command::Explain(args) => explain::run(&args, &Session::open(config()?, out)?).await,
        Command::Dead(command) => dead::run(command, &Session::open(config()?, out)?).await,
        Command::Destination(command) => destination::run(command, &Session::open(config()?, out)?).await,
        Command::Status(args) => status::run(&args, &Session::open(config()?, out)?).await,
        Command::Listen(args) => listen::run(args, out).await,
        Command::Check(args) => check::run(&args, &Session::open(config()?, out)?).await,
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_help_that_teaches() {
        fn check(command: &clap::Command) {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} has no description");
            assert!(command.get_after_help().is_some(), "{name} has no examples");
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                assert!(argument.get_help().is_some(), "{name}: {} has no help", argument.get_id());
            }
            command.get_subcommands().filter(|command| command.get_name() != "help").for_each(check);
        }
        check(&Cli::command());
    }
}
