//! Pauses: destinations to which nothing is sent for as long as an operator says.

use redis::cmd;

use super::{Redis, StoreError, script};
use crate::model::Destination;

impl Redis {
    /// Pauses a destination for all workers; returns whether it was not paused before.
    ///
    /// # Errors
    /// When Redis did not confirm it; doing it again is harmless.
    pub async fn pause(&self, destination: &Destination) -> Result<bool, StoreError> {
        self.set_paused(destination, true).await
    }

    /// Has a paused destination go on; returns whether it was paused.
    ///
    /// # Errors
    /// When Redis did not confirm it; doing it again is harmless.
    pub async fn resume(&self, destination: &Destination) -> Result<bool, StoreError> {
        self.set_paused(destination, false).await
    }

    async fn set_paused(&self, destination: &Destination, paused: bool) -> Result<bool, StoreError> {
        let keys = self.keys();
        let mut pause = script::PAUSE.key(keys.paused());
        pause.key(keys.webhooks_version()).key(keys.parks()).key(keys.parked());
        pause.arg(destination.to_string()).arg(u8::from(paused));
        self.script(&pause).await
    }

    /// The paused destinations, and since when each is, Unix ms.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn paused(&self) -> Result<Vec<(Destination, u64)>, StoreError> {
        let found: Vec<(String, u64)> = self.query(cmd("HGETALL").arg(self.keys().paused())).await?;
        Ok(found.into_iter().filter_map(|(to, since)| Some((to.parse().ok()?, since))).collect())
    }
}
