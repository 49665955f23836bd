//! What the client's errors mean.

use std::error::Error;
use std::io;
use std::time::Duration;

use hyper_util::client::legacy;
use rustls::{AlertDescription, CertificateError};

use super::connect::TimedOut;
use super::resolver::ResolveError;
use crate::model::{Refusal, TransportError};

/// The kind of failure behind an error of a request that no answer came to. `connect_timeout` is what the client was
/// given.
pub(super) fn unanswered(error: &legacy::Error, connect_timeout: Duration) -> TransportError {
    if let Some(refusal) = cause::<Refusal>(error) {
        return TransportError::Refused(Box::new(refusal.clone()));
    }
    if let Some(ResolveError(reason)) = cause(error) {
        return TransportError::Dns(reason.clone());
    }
    if let Some(tls) = tls(error) {
        return TransportError::Tls(told(tls));
    }
    if error.is_connect() && is_timeout(error) {
        return TransportError::ConnectTimeout(connect_timeout);
    }
    if error.is_connect() {
        return TransportError::Connect(root(error));
    }
    if cause::<http::Error>(error).is_some() {
        return TransportError::BadRequest(root(error));
    }
    broken_off(error).unwrap_or_else(|| TransportError::Other(root(error)))
}

/// The kind of failure behind an error within the body of an answer.
pub(super) fn cut_short(error: &hyper::Error) -> TransportError {
    if let Some(tls) = tls(error) {
        return TransportError::Tls(told(tls));
    }
    broken_off(error).unwrap_or_else(|| TransportError::ClosedEarly(root(error)))
}

/// What went wrong on a connection that was made, where that is known.
fn broken_off(error: &(dyn Error + 'static)) -> Option<TransportError> {
    if let Some(hyper) = cause::<hyper::Error>(error) {
        if hyper.is_parse() {
            return Some(TransportError::BadReply(hyper.to_string()));
        }
        if hyper.is_incomplete_message() || hyper.is_closed() || hyper.is_canceled() {
            return Some(TransportError::ClosedEarly(hyper.to_string()));
        }
    }
    match cause::<io::Error>(error).map(io::Error::kind) {
        Some(
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::NotConnected,
        ) => Some(TransportError::ClosedEarly(root(error))),
        _ => None,
    }
}

/// Whether it took too long: for this client, or for the system.
fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|error| {
        error.is::<TimedOut>()
            || error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
    })
}

/// A TLS error, with the setting that may mend it.
fn told(error: &rustls::Error) -> String {
    let hint = match error {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            " (no CA that is trusted here issued it; WEBHOOK_CA_FILE adds one)"
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            " (the receiver wants a certificate of its clients: WEBHOOK_CLIENT_CERT)"
        }
        // As `openssl req -x509` makes it unless it is told otherwise.
        _ if error.to_string().contains("CaUsedAsEndEntity") => {
            " (a certificate that signs itself has to be made with basicConstraints=CA:FALSE)"
        }
        _ => "",
    };
    format!("{error}{hint}")
}

/// An error and its causes, the outermost first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// The first error of type `E` among an error and its causes.
fn cause<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    chain(error).find_map(|error| error.downcast_ref())
}

/// The TLS error behind an error.
fn tls<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    cause(error).or_else(|| tls_in_io(error))
}

/// A TLS error that travels inside an I/O error, whose `source` skips it.
fn tls_in_io<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    fn tls(error: &io::Error) -> Option<&rustls::Error> {
        let inner = error.get_ref()?;
        match inner.downcast_ref() {
            Some(nested) => tls(nested),
            None => inner.downcast_ref(),
        }
    }
    chain(error).find_map(|error| error.downcast_ref().and_then(tls))
}

/// The innermost cause, in its own words: the layers above only repeat that something failed.
fn root(error: &(dyn Error + 'static)) -> String {
    chain(error).last().unwrap_or(error).to_string()
}
