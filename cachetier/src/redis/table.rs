//! How the tag table lies in its string, as `scripts/mark.lua` and `scripts/stand.lua` write it: a head that names its size and era, the
//! last bump of everything, that of each page of cells, the cells, eight bytes each. What the cells say is `rule`'s.

use std::ops::Range;

use async_trait::async_trait;

use crate::error::Fault;
use crate::key::{CELLS_PER_PAGE, CELLS_PER_TAG};
use crate::rule::seq::{Era, Seq};
use crate::rule::table::{Page, TableCopy};
use crate::wire::message::Targets;

const HEAD: usize = 16;

const PAGE: usize = CELLS_PER_PAGE as usize;

/// How many pages are read at once: larger answers would hold up the messages behind them.
const PAGES: usize = 8;

/// Who reads bytes of the string.
#[async_trait]
pub(super) trait Reader: Send {
    async fn part(&mut self, part: Range<usize>) -> Result<Vec<u8>, Fault>;
}

/// Cells in a row: the index of the first, and where they lie.
type Part = (u32, Range<usize>);

/// Where what lies in a table of so many cells.
pub(super) struct Layout {
    cells: u32,
}

impl Layout {
    pub(super) fn of(cells: u32) -> Self {
        Self { cells }
    }

    fn count(&self) -> usize {
        usize::try_from(self.cells).unwrap_or(usize::MAX)
    }

    /// The last bump of a page.
    fn mark(page: usize) -> usize {
        page.saturating_mul(8).saturating_add(HEAD + 8)
    }

    fn cell(&self, cell: usize) -> usize {
        Self::mark(self.count().div_ceil(PAGE)).saturating_add(cell.saturating_mul(8))
    }

    /// Where a bump is written, each place once and those before the cells first.
    pub(super) fn places(&self, targets: &Targets) -> Vec<usize> {
        let hashes = targets.tags.iter().chain(&targets.prefixes);
        let cells = hashes.flat_map(|hash| hash.cells(self.cells)).map(|cell| usize::try_from(cell).unwrap_or(usize::MAX));
        let places = cells.flat_map(|cell| [Self::mark(cell / PAGE), self.cell(cell)]);
        let mut places: Vec<usize> = places.chain(targets.all.then_some(HEAD)).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// Reads what has been bumped after `since` in the table of that era: what stands before the cells, and by that the rest.
    pub(super) async fn read(&self, reader: &mut impl Reader, era: Era, since: Seq) -> Result<TableCopy, Fault> {
        let begin = reader.part(0..self.cell(0)).await?;
        let (mut copy, parts) = self.moved(&begin, era, since)?;
        for (first, place) in parts {
            copy.pages.push(Page { first, cells: reader.part(place).await? });
        }
        Ok(copy)
    }

    /// What the begin says of everything, and where the cells lie that were bumped after `since`, with the index of the first.
    fn moved(&self, begin: &[u8], Era(era): Era, since: Seq) -> Result<(TableCopy, Vec<Part>), Fault> {
        let mut copy = TableCopy { cells: self.cells, ..TableCopy::default() };
        if begin.is_empty() {
            return Ok((copy, Vec::new()));
        }
        let head = [*b"ctt\x01", self.cells.to_be_bytes(), era.to_be_bytes(), CELLS_PER_TAG.to_be_bytes()].concat();
        let Some(told) = begin.strip_prefix(head.as_slice()) else {
            return Err(Fault::Refused("the table is another's".into()));
        };
        let mut told = told.chunks_exact(8).map(|seq| Seq(seq.iter().fold(0, |seq, byte| (seq << 8) | u64::from(*byte))));
        copy.all = told.next().unwrap_or_default();
        let moved: Vec<usize> = told.enumerate().filter(|(_, seq)| *seq > since).map(|(page, _)| page).collect();
        let runs = moved.chunk_by(|page, next| page.saturating_add(1) == *next).flat_map(|run| run.chunks(PAGES));
        let parts = runs.map(|run| {
            let from = run.first().copied().unwrap_or_default().saturating_mul(PAGE);
            let until = from.saturating_add(run.len().saturating_mul(PAGE)).min(self.count());
            (u32::try_from(from).unwrap_or(u32::MAX), self.cell(from)..self.cell(until))
        });
        Ok((copy, parts.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::TagHash;

    // The numbers stand in docs/wire.md.
    #[test]
    fn a_bump_is_written_where_another_language_writes_it() {
        let targets = Targets {
            tags: vec![TagHash(0xfe93_fe81_9e6f_ff9a)],
            prefixes: vec![TagHash(0x5672_c26f_edf3_31b6), TagHash(0xfe93_fe81_9e6f_ff9a)],
            ..Targets::default()
        };
        let expected = [232, 456, 867_880, 870_944, 874_008, 877_072, 1_773_416, 1_778_400, 1_796_216, 1_801_200];
        assert_eq!(Layout::of(262_144).places(&targets), expected);
        let all = Targets { all: true, ..targets };
        assert_eq!(Layout::of(262_144).places(&all), [&[16], expected.as_slice()].concat());
        assert!(Layout::of(256).places(&Targets::default()).is_empty());
    }

    // The script takes the first place for one before the cells.
    #[test]
    fn the_first_place_of_a_bump_is_before_the_cells() {
        for cells in [1 << 8, 1 << 12, 1 << 13, 1 << 22] {
            let layout = Layout::of(cells);
            for hash in (0..2_000).map(|tag: u32| TagHash::of("shop", &tag.to_string())) {
                let places = layout.places(&Targets { tags: vec![hash], ..Targets::default() });
                assert!(places[0] < layout.cell(0) && places[1] >= layout.cell(0), "{places:?} of {cells}");
            }
        }
    }
}
