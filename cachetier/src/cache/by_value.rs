//! Rules that look at the value: its life, its tags, whether it is stored at all.

use std::time::Duration;

use super::rules::{Rules, Tagged, Tags};
use super::terms::Terms;
use crate::rule::policy::Policy;

/// Rules that look at the value: what [`Policy::ttl_with`], [`Policy::tags_with`] and [`Policy::cache_if`] make of others.
///
/// ```
/// use std::time::Duration;
/// use cachetier::{Policy, Rules};
///
/// fn articles() -> impl Rules<String> {
///     let policy = Policy::ttl(Duration::from_secs(60)).tags(["articles"]);
///     policy.cache_if(|text: &String| !text.is_empty()).ttl_with(|text: &String| Duration::from_secs(text.len() as u64))
/// }
/// # let _ = articles();
/// ```
///
/// Made once, they are given to each call by reference.
#[must_use = "rules do nothing by themselves"]
pub struct ByValue<R, F> {
    rules: R,
    adapt: F,
}

impl<V, R: Rules<V>, F: Fn(&V, &mut Terms<'_>)> Rules<V> for ByValue<R, F> {
    fn policy(&self) -> &Policy {
        self.rules.policy()
    }

    fn adapt(&self, value: Option<&V>, terms: &mut Terms<'_>) {
        self.rules.adapt(value, terms);
        // What is not stored is asked nothing more: whoever says so first keeps the rest from values that they do not fit.
        if let Some(value) = value.filter(|_| terms.stored) {
            (self.adapt)(value, terms);
        }
    }
}

pub(crate) fn ttl_with<V, R>(rules: R, ttl: impl Fn(&V) -> Duration) -> ByValue<R, impl Fn(&V, &mut Terms<'_>)> {
    ByValue { rules, adapt: move |value: &V, terms: &mut Terms<'_>| terms.ttl(ttl(value)) }
}

pub(crate) fn tags_with<V, R, T>(rules: R, tags: impl Fn(&V) -> T) -> ByValue<R, impl Fn(&V, &mut Terms<'_>)>
where
    T: Tags,
{
    ByValue { rules, adapt: move |value: &V, terms: &mut Terms<'_>| tags(value).each(&mut |tag| terms.tag(tag)) }
}

pub(crate) fn cache_if<V, R>(rules: R, cache: impl Fn(&V) -> bool) -> ByValue<R, impl Fn(&V, &mut Terms<'_>)> {
    let adapt = move |value: &V, terms: &mut Terms<'_>| {
        if !cache(value) {
            terms.not_stored();
        }
    };
    ByValue { rules, adapt }
}

impl Policy {
    /// A value lives for as long as it says itself, and not for the policy's `ttl`: what a token's issuer or another service's answer says, for
    /// instance. The policy's jitter shortens that, too, and its `l1_ttl` bounds it here. No time at all means that it is not stored.
    ///
    /// That there is none is remembered for the policy's `negative_ttl`.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// #[derive(Clone, serde::Serialize, serde::Deserialize)]
    /// struct Token {
    ///     text: String,
    ///     seconds: u64,
    /// }
    ///
    /// let rules = policy.ttl_with(|token: &Token| Duration::from_secs(token.seconds));
    /// let fetch = || async { Token { text: "ey..".to_owned(), seconds: 0 } };
    /// cache.get_or_compute("token:mail", rules, fetch).await?;
    /// assert!(cache.get::<Token>("token:mail").await.is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub fn ttl_with<V>(self, ttl: impl Fn(&V) -> Duration) -> ByValue<Self, impl Fn(&V, &mut Terms<'_>)> {
        ttl_with(self, ttl)
    }

    /// A value carries the tags that it names itself, beside those that it has anyway.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// // The orders of a customer, and whom each of them is for.
    /// let rules = policy.tags_with(|orders: &Vec<u64>| orders.iter().map(|id| format!("order:{id}")).collect::<Vec<_>>());
    /// cache.set("orders:7", vec![1_u64, 2], rules).await?;
    /// cache.invalidate_tag("order:2").await?;
    /// assert_eq!(cache.get::<Vec<u64>>("orders:7").await, None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn tags_with<V, T: Tags>(self, tags: impl Fn(&V) -> T) -> ByValue<Self, impl Fn(&V, &mut Terms<'_>)> {
        tags_with(self, tags)
    }

    /// A value is stored only if this says so; those who asked for it get it in any case.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// let complete = policy.cache_if(|hits: &Vec<String>| !hits.is_empty());
    /// assert!(cache.get_or_compute("search:rust", complete, || async { Vec::<String>::new() }).await?.is_empty());
    /// assert_eq!(cache.get::<Vec<String>>("search:rust").await, None);
    /// # Ok(())
    /// # }
    /// ```
    pub fn cache_if<V>(self, cache: impl Fn(&V) -> bool) -> ByValue<Self, impl Fn(&V, &mut Terms<'_>)> {
        cache_if(self, cache)
    }
}

impl<L: Tags> Tagged<L> {
    /// [`Policy::ttl_with`], beside these tags.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let policy = Policy::ttl(Duration::from_secs(60));
    /// let rules = policy.tags(["tokens"]).ttl_with(|token: &String| Duration::from_secs(token.len() as u64));
    /// # let _ = rules;
    /// ```
    pub fn ttl_with<V>(self, ttl: impl Fn(&V) -> Duration) -> ByValue<Self, impl Fn(&V, &mut Terms<'_>)> {
        ttl_with(self, ttl)
    }

    /// [`Policy::tags_with`], beside these tags.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let policy = Policy::ttl(Duration::from_secs(60));
    /// let rules = policy.tags(["users"]).tags_with(|name: &String| [format!("letters:{}", name.len())]);
    /// # let _ = rules;
    /// ```
    pub fn tags_with<V, T: Tags>(self, tags: impl Fn(&V) -> T) -> ByValue<Self, impl Fn(&V, &mut Terms<'_>)> {
        tags_with(self, tags)
    }

    /// [`Policy::cache_if`], with these tags.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let policy = Policy::ttl(Duration::from_secs(60));
    /// let rules = policy.tags(["searches"]).cache_if(|hits: &Vec<String>| !hits.is_empty());
    /// # let _ = rules;
    /// ```
    pub fn cache_if<V>(self, cache: impl Fn(&V) -> bool) -> ByValue<Self, impl Fn(&V, &mut Terms<'_>)> {
        cache_if(self, cache)
    }
}

impl<R, F> ByValue<R, F> {
    /// [`Policy::ttl_with`], after what these rules say: of two the later one counts.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let policy = Policy::ttl(Duration::from_secs(60));
    /// let rules = policy.cache_if(|n: &u64| *n > 0).ttl_with(|n: &u64| Duration::from_secs(*n));
    /// # let _ = rules;
    /// ```
    pub fn ttl_with<V>(self, ttl: impl Fn(&V) -> Duration) -> ByValue<Self, impl Fn(&V, &mut Terms<'_>)> {
        ttl_with(self, ttl)
    }

    /// [`Policy::tags_with`], beside the tags that these rules name.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let policy = Policy::ttl(Duration::from_secs(60));
    /// let rules = policy.cache_if(|n: &u64| *n > 0).tags_with(|n: &u64| [format!("digits:{}", n.ilog10())]);
    /// # let _ = rules;
    /// ```
    pub fn tags_with<V, T: Tags>(self, tags: impl Fn(&V) -> T) -> ByValue<Self, impl Fn(&V, &mut Terms<'_>)> {
        tags_with(self, tags)
    }

    /// [`Policy::cache_if`], where these rules would store it.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let policy = Policy::ttl(Duration::from_secs(60));
    /// let rules = policy.ttl_with(|n: &u64| Duration::from_secs(*n)).cache_if(|n: &u64| *n < 1_000);
    /// # let _ = rules;
    /// ```
    pub fn cache_if<V>(self, cache: impl Fn(&V) -> bool) -> ByValue<Self, impl Fn(&V, &mut Terms<'_>)> {
        cache_if(self, cache)
    }
}

impl<R: std::fmt::Debug, F> std::fmt::Debug for ByValue<R, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ByValue").field("rules", &self.rules).finish_non_exhaustive()
    }
}
