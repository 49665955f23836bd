//! `posthaste check`: are the settings and the Redis server fit for it?

use clap::Args;
use serde_json::json;

use super::exit::Told;
use super::output::{Tone, paint};
use super::session::{Session, client_settings, shown_url};
use crate::config::Config;
use crate::decide::address::Permits;
use crate::decide::fitness::{self, Finding, Level};
use crate::http::Client;

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
    findings.extend(receivers(&session.config));
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

/// Where webhooks of instances may be sent to, and whose certificates are trusted.
fn receivers(config: &Config) -> Vec<Finding> {
    let Permits { hosts, networks, insecure_tls } = &config.permits;
    let beside: Vec<String> =
        hosts.iter().map(ToString::to_string).chain(networks.iter().map(ToString::to_string)).collect();
    let addresses = match beside.as_slice() {
        [] => "those of instances are sent to public addresses only (WEBHOOK_ALLOW_HOSTS and WEBHOOK_ALLOW_CIDRS \
               permit others)"
            .to_owned(),
        beside => format!("those of instances are sent to public addresses, and to {}", beside.join(", ")),
    };
    let mut findings = vec![Finding::ok("webhooks", addresses)];
    if *insecure_tls {
        let detail =
            "those with insecure_tls accept any certificate of their receivers (WEBHOOK_ALLOW_INSECURE_TLS)";
        findings.push(Finding::ok("webhooks", detail));
    }
    match Client::new(client_settings(config)) {
        Ok(client) => {
            let proxies: Vec<&str> = client.proxies().collect();
            if !proxies.is_empty() {
                let detail = format!("sent through the proxy {} (but for NO_PROXY)", proxies.join(", "));
                findings.push(Finding::ok("webhooks", detail));
            }
        }
        Err(error) => findings.push(Finding::problem("webhooks", format!("cannot be sent: {error}"))),
    }
    findings
}

fn tone(level: Level) -> Tone {
    match level {
        Level::Ok => Tone::Good,
        Level::Warning => Tone::Doubtful,
        Level::Problem => Tone::Bad,
    }
}
