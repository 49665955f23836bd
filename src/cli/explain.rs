//! `posthaste explain`: where an event goes, and why not elsewhere.

mod words;

use clap::Args;
use serde_json::{Value, json};

use self::words::{errors, extras, retries};
use super::format::{clean, short};
use super::output::{Tone, note, paint};
use super::session::Session;
use super::table::{Table, plain};
use crate::config::Config;
use crate::decide::fan_out::{self, GlobalRule};
use crate::decide::route::join_url;
use crate::decide::suggest::nearest;
use crate::decide::webhook::{self, CustomEvents, to_public_json};
use crate::http;
use crate::model::{EventName, KNOWN_EVENTS, Webhook};

const EXAMPLES: &str = "\
Examples:
  posthaste explain --event messages.upsert --instance sales
  posthaste explain --event order.paid --json

It asks the very rules the worker asks, with the settings of this environment: give it those of the worker.";

/// Tell where an event would go, and why not elsewhere
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ExplainArgs {
    /// Name of the event, in any of its spellings (messages.upsert, MESSAGES_UPSERT)
    #[arg(long, value_parser = super::input::event)]
    event: EventName,
    /// Instance the event belongs to
    #[arg(long)]
    instance: Option<String>,
}

/// Runs the command.
pub(super) async fn run(args: &ExplainArgs, session: &Session) -> anyhow::Result<()> {
    let name = args.event.clone();
    let instance = args.instance.as_deref().filter(|instance| !instance.is_empty());
    let stored = match instance {
        Some(instance) => session.redis.webhook(instance).await?,
        None => None,
    };
    let stored = stored.map(|json| webhook::parse(&json, &CustomEvents::Any));
    let config = &session.config;
    let mut ways = vec![global(config, &name)];
    if let Some(instance) = instance {
        ways.push(match stored {
            Some(Err(error)) => Way {
                destination: format!("instance:{instance}"),
                url: None,
                why_not: Some(format!(
                    "the stored webhook cannot be used, every attempt fails: {error}; set it anew"
                )),
                settings: None,
            },
            Some(Ok(webhook)) => {
                let way = to_instance(config, instance, Some(&webhook), &name);
                match http::vet(&webhook, &config.permits).await {
                    Err(error) if way.why_not.is_none() => {
                        Way { why_not: Some(format!("every attempt fails: {error}")), ..way }
                    }
                    _ => way,
                }
            }
            None => to_instance(config, instance, None, &name),
        });
    }
    let explained = Explained { hint: hint(&name, config), name, ways };
    if session.out.is_json() {
        return Ok(session.out.json(&explained.as_json(args, config))?);
    }
    explained.print(session)
}

/// One destination, and whether the event goes there.
struct Way {
    destination: String,
    /// Where exactly, as it may be shown.
    url: Option<String>,
    why_not: Option<String>,
    /// The webhook's settings, as they may be shown.
    settings: Option<Value>,
}

struct Explained {
    name: EventName,
    ways: Vec<Way>,
    hint: Option<String>,
}

fn global(config: &Config, name: &EventName) -> Way {
    let global = &config.global;
    let rule = GlobalRule::new(global.enabled, global.url.is_some(), global.events.clone());
    let settings = global.url.as_ref().map(|url| {
        to_public_json(&Webhook {
            enabled: global.enabled,
            disabled_reason: None,
            disabled_at_ms: None,
            url: url.clone(),
            by_events: global.by_events,
            base64: global.base64,
            events: Vec::new(),
            headers: global.headers.clone(),
            secrets: global.secrets.clone(),
            rate_limit: global.rate_limit,
            insecure_tls: false,
        })
    });
    let why_not = fan_out::global(&rule, name).err().map(|why| why.to_string());
    way("global".to_owned(), settings, global.by_events, why_not, config, name)
}

fn to_instance(config: &Config, instance: &str, webhook: Option<&Webhook>, name: &EventName) -> Way {
    let why_not = fan_out::instance(webhook, Some(instance), name).err().map(|why| why.to_string());
    let by_events = webhook.is_some_and(|webhook| webhook.by_events);
    way(format!("instance:{instance}"), webhook.map(to_public_json), by_events, why_not, config, name)
}

fn way(
    destination: String,
    settings: Option<Value>,
    by_events: bool,
    why_not: Option<String>,
    config: &Config,
    name: &EventName,
) -> Way {
    let url = settings.as_ref().and_then(|settings| settings["url"].as_str()).map(|url| match by_events {
        true => join_url(url, &config.routes.suffix(name)),
        false => url.to_owned(),
    });
    Way { destination, url, why_not, settings }
}

/// What there is to say about an event that is not a known one.
fn hint(name: &EventName, config: &Config) -> Option<String> {
    if name.is_known() {
        return None;
    }
    let shown = short(name.as_str(), 80);
    if config.custom_events.allow(name) {
        return Some(format!(
            "{shown} is an event of your own, which WEBHOOK_CUSTOM_EVENTS allows webhooks to list"
        ));
    }
    let meant = nearest(name.as_str(), KNOWN_EVENTS.iter().copied());
    let meant = meant.map(|meant| format!(" (did you mean {meant}?)")).unwrap_or_default();
    Some(format!(
        "{shown} is no known event{meant}: a webhook can list it only once it is in WEBHOOK_CUSTOM_EVENTS; one that \
         lists no events gets it anyway"
    ))
}

impl Explained {
    fn print(&self, session: &Session) -> anyhow::Result<()> {
        let (config, out) = (&session.config, session.out);
        let mut table = Table::new(&["DESTINATION", "SENT", "WHERE, OR WHY NOT"], &[]).cutting(&[0]);
        for way in &self.ways {
            let destination = plain(short(&way.destination, 100));
            match (&way.why_not, &way.url) {
                (None, Some(url)) => table.row([destination, ("yes".to_owned(), Tone::Good), plain(url)]),
                (Some(why), _) => table.row([destination, ("no".to_owned(), Tone::Doubtful), plain(why)]),
                (None, None) => table.row([destination, ("no".to_owned(), Tone::Bad), plain("no URL")]),
            }
        }
        out.table(&table)?;
        out.line("")?;
        let mut fields = vec![
            ("event", self.name.to_string()),
            ("route", format!("/{}", config.routes.suffix(&self.name))),
            ("retries", retries(&config.retry)),
            ("dead letters", errors(config).unwrap_or_else(|why| format!("kept; nobody is told: {why}"))),
        ];
        for way in self.ways.iter().filter(|way| way.why_not.is_none()) {
            if let Some(settings) = &way.settings {
                fields.push((&way.destination, extras(settings)));
            }
        }
        out.fields(&fields)?;
        if let Some(hint) = &self.hint {
            note(clean(hint));
        }
        if self.ways.iter().all(|way| way.why_not.is_some()) {
            note(paint(Tone::Doubtful, "it goes nowhere: it would be acknowledged, and counted as unrouted"));
        }
        Ok(())
    }

    fn as_json(&self, args: &ExplainArgs, config: &Config) -> Value {
        let way = |way: &Way| {
            json!({
                "destination": way.destination,
                "sent": way.why_not.is_none(),
                "url": way.url,
                "why_not": way.why_not,
                "webhook": way.settings,
            })
        };
        let retry = &config.retry;
        let errors = errors(config);
        json!({
            "event": self.name.as_str(),
            "instance": args.instance,
            "known": self.name.is_known(),
            "listable": config.custom_events.allow(&self.name),
            "route": format!("/{}", config.routes.suffix(&self.name)),
            "destinations": self.ways.iter().map(way).collect::<Vec<_>>(),
            "errors_webhook": errors.is_ok(),
            "retry": {
                "max_attempts": retry.max_attempts,
                "initial_delay_seconds": retry.initial_delay.as_secs_f64(),
                "exponential": retry.exponential,
                "max_delay_seconds": retry.max_delay.as_secs_f64(),
                "jitter_factor": retry.jitter_factor,
                "max_age_seconds": retry.max_age.as_secs_f64(),
                "non_retryable": retry.non_retryable,
            },
            "hint": self.hint,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(pairs: &[(&str, &str)]) -> Config {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::from_pairs(pairs).unwrap()
    }

    fn name(text: &str) -> EventName {
        EventName::parse(text).unwrap()
    }

    #[test]
    fn the_url_is_shown_with_its_route_and_without_secrets() {
        let config = config(&[
            ("WEBHOOK_GLOBAL_ENABLED", "true"),
            ("WEBHOOK_GLOBAL_URL", "https://u:p@h.example/in?token=1"),
            ("WEBHOOK_GLOBAL_WEBHOOK_BY_EVENTS", "true"),
            ("WEBHOOK_EVENTS_CALL", "true"),
        ]);
        let way = global(&config, &name("call"));
        assert_eq!(way.url.as_deref(), Some("https://***@h.example/in/call?***"));
        assert_eq!(way.why_not, None);
        assert!(
            global(&config, &name("messages.set")).why_not.unwrap().contains("WEBHOOK_EVENTS_MESSAGES_SET")
        );
    }

    #[test]
    fn an_unknown_event_is_explained() {
        let config = config(&[("WEBHOOK_CUSTOM_EVENTS", "order.paid")]);
        assert_eq!(hint(&name("messages.upsert"), &config), None);
        assert!(hint(&name("order.paid"), &config).unwrap().contains("allows"));
        let hint = hint(&name("mesages.upsert"), &config).unwrap();
        assert!(hint.contains("did you mean MESSAGES_UPSERT?"), "{hint}");
    }
}
