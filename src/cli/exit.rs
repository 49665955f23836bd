//! Exit statuses, and what is said before.

use std::process::ExitCode;

use super::output::OutputError;
use crate::config::ConfigError;
use crate::store::{ErrorKind, StoreError};

/// How a command ended that did not succeed.
#[derive(Debug)]
pub(super) struct Exit {
    status: u8,
    message: Option<String>,
}

/// It failed.
const FAILED: u8 = 1;
/// The command line is wrong.
const USAGE: u8 = 2;
/// Redis is unreachable (`EX_UNAVAILABLE` of sysexits.h).
const UNREACHABLE: u8 = 69;
/// The settings are wrong (`EX_CONFIG` of sysexits.h).
const BAD_SETTINGS: u8 = 78;

/// The command line is wrong in a way that the parser does not see.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Usage(pub(super) String);

/// It failed, and what there is to say has been said.
#[derive(Debug, thiserror::Error)]
#[error("it failed")]
pub(super) struct Told;

impl Exit {
    /// What an error comes to; none where it is no failure. `redis_url` is the URL as it may be shown.
    pub(super) fn of(error: &anyhow::Error, redis_url: Option<&str>) -> Option<Self> {
        if let Some(OutputError::Closed) = cause(error) {
            return None;
        }
        if cause::<Told>(error).is_some() {
            return Some(Self { status: FAILED, message: None });
        }
        let message = Some(told(error));
        if cause::<Usage>(error).is_some() {
            return Some(Self { status: USAGE, message });
        }
        if cause::<ConfigError>(error).is_some() {
            return Some(Self { status: BAD_SETTINGS, message });
        }
        match cause::<StoreError>(error) {
            Some(store) if store.kind() == ErrorKind::Unreachable => {
                Some(Self { status: UNREACHABLE, message: Some(unreachable(error, store, redis_url)) })
            }
            Some(store) if is_not_redis(store) => {
                Some(Self { status: UNREACHABLE, message: Some(not_redis(error, redis_url)) })
            }
            Some(store) if is_full(store) => {
                Some(Self { status: FAILED, message: Some(full(error, redis_url)) })
            }
            Some(store) => {
                let refused = remedy(store).map(|remedy| refused(error, store, redis_url, remedy));
                Some(Self { status: FAILED, message: refused.or(message) })
            }
            None => Some(Self { status: FAILED, message }),
        }
    }

    /// What is left to be said.
    pub(super) fn message(&self) -> Option<&str> {
        self.message.as_deref()
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.status)
    }
}

fn cause<E: std::error::Error + Send + Sync + 'static>(error: &anyhow::Error) -> Option<&E> {
    error.chain().find_map(|error| error.downcast_ref())
}

/// An error and its causes, but for those whose text has been told by then. What Redis said is told whole by the
/// [`StoreError`]; its causes are the same in the words of the client.
fn told(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        let text = text.trim();
        if !told.contains(text) {
            let divider = if told.is_empty() { "" } else { ": " };
            told.push_str(&format!("{divider}{text}"));
        }
        if cause.downcast_ref::<StoreError>().is_some() {
            break;
        }
    }
    told
}

/// What was being done when Redis failed, where the error says; it ends in a colon then.
fn doing(error: &anyhow::Error) -> String {
    let contexts = error.chain().take_while(|error| error.downcast_ref::<StoreError>().is_none());
    contexts.map(|context| format!("{context}: ")).collect()
}

/// That Redis is not there.
fn unreachable(error: &anyhow::Error, store: &StoreError, redis_url: Option<&str>) -> String {
    let (doing, url) = (doing(error), redis_url.unwrap_or("REDIS_URL"));
    let remedy = match store.code().as_deref() {
        Some("LOADING") => "wait until it has loaded its data",
        Some("BUSY") => "wait for the script that it runs, or end that with SCRIPT KILL",
        Some("MASTERDOWN") => "it is a replica without its primary: let REDIS_URL name a primary",
        _ if store.to_string().contains("UnknownIssuer") => {
            "name the CA of its certificate in REDIS_CA_FILE, or correct REDIS_URL"
        }
        _ if store.to_string().contains("CaUsedAsEndEntity") => {
            "make its certificate with basicConstraints=CA:FALSE, or one that a CA signs"
        }
        _ if store.is_timeout() => "see whether it hangs or is cut off, or correct REDIS_URL",
        _ => "start it, or correct REDIS_URL",
    };
    format!("{doing}no answer from redis at {url} ({}); {remedy}", reason(store))
}

/// What can be done about an answer of Redis that refuses.
fn remedy(store: &StoreError) -> Option<&'static str> {
    match (store.kind(), store.code().as_deref()) {
        (ErrorKind::Denied, Some("NOPERM")) => {
            Some("allow it with ACL SETUSER, or name another user in REDIS_URL")
        }
        (ErrorKind::Denied, _) => Some("check user and password in REDIS_URL"),
        (ErrorKind::NoWrites, Some("READONLY")) => Some("it is a replica: let REDIS_URL name its primary"),
        (ErrorKind::NoWrites, Some("MISCONF")) => Some("make room on its disk; its log says more"),
        (ErrorKind::Other, _) if store.to_string().contains("DB index") => {
            Some("correct the number of the database in REDIS_URL")
        }
        _ => None,
    }
}

fn refused(error: &anyhow::Error, store: &StoreError, redis_url: Option<&str>, remedy: &str) -> String {
    let (doing, url) = (doing(error), redis_url.unwrap_or("REDIS_URL"));
    format!("{doing}redis at {url} refuses ({}); {remedy}", reason(store))
}

/// What Redis or the client said.
fn reason(store: &StoreError) -> String {
    let text = store.to_string();
    text.strip_prefix("redis: ").unwrap_or(&text).to_owned()
}

/// Whether what was answered is not of Redis' protocol.
fn is_not_redis(store: &StoreError) -> bool {
    store.to_string().contains("Parse error at ")
}

fn not_redis(error: &anyhow::Error, redis_url: Option<&str>) -> String {
    let (doing, url) = (doing(error), redis_url.unwrap_or("REDIS_URL"));
    let tls = if url.starts_with("redis:") { ", or it wants TLS (rediss://)" } else { "" };
    format!("{doing}what answers at {url} is not Redis{tls}; correct REDIS_URL")
}

/// Whether Redis has no memory left for what is to be written.
fn is_full(store: &StoreError) -> bool {
    let text = store.to_string();
    text.contains("OOM") && text.contains("maxmemory")
}

fn full(error: &anyhow::Error, redis_url: Option<&str>) -> String {
    let (doing, url) = (doing(error), redis_url.unwrap_or("REDIS_URL"));
    format!("{doing}redis at {url} is full: raise its maxmemory, or let workers drain it")
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;
    use crate::decide::webhook::{self, CustomEvents};
    use crate::model::Secret;
    use crate::store::{Redis, RedisSettings};

    fn exit(error: impl Into<anyhow::Error>) -> Option<Exit> {
        Exit::of(&error.into(), Some("redis://h:1"))
    }

    fn refused() -> StoreError {
        let url = Secret::new("unix:///nowhere/redis.sock");
        let redis = Redis::open(&RedisSettings { url, stream: "s".to_owned(), ca: None }).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(redis.time_ms()).unwrap_err()
    }

    #[test]
    fn every_kind_of_error_has_its_status() {
        assert_eq!(exit(anyhow::anyhow!("no")).unwrap().status, 1);
        assert_eq!(exit(Usage("which?".to_owned())).unwrap().status, 2);
        assert_eq!(exit(ConfigError { problems: Vec::new() }).unwrap().status, 78);
        assert!(exit(OutputError::Closed).is_none());
        let told = exit(Told).unwrap();
        assert_eq!((told.status, told.message()), (1, None));
    }

    #[test]
    fn nothing_is_told_twice() {
        let parse = |json: &str| webhook::parse(json.as_bytes(), &CustomEvents::Any);
        let wrong = parse(r#"{"url":"ftp://h"}"#).context("the webhook of a").unwrap_err();
        let exit = exit(wrong).unwrap();
        let told = "the webhook of a: `url` cannot be used: ftp is not http or https";
        assert_eq!(exit.message(), Some(told));
        assert_eq!(super::told(&anyhow::anyhow!("inner").context("outer")), "outer: inner");
        assert_eq!(super::told(&anyhow::anyhow!("b").context("a: b").context("do")), "do: a: b");
    }

    #[test]
    fn an_unreachable_redis_is_named() {
        let error = Err::<(), _>(refused()).context("lines 1 to 9 may not have been pushed").unwrap_err();
        let exit = exit(error).unwrap();
        assert_eq!(exit.status, 69);
        let message = exit.message().unwrap();
        let start = "lines 1 to 9 may not have been pushed: no answer from redis at redis://h:1 (";
        assert!(message.starts_with(start), "{message}");
    }
}
