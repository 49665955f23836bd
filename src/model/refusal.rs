//! Refusals: where webhooks of instances may not be sent to.

use core::fmt;
use core::net::IpAddr;

/// An address that the webhook of an instance may not be sent to, unless the operator permits it. As text it names the
/// host, the address and the settings that would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The host of the URL: a name, or the address itself.
    pub host: String,
    /// Where it is.
    pub address: IpAddr,
    /// What is special about that address, in words that follow "is".
    pub what: &'static str,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, address, what } = self;
        let may_not = "and webhooks of instances may only be sent to public addresses";
        if host.parse() == Ok(*address) {
            write!(f, "{address} is {what}, {may_not}; WEBHOOK_ALLOW_CIDRS={address} permits it")
        } else {
            write!(f, "the host {host} is at {address}, which is {what}, {may_not}; ")?;
            write!(f, "WEBHOOK_ALLOW_HOSTS={host} or WEBHOOK_ALLOW_CIDRS={address} permits it")
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_host_the_address_and_the_settings() {
        let refusal = |host: &str| Refusal {
            host: host.to_owned(),
            address: IpAddr::from([10, 0, 0, 5]),
            what: "private",
        };
        assert_eq!(
            refusal("n8n").to_string(),
            "the host n8n is at 10.0.0.5, which is private, and webhooks of instances may only be sent to public \
             addresses; WEBHOOK_ALLOW_HOSTS=n8n or WEBHOOK_ALLOW_CIDRS=10.0.0.5 permits it"
        );
        assert_eq!(
            refusal("10.0.0.5").to_string(),
            "10.0.0.5 is private, and webhooks of instances may only be sent to public addresses; \
             WEBHOOK_ALLOW_CIDRS=10.0.0.5 permits it"
        );
    }
}
