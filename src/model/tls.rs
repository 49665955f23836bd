//! TLS towards receivers.

use std::sync::Arc;

use super::Secret;

/// Whose certificates are trusted beside those that the system trusts, and with which one this client shows itself.
/// What is in it was read and checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Certificates of CAs, PEM.
    pub ca: Option<Arc<str>>,
    /// The client's certificate chain and key, PEM, for receivers that ask for one (mTLS).
    pub identity: Option<Secret>,
}
