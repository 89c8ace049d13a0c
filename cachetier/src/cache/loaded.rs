//! What a loader that is told of its load brings: a value, or that there is none, and how it is to be stored.

use std::future::Future;
use std::time::Duration;

use super::answer::{Answer, Maybe};
use super::rules::Tags;
use super::terms::{RulesFor, Terms};
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
/// async fn length(context: LoadContext<'_>) -> Result<Loaded<usize>, std::io::Error> {
///     Ok(Loaded::new(context.key().len()))
/// }
///
/// assert_eq!(cache.get_or_load_with("four", policy, length).await?, Some(4));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct LoadContext<'k> {
    key: &'k str,
}

impl<'k> LoadContext<'k> {
    pub(super) const fn of(key: &'k str) -> Self {
        Self { key }
    }

    /// Returns the key that is loaded.
    ///
    /// ```
    /// # use cachetier::*;
    /// fn path(context: LoadContext<'_>) -> String {
    ///     format!("/articles/{}", context.key())
    /// }
    /// # let _ = path;
    /// ```
    #[must_use]
    pub const fn key(&self) -> &'k str {
        self.key
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
        let Said { ttl, tags, not_stored } = &self.said;
        let shown = &mut f.debug_struct("Loaded");
        shown.field("nothing", &self.value.is_none()).field("ttl", ttl).field("tags", &tags.len()).field("not_stored", not_stored);
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

    fn adapt(&self, terms: &mut Terms<'_>) {
        if let Some(ttl) = self.said.ttl {
            terms.ttl(ttl);
        }
        self.said.tags.iter().for_each(|tag| terms.tag(tag));
        if self.said.not_stored {
            terms.not_stored();
        }
    }
}

impl TieredCache {
    /// [`TieredCache::get_or_load`] for a loader that is told of its load, and says how to store what it brings: its life, its tags, that
    /// there is none, that it is not to be kept.
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
    /// async fn load(context: LoadContext<'_>) -> Result<Loaded<Article>, std::io::Error> {
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
        rules: impl RulesFor<V>,
        load: F,
    ) -> Result<Option<V>, LoadError<E>>
    where
        V: Value,
        E: Send + Sync + 'static,
        F: FnOnce(LoadContext<'k>) -> Fut,
        Fut: Future<Output = Result<Loaded<V>, E>>,
    {
        let asked = self.key(key);
        if let Some(Maybe(value)) = self.hit(asked.hash) {
            return Ok(value);
        }
        let loaded: Loaded<V> = Box::pin(self.fetch(asked, rules, || load(LoadContext::of(key)))).await?;
        Ok(loaded.into_value())
    }
}
