//! Tags: the bumps of one tag, seen from a process that reads entries with that tag, bumps it itself, and hears of the
//! bumps of others.
//!
//! Redis gives every bump a seq and publishes it; messages arrive in order and none is lost. An entry carries S, the
//! highest seq its process had been told when the entry's load began, and is valid while the tag's cell in the process'
//! own table is at most S. An own bump has no seq until Redis answers, and the answer may never come; so it is entered
//! at once as a *tick*, a count that never leaves the process, and again when the process gives up waiting (the bump is
//! then *pending* and sent again). A flight may be joined by one waiter, who must not get a value older than what its
//! process knew of when it called.
//!
//! Abstracted away: proof and epochs (nothing is lost here), collisions in the table (they can only cause misses),
//! several keys or tags (with one tag the highest seq known is also what its cell reads; both are kept so that the rules
//! read as they are meant), time.
//!
//! The ablations:
//! - [`Mark::AppliedSeq`]: a hit is marked with the seq that is applied instead of the table's generation; an own bump
//!   moves the table before any seq is known, and the mark does not notice.
//! - [`Tags::messages_move_generation`] off: an entry that was found valid before a message is served after it.
//! - [`Tags::ticks`] off: an own bump does nothing here until Redis has answered.
//! - [`Tags::pending_unreadable`] off: while an own bump is pending, L2 is read and still holds what it is to invalidate.
//! - [`Tags::tick_on_giving_up`] off: what was read between sending the bump and giving up survives.
//! - [`WaiterRule::TakesAll`]: a waiter takes whatever the flight brings.
//! - [`WaiterRule::Interval`]: it takes it unless the tag's cell lies between the flight's S and the caller's; but a cell
//!   holds only the last bump, and a later one hides the one that matters.

mod state;

use stateright::{Model, Property};

pub use state::{Entry, Flight, Noted, OwnBump, Seq, Stage, State, Tick, Version, Waiter, Wrong};

use crate::case::Case;
use crate::{G2, G3, T};

/// What an entry that was found valid is marked with, so that the next hit need not look at the cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// The table's generation, moved by every write to it.
    Generation,
    /// The seq up to which messages are applied.
    AppliedSeq,
}

/// When a waiter takes the value of the flight it joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaiterRule {
    /// The cell now is at most the flight's S, or nothing was told between the flight's begin and the call.
    CellNowOrNothingTold,
    /// The cell was at most the flight's S when the waiter called.
    CellAtCall,
    /// The cell is not between the flight's S and the highest seq known when the waiter called.
    Interval,
    /// Always.
    TakesAll,
}

/// The model: its rules and its sizes.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one rule that an ablation takes away")]
pub struct Tags {
    /// What a hit compares first.
    pub mark: Mark,
    /// When a waiter takes a flight's value.
    pub waiter: WaiterRule,
    /// Whether a message moves the table's generation too, and not only an own bump.
    pub messages_move_generation: bool,
    /// Whether own bumps are entered as ticks.
    pub ticks: bool,
    /// Whether giving up makes another tick.
    pub tick_on_giving_up: bool,
    /// Whether L2 hits are refused while an own bump is pending.
    pub pending_unreadable: bool,
    /// How many versions are committed, here and elsewhere together.
    pub writes: u8,
    /// How many answers to own bumps may be lost.
    pub losses: u8,
    /// How many flights begin.
    pub loads: u8,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Another process commits.
    CommitElsewhere,
    /// Its bump executes.
    BumpElsewhere,
    /// This process commits.
    Commit,
    /// It enters a tick and sends its bump.
    SendBump,
    /// It sends the bump again, from the outbox.
    SendAgain,
    /// The bump executes.
    BumpExecutes,
    /// The answer arrives: the seq is entered, the caller is told.
    BumpAnswered,
    /// The process gives up waiting for the answer; the caller is told `Pending`.
    GiveUp,
    /// A message is applied.
    ApplyMessage,
    /// A read finds the entry valid by the cells and marks it.
    MarkEntry,
    /// A miss begins a load.
    BeginLoad,
    /// A miss finds a value in L2.
    BeginL2Read,
    /// The answer of L2 is judged, and served or not.
    EndL2Read,
    /// The load reads the database.
    ReadDatabase,
    /// A caller joins the load.
    Join,
    /// The load fills both tiers; the waiter takes its value or not.
    EndLoad,
}

impl Tags {
    /// The rules of the protocol.
    #[must_use]
    pub const fn recommended() -> Self {
        Self {
            mark: Mark::Generation,
            waiter: WaiterRule::CellNowOrNothingTold,
            messages_move_generation: true,
            ticks: true,
            tick_on_giving_up: true,
            pending_unreadable: true,
            writes: 2,
            losses: 1,
            loads: 2,
        }
    }

    /// Rule T: the cells are at most what was noted.
    fn valid(self, cells: Noted, noted: Noted) -> bool {
        cells.seq <= noted.seq && (cells.tick <= noted.tick || !self.ticks)
    }

    fn mark(self, state: &State) -> u8 {
        match self.mark {
            Mark::Generation => state.generation,
            Mark::AppliedSeq => state.applied,
        }
    }

    fn l1_serves(self, state: &State) -> Option<Version> {
        let entry = state.l1?;
        (entry.mark == Some(self.mark(state)) || self.valid(state.cells, entry.noted)).then_some(entry.version)
    }

    fn takes(self, state: &State, waiter: Waiter, flight: Noted) -> bool {
        let cells = state.cells;
        match self.waiter {
            WaiterRule::CellNowOrNothingTold => {
                (cells.seq <= flight.seq || waiter.known.seq == flight.seq)
                    && (cells.tick <= flight.tick || waiter.known.tick == flight.tick)
            }
            WaiterRule::CellAtCall => self.valid(waiter.cells, flight),
            WaiterRule::Interval => {
                let between = |from, cell, to| from < cell && cell <= to;
                let bumped = between(flight.seq, cells.seq, waiter.known.seq);
                let ticked = self.ticks && between(flight.tick, cells.tick, waiter.known.tick);
                !bumped && !ticked
            }
            WaiterRule::TakesAll => true,
        }
    }

    fn end_l2_read(self, state: &mut State) {
        let Some(Flight::FromL2(version, noted)) = state.flight.take() else { return };
        let hidden = self.pending_unreadable && state.own.is_some_and(|own| own.pending);
        if hidden || !self.valid(state.cells, noted) {
            return;
        }
        state.l1 = Some(Entry { version, noted, mark: None });
        if version < state.told {
            state.wrong = Some(Wrong::L2Hit);
        }
    }

    fn end_load(self, state: &mut State) {
        let Some(Flight::Loaded(version, noted)) = state.flight.take() else { return };
        if let Some(waiter) = state.waiter.take()
            && self.takes(state, waiter, noted)
            && version < waiter.owed
        {
            state.wrong = Some(Wrong::Wait);
        }
        state.l2 = Some((version, noted.seq));
        state.l1 = Some(Entry { version, noted, mark: None });
    }

    fn own_bump(self, state: &mut State, action: Action) -> Option<()> {
        let own = state.own?;
        state.own = match action {
            Action::SendBump | Action::SendAgain => {
                if action == Action::SendBump {
                    state.enter_tick();
                }
                Some(OwnBump { stage: Stage::Sent, ..own })
            }
            Action::BumpExecutes => Some(OwnBump { stage: Stage::Executed(state.bump(own.version)), ..own }),
            Action::GiveUp => {
                if self.tick_on_giving_up {
                    state.enter_tick();
                }
                state.losses_left -= 1;
                state.told = state.told.max(own.version);
                Some(OwnBump { stage: Stage::InOutbox, pending: true, ..own })
            }
            _ => {
                if let Stage::Executed(seq) = own.stage {
                    state.enter_seq(seq);
                    state.generation += 1;
                }
                state.told = state.told.max(own.version);
                None
            }
        };
        Some(())
    }
}

impl Model for Tags {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.loads, self.losses)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let mut may = |condition: bool, action| {
            if condition {
                actions.push(action);
            }
        };
        let commits_left = state.committed < self.writes;
        may(state.elsewhere.is_none() && commits_left, Action::CommitElsewhere);
        may(state.elsewhere.is_some(), Action::BumpElsewhere);
        may(state.own.is_none() && commits_left, Action::Commit);
        match state.own.map(|own| own.stage) {
            None => {}
            Some(Stage::Committed) => may(true, Action::SendBump),
            Some(Stage::InOutbox) => may(true, Action::SendAgain),
            Some(sent @ (Stage::Sent | Stage::Executed(_))) => {
                may(true, if sent == Stage::Sent { Action::BumpExecutes } else { Action::BumpAnswered });
                may(state.losses_left > 0, Action::GiveUp);
            }
        }
        may(!state.messages.is_empty(), Action::ApplyMessage);
        let unmarked = |entry: &Entry| entry.mark != Some(self.mark(state)) && self.valid(state.cells, entry.noted);
        may(state.l1.as_ref().is_some_and(unmarked), Action::MarkEntry);
        match state.flight {
            None => {
                let miss = state.loads_left > 0 && self.l1_serves(state).is_none();
                may(miss, Action::BeginLoad);
                may(miss && state.l2.is_some(), Action::BeginL2Read);
            }
            Some(Flight::FromL2(..)) => may(true, Action::EndL2Read),
            Some(flight) => {
                may(state.waiter.is_none(), Action::Join);
                may(true, if matches!(flight, Flight::Loading(_)) { Action::ReadDatabase } else { Action::EndLoad });
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::CommitElsewhere => {
                state.committed += 1;
                state.elsewhere = Some(state.committed);
            }
            Action::BumpElsewhere => {
                let version = state.elsewhere.take()?;
                state.bump(version);
            }
            Action::Commit => {
                state.committed += 1;
                state.own = Some(OwnBump { version: state.committed, stage: Stage::Committed, pending: false });
            }
            Action::SendBump | Action::SendAgain | Action::BumpExecutes | Action::BumpAnswered | Action::GiveUp => {
                self.own_bump(&mut state, action)?;
            }
            Action::ApplyMessage => {
                let seq = state.messages.pop_at(0)?;
                state.applied = seq;
                state.enter_seq(seq);
                state.generation += u8::from(self.messages_move_generation);
            }
            Action::MarkEntry => state.l1 = last.l1.map(|entry| Entry { mark: Some(self.mark(last)), ..entry }),
            // Noted before anything is read: whatever is bumped while the load runs is then newer than what it brings.
            Action::BeginLoad | Action::BeginL2Read => {
                state.loads_left -= 1;
                state.flight = Some(match (action, state.l2) {
                    (Action::BeginL2Read, Some((version, seq))) => Flight::FromL2(version, Noted { seq, ..state.known }),
                    _ => Flight::Loading(state.known),
                });
            }
            Action::EndL2Read => self.end_l2_read(&mut state),
            Action::ReadDatabase => {
                if let Some(Flight::Loading(noted)) = state.flight {
                    state.flight = Some(Flight::Loaded(state.committed, noted));
                }
            }
            Action::Join => state.waiter = Some(Waiter { known: state.known, cells: state.cells, owed: state.owed() }),
            Action::EndLoad => self.end_load(&mut state),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(G2, |model: &Self, state: &State| {
                model.l1_serves(state).is_none_or(|version| version >= state.covered_by(state.applied))
            }),
            Property::always(G3, |model: &Self, state: &State| {
                state.wrong != Some(Wrong::L2Hit) && model.l1_serves(state).is_none_or(|version| version >= state.told)
            }),
            Property::always(T, |_, state: &State| state.wrong != Some(Wrong::Wait)),
        ]
    }
}

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case> {
    const RIGHT: Tags = Tags::recommended();
    vec![
        Case::breaks("'nothing new is applied' as the hit test", G3, 7, Tags { mark: Mark::AppliedSeq, ..RIGHT }),
        Case::breaks("messages do not move the generation", G2, 7, Tags { messages_move_generation: false, ..RIGHT }),
        Case::breaks("no ticks: an own bump without a seq does nothing here", G3, 6, Tags { ticks: false, ..RIGHT }),
        Case::breaks("a pending tag is readable", G3, 8, Tags { pending_unreadable: false, ..RIGHT }),
        Case::breaks("giving up makes no new tick", G3, 8, Tags { tick_on_giving_up: false, ..RIGHT }),
        Case::breaks("a waiter takes what it joined", T, 7, Tags { waiter: WaiterRule::TakesAll, ..RIGHT }),
        Case::breaks("a waiter looks for the cell between two seqs", T, 10, Tags { waiter: WaiterRule::Interval, ..RIGHT }),
        Case::holds("RECOMMENDED nothing told between flight and call, or the cell is older", 106_253, RIGHT),
        Case::holds(
            "also right: the waiter judges the flight when it joins",
            106_253,
            Tags { waiter: WaiterRule::CellAtCall, ..RIGHT },
        ),
    ]
}
