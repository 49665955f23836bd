//! TLS towards receivers: whose certificates are believed, and the client's own.

use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, SignatureScheme, WantsVerifier};
use rustls_platform_verifier::Verifier;

use crate::model::TlsSettings;

/// What is offered to receivers, the first preferred (RFC 7301).
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    /// The system's trust store cannot be read, or a certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] Error),
    /// A PEM text cannot be read.
    #[error(transparent)]
    Pem(#[from] pem::Error),
    /// No private key beside the client's certificate.
    #[error("there is no key with the client's certificate")]
    NoKey,
}

/// For receivers that a CA vouches for: one that the system trusts, or one of the settings.
pub(super) fn verifying(settings: &TlsSettings) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = provider();
    let roots = match &settings.ca {
        Some(pem) => CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    let verifier = Verifier::new_with_extra_roots(roots, Arc::clone(&provider))?;
    finished(versions(provider)?.dangerous().with_custom_certificate_verifier(Arc::new(verifier)), settings)
}

/// For receivers that show any certificate. It has sessions of its own: none that began here is gone on with by a
/// client that verifies.
pub(super) fn trusting(settings: &TlsSettings) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier = Arc::new(TrustsAny);
    finished(versions(provider())?.dangerous().with_custom_certificate_verifier(verifier), settings)
}

/// The same without a choice of protocols, for a proxy that is asked for a tunnel in HTTP/1.1.
pub(super) fn without_alpn(config: &Arc<ClientConfig>) -> Arc<ClientConfig> {
    let mut config = ClientConfig::clone(config);
    config.alpn_protocols.clear();
    Arc::new(config)
}

fn provider() -> Arc<CryptoProvider> {
    CryptoProvider::get_default().map_or_else(|| Arc::new(ring::default_provider()), Arc::clone)
}

fn versions(provider: Arc<CryptoProvider>) -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, Error> {
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}

fn finished(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    settings: &TlsSettings,
) -> Result<Arc<ClientConfig>, TlsError> {
    let mut config = match &settings.identity {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let pem = pem.expose().as_bytes();
            let chain = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
            // A file of certificates may hold a key, too: the one of the file of the key comes behind it.
            let key = PrivateKeyDer::pem_slice_iter(pem).last().ok_or(TlsError::NoKey)??;
            builder.with_client_auth_cert(chain, key)?
        }
    };
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    Ok(Arc::new(config))
}

/// Believes every receiver to be who it says.
#[derive(Debug)]
struct TrustsAny;

impl ServerCertVerifier for TrustsAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    /// Also those that nobody should use any more: what is believed anyway need not be signed well.
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        use SignatureScheme::{
            ECDSA_NISTP256_SHA256, ECDSA_NISTP384_SHA384, ECDSA_NISTP521_SHA512, ECDSA_SHA1_Legacy, ED448,
            ED25519, RSA_PKCS1_SHA1, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256,
            RSA_PSS_SHA384, RSA_PSS_SHA512,
        };
        vec![
            RSA_PKCS1_SHA1,
            ECDSA_SHA1_Legacy,
            RSA_PKCS1_SHA256,
            ECDSA_NISTP256_SHA256,
            RSA_PKCS1_SHA384,
            ECDSA_NISTP384_SHA384,
            RSA_PKCS1_SHA512,
            ECDSA_NISTP521_SHA512,
            RSA_PSS_SHA256,
            RSA_PSS_SHA384,
            RSA_PSS_SHA512,
            ED25519,
            ED448,
        ]
    }
}
