//! Receipts: the stream entries this process holds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::{EntryId, Source};

/// Which entries this process holds. Cheap to clone; all clones are one.
///
/// What is in this worker's pending list and not held here was lost on the way (a reply that never came), and has to
/// be claimed again.
#[derive(Clone, Debug, Default)]
pub struct Held(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    entries: Mutex<Entries>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    times: HashMap<(Source, EntryId), usize>,
    bytes: usize,
}

impl Held {
    /// Holds an entry with so many bytes of payload until the guard is dropped. One entry may be held several times
    /// over.
    pub fn hold(&self, source: Source, id: EntryId, bytes: usize) -> Hold {
        let mut entries = self.lock();
        *entries.times.entry((source, id.clone())).or_default() += 1;
        entries.bytes += bytes;
        drop(entries);
        Hold { held: self.clone(), entry: (source, id), bytes }
    }

    /// Whether an entry is held.
    pub fn holds(&self, source: Source, id: &EntryId) -> bool {
        self.lock().times.contains_key(&(source, id.clone()))
    }

    /// How many entries are held, and how many bytes of payload.
    pub fn load(&self) -> (usize, usize) {
        let entries = self.lock();
        (entries.times.len(), entries.bytes)
    }

    /// Comes when something is held no more, or [`Self::tell`] is called.
    pub fn freed(&self) -> Notified<'_> {
        self.0.freed.notified()
    }

    /// Wakes all who wait for [`Self::freed`].
    pub fn tell(&self) {
        self.0.freed.notify_waiters();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Entries> {
        self.0.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry is held for as long as this lives.
#[derive(Debug)]
pub struct Hold {
    held: Held,
    entry: (Source, EntryId),
    bytes: usize,
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut entries = self.held.lock();
        entries.bytes -= self.bytes;
        if let Some(times) = entries.times.get_mut(&self.entry) {
            *times -= 1;
            if *times == 0 {
                entries.times.remove(&self.entry);
            }
        }
        drop(entries);
        self.held.tell();
    }
}

/// A stream entry this process holds: it is in the pending list until all its deliveries are settled.
#[derive(Debug)]
pub struct Receipt {
    /// Where it was read.
    pub source: Source,
    /// Its id there.
    pub id: EntryId,
    /// The consumer name it was read under: what settles it must still own it.
    pub consumer: Arc<str>,
    fan_out: usize,
    open: AtomicUsize,
    recorded: AtomicBool,
    forfeited: AtomicBool,
    _hold: Hold,
}

impl Receipt {
    /// A receipt for an entry with `fan_out` deliveries of `bytes` of payload, read under the name `consumer`.
    pub fn new(
        held: &Held,
        source: Source,
        id: EntryId,
        consumer: Arc<str>,
        fan_out: usize,
        bytes: usize,
    ) -> Self {
        let _hold = held.hold(source, id.clone(), bytes);
        let open = AtomicUsize::new(fan_out);
        Self { source, id, consumer, fan_out, open, recorded: false.into(), forfeited: false.into(), _hold }
    }

    /// Whether this delivery is all the entry is held for, so that settling it may acknowledge the entry.
    pub fn is_sole(&self) -> bool {
        self.fan_out == 1 && !self.is_recorded()
    }

    /// How many deliveries the entry is held for.
    pub fn fan_out(&self) -> usize {
        self.fan_out
    }

    /// Counts one delivery as settled; true when it was the last.
    pub fn settle_one(&self) -> bool {
        self.open.fetch_sub(1, Ordering::AcqRel) == 1
    }

    /// Notes that another worker owns the entry now: it must not be acknowledged for what failed here.
    pub fn forfeit(&self) {
        self.forfeited.store(true, Ordering::Release);
    }

    /// Whether another worker was found to own the entry.
    pub fn is_forfeited(&self) -> bool {
        self.forfeited.load(Ordering::Acquire)
    }

    /// Notes that Redis now holds state of a delivery of this entry.
    pub fn record(&self) {
        self.recorded.store(true, Ordering::Release);
    }

    /// Whether some of its deliveries are settled and others are not.
    pub fn is_half_done(&self) -> bool {
        (1..self.fan_out).contains(&self.open.load(Ordering::Acquire))
    }

    /// Whether Redis holds state of a delivery of this entry.
    pub fn is_recorded(&self) -> bool {
        self.recorded.load(Ordering::Acquire)
    }
}
