//! What is found by a look at every key: invalidations by pattern, and purges, which delete bytes. Here is what can be asked for, and what
//! of it one bump says; the walk itself is in `walk.rs`.

use std::sync::Arc;

use super::walk::Walker;
use super::write::Delivery;
use super::{Part, TieredCache};
use crate::all::all;
use crate::coherence::own::OwnBump;
use crate::error::CacheError;
use crate::key::{TagHash, check_key, check_prefix};
use crate::l2::walk::{Doomed, Swept};
use crate::rule::glob::{Glob, Shape};
use crate::rule::seq::Point;
use crate::sync::{Mutex, lock};
use crate::wire::message::Targets;

/// What [`TieredCache::purge`] deletes.
///
/// ```
/// use cachetier::{Purge, PurgeProgress};
///
/// let progress = PurgeProgress::default();
/// let customer = Purge::tag("customer:7").watched_by(&progress);
/// let below = Purge::prefix("session:");
/// let mails = Purge::pattern("user:*:mail");
/// # drop((customer, below, mails, Purge::everything()));
/// ```
#[derive(Clone, Debug)]
#[must_use = "it says what to purge: hand it to `TieredCache::purge`"]
pub struct Purge<'a> {
    what: What<'a>,
    progress: PurgeProgress,
}

#[derive(Clone, Copy, Debug)]
enum What<'a> {
    Tag(&'a str),
    Prefix(&'a str),
    Pattern(&'a str),
    Everything,
}

impl<'a> Purge<'a> {
    fn of(what: What<'a>) -> Self {
        Self { what, progress: PurgeProgress::default() }
    }

    /// Entries that carry the tag.
    pub fn tag(tag: &'a str) -> Self {
        Self::of(What::Tag(tag))
    }

    /// Keys below a prefix of whole segments, as [`TieredCache::invalidate_prefix`] takes it.
    pub fn prefix(prefix: &'a str) -> Self {
        Self::of(What::Prefix(prefix))
    }

    /// Keys of a pattern, as [`TieredCache::invalidate_pattern`] takes it.
    pub fn pattern(pattern: &'a str) -> Self {
        Self::of(What::Pattern(pattern))
    }

    /// Every key of the namespace.
    pub fn everything() -> Self {
        Self::of(What::Everything)
    }

    /// Lets `progress` be told what has been done so far. Defaults to nobody's.
    pub fn watched_by(mut self, progress: &PurgeProgress) -> Self {
        self.progress = progress.clone();
        self
    }
}

/// How far a purge has come: to be looked at while it runs, by whoever has a clone, and after it was dropped. For one purge at a time: each
/// begins at zero.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use cachetier::{InProcess, Policy, Purge, PurgeProgress, TieredCache};
///
/// let cache = TieredCache::builder("shop").in_process(&InProcess::new()).build().await?;
/// cache.set("user:42", 1_u32, Policy::ttl(Duration::from_secs(60)).tags(["org:7"])).await?;
/// let progress = PurgeProgress::default();
/// cache.purge(Purge::tag("org:7").watched_by(&progress)).await?;
/// assert_eq!((progress.counts().scanned, progress.counts().removed), (1, 1));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct PurgeProgress(Arc<Mutex<PurgeCounts>>);

impl PurgeProgress {
    /// Returns what has been counted so far.
    #[must_use]
    pub fn counts(&self) -> PurgeCounts {
        *lock(&self.0)
    }

    /// A purge begins.
    pub(super) fn begin(&self) {
        *lock(&self.0) = PurgeCounts::default();
    }

    /// Counts a batch.
    pub(super) fn add(&self, names: usize, swept: &Swept) {
        let mut counts = lock(&self.0);
        let PurgeCounts { scanned, removed, bytes, newer, under_way, held, unread, foreign } = &mut *counts;
        let scan = u64::try_from(names).unwrap_or(u64::MAX);
        for (sum, more) in [
            (scanned, scan),
            (removed, swept.gone),
            (bytes, swept.bytes),
            (newer, swept.newer),
            (under_way, swept.under_way),
            (held, swept.held),
            (unread, swept.unread),
            (foreign, swept.foreign),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}

/// What a walk over the shared tier's keys has come to. A key that the server names twice is counted twice.
///
/// ```
/// let counts = cachetier::PurgeCounts::default();
/// // What a log line of an operator may say.
/// println!("{} of {} keys deleted, {} bytes; {} could not be read", counts.removed, counts.scanned, counts.bytes, counts.unread);
/// assert_eq!(counts.under_way, 0);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PurgeCounts {
    /// Names that were found and looked at.
    pub scanned: u64,
    /// Values that were deleted.
    pub removed: u64,
    /// The bytes of these, without their names.
    pub bytes: u64,
    /// Values that would have been deleted, had their load not begun after the purge.
    pub newer: u64,
    /// Marks of loads under way. They are left to the load. One of a purge by tag that began before it may store what it brings after
    /// the walk has passed: nobody is served that, and its bytes go with another purge, or when its life is over.
    pub under_way: u64,
    /// Keys that a write guard holds: they have no value.
    pub held: u64,
    /// Values whose tags cannot be read, a newer release's for instance. They stay.
    pub unread: u64,
    /// What no cache has written. It stays; an invalidation of the very key would drop it, and so does one by pattern.
    pub foreign: u64,
}

/// What a purge came to.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use cachetier::*;
/// let cache = TieredCache::builder("shop").in_process(&InProcess::new()).build().await?;
/// let Purged { delivery, counts, .. } = cache.purge(Purge::everything()).await?;
/// assert!(matches!(delivery, Delivery::Applied(_)));
/// assert_eq!(counts.removed, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Purged {
    /// How far the invalidation has come.
    pub delivery: Delivery,
    /// What was found and deleted; nothing is counted where no walk was needed, or without a shared tier.
    pub counts: PurgeCounts,
}

/// Why a purge, or an invalidation by pattern, did not come to its end.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use cachetier::{CallKind, InProcess, Purge, PurgeError, TieredCache};
///
/// let tier = InProcess::new();
/// let cache = TieredCache::builder("shop").in_process(&tier).build().await?;
/// tier.fail_next(CallKind::Scan);
/// let Err(PurgeError::Stopped { why, done }) = cache.purge(Purge::tag("org:7")).await else { return Err("not told".into()) };
/// println!("{why}; the invalidation: {:?}, deleted so far: {}", done.delivery, done.counts.removed);
/// assert!(cache.purge(Purge::tag("org:7")).await.is_ok());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PurgeError {
    /// Nothing was done.
    NotBegun(CacheError),
    /// The shared tier could not be asked any more, or the cache was closed. Call again: it begins anew. In a Cluster the parts of the namespace that
    /// can be asked are walked over all the same.
    Stopped {
        /// What the tier said.
        why: Arc<str>,
        /// What was done by then.
        done: Purged,
    },
}

impl std::fmt::Display for PurgeError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotBegun(error) => error.fmt(f),
            Self::Stopped { why, done } => write!(
                f,
                "stopped after {} keys, of which {} were deleted: {why}; call again, and all keys are looked at anew",
                done.counts.scanned, done.counts.removed
            ),
        }
    }
}

impl std::error::Error for PurgeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotBegun(error) => Some(error),
            Self::Stopped { .. } => None,
        }
    }
}

impl From<CacheError> for PurgeError {
    fn from(error: CacheError) -> Self {
        Self::NotBegun(error)
    }
}

/// How it is done.
enum Plan {
    /// One bump of these says it all.
    Bump(Targets),
    /// One bump says what is invalid, and a walk over these keys deletes it: what carries the tag, if there is one.
    BumpAndWalk(Targets, Glob, Option<TagHash>),
    /// Only a walk finds the keys.
    Walk(Glob),
}

impl TieredCache {
    /// Invalidates the keys of a pattern, in both tiers of every instance.
    ///
    /// `*` stands for any bytes or none, `?` for any one byte, `[a-z_]` for one of these and `[^a-z]` for any other one; a `\` before a
    /// character makes it stand for itself. A pattern is the whole key, not a part of it. It has at most 32 `*`.
    ///
    /// Prefer a [tag](TieredCache::invalidate_tag) where one can be foreseen: that costs one step, and this a look at every key of the
    /// server. A pattern that is a [prefix](TieredCache::invalidate_prefix) of whole segments and a `*`, a `*` alone, and one that is a
    /// single key cost one step as well.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tier = InProcess::new();
    /// # let cache = TieredCache::builder("shop").in_process(&tier).build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// cache.set("user:7:mail", "ada@example.org".to_owned(), policy).await?;
    /// cache.set("user:7:name", "Ada".to_owned(), policy).await?;
    /// cache.invalidate_pattern("user:*:mail").await?;
    /// assert_eq!(cache.get::<String>("user:7:mail").await, None);
    /// assert!(cache.get::<String>("user:7:name").await.is_some());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// It walks over the server's keys as [`TieredCache::purge`] does, at the same pace, and invalidates those that it finds. A copy whose key
    /// the shared tier does not hold any more cannot be found so. Therefore, at the end of the walk, every instance doubts all its copies:
    /// before it serves one again it looks whether the shared tier still holds the very same value. Without a shared tier nobody knows
    /// which keys there are, and everything is invalidated.
    ///
    /// Cancel safety: dropped, what was found by then is invalidated, and every instance doubts its copies.
    ///
    /// # Errors
    ///
    /// [`PurgeError::NotBegun`] with [`CacheError::Key`] if the pattern cannot be read, or [`CacheError::Closed`];
    /// [`PurgeError::Stopped`] if the shared tier could not be asked any more: not everything is invalidated then.
    pub async fn invalidate_pattern(&self, pattern: &str) -> Result<Purged, PurgeError> {
        let plan = match self.plan(What::Pattern(pattern))? {
            Plan::BumpAndWalk(targets, ..) => Plan::Bump(targets),
            plan => plan,
        };
        self.carry_out(plan, &PurgeProgress::default()).await
    }

    /// Invalidates, and then deletes the bytes: for rules that say how long something may be stored. An invalidation alone leaves the
    /// values of a tag or a prefix in the shared tier, where nobody is served them, until their life is over.
    ///
    /// First comes one bump, so that nothing of it is served any more. Then a walk looks at the keys of the server, a few at a time. Of each
    /// value it reads the header, and deletes it if it is invalid. Between its steps it rests three times as long as they took, so that
    /// it has no more than a quarter of the server.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let tier = InProcess::new();
    /// # let cache = TieredCache::builder("shop").in_process(&tier).build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// cache.set("order:1", 100_u32, policy.tags(["customer:7", "orders"])).await?;
    /// cache.set("order:2", 200_u32, policy.tags(["customer:8", "orders"])).await?;
    /// let purged = cache.purge(Purge::tag("customer:7")).await?;
    /// assert_eq!((purged.counts.scanned, purged.counts.removed), (2, 1));
    /// assert!(!tier.holds_value("ct:shop:v:order:1") && tier.holds_value("ct:shop:v:order:2"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// What is there from the begin of the walk to its end is found. These bytes are not its business:
    ///
    /// - what is loaded or put from now on, and marks of loads and of write guards; see [`PurgeCounts::under_way`];
    /// - a value on its way to its key: it is gone 10 s later at most;
    /// - copies in other instances. They are not served, and their memory is given back when they end or make room;
    /// - replicas, snapshots and logs of the server.
    ///
    /// [By pattern](Purge::pattern) it is [`TieredCache::invalidate_pattern`], with counts and bytes.
    ///
    /// Cancel safety: dropped, it has invalidated all the same (by pattern: what was found by then), and deletes no more.
    ///
    /// # Errors
    ///
    /// [`PurgeError::NotBegun`] with [`CacheError::Key`] if tag, prefix or pattern cannot be used, or [`CacheError::Closed`].
    /// [`PurgeError::Stopped`] if the shared tier could not be asked any more, was restarted, or has not confirmed the invalidation.
    pub async fn purge(&self, purge: Purge<'_>) -> Result<Purged, PurgeError> {
        let Purge { what, progress } = purge;
        let plan = self.plan(what)?;
        self.carry_out(plan, &progress).await
    }

    fn plan(&self, what: What<'_>) -> Result<Plan, CacheError> {
        let namespace = &self.config().namespace;
        let below = |prefix: &str| {
            let prefixes = vec![TagHash::of_prefix(namespace, prefix)];
            Plan::BumpAndWalk(Targets { prefixes, ..Targets::default() }, Glob::below(prefix), None)
        };
        let everything = || Plan::BumpAndWalk(Targets { all: true, ..Targets::default() }, Glob::everything(), None);
        Ok(match what {
            What::Everything => everything(),
            What::Tag(tag) => {
                check_key(tag)?;
                let tag = TagHash::of(namespace, tag);
                Plan::BumpAndWalk(Targets { tags: vec![tag], ..Targets::default() }, Glob::everything(), Some(tag))
            }
            What::Prefix(prefix) => {
                check_prefix(prefix)?;
                below(prefix)
            }
            What::Pattern(pattern) => {
                let glob = Glob::parse(pattern)?;
                match glob.shape() {
                    Shape::Everything => everything(),
                    Shape::Prefix(prefix) if check_prefix(&prefix).is_ok() => below(&prefix),
                    Shape::Key(key) => Plan::Bump(Targets { keys: vec![key], ..Targets::default() }),
                    // Nobody knows which keys there are: L1 knows them by their hashes.
                    _ if self.parts.first().shared.tier.is_none() => everything(),
                    _ => Plan::Walk(glob),
                }
            }
        })
    }

    async fn carry_out(&self, plan: Plan, progress: &PurgeProgress) -> Result<Purged, PurgeError> {
        self.check_open()?;
        progress.begin();
        match plan {
            Plan::Bump(targets) => Ok(Purged { delivery: self.bump(targets).await?, counts: PurgeCounts::default() }),
            Plan::BumpAndWalk(targets, keys, tag) => {
                let parts = self.parts.all();
                let points = all(parts.iter().map(|part| part.bump_to(targets.clone()))).await;
                let points = points.into_iter().collect::<Result<Vec<Option<Point>>, CacheError>>()?;
                let each = || parts.iter().zip(&points);
                let deliveries = each().map(|(part, point)| point.map_or(Delivery::Pending, |point| part.applied(point)));
                let delivery = deliveries.reduce(Delivery::and).unwrap_or(Delivery::Pending);
                let done = || Purged { delivery, counts: progress.counts() };
                // One after the other: they may be in one server. One that cannot be asked keeps no other from it.
                let mut stopped = None;
                for (part, point) in each().take_while(|(part, _)| !part.closed()) {
                    let doomed = point.map(|point| tag.map_or(Doomed::Before(point), |tag| Doomed::Tagged(tag, point)));
                    stopped = part.delete(keys.clone(), doomed, progress).await.err().or(stopped);
                }
                match stopped {
                    Some(why) => Err(PurgeError::Stopped { why, done: done() }),
                    None => Ok(done()),
                }
            }
            Plan::Walk(keys) => {
                let (mut delivery, mut stopped) = (None, None);
                for part in self.parts.all().iter().take_while(|part| !part.closed()) {
                    let found = part.invalidate_found(keys.clone(), progress).await;
                    let found = found.unwrap_or_else(|why| {
                        stopped = Some(why);
                        Delivery::Pending
                    });
                    delivery = Some(delivery.map_or(found, |delivery: Delivery| delivery.and(found)));
                }
                let done = Purged { delivery: delivery.unwrap_or(Delivery::Pending), counts: progress.counts() };
                match stopped {
                    Some(why) => Err(PurgeError::Stopped { why, done }),
                    None => Ok(done),
                }
            }
        }
    }
}

impl Part {
    /// Gives back the memory of what was invalidated, and deletes what of it the shared tier holds.
    async fn delete(&self, keys: Glob, doomed: Option<Doomed>, progress: &PurgeProgress) -> Result<(), Arc<str>> {
        let instance = self.instance();
        instance.l1.sweep(|| instance.now(), |facts| !facts.unmoved(&instance.view)).await;
        let Some(tier) = &self.shared.tier else { return Ok(()) };
        // Without its point nobody can tell what was loaded before it.
        let Some(doomed) = doomed else { return Err("the shared tier has not confirmed the invalidation".into()) };
        let walker = Walker { cache: self, tier, selection: tier.selection(keys), doomed, bumps: false, progress };
        Box::pin(walker.walk()).await
    }

    /// Invalidates the keys that a walk finds.
    ///
    /// Doubt comes last: a copy that is checked before its key was found would be found to be the same. What was found is gone from
    /// the shared tier by then, so that no copy of it is.
    async fn invalidate_found(&self, keys: Glob, progress: &PurgeProgress) -> Result<Delivery, Arc<str>> {
        let instance = self.instance();
        // There is none without a tier.
        let Some(tier) = &self.shared.tier else { return Err("there is no shared tier".into()) };
        let doubt = Targets { doubt: true, ..Targets::default() };
        // Cancel safety: from here on, whatever ends this before the doubt stands on the lane gives it to the outbox, for keys may be gone
        // from the shared tier whose copies nobody was told of.
        let own = OwnBump::owed(instance, doubt.clone());
        let walker = Walker { cache: self, tier, selection: tier.selection(keys), doomed: Doomed::All, bumps: true, progress };
        Box::pin(walker.walk()).await?;
        match tier.bump(&doubt, instance.view.floor()).await {
            Ok(bumped) => {
                own.settle(bumped.point, None);
                Ok(self.applied(bumped.point))
            }
            Err(_) => Ok(Delivery::Pending),
        }
    }
}
