//! Which dead letters something is done with: some by id, those of a filter, or all.

use clap::Args;

use super::super::exit::Usage;
use super::super::session::Session;
use super::filter::FilterArgs;
use crate::model::EntryId;
use crate::operate::dead::Selection;
use crate::store::StoreError;

/// A selection as arguments.
#[derive(Debug, Args)]
pub(super) struct SelectArgs {
    /// Ids of dead letters
    #[arg(value_name = "ID", value_parser = super::id, conflicts_with_all = ["filter", "all"])]
    ids: Vec<EntryId>,
    #[command(flatten)]
    filter: FilterArgs,
    /// All dead letters
    #[arg(long, conflicts_with = "filter")]
    all: bool,
}

impl SelectArgs {
    /// How the selection is called when it is asked about or missing.
    pub(super) async fn selection(&self, what: &str, session: &Session) -> anyhow::Result<Selection> {
        if !self.ids.is_empty() {
            return Ok(Selection::Ids(self.ids.clone().into_iter()));
        }
        if !self.all && self.filter.wanted().is_empty() {
            let message = format!("{what} which? give ids, a filter such as --instance or --since, or --all");
            return Err(Usage(message).into());
        }
        let filter = self.filter.wanted().filter(&session.redis).await?;
        Ok(Selection::matching(filter, &session.redis).await?)
    }

    /// How many letters it has, as far as that is known without reading them.
    pub(super) async fn len(&self, session: &Session) -> Result<Option<u64>, StoreError> {
        Ok(match (self.ids.len(), self.all) {
            (0, true) => Some(session.redis.summary().await?.dead),
            (0, false) => None,
            (ids, _) => Some(ids as u64),
        })
    }

    /// Whether letters are named one by one, so that one that is not there is a mistake.
    pub(super) fn is_by_id(&self) -> bool {
        !self.ids.is_empty()
    }
}
