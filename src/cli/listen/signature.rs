//! Checking a signature, as a receiver does (Standard Webhooks 1.0).

use http::HeaderMap;

use crate::decide::sign::signature_header;
use crate::model::Signer;

/// How far the timestamp may lie from now, in seconds.
const TOLERANCE_S: u64 = 300;

/// What became of checking a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Signature {
    /// There is no key to check it with.
    Unchecked,
    /// It is good.
    Ok,
    /// It is not; why.
    Bad(&'static str),
}

impl Signature {
    /// The signature of a request, checked at `now_s` (Unix seconds).
    pub(super) fn check(signers: &[Signer], headers: &HeaderMap, body: &[u8], now_s: u64) -> Self {
        if signers.is_empty() {
            return Self::Unchecked;
        }
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let Some(given) = text("webhook-signature") else {
            return Self::Bad("there is no webhook-signature");
        };
        let Some(id) = text("webhook-id") else {
            return Self::Bad("there is no webhook-id");
        };
        let timestamp = text("webhook-timestamp").and_then(|text| text.parse::<u64>().ok());
        let Some(timestamp) = timestamp else {
            return Self::Bad("there is no webhook-timestamp");
        };
        let is_good = signers.iter().any(|signer| {
            let expected = signature_header(std::slice::from_ref(signer), id, timestamp, body);
            given.split(' ').any(|signature| Some(signature) == expected.as_deref())
        });
        match (is_good, timestamp.abs_diff(now_s) <= TOLERANCE_S) {
            (false, _) => Self::Bad("it does not match: another secret, or a changed body"),
            (true, false) => Self::Bad("its timestamp is more than 5 minutes off"),
            (true, true) => Self::Ok,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(id: &str, timestamp: u64, signature: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", id.parse().unwrap());
        headers.insert("webhook-timestamp", timestamp.into());
        headers.insert("webhook-signature", signature.parse().unwrap());
        headers
    }

    #[test]
    fn a_signature_is_good_only_with_its_key_body_and_time() {
        let (old, new) = (Signer::new(b"old".to_vec()), Signer::new(b"new".to_vec()));
        let both = signature_header(&[old.clone(), new.clone()], "1-0", 1000, b"{}").unwrap();
        let headers = headers("1-0", 1000, &both);
        let check = |signers: &[Signer], body: &[u8], now_s| Signature::check(signers, &headers, body, now_s);
        assert_eq!(check(&[], b"{}", 1000), Signature::Unchecked);
        assert_eq!(check(std::slice::from_ref(&new), b"{}", 1299), Signature::Ok);
        assert_eq!(check(&[old], b"{}", 701), Signature::Ok);
        assert!(matches!(check(std::slice::from_ref(&new), b"{ }", 1000), Signature::Bad(_)));
        assert!(matches!(check(std::slice::from_ref(&new), b"{}", 1301), Signature::Bad(_)));
        assert!(matches!(check(&[Signer::new(b"x".to_vec())], b"{}", 1000), Signature::Bad(_)));
        assert!(matches!(Signature::check(&[new], &HeaderMap::new(), b"{}", 1000), Signature::Bad(_)));
    }
}
