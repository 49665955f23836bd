//! Spells: when receivers are down, and when what becomes of their webhooks. All of it follows from the seed.

use super::dice::mix;
use super::history::Ms;
use super::traffic::{Character, Place, Traffic};

/// Each such receiver is down once in this time.
const CYCLE: Ms = 16_000;
/// A spell begins within the second of these after the first …
const BEGINS: [Ms; 2] = [2000, 2000];
/// … and lasts the first of these, and up to the second longer.
const LASTS: [Ms; 2] = [4000, 5000];
/// How long after the beginning of a spell the webhook of the leaver is removed, and set anew.
const REMOVED: [Ms; 2] = [3000, 5500];
/// How long after the beginning of a spell the quitter begins to answer 410, and for how long it does.
const GONE: [Ms; 2] = [3500, 2500];

/// How a receiver feels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// It does what its character is.
    Up,
    /// It refuses everything, at once.
    Fails,
    /// It answers nothing.
    Hangs,
    /// It answers 410.
    Gone,
}

/// A time in which a receiver is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spell {
    pub(crate) place: Place,
    pub(crate) mood: Mood,
    pub(crate) from: Ms,
    pub(crate) to: Ms,
}

impl Traffic {
    /// How the receiver at `place` feels at a time, as long as nothing is healed.
    pub(crate) fn mood(self, place: Place, at: Ms) -> Mood {
        if place.character() == Character::Doomed {
            return Mood::Fails;
        }
        let spell = self.spell(place, at / CYCLE);
        match spell {
            Some(spell) if (spell.from..spell.to).contains(&at) => spell.mood,
            Some(spell) if place.character() == Character::Quitter && gone(&spell).contains(&at) => {
                Mood::Gone
            }
            _ => Mood::Up,
        }
    }

    /// All spells that begin before a time.
    pub(crate) fn spells(self, until: Ms) -> impl Iterator<Item = Spell> {
        let of_place = move |place| (0..=until / CYCLE).filter_map(move |cycle| self.spell(place, cycle));
        Place::instances().flat_map(move |(place, _)| of_place(place)).filter(move |spell| spell.from < until)
    }

    /// When the webhook of `place` is removed and set anew in a cycle.
    pub(crate) fn removal(self, place: Place, cycle: u32) -> Option<[Ms; 2]> {
        let spell = self.spell(place, cycle)?;
        Some(REMOVED.map(|after| spell.from + after))
    }

    /// When the webhook of `place` is switched on again in a cycle.
    pub(crate) fn return_of(self, place: Place, cycle: u32) -> Option<Ms> {
        Some(gone(&self.spell(place, cycle)?).end)
    }

    fn spell(self, place: Place, cycle: u32) -> Option<Spell> {
        let chance = mix(mix(self.seed ^ (place.number() << 32)) ^ u64::from(cycle));
        let within = |most: Ms, shift: u32| ((chance >> shift) % u64::from(most)) as Ms;
        let from = cycle.checked_mul(CYCLE)? + BEGINS[0] + within(BEGINS[1], 8);
        let to = from + LASTS[0] + within(LASTS[1], 24);
        let mood = if chance.is_multiple_of(2) { Mood::Fails } else { Mood::Hangs };
        match place.character() {
            Character::Fitful | Character::Leaver => Some(Spell { place, mood, from, to }),
            // One that hangs would find out too late that it is gone.
            Character::Quitter => Some(Spell { place, mood: Mood::Fails, from, to: from + GONE[0] }),
            _ => None,
        }
    }
}

fn gone(spell: &Spell) -> std::ops::Range<Ms> {
    spell.to..spell.to + GONE[1]
}
