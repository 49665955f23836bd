//! What is sent over the wire.

use bytes::Bytes;
use http::HeaderMap;

use super::Owner;

/// A POST request, ready to be sent.
#[derive(Clone, Debug)]
pub struct Post {
    /// An absolute `http` or `https` URL.
    pub url: String,
    /// Whose the destination is, and so where it may be.
    pub owner: Owner,
    /// Every header but those that HTTP itself sets.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}
