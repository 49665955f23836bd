//! The clients behind the one: connections are only shared among requests that may use the same.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Certificate, ClientBuilder, Identity, Url};

use super::ClientSettings;
use super::proxies::{Proxies, ProxyError};
use super::resolver::{Guarded, Only, System};
use crate::model::{Certificates, TlsSettings};

/// How long an idle connection to a receiver is kept.
const IDLE: Duration = Duration::from_secs(60);

/// The client cannot be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The HTTP client cannot be built.
    #[error(
        "the HTTP client cannot be built: {0} (are CA certificates installed? e.g. the package ca-certificates)"
    )]
    Client(String),
    /// A proxy of the environment that cannot be used.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
}

/// Every client there is.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    /// For destinations of the operator's own: dials whatever it is told, through proxies where there are any.
    pub(super) operators: reqwest::Client,
    /// For webhooks of instances: dials only what may be.
    direct: Pair,
    /// The same through a proxy: dials nothing but the proxy.
    proxied: Option<(Proxies, Pair)>,
}

/// One that verifies certificates, and where it is permitted one that does not.
#[derive(Clone, Debug)]
struct Pair {
    verifying: reqwest::Client,
    trusting: Option<reqwest::Client>,
}

/// How a webhook of an instance is sent to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Way<'a> {
    /// By a client that checks what it dials.
    Direct(&'a reqwest::Client),
    /// By one that dials the proxy, so that where the proxy is to connect to has to be checked before.
    Proxy(&'a reqwest::Client),
}

impl Clients {
    /// Builds all that can be needed.
    pub(super) fn build(settings: &ClientSettings) -> Result<Self, BuildError> {
        let permits = Arc::new(settings.permits.clone());
        let operators = built(base(settings)?.dns_resolver(System))?;
        let trusts_any = permits.insecure_tls;
        let direct = Pair::build(
            || Ok(base(settings)?.no_proxy().dns_resolver(Guarded(Arc::clone(&permits)))),
            trusts_any,
        )?;
        let proxied = match Proxies::from_env()? {
            None => None,
            Some(proxies) => {
                let resolver = Only(Arc::clone(&proxies.hosts));
                let pair = Pair::build(|| Ok(base(settings)?.dns_resolver(resolver.clone())), trusts_any)?;
                Some((proxies, pair))
            }
        };
        Ok(Self { operators, direct, proxied })
    }

    /// The proxies, as they may be shown.
    pub(super) fn proxies(&self) -> impl Iterator<Item = &str> {
        self.proxied.iter().flat_map(|(proxies, _)| proxies.shown.iter().map(String::as_str))
    }

    /// How a webhook of an instance is sent to.
    pub(super) fn way(&self, url: &Url, certificates: Certificates) -> Way<'_> {
        match &self.proxied {
            Some((proxies, pair)) if proxies.take(url) => Way::Proxy(pair.of(certificates)),
            _ => Way::Direct(self.direct.of(certificates)),
        }
    }
}

impl Pair {
    fn build(
        base: impl Fn() -> Result<ClientBuilder, BuildError>,
        trusts_any: bool,
    ) -> Result<Self, BuildError> {
        let trusting = || built(base()?.tls_danger_accept_invalid_certs(true));
        Ok(Self { verifying: built(base()?)?, trusting: trusts_any.then(trusting).transpose()? })
    }

    /// A webhook may have been stored when not verifying was still permitted: then it is verified.
    fn of(&self, certificates: Certificates) -> &reqwest::Client {
        match (certificates, &self.trusting) {
            (Certificates::Any, Some(trusting)) => trusting,
            (Certificates::Any, None) | (Certificates::Verified, _) => &self.verifying,
        }
    }
}

/// What all clients have in common.
fn base(settings: &ClientSettings) -> Result<ClientBuilder, BuildError> {
    let builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(settings.connect_timeout)
        .pool_idle_timeout(IDLE)
        .tcp_nodelay(true);
    with_tls(builder, &settings.tls).map_err(failed)
}

fn with_tls(mut builder: ClientBuilder, tls: &TlsSettings) -> reqwest::Result<ClientBuilder> {
    if let Some(pem) = &tls.ca {
        builder = builder.tls_certs_merge(Certificate::from_pem_bundle(pem.as_bytes())?);
    }
    if let Some(pem) = &tls.identity {
        builder = builder.identity(Identity::from_pem(pem.expose().as_bytes())?);
    }
    Ok(builder)
}

fn built(builder: ClientBuilder) -> Result<reqwest::Client, BuildError> {
    builder.build().map_err(failed)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn failed(error: reqwest::Error) -> BuildError {
    BuildError::Client(error.to_string())
}
