//! What tests load from: values by key, with how often each was loaded, and loads that fail, last or wait. It knows nothing of caches.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::{LIMIT, Loads, Tally, fail};
use crate::clock::pause;
use crate::sync::{Mutex, MutexGuard, lock};

/// The latest loads, by key, for the message of a failed assertion.
const KEPT: usize = 1_000;

/// In the place of a database: values by key, that are counted as they are loaded. Clones are the same source.
///
/// A load reads its value when it begins, as a slow query does: what is [set](Self::set) while it is [held](Self::hold) or
/// [lasts](Self::takes), it does not bring.
///
/// ```
/// use std::time::Duration;
/// use cachetier::{Policy, TieredCache};
/// use cachetier::testing::Source;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = TieredCache::builder("test").build().await?;
/// let policy = Policy::ttl(Duration::from_secs(60));
/// let users = Source::from([("user:1", "Ada".to_owned())]);
/// let read = async || cache.get_or_load("user:1", policy, || users.load("user:1")).await;
///
/// users.fail_next();
/// assert!(read().await.is_err());
/// assert_eq!(read().await?, "Ada");
/// assert_eq!((users.loads(), users.loads_of("user:1")), (2, 2));
/// # Ok(())
/// # }
/// ```
///
/// What a database may do:
///
/// ```
/// # use std::time::Duration;
/// # use cachetier::testing::{Source, SourceError};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let users: Source<String> = Source::new();
/// users.set("user:1", "Ada".to_owned());
/// users.takes(Duration::from_secs(2));
/// assert_eq!(users.find("user:1").await?.as_deref(), Some("Ada"));
/// users.remove("user:1");
/// assert_eq!((users.version("user:1"), users.find("user:1").await?), (2, None));
/// assert_eq!(users.load("user:1").await, Err(SourceError::Missing));
///
/// // A load that has read and does not come back, until it is let go.
/// users.hold();
/// let slow = tokio::spawn({ let users = users.clone(); async move { users.find("user:1").await } });
/// users.held(1).await;
/// users.release();
/// assert_eq!(slow.await?, Ok(None));
/// # Ok(())
/// # }
/// ```
pub struct Source<V> {
    shared: Arc<Shared<V>>,
}

struct Shared<V> {
    rows: Mutex<Rows<V>>,
    gate: watch::Sender<Gate>,
}

struct Rows<V> {
    by_key: BTreeMap<String, Row<V>>,
    /// How many of the loads to come fail.
    failing: u32,
    takes: Duration,
    tally: Tally,
    latest: VecDeque<String>,
}

struct Row<V> {
    value: Option<V>,
    version: u64,
    loads: u64,
}

#[derive(Debug, Default)]
struct Gate {
    shut: bool,
    /// Who stands at it.
    standing: usize,
}

/// Why a [`Source`] brings no value.
///
/// ```
/// use cachetier::testing::{Source, SourceError};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let users = Source::<String>::new();
/// assert_eq!(users.load("user:1").await, Err(SourceError::Missing));
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SourceError {
    /// It was told to fail.
    Failed,
    /// It has no value for the key.
    Missing,
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Failed => "the source was told to fail",
            Self::Missing => "the source has no such key",
        })
    }
}

impl std::error::Error for SourceError {}

/// How much there is, and neither keys nor values.
impl<V> fmt::Debug for Source<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        f.debug_struct("Source").field("keys", &rows.by_key.len()).field("loads", &rows.tally.loads).finish_non_exhaustive()
    }
}

impl<V> Source<V> {
    /// Returns a source without values.
    #[must_use]
    pub fn new() -> Self {
        let rows =
            Rows { by_key: BTreeMap::new(), failing: 0, takes: Duration::ZERO, tally: Tally::default(), latest: VecDeque::new() };
        Self { shared: Arc::new(Shared { rows: Mutex::new(rows), gate: watch::Sender::new(Gate::default()) }) }
    }

    /// Commits the value of a key, and returns its version: the first one is 1.
    ///
    /// ```
    /// let users = cachetier::testing::Source::new();
    /// assert_eq!((users.set("user:1", "Ada"), users.set("user:1", "Grace")), (1, 2));
    /// ```
    pub fn set(&self, key: &str, value: V) -> u64 {
        self.commit(key, Some(value))
    }

    /// Commits that a key has no value, which is a version too.
    pub fn remove(&self, key: &str) -> u64 {
        self.commit(key, None)
    }

    fn commit(&self, key: &str, value: Option<V>) -> u64 {
        let mut rows = self.rows();
        let row = rows.row(key);
        row.version = row.version.saturating_add(1);
        let (before, version) = (std::mem::replace(&mut row.value, value), row.version);
        drop(rows);
        // Free again: the drop of a value may do anything.
        drop(before);
        version
    }

    /// Returns the version of a key: zero until it is first written.
    #[must_use]
    pub fn version(&self, key: &str) -> u64 {
        self.rows().by_key.get(key).map_or(0, |row| row.version)
    }

    /// Returns how many loads there were, those that failed included.
    #[must_use]
    pub fn loads(&self) -> u64 {
        self.rows().tally.loads
    }

    /// Returns how many of them there were of one key.
    #[must_use]
    pub fn loads_of(&self, key: &str) -> u64 {
        self.rows().by_key.get(key).map_or(0, |row| row.loads)
    }

    /// Makes the next load fail, one more for each call.
    pub fn fail_next(&self) {
        let mut rows = self.rows();
        rows.failing = rows.failing.saturating_add(1);
    }

    /// Makes each load that begins from now on last so long, in tokio's time: no time at all where that is paused.
    /// [`Group::pass`](crate::testing::Group::pass) moves a group's clock along with it.
    pub fn takes(&self, time: Duration) {
        self.rows().takes = time;
    }

    /// Holds each load, after it has read its value, until [`release`](Self::release).
    ///
    /// ```
    /// use cachetier::testing::Source;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let users = Source::from([("user:1", "Ada")]);
    /// users.hold();
    /// let (load, source) = (users.clone(), users.clone());
    /// let load = tokio::spawn(async move { load.load("user:1").await });
    /// source.held(1).await;
    /// users.set("user:1", "Grace");
    /// users.release();
    /// assert_eq!(load.await?, Ok("Ada"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn hold(&self) {
        self.shared.gate.send_modify(|gate| gate.shut = true);
    }

    /// Lets go of the loads that are held, and holds none of those to come.
    pub fn release(&self) {
        self.shared.gate.send_modify(|gate| gate.shut = false);
    }

    /// Returns when so many loads are held, or more.
    ///
    /// Cancel safety: a dropped call changes nothing.
    ///
    /// # Panics
    ///
    /// If there are not within 10 s of tokio's time.
    pub async fn held(&self, loads: usize) {
        let mut gate = self.shared.gate.subscribe();
        // The sender lives as long as `self`.
        if timeout(LIMIT, gate.wait_for(|gate| gate.standing >= loads)).await.is_err() {
            let standing = self.shared.gate.borrow().standing;
            fail(format_args!("expected {loads} loads that are held, found {standing} within {LIMIT:?}"));
        }
    }

    fn rows(&self) -> MutexGuard<'_, Rows<V>> {
        lock(&self.shared.rows)
    }
}

impl<V: Clone> Source<V> {
    /// Loads the value of a key: a loader of [`get_or_load`](crate::TieredCache::get_or_load).
    ///
    /// Cancel safety: a dropped load counts as one that was begun.
    ///
    /// # Errors
    ///
    /// [`SourceError::Failed`] if it was told to fail, [`SourceError::Missing`] if there is no value.
    pub async fn load(&self, key: &str) -> Result<V, SourceError> {
        self.find(key).await?.ok_or(SourceError::Missing)
    }

    /// Looks for the value of a key: a loader of [`get_or_load_optional`](crate::TieredCache::get_or_load_optional).
    ///
    /// Cancel safety: a dropped load counts as one that was begun.
    ///
    /// # Errors
    ///
    /// [`SourceError::Failed`] if it was told to fail.
    pub async fn find(&self, key: &str) -> Result<Option<V>, SourceError> {
        let (read, takes) = self.rows().read(key);
        if !takes.is_zero() {
            pause(takes).await;
        }
        Standing::at(&self.shared.gate).pass().await;
        read
    }
}

impl<V> Rows<V> {
    fn row(&mut self, key: &str) -> &mut Row<V> {
        self.by_key.entry(key.to_owned()).or_insert_with(|| Row { value: None, version: 0, loads: 0 })
    }

    /// What a load that begins now brings, and after how long.
    fn read(&mut self, key: &str) -> (Result<Option<V>, SourceError>, Duration)
    where
        V: Clone,
    {
        let fails = self.failing > 0;
        self.failing = self.failing.saturating_sub(1);
        self.tally.loads = self.tally.loads.saturating_add(1);
        self.tally.failed = self.tally.failed.saturating_add(u64::from(fails));
        if self.latest.len() >= KEPT {
            self.latest.pop_front();
        }
        self.latest.push_back(key.to_owned());
        let row = self.row(key);
        row.loads = row.loads.saturating_add(1);
        let value = row.value.clone();
        (if fails { Err(SourceError::Failed) } else { Ok(value) }, self.takes)
    }
}

/// One who stands at the gate; takes itself off the count when dropped there.
struct Standing<'a>(&'a watch::Sender<Gate>);

impl<'a> Standing<'a> {
    fn at(gate: &'a watch::Sender<Gate>) -> Self {
        gate.send_modify(|gate| gate.standing += 1);
        Self(gate)
    }

    /// Cancel safety: its drop takes it off the count.
    async fn pass(self) {
        let mut gate = self.0.subscribe();
        // The sender lives as long as `self`.
        let _ = gate.wait_for(|gate| !gate.shut).await;
    }
}

impl Drop for Standing<'_> {
    fn drop(&mut self) {
        self.0.send_modify(|gate| gate.standing = gate.standing.saturating_sub(1));
    }
}

impl<V> Loads for Source<V> {
    fn tally(&self) -> Tally {
        self.rows().tally
    }

    fn mark(&self) -> u64 {
        self.loads()
    }

    fn since(&self, mark: u64) -> Vec<String> {
        let rows = self.rows();
        let new = usize::try_from(rows.tally.loads.saturating_sub(mark)).unwrap_or(usize::MAX);
        let skipped = rows.latest.len().saturating_sub(new);
        rows.latest.iter().skip(skipped).map(|key| format!("loaded {key}")).collect()
    }
}

impl<V> Clone for Source<V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<V> Default for Source<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V, K: AsRef<str>, const N: usize> From<[(K, V); N]> for Source<V> {
    fn from(rows: [(K, V); N]) -> Self {
        let source = Self::new();
        for (key, value) in rows {
            source.set(key.as_ref(), value);
        }
        source
    }
}
