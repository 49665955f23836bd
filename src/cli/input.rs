//! What is handed in as an argument: a text, `@file`, or `-` for stdin.

use anyhow::Context;
use tokio::io::AsyncReadExt;

use crate::model::EventName;

/// The bytes behind an argument: of the file after `@`, of stdin for `-`, else its own.
pub(super) async fn read(argument: &str) -> anyhow::Result<Vec<u8>> {
    if argument == "-" {
        let mut bytes = Vec::new();
        tokio::io::stdin().read_to_end(&mut bytes).await.context("cannot read stdin")?;
        return Ok(bytes);
    }
    match argument.strip_prefix('@') {
        Some(path) => tokio::fs::read(path).await.with_context(|| format!("cannot read {path}")),
        None => Ok(argument.as_bytes().to_vec()),
    }
}

/// An event's name, in any of its spellings, as an argument.
pub(super) fn event(text: &str) -> Result<EventName, String> {
    EventName::parse(text).map_err(|error| error.to_string())
}
