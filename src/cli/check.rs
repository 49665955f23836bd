//! `posthaste check`: are the settings and the Redis server fit for it?

use clap::Args;
use serde_json::json;

use super::exit::Told;
use super::output::{Tone, paint};
use super::session::{Session, shown_url};
use crate::decide::fitness::{self, Finding, Level};

const EXAMPLES: &str = "\
Examples:
  posthaste check
  posthaste check --env-file /etc/posthaste.env --json

Exit statuses: 0 all is well, or there are warnings; 1 events can be lost, or the server cannot be used; 69 Redis is \
unreachable; 78 the settings are wrong.";

/// Check the settings and the Redis server
///
/// Tells in plain words what could be lost, and the line of redis.conf that mends it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CheckArgs {}

/// Runs the command.
pub(super) async fn run(_args: &CheckArgs, session: &Session) -> anyhow::Result<()> {
    let facts = session.redis.server_facts().await?;
    let warnings = &session.config.warnings;
    let mut findings = Vec::new();
    if warnings.is_empty() {
        findings.push(Finding::ok("settings", "can be used"));
    }
    findings.extend(warnings.iter().map(|warning| Finding::warning("settings", warning.clone())));
    findings.push(Finding::ok("redis", format!("answers at {}", shown_url(&session.config))));
    findings.extend(fitness::of_server(&facts));
    let is_fit = findings.iter().all(|finding| finding.level != Level::Problem);
    let out = session.out;
    if out.is_json() {
        out.json(&json!({ "fit": is_fit, "findings": findings }))?;
    } else {
        let width = findings.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
        for Finding { level, what, detail, fix } in &findings {
            let padding = " ".repeat(width - what.len());
            let level = paint(tone(*level), &format!("{:7}", level.as_str()));
            out.line(format!("{level}  {what}{padding}  {}", paint(Tone::Plain, detail)))?;
            if let Some(fix) = fix {
                out.line(format!("{:7}  {:width$}  {} {}", "", "", paint(Tone::Faint, "redis.conf:"), fix))?;
            }
        }
    }
    if is_fit { Ok(()) } else { Err(Told.into()) }
}

fn tone(level: Level) -> Tone {
    match level {
        Level::Ok => Tone::Good,
        Level::Warning => Tone::Doubtful,
        Level::Problem => Tone::Bad,
    }
}
