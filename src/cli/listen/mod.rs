//! `posthaste listen`: a receiver that prints what arrives, and fails on demand.
//!
//! [`Receiver`] is the receiver itself; `dev` has one too, with a behaviour of its own for each path.

mod behaviour;
mod connection;
mod print;
mod receiver;
mod signature;

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

pub(super) use self::behaviour::{Behaviour, Failure};
pub(super) use self::print::Printer;
pub(super) use self::receiver::{Receiver, Record};
use super::format::{self, count};
use super::output::{Output, note};
use crate::decide::sign::parse_secret;
use crate::model::Signer;

/// How many records wait to be printed before requests wait for it.
const RECORDS: usize = 256;

const EXAMPLES: &str = "\
Examples:
  posthaste listen
  posthaste listen --addr 0.0.0.0:9000 --secret whsec_…   checks signatures
  posthaste listen --fail-first 2                         each event fails twice
  posthaste listen --status 503 --retry-after 30          always fails
  posthaste listen --hang                                 never answers
  posthaste listen --json | jq .body.data

Then, elsewhere: posthaste webhook set sales --url http://127.0.0.1:8099/sales";

/// Receive webhooks: print what arrives, and fail on demand
///
/// Answers 200 unless it is told to fail. GET answers 200 with a short text.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ListenArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8099")]
    addr: SocketAddr,
    /// Answer with this status [default: 200; 500 with --fail-first, 503 with --retry-after]
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(200..=599))]
    status: Option<u16>,
    /// Fail the first N requests of each webhook-id, then answer 200
    #[arg(long, value_name = "N")]
    fail_first: Option<u32>,
    /// Wait before answering (2s, 500ms)
    #[arg(long, value_name = "TIME", value_parser = format::duration, default_value = "0s")]
    delay: Duration,
    /// Never answer
    #[arg(long, conflicts_with_all = ["status", "close", "retry_after"])]
    hang: bool,
    /// Close the connection without an answer
    #[arg(long, conflicts_with_all = ["status", "retry_after"])]
    close: bool,
    /// Ask for so many seconds of patience, with a Retry-After header on failures
    #[arg(long, value_name = "SECONDS")]
    retry_after: Option<u32>,
    /// Check signatures with this secret (whsec_<base64> or base64); several while one is rotated
    #[arg(long = "secret", value_name = "SECRET", value_parser = signer)]
    secrets: Vec<Signer>,
    /// Print whole bodies
    #[arg(long)]
    body: bool,
    /// Print headers, whatever they hold
    #[arg(long)]
    headers: bool,
}

/// Runs the command until Ctrl-C.
pub(super) async fn run(args: ListenArgs, out: Output) -> anyhow::Result<()> {
    let listener = bind(args.addr, "--addr").await?;
    let addr = listener.local_addr().context("the listener has no address")?;
    note(format!("listening on http://{addr}; Ctrl-C ends it"));
    let printer = Printer { whole_bodies: args.body, headers: args.headers, out };
    let (records, mut received) = mpsc::channel(RECORDS);
    let receiver = Receiver::new(vec![("/".to_owned(), args.behaviour())], records);
    let stop = CancellationToken::new();
    let serving = tokio::spawn(receiver.run(listener, stop.clone()));
    let mut interrupted = std::pin::pin!(interrupted());
    let (mut seen, mut printed) = (0, Ok(()));
    loop {
        // Once it is stopped, what has arrived is still printed: the records end with the receiver.
        tokio::select! {
            record = received.recv() => {
                let Some(record) = record else { break };
                seen += 1;
                printed = printer.print(&record);
                if printed.is_err() {
                    break;
                }
            }
            () = &mut interrupted, if !stop.is_cancelled() => stop.cancel(),
        }
    }
    stop.cancel();
    drop(received);
    serving.await.context("the receiver ended unexpectedly")??;
    note(format!("received {}", count(seen, "request")));
    Ok(printed?)
}

impl ListenArgs {
    fn behaviour(self) -> Behaviour {
        let failure = match (self.hang, self.close, self.status) {
            (true, _, _) => Some(Failure::Hang),
            (_, true, _) => Some(Failure::Close),
            (_, _, Some(status)) => Some(Failure::Status(status)),
            (_, _, None) if self.retry_after.is_some() => Some(Failure::Status(503)),
            (_, _, None) => self.fail_first.map(|_| Failure::Status(500)),
        };
        Behaviour {
            failure,
            fail_first: self.fail_first,
            delay: self.delay,
            retry_after_s: self.retry_after,
            signers: self.secrets,
        }
    }
}

/// A listener at `addr`, which `option` sets.
///
/// # Errors
/// When the address is in use or not this machine's; the message says what to do.
pub(super) async fn bind(addr: SocketAddr, option: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(addr).await;
    listener
        .map_err(|error| anyhow::anyhow!("cannot listen on {addr}: {error}; choose another with {option}"))
}

/// Waits for Ctrl-C or SIGTERM.
pub(super) async fn interrupted() {
    let interrupt = async {
        // Without a handler there is nothing to wait for, and Ctrl-C ends the process by itself.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    #[cfg(unix)]
    let terminate = async {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => _ = terminate.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    #[cfg(not(unix))]
    let terminate = std::future::pending::<()>();
    tokio::select! {
        () = interrupt => {}
        () = terminate => {}
    }
}

fn signer(text: &str) -> Result<Signer, String> {
    parse_secret(text).map_err(|error| error.to_string())
}
