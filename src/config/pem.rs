//! Files of certificates and keys (PEM, RFC 7468): read once at the start, and refused where nothing can be done with
//! them, so that no attempt fails on one.

use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::parse::Parsed;
use crate::model::Secret;

/// Which of the two files of a client's identity is wrong; what is allowed.
pub(super) enum Wrong {
    Certificate(String),
    Key(String),
}

/// The certificates of CAs in a file.
pub(super) fn authorities(path: &str) -> Parsed<Arc<str>> {
    let text = read(path)?;
    let mut store = RootCertStore::empty();
    for certificate in certificates(&text)? {
        store
            .add(certificate)
            .map_err(|error| format!("it holds a certificate that cannot be used ({error})"))?;
    }
    Ok(text.into())
}

/// A client's certificates and its key, in one PEM.
pub(super) fn identity(certificate_path: &str, key_path: &str) -> Result<Secret, Vec<Wrong>> {
    let text = read(certificate_path).and_then(|text| Ok((certificates(&text)?, text)));
    let key_text = read(key_path).and_then(|text| Ok((key(&text)?, text)));
    let ((chain, text), (key, key_text)) = match (text, key_text) {
        (Ok(certificate), Ok(key)) => (certificate, key),
        (certificate, key) => {
            let wrong = [certificate.err().map(Wrong::Certificate), key.err().map(Wrong::Key)];
            return Err(wrong.into_iter().flatten().collect());
        }
    };
    CertifiedKey::from_der(chain, key, &default_provider()).map_err(|error| {
        let wrong = match error {
            rustls::Error::InconsistentKeys(_) => {
                format!(
                    "it is not the key of the first certificate in {certificate_path}; name the one that is"
                )
            }
            error => format!("it cannot be used with {certificate_path} ({error})"),
        };
        vec![Wrong::Key(wrong)]
    })?;
    // One file may be both.
    let whole = if certificate_path == key_path { text } else { format!("{text}\n{key_text}") };
    Ok(Secret::new(whole))
}

fn key(text: &str) -> Parsed<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            "there is no key in it; name a PEM file with -----BEGIN PRIVATE KEY----- in it, without a passphrase"
                .to_owned()
        }
        error => format!("its key cannot be read ({error}); name a PEM file with a key without a passphrase"),
    })
}

fn read(path: &str) -> Parsed<String> {
    if path.contains("-----BEGIN") {
        return Err("name the file, do not write what is in it".to_owned());
    }
    std::fs::read_to_string(Path::new(path)).map_err(|error| format!("name a readable PEM file ({error})"))
}

fn certificates(text: &str) -> Parsed<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err("there is no certificate in it; name a PEM file with -----BEGIN CERTIFICATE----- in it"
                .to_owned())
        }
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("it cannot be read ({error}); name a PEM file")),
    }
}
