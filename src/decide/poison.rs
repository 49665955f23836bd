//! Poison: an entry whose holders die again and again.
//!
//! A worker that dies leaves hundreds of entries, of which at most one killed it. So an entry that was held at several
//! deaths is only a suspect; it is attempted alone, and Redis is told so before ([`ALONE`]). Should its holder die
//! even then, it was this entry.

/// How often an entry may be taken over from a crash before it is suspected.
const PATIENCE: u32 = 3;
/// What the number of times an entry was handed out is raised by before it is attempted alone.
pub const ALONE: u32 = 1000;

/// What to do with an entry that was taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Attempt it like any other.
    Innocent,
    /// Attempt it alone.
    Suspect,
    /// Its holder died while it was attempted alone: it is dead.
    Guilty,
}

/// Judges an entry that has been taken over so many times from workers that died.
pub fn judge(takeovers: u32) -> Verdict {
    match takeovers {
        0..=PATIENCE => Verdict::Innocent,
        taken if taken < ALONE => Verdict::Suspect,
        _ => Verdict::Guilty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_guilty_only_once_its_holder_died_while_it_was_attempted_alone() {
        let verdicts: Vec<_> = [0, 3, 4, 5, ALONE, u32::MAX].into_iter().map(judge).collect();
        use Verdict::{Guilty, Innocent, Suspect};
        assert_eq!(verdicts, [Innocent, Innocent, Suspect, Suspect, Guilty, Guilty]);
    }
}
