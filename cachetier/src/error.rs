//! What can go wrong, each with a name.

use std::sync::Arc;

/// What kept a call to the shared tier from an answer. It is counted, and the loader answers; a caller's error only where a write guard
/// cannot begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing was sent: no connection, or the tier was left out on purpose.
    Away(Arc<str>),
    /// Sent, and no answer in time or the connection broke: it may have run, may run later, or never.
    Unanswered(Arc<str>),
    /// The server answered with an error: a command has not run, a script not to its end.
    Refused(Arc<str>),
    /// The server is full. It was asked all the same, and the key holds nothing.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only a server is ever full"))]
    Full(Arc<str>),
    /// The key holds a Redis type that is not a string: somebody else's.
    Foreign,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Away(why) => write!(f, "the shared tier is away: {why}"),
            Self::Unanswered(why) => write!(f, "no answer from the shared tier: {why}"),
            Self::Refused(why) => write!(f, "the shared tier refused: {why}"),
            Self::Full(why) => write!(f, "the shared tier is full: {why}"),
            Self::Foreign => f.write_str("the key holds a foreign type"),
        }
    }
}

impl std::error::Error for Fault {}

/// A key, tag or prefix that cannot be used.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use cachetier::{CacheError, KeyError, TieredCache};
///
/// let cache = TieredCache::builder("shop").build().await?;
/// let Err(CacheError::Key(error)) = cache.invalidate_prefix("user:7").await else { return Err("it is no prefix".into()) };
/// assert_eq!(error, KeyError::PrefixInsideSegment { prefix: "user:7".into() });
/// assert_eq!(error.to_string(), "the prefix \"user:7\" ends inside a segment; end it with ':'");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is empty.
    Empty,
    /// The text is longer than the limit, in bytes.
    TooLong {
        /// Its length.
        length: usize,
        /// The greatest length allowed.
        limit: usize,
    },
    /// The prefix does not end at the end of a segment.
    PrefixInsideSegment {
        /// The prefix.
        prefix: String,
    },
    /// The prefix has more segments than are tracked.
    PrefixTooDeep {
        /// Its number of segments.
        depth: usize,
        /// The greatest number allowed.
        limit: usize,
    },
    /// The pattern of keys cannot be read.
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl std::fmt::Display for KeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("the text is empty, expected 1 byte or more"),
            Self::TooLong { length, limit } => write!(f, "the text has {length} bytes, expected at most {limit}"),
            Self::PrefixInsideSegment { prefix } => write!(f, "the prefix {prefix:?} ends inside a segment; end it with ':'"),
            Self::PrefixTooDeep { depth, limit } => {
                write!(f, "the prefix has {depth} segments, expected at most {limit}; use a tag instead")
            }
            Self::Pattern { pattern, why } => {
                write!(f, "the pattern {pattern:?} cannot be read: {why}; a '\\' before a character makes it stand for itself")
            }
        }
    }
}

impl std::error::Error for KeyError {}

/// Why a text is no [`Token`](crate::Token).
///
/// ```
/// use cachetier::{Token, TokenError};
///
/// assert_eq!("c0decafe".parse::<Token>(), Err(TokenError::Divider));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenError {
    /// Nothing divides an era from a seq.
    Divider,
    /// What stands before the first `-` of three is no part of a namespace, or comes again.
    Part,
    /// What stands before the `-` is no era.
    Era,
    /// What stands behind the `-` is no seq.
    Seq,
}

impl std::fmt::Display for TokenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Divider => "the token has no '-', expected an era and a seq such as 1a2b-3c4d; pass it on as it was given",
            Self::Part => "the token's part is none, expected 0 to 5, each once and in order; pass it on as it was given",
            Self::Era => "the token's era is none, expected 1 to 8 lower-case hex digits; pass it on as it was given",
            Self::Seq => "the token's seq is none, expected 1 to 16 lower-case hex digits; pass it on as it was given",
        })
    }
}

impl std::error::Error for TokenError {}

/// A setting that cannot be used: which, what it was, and what was expected.
///
/// ```
/// # use std::time::Duration;
/// use cachetier::Policy;
///
/// let error = Policy::ttl(Duration::ZERO).check().unwrap_err();
/// assert_eq!(error.field(), "ttl");
/// assert_eq!(error.to_string(), "ttl is 0 s, expected a duration above 0");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    field: &'static str,
    found: String,
    expected: String,
}

impl ConfigError {
    pub(crate) fn new(field: &'static str, found: &str, expected: &str) -> Self {
        Self { field, found: found.to_owned(), expected: expected.to_owned() }
    }

    /// The name of the setting.
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is {}, expected {}", self.field, self.found, self.expected)
    }
}

impl std::error::Error for ConfigError {}

/// Why a mutation was not tried, or what is not known of it.
///
/// What has become of it is not known with [`CacheError::Unconfirmed`] and [`CacheError::Unfinished`], and may not be known with
/// [`CacheError::NotGuarded`]: the shared tier has not answered, or not yet.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use cachetier::{CacheError, KeyError, TieredCache};
///
/// let cache = TieredCache::builder("shop").build().await?;
/// assert_eq!(cache.invalidate("").await, Err(CacheError::Key(KeyError::Empty)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CacheError {
    /// The key, tag or prefix cannot be used: each has 1 to 4,096 bytes.
    Key(KeyError),
    /// A tag that the value carries cannot be used.
    Tag(KeyError),
    /// The policy given with the call cannot be used.
    Policy(ConfigError),
    /// The value carries more tags than are allowed: 32.
    TooManyTags {
        /// How many it carries.
        tags: usize,
        /// How many are allowed.
        limit: usize,
    },
    /// The value is larger than the cache stores: [`max_value_bytes`](crate::CacheBuilder::max_value_bytes), 8 MiB by default.
    TooLarge {
        /// Its encoded size, in bytes.
        bytes: usize,
        /// The greatest size allowed.
        limit: usize,
    },
    /// The codec cannot carry the value.
    Encode(Arc<str>),
    /// A write guard was asked to hold more keys than it can.
    TooManyKeys {
        /// How many it was given.
        keys: usize,
        /// How many it holds at most.
        limit: usize,
    },
    /// Too many write guards hold one of the keys.
    TooManyGuards {
        /// How many may.
        limit: usize,
    },
    /// The time for which a write guard was to hold its keys cannot be used.
    GuardTime(ConfigError),
    /// The shared tier has not confirmed that the keys are held: a write made now is not guarded.
    NotGuarded(Arc<str>),
    /// The guard does not hold this key, or no longer.
    NotHeld {
        /// The key.
        key: String,
    },
    /// The shared tier has not confirmed an invalidation: see [`Delivery::confirmed`](crate::Delivery::confirmed).
    Unconfirmed,
    /// The cache has been closed: nobody would hear of it.
    Closed,
    /// There is no cache: none is named, and none is installed.
    NoCache,
    /// Writes or invalidations were still under way at the end of the limit given.
    Unfinished {
        /// Writes to the shared tier that have had no answer.
        writes: usize,
        /// Invalidations that the shared tier has not confirmed.
        invalidations: usize,
    },
}

impl std::fmt::Display for CacheError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Key(error) => write!(f, "unusable key, tag or prefix: {error}"),
            Self::Tag(error) => write!(f, "the value carries an unusable tag: {error}"),
            Self::Policy(error) => write!(f, "unusable policy: {error}"),
            Self::TooManyTags { tags, limit } => write!(f, "the value carries {tags} tags, expected at most {limit}"),
            Self::TooLarge { bytes, limit } => write!(f, "the value has {bytes} bytes, expected at most {limit}"),
            Self::Encode(why) => write!(f, "the codec cannot carry the value: {why}"),
            Self::TooManyKeys { keys, limit } => write!(f, "the guard was given {keys} keys, expected at most {limit}"),
            Self::TooManyGuards { limit } => {
                write!(f, "{limit} guards hold one of the keys already; try again when one is released")
            }
            Self::GuardTime(error) => write!(f, "unusable time: {error}"),
            Self::NotGuarded(why) => {
                write!(f, "the keys are not held: {why}; begin again, or write without a guard and invalidate")
            }
            Self::NotHeld { key } => write!(f, "the guard does not hold {key:?}; name it when the guard is begun, and set it once"),
            Self::Unconfirmed => {
                f.write_str("the invalidation is not confirmed yet; it is told until it is, and `flush` waits for that")
            }
            Self::Closed => f.write_str("the cache has been closed"),
            Self::NoCache => f.write_str("there is no cache; install one with `cachetier::install`, or name one with `cache = ..`"),
            Self::Unfinished { writes, invalidations } => {
                write!(f, "{writes} writes and {invalidations} invalidations are still under way")
            }
        }
    }
}

impl std::error::Error for CacheError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Key(error) | Self::Tag(error) => Some(error),
            Self::Policy(error) | Self::GuardTime(error) => Some(error),
            _ => None,
        }
    }
}

impl From<KeyError> for CacheError {
    fn from(error: KeyError) -> Self {
        Self::Key(error)
    }
}

/// Why there is no value. All who waited for the same load get the same one.
///
/// It is an [`Error`](std::error::Error) if the loader's is one. Where that is `anyhow::Error` or a box, [`into_shared`](LoadError::into_shared) makes
/// it one; where it is text, [`into_loader`](LoadError::into_loader) gives it back.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use cachetier::{Policy, TieredCache};
///
/// let cache = TieredCache::builder("shop").build().await?;
/// let policy = Policy::ttl(Duration::from_secs(60));
///
/// let failed = cache.get_or_load("k", policy, || async { Err::<u32, _>("no such row") }).await;
/// assert_eq!(failed.unwrap_err().into_loader().ok(), Some("no such row"));
///
/// let panicked = cache.get_or_compute("k", policy, || async { if true { panic!("a bug") } else { 1 } }).await;
/// assert!(panicked.unwrap_err().is_panic());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadError<E> {
    /// The loader failed. It ran once, and will run again for the next caller.
    Loader(Arc<E>),
    /// The loader panicked, with this message.
    Panicked(Arc<str>),
    /// The loader took longer than the cache's load limit and was dropped.
    TimedOut(std::time::Duration),
    /// The call came to [its deadline](crate::CallOptions::deadline), whatever it was waiting for.
    Deadline(std::time::Duration),
    /// The loader did not run: as many loads ran as [may](crate::Bulkhead), and there was no place within the load limit, or none in the queue.
    Overloaded {
        /// How many loads ran.
        running: usize,
        /// How many calls waited.
        waiting: usize,
    },
    /// The loader of this key asked the cache for the same key: it would wait for itself.
    Recursive(Arc<str>),
    /// Nobody can prove that this instance has missed no invalidation, and its policy would rather fail:
    /// [`OnUnreachable::Fail`](crate::OnUnreachable::Fail). The loader did not run.
    Unproven,
    /// The load was another instance's and has failed, for this reason; the [policy](crate::Policy::share_errors) says that it is not tried again
    /// by each. The loader did not run.
    Elsewhere(Arc<str>),
}

impl<E> Clone for LoadError<E> {
    fn clone(&self) -> Self {
        match self {
            Self::Loader(error) => Self::Loader(Arc::clone(error)),
            Self::Panicked(message) => Self::Panicked(Arc::clone(message)),
            Self::TimedOut(limit) => Self::TimedOut(*limit),
            Self::Deadline(limit) => Self::Deadline(*limit),
            Self::Overloaded { running, waiting } => Self::Overloaded { running: *running, waiting: *waiting },
            Self::Recursive(key) => Self::Recursive(Arc::clone(key)),
            Self::Unproven => Self::Unproven,
            Self::Elsewhere(why) => Self::Elsewhere(Arc::clone(why)),
        }
    }
}

impl<E> LoadError<E> {
    /// Returns the loader's own error, if that is what it is: moved out when nobody else holds it, cloned otherwise.
    pub fn into_loader(self) -> Result<E, Self>
    where
        E: Clone,
    {
        match self {
            Self::Loader(error) => Ok(Arc::unwrap_or_clone(error)),
            other => Err(other),
        }
    }

    /// Returns the loader's own error if nobody else who waited for the load still holds it.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use cachetier::LoadError;
    /// // Of a type that cannot be cloned.
    /// #[derive(Debug, PartialEq)]
    /// struct DbError;
    ///
    /// let error = Arc::new(DbError);
    /// let shared = LoadError::Loader(Arc::clone(&error)).into_unshared_loader();
    /// assert!(matches!(shared, Err(LoadError::Loader(_))), "somebody else still holds it");
    /// drop(shared);
    /// assert_eq!(LoadError::Loader(error).into_unshared_loader().ok(), Some(DbError));
    /// ```
    pub fn into_unshared_loader(self) -> Result<E, Self> {
        match self {
            Self::Loader(error) => Arc::try_unwrap(error).map_err(Self::Loader),
            other => Err(other),
        }
    }

    /// The same, with the loader's own error in something that is an [`Error`](std::error::Error) where that one holds any error and is none itself:
    /// `anyhow::Error`, `eyre::Report`, `Box<dyn Error + Send + Sync>`. With it `?` goes on.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// type BoxError = Box<dyn std::error::Error + Send + Sync>;
    ///
    /// async fn port(cache: &TieredCache, policy: Policy) -> Result<u16, BoxError> {
    ///     let load = || async { Ok::<_, BoxError>("none".parse::<u16>()?) };
    ///     Ok(cache.get_or_load("port", policy, load).await.map_err(LoadError::into_shared)?)
    /// }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// let error = port(&cache, Policy::ttl(Duration::from_secs(60))).await.unwrap_err();
    /// assert_eq!(error.to_string(), "the loader failed: invalid digit found in string");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn into_shared(self) -> LoadError<SharedError<E>> {
        match self {
            Self::Loader(error) => LoadError::Loader(Arc::new(SharedError(error))),
            Self::Panicked(message) => LoadError::Panicked(message),
            Self::TimedOut(limit) => LoadError::TimedOut(limit),
            Self::Deadline(limit) => LoadError::Deadline(limit),
            Self::Overloaded { running, waiting } => LoadError::Overloaded { running, waiting },
            Self::Recursive(key) => LoadError::Recursive(key),
            Self::Unproven => LoadError::Unproven,
            Self::Elsewhere(why) => LoadError::Elsewhere(why),
        }
    }

    /// Whether it took too long: the load for its limit, or the call for its deadline.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let cache = TieredCache::builder("shop").load_limit(Duration::from_secs(2)).build().await?;
    /// let policy = Policy::ttl(Duration::from_secs(60));
    /// let slow = || async { std::future::pending::<u32>().await };
    /// assert!(cache.get_or_compute("k", policy, slow).await.unwrap_err().is_timeout());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::TimedOut(_) | Self::Deadline(_))
    }

    /// Whether the loader did not run because too many others did: the caller may be told to try again a little later.
    ///
    /// ```
    /// # use std::convert::Infallible;
    /// # use cachetier::LoadError;
    /// fn status(error: &LoadError<Infallible>) -> u16 {
    ///     if error.is_overloaded() { 503 } else { 500 }
    /// }
    /// assert_eq!(status(&LoadError::Overloaded { running: 50, waiting: 1_000 }), 503);
    /// ```
    #[must_use]
    pub fn is_overloaded(&self) -> bool {
        matches!(self, Self::Overloaded { .. })
    }

    /// Whether the loader panicked.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        matches!(self, Self::Panicked(_))
    }

    /// Whether the loader waited for itself.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let cache = TieredCache::builder("shop").build().await?;
    /// let policy = Policy::ttl(Duration::from_secs(60));
    /// let inner = || async { cache.get_or_compute("k", policy, || async { 1 }).await };
    /// let error = cache.get_or_load("k", policy, inner).await.unwrap_err();
    /// assert!(matches!(error, LoadError::Loader(inner) if inner.is_recursive()));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_recursive(&self) -> bool {
        matches!(self, Self::Recursive(_))
    }

    /// Whether the load was another instance's.
    ///
    /// ```
    /// # use std::convert::Infallible;
    /// # use cachetier::LoadError;
    /// let error: LoadError<Infallible> = LoadError::Elsewhere("the database is away".into());
    /// assert!(error.is_elsewhere());
    /// assert_eq!(error.to_string(), "the load of another instance has failed: the database is away");
    /// ```
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        matches!(self, Self::Elsewhere(_))
    }

    /// Whether nothing could be proven, and the policy would rather fail than load.
    ///
    /// ```
    /// # use std::convert::Infallible;
    /// # use cachetier::LoadError;
    /// /// Whether to answer that the service is not available, and not that it has failed.
    /// fn is_away(error: &LoadError<Infallible>) -> bool {
    ///     error.is_unproven() || error.is_timeout()
    /// }
    /// assert!(is_away(&LoadError::Unproven));
    /// ```
    #[must_use]
    pub fn is_unproven(&self) -> bool {
        matches!(self, Self::Unproven)
    }
}

impl<E: std::fmt::Display> std::fmt::Display for LoadError<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Loader(error) => write!(f, "the loader failed: {error}"),
            Self::Panicked(message) => write!(f, "the loader panicked: {message}"),
            Self::TimedOut(limit) => write!(f, "the loader took longer than {limit:?}"),
            Self::Deadline(limit) => write!(f, "there was no answer within {limit:?}"),
            Self::Overloaded { running, waiting } => write!(f, "too many loads: {running} run and {waiting} calls wait for theirs"),
            Self::Recursive(key) => write!(f, "the loader of {key:?} asked for {key:?} itself; load it without the cache there"),
            Self::Elsewhere(why) => write!(f, "the load of another instance has failed: {why}"),
            Self::Unproven => write!(f, "it cannot be proven that no invalidation was missed: the shared tier does not answer"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for LoadError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Loader(error) => Some(&**error),
            _ => None,
        }
    }
}

/// An error that several callers got from one load, those of a `#[cached]` function for instance, for types that cannot be cloned but can hold any error:
/// `anyhow::Error`, `eyre::Report`, `Box<dyn Error + Send + Sync>`.
///
/// The function's error then holds one of these. It reads like the error that it shares, its source is that one's source, and
/// [`SharedError::get`] leads to that one itself. A caller with whom nobody waited gets the error itself, not shared.
///
/// ```
/// use std::error::Error;
/// use cachetier::SharedError;
///
/// type BoxError = Box<dyn Error + Send + Sync>;
///
/// fn is_timeout(error: &BoxError) -> bool {
///     let own = error.downcast_ref::<SharedError<BoxError>>().map_or(error, SharedError::get);
///     own.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::TimedOut)
/// }
///
/// let error: BoxError = std::io::Error::from(std::io::ErrorKind::TimedOut).into();
/// assert!(is_timeout(&error));
/// ```
pub struct SharedError<E>(Arc<E>);

impl<E> SharedError<E> {
    pub(crate) fn new(error: &Arc<E>) -> Self {
        Self(Arc::clone(error))
    }

    /// The error that is shared.
    #[must_use]
    pub fn get(&self) -> &E {
        &self.0
    }
}

impl<E> Clone for SharedError<E> {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl<E: std::fmt::Debug> std::fmt::Debug for SharedError<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

impl<E: std::fmt::Display> std::fmt::Display for SharedError<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

impl<E> std::error::Error for SharedError<E>
where
    E: AsRef<dyn std::error::Error + Send + Sync> + std::fmt::Debug + std::fmt::Display,
{
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.get().as_ref().source()
    }
}
