//! Random histories of batches, single reads and invalidations in two instances: whatever meets, nobody waits for ever, a read is not older
//! than what its instance has invalidated, and a key is loaded by one loader at a time.
//!
//! `CACHETIER_BATCHES=<seed>` runs that one alone, `CACHETIER_BATCHES=0..10000` many.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, clippy::panic, reason = "what fails here is a test that has failed")]
#![expect(clippy::indexing_slicing, reason = "instances and keys are few and fixed")]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cachetier::{CallOptions, InProcess, Plan, Policy, TieredCache, Tiers};
use cachetier_tests::{Oops, Tier};
use fastrand::Rng;

const HISTORIES: u64 = 200;
const TASKS: usize = 6;
const STEPS: usize = 10;
const KEYS: usize = 8;
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));
/// Of the runtime's time, which is paused: no history takes nearly as long unless it hangs.
const LONG: Duration = Duration::from_secs(20);

/// What may happen in a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Reads alone: no key is ever loaded by two loaders at a time.
    Reads,
    /// Reads that fail or are dropped as well.
    Broken,
    /// Invalidations as well: a load that one has overtaken may run beside the next.
    Invalidated,
}

struct World {
    kind: Kind,
    dice: Mutex<Rng>,
    caches: [TieredCache; 2],
    /// Of the database, by key.
    versions: Mutex<[u64; KEYS]>,
    /// What an instance has invalidated, by key: nothing older may be read in it.
    floors: Mutex<[[u64; KEYS]; 2]>,
    loading: Mutex<[u32; KEYS]>,
    loads: Mutex<[u32; KEYS]>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn name(key: usize) -> String {
    format!("k:{key}")
}

/// A load under way: dropped, it is over.
struct Loading<'a>(&'a World, Vec<usize>);

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.1.iter().for_each(|key| lock(&self.0.loading)[*key] -= 1);
    }
}

impl World {
    fn draw(&self, below: usize) -> usize {
        lock(&self.dice).usize(..below)
    }

    async fn pass_time(&self) {
        let micros = self.draw(4_000);
        tokio::time::sleep(Duration::from_micros(u64::try_from(micros).unwrap_or_default())).await;
    }

    async fn load(&self, keys: Vec<usize>) -> Result<Vec<(String, u64)>, Oops> {
        for key in &keys {
            let mut loading = lock(&self.loading);
            loading[*key] += 1;
            assert!(self.kind == Kind::Invalidated || loading[*key] == 1, "two loaders of key {key} run at a time");
            lock(&self.loads)[*key] += 1;
        }
        let _loading = Loading(self, keys.clone());
        let read: Vec<_> = keys.iter().map(|key| (name(*key), lock(&self.versions)[*key])).collect();
        self.pass_time().await;
        if self.kind != Kind::Reads && self.draw(10) == 0 { Err(Oops("unlucky")) } else { Ok(read) }
    }

    /// Where two loaders of a key may run at a time, some calls differ from the others: who does not write plants no ticket, and who wants it fresh
    /// waits for none.
    fn options(&self) -> CallOptions {
        if self.kind != Kind::Invalidated {
            return CallOptions::new();
        }
        match self.draw(14) {
            0 => CallOptions::new().reads(Tiers::L2).writes(Tiers::Neither),
            1 => CallOptions::new().writes(Tiers::L1),
            2 => CallOptions::new().writes(Tiers::L2),
            3 => CallOptions::new().reads(Tiers::L1),
            4 => CallOptions::new().fresh(),
            5 => CallOptions::new().fresh().writes(Tiers::L1),
            6 => CallOptions::new().deadline(Duration::from_millis(2)),
            7 => CallOptions::new().fresh().deadline(Duration::from_millis(u64::try_from(self.draw(6)).unwrap_or_default())),
            _ => CallOptions::new(),
        }
    }

    async fn step(&self) {
        let instance = self.draw(2);
        let cache = &self.caches[instance];
        let keys: Vec<usize> = (0..=self.draw(6)).map(|_| self.draw(KEYS)).collect();
        let floors = lock(&self.floors)[instance];
        let numbers = |names: Vec<String>| names.iter().filter_map(|name| name.strip_prefix("k:")?.parse().ok()).collect();
        let read: Vec<Option<u64>> = match self.draw(8) {
            0 | 1 => {
                let load = async || self.load(vec![keys[0]]).await.map(|read| read[0].1);
                vec![cache.get_or_load(&name(keys[0]), POLICY, load).await.ok()]
            }
            2 => cache.with(self.options()).get_many(keys.iter().map(|key| name(*key))).await,
            3 if self.kind == Kind::Invalidated => {
                let committed: Vec<(usize, u64)> = keys
                    .iter()
                    .map(|key| {
                        let mut versions = lock(&self.versions);
                        versions[*key] += 1;
                        (*key, versions[*key])
                    })
                    .collect();
                cache.invalidate_many(keys.iter().map(|key| name(*key))).await.expect("told").confirmed().expect("applied");
                for (key, version) in committed {
                    let mut floors = lock(&self.floors);
                    floors[instance][key] = floors[instance][key].max(version);
                }
                return;
            }
            _ => {
                let load = |missing| self.load(numbers(missing));
                match cache.with(self.options()).get_or_load_many(keys.iter().map(|key| name(*key)), POLICY, load).await {
                    Ok(read) => {
                        assert!(read.iter().all(Option::is_some) && read.len() == keys.len(), "{keys:?} are {read:?}");
                        read
                    }
                    Err(error) => {
                        assert_ne!(self.kind, Kind::Reads, "{error}");
                        Vec::new()
                    }
                }
            }
        };
        for (key, read) in keys.iter().zip(read) {
            let (floor, present) = (floors[*key], lock(&self.versions)[*key]);
            assert!(
                read.is_none_or(|read| (floor..=present).contains(&read)),
                "key {key} was read as {read:?}, not {floor}..={present}"
            );
        }
    }

    async fn run(self: Arc<Self>) {
        for _ in 0..STEPS {
            let patience = Duration::from_micros(u64::try_from(self.draw(6_000)).unwrap_or_default());
            if self.kind == Kind::Broken && self.draw(5) == 0 {
                // Dropped wherever it is by then.
                let _ = tokio::time::timeout(patience, self.step()).await;
            } else {
                self.step().await;
            }
        }
    }
}

/// `spread`: over a namespace that is divided as in a Cluster, so that a batch asks several parts.
async fn history(seed: u64, kind: Kind, spread: bool) {
    let inside = if spread { InProcess::new().spread() } else { InProcess::new() };
    let calls = Mutex::new(Rng::with_seed(seed));
    inside.script_calls(move |_: &cachetier::Call<'_>| match lock(&calls).u64(..4_000) {
        micros @ ..2_000 => Plan::delay(Duration::from_micros(micros)),
        _ => Plan::go(),
    });
    let (one, other) = Tier::in_process(&inside).pair().await;
    let world = Arc::new(World {
        kind,
        dice: Mutex::new(Rng::with_seed(seed)),
        caches: [one, other],
        versions: Mutex::new([1; KEYS]),
        floors: Mutex::default(),
        loading: Mutex::default(),
        loads: Mutex::default(),
    });
    let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(Arc::clone(&world).run())).collect();
    for task in tasks {
        let ended = tokio::time::timeout(LONG, task).await;
        let ended = ended.unwrap_or_else(|_| panic!("history {seed} of {kind:?} hangs"));
        assert!(ended.is_ok(), "history {seed} of {kind:?}");
    }
    let flights: u64 = world.caches.iter().map(|cache| cache.stats().flights).sum();
    assert_eq!((flights, *lock(&world.loading)), (0, [0; KEYS]), "history {seed} of {kind:?}");
    if kind == Kind::Reads {
        assert!(lock(&world.loads).iter().all(|loads| *loads <= 1), "history {seed}: a key was loaded twice");
    }
}

#[tokio::test(start_paused = true)]
async fn no_history_of_batches_hangs_reads_what_is_old_or_loads_a_key_twice_at_a_time() {
    let asked = std::env::var("CACHETIER_BATCHES").ok();
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("expected a number, found {text:?}"));
    let seeds = match asked.as_deref().map(|text| (text, text.split_once(".."))) {
        None => 0..HISTORIES,
        Some((_, Some((from, to)))) => number(from)..number(to),
        Some((one, None)) => number(one)..number(one) + 1,
    };
    for seed in seeds {
        for kind in [Kind::Reads, Kind::Broken, Kind::Invalidated] {
            history(seed, kind, seed % 2 == 1).await;
        }
    }
}
