//! The webhooks of instances: one hash, and a counter that every change moves.
//!
//! Values are JSON texts here; `decide::webhook` knows what they mean.

use redis::cmd;

use super::{Redis, StoreError, script};

/// Some of the stored webhooks.
#[derive(Clone, Debug)]
pub struct WebhookPage {
    /// Instance and JSON, in no order.
    pub webhooks: Vec<(String, Vec<u8>)>,
    /// The cursor of the next page; none when this was the last.
    pub next: Option<u64>,
}

impl Redis {
    /// The version of the webhooks, and those of `instances` (none where there is none), read in this order: the
    /// values are at least as new as the version.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn webhooks(&self, instances: &[&str]) -> Result<(u64, Vec<Option<Vec<u8>>>), StoreError> {
        let mut pipeline = redis::pipe();
        pipeline.cmd("GET").arg(self.keys().webhooks_version());
        if instances.is_empty() {
            let (version,): (Option<u64>,) = self.pipe(&pipeline).await?;
            return Ok((version.unwrap_or(0), Vec::new()));
        }
        pipeline.cmd("HMGET").arg(self.keys().webhooks()).arg(instances);
        let (version, webhooks): (Option<u64>, Vec<Option<Vec<u8>>>) = self.pipe(&pipeline).await?;
        Ok((version.unwrap_or(0), webhooks))
    }

    /// The webhook of one instance.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn webhook(&self, instance: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.query(cmd("HGET").arg(self.keys().webhooks()).arg(instance)).await
    }

    /// Stores the webhook of an instance: it applies to every event pushed from now on.
    ///
    /// # Errors
    /// When Redis did not confirm it; doing it again is harmless.
    pub async fn set_webhook(&self, instance: &str, json: &str) -> Result<(), StoreError> {
        let mut set = script::WEBHOOK_SET.key(self.keys().webhooks());
        set.key(self.keys().webhooks_version()).key(self.keys().parks()).arg(instance).arg(json);
        self.script(&set).await
    }

    /// Replaces the webhook of an instance if it is still `read`; returns whether it was.
    ///
    /// # Errors
    /// When Redis did not confirm it.
    pub async fn swap_webhook(&self, instance: &str, read: &[u8], json: &str) -> Result<bool, StoreError> {
        let mut swap = script::WEBHOOK_SWAP.key(self.keys().webhooks());
        swap.key(self.keys().webhooks_version()).key(self.keys().parks()).arg(instance).arg(read).arg(json);
        self.script(&swap).await
    }

    /// Removes the webhook of an instance; returns whether there was one.
    ///
    /// # Errors
    /// When Redis did not confirm it.
    pub async fn delete_webhook(&self, instance: &str) -> Result<bool, StoreError> {
        let mut set = script::WEBHOOK_SET.key(self.keys().webhooks());
        set.key(self.keys().webhooks_version()).key(self.keys().parks()).arg(instance).arg("");
        self.script(&set).await
    }

    /// About `count` stored webhooks from `cursor` (0: the beginning) on; one may come twice.
    ///
    /// # Errors
    /// When Redis does not answer.
    pub async fn webhook_page(&self, cursor: u64, count: usize) -> Result<WebhookPage, StoreError> {
        let mut scan = cmd("HSCAN");
        scan.arg(self.keys().webhooks()).arg(cursor).arg("COUNT").arg(count);
        let (next, webhooks): (u64, Vec<(String, Vec<u8>)>) = self.query(&scan).await?;
        Ok(WebhookPage { webhooks, next: (next != 0).then_some(next) })
    }
}
