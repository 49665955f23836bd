//! The checker, after the model of Jepsen's total-queue: what was put in came out, or is accounted for.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::bounds::{self, Load};
use super::excuse::{Excuses, Success};
use super::history::{Fault, FaultKind, History, Letter, Ms, Request, ms};
use super::reason;
use super::traffic::{Character, Place, TIMEOUT, Traffic};

/// How late a receiver may notice that its client is gone. The wait before another attempt is longer.
const NOTICE: Ms = 100;

/// What must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wrong {
    /// In the stream, and neither delivered nor dead.
    Lost,
    /// The stream got other events than those that were acknowledged or arrived.
    Miscounted { in_stream: u64, known: u64, unsure: u64 },
    /// An attempt whose number says that there were others, which nothing kept from its receiver.
    Skipped,
    /// More attempts against a receiver that is down than find that out, and probe.
    TooManyWhileDown(String),
    /// More attempts in a second than a rate limit allows.
    OverTheRate(String),
    /// A dead letter whose reason did not happen.
    FalseReason(String),
    /// More than one dead letter.
    DeadTwice,
    /// A dead letter of what arrived, and nothing hid that.
    DeadAndDelivered,
    /// A dead letter of which the ERRORS webhook was not told.
    NotTold,
    /// It arrived where it does not belong, or nobody pushed it.
    Misdelivered,
    /// Two attempts at the same time, with no lease lost.
    Overlap,
    /// It arrived and was attempted again, and nothing that was broken explains it.
    Duplicate,
    /// More of them than were in flight at the faults that explain it.
    TooManyDuplicates,
    /// Something left over, or that nobody can have caused.
    Strange(String),
}

impl Wrong {
    /// Its name.
    pub(crate) fn kind(&self) -> String {
        format!("{self:?}").chars().take_while(char::is_ascii_alphabetic).collect()
    }
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
    /// Not acknowledged, and if it is in the stream, nothing had to come of it.
    pub(crate) unsure: usize,
    pub(crate) deliveries: usize,
    pub(crate) delivered: usize,
    pub(crate) attempts: usize,
    pub(crate) duplicates: u64,
    /// Deliveries that a fault could have repeated, as far as can be told from their times.
    pub(crate) repeatable: u64,
    pub(crate) overlaps: u64,
    /// Attempts with a lower number than one before them.
    pub(crate) ran_back: u64,
    /// Dead letters of deliveries that arrived (their answers were lost).
    pub(crate) dead_and_delivered: u64,
    pub(crate) dead: BTreeMap<String, u64>,
    /// Deliveries of which nothing came because there was no webhook.
    pub(crate) unwanted: usize,
    /// What came closest to being too much for receivers that were down, and known to be, and for the rate limit.
    pub(crate) while_down: [Load; 2],
    pub(crate) in_a_second: Load,
    /// The longest time from a push to its first attempt at a steady receiver, and of which event.
    pub(crate) slowest: (Ms, u32),
}

/// Everything that is wrong with a history, and its figures.
pub(crate) fn check(history: &History) -> (Vec<Violation>, Figures) {
    let mut checker = Checker {
        history,
        excuses: Excuses(&history.faults),
        explained: vec![0; history.faults.len()],
        wrong: Vec::new(),
        figures: Figures::default(),
    };
    let requests = by_delivery(&history.requests);
    let letters = by_letter(&history.letters);
    checker.figures.pushed = history.pushes.len();
    checker.figures.attempts = history.requests.len();
    checker.completeness(&requests, &letters);
    checker.letters(&requests, &letters);
    for (delivery, requests) in &requests {
        checker.delivery(*delivery, requests);
    }
    checker.stream();
    checker.loads();
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
    excuses: Excuses<'a>,
    /// How many repetitions each fault explains.
    explained: Vec<u64>,
    wrong: Vec<Violation>,
    figures: Figures,
}

impl Checker<'_> {
    fn blame(&mut self, delivery: Delivery, wrong: Wrong) {
        self.wrong.push(Violation { wrong, delivery: Some(delivery) });
    }

    /// What is in the stream was delivered, or is dead: what was acknowledged, and what arrived anywhere.
    fn completeness(
        &mut self,
        requests: &HashMap<Delivery, Vec<Request>>,
        letters: &HashMap<Delivery, Vec<&Letter>>,
    ) {
        let history = self.history;
        for (event, push) in (0..).zip(&history.pushes) {
            let places = || history.traffic.places(event).map(|place| (event, place));
            let first = |(event, place)| Some(requests.get(&(event, place))?[0].from);
            let excused = |place| {
                let mut absences = history.absences.iter().filter(|absence| absence.place == place);
                absences.any(|absence| absence.excuses(event, push))
            };
            let there = push.acknowledged.is_some()
                || places().any(|delivery| first(delivery).is_some() || letters.contains_key(&delivery));
            if !there {
                self.figures.unsure += usize::from(places().all(|(_, place)| excused(place)));
                continue;
            }
            for delivery in places() {
                let seen = requests.get(&delivery);
                let delivered = seen.is_some_and(|requests| requests.iter().any(Request::succeeded));
                self.figures.deliveries += 1;
                self.figures.delivered += usize::from(delivered);
                match delivered || letters.contains_key(&delivery) {
                    true => {}
                    false if excused(delivery.1) => self.figures.unwanted += 1,
                    false => self.blame(delivery, Wrong::Lost),
                }
            }
            match push.acknowledged {
                Some(at) => {
                    self.figures.acknowledged += 1;
                    let is_steady = |(_, place): &Delivery| place.character() == Character::Steady;
                    let first = places().filter(is_steady).filter_map(first).max();
                    let late = first.map_or(0, |first| first.saturating_sub(at));
                    self.figures.slowest = self.figures.slowest.max((late, event));
                }
                None => self.figures.unsure_and_there += 1,
            }
        }
    }

    /// An event of which nobody knows whether it was pushed, and that is in the stream, has to arrive, too: as many
    /// are there as were acknowledged, and as arrived of the others.
    fn stream(&mut self) {
        let known = (self.figures.acknowledged + self.figures.unsure_and_there) as u64;
        let unsure = self.figures.unsure as u64;
        let possible = known..=known + unsure;
        if let Some(in_stream) = self.history.in_stream.filter(|in_stream| !possible.contains(in_stream)) {
            let wrong = Wrong::Miscounted { in_stream, known, unsure };
            self.wrong.push(Violation { wrong, delivery: None });
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
            if let Some(success) = requests.iter().rfind(|request| request.succeeded()) {
                self.figures.dead_and_delivered += 1;
                let places = self.history.traffic.places(delivery.0).count();
                if !self.excuses.may_die(Success::of(success, places)) {
                    self.blame(*delivery, Wrong::DeadAndDelivered);
                }
            }
            for letter in letters {
                *self.figures.dead.entry(letter.reason.clone()).or_default() += 1;
                if let Err(why) = reason::verify(self.history, letter, requests) {
                    self.blame(*delivery, Wrong::FalseReason(why));
                }
            }
        }
    }

    /// Receivers that are down, and those with a rate limit, got no more than they should.
    fn loads(&mut self) {
        let limited = |load: &Load| load.seen > load.allowed;
        let history = self.history;
        let known = bounds::while_known_to_be_down(history).map(|load| (1, load));
        for (at, load) in bounds::while_down(history).map(|load| (0, load)).chain(known) {
            if limited(&load) {
                let wrong = Wrong::TooManyWhileDown(load.to_string());
                self.wrong.push(Violation { wrong, delivery: None });
            }
            self.figures.while_down[at].raise(load);
        }
        self.figures.in_a_second = bounds::in_a_second(self.history);
        if limited(&self.figures.in_a_second) {
            let wrong = Wrong::OverTheRate(self.figures.in_a_second.to_string());
            self.wrong.push(Violation { wrong, delivery: None });
        }
    }

    /// The requests of one delivery among each other.
    fn delivery(&mut self, delivery: Delivery, requests: &[Request]) {
        let (event, place) = delivery;
        let history = self.history;
        let known = (event as usize) < history.pushes.len();
        let places = if known { history.traffic.places(event).count() } else { 0 };
        if !known || !history.traffic.places(event).any(|wanted| wanted == place) {
            self.blame(delivery, Wrong::Misdelivered);
        }
        if known && !reason::numbers_are_whole(history, event, requests) {
            self.blame(delivery, Wrong::Skipped);
        }
        let mut arrived = false;
        for (at, request) in requests.iter().enumerate() {
            let before = &requests[..at];
            self.figures.ran_back += u64::from(before.iter().any(|before| before.attempt > request.attempt));
            for first in
                (0..at).filter(|first| ended(&requests[*first]) > request.from.saturating_add(NOTICE))
            {
                self.figures.overlaps += 1;
                if !self.excuses.overlap(&requests[first..=at]) {
                    self.blame(delivery, Wrong::Overlap);
                }
            }
            if !request.succeeded() {
                continue;
            }
            let success = Success::of(request, places);
            if arrived {
                self.figures.duplicates += 1;
            } else {
                self.figures.repeatable += u64::from(self.excuses.of(success).next().is_some());
            }
            arrived = true;
            if let Some(next) = requests.get(at + 1) {
                self.repeated(delivery, success, next);
            }
        }
    }

    /// A fault explains that a delivery that arrived is attempted again, and no more of them than were in flight at
    /// it: each entry has two destinations at most. Where several faults explain it, it counts for the one that
    /// explains the least of its share.
    fn repeated(&mut self, delivery: Delivery, success: Success, next: &Request) {
        let left =
            |fault: usize| (2 * self.history.faults[fault].in_flight).saturating_sub(self.explained[fault]);
        match self.excuses.explain(success, next).map(|fault| (left(fault), fault)).max() {
            None => self.blame(delivery, Wrong::Duplicate),
            Some((0, _)) => self.blame(delivery, Wrong::TooManyDuplicates),
            Some((_, fault)) => self.explained[fault] += 1,
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
