//! Points in order: of the lane ([`Seq`] within an [`Era`]), of this process ([`Tick`], [`Epoch`], [`Generation`]).

/// A place on the lane. An era begins at the clock of the server that keeps it, in microseconds, and counts up by one with each bump; with
/// [`OnRestart::Trust`](crate::OnRestart::Trust) it does not fall behind that clock either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Seq(pub(crate) u64);

/// One unbroken life of the lane. A lane that lost its state begins another one; seqs of two eras do not compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Era(pub(crate) u32);

/// A point on the lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Point {
    /// The life of the lane that `seq` belongs to.
    pub(crate) era: Era,
    /// The point within it.
    pub(crate) seq: Seq,
}

impl std::fmt::Display for Point {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}-{:x}", self.era.0, self.seq.0)
    }
}

/// Counts this process's own bumps; stands in for a seq that Redis has not told yet. Never leaves the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(pub(crate) u64);

/// Counts the times this instance could no longer prove that it had missed nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch(pub(crate) u64);

/// Counts the writes to the tag table: an entry found valid at the present generation needs no second look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation(pub(crate) u64);
