//! The fence: why a fill must be a compare-and-swap from something that was seen in the key itself.
//!
//! Some processes read one key through L1, L2 and a database; one writer commits new versions and invalidates. This is
//! the protocol at its simplest: commands take effect and are answered in one step, and nothing is lost but what Redis
//! evicts. What may happen late here are loads, fills and the delivery of invalidations, and that is enough to break
//! the usual ways of filling a cache. [`crate::key`] takes away the simplifications.
//!
//! Abstracted away: time, values (a version number stands for one), other keys, the messages' content (all say "drop
//! this key"; a count of those under way is enough).
//!
//! The ablations:
//! - [`Fill::Blind`]: GET, load, SET; an invalidation between the load and the SET is undone by it.
//! - [`Fill::Counter`]: fill only if a generation counter beside the key has not moved; right until Redis evicts the
//!   counter, for then an old load finds the count that it started with.
//! - [`Fill::ReusedTicket`]: a ticket whose token is not unique; another load's ticket is taken for one's own.
//! - [`Fence::detach`] off: an invalidation does not reach the load that runs in the process, which then inserts into
//!   L1 a value whose invalidation has come and gone.
//! - [`OwnEcho::SkippedDroppedBefore`]: the writer's process ignores its own message and drops its L1 before the DEL
//!   only, so what is read in between stays.

use stateright::{Model, Property};

use crate::case::Case;
use crate::{G1, G2};

/// A committed version of the value; a higher one is newer.
pub type Version = u8;

/// How a loaded value is written to L2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Swap it for the ticket that this load planted when it found the key absent.
    Ticket,
    /// The same, but all tickets look alike.
    ReusedTicket,
    /// Set it if the generation counter still reads as it did before the load.
    Counter,
    /// Set it.
    Blind,
}

/// What the writer's own process does about the message of its own invalidation. The writer is in the first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnEcho {
    /// It applies the message like anybody's.
    Applied,
    /// It skips it, and drops its entry and detaches its flight together with the DEL.
    SkippedDroppedAfter,
    /// It skips it, and drops and detaches before the DEL only.
    SkippedDroppedBefore,
}

/// The model: its rules and its sizes, with `N` processes.
#[derive(Clone, Debug)]
pub struct Fence<const N: usize> {
    /// How L2 is filled.
    pub fill: Fill,
    /// Whether an invalidation detaches the flight it finds.
    pub detach: bool,
    /// Whether a value that L2 refused goes to L1 all the same.
    pub keep_refused: bool,
    /// How the writer's process treats its own message.
    pub own_echo: OwnEcho,
    /// Whether Redis evicts what it holds.
    pub evictions: bool,
    /// How often the writer writes.
    pub writes: u8,
    /// How many loads each process begins.
    pub loads: u8,
}

impl<const N: usize> Fence<N> {
    /// The rules of the protocol, at the smallest sizes that show the faults of all others.
    #[must_use]
    pub const fn recommended() -> Self {
        Self {
            fill: Fill::Ticket,
            detach: true,
            keep_refused: false,
            own_echo: OwnEcho::Applied,
            evictions: true,
            writes: 2,
            loads: 2,
        }
    }
}

/// What L2 holds under the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// Nothing.
    Absent,
    /// A ticket with this token.
    Ticket(u8),
    /// A value.
    Value(Version),
}

/// What a load saw of L2 before it began, to be compared when it fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Seen {
    /// Somebody else's ticket: there is nothing to fill.
    OthersTicket,
    /// The ticket that it planted itself.
    OwnTicket(u8),
    /// The generation counter (always 0 in a blind fill).
    Count(u8),
}

/// How far a flight is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Registered; nothing has been sent.
    Registered,
    /// L2 had no value; the database is about to be read.
    Loading(Seen),
    /// The database was read; the fill is under way.
    Filling(Seen, Version),
    /// The value is in hand, about to enter L1.
    InHand(Version),
}

/// The one load of the key in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flight {
    step: Step,
    attached: bool,
}

/// A process with its L1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    l1: Option<Version>,
    flight: Option<Flight>,
    /// Invalidations under way to it.
    inbox: u8,
    loads_begun: u8,
}

/// Everything there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State<const N: usize> {
    committed: Version,
    acknowledged: Version,
    /// Committed, but not yet invalidated.
    writing: bool,
    slot: Slot,
    tickets_issued: u8,
    counter: u8,
    processes: [Process; N],
}

/// Something that happens. The number is that of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A read misses L1 and registers a flight.
    BeginFlight(usize),
    /// The flight asks L2: a value, its own new ticket, or another's.
    AskL2(usize),
    /// The flight reads the database.
    ReadDatabase(usize),
    /// The fill arrives at L2.
    FillL2(usize),
    /// The flight ends; the value enters L1 if it is still attached.
    EndFlight(usize),
    /// An invalidation is delivered.
    ApplyMessage(usize),
    /// L1 evicts the entry.
    EvictL1(usize),
    /// The writer commits the next version.
    Commit,
    /// The writer deletes the key, publishes, and is answered.
    Invalidate,
    /// The writer's own process drops its entry before the DEL.
    DropOwn,
    /// Redis evicts or expires the key.
    EvictSlot,
    /// Redis evicts the generation counter.
    EvictCounter,
}

impl<const N: usize> Fence<N> {
    fn invalidated(&self, process: Process) -> Process {
        let flight = process.flight.map(|flight| Flight { attached: flight.attached && !self.detach, ..flight });
        Process { l1: None, flight, ..process }
    }

    /// Asks L2 for the key: the step that follows, and what L2 then holds.
    fn ask(&self, state: &mut State<N>) -> Step {
        match (state.slot, self.fill) {
            (Slot::Value(version), _) => Step::InHand(version),
            (Slot::Ticket(_), _) => Step::Loading(Seen::OthersTicket),
            (Slot::Absent, Fill::Blind | Fill::Counter) => Step::Loading(Seen::Count(state.counter)),
            (Slot::Absent, Fill::Ticket | Fill::ReusedTicket) => {
                let token = if self.fill == Fill::Ticket { state.tickets_issued } else { 0 };
                state.tickets_issued += 1;
                state.slot = Slot::Ticket(token);
                Step::Loading(Seen::OwnTicket(token))
            }
        }
    }

    fn accepts(&self, state: &State<N>, seen: Seen) -> bool {
        match seen {
            Seen::OthersTicket => false,
            Seen::OwnTicket(token) => state.slot == Slot::Ticket(token),
            Seen::Count(count) => self.fill == Fill::Blind || count == state.counter,
        }
    }

    /// The flight's next step; `None` ends it.
    fn advance(&self, state: &mut State<N>, flight: Flight) -> Option<Flight> {
        let step = match flight.step {
            Step::Registered => self.ask(state),
            Step::Loading(seen) => Step::Filling(seen, state.committed),
            Step::Filling(seen, version) if self.accepts(state, seen) => {
                state.slot = Slot::Value(version);
                Step::InHand(version)
            }
            Step::Filling(_, version) if self.keep_refused => Step::InHand(version),
            Step::Filling(..) | Step::InHand(_) => return None,
        };
        Some(Flight { step, ..flight })
    }

    fn invalidate(&self, state: &mut State<N>) {
        state.slot = Slot::Absent;
        state.writing = false;
        state.acknowledged = state.committed;
        if self.fill == Fill::Counter {
            state.counter += 1;
        }
        for (number, process) in state.processes.iter_mut().enumerate() {
            match self.own_echo {
                OwnEcho::SkippedDroppedAfter if number == 0 => *process = self.invalidated(*process),
                OwnEcho::SkippedDroppedBefore if number == 0 => {}
                _ => process.inbox += 1,
            }
        }
    }
}

impl<const N: usize> Model for Fence<N> {
    type State = State<N>;
    type Action = Action;

    fn init_states(&self) -> Vec<State<N>> {
        let process = Process { l1: None, flight: None, inbox: 0, loads_begun: 0 };
        vec![State {
            committed: 0,
            acknowledged: 0,
            writing: false,
            slot: Slot::Absent,
            tickets_issued: 0,
            counter: 0,
            processes: [process; N],
        }]
    }

    fn actions(&self, state: &State<N>, actions: &mut Vec<Action>) {
        for (number, process) in state.processes.iter().enumerate() {
            match process.flight.map(|flight| flight.step) {
                None if process.l1.is_none() && process.loads_begun < self.loads => actions.push(Action::BeginFlight(number)),
                None => {}
                Some(Step::Registered) => actions.push(Action::AskL2(number)),
                Some(Step::Loading(_)) => actions.push(Action::ReadDatabase(number)),
                Some(Step::Filling(..)) => actions.push(Action::FillL2(number)),
                Some(Step::InHand(_)) => actions.push(Action::EndFlight(number)),
            }
            if process.inbox > 0 {
                actions.push(Action::ApplyMessage(number));
            }
            if process.l1.is_some() {
                actions.push(Action::EvictL1(number));
            }
        }
        if state.writing {
            actions.push(Action::Invalidate);
            if self.own_echo == OwnEcho::SkippedDroppedBefore {
                actions.push(Action::DropOwn);
            }
        } else if state.committed < self.writes {
            actions.push(Action::Commit);
        }
        if self.evictions && state.slot != Slot::Absent {
            actions.push(Action::EvictSlot);
        }
        if self.evictions && state.counter > 0 {
            actions.push(Action::EvictCounter);
        }
    }

    fn next_state(&self, last: &State<N>, action: Action) -> Option<State<N>> {
        let mut state = last.clone();
        match action {
            Action::BeginFlight(number) => {
                let process = state.processes.get_mut(number)?;
                process.flight = Some(Flight { step: Step::Registered, attached: true });
                process.loads_begun += 1;
            }
            Action::AskL2(number) | Action::ReadDatabase(number) | Action::FillL2(number) => {
                let flight = self.advance(&mut state, last.processes.get(number)?.flight?);
                state.processes.get_mut(number)?.flight = flight;
            }
            Action::EndFlight(number) => {
                let process = state.processes.get_mut(number)?;
                if let Some(Flight { step: Step::InHand(version), attached: true }) = process.flight.take() {
                    process.l1 = Some(version);
                }
            }
            Action::ApplyMessage(number) => {
                let process = state.processes.get_mut(number)?;
                *process = Process { inbox: process.inbox - 1, ..self.invalidated(*process) };
            }
            Action::EvictL1(number) => state.processes.get_mut(number)?.l1 = None,
            Action::Commit => {
                state.committed += 1;
                state.writing = true;
            }
            Action::Invalidate => self.invalidate(&mut state),
            Action::DropOwn => {
                let own = state.processes.first_mut()?;
                *own = self.invalidated(*own);
            }
            Action::EvictSlot => state.slot = Slot::Absent,
            Action::EvictCounter => state.counter = 0,
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(G1, |_, state: &State<N>| !matches!(state.slot, Slot::Value(version) if version < state.acknowledged)),
            Property::always(G2, |_, state: &State<N>| {
                state
                    .processes
                    .iter()
                    .all(|process| process.inbox > 0 || process.l1.is_none_or(|version| version >= state.acknowledged))
            }),
        ]
    }
}

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case> {
    const RIGHT: Fence<2> = Fence::recommended();
    vec![
        Case::breaks("GET, load, SET", G1, 6, Fence { fill: Fill::Blind, ..RIGHT }),
        Case::breaks("a generation counter that Redis may evict", G1, 7, Fence { fill: Fill::Counter, ..RIGHT }),
        Case::breaks("tickets that look alike", G1, 8, Fence { fill: Fill::ReusedTicket, ..RIGHT }),
        Case::breaks("no detaching", G2, 8, Fence { detach: false, ..RIGHT }),
        Case::breaks(
            "own message skipped, dropped before the DEL only",
            G2,
            7,
            Fence { own_echo: OwnEcho::SkippedDroppedBefore, ..RIGHT },
        ),
        Case::holds("RECOMMENDED 2 writes, 2 loads each", 95_728, RIGHT),
        Case::holds("RECOMMENDED 3 writes, 2 loads each", 319_759, Fence { writes: 3, ..RIGHT }),
        Case::holds("RECOMMENDED 3 processes, 2 writes, 1 load each", 1_081_417, Fence::<3> { loads: 1, ..Fence::recommended() }),
        Case::holds(
            "also right: own message skipped, dropped after the DEL",
            44_342,
            Fence { own_echo: OwnEcho::SkippedDroppedAfter, ..RIGHT },
        ),
        Case::holds(
            "also right: a generation counter that is never lost",
            26_523,
            Fence { fill: Fill::Counter, evictions: false, ..RIGHT },
        ),
        // Right here alone: in this model every invalidation has a message. The key model has the DEL that sends none.
        Case::holds("also right here: a refused value kept in L1", 102_618, Fence { keep_refused: true, ..RIGHT }),
    ]
}
