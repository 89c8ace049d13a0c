//! Stamps: 16 bytes that name one ticket, and the value it becomes, and are never used again.

use std::sync::atomic::{AtomicU64, Ordering};

/// Names one state of a key in L2. A fill is a compare-and-swap on it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Stamp(pub(crate) [u8; Stamp::LEN]);

impl Stamp {
    pub(crate) const LEN: usize = 16;
}

impl std::fmt::Debug for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stamp({:032x})", u128::from_be_bytes(self.0))
    }
}

/// Makes stamps: eight random bytes a source, then a counter, so that neither a restart nor a fork of the numbers repeats one.
#[derive(Debug)]
pub(crate) struct Stamps {
    nonce: u64,
    next: AtomicU64,
}

impl Stamps {
    pub(crate) fn new(nonce: u64) -> Self {
        Self { nonce, next: AtomicU64::new(0) }
    }

    pub(crate) fn next(&self) -> Stamp {
        let count = self.next.fetch_add(1, Ordering::Relaxed);
        Stamp(((u128::from(self.nonce) << 64) | u128::from(count)).to_be_bytes())
    }

    /// Whether it is one of these.
    pub(crate) fn made(&self, stamp: Stamp) -> bool {
        stamp.0.starts_with(&self.nonce.to_be_bytes())
    }
}
