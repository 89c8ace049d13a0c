//! Large values go over a connection of their own, made with the first of them: on a shared one everything behind a value of megabytes waits for
//! all of it.
//!
//! A value that is stored says how large it is. One that is read does not, before it is there: so the keys of large values are remembered, in
//! a fixed number of places. A key that is not remembered goes the way of all others.

use std::hash::{DefaultHasher, Hasher as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::Fault;
use crate::wire::slot::Slot;

use super::connect::{Heard, Line, Link};
use super::dial::Dial;

/// What is large: the time of a value on its way, a tenth of a millisecond or more, is what others would wait.
pub(super) const LARGE: usize = 128 << 10;

/// How many keys of large values are remembered: a power of two. The later of two that meet in a place drives the other out.
const PLACES: usize = 1_024;

/// The connection for large values, and which keys have them.
#[derive(Debug)]
pub(super) struct Large {
    dial: Dial,
    link: OnceLock<Option<Link>>,
    keys: Box<[AtomicU64]>,
    /// Whether there ever was one: most caches have none, and pay for nothing else.
    any: AtomicBool,
}

impl Large {
    pub(super) fn new(dial: Dial) -> Self {
        let keys = std::iter::repeat_with(AtomicU64::default).take(PLACES).collect();
        Self { dial, link: OnceLock::new(), keys, any: AtomicBool::new(false) }
    }

    /// What a key holds has been read. A ticket or nothing tells no more than that what was there has gone.
    pub(super) fn saw(&self, key: &str, slot: &[u8]) {
        if slot.len() >= LARGE || (self.any.load(Ordering::Relaxed) && matches!(Slot::of(slot), Slot::Value { .. })) {
            self.note(key, slot.len());
        }
    }

    /// A value of so many bytes stands there. What was large and is not any longer goes over the shared connection again.
    pub(super) fn note(&self, key: &str, bytes: usize) {
        if bytes < LARGE && !self.any.load(Ordering::Relaxed) {
            return;
        }
        let hash = hash(key);
        let Some(place) = self.place(hash) else { return };
        if bytes >= LARGE {
            place.store(hash, Ordering::Relaxed);
            self.any.store(true, Ordering::Relaxed);
        } else if place.load(Ordering::Relaxed) == hash {
            place.store(0, Ordering::Relaxed);
        }
    }

    /// Whether the key's value was large when it was last seen.
    pub(super) fn knows(&self, key: &str) -> bool {
        if !self.any.load(Ordering::Relaxed) {
            return false;
        }
        let hash = hash(key);
        self.place(hash).is_some_and(|place| place.load(Ordering::Relaxed) == hash)
    }

    /// The connection that a large value goes over: its own if that is there and goes to the very process that the shared one goes to, for what is
    /// proven is proven of that one. Else the shared one.
    pub(super) fn way<'a>(&'a self, shared: &'a Link) -> Result<(&'a Link, Line), Fault> {
        let line = shared.line()?;
        if line.run() == 0 {
            // Nothing tells whether another one would go to the same process.
            return Ok((shared, line));
        }
        let own = self.link.get_or_init(|| Link::open(self.dial.clone(), Heard::No).ok()).as_ref();
        Ok(own.and_then(|own| beside(own, &line)).unwrap_or((shared, line)))
    }

    /// The connection of its own, if there is one that could be used: a question may be under way over it.
    pub(super) fn own(&self, shared: &Link) -> Option<(&Link, Line)> {
        beside(self.link.get()?.as_ref()?, &shared.line().ok()?)
    }

    pub(super) fn close(&self) {
        if let Some(Some(link)) = self.link.get() {
            link.close();
        }
    }

    fn place(&self, hash: u64) -> Option<&AtomicU64> {
        self.keys.get(usize::try_from(hash & (PLACES as u64 - 1)).unwrap_or_default())
    }
}

/// The present line of `own`, if it goes where `shared` does. One that goes to another process is given up, to be made anew.
fn beside<'a>(own: &'a Link, shared: &Line) -> Option<(&'a Link, Line)> {
    let line = own.line().ok()?;
    if line.run() != 0 && line.run() == shared.run() {
        return Some((own, line));
    }
    if line.run() != 0 && shared.run() != 0 {
        own.lose(&line, "connected to another server than the other connection");
    }
    None
}

/// Never zero, which is an empty place.
fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key.as_bytes());
    hasher.finish() | 1 << 63
}
