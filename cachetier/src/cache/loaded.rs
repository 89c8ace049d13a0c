//! What a loader that is told of its load brings: a value, or that there is none, and how it is to be stored.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use super::answer::{Answer, Maybe};
use super::rules::Rules;
use super::rules::Tags;
use super::terms::Terms;
use super::{TieredCache, Value};
use crate::error::LoadError;
use crate::l1::Entry;

/// What a loader is told of its load: see [`TieredCache::get_or_load_with`].
///
/// ```
/// # use std::time::Duration;
/// # use cachetier::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let cache = TieredCache::builder("shop").build().await?;
/// # let policy = Policy::ttl(Duration::from_secs(60));
/// async fn length(context: LoadContext<'_, usize>) -> Result<Loaded<usize>, std::io::Error> {
///     Ok(Loaded::new(context.key().len()))
/// }
///
/// assert_eq!(cache.get_or_load_with("four", policy, length).await?, Some(4));
/// # Ok(())
/// # }
/// ```
pub struct LoadContext<'k, V> {
    key: &'k str,
    stale: Option<StaleValue<V>>,
}

/// A value that is to be replaced, shown to the loader that is to bring a newer one: see [`LoadContext::stale`].
///
/// ```
/// # use std::time::Duration;
/// # use cachetier::*;
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (clock, hand) = Clock::manual();
/// let cache = TieredCache::builder("shop").clock(clock).build().await?;
/// let policy = Policy::ttl(Duration::from_secs(60)).stale_for(Duration::from_secs(600)).jitter(0);
/// cache.set("greeting", "hello".to_owned(), policy).await?;
/// hand.advance(Duration::from_secs(61));
///
/// let load = async |context: LoadContext<'_, String>| {
///     let stale = context.stale().expect("it is kept for ten minutes");
///     assert_eq!((stale.value().as_str(), stale.validator()), ("hello", None));
///     Ok::<_, std::io::Error>(stale.not_modified())
/// };
/// assert_eq!(cache.get_or_load_with("greeting", policy, load).await?, Some("hello".to_owned()));
/// # Ok(())
/// # }
/// ```
pub struct StaleValue<V> {
    entry: Arc<Entry>,
    of: PhantomData<fn() -> V>,
}

impl<'k, V: Value> LoadContext<'k, V> {
    pub(super) fn of(key: &'k str, stale: Option<Arc<Entry>>) -> Self {
        let stale = stale.filter(|entry| entry.value::<V>().is_some());
        Self { key, stale: stale.map(|entry| StaleValue { entry, of: PhantomData }) }
    }

    /// Returns the key that is loaded.
    ///
    /// ```
    /// # use cachetier::*;
    /// fn path(context: &LoadContext<'_, String>) -> String {
    ///     format!("/articles/{}", context.key())
    /// }
    /// # let _ = path;
    /// ```
    #[must_use]
    pub const fn key(&self) -> &'k str {
        self.key
    }

    /// Returns what the key held until its life was over or it was [expired](TieredCache::expire), if it was kept
    /// ([`stale_for`](crate::Policy::stale_for)) and nothing has invalidated it since: as the shared tier tells, or as far as this instance has heard
    /// where that is not asked or does not answer, by [`OnUnreachable`](crate::OnUnreachable). In a [fresh](crate::CallOptions::fresh) call, what it
    /// holds.
    /// It may be found to be current: then [`StaleValue::not_modified`] is what the loader returns.
    ///
    /// ```
    /// # use cachetier::*;
    /// async fn load(context: LoadContext<'_, String>) -> Result<Loaded<String>, std::io::Error> {
    ///     # async fn fetch(_: &str, _: Option<&str>) -> Result<Option<(String, String)>, std::io::Error> { Ok(None) }
    ///     // GET, with If-None-Match where there is a validator; None is "304 Not Modified".
    ///     let validator = context.stale().and_then(|stale| stale.validator());
    ///     match (fetch(context.key(), validator).await?, context.stale()) {
    ///         (None, Some(stale)) => Ok(stale.not_modified()),
    ///         (Some((page, etag)), _) => Ok(Loaded::new(page).validator(etag)),
    ///         (None, None) => Ok(Loaded::nothing()),
    ///     }
    /// }
    /// # let _ = load;
    /// ```
    #[must_use]
    pub const fn stale(&self) -> Option<&StaleValue<V>> {
        self.stale.as_ref()
    }
}

impl<V: Value> StaleValue<V> {
    /// Returns the value.
    ///
    /// ```
    /// # use cachetier::*;
    /// fn older(context: &LoadContext<'_, u64>) -> Option<u64> {
    ///     context.stale().map(|stale| *stale.value())
    /// }
    /// # let _ = older;
    /// ```
    #[must_use]
    #[expect(clippy::missing_panics_doc, clippy::expect_used, reason = "looked at when it was made")]
    pub fn value(&self) -> &V {
        self.entry.value().expect("a value of this type")
    }

    /// Returns the [validator](Loaded::validator) that its loader gave it, if it did.
    ///
    /// ```
    /// # use cachetier::*;
    /// fn etag(context: &LoadContext<'_, String>) -> Option<String> {
    ///     context.stale()?.validator().map(str::to_owned)
    /// }
    /// # let _ = etag;
    /// ```
    #[must_use]
    pub fn validator(&self) -> Option<&str> {
        self.entry.facts.validator.as_deref()
    }

    /// What a loader returns that has found it to be current: it is stored anew, with the life that the rules or the loader say, its own
    /// tags and its validator. Where the shared tier still has it, nothing of it is sent there.
    ///
    /// ```
    /// # use cachetier::*;
    /// async fn load(context: LoadContext<'_, String>) -> Result<Loaded<String>, std::io::Error> {
    ///     # async fn unchanged(_: &str) -> Result<bool, std::io::Error> { Ok(true) }
    ///     match context.stale() {
    ///         Some(stale) if unchanged(context.key()).await? => Ok(stale.not_modified()),
    ///         _ => Ok(Loaded::new("read anew".to_owned())),
    ///     }
    /// }
    /// # let _ = load;
    /// ```
    pub fn not_modified(&self) -> Loaded<V> {
        let validator = self.entry.facts.validator.as_deref().map(str::to_owned);
        let said = Said { unmodified: Some(Arc::clone(&self.entry)), validator, ..Said::default() };
        Loaded { value: Some(self.value().clone()), said }
    }
}

impl<V> Clone for LoadContext<'_, V> {
    fn clone(&self) -> Self {
        Self { key: self.key, stale: self.stale.clone() }
    }
}

impl<V> Clone for StaleValue<V> {
    fn clone(&self) -> Self {
        Self { entry: Arc::clone(&self.entry), of: PhantomData }
    }
}

impl<V> std::fmt::Debug for LoadContext<'_, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoadContext").field("key", &self.key).field("stale", &self.stale.is_some()).finish()
    }
}

impl<V> std::fmt::Debug for StaleValue<V> {
    /// Without the value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StaleValue").field("validator", &self.entry.facts.validator).finish_non_exhaustive()
    }
}

/// What a loader brings, with what it says of storing it: see [`TieredCache::get_or_load_with`]. What it does not say, the rules of the call
/// do.
///
/// ```
/// use std::time::Duration;
/// use cachetier::Loaded;
///
/// let article = Loaded::new("A cache, said the fox ..".to_owned()).ttl(Duration::from_secs(600)).tags(["author:7"]);
/// let unfinished = Loaded::new("A cache ..".to_owned()).not_stored();
/// let gone = Loaded::<String>::nothing().ttl(Duration::from_secs(30));
/// # drop((article, unfinished, gone));
/// ```
#[derive(Clone)]
#[must_use = "it is what the loader is to return"]
pub struct Loaded<V> {
    value: Option<V>,
    said: Said,
}

/// What a loader says of storing what it brings.
#[derive(Clone, Default)]
struct Said {
    ttl: Option<Duration>,
    tags: Vec<String>,
    not_stored: bool,
    validator: Option<String>,
    unmodified: Option<Arc<Entry>>,
}

impl<V> Loaded<V> {
    pub(super) fn into_value(self) -> Option<V> {
        self.value
    }

    /// A value.
    pub fn new(value: V) -> Self {
        Self { value: Some(value), said: Said::default() }
    }

    /// There is none. It is remembered for the policy's [`negative_ttl`](crate::Policy::negative_ttl), if it has one, or for the time that
    /// is [said](Loaded::ttl).
    ///
    /// ```
    /// # use cachetier::*;
    /// let gone = Loaded::<String>::nothing();
    /// # drop(gone);
    /// ```
    pub fn nothing() -> Self {
        Self { value: None, said: Said::default() }
    }

    /// It lives for so long, whatever the rules say; the policy's jitter shortens it. No time at all means that it is not stored.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let answer = Loaded::new("an answer that says: max-age=600").ttl(Duration::from_secs(600));
    /// # drop(answer);
    /// ```
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.said.ttl = Some(ttl);
        self
    }

    /// It carries these tags, beside those of the rules.
    ///
    /// ```
    /// # use cachetier::*;
    /// let order = Loaded::new(("an order", 7)).tags([format!("customer:{}", 7)]);
    /// # drop(order);
    /// ```
    pub fn tags(mut self, tags: impl Tags) -> Self {
        tags.each(&mut |tag| self.said.tags.push(tag.to_owned()));
        self
    }

    /// What its source knows this version of it by: an `ETag`, a date, the version of a row; at most 255 bytes. It is stored beside the value, and
    /// shown to the loader that is to bring a newer one, which may ask its source whether there is one: see [`LoadContext::stale`].
    ///
    /// ```
    /// # use cachetier::*;
    /// let page = Loaded::new("<html>..".to_owned()).validator("33a64df5");
    /// # drop(page);
    /// ```
    pub fn validator(mut self, validator: impl Into<String>) -> Self {
        self.said.validator = Some(validator.into());
        self
    }

    /// It is returned to those who asked for it, and kept in neither tier.
    ///
    /// ```
    /// # use cachetier::*;
    /// let incomplete = Loaded::new(vec!["the first page"]).not_stored();
    /// # drop(incomplete);
    /// ```
    pub fn not_stored(mut self) -> Self {
        self.said.not_stored = true;
        self
    }
}

impl<V> From<V> for Loaded<V> {
    fn from(value: V) -> Self {
        Self::new(value)
    }
}

impl<V> From<Option<V>> for Loaded<V> {
    fn from(value: Option<V>) -> Self {
        Self { value, said: Said::default() }
    }
}

impl<V> std::fmt::Debug for Loaded<V> {
    /// Without the value.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Said { ttl, tags, not_stored, validator, unmodified } = &self.said;
        let shown = &mut f.debug_struct("Loaded");
        shown.field("nothing", &self.value.is_none()).field("ttl", ttl).field("tags", &tags.len()).field("not_stored", not_stored);
        shown.field("validator", validator).field("not_modified", &unmodified.is_some());
        shown.finish_non_exhaustive()
    }
}

/// An answer is what a loader has brought, and whatever was found instead.
impl<V: Value> Answer for Loaded<V> {
    type Value = V;

    fn of(entry: &Entry) -> Option<Self> {
        Maybe::of(entry).map(|Maybe(value)| From::from(value))
    }

    fn from(value: Option<V>) -> Option<Self> {
        Some(From::from(value))
    }

    fn value(&self) -> Option<&V> {
        self.value.as_ref()
    }

    const SEES_STALE: bool = true;

    fn unmodified(&self) -> Option<&Arc<Entry>> {
        self.said.unmodified.as_ref()
    }

    fn adapt(&self, terms: &mut Terms<'_>) {
        if let Some(ttl) = self.said.ttl {
            terms.ttl(ttl);
        }
        if let Some(entry) = &self.said.unmodified {
            terms.tags.extend(&entry.facts.tags);
        }
        self.said.tags.iter().for_each(|tag| terms.tag(tag));
        terms.validator.clone_from(&self.said.validator);
        if self.said.not_stored {
            terms.not_stored();
        }
    }
}

impl TieredCache {
    /// [`TieredCache::get_or_load`] for a loader that is told of its load, of what is stale, and says how to store what it brings: its
    /// life, its tags, its validator, that there is none, that it is not to be kept, that what is stale is current.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// #[derive(Clone, serde::Serialize, serde::Deserialize)]
    /// struct Article {
    ///     author: u64,
    ///     draft: bool,
    /// }
    ///
    /// async fn load(context: LoadContext<'_, Article>) -> Result<Loaded<Article>, std::io::Error> {
    ///     // SELECT .. WHERE key = context.key()
    ///     let row = (context.key() == "article:1").then_some(Article { author: 7, draft: false });
    ///     let Some(article) = row else { return Ok(Loaded::nothing().ttl(Duration::from_secs(10))) };
    ///     let (author, draft) = (article.author, article.draft);
    ///     let loaded = Loaded::new(article).tags([format!("author:{author}")]);
    ///     Ok(if draft { loaded.not_stored() } else { loaded })
    /// }
    ///
    /// assert!(cache.get_or_load_with("article:1", policy, load).await?.is_some());
    /// cache.invalidate_tag("author:7").await?;
    /// assert!(cache.get::<Article>("article:1").await.is_none());
    ///
    /// assert!(cache.get_or_load_with("article:2", policy, load).await?.is_none());
    /// assert!(cache.get_or_load_with("article:2", policy, load).await?.is_none());
    /// assert_eq!(cache.stats().loads, 2, "that there is none was remembered");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety as for [`TieredCache::get_or_load`].
    ///
    /// # Errors
    ///
    /// As [`TieredCache::get_or_load`].
    pub async fn get_or_load_with<'k, V, E, F, Fut>(
        &self,
        key: &'k str,
        rules: impl Rules<V>,
        load: F,
    ) -> Result<Option<V>, LoadError<E>>
    where
        V: Value,
        E: Send + Sync + 'static,
        F: FnOnce(LoadContext<'k, V>) -> Fut,
        Fut: Future<Output = Result<Loaded<V>, E>>,
    {
        let (part, asked) = self.at(key);
        if let Some(Maybe(value)) = part.hit_unless_due(asked) {
            return Ok(value);
        }
        let loaded: Loaded<V> = Box::pin(part.fetch(asked, rules, |stale| load(LoadContext::of(key, stale)))).await?;
        Ok(loaded.into_value())
    }
}
