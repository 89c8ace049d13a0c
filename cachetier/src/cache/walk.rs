//! A walk over the keys of the shared tier, at a pace that leaves the server to its readers. What it deletes, and what was invalidated
//! before, is `purge.rs`'s.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::sleep;

use super::Part;
use super::purge::PurgeProgress;
use super::write::Delivery;
use crate::clock::Stopwatch;
use crate::error::{CacheError, Fault};
use crate::key::check_key;
use crate::l2::tier::Tier;
use crate::l2::walk::{Doomed, Selection, Walk};
use crate::wire::message::Targets;

/// The shortest rest: timers know none that is shorter.
const SHORTEST: Duration = Duration::from_millis(1);
/// The longest rest, however long a batch took.
const LONGEST: Duration = Duration::from_secs(1);

/// Who walks, and what he does with what he finds.
pub(super) struct Walker<'a> {
    pub(super) cache: &'a Part,
    pub(super) tier: &'a Arc<Tier>,
    pub(super) selection: Selection,
    pub(super) doomed: Doomed,
    /// Whether each key that is found is bumped.
    pub(super) bumps: bool,
    pub(super) progress: &'a PurgeProgress,
}

impl Walker<'_> {
    /// Walks over every primary, and says what kept it from the end if anything did.
    ///
    /// Cancel safety: between two awaits nothing is owed to anybody. What has been counted is done; of the batch that a drop
    /// interrupts, nobody knows.
    pub(super) async fn walk(self) -> Result<(), Arc<str>> {
        let walks = self.tier.walks(&self.selection).await.map_err(|fault| why(&fault))?;
        let mut pace = Pace::default();
        for mut walk in walks {
            // Ends: a server names each of its places once.
            loop {
                self.cache.check_open().map_err(|closed| Arc::<str>::from(closed.to_string()))?;
                let watch = Stopwatch::start();
                let last = self.batch(&mut *walk).await?;
                if last {
                    break;
                }
                match pace.rest_after(watch.elapsed(), self.cache.shared.config.walk_rest) {
                    Some(rest) => sleep(rest).await,
                    None => yield_now().await,
                }
            }
        }
        Ok(())
    }

    /// One step: some names, what stands under them, what follows. Says whether it was the last one.
    async fn batch(&self, walk: &mut dyn Walk) -> Result<bool, Arc<str>> {
        let size = self.cache.shared.config.walk_batch;
        let found = self.heard(walk.next(size).await)?;
        // A server may name many more than it was asked for.
        for names in found.names.chunks(size.max(1)) {
            let swept = self.heard(walk.sweep(names, self.doomed).await)?;
            self.progress.add(names.len(), &swept);
            if self.bumps {
                self.bump(names).await?;
            }
        }
        Ok(found.last)
    }

    /// Invalidates the keys of these names: drops what marks a load under way, and tells everybody.
    async fn bump(&self, names: &[Vec<u8>]) -> Result<(), Arc<str>> {
        let key = |name| str::from_utf8(self.selection.key_of(name)?).ok().filter(|key| check_key(key).is_ok());
        let keys: Vec<String> = names.iter().filter_map(|name| key(name)).map(ToOwned::to_owned).collect();
        match self.cache.bump(Targets { keys, ..Targets::default() }).await {
            Ok(Delivery::Pending) => Err("the shared tier has not confirmed an invalidation".into()),
            Ok(_) => Ok(()),
            Err(error) => Err(ended(&error)),
        }
    }

    fn heard<T>(&self, answer: Result<T, Fault>) -> Result<T, Arc<str>> {
        answer.map_err(|fault| {
            self.cache.instance().counters.l2_faults.one();
            why(&fault)
        })
    }
}

fn why(fault: &Fault) -> Arc<str> {
    fault.to_string().into()
}

fn ended(error: &CacheError) -> Arc<str> {
    error.to_string().into()
}

/// What a walk owes the server: it rests when that comes to more than a timer can be asked for.
#[derive(Debug, Default)]
struct Pace {
    owed: Duration,
}

impl Pace {
    /// How long to rest now, after a batch that took `took`: `times` as long, sooner or later.
    fn rest_after(&mut self, took: Duration, times: u32) -> Option<Duration> {
        self.owed = self.owed.saturating_add(took.saturating_mul(times)).min(LONGEST);
        (self.owed >= SHORTEST).then(|| std::mem::take(&mut self.owed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_rests_three_times_as_long_as_it_took() {
        let mut pace = Pace::default();
        let mut rested = Duration::ZERO;
        for _ in 0..1_000 {
            rested += pace.rest_after(Duration::from_micros(130), 3).unwrap_or_default();
        }
        let whole = Duration::from_micros(130) * 1_000 * 3;
        assert!(rested <= whole && rested + SHORTEST > whole, "{rested:?} of {whole:?}");
    }

    #[test]
    fn a_rest_is_never_shorter_than_a_timer_knows_nor_longer_than_a_second() {
        let mut pace = Pace::default();
        assert_eq!(pace.rest_after(Duration::from_micros(333), 3), None);
        assert_eq!(pace.rest_after(Duration::from_micros(1), 3), Some(Duration::from_micros(1_002)));
        assert_eq!(pace.rest_after(Duration::from_secs(60), 3), Some(LONGEST));
    }
}
