//! Which letters are meant: some by id, those of a filter, or, said in so many words, all.

use serde::Deserialize;

use super::{ApiError, id_of};
use crate::model::format::When;
use crate::model::{DeadReason, Destination, EntryId, EventName};
use crate::operate::dead::{self, Wanted};

/// How many letters one request changes at most, and where nothing is said.
const MOST: usize = 5000;
const DEFAULT: usize = 1000;

/// A filter as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FilterText {
    pub(super) destination: Option<String>,
    pub(super) instance: Option<String>,
    pub(super) event: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) since: Option<String>,
    pub(super) until: Option<String>,
}

impl FilterText {
    /// What it says.
    pub(super) fn wanted(self) -> Result<Wanted, String> {
        Ok(Wanted {
            destination: read(self.destination, "destination", |text| {
                text.parse::<Destination>().map_err(|error| error.to_string())
            })?,
            instance: self.instance,
            event: read(self.event, "event", |text| {
                EventName::parse(text).map_err(|error| error.to_string())
            })?,
            reason: read(self.reason, "reason", str::parse::<DeadReason>)?,
            since: read(self.since, "since", When::parse)?,
            until: read(self.until, "until", When::parse)?,
        })
    }
}

fn read<T>(
    text: Option<String>,
    name: &str,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, String> {
    text.map(|text| parse(&text).map_err(|why| format!("{name}: {why}"))).transpose()
}

/// What a request is about.
#[derive(Debug)]
pub(super) struct Select {
    pub(super) which: Which,
    /// How many letters at most.
    pub(super) limit: usize,
    /// How many a second at most.
    pub(super) rate: Option<f64>,
}

#[derive(Debug)]
pub(super) enum Which {
    Ids(Vec<EntryId>),
    Matching(Wanted, Option<Cursor>),
}

/// Where another request left off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The last letter that was looked at, and the newest that is meant.
    pub(super) after: EntryId,
    pub(super) last: EntryId,
}

impl Cursor {
    fn parse(text: &str) -> Result<Self, ApiError> {
        let ids = text.split_once(':').and_then(|(a, b)| Some((dead::id(a).ok()?, dead::id(b).ok()?)));
        let (after, last) = ids.ok_or_else(|| {
            ApiError::bad_request(format!("'{text}' is no cursor: send back `next` as it was told"))
        })?;
        Ok(Self { after, last })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.after, self.last)
    }
}

/// The body of a replay.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ReplayBody {
    ids: Option<Vec<String>>,
    filter: Option<FilterText>,
    all: bool,
    limit: Option<usize>,
    rate: Option<f64>,
    cursor: Option<String>,
}

/// The query of a purge.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PurgeQuery {
    ids: Option<String>,
    #[serde(default)]
    all: bool,
    limit: Option<usize>,
    cursor: Option<String>,
    destination: Option<String>,
    instance: Option<String>,
    event: Option<String>,
    reason: Option<String>,
    since: Option<String>,
    until: Option<String>,
}

impl Select {
    /// What the body of a replay asks for.
    pub(super) fn of_body(body: &[u8]) -> Result<Self, ApiError> {
        // Else an array would be read as one, by the order of its fields.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(ApiError::bad_request("the body is no request to replay: it is not a JSON object"));
        }
        let asked: ReplayBody = serde_json::from_slice(body)
            .map_err(|error| ApiError::bad_request(format!("the body is no request to replay: {error}")))?;
        let rate = asked.rate.map(dead::rate).transpose();
        let rate = rate.map_err(|why| ApiError::bad_request(format!("rate: {why}")))?;
        let filter = asked.filter.unwrap_or_default();
        Self::new(asked.ids, filter, asked.all, asked.limit, rate, asked.cursor.as_deref())
    }

    fn new(
        ids: Option<Vec<String>>,
        filter: FilterText,
        all: bool,
        limit: Option<usize>,
        rate: Option<f64>,
        cursor: Option<&str>,
    ) -> Result<Self, ApiError> {
        let wanted = filter.wanted().map_err(ApiError::bad_request)?;
        let limit = limit.unwrap_or(DEFAULT);
        if !(1..=MOST).contains(&limit) {
            return Err(ApiError::bad_request(format!("limit is {limit}; write a number from 1 to {MOST}")));
        }
        let which = match (ids, wanted.is_empty(), all) {
            (Some(_), false, _) | (Some(_), _, true) | (None, false, true) => {
                return Err(ApiError::bad_request("give ids, or a filter, or all: one of them"));
            }
            (Some(ids), true, false) if ids.is_empty() || ids.len() > MOST => {
                return Err(ApiError::bad_request(format!("ids: give 1 to {MOST} of them")));
            }
            (Some(ids), true, false) => Which::Ids(ids.iter().map(|id| id_of(id)).collect::<Result<_, _>>()?),
            (None, true, false) => {
                let message = "which? give ids, a filter such as instance or since, or all=true";
                return Err(ApiError::bad_request(message));
            }
            (None, ..) => Which::Matching(wanted, cursor.map(Cursor::parse).transpose()?),
        };
        Ok(Self { which, limit, rate })
    }
}

impl PurgeQuery {
    /// What it asks for.
    pub(super) fn select(self) -> Result<Select, ApiError> {
        let ids = self.ids.map(|ids| ids.split(',').map(str::to_owned).collect());
        let Self { destination, instance, event, reason, since, until, .. } = self;
        let filter = FilterText { destination, instance, event, reason, since, until };
        Select::new(ids, filter, self.all, self.limit, None, self.cursor.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_refused(body: &str) -> bool {
        Select::of_body(body.as_bytes()).is_err()
    }

    #[test]
    fn all_is_never_meant_by_accident() {
        for body in [
            "",
            "{}",
            "[]",
            r#"[["1-0"]]"#,
            "[null,null,true]",
            r#"{"filter":{}}"#,
            r#"{"filter":null}"#,
            r#"{"ids":[]}"#,
            r#"{"ids":[],"all":true}"#,
            r#"{"all":false}"#,
            r#"{"filter":{"instanse":"a"}}"#,
            r#"{"filter":{"instanse":"a"},"all":true}"#,
            r#"{"instance":"a","all":true}"#,
            r#"{"filter":{"instance":"a"},"all":true}"#,
            r#"{"ids":["1-0"],"filter":{"instance":"a"}}"#,
            r#"{"ids":["all"]}"#,
        ] {
            assert!(is_refused(body), "{body}");
        }
        for body in [r#"{"all":true}"#, r#"{"filter":{"instance":"a"}}"#, r#"{"ids":["1-0"]}"#] {
            assert!(!is_refused(body), "{body}");
        }
    }

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        let cursor = Cursor { after: EntryId::new("1-0"), last: EntryId::new("9-2") };
        assert_eq!(Cursor::parse(&cursor.to_string()).unwrap(), cursor);
        for wrong in ["", ":", "1-0", "1-0:", "1-0:x", "1-0:2-0:3-0"] {
            assert!(Cursor::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn numbers_are_bounded() {
        for wrong in [r#""limit":0"#, r#""limit":5001"#, r#""limit":-1"#, r#""rate":0"#, r#""rate":1e9"#] {
            assert!(is_refused(&format!(r#"{{"all":true,{wrong}}}"#)), "{wrong}");
        }
    }
}
