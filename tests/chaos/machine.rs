//! The machine itself: it may stand still for a moment, and the whole run with it. What comes of that is nobody's fault,
//! so it has to be known.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::history::{Clock, Fault, FaultKind, Ms};

/// How often it is looked at.
const TICK: Duration = Duration::from_millis(20);
/// A tick that comes so much later than it should is a stall.
const LATE: Ms = 250;
/// Nobody knows how much was in flight.
const ANY: u64 = 100_000;

/// Watches for stalls: of the processors, and of the disk that Redis writes to before each answer.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    watching: JoinHandle<Vec<Fault>>,
}

impl Watch {
    pub(crate) fn start(clock: Clock) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let until = Arc::clone(&stop);
        let watching = std::thread::spawn(move || {
            let mut file = tempfile::tempfile().expect("a temporary file can be made");
            let mut stalls = Vec::new();
            while !until.load(Ordering::Relaxed) {
                let from = clock.now();
                std::thread::sleep(TICK);
                file.write_all(b".")
                    .and_then(|()| file.sync_data())
                    .expect("a temporary file can be written");
                let to = clock.now();
                if to - from > LATE {
                    stalls.push(stall(from, to));
                }
            }
            stalls
        });
        Self { stop, watching }
    }

    /// What was seen.
    pub(crate) fn stalls(self) -> Vec<Fault> {
        self.stop.store(true, Ordering::Relaxed);
        self.watching.join().expect("the watch does not panic")
    }
}

pub(crate) fn stall(from: Ms, to: Ms) -> Fault {
    let target = "the machine".to_owned();
    Fault { kind: FaultKind::Stall, target, worker: None, from, to, ended: None, in_flight: ANY }
}
