//! The document of the API, held against the router and a worker.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::caller::{Answered, Caller};
use crate::support::{Receiver, RedisServer, until};

/// What path items may hold, and nothing else.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];
/// The dead letter that the document's examples name.
const DEAD_ID: &str = "1761038164871-0";

async fn document(caller: &Caller) -> Value {
    let answered = caller.get("/openapi.json").await;
    assert_eq!(
        (answered.status, &answered.headers["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    answered.json()
}

fn operations(document: &Value) -> Vec<(&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    let mut found = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().unwrap() {
            assert!(METHODS.contains(&method.as_str()), "{path}: {method}");
            found.push((path.as_str(), method.as_str(), operation));
        }
    }
    found
}

/// The paths that the sources of `src/api` give the router.
fn routed_paths() -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    let mut left = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/api"))];
    while let Some(place) = left.pop() {
        if place.is_dir() {
            left.extend(std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path()));
        } else if place.extension().is_some_and(|extension| extension == "rs") {
            let text: String = std::fs::read_to_string(place).unwrap();
            let text: String = text.split_whitespace().collect();
            let routes = text.split(".route(\"").skip(1);
            paths.extend(routes.map(|rest| rest[..rest.find('"').unwrap()].to_owned()));
            // A path that is not written out could not be seen here.
            assert_eq!(text.matches(".route(").count(), text.matches(".route(\"/").count());
            assert!(!text.contains(".nest(") && !text.contains(".route_service("));
        }
    }
    paths
}

/// A path with the examples of its parameters in it.
fn filled(path: &str, operation: &Value, document: &Value) -> String {
    let mut filled = path.to_owned();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let parameter = match parameter["$ref"].as_str() {
            Some(reference) => document.pointer(&reference[1..]).unwrap(),
            None => parameter,
        };
        let (name, place) = (parameter["name"].as_str().unwrap(), parameter["in"].as_str().unwrap());
        let example = match &parameter["example"] {
            Value::String(example) => example.clone(),
            Value::Null => {
                assert_ne!(parameter["required"], true, "{path}: {name} has no example");
                continue;
            }
            other => other.to_string(),
        };
        match place {
            "path" => filled = filled.replace(&format!("{{{name}}}"), &example),
            "query" => filled += &format!("{}{name}={example}", if filled.contains('?') { '&' } else { '?' }),
            _ => {}
        }
    }
    filled
}

#[tokio::test]
async fn what_is_there_is_documented_and_what_is_documented_is_there() {
    let redis = RedisServer::start();
    let caller = Caller::start(&redis, &[]).await;
    let document = document(&caller).await;
    let mut documented: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (path, method, _) in operations(&document) {
        documented.entry(path).or_default().insert(method.to_uppercase());
    }
    let routed = routed_paths();
    assert!(routed.len() >= 9, "{routed:?}");
    assert_eq!(documented.keys().map(ToString::to_string).collect::<BTreeSet<_>>(), routed);
    for (path, methods) in documented {
        let named = path.replace('{', "x-").replace('}', "");
        let answered = caller.ask("PURGE", &named, &[], "").await;
        assert_eq!(answered.status, 405, "{path}");
        let allowed = answered.headers["allow"].to_str().unwrap();
        let allowed: BTreeSet<String> =
            allowed.split(',').filter(|method| *method != "HEAD").map(str::to_owned).collect();
        assert_eq!(allowed, methods, "{path}");
    }
}

#[tokio::test]
async fn the_document_needs_no_key_and_what_it_says_needs_one_does() {
    let redis = RedisServer::start();
    let caller = Caller::start_with_key(&redis, &[]).await.with_key(None);
    let document = document(&caller).await;
    for (path, method, operation) in operations(&document) {
        let is_open = operation["security"].as_array().is_some_and(Vec::is_empty);
        let path = filled(path, operation, &document);
        let answered = caller.ask(&method.to_uppercase(), &path, &[], "").await;
        assert_eq!(answered.status == 401, !is_open, "{method} {path}: {}", answered.status);
    }
}

/// The status an example should get: the first good one, unless it says another.
fn expected(operation: &Value, example: &Value) -> u16 {
    if let Some(status) = example["x-status"].as_u64() {
        return u16::try_from(status).unwrap();
    }
    let mut statuses = operation["responses"].as_object().unwrap().keys();
    statuses.find(|status| status.starts_with('2')).unwrap().parse().unwrap()
}

/// What a value or what it refers to is.
fn resolved(value: &Value, document: &Value) -> Value {
    match value["$ref"].as_str() {
        Some(reference) => document.pointer(&reference[1..]).unwrap().clone(),
        None => value.clone(),
    }
}

/// Why an answer has not the keys of its schema: enough to notice that one of them has moved on.
fn unlike(json: &Value, schema: &Value, document: &Value) -> Option<String> {
    let schema = resolved(schema, document);
    if let Some(alternatives) = schema["oneOf"].as_array() {
        let why: Vec<String> = alternatives.iter().map_while(|one| unlike(json, one, document)).collect();
        return (why.len() == alternatives.len()).then(|| why.join("; or "));
    }
    if schema["type"] == "null" {
        return (!json.is_null()).then(|| format!("{json} is not null"));
    }
    let required = schema["required"].as_array()?;
    let Some(members) = json.as_object() else { return Some(format!("{json} is no object")) };
    for key in required {
        if !members.contains_key(key.as_str().unwrap()) {
            return Some(format!("{key} is not in {json}"));
        }
    }
    members.iter().find_map(|(key, value)| match schema["properties"].get(key) {
        None => Some(format!("{key} of {json} is not documented")),
        Some(schema) if schema["type"] == "array" => {
            value.as_array()?.iter().find_map(|item| unlike(item, &schema["items"], document))
        }
        Some(schema) => unlike(value, schema, document),
    })
}

/// Checks that an answer is as its status is documented.
fn assert_documented(answered: &Answered, operation: &Value, document: &Value) {
    let response = resolved(&operation["responses"][answered.status.to_string()], document);
    let (content_type, content) = response["content"].as_object().unwrap().iter().next().unwrap();
    assert!(
        answered.headers["content-type"].to_str().unwrap().starts_with(content_type.as_str()),
        "{answered:?}"
    );
    if content_type == "application/json" {
        assert_eq!(unlike(&answered.json(), &content["schema"], document), None);
    }
}

/// Makes what the examples name: a destination `instance:sales`, and a dead letter of it, whose id is returned.
async fn make_dead(redis: &RedisServer, refusing: &Receiver) -> String {
    redis.set_url("sales", &refusing.url("/sales")).await;
    let before = redis.len("{webhooks}:dead").await;
    redis.push(r#"{"event":"call","instance":"sales"}"#).await;
    until("it to be dead", || async { redis.len("{webhooks}:dead").await > before }).await;
    let newest = ["XREVRANGE", "{webhooks}:dead", "+", "-", "COUNT", "1"];
    let newest: Vec<(String, Vec<String>)> = redis.command(&newest).await;
    newest.into_iter().next().unwrap().0
}

#[tokio::test]
async fn every_example_answers_as_documented() {
    let redis = RedisServer::start();
    let receiver = Receiver::start().await;
    let (refusing, _) = Receiver::switchable(404).await;
    let caller = Caller::start(&redis, &[]).await;
    caller.until_ready().await;
    let document = document(&caller).await;
    let mut asked = 0;
    for (path, method, operation) in operations(&document) {
        let path = filled(path, operation, &document);
        let mut requests: Vec<(String, String, u16)> = Vec::new();
        let contents = operation["requestBody"]["content"].as_object();
        for (content_type, content) in contents.into_iter().flatten() {
            for (_, example) in content["examples"].as_object().expect("every body has examples") {
                let body = match &example["value"] {
                    Value::String(text) => text.clone(),
                    value => value.to_string(),
                };
                let body = body.replace("https://example.com", &receiver.url(""));
                requests.push((content_type.clone(), body, expected(operation, example)));
            }
        }
        if requests.is_empty() {
            requests.push(("application/json".to_owned(), String::new(), expected(operation, &Value::Null)));
        }
        for (content_type, body, status) in requests {
            let (mut path, mut body) = (path.clone(), body);
            // Where it is paused nothing dies any more.
            if path.starts_with("/dead") || path.starts_with("/destinations") && method == "get" {
                let letter = make_dead(&redis, &refusing).await;
                (path, body) = (path.replace(DEAD_ID, &letter), body.replace(DEAD_ID, &letter));
            }
            let headers = [("content-type", content_type.as_str())];
            let answered = caller.ask(&method.to_uppercase(), &path, &headers, body.clone()).await;
            assert_eq!(answered.status, status, "{method} {path} {body}: {answered:?}");
            assert_documented(&answered, operation, &document);
            asked += 1;
        }
    }
    assert!(asked >= 45, "{asked}");
    assert!(receiver.count() >= 1, "the test of a webhook sent something");
}
