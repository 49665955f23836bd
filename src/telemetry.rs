//! Telemetry: what the process says about itself, on stderr, and what it counts ([`metrics`]).
//!
//! Text for people, or JSON for collectors: one object a line, an event's fields beside its message. Times are UTC.
//! stdout belongs to what the commands print.

pub mod metrics;
mod process;
mod scrape;

use std::io::{self, IsTerminal};

use tracing::Subscriber;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::{EnvFilter, fmt};

pub use self::scrape::Scrape;

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// A line for people, in colours where stderr is a terminal and `NO_COLOR` is unset.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// A word that is neither a level nor a directive.
    #[error("{FORM}")]
    BadLevel,
    /// Something like a directive that cannot be read.
    #[error("it cannot be read ({0}); {FORM}")]
    BadDirective(#[from] ParseError),
    /// The process has one already.
    #[error("the log has been set up before; do it once per process")]
    AlreadyInitialised,
}

const FORM: &str = "write trace, debug, info, warn, error or off, or tracing filter directives such as \
                    info,posthaste::flow=debug";

/// The kinds of messages that Evolution API lists in its `LOG_LEVEL`, with the level each comes to.
const KINDS: &[(&str, &str)] = &[
    ("off", "off"),
    ("error", "error"),
    ("warn", "warn"),
    ("info", "info"),
    ("log", "info"),
    ("dark", "info"),
    ("webhooks", "info"),
    ("websocket", "info"),
    ("debug", "debug"),
    ("verbose", "debug"),
    ("trace", "trace"),
];

/// Sends what is logged from now on to stderr. `level` is that of [`filter`].
///
/// # Errors
/// When `level` cannot be read, or the process has a log already.
pub fn init(level: &str, format: LogFormat) -> Result<(), TelemetryError> {
    let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let colours = io::stderr().is_terminal() && !no_color;
    let filter = filter(level)?;
    match format {
        LogFormat::Text => tracing::subscriber::set_global_default(text(filter, colours, io::stderr)),
        LogFormat::Json => tracing::subscriber::set_global_default(json(filter, io::stderr)),
    }
    .map_err(|_| TelemetryError::AlreadyInitialised)
}

/// The filter of a `LOG_LEVEL`: a level; a comma list of the kinds that Evolution API knows, of which the most detailed
/// counts; or `tracing` filter directives (`info,posthaste::flow=debug`), which are taken as they are.
///
/// `debug` and `trace` are ours alone: the libraries stay at `info`, for their wire logs would bury everything else,
/// and show secrets.
///
/// # Errors
/// When it is none of these. A word by itself is refused though `tracing` would take it for a module's name: it is a
/// mistyped level, and nothing would be logged.
pub fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    let parts: Vec<&str> = level.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    let kinds: Vec<Option<usize>> = parts.iter().map(|part| kind(part)).collect();
    let directives = match kinds.iter().copied().collect::<Option<Vec<usize>>>() {
        Some(kinds) => {
            match kinds.into_iter().max().map(|most| KINDS[most].1).ok_or(TelemetryError::BadLevel)? {
                level @ ("debug" | "trace") => format!("info,posthaste={level}"),
                level => level.to_owned(),
            }
        }
        None if parts.iter().zip(&kinds).all(|(part, kind)| kind.is_some() || part.contains('=')) => {
            parts.join(",")
        }
        None => return Err(TelemetryError::BadLevel),
    };
    Ok(EnvFilter::builder().parse(directives)?)
}

/// The place of a word in [`KINDS`], which begins with the least detailed.
fn kind(word: &str) -> Option<usize> {
    KINDS.iter().position(|(kind, _)| kind.eq_ignore_ascii_case(word))
}

fn text<W>(filter: EnvFilter, colours: bool, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    fmt().with_env_filter(filter).with_ansi(colours).with_target(false).with_writer(writer).finish()
}

fn json<W>(filter: EnvFilter, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    fmt()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(writer)
        .finish()
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Buffer {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }

        fn writer(&self) -> impl Fn() -> Self + use<> {
            let buffer = self.clone();
            move || buffer.clone()
        }
    }

    fn log_something() {
        tracing::info!(destination = "instance:a", attempt = 2, "delivered");
        tracing::debug!("in detail");
    }

    #[test]
    fn json_is_one_flat_object_a_line() {
        let buffer = Buffer::default();
        let subscriber = json(filter("info").unwrap(), buffer.writer());
        tracing::subscriber::with_default(subscriber, log_something);
        let text = buffer.text();
        assert_eq!(text.lines().count(), 1, "{text}");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["message"], "delivered");
        assert_eq!(line["destination"], "instance:a");
        assert_eq!(line["attempt"], 2);
        assert_eq!(line["level"], "INFO");
        assert!(line["timestamp"].as_str().unwrap().ends_with('Z'), "{text}");
    }

    #[test]
    fn text_has_colours_only_when_asked() {
        for colours in [true, false] {
            let buffer = Buffer::default();
            let subscriber = text(filter("debug").unwrap(), colours, buffer.writer());
            tracing::subscriber::with_default(subscriber, log_something);
            assert_eq!(buffer.text().contains('\u{1b}'), colours);
            assert_eq!(buffer.text().lines().count(), 2);
            assert_eq!(buffer.text().split(' ').next().unwrap().ends_with('Z'), !colours);
        }
    }

    #[test]
    fn a_level_is_ours_and_directives_are_as_written() {
        for (level, expected) in [
            ("info", "info"),
            ("WARN", "warn"),
            ("off", "off"),
            ("debug", "posthaste=debug,info"),
            ("Trace", "posthaste=trace,info"),
            ("ERROR,WARN,DEBUG,INFO,LOG,VERBOSE,DARK,WEBHOOKS,WEBSOCKET", "posthaste=debug,info"),
            ("ERROR, WARN,LOG", "info"),
            ("warn,posthaste::flow=trace", "posthaste::flow=trace,warn"),
            ("posthaste=debug", "posthaste=debug"),
        ] {
            assert_eq!(filter(level).unwrap().to_string(), expected, "{level}");
        }
    }

    #[test]
    fn a_mistyped_level_is_refused() {
        for level in ["", ",", "loud", "inof", "info,posthaste", "posthaste=loud", "posthaste::flow", "3 4"] {
            let error = filter(level).unwrap_err().to_string();
            assert!(error.ends_with(FORM), "{level}: {error}");
        }
    }
}
