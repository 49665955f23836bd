//! Name resolution for the clients, with errors of its own types, and the check of what is dialled.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use tower_service::Service;

use super::connect::BoxError;
use super::proxies::Proxies;
use crate::decide::address::Permits;

/// Which addresses a client is told.
#[derive(Clone, Debug)]
pub(super) enum Resolver {
    /// Those that the system finds.
    System,
    /// Of those, the ones that webhooks of instances may be sent to. The client dials what it is told here and nothing
    /// else, so that a name cannot lead elsewhere between a check and the connection.
    Guarded(Arc<Permits>),
    /// Those of the proxies, and of no other name.
    Only(Arc<Proxies>),
}

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

impl Resolver {
    async fn addresses(self, name: &str) -> Result<Vec<IpAddr>, BoxError> {
        match self {
            Self::System => Ok(lookup(name).await?),
            Self::Guarded(permits) => {
                let mut found = lookup(name).await?;
                if !permits.lists(name) {
                    permits.any_address(name, &found)?;
                    found.retain(|address| permits.address(name, *address).is_ok());
                }
                Ok(found)
            }
            Self::Only(proxies) if proxies.are_at(name) => Ok(lookup(name).await?),
            Self::Only(_) => Err(ResolveError(format!("{name} is not the proxy")).into()),
        }
    }
}

impl Service<Name> for Resolver {
    /// The port is the URL's; the client sets it on each.
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.clone();
        Box::pin(async move {
            let found = resolver.addresses(name.as_str()).await?;
            let dialled: Vec<_> = found.into_iter().map(|address| SocketAddr::from((address, 0))).collect();
            Ok(dialled.into_iter())
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
        match Resolver::Guarded(Arc::new(permits)).call(name).await {
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
        let mut only = Resolver::Only(Arc::new(Proxies::one("http://localhost:3128")));
        assert!(only.call("localhost".parse().unwrap()).await.is_ok());
        assert!(only.call("localhost.".parse().unwrap()).await.is_err());
    }
}
