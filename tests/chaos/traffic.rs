//! What is pushed, where it belongs, and how its receivers behave. All of it follows from the seed and the event's
//! number (and, for those that are down for spells, from the time), so nobody has to remember it.

use std::time::Duration;

use super::dice::mix;
use super::spells::Mood;

/// How long an attempt may take. Answers that come at all come much sooner; the rest never come.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(2000);
pub(crate) const MAX_ATTEMPTS: u32 = 8;
/// How old an event is when its further attempts are given up.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(40);
/// The longest wait between two attempts.
pub(crate) const MAX_DELAY: Duration = Duration::from_secs(2);
const SLOWEST_ANSWER_MS: u64 = 200;

/// How many requests the slow receiver works on at a time.
pub(crate) const AT_A_TIME: usize = 4;
const LONGEST_WORK: Duration = Duration::from_millis(400);

/// The instances, each with the character of its receiver. Those that get what is left come first.
const INSTANCES: [(&str, Character); 17] = [
    ("steady-0", Character::Steady),
    ("steady-1", Character::Steady),
    ("steady-2", Character::Steady),
    ("steady-3", Character::Steady),
    ("steady-4", Character::Steady),
    ("steady-5", Character::Steady),
    ("flaky-0", Character::Flaky),
    ("flaky-1", Character::Flaky),
    ("flaky-2", Character::Flaky),
    ("picky", Character::Picky),
    ("doomed", Character::Doomed),
    ("fitful-0", Character::Fitful),
    ("fitful-1", Character::Fitful),
    ("leaver", Character::Leaver),
    ("quitter", Character::Quitter),
    ("slow", Character::Slow),
    ("metered", Character::Metered),
];
const STEADY: u64 = 6;

/// Of so many events in a row some go to one receiver in great numbers …
const BLOCK: u32 = 1024;
/// … each such receiver has its turn once in so many blocks …
const BLOCKS: u32 = 8;
/// … and gets so many of a thousand events then; on average less than it takes.
const FLOOD: u64 = 300;
/// The same at all other times.
const TRICKLE: u64 = 10;
/// The share of all events that the slow receiver takes, and that the rate limit allows for each worker. What comes on
/// average is less.
const SLOW_TAKES: f64 = 1.0 / 6.0;
const METERED_TAKES: f64 = 1.0 / 15.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Character {
    /// Succeeds, sometimes after a while.
    Steady,
    /// Fails in every way, and succeeds more often than not.
    Flaky,
    /// Refuses some events for good.
    Picky,
    /// Fails until everything is healed.
    Doomed,
    /// Is down for spells.
    Fitful,
    /// Is down for spells, in which its webhook is removed, and set anew later.
    Leaver,
    /// Is down for spells and then answers 410 for a while; later its webhook is switched on again.
    Quitter,
    /// Works on a few requests at a time, and at times gets more than it takes.
    Slow,
    /// Its webhook has a rate limit, and at times gets more than that.
    Metered,
}

/// A destination of an event: the global one, or that of the instance with this place in [`INSTANCES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place(u8);

impl Place {
    pub(crate) const GLOBAL: Self = Self(u8::MAX);

    pub(crate) fn instances() -> impl Iterator<Item = (Self, &'static str)> {
        (0..).map(Self).zip(INSTANCES.iter().map(|(name, _)| *name))
    }

    /// The first of a character.
    pub(crate) fn of(character: Character) -> Self {
        let mut places = Self::instances().map(|(place, _)| place);
        places.find(|place| place.character() == character).expect("there is one of each")
    }

    pub(crate) fn character(self) -> Character {
        INSTANCES.get(usize::from(self.0)).map_or(Character::Steady, |(_, character)| *character)
    }

    /// A number for it.
    pub(crate) fn number(self) -> u64 {
        u64::from(self.0)
    }

    /// The instance; none where it is the global destination.
    pub(crate) fn instance(self) -> Option<&'static str> {
        INSTANCES.get(usize::from(self.0)).map(|(name, _)| *name)
    }

    /// As posthaste writes it.
    pub(crate) fn destination(self) -> String {
        self.instance().map_or_else(|| "global".to_owned(), |name| format!("instance:{name}"))
    }

    pub(crate) fn of_destination(text: &str) -> Option<Self> {
        if text == "global" {
            return Some(Self::GLOBAL);
        }
        Self::instances()
            .find(|(_, name)| text.strip_prefix("instance:") == Some(*name))
            .map(|(place, _)| place)
    }

    /// The path of its receiver.
    pub(crate) fn path(self) -> String {
        format!("/to/{}", self.0)
    }

    pub(crate) fn of_path(path: &str) -> Option<Self> {
        path.strip_prefix("/to/")?.parse().ok().map(Self)
    }
}

/// What a receiver does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Answer(u16, Duration),
    /// Closes the connection without an answer.
    Close,
    /// Keeps the connection, and never answers.
    Hang,
    /// Answers once it has worked on it for so long; it works on [`AT_A_TIME`].
    Work(Duration),
}

/// Everything that follows from a seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    pub(crate) seed: u64,
    /// Events per second.
    pub(crate) rate: u64,
}

impl Traffic {
    /// The id an event is pushed with, and its receivers see.
    pub(crate) fn id(event: u32) -> String {
        format!("c{event}")
    }

    pub(crate) fn of_id(id: &str) -> Option<u32> {
        id.strip_prefix('c')?.parse().ok()
    }

    fn chance(self, event: u32) -> u64 {
        mix(mix(self.seed) ^ u64::from(event))
    }

    fn instance(self, event: u32) -> u8 {
        let chance = self.chance(event) >> 16;
        let mut left = chance % 1000;
        for (place, (_, character)) in (0..).zip(INSTANCES) {
            let share = share(character, event);
            if left < share {
                return place;
            }
            left -= share;
        }
        ((chance >> 20) % STEADY) as u8
    }

    fn is_global(self, event: u32) -> bool {
        self.chance(event).is_multiple_of(4)
    }

    /// Where an event has to arrive.
    pub(crate) fn places(self, event: u32) -> impl Iterator<Item = Place> {
        let global = self.is_global(event).then_some(Place::GLOBAL);
        std::iter::once(Place(self.instance(event))).chain(global)
    }

    pub(crate) fn payload(self, event: u32) -> String {
        let name = if self.is_global(event) { "messages.upsert" } else { "send.message" };
        let (instance, _) = INSTANCES[usize::from(self.instance(event))];
        let text = "x".repeat((self.chance(event) >> 40) as usize % 400);
        format!(
            r#"{{"event":"{name}","instance":"{instance}","data":{{"n":{event},"text":"{text}"}},"date_time":"2026-01-01T00:00:00.000Z"}}"#
        )
    }

    /// The rate limit of the metered webhook, attempts a second for each worker.
    pub(crate) fn rate_limit(self) -> f64 {
        (self.rate as f64 * METERED_TAKES).max(1.0)
    }

    /// What the receiver at `place` does with the `nth` request it gets of an event, from 0, in this mood.
    pub(crate) fn behaviour(self, event: u32, place: Place, nth: u32, mood: Mood) -> Behaviour {
        let of_event = mix(self.chance(event) ^ place.number());
        let chance = mix(of_event ^ (u64::from(nth) << 32));
        let slowly = Duration::from_millis((chance >> 32) % SLOWEST_ANSWER_MS);
        let percent = chance % 100;
        match (mood, place.character()) {
            (Mood::Gone, _) => Behaviour::Answer(410, Duration::ZERO),
            (Mood::Hangs, _) => Behaviour::Hang,
            (Mood::Fails, _) => match percent {
                0..45 => Behaviour::Answer(500, Duration::ZERO),
                45..90 => Behaviour::Answer(503, Duration::ZERO),
                _ => Behaviour::Close,
            },
            (Mood::Up, Character::Picky) if of_event.is_multiple_of(5) => Behaviour::Answer(404, slowly),
            (Mood::Up, Character::Flaky) => match percent {
                0..30 => Behaviour::Answer(200, Duration::ZERO),
                30..60 => Behaviour::Answer(204, slowly),
                60..72 => Behaviour::Answer(500, Duration::ZERO),
                72..82 => Behaviour::Answer(503, slowly),
                82..90 => Behaviour::Close,
                _ => Behaviour::Hang,
            },
            (Mood::Up, Character::Slow) => {
                let takes = self.rate as f64 * SLOW_TAKES;
                Behaviour::Work(Duration::from_secs_f64(AT_A_TIME as f64 / takes).min(LONGEST_WORK))
            }
            (Mood::Up, _) if percent < 50 => Behaviour::Answer(200, Duration::ZERO),
            (Mood::Up, _) => Behaviour::Answer(200, slowly),
        }
    }
}

/// How many of a thousand events like this one go to each receiver of a character; the steady ones get what is left.
fn share(character: Character, event: u32) -> u64 {
    let floods = |turn| event / BLOCK % BLOCKS == turn;
    match character {
        Character::Steady => 0,
        Character::Flaky => 53,
        Character::Picky => 40,
        Character::Doomed => 8,
        Character::Fitful => 40,
        Character::Leaver | Character::Quitter => 60,
        Character::Metered => {
            if floods(0) {
                FLOOD
            } else {
                TRICKLE
            }
        }
        Character::Slow => {
            if floods(1) {
                FLOOD
            } else {
                TRICKLE
            }
        }
    }
}
