//! Poison: an entry whose holders die again and again.

/// How often an entry may change hands before it is suspected.
const PATIENCE: u32 = 3;

/// What to do with an entry that was taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Attempt it like any other.
    Innocent,
    /// Attempt it alone: if its holder dies once more, it was this entry.
    Suspect,
    /// Its holder died while it was attempted alone: it is dead.
    Guilty,
}

/// Judges an entry that has been taken over so many times from workers that died.
pub fn judge(takeovers: u32) -> Verdict {
    match takeovers {
        0..=PATIENCE => Verdict::Innocent,
        taken if taken == PATIENCE + 1 => Verdict::Suspect,
        _ => Verdict::Guilty,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_suspected_first_and_guilty_after_one_more_death() {
        let verdicts: Vec<_> = [0, 3, 4, 5, u32::MAX].into_iter().map(judge).collect();
        use Verdict::{Guilty, Innocent, Suspect};
        assert_eq!(verdicts, [Innocent, Innocent, Suspect, Guilty, Guilty]);
    }
}
