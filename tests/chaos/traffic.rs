//! What is pushed, where it belongs, and how its receivers behave. All of it follows from the seed and the event's
//! number, so nobody has to remember it.

use std::time::Duration;

use super::dice::mix;

/// How long an attempt may take. Answers that come at all come much sooner; the rest never come.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(2000);
pub(crate) const MAX_ATTEMPTS: u32 = 8;
const SLOWEST_ANSWER_MS: u64 = 200;

/// The instances, each with the character of its receiver.
const INSTANCES: [(&str, Character); 11] = [
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
];
const STEADY: u64 = 6;
const FLAKY: u64 = 3;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Character {
    /// Succeeds, sometimes after a while.
    Steady,
    /// Fails in every way, and succeeds more often than not.
    Flaky,
    /// Refuses some events for good.
    Picky,
    /// Never succeeds.
    Doomed,
}

/// A destination of an event: the global one, or that of the instance with this place in [`INSTANCES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place(u8);

impl Place {
    pub(crate) const GLOBAL: Self = Self(u8::MAX);

    pub(crate) fn instances() -> impl Iterator<Item = (Self, &'static str)> {
        (0..).map(Self).zip(INSTANCES.iter().map(|(name, _)| *name))
    }

    /// As posthaste writes it.
    pub(crate) fn destination(self) -> String {
        match INSTANCES.get(usize::from(self.0)) {
            Some((name, _)) => format!("instance:{name}"),
            None => "global".to_owned(),
        }
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
}

/// Everything that follows from a seed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traffic {
    pub(crate) seed: u64,
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
        let within = |first: u64, count: u64| (first + (chance >> 20) % count) as u8;
        match chance % 1000 {
            0..8 => within(STEADY + FLAKY + 1, 1),
            8..60 => within(STEADY + FLAKY, 1),
            60..220 => within(STEADY, FLAKY),
            _ => within(0, STEADY),
        }
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

    /// What the receiver at `place` does with the `nth` request it gets of an event, from 0.
    pub(crate) fn behaviour(self, event: u32, place: Place, nth: u32) -> Behaviour {
        let of_event = mix(self.chance(event) ^ u64::from(place.0));
        let chance = mix(of_event ^ (u64::from(nth) << 32));
        let character =
            INSTANCES.get(usize::from(place.0)).map_or(Character::Steady, |(_, character)| *character);
        let slowly = Duration::from_millis((chance >> 32) % SLOWEST_ANSWER_MS);
        let percent = chance % 100;
        match character {
            Character::Doomed => Behaviour::Answer(if percent < 50 { 500 } else { 503 }, Duration::ZERO),
            Character::Picky if of_event.is_multiple_of(5) => Behaviour::Answer(404, slowly),
            Character::Flaky => match percent {
                0..30 => Behaviour::Answer(200, Duration::ZERO),
                30..60 => Behaviour::Answer(204, slowly),
                60..72 => Behaviour::Answer(500, Duration::ZERO),
                72..82 => Behaviour::Answer(503, slowly),
                82..90 => Behaviour::Close,
                _ => Behaviour::Hang,
            },
            Character::Steady | Character::Picky if percent < 50 => Behaviour::Answer(200, Duration::ZERO),
            Character::Steady | Character::Picky => Behaviour::Answer(200, slowly),
        }
    }
}
