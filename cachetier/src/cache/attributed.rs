//! What the attributes need of the cache: the two ways of a read that they go themselves, and an invalidation of several kinds at once.

use std::future::Future;
use std::sync::Arc;

use super::answer::Answer;
use super::call::CallOptions;
use super::places::turn_back;
use super::telling::Telling;
use super::{Rules, TieredCache};
use crate::error::KeyError;
use crate::key::{TagHash, check_key, check_prefix};
use crate::l1::Entry;
use crate::wire::message::Targets;

impl TieredCache {
    /// The copy of this instance, if it can answer the call.
    pub(crate) fn hit_of<A: Answer>(&self, key: &[u8]) -> Option<A> {
        self.parts.of(key).hit_of_unless_due(key)
    }

    /// The way from a miss on.
    pub(crate) fn miss_of<A, E, T, F, Fut>(
        &self,
        telling: impl Telling<E, T>,
        key: &str,
        rules: impl Rules<A::Value>,
        load: F,
    ) -> impl Future<Output = Result<A, T>>
    where
        A: Answer,
        F: FnOnce(Option<Arc<Entry>>) -> Fut,
        Fut: Future<Output = Result<A, E>>,
    {
        let (part, key) = self.at(key);
        let found = part.fetch_as(telling, CallOptions::new(), key, rules, load);
        async move {
            let found = found.await?;
            turn_back().await;
            Ok(found.answer)
        }
    }

    /// The same for a load that may be kept: what is due is loaded behind the caller's back.
    pub(crate) async fn miss_or_refresh_of<A, E, T, R, F, Fut>(
        &self,
        telling: impl Telling<E, T> + Send + Sync + 'static,
        key: &str,
        rules: R,
        load: F,
    ) -> Result<A, T>
    where
        A: Answer + Send + Sync + 'static,
        E: Send + Sync + 'static,
        T: Send + 'static,
        R: Rules<A::Value> + Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<A, E>> + Send + 'static,
    {
        let (part, key) = self.at(key);
        part.find_or_refresh(telling, key, rules, load).await
    }

    /// Invalidates keys, tags and prefixes in one step, also if some of them cannot be used; those are counted, and the first is logged.
    pub(crate) async fn invalidate_usable(&self, keys: &[String], tags: &[String], prefixes: &[String]) {
        let namespace = &self.config().namespace;
        let targets = Targets {
            keys: self.usable(keys, check_key).cloned().collect(),
            tags: self.usable(tags, check_key).map(|tag| TagHash::of(namespace, tag)).collect(),
            prefixes: self.usable(prefixes, check_prefix).map(|prefix| TagHash::of_prefix(namespace, prefix)).collect(),
            ..Targets::default()
        };
        let usable = targets.len();
        if usable == 0 {
            return;
        }
        if let Err(error) = self.bump(targets).await {
            self.tell_refused(usable, "", &error);
        }
    }

    fn usable<'a>(&self, texts: &'a [String], check: fn(&str) -> Result<(), KeyError>) -> impl Iterator<Item = &'a String> {
        texts.iter().filter(move |text| {
            let checked = check(text);
            if let Err(error) = &checked {
                self.tell_refused(1, text, error);
            }
            checked.is_ok()
        })
    }

    fn tell_refused(&self, count: usize, text: &str, error: &dyn std::error::Error) {
        let counters = self.counters();
        counters.invalidations_refused.add(u64::try_from(count).unwrap_or(u64::MAX));
        if counters.told.refused.first() {
            let text: String = text.chars().take(64).collect();
            tracing::error!(text, %error, "an invalidation cannot be made; further ones are only counted");
        }
    }
}
