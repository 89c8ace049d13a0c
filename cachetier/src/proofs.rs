//! How old the proof of an instance is, and how long it had none: for who watches it. What a proof allows is `view`'s.

use std::time::Duration;

use crate::clock::Millis;

/// That nothing was missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    /// When the question was asked that it answers.
    pub(crate) asked: Millis,
    /// When it ends.
    pub(crate) until: Millis,
    /// When it was had.
    pub(crate) now: Millis,
}

/// The present proof, or the last one, and the time between those before.
#[derive(Debug)]
pub(crate) struct Proofs {
    asked: Millis,
    until: Millis,
    without: Duration,
}

impl Proofs {
    pub(crate) fn none_since(now: Millis) -> Self {
        Self { asked: now, until: now, without: Duration::ZERO }
    }

    /// Takes the place of the one before, which may have ended by then.
    pub(crate) fn renewed(&mut self, proof: Proof) {
        self.without = self.without(proof.now);
        self.asked = proof.asked;
        // One that has ended when it comes does not move the time without back.
        self.until = proof.until.max(proof.now);
    }

    /// There is none from `now` on.
    pub(crate) fn lost(&mut self, now: Millis) {
        self.until = self.until.min(now);
    }

    /// How long ago the present one was asked for; nothing if there is none.
    pub(crate) fn age(&self, now: Millis) -> Option<Duration> {
        (now < self.until).then(|| self.asked.until(now))
    }

    /// How long there was none, the present time without one included.
    pub(crate) fn without(&self, now: Millis) -> Duration {
        self.without.saturating_add(self.until.until(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(asked: u64, until: u64, now: u64) -> Proof {
        Proof { asked: Millis(asked), until: Millis(until), now: Millis(now) }
    }

    /// Age and time without, in milliseconds.
    fn at(proofs: &Proofs, now: u64) -> (Option<u128>, u128) {
        (proofs.age(Millis(now)).map(|age| age.as_millis()), proofs.without(Millis(now)).as_millis())
    }

    #[test]
    fn the_time_without_runs_from_the_begin_to_the_first_proof() {
        let mut proofs = Proofs::none_since(Millis(100));
        assert_eq!(at(&proofs, 140), (None, 40));
        proofs.renewed(proof(145, 2_145, 150));
        assert_eq!(at(&proofs, 150), (Some(5), 50));
        assert_eq!(at(&proofs, 2_144), (Some(1_999), 50));
    }

    #[test]
    fn a_proof_that_runs_out_or_is_lost_is_followed_by_time_without() {
        let mut proofs = Proofs::none_since(Millis(0));
        proofs.renewed(proof(0, 2_000, 0));
        assert_eq!(at(&proofs, 2_000), (None, 0));
        assert_eq!(at(&proofs, 2_300), (None, 300));
        proofs.renewed(proof(2_400, 4_400, 2_450));
        assert_eq!(at(&proofs, 2_500), (Some(100), 450));
        proofs.lost(Millis(3_000));
        proofs.lost(Millis(3_100));
        assert_eq!(at(&proofs, 3_100), (None, 550), "the first loss counts");
    }

    #[test]
    fn a_proof_renewed_in_time_leaves_nothing_in_between() {
        let mut proofs = Proofs::none_since(Millis(0));
        for check in 0..10 {
            proofs.renewed(proof(check * 500, check * 500 + 2_000, check * 500 + 3));
        }
        assert_eq!(at(&proofs, 4_600), (Some(100), 3));
    }

    #[test]
    fn one_that_comes_when_it_has_ended_is_none() {
        let mut proofs = Proofs::none_since(Millis(0));
        proofs.renewed(proof(0, 2_000, 3_000));
        assert_eq!(at(&proofs, 3_500), (None, 3_500));
    }
}
