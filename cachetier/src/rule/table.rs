//! The tag table: when each tag was last bumped, at most; a fixed number of cells whatever the number of tags.
//!
//! A bump writes its seq into the cells of its tag's hash; the least of these cells is an upper bound of the tag's last bump.
//! So no bump is ever overlooked, and the only error is a needless miss. Cells only grow: merging is the larger of two, in any
//! order and any number of times.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::key::TagHash;
use crate::rule::seq::Seq;

/// How many cells tell of all of them: where the table hides one copy in twenty, they mostly say so within an eighth.
const SAMPLE: usize = 4_096;

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

    pub(crate) fn size(&self) -> u32 {
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

    /// The seqs of some of its cells, or of all if it has no more: as good as any others, since tags are spread over all of them.
    pub(crate) fn sample(&self) -> Vec<Seq> {
        let step = self.cells.len().div_ceil(SAMPLE).max(1);
        self.cells.iter().step_by(step).map(|cell| Seq(cell.load(Ordering::Relaxed))).collect()
    }

    /// Merges what was read of the lane's own table, whatever its size: cells of a larger one fall together here, those of a smaller
    /// one are spread. Both sizes are powers of two, so that a tag's cells there and here agree.
    pub(crate) fn merge(&self, copy: &TableCopy) {
        self.bump_all(copy.all);
        let (ours, theirs) = (self.size(), copy.cells.max(1));
        for page in &copy.pages {
            for (index, bytes) in (page.first..theirs).zip(page.cells.chunks_exact(8)) {
                let seq = bytes.iter().fold(0_u64, |seq, byte| (seq << 8) | u64::from(*byte));
                if seq == 0 {
                    continue;
                }
                let places = (index % ours..ours).step_by(usize::try_from(theirs).unwrap_or(usize::MAX));
                for cell in places.filter_map(|place| self.cell(place)) {
                    if seq > cell.load(Ordering::Relaxed) {
                        cell.fetch_max(seq, Ordering::AcqRel);
                    }
                }
            }
        }
    }
}

/// What was read of a lane's own table: all of it, or the pages that have moved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableCopy {
    /// How many cells the whole has: a power of two.
    pub(crate) cells: u32,
    /// The last bump of everything.
    pub(crate) all: Seq,
    pub(crate) pages: Vec<Page>,
}

/// Cells in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Page {
    /// The index of the first one.
    pub(crate) first: u32,
    /// Eight bytes each, big-endian.
    pub(crate) cells: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn copy(cells: u32, bumps: &[(u64, u64)]) -> TableCopy {
        let mut bytes = vec![0; cells as usize * 8];
        for (tag, seq) in bumps {
            for cell in TagHash(*tag).cells(cells) {
                let at = cell as usize * 8;
                let before = u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
                bytes[at..at + 8].copy_from_slice(&before.max(*seq).to_be_bytes());
            }
        }
        TableCopy { cells, all: Seq(0), pages: vec![Page { first: 0, cells: bytes }] }
    }

    proptest! {
        #[test]
        fn no_bump_is_overlooked_whatever_the_two_sizes(
            ours in 0_u32..12,
            theirs in 0_u32..12,
            bumps in prop::collection::vec((any::<u64>(), 1_u64..1_000), 0..40),
        ) {
            let table = TagTable::new(1 << ours);
            table.merge(&copy(1 << theirs, &bumps));
            for (tag, seq) in &bumps {
                prop_assert!(!table.unmoved_since(Seq(seq - 1), &[TagHash(*tag)]));
                prop_assert!(table.unmoved_since(Seq(1_000), &[TagHash(*tag)]));
            }
        }

        #[test]
        fn a_copy_of_the_same_size_says_what_the_bumps_themselves_say(
            bumps in prop::collection::vec((any::<u64>(), 1_u64..1_000), 0..40),
            asked in prop::collection::vec((any::<u64>(), 0_u64..1_000), 0..40),
        ) {
            let (merged, bumped) = (TagTable::new(256), TagTable::new(256));
            merged.merge(&copy(256, &bumps));
            for (tag, seq) in &bumps {
                bumped.bump(TagHash(*tag), Seq(*seq));
            }
            for (tag, since) in asked.iter().chain(&bumps) {
                let (since, tags) = (Seq(*since), [TagHash(*tag)]);
                prop_assert_eq!(merged.unmoved_since(since, &tags), bumped.unmoved_since(since, &tags));
            }
        }
    }
}
