//! Destinations: where a POST goes.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Where a delivery goes. Written `global`, `instance:<name>` or `errors`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Destination {
    /// The operator's `WEBHOOK_GLOBAL_URL`.
    Global,
    /// The webhook of the instance of this name.
    Instance(Arc<str>),
    /// The operator's `WEBHOOK_EVENTS_ERRORS_WEBHOOK`.
    Errors,
}

impl Destination {
    /// Every kind.
    pub const KINDS: [&str; 3] = ["global", "instance", "errors"];

    /// Its kind: what may be told of it where names must not be.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Instance(_) => "instance",
            Self::Errors => "errors",
        }
    }

    /// The instance whose webhook it is.
    pub fn instance(&self) -> Option<&Arc<str>> {
        match self {
            Self::Instance(instance) => Some(instance),
            Self::Global | Self::Errors => None,
        }
    }
}

/// Why a text is not a destination.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a destination; write global, errors or instance:<name>")]
pub struct DestinationError(String);

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Global => f.write_str("global"),
            Self::Instance(name) => write!(f, "instance:{name}"),
            Self::Errors => f.write_str("errors"),
        }
    }
}

impl FromStr for Destination {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "global" => Ok(Self::Global),
            "errors" => Ok(Self::Errors),
            _ => match text.strip_prefix("instance:") {
                Some(name) if !name.is_empty() => Ok(Self::Instance(name.into())),
                _ => Err(DestinationError(text.to_owned())),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_as_it_is_written() {
        for text in ["global", "errors", "instance:a", "instance:a b:{c}\n"] {
            assert_eq!(text.parse::<Destination>().unwrap().to_string(), text);
        }
        for text in ["", "Global", "instance:", "sales"] {
            assert!(text.parse::<Destination>().is_err(), "{text}");
        }
    }
}
