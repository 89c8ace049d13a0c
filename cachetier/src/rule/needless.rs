//! How many copies the tag table hides for nothing: an estimate, and when it is worth a word.
//! Where copies and cells come from, and what is said, is for others.

use crate::key::CELLS_PER_TAG;
use crate::rule::seq::{Era, Point, Seq};

/// Shares are counted in parts of a million.
pub(crate) const WHOLE: u64 = 1_000_000;

/// Fewer copies than this are no reason for a word: one that nobody asks for any more grows old and says nothing.
const FEWEST: u64 = 100;

/// A count of copies, each with the chance that bumps of other tags hide it.
///
/// Tags are spread over the cells at random, so a tag that was never bumped reads too high as often as all its cells do: the share of
/// cells that have moved since the copy's load began, to the power of the cells of a tag. How fast tags are bumped, and for how long copies
/// live, need not be known for it.
#[derive(Debug)]
pub(crate) struct Census {
    era: Era,
    /// The seqs of some of the table's cells, in order.
    sample: Vec<Seq>,
    copies: u64,
    /// The sum of their chances.
    hidden: u64,
}

impl Census {
    /// Begins a count by some of the cells of a table of `era`.
    pub(crate) fn of(era: Era, mut sample: Vec<Seq>) -> Self {
        sample.sort_unstable();
        Self { era, sample, copies: 0, hidden: 0 }
    }

    /// Counts a copy that has so many tags and prefixes. One of another era cannot be judged by this table.
    pub(crate) fn count(&mut self, born: Point, tags: usize) {
        if born.era != self.era {
            return;
        }
        let chance = self.chance(born.seq);
        // Hidden, unless each of its tags is not.
        let seen = (0..tags).fold(WHOLE, |seen, _| seen.saturating_mul(WHOLE.saturating_sub(chance)) / WHOLE);
        self.copies = self.copies.saturating_add(1);
        self.hidden = self.hidden.saturating_add(WHOLE.saturating_sub(seen));
    }

    /// The chance that a tag nobody has bumped since `since` reads as if somebody had.
    fn chance(&self, since: Seq) -> u64 {
        let still = self.sample.partition_point(|cell| *cell <= since);
        let wide = |count: usize| u128::try_from(count).unwrap_or(u128::MAX);
        let (moved, of) = (wide(self.sample.len().saturating_sub(still)), wide(self.sample.len().max(1)));
        let parts = moved.saturating_pow(CELLS_PER_TAG).saturating_mul(u128::from(WHOLE)) / of.saturating_pow(CELLS_PER_TAG).max(1);
        u64::try_from(parts).unwrap_or(WHOLE)
    }

    /// The share of the copies that are hidden needlessly.
    pub(crate) fn share(&self) -> u64 {
        self.hidden.checked_div(self.copies).unwrap_or_default()
    }

    fn says_something(&self) -> bool {
        self.copies >= FEWEST
    }
}

/// Whether a table too small has been spoken of: once, until it has been well again.
#[derive(Debug, Default)]
pub(crate) struct Episode {
    lasts: bool,
}

impl Episode {
    /// Whether something is to be said now: a share of `limit` begins an episode, one of half of it or less ends it.
    pub(crate) fn begins(&mut self, census: &Census, limit: u64) -> bool {
        if self.lasts {
            self.lasts = census.share() > limit / 2;
            return false;
        }
        self.lasts = census.says_something() && census.share() >= limit;
        self.lasts
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::TagHash;
    use crate::rule::table::TagTable;

    fn at(seq: u64) -> Point {
        Point { era: Era(1), seq: Seq(seq) }
    }

    /// By the formula of `docs/protocol.md`: the share of the cells that have moved, and the chance that a copy is hidden.
    fn formula(cells: u32, bumps: u32, tags: i32) -> (f64, f64) {
        let moved = 1.0 - (-4.0 * f64::from(bumps) / f64::from(cells)).exp();
        (moved, 1.0 - (1.0 - moved.powi(4)).powi(tags))
    }

    fn tag(name: &str, number: u32) -> TagHash {
        TagHash::of("shop", &format!("{name}:{number}"))
    }

    /// Bumps so many tags of others once each, one after the other, and looks at copies that have so many tags of their own: what was
    /// hidden, what the census takes it for, and what the formula says.
    #[track_caller]
    fn check(cells: u32, bumps: u32, tags: u32) {
        const COPIES: u32 = 20_000;
        let table = TagTable::new(cells);
        for n in 0..bumps {
            table.bump(tag("other", n), Seq(u64::from(n) + 2));
        }
        let mut census = Census::of(Era(1), table.sample());
        let mut hidden = 0;
        for copy in 0..COPIES {
            let own: Vec<TagHash> = (0..tags).map(|n| tag("own", copy * tags + n)).collect();
            hidden += u32::from(!table.unmoved_since(Seq(1), &own));
            census.count(at(1), own.len());
        }
        let (moved, expected) = formula(cells, bumps, i32::try_from(tags).unwrap());
        let [measured, estimated] =
            [f64::from(hidden) / f64::from(COPIES), f64::from(u32::try_from(census.share()).unwrap()) / 1e6];
        println!(
            "{cells} cells, {bumps} bumps, {tags} tags: formula {expected:.4}, measured {measured:.4}, estimated {estimated:.4}"
        );
        // Four deviations of so many copies.
        let noise = 4.0 * (expected * (1.0 - expected) / f64::from(COPIES)).sqrt() + 0.000_2;
        assert!((measured - expected).abs() <= noise, "measured, expected within {noise:.4}");
        // And of so many cells.
        let noise = 4.0 * 4.0 * f64::from(tags) * moved.powi(3) * (moved * (1.0 - moved) / 4_096.0).sqrt();
        assert!((estimated - expected).abs() <= noise, "estimated, expected within {noise:.4}");
    }

    #[test]
    fn as_many_copies_are_hidden_as_the_formula_says_and_the_census_takes_it_for_that() {
        for (cells, bumps, tags) in [
            (1 << 18, 36_000, 1),
            (1 << 18, 72_000, 1),
            (1 << 18, 360_000, 1),
            (1 << 18, 36_000, 3),
            (1 << 20, 360_000, 1),
            (1 << 22, 360_000, 1),
        ] {
            check(cells, bumps, tags);
        }
    }

    #[test]
    fn one_tag_bumped_over_and_over_hides_nobody_else() {
        let table = TagTable::new(1 << 12);
        (2..10_000).for_each(|seq| table.bump(tag("other", 1), Seq(seq)));
        let mut census = Census::of(Era(1), table.sample());
        (0..1_000).for_each(|_| census.count(at(1), 3));
        assert_eq!(census.share(), 0);
    }

    #[test]
    fn only_what_moved_after_the_load_began_counts() {
        let cells = (1..=8).map(Seq).collect();
        let mut census = Census::of(Era(1), cells);
        census.count(at(8), 1);
        assert_eq!(census.share(), 0);
        census.count(at(0), 1);
        assert_eq!(census.share(), WHOLE / 2);
        // Half of the cells.
        let mut census = Census::of(Era(1), (1..=8).map(Seq).collect());
        census.count(at(4), 1);
        assert_eq!(census.share(), WHOLE / 16);
        census.count(Point { era: Era(2), seq: Seq(0) }, 1);
        assert_eq!(census.share(), WHOLE / 16, "another era's seqs do not compare");
    }

    #[test]
    fn a_copy_without_tags_is_never_hidden() {
        let mut census = Census::of(Era(1), vec![Seq(9)]);
        census.count(at(1), 0);
        assert_eq!(census.share(), 0);
        assert_eq!(Census::of(Era(1), Vec::new()).share(), 0);
    }

    /// Copies of which this share is hidden.
    fn census(share: u64, copies: u64) -> Census {
        Census { era: Era(1), sample: Vec::new(), copies, hidden: share * copies }
    }

    #[test]
    fn an_episode_is_spoken_of_once_and_ends_at_half_of_what_begins_it() {
        let mut episode = Episode::default();
        let said = [499, 500, 900, 500, 251, 499, 600, 250, 499, 500].map(|share| episode.begins(&census(share, 1_000), 500));
        assert_eq!(said, [false, true, false, false, false, false, false, false, false, true]);
    }

    #[test]
    fn a_few_copies_are_no_reason_for_a_word() {
        let mut episode = Episode::default();
        assert!(!episode.begins(&census(WHOLE, FEWEST - 1), 500));
        assert!(episode.begins(&census(WHOLE, FEWEST), 500));
    }
}
