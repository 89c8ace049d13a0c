//! The places that the loads of a cache need among those that run at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::TieredCache;
use super::load::Limits;
use crate::bulkhead::{Bulkhead, Lent, Places};

/// Before a call that may wait for loads: if it comes from within a load that has places, these are given away until [`regain`].
pub(super) fn lend() -> Option<Lent> {
    super::load::places().map(Places::lend)
}

/// After it.
pub(super) async fn regain(lent: Option<Lent>) {
    if let Some(lent) = lent {
        lent.regain().await;
    }
}

impl TieredCache {
    /// This cache, as those calls use it whose loads have a bound of their own beside [that of the cache](crate::CacheBuilder::bulkhead): for those that
    /// ask one database, or are dear. It is the same cache in all else. Of several given one after the other, the last one counts.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// let reports = Bulkhead::new(4)?.queue(100);
    /// # #[cfg(feature = "macros")]
    /// # {
    /// #[cached(ttl = "5m", key = "report:{id}", cache = cache.bulkhead(reports))]
    /// async fn report(cache: &TieredCache, reports: &Bulkhead, id: u64) -> String {
    ///     format!("report {id}")
    /// }
    /// assert_eq!(report(&cache, &reports, 7).await, "report 7");
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "the handle that it is called on stays as it is"]
    pub fn bulkhead(&self, group: &Bulkhead) -> Self {
        Self { shared: Arc::clone(&self.shared), group: Some(group.clone()) }
    }

    /// Waits for the places that a load needs: for its limit at most, and if the queue is not full. `overloaded` makes of how many run and how many
    /// wait what the caller is told then; where it has nothing to say, the wait goes on. `beat` is called as for a load.
    pub(super) async fn places<T>(
        &self,
        Limits { limit, pace }: &Limits,
        overloaded: impl Fn(usize, usize) -> Option<T>,
        beat: impl Fn(),
    ) -> Result<Option<Arc<Places>>, Refused<T>> {
        let whole = self.shared.config.bulkhead.as_ref();
        let group = self.group.as_ref().filter(|group| whole.is_none_or(|whole| !whole.is(group)));
        // Always in this order: who has the second waits for nothing.
        let of: Vec<Bulkhead> = group.into_iter().chain(whole).cloned().collect();
        if of.is_empty() {
            return Ok(None);
        }
        let refused = |bulkhead: &Bulkhead| {
            let (running, waiting) = (bulkhead.running(), bulkhead.waiting());
            overloaded(running, waiting).map(|told| Refused { told, running, waiting })
        };
        let mut permits = Vec::with_capacity(of.len());
        let (mut left, mut queued) = (*limit, false);
        for bulkhead in &of {
            if let Some(permit) = bulkhead.try_take() {
                permits.push(permit);
                continue;
            }
            if bulkhead.is_full()
                && let Some(refused) = refused(bulkhead)
            {
                return Err(refused);
            }
            let _waiting = bulkhead.enter();
            if !std::mem::replace(&mut queued, true) {
                self.instance().counters.loads_queued.one();
            }
            let taken = bulkhead.take();
            tokio::pin!(taken);
            loop {
                let step = if left.is_zero() { *pace } else { (*pace).min(left) }.max(Duration::from_millis(1));
                if let Ok(permit) = timeout(step, taken.as_mut()).await {
                    permits.extend(permit);
                    break;
                }
                beat();
                left = left.saturating_sub(step);
                if left.is_zero()
                    && let Some(refused) = refused(bulkhead)
                {
                    return Err(refused);
                }
            }
        }
        Ok(Some(Arc::new(Places::new(of, permits))))
    }
}

/// A load that was not begun: so many run, so many wait, and what its caller is told.
pub(super) struct Refused<T> {
    pub(super) told: T,
    pub(super) running: usize,
    pub(super) waiting: usize,
}
