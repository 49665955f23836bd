//! Writing a webhook's settings: as they are stored, and as they may be shown.

use serde_json::{Map, Value};

use super::MASK;
use super::url::public_url;
use crate::model::{EventName, Secret, Webhook};

/// A webhook as it is stored: `{"enabled","url","headers","byEvents","base64","events"}`, with `secret` (a list), `rate_limit`,
/// `insecure_tls`, `disabledReason` and `disabledAt` where there are any. [`super::parse()`] reads it back as it was.
pub fn to_json(webhook: &Webhook) -> String {
    written(webhook, webhook.url.clone(), Secret::expose).to_string()
}

/// A webhook as it may be shown: as it is stored, with every header's value and every secret masked as `***`, and
/// userinfo, query and fragment of the URL too. [`super::parse()`] refuses what was masked.
pub fn to_public_json(webhook: &Webhook) -> Value {
    written(webhook, public_url(&webhook.url), |_| MASK)
}

/// A webhook of an instance as Evolution API 2 tells it, masked as in [`to_public_json`]: its record, flat, with
/// `webhookByEvents` and `webhookBase64`. The instance's name stands for the ids, and no times are kept. What is ours
/// (`secret`, `rate_limit`, `disabledReason`, `disabledAt`) follows where there is any. [`super::parse()`] takes it, if
/// nothing of it was masked.
pub fn to_record(instance: &str, webhook: &Webhook) -> Value {
    let mut public = to_public_json(webhook);
    let mut take = |key: &str| public.as_object_mut().and_then(|public| public.shift_remove(key));
    let taken = [
        ("id", Some(instance.into())),
        ("url", take("url")),
        ("headers", take("headers")),
        ("enabled", take("enabled")),
        ("events", take("events")),
        ("webhookByEvents", take("byEvents")),
        ("webhookBase64", take("base64")),
        ("createdAt", None),
        ("updatedAt", None),
        ("instanceId", Some(instance.into())),
    ];
    let mut record: Map<String, Value> =
        taken.into_iter().map(|(key, value)| (key.to_owned(), value.unwrap_or_default())).collect();
    record.extend(public.as_object_mut().map(std::mem::take).unwrap_or_default());
    record.into()
}

fn written<'a>(webhook: &'a Webhook, url: String, text: fn(&'a Secret) -> &'a str) -> Value {
    let headers: Map<String, Value> =
        webhook.headers.iter().map(|(name, value)| (name.clone(), text(value).into())).collect();
    let events: Vec<&str> = webhook.events.iter().map(EventName::as_str).collect();
    let mut json = Map::new();
    json.insert("enabled".to_owned(), webhook.enabled.into());
    json.insert("url".to_owned(), url.into());
    json.insert("headers".to_owned(), headers.into());
    json.insert("byEvents".to_owned(), webhook.by_events.into());
    json.insert("base64".to_owned(), webhook.base64.into());
    json.insert("events".to_owned(), events.into());
    if !webhook.secrets.is_empty() {
        let secrets: Vec<&str> = webhook.secrets.iter().map(text).collect();
        json.insert("secret".to_owned(), secrets.into());
    }
    if let Some(rate) = webhook.rate_limit {
        json.insert("rate_limit".to_owned(), rate.into());
    }
    if webhook.insecure_tls {
        json.insert("insecure_tls".to_owned(), true.into());
    }
    if let Some(reason) = &webhook.disabled_reason {
        json.insert("disabledReason".to_owned(), reason.as_str().into());
    }
    if let Some(at_ms) = webhook.disabled_at_ms {
        json.insert("disabledAt".to_owned(), at_ms.into());
    }
    json.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decide::webhook::{CustomEvents, HeaderError, WebhookError, parse};

    #[test]
    fn is_stored_flat_and_normalised() {
        let set = br#"{"webhook":{"url":"https://u:p@h/a?t=1","webhook_by_events":true,"events":["messages.upsert"],
            "headers":{"X-B":"\u00e9","X-A":"2"},"secret":"YWJjZA=="}}"#;
        let webhook = parse(set, &CustomEvents::default()).unwrap();
        assert_eq!(
            to_json(&webhook),
            concat!(
                r#"{"enabled":true,"url":"https://u:p@h/a?t=1","headers":{"X-B":"é","X-A":"2"},"byEvents":true,"#,
                r#""base64":false,"events":["MESSAGES_UPSERT"],"secret":["YWJjZA=="]}"#
            )
        );
        assert_eq!(
            to_public_json(&webhook).to_string(),
            concat!(
                r#"{"enabled":true,"url":"https://***@h/a?***","headers":{"X-B":"***","X-A":"***"},"byEvents":true,"#,
                r#""base64":false,"events":["MESSAGES_UPSERT"],"secret":["***"]}"#
            )
        );
    }

    #[test]
    fn a_record_has_the_keys_of_evolution_api_and_can_be_set_again() {
        let set = br#"{"url":"https://h/a","events":["CALL"],"byEvents":true,"rate_limit":2.5}"#;
        let webhook = parse(set, &CustomEvents::Any).unwrap();
        let record = to_record("sales", &webhook).to_string();
        assert_eq!(
            record,
            concat!(
                r#"{"id":"sales","url":"https://h/a","headers":{},"enabled":true,"events":["CALL"],"#,
                r#""webhookByEvents":true,"webhookBase64":false,"createdAt":null,"updatedAt":null,"#,
                r#""instanceId":"sales","rate_limit":2.5}"#
            )
        );
        assert_eq!(parse(record.as_bytes(), &CustomEvents::Any).unwrap(), webhook);
    }

    #[test]
    fn what_was_masked_is_not_taken_back() {
        let webhook = parse(br#"{"url":"https://h/","headers":{"A":"1"}}"#, &CustomEvents::Any).unwrap();
        assert_eq!(
            parse(to_public_json(&webhook).to_string().as_bytes(), &CustomEvents::Any).unwrap_err(),
            WebhookError::Header(HeaderError::Masked("A".to_owned()))
        );
    }

    prop_compose! {
        fn any_webhook()(
            enabled: bool, by_events: bool, base64: bool, insecure_tls: bool,
            reason in proptest::option::of(".{0,9}"),
            url in "https?://([a-z]{1,5}:[!-~&&[^/?#@\\\\:]]{0,5}@)?[a-z]{1,9}(:[1-9][0-9]{0,3})?(/[!-~&&[^\\\\*]]{0,9})?",
            events in proptest::collection::btree_set(".{1,9}", 0..5),
            headers in proptest::collection::btree_map("[xX]-[a-z_]{1,5}", "[ -~&&[^*]]{0,9}|é", 0..4),
            secrets in proptest::collection::vec("(whsec_)?[A-Za-z0-9+/]{4,8}", 0..3),
            rate_limit in proptest::option::of(0.001..1e6),
        ) -> Option<Webhook> {
            let webhook = Webhook {
                enabled, by_events, base64, url, rate_limit, insecure_tls,
                disabled_at_ms: reason.as_ref().filter(|_| !enabled).map(|reason| reason.len() as u64),
                disabled_reason: reason.filter(|_| !enabled),
                events: events.iter().map(|name| EventName::parse(name.trim()).unwrap_or_else(|_| EventName::parse("x").unwrap())).collect(),
                headers: headers.into_iter().map(|(name, value)| (name, Secret::new(value))).collect(),
                secrets: secrets.into_iter().map(Secret::new).collect(),
            };
            // Only what could have been set: distinct events and headers, canonical base64, a URL that parses.
            parse(to_json(&webhook).as_bytes(), &CustomEvents::Any).ok()
        }
    }

    proptest! {
        #[test]
        fn reads_back_what_it_wrote(webhook in any_webhook().prop_filter_map("settable", |webhook| webhook)) {
            let stored = to_json(&webhook);
            let read = parse(stored.as_bytes(), &CustomEvents::Any).unwrap();
            prop_assert_eq!(&read, &webhook);
            prop_assert_eq!(to_json(&read), stored);
        }
    }
}
