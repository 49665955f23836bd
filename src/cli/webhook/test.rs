//! `posthaste webhook test`: one attempt, right now, outside of the queue.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::super::exit::Told;
use super::super::format::{short, spell};
use super::super::input;
use super::super::output::{Tone, complain, paint};
use super::super::samples::sample;
use super::super::session::{Session, client_settings};
use super::{existing, shown};
use crate::decide::{fan_out, request, webhook};
use crate::http::Client;
use crate::model::{
    Delivery, Destination, EntryId, Envelope, Event, EventId, EventKey, EventName, Held, Outcome, Receipt,
    Source, Target, Webhook, display_url,
};

/// How much of the reply is shown.
const REPLY_CHARS: usize = 500;

const EXAMPLES: &str = "\
Examples:
  posthaste webhook test sales
  posthaste webhook test sales --event connection.update

One POST with invented data, made here and now exactly as the worker would make it: route, headers, signature and all. \
It is neither queued nor retried, and its webhook-id begins with test-. The exit status is 1 when it failed.";

/// Send a sample event to the webhook of an instance
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(in crate::cli) struct TestArgs {
    /// Name of the instance
    #[arg(value_parser = super::instance)]
    instance: String,
    /// The event to send a sample of [default: the first it wants, or messages.upsert]
    #[arg(long, value_parser = input::event)]
    event: Option<EventName>,
}

/// Runs the command.
pub(super) async fn run(args: &TestArgs, session: &Session) -> anyhow::Result<()> {
    let (_, webhook) = existing(&args.instance, session).await?;
    let name = match (&args.event, webhook.events.first()) {
        (Some(event), _) => event.clone(),
        (None, Some(first)) => first.clone(),
        (None, None) => EventName::parse("messages.upsert")?,
    };
    if let Err(why) = fan_out::instance(Some(&webhook), Some(&args.instance), &name) {
        complain(Tone::Doubtful, "warning", &format!("the worker would not send it: {why}"));
    }
    let config = &session.config;
    let client = Client::new(client_settings(config))?;
    let target = webhook::target(&webhook).with_context(|| {
        format!("the webhook of instance {} cannot be used; set it anew", shown(&args.instance))
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let delivery = delivery(&args.instance, &name, target.clone(), now)?;
    let post = request::post(&delivery, &target, &config.routes, now.as_secs());
    let url = display_url(&post.url);
    let started = Instant::now();
    let outcome = client.post(post).await;
    print(&Tested { delivery, url, outcome, took: started.elapsed() }, &webhook, session)
}

fn delivery(instance: &str, name: &EventName, target: Target, now: Duration) -> anyhow::Result<Delivery> {
    let ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
    let id = format!("test-{ms}");
    let entry = EntryId::new("0-0");
    Ok(Delivery {
        receipt: Arc::new(Receipt::new(&Held::default(), Source::Stream, entry.clone(), "test".into(), 1, 0)),
        event: Arc::new(Event {
            key: EventKey::new(entry.as_str()),
            id: EventId::parse(&id)?,
            pushed_ms: ms,
            traceparent: None,
            envelope: Envelope::parse(sample(name, instance).to_string().into())?,
        }),
        destination: Destination::Instance(instance.into()),
        target: Ok(Arc::new(target)),
        attempt: 1,
        first_attempt_ms: None,
        last_attempt: None,
        suspect: false,
        takeovers: 0,
        was_parked: false,
    })
}

struct Tested {
    delivery: Delivery,
    url: String,
    outcome: Outcome,
    took: Duration,
}

fn print(tested: &Tested, webhook: &Webhook, session: &Session) -> anyhow::Result<()> {
    let Tested { delivery, url, outcome, took } = tested;
    let reply = match outcome {
        Outcome::Replied(reply) => String::from_utf8_lossy(&reply.start).into_owned(),
        Outcome::Failed(_) => String::new(),
    };
    let summary = outcome.summary();
    if session.out.is_json() {
        session.out.json(&json!({
            "delivered": outcome.is_success(),
            "url": url,
            "event": delivery.event.envelope.name().as_str(),
            "id": delivery.event.id.as_str(),
            "status": outcome.status(),
            "outcome": summary,
            "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "signed": !webhook.secrets.is_empty(),
            "reply": reply,
        }))?;
    } else {
        let (tone, word) =
            if outcome.is_success() { (Tone::Good, "delivered") } else { (Tone::Bad, "failed") };
        session.out.line(format!("{}: {}", paint(tone, word), short(&summary, 500)))?;
        let mut fields = vec![
            ("url", url.clone()),
            ("event", delivery.event.envelope.name().to_string()),
            ("id", delivery.event.id.to_string()),
            ("time", spell(*took)),
            ("signed", if webhook.secrets.is_empty() { "no" } else { "yes" }.to_owned()),
        ];
        if !reply.is_empty() {
            fields.push(("reply", short(&reply, REPLY_CHARS)));
        }
        session.out.fields(&fields)?;
    }
    if outcome.is_success() { Ok(()) } else { Err(Told.into()) }
}
