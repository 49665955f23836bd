//! Pushing many events: read as they come, pushed in pipelines, told at the end.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::ProgressBar;
use serde_json::json;
use tokio::io::{AsyncRead, BufReader};

use super::super::exit::Told;
use super::super::format::{clean_json, count, short, spell};
use super::super::output::{JsonArray, Output, OutputError, Tone, complain, progress};
use super::super::session::Session;
use super::checked;
use super::lines::{Line, Lines};
use crate::store::{Published, Publisher};

/// A pipeline is sent once it has so many events …
const CHUNK_EVENTS: usize = 500;
/// … or so many bytes …
const CHUNK_BYTES: usize = 1024 * 1024;
/// … or when no further line came for so long: an event does not wait for the next.
const CHUNK_WAIT: Duration = Duration::from_millis(20);
/// So many bad lines are told one by one; the others are counted.
const TOLD: u64 = 100;
const BUFFER: usize = 64 * 1024;

/// Pushes the events of a file, or of stdin.
pub(super) async fn run(file: Option<PathBuf>, session: &Session) -> anyhow::Result<()> {
    let (input, len): (Box<dyn AsyncRead + Send + Unpin>, _) = match file {
        None => (Box::new(tokio::io::stdin()), None),
        Some(path) => {
            let cannot = || format!("cannot read {}", path.display());
            let file = tokio::fs::File::open(&path).await.with_context(cannot)?;
            let metadata = file.metadata().await.with_context(cannot)?;
            anyhow::ensure!(!metadata.is_dir(), "{}: it is a directory; name a file of events", cannot());
            (Box::new(file), metadata.is_file().then_some(metadata.len()))
        }
    };
    let mut lines = Lines::new(BufReader::with_capacity(BUFFER, input), session.config.max_event_bytes);
    let bar = match len {
        Some(len) => progress(Some(len), "bytes"),
        None => progress(None, "events"),
    };
    let mut many = Many {
        publisher: Publisher::on(session.redis.clone()),
        max_bytes: session.config.max_event_bytes,
        by_bytes: len.is_some(),
        bar,
        chunk: Chunk::default(),
        pushed: 0,
        refused: Refused::default(),
        ids: Ids::begin(session.out)?,
    };
    let started = Instant::now();
    let ended = many.push_all(&mut lines).await;
    many.bar.finish_and_clear();
    let Many { pushed, refused, ids, .. } = many;
    let told = ids.end(pushed, &refused, started.elapsed());
    ended?;
    if refused.count > 0 {
        return Err(Told.into());
    }
    told
}

/// What is under way.
struct Many {
    publisher: Publisher,
    max_bytes: usize,
    by_bytes: bool,
    bar: ProgressBar,
    chunk: Chunk,
    pushed: u64,
    refused: Refused,
    ids: Ids,
}

/// Events about to be pushed together.
#[derive(Default)]
struct Chunk {
    events: Vec<Published>,
    bytes: usize,
    first_line: u64,
    last_line: u64,
}

/// Lines that are not events.
#[derive(Default)]
struct Refused {
    count: u64,
    /// The first of them.
    told: Vec<serde_json::Value>,
}

impl Many {
    async fn push_all<R: AsyncRead + Unpin>(
        &mut self,
        lines: &mut Lines<BufReader<R>>,
    ) -> anyhow::Result<()> {
        loop {
            let next = if self.chunk.events.is_empty() {
                lines.next().await
            } else {
                match tokio::time::timeout(CHUNK_WAIT, lines.next()).await {
                    Ok(next) => next,
                    Err(_) => {
                        self.push().await?;
                        continue;
                    }
                }
            };
            match next.context("cannot read on")? {
                Some(line) => self.take(line),
                None => return self.push().await,
            }
            if self.chunk.events.len() >= CHUNK_EVENTS || self.chunk.bytes >= CHUNK_BYTES {
                self.push().await?;
            }
            if self.by_bytes {
                self.bar.set_position(lines.read_bytes());
            }
        }
    }

    fn take(&mut self, line: Line) {
        let event = match line.text {
            Ok(text) => {
                let bytes = text.len();
                checked(text.into(), self.max_bytes)
                    .map(|(event, _)| (event, bytes))
                    .map_err(|error| error.to_string())
            }
            Err(length) => {
                Err(format!("the event has {length} bytes, MAX_EVENT_BYTES allows {}", self.max_bytes))
            }
        };
        match event {
            Ok((event, bytes)) => {
                if self.chunk.events.is_empty() {
                    self.chunk.first_line = line.number;
                }
                self.chunk.last_line = line.number;
                self.chunk.bytes += bytes;
                self.chunk.events.push(event);
            }
            Err(why) => self.bar.suspend(|| self.refused.add(line.number, &why)),
        }
    }

    async fn push(&mut self) -> anyhow::Result<()> {
        if self.chunk.events.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.chunk);
        let ids = self.publisher.publish_all(&chunk.events).await.with_context(|| {
            format!(
                "the events of lines {} to {} may or may not have been pushed",
                chunk.first_line, chunk.last_line
            )
        })?;
        self.pushed += ids.len() as u64;
        if !self.by_bytes {
            self.bar.set_position(self.pushed);
        }
        self.ids.add(&ids)
    }
}

impl Refused {
    fn add(&mut self, line: u64, why: &str) {
        self.count += 1;
        if self.count <= TOLD {
            complain(Tone::Bad, &format!("line {line}"), &short(why, 300));
            self.told.push(json!({ "line": line, "error": why }));
        } else if self.count == TOLD + 1 {
            complain(Tone::Bad, &format!("line {line}"), "bad too; further bad lines are only counted");
        }
    }
}

/// The ids of what was pushed, printed as they come where they are asked for.
struct Ids {
    out: Output,
    array: Option<JsonArray>,
}

impl Ids {
    fn begin(out: Output) -> anyhow::Result<Self> {
        let array = match out.is_json().then(|| JsonArray::begin(out, "{\"ids\":")) {
            Some(Err(OutputError::Closed)) | None => None,
            Some(array) => Some(array?),
        };
        Ok(Self { out, array })
    }

    fn add(&mut self, ids: &[String]) -> anyhow::Result<()> {
        match self.array.as_mut().map(|array| array.extend(ids)) {
            // Whoever reads the ids may leave; the events are pushed all the same.
            Some(Err(OutputError::Closed)) => self.array = None,
            Some(Err(error)) => return Err(error.into()),
            Some(Ok(())) | None => {}
        }
        Ok(())
    }

    fn end(self, pushed: u64, refused: &Refused, took: Duration) -> anyhow::Result<()> {
        if let Some(array) = self.array {
            let told = serde_json::to_string(&refused.told)?;
            let told = clean_json(&told);
            array.end(&format!(",\"pushed\":{pushed},\"refused\":{},\"errors\":{told}}}", refused.count))?;
        } else if !self.out.is_json() {
            let refused = match refused.count {
                0 => String::new(),
                refused => format!("; {} refused", count(refused, "line")),
            };
            self.out.line(format!("pushed {} in {}{refused}", count(pushed, "event"), spell(took)))?;
        }
        Ok(())
    }
}
