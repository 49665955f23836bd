//! One finding of `posthaste check`.

use serde::Serialize;

use super::super::output::Tone;

/// One thing that was checked.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// How bad it is.
    pub(super) level: Level,
    /// What was checked.
    pub(super) what: &'static str,
    /// What was found, and what that means.
    pub(super) detail: String,
    /// The line of redis.conf that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) fix: Option<&'static str>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Warning,
    /// Events can be lost, or nothing works.
    Problem,
}

impl Level {
    /// The level as it is printed.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }

    /// The colour it is printed in.
    pub(super) fn tone(self) -> Tone {
        match self {
            Self::Ok => Tone::Good,
            Self::Warning => Tone::Doubtful,
            Self::Problem => Tone::Bad,
        }
    }
}

impl Finding {
    /// All is well.
    pub(super) fn ok(what: &'static str, detail: impl Into<String>) -> Self {
        Self { level: Level::Ok, what, detail: detail.into(), fix: None }
    }

    /// It is worth knowing.
    pub(super) fn warning(what: &'static str, detail: impl Into<String>) -> Self {
        Self { level: Level::Warning, what, detail: detail.into(), fix: None }
    }

    /// Events can be lost, or nothing works.
    pub(super) fn problem(what: &'static str, detail: impl Into<String>) -> Self {
        Self { level: Level::Problem, what, detail: detail.into(), fix: None }
    }

    /// With the line of redis.conf that mends it.
    pub(super) fn mended_by(mut self, line: &'static str) -> Self {
        self.fix = Some(line);
        self
    }
}
