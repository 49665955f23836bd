//! What is sent over the wire.

use http::{HeaderMap, Uri};
use url::Host;

use super::{Body, Owner};

/// A POST request, ready to be sent.
#[derive(Clone, Debug)]
pub struct Post<'a> {
    /// An absolute `http` or `https` URL, without userinfo.
    pub uri: Uri,
    /// Its host.
    pub host: Host<&'a str>,
    /// Whose the destination is, and so where it may be.
    pub owner: Owner,
    /// Every header but those that HTTP itself sets.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
}
