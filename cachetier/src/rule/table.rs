//! The tag table: when each tag was last bumped, at most; a fixed number of cells whatever the number of tags.
//!
//! A bump writes its seq into the cells of its tag's hash; the least of these cells is an upper bound of the tag's last bump.
//! So no bump is ever overlooked, and the only error is a needless miss. Cells only grow: merging is the larger of two, in any
//! order and any number of times.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::key::TagHash;
use crate::rule::seq::Seq;

/// The table of one lane, as replicated into this process.
#[derive(Debug)]
pub(crate) struct TagTable {
    cells: Box<[AtomicU64]>,
    /// The last bump of everything: one number behind the cells.
    all: AtomicU64,
}

impl TagTable {
    pub(crate) fn new(cells: u32) -> Self {
        Self { cells: (0..cells.max(1)).map(|_| AtomicU64::new(0)).collect(), all: AtomicU64::new(0) }
    }

    fn size(&self) -> u32 {
        u32::try_from(self.cells.len()).unwrap_or(u32::MAX)
    }

    fn cell(&self, index: u32) -> Option<&AtomicU64> {
        self.cells.get(usize::try_from(index).ok()?)
    }

    /// Writes a bump of `tag` at `seq`.
    pub(crate) fn bump(&self, tag: TagHash, seq: Seq) {
        for index in tag.cells(self.size()) {
            if let Some(cell) = self.cell(index) {
                cell.fetch_max(seq.0, Ordering::AcqRel);
            }
        }
    }

    /// Writes a bump of everything at `seq`.
    pub(crate) fn bump_all(&self, seq: Seq) {
        self.all.fetch_max(seq.0, Ordering::AcqRel);
    }

    /// Says whether neither any of `tags` nor everything was bumped after `since`.
    pub(crate) fn unmoved_since(&self, since: Seq, tags: &[TagHash]) -> bool {
        self.all.load(Ordering::Acquire) <= since.0 && tags.iter().all(|tag| self.last(*tag) <= since)
    }

    /// The latest time at which `tag` can have been bumped.
    fn last(&self, tag: TagHash) -> Seq {
        let least = tag.cells(self.size()).filter_map(|index| self.cell(index)).map(|cell| cell.load(Ordering::Acquire)).min();
        Seq(least.unwrap_or(u64::MAX))
    }

    /// Merges the lane's own copy: cells of eight bytes, big-endian, the one for everything last; a missing end was never written.
    pub(crate) fn merge(&self, copy: &[u8]) {
        for (cell, bytes) in self.cells.iter().chain([&self.all]).zip(copy.chunks_exact(8)) {
            let seq = bytes.iter().fold(0_u64, |seq, byte| (seq << 8) | u64::from(*byte));
            if seq > cell.load(Ordering::Relaxed) {
                cell.fetch_max(seq, Ordering::AcqRel);
            }
        }
    }
}
