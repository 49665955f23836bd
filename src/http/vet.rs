//! Checking a webhook when it is set, for the person who sets it.

use std::net::IpAddr;
use std::time::Duration;

use http::Uri;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use url::Url;

use super::proxies::Proxies;
use super::resolver::lookup;
use crate::decide::address::Permits;
use crate::decide::webhook::{WebhookError, check_permitted};
use crate::model::{Refusal, Webhook};

/// How long resolving a name may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many names are resolved at once: each takes a thread, for longer than anybody waits where DNS does not answer,
/// and attempts need such threads, too.
static LOOKUPS: Semaphore = Semaphore::const_new(16);

/// What came of the check of a webhook that may be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Vetted {
    /// It may be sent to.
    Permitted,
    /// The name of its host leads nowhere as yet; why, in words.
    Unresolved(String),
}

/// Checks that the webhook of an instance asks for nothing that the operator does not permit. Its host is resolved, for
/// two seconds at most; a name that leads nowhere may be set, for it may be in DNS tomorrow. The same check is made
/// before each connection: this one is for who sets the webhook, that one is what protects.
///
/// # Errors
/// [`WebhookError::Refused`] and [`WebhookError::InsecureTls`], which name the setting that would permit it.
pub async fn vet(webhook: &Webhook, permits: &Permits) -> Result<Vetted, WebhookError> {
    let Some(name) = check_permitted(webhook, permits)? else {
        return Ok(Vetted::Permitted);
    };
    let found = async {
        let _place = LOOKUPS.acquire().await.expect("it is never closed");
        lookup(&name).await
    };
    match timeout(PATIENCE, found).await {
        Ok(Ok(found)) => match check_found(webhook, permits, &name, &found) {
            Ok(()) => Ok(Vetted::Permitted),
            Err(refusal) => Err(WebhookError::Refused(Box::new(refusal))),
        },
        Ok(Err(error)) => Ok(Vetted::Unresolved(format!("the host name could not be resolved: {error}"))),
        Err(_) => Ok(Vetted::Unresolved(format!("the host name {name} could not be resolved within 2 s"))),
    }
}

/// A proxy of the environment may take any of the addresses; else none is dialled that is not permitted.
fn check_found(webhook: &Webhook, permits: &Permits, name: &str, found: &[IpAddr]) -> Result<(), Refusal> {
    match goes_through_proxy(webhook) {
        true => permits.all_addresses(name, found),
        false => permits.any_address(name, found),
    }
}

/// Whether attempts would go through a proxy. With one that cannot be used there are no attempts.
fn goes_through_proxy(webhook: &Webhook) -> bool {
    let Ok(url) = Url::parse(&webhook.url) else { return false };
    let Ok(uri) = url.as_str().parse::<Uri>() else { return false };
    Proxies::from_env().is_ok_and(|proxies| proxies.is_some_and(|proxies| proxies.intercept(&uri).is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::webhook::{CustomEvents, parse};

    #[tokio::test]
    async fn names_that_take_long_keep_nobody_waiting_for_longer_than_one_would() {
        let webhook =
            |url: &str| parse(format!(r#"{{"url":"{url}"}}"#).as_bytes(), &CustomEvents::Any).unwrap();
        let all = LOOKUPS.acquire_many(16).await.unwrap();
        let permits = Permits::default();
        let vetted = vet(&webhook("https://nowhere.invalid/"), &permits).await.unwrap();
        let Vetted::Unresolved(why) = vetted else { panic!("{vetted:?}") };
        assert!(why.contains("within 2 s"), "{why}");
        // What needs no lookup does not wait for one.
        assert_eq!(vet(&webhook("https://8.8.8.8/"), &permits).await, Ok(Vetted::Permitted));
        drop(all);
    }
}
