//! What a test of several instances asks of one: whether it has come to rest, and that it dies. Compiled with the feature `testing` alone,
//! but for the place in a load that tells of it.

#[cfg(feature = "testing")]
use super::TieredCache;
use super::{Key, Part};
use crate::l2::Loading;

impl Part {
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
        self.parts.first().shared.tier.as_ref()?.instance()
    }

    /// Whether it cannot prove that it has missed nothing.
    pub(crate) fn is_unproven(&self) -> bool {
        self.parts.all().iter().any(|part| !part.instance().view.proven(part.now()))
    }

    /// Proves that it has missed nothing, if it can.
    pub(crate) async fn seek_proof(&self) {
        for part in self.parts.all() {
            part.seek_proof().await;
        }
    }

    /// How many writes are under way, and how many invalidations the shared tier has not confirmed.
    pub(crate) fn under_way(&self) -> (usize, usize) {
        let parts = self.parts.all();
        let pending = |part: &Part| part.instance().outbox.len().saturating_add(part.instance().outbox.open());
        (parts.iter().map(|part| part.shared.tasks.open()).sum(), parts.iter().map(pending).sum())
    }

    /// Ends at once and tells nobody, as a process does that is killed.
    pub(crate) fn kill(&self) {
        self.parts.all().iter().for_each(Part::end);
    }
}
