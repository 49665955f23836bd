//! `posthaste webhook list`.

use std::collections::BTreeMap;

use clap::Args;
use serde_json::{Value, json};

use super::super::format::count;
use super::super::output::{JsonArray, Tone, note};
use super::super::session::Session;
use super::super::table::{Table, plain};
use super::{as_json, enabled, text};
use crate::decide::webhook::{self, CustomEvents};

/// How many webhooks are read at a time.
const PAGE: usize = 500;

const EXAMPLES: &str = "\
Examples:
  posthaste webhook list
  posthaste webhook list --limit 0 --json | jq -r '.[].instance'

Header values, secrets, and userinfo and query of URLs are masked unless --reveal is given.";

/// List the webhooks of all instances
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct ListArgs {
    /// Show so many, the first by name; 0 for all
    #[arg(long, value_name = "N", default_value_t = 1000)]
    limit: usize,
    /// Show header values, secrets and whole URLs
    #[arg(long)]
    reveal: bool,
}

/// Runs the command.
pub(super) async fn run(args: &ListArgs, session: &Session) -> anyhow::Result<()> {
    let found = first(args.limit, session).await?;
    let (shown, out) = (found.len(), session.out);
    if out.is_json() {
        let mut array = JsonArray::begin(out, "")?;
        for (instance, json) in found {
            array.extend(&[as_entry(&instance, &json, args.reveal)?])?;
        }
        array.end("")?;
    } else if found.is_empty() {
        note("no instance has a webhook: set one with `posthaste webhook set <instance> --url …`");
    } else {
        let header = ["INSTANCE", "ENABLED", "URL", "BY EVENTS", "BASE64", "RATE LIMIT", "EVENTS"];
        let mut table = Table::new(&header, &[5]).cutting(&[0, 1, 2]).leaving_out(&[4, 3, 5]);
        for (instance, json) in found {
            add_row(&mut table, &instance, &json, args.reveal)?;
        }
        out.table(&table)?;
    }
    if shown == args.limit {
        let total = session.redis.summary().await?.webhooks;
        if total > shown as u64 {
            note(format!("{shown} of {} shown; --limit 0 shows all", count(total, "webhook")));
        }
    }
    Ok(())
}

/// The first `limit` webhooks by name.
async fn first(limit: usize, session: &Session) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let mut first = BTreeMap::new();
    let mut cursor = Some(0);
    while let Some(from) = cursor {
        let page = session.redis.webhook_page(from, PAGE).await?;
        cursor = page.next;
        for (instance, json) in page.webhooks {
            first.insert(instance, json);
            if limit > 0 && first.len() > limit {
                first.pop_last();
            }
        }
    }
    Ok(first)
}

fn as_entry(instance: &str, json: &[u8], reveal: bool) -> anyhow::Result<Value> {
    Ok(match webhook::parse(json, &CustomEvents::Any) {
        Ok(webhook) => json!({ "instance": instance, "webhook": as_json(&webhook, reveal)? }),
        Err(error) => json!({ "instance": instance, "error": error.to_string() }),
    })
}

fn add_row(table: &mut Table, instance: &str, json: &[u8], reveal: bool) -> anyhow::Result<()> {
    match webhook::parse(json, &CustomEvents::Any) {
        Ok(webhook) => {
            let shown = as_json(&webhook, reveal)?;
            let yes = |is: bool| plain(if is { "yes" } else { "no" });
            let tone = if webhook.enabled { Tone::Good } else { Tone::Doubtful };
            let events = match webhook.events.as_slice() {
                [] => "all".to_owned(),
                [event] => event.to_string(),
                [event, rest @ ..] => format!("{event} and {} more", rest.len()),
            };
            let enabled = match &webhook.disabled_reason {
                Some(reason) if !webhook.enabled => (format!("no: {reason}"), tone),
                _ => (enabled(&webhook), tone),
            };
            let url = plain(text(&shown["url"]));
            table.row([
                plain(instance),
                enabled,
                url,
                yes(webhook.by_events),
                yes(webhook.base64),
                plain(webhook.rate_limit.map_or("none".to_owned(), |rate| format!("{rate}/s"))),
                plain(events),
            ]);
        }
        Err(error) => {
            let cannot = (format!("cannot be used: {error}"), Tone::Bad);
            table.row([
                plain(instance),
                ("no".to_owned(), Tone::Bad),
                cannot,
                plain(""),
                plain(""),
                plain(""),
                plain(""),
            ]);
        }
    }
    Ok(())
}
