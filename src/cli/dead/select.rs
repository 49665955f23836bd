//! Which dead letters something is done with: some by id, those of a filter, or all.

use clap::Args;

use super::super::exit::Usage;
use super::super::session::Session;
use super::filter::FilterArgs;
use crate::model::EntryId;
use crate::store::{DeadFilter, StoreError};

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

/// A selection. It does not grow while it is worked through: what dies meanwhile is not in it.
#[derive(Debug)]
pub(super) enum Selection {
    /// These.
    Ids(std::vec::IntoIter<EntryId>),
    /// Those that match, up to the newest there was.
    Matching {
        /// What they match.
        filter: DeadFilter,
        /// Up to where they have been read.
        after: Option<EntryId>,
        /// The newest; none when there are none, or no further ones.
        last: Option<EntryId>,
    },
}

impl SelectArgs {
    /// How the selection is called when it is asked about or missing.
    pub(super) async fn selection(&self, what: &str, session: &Session) -> anyhow::Result<Selection> {
        if !self.ids.is_empty() {
            return Ok(Selection::Ids(self.ids.clone().into_iter()));
        }
        if !self.all && self.filter.is_empty() {
            let message = format!("{what} which? give ids, a filter such as --instance or --since, or --all");
            return Err(Usage(message).into());
        }
        let filter = self.filter.filter(session).await?;
        Ok(Selection::Matching { filter, after: None, last: session.redis.newest_dead_letter().await? })
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

impl Selection {
    /// The next ids, the oldest first; none at the end.
    pub(super) async fn next(&mut self, session: &Session) -> Result<Vec<EntryId>, StoreError> {
        const PAGE: usize = 200;
        match self {
            Self::Ids(ids) => Ok(ids.take(PAGE).collect()),
            Self::Matching { filter, after, last } => {
                while let Some(newest) = last {
                    let page = session.redis.dead_letters_after(filter, after.as_ref(), newest).await?;
                    match page.next {
                        Some(looked_at) => *after = Some(looked_at),
                        None => *last = None,
                    }
                    if !page.letters.is_empty() {
                        return Ok(page.letters.into_iter().map(|letter| letter.id).collect());
                    }
                }
                Ok(Vec::new())
            }
        }
    }
}
