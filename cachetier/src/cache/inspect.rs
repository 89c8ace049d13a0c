//! What each tier holds of a key, for people who want to know why a read answers as it does. Nothing is moved by it.

use std::time::Duration;

use super::local::shown;
use super::{Key, Part, TieredCache};
use crate::clock::Millis;
use crate::error::{CacheError, Fault};
use crate::flight::Purpose;
use crate::key::{TagHash, check_key};
use crate::l1::Entry;
use crate::rule::policy::{Content, left};
use crate::rule::token::Token;
use crate::wire::codec::Codec;
use crate::wire::compress::Payload;
use crate::wire::envelope::{self, Unreadable};
use crate::wire::slot::Slot;
use crate::wire::wake::waiting;

/// What the tiers hold of a key: see [`TieredCache::inspect`].
///
/// ```
/// # use std::time::Duration;
/// # use cachetier::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cache = TieredCache::builder("shop").build().await?;
/// # let policy = Policy::ttl(Duration::from_secs(60));
/// cache.set("user:42", "Ada".to_owned(), policy.tags(["users"])).await?;
/// let found = cache.inspect("user:42").await?;
/// let copy = found.here.expect("it was put a moment ago");
/// assert!(copy.serves && copy.entry.carries("users") && copy.entry.life > Duration::from_secs(50));
/// assert_eq!(found.shared, InSharedTier::Alone);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Inspection {
    /// The copy of this instance, if there is one.
    pub here: Option<CopyHere>,
    /// What the shared tier holds.
    pub shared: InSharedTier,
    /// The call of this instance that is at work on the key, if there is one.
    pub under_way: Option<UnderWay>,
    /// Whether a write guard is known here to hold the key: what is loaded meanwhile is kept nowhere.
    pub guarded: bool,
}

/// An instance's copy of a key.
///
/// ```
/// # use std::time::Duration;
/// # use cachetier::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cache = TieredCache::builder("shop").build().await?;
/// # let policy = Policy::ttl(Duration::from_secs(60));
/// cache.set("user:42", "Ada".to_owned(), policy).await?;
/// let copy = cache.inspect("user:42").await?.here.expect("it was put a moment ago");
/// assert!(copy.serves && copy.type_name.ends_with("String"));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyHere {
    /// What both tiers know of an entry.
    pub entry: EntryFacts,
    /// Whether a read would be answered with it now. If not it is over, invalidated, or nobody has proven that it is current.
    pub serves: bool,
    /// The type of the value.
    pub type_name: &'static str,
}

/// What both tiers know of an entry.
///
/// ```
/// # use std::time::Duration;
/// # use cachetier::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cache = TieredCache::builder("shop").build().await?;
/// # let policy = Policy::ttl(Duration::from_secs(60));
/// cache.set("user:42", 1_u32, policy.tags(["users"])).await?;
/// let entry = cache.inspect("user:42").await?.here.expect("it was put a moment ago").entry;
/// println!("{:?} old, {:?} left, {} tags", entry.age, entry.life, entry.tags());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntryFacts {
    /// Whether it says that there is no value.
    pub negative: bool,
    /// How long ago its load ended.
    pub age: Duration,
    /// For how long it may still be served there; zero if it is over.
    pub life: Duration,
    /// What the lane had told when its load began: invalidations of its tags from then on end it.
    pub born: Token,
    /// How many bytes the encoded value has; in this instance 0 where it was never encoded.
    pub bytes: usize,
    /// What names the state of the key in the shared tier: a copy and a value with the same stamp are the same.
    pub stamp: Option<[u8; 16]>,
    tags: Box<[TagHash]>,
    namespace: Box<str>,
}

/// What the shared tier holds of a key.
///
/// ```
/// # use std::time::Duration;
/// # use cachetier::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cache = TieredCache::builder("shop").in_process(&InProcess::new()).build().await?;
/// # let policy = Policy::ttl(Duration::from_secs(60));
/// assert_eq!(cache.inspect("user:42").await?.shared, InSharedTier::Nothing);
/// cache.set("user:42", "Ada".to_owned(), policy).await?;
/// assert!(matches!(cache.inspect("user:42").await?.shared, InSharedTier::Value { unmoved: true, .. }));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InSharedTier {
    /// This cache has no shared tier.
    Alone,
    /// It holds nothing.
    Nothing,
    /// The right of an instance to load it.
    #[non_exhaustive]
    Ticket {
        /// The stamp that the value is going to have.
        stamp: [u8; 16],
        /// How many other instances wait to be told what becomes of it.
        waiting: usize,
    },
    /// A write guard: nobody may store anything.
    Hold,
    /// A value.
    #[non_exhaustive]
    Value {
        /// What both tiers know of an entry.
        entry: EntryFacts,
        /// How it was encoded, if this release knows.
        codec: Option<Codec>,
        /// Whether it is compressed.
        compressed: bool,
        /// Whether none of its tags, and no prefix of its key, has been invalidated since its load began, for all this instance knows.
        unmoved: bool,
        /// Whether an instance is at refreshing it: it is stale, and who misses it waits for that one.
        refreshed: bool,
    },
    /// Something that this release cannot read: what it is.
    Unreadable(Box<str>),
    /// It did not say: the fault.
    Unknown(Box<str>),
}

/// A call of this instance that is at work on a key.
///
/// ```
/// # use std::time::Duration;
/// # use cachetier::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cache = TieredCache::builder("shop").build().await?;
/// # let policy = Policy::ttl(Duration::from_secs(60));
/// let load = async || Ok::<_, CacheError>(cache.inspect("slow").await?.under_way);
/// let seen = std::sync::Mutex::new(None);
/// cache.get_or_compute("slow", policy, async || *seen.lock().unwrap() = load().await.unwrap()).await?;
/// let under_way = seen.into_inner()?.expect("its own load");
/// assert_eq!((under_way.what, under_way.waiting), (AtWork::Loads, 0));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnderWay {
    /// Whether it loads, reads or puts.
    pub what: AtWork,
    /// How many other calls wait for it.
    pub waiting: usize,
}

/// What a call does with a key.
///
/// ```
/// # use std::time::Duration;
/// # use cachetier::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cache = TieredCache::builder("shop").build().await?;
/// # let policy = Policy::ttl(Duration::from_secs(60));
/// let at_work = cache.inspect("user:42").await?.under_way;
/// assert!(!at_work.is_some_and(|call| call.what == AtWork::Loads), "nobody loads it");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AtWork {
    /// It reads the shared tier, and loads nothing.
    Reads,
    /// It looks for the value, and loads it if need be.
    Loads,
    /// It puts a value.
    Puts,
}

impl EntryFacts {
    /// Says whether the entry carries the tag. Entries know their tags by hashes, so now and then it may say so of another one: one in 2^64.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// cache.set("user:42", 1_u32, policy.tags(["users"])).await?;
    /// let entry = cache.inspect("user:42").await?.here.expect("it was put a moment ago").entry;
    /// assert!(entry.carries("users") && !entry.carries("orders"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn carries(&self, tag: &str) -> bool {
        self.tags.contains(&TagHash::of(&self.namespace, tag))
    }

    /// Returns how many tags it carries.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// cache.set("user:42", 1_u32, policy.tags(["users", "org:7"])).await?;
    /// assert_eq!(cache.inspect("user:42").await?.here.map(|copy| copy.entry.tags()), Some(2));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn tags(&self) -> usize {
        self.tags.len()
    }
}

impl std::fmt::Debug for EntryFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { negative, age, life, born, bytes, stamp, tags, namespace: _ } = self;
        let stamp = stamp.map(|stamp| format!("{:032x}", u128::from_be_bytes(stamp)));
        f.debug_struct("EntryFacts")
            .field("negative", negative)
            .field("age", age)
            .field("life", life)
            .field("born", born)
            .field("bytes", bytes)
            .field("stamp", &stamp)
            .field("tags", &tags.len())
            .finish()
    }
}

impl TieredCache {
    /// Says what each tier holds of a key, and who is at work on it: for a page that shows why a read is answered as it is. It serves nothing,
    /// loads nothing, plants nothing, lengthens no life, and counts as no read but to [what is evicted first](crate::Eviction).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let tier = InProcess::new();
    /// let cache = TieredCache::builder("shop").in_process(&tier).build().await?;
    /// let policy = Policy::ttl(Duration::from_secs(60));
    /// cache.set("price:9", 42_u64, policy.tags(["prices"])).await?;
    /// cache.invalidate_tag("prices").await?;
    ///
    /// let found = cache.inspect("price:9").await?;
    /// assert!(found.here.is_some_and(|copy| !copy.serves));
    /// assert!(matches!(found.shared, InSharedTier::Value { unmoved: false, .. }));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety: a dropped call leaves no trace.
    ///
    /// # Errors
    ///
    /// [`CacheError::Key`] if no entry can have this key, [`CacheError::Closed`] after a close. What the shared tier cannot say is no error:
    /// [`InSharedTier::Unknown`].
    pub async fn inspect(&self, key: &str) -> Result<Inspection, CacheError> {
        check_key(key)?;
        self.check_open()?;
        let (part, key) = self.at(key);
        Ok(part.inspect(key).await)
    }
}

impl Part {
    async fn inspect(&self, key: Key<'_>) -> Inspection {
        let instance = self.instance();
        let shared = match &self.shared.tier {
            None => InSharedTier::Alone,
            Some(tier) => match tier.read(&tier.name(key.text)).await {
                Ok(held) => self.in_shared_tier(key, held.as_deref()),
                Err(Fault::Foreign) => InSharedTier::Unreadable("not a string".into()),
                Err(fault) => InSharedTier::Unknown(fault.to_string().into()),
            },
        };
        let under_way = instance.flights.seen(key.hash).map(|(purpose, waiting)| UnderWay { what: purpose.into(), waiting });
        Inspection {
            here: instance.l1.peek(key.hash).map(|entry| self.copy_here(&entry)),
            shared,
            under_way,
            guarded: instance.holds.covers(key.hash, self.now()),
        }
    }

    fn copy_here(&self, entry: &Entry) -> CopyHere {
        let (now, facts) = (self.now(), &entry.facts);
        CopyHere {
            serves: entry.would_serve(now, &self.instance().view),
            type_name: shown(facts.type_name),
            entry: EntryFacts {
                negative: facts.content == Content::Nothing,
                age: facts.loaded_at.until(now),
                life: entry.life(now),
                born: self.token(facts.born),
                bytes: facts.size,
                stamp: facts.stamp.map(|stamp| stamp.0),
                tags: facts.tags.clone(),
                namespace: self.shared.config.namespace.as_str().into(),
            },
        }
    }

    fn in_shared_tier(&self, key: Key<'_>, held: Option<&[u8]>) -> InSharedTier {
        let Some(held) = held else { return InSharedTier::Nothing };
        match Slot::of(held) {
            Slot::Ticket(stamp) => InSharedTier::Ticket { stamp: stamp.0, waiting: waiting(held).count() },
            Slot::Hold => InSharedTier::Hold,
            Slot::Foreign => InSharedTier::Unreadable(Unreadable::Foreign.to_string().into()),
            Slot::Value { bytes, .. } => match envelope::open(bytes) {
                Ok(opened) => self.value_there(key, &opened),
                Err(why) => InSharedTier::Unreadable(why.to_string().into()),
            },
        }
    }

    fn value_there(&self, key: Key<'_>, opened: &envelope::Envelope<'_>) -> InSharedTier {
        let (instance, head) = (self.instance(), &opened.head);
        let server_now = instance.view.server_millis(self.now());
        let tags: Box<[TagHash]> = opened.tags.clone().collect();
        let life = left(head.created, head.soft, server_now).filter(|_| !head.expired);
        let view = &instance.view;
        let tick = view.note(self.now()).tick;
        InSharedTier::Value {
            codec: Codec::of_id(head.codec),
            compressed: head.compressed,
            // In the last eight bits stands who has the lease.
            refreshed: left(head.created, head.refresh & !0xff, server_now).is_some(),
            unmoved: head.born.era == view.era()
                && !instance.outbox.covers_tags(&tags)
                && !instance.outbox.covers(key.text, &instance.prefixes(key.text))
                && view.unmoved_since(head.born.seq, tick, &tags)
                && view.unmoved_since(head.born.seq, tick, &instance.prefixes(key.text)),
            entry: EntryFacts {
                negative: head.negative,
                age: Millis(head.created).until(Millis(server_now)),
                life: life.unwrap_or_default(),
                born: self.token(head.born),
                bytes: Payload::of(opened).map_or(opened.payload.len(), |payload| payload.len()),
                stamp: Some(opened.stamp.0),
                tags,
                namespace: self.shared.config.namespace.as_str().into(),
            },
        }
    }
}

impl From<Purpose> for AtWork {
    fn from(purpose: Purpose) -> Self {
        match purpose {
            Purpose::Read => Self::Reads,
            Purpose::Load => Self::Loads,
            Purpose::Write => Self::Puts,
        }
    }
}
