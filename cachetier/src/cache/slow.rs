//! What is stale answers a call that waits for a load which takes longer than the policy says; the load goes on, for whoever comes next.

use std::convert::Infallible;
use std::future::Future;
use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::answer::Answer;
use super::call::CallOptions;
use super::load::is_within;
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
        let copy = self.instance().l1.peek(key.hash)?;
        (self.answers_stale(&copy) && A::of(&copy).is_some()).then_some(copy)
    }

    /// Whether a call that may leave its load need not wait for it to the end: it would be the one who makes it, and something stale would do.
    pub(super) fn may_leave<A: Answer>(&self, key: Key<'_>, policy: &Policy) -> bool {
        // From within a load none is made elsewhere: it could neither be lent that one's place, nor be seen to wait for it.
        policy.slow_after().is_some()
            && !is_within()
            && policy.check().is_ok()
            && self.instance().flights.seen(key.hash).is_none()
            && self.copy_if_slow::<A>(key).is_some()
    }

    /// The way from a miss on in a task of its own, which its caller waits for, but not for longer than he must.
    ///
    /// Left or dropped, it goes on for no longer than a load may take, nor than the cache lasts.
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
        let (stays, gone) = oneshot::channel::<Infallible>();
        // On the caller's own runtime: it ends with him, if that does.
        let task = tokio::spawn(async move {
            let fetch = part.fetch_as(telling, CallOptions::BEHIND, part.key(&text), &rules, move |_| load);
            tokio::select! {
                biased;
                found = fetch => Some(found),
                () = part.left(gone) => None,
            }
        });
        let found = self.or_stale(key, &policy, CallOptions::BEHIND, task).await;
        drop(stays);
        match found {
            Err(stale) => Ok(stale.answer),
            Ok(Ok(Some(found))) => found.map(|found| found.answer),
            Ok(Err(ended)) if ended.is_panic() => resume_unwind(ended.into_panic()),
            // It has not been left; or the runtime ends, and he with it.
            Ok(Ok(None) | Err(_)) => std::future::pending().await,
        }
    }

    /// Returns when nobody waits for a load any more, and it has had its time behind that, or the cache is closed.
    async fn left(&self, gone: oneshot::Receiver<Infallible>) {
        let Err(_) = gone.await;
        let _ = timeout(self.shared.config.load_limit, self.shared.refreshes.closed()).await;
    }
}
