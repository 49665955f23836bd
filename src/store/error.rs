//! What can go wrong with Redis.

use redis::{RedisError, ServerError, ServerErrorKind};

/// A Redis command that did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("redis: {}", describe(.source))]
pub struct StoreError {
    kind: ErrorKind,
    #[source]
    source: RedisError,
}

/// What a caller can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// No connection, a lost one, no answer in time, or a server that is loading: try again.
    Unreachable,
    /// The server refuses the credentials or the command (ACL): the operator must act.
    Denied,
    /// The consumer group or its stream is gone (FLUSHALL, DEL): create it again.
    NoGroup,
    /// The server takes no writes for now (READONLY, OOM, MISCONF): try again.
    NoWrites,
    /// Anything else.
    Other,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [Self::Unreachable, Self::Denied, Self::NoGroup, Self::NoWrites, Self::Other];

    /// The kind as it is told.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Denied => "denied",
            Self::NoGroup => "no_group",
            Self::NoWrites => "no_writes",
            Self::Other => "other",
        }
    }
}

impl StoreError {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The code of Redis' answer (`LOADING`, `NOPERM`, …), where it was one.
    pub fn code(&self) -> Option<String> {
        answered(&self.source).map(|answer| answer.code().to_owned())
    }

    /// Whether there was no answer in time.
    pub fn is_timeout(&self) -> bool {
        self.source.is_timeout()
    }

    /// The error that a script reports of one of several things, in Redis' words.
    pub(super) fn told(words: String) -> Self {
        RedisError::from((redis::ErrorKind::Server(ServerErrorKind::ResponseError), "in a script", words))
            .into()
    }

    /// Whether the connection it happened on must not be used again.
    pub(crate) fn spoils_connection(&self) -> bool {
        self.kind == ErrorKind::Unreachable
            // Of a MULTI only what was answered to its commands tells.
            || matches!(self.source.kind(), redis::ErrorKind::Server(ServerErrorKind::ReadOnly))
            || self.code().is_some_and(|code| code == "READONLY")
            || self.source.is_unrecoverable_error()
    }
}

impl From<RedisError> for StoreError {
    fn from(source: RedisError) -> Self {
        Self { kind: kind_of(&source), source }
    }
}

fn kind_of(error: &RedisError) -> ErrorKind {
    if error.is_io_error() || error.is_timeout() || error.is_connection_dropped() {
        return ErrorKind::Unreachable;
    }
    if error.kind() == redis::ErrorKind::AuthenticationFailed {
        return ErrorKind::Denied;
    }
    match error.kind() {
        redis::ErrorKind::Server(
            ServerErrorKind::BusyLoading | ServerErrorKind::TryAgain | ServerErrorKind::MasterDown,
        ) => return ErrorKind::Unreachable,
        redis::ErrorKind::Server(ServerErrorKind::ReadOnly) => return ErrorKind::NoWrites,
        redis::ErrorKind::Server(ServerErrorKind::NoPerm) => return ErrorKind::Denied,
        _ => {}
    }
    // Errors raised inside a script carry the code of the command only in their text, those inside a MULTI only in what
    // was answered to the command.
    let text = format!("{error} {}", describe(error));
    let says = |code: &str| error.code() == Some(code) || text.contains(code);
    if says("NOGROUP") || says("UNBLOCKED") {
        ErrorKind::NoGroup
    } else if says("WRONGPASS") || says("DENIED ") || says("NOAUTH") || says("NOPERM")
        // The answer to the SELECT of a URL that names a database and no password.
        || says("Authentication required")
    {
        ErrorKind::Denied
    } else if says("NOREPLICAS")
        || says("OOM ")
        || error.code() == Some("OOM")
        || says("MISCONF")
        || says("READONLY")
    {
        ErrorKind::NoWrites
    } else if says("max number of clients")
        || says("CLUSTERDOWN")
        || says("LOADING")
        || says("MASTERDOWN")
        || says("BUSY ")
    {
        ErrorKind::Unreachable
    } else {
        ErrorKind::Other
    }
}

/// The error in words, without the repetitions of the client's own.
fn describe(error: &RedisError) -> String {
    match answered(error) {
        Some(answer) => format!("{} {}", answer.code(), answer.details().unwrap_or_default()),
        None if error.kind() == redis::ErrorKind::AuthenticationFailed => "authentication failed".to_owned(),
        None => error.to_string(),
    }
}

/// The error that Redis answered with; of a pipeline, the first.
fn answered(error: &RedisError) -> Option<ServerError> {
    error.clone().into_server_errors()?.first().map(|(_, answer)| answer.clone())
}
