//! `posthaste dead list`.

use super::super::format::{clean, relative, short, size, time};
use super::super::output::{JsonArray, Tone, note};
use super::super::session::Session;
use super::super::table::{Table, plain};
use super::destination;
use super::filter::FilterArgs;
use crate::model::EntryId;
use crate::operate::dead::as_json;
use crate::store::DeadSource;
use clap::Args;

/// How many letters are read and printed at a time.
const PAGE: usize = 500;

const EXAMPLES: &str = "\
Examples:
  posthaste dead list
  posthaste dead list --since 2h --destination instance:sales
  posthaste dead list --reason rejected --json | jq '.[] | {id, error}'

The newest come first. Where there are more than --limit, the id to go on from (--from) is told on stderr.";

/// List dead letters
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct ListArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// Show so many; 0 for all
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// Begin with this one (and go on with older ones)
    #[arg(long, value_name = "ID", value_parser = super::id)]
    from: Option<EntryId>,
}

/// Runs the command.
pub(super) async fn run(args: &ListArgs, session: &Session) -> anyhow::Result<()> {
    let out = session.out;
    let filter = args.filter.wanted().filter(&session.redis).await?;
    let now_ms = session.redis.time_ms().await?;
    let mut array = None;
    if out.is_json() {
        array = Some(JsonArray::begin(out, "")?);
    }
    let (mut shown, mut from) = (0, args.from.clone());
    let next = loop {
        let left = if args.limit == 0 { PAGE } else { PAGE.min(args.limit - shown) };
        let page = session.redis.dead_letters(&filter, from.as_ref(), left).await?;
        match &mut array {
            Some(array) => array.extend(&page.letters.iter().map(as_json).collect::<Vec<_>>())?,
            None if !page.letters.is_empty() => out.table(&table(&page.letters, shown == 0, now_ms))?,
            None => {}
        }
        shown += page.letters.len();
        from = page.next;
        if from.is_none() || shown == args.limit {
            break from;
        }
    };
    if let Some(array) = array {
        array.end("")?;
    }
    if shown == 0 {
        note("no dead letters match");
    }
    if let Some(next) = next {
        note(format!("there are more: --from {next}"));
    }
    Ok(())
}

fn table(letters: &[DeadSource], first: bool, now_ms: u64) -> Table {
    let header = ["ID", "WHEN", "DESTINATION", "EVENT", "REASON", "ATTEMPTS", "STATUS", "SIZE", "ERROR"];
    let mut table = Table::new(&header, &[5, 6, 7]).cutting(&[2, 3]).leaving_out(&[7, 5, 6]);
    if !first {
        table = table.without_header();
    }
    for found in letters {
        let letter = &found.letter;
        table.row([
            plain(&found.id),
            (relative(found.id.ms(), now_ms), Tone::Faint),
            plain(short(&destination(found), 60)),
            plain(short(&letter.event, 60)),
            (letter.reason.to_string(), Tone::Bad),
            plain(letter.attempts),
            plain(letter.status.map(|status| status.to_string()).unwrap_or_default()),
            plain(size(found.payload_bytes as u64)),
            plain(short(&letter.error, 80)),
        ]);
    }
    table
}

/// A dead letter's fields in words.
pub(super) fn as_fields(found: &DeadSource, now_ms: u64) -> Vec<(&'static str, String)> {
    let letter = &found.letter;
    let moment = |ms: u64| format!("{}, {}", time(ms), relative(ms, now_ms));
    let fields = [
        ("id", Some(found.id.to_string())),
        ("died", Some(moment(found.id.ms()))),
        ("event id", Some(letter.event_id.clone())),
        ("destination", Some(destination(found))),
        ("event", Some(letter.event.clone())),
        ("instance", letter.instance.clone()),
        ("reason", Some(letter.reason.to_string())),
        ("attempts", Some(letter.attempts.to_string())),
        ("first attempt", letter.first_attempt_ms.map(moment)),
        ("last attempt", letter.last_attempt_ms.map(moment)),
        ("status", letter.status.map(|status| status.to_string())),
        ("error", Some(letter.error.clone())),
        ("reply", Some(String::from_utf8_lossy(&letter.reply).into_owned())),
        ("url", Some(letter.url.clone())),
        ("traceparent", letter.traceparent.clone()),
        ("payload", Some(size(found.payload_bytes as u64))),
    ];
    let shown = |(name, value): (&'static str, Option<String>)| {
        Some((name, clean(&value.filter(|value| !value.is_empty())?).into_owned()))
    };
    fields.into_iter().filter_map(shown).collect()
}
