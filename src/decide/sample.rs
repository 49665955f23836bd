//! Sample events: what Evolution API sends, with invented data (`config/samples/`).

use serde_json::{Value, json};

use crate::model::EventName;

macro_rules! samples {
    ($($file:literal)*) => {
        &[$(($file, include_str!(concat!("../../config/samples/", $file, ".json")))),*]
    };
}

/// Every sample: its name and its JSON, in the order in which a new instance would send them.
pub const SAMPLES: &[(&str, &str)] = samples!(
    "qrcode-updated"
    "connection-update-connecting"
    "connection-update-open"
    "contacts-upsert"
    "contacts-update"
    "messages-set"
    "messages-upsert-text"
    "messages-upsert-image"
    "messages-upsert-audio"
    "messages-update"
    "send-message"
    "presence-update"
    "chats-update"
    "chats-delete"
    "groups-upsert"
    "group-participants-update"
    "call"
    "logout-instance"
);

/// A sample of an event, as if `instance` had sent it at `date_time` (RFC 3339); with data of no meaning where there is
/// no sample of it.
pub fn sample(name: &EventName, instance: &str, date_time: &str) -> Value {
    let of_name = |text: &str| {
        let event: Value = serde_json::from_str(text).ok()?;
        (EventName::parse(event["event"].as_str()?).ok()? == *name).then_some(event)
    };
    let found = SAMPLES.iter().find_map(|(_, text)| of_name(text));
    let mut event = found.unwrap_or_else(|| {
        let written = name.as_str().to_ascii_lowercase().replace('_', ".");
        json!({ "event": written, "instance": instance, "data": { "test": true }, "date_time": null })
    });
    event["instance"] = instance.into();
    event["date_time"] = date_time.into();
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Envelope;

    #[test]
    fn every_sample_is_an_event() {
        for (file, text) in SAMPLES {
            assert!(Envelope::parse((*text).into()).is_ok(), "{file}");
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/config/samples")).unwrap();
        assert_eq!(files.count(), SAMPLES.len(), "a file of config/samples is not in the list");
    }

    #[test]
    fn there_is_a_sample_of_any_event() {
        let known = sample(&EventName::parse("messages.upsert").unwrap(), "sales", "now");
        assert_eq!((&known["event"], &known["instance"]), (&json!("messages.upsert"), &json!("sales")));
        assert!(known["data"]["key"]["id"].is_string());
        assert_eq!(known["date_time"], "now");
        let own = sample(&EventName::parse("ORDER_PAID").unwrap(), "sales", "now");
        assert_eq!((&own["event"], &own["data"]["test"]), (&json!("order.paid"), &json!(true)));
    }
}
