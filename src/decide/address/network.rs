//! Networks in CIDR notation (RFC 4632, RFC 4291).

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::str::FromStr;

/// A network: its first address, and how many bits of it count. An address is only ever in one of its own family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Of IPv4; 0 to 32 bits.
    V4(Ipv4Addr, u8),
    /// Of IPv6; 0 to 128 bits.
    V6(Ipv6Addr, u8),
}

/// Why a text is no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NetworkError {
    /// Neither an address nor a network.
    #[error("{} is neither an address nor a network such as 10.0.0.0/8 or fd00::/8", .0.escape_debug())]
    Malformed(String),
    /// Bits are set that do not count, so that one of the two parts is a mistake.
    #[error(
        "{given} does not begin with the network's first address; did you mean {network}, or {address} alone?"
    )]
    HostBits {
        /// As it was written.
        given: String,
        /// The network that it is in.
        network: Network,
        /// The address of it.
        address: IpAddr,
    },
}

impl Network {
    /// Whether an address is in it.
    pub fn contains(self, address: IpAddr) -> bool {
        match (self, address) {
            (Self::V4(first, length), IpAddr::V4(address)) => mask4(address, length) == first,
            (Self::V6(first, length), IpAddr::V6(address)) => mask6(address, length) == first,
            _ => false,
        }
    }
}

impl From<IpAddr> for Network {
    /// The address alone.
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address, 32),
            IpAddr::V6(address) => Self::V6(address, 128),
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let malformed = || NetworkError::Malformed(text.to_owned());
        let Some((address, length)) = text.split_once('/') else {
            return text.parse::<IpAddr>().map(Self::from).map_err(|_| malformed());
        };
        let address: IpAddr = address.parse().map_err(|_| malformed())?;
        let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
        let most = if address.is_ipv4() { 32 } else { 128 };
        let length = length.parse::<u8>().ok().filter(|length| is_number && *length <= most);
        let length = length.ok_or_else(malformed)?;
        let network = match address {
            IpAddr::V4(address) => Self::V4(mask4(address, length), length),
            IpAddr::V6(address) => Self::V6(mask6(address, length), length),
        };
        match network {
            Self::V4(first, _) if IpAddr::V4(first) == address => Ok(network),
            Self::V6(first, _) if IpAddr::V6(first) == address => Ok(network),
            network => Err(NetworkError::HostBits { given: text.to_owned(), network, address }),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(first, length) => write!(f, "{first}/{length}"),
            Self::V6(first, length) => write!(f, "{first}/{length}"),
        }
    }
}

fn mask4(address: Ipv4Addr, length: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
    Ipv4Addr::from(u32::from(address) & mask)
}

fn mask6(address: Ipv6Addr, length: u8) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
    Ipv6Addr::from(u128::from(address) & mask)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn contains(network: &str, address: &str) -> bool {
        network.parse::<Network>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn holds_what_begins_with_its_bits() {
        assert!(contains("10.0.0.0/8", "10.255.1.2") && !contains("10.0.0.0/8", "11.0.0.0"));
        assert!(contains("172.17.0.2", "172.17.0.2") && !contains("172.17.0.2", "172.17.0.3"));
        assert!(contains("0.0.0.0/0", "255.1.2.3") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("::/0", "fd00::1") && !contains("::/0", "1.2.3.4"));
        assert!(contains("fd00::/8", "fdff::1") && !contains("fd00::/8", "fc00::1"));
        assert!(!contains("127.0.0.0/8", "::ffff:127.0.0.1"), "an address is of its own family");
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in [
            "",
            "/",
            "10",
            "10.0.0.0/",
            "10.0.0.0/33",
            "::/129",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/8/8",
            "n8n",
        ] {
            assert_eq!(text.parse::<Network>(), Err(NetworkError::Malformed(text.to_owned())), "{text}");
        }
        assert_eq!(
            "192.168.1.5/16".parse::<Network>().unwrap_err().to_string(),
            "192.168.1.5/16 does not begin with the network's first address; did you mean 192.168.0.0/16, or \
             192.168.1.5 alone?"
        );
        assert!("fd00::1/8".parse::<Network>().is_err());
    }

    proptest! {
        #[test]
        fn is_read_as_it_is_written(first: u128, length in 0_u8..=128) {
            let v6 = Network::V6(mask6(first.into(), length), length);
            prop_assert_eq!(v6.to_string().parse(), Ok(v6));
            let (first, length) = (Ipv4Addr::from((first >> 96) as u32), length / 4);
            let v4 = Network::V4(mask4(first, length), length);
            prop_assert_eq!(v4.to_string().parse(), Ok(v4));
            prop_assert!(v4.contains(first.into()));
        }

        #[test]
        fn holds_as_many_as_its_bits_leave(address: u32, length in 0_u8..=32, flipped in 0_u8..32) {
            let network = Network::V4(mask4(address.into(), length), length);
            let other = Ipv4Addr::from(address ^ (1 << (31 - flipped)));
            prop_assert_eq!(network.contains(other.into()), flipped >= length);
        }
    }
}
