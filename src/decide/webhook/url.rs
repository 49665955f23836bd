//! URLs of webhooks: what can be sent to.

use super::MASK;

/// The longest URL. Far above what receivers accept, and low enough that a route still fits into a request.
const MAX_BYTES: usize = 8192;

/// Why nothing can be sent to a URL. The messages follow the setting's name ("`url` is empty") and never hold the
/// URL, which may carry a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// No characters.
    #[error("is empty; write where the events are to be sent, for example https://example.com/webhook")]
    Empty,
    /// Longer than 8 KiB.
    #[error("is {0} bytes long; at most {MAX_BYTES} are allowed")]
    TooLong(usize),
    /// White space or a control character.
    #[error("holds {0:?} as character {1}; {advice}", advice = space_advice(*.0))]
    Space(char, usize),
    /// Nothing like `https://` in front.
    #[error("has no scheme; add https:// (or http://) in front")]
    NoScheme,
    /// A scheme other than `http` and `https`.
    #[error("cannot be used: {} is not http or https", .0.escape_debug())]
    OtherScheme(String),
    /// No host.
    #[error("has no host; write for example https://example.com/webhook")]
    NoHost,
    /// A URL that was masked for showing, and then handed in.
    #[error("is masked with {MASK}; write it out")]
    Masked,
    /// A backslash, which clients take for a slash.
    #[error("holds a backslash; write / (or %5C)")]
    Backslash,
    /// Anything else.
    #[error("cannot be used: {0}")]
    Malformed(String),
}

/// Checks that a URL can be sent to: absolute, `http` or `https`, with a host, and nothing in it that a client would
/// silently drop or change the meaning of. Userinfo is allowed (and sent as Basic authentication); so are non-ASCII
/// host names and paths.
///
/// # Errors
/// What is wrong with it.
pub fn check_url(url: &str) -> Result<(), UrlError> {
    parsed(url).map(drop)
}

/// A URL that can be sent to.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parsed(url: &str) -> Result<::url::Url, UrlError> {
    if url.is_empty() {
        return Err(UrlError::Empty);
    }
    if url.len() > MAX_BYTES {
        return Err(UrlError::TooLong(url.len()));
    }
    if let Some((at, c)) = url.chars().enumerate().find(|(_, c)| c.is_whitespace() || c.is_control()) {
        return Err(UrlError::Space(c, at + 1));
    }
    let (scheme, rest) = url.split_once("://").ok_or(UrlError::NoScheme)?;
    if !is_scheme(scheme) {
        return Err(UrlError::NoScheme);
    }
    if !["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) {
        return Err(UrlError::OtherScheme(scheme.to_owned()));
    }
    if url.contains('\\') {
        return Err(UrlError::Backslash);
    }
    // The WHATWG reading would skip any number of slashes and take what follows for the host.
    if rest.is_empty() || rest.starts_with(['/', '?', '#']) {
        return Err(UrlError::NoHost);
    }
    check_not_masked(url)?;
    let parsed = ::url::Url::parse(url).map_err(|error| match error {
        ::url::ParseError::EmptyHost => UrlError::NoHost,
        error => UrlError::Malformed(error.to_string()),
    })?;
    // What the HTTP client makes of it in the end.
    parsed.as_str().parse::<http::Uri>().map_err(|error| UrlError::Malformed(error.to_string()))?;
    Ok(parsed)
}

/// Checks that a URL, whatever else it is, was not masked for showing and then handed in: it would replace the one that
/// is stored.
///
/// # Errors
/// [`UrlError::Masked`].
pub(super) fn check_not_masked(url: &str) -> Result<(), UrlError> {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
    let is_masked = after_scheme.starts_with(&format!("{MASK}@"))
        || url.ends_with(&format!("?{MASK}"))
        || url.ends_with(&format!("#{MASK}"));
    if is_masked { Err(UrlError::Masked) } else { Ok(()) }
}

/// Whether this looks like a URL's scheme (RFC 3986, 3.1), and not like the start of a query with a URL in it.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
}

fn space_advice(c: char) -> &'static str {
    match c {
        ' ' => "write %20",
        _ => "take it out",
    }
}

/// A URL as it may be shown: with its path, and with userinfo, query and fragment masked where there are any.
pub(super) fn public_url(url: &str) -> String {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    let mut shown = crate::model::display_url(url);
    let has_userinfo = shown.len() < end;
    if let (true, Some(scheme_end)) = (has_userinfo, shown.find("://")) {
        shown.insert_str(scheme_end + "://".len(), &format!("{MASK}@"));
    }
    if let Some(mark) = url[end..].chars().next() {
        shown.push(mark);
        shown.push_str(MASK);
    }
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_can_be_sent_to_is_accepted() {
        for url in [
            "https://example.com",
            "HTTP://Example.com:8080/a/b?c=d#e",
            "http://localhost:3000/webhook",
            "http://evolution_api:8080/x",
            "https://user:p%40ss@example.com/",
            "http://[::1]:80/",
            "https://bücher.example/ä?ö",
            "https://n8n.example/webhook/3f2b-{{x}}|^'\"<>`",
            "http://192.168.0.1/?next=https://h/",
        ] {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn what_cannot_be_sent_to_is_refused_with_what_to_do() {
        for (url, message) in [
            ("", "is empty; write where the events are to be sent, for example https://example.com/webhook"),
            ("https://h/a b", "holds ' ' as character 12; write %20"),
            ("https://h/a\nb", "holds '\\n' as character 12; take it out"),
            (" https://h/", "holds ' ' as character 1; write %20"),
            ("https://h/a\u{a0}", "holds '\\u{a0}' as character 12; take it out"),
            ("example.com/webhook", "has no scheme; add https:// (or http://) in front"),
            ("localhost:3000/webhook", "has no scheme; add https:// (or http://) in front"),
            ("//example.com/", "has no scheme; add https:// (or http://) in front"),
            ("/a?u=http://h/", "has no scheme; add https:// (or http://) in front"),
            ("https:/example.com/", "has no scheme; add https:// (or http://) in front"),
            ("ftp://example.com/", "cannot be used: ftp is not http or https"),
            ("file:///etc/passwd", "cannot be used: file is not http or https"),
            ("https://", "has no host; write for example https://example.com/webhook"),
            ("https:///path", "has no host; write for example https://example.com/webhook"),
            ("https://?a", "has no host; write for example https://example.com/webhook"),
            ("https://:80/", "has no host; write for example https://example.com/webhook"),
            ("https://u:p@/", "has no host; write for example https://example.com/webhook"),
            ("https://h:99999/", "cannot be used: invalid port number"),
            ("https://1.2.3.4.5/", "cannot be used: invalid IPv4 address"),
            ("https://a\\b/", "holds a backslash; write / (or %5C)"),
            ("https://***@h/a", "is masked with ***; write it out"),
            ("https://h/a?***", "is masked with ***; write it out"),
        ] {
            assert_eq!(check_url(url).unwrap_err().to_string(), message, "{url:?}");
        }
        assert_eq!(check_url(&format!("https://h/{}", "x".repeat(9000))), Err(UrlError::TooLong(9010)));
    }

    #[test]
    fn a_shown_url_says_where_something_is_masked() {
        for (url, shown) in [
            ("https://h/a", "https://h/a"),
            ("https://u:p@h:8/a@b?token=1#x", "https://***@h:8/a@b?***"),
            ("https://u@h", "https://***@h"),
            ("https://h/#token", "https://h/#***"),
            ("", ""),
        ] {
            assert_eq!(public_url(url), shown);
        }
        assert_eq!(check_url(&public_url("https://u:p@h/")), Err(UrlError::Masked));
        assert_eq!(check_url(&public_url("https://h/?a")), Err(UrlError::Masked));
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_a_url_and_a_uri(url in "(https?://)?([a-z@:.\\[\\]/?#%{}|-]|\\PC){0,20}") {
            if check_url(&url).is_ok() {
                let parsed = ::url::Url::parse(&url).unwrap();
                prop_assert!(parsed.has_host() && parsed.as_str().parse::<http::Uri>().is_ok());
            }
            prop_assert!(!public_url(&url).contains("p4ss"));
        }
    }
}
