//! `posthaste dev`: the whole system on one terminal.

mod redis_server;
mod story;
mod worker;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

use self::redis_server::RedisServer;
use self::story::Story;
use self::worker::Worker;
use super::exit::Told;
use super::listen::{Behaviour, Failure, Printer, Receiver, Record, bind, interrupted};
use super::output::{Output, note};
use crate::model::Secret;
use crate::store::{Publisher, Redis, RedisSettings};

/// How many records wait to be printed before requests wait for it.
const RECORDS: usize = 256;
/// How long the demonstration may take; it takes about five seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the state of Redis is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Where webhooks may be sent to: this machine.
const PERMITTED: &str = "127.0.0.0/8";
/// The stream that is used.
const STREAM: &str = "webhooks";

const EXAMPLES: &str = "\
Examples:
  posthaste dev                 stays until Ctrl-C
  posthaste dev --once          leaves when everything is settled
  posthaste dev --port 8099     the receiver listens there

Everything it keeps is under ./.posthaste (see --dir), and may be removed when it is not running.";

/// See the whole system work on one terminal
///
/// Starts a redis-server of its own, a receiver that prints what arrives, and the worker; sets up the webhooks of three
/// instances and the global one, and publishes sample events. The webhook of demo works; that of demo-flaky fails twice
/// and then works, so that retries are seen; that of demo-broken always fails, so that a dead letter and the error
/// notification are seen.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DevArgs {
    /// Leave when everything is settled; exit status 0 only if all went as it should
    #[arg(long)]
    pub(super) once: bool,
    /// The receiver's port; without it a free one
    #[arg(long)]
    pub(super) port: Option<u16>,
    /// Where the redis-server keeps its data
    #[arg(long, value_name = "PATH", default_value = "./.posthaste")]
    pub(super) dir: PathBuf,
}

/// Runs the demonstration.
pub(super) async fn run(args: DevArgs, out: Output) -> anyhow::Result<()> {
    std::fs::create_dir_all(&args.dir).with_context(|| format!("cannot create {}", args.dir.display()))?;
    let dir =
        std::fs::canonicalize(&args.dir).with_context(|| format!("cannot use {}", args.dir.display()))?;
    let server = RedisServer::start(&dir).await?;
    let told =
        format!("127.0.0.1:{}, data in {} (append-only file, fsync always)", server.port(), dir.display());
    step("redis-server", &told);
    let redis =
        Redis::open(&RedisSettings { url: Secret::new(server.url()), stream: STREAM.to_owned(), ca: None })?;
    let played = tokio::select! {
        played = play(&args, out, &redis, &server, &dir) => played,
        () = interrupted() => Ok(true),
    };
    server.stop().await;
    match played {
        Ok(true) => Ok(()),
        Ok(false) => Err(Told.into()),
        Err(error) => Err(error),
    }
}

/// Whether all went as it should.
async fn play(
    args: &DevArgs,
    out: Output,
    redis: &Redis,
    server: &RedisServer,
    dir: &Path,
) -> anyhow::Result<bool> {
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port.unwrap_or(0)));
    let listener = bind(addr, "--port").await?;
    let base = format!("http://{}", listener.local_addr().context("the receiver has no address")?);
    let (records, mut received) = mpsc::channel(RECORDS);
    let stop = CancellationToken::new();
    let stopped_with_this = stop.clone().drop_guard();
    let serving = tokio::spawn(Receiver::new(paths(), records).run(listener, stop));
    step("receiver", &format!("{base}; /flaky fails twice and then works, /broken always fails"));

    let mut story = Story::begin(&base);
    for (instance, webhook) in story.webhooks() {
        redis.set_webhook(&instance, &webhook).await?;
    }
    step("webhooks", "demo, demo-flaky and demo-broken, each to its path; the global one to /global");
    let worker = Worker::start(redis, dir, &story.settings(&server.url())).await?;
    step("worker", &format!("`posthaste run`, its log in {}", worker.log().display()));
    let events = story.events()?;
    Publisher::on(redis.clone()).publish_all(&events).await?;
    step("published", &format!("{} events to the stream `{STREAM}`\n", events.len()));

    let printer = Printer { whole_bodies: false, headers: false, out };
    let went_well = watch(&mut story, redis, &mut received, printer).await?;
    story.sum_up(out, redis).await?;
    if !args.once {
        note(story.hints(&server.url()));
        let mut interrupted = std::pin::pin!(interrupted());
        loop {
            tokio::select! {
                record = received.recv() => match record {
                    Some(record) => printer.print(&record)?,
                    None => break,
                },
                () = &mut interrupted => break,
            }
        }
    }
    worker.stop().await;
    drop(stopped_with_this);
    drop(received);
    serving.await.context("the receiver ended unexpectedly")??;
    Ok(went_well)
}

/// Prints what arrives until the story is told, or has taken too long; whether it went as it should.
async fn watch(
    story: &mut Story,
    redis: &Redis,
    received: &mut mpsc::Receiver<Record>,
    printer: Printer,
) -> anyhow::Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    let mut look = interval(LOOK);
    while Instant::now() < deadline {
        tokio::select! {
            Some(record) = received.recv() => {
                story.hear(&record);
                printer.print(&record)?;
            }
            _ = look.tick() => {
                if story.is_told() && story.is_settled(redis).await? {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

fn paths() -> Vec<(String, Behaviour)> {
    let failing =
        |fail_first| Behaviour { failure: Some(Failure::Status(503)), fail_first, ..Behaviour::default() };
    [
        ("/demo", Behaviour::default()),
        ("/global", Behaviour::default()),
        ("/errors", Behaviour::default()),
        ("/flaky", failing(Some(2))),
        ("/broken", failing(None)),
    ]
    .map(|(path, behaviour)| (path.to_owned(), behaviour))
    .into()
}

fn step(what: &str, text: &str) {
    note(format!("{what:<13} {text}"));
}
