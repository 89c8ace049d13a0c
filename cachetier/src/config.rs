//! Every limit and default, in one place.

use std::time::Duration;

use crate::bulkhead::Bulkhead;
#[cfg(feature = "redis")]
use crate::connector::Connector;
use crate::error::ConfigError;
use crate::rule::breaker::Breaker;
use crate::rule::policy::{OnUnreachable, Policy};
use crate::wire::codec::Codec;
use crate::wire::compress::Compression;

/// How much an instance keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capacity {
    Bytes(u64),
    Entries(u64),
}

impl Capacity {
    /// What each of so many parts keeps.
    pub(crate) fn divided(self, parts: u64) -> Self {
        match self {
            Self::Bytes(bytes) => Self::Bytes(bytes.div_ceil(parts.max(1))),
            Self::Entries(entries) => Self::Entries(entries.div_ceil(parts.max(1))),
        }
    }
}

/// Which entries L1 keeps when it is full: [which to choose](https://github.com/cachetier/cachetier/blob/main/docs/choosing-eviction.md).
///
/// ```
/// # use cachetier::{Eviction, TieredCache};
/// let builder = TieredCache::builder("shop").l1_max_entries(10_000).eviction(Eviction::Lru);
/// # drop(builder);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Eviction {
    /// Those asked for most often of late: an entry asked for once does not displace one that is asked for all the time. The
    /// better choice for most read-heavy traffic.
    #[default]
    TinyLfu,
    /// Those asked for last. The better choice where what was just asked for is what is asked for next.
    Lru,
}

/// What becomes of the values in the shared tier when its server comes back with data that it had saved, or a replica takes its place.
/// Either may lack what was acknowledged in the last moments, and nobody can see that from the data. [What is
/// best](https://github.com/cachetier/cachetier/blob/main/docs/protocol.md#a-server-that-comes-back).
///
/// All caches of a namespace must agree: the lane goes by the one that asked it last. Where they differ, whoever asks first after a
/// restart decides for all of them, so that a cache which was to begin anew may serve what was forgotten.
///
/// ```
/// # use cachetier::{OnRestart, TieredCache};
/// let builder = TieredCache::builder("shop").redis("redis://127.0.0.1/").on_restart(OnRestart::Trust);
/// # drop(builder);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnRestart {
    /// No value from before is used: each is loaded again, by one instance, when it is asked for.
    #[default]
    BeginAnew,
    /// They are used. Each instance tells its own invalidations of the last [minute](crate::CacheBuilder::journal) once more; until it
    /// has, and for good where an instance has died, a value may be older than an invalidation that was forgotten.
    ///
    /// An [`Invalidator`](crate::Invalidator) follows no lane and notices another era alone, which does not begin here: it tells nothing
    /// again, and what the server has forgotten of its invalidations stays forgotten until the value's life is over.
    ///
    /// Every instance of a namespace must say so.
    Trust,
}

/// All settings of a cache.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) namespace: String,
    pub(crate) policy: Option<Policy>,
    pub(crate) codec: Option<Codec>,
    pub(crate) compression: Compression,
    /// The longest encoded value that is not compressed.
    pub(crate) compress_above: usize,
    pub(crate) capacity: Capacity,
    pub(crate) eviction: Eviction,
    /// The longest life of any entry.
    pub(crate) max_life: Duration,
    /// How old a proof may be.
    pub(crate) max_staleness: Duration,
    /// What a read does where nothing can be proven.
    pub(crate) on_unreachable: OnUnreachable,
    /// What becomes of values that another run of the server has left.
    pub(crate) on_restart: OnRestart,
    /// How long one's own invalidations are remembered.
    pub(crate) journal: Duration,
    /// How often the lane is checked.
    pub(crate) check_interval: Duration,
    pub(crate) connect_limit: Duration,
    pub(crate) command_limit: Duration,
    /// How long a read waits for the shared tier before the loader is asked.
    pub(crate) read_limit: Duration,
    /// When the shared tier is asked no longer for what can be done without.
    pub(crate) breaker: Breaker,
    /// What makes the connections to the server, if not the cache.
    #[cfg(feature = "redis")]
    pub(crate) connector: Option<Connector>,
    /// Whether a cache without its shared tier is not built.
    pub(crate) require_shared: bool,
    pub(crate) load_limit: Duration,
    /// How many loads run at once.
    pub(crate) bulkhead: Option<Bulkhead>,
    /// How long a ticket lives.
    pub(crate) lease: Duration,
    /// How long a read waits for another instance's load.
    pub(crate) wait_budget: Duration,
    /// How long a write guard holds its keys, should nobody release it.
    pub(crate) guard_limit: Duration,
    /// How many keys a write guard holds.
    pub(crate) max_guarded: usize,
    /// The largest encoded value.
    pub(crate) max_value: usize,
    /// How many bytes may be on their way to the shared tier behind callers' backs.
    pub(crate) write_behind: usize,
    /// How many refreshes wait to be made behind callers' backs.
    pub(crate) refresh_queue: usize,
    /// How many of them are made at once.
    pub(crate) refreshes_at_once: usize,
    /// How many keys the list of those that are read most is of.
    pub(crate) hot_keys: usize,
    pub(crate) max_tags: usize,
    /// Cells of the tag table.
    pub(crate) cells: u32,
    /// How many unconfirmed invalidations are kept one by one; more become one of everything.
    pub(crate) outbox: usize,
    pub(crate) shards: usize,
    /// How often the memory of expired entries is given back, and the needless misses of the tag table are estimated.
    pub(crate) sweep_interval: Duration,
    /// How many keys a walk asks for at once: what a reader may have to wait for.
    pub(crate) walk_batch: usize,
    /// How many times as long as a batch took a walk rests.
    pub(crate) walk_rest: u32,
    /// The share of copies, of a million, that the tag table may hide needlessly before that is worth a warning.
    pub(crate) needless_limit: u64,
}

impl Config {
    pub(crate) fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            policy: None,
            codec: Codec::preferred(),
            compression: Compression::None,
            compress_above: 1 << 10,
            capacity: Capacity::Bytes(256 << 20),
            eviction: Eviction::TinyLfu,
            max_life: Duration::from_secs(24 * 3_600),
            max_staleness: Duration::from_secs(2),
            on_unreachable: OnUnreachable::Serve,
            on_restart: OnRestart::BeginAnew,
            journal: Duration::from_secs(60),
            check_interval: Duration::from_millis(500),
            connect_limit: Duration::from_secs(1),
            command_limit: Duration::from_millis(500),
            read_limit: Duration::from_millis(50),
            breaker: Breaker::new(),
            #[cfg(feature = "redis")]
            connector: None,
            require_shared: false,
            load_limit: Duration::from_secs(10),
            bulkhead: None,
            lease: Duration::from_secs(3),
            wait_budget: Duration::from_secs(10),
            guard_limit: Duration::from_secs(30),
            max_guarded: 1_000,
            max_value: 8 << 20,
            write_behind: 0,
            refresh_queue: 1_000,
            refreshes_at_once: 16,
            hot_keys: 0,
            max_tags: crate::wire::envelope::MAX_TAGS,
            cells: 1 << 18,
            outbox: 100_000,
            shards: 64,
            sweep_interval: Duration::from_secs(60),
            walk_batch: 16,
            walk_rest: 3,
            needless_limit: 50_000,
        }
    }

    /// Says what is wrong, if anything is.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        check_namespace(&self.namespace)?;
        if let Some(policy) = &self.policy {
            policy.check()?;
        }
        match self.capacity {
            Capacity::Bytes(0) => return Err(ConfigError::new("l1_max_bytes", "0", "1 or more")),
            Capacity::Entries(0) => return Err(ConfigError::new("l1_max_entries", "0", "1 or more")),
            Capacity::Bytes(_) | Capacity::Entries(_) => {}
        }
        for (field, value) in [
            ("max_life", self.max_life),
            ("max_staleness", self.max_staleness),
            ("connect_limit", self.connect_limit),
            ("command_limit", self.command_limit),
            ("read_limit", self.read_limit),
            ("load_limit", self.load_limit),
            ("lease", self.lease),
        ] {
            if value < Duration::from_millis(1) {
                return Err(ConfigError::new(field, &format!("{value:?}"), "1 ms or more"));
            }
            if value > LONGEST {
                return Err(ConfigError::new(field, &format!("{value:?}"), &format!("at most {LONGEST:?}")));
            }
        }
        if self.refreshes_at_once == 0 {
            return Err(ConfigError::new("refreshes_at_once", "0", "1 or more"));
        }
        if self.hot_keys > MOST_HOT_KEYS {
            return Err(ConfigError::new("hot_keys", &self.hot_keys.to_string(), &format!("at most {MOST_HOT_KEYS}")));
        }
        self.breaker.check()?;
        check_guard_time("guard_limit", self.guard_limit)?;
        if self.max_staleness < self.check_interval.saturating_mul(3) {
            let least = format!("{:?} or more, three checks", self.check_interval.saturating_mul(3));
            return Err(ConfigError::new("max_staleness", &format!("{:?}", self.max_staleness), &least));
        }
        if !(MIN_CELLS..=MAX_CELLS).contains(&self.cells) {
            return Err(ConfigError::new("tag_cells", &self.cells.to_string(), "256 to 4194304"));
        }
        Ok(())
    }
}

/// Says what is wrong with the time for which a write guard is to hold its keys, if anything is.
pub(crate) fn check_guard_time(field: &'static str, time: Duration) -> Result<(), ConfigError> {
    if (Duration::from_millis(1)..=LONGEST_GUARD).contains(&time) {
        return Ok(());
    }
    Err(ConfigError::new(field, &format!("{time:?}"), "1 ms to an hour"))
}

/// The longest time for which a write guard holds its keys, and the longest lag after it.
pub(crate) const LONGEST_GUARD: Duration = Duration::from_secs(3_600);

/// The longest of any duration that is stored or waited for: what an envelope can say, in milliseconds.
const LONGEST: Duration = Duration::from_millis(u32::MAX as u64);
/// What is looked at all together, now and then, by one read among many.
const MOST_HOT_KEYS: usize = 10_000;
const MIN_CELLS: u32 = 1 << 8;
const MAX_CELLS: u32 = 1 << 22;
const MAX_NAMESPACE: usize = 64;

/// Names of keys are built from the namespace, so it may not hold what delimits them.
fn check_namespace(namespace: &str) -> Result<(), ConfigError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if namespace.is_empty() || namespace.len() > MAX_NAMESPACE || !namespace.chars().all(plain) {
        let found = format!("{namespace:?}");
        return Err(ConfigError::new("namespace", &found, "1 to 64 ASCII letters, digits, '-', '_' or '.'"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(change: impl FnOnce(&mut Config), expected: &str) {
        let mut config = Config::new("shop");
        change(&mut config);
        assert_eq!(config.check().map_err(|e| e.to_string()), Err(expected.to_owned()));
    }

    #[test]
    fn a_wrong_setting_names_field_value_and_bound() {
        let namespace = "expected 1 to 64 ASCII letters, digits, '-', '_' or '.'";
        check(|c| c.namespace.clear(), &format!("namespace is \"\", {namespace}"));
        check(|c| "sh{op}".clone_into(&mut c.namespace), &format!("namespace is \"sh{{op}}\", {namespace}"));
        check(|c| "sh:op".clone_into(&mut c.namespace), &format!("namespace is \"sh:op\", {namespace}"));
        check(|c| c.capacity = Capacity::Bytes(0), "l1_max_bytes is 0, expected 1 or more");
        check(|c| c.capacity = Capacity::Entries(0), "l1_max_entries is 0, expected 1 or more");
        check(|c| c.policy = Some(Policy::ttl(Duration::ZERO)), "ttl is 0 s, expected a duration above 0");
        check(|c| c.load_limit = Duration::ZERO, "load_limit is 0ns, expected 1 ms or more");
        check(|c| c.max_life = Duration::MAX, "max_life is 18446744073709551615.999999999s, expected at most 4294967.295s");
        check(|c| c.max_staleness = Duration::from_secs(1), "max_staleness is 1s, expected 1.5s or more, three checks");
        check(|c| c.guard_limit = Duration::ZERO, "guard_limit is 0ns, expected 1 ms to an hour");
        check(|c| c.guard_limit = Duration::from_secs(3_601), "guard_limit is 3601s, expected 1 ms to an hour");
        check(|c| c.hot_keys = 10_001, "hot_keys is 10001, expected at most 10000");
        check(|c| c.cells = 1, "tag_cells is 1, expected 256 to 4194304");
        assert_eq!(Config::new("a-b_c.9").check(), Ok(()));
    }
}
