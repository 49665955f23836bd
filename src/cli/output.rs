//! Output: the one place that writes to stdout and stderr.
//!
//! Results go to stdout: text, or one JSON document with `--json`. Everything else (progress, hints, errors) goes to
//! stderr. Colours and lines are for terminals; `NO_COLOR` is honoured. What came from outside is cleaned here, so
//! that it cannot steer the terminal.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::format::{clean, clean_json};
use super::table::Table;

/// Where a command's results go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Output {
    json: bool,
    terminal: bool,
}

/// Why nothing can be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum OutputError {
    /// Whoever read stdout has gone (`| head`): there is nobody left to write for.
    #[error("stdout was closed")]
    Closed,
    /// Anything else.
    #[error("cannot write to stdout: {0}")]
    Other(io::Error),
}

impl From<io::Error> for OutputError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Other(error),
        }
    }
}

/// What a piece of text means, shown as its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tone {
    /// Nothing in particular.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Worth a look.
    Doubtful,
    /// Wrong.
    Bad,
    /// Of less interest.
    Faint,
    /// A heading.
    Strong,
}

impl Output {
    /// Text, or JSON.
    pub(super) fn new(json: bool) -> Self {
        Self { json, terminal: io::stdout().is_terminal() }
    }

    /// Whether JSON is wanted.
    pub(super) fn is_json(self) -> bool {
        self.json
    }

    /// Whether stdout is a terminal.
    pub(super) fn is_terminal(self) -> bool {
        self.terminal
    }

    /// Prints a line as it is. What in it came from outside has been cleaned.
    pub(super) fn line(self, text: impl AsRef<str>) -> Result<(), OutputError> {
        let mut stdout = anstream::stdout().lock();
        writeln!(stdout, "{}", text.as_ref())?;
        Ok(stdout.flush()?)
    }

    /// Prints bytes as they are, whatever they are.
    pub(super) fn raw(self, bytes: &[u8]) -> Result<(), OutputError> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(bytes)?;
        Ok(stdout.flush()?)
    }

    /// Prints one JSON document.
    pub(super) fn json(self, value: &impl Serialize) -> Result<(), OutputError> {
        let json = serde_json::to_string_pretty(value).map_err(io::Error::from)?;
        self.raw(format!("{}\n", clean_json(&json)).as_bytes())
    }

    /// Prints one JSON document on one line: for those that follow each other.
    pub(super) fn json_line(self, value: &impl Serialize) -> Result<(), OutputError> {
        self.raw(format!("{}\n", compact(value)?).as_bytes())
    }

    /// Prints a table.
    pub(super) fn table(self, table: &Table) -> Result<(), OutputError> {
        self.line(table.render(self.terminal))
    }

    /// Prints names and values, aligned. Values are cleaned.
    pub(super) fn fields(self, fields: &[(&str, String)]) -> Result<(), OutputError> {
        let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let mut lines = String::new();
        for (name, value) in fields {
            let padding = " ".repeat(width - name.len() + 2);
            lines.push_str(&format!("{}{padding}{}\n", paint(Tone::Faint, name), clean(value)));
        }
        self.line(lines.trim_end_matches('\n'))
    }

    /// Clears the screen, for what is printed again and again; on a terminal only.
    pub(super) fn clear(self) -> Result<(), OutputError> {
        if self.terminal { self.raw(b"\x1b[H\x1b[J") } else { Ok(()) }
    }
}

/// Says something on stderr that is not the result.
pub(super) fn note(text: impl AsRef<str>) {
    // Nobody to tell it to is no reason to fail.
    _ = writeln!(anstream::stderr().lock(), "{}", text.as_ref());
}

/// Says on stderr that something is wrong.
pub(super) fn complain(tone: Tone, what: &str, text: &str) {
    note(format!("{}: {text}", paint(tone, what)));
}

/// Text with its colour; the stream it is written to takes it out where there are none. It is cleaned.
pub(super) fn paint(tone: Tone, text: &str) -> String {
    let style = match tone {
        Tone::Plain => return clean(text).into_owned(),
        Tone::Good => AnsiColor::Green.on_default(),
        Tone::Doubtful => AnsiColor::Yellow.on_default(),
        Tone::Bad => AnsiColor::Red.on_default(),
        Tone::Faint => Style::new().dimmed(),
        Tone::Strong => Style::new().bold(),
    };
    format!("{style}{}{style:#}", clean(text))
}

/// JSON on one line. Line breaks can only be white space of JSON that is passed on as it was written.
fn compact(value: &impl Serialize) -> Result<String, OutputError> {
    let json = serde_json::to_string(value).map_err(io::Error::from)?;
    Ok(clean_json(&json).replace(['\n', '\r'], " "))
}

/// A JSON array that is printed as it comes, one element a line.
#[derive(Debug)]
pub(super) struct JsonArray {
    out: Output,
    empty: bool,
}

impl JsonArray {
    /// Begins it, after `before`.
    pub(super) fn begin(out: Output, before: &str) -> Result<Self, OutputError> {
        out.raw(format!("{before}[").as_bytes())?;
        Ok(Self { out, empty: true })
    }

    /// Prints further elements.
    pub(super) fn extend<T: Serialize>(&mut self, elements: &[T]) -> Result<(), OutputError> {
        let mut text = String::new();
        for element in elements {
            text.push_str(if self.empty { "\n" } else { ",\n" });
            text.push_str(&compact(element)?);
            self.empty = false;
        }
        self.out.raw(text.as_bytes())
    }

    /// Ends it, and prints `after`.
    pub(super) fn end(self, after: &str) -> Result<(), OutputError> {
        let newline = if self.empty { "" } else { "\n" };
        self.out.raw(format!("{newline}]{after}\n").as_bytes())
    }
}

/// A progress bar on stderr, where that is a terminal. `len` is in `unit`s, or bytes; without one it only counts.
pub(super) fn progress(len: Option<u64>, unit: &str) -> ProgressBar {
    let (bar, template) = match (len, unit) {
        (Some(len), "bytes") => (
            ProgressBar::new(len),
            "{bar:30} {bytes}/{total_bytes}  {binary_bytes_per_sec}  {eta} left  {msg}".to_owned(),
        ),
        (Some(len), unit) => {
            (ProgressBar::new(len), format!("{{bar:30}} {{pos}}/{{len}} {unit}  {{per_sec}}  {{eta}} left"))
        }
        (None, unit) => (ProgressBar::new_spinner(), format!("{{spinner}} {{pos}} {unit}  {{per_sec}}")),
    };
    if let Ok(style) = ProgressStyle::with_template(&template) {
        bar.set_style(style);
    }
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(200));
    }
    bar
}
