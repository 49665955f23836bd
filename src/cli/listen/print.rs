//! Printing what arrived.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::super::format::{clean_lines, short, size, time};
use super::super::output::{Output, OutputError, Tone, paint};
use super::behaviour::Answer;
use super::receiver::Record;
use super::signature::Signature;

/// How much of a body is shown where it is abbreviated.
const BODY_CHARS: usize = 200;

/// How records are printed.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Printer {
    /// Whether bodies are printed whole.
    pub(in crate::cli) whole_bodies: bool,
    /// Whether headers are printed.
    pub(in crate::cli) headers: bool,
    /// Where to.
    pub(in crate::cli) out: Output,
}

impl Printer {
    /// Prints a record: as text, or as one line of JSON.
    pub(in crate::cli) fn print(self, record: &Record) -> Result<(), OutputError> {
        if self.out.is_json() { self.print_json(record) } else { self.print_text(record) }
    }

    fn print_text(self, record: &Record) -> Result<(), OutputError> {
        let at = time(record.at_ms);
        let clock = at.get(11..23).unwrap_or(&at);
        let mut line = format!(
            "{} {} {} → {}",
            paint(Tone::Faint, clock),
            record.method,
            paint(Tone::Strong, &short(&record.path, 200)),
            answered(record.answer)
        );
        let mut facts = Vec::new();
        facts.extend(record.event.as_deref().map(|event| short(event, 80)));
        facts.extend(record.instance.as_deref().map(|instance| format!("of {}", short(instance, 80))));
        facts.extend(record.id.as_deref().map(|id| format!("id {}", short(id, 128))));
        facts.extend(record.attempt.map(|attempt| format!("attempt {attempt}")));
        facts.push(size(record.body.len() as u64));
        line.push_str(&format!("  {}", facts.join("  ")));
        match record.signature {
            Signature::Unchecked => {}
            Signature::Ok => line.push_str(&format!("  {}", paint(Tone::Good, "signature ok"))),
            Signature::Bad(why) => line.push_str(&format!("  {}: {why}", paint(Tone::Bad, "signature bad"))),
        }
        if self.headers {
            for (name, value) in headers(record) {
                line.push_str(&format!("\n  {name}: {}", short(&value, 1000)));
            }
        }
        let body = String::from_utf8_lossy(&record.body);
        if self.whole_bodies {
            line.push_str(&format!("\n{}", clean_lines(&body)));
        } else if !body.is_empty() {
            line.push_str(&format!("\n  {}", paint(Tone::Faint, &short(&body, BODY_CHARS))));
        }
        self.out.line(line)
    }

    fn print_json(self, record: &Record) -> Result<(), OutputError> {
        #[derive(Serialize)]
        struct Shown<'a> {
            #[serde(flatten)]
            facts: Map<String, Value>,
            /// As it arrived, where it is JSON.
            body: Option<&'a RawValue>,
            #[serde(skip_serializing_if = "Option::is_none")]
            body_base64: Option<String>,
        }
        let answer = match record.answer {
            Answer::Status(status, _) => json!(status),
            Answer::Hang => json!("hang"),
            Answer::Close => json!("close"),
        };
        let (signature, signature_error) = match record.signature {
            Signature::Unchecked => (None, None),
            Signature::Ok => (Some("ok"), None),
            Signature::Bad(why) => (Some("bad"), Some(why)),
        };
        let mut facts = Map::new();
        let mut add = |name: &str, value: Value| _ = facts.insert(name.to_owned(), value);
        add("at", time(record.at_ms).into());
        add("method", record.method.as_str().into());
        add("path", record.path.as_str().into());
        add("id", json!(record.id));
        add("attempt", json!(record.attempt));
        add("event", json!(record.event));
        add("instance", json!(record.instance));
        add("answer", answer);
        add("signature", json!(signature));
        if let Some(why) = signature_error {
            add("signature_error", why.into());
        }
        if self.headers {
            add(
                "headers",
                headers(record).map(|(name, value)| (name, value.into())).collect::<Map<_, _>>().into(),
            );
        }
        add("bytes", record.body.len().into());
        let body = serde_json::from_slice::<&RawValue>(&record.body).ok();
        let body_base64 = body.is_none().then(|| STANDARD.encode(&record.body));
        self.out.json_line(&Shown { facts, body, body_base64 })
    }
}

fn headers(record: &Record) -> impl Iterator<Item = (String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    record.headers.iter().map(move |(name, value)| (name.to_string(), text(value)))
}

fn answered(answer: Answer) -> String {
    match answer {
        Answer::Status(status, retry_after_s) => {
            let tone = if (200..300).contains(&status) { Tone::Good } else { Tone::Bad };
            let retry_after = retry_after_s.map(|s| format!(" (retry after {s} s)")).unwrap_or_default();
            format!("{}{retry_after}", paint(tone, &status.to_string()))
        }
        Answer::Hang => paint(Tone::Bad, "no answer"),
        Answer::Close => paint(Tone::Bad, "closed"),
    }
}
