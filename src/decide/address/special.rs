//! Special addresses: those at which no receiver on the public Internet is.
//!
//! After IANA's registries of special-purpose addresses
//! (<https://www.iana.org/assignments/iana-ipv4-special-registry>,
//! <https://www.iana.org/assignments/iana-ipv6-special-registry>), and stricter: what carries an IPv4 address inside
//! (IPv4-mapped, NAT64, 6to4, Teredo) is special whatever it carries, and so is every IPv6 address that is not global
//! unicast.

use core::net::IpAddr;

use super::Network;

/// What is special about an address, in words that follow "is"; none for one on the public Internet.
pub fn special(address: IpAddr) -> Option<&'static str> {
    let known = SPECIAL.iter().find(|(network, _)| network.contains(address)).map(|(_, what)| *what);
    let is_other = address.is_ipv6() && !GLOBAL_UNICAST.contains(address);
    known.or_else(|| is_other.then_some("not global unicast"))
}

/// All of IPv6 that is given out so far (RFC 4291, 2.4; IANA's IPv6 address space).
const GLOBAL_UNICAST: Network = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3);

/// The first that contains an address names it.
const SPECIAL: &[(Network, &str)] = &[
    (v4([169, 254, 169, 254], 32), "the metadata service of clouds"),
    (v4([169, 254, 170, 2], 32), "the credentials service of a cloud"),
    (v4([100, 100, 100, 200], 32), "the metadata service of a cloud"),
    // In a public range, and yet the host under every virtual machine there.
    (v4([168, 63, 129, 16], 32), "the host service of a cloud"),
    (v4([0, 0, 0, 0], 8), "unspecified (this machine)"),
    (v4([10, 0, 0, 0], 8), "private"),
    (v4([100, 64, 0, 0], 10), "shared by a provider (CGNAT)"),
    (v4([127, 0, 0, 0], 8), "loopback (this machine)"),
    (v4([169, 254, 0, 0], 16), "link-local"),
    (v4([172, 16, 0, 0], 12), "private"),
    (v4([192, 0, 0, 0], 24), "reserved for protocols"),
    (v4([192, 0, 2, 0], 24), "for documentation"),
    (v4([192, 31, 196, 0], 24), "reserved for AS112"),
    (v4([192, 52, 193, 0], 24), "reserved for AMT"),
    (v4([192, 88, 99, 0], 24), "a 6to4 relay"),
    (v4([192, 168, 0, 0], 16), "private"),
    (v4([192, 175, 48, 0], 24), "reserved for AS112"),
    (v4([198, 18, 0, 0], 15), "for benchmarks"),
    (v4([198, 51, 100, 0], 24), "for documentation"),
    (v4([203, 0, 113, 0], 24), "for documentation"),
    (v4([224, 0, 0, 0], 4), "multicast"),
    (v4([255, 255, 255, 255], 32), "broadcast"),
    (v4([240, 0, 0, 0], 4), "reserved"),
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), "the metadata service of a cloud"),
    (v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23], 128), "the credentials service of a cloud"),
    (v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), "the metadata service of a cloud"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 128), "unspecified (this machine)"),
    (v6([0, 0, 0, 0, 0, 0, 0, 1], 128), "loopback (this machine)"),
    (v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96), "IPv4-mapped"),
    (v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96), "IPv4-translated"),
    (v6([0, 0, 0, 0, 0, 0, 0, 0], 96), "IPv4-compatible"),
    (v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96), "an IPv4 address behind NAT64"),
    (v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48), "an IPv4 address behind NAT64"),
    (v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64), "where packets are discarded"),
    (v6([0x100, 0, 0, 1, 0, 0, 0, 0], 64), "a dummy prefix"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 32), "an IPv4 address behind Teredo"),
    (v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23), "reserved for protocols"),
    (v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32), "for documentation"),
    (v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16), "an IPv4 address behind 6to4"),
    (v6([0x2620, 0x4f, 0x8000, 0, 0, 0, 0, 0], 48), "reserved for AS112"),
    (v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20), "for documentation"),
    (v6([0x5f00, 0, 0, 0, 0, 0, 0, 0], 16), "for segment routing"),
    (v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7), "private (unique local)"),
    (v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), "link-local"),
    (v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10), "private (site-local)"),
    (v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), "multicast"),
];

const fn v4(octets: [u8; 4], length: u8) -> Network {
    let [a, b, c, d] = octets;
    Network::V4(core::net::Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(segments: [u16; 8], length: u8) -> Network {
    let [a, b, c, d, e, f, g, h] = segments;
    Network::V6(core::net::Ipv6Addr::new(a, b, c, d, e, f, g, h), length)
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn is_special(address: &str) -> bool {
        special(address.parse().unwrap()).is_some()
    }

    #[test]
    fn each_range_is_special_from_its_first_address_to_its_last_and_not_beyond() {
        // Before it, the first, the last, behind it; where a neighbour is special too, it is left out.
        for (before, first, last, behind) in [
            ("", "0.0.0.0", "0.255.255.255", "1.0.0.0"),
            ("9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"),
            ("100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"),
            ("126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"),
            ("168.63.129.15", "168.63.129.16", "168.63.129.16", "168.63.129.17"),
            ("169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"),
            ("172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"),
            ("191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"),
            ("192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"),
            ("192.31.195.255", "192.31.196.0", "192.31.196.255", "192.31.197.0"),
            ("192.52.192.255", "192.52.193.0", "192.52.193.255", "192.52.194.0"),
            ("192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"),
            ("192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"),
            ("192.175.47.255", "192.175.48.0", "192.175.48.255", "192.175.49.0"),
            ("198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"),
            ("198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"),
            ("203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"),
            ("223.255.255.255", "224.0.0.0", "255.255.255.255", ""),
            ("", "::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""),
            ("", "2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::"),
            ("2001:db7:ffff::", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"),
            ("2001:ffff::", "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::"),
            ("2620:4f:7fff::", "2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff", "2620:4f:8001::"),
            ("3ffe:ffff::", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::"),
            ("3fff:ffff::", "4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", ""),
        ] {
            assert!(is_special(first) && is_special(last), "{first} to {last}");
            for outside in [before, behind].into_iter().filter(|address| !address.is_empty()) {
                assert!(!is_special(outside), "{outside} beside {first} to {last}");
            }
        }
    }

    #[test]
    fn what_an_address_is_gets_told() {
        for (address, what) in [
            ("169.254.169.254", "the metadata service of clouds"),
            ("169.254.1.1", "link-local"),
            ("192.168.1.5", "private"),
            ("127.0.0.1", "loopback (this machine)"),
            ("0.0.0.0", "unspecified (this machine)"),
            ("255.255.255.255", "broadcast"),
            ("239.1.2.3", "multicast"),
            ("fd00:ec2::254", "the metadata service of a cloud"),
            ("::1", "loopback (this machine)"),
            ("::", "unspecified (this machine)"),
            ("::ffff:8.8.8.8", "IPv4-mapped"),
            ("::8.8.8.8", "IPv4-compatible"),
            ("64:ff9b::808:808", "an IPv4 address behind NAT64"),
            ("64:ff9b:1::1", "an IPv4 address behind NAT64"),
            ("2002:808:808::1", "an IPv4 address behind 6to4"),
            ("2001:0:53aa:64c::1", "an IPv4 address behind Teredo"),
            ("100::1", "where packets are discarded"),
            ("5f00::1", "for segment routing"),
            ("fe80::1", "link-local"),
            ("fec0::1", "private (site-local)"),
            ("fdab::1", "private (unique local)"),
            ("ff02::1", "multicast"),
            ("4000::1", "not global unicast"),
        ] {
            assert_eq!(special(address.parse().unwrap()), Some(what), "{address}");
        }
        for address in
            ["1.1.1.1", "8.8.8.8", "100.128.0.1", "2606:4700::1111", "2a00:1450::1", "2400:cb00::1"]
        {
            assert_eq!(special(address.parse().unwrap()), None, "{address}");
        }
    }

    proptest! {
        #[test]
        fn what_the_standard_library_knows_to_be_special_is(address: [u8; 4]) {
            let it = Ipv4Addr::from(address);
            let known = it.is_private() || it.is_loopback() || it.is_link_local() || it.is_multicast()
                || it.is_broadcast() || it.is_documentation() || it.is_unspecified();
            prop_assert!(!known || special(it.into()).is_some(), "{it}");
        }

        #[test]
        fn nothing_that_carries_an_ipv4_address_passes(carried: [u8; 4], rest: u64, low: u16) {
            let v4 = Ipv4Addr::from(carried);
            let [a, b] = [u16::from_be_bytes([carried[0], carried[1]]), u16::from_be_bytes([carried[2], carried[3]])];
            let [w, x, y, z] = [rest >> 48, rest >> 32, rest >> 16, rest].map(|part| (part & 0xffff) as u16);
            for it in [
                v4.to_ipv6_mapped(),
                Ipv6Addr::new(0, 0, 0, 0, 0, 0, a, b),
                Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, a, b),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, a, b),
                Ipv6Addr::new(0x64, 0xff9b, 1, w, x, y, a, b),
                Ipv6Addr::new(0x2002, a, b, w, x, y, z, low),
                Ipv6Addr::new(0x2001, 0, a, b, w, x, y, z),
                Ipv6Addr::new(0x2001, 0, w, x, y, z, !a, !b),
            ] {
                prop_assert!(special(it.into()).is_some(), "{it}");
            }
        }

        #[test]
        fn of_ipv6_only_global_unicast_passes(segments: [u16; 8]) {
            let it = Ipv6Addr::from(segments);
            prop_assert!(segments[0] >> 13 == 1 || special(it.into()).is_some(), "{it}");
        }

        #[test]
        fn most_of_the_internet_passes(address: [u8; 4]) {
            let it = Ipv4Addr::from(address);
            let [a, b, ..] = address;
            // All of those in which something is special.
            let holds_some = a == 0 || a == 10 || a == 127 || a >= 224
                || [(100, 64..=127), (168, 63..=63), (169, 254..=254), (172, 16..=31), (192, 0..=0), (192, 31..=31),
                    (192, 52..=52), (192, 88..=88), (192, 168..=168), (192, 175..=175), (198, 18..=19),
                    (198, 51..=51), (203, 0..=0)].iter().any(|(first, second)| a == *first && second.contains(&b));
            prop_assert!(holds_some || special(it.into()).is_none(), "{it}");
        }
    }
}
