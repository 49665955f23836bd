//! The producer snippets of the README: each is run as it is printed, where its runtime is on the machine.
//!
//! A snippet is a fenced block behind a line `<!-- test: redis-cli -->`, `<!-- test: node -->`, `<!-- test: python -->`
//! or `<!-- test: php -->`. It finds the server's URL in the environment variable `REDIS_URL` (a plain `redis-cli` is
//! led there by itself), pushes to the stream `webhooks`, ends by itself within half a minute, and exits with 0.

#![allow(missing_docs, reason = "a test")]

mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use posthaste::model::{Envelope, EventId};
use support::RedisServer;

const RUNTIMES: [&str; 4] = ["redis-cli", "node", "python", "php"];
/// How long a snippet may run: a client that is not closed keeps Node alive for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// A marked block.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Snippet {
    runtime: String,
    /// The line of the marker.
    line: usize,
    code: String,
}

/// The marked blocks of a README, or what is wrong with a marker.
fn snippets(readme: &str) -> Result<Vec<Snippet>, String> {
    let mut found = Vec::new();
    let mut lines = readme.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let line_number = number + 1;
        let Some(rest) = line.trim().strip_prefix("<!-- test:") else {
            continue;
        };
        let runtime = rest
            .strip_suffix("-->")
            .map(str::trim)
            .ok_or_else(|| format!("line {line_number}: the marker does not end in -->"))?;
        if !RUNTIMES.contains(&runtime) {
            return Err(format!("line {line_number}: '{runtime}' is none of {}", RUNTIMES.join(", ")));
        }
        let fence = lines.by_ref().map(|(_, line)| line).find(|line| !line.trim().is_empty());
        if !fence.is_some_and(|fence| fence.starts_with("```")) {
            return Err(format!("line {line_number}: no fenced block follows the marker"));
        }
        let mut code = String::new();
        loop {
            match lines.next() {
                Some((_, "```")) => break,
                Some((_, line)) => {
                    code.push_str(line);
                    code.push('\n');
                }
                None => return Err(format!("line {line_number}: the block has no end")),
            }
        }
        found.push(Snippet { runtime: runtime.to_owned(), line: line_number, code });
    }
    Ok(found)
}

/// How to run a snippet.
struct Run {
    command: Command,
}

/// Makes a snippet ready in `dir`, or says what is missing on this machine.
fn prepare(snippet: &Snippet, dir: &Path) -> Result<Run, String> {
    match snippet.runtime.as_str() {
        "redis-cli" => prepare_redis_cli(snippet, dir),
        "node" => prepare_node(snippet, dir),
        "python" => {
            succeeds(Command::new("python3").args(["-c", "import redis"]))
                .then_some(())
                .ok_or("python3 with the package redis is not installed")?;
            Ok(script(dir, "snippet.py", &snippet.code, "python3"))
        }
        "php" => prepare_php(snippet, dir),
        other => unreachable!("{other} is no runtime"),
    }
}

/// A script in a file of `dir`, to be run by `program`.
fn script(dir: &Path, name: &str, code: &str, program: &str) -> Run {
    std::fs::write(dir.join(name), code).expect("the directory can be written");
    let mut command = Command::new(program);
    command.arg(name);
    Run { command }
}

/// People have one Redis, on the default port, and need no `-u`: here a `redis-cli` in front of the real one adds it.
fn prepare_redis_cli(snippet: &Snippet, dir: &Path) -> Result<Run, String> {
    let real = on_path("redis-cli").ok_or("redis-cli is not installed")?;
    let bin = dir.join("bin");
    std::fs::create_dir(&bin).expect("the directory can be written");
    let shim = bin.join("redis-cli");
    let text = format!("#!/bin/sh\nexec '{}' -u \"$REDIS_URL\" \"$@\"\n", real.display());
    std::fs::write(&shim, text).expect("the directory can be written");
    assert!(succeeds(Command::new("chmod").arg("+x").arg(&shim)), "chmod +x");
    let mut run = script(dir, "snippet.sh", &format!("set -eu\n{}", snippet.code), "sh");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(std::iter::once(bin).chain(std::env::split_paths(&path)));
    run.command.env("PATH", path.expect("no directory holds a colon"));
    Ok(run)
}

/// Node finds a package below the script alone; so the directory it is installed in is linked there.
fn prepare_node(snippet: &Snippet, dir: &Path) -> Result<Run, String> {
    on_path("node").ok_or("node is not installed")?;
    let package = ["ioredis", "redis"]
        .into_iter()
        .find(|package| {
            ["'", "\""].iter().any(|quote| snippet.code.contains(&format!("{quote}{package}{quote}")))
        })
        .ok_or("the snippet uses neither redis nor ioredis")?;
    let global = Command::new("npm")
        .args(["root", "-g"])
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default();
    let inherited = std::env::var("NODE_PATH").unwrap_or_default();
    let found = Command::new("node")
        .args(["-p", "require.resolve(process.argv[1])", package])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("NODE_PATH", format!("{inherited}:{global}"))
        .output()
        .expect("node runs");
    let entry = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    let modules = entry
        .find("/node_modules/")
        .map(|at| &entry[..at + "/node_modules".len()])
        .ok_or_else(|| format!("the package {package} is not installed for node"))?;
    std::os::unix::fs::symlink(modules, dir.join("node_modules")).expect("the directory can be written");
    let is_module = snippet.code.lines().any(|line| line.starts_with("import "));
    let name = if is_module { "snippet.mjs" } else { "snippet.cjs" };
    Ok(script(dir, name, &snippet.code, "node"))
}

fn prepare_php(snippet: &Snippet, dir: &Path) -> Result<Run, String> {
    on_path("php").ok_or("php is not installed")?;
    let code = match snippet.code.trim_start().starts_with("<?php") {
        true => snippet.code.clone(),
        false => format!("<?php\n{}", snippet.code),
    };
    if snippet.code.contains("Predis") {
        let vendor = Path::new(env!("CARGO_MANIFEST_DIR")).join("vendor");
        if !vendor.join("autoload.php").exists() {
            return Err("predis is not installed (there is no vendor/autoload.php)".to_owned());
        }
        std::os::unix::fs::symlink(vendor, dir.join("vendor")).expect("the directory can be written");
    } else if !succeeds(Command::new("php").args(["-r", "exit(extension_loaded('redis') ? 0 : 1);"])) {
        return Err("php has no extension redis".to_owned());
    }
    Ok(script(dir, "snippet.php", &code, "php"))
}

fn on_path(program: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|dir| dir.join(program)).find(|path| path.is_file())
}

fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Runs it against a server; what it printed, unless it did not end.
fn run(mut run: Run, dir: &Path, url: &str) -> Option<Output> {
    let mut child = run
        .command
        .current_dir(dir)
        .env("REDIS_URL", url)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the runtime was there a moment ago");
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().expect("its state is ours to know").is_none() {
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Some(child.wait_with_output().expect("it has ended"))
}

/// What came of a snippet.
#[derive(Debug)]
enum Outcome {
    /// It pushed this many events.
    Pushed(usize),
    /// What is missing on this machine.
    Skipped(String),
}

/// Runs a snippet against a server of its own and looks at what it pushed; else what is wrong with it.
async fn check(snippet: &Snippet) -> Result<Outcome, String> {
    let redis = RedisServer::start();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let prepared = match prepare(snippet, dir.path()) {
        Ok(prepared) => prepared,
        Err(missing) => return Ok(Outcome::Skipped(missing)),
    };
    let output = run(prepared, dir.path(), &redis.url())
        .ok_or("it does not end by itself; does it close its connection?")?;
    if !output.status.success() {
        return Err(format!(
            "{}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    let keys = redis.keys().await;
    if keys != ["webhooks"] {
        return Err(format!("it wrote to {keys:?}, not to the stream webhooks"));
    }
    let entries = redis.entries("webhooks").await;
    for (_, entry) in &entries {
        for (field, value) in entry {
            match field.as_slice() {
                b"payload" => {
                    Envelope::parse(value.clone().into()).map_err(|error| error.to_string())?;
                }
                b"id" => {
                    EventId::parse(&String::from_utf8_lossy(value)).map_err(|error| error.to_string())?;
                }
                b"traceparent" => {}
                other => return Err(format!("a field {:?}", String::from_utf8_lossy(other))),
            }
        }
        if !entry.iter().any(|(field, _)| field == b"payload") {
            return Err("an entry without a field payload".to_owned());
        }
    }
    Ok(Outcome::Pushed(entries.len()))
}

#[tokio::test]
async fn the_readmes_producers_push_readable_events() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let readme = std::fs::read_to_string(&path).expect("README.md is there");
    let snippets = snippets(&readme).unwrap_or_else(|error| panic!("README.md, {error}"));
    for runtime in RUNTIMES {
        assert!(
            snippets.iter().any(|snippet| snippet.runtime == runtime),
            "README.md has no snippet behind <!-- test: {runtime} -->"
        );
    }
    let mut wrong = Vec::new();
    for snippet in &snippets {
        let place = format!("README.md, line {}, {}", snippet.line, snippet.runtime);
        match check(snippet).await {
            Ok(Outcome::Pushed(events)) => println!("{place}: pushed {events}"),
            Ok(Outcome::Skipped(why)) => println!("{place}: SKIPPED, {why}"),
            Err(error) => wrong.push(format!("{place}: {error}")),
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

mod the_check {
    use super::{Outcome, Snippet, check, snippets};

    #[test]
    fn finds_marked_blocks_alone() {
        let readme = "a\n<!-- test: node -->\n```js\nx\n\n  y\n```\n```js\nnot me\n```\n\n<!-- test: redis-cli -->\n\n```sh\nz\n```\n";
        let found = snippets(readme).unwrap();
        let expect = |runtime: &str, line, code: &str| Snippet {
            runtime: runtime.to_owned(),
            line,
            code: code.to_owned(),
        };
        assert_eq!(found, [expect("node", 2, "x\n\n  y\n"), expect("redis-cli", 12, "z\n")]);
        assert_eq!(snippets("nothing\n").unwrap(), []);
    }

    #[test]
    fn finds_markers_that_lead_nowhere() {
        for (readme, said) in [
            ("<!-- test: ruby -->\n```\n```", "'ruby' is none of"),
            ("<!-- test: node", "does not end"),
            ("<!-- test: node -->\ntext\n```\n```", "no fenced block"),
            ("<!-- test: node -->", "no fenced block"),
            ("<!-- test: node -->\n```js\nx\n", "no end"),
        ] {
            let error = snippets(readme).unwrap_err();
            assert!(error.contains(said), "{readme}: {error}");
        }
    }

    async fn outcome(code: &str) -> Result<Outcome, String> {
        let snippet = Snippet { runtime: "redis-cli".to_owned(), line: 1, code: format!("{code}\n") };
        check(&snippet).await
    }

    #[tokio::test]
    async fn accepts_what_is_right_and_refuses_what_is_not() {
        if !super::on_path("redis-cli").is_some_and(|path| path.exists()) {
            println!("SKIPPED, redis-cli is not installed");
            return;
        }
        let pushed = outcome(
            "redis-cli XADD webhooks '*' payload '{\"event\":\"x\"}'\nredis-cli XADD webhooks '*' payload '{\"event\":\"x\"}' id a-1",
        )
        .await;
        assert!(matches!(pushed, Ok(Outcome::Pushed(2))), "{pushed:?}");
        for (code, said) in [
            ("true", "it wrote to []"),
            ("false", "exit status: 1"),
            ("redis-cli XADD other '*' payload '{\"event\":\"x\"}'", "\"other\""),
            ("redis-cli XADD webhooks '*' payload '{}'", "no `event`"),
            ("redis-cli XADD webhooks '*' payload nope", "not a JSON object"),
            ("redis-cli XADD webhooks '*' payload '{\"event\":\"x\"}' id 'a b'", "event id"),
            ("redis-cli XADD webhooks '*' data '{\"event\":\"x\"}'", "a field \"data\""),
            ("redis-cli XADD webhooks '*' id a", "without a field payload"),
        ] {
            let error = outcome(code).await.expect_err(code);
            assert!(error.contains(said), "{code}: {error}");
        }
    }
}
