//! Invalidations that the shared tier has not confirmed: merged by target, bounded, and *not readable*: what stands here is not
//! read from the shared tier until it has been told.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::key::TagHash;
use crate::sync::{Mutex, lock};
use crate::wire::message::Targets;

/// The most targets told in one go.
const BATCH: usize = 1_000;

/// The invalidations of one instance that wait to be told.
#[derive(Debug)]
pub(crate) struct Outbox {
    waiting: Mutex<Waiting>,
    /// How many there are, so that a reader need not lock.
    len: AtomicUsize,
    /// How many bumps have begun that may yet come here.
    open: AtomicUsize,
    limit: usize,
    news: Notify,
}

/// Each target with the time, in additions, at which it was last added: what is added again while it is being told stays.
#[derive(Debug, Default)]
struct Waiting {
    keys: HashMap<String, u64>,
    tags: HashMap<TagHash, u64>,
    prefixes: HashMap<TagHash, u64>,
    all: Option<u64>,
    doubt: Option<u64>,
    additions: u64,
}

/// Some of what waits.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) targets: Targets,
    upto: u64,
}

impl Outbox {
    pub(crate) fn new(limit: usize) -> Self {
        Self { waiting: Mutex::default(), len: AtomicUsize::new(0), open: AtomicUsize::new(0), limit, news: Notify::new() }
    }

    /// Adds targets, and returns what now waits in their place: the same, or everything where they are too many.
    pub(crate) fn add(&self, targets: Targets) -> Targets {
        // Nobody knows what has become of what was to be made stale: told again, it goes.
        let targets = Targets { stale: false, ..targets };
        let mut waiting = lock(&self.waiting);
        waiting.additions = waiting.additions.saturating_add(1);
        let now = waiting.additions;
        let room = self.limit.saturating_sub(waiting.len());
        let added = if targets.len() > room { Targets { all: true, ..Targets::default() } } else { targets };
        if added.all {
            *waiting = Waiting { all: Some(now), additions: now, ..Waiting::default() };
        } else {
            waiting.keys.extend(added.keys.iter().map(|key| (key.clone(), now)));
            waiting.tags.extend(added.tags.iter().map(|tag| (*tag, now)));
            waiting.prefixes.extend(added.prefixes.iter().map(|prefix| (*prefix, now)));
            if added.doubt {
                waiting.doubt = Some(now);
            }
        }
        self.len.store(waiting.len(), Ordering::Release);
        drop(waiting);
        self.news.notify_one();
        added
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// A bump begins.
    pub(crate) fn begun(&self) {
        self.open.fetch_add(1, Ordering::AcqRel);
    }

    /// It has come to its outcome: what is left of it stands here.
    pub(crate) fn ended(&self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
    }

    /// How many have begun and not ended.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Whether the key waits to be invalidated, by itself, by a prefix or with everything.
    pub(crate) fn covers(&self, key: &str, prefixes: &[TagHash]) -> bool {
        if self.len() == 0 {
            return false;
        }
        let waiting = lock(&self.waiting);
        waiting.all.is_some()
            || waiting.keys.contains_key(key)
            || prefixes.iter().any(|prefix| waiting.prefixes.contains_key(prefix))
    }

    /// Whether one of the tags waits to be invalidated.
    pub(crate) fn covers_tags(&self, tags: &[TagHash]) -> bool {
        self.len() != 0 && {
            let waiting = lock(&self.waiting);
            tags.iter().any(|tag| waiting.tags.contains_key(tag) || waiting.prefixes.contains_key(tag))
        }
    }

    /// Some of what waits, if anything does.
    pub(crate) fn batch(&self) -> Option<Batch> {
        let waiting = lock(&self.waiting);
        let targets = Targets {
            keys: waiting.keys.keys().take(BATCH).cloned().collect(),
            tags: waiting.tags.keys().take(BATCH).copied().collect(),
            prefixes: waiting.prefixes.keys().take(BATCH).copied().collect(),
            all: waiting.all.is_some(),
            doubt: waiting.doubt.is_some(),
            stale: false,
        };
        (targets.len() > 0).then_some(Batch { targets, upto: waiting.additions })
    }

    /// The batch has been told.
    pub(crate) fn told(&self, batch: &Batch) {
        let mut waiting = lock(&self.waiting);
        remove(&mut waiting.keys, &batch.targets.keys, batch.upto);
        remove(&mut waiting.tags, &batch.targets.tags, batch.upto);
        remove(&mut waiting.prefixes, &batch.targets.prefixes, batch.upto);
        if batch.targets.all && waiting.all.is_some_and(|added| added <= batch.upto) {
            waiting.all = None;
        }
        if batch.targets.doubt && waiting.doubt.is_some_and(|added| added <= batch.upto) {
            waiting.doubt = None;
        }
        self.len.store(waiting.len(), Ordering::Release);
    }

    /// Returns when something has been added since it last returned.
    pub(crate) async fn news(&self) {
        self.news.notified().await;
    }
}

/// Nobody tells any more what is still there: neither a process that ends nor a handle that is dropped does.
impl Drop for Outbox {
    fn drop(&mut self) {
        let lost = self.len();
        if lost > 0 {
            tracing::warn!(
                invalidations = lost,
                "what was invalidated and is not confirmed is lost: other instances may serve it until its life is over; close before the last \
                 handle is dropped, and wait for it"
            );
        }
    }
}

impl Waiting {
    fn len(&self) -> usize {
        self.keys.len()
            + self.tags.len()
            + self.prefixes.len()
            + usize::from(self.all.is_some())
            + usize::from(self.doubt.is_some())
    }
}

fn remove<T: Hash + Eq>(waiting: &mut HashMap<T, u64>, told: &[T], upto: u64) {
    for target in told {
        if waiting.get(target).is_some_and(|added| *added <= upto) {
            waiting.remove(target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(keys: &[&str]) -> Targets {
        Targets { keys: keys.iter().map(|key| (*key).to_owned()).collect(), ..Targets::default() }
    }

    #[test]
    fn what_is_added_again_while_it_is_told_stays() {
        let outbox = Outbox::new(10);
        outbox.add(keys(&["a", "b"]));
        let batch = outbox.batch().unwrap();
        outbox.add(keys(&["a"]));
        outbox.told(&batch);
        assert!(outbox.covers("a", &[]));
        assert!(!outbox.covers("b", &[]));
        assert_eq!(outbox.len(), 1);
    }

    #[test]
    fn too_many_become_one_of_everything() {
        let outbox = Outbox::new(2);
        assert!(!outbox.add(keys(&["a", "b"])).all);
        assert!(outbox.add(keys(&["c"])).all);
        assert!(outbox.covers("anything", &[]));
        assert_eq!(outbox.len(), 1);
        let batch = outbox.batch().unwrap();
        outbox.told(&batch);
        assert_eq!(outbox.len(), 0);
        assert!(outbox.batch().is_none());
    }

    #[test]
    fn doubt_is_told_once_and_covers_no_key() {
        let outbox = Outbox::new(10);
        outbox.add(Targets { doubt: true, ..Targets::default() });
        assert!(!outbox.covers("a", &[]) && outbox.len() == 1);
        let batch = outbox.batch().unwrap();
        assert!(batch.targets.doubt);
        outbox.told(&batch);
        assert!(outbox.batch().is_none() && outbox.len() == 0);
    }

    #[test]
    fn a_prefix_covers_keys_and_values_below_it() {
        let outbox = Outbox::new(10);
        let prefix = TagHash::of_prefix("shop", "user:");
        outbox.add(Targets { prefixes: vec![prefix], ..Targets::default() });
        assert!(outbox.covers("user:1", &[prefix]));
        assert!(!outbox.covers("order:1", &[TagHash::of_prefix("shop", "order:")]));
        assert!(outbox.covers_tags(&[prefix]));
    }
}
