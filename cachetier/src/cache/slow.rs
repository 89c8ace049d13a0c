//! What is stale answers a call that waits for a load which takes longer than the policy says; the load goes on, for whoever comes next.

use std::future::Future;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;

use tokio::time::timeout;

use super::answer::Answer;
use super::call::CallOptions;
use super::served::Answered;
use super::telling::Telling;
use super::{Key, Part, Rules};
use crate::l1::Entry;
use crate::rule::policy::Policy;

impl Part {
    /// Waits for a load, or for as long as the policy says, if then there is a copy that answers in its place.
    ///
    /// Cancel safety: that of what is waited for, which is dropped where the copy answers.
    pub(super) async fn or_stale<A: Answer, T>(
        &self,
        key: Key<'_>,
        policy: &Policy,
        options: CallOptions,
        load: impl Future<Output = T>,
    ) -> Result<T, Answered<A>> {
        let mut load = pin!(load);
        if let Some(after) = policy.slow_after().filter(|_| options.looks_here() && !options.fresh) {
            if let Ok(landed) = timeout(after, &mut load).await {
                return Ok(landed);
            }
            if let Some(copy) = self.copy_if_slow::<A>(key)
                && let Some(answer) = self.served(copy)
            {
                return Err(answer);
            }
        }
        Ok(load.await)
    }

    /// What is stale here and may answer while something newer is loaded.
    fn copy_if_slow<A: Answer>(&self, key: Key<'_>) -> Option<Arc<Entry>> {
        let copy = self.fallback::<A>(key)?;
        self.answers_if_slow(&copy).then_some(copy)
    }

    pub(super) fn answers_if_slow(&self, copy: &Entry) -> bool {
        let (now, view) = (self.now(), &self.instance().view);
        copy.is_fallback(now, view) && copy.needs_nobody(now, view)
    }

    /// Whether a call that may leave its load need not wait for it to the end: it would be the one who makes it, and something stale would do.
    pub(super) fn may_leave<A: Answer>(&self, key: Key<'_>, policy: &Policy) -> bool {
        policy.slow_after().is_some()
            && policy.check().is_ok()
            && self.instance().flights.seen(key.hash).is_none()
            && self.copy_if_slow::<A>(key).is_some()
    }

    /// The way from a miss on in a task of its own, which its caller waits for, but not for longer than he must.
    ///
    /// Cancel safety: dropped, the load goes on.
    pub(super) async fn fetch_apart<A, E, T, R, Fut>(
        &self,
        telling: impl Telling<E, T> + Send + Sync + 'static,
        key: Key<'_>,
        rules: R,
        load: Fut,
    ) -> Result<A, T>
    where
        A: Answer + Send + Sync + 'static,
        E: Send + Sync + 'static,
        T: Send + 'static,
        R: Rules<A::Value> + Send + Sync + 'static,
        Fut: Future<Output = Result<A, E>> + Send + 'static,
    {
        let (part, text, policy) = (self.clone(), key.text.to_owned(), *rules.policy());
        // On the caller's own runtime: it ends with him, if that does.
        let task = tokio::spawn(async move {
            let key = part.key(&text);
            part.fetch_as(telling, CallOptions::BEHIND, key, &rules, move |_| load).await
        });
        match self.or_stale(key, &policy, CallOptions::BEHIND, task).await {
            Err(stale) => Ok(stale.answer),
            Ok(Ok(found)) => found.map(|found| found.answer),
            Ok(Err(ended)) => match ended.try_into_panic() {
                Ok(panic) => resume_unwind(panic),
                Err(_) => std::future::pending().await,
            },
        }
    }
}
