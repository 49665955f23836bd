//! The checker, after the model of Jepsen's total-queue: what was put in came out, or is accounted for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use super::history::{Fault, FaultKind, History, Letter, Ms, Request, ms};
use super::traffic::{MAX_ATTEMPTS, Place, TIMEOUT, Traffic};

/// How long a settlement may take, and how long the effects of a fault may last beyond it.
const AFTERMATH: Ms = 2000;
/// How late a receiver may notice that its client is gone. The wait before another attempt is longer.
const NOTICE: Ms = 100;
/// How long a worker, or its way to Redis, has to be away at least for the others to take it for dead: they wait 3 s,
/// of which up to 1 s may have passed before, and up to 1 s passes until it tries again.
const LEASE_AT_RISK: Ms = 1000;
/// A worker begins nothing later than this after its last heartbeat (2.75 s, and the way of the request).
const LAST_BEGINNING: Ms = 3000;
/// The others do not take over sooner than this after the last heartbeat they can have missed (2 s, and a margin).
const FIRST_TAKEOVER: Ms = 1500;
/// More deaths of its holders than this make an entry poison.
const INNOCENT_TAKEOVERS: usize = 4;

/// What must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// Acknowledged, and neither delivered nor dead.
    Lost,
    /// A dead letter whose reason did not happen.
    FalseReason(String),
    /// More than one dead letter.
    DeadTwice,
    /// A dead letter of which the ERRORS webhook was not told.
    NotTold,
    /// It arrived where it does not belong, or nobody pushed it.
    Misdelivered,
    /// Two attempts at the same time, with no lease lost.
    Overlap,
    /// It arrived twice, with nothing broken.
    Duplicate,
    /// More duplicates than were in flight at the faults.
    TooManyDuplicates { found: u64, in_flight: u64 },
    /// Something left over, or that nobody can have caused.
    Strange(String),
}

/// A violation, and the delivery it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) wrong: Wrong,
    pub(crate) delivery: Option<(u32, Place)>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.delivery {
            Some((event, place)) => {
                write!(f, "{:?}: {} to {}", self.wrong, Traffic::id(event), place.destination())
            }
            None => write!(f, "{:?}", self.wrong),
        }
    }
}

/// What a run came to, in numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) pushed: usize,
    pub(crate) acknowledged: usize,
    /// Not acknowledged, and in the stream all the same.
    pub(crate) unsure_and_there: usize,
    pub(crate) deliveries: usize,
    pub(crate) delivered: usize,
    pub(crate) attempts: usize,
    pub(crate) duplicates: u64,
    /// What was in flight at the faults: as many duplicates are allowed.
    pub(crate) in_flight: u64,
    pub(crate) overlaps: u64,
    /// Attempts with a lower number than one before them.
    pub(crate) ran_back: u64,
    /// Dead letters of deliveries that arrived (their answers were lost).
    pub(crate) dead_and_delivered: u64,
    pub(crate) dead: BTreeMap<String, u64>,
    /// The longest time from a push to its first attempt, and of which event.
    pub(crate) slowest: (Ms, u32),
}

/// Everything that is wrong with a history, and its figures.
pub(crate) fn check(history: &History) -> (Vec<Violation>, Figures) {
    let mut checker = Checker { history, wrong: Vec::new(), figures: Figures::default() };
    let requests = by_delivery(&history.requests);
    let letters = by_letter(&history.letters);
    checker.figures.pushed = history.acknowledged.len();
    checker.figures.attempts = history.requests.len();
    checker.completeness(&requests, &letters);
    checker.letters(&requests, &letters);
    for (delivery, requests) in &requests {
        checker.delivery(*delivery, requests);
    }
    checker.duplicates_in_all();
    let strange = history.strange.iter().map(|what| Wrong::Strange(what.clone()));
    checker.wrong.extend(strange.map(|wrong| Violation { wrong, delivery: None }));
    (checker.wrong, checker.figures)
}

type Delivery = (u32, Place);

/// The requests of each delivery, in the order of their beginning.
fn by_delivery(requests: &[Request]) -> HashMap<Delivery, Vec<Request>> {
    let mut found: HashMap<Delivery, Vec<Request>> = HashMap::new();
    for request in requests {
        found.entry((request.event, request.place)).or_default().push(*request);
    }
    found.values_mut().for_each(|requests| requests.sort_by_key(|request| request.from));
    found
}

fn by_letter(letters: &[Letter]) -> HashMap<Delivery, Vec<&Letter>> {
    let mut found: HashMap<Delivery, Vec<&Letter>> = HashMap::new();
    for letter in letters {
        found.entry((letter.event, letter.place)).or_default().push(letter);
    }
    found
}

struct Checker<'a> {
    history: &'a History,
    wrong: Vec<Violation>,
    figures: Figures,
}

impl Checker<'_> {
    fn blame(&mut self, delivery: Delivery, wrong: Wrong) {
        self.wrong.push(Violation { wrong, delivery: Some(delivery) });
    }

    /// What was acknowledged was delivered, or is dead.
    fn completeness(
        &mut self,
        requests: &HashMap<Delivery, Vec<Request>>,
        letters: &HashMap<Delivery, Vec<&Letter>>,
    ) {
        let history = self.history;
        for (event, acknowledged) in (0..).zip(&history.acknowledged) {
            let mut first: Option<Ms> = None;
            for place in history.traffic.places(event) {
                let seen = requests.get(&(event, place));
                let delivered = seen.is_some_and(|requests| requests.iter().any(Request::succeeded));
                first = first.into_iter().chain(seen.map(|requests| requests[0].from)).min();
                self.figures.deliveries += usize::from(acknowledged.is_some());
                self.figures.delivered += usize::from(delivered);
                if acknowledged.is_some() && !delivered && !letters.contains_key(&(event, place)) {
                    self.blame((event, place), Wrong::Lost);
                }
            }
            match (acknowledged, first) {
                (Some(at), Some(first)) => {
                    self.figures.slowest = self.figures.slowest.max((first.saturating_sub(*at), event));
                }
                (None, Some(_)) => self.figures.unsure_and_there += 1,
                (_, None) => {}
            }
            self.figures.acknowledged += usize::from(acknowledged.is_some());
        }
    }

    /// What is dead died of what is said, once, and the ERRORS webhook knows.
    fn letters(
        &mut self,
        requests: &HashMap<Delivery, Vec<Request>>,
        letters: &HashMap<Delivery, Vec<&Letter>>,
    ) {
        for (delivery, letters) in letters {
            let requests = requests.get(delivery).map(Vec::as_slice).unwrap_or_default();
            if letters.len() > 1 {
                self.blame(*delivery, Wrong::DeadTwice);
            }
            if !self.history.told.contains(delivery) {
                self.blame(*delivery, Wrong::NotTold);
            }
            if requests.iter().any(Request::succeeded) {
                self.figures.dead_and_delivered += 1;
            }
            for letter in letters {
                *self.figures.dead.entry(letter.reason.clone()).or_default() += 1;
                if let Err(why) = self.reason(letter, requests) {
                    self.blame(*delivery, Wrong::FalseReason(why));
                }
            }
        }
    }

    fn reason(&self, letter: &Letter, requests: &[Request]) -> Result<(), String> {
        match letter.reason.as_str() {
            "exhausted" => self.exhausted(letter, requests),
            "rejected" => {
                let refused = |request: &Request| request.end == super::history::End::Answered(404);
                let seen = letter.status == Some(404) && requests.iter().any(refused);
                seen.then_some(()).ok_or_else(|| "rejected, and no receiver answered 404".to_owned())
            }
            "poison" => {
                let faults = self.history.faults.iter().filter(|fault| fault.kind.ends_leases()).count();
                let possible = faults > INNOCENT_TAKEOVERS;
                possible.then_some(()).ok_or_else(|| format!("poison, after {faults} faults that end leases"))
            }
            other => Err(format!("nothing can have caused the reason {other}")),
        }
    }

    /// Every attempt was made and failed. One that its receiver did not see fail needs a fault that explains it.
    fn exhausted(&self, letter: &Letter, requests: &[Request]) -> Result<(), String> {
        if letter.attempts != MAX_ATTEMPTS {
            return Err(format!("exhausted after {} attempts of {MAX_ATTEMPTS}", letter.attempts));
        }
        let failed: HashSet<u16> =
            requests.iter().filter(|request| !request.succeeded()).map(|request| request.attempt).collect();
        let missing = MAX_ATTEMPTS as usize - failed.len().min(MAX_ATTEMPTS as usize);
        let pushed = self.history.acknowledged.get(letter.event as usize).copied().flatten();
        let from = requests.iter().map(|request| request.from).chain(pushed).min().unwrap_or(0);
        let to = requests.iter().map(|request| request.from).max().unwrap_or(Ms::MAX);
        let hidden = |fault: &Fault| fault.kind.hides_answers() && fault.touches(from, to, AFTERMATH);
        if missing > 0 && !self.history.faults.iter().any(hidden) {
            return Err(format!("exhausted, with {missing} attempts that no receiver saw fail"));
        }
        Ok(())
    }

    /// The requests of one delivery among each other.
    fn delivery(&mut self, delivery: Delivery, requests: &[Request]) {
        let (event, place) = delivery;
        let history = self.history;
        let known = (event as usize) < history.acknowledged.len();
        if !known || !history.traffic.places(event).any(|wanted| wanted == place) {
            self.blame(delivery, Wrong::Misdelivered);
        }
        let mut success: Option<Request> = None;
        for (at, request) in requests.iter().enumerate() {
            let before = &requests[..at];
            self.figures.ran_back += u64::from(before.iter().any(|before| before.attempt > request.attempt));
            for before in before.iter().filter(|before| ended(before) > request.from.saturating_add(NOTICE)) {
                self.figures.overlaps += 1;
                if !self.lease_lost(before.from, request.from) {
                    self.blame(delivery, Wrong::Overlap);
                }
            }
            if !request.succeeded() {
                continue;
            }
            if let Some(first) = success {
                self.figures.duplicates += 1;
                let explains =
                    |fault: &Fault| fault.kind.repeats() && fault.touches(first.from, first.to, AFTERMATH);
                if !history.faults.iter().any(explains) {
                    self.blame(delivery, Wrong::Duplicate);
                }
            }
            success = Some(*request);
        }
    }

    /// Whether a worker that began an attempt at `before` can have lost its lease until another began at `after`.
    fn lease_lost(&self, before: Ms, after: Ms) -> bool {
        self.history.faults.iter().filter(|fault| fault.may_cost_a_lease()).any(|fault| {
            before <= fault.from + LAST_BEGINNING
                && after >= fault.from + FIRST_TAKEOVER
                && self.outage_end(fault) - fault.from >= LEASE_AT_RISK
        })
    }

    /// When all was whole again: the moment between two outages may not suffice for a heartbeat.
    fn outage_end(&self, first: &Fault) -> Ms {
        let mut end = first.to;
        // In the order of their beginning, as they were recorded.
        for fault in self.history.faults.iter().filter(|fault| fault.may_cost_a_lease()) {
            if fault.from >= first.from && fault.from <= end + LEASE_AT_RISK {
                end = end.max(fault.to);
            }
        }
        end
    }

    /// No more duplicates than deliveries were in flight: each entry has two destinations at most.
    fn duplicates_in_all(&mut self) {
        let repeating = self.history.faults.iter().filter(|fault| fault.kind.repeats());
        self.figures.in_flight = repeating.map(|fault| 2 * fault.in_flight).sum();
        let (found, in_flight) = (self.figures.duplicates, self.figures.in_flight);
        if found > in_flight {
            let wrong = Wrong::TooManyDuplicates { found, in_flight };
            self.wrong.push(Violation { wrong, delivery: None });
        }
    }
}

/// When an attempt was over: its worker waits no longer than the timeout, whatever the receiver does.
fn ended(request: &Request) -> Ms {
    request.to.min(request.from.saturating_add(ms(TIMEOUT)))
}

/// How often each kind of fault struck.
pub(crate) fn by_kind(faults: &[Fault]) -> BTreeMap<FaultKind, usize> {
    let mut kinds = BTreeMap::new();
    faults.iter().for_each(|fault| *kinds.entry(fault.kind).or_default() += 1);
    kinds
}
