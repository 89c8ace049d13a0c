//! A world in one process: caches over one in-process tier, on a clock moved by hand, and a database of versions behind their
//! loaders. What happens in it, and what must hold, is the test's.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cachetier::{CacheBuilder, Clock, InProcess, ManualClock, TieredCache};

use crate::gate::Gate;
use crate::spread::name_in_cluster;

/// The namespace of every cache of a world.
const NAMESPACE: &str = "world";

/// Caches that are as many instances of one service, what they share, and what they load from.
#[derive(Debug)]
pub struct World {
    clock: Clock,
    hand: ManualClock,
    tier: InProcess,
    database: Database,
    caches: Vec<TieredCache>,
}

impl World {
    /// Returns a world without caches.
    #[must_use]
    pub fn new() -> Self {
        let (clock, hand) = Clock::manual();
        let tier = InProcess::with_clock(clock.clone());
        Self { clock, hand, tier, database: Database::default(), caches: Vec::new() }
    }

    /// The same where the namespace is divided into parts, as in a Cluster.
    #[must_use]
    pub fn spread() -> Self {
        let world = Self::new();
        Self { tier: world.tier.clone().spread(), ..world }
    }

    /// Returns a world of `n` caches with default settings.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub async fn of(n: usize) -> Self {
        let mut world = Self::new();
        for _ in 0..n {
            world.add(|builder| builder).await;
        }
        world
    }

    /// Adds a cache: the first one is the tier's instance 0, the next one 1.
    ///
    /// # Panics
    /// When `configure` asks for settings that cannot be, or outside of a runtime.
    pub async fn add(&mut self, configure: impl FnOnce(CacheBuilder) -> CacheBuilder) -> TieredCache {
        // The least table: a new cache must cost little where thousands of worlds are made.
        let builder = TieredCache::builder(NAMESPACE).tag_cells(256).l1_max_entries(1_000);
        let builder = configure(builder).clock(self.clock.clone()).in_process(&self.tier);
        let cache = builder.build().await.unwrap_or_else(|error| panic!("no cache: {error}"));
        self.caches.push(cache.clone());
        cache
    }

    /// Returns the caches, in the order in which they were added.
    #[must_use]
    pub fn caches(&self) -> &[TieredCache] {
        &self.caches
    }

    /// Returns the tier that all of them share.
    #[must_use]
    pub fn tier(&self) -> &InProcess {
        &self.tier
    }

    /// Returns the clock of the caches and of the tier.
    #[must_use]
    pub fn time(&self) -> Clock {
        self.clock.clone()
    }

    /// Returns what moves the clock of the caches and of the tier.
    #[must_use]
    pub fn clock(&self) -> &ManualClock {
        &self.hand
    }

    /// Returns the database.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }

    /// Returns a loader on the database.
    #[must_use]
    pub fn loader(&self) -> Loader {
        Loader::of(&self.database)
    }

    /// Returns the name under which the tier knows `key`, where the namespace is one.
    #[must_use]
    pub fn name(key: &str) -> String {
        format!("ct:{NAMESPACE}:v:{key}")
    }

    /// Has the tier forget `key`, as a server does that is full. Says whether it held anything.
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn evict(&self, key: &str) -> bool {
        self.tier.evict(&Self::name(key)) || self.tier.evict(&name_in_cluster(NAMESPACE, key))
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// A version for each key, zero until it is first written. Clones are the same database.
#[derive(Clone, Debug, Default)]
pub struct Database {
    versions: Arc<Mutex<HashMap<String, u64>>>,
}

impl Database {
    /// Writes the next version of `key` and returns it.
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn commit(&self, key: &str) -> u64 {
        let mut versions = self.lock();
        let version = versions.entry(key.to_owned()).or_default();
        *version += 1;
        *version
    }

    /// Returns the present version of `key`.
    #[must_use]
    pub fn version(&self, key: &str) -> u64 {
        self.lock().get(key).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.versions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Loads versions from a database, counts how often, and can be held between the read and the return. Clones are the same loader.
#[derive(Clone, Debug)]
pub struct Loader {
    database: Database,
    gate: Option<Gate>,
    end: End,
    calls: Arc<AtomicUsize>,
}

/// How a load ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With the version that was read.
    Well,
    /// With an error.
    Fails,
    /// With a panic.
    Panics,
}

/// The error of a loader that was told to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

/// What a loader that was told to panic says.
pub const PANIC: &str = "a loader that was told to panic";

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a loader that was told to fail")
    }
}

impl std::error::Error for Failed {}

impl Loader {
    /// Returns a loader that reads `database` and answers at once.
    #[must_use]
    pub fn of(database: &Database) -> Self {
        Self { database: database.clone(), gate: None, end: End::Well, calls: Arc::default() }
    }

    /// Holds each load at `gate`, after it has read the database.
    #[must_use]
    pub fn gated(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// Makes each load end so.
    #[must_use]
    pub fn ending(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// Returns how many loads have begun.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::Acquire)
    }

    /// Reads the version of `key`, waits at the gate, and returns what was read.
    ///
    /// # Errors
    /// If it was told to.
    ///
    /// # Panics
    /// If it was told to; the panic hook hears nothing of it.
    pub async fn load(&self, key: &str) -> Result<u64, Failed> {
        self.calls.fetch_add(1, Ordering::AcqRel);
        let version = self.database.version(key);
        if let Some(gate) = &self.gate {
            gate.wait().await;
        }
        match self.end {
            End::Well => Ok(version),
            End::Fails => Err(Failed),
            End::Panics => std::panic::resume_unwind(Box::new(PANIC)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cachetier::Policy;

    use super::*;

    const POLICY: Policy = Policy::ttl(Duration::from_secs(60));

    async fn load(cache: &TieredCache, key: &str, loader: &Loader) -> u64 {
        cache.get_or_load(key, POLICY, async || loader.load(key).await).await.unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn the_caches_of_a_world_are_instances_over_one_tier() {
        let world = World::of(2).await;
        let loader = world.loader();
        assert_eq!(world.database().commit("k"), 1);
        for cache in world.caches() {
            assert_eq!(load(cache, "k", &loader).await, 1);
        }
        assert_eq!(loader.calls(), 1);
        assert!(world.tier().holds_value(&World::name("k")));
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_of_a_world_ends_what_it_holds() {
        let world = World::of(1).await;
        let loader = world.loader();
        load(&world.caches()[0], "k", &loader).await;
        world.clock().advance(Duration::from_secs(60));
        load(&world.caches()[0], "k", &loader).await;
        assert_eq!(loader.calls(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_gated_loader_returns_what_it_read_before_the_gate() {
        let database = Database::default();
        let gate = Gate::new();
        let loader = Loader::of(&database).gated(&gate);
        let task = tokio::spawn({
            let loader = loader.clone();
            async move { loader.load("k").await }
        });
        gate.arrived(1).await;
        database.commit("k");
        gate.open();
        assert_eq!(task.await.unwrap(), Ok(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_loader_ends_as_it_was_told() {
        let loader = Loader::of(&Database::default());
        assert_eq!(loader.clone().ending(End::Fails).load("k").await, Err(Failed));
        let panics = tokio::spawn(async move { loader.ending(End::Panics).load("k").await });
        assert!(panics.await.unwrap_err().is_panic());
    }
}
