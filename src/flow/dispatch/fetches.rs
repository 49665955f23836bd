//! Fetches of parked deliveries under way: each tells what it was for, however it ends.

use std::collections::HashMap;

use tokio::task::{Id, JoinSet};

use crate::model::Destination;

/// Fetches under way.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    tasks: JoinSet<Option<u64>>,
    of: HashMap<Id, Destination>,
}

impl Fetches {
    pub(super) fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Begins one; it comes to how many deliveries to `to` are left, or none where it fails.
    pub(super) fn begin(
        &mut self,
        to: Destination,
        fetch: impl Future<Output = Option<u64>> + Send + 'static,
    ) {
        let task = self.tasks.spawn(fetch);
        self.of.insert(task.id(), to);
    }

    /// The next that ends; none when none is under way.
    pub(super) async fn next(&mut self) -> Option<(Destination, Option<u64>)> {
        let (id, left) = match self.tasks.join_next_with_id().await? {
            Ok((id, left)) => (id, left),
            Err(error) => {
                tracing::error!(%error, "fetching parked deliveries failed unexpectedly");
                (error.id(), None)
            }
        };
        Some((self.of.remove(&id)?, left))
    }

    /// Ends all.
    pub(super) async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_panics_tells_what_it_was_for() {
        let mut fetches = Fetches::default();
        fetches.begin(Destination::Global, async { panic!("it cannot be done") });
        assert_eq!(fetches.next().await, Some((Destination::Global, None)));
        fetches.begin(Destination::Errors, async { Some(3) });
        assert_eq!(fetches.next().await, Some((Destination::Errors, Some(3))));
        assert_eq!((fetches.next().await, fetches.of.len()), (None, 0));
    }
}
