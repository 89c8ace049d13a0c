//! Where an answer came from.

use std::sync::Arc;
use std::time::Duration;

use super::answer::Answer;
use crate::clock::Millis;
use crate::l1::Entry;
use crate::view::View;

/// A value, and where it came from.
///
/// ```
/// # use std::time::Duration;
/// # use cachetier::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cache = TieredCache::builder("shop").build().await?;
/// # let policy = Policy::ttl(Duration::from_secs(60));
/// let served = cache.get_or_load_traced("price:9", policy, || async { Ok::<_, std::io::Error>(42) }).await?;
/// println!("{} from {:?}, {:?} old", served.value, served.origin, served.age);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Served<V> {
    /// The value.
    pub value: V,
    /// Where it was found.
    pub origin: Origin,
    /// How long ago its load ended, wherever that was.
    pub age: Duration,
    /// Why it may not be current, if there is a reason.
    pub stale: Option<Stale>,
}

/// Where a value was found.
///
/// ```
/// # use std::time::Duration;
/// # use cachetier::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cache = TieredCache::builder("shop").build().await?;
/// # let policy = Policy::ttl(Duration::from_secs(60));
/// let primes = cache.get_or_load_traced("primes", policy, || async { Ok::<_, std::io::Error>(vec![2, 3, 5]) }).await?;
/// assert_eq!(primes.origin, Origin::Loader);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// This instance had a copy.
    L1,
    /// The shared tier had it.
    L2,
    /// It was loaded or put: by this call, or by one in this instance that it waited for.
    Loader,
}

/// Why a value may not be current.
///
/// ```
/// # use std::time::Duration;
/// # use cachetier::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cache = TieredCache::builder("shop").build().await?;
/// # let policy = Policy::ttl(Duration::from_secs(60));
/// let served = cache.get_or_load_traced("price:9", policy, || async { Ok::<_, std::io::Error>(42) }).await?;
/// if served.stale == Some(Stale::Unproven) {
///     // "Prices may be a little out of date", says the page.
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stale {
    /// Nobody could prove that this instance has missed no invalidation, and the policy is
    /// [`OnUnreachable::Serve`](crate::OnUnreachable::Serve).
    Unproven,
    /// A load has failed, and [`Policy::stale_if_error`](crate::Policy::stale_if_error) lets what is stale answer in its place.
    LoadFailed,
    /// Its life is over, and [`Policy::stale_while_revalidate`](crate::Policy::stale_while_revalidate) lets it answer while a newer one is loaded.
    Revalidating,
}

impl<V> Served<V> {
    /// Returns the value alone.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// let load = || async { Ok::<_, std::io::Error>(42) };
    /// assert_eq!(cache.get_or_load_traced("price:9", policy, load).await?.into_value(), 42);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn into_value(self) -> V {
        self.value
    }
}

impl<V> std::fmt::Debug for Served<V> {
    /// Without the value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = &mut f.debug_struct("Served");
        shown.field("origin", &self.origin).field("age", &self.age).field("stale", &self.stale).finish_non_exhaustive()
    }
}

/// An answer on its way to the caller, with the entry that it was found in or that was made of it, if there is one.
pub(crate) struct Answered<A> {
    pub(crate) answer: A,
    origin: Origin,
    entry: Option<Arc<Entry>>,
}

impl<A: Answer> Answered<A> {
    pub(super) fn new(answer: A, origin: Origin, entry: Arc<Entry>) -> Self {
        Self { answer, origin, entry: Some(entry) }
    }

    /// What another call of this instance has brought, from wherever that had it.
    pub(super) fn brought(answer: A, entry: Arc<Entry>) -> Self {
        let origin = match entry.facts.is_loaded_here() {
            // Nothing was brought: it was kept here.
            _ if entry.facts.stands_in => Origin::L1,
            true => Origin::Loader,
            false => Origin::L2,
        };
        Self::new(answer, origin, entry)
    }

    /// What the caller has loaded itself, just now.
    pub(super) fn loaded(answer: A) -> Self {
        Self { answer, origin: Origin::Loader, entry: None }
    }

    /// The entry that it was found in.
    pub(super) fn entry(&self) -> Option<&Arc<Entry>> {
        self.entry.as_ref()
    }

    pub(super) fn served<V>(self, now: Millis, view: &View, value: impl FnOnce(A) -> V) -> Served<V> {
        let Self { answer, origin, entry } = self;
        let age = entry.as_ref().map_or(Duration::ZERO, |entry| entry.facts.loaded_at.until(now));
        let stale = entry.and_then(|entry| {
            if entry.facts.stands_in {
                Some(Stale::LoadFailed)
            } else if origin != Origin::Loader && entry.is_stale(now) {
                Some(Stale::Revalidating)
            } else {
                (origin != Origin::L2 && entry.lacks_proof(now, view)).then_some(Stale::Unproven)
            }
        });
        Served { value: value(answer), origin, age, stale }
    }
}
