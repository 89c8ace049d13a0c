//! Points in order: of the lane ([`Seq`] within an [`Era`]), of this process ([`Tick`], [`Epoch`], [`Generation`]).

/// A point on the lane: the clock of the server that keeps it, in microseconds, forced to increase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub(crate) u64);

/// One unbroken life of the lane. A lane that lost its state begins another one; seqs of two eras do not compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Era(pub(crate) u32);

/// A point on the lane that another instance can be asked to have reached.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use cachetier::{Delivery, TieredCache};
///
/// let cache = TieredCache::builder("shop").build().await?;
/// let (first, second) = (cache.invalidate("a").await?, cache.invalidate("b").await?);
/// if let (Delivery::Applied(first), Delivery::Applied(second)) = (first, second) {
///     assert_eq!(first.era, second.era);
///     assert!(first.seq < second.seq);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Token {
    /// The life of the lane that `seq` belongs to.
    pub era: Era,
    /// The point within it.
    pub seq: Seq,
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
