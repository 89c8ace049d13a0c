//! Counting loads around a block: what the counts are taken from, and what a failure says.

use std::fmt;

use super::{Event, Group, fail};
use crate::cache::TieredCache;
use crate::observe::stats::Stats;

/// How many events a failure shows.
const SHOWN: usize = 40;

/// Runs a block and asserts how many loads were begun meanwhile: by a [`TieredCache`], by all instances of a [`Group`] or all caches of
/// an array together, or of a [`Source`](crate::testing::Source). Returns what the block does.
///
/// Every load counts, those that failed and those for their caller alone included. Who only waited for another's load, or found
/// its value in the shared tier, has begun none. What was begun before the block and ends in it does not count; what the block
/// spawns counts as far as it has begun by its end.
///
/// ```
/// use std::time::Duration;
/// use cachetier::Policy;
/// use cachetier::testing::{Group, assert_loads};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let group = Group::new(2).await;
/// let policy = Policy::ttl(Duration::from_secs(60));
/// let read = async |i| group.instance(i).get_or_compute("k", policy, || async { 7 }).await;
///
/// let seven = assert_loads!(group, 1, { read(0).await?.max(read(1).await?) });
/// assert_eq!(seven, 7);
/// assert_loads!(group.instance(0), 0, { read(0).await? });
/// # Ok(())
/// # }
/// ```
///
/// # Panics
///
/// If there were more or fewer. The message says what there was instead, and of a group what its instances did, in order. A block that is
/// left by `?` or `return` is not judged.
#[macro_export]
macro_rules! assert_loads {
    ($of:expr, $expected:expr, $block:block $(,)?) => {
        // A match: what `$of` makes on the way lives until the end.
        match &$of {
            of => {
                let counted = $crate::testing::Counted::begin(of);
                let done = $block;
                counted.assert($expected);
                done
            }
        }
    };
}

pub use assert_loads;

/// Where loads are counted: what [`assert_loads!`](crate::assert_loads) takes.
///
/// ```
/// use cachetier::testing::{Loads, Source};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// let users = Source::from([("user:1", "Ada")]);
/// let (before, mark) = (users.tally(), users.mark());
/// assert_eq!(users.load("user:1").await, Ok("Ada"));
/// assert_eq!(users.tally().loads - before.loads, 1);
/// println!("{:?}", users.since(mark));
/// # }
/// ```
pub trait Loads {
    /// Returns what was counted so far.
    fn tally(&self) -> Tally;

    /// Returns a number for the present point of what is written down, if anything is.
    fn mark(&self) -> u64 {
        0
    }

    /// Returns what was written down since a mark.
    fn since(&self, _mark: u64) -> Vec<String> {
        Vec::new()
    }
}

/// Counts that show what became of some reads.
///
/// ```
/// use cachetier::testing::{Loads, Source};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), cachetier::testing::SourceError> {
/// let prices = Source::from([("price:9", 42)]);
/// prices.load("price:9").await?;
/// assert_eq!(prices.tally().loads, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tally {
    /// Loads begun.
    pub loads: u64,
    /// Those of them that failed, panicked or came to their limit.
    pub failed: u64,
    /// Those of them that ran for their caller alone.
    pub alone: u64,
    /// Reads that waited for another's load.
    pub coalesced: u64,
    /// Reads answered by an instance's own copy.
    pub l1_hits: u64,
    /// Reads answered by the shared tier.
    pub l2_hits: u64,
}

impl Tally {
    pub(super) fn of(stats: &Stats) -> Self {
        Self {
            loads: stats.loads,
            failed: stats.load_errors + stats.load_panics + stats.load_timeouts,
            alone: stats.loads_alone,
            coalesced: stats.coalesced,
            l1_hits: stats.l1_hits,
            l2_hits: stats.l2_hits,
        }
    }

    /// Both.
    pub(super) fn and(self, other: Self) -> Self {
        self.with(other, u64::saturating_add)
    }

    /// What came since `before`.
    fn since(self, before: Self) -> Self {
        self.with(before, u64::saturating_sub)
    }

    fn with(self, other: Self, each: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            loads: each(self.loads, other.loads),
            failed: each(self.failed, other.failed),
            alone: each(self.alone, other.alone),
            coalesced: each(self.coalesced, other.coalesced),
            l1_hits: each(self.l1_hits, other.l1_hits),
            l2_hits: each(self.l2_hits, other.l2_hits),
        }
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { loads, failed, alone, coalesced, l1_hits, l2_hits } = self;
        write!(f, "{loads} loads, of which {failed} failed and {alone} were for their caller alone; ")?;
        write!(f, "{coalesced} waited for another's, {l1_hits} hits in L1, {l2_hits} in the shared tier")
    }
}

/// Loads that are being counted: what [`assert_loads!`](crate::assert_loads) expands into.
///
/// ```
/// use cachetier::testing::{Counted, Source};
///
/// let prices = Source::<u32>::new();
/// let counted = Counted::begin(&prices);
/// counted.assert(0);
/// ```
#[derive(Debug)]
#[must_use = "nothing is asserted until `assert`"]
pub struct Counted<'a, L: ?Sized> {
    of: &'a L,
    before: Tally,
    mark: u64,
}

impl<'a, L: Loads + ?Sized> Counted<'a, L> {
    /// Begins to count.
    pub fn begin(of: &'a L) -> Self {
        Self { of, before: of.tally(), mark: of.mark() }
    }

    /// Asserts that there were so many loads since.
    ///
    /// # Panics
    ///
    /// If there were not.
    #[track_caller]
    pub fn assert(self, expected: u64) {
        let found = self.of.tally().since(self.before);
        if found.loads == expected {
            return;
        }
        let mut lines = self.of.since(self.mark);
        let left_out = lines.len().saturating_sub(SHOWN);
        lines.truncate(SHOWN);
        lines.insert(0, format!("expected {expected} loads, found {found}"));
        if left_out > 0 {
            lines.push(format!("and {left_out} more"));
        }
        fail(lines.join("\n  "));
    }
}

impl Loads for TieredCache {
    fn tally(&self) -> Tally {
        Tally::of(&self.stats())
    }
}

impl Loads for Group {
    fn tally(&self) -> Tally {
        self.tally()
    }

    fn mark(&self) -> u64 {
        self.events_so_far()
    }

    fn since(&self, mark: u64) -> Vec<String> {
        self.events_after(mark).iter().map(Event::to_string).collect()
    }
}

impl<L: Loads> Loads for [L] {
    fn tally(&self) -> Tally {
        self.iter().map(L::tally).fold(Tally::default(), Tally::and)
    }
}

impl<L: Loads, const N: usize> Loads for [L; N] {
    fn tally(&self) -> Tally {
        self.as_slice().tally()
    }
}

impl<L: Loads + ?Sized> Loads for &L {
    fn tally(&self) -> Tally {
        L::tally(self)
    }

    fn mark(&self) -> u64 {
        L::mark(self)
    }

    fn since(&self, mark: u64) -> Vec<String> {
        L::since(self, mark)
    }
}
