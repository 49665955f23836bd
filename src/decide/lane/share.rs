//! Shares: how many of the slots that all lanes have in common one of them may take.

use super::Trust;

/// Whether one more attempt of a lane with `mine` in flight fits, of `slots` of which `running` are taken, `untrusted`
/// of them by lanes that are not trusted, or new.
pub fn fits(trust: Trust, mine: usize, running: usize, untrusted: usize, slots: usize) -> bool {
    let (half, free) = (slots.div_ceil(2), slots.saturating_sub(running));
    let fair = mine == 0 || mine < free;
    match trust {
        Trust::Live => fair,
        // The last slots are for those that answer now: where many that did begin to hang at once, nobody knows it for a
        // while.
        Trust::Proven => fair && running < (slots * 7).div_ceil(8),
        // Beyond what new ones may have taken that hang.
        Trust::Good => fair && running < (slots * 13).div_ceil(16),
        // One that works finds a slot at once, however many are known to hang.
        Trust::New if mine == 0 && running < slots * 3 / 4 => true,
        // Thrice what is free, so that a slow receiver that is alone has most of the half.
        Trust::New | Trust::None => fair && untrusted < half && (mine == 0 || mine < 3 * (half - untrusted)),
    }
}
