//! Who may ask: whoever has the key, or, where there is none, callers of this machine.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{Api, ApiError};
use crate::model::Secret;

/// Evolution API's header.
const APIKEY: &str = "apikey";

/// Lets a request pass that may.
pub(super) async fn check(
    State(api): State<Api>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    match &api.settings.api_key {
        Some(key) => with_key(key, request.headers())?,
        None => from_here(request.headers())?,
    }
    Ok(next.run(request).await)
}

fn with_key(key: &Secret, headers: &HeaderMap) -> Result<(), ApiError> {
    let given = given(headers).ok_or_else(|| {
        let message =
            "a key is needed: send `apikey: <AUTHENTICATION_API_KEY>` or `Authorization: Bearer <key>`";
        ApiError::new(StatusCode::UNAUTHORIZED, message)
    })?;
    match is_same(&given, key.expose().as_bytes()) {
        true => Ok(()),
        false => Err(ApiError::new(StatusCode::UNAUTHORIZED, "the key is not AUTHENTICATION_API_KEY")),
    }
}

/// The key that was sent: by Evolution API's header, as a bearer token, or as the password of a URL
/// (`http://any:key@host/…`), for senders that cannot set headers.
fn given(headers: &HeaderMap) -> Option<Vec<u8>> {
    if let Some(key) = headers.get(APIKEY) {
        return Some(key.as_bytes().to_vec());
    }
    let (scheme, rest) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().as_bytes().to_vec());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let pair = STANDARD.decode(rest.trim()).ok()?;
        let colon = pair.iter().position(|byte| *byte == b':')?;
        return Some(pair[colon + 1..].to_vec());
    }
    None
}

/// Takes as long whatever they have in common: hashes are compared, and those in constant time.
fn is_same(given: &[u8], key: &[u8]) -> bool {
    Sha256::digest(given).as_slice().ct_eq(Sha256::digest(key).as_slice()).into()
}

/// Without a key only loopback is bound; but a page in a browser of this machine can be made to ask, too: by a name
/// of its own that resolves to us (then `Host` is that name), or across origins (then `Origin` is there).
fn from_here(headers: &HeaderMap) -> Result<(), ApiError> {
    let refused = |what: &str| {
        let message = format!("{what} is not this machine: set AUTHENTICATION_API_KEY to serve others");
        Err(ApiError::new(StatusCode::FORBIDDEN, message))
    };
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match text(header::HOST) {
        Some(host) if !is_local(host) => return refused("the host that was asked for"),
        _ => {}
    }
    match text(header::ORIGIN) {
        Some(origin) if !origin.split_once("://").is_some_and(|(_, host)| is_local(host)) => {
            refused("the origin of the request")
        }
        _ => Ok(()),
    }
}

/// Whether `host[:port]` names this machine.
fn is_local(authority: &str) -> bool {
    let Ok(authority) = authority.parse::<http::uri::Authority>() else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_key_is_taken_from_any_place_a_sender_can_put_it() {
        for (name, value) in [
            ("apikey", "secret-key"),
            ("authorization", "Bearer secret-key"),
            ("authorization", "bearer secret-key"),
            ("authorization", "Basic YW55OnNlY3JldC1rZXk="),
        ] {
            assert!(with_key(&Secret::new("secret-key"), &headers(&[(name, value)])).is_ok(), "{value}");
            assert!(with_key(&Secret::new("secret-kez"), &headers(&[(name, value)])).is_err(), "{value}");
        }
        for (name, value) in [
            ("apikey", ""),
            ("apikey", "secret-key2"),
            ("authorization", "secret-key"),
            ("authorization", "Basic !!"),
            ("authorization", "Basic YW55"),
        ] {
            assert!(with_key(&Secret::new("secret-key"), &headers(&[(name, value)])).is_err(), "{value}");
        }
        assert!(with_key(&Secret::new("secret-key"), &headers(&[])).is_err());
    }

    #[test]
    fn without_a_key_a_page_of_elsewhere_is_refused() {
        for good in [
            &[("host", "127.0.0.1:8090")][..],
            &[("host", "localhost")],
            &[("host", "[::1]:8090")],
            &[("host", "127.1.2.3:1"), ("origin", "http://localhost:3000")],
            &[],
        ] {
            assert!(from_here(&headers(good)).is_ok(), "{good:?}");
        }
        for bad in [
            &[("host", "evil.example:8090")][..],
            &[("host", "localhost.evil.example")],
            &[("host", "127.0.0.1.evil.example")],
            &[("host", "evil@127.0.0.1 x")],
            &[("host", "localhost"), ("origin", "https://evil.example")],
            &[("host", "localhost"), ("origin", "null")],
        ] {
            assert!(from_here(&headers(bad)).is_err(), "{bad:?}");
        }
    }
}
