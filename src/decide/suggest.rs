//! "Did you mean …?": the nearest known word to one that is not.

/// A longer word is no typing error of a setting's or event's name; comparing it would cost time for nothing.
const MAX_CHARS: usize = 64;

/// The word of `known` that `word` was most probably meant to be, or none where the resemblance is too weak to be
/// worth a suggestion: more than one in three characters mistyped (Damerau–Levenshtein distance, without regard to
/// case). Of equally near ones the first wins.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let chars = word.chars().take(MAX_CHARS + 1).count();
    if chars > MAX_CHARS {
        return None;
    }
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| distance * 3 <= chars.max(candidate.chars().count()))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::KNOWN_EVENTS;

    fn nearest_event(word: &str) -> Option<&'static str> {
        nearest(word, KNOWN_EVENTS.iter().copied())
    }

    #[test]
    fn typing_errors_are_recognised() {
        assert_eq!(nearest_event("MESSAGE_UPSERT"), Some("MESSAGES_UPSERT"));
        assert_eq!(nearest_event("MESSAGES_UPSRET"), Some("MESSAGES_UPSERT"));
        assert_eq!(nearest_event("QR_CODE_UPDATED"), Some("QRCODE_UPDATED"));
        assert_eq!(nearest_event("calls"), Some("CALL"));
        assert_eq!(nearest("webhook_by_event", ["url", "webhook_by_events"]), Some("webhook_by_events"));
        assert_eq!(nearest("webhookbyevents", ["webhookBase64", "webhookByEvents"]), Some("webhookByEvents"));
    }

    #[test]
    fn what_resembles_nothing_gets_no_suggestion() {
        assert_eq!(nearest_event("ORDER_PAID"), None);
        assert_eq!(nearest_event(""), None);
        assert_eq!(nearest_event("ä"), None);
        assert_eq!(nearest_event(&"MESSAGES_UPSERT".repeat(1000)), None);
    }
}
