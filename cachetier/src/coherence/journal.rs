//! Own invalidations that were confirmed a moment ago: told once more where the lane may have forgotten them.

use std::collections::VecDeque;
use std::time::Duration;

use crate::clock::Millis;
use crate::rule::seq::{Era, Point};
use crate::sync::{Mutex, lock};
use crate::wire::message::Targets;

/// What an instance has told, for as long as it may have to tell it again.
#[derive(Debug)]
pub(crate) struct Journal {
    told: Mutex<Told>,
    /// Held while what a new life may have forgotten is made unreadable, which asks most other locks: nothing below asks for this one.
    meeting: Mutex<()>,
    limit: usize,
    span: Duration,
}

#[derive(Debug, Default)]
struct Told {
    bumps: VecDeque<Bump>,
    /// How many targets they have.
    targets: usize,
    /// The era, and the life of the server, that were met last.
    met: (Era, u64),
    /// How often that was another one.
    lives: u64,
    /// Whether something was told since at a point of another era.
    elsewhere: bool,
}

#[derive(Debug)]
struct Bump {
    at: Millis,
    era: Era,
    targets: Targets,
}

impl Journal {
    /// Keeps at most `limit` targets for `span`.
    pub(crate) fn new(limit: usize, span: Duration) -> Self {
        Self { told: Mutex::default(), meeting: Mutex::default(), limit, span }
    }

    /// How many lives of the lane have been met: to be known before anything is sent.
    pub(crate) fn lives(&self) -> u64 {
        lock(&self.told).lives
    }

    /// These were sent in that life, and told at that point of the lane. Where there are too many, everything takes their place. Says
    /// whether they are to be told again at once: another life has been met meanwhile, and the one before may have answered.
    #[must_use]
    pub(crate) fn note(&self, targets: &Targets, (life, told_at): (u64, Point), now: Millis) -> bool {
        if self.span.is_zero() {
            return false;
        }
        let mut told = lock(&self.told);
        if told.lives != life && told.met != (told_at.era, 0) {
            return true;
        }
        told.forget_before(now, self.span);
        let room = self.limit.saturating_sub(told.targets);
        let targets = if targets.len() > room {
            told.bumps.clear();
            told.targets = 0;
            Targets::everything()
        } else {
            targets.clone()
        };
        told.elsewhere |= told_at.era != told.met.0;
        told.targets = told.targets.saturating_add(targets.len());
        told.bumps.push_back(Bump { at: now, era: told_at.era, targets });
        false
    }

    /// Whether the lane was last met in that life of its server, as far as that is told, and nothing was told to another since: who was not known to
    /// have been replaced may have answered.
    pub(crate) fn has_met(&self, run: u64) -> bool {
        let _meeting = lock(&self.meeting);
        let told = lock(&self.told);
        run == 0 || (told.met.1 == run && !told.elsewhere)
    }

    /// The lane is met in that era and that life of its server. Hands over what it may have forgotten, which is not kept here any longer:
    /// told again, it will be noted again. Until `tell_again` returns, nobody else finds that life met.
    pub(crate) fn met(&self, era: Era, run: u64, now: Millis, tell_again: impl FnOnce(Targets)) {
        let _meeting = lock(&self.meeting);
        let mut told = lock(&self.told);
        let (_, last) = told.met;
        let another = run != 0 && last != run;
        let met = (era, if run == 0 { last } else { run });
        if std::mem::replace(&mut told.met, met) != met {
            told.lives = told.lives.saturating_add(1);
        }
        told.elsewhere = false;
        told.forget_before(now, self.span);
        let bumps = std::mem::take(&mut told.bumps);
        let (forgotten, kept) = bumps.into_iter().partition::<VecDeque<_>, _>(|bump| another || bump.era != era);
        told.targets = kept.iter().map(|bump| bump.targets.len()).sum();
        told.bumps = kept;
        // Bumps that are sent or answered now need not wait: they find that another life has been met.
        drop(told);
        let mut again = Targets::default();
        for Bump { targets, .. } in forgotten {
            again.extend(targets);
        }
        if again.len() > 0 {
            tell_again(again);
        }
    }
}

impl Told {
    fn forget_before(&mut self, now: Millis, span: Duration) {
        while let Some(bump) = self.bumps.front()
            && bump.at.until(now) > span
        {
            self.targets = self.targets.saturating_sub(bump.targets.len());
            self.bumps.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::seq::Seq;

    const SPAN: Duration = Duration::from_secs(60);

    fn at(era: u32) -> Point {
        Point { era: Era(era), seq: Seq(1) }
    }

    fn key(key: &str) -> Targets {
        Targets { keys: vec![key.to_owned()], ..Targets::default() }
    }

    fn told(journal: &Journal, name: &str, at: Point, now: Millis) {
        assert!(!journal.note(&key(name), (journal.lives(), at), now));
    }

    /// What meeting the lane makes it tell again.
    fn met(journal: &Journal, era: u32, run: u64, now: Millis) -> Option<Targets> {
        let mut again = None;
        journal.met(Era(era), run, now, |targets| again = Some(targets));
        again
    }

    fn keys(targets: Option<Targets>) -> Vec<String> {
        targets.map(|targets| targets.keys).unwrap_or_default()
    }

    #[test]
    fn what_was_told_in_another_era_or_life_is_told_again_once() {
        let journal = Journal::new(10, SPAN);
        assert_eq!(met(&journal, 1, 7, Millis(0)), None);
        told(&journal, "a", at(1), Millis(1));
        assert_eq!(met(&journal, 1, 7, Millis(2)), None);
        assert_eq!(keys(met(&journal, 1, 8, Millis(3))), ["a"], "another life");
        assert_eq!(met(&journal, 1, 9, Millis(4)), None, "it waits elsewhere now");
        told(&journal, "b", at(1), Millis(5));
        told(&journal, "c", at(2), Millis(6));
        assert_eq!(keys(met(&journal, 2, 9, Millis(7))), ["b"], "another era");
        assert_eq!(keys(met(&journal, 3, 9, Millis(8))), ["c"]);
    }

    #[test]
    fn what_is_answered_after_another_life_was_met_is_told_again_at_once() {
        let journal = Journal::new(10, SPAN);
        met(&journal, 1, 7, Millis(0));
        let sent_in = journal.lives();
        met(&journal, 1, 7, Millis(1));
        assert!(!journal.note(&key("a"), (sent_in, at(1)), Millis(2)));
        met(&journal, 1, 8, Millis(3));
        assert!(journal.note(&key("b"), (sent_in, at(1)), Millis(4)));
        // Where nothing but the era can be told, it is told by the answer.
        let journal = Journal::new(10, SPAN);
        met(&journal, 1, 0, Millis(0));
        let sent_in = journal.lives();
        met(&journal, 2, 0, Millis(1));
        assert!(!journal.note(&key("a"), (sent_in, at(2)), Millis(2)));
        assert!(journal.note(&key("a"), (sent_in, at(1)), Millis(2)));
    }

    #[test]
    fn a_life_is_not_met_while_something_was_told_to_another() {
        let journal = Journal::new(10, SPAN);
        met(&journal, 2, 7, Millis(0));
        told(&journal, "a", at(2), Millis(1));
        assert!(journal.has_met(7));
        // By the old primary, which is not known to have been replaced: it has not heard of the era.
        told(&journal, "b", at(1), Millis(2));
        assert!(!journal.has_met(7));
        assert_eq!(keys(met(&journal, 2, 7, Millis(3))), ["b"]);
        assert!(journal.has_met(7));
    }

    #[test]
    fn a_life_that_cannot_be_told_is_not_another_one() {
        let journal = Journal::new(10, SPAN);
        met(&journal, 1, 7, Millis(0));
        told(&journal, "a", at(1), Millis(1));
        assert_eq!(met(&journal, 1, 0, Millis(2)), None);
        assert_eq!(met(&journal, 1, 7, Millis(3)), None);
    }

    #[test]
    fn what_was_told_long_ago_is_not_told_again() {
        let journal = Journal::new(10, SPAN);
        told(&journal, "a", at(1), Millis(1_000));
        told(&journal, "b", at(1), Millis(2_000));
        assert_eq!(keys(met(&journal, 2, 0, Millis(61_001))), ["b"]);
        let none = Journal::new(10, Duration::ZERO);
        told(&none, "a", at(1), Millis(1));
        assert_eq!(met(&none, 2, 0, Millis(1)), None);
    }

    #[test]
    fn too_many_become_everything() {
        let journal = Journal::new(2, SPAN);
        for name in ["a", "b", "c"] {
            told(&journal, name, at(1), Millis(1));
        }
        assert_eq!(met(&journal, 2, 0, Millis(2)), Some(Targets::everything()));
    }
}
