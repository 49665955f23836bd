//! `posthaste dead show`.

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use clap::Args;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::format::clean_lines;
use super::super::output::Output;
use super::super::session::Session;
use super::list::{as_fields, as_json};
use crate::model::EntryId;
use crate::store::DeadSource;

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
        return print_json(&found, &body, out);
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

fn print_json(found: &DeadSource, body: &Bytes, out: Output) -> anyhow::Result<()> {
    #[derive(serde::Serialize)]
    struct Shown<'a> {
        #[serde(flatten)]
        letter: Value,
        /// As it was pushed, where it is JSON.
        #[serde(skip_serializing_if = "Option::is_none")]
        payload: Option<&'a RawValue>,
        #[serde(skip_serializing_if = "Option::is_none")]
        payload_base64: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        entry: Option<Value>,
    }
    let payload = if found.has_payload { serde_json::from_slice::<&RawValue>(body).ok() } else { None };
    let shown = Shown {
        letter: as_json(found),
        payload,
        payload_base64: (found.has_payload && payload.is_none()).then(|| STANDARD.encode(body)),
        entry: (!found.has_payload).then(|| json!(entry_fields(body))),
    };
    Ok(out.json(&shown)?)
}

/// The fields of an entry without payload, which are kept as netstrings: `<length>:<bytes>,`.
fn entry_fields(netstrings: &[u8]) -> Vec<(String, String)> {
    let mut rest = netstrings;
    let mut next = || {
        let colon = rest.iter().position(|b| *b == b':')?;
        let length: usize = std::str::from_utf8(&rest[..colon]).ok()?.parse().ok()?;
        let end = (colon + 1).checked_add(length)?;
        let text = String::from_utf8_lossy(rest.get(colon + 1..end)?).into_owned();
        rest = rest.get(end + 1..)?;
        Some(text)
    };
    let mut fields = Vec::new();
    while let (Some(name), Some(value)) = (next(), next()) {
        fields.push((name, value));
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_without_payload_is_shown_field_by_field() {
        let fields = entry_fields("4:data,3:a,b,0:,2:é,".as_bytes());
        let expected = [("data", "a,b"), ("", "é")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(fields, expected);
        for broken in ["", "5:abc,", "x:abc,", "18446744073709551615:a,1:b,", "1:a,"] {
            assert!(entry_fields(broken.as_bytes()).is_empty(), "{broken}");
        }
    }

    #[test]
    fn a_payload_is_indented_only_where_it_can_be() {
        assert_eq!(shown(b"{\"a\":1}", false), "{\"a\":1}");
        assert_eq!(shown(b"{\"a\":1}", true), "{\n  \"a\": 1\n}");
        assert_eq!(shown(b"nope\xff", true), "nope\u{fffd}");
    }
}
