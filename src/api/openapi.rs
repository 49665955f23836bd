//! `GET /openapi.json`: what this API is, for programs (OpenAPI 3.1).
//!
//! Written by hand, one file for each group of routes, and held against the router and a worker by
//! `tests/api/openapi.rs`: what is documented is there, what is there is documented, and the examples answer as it says.

use std::sync::LazyLock;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header;
use serde_json::Value;

use super::Api;

/// What all groups share.
const BASE: &str = include_str!("openapi/base.json");

/// The groups, each with its `paths`, and `components` of its own.
const GROUPS: &[&str] = &[
    include_str!("openapi/webhooks.json"),
    include_str!("openapi/events.json"),
    include_str!("openapi/explain.json"),
    include_str!("openapi/dead.json"),
    include_str!("openapi/destinations.json"),
    include_str!("openapi/stats.json"),
    include_str!("openapi/probes.json"),
];

static DOCUMENT: LazyLock<String> = LazyLock::new(|| document(BASE, GROUPS).to_string());

pub(super) fn routes() -> Router<Api> {
    Router::new().route("/openapi.json", get(tell))
}

async fn tell() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str())
}

/// One document of them all.
fn document(base: &str, groups: &[&str]) -> Value {
    let read = |text: &str| serde_json::from_str(text).expect("a test reads every file of openapi/");
    let mut document: Value = read(base);
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    for group in groups {
        merge(&mut document, read(group));
    }
    document
}

/// Adds the members of `added` that are not there, at every depth.
fn merge(into: &mut Value, added: Value) {
    let (Value::Object(into), Value::Object(added)) = (into, added) else { return };
    for (key, value) in added {
        match into.get_mut(&key) {
            Some(there) => merge(there, value),
            None => _ = into.insert(key, value),
        }
    }
}

/// What a file of a group may have at its top.
#[cfg(test)]
const MEMBERS: [&str; 3] = ["tags", "paths", "components"];

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    /// Every file beside `base.json`.
    fn files() -> Vec<(String, String)> {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/api/openapi");
        let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = files.filter(|path| !path.ends_with("base.json")).collect();
        files.sort();
        let named = |path: &std::path::PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        };
        files.iter().map(named).collect()
    }

    /// All values of `$ref` in it.
    fn refs(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                members.values().for_each(|value| refs(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| refs(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_file_is_a_group_of_its_own_paths() {
        let files = files();
        assert!(files.len() == GROUPS.len() && !GROUPS.is_empty());
        let mut paths: Map<String, Value> = Map::new();
        for (name, text) in &files {
            let group: Map<String, Value> =
                serde_json::from_str(text).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert!(group.keys().all(|key| MEMBERS.contains(&key.as_str())), "{name}");
            for (path, item) in group["paths"].as_object().unwrap() {
                assert!(paths.insert(path.clone(), item.clone()).is_none(), "{name}: {path} is there twice");
            }
        }
        for group in GROUPS {
            assert!(files.iter().any(|(_, text)| text == group));
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let texts = files();
        let texts: Vec<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
        let document = document(BASE, &texts);
        let mut found = Vec::new();
        refs(&document, &mut found);
        assert!(found.len() > 20, "{found:?}");
        for reference in found {
            let place = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(place).is_some(), "{reference}");
        }
    }

    #[test]
    fn every_operation_says_what_it_does_and_what_may_go_wrong() {
        let texts = files();
        let texts: Vec<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
        let document = document(BASE, &texts);
        let mut ids = std::collections::BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let what = format!("{method} {path}");
                let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{what}: operationId"));
                assert!(ids.insert(id), "{what}: {id} is there twice");
                assert!(operation["summary"].is_string() && operation["tags"].is_array(), "{what}");
                let responses = operation["responses"].as_object().unwrap();
                assert!(responses.keys().any(|status| status.starts_with('2')), "{what}");
                let is_open = operation["security"].as_array().is_some_and(Vec::is_empty);
                assert!(is_open || responses.contains_key("401"), "{what} needs a key");
            }
        }
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
