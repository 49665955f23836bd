//! `posthaste webhook …`: the webhooks of instances.

mod delete;
mod get;
mod list;
mod set;
mod test;

use anyhow::Context;
use clap::Subcommand;
use serde_json::Value;

use super::exit::Usage;
use super::output::Output;
use super::session::Session;
use crate::decide::webhook::{self, CustomEvents, to_json, to_public_json};
use crate::model::{EventName, Webhook};

const EXAMPLES: &str = "\
Examples:
  posthaste webhook set sales --url https://example.com/hook
  posthaste webhook list
  posthaste webhook test sales

A webhook applies to every event that is pushed after it was set. Retries use the settings of the moment, so that \
correcting a URL rescues what is waiting.";

/// Set, look at, test and delete the webhooks of instances
#[derive(Debug, Subcommand)]
#[command(after_help = EXAMPLES)]
pub(super) enum WebhookCommand {
    Set(set::SetArgs),
    Get(get::GetArgs),
    List(list::ListArgs),
    Delete(delete::DeleteArgs),
    Test(test::TestArgs),
}

/// Runs the command.
pub(super) async fn run(command: WebhookCommand, session: &Session) -> anyhow::Result<()> {
    match command {
        WebhookCommand::Set(args) => set::run(args, session).await,
        WebhookCommand::Get(args) => get::run(&args, session).await,
        WebhookCommand::List(args) => list::run(&args, session).await,
        WebhookCommand::Delete(args) => delete::run(&args, session).await,
        WebhookCommand::Test(args) => test::run(&args, session).await,
    }
}

/// An instance's name as an argument.
fn instance(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("an instance's name is not empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// The stored webhook of an instance, with the bytes it was stored as.
async fn stored(instance: &str, session: &Session) -> anyhow::Result<Option<(Vec<u8>, Webhook)>> {
    let Some(json) = session.redis.webhook(instance).await? else {
        return Ok(None);
    };
    let webhook = webhook::parse(&json, &CustomEvents::Any).with_context(|| {
        format!("the stored webhook of instance {} cannot be used; set it anew", shown(instance))
    })?;
    Ok(Some((json, webhook)))
}

/// As [`stored`], where there has to be one.
async fn existing(instance: &str, session: &Session) -> anyhow::Result<(Vec<u8>, Webhook)> {
    stored(instance, session).await?.with_context(|| {
        let instance = shown(instance);
        format!("instance {instance} has no webhook: set one with `posthaste webhook set {instance} --url …`")
    })
}

/// An instance's name as it may be printed.
fn shown(instance: &str) -> String {
    super::format::short(instance, 80)
}

/// The webhook as JSON; masked unless `reveal`.
fn as_json(webhook: &Webhook, reveal: bool) -> anyhow::Result<Value> {
    if reveal { Ok(serde_json::from_str(&to_json(webhook))?) } else { Ok(to_public_json(webhook)) }
}

/// Prints a webhook: as JSON the webhook alone, so that `webhook set --json-body` takes it.
fn print(instance: &str, webhook: &Webhook, reveal: bool, out: Output) -> anyhow::Result<()> {
    let json = as_json(webhook, reveal)?;
    if out.is_json() {
        return Ok(out.json(&json)?);
    }
    let mut fields = vec![("instance", instance.to_owned()), ("url", text(&json["url"]))];
    fields.push(("enabled", enabled(webhook)));
    fields.push(("by events", yes(webhook.by_events, "the event's route is appended to the URL")));
    fields.push(("base64", yes(webhook.base64, "data.message.base64 is kept")));
    fields.push(("events", events(&webhook.events)));
    for (name, value) in json["headers"].as_object().into_iter().flatten() {
        fields.push(("header", format!("{name}: {}", text(value))));
    }
    for secret in json["secret"].as_array().into_iter().flatten() {
        fields.push(("secret", text(secret)));
    }
    if let Some(rate) = webhook.rate_limit {
        fields.push(("rate limit", super::format::rate(rate)));
    }
    if webhook.insecure_tls {
        fields.push(("insecure TLS", "yes: any certificate of the receiver is accepted".to_owned()));
    }
    Ok(out.fields(&fields)?)
}

fn enabled(webhook: &Webhook) -> String {
    match (webhook.enabled, webhook.disabled_reason.as_deref()) {
        (true, _) => "yes".to_owned(),
        (false, None) => "no".to_owned(),
        (false, Some("gone")) => "no: its receiver answered 410 Gone".to_owned(),
        (false, Some(reason)) => format!("no: {reason}"),
    }
}

fn events(events: &[EventName]) -> String {
    match events {
        [] => "all".to_owned(),
        events => events.iter().map(EventName::as_str).collect::<Vec<_>>().join(", "),
    }
}

fn yes(is: bool, meaning: &str) -> String {
    if is { format!("yes: {meaning}") } else { "no".to_owned() }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A mistake in the arguments.
fn usage(message: impl Into<String>) -> anyhow::Error {
    Usage(message.into()).into()
}
