//! Storing what was loaded behind the caller's back: he is answered at once, and a copy that may be kept briefly becomes a whole one when the
//! shared tier has answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::answer::{Answer, Maybe};
use super::ask::Flight;
use super::fill::Ready;
use super::open::entry;
use super::terms::Terms;
use super::{Key, Part};
use crate::flight::outcome::Begun;
use crate::key::KeyHash;
use crate::l1::Entry;
use crate::l2::tier::Tier;
use crate::rule::policy::Life;
use crate::sync::{Mutex, lock};
use crate::unhashed::BuildUnhashed;

/// What is on its way behind callers' backs.
#[derive(Clone, Debug, Default)]
pub(super) struct Behind(Arc<Ways>);

#[derive(Debug, Default)]
struct Ways {
    bytes: AtomicUsize,
    /// How many fills of each key.
    keys: Mutex<HashMap<KeyHash, usize, BuildUnhashed>>,
    arrived: Notify,
}

/// Room for a fill, and where it goes.
pub(super) struct Room {
    tier: Arc<Tier>,
    on_the_way: OnTheWay,
}

/// One fill.
struct OnTheWay {
    key: KeyHash,
    bytes: usize,
    of: Arc<Ways>,
}

impl Drop for OnTheWay {
    fn drop(&mut self) {
        self.of.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
        let mut keys = lock(&self.of.keys);
        if let Some(fills) = keys.get_mut(&self.key) {
            *fills -= 1;
            if *fills == 0 {
                keys.remove(&self.key);
            }
        }
        drop(keys);
        self.of.arrived.notify_waiters();
    }
}

impl Behind {
    /// Room for so many bytes more, if there is.
    fn room(&self, key: KeyHash, bytes: usize, limit: usize) -> Option<OnTheWay> {
        let more = |present: usize| present.checked_add(bytes).filter(|sum| *sum <= limit);
        self.0.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        *lock(&self.0.keys).entry(key).or_default() += 1;
        Some(OnTheWay { key, bytes, of: Arc::clone(&self.0) })
    }

    /// Returns when nothing of this key is on its way: who must not be overtaken by what was loaded before waits for that. Each fill has its limit.
    pub(super) async fn arrived(&self, key: KeyHash) {
        loop {
            let arrived = self.0.arrived.notified();
            tokio::pin!(arrived);
            // Registered before it is looked: what arrives in between is not missed.
            arrived.as_mut().enable();
            if !lock(&self.0.keys).contains_key(&key) {
                return;
            }
            arrived.await;
        }
    }
}

impl Part {
    /// Room for this fill in the background, if it is to be sent and there is any.
    pub(super) fn room_behind(&self, key: Key<'_>, ready: &Ready) -> Option<Room> {
        let tier = self.shared.tier.as_ref().filter(|_| ready.is_sent())?;
        // Until then the value itself is held, too: of one that is only renewed, or is compressed, that is more than is sent.
        let bytes = ready.parcel.bytes.len().max(ready.parcel.size);
        let on_the_way = self.shared.behind.room(key.hash, bytes, self.shared.config.write_behind)?;
        Some(Room { tier: Arc::clone(tier), on_the_way })
    }

    /// Ends the flight with the answer, and leaves the fill to the background.
    ///
    /// Until the fill has its answer the copy is one that may be kept briefly: the answer may be a refusal.
    pub(super) fn fill_behind<A: Answer>(
        &self,
        Room { tier, on_the_way }: Room,
        (flight, key): (Flight, Key<'_>),
        (ready, terms): (Ready, &Terms<'_>),
        begun: &Begun,
        (answer, keeps): (&A, bool),
    ) {
        let local = ready.parcel.life.local.min(self.now().until(begun.noted.at.after(self.shared.config.max_staleness)));
        let life = Life { shared: local, local, stale: Duration::ZERO };
        let facts = self.facts(begun, terms, answer, None, (life, ready.parcel.size, ready.parcel.cost));
        let brief = entry(facts, self.now(), answer.value().cloned());
        self.land(flight, key, Arc::clone(&brief), keeps);

        let (cache, hash, begun) = (self.clone(), key.hash, *begun);
        let (terms, value) = (terms.clone().owned(), Maybe(answer.value().cloned()));
        tier.tasks().clone().begin(async move {
            let filled = ready.send(&tier).await;
            let filling = cache.filled(ready, filled, &terms, &begun, &value);
            cache.replace(hash, &brief, (filling.keep && keeps).then_some(filling.entry));
            drop(on_the_way);
        });
    }

    /// Puts another entry in the place of this one, or nothing, if it is still there: what has invalidated it meanwhile has taken it out.
    fn replace(&self, key: KeyHash, old: &Arc<Entry>, new: Option<Arc<Entry>>) {
        let instance = self.instance();
        let change = || {
            if instance.l1.peek(key).is_none_or(|present| !Arc::ptr_eq(&present, old)) {
                return;
            }
            // One that was made stale is there still.
            match new.filter(|_| !self.closed() && !old.is_expired()) {
                Some(new) => drop(instance.l1.insert(key, new)),
                None => instance.l1.drop_entry(key, |_| false),
            }
        };
        // In one step with what invalidations do; flights are none of its business.
        instance.flights.invalidate(key, |_| true, change);
    }
}
