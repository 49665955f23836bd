//! Receipts: the stream entries this process holds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::{EntryId, Source};

/// Which entries this process holds. Cheap to clone; all clones are one.
///
/// What is in this worker's pending list and not held here was lost on the way (a reply that never came), and has to
/// be claimed again.
#[derive(Clone, Debug, Default)]
pub struct Held(Arc<Mutex<HashMap<(Source, EntryId), usize>>>);

impl Held {
    /// Holds an entry until the guard is dropped. One entry may be held several times over.
    pub fn hold(&self, source: Source, id: EntryId) -> Hold {
        *self.lock().entry((source, id.clone())).or_default() += 1;
        Hold { held: self.clone(), entry: (source, id) }
    }

    /// Whether an entry is held.
    pub fn holds(&self, source: Source, id: &EntryId) -> bool {
        self.lock().contains_key(&(source, id.clone()))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(Source, EntryId), usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry is held for as long as this lives.
#[derive(Debug)]
pub struct Hold {
    held: Held,
    entry: (Source, EntryId),
}

impl Drop for Hold {
    fn drop(&mut self) {
        let mut held = self.held.lock();
        if let Some(times) = held.get_mut(&self.entry) {
            *times -= 1;
            if *times == 0 {
                held.remove(&self.entry);
            }
        }
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
    /// A receipt for an entry with `fan_out` deliveries, read under the name `consumer`.
    pub fn new(held: &Held, source: Source, id: EntryId, consumer: Arc<str>, fan_out: usize) -> Self {
        let _hold = held.hold(source, id.clone());
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
