//! Signing: how a receiver knows that a POST comes from here.
//!
//! Signatures follow Standard Webhooks 1.0 (<https://www.standardwebhooks.com>), symmetric scheme `v1`. Bearer tokens
//! are those Evolution API mints for a webhook with a header `jwt_key`. A JWT with one algorithm and four claims is a
//! line of HMAC; the JWT crates bring RSA and elliptic curves for it, so they only check this one in the tests.

use base64::Engine;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD, URL_SAFE_NO_PAD};

use crate::model::Signer;

/// How long a bearer token is valid, in seconds.
pub const TOKEN_LIFETIME_S: u64 = 600;

/// One signature with the space behind it.
const SIGNATURE_BYTES: usize = "v1,".len() + 44 + 1;

/// The standard alphabet, with or without padding: people copy secrets from all kinds of generators.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a text is not a signing secret. The messages never hold the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Nothing, or nothing behind `whsec_`.
    #[error("the secret is empty; write whsec_ and the base64 of 24 to 64 random bytes")]
    Empty,
    /// Not base64.
    #[error(
        "the secret is not base64; write whsec_ (which may be left out) and the base64 of 24 to 64 random bytes, in \
         the letters A-Z a-z 0-9 + /"
    )]
    NotBase64,
}

/// Reads a signing secret: `whsec_<base64>` or the bare base64, in the standard alphabet, padded or not.
///
/// # Errors
/// When it is empty or not base64.
pub fn parse_secret(secret: &str) -> Result<Signer, SecretError> {
    let encoded = secret.strip_prefix("whsec_").unwrap_or(secret);
    let key = LENIENT.decode(encoded).map_err(|_| SecretError::NotBase64)?;
    if key.is_empty() {
        return Err(SecretError::Empty);
    }
    Ok(Signer::new(key))
}

/// The value of `webhook-signature`: `v1,<base64 HMAC-SHA256 of id.timestamp.body>` for each signer, divided by
/// spaces. None without a signer. `timestamp` is that of `webhook-timestamp`, Unix seconds.
pub fn signature_header(signers: &[Signer], id: &str, timestamp: u64, body: &[u8]) -> Option<String> {
    signature_over(signers, id, timestamp.to_string().as_bytes(), &std::iter::once(body))
}

/// As [`signature_header`], of a timestamp as it is written and a body in pieces.
pub fn signature_over<'a>(
    signers: &[Signer],
    id: &'a str,
    timestamp: &'a [u8],
    body: &(impl Iterator<Item = &'a [u8]> + Clone),
) -> Option<String> {
    let mut signatures = String::with_capacity(signers.len() * SIGNATURE_BYTES);
    for signer in signers {
        if !signatures.is_empty() {
            signatures.push(' ');
        }
        signatures.push_str("v1,");
        let head: [&[u8]; 4] = [id.as_bytes(), b".", timestamp, b"."];
        STANDARD.encode_string(signer.mac(head.into_iter().chain(body.clone())), &mut signatures);
    }
    (!signatures.is_empty()).then_some(signatures)
}

/// The value of `authorization` with a token: an HS256 JWT (RFC 7519) `{iat, exp: iat+600, app:"evolution",
/// action:"webhook"}`, keyed with the bytes of `key` as they are. `now_s` is Unix seconds.
pub fn bearer(key: &Signer, now_s: u64) -> String {
    let exp = now_s.saturating_add(TOKEN_LIFETIME_S);
    let claims = format!(r#"{{"iat":{now_s},"exp":{exp},"app":"evolution","action":"webhook"}}"#);
    let mut value = String::with_capacity(256);
    value.push_str("Bearer ");
    let token = value.len();
    URL_SAFE_NO_PAD.encode_string(r#"{"alg":"HS256","typ":"JWT"}"#, &mut value);
    value.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut value);
    let signature = key.mac([&value.as_bytes()[token..]]);
    value.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut value);
    value
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::{SystemTime, UNIX_EPOCH};

    use http::HeaderMap;
    use jwt_compact::alg::{Hs256, Hs256Key};
    use jwt_compact::{AlgorithmExt, UntrustedToken};
    use proptest::prelude::*;

    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const OTHER: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

    fn now_s() -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
    }

    fn verifies(secret: &str, signature: &str, timestamp: u64, body: &[u8]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", "msg_1".parse().unwrap());
        headers.insert("webhook-timestamp", timestamp.to_string().parse().unwrap());
        headers.insert("webhook-signature", signature.parse().unwrap());
        standardwebhooks::Webhook::new(secret).unwrap().verify(body, &headers).is_ok()
    }

    #[test]
    fn the_specifications_example_comes_out() {
        let signer = parse_secret(OTHER).unwrap();
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        assert_eq!(
            signature_header(&[signer], "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body).unwrap(),
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
        );
    }

    #[test]
    fn an_independent_library_verifies_each_of_several_signatures() {
        let signers = [SECRET, OTHER].map(|secret| parse_secret(secret).unwrap());
        let (now, body) = (now_s(), "{\"a\":\"é\"}".as_bytes());
        let signature = signature_header(&signers, "msg_1", now, body).unwrap();
        assert_eq!(signature.split(' ').count(), 2);
        assert!(verifies(SECRET, &signature, now, body));
        assert!(verifies(OTHER, &signature, now, body));
        assert!(!verifies(SECRET, &signature, now, b"{}"));
        assert!(!verifies(SECRET, &signature, now + 1, body));
        assert!(!verifies("whsec_AAAA", &signature, now, body));
    }

    #[test]
    fn without_a_secret_nothing_is_signed() {
        assert_eq!(signature_header(&[], "msg_1", 1, b"{}"), None);
    }

    #[test]
    fn a_secret_is_base64_with_or_without_prefix_and_padding() {
        for secret in ["whsec_YWJjZA==", "whsec_YWJjZA", "YWJjZA==", "YWJjZA"] {
            assert_eq!(parse_secret(secret).unwrap().key(), b"abcd", "{secret}");
        }
        assert_eq!(parse_secret(""), Err(SecretError::Empty));
        assert_eq!(parse_secret("whsec_"), Err(SecretError::Empty));
        for bad in ["not base64!", "whsec_YWJj-_", " YWJjZA", "YWJjZA\n", "Y", "whsec_whsec_YWJjZA==", "***"]
        {
            let error = parse_secret(bad).unwrap_err();
            assert_eq!(error, SecretError::NotBase64, "{bad}");
            assert!(!error.to_string().contains(bad));
        }
    }

    #[test]
    fn an_independent_library_verifies_the_token() {
        let value = bearer(&Signer::new(b"a key of any kind".to_vec()), 1_700_000_000);
        let untrusted = UntrustedToken::new(value.strip_prefix("Bearer ").unwrap()).unwrap();
        let verified =
            |key: &[u8]| Hs256.validator::<HashMap<String, String>>(&Hs256Key::new(key)).validate(&untrusted);
        assert!(verified(b"another key").is_err());
        let token = verified(b"a key of any kind").unwrap();
        let claims = token.claims();
        assert_eq!(claims.issued_at.unwrap().timestamp(), 1_700_000_000);
        assert_eq!(claims.expiration.unwrap().timestamp(), 1_700_000_600);
        assert_eq!(claims.custom["app"], "evolution");
        assert_eq!(claims.custom["action"], "webhook");
        assert_eq!(claims.custom.len(), 2);
        assert_eq!(untrusted.header().token_type.as_deref(), Some("JWT"));
    }

    proptest! {
        #[test]
        fn any_key_and_body_verify(key in proptest::collection::vec(any::<u8>(), 1..100), body in ".*") {
            let (secret, now) = (STANDARD.encode(&key), now_s());
            let signature =
                signature_header(&[parse_secret(&secret).unwrap()], "msg_1", now, body.as_bytes()).unwrap();
            prop_assert!(verifies(&secret, &signature, now, body.as_bytes()));
        }
    }
}
