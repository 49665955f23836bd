//! The layers of the crate: who may know whom, held by reading the sources.
//!
//! model ← decide ← store, http ← flow ← operate ← api, cli ← app: imports go downward only, only `store` speaks to
//! Redis, only `http` to receivers, and `decide` is pure. `telemetry` is beside them: whoever does something counts it.

#![allow(missing_docs, reason = "a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Which of our modules each may import.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("decide", &["model"]),
    ("store", &["model", "decide"]),
    ("http", &["model", "decide"]),
    // What is counted is counted where it happens: an attempt in flow, and not by whoever is asked for the numbers.
    ("flow", &["model", "decide", "store", "http", "telemetry"]),
    ("telemetry", &["model"]),
    ("config", &["model", "decide", "telemetry"]),
    // What the commands and the HTTP API have in common.
    ("operate", &["model", "decide", "store", "flow"]),
    ("api", &["model", "decide", "store", "http", "flow", "operate", "telemetry"]),
    ("cli", &["model", "decide", "store", "http", "flow", "operate", "api", "telemetry", "config"]),
    ("app", &["model", "decide", "store", "http", "flow", "operate", "api", "cli", "telemetry", "config"]),
    // The binary: argv → run → exit status.
    ("main", &["app", "cli", "config", "telemetry"]),
];

/// Crates that few modules have for themselves.
const OWNED_CRATES: &[(&str, &[&str])] = &[
    ("redis", &["store"]),
    ("deadpool_redis", &["store"]),
    ("tokio_rustls", &["http"]),
    ("rustls_platform_verifier", &["http"]),
    ("http_body_util", &["http"]),
    // For the connections to receivers, and for those of the HTTP API.
    ("hyper", &["http", "api"]),
    ("hyper_util", &["http", "api"]),
    ("prometheus", &["telemetry"]),
];

/// What `decide` must not say, as sequences of tokens.
const IMPURE: &[&[&str]] = &[
    &["async"],
    &["await"],
    &["tokio"],
    &["Instant", "::", "now"],
    &["SystemTime", "::", "now"],
    &["rand", "::"],
    &["std", "::", "env"],
    &["std", "::", "fs"],
    &["std", "::", "net"],
];

const MAX_LINES: usize = 400;

/// One source file.
struct Source {
    /// Below `src/`, with `/` between its parts.
    path: String,
    text: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// The path of the module it is: `flow/read.rs` → flow, read; `flow/mod.rs` → flow; `lib.rs` and `main.rs` are
    /// crate roots, hence nothing.
    fn module(&self) -> Vec<&str> {
        let mut parts: Vec<&str> = self.path.trim_end_matches(".rs").split('/').collect();
        if matches!(parts.last(), Some(&"mod")) || parts == ["lib"] || parts == ["main"] {
            parts.pop();
        }
        parts
    }

    /// The layer it belongs to; none for `lib.rs`, which names them all.
    fn layer(&self) -> Option<&str> {
        if self.path == "main.rs" {
            return Some("main");
        }
        self.module().first().copied()
    }
}

/// The tokens of Rust source that matter here: identifiers, `::`, and single characters; without comments, texts,
/// characters and lifetimes.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        let c = chars[at];
        let next = chars.get(at + 1).copied();
        if c == '/' && next == Some('/') {
            at = end_of_line(&chars, at);
        } else if c == '/' && next == Some('*') {
            at = end_of_comment(&chars, at);
        } else if let Some(end) = end_of_raw_text(&chars, at) {
            at = end;
        } else if c == '"' {
            at = end_of_text(&chars, at + 1, '"');
        } else if c == '\'' {
            at = end_of_character(&chars, at);
        } else if c == '_' || c.is_alphanumeric() {
            let end = chars[at..]
                .iter()
                .position(|c| *c != '_' && !c.is_alphanumeric())
                .map_or(chars.len(), |length| at + length);
            tokens.push(chars[at..end].iter().collect());
            at = end;
        } else if c == ':' && next == Some(':') {
            tokens.push("::".to_owned());
            at += 2;
        } else {
            if !c.is_whitespace() {
                tokens.push(c.to_string());
            }
            at += 1;
        }
    }
    tokens
}

fn end_of_line(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |length| at + length)
}

/// Behind a comment that begins at `at`; such comments nest.
fn end_of_comment(chars: &[char], mut at: usize) -> usize {
    let mut depth = 0;
    while at < chars.len() {
        match (chars[at], chars.get(at + 1)) {
            ('/', Some('*')) => {
                depth += 1;
                at += 2;
            }
            ('*', Some('/')) => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    at
}

/// Behind a raw text (`r"…"`, `br#"…"#`) that begins at `at`, if one does.
fn end_of_raw_text(chars: &[char], at: usize) -> Option<usize> {
    let part_of_a_name = at > 0 && (chars[at - 1] == '_' || chars[at - 1].is_alphanumeric());
    let mut from = at;
    if matches!(chars[from], 'b' | 'c') {
        from += 1;
    }
    if part_of_a_name || chars.get(from) != Some(&'r') {
        return None;
    }
    let hashes = chars[from + 1..].iter().take_while(|c| **c == '#').count();
    let mut end = from + 1 + hashes;
    if chars.get(end) != Some(&'"') {
        return None;
    }
    end += 1;
    while end < chars.len() {
        if chars[end] == '"' && chars[end + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
        {
            return Some(end + 1 + hashes);
        }
        end += 1;
    }
    Some(end)
}

/// Behind a text whose first character is at `at`.
fn end_of_text(chars: &[char], mut at: usize, quote: char) -> usize {
    while at < chars.len() && chars[at] != quote {
        at += if chars[at] == '\\' { 2 } else { 1 };
    }
    at + 1
}

/// Behind a character (`'a'`, `'\''`) or the quote of a lifetime (`'a`).
fn end_of_character(chars: &[char], at: usize) -> usize {
    let is_character = chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'');
    if is_character { end_of_text(chars, at + 1, '\'') } else { at + 1 }
}

/// The tokens without the items behind `#[cfg(test)]`: tests may read the clock.
fn without_tests(tokens: &[String]) -> Vec<String> {
    const CFG_TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if starts_with(&tokens[at..], &CFG_TEST) {
            at = end_of_item(tokens, at + CFG_TEST.len());
        } else {
            kept.push(tokens[at].clone());
            at += 1;
        }
    }
    kept
}

/// Behind the item that begins at `at`: its `;`, or its last brace.
fn end_of_item(tokens: &[String], mut at: usize) -> usize {
    let mut depth = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth -= 1;
                if depth == 0 && tokens[at] == "}" {
                    return at + 1;
                }
            }
            ";" if depth == 0 => return at + 1,
            _ => {}
        }
        at += 1;
    }
    at
}

fn starts_with(tokens: &[String], sequence: &[&str]) -> bool {
    tokens.len() >= sequence.len() && tokens.iter().zip(sequence).all(|(token, wanted)| token == wanted)
}

/// The modules at the top of our crate that a file names: by `crate::x`, by `super::…::x` as far up, by `posthaste::x`.
fn imports(source: &Source, tokens: &[String]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    // The depths of braces at which inline modules begin.
    let (mut depth, mut inline) = (0_usize, Vec::new());
    let mut at = 0;
    while at < tokens.len() {
        match tokens[at].as_str() {
            "mod" if tokens.get(at + 2).is_some_and(|token| token == "{") => inline.push(depth),
            "{" => depth += 1,
            "}" => {
                depth = depth.saturating_sub(1);
                if inline.last() == Some(&depth) {
                    inline.pop();
                }
            }
            "crate" | "posthaste" if starts_with(&tokens[at + 1..], &["::"]) => {
                first_segments(tokens, at + 2, &mut found);
            }
            "super" if at == 0 || tokens[at - 1] != "::" => {
                let mut ups = 1;
                while starts_with(&tokens[at + 1..], &["::", "super"]) {
                    ups += 1;
                    at += 2;
                }
                if ups >= source.module().len() + inline.len() && starts_with(&tokens[at + 1..], &["::"]) {
                    first_segments(tokens, at + 2, &mut found);
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

/// The first segments of the paths at `at`: one, or each of a group.
fn first_segments(tokens: &[String], at: usize, found: &mut BTreeSet<String>) {
    if tokens.get(at).is_some_and(|token| token != "{") {
        found.insert(tokens[at].clone());
        return;
    }
    let (mut depth, mut is_first) = (0, true);
    for token in &tokens[at..] {
        match token.as_str() {
            "{" => depth += 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return;
                }
            }
            "," => is_first = true,
            token => {
                if depth == 1 && is_first {
                    found.insert(token.to_owned());
                }
                is_first = false;
            }
        }
    }
}

/// Whether a file names a crate: as the start of a path, or in `use x;`.
fn names_crate(tokens: &[String], name: &str) -> bool {
    (0..tokens.len()).any(|at| {
        let starts = at == 0 || tokens[at - 1] != "::" || (at >= 2 && is_path_end(&tokens[at - 2]));
        let imported = at > 0
            && ["use", "crate", "as"].contains(&tokens[at - 1].as_str())
            && tokens.get(at + 1).is_some_and(|token| token == ";" || token == "as");
        tokens[at] == name && starts && (imported || tokens.get(at + 1).is_some_and(|token| token == "::"))
    })
}

/// Whether a `::` behind this token begins a path (`use ::redis`) rather than continues one.
fn is_path_end(token: &str) -> bool {
    token == "use" || !token.chars().all(|c| c == '_' || c.is_alphanumeric() || c == '>')
}

/// Everything that is wrong with a file, in words.
fn violations(source: &Source) -> Vec<String> {
    let mut wrong = Vec::new();
    let path = &source.path;
    let all = tokens(&source.text);
    let lines = source.text.lines().count();
    if lines > MAX_LINES {
        wrong.push(format!("{path} has {lines} lines, {MAX_LINES} are allowed"));
    }
    let layer = source.layer();
    if let Some(layer) = layer {
        match MAY_IMPORT.iter().find(|(name, _)| *name == layer) {
            Some((_, allowed)) => {
                let layers: BTreeSet<&str> = MAY_IMPORT.iter().map(|(name, _)| *name).collect();
                for import in imports(source, &all) {
                    if import != layer
                        && layers.contains(import.as_str())
                        && !allowed.contains(&import.as_str())
                    {
                        wrong.push(format!("{path} ({layer}) imports {import}"));
                    }
                    if import == "*" {
                        wrong.push(format!("{path} imports everything of the crate"));
                    }
                }
            }
            None => wrong.push(format!("{path}: the layer {layer} has no rule in tests/layering.rs")),
        }
    }
    for (name, owners) in OWNED_CRATES {
        if !layer.is_some_and(|layer| owners.contains(&layer)) && names_crate(&all, name) {
            wrong.push(format!("{path} names the crate {name}, which is for {} only", owners.join(" and ")));
        }
    }
    if layer == Some("decide") {
        let code = without_tests(&all);
        for sequence in IMPURE {
            if (0..code.len()).any(|at| starts_with(&code[at..], sequence)) {
                wrong.push(format!("{path} says {}: decide is pure", sequence.concat()));
            }
        }
    }
    wrong
}

fn is_ignored(text: &str) -> bool {
    let tokens = tokens(text);
    (0..tokens.len()).any(|at| {
        starts_with(&tokens[at..], &["#", "["])
            && tokens[at..].iter().take_while(|token| *token != "]").any(|token| token == "ignore")
    })
}

/// Every `.rs` file below a directory of the repository.
fn read_all(dir: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(dir);
    let mut found = BTreeMap::new();
    let mut left = vec![root.clone()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir).expect("the directory can be read") {
            let path = entry.expect("it has entries").path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let below = path.strip_prefix(&root).expect("it is below");
                let name = below.to_string_lossy().replace('\\', "/");
                let text = std::fs::read_to_string(&path).expect("it is text");
                found.insert(name, text);
            }
        }
    }
    found.into_iter().map(|(path, text)| Source { path, text }).collect()
}

#[test]
fn the_layers_hold() {
    let sources = read_all("src");
    let wrong: Vec<String> = sources.iter().flat_map(violations).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));

    // It must have looked at something to say so.
    assert!(sources.len() >= 50, "only {} files were found", sources.len());
    let lines: usize = sources.iter().map(|source| source.text.lines().count()).sum();
    assert!(lines >= 5000, "only {lines} lines were found");
    let layers: BTreeSet<&str> = sources.iter().filter_map(Source::layer).collect();
    for (layer, _) in MAY_IMPORT {
        assert!(layers.contains(layer), "{layer} was not found");
    }
    let imports: BTreeSet<(&str, String)> = sources
        .iter()
        .filter_map(|source| Some((source.layer()?, source)))
        .flat_map(|(layer, source)| {
            let found = imports(source, &tokens(&source.text));
            found.into_iter().map(move |import| (layer, import))
        })
        .collect();
    for (from, to) in [
        ("decide", "model"),
        ("store", "model"),
        ("flow", "store"),
        ("flow", "decide"),
        ("app", "flow"),
        ("app", "config"),
    ] {
        assert!(imports.contains(&(from, to.to_owned())), "{from} was not seen to import {to}");
    }
    for (name, owners) in OWNED_CRATES {
        for owner in *owners {
            let named = sources
                .iter()
                .any(|source| source.layer() == Some(owner) && names_crate(&tokens(&source.text), name));
            assert!(named, "{owner} was not seen to name {name}");
        }
    }
}

#[test]
fn no_test_is_ignored() {
    let sources: Vec<Source> = ["src", "tests"].into_iter().flat_map(read_all).collect();
    assert!(sources.len() >= 60, "only {} files were found", sources.len());
    let ignored: Vec<&str> =
        sources.iter().filter(|source| is_ignored(&source.text)).map(|source| source.path.as_str()).collect();
    assert!(ignored.is_empty(), "{ignored:?}");
}

mod the_checker {
    use super::{Source, is_ignored, tokens, violations, without_tests};

    fn wrong(path: &str, text: &str) -> Vec<String> {
        violations(&Source::new(path, text))
    }

    #[track_caller]
    fn finds(path: &str, text: &str, said: &str) {
        let wrong = wrong(path, text);
        assert!(wrong.iter().any(|violation| violation.contains(said)), "{text} in {path}: {wrong:?}");
    }

    #[track_caller]
    fn passes(path: &str, text: &str) {
        let wrong = wrong(path, text);
        assert!(wrong.is_empty(), "{text} in {path}: {wrong:?}");
    }

    #[test]
    fn finds_imports_that_go_upward() {
        finds("model/event.rs", "use crate::decide::route;", "(model) imports decide");
        finds("decide/mod.rs", "use crate::{model::Event, store::Redis};", "imports store");
        finds("decide/a/b.rs", "use crate::{model::{self, Event}, flow};", "imports flow");
        finds("store/dead.rs", "fn f() { crate::http::Client::new() }", "imports http");
        finds("http/client.rs", "pub use crate::store::Redis;", "imports store");
        finds("flow/read.rs", "use crate::app::run;", "imports app");
        finds("flow/mod.rs", "use crate::config::Config;", "imports config");
        finds("config/raw.rs", "use crate::store::Redis;", "imports store");
        finds("cli/run.rs", "use crate::app;", "imports app");
        finds("api/mod.rs", "use crate::cli::status;", "imports cli");
        finds("api/mod.rs", "use crate::config::Config;", "imports config");
        finds("operate/dead.rs", "use crate::api::Api;", "imports api");
        finds("telemetry/metrics.rs", "use crate::flow::Work;", "imports flow");
        finds("main.rs", "use posthaste::{cli, store::Redis};", "imports store");
        finds("model/event.rs", "#[cfg(test)] mod tests { use crate::flow::Work; }", "imports flow");
    }

    #[test]
    fn finds_imports_by_way_of_super() {
        finds("model/event.rs", "use super::super::store::Redis;", "imports store");
        finds("decide/mod.rs", "use super::store::Redis;", "imports store");
        finds("telemetry.rs", "use super::{model, config::Config};", "imports config");
        finds("store/a.rs", "use crate::telemetry::metrics::Metrics;", "imports telemetry");
        finds("decide/a/b.rs", "mod tests { use super::super::super::super::flow::X; }", "imports flow");
        finds("model/event.rs", "mod a { mod b {} fn f() {} } use super::super::flow::X;", "imports flow");
        passes("flow/read.rs", "use super::Router; use super::outage::Outage;");
        passes("decide/a/b.rs", "use super::super::store::X; mod tests { use super::super::super::app; }");
    }

    #[test]
    fn lets_imports_go_downward() {
        passes("decide/a.rs", "use crate::model::Event; use crate::decide::route;");
        passes("flow/a.rs", "use crate::{decide, http, model, store::{self, Redis}};");
        passes("app.rs", "use crate::config::Config; use crate::flow::X; use crate::cli::Y;");
        passes("cli/a.rs", "use crate::config::Config; use crate::store::Redis;");
        passes("main.rs", "use posthaste::{app, cli::{self, Cli}, config};");
        passes("lib.rs", "pub mod app; pub use store::Publisher;");
        passes(
            "model/a.rs",
            "// use crate::store::Redis;\n/// crate::flow::X\nconst A: &str = \"crate::app::run\";",
        );
        passes(
            "model/a.rs",
            "/* crate::store /* nested */ crate::app */ const A: &str = r#\"\"crate::app\"#;",
        );
    }

    #[test]
    fn finds_crates_that_belong_to_another() {
        finds("flow/a.rs", "use redis::cmd;", "names the crate redis");
        finds("flow/a.rs", "use redis as r;", "names the crate redis");
        finds("flow/a.rs", "use ::redis::cmd;", "names the crate redis");
        finds("cli/a.rs", "fn f() -> Result<(), redis::RedisError> {}", "names the crate redis");
        finds("app.rs", "use deadpool_redis::{Pool};", "names the crate deadpool_redis");
        finds("flow/a.rs", "let c = tokio_rustls::TlsConnector::from(a);", "names the crate tokio_rustls");
        finds("store/a.rs", "use hyper::Error;", "names the crate hyper");
        finds("lib.rs", "pub use redis;", "names the crate redis");
        finds("flow/a.rs", "use prometheus::IntCounter;", "names the crate prometheus");
        passes("store/a.rs", "use redis::cmd; use deadpool_redis::Pool;");
        passes("http/a.rs", "fn f(e: &tokio_rustls::X) -> Option<&hyper::Error> {}");
        passes("flow/a.rs", "let redis = self.redis.clone(); Self { redis, x: redis_url } // redis::cmd");
        passes("flow/a.rs", "pub redis: Redis, fn f(redis: &Redis) { a::redis::b() }");
    }

    #[test]
    fn finds_what_is_not_pure() {
        finds("decide/a.rs", "pub async fn f() {}", "says async");
        finds("decide/a.rs", "let now = Instant::now();", "says Instant::now");
        finds("decide/a.rs", "let now = std::time::SystemTime::now();", "says SystemTime::now");
        finds("decide/a.rs", "let x: f64 = rand::random();", "says rand::");
        finds("decide/a.rs", "use std::env;", "says std::env");
        finds("decide/a.rs", "#[cfg(test)]\nmod tests {} async fn f() {}", "says async");
        passes(
            "decide/a.rs",
            "// async\nlet text = \"async\"; let asynchronous = 1; let c = 'a'; let l: &'a str;",
        );
        passes("decide/a.rs", "fn f(now: SystemTime, random: f64) {}");
        passes("decide/a.rs", "#[cfg(test)]\nmod tests { fn f() { SystemTime::now(); { } } }");
        passes("decide/a.rs", "#[cfg(test)]\nmod arbitrary;\nfn f() {}");
        passes("flow/a.rs", "async fn f() { Instant::now() }");
    }

    #[test]
    fn finds_files_that_are_too_long_and_layers_without_a_rule() {
        finds("store/a.rs", &"\n".repeat(401), "401 lines");
        passes("store/a.rs", &"\n".repeat(400));
        finds("helpers/mod.rs", "", "no rule");
        finds("common.rs", "", "no rule");
    }

    #[test]
    fn finds_ignored_tests() {
        assert!(is_ignored("#[test]\n#[ignore]\nfn f() {}"));
        assert!(is_ignored("#[ignore = \"slow\"] fn f() {}"));
        assert!(is_ignored("#[cfg_attr(ci, ignore)] fn f() {}"));
        assert!(!is_ignored("#[test] fn ignore() {} // #[ignore]"));
        assert!(!is_ignored("/// ```ignore\nfn f() { multi.cmd(\"HSET\").ignore(); }"));
    }

    #[test]
    fn reads_texts_and_characters_as_such() {
        let read = |text: &str| tokens(text).join(" ");
        assert_eq!(read(r##"a('"', '\'', b"x\"y", r#"z"z"#, 'l) b"##), "a ( , , b , , l ) b");
        assert_eq!(read("a::b /* c /* d */ e */ f // g\nh"), "a :: b f h");
        let kept = without_tests(&tokens("fn a() {} #[cfg(test)] mod t { fn b() { {} } } fn c() {}"));
        assert_eq!(kept.join(" "), "fn a ( ) { } fn c ( ) { }");
    }
}
