//! Reading a webhook's settings, in whichever of their spellings.

use super::given::{Given, Setting};
use super::url::check_not_masked;
use super::{CustomEvents, WebhookError, check_url, headers_map, signers, target};
use crate::model::{Target, Webhook};

/// Reads a webhook from JSON: the settings flat, or under `webhook`, or some here and some there, under the keys of any
/// generation. What is null counts as not given. `enabled` defaults to true, everything else to off or empty.
///
/// The URL is trimmed and checked, unless the webhook is switched off: switching off works whatever the URL is, and
/// Evolution API's clients do it with an empty one. Only one that was masked for showing is refused even then: it would
/// replace the one that is stored. Of event names, those `custom` allows are accepted beside the known ones; to read
/// what is stored already, pass [`CustomEvents::Any`].
///
/// # Errors
/// When it is not a JSON object, a key or event is unknown, a value has the wrong type, one setting is given twice with
/// different values, or the URL, a header or a secret cannot be used.
pub fn parse(json: &[u8], custom: &CustomEvents) -> Result<Webhook, WebhookError> {
    of(&Given::read(json)?, custom)
}

/// As [`parse()`], where the name of the instance may be beside the settings, as `instance` or `instanceName`; returns
/// it, too.
///
/// # Errors
/// As [`parse()`], and when the name is no string or two names are given.
pub fn parse_named(json: &[u8], custom: &CustomEvents) -> Result<(Option<String>, Webhook), WebhookError> {
    let (name, given) = Given::read_named(json)?;
    Ok((name, of(&given, custom)?))
}

/// As [`parse()`], of what is stored already, with what an attempt needs of it; none where it is switched off.
///
/// # Errors
/// As [`parse()`].
pub fn parse_stored(json: &[u8]) -> Result<(Webhook, Option<Target>), WebhookError> {
    let webhook = settings(&Given::read(json)?, &CustomEvents::Any)?;
    if webhook.enabled && !webhook.url.is_empty() {
        // Whatever cannot be used is found while it is made.
        let target = target(&webhook)?;
        return Ok((webhook, Some(target)));
    }
    Ok((checked(webhook)?, None))
}

fn of(given: &Given<'_>, custom: &CustomEvents) -> Result<Webhook, WebhookError> {
    checked(settings(given, custom)?)
}

fn checked(webhook: Webhook) -> Result<Webhook, WebhookError> {
    if !webhook.enabled {
        check_not_masked(&webhook.url)?;
    } else if webhook.url.is_empty() {
        return Err(WebhookError::NoUrl);
    } else {
        check_url(&webhook.url)?;
    }
    headers_map(&webhook.headers)?;
    signers(&webhook.secrets)?;
    Ok(webhook)
}

/// What is given, each by itself.
fn settings(given: &Given<'_>, custom: &CustomEvents) -> Result<Webhook, WebhookError> {
    let enabled = given.boolean(Setting::Enabled)?.unwrap_or(true);
    Ok(Webhook {
        enabled,
        // Someone who switches a webhook on again need not know that there was a reason.
        disabled_reason: given.string(Setting::DisabledReason)?.filter(|_| !enabled),
        disabled_at_ms: given.number(Setting::DisabledAt)?.filter(|_| !enabled),
        url: given.string(Setting::Url)?.unwrap_or_default().trim().to_owned(),
        by_events: given.boolean(Setting::ByEvents)?.unwrap_or(false),
        base64: given.boolean(Setting::Base64)?.unwrap_or(false),
        events: given.events(custom)?,
        headers: given.headers()?,
        secrets: given.secrets()?,
        rate_limit: given.rate(Setting::RateLimit)?,
        insecure_tls: given.boolean(Setting::InsecureTls)?.unwrap_or(false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::webhook::UrlError;
    use crate::model::EventName;

    fn read(json: &str) -> Result<Webhook, WebhookError> {
        parse(json.as_bytes(), &CustomEvents::parse("order.paid"))
    }

    /// Refused when it is set, and for the same reason when it is stored.
    fn refused(json: &str) -> String {
        let refusal = read(json).unwrap_err().to_string();
        let stored = parse_stored(json.as_bytes());
        // Names of events are not checked any more then.
        if let Err(stored) = stored {
            assert_eq!(stored.to_string(), refusal, "{json}");
        } else {
            assert!(refusal.contains("event"), "{json}: {refusal}");
        }
        refusal
    }

    fn events(webhook: &Webhook) -> Vec<&str> {
        webhook.events.iter().map(EventName::as_str).collect()
    }

    #[test]
    fn the_three_generations_are_understood() {
        for json in [
            r#"{"url":"https://h/","webhook_by_events":true,"webhook_base64":true,"events":["MESSAGES_UPSERT"]}"#,
            r#"{"enabled":true,"url":"https://h/","webhookByEvents":true,"webhookBase64":true,"events":["messages.upsert"]}"#,
            r#"{"webhook":{"enabled":true,"url":"https://h/","headers":{},"byEvents":true,"base64":true,"events":["messages-upsert"]}}"#,
            r#"{"webhook":{"url":" https://h/\n","webhookByEvents":true,"webhook_base64":true},"events":["MESSAGES_UPSERT"],"headers":null}"#,
            r#"{"url":"https://h/","byEvents":true,"webhook_by_events":true,"webhookBase64":null,"base64":true,"webhook":{"events":["MESSAGES_UPSERT","messages.upsert"]}}"#,
        ] {
            let webhook = read(json).unwrap();
            let (stored, target) = parse_stored(json.as_bytes()).unwrap();
            assert_eq!(
                (stored, target.map(|target| target.url)),
                (webhook.clone(), Some("https://h/".into()))
            );
            assert_eq!(
                (webhook.enabled, webhook.by_events, webhook.base64, webhook.url.as_str(), events(&webhook)),
                (true, true, true, "https://h/", vec!["MESSAGES_UPSERT"]),
                "{json}"
            );
        }
    }

    #[test]
    fn the_name_of_the_instance_may_be_beside_the_settings() {
        let named = |json: &str| parse_named(json.as_bytes(), &CustomEvents::default());
        for json in [
            r#"{"instance":"sales","url":"https://h/"}"#,
            r#"{"webhook":{"url":"https://h/"},"instanceName":"sales","instance":null}"#,
            r#"{"instance":"sales","instanceName":"sales","url":"https://h/"}"#,
        ] {
            let (name, webhook) = named(json).unwrap();
            assert_eq!((name.as_deref(), webhook.url.as_str()), (Some("sales"), "https://h/"), "{json}");
            assert!(read(json).is_err(), "it is no setting: {json}");
        }
        assert_eq!(named(r#"{"url":"https://h/"}"#).unwrap().0, None);
        for json in [
            r#"{"instance":"a","instanceName":"b","url":"https://h/"}"#,
            r#"{"instance":["a"],"url":"https://h/"}"#,
            r#"{"webhook":{"instance":"a","url":"https://h/"}}"#,
        ] {
            assert!(named(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_url_is_enough() {
        let webhook = read(r#"{"url":"https://h/","events":null,"secret":null,"enabled":null}"#).unwrap();
        assert!(webhook.enabled && !webhook.by_events && !webhook.base64);
        assert!(webhook.events.is_empty() && webhook.headers.is_empty() && webhook.secrets.is_empty());
    }

    #[test]
    fn switching_off_needs_no_url() {
        for url in ["", "not yet"] {
            let webhook =
                read(&format!(r#"{{"enabled":false,"url":"{url}","disabledReason":"gone"}}"#)).unwrap();
            assert_eq!((webhook.enabled, webhook.url.as_str()), (false, url));
            assert_eq!(webhook.disabled_reason.as_deref(), Some("gone"));
        }
        assert!(read(r#"{"enabled":false}"#).is_ok());
        for json in [r#"{"url":""}"#, "{}", r#"{"url":null}"#, r#"{"enabled":true,"url":" "}"#] {
            assert_eq!(read(json).unwrap_err(), WebhookError::NoUrl, "{json}");
        }
        for url in ["https://***@h/", "https://h/a?***", "https://h/#***", "h?***"] {
            let error = read(&format!(r#"{{"enabled":false,"url":"{url}"}}"#)).unwrap_err();
            assert_eq!(error, WebhookError::Url(UrlError::Masked), "{url}");
        }
        let on_again = read(r#"{"enabled":true,"url":"https://h/","disabledReason":"gone"}"#).unwrap();
        assert_eq!(on_again.disabled_reason, None);
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest() {
        assert_eq!(
            refused(r#"{"url":"https://h/","webhook_by_event":true}"#),
            "unknown key `webhook_by_event`: did you mean webhook_by_events?"
        );
        assert_eq!(refused(r#"{"webhook":{"Url":"https://h/"}}"#), "unknown key `Url`: did you mean url?");
        assert_eq!(
            refused(r#"{"url":"https://h/","retention":"x\u001b"}"#),
            "unknown key `retention`; known are enabled, url, headers, byEvents, base64, events, secret, rate_limit and \
             insecure_tls"
        );
        assert!(refused(r#"{"webhook":{"webhook":{}}}"#).starts_with("unknown key `webhook`"));
    }

    #[test]
    fn a_record_as_evolution_api_tells_it_is_understood() {
        let webhook = read(
            r#"{"id":"cm1","url":"https://h/","headers":null,"enabled":true,"events":[],"webhookByEvents":false,
            "webhookBase64":true,"createdAt":"2025-01-01","updatedAt":"2025-01-01","instanceId":"6d1f"}"#,
        );
        assert!(webhook.is_ok_and(|webhook| webhook.base64));
    }

    #[test]
    fn an_unknown_event_is_refused_with_the_nearest() {
        assert_eq!(
            refused(r#"{"url":"https://h/","events":["CALL","MESSAGE_UPSERT"]}"#),
            "unknown event 'MESSAGE_UPSERT': did you mean MESSAGES_UPSERT?"
        );
        assert_eq!(
            refused(r#"{"url":"https://h/","events":["order.payd"]}"#),
            "unknown event 'order.payd': did you mean ORDER_PAID?"
        );
        assert!(refused(r#"{"url":"https://h/","events":["*"]}"#).contains("an empty list means all events"));
        assert!(refused(r#"{"url":"https://h/","events":[""]}"#).starts_with("unknown event ''"));
        let webhook =
            read(r#"{"url":"https://h/","events":["order.paid","GROUP_UPDATE"," new.jwt "]}"#).unwrap();
        assert_eq!(events(&webhook), ["ORDER_PAID", "GROUPS_UPDATE", "NEW_TOKEN"]);
        assert!(parse(br#"{"url":"https://h/","events":["what.ever"]}"#, &CustomEvents::Any).is_ok());
    }

    #[test]
    fn one_setting_twice_is_refused_unless_it_says_the_same() {
        assert_eq!(
            refused(r#"{"url":"https://h/","byEvents":true,"webhook_by_events":false}"#),
            "`byEvents` and `webhook_by_events` set the same thing to different values; leave one out"
        );
        assert!(matches!(
            read(r#"{"url":"https://h/","url":"https://i/"}"#),
            Err(WebhookError::Twice { .. })
        ));
        assert!(matches!(
            read(r#"{"webhook":{"url":"https://h/"},"url":"https://i/"}"#),
            Err(WebhookError::Twice { .. })
        ));
        assert!(read(r#"{"webhook":{"url":"https://h/"},"url":"https://h/"}"#).is_ok());
    }

    #[test]
    fn a_wrong_type_is_named_with_what_is_allowed() {
        for (json, message) in [
            ("[]", "the webhook is an array; it has to be a JSON object"),
            ("{", "the webhook is not JSON: EOF while parsing an object at line 1 column 1"),
            (r#"{"enabled":"true"}"#, "`enabled` is a string; it has to be true or false, without quotes"),
            (
                r#"{"enabled":false,"base64":1}"#,
                "`base64` is a number; it has to be true or false, without quotes",
            ),
            (
                r#"{"url":"https://h/","rate_limit":0}"#,
                "`rate_limit` is too small a number; it has to be requests a second, a number from 0.001 to 1000000; \
                 leave it out for no limit",
            ),
            (
                r#"{"url":"https://h/","rateLimit":1000000.5}"#,
                "`rateLimit` is too large a number; it has to be requests a second, a number from 0.001 to 1000000; \
                 leave it out for no limit",
            ),
            (
                r#"{"url":"https://h/","rate_limit":"20"}"#,
                "`rate_limit` is a string; it has to be requests a second, a number from 0.001 to 1000000; leave it \
                 out for no limit",
            ),
            (r#"{"url":5}"#, "`url` is a number; it has to be a string"),
            (
                r#"{"url":"https://h/","events":"CALL"}"#,
                "`events` is a string; it has to be an array of event names (an empty one means all)",
            ),
            (
                r#"{"url":"https://h/","events":["CALL",7]}"#,
                "`events[1]` is a number; it has to be an event's name",
            ),
            (
                r#"{"url":"https://h/","headers":["a"]}"#,
                "`headers` is an array; it has to be an object of header names and strings",
            ),
            (
                r#"{"url":"https://h/","headers":{"X-A":5}}"#,
                "`headers`: header X-A is a number; it has to be a string",
            ),
            (
                r#"{"url":"https://h/","secret":5}"#,
                "`secret` is a number; it has to be a string or an array of strings",
            ),
            (r#"{"url":"https://h/","secret":[null]}"#, "`secret[0]` is null; it has to be a string"),
            (
                r#"{"webhook":"https://h/"}"#,
                "`webhook` is a string; it has to be an object with the webhook's settings",
            ),
            (r#"{"url":"ftp://h/"}"#, "`url` cannot be used: ftp is not http or https"),
        ] {
            assert_eq!(refused(json), message, "{json}");
        }
    }

    #[test]
    fn refusals_show_no_secret() {
        for json in [
            r#"{"url":"https://s3cret@h/ s3cret"}"#,
            r#"{"url":"https://s3cret@:99999/s3cret"}"#,
            r#"{"url":"https://h/","headers":{"X-A":"s3cret\n"}}"#,
            r#"{"url":"https://h/","headers":"s3cret"}"#,
            r#"{"url":"https://h/","secret":"s3cret!"}"#,
            r#"{"url":"https://h/","secret":["s3cret!"]}"#,
            r#"{"url":"https://h/","secret":"s3cret"} s3cret"#,
            r#""s3cret""#,
        ] {
            let error = read(json).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
        }
    }
}
