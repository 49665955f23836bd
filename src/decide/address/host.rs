//! Names of hosts in `WEBHOOK_ALLOW_HOSTS`.

use core::fmt;
use core::str::FromStr;

use url::Host;

/// Which host names are meant: one, all below one, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// `n8n`: this name alone.
    Exactly(String),
    /// `*.internal.example`: every name that ends in it, at any depth, but not itself.
    Below(String),
    /// `*`: every name.
    Any,
}

/// Why a text names no host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternError {
    /// An address.
    #[error("{0} is an address; list it in WEBHOOK_ALLOW_CIDRS")]
    Address(String),
    /// Anything else.
    #[error("{} is not the name of a host; write it without scheme, port and path, such as n8n or *.internal.example", .0.escape_debug())]
    Malformed(String),
}

impl HostPattern {
    /// Whether a host's name, as URLs hold it after they are parsed, is meant.
    pub fn matches(&self, host: &str) -> bool {
        let host = without_root(host);
        match self {
            Self::Exactly(name) => host.eq_ignore_ascii_case(name),
            Self::Below(name) => is_below(host, name),
            Self::Any => true,
        }
    }
}

impl FromStr for HostPattern {
    type Err = HostPatternError;

    fn from_str(text: &str) -> Result<Self, HostPatternError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (name, is_below) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
        let malformed = || HostPatternError::Malformed(text.to_owned());
        let is_address = |text: &str| text.parse::<core::net::IpAddr>().is_ok();
        if is_address(name.trim_start_matches('[').trim_end_matches(']')) {
            return Err(HostPatternError::Address(text.to_owned()));
        }
        if name.contains(['*', '%', '@', ':', '/']) || without_root(name).is_empty() {
            return Err(malformed());
        }
        // As a URL's host is: in lower case, and with other scripts as Punycode.
        match Host::parse(name) {
            Ok(Host::Domain(name)) if name.bytes().all(is_usual) => {
                let name = without_root(&name).to_owned();
                Ok(if is_below { Self::Below(name) } else { Self::Exactly(name) })
            }
            Ok(Host::Ipv4(_) | Host::Ipv6(_)) => Err(HostPatternError::Address(text.to_owned())),
            Ok(Host::Domain(_)) | Err(_) => Err(malformed()),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// What names in DNS and on local networks consist of.
fn is_usual(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

/// Whether a host's name, without the dot of the root, ends in another, at any depth.
pub(super) fn is_below(host: &str, name: &str) -> bool {
    let above = host.len().checked_sub(name.len() + 1);
    above.filter(|at| *at > 0).is_some_and(|at| {
        host.as_bytes()[at] == b'.' && host.get(at + 1..).is_some_and(|end| end.eq_ignore_ascii_case(name))
    })
}

/// A name without the dot of the root, which changes nothing about where it leads.
pub(super) fn without_root(host: &str) -> &str {
    host.strip_suffix('.').unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, host: &str) -> bool {
        pattern.parse::<HostPattern>().unwrap().matches(host)
    }

    #[test]
    fn a_name_is_meant_alone_and_a_star_for_what_is_below() {
        for (pattern, host) in [
            ("n8n", "n8n"),
            ("N8N", "n8n"),
            ("n8n.", "n8n"),
            ("n8n", "n8n."),
            ("evolution_api", "evolution_api"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("*.internal.example", "a.internal.example"),
            ("*.internal.example", "a.b.internal.example."),
            ("*", "anything"),
        ] {
            assert!(matches(pattern, host), "{pattern} {host}");
        }
        for (pattern, host) in [
            ("n8n", "n8n.evil.example"),
            ("n8n", "evil-n8n"),
            ("*.internal.example", "internal.example"),
            ("*.internal.example", ".internal.example"),
            ("*.internal.example", "evilinternal.example"),
            ("*.internal.example", "a.internal.example.evil.example"),
            ("*.internal.example", "example"),
            ("*.b", "é.b.c"),
        ] {
            assert!(!matches(pattern, host), "{pattern} {host}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in [
            "",
            ".",
            "*.",
            "http://n8n",
            "n8n:5678",
            "n8n/x",
            "u@n8n",
            "a*b",
            "*.*.a",
            "a b",
            "%6e8n",
            "n8n%",
            "{n8n",
        ] {
            let error = text.parse::<HostPattern>().unwrap_err();
            assert_eq!(error, HostPatternError::Malformed(text.to_owned()), "{text}");
        }
        for text in ["10.0.0.1", "::1", "[::1]", "0x7f.1", "2130706433", "127.1"] {
            let error = text.parse::<HostPattern>().unwrap_err();
            assert!(error.to_string().contains("WEBHOOK_ALLOW_CIDRS"), "{text}: {error}");
        }
    }
}
