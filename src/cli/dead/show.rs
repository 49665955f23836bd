//! `posthaste dead show`.

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use super::super::format::clean_lines;
use super::super::session::Session;
use super::list::as_fields;
use crate::model::EntryId;
use crate::operate::dead::{Whole, entry_fields};

const EXAMPLES: &str = "\
Examples:
  posthaste dead show 1761038164871-0
  posthaste dead show 1761038164871-0 --pretty
  posthaste dead show 1761038164871-0 --payload > event.json";

/// Show one dead letter, with its payload
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct ShowArgs {
    /// Id of the dead letter, as `dead list` shows it
    #[arg(value_parser = super::id)]
    id: EntryId,
    /// Indent the payload; without it, it is shown as it was pushed
    #[arg(long)]
    pretty: bool,
    /// Print the payload alone, byte for byte
    #[arg(long, conflicts_with_all = ["pretty", "json"])]
    payload: bool,
}

/// Runs the command.
pub(super) async fn run(args: &ShowArgs, session: &Session) -> anyhow::Result<()> {
    let out = session.out;
    let found = session.redis.dead_letter(&args.id).await?;
    let (found, body) = found.with_context(|| {
        format!("there is no dead letter {}; it was replayed or purged, or never was", args.id)
    })?;
    if args.payload {
        anyhow::ensure!(
            found.has_payload,
            "dead letter {} has no payload: its entry had no such field",
            args.id
        );
        return Ok(out.raw(&body)?);
    }
    if out.is_json() {
        return Ok(out.json(&Whole::new(&found, &body))?);
    }
    let now_ms = session.redis.time_ms().await?;
    out.fields(&as_fields(&found, now_ms))?;
    out.line("")?;
    if found.has_payload {
        return Ok(out.line(clean_lines(&shown(&body, args.pretty)))?);
    }
    out.line("the entry had no field `payload`; its fields:")?;
    let fields: Vec<(String, String)> = entry_fields(&body);
    let fields: Vec<(&str, String)> =
        fields.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    Ok(out.fields(&fields)?)
}

/// The payload as text; indented where it is to be and can.
fn shown(payload: &[u8], pretty: bool) -> String {
    let indented = || {
        let value: Value = serde_json::from_slice(payload).ok()?;
        serde_json::to_string_pretty(&value).ok()
    };
    let indented = if pretty { indented() } else { None };
    indented.unwrap_or_else(|| String::from_utf8_lossy(payload).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_indented_only_where_it_can_be() {
        assert_eq!(shown(b"{\"a\":1}", false), "{\"a\":1}");
        assert_eq!(shown(b"{\"a\":1}", true), "{\n  \"a\": 1\n}");
        assert_eq!(shown(b"nope\xff", true), "nope\u{fffd}");
    }
}
