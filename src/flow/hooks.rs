//! The webhooks of instances as this process knows them.
//!
//! A webhook that was stored before an event was pushed applies to that event. So after each read of the stream the
//! version of the webhooks is read; when it moved, everything known is forgotten. The events of the batch were
//! pushed before that read, hence what was stored before them is in that version.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::decide::webhook;
use crate::model::{Target, Webhook};
use crate::store::{Redis, StoreError};

/// Past so many instances everything known is forgotten, which bounds the memory and costs one HMGET a batch.
const KNOWN_LIMIT: usize = 10_000;

/// What is known of an instance's webhook.
#[derive(Debug)]
pub(super) enum Hook {
    /// There is none.
    Missing,
    /// There is one, and it is switched on.
    Set(Webhook, Arc<Target>),
    /// There is one, and it is switched off: whatever else is in it may be unusable.
    Off(Webhook),
    /// There is one, but it cannot be used; why, in words.
    Broken(String),
}

/// The webhooks this process knows.
#[derive(Debug)]
pub(super) struct Hooks {
    redis: Redis,
    known: Mutex<Known>,
}

/// Webhooks by the names of their instances.
pub(super) type ByInstance = HashMap<Arc<str>, Arc<Hook>>;

#[derive(Debug, Default)]
struct Known {
    version: u64,
    hooks: ByInstance,
}

impl Hooks {
    pub(super) fn new(redis: Redis) -> Self {
        Self { redis, known: Mutex::default() }
    }

    /// The webhooks of `instances`, as they are stored now or were at the latest change. `version`: the one that was
    /// read already, after all for which they are wanted; while it is what is known, nothing need be read.
    pub(super) async fn of(
        &self,
        instances: &HashSet<&Arc<str>>,
        version: Option<u64>,
    ) -> Result<ByInstance, StoreError> {
        // Also where no webhook is wanted: what else is held against this version has to learn that it moved.
        if let Some(found) = version.and_then(|version| self.find(version, instances))
            && found.len() == instances.len()
        {
            return Ok(found);
        }
        let unknown: Vec<&Arc<str>> = {
            let known = self.lock();
            instances.iter().copied().filter(|name| !known.hooks.contains_key(*name)).collect()
        };
        let (version, read) = self.read(&unknown).await?;
        self.remember(version, read);
        let mut found = self.find(version, instances).unwrap_or_default();
        let forgotten: Vec<&Arc<str>> =
            instances.iter().copied().filter(|name| !found.contains_key(*name)).collect();
        if !forgotten.is_empty() {
            let (version, read) = self.read(&forgotten).await?;
            found.extend(read.iter().cloned());
            self.remember(version, read);
        }
        Ok(found)
    }

    async fn read(&self, names: &[&Arc<str>]) -> Result<(u64, Vec<(Arc<str>, Arc<Hook>)>), StoreError> {
        let texts: Vec<&str> = names.iter().map(|name| &***name).collect();
        let (version, stored) = self.redis.webhooks(&texts).await?;
        let hooks =
            names.iter().zip(stored).map(|(name, json)| (Arc::clone(name), Arc::new(hook(name, json))));
        Ok((version, hooks.collect()))
    }

    /// The version that what is known is of.
    pub(super) fn version(&self) -> u64 {
        self.lock().version
    }

    fn remember(&self, version: u64, read: Vec<(Arc<str>, Arc<Hook>)>) {
        let mut known = self.lock();
        // A version that went back is a Redis that lost its data: what is known is of no worth then, either.
        if known.version != version || known.hooks.len() + read.len() > KNOWN_LIMIT {
            known.hooks.clear();
            known.version = version;
        }
        known.hooks.extend(read);
    }

    /// Those of `names` that are known; none where what is known is of another version.
    fn find(&self, version: u64, names: &HashSet<&Arc<str>>) -> Option<ByInstance> {
        let known = self.lock();
        if known.version != version {
            return None;
        }
        let mut found = ByInstance::with_capacity(names.len());
        let hooks = names.iter().filter_map(|name| known.hooks.get_key_value(*name));
        found.extend(hooks.map(|(name, hook)| (Arc::clone(name), Arc::clone(hook))));
        Some(found)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hook(instance: &str, json: Option<Vec<u8>>) -> Hook {
    let Some(json) = json else {
        return Hook::Missing;
    };
    // Names were checked when the webhook was set; here an unknown one only never matches.
    match webhook::parse_stored(&json) {
        Ok((webhook, Some(target))) => Hook::Set(webhook, Arc::new(target)),
        Ok((webhook, None)) => Hook::Off(webhook),
        Err(error) => {
            tracing::error!(instance, %error, "the stored webhook cannot be used; set it anew");
            Hook::Broken(format!("the stored webhook of instance {instance} cannot be used: {error}"))
        }
    }
}
