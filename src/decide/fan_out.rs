//! Fan-out: which destinations an event has, and why not the others.

use std::collections::HashSet;
use std::fmt;

use crate::model::{EventName, Webhook};

/// When the global destination gets an event: it is enabled, has a URL, and the event is switched on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GlobalRule {
    events: HashSet<EventName>,
    problem: Option<WhyNot>,
}

impl GlobalRule {
    /// The rule of `WEBHOOK_GLOBAL_ENABLED`, whether there is a `WEBHOOK_GLOBAL_URL`, and every event whose
    /// `WEBHOOK_EVENTS_<EVENT>` is true.
    pub fn new(enabled: bool, has_url: bool, events: HashSet<EventName>) -> Self {
        let problem = match (enabled, has_url) {
            (false, _) => Some(WhyNot::GlobalDisabled),
            (true, false) => Some(WhyNot::GlobalWithoutUrl),
            (true, true) => None,
        };
        Self { events, problem }
    }

    /// The events that are switched on, whether or not the destination is.
    pub fn events(&self) -> &HashSet<EventName> {
        &self.events
    }
}

impl Default for GlobalRule {
    /// Switched off.
    fn default() -> Self {
        Self::new(false, false, HashSet::new())
    }
}

/// Why an event does not go to a destination. As text it says what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// The global destination is switched off.
    GlobalDisabled,
    /// The global destination is switched on but has no URL.
    GlobalWithoutUrl,
    /// The event is not switched on for the global destination.
    EventNotEnabled {
        /// The event's canonical name.
        event: EventName,
    },
    /// The event belongs to no instance.
    NoInstance,
    /// The instance has no webhook.
    NoWebhook {
        /// The instance's name.
        instance: String,
    },
    /// The instance's webhook is switched off.
    WebhookDisabled {
        /// The instance's name.
        instance: String,
        /// Why, where posthaste did it (`gone`).
        reason: Option<String>,
    },
    /// The instance's webhook wants other events.
    EventNotListed {
        /// The instance's name.
        instance: String,
        /// The event's canonical name.
        event: EventName,
    },
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GlobalDisabled => f.write_str("WEBHOOK_GLOBAL_ENABLED is not true"),
            Self::GlobalWithoutUrl => f.write_str("WEBHOOK_GLOBAL_URL is not set"),
            Self::EventNotEnabled { event } => {
                write!(f, "WEBHOOK_EVENTS_{} is not true", Shown(event.as_str()))
            }
            Self::NoInstance => f.write_str("the event names no `instance`"),
            Self::NoWebhook { instance } => {
                let instance = Shown(instance);
                write!(
                    f,
                    "instance {instance} has no webhook: set one with `posthaste webhook set {instance} --url …`"
                )
            }
            Self::WebhookDisabled { instance, reason } => {
                let instance = Shown(instance);
                write!(f, "the webhook of instance {instance} is disabled")?;
                match reason.as_deref() {
                    Some("gone") => f.write_str(" (its receiver answered 410 Gone)")?,
                    Some(reason) => write!(f, " ({})", Shown(reason))?,
                    None => {}
                }
                write!(f, ": set it again with `posthaste webhook set {instance} --url …`")
            }
            Self::EventNotListed { instance, event } => write!(
                f,
                "the webhook of instance {} does not list {}: add it to its `events` (an empty list means all)",
                Shown(instance),
                Shown(event.as_str())
            ),
        }
    }
}

impl std::error::Error for WhyNot {}

/// Decides whether an event goes to the global destination.
///
/// # Errors
/// Why not, where it does not.
pub fn global(rule: &GlobalRule, name: &EventName) -> Result<(), WhyNot> {
    match &rule.problem {
        Some(problem) => Err(problem.clone()),
        None if !rule.events.contains(name) => Err(WhyNot::EventNotEnabled { event: name.clone() }),
        None => Ok(()),
    }
}

/// Decides whether an event goes to the webhook of its instance.
///
/// # Errors
/// Why not, where it does not.
pub fn instance(webhook: Option<&Webhook>, instance: Option<&str>, name: &EventName) -> Result<(), WhyNot> {
    let instance = instance.ok_or(WhyNot::NoInstance)?;
    let webhook = webhook.ok_or_else(|| WhyNot::NoWebhook { instance: instance.to_owned() })?;
    if !webhook.enabled {
        return Err(WhyNot::WebhookDisabled {
            instance: instance.to_owned(),
            reason: webhook.disabled_reason.clone(),
        });
    }
    if !webhook.wants(name) {
        return Err(WhyNot::EventNotListed { instance: instance.to_owned(), event: name.clone() });
    }
    Ok(())
}

/// A name from a producer as it may be printed: it is arbitrary text, so control characters are escaped and a very
/// long one is cut.
struct Shown<'a>(&'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MAX_CHARS: usize = 80;
        match self.0.char_indices().nth(MAX_CHARS) {
            Some((end, _)) => write!(f, "{}…", self.0[..end].escape_debug()),
            None => write!(f, "{}", self.0.escape_debug()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str) -> EventName {
        EventName::parse(name).unwrap()
    }

    fn webhook(enabled: bool, events: &[&str]) -> Webhook {
        Webhook {
            enabled,
            disabled_reason: None,
            disabled_at_ms: None,
            url: "https://h/".to_owned(),
            by_events: false,
            base64: false,
            events: events.iter().map(|name| event(name)).collect(),
            headers: Vec::new(),
            secrets: Vec::new(),
            rate_limit: None,
            insecure_tls: false,
        }
    }

    fn why_not(result: Result<(), WhyNot>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn global_needs_to_be_enabled_with_a_url_and_the_event() {
        let events = HashSet::from([event("messages.upsert")]);
        let rule = GlobalRule::new(true, true, events.clone());
        assert_eq!(global(&rule, &event("MESSAGES_UPSERT")), Ok(()));
        assert_eq!(why_not(global(&rule, &event("call"))), "WEBHOOK_EVENTS_CALL is not true");
        let off = GlobalRule::new(false, true, events.clone());
        assert_eq!(why_not(global(&off, &event("MESSAGES_UPSERT"))), "WEBHOOK_GLOBAL_ENABLED is not true");
        let no_url = GlobalRule::new(true, false, events);
        assert_eq!(why_not(global(&no_url, &event("MESSAGES_UPSERT"))), "WEBHOOK_GLOBAL_URL is not set");
        assert_eq!(global(&GlobalRule::default(), &event("call")), Err(WhyNot::GlobalDisabled));
    }

    #[test]
    fn an_instance_gets_what_its_webhook_lists_and_all_when_it_lists_nothing() {
        let upsert = event("MESSAGES_UPSERT");
        assert_eq!(instance(Some(&webhook(true, &[])), Some("sales"), &upsert), Ok(()));
        assert_eq!(instance(Some(&webhook(true, &["messages-upsert"])), Some("sales"), &upsert), Ok(()));
        assert_eq!(
            why_not(instance(Some(&webhook(true, &["call"])), Some("sales"), &upsert)),
            "the webhook of instance sales does not list MESSAGES_UPSERT: add it to its `events` (an empty list means all)"
        );
    }

    #[test]
    fn a_missing_or_disabled_webhook_is_explained() {
        let call = event("call");
        assert_eq!(instance(None, None, &call), Err(WhyNot::NoInstance));
        assert_eq!(
            why_not(instance(None, Some("sales"), &call)),
            "instance sales has no webhook: set one with `posthaste webhook set sales --url …`"
        );
        let mut disabled = webhook(false, &[]);
        assert_eq!(
            why_not(instance(Some(&disabled), Some("sales"), &call)),
            "the webhook of instance sales is disabled: set it again with `posthaste webhook set sales --url …`"
        );
        disabled.disabled_reason = Some("gone".to_owned());
        assert!(
            why_not(instance(Some(&disabled), Some("sales"), &call))
                .contains("(its receiver answered 410 Gone)")
        );
    }

    #[test]
    fn hostile_names_are_shown_escaped_and_cut() {
        let shown =
            why_not(instance(None, Some(&format!("\u{1b}[31m\n{}", "x".repeat(10_000))), &event("call")));
        assert!(shown.len() < 400 && !shown.contains(['\u{1b}', '\n']), "{shown}");
    }
}
