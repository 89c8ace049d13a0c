//! What a test of several instances asks of one: whether it has come to rest, and that it dies. Compiled with the feature `testing` alone,
//! but for the place in a load that tells of it.

use super::{Key, TieredCache};
use crate::l2::Loading;

impl TieredCache {
    /// Tells the shared tier's record, if there is one, how far a load has come.
    #[cfg_attr(not(feature = "testing"), expect(clippy::unused_self, reason = "nobody writes it down"))]
    #[inline]
    pub(super) fn note_load(&self, key: Key<'_>, loading: Loading) {
        #[cfg(feature = "testing")]
        if let Some(tier) = &self.shared.tier {
            tier.note_load(key.text, loading);
        }
        #[cfg(not(feature = "testing"))]
        let _ = (key.text, loading);
    }
}

#[cfg(feature = "testing")]
impl TieredCache {
    /// Which instance of a tier in this process it is.
    pub(crate) fn number(&self) -> Option<usize> {
        self.shared.tier.as_ref()?.instance()
    }

    /// Whether it cannot prove that it has missed nothing.
    pub(crate) fn is_unproven(&self) -> bool {
        !self.instance().view.proven(self.now())
    }

    /// How many writes are under way, and how many invalidations the shared tier has not confirmed.
    pub(crate) fn under_way(&self) -> (usize, usize) {
        let outbox = &self.instance().outbox;
        (self.shared.tasks.open(), outbox.len().saturating_add(outbox.open()))
    }

    /// Ends at once and tells nobody, as a process does that is killed.
    pub(crate) fn kill(&self) {
        self.end();
    }
}
