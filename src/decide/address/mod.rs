//! Addresses: where webhooks of instances may be sent to (SSRF).
//!
//! Whoever sets the webhook of an instance chooses a URL that this machine will send to, and the machine may reach what
//! that person may not: its own services, a private network, the metadata of a cloud. So only public addresses are
//! sent to, unless the operator permits others. The check is made on addresses, not on names: once when a webhook is
//! set, for the person who sets it, and on each address before it is dialled, for a name may lead elsewhere by then.

mod host;
mod network;
mod special;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Host;

pub use self::host::{HostPattern, HostPatternError};
pub use self::network::{Network, NetworkError};
pub use self::special::special;
use crate::model::Refusal;

/// What the operator permits webhooks of instances, beyond public addresses and certificates that can be verified. By
/// default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permits {
    /// `WEBHOOK_ALLOW_HOSTS`: names that may be sent to wherever they are.
    pub hosts: Vec<HostPattern>,
    /// `WEBHOOK_ALLOW_CIDRS`: where else may be sent to.
    pub networks: Vec<Network>,
    /// `WEBHOOK_ALLOW_INSECURE_TLS`: whether a webhook may have `insecure_tls`.
    pub insecure_tls: bool,
}

/// What is known of a URL's host without asking anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach<'a> {
    /// It may be sent to wherever it is: a name that is listed, or an address that was checked.
    Permitted,
    /// A name: each address that it leads to has to be checked.
    Name(&'a str),
}

impl Permits {
    /// Checks the host of a URL as far as that can be done without resolving it, before each attempt.
    ///
    /// # Errors
    /// For an address that may not be sent to, in whichever notation it was written, and for names that mean this
    /// machine (`localhost` and all below it, RFC 6761).
    pub fn host<'a>(&self, host: &Host<&'a str>) -> Result<Reach<'a>, Refusal> {
        let name = match host {
            Host::Ipv4(address) => return self.literal((*address).into()),
            Host::Ipv6(address) => return self.literal((*address).into()),
            Host::Domain(name) => *name,
        };
        if self.lists(name) {
            return Ok(Reach::Permitted);
        }
        if is_this_machine(name) {
            let here = [IpAddr::from(Ipv4Addr::LOCALHOST), IpAddr::from(Ipv6Addr::LOCALHOST)];
            self.any_address(name, &here)?;
        }
        Ok(Reach::Name(name))
    }

    fn literal<'a>(&self, address: IpAddr) -> Result<Reach<'a>, Refusal> {
        match self.refuses(address) {
            None => Ok(Reach::Permitted),
            Some(what) => Err(Refusal { host: address.to_string(), address, what }),
        }
    }

    /// Whether a name is listed in `WEBHOOK_ALLOW_HOSTS`.
    pub fn lists(&self, name: &str) -> bool {
        self.hosts.iter().any(|pattern| pattern.matches(name))
    }

    /// Checks one address of a host that is not listed.
    ///
    /// # Errors
    /// When it is special and in no network that is permitted.
    pub fn address(&self, host: &str, address: IpAddr) -> Result<(), Refusal> {
        match self.refuses(address) {
            None => Ok(()),
            Some(what) => Err(Refusal { host: host::without_root(host).to_owned(), address, what }),
        }
    }

    /// What is special about an address that is in no network that is permitted.
    fn refuses(&self, address: IpAddr) -> Option<&'static str> {
        special(address).filter(|_| !self.networks.iter().any(|network| network.contains(address)))
    }

    /// Checks the addresses of a host that is not listed: one that may be sent to will do, for no other is dialled.
    ///
    /// # Errors
    /// When there are some and none may be.
    pub fn any_address(&self, host: &str, addresses: &[IpAddr]) -> Result<(), Refusal> {
        let mut refused = None;
        for address in addresses {
            match self.address(host, *address) {
                Ok(()) => return Ok(()),
                Err(refusal) => _ = refused.get_or_insert(refusal),
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Checks the addresses of a host that is not listed, where somebody else chooses among them (a proxy, which
    /// resolves by itself): each has to be one that may be sent to.
    ///
    /// # Errors
    /// For the first that may not be.
    pub fn all_addresses(&self, host: &str, addresses: &[IpAddr]) -> Result<(), Refusal> {
        addresses.iter().try_for_each(|address| self.address(host, *address))
    }
}

fn is_this_machine(name: &str) -> bool {
    let name = host::without_root(name);
    name.eq_ignore_ascii_case("localhost") || host::is_below(name, "localhost")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use url::Url;

    use super::*;

    fn permits(hosts: &[&str], networks: &[&str]) -> Permits {
        Permits {
            hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
            insecure_tls: false,
        }
    }

    fn refused(permits: &Permits, url: &str) -> Option<Refusal> {
        let url = Url::parse(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        permits.host(&url.host().unwrap()).err()
    }

    #[test]
    fn this_machine_is_refused_in_every_notation() {
        for host in [
            "127.0.0.1",
            "127.1",
            "127.0.1",
            "0177.0.0.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "2130706433",
            "017700000001",
            "127.0.0.1.",
            "127.255.255.254",
            "0",
            "0.0.0.0",
            "0x0",
            "1２7.0.0.1",
            "①②⑦.⓪.⓪.①",
            "127。0。0。1",
            "%31%32%37.0.0.1",
            "[::1]",
            "[::]",
            "[0:0:0:0:0:0:0:1]",
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[64:ff9b:1::127.0.0.1]",
            "[2002:7f00:1::]",
            "[fe80::1]",
            "localhost",
            "LOCALHOST",
            "localhost.",
            "a.localhost",
            "a.b.LocalHost.",
            "%6cocalhost",
            "ｌocalhost",
            "user@localhost",
            "example.com@127.0.0.1",
            "example.com:443@127.0.0.1:80",
            "u:p@[::1]",
        ] {
            for scheme in ["http", "https"] {
                let url = format!("{scheme}://{host}/");
                assert!(refused(&Permits::default(), &url).is_some(), "{url}");
            }
        }
    }

    #[test]
    fn what_only_looks_like_this_machine_is_a_name() {
        for (url, name) in [
            ("https://example.com/", "example.com"),
            ("https://127.0.0.1@example.com/", "example.com"),
            ("https://example.com/@127.0.0.1", "example.com"),
            ("https://example.com?@localhost", "example.com"),
            ("https://example.com#@localhost", "example.com"),
            ("https://127.0.0.1.nip.io/", "127.0.0.1.nip.io"),
            ("https://localhost.example.com/", "localhost.example.com"),
            ("https://notlocalhost/", "notlocalhost"),
        ] {
            let parsed = Url::parse(url).unwrap();
            assert_eq!(Permits::default().host(&parsed.host().unwrap()), Ok(Reach::Name(name)), "{url}");
        }
        for url in ["http://8.8.8.8/", "http://0x08080808/"] {
            let parsed = Url::parse(url).unwrap();
            assert_eq!(Permits::default().host(&parsed.host().unwrap()), Ok(Reach::Permitted), "{url}");
        }
    }

    #[test]
    fn the_settings_permit_what_they_name_and_nothing_else() {
        let names = permits(&["n8n", "*.corp.example"], &[]);
        let reach = |permits: &Permits, host: &str| {
            let url = Url::parse(&format!("http://{host}:5678/x")).unwrap();
            permits.host(&url.host().unwrap()).map(|reach| match reach {
                Reach::Permitted => None,
                Reach::Name(name) => Some(name.to_owned()),
            })
        };
        assert_eq!(reach(&names, "n8n"), Ok(None));
        assert_eq!(reach(&names, "N8N."), Ok(None));
        assert_eq!(reach(&names, "a.corp.example"), Ok(None));
        assert_eq!(reach(&names, "n8n.example"), Ok(Some("n8n.example".to_owned())));
        assert!(refused(&names, "http://10.0.0.1/").is_some());
        assert_eq!(reach(&permits(&["localhost"], &[]), "localhost"), Ok(None));

        let networks = permits(&[], &["10.1.0.0/16", "::1"]);
        assert!(refused(&networks, "http://10.1.2.3/").is_none());
        assert!(refused(&networks, "http://0x0a010203/").is_none());
        assert!(refused(&networks, "http://10.2.0.1/").is_some());
        assert!(
            refused(&networks, "http://[::ffff:10.1.2.3]/").is_some(),
            "another way to write it is another way"
        );
        assert!(refused(&networks, "http://[::1]/").is_none());
        // It still leads where the system says, and each address is checked then.
        assert_eq!(reach(&networks, "localhost"), Ok(Some("localhost".to_owned())));
        assert!(refused(&permits(&["*"], &[]), "http://10.0.0.1/").is_some(), "an address is no name");
    }

    #[test]
    fn one_address_that_may_be_sent_to_will_do() {
        let [private, public] = ["10.0.0.1", "8.8.8.8"].map(|address| address.parse().unwrap());
        let none = Permits::default();
        assert_eq!(none.any_address("h", &[private, public]), Ok(()));
        let refusal = none.any_address("h.", &[private]).unwrap_err();
        assert_eq!((refusal.host.as_str(), refusal.address, refusal.what), ("h", private, "private"));
        assert_eq!(none.any_address("h", &[]), Ok(()));
    }

    #[test]
    fn one_address_that_may_not_be_sent_to_is_too_many_where_another_chooses() {
        let [private, public, other] =
            ["10.0.0.1", "8.8.8.8", "1.1.1.1"].map(|address| address.parse().unwrap());
        let none = Permits::default();
        for mixed in [[private, public], [public, private]] {
            assert_eq!(none.all_addresses("h", &mixed).unwrap_err().address, private);
        }
        assert_eq!(none.all_addresses("h", &[public, other]), Ok(()));
        assert_eq!(permits(&[], &["10.0.0.0/8"]).all_addresses("h", &[public, private]), Ok(()));
    }

    proptest! {
        #[test]
        fn every_notation_of_an_address_is_judged_as_the_address(octets: [u8; 4], which in 0..6) {
            let address = Ipv4Addr::from(octets);
            let [a, b, c, d] = octets;
            let number = u32::from(address);
            let host = match which {
                0 => address.to_string(),
                1 => number.to_string(),
                2 => format!("{number:#x}"),
                3 => format!("0{number:o}"),
                4 => format!("{a:#x}.0{b:o}.{}", u16::from_be_bytes([c, d])),
                _ => format!("{a}.{}.", number & 0xff_ffff),
            };
            let is_refused = refused(&Permits::default(), &format!("http://{host}/")).is_some();
            prop_assert_eq!(is_refused, special(address.into()).is_some(), "{}", host);
        }

        #[test]
        fn what_is_permitted_is_listed_public_or_a_name(url in "https?://([a-z0-9.:@%\\[\\]-]|\\PC){1,30}/") {
            let Ok(url) = Url::parse(&url) else { return Ok(()) };
            match Permits::default().host(&url.host().unwrap()) {
                Ok(Reach::Permitted) => {
                    let address = match url.host() {
                        Some(Host::Ipv4(address)) => IpAddr::from(address),
                        Some(Host::Ipv6(address)) => IpAddr::from(address),
                        other => panic!("{other:?}"),
                    };
                    prop_assert!(special(address).is_none());
                }
                // What the system's resolver would take for an address is none here.
                Ok(Reach::Name(name)) => prop_assert!(name.parse::<IpAddr>().is_err(), "{}", name),
                Err(refusal) => prop_assert!(special(refusal.address).is_some()),
            }
        }
    }
}
