//! One instance of a group, with the lives it had before, and whether it is at rest.

use super::Tally;
use crate::cache::TieredCache;
use crate::l2::memory::InProcess;

#[derive(Clone)]
pub(super) struct Member {
    pub(super) cache: TieredCache,
    /// The caches it had before it was started again, oldest first: closed, and still counted.
    past: Vec<TieredCache>,
    ended: bool,
}

impl Member {
    pub(super) fn new(cache: TieredCache) -> Self {
        Self { cache, past: Vec::new(), ended: false }
    }

    /// Which instance of the tier it is, while it lives.
    pub(super) fn number(&self) -> Option<usize> {
        self.cache.number().filter(|_| !self.ended)
    }

    /// Whether it is this instance of the tier, or was.
    pub(super) fn has_been(&self, number: Option<usize>) -> bool {
        self.lives().any(|life| life.number() == number)
    }

    /// Its life ends. Returns the cache of it.
    pub(super) fn end(&mut self) -> TieredCache {
        self.ended = true;
        self.cache.clone()
    }

    /// Another life begins.
    pub(super) fn start(&mut self, cache: TieredCache) {
        self.past.push(std::mem::replace(&mut self.cache, cache));
        self.ended = false;
    }

    /// What it did in all its lives.
    pub(super) fn tally(&self) -> Tally {
        self.lives().map(|life| Tally::of(&life.stats())).fold(Tally::default(), Tally::and)
    }

    fn lives(&self) -> impl Iterator<Item = &TieredCache> {
        self.past.iter().chain([&self.cache])
    }

    /// Why it is not at rest, if it is not.
    pub(super) async fn unsettled(&self, tier: &InProcess, namespace: &str) -> Option<String> {
        let number = self.number()?;
        let cache = &self.cache;
        if tier.is_cut_off(number) {
            return (!cache.is_unproven()).then(|| "has not noticed that it is cut off".to_owned());
        }
        let Some(stands) = tier.heard_by(namespace, number) else {
            return Some("does not listen to the lane yet".to_owned());
        };
        let (writes, invalidations) = cache.under_way();
        if writes + invalidations > 0 {
            return Some(format!("has {writes} writes under way, and {invalidations} invalidations to tell"));
        }
        let applied = cache.applied();
        if applied.era != stands.era || applied.seq < stands.seq {
            return Some(format!("has applied what was told up to {applied}, not up to {stands}"));
        }
        // The clock may have moved since the last check: what a read does that finds no proof is done before it.
        if cache.is_unproven() {
            cache.seek_proof().await;
        }
        cache.is_unproven().then(|| "cannot prove that it has missed nothing".to_owned())
    }
}
