//! Explaining: where an event would go, and why not elsewhere.

use serde_json::{Value, json};

use super::fan_out::{self, GlobalRule};
use super::retry::RetrySettings;
use super::route::{Routes, join_url};
use super::suggest::nearest;
use super::webhook::{CustomEvents, WebhookError, to_public_json};
use crate::model::{EventName, KNOWN_EVENTS, Webhook, display_url};

/// How much of an event's name is repeated in a hint.
const NAME_CHARS: usize = 80;

/// The settings that decide where events go.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Which events the global destination gets.
    pub global_rule: GlobalRule,
    /// The global destination's settings, where it has a URL.
    pub global: Option<Webhook>,
    /// Whether the ERRORS webhook is switched on.
    pub errors_enabled: bool,
    /// The URL of the ERRORS webhook.
    pub errors_url: Option<String>,
    /// The path suffix of each event.
    pub routes: Routes,
    /// The events beyond the known ones that webhooks may list.
    pub custom_events: CustomEvents,
    /// When failed deliveries are tried again and when they are given up.
    pub retry: RetrySettings,
}

/// One destination, and whether the event goes there.
#[derive(Clone, Debug)]
pub struct Way {
    /// `global` or `instance:<name>`.
    pub destination: String,
    /// Where exactly, as it may be shown.
    pub url: Option<String>,
    /// Why it does not go there; none where it does.
    pub why_not: Option<String>,
    /// The webhook's settings, as they may be shown.
    pub settings: Option<Value>,
}

/// Where an event would go.
#[derive(Clone, Debug)]
pub struct Explained {
    /// The event's canonical name.
    pub name: EventName,
    /// The instance it was asked for.
    pub instance: Option<String>,
    /// Its route, with the slash.
    pub route: String,
    /// Every destination it could have.
    pub ways: Vec<Way>,
    /// What there is to say about an event that is not a known one.
    pub hint: Option<String>,
}

impl Rules {
    /// Explains where an event of `instance` would go. `stored` is the instance's webhook as it was read, none where
    /// there is none; `refused` is what the operator does not permit of it, where there is something.
    pub fn explain(
        &self,
        name: EventName,
        instance: Option<&str>,
        stored: Option<Result<Webhook, WebhookError>>,
        refused: Option<&WebhookError>,
    ) -> Explained {
        let mut ways = vec![self.global(&name)];
        if let Some(instance) = instance {
            ways.push(match stored {
                Some(Err(error)) => unusable(instance, &error),
                Some(Ok(webhook)) => refusing(self.to_instance(instance, Some(&webhook), &name), refused),
                None => self.to_instance(instance, None, &name),
            });
        }
        Explained {
            route: format!("/{}", self.routes.suffix(&name)),
            hint: self.hint(&name),
            instance: instance.map(str::to_owned),
            name,
            ways,
        }
    }

    /// Where dead letters are told of, as it may be shown.
    ///
    /// # Errors
    /// Why nobody is told.
    pub fn errors(&self) -> Result<String, &'static str> {
        match (&self.errors_url, self.errors_enabled) {
            (_, false) => Err("WEBHOOK_EVENTS_ERRORS is not true"),
            (None, true) => Err("WEBHOOK_EVENTS_ERRORS_WEBHOOK is not set"),
            (Some(url), true) => Ok(display_url(url)),
        }
    }

    fn global(&self, name: &EventName) -> Way {
        let why_not = fan_out::global(&self.global_rule, name).err().map(|why| why.to_string());
        self.way("global".to_owned(), self.global.as_ref(), why_not, name)
    }

    fn to_instance(&self, instance: &str, webhook: Option<&Webhook>, name: &EventName) -> Way {
        let why_not = fan_out::instance(webhook, Some(instance), name).err().map(|why| why.to_string());
        self.way(format!("instance:{instance}"), webhook, why_not, name)
    }

    fn way(
        &self,
        destination: String,
        webhook: Option<&Webhook>,
        why_not: Option<String>,
        name: &EventName,
    ) -> Way {
        let settings = webhook.map(to_public_json);
        let url = settings.as_ref().and_then(|settings| settings["url"].as_str());
        let url = url.map(|url| match webhook.is_some_and(|webhook| webhook.by_events) {
            true => join_url(url, &self.routes.suffix(name)),
            false => url.to_owned(),
        });
        Way { destination, url, why_not, settings }
    }

    fn hint(&self, name: &EventName) -> Option<String> {
        if name.is_known() {
            return None;
        }
        let shown = shown(name);
        if self.custom_events.allow(name) {
            return Some(format!(
                "{shown} is an event of your own, which WEBHOOK_CUSTOM_EVENTS allows webhooks to list"
            ));
        }
        let meant = nearest(name.as_str(), KNOWN_EVENTS.iter().copied());
        let meant = meant.map(|meant| format!(" (did you mean {meant}?)")).unwrap_or_default();
        Some(format!(
            "{shown} is no known event{meant}: a webhook can list it only once it is in WEBHOOK_CUSTOM_EVENTS; one \
             that lists no events gets it anyway"
        ))
    }
}

impl Explained {
    /// Whether it goes anywhere.
    pub fn is_sent(&self) -> bool {
        self.ways.iter().any(|way| way.why_not.is_none())
    }

    /// As programs read it.
    pub fn as_json(&self, rules: &Rules) -> Value {
        let way = |way: &Way| {
            json!({
                "destination": way.destination,
                "sent": way.why_not.is_none(),
                "url": way.url,
                "why_not": way.why_not,
                "webhook": way.settings,
            })
        };
        let retry = &rules.retry;
        json!({
            "event": self.name.as_str(),
            "instance": self.instance,
            "known": self.name.is_known(),
            "listable": rules.custom_events.allow(&self.name),
            "route": self.route,
            "destinations": self.ways.iter().map(way).collect::<Vec<_>>(),
            "errors_webhook": rules.errors().is_ok(),
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

/// The same way, where attempts fail that would be made.
fn refusing(way: Way, refused: Option<&WebhookError>) -> Way {
    match refused {
        Some(error) if way.why_not.is_none() => {
            Way { why_not: Some(format!("every attempt fails: {error}")), ..way }
        }
        _ => way,
    }
}

fn unusable(instance: &str, error: &WebhookError) -> Way {
    let why = format!("the stored webhook cannot be used, every attempt fails: {error}; set it anew");
    Way { destination: format!("instance:{instance}"), url: None, why_not: Some(why), settings: None }
}

/// The start of a name, with what a terminal would act on escaped.
fn shown(name: &EventName) -> String {
    let name = name.as_str();
    match name.char_indices().nth(NAME_CHARS) {
        Some((end, _)) => format!("{}…", name[..end].escape_debug()),
        None => name.escape_debug().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::decide::webhook::parse;

    fn name(text: &str) -> EventName {
        EventName::parse(text).unwrap()
    }

    #[test]
    fn the_url_is_shown_with_its_route_and_without_secrets() {
        let url = br#"{"url":"https://u:p@h.example/in?token=1","byEvents":true}"#;
        let rules = Rules {
            global_rule: GlobalRule::new(true, true, HashSet::from([name("call")])),
            global: Some(parse(url, &CustomEvents::Any).unwrap()),
            ..Rules::default()
        };
        let explained = rules.explain(name("call"), None, None, None);
        assert_eq!(explained.ways[0].url.as_deref(), Some("https://***@h.example/in/call?***"));
        assert!(explained.is_sent());
        let explained = rules.explain(name("messages.set"), None, None, None);
        let why = explained.ways[0].why_not.as_deref().unwrap();
        assert!(why.contains("WEBHOOK_EVENTS_MESSAGES_SET"), "{why}");
        assert!(!explained.is_sent());
        assert_eq!(explained.as_json(&rules)["route"], "/message-set");
    }

    #[test]
    fn an_unknown_event_is_explained() {
        let rules = Rules { custom_events: CustomEvents::parse("order.paid"), ..Rules::default() };
        assert_eq!(rules.hint(&name("messages.upsert")), None);
        assert!(rules.hint(&name("order.paid")).unwrap().contains("allows"));
        let hint = rules.hint(&name("mesages.upsert")).unwrap();
        assert!(hint.contains("did you mean MESSAGES_UPSERT?"), "{hint}");
        assert!(rules.hint(&name(&"x".repeat(10_000))).unwrap().len() < 400);
    }

    #[test]
    fn a_webhook_that_cannot_be_used_is_told() {
        let rules = Rules::default();
        let stored = parse(b"{}", &CustomEvents::Any);
        let explained = rules.explain(name("call"), Some("sales"), Some(stored), None);
        assert!(explained.ways[1].why_not.as_deref().unwrap().contains("set it anew"));
    }

    #[test]
    fn what_is_not_permitted_fails_the_attempts_that_would_be_made_and_no_others() {
        let stored = || Some(parse(br#"{"url":"https://h.example/","events":["CALL"]}"#, &CustomEvents::Any));
        let explain = |event: &str| {
            let rules = Rules::default();
            let explained =
                rules.explain(name(event), Some("sales"), stored(), Some(&WebhookError::InsecureTls));
            explained.ways[1].why_not.clone().unwrap()
        };
        assert!(explain("call").starts_with("every attempt fails: `insecure_tls` is not permitted"));
        assert!(!explain("messages.set").contains("insecure_tls"));
    }
}
