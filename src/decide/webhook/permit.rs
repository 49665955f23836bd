//! What the operator has to permit of a webhook: where it is sent to, and certificates that are not verified.

use super::{UrlError, WebhookError};
use crate::decide::address::{Permits, Reach};
use crate::model::Webhook;

/// Checks that the webhook of an instance asks for nothing that the operator does not permit, as far as that is known
/// without resolving its host's name. What is left is returned: that name, each address of which has to be checked
/// ([`Permits::any_address`], through a proxy [`Permits::all_addresses`]). A webhook that is switched off asks for
/// nothing.
///
/// # Errors
/// For a URL at an address that is not permitted, and for `insecure_tls` where that is not. Both name the setting.
pub fn check_permitted(webhook: &Webhook, permits: &Permits) -> Result<Option<String>, WebhookError> {
    if !webhook.enabled {
        return Ok(None);
    }
    if webhook.insecure_tls && !permits.insecure_tls {
        return Err(WebhookError::InsecureTls);
    }
    let url = ::url::Url::parse(&webhook.url).map_err(|error| UrlError::Malformed(error.to_string()))?;
    match permits.host(&url.host().ok_or(UrlError::NoHost)?) {
        Ok(Reach::Permitted) => Ok(None),
        Ok(Reach::Name(name)) => Ok(Some(name.to_owned())),
        Err(refusal) => Err(WebhookError::Refused(Box::new(refusal))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::webhook::{CustomEvents, parse};

    fn check(json: &str, permits: &Permits) -> Result<Option<String>, String> {
        let webhook = parse(json.as_bytes(), &CustomEvents::Any).unwrap();
        check_permitted(&webhook, permits).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_permitted_is_refused_with_the_setting_that_would() {
        let none = Permits::default();
        assert_eq!(check(r#"{"url":"https://h.example/"}"#, &none), Ok(Some("h.example".to_owned())));
        assert_eq!(check(r#"{"url":"https://8.8.8.8/"}"#, &none), Ok(None));
        for (json, says) in [
            (r#"{"url":"http://u:hunter2@10.0.0.1/x?hunter2"}"#, "WEBHOOK_ALLOW_CIDRS=10.0.0.1 permits it"),
            (
                r#"{"url":"http://localhost.:5678/x"}"#,
                "WEBHOOK_ALLOW_HOSTS=localhost or WEBHOOK_ALLOW_CIDRS=127.0.0.1",
            ),
            (r#"{"url":"https://h.example/","insecureTls":true}"#, "WEBHOOK_ALLOW_INSECURE_TLS=true"),
        ] {
            let error = check(json, &none).unwrap_err();
            assert!(error.contains(says) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_the_operator_permits_passes() {
        let permits = Permits {
            hosts: vec!["n8n".parse().unwrap()],
            networks: vec!["10.0.0.0/8".parse().unwrap()],
            insecure_tls: true,
        };
        assert_eq!(check(r#"{"url":"https://n8n/","insecure_tls":true}"#, &permits), Ok(None));
        assert_eq!(check(r#"{"url":"https://10.0.0.1/"}"#, &permits), Ok(None));
        assert!(check(r#"{"url":"https://127.0.0.1/"}"#, &permits).is_err());
    }

    #[test]
    fn a_webhook_that_is_switched_off_asks_for_nothing() {
        let json = r#"{"enabled":false,"url":"http://127.0.0.1/","insecure_tls":true}"#;
        assert_eq!(check(json, &Permits::default()), Ok(None));
        assert_eq!(check(r#"{"enabled":false}"#, &Permits::default()), Ok(None));
    }
}
