//! A webhook's URL as attempts need it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Uri};
use percent_encoding::percent_decode_str;
use url::Url;

use super::UrlError;
use super::url::parsed;
use crate::decide::route::join_url;
use crate::model::Endpoint;

/// Where POSTs go, and the value of `authorization` that the URL's userinfo stands for.
///
/// # Errors
/// When nothing can be sent there.
pub(super) fn endpoint(url: &str, by_events: bool) -> Result<(Endpoint, Option<HeaderValue>), UrlError> {
    let malformed = |error: &dyn std::fmt::Display| UrlError::Malformed(error.to_string());
    let parsed = parsed(url)?;
    let authorization = basic(&parsed);
    let mut requested = match by_events {
        // Dots in the path go up only once there is something behind them: so as if the route were there.
        true => Url::parse(&join_url(url, "")).map_err(|error| malformed(&error))?,
        false => parsed,
    };
    let host = requested.host().ok_or(UrlError::NoHost)?.to_owned();
    // Only URLs without a host have no place for them.
    let _ = (requested.set_username(""), requested.set_password(None));
    let uri: Uri = requested.as_str().parse().map_err(|error| malformed(&error))?;
    Ok((Endpoint::new(uri, host), authorization))
}

/// Basic authentication (RFC 7617), in UTF-8. A user that is none in UTF-8 is not told at all, and of a password that is
/// none only the user.
fn basic(url: &Url) -> Option<HeaderValue> {
    let user = percent_decode_str(url.username()).decode_utf8().ok()?;
    let password = url.password().and_then(|password| percent_decode_str(password).decode_utf8().ok());
    if user.is_empty() && password.is_none() {
        return None;
    }
    let userinfo = format!("{user}:{}", password.unwrap_or_default());
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(userinfo))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::decide::route::Routes;
    use crate::decide::webhook::check_url;
    use crate::model::EventName;

    /// What a whole URL, read anew, is requested as.
    fn read_anew(url: &str) -> Uri {
        let mut url = Url::parse(url).unwrap();
        url.set_username("").unwrap();
        url.set_password(None).unwrap();
        url.as_str().parse().unwrap()
    }

    fn assert_same(url: &str, route: &str) {
        let (plain, _) = endpoint(url, false).unwrap();
        let (routed, _) = endpoint(url, true).unwrap();
        let joined = join_url(url, route);
        for (uri, url) in [(plain.uri(), url), (&routed.with_route(route).unwrap(), &joined)] {
            let expected = read_anew(url);
            assert_eq!(uri.to_string(), expected.to_string(), "{url}");
            assert_eq!(uri.path_and_query(), expected.path_and_query(), "{url}");
            assert_eq!(uri.authority(), expected.authority(), "{url}");
        }
        let host = Url::parse(&joined).unwrap().host().map(|host| host.to_owned());
        assert_eq!((plain.host().to_owned(), Some(routed.host().to_owned())), (host.clone().unwrap(), host));
    }

    #[test]
    fn a_route_is_appended_as_if_the_whole_url_were_read_anew() {
        for url in [
            "https://h",
            "https://h/",
            "HTTPS://H:443//",
            "http://u:p@h:80/a/?t=1/2#f",
            "https://u:p%40ss@h:8/%7Ea",
            "https://h?t=1/2#f",
            "https://h/a?",
            "https://h#/?a",
            "https://h/a/..",
            "https://h/a/%2e%2E/",
            "https://h/a//.",
            "https://h/a/./?.",
            "https://bücher.example/ä ö".replace(' ', "%20").as_str(),
            "http://0x7f.1/a{b}\"<>`^|",
            "http://[0:0::1]:8080/é?é#é",
            "http://evolution_api:8080/x",
        ] {
            for route in ["x", "a/b/", "messages-upsert", "%E1%BC%80-%20", "~._-", "..a"] {
                assert_same(url, route);
            }
        }
    }

    #[test]
    fn userinfo_is_sent_as_basic_authentication() {
        for (userinfo, value) in [
            ("", None),
            ("@", None),
            (":@", None),
            ("user@", Some("Basic dXNlcjo=")),
            ("user:@", Some("Basic dXNlcjo=")),
            (":p@", Some("Basic OnA=")),
            ("user:p%40ss@", Some("Basic dXNlcjpwQHNz")),
            ("%C3%A9:%C3%A9@", Some("Basic w6k6w6k=")),
            ("user:%ff@", Some("Basic dXNlcjo=")),
            ("%ff:p@", None),
        ] {
            let (endpoint, authorization) = endpoint(&format!("https://{userinfo}h:1/a"), false).unwrap();
            assert_eq!(authorization.as_ref().map(|value| value.to_str().unwrap()), value, "{userinfo}");
            assert!(authorization.is_none_or(|value| value.is_sensitive()));
            assert_eq!(endpoint.uri(), "https://h:1/a", "{userinfo}");
        }
    }

    #[test]
    fn a_route_that_is_too_long_for_a_url_is_an_error() {
        let (endpoint, _) = endpoint("https://h/", true).unwrap();
        assert!(endpoint.with_route(&"x".repeat(70_000)).is_err());
    }

    proptest! {
        #[test]
        fn whatever_the_url_a_route_is_appended_as_if_it_were_read_anew(
            scheme in "https?|HTTPS?",
            userinfo in "([a-z%.-]{0,4}(:[!-~&&[^/?#@\\\\]]{0,4})?@)?",
            host in "[a-z]{1,5}(\\.[a-z]{1,3}\\.?)?|[0-9]{1,3}\\.[0-9]{1,3}|\\[::[0-9a-f]{1,4}\\]|bücher|[a-z]{1,3}_[a-z]|\\PC{1,3}",
            port in "(:(80|443|[1-9][0-9]{0,3})?)?",
            path in "(/([a-z]{0,3}|\\.{1,3}|%2[eEfF]|%[0-9a-f]{2}|[!-~&&[^?#\\\\]]{0,5}|\\PC{0,3})){0,5}",
            query in "(\\?([!-~&&[^#\\\\]]{0,9}|\\PC{0,3}))?",
            fragment in "(#([!-~&&[^\\\\]]{0,9}|\\PC{0,3}))?",
            event in ".{1,9}",
            own_route in proptest::option::of("[a-z0-9_~-][a-z0-9._~-]{0,5}(/\\.{0,2}[a-z-]{1,5}){0,2}/?"),
        ) {
            let url = format!("{scheme}://{userinfo}{host}{port}{path}{query}{fragment}");
            if check_url(&url).is_err() {
                return Ok(());
            }
            let route = match own_route {
                Some(route) => route,
                None => {
                    let Ok(name) = EventName::parse(&event) else { return Ok(()) };
                    Routes::default().suffix(&name).into_owned()
                }
            };
            assert_same(&url, &route);
        }
    }
}
