//! `posthaste publish`: push one event, or many.

mod lines;
mod many;

use std::path::PathBuf;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use serde_json::value::RawValue;

use super::exit::Usage;
use super::output::{Tone, complain};
use super::session::Session;
use super::{format, input};
use crate::decide::suggest::nearest;
use crate::model::{Envelope, EventId, EventName, KNOWN_EVENTS, is_traceparent};
use crate::store::{Published, Publisher};

const EXAMPLES: &str = "\
Examples:
  posthaste publish --event call --instance sales --data '{\"text\":\"hello\"}'
  posthaste publish --event order.paid --data @order.json --id order-4711
  posthaste publish --envelope @event.json   a whole event: {\"event\":…,\"data\":…}
  posthaste publish events.ndjson            many: one whole event a line
  producer | posthaste publish -             the same from stdin, as they come

In a file of many, a line that is not an event is reported with its number and does not stop the others; the exit status \
is then 1. Any other producer does the same with: XADD webhooks * payload '<the event as JSON>'";

/// Push events onto the stream
///
/// Each event is checked first (a worker would make a dead letter of what is not one), and passed on byte for byte.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct PublishArgs {
    /// File of events, one JSON object a line (NDJSON); - for stdin
    #[arg(conflicts_with_all = ["event", "envelope", "id", "traceparent"])]
    file: Option<PathBuf>,
    /// Read events from stdin, one JSON object a line; the same as -
    #[arg(long, conflicts_with_all = ["event", "envelope", "id", "traceparent"])]
    ndjson: bool,
    /// Name of the event, in any of its spellings (messages.upsert, MESSAGES_UPSERT)
    #[arg(long, value_parser = event)]
    event: Option<String>,
    /// Instance the event belongs to; without it, only the global webhook gets it
    #[arg(long, requires = "event")]
    instance: Option<String>,
    /// The event's data, any JSON; @file reads a file, - reads stdin [default: {}]
    #[arg(long, value_name = "JSON", requires = "event", allow_hyphen_values = true)]
    data: Option<String>,
    /// A whole event instead, as JSON; @file reads a file, - reads stdin
    #[arg(long, value_name = "JSON", conflicts_with_all = ["event", "instance", "data"])]
    envelope: Option<String>,
    /// The event's id, sent as webhook-id: 1 to 128 visible ASCII characters [default: the stream entry's id]
    #[arg(long, value_parser = id)]
    id: Option<String>,
    /// W3C trace context to pass on to the receivers
    #[arg(long, value_parser = traceparent)]
    traceparent: Option<String>,
}

/// Runs the command.
pub(super) async fn run(args: PublishArgs, session: &Session) -> anyhow::Result<()> {
    let payload = match (&args.event, &args.envelope) {
        (Some(event), _) => built(event, args.instance.as_deref(), args.data.as_deref()).await?,
        (None, Some(envelope)) => input::read(envelope).await?,
        (None, None) => {
            let file = match (args.file, args.ndjson) {
                (Some(file), _) if file.as_os_str() != "-" => Some(file),
                (Some(_), _) | (None, true) => None,
                (None, false) => {
                    let message =
                        "nothing to publish: give --event, --envelope, a file of events, or - for stdin";
                    return Err(Usage(message.to_owned()).into());
                }
            };
            return many::run(file, session).await;
        }
    };
    let checked = checked(payload.into(), session.config.max_event_bytes);
    let (mut event, shown) = checked.map_err(|error| match args.envelope {
        Some(_) => Usage(format!("--envelope: {error}")),
        None => Usage(error.to_string()),
    })?;
    if let Some(id) = &args.id {
        event = event.with_id(id)?;
    }
    if let Some(traceparent) = &args.traceparent {
        event = event.with_traceparent(traceparent);
    }
    let entries = Publisher::on(session.redis.clone()).publish_all(&[event]).await?;
    let entry = entries.into_iter().next().context("redis confirmed the event without its entry's id")?;
    warn_if_unknown(&shown.name, session);
    let id = args.id.unwrap_or_else(|| entry.clone());
    if session.out.is_json() {
        session.out.json(&serde_json::json!({ "id": id, "entry": entry }))?;
    } else {
        let whose = shown
            .instance
            .map(|instance| format!(" of {}", format::short(&instance, 80)))
            .unwrap_or_default();
        session.out.line(format!("pushed {id} ({}{whose})", format::short(shown.name.as_str(), 80)))?;
    }
    Ok(())
}

/// What of an event is told.
struct Shown {
    name: EventName,
    instance: Option<String>,
}

/// An event of these bytes, if a worker would take them for one.
fn checked(payload: Bytes, max_bytes: usize) -> anyhow::Result<(Published, Shown)> {
    let size = payload.len();
    anyhow::ensure!(size <= max_bytes, "the event has {size} bytes, MAX_EVENT_BYTES allows {max_bytes}");
    let envelope = Envelope::parse(payload.clone())?;
    let shown =
        Shown { name: envelope.name().clone(), instance: envelope.instance().map(ToString::to_string) };
    Ok((Published::new(payload)?, shown))
}

/// The envelope of an event given in parts. The data goes in as it was written.
async fn built(event: &str, instance: Option<&str>, data: Option<&str>) -> anyhow::Result<Vec<u8>> {
    let data = match data {
        Some(data) => input::read(data).await?,
        None => b"{}".to_vec(),
    };
    let data: Box<RawValue> =
        serde_json::from_slice(&data).map_err(|error| Usage(format!("--data is not JSON: {error}")))?;
    #[derive(serde::Serialize)]
    struct Parts<'a> {
        event: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        instance: Option<&'a str>,
        data: &'a RawValue,
        date_time: String,
    }
    let date_time = format!("{:.3}", jiff::Timestamp::now());
    Ok(serde_json::to_vec(&Parts { event, instance, data: &data, date_time })?)
}

fn warn_if_unknown(name: &EventName, session: &Session) {
    if session.config.custom_events.allow(name) {
        return;
    }
    if let Some(meant) = nearest(name.as_str(), KNOWN_EVENTS.iter().copied()) {
        let text =
            format!("{} is not a known event; did you mean {meant}?", format::short(name.as_str(), 80));
        complain(Tone::Doubtful, "warning", &text);
    }
}

fn event(text: &str) -> Result<String, String> {
    EventName::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn id(text: &str) -> Result<String, String> {
    EventId::parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// Checks a `traceparent` (W3C Trace Context 1, 3.2.2).
fn traceparent(text: &str) -> Result<String, String> {
    if is_traceparent(text) {
        return Ok(text.to_owned());
    }
    Err("write <version>-<trace id>-<parent id>-<flags> in lower-case hex digits (2-32-16-2)".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_data_of_an_event_given_in_parts_is_kept_byte_for_byte() {
        let data = r#"{"n":12345678901234567890123,"a":1.0,"a":1e3, "s":"\u00e9\/"}"#;
        let payload =
            String::from_utf8(built("order.paid", Some("a\"b"), Some(data)).await.unwrap()).unwrap();
        let start = format!(r#"{{"event":"order.paid","instance":"a\"b","data":{data},"date_time":""#);
        assert!(payload.starts_with(&start), "{payload}");
        assert!(built("x", None, Some("{")).await.unwrap_err().to_string().contains("--data is not JSON"));
    }

    #[test]
    fn what_is_too_large_is_refused_with_the_setting() {
        let error = checked(Bytes::from_static(b"{\"event\":\"x\"}"), 5).err().unwrap().to_string();
        assert!(error.contains("MAX_EVENT_BYTES allows 5"), "{error}");
    }
}
