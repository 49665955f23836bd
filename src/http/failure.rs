//! What the client's errors mean.

use std::error::Error;
use std::io;
use std::time::Duration;

use rustls::{AlertDescription, CertificateError};

use super::resolver::ResolveError;
use crate::model::{Refusal, TransportError};

/// The kind of failure behind an error of the client. `connect_timeout` is what the client was given.
pub(super) fn classify(error: reqwest::Error, connect_timeout: Duration) -> TransportError {
    let error = error.without_url();
    if let Some(refusal) = cause::<Refusal>(&error) {
        return TransportError::Refused(Box::new(refusal.clone()));
    }
    if let Some(ResolveError(reason)) = cause(&error) {
        return TransportError::Dns(reason.clone());
    }
    if let Some(tls) = cause::<rustls::Error>(&error).or_else(|| tls_in_io(&error)) {
        return TransportError::Tls(told(tls));
    }
    if error.is_connect() && error.is_timeout() {
        return TransportError::ConnectTimeout(connect_timeout);
    }
    if error.is_connect() {
        return TransportError::Connect(root(&error));
    }
    if error.is_builder() || error.is_request() && cause::<http::Error>(&error).is_some() {
        return TransportError::BadRequest(root(&error));
    }
    if let Some(hyper) = cause::<hyper::Error>(&error) {
        if hyper.is_parse() {
            return TransportError::BadReply(hyper.to_string());
        }
        if hyper.is_incomplete_message() || hyper.is_closed() || hyper.is_canceled() {
            return TransportError::ClosedEarly(hyper.to_string());
        }
    }
    match cause::<io::Error>(&error).map(io::Error::kind) {
        Some(
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::NotConnected,
        ) => TransportError::ClosedEarly(root(&error)),
        _ if error.is_body() || error.is_decode() => TransportError::ClosedEarly(root(&error)),
        _ => TransportError::Other(root(&error)),
    }
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

/// A TLS error that travels inside an I/O error, whose `source` skips it; the client wraps one in another.
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
