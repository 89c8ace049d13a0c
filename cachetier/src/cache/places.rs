//! The places that the loads of a cache need among those that run at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::load::Limits;
use super::{Part, TieredCache};
use crate::bulkhead::{Bulkhead, Lent, Places};
use crate::clock::Stopwatch;

/// Before a call waits for a load, its own or another's: if it comes from within a load that has places, these are given away from then on, until the call
/// has handed on what it has to hand on.
pub(super) fn lend(given_away: &mut Option<Lent>) {
    if given_away.is_none() {
        *given_away = super::load::places().map(Places::lend);
    }
}

/// After the call, whatever it has come to: if the load that it comes from has to wait for its places, it does before it goes on. A call that fails for an
/// attribute cannot do so, for its error may not go from thread to thread.
pub(super) async fn turn_back() {
    if super::load::places().is_some_and(|places| !places.runs()) {
        tokio::task::yield_now().await;
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
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// let reports = cache.bulkhead(&Bulkhead::new(4)?.queue(100));
    /// let report = reports.get_or_compute("report:7", policy, || async { "all is well".to_owned() }).await?;
    /// // An attribute takes it like any cache: `#[cached(key = "report:{id}", ttl = "5m", cache = reports)]`.
    /// assert_eq!(cache.get("report:7").await, Some(report));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "the handle that it is called on stays as it is"]
    pub fn bulkhead(&self, group: &Bulkhead) -> Self {
        let bounded = |part: &Part| Part { shared: Arc::clone(&part.shared), group: Some(group.clone()) };
        Self { parts: self.parts.map(bounded) }
    }
}

impl Part {
    /// Waits for the places that a load needs: for its limit at most, and if the queue is not full. `overloaded` makes of how many run and how many
    /// wait what the caller is told then; where it has nothing to say, the wait goes on. `beat` is called as for a load.
    pub(super) async fn places<T>(
        &self,
        Limits { limit, pace }: &Limits,
        overloaded: impl Fn(usize, usize) -> Option<T>,
        beat: impl Fn(),
    ) -> Result<Option<Arc<Places>>, Refused<T>> {
        let mut of: Vec<Bulkhead> = self.group.iter().chain(&self.shared.config.bulkhead).cloned().collect();
        of.sort_unstable_by_key(Bulkhead::number);
        of.dedup_by_key(|bulkhead| bulkhead.number());
        if of.is_empty() {
            return Ok(None);
        }
        let refused = |bulkhead: &Bulkhead| {
            let (running, waiting) = (bulkhead.running(), bulkhead.waiting());
            overloaded(running, waiting).map(|told| Refused { told, running, waiting })
        };
        let mut permits = Vec::with_capacity(of.len());
        let (waited, mut queued) = (Stopwatch::start(), false);
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
                let left = limit.saturating_sub(waited.elapsed());
                let step = if left.is_zero() { *pace } else { (*pace).min(left) }.max(Duration::from_millis(1));
                if let Ok(permit) = timeout(step, taken.as_mut()).await {
                    permits.extend(permit);
                    break;
                }
                beat();
                if waited.elapsed() >= *limit
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
