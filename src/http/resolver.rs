//! Name resolution for the clients, with errors of its own types, and the check of what is dialled.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::decide::address::Permits;

/// The system's resolver.
#[derive(Clone, Copy, Debug)]
pub(super) struct System;

/// The system's resolver, which tells only the addresses that webhooks of instances may be sent to. The client dials
/// what it is told here and nothing else, so that a name cannot lead elsewhere between a check and the connection.
#[derive(Clone, Debug)]
pub(super) struct Guarded(pub(super) Arc<Permits>);

/// The system's resolver, for these names and no others.
#[derive(Clone, Debug)]
pub(super) struct Only(pub(super) Arc<HashSet<String>>);

/// A host name that could not be resolved.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct ResolveError(pub(super) String);

/// The addresses of a name.
pub(super) async fn lookup(name: &str) -> Result<Vec<IpAddr>, ResolveError> {
    match tokio::net::lookup_host((name, 0)).await {
        Ok(found) => Ok(found.map(|address| address.ip()).collect()),
        Err(error) => Err(ResolveError(format!("{name}: {error}"))),
    }
}

/// As the client takes them. The port is the URL's; the client sets it on each.
fn told(found: Vec<IpAddr>) -> Addrs {
    Box::new(found.into_iter().map(|address| (address, 0).into()))
}

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move { Ok(told(lookup(name.as_str()).await?)) })
    }
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let permits = Arc::clone(&self.0);
        Box::pin(async move {
            let name = name.as_str();
            let mut found = lookup(name).await?;
            if !permits.lists(name) {
                permits.any_address(name, &found)?;
                found.retain(|address| permits.address(name, *address).is_ok());
            }
            Ok(told(found))
        })
    }
}

impl Resolve for Only {
    fn resolve(&self, name: Name) -> Resolving {
        let is_known = self.0.contains(name.as_str());
        Box::pin(async move {
            match is_known {
                true => Ok(told(lookup(name.as_str()).await?)),
                false => Err(ResolveError(format!("{} is not the proxy", name.as_str())).into()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Refusal;

    /// What a client would dial for `localhost`, which every system knows.
    async fn dialled(permits: Permits) -> Result<Vec<IpAddr>, Refusal> {
        let name = "localhost".parse().unwrap();
        match Guarded(Arc::new(permits)).resolve(name).await {
            Ok(found) => Ok(found.map(|address| address.ip()).collect()),
            Err(error) => Err(*error.downcast().expect("it resolves, and is refused")),
        }
    }

    #[tokio::test]
    async fn a_client_is_told_only_what_it_may_dial() {
        let refusal = dialled(Permits::default()).await.unwrap_err();
        assert!(refusal.address.is_loopback() && refusal.host == "localhost", "{refusal}");

        let networks = vec!["127.0.0.0/8".parse().unwrap()];
        let found = dialled(Permits { networks, ..Permits::default() }).await.unwrap();
        assert!(!found.is_empty() && found.iter().all(IpAddr::is_ipv4), "{found:?}");

        let hosts = vec!["localhost".parse().unwrap()];
        let found = dialled(Permits { hosts, ..Permits::default() }).await.unwrap();
        assert_eq!(found, lookup("localhost").await.unwrap());
    }

    #[tokio::test]
    async fn a_client_for_a_proxy_dials_nothing_else() {
        let only = Only(Arc::new(HashSet::from(["localhost".to_owned()])));
        assert!(only.resolve("localhost".parse().unwrap()).await.is_ok());
        assert!(only.resolve("localhost.".parse().unwrap()).await.is_err());
    }
}
