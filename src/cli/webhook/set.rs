//! `posthaste webhook set`.

use anyhow::Context;
use clap::Args;
use serde_json::{Map, Value, json};

use super::super::format::clean;
use super::super::input;
use super::super::output::{Tone, complain};
use super::super::session::Session;
use super::{existing, print, shown, usage};
use crate::decide::webhook::{self, CustomEvents, RATES, to_json};
use crate::http::{self, Vetted};
use crate::model::Webhook;

/// How often a webhook is read and changed anew when somebody else changed it in between.
const ATTEMPTS: usize = 5;

const EXAMPLES: &str = "\
Examples:
  posthaste webhook set sales --url https://example.com/hook
  posthaste webhook set sales --url https://h.example/in --event CALL,CONTACTS_SET
  posthaste webhook set sales --url https://h.example/in --by-events --base64
  posthaste webhook set sales --url https://h.example/in --header 'X-Key: …'
  posthaste webhook set sales --url https://h.example/in --secret @key.txt
  posthaste webhook set sales --update --rate-limit 20
  posthaste webhook set sales --json-body @webhook.json
  posthaste webhook set sales --update --disabled   change only this

Without --update the webhook is replaced as a whole: what is not given has its default. --json-body \
understands all three generations of Evolution API's JSON.

The URL has to lead to a public address, unless WEBHOOK_ALLOW_HOSTS or WEBHOOK_ALLOW_CIDRS permits \
another: give this command the settings of the worker.";

/// Set the webhook of an instance
///
/// Names that are not known are refused, with what was probably meant: a webhook must never silently not fire.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct SetArgs {
    /// Name of the instance
    #[arg(value_parser = super::instance)]
    instance: String,
    /// Where its events are sent: http:// or https://
    #[arg(long)]
    url: Option<String>,
    /// Append the event's route to the URL's path (…/messages-upsert)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    by_events: Option<bool>,
    /// Keep data.message.base64, the bytes of media
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    base64: Option<bool>,
    /// Send this event; may be given several times, or a list divided by commas [default: all events]
    #[arg(long = "event", value_name = "EVENT", value_delimiter = ',')]
    events: Vec<String>,
    /// Send this header, 'Name: value'; may be given several times. jwt_key is not sent but signs a bearer token
    #[arg(long = "header", value_name = "HEADER")]
    headers: Vec<String>,
    /// Sign with this secret, whsec_<base64> or base64; several while one is rotated; @file reads a file
    #[arg(long = "secret", value_name = "SECRET")]
    secrets: Vec<String>,
    /// Send so many requests a second at most, 0.001 to 1000000; none for any number [default: none]
    #[arg(long, value_name = "N", value_parser = rate_limit, allow_hyphen_values = true)]
    rate_limit: Option<RateLimit>,
    /// Accept any certificate of the receiver; WEBHOOK_ALLOW_INSECURE_TLS has to permit it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    insecure_tls: Option<bool>,
    /// Send no events for now
    #[arg(long)]
    disabled: bool,
    /// Send events again (with --update; a new webhook is enabled anyway)
    #[arg(long, conflicts_with = "disabled")]
    enabled: bool,
    /// Change what is given, and keep the rest of the stored webhook
    #[arg(long)]
    update: bool,
    /// All of it as JSON instead; @file reads a file, - reads stdin
    #[arg(long, value_name = "JSON", conflicts_with_all =
        ["url", "by_events", "base64", "events", "headers", "secrets", "rate_limit", "insecure_tls", "disabled", "enabled", "update"])]
    json_body: Option<String>,
}

/// How many requests a second; none for any number.
#[derive(Clone, Copy, Debug, PartialEq)]
struct RateLimit(Option<f64>);

fn rate_limit(text: &str) -> Result<RateLimit, String> {
    if text.eq_ignore_ascii_case("none") {
        return Ok(RateLimit(None));
    }
    match text.parse() {
        Ok(rate) if RATES.contains(&rate) => Ok(RateLimit(Some(rate))),
        _ => Err(format!(
            "write requests a second, a number from {} to {} such as 20 or 0.5, or none for any number",
            RATES.start(),
            RATES.end()
        )),
    }
}

/// Runs the command.
pub(super) async fn run(args: SetArgs, session: &Session) -> anyhow::Result<()> {
    let custom = &session.config.custom_events;
    let webhook = if let Some(body) = &args.json_body {
        webhook::parse(&input::read(body).await?, custom).map_err(wrong)?
    } else {
        let given = given(&args).await?;
        if args.update {
            let webhook = update(&args.instance, &given, session).await?;
            return print(&args.instance, &webhook, false, session.out);
        }
        read(Map::new(), &given, custom).map_err(wrong)?
    };
    vet(&webhook, session).await?;
    session.redis.set_webhook(&args.instance, &to_json(&webhook)).await?;
    print(&args.instance, &webhook, false, session.out)
}

/// What was given is wrong.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn wrong(error: webhook::WebhookError) -> anyhow::Error {
    usage(error.to_string())
}

/// Refuses what the operator does not permit: rather now than at the first event.
async fn vet(webhook: &Webhook, session: &Session) -> anyhow::Result<()> {
    if let Vetted::Unresolved(why) = http::vet(webhook, &session.config.permits).await? {
        complain(Tone::Doubtful, "warning", &format!("it is set all the same, but as yet {}", clean(&why)));
    }
    Ok(())
}

/// What was given, under the keys of the stored form.
async fn given(args: &SetArgs) -> anyhow::Result<Map<String, Value>> {
    let mut given = Map::new();
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            given.insert(key.to_owned(), value);
        }
    };
    set("url", args.url.as_deref().map(Value::from));
    set("byEvents", args.by_events.map(Value::from));
    set("base64", args.base64.map(Value::from));
    set("insecure_tls", args.insecure_tls.map(Value::from));
    set("rate_limit", args.rate_limit.map(|RateLimit(rate)| rate.into()));
    set("events", (!args.events.is_empty()).then(|| json!(args.events)));
    set("enabled", (args.enabled || args.disabled).then(|| args.enabled.into()));
    if !args.headers.is_empty() {
        set("headers", Some(headers(&args.headers)?.into()));
    }
    if !args.secrets.is_empty() {
        let mut secrets = Vec::new();
        for secret in &args.secrets {
            secrets.push(match secret.strip_prefix('@') {
                Some(_) => String::from_utf8(input::read(secret).await?)
                    .map_err(|_| usage(format!("--secret: {secret} is not text")))?
                    .trim()
                    .to_owned(),
                None => secret.clone(),
            });
        }
        set("secret", Some(json!(secrets)));
    }
    if given.is_empty() {
        return Err(usage("nothing to set: give --url, or all of it with --json-body"));
    }
    Ok(given)
}

fn headers(written: &[String]) -> anyhow::Result<Map<String, Value>> {
    let mut headers: Map<String, Value> = Map::new();
    for header in written {
        // Not quoted in the message: what has no name may be a secret.
        let (name, value) =
            header.split_once(':').ok_or_else(|| usage("--header has no colon; write 'Name: value'"))?;
        let name = name.trim();
        if headers.keys().any(|known| known.eq_ignore_ascii_case(name)) {
            return Err(usage(format!("--header {name} is given twice; leave one out")));
        }
        headers.insert(name.to_owned(), value.trim().into());
    }
    Ok(headers)
}

/// The webhook of `base` with what was given.
fn read(
    mut base: Map<String, Value>,
    given: &Map<String, Value>,
    custom: &CustomEvents,
) -> Result<Webhook, webhook::WebhookError> {
    base.extend(given.clone());
    webhook::parse(Value::from(base).to_string().as_bytes(), custom)
}

/// Changes the stored webhook, unless somebody else does at the same time: then that is what is changed.
async fn update(instance: &str, given: &Map<String, Value>, session: &Session) -> anyhow::Result<Webhook> {
    // Events that are stored were allowed when they were set.
    let any = CustomEvents::Any;
    let custom = if given.contains_key("events") { &session.config.custom_events } else { &any };
    for _ in 0..ATTEMPTS {
        let (json, stored) = existing(instance, session).await?;
        let base = serde_json::from_str(&to_json(&stored)).context("the stored webhook is not an object")?;
        let webhook = read(base, given, custom).map_err(wrong)?;
        vet(&webhook, session).await?;
        if session.redis.swap_webhook(instance, &json, &to_json(&webhook)).await? {
            return Ok(webhook);
        }
    }
    anyhow::bail!(
        "the webhook of instance {} is being changed by others all the time; try again",
        shown(instance)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_a_name_and_a_value() {
        let written = ["X-Tenant: 7", "X-Url:http://a:1"].map(str::to_owned);
        let headers = headers(&written).unwrap();
        assert_eq!(Value::from(headers), json!({ "X-Tenant": "7", "X-Url": "http://a:1" }));
    }

    #[test]
    fn a_rate_limit_is_a_number_or_none() {
        for (text, rate) in
            [("20", Some(20.0)), ("0.001", Some(0.001)), ("1000000", Some(1e6)), ("None", None)]
        {
            assert_eq!(rate_limit(text), Ok(RateLimit(rate)), "{text}");
        }
        for text in
            ["", "0", "-0", "-1", "0.0009", "1000000.1", "NaN", "inf", "-inf", "ten", "5/s", "1,5", " 1"]
        {
            assert!(rate_limit(text).unwrap_err().contains("from 0.001 to 1000000"), "{text}");
        }
    }

    #[test]
    fn headers_that_cannot_be_meant_are_refused_without_being_shown() {
        let refused = |written: &[&str]| {
            let written: Vec<String> = written.iter().map(|header| (*header).to_owned()).collect();
            headers(&written).unwrap_err().to_string()
        };
        assert!(!refused(&["hunter2"]).contains("hunter2"));
        assert!(refused(&["A: 1", "a: 2"]).contains("given twice"));
    }
}
