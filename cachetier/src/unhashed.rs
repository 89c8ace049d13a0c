//! The hasher of what is a hash already.

use std::hash::{BuildHasherDefault, Hasher};

/// Key hashes are evenly spread already: more so than shards and maps need.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Unhashed(u64);

impl Hasher for Unhashed {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u128(&mut self, hash: u128) {
        self.0 = u64::try_from(hash & u128::from(u64::MAX)).unwrap_or_default();
    }
}

/// Builds [`Unhashed`].
pub(crate) type BuildUnhashed = BuildHasherDefault<Unhashed>;
