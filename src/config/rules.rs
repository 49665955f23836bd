//! The settings that decide where events go, as `decide` takes them.

use super::{Config, GlobalSettings};
use crate::decide::explain::Rules;
use crate::decide::fan_out::GlobalRule;
use crate::model::Webhook;

impl Config {
    /// Where events go with these settings.
    pub fn rules(&self) -> Rules {
        Rules {
            global_rule: self.global.rule(),
            global: self.global.webhook(),
            errors_enabled: self.errors.enabled,
            errors_url: self.errors.url.clone(),
            routes: self.routes.clone(),
            custom_events: self.custom_events.clone(),
            retry: self.retry.clone(),
        }
    }
}

impl GlobalSettings {
    /// Which events the global destination gets.
    pub fn rule(&self) -> GlobalRule {
        GlobalRule::new(self.enabled, self.url.is_some(), self.events.clone())
    }

    /// The global destination as if it were an instance's webhook; none without a URL.
    pub fn webhook(&self) -> Option<Webhook> {
        let url = self.url.clone()?;
        Some(Webhook {
            enabled: self.enabled,
            disabled_reason: None,
            disabled_at_ms: None,
            url,
            by_events: self.by_events,
            base64: self.base64,
            events: Vec::new(),
            headers: self.headers.clone(),
            secrets: self.secrets.clone(),
            rate_limit: self.rate_limit,
            insecure_tls: false,
        })
    }
}
