//! Warnings: what is allowed but most probably not meant.

use std::collections::BTreeMap;

use super::variables::{EVENT_PREFIX, all_names, event_of, is_ours};
use super::{Config, parse};
use crate::decide::address::{HostPattern, Network};
use crate::decide::suggest::nearest;
use crate::model::{EventName, KNOWN_EVENTS};

/// Settings share this with few other programs; what begins with it is meant for us.
const PREFIX: &str = "WEBHOOK_";
/// Shorter keys are warned about.
const SHORTEST_KEY: usize = 16;

/// What should be said about settings that could be read. `pairs` are the variables that are set.
pub(super) fn warnings(config: &Config, pairs: &BTreeMap<String, String>) -> Vec<String> {
    let mut warnings: Vec<String> = pairs.keys().filter_map(|name| unknown_variable(name)).collect();
    warnings.extend(pairs.iter().filter_map(|(name, value)| unknown_event(config, name, value)));
    warnings.extend(without_effect(config).into_iter().map(str::to_owned));
    if permits_everything(config) {
        warnings.push(
            "WEBHOOK_ALLOW_HOSTS or WEBHOOK_ALLOW_CIDRS permits everything: whoever sets the webhook of an instance can \
             make this machine send to any address that it reaches"
                .to_owned(),
        );
    }
    if config.max_event_bytes > config.memory_budget_bytes {
        // It is taken all the same: an event that no worker takes would wait for good.
        warnings.push(
            "MAX_EVENT_BYTES is larger than MEMORY_BUDGET_BYTES: one such event takes up more memory than the budget"
                .to_owned(),
        );
    }
    warnings.extend(weak_key(config));
    warnings
}

/// A key that can be guessed protects nobody.
fn weak_key(config: &Config) -> Option<String> {
    let length = config.api_key.as_ref()?.expose().len();
    (length < SHORTEST_KEY).then(|| {
        format!("AUTHENTICATION_API_KEY has {length} characters: take at least {SHORTEST_KEY} (openssl rand -hex 32)")
    })
}

fn permits_everything(config: &Config) -> bool {
    let all = |network: &Network| matches!(network, Network::V4(_, 0) | Network::V6(_, 0));
    config.permits.hosts.contains(&HostPattern::Any) || config.permits.networks.iter().any(all)
}

fn unknown_variable(name: &str) -> Option<String> {
    if is_ours(name) {
        return None;
    }
    let is_meant_for_us = name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX));
    let meant = if is_meant_for_us { nearest_setting(name) } else { nearly(name) };
    match meant {
        Some(meant) => Some(format!("{} is not a setting; did you mean {meant}?", name.escape_debug())),
        None if is_meant_for_us => Some(format!("{} is not a setting", name.escape_debug())),
        None => None,
    }
}

/// The setting that a name beginning with [`PREFIX`] was meant to be. The prefix they share would make any two names
/// resemble each other, so it is not compared.
fn nearest_setting(name: &str) -> Option<String> {
    let known: Vec<String> = all_names().collect();
    let rests = known.iter().filter_map(|name| name.strip_prefix(PREFIX));
    nearest(&name[PREFIX.len()..], rests).map(|rest| format!("{PREFIX}{rest}"))
}

/// The setting that any other name is a slip of: one letter in eight, for most variables are other programs'.
fn nearly(name: &str) -> Option<String> {
    let known: Vec<String> = all_names().collect();
    let meant = nearest(name, known.iter().map(String::as_str))?;
    let distance = strsim::damerau_levenshtein(&name.to_ascii_uppercase(), meant);
    (distance <= meant.len() / 8).then(|| meant.to_owned())
}

fn unknown_event(config: &Config, variable: &str, value: &str) -> Option<String> {
    let written = event_of(variable)?;
    let name = EventName::parse(written).ok()?;
    if config.custom_events.allow(&name) || parse::boolean(value) != Ok(true) {
        return None;
    }
    let hint = match nearest(written, KNOWN_EVENTS.iter().copied().chain(["ERRORS", "ERRORS_WEBHOOK"])) {
        Some(meant) => format!("did you mean {EVENT_PREFIX}{meant}?"),
        None => "list it in WEBHOOK_CUSTOM_EVENTS if it is one of your own".to_owned(),
    };
    let written = written.escape_debug();
    Some(format!("{EVENT_PREFIX}{written} is switched on, but {written} is no known event; {hint}"))
}

fn without_effect(config: &Config) -> Vec<&'static str> {
    let (global, errors) = (&config.global, &config.errors);
    let mut warnings = Vec::new();
    if global.enabled && global.url.is_none() {
        warnings.push(
            "WEBHOOK_GLOBAL_ENABLED is true but WEBHOOK_GLOBAL_URL is not set: nothing is sent to the global webhook",
        );
    }
    if global.enabled && global.events.is_empty() {
        warnings.push(
            "WEBHOOK_GLOBAL_ENABLED is true but no WEBHOOK_EVENTS_<EVENT> is: nothing is sent to the global webhook",
        );
    }
    if errors.enabled && errors.url.is_none() {
        warnings.push(
            "WEBHOOK_EVENTS_ERRORS is true but WEBHOOK_EVENTS_ERRORS_WEBHOOK is not set: nobody is told of dead letters",
        );
    }
    warnings
}
