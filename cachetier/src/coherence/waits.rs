//! Who waits here for what other instances load: by key, until word comes that there is something to be had, or to be looked at.
//! Whose tickets are waited for, and for how long, is the reader's business.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::key::KeyHash;
use crate::sync::{Mutex, lock};
use crate::unhashed::BuildUnhashed;

/// What who waits is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// The key holds this now.
    Held(Vec<u8>),
    /// Its load has failed, for this reason.
    Failed(Arc<str>),
    /// Something has become of it, or may have.
    Look,
}

/// Everybody who waits in this instance.
#[derive(Debug)]
pub(crate) struct Waits {
    /// What stands before a key in its name.
    head: String,
    /// Whether word would reach this instance.
    listening: AtomicBool,
    next: AtomicU64,
    /// How many wait, so that who has nothing to tell them takes no lock.
    open: AtomicUsize,
    keys: Mutex<HashMap<KeyHash, Vec<Waiter>, BuildUnhashed>>,
}

#[derive(Debug)]
struct Waiter {
    number: u64,
    tell: UnboundedSender<Told>,
}

fn senders<'a>(waiters: impl IntoIterator<Item = &'a Waiter>) -> Vec<UnboundedSender<Told>> {
    waiters.into_iter().map(|waiter| waiter.tell.clone()).collect()
}

/// Not under the lock: who is woken may call back, and who drops what he waits with does.
fn tell(waiters: Vec<UnboundedSender<Told>>, told: &Told) {
    for waiter in waiters {
        // Who is gone is told nothing.
        let _ = waiter.send(told.clone());
    }
}

impl Waits {
    /// In the names of the shared tier `head` stands before each key.
    pub(crate) fn new(head: String) -> Self {
        Self { head, listening: AtomicBool::new(false), next: AtomicU64::new(0), open: AtomicUsize::new(0), keys: Mutex::default() }
    }

    /// Begins to wait for some keys. It comes before the question whether there is anything to wait for: no word is missed in between.
    pub(crate) fn wait(&self, keys: impl IntoIterator<Item = KeyHash>) -> Wait<'_> {
        let (tell, told) = unbounded_channel();
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let keys: Vec<KeyHash> = keys.into_iter().collect();
        let mut waiting = lock(&self.keys);
        for key in &keys {
            waiting.entry(*key).or_default().push(Waiter { number, tell: tell.clone() });
        }
        self.open.fetch_add(keys.len(), Ordering::AcqRel);
        drop(waiting);
        Wait { of: self, number, keys, told }
    }

    /// The key that is known to the shared tier by this name.
    pub(crate) fn key_of<'a>(&self, name: &'a str) -> Option<&'a str> {
        name.strip_prefix(&self.head)
    }

    /// Tells those who wait for a key.
    pub(crate) fn tell(&self, key: KeyHash, told: &Told) {
        if self.open.load(Ordering::Acquire) == 0 {
            return;
        }
        let waiters = lock(&self.keys).get(&key).map(senders).unwrap_or_default();
        tell(waiters, told);
    }

    /// Tells everybody to look.
    pub(crate) fn tell_all(&self) {
        if self.open.load(Ordering::Acquire) == 0 {
            return;
        }
        let waiters = senders(lock(&self.keys).values().flatten());
        tell(waiters, &Told::Look);
    }

    /// Whether word reaches this instance from now on. What came until then, or did not, is to be looked for.
    pub(crate) fn listens(&self, listening: bool) {
        self.listening.store(listening, Ordering::Release);
        self.tell_all();
    }

    /// Whether word would reach this instance, for all that is known.
    pub(crate) fn is_listening(&self) -> bool {
        self.listening.load(Ordering::Acquire)
    }
}

/// One who waits. Dropped, it does so no longer.
#[derive(Debug)]
pub(crate) struct Wait<'a> {
    of: &'a Waits,
    number: u64,
    keys: Vec<KeyHash>,
    told: UnboundedReceiver<Told>,
}

impl Wait<'_> {
    /// What is told next.
    ///
    /// Cancel safety: what has come stays there.
    pub(crate) async fn told(&mut self) -> Told {
        poll_fn(|cx| self.poll_told(cx)).await
    }

    pub(crate) fn poll_told(&mut self, cx: &mut Context<'_>) -> Poll<Told> {
        match self.told.poll_recv(cx) {
            Poll::Ready(Some(told)) => Poll::Ready(told),
            // Who waits for no key is told nothing.
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let mut waiting = lock(&self.of.keys);
        for key in &self.keys {
            if let Some(waiters) = waiting.get_mut(key) {
                waiters.retain(|waiter| waiter.number != self.number);
                if waiters.is_empty() {
                    waiting.remove(key);
                }
            }
        }
        self.of.open.fetch_sub(self.keys.len(), Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use super::*;

    fn now(wait: &mut Wait<'_>) -> Option<Told> {
        match pin!(wait.told()).as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(told) => Some(told),
            Poll::Pending => None,
        }
    }

    #[test]
    fn each_who_waits_for_a_key_is_told_and_nobody_else_is() {
        let waits = Waits::new("ct:shop:v:".to_owned());
        let (a, b, c) = (KeyHash(1), KeyHash(2), KeyHash(3));
        let (mut one, mut other, mut third) = (waits.wait([a, b]), waits.wait([b]), waits.wait([c]));
        waits.tell(b, &Told::Held(vec![7]));
        assert_eq!([&mut one, &mut other, &mut third].map(now), [Some(Told::Held(vec![7])), Some(Told::Held(vec![7])), None]);
        waits.tell(a, &Told::Look);
        assert_eq!([&mut one, &mut other, &mut third].map(now), [Some(Told::Look), None, None]);
        waits.tell_all();
        // Once for each key.
        assert_eq!([&mut one, &mut other, &mut third].map(now), [const { Some(Told::Look) }; 3]);
        assert_eq!(waits.key_of("ct:shop:v:user:7"), Some("user:7"));
        assert_eq!(waits.key_of("ct:other:v:user:7"), None);
    }

    #[test]
    fn who_waits_no_longer_leaves_nothing_behind() {
        let waits = Waits::new(String::new());
        let (one, other) = (waits.wait([KeyHash(1), KeyHash(2)]), waits.wait([KeyHash(1)]));
        drop(one);
        assert_eq!((lock(&waits.keys).len(), waits.open.load(Ordering::Acquire)), (1, 1));
        drop(other);
        assert_eq!((lock(&waits.keys).len(), waits.open.load(Ordering::Acquire)), (0, 0));
    }

    #[test]
    fn who_begins_or_ends_to_be_heard_has_everybody_look() {
        let waits = Waits::new(String::new());
        let mut one = waits.wait([KeyHash(1)]);
        assert!(!waits.is_listening());
        for listening in [true, false] {
            waits.listens(listening);
            assert_eq!((waits.is_listening(), now(&mut one)), (listening, Some(Told::Look)));
        }
    }
}
