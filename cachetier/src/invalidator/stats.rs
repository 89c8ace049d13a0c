//! What an invalidator has done, as one snapshot.

/// What an [`Invalidator`](crate::Invalidator) has done so far, and what waits in it. `Display` prints it as a line.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use cachetier::{CallKind, InProcess, Invalidator};
///
/// let tier = InProcess::new();
/// let worker = Invalidator::builder("shop").in_process(&tier).build().await?;
/// tier.lose_next(CallKind::Bump);
/// worker.invalidate("user:42").await?;
/// let stats = worker.stats();
/// assert_eq!((stats.invalidations, stats.faults, stats.pending), (1, 1, 1));
/// assert_eq!(stats.to_string(), "invalidations: 1, faults: 1, pending: 1, told again: 0");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidatorStats {
    /// Keys, tags, prefixes and everything that it was asked to invalidate.
    pub invalidations: u64,
    /// Calls to the shared tier that failed.
    pub faults: u64,
    /// Invalidations that the shared tier has not confirmed.
    pub pending: u64,
    /// Invalidations told once more, because the shared tier may have forgotten them.
    pub retold: u64,
}

impl std::fmt::Display for InvalidatorStats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { invalidations, faults, pending, retold } = self;
        write!(f, "invalidations: {invalidations}, faults: {faults}, pending: {pending}, told again: {retold}")
    }
}
