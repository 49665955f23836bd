//! One finding about a Redis server or the settings.

use serde::Serialize;

/// One thing that was checked.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What was checked.
    pub what: &'static str,
    /// What was found, and what that means.
    pub detail: String,
    /// The line of redis.conf that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<&'static str>,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Worth knowing.
    Warning,
    /// Events can be lost, or nothing works.
    Problem,
}

impl Level {
    /// The level as it is printed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

impl Finding {
    /// All is well.
    pub fn ok(what: &'static str, detail: impl Into<String>) -> Self {
        Self { level: Level::Ok, what, detail: detail.into(), fix: None }
    }

    /// It is worth knowing.
    pub fn warning(what: &'static str, detail: impl Into<String>) -> Self {
        Self { level: Level::Warning, what, detail: detail.into(), fix: None }
    }

    /// Events can be lost, or nothing works.
    pub fn problem(what: &'static str, detail: impl Into<String>) -> Self {
        Self { level: Level::Problem, what, detail: detail.into(), fix: None }
    }

    /// With the line of redis.conf that mends it.
    pub fn mended_by(mut self, line: &'static str) -> Self {
        self.fix = Some(line);
        self
    }
}
