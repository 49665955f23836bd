//! What became of the events of one request.

use http::StatusCode;
use serde::Serialize;
use serde_json::Value;

/// Of so many events the ids are told, and of no more: the answer is kept until all have come.
const MOST_IDS: usize = 4096;
/// Of so many refused events the reasons are told.
const MOST_ERRORS: usize = 100;
/// Characters that are kept of a reason.
const REASON_CHARS: usize = 300;

/// Why an event is refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// 422, or 413 where it is too large.
    pub(super) status: StatusCode,
    /// Why.
    pub(super) why: String,
}

/// What became of a list of events, in their order.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// How many have come.
    come: u64,
    accepted: u64,
    refused: u64,
    /// Whether any was refused for another reason than its size.
    is_invalid: bool,
    ids: Vec<Option<StreamId>>,
    errors: Vec<Reason>,
}

/// The id of a stream entry, in 16 bytes: many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StreamId {
    ms: u64,
    number: u64,
}

#[derive(Debug, Serialize)]
struct Reason {
    index: u64,
    status: u16,
    message: String,
}

/// The report as it is sent.
#[derive(Debug, Serialize)]
struct Told<'a> {
    accepted: u64,
    refused: u64,
    ids: Vec<Option<String>>,
    errors: &'a [Reason],
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    truncated: bool,
}

impl Report {
    /// The index of an event that has just come.
    pub(super) fn next_index(&mut self) -> u64 {
        self.come += 1;
        if self.ids.len() < MOST_IDS {
            self.ids.push(None);
        }
        self.come - 1
    }

    /// Redis has an event.
    pub(super) fn accept(&mut self, index: u64, id: &str) {
        self.accepted += 1;
        let place = usize::try_from(index).ok().and_then(|index| self.ids.get_mut(index));
        if let Some(place) = place {
            *place = id.split_once('-').and_then(|(ms, number)| {
                Some(StreamId { ms: ms.parse().ok()?, number: number.parse().ok()? })
            });
        }
    }

    /// An event will never be taken.
    pub(super) fn refuse(&mut self, index: u64, refusal: &Refusal) {
        self.refused += 1;
        self.is_invalid |= refusal.status != StatusCode::PAYLOAD_TOO_LARGE;
        if self.errors.len() < MOST_ERRORS {
            let message = refusal.why.chars().take(REASON_CHARS).collect();
            self.errors.push(Reason { index, status: refusal.status.as_u16(), message });
        }
    }

    /// How many events have come.
    pub(super) fn come(&self) -> u64 {
        self.come
    }

    /// The status of the answer, where all events have come: 202 when all were taken, 207 when some were, and when none
    /// was, 413 where only their size was wrong, else 422.
    pub(super) fn status(&self) -> StatusCode {
        match (self.accepted, self.refused) {
            (_, 0) => StatusCode::ACCEPTED,
            (0, _) if self.is_invalid => StatusCode::UNPROCESSABLE_ENTITY,
            (0, _) => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::MULTI_STATUS,
        }
    }

    /// The report as JSON: `accepted` and `refused` count; `ids` has the id of each event, null for one that was not
    /// taken; `errors` says why. With `truncated`, both lists go no further than they do.
    pub(super) fn json(&self) -> Value {
        let text = |id: &Option<StreamId>| id.map(|StreamId { ms, number }| format!("{ms}-{number}"));
        let is_long = self.come > self.ids.len() as u64 || self.refused > self.errors.len() as u64;
        let told = Told {
            accepted: self.accepted,
            refused: self.refused,
            ids: self.ids.iter().map(text).collect(),
            errors: &self.errors,
            truncated: is_long,
        };
        serde_json::to_value(told).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invalid() -> Refusal {
        Refusal { status: StatusCode::UNPROCESSABLE_ENTITY, why: "no".to_owned() }
    }

    fn too_large() -> Refusal {
        Refusal { status: StatusCode::PAYLOAD_TOO_LARGE, why: "large".to_owned() }
    }

    #[test]
    fn the_status_tells_whether_all_some_or_none_were_taken() {
        let mut report = Report::default();
        assert_eq!(report.status(), StatusCode::ACCEPTED);
        let index = report.next_index();
        report.refuse(index, &too_large());
        assert_eq!(report.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let index = report.next_index();
        report.refuse(index, &invalid());
        assert_eq!(report.status(), StatusCode::UNPROCESSABLE_ENTITY);
        let index = report.next_index();
        report.accept(index, "17-0");
        assert_eq!(report.status(), StatusCode::MULTI_STATUS);
        let told = report.json();
        assert_eq!(told["ids"], serde_json::json!([null, null, "17-0"]));
        assert_eq!(told["errors"][1], serde_json::json!({"index": 1, "status": 422, "message": "no"}));
        assert_eq!(told.get("truncated"), None);
    }

    #[test]
    fn long_lists_are_cut_and_counted() {
        let mut report = Report::default();
        for _ in 0..MOST_IDS + 10 {
            let index = report.next_index();
            report.accept(index, "1-1");
        }
        assert_eq!(report.json()["ids"].as_array().unwrap().len(), MOST_IDS);
        assert_eq!(report.json()["accepted"], MOST_IDS + 10);
        assert_eq!(report.json()["truncated"], true);
        let mut report = Report::default();
        for _ in 0..=MOST_ERRORS {
            let index = report.next_index();
            report.refuse(index, &invalid());
        }
        assert_eq!((report.json()["errors"].as_array().unwrap().len(), report.come()), (100, 101));
    }
}
