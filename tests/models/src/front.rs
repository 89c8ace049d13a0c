//! The front: a few recently hit entries kept before the store of the process, so that most hits do not pay for the
//! store's bookkeeping. A front is not coherent by itself: what the store has evicted can no longer be marked there when
//! it is invalidated, while the front still holds it. So a fixed array of counters, the *key cells*, stands beside both:
//! the front's copy is good only as long as the key's cell reads as it did when the copy was taken.
//!
//! One key, one cell, one reader that carries entries from the store to the front in two steps, loads that insert, and
//! one invalidation at a time, also in steps. Abstracted away: memory orderings (steps are sequentially consistent), L2,
//! other keys that share the cell (they can only cause misses), the front's own evictions (likewise).
//!
//! The ablations:
//! - [`Front::cells`] off: an invalidation marks the entry it finds in the store; it finds none that was evicted.
//! - [`Front::remove_first`] off: the cell is moved before the entry leaves the store, and a reader in between takes the
//!   old entry with the new count.
//! - [`Front::cell_before_store`] off: a reader loads the cell after it got the entry, so the entry may be older than
//!   the count that vouches for it.

use stateright::{Model, Property};

use crate::G3;
use crate::case::Case;

/// A committed version of the value.
pub type Version = u8;

/// What a key cell reads.
pub type Count = u8;

/// The model: its rules and its sizes.
#[derive(Clone, Copy, Debug)]
pub struct Front {
    /// Whether there are key cells at all.
    pub cells: bool,
    /// Whether an invalidation changes the store first and moves the cell then.
    pub remove_first: bool,
    /// Whether a reader loads the cell before it asks the store.
    pub cell_before_store: bool,
    /// How many versions are committed and invalidated.
    pub writes: u8,
    /// How many loads insert into the store.
    pub loads: u8,
}

/// A reader between its two steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reader {
    /// It is not between any.
    Idle,
    /// It has the cell's count and not yet the entry.
    HasCount(Count),
    /// It has the entry and not yet the count.
    HasEntry(Version),
    /// It has both and is about to put the entry into the front.
    HasBoth(Version, Count),
}

/// An invalidation between its steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Invalidation {
    /// None is under way.
    Idle,
    /// The new version is committed; nothing else has happened.
    Committed,
    /// One of store and cell has been dealt with.
    HalfDone,
    /// Both have; the caller has not been answered.
    Done,
}

/// Everything there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    committed: Version,
    /// The version whose invalidation the process was told is done.
    told: Version,
    store: Option<Version>,
    /// The front's copy and the count it came with.
    front: Option<(Version, Count)>,
    cell: Count,
    reader: Reader,
    invalidation: Invalidation,
    loads_left: u8,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A load inserts into the store, then moves the cell.
    Insert,
    /// The store evicts the entry, and nothing else hears of it.
    EvictFromStore,
    /// The reader loads the cell.
    LoadCell,
    /// The reader asks the store.
    AskStore,
    /// The reader writes entry and count into the front.
    PutIntoFront,
    /// A new version is committed.
    Commit,
    /// The invalidation removes the entry from the store.
    RemoveFromStore,
    /// The invalidation moves the cell.
    MoveCell,
    /// The invalidation returns to its caller.
    Acknowledge,
}

impl State {
    /// The version that a hit in the front would get.
    fn served(&self) -> Option<Version> {
        self.front.filter(|(_, count)| *count == self.cell).map(|(version, _)| version)
    }
}

impl Front {
    /// The rules of the protocol.
    #[must_use]
    pub const fn recommended() -> Self {
        Self { cells: true, remove_first: true, cell_before_store: true, writes: 2, loads: 3 }
    }

    /// Moves the cell; without cells it always reads the same, so whatever is in the front seems good.
    fn move_cell(self, state: &mut State) {
        state.cell += Count::from(self.cells);
    }

    fn remove_from_store(self, state: &mut State) {
        // Without cells, the entry is marked where it is found: its copies in the front and in a reader's hands share the mark.
        if !self.cells && state.store.is_some() {
            state.front = None;
            state.reader = Reader::Idle;
        }
        state.store = None;
    }
}

impl Model for Front {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            committed: 0,
            told: 0,
            store: None,
            front: None,
            cell: 0,
            reader: Reader::Idle,
            invalidation: Invalidation::Idle,
            loads_left: self.loads,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        // A load that runs while its key is invalidated is detached and inserts nothing: that is the key model's matter.
        let quiet = state.reader == Reader::Idle && state.invalidation == Invalidation::Idle;
        if state.store.is_none() && state.loads_left > 0 && quiet {
            actions.push(Action::Insert);
        }
        if state.store.is_some() {
            actions.push(Action::EvictFromStore);
        }
        match state.reader {
            Reader::Idle if state.store.is_none() => {}
            Reader::Idle => actions.push(if self.cell_before_store { Action::LoadCell } else { Action::AskStore }),
            Reader::HasCount(_) => actions.push(Action::AskStore),
            Reader::HasEntry(_) => actions.push(Action::LoadCell),
            Reader::HasBoth(..) => actions.push(Action::PutIntoFront),
        }
        let (first, second) = if self.remove_first {
            (Action::RemoveFromStore, Action::MoveCell)
        } else {
            (Action::MoveCell, Action::RemoveFromStore)
        };
        match state.invalidation {
            Invalidation::Idle if state.committed < self.writes => actions.push(Action::Commit),
            Invalidation::Idle => {}
            Invalidation::Committed => actions.push(first),
            Invalidation::HalfDone => actions.push(second),
            Invalidation::Done => actions.push(Action::Acknowledge),
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        match action {
            Action::Insert => {
                state.store = Some(state.committed);
                state.loads_left -= 1;
                self.move_cell(&mut state);
            }
            Action::EvictFromStore => state.store = None,
            Action::LoadCell => {
                state.reader = match state.reader {
                    Reader::HasEntry(version) => Reader::HasBoth(version, state.cell),
                    _ => Reader::HasCount(state.cell),
                };
            }
            Action::AskStore => {
                state.reader = match (state.reader, state.store) {
                    (_, None) => Reader::Idle,
                    (Reader::HasCount(count), Some(version)) => Reader::HasBoth(version, count),
                    (_, Some(version)) => Reader::HasEntry(version),
                };
            }
            Action::PutIntoFront => {
                if let Reader::HasBoth(version, count) = state.reader {
                    state.front = Some((version, count));
                }
                state.reader = Reader::Idle;
            }
            Action::Commit => {
                state.committed += 1;
                state.invalidation = Invalidation::Committed;
            }
            Action::RemoveFromStore | Action::MoveCell => {
                if action == Action::MoveCell {
                    self.move_cell(&mut state);
                } else {
                    self.remove_from_store(&mut state);
                }
                state.invalidation =
                    if last.invalidation == Invalidation::Committed { Invalidation::HalfDone } else { Invalidation::Done };
            }
            Action::Acknowledge => {
                state.told = state.committed;
                state.invalidation = Invalidation::Idle;
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![Property::always(G3, |_, state: &State| state.served().is_none_or(|version| version >= state.told))]
    }
}

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case> {
    const RIGHT: Front = Front::recommended();
    vec![
        Case::breaks("no key cells: an invalidation marks what it finds in the store", G3, 9, Front { cells: false, ..RIGHT }),
        Case::breaks("the cell moved before the entry is removed", G3, 8, Front { remove_first: false, ..RIGHT }),
        Case::breaks("the cell loaded after the entry", G3, 8, Front { cell_before_store: false, ..RIGHT }),
        Case::holds("RECOMMENDED 2 writes, 3 loads", 609, RIGHT),
    ]
}
