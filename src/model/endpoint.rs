//! Endpoints: a destination's URL, read once for all attempts.

use bytes::{BufMut, BytesMut};
use http::Uri;
use http::uri::PathAndQuery;
use url::Host;

/// Where a destination's POSTs go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The URL as requests name it: without userinfo and fragment.
    uri: Uri,
    host: Host,
}

impl Endpoint {
    /// Of an absolute `http` or `https` URL without userinfo, and its host. Where routes of events are appended, its
    /// path ends in `/`.
    pub fn new(uri: Uri, host: Host) -> Self {
        Self { uri, host }
    }

    /// The URL of a request.
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// The URL with an event's route behind its path. That is put together of what is known to be a URL's: nothing else
    /// is read again.
    ///
    /// # Errors
    /// When that is no URL; a route can be too long for one.
    pub fn with_route(&self, route: &str) -> Result<Uri, http::Error> {
        let (path, query) = (self.uri.path(), self.uri.query());
        let mut text =
            BytesMut::with_capacity(path.len() + route.len() + query.map_or(0, |query| 1 + query.len()));
        text.put_slice(path.as_bytes());
        text.put_slice(route.as_bytes());
        if let Some(query) = query {
            text.put_u8(b'?');
            text.put_slice(query.as_bytes());
        }
        let mut parts = self.uri.clone().into_parts();
        parts.path_and_query = Some(PathAndQuery::from_maybe_shared(text.freeze())?);
        Ok(Uri::from_parts(parts)?)
    }

    /// The host, as it is resolved or dialled.
    pub fn host(&self) -> Host<&str> {
        match &self.host {
            Host::Domain(name) => Host::Domain(name),
            Host::Ipv4(address) => Host::Ipv4(*address),
            Host::Ipv6(address) => Host::Ipv6(*address),
        }
    }
}
