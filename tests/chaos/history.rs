//! What happened: what the producer, the receivers and the nemesis saw, and what was found in Redis at the end.

use std::collections::HashSet;
use std::fmt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::traffic::{Place, Traffic};

/// The time of a run, ms since it began.
pub(crate) type Ms = u32;

/// The clock all records are made with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    start_unix: Duration,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let start_unix = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
        Self { start: Instant::now(), start_unix }
    }

    pub(crate) fn now(self) -> Ms {
        ms(self.start.elapsed())
    }

    /// A time that Redis tells.
    pub(crate) fn of_unix_ms(self, unix_ms: u64) -> Ms {
        ms(Duration::from_millis(unix_ms).saturating_sub(self.start_unix))
    }
}

pub(crate) fn ms(duration: Duration) -> Ms {
    u32::try_from(duration.as_millis()).unwrap_or(Ms::MAX)
}

/// How a request ended for its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It has not ended (yet).
    Open,
    Answered(u16),
    /// The receiver closed the connection, as it meant to.
    Closed,
    /// The client closed the connection before there was an answer.
    Left,
}

/// A request as its receiver saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) event: u32,
    pub(crate) place: Place,
    pub(crate) attempt: u16,
    pub(crate) from: Ms,
    pub(crate) to: Ms,
    pub(crate) end: End,
}

impl Request {
    pub(crate) fn succeeded(&self) -> bool {
        matches!(self.end, End::Answered(200..=299))
    }
}

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum FaultKind {
    KillWorker,
    KillAllWorkers,
    PauseWorker,
    TermWorker,
    KillRedis,
    PauseRedis,
    KillClients,
    FlushScripts,
    CutRedis,
    StallRedis,
    DelayRedis,
    CutReceivers,
    StallReceivers,
    DelayReceivers,
    CutProducer,
    StallProducer,
    /// Redis hears the producer, and the producer hears nothing.
    MuteProducer,
    /// Everything at once, and nobody's doing: the machine stood still.
    Stall,
}

impl FaultKind {
    pub(crate) const ALL: [Self; 17] = [
        Self::KillWorker,
        Self::KillAllWorkers,
        Self::PauseWorker,
        Self::TermWorker,
        Self::KillRedis,
        Self::PauseRedis,
        Self::KillClients,
        Self::FlushScripts,
        Self::CutRedis,
        Self::StallRedis,
        Self::DelayRedis,
        Self::CutReceivers,
        Self::StallReceivers,
        Self::DelayReceivers,
        Self::CutProducer,
        Self::StallProducer,
        Self::MuteProducer,
    ];

    /// Whether a worker can take an attempt for failed that its receiver never saw, or took for a success.
    pub(crate) fn hides_answers(self) -> bool {
        matches!(
            self,
            Self::CutReceivers
                | Self::StallReceivers
                | Self::DelayReceivers
                | Self::PauseWorker
                | Self::Stall
        )
    }

    /// Whether workers can be found dead because of it.
    pub(crate) fn ends_leases(self) -> bool {
        matches!(
            self,
            Self::KillWorker
                | Self::KillAllWorkers
                | Self::TermWorker
                | Self::PauseWorker
                | Self::KillRedis
                | Self::PauseRedis
                | Self::CutRedis
                | Self::StallRedis
                | Self::Stall
        )
    }
}

/// A fault, from its first moment to when it was healed.
#[derive(Clone, Debug)]
pub(crate) struct Fault {
    pub(crate) kind: FaultKind,
    pub(crate) target: String,
    /// The place of the worker that it concerns, where it is one.
    pub(crate) worker: Option<usize>,
    pub(crate) from: Ms,
    pub(crate) to: Ms,
    /// When the worker that it ends had ended, if that took time.
    pub(crate) ended: Option<Ms>,
    /// How many entries were in flight at those it concerns when it began.
    pub(crate) in_flight: u64,
}

impl Fault {
    /// When those it ends had ended; otherwise its beginning.
    pub(crate) fn over(&self) -> Ms {
        self.ended.unwrap_or(self.from)
    }

    /// Whether a worker that still attempts something can have lost its lease by it. A killed one attempts nothing.
    pub(crate) fn may_cost_a_lease(&self) -> bool {
        use FaultKind::{CutRedis, KillRedis, PauseRedis, PauseWorker, Stall, StallRedis};
        matches!(self.kind, PauseWorker | KillRedis | PauseRedis | CutRedis | StallRedis | Stall)
    }

    pub(crate) fn touches(&self, from: Ms, to: Ms, slack: Ms) -> bool {
        self.from <= to.saturating_add(slack) && self.to.saturating_add(slack) >= from
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>7}–{:<7} {:?} {} ({} in flight)",
            self.from, self.to, self.kind, self.target, self.in_flight
        )
    }
}

/// A dead letter of a pushed event.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    pub(crate) event: u32,
    pub(crate) place: Place,
    pub(crate) reason: String,
    pub(crate) attempts: u32,
    pub(crate) status: Option<u16>,
    pub(crate) died: Ms,
}

/// Why an instance had no webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The operator removed it.
    Removed,
    /// Its receiver answered 410, and it was switched off.
    Gone,
}

/// A time in which an instance had no webhook, or one that was switched off.
#[derive(Clone, Debug)]
pub(crate) struct Absence {
    pub(crate) place: Place,
    pub(crate) why: Why,
    pub(crate) from: Ms,
    /// When it was surely set anew.
    pub(crate) to: Ms,
    /// Events that were parked for it when it was removed.
    pub(crate) waiting: HashSet<u32>,
    /// Events that were in the stream when it was removed: nobody may have found out yet that they go there.
    pub(crate) in_stream: HashSet<u32>,
}

impl Absence {
    /// Whether an event can have come to nothing because of it: it was pushed, or looked at, while there was no
    /// webhook.
    pub(crate) fn excuses(&self, event: u32, push: &Push) -> bool {
        let pushed_later = push.acknowledged.is_none_or(|at| at.saturating_add(CLOCKS) >= self.from);
        let unread = self.in_stream.contains(&event) && !self.waiting.contains(&event);
        push.sent <= self.to && (unread || pushed_later)
    }

    /// Whether something can have died of it then.
    pub(crate) fn explains(&self, letter: &Letter, push: &Push) -> bool {
        let times = self.from..=self.to.saturating_add(LATE);
        times.contains(&letter.died.saturating_add(CLOCKS)) && push.sent <= self.to
    }
}

/// How far the clock of Redis and that of a run may be apart.
pub(crate) const CLOCKS: Ms = 20;
/// How long what was found out before may wait to be settled, while Redis is away.
const LATE: Ms = 15_000;

/// What the producer knows of an event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Push {
    pub(crate) sent: Ms,
    /// None where nobody told it whether the event is in the stream.
    pub(crate) acknowledged: Option<Ms>,
}

/// Everything that is known at the end.
#[derive(Debug)]
pub(crate) struct History {
    pub(crate) traffic: Traffic,
    /// Of each event.
    pub(crate) pushes: Vec<Push>,
    /// How many events Redis put in the stream, where it can tell.
    pub(crate) in_stream: Option<u64>,
    pub(crate) requests: Vec<Request>,
    pub(crate) faults: Vec<Fault>,
    /// When everything was healed: from then on every receiver is up.
    pub(crate) healed: Ms,
    /// How many workers there were at a time.
    pub(crate) workers: usize,
    pub(crate) absences: Vec<Absence>,
    pub(crate) letters: Vec<Letter>,
    /// Deliveries whose death the ERRORS webhook was told, or that are dead letters themselves.
    pub(crate) told: HashSet<(u32, Place)>,
    /// What there should not be: requests nobody pushed, keys, entries.
    pub(crate) strange: Vec<String>,
}
