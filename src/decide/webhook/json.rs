//! Reading a JSON object member by member, with errors that show none of its values.

use serde_json::Value;
use serde_json::error::Category;

use crate::model::object_members;

/// Why a text is not a JSON object. The messages never hold any of it: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not JSON.
    #[error("is not JSON: {0}")]
    Syntax(String),
    /// JSON, but of another type.
    #[error("is {0}; it has to be a JSON object")]
    NotAnObject(&'static str),
}

/// One member: its key, its value, and the value as it was written.
pub(super) struct Member<'a> {
    pub(super) key: String,
    pub(super) value: Value,
    pub(super) json: &'a [u8],
}

/// The members of a JSON object in the order they were written, duplicates included.
pub(super) fn members(json: &[u8]) -> Result<Vec<Member<'_>>, JsonError> {
    let json = json.trim_ascii();
    // Asked first, because serde_json's own message for a wrong type would quote the value.
    if json.first() != Some(&b'{') {
        return Err(match serde_json::from_slice::<Value>(json) {
            Ok(value) => JsonError::NotAnObject(type_of(&value)),
            Err(error) => syntax(&error),
        });
    }
    let members = object_members(json).map_err(|error| syntax(&error))?;
    members
        .into_iter()
        .map(|member| {
            let json = &json[member.value];
            let value = serde_json::from_slice(json).map_err(|error| syntax(&error))?;
            Ok(Member { key: String::from_utf8_lossy(&member.key).into_owned(), value, json })
        })
        .collect()
}

fn syntax(error: &serde_json::Error) -> JsonError {
    JsonError::Syntax(match error.classify() {
        Category::Syntax | Category::Eof => error.to_string(),
        Category::Data | Category::Io => "it cannot be read".to_owned(),
    })
}

/// A value's type, with its article.
pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_duplicates() {
        let members = members(b" {\"a\":1, \"b\" : {\"a\":2},\"a\":\"x\"} ").unwrap();
        let seen: Vec<_> = members.iter().map(|m| (m.key.as_str(), m.json)).collect();
        assert_eq!(seen, [("a", &b"1"[..]), ("b", b"{\"a\":2}"), ("a", b"\"x\"")]);
    }

    #[test]
    fn errors_show_nothing_of_the_text() {
        for (json, message) in [
            ("\"s3cret\"", "is a string; it has to be a JSON object"),
            ("[\"s3cret\"]", "is an array; it has to be a JSON object"),
            ("5", "is a number; it has to be a JSON object"),
            ("null", "is null; it has to be a JSON object"),
            ("s3cret", "is not JSON: expected value at line 1 column 1"),
            ("", "is not JSON: EOF while parsing a value at line 1 column 0"),
        ] {
            assert_eq!(members(json.as_bytes()).err().unwrap().to_string(), message, "{json}");
        }
        for json in
            ["{\"s3cret\"}", "{\"a\":s3cret}", "{\"a\":\"s3cret\\q\"}", "{\"a\":\"s3cret\"} x", "{s3cret"]
        {
            let error = members(json.as_bytes()).err().unwrap();
            assert!(matches!(&error, JsonError::Syntax(m) if !m.contains("s3cret")), "{error}");
        }
        assert!(matches!(members(b"{\"a\":\"\xff\"}"), Err(JsonError::Syntax(_))));
        assert!(matches!(members(b"\xff"), Err(JsonError::Syntax(_))));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(matches!(members(deep.as_bytes()), Err(JsonError::Syntax(_))));
    }
}
