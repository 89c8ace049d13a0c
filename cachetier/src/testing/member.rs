//! One instance of a group, with the lives it had before, and whether it is at rest.

use std::time::Duration;

use super::Tally;
use crate::cache::TieredCache;
use crate::l2::memory::InProcess;
use crate::rule::seq::Point;
use crate::rule::token::Token;

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

    /// Which instance of the tier it is, while it lives: the service itself may have closed its cache.
    pub(super) fn number(&self) -> Option<usize> {
        self.cache.number().filter(|_| !self.ended && !self.cache.closed())
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

    /// Up to where it has been told of the lane, if it can be.
    pub(super) fn told(&self, tier: &InProcess, namespace: &str) -> Option<Point> {
        self.number().filter(|number| !tier.is_cut_off(*number)).and_then(|number| tier.heard_by(namespace, number))
    }

    /// Up to where it has applied the lane, if it can hear it; or why it is not at rest.
    pub(super) async fn at_rest(&self, tier: &InProcess, namespace: &str) -> Result<Option<Point>, String> {
        let Some(number) = self.number() else { return Ok(None) };
        let cache = &self.cache;
        if tier.is_cut_off(number) {
            return if cache.is_unproven() { Ok(None) } else { Err("has not noticed that it is cut off".to_owned()) };
        }
        if tier.heard_by(namespace, number).is_none() {
            return Err("does not listen to the lane yet".to_owned());
        }
        let (writes, invalidations) = cache.under_way();
        if writes + invalidations > 0 {
            return Err(format!("has {writes} writes under way, and {invalidations} invalidations to tell"));
        }
        // The clock may have moved since the last check: what a read does that finds no proof is done before it.
        if cache.is_unproven() {
            cache.seek_proof().await;
        }
        if cache.is_unproven() {
            return Err("cannot prove that it has missed nothing".to_owned());
        }
        // As somebody waits who was told: nothing older is served from then on, however lately it was loaded. Last, since the proof
        // may have brought something to light.
        let Some(stands) = tier.heard_by(namespace, number) else { return Err("does not listen to the lane any more".to_owned()) };
        let waited = cache.wait_for(Token::at(None, stands), Duration::ZERO).await;
        waited.map(|()| Some(stands)).map_err(|why| format!("has not applied all that was told: {why}"))
    }
}
