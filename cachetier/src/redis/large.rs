//! Large values go over a connection of their own, made with the first of them: on a shared one everything behind a value of megabytes waits for
//! all of it.
//!
//! A value that is stored says how large it is. One that is read does not, before it is there: so the keys of large values are remembered, in
//! a fixed number of places. A key that is not remembered goes the way of all others.

use std::hash::{DefaultHasher, Hasher as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::error::Fault;

use super::connect::{Dial, Heard, Line, Link};

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

    /// A value of that key has been seen. What was large and is not any longer goes over the shared connection again.
    pub(super) fn saw(&self, key: &str, bytes: usize) {
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
        let own = self.link.get_or_init(|| Link::open(self.dial.clone(), Heard::No).ok()).as_ref();
        let apart = own.and_then(|own| Some((own, own.line().ok()?)));
        Ok(apart.filter(|(_, apart)| apart.run() != 0 && apart.run() == line.run()).unwrap_or((shared, line)))
    }

    pub(super) fn close(&self) {
        if let Some(Some(link)) = self.link.get() {
            link.close();
        }
    }

    fn place(&self, hash: u64) -> Option<&AtomicU64> {
        self.keys.get(usize::try_from(hash).unwrap_or_default() & (PLACES - 1))
    }
}

/// Never zero, which is an empty place.
fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(key.as_bytes());
    hasher.finish() | 1 << 63
}
