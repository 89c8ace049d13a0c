//! Doubt: an invalidation by pattern, which finds keys by a walk over L2, while L1 may hold copies of keys that L2 has lost.
//!
//! What the walk finds is deleted and bumped. At its end one bump says that keys were invalidated which nobody can name: whoever hears it
//! doubts all its copies, until their stamps are found in L2. The model has one key of the pattern, one instance with a copy and a flight,
//! another one that loads, and a walk that may overlook a key that was absent from L2 for a moment.
//!
//! A copy that may be served counts as served: its proof stands, or it is self-evident, or nobody can be asked. Messages arrive in order
//! and all of them: what is lost is the [`crate::lane`] model's matter, and tags are the [`crate::tags`] model's. Abstracted away: that
//! messages spare what is newer, holds, walks that are stopped.
//!
//! The ablations:
//! - [`Doubt::doubt_last`] off: a copy is checked before its key is found, and its key is lost before the walk gets there.
//! - [`Doubt::reaches_self_evident`] off: what was loaded lately is served without a look at L2.
//! - [`Doubt::detaches`] off: later callers join a load that began before.
//! - [`Doubt::found_are_bumped`] off: the ticket of a load that began before stays.
//! - [`Doubt::again_at_the_answer`] off: the issuer has checked its copy before the walk.

use arrayvec::ArrayVec;
use stateright::{Model, Property};

use crate::case::Case;
use crate::{G1, G2, G3, L};

/// A committed version of the value.
pub type Version = u8;
/// A mark of a ticket, and of the value that takes its place.
pub type Stamp = u8;

/// The model: its rules and its sizes.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one rule that an ablation takes away")]
pub struct Doubt {
    /// Whether the doubt comes after the walk.
    pub doubt_last: bool,
    /// Whether doubt keeps copies from being served that need no proof.
    pub reaches_self_evident: bool,
    /// Whether doubt detaches flights.
    pub detaches: bool,
    /// Whether the keys that are found are bumped, and not only their values deleted.
    pub found_are_bumped: bool,
    /// Whether the issuer doubts its copies once more at the answer.
    pub again_at_the_answer: bool,
    /// Whether the instance under study is the issuer.
    pub own: bool,
    /// How many versions are committed, and patterns invalidated.
    pub writes: u8,
    /// How many loads begin in the instance, and elsewhere.
    pub loads: u8,
    /// How often L2 loses the key.
    pub evictions: u8,
    /// How often the instance loses its proof.
    pub losses: u8,
}

/// What L2 holds under the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// Nothing.
    Absent,
    /// The mark of a load.
    Ticket(Stamp),
    /// A value.
    Value(Version, Stamp),
}

/// How the epoch stands that a copy or a flight is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Epoch {
    /// It is the present one.
    Present,
    /// It has ended.
    Ended,
    /// It has ended, and what is of it is doubted.
    Doubted,
}

/// A copy in L1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Copied {
    version: Version,
    stamp: Option<Stamp>,
    epoch: Epoch,
}

/// What a flight is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// The database was read, under this ticket or without one.
    Loaded(Version, Option<Stamp>),
    /// L2 was read.
    Read(Version, Stamp),
    /// The copy's stamp was looked for: whether it was found.
    Looked(bool),
}

/// The one load of the key in the instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flight {
    way: Way,
    epoch: Epoch,
}

/// How far the invalidation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// There is none.
    Idle,
    /// The version is committed.
    Committed,
    /// The walk goes on; whether the key was absent at any time since it began.
    Walking(bool),
    /// It has found the key, and deleted its value.
    Found,
    /// It is over.
    Walked,
    /// All has run; the answer is under way.
    Done,
}

/// A bump as it is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// The key was invalidated.
    Key,
    /// Keys were that nobody can name.
    Doubt,
}

/// Everything there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    committed: Version,
    /// The version whose invalidation has returned.
    told: Version,
    l2: Slot,
    call: Call,
    stream: ArrayVec<Message, 8>,
    l1: Option<Copied>,
    /// The attached flight: what is detached enters nothing and gives its ticket back.
    flight: Option<Flight>,
    /// A load elsewhere, under its ticket.
    elsewhere: Option<(Version, Stamp)>,
    stamps: Stamp,
    loads_left: u8,
    evictions_left: u8,
    losses_left: u8,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A version is committed whose key matches the pattern.
    Commit,
    /// The call begins, and its walk.
    Begin,
    /// The walk finds the key, and deletes its value.
    Find,
    /// The key is bumped.
    Bump,
    /// The walk overlooks the key, which was absent for a moment.
    Overlook,
    /// The doubt runs.
    RunDoubt,
    /// The call returns.
    Return,
    /// The instance hears a message.
    Hear,
    /// L2 loses the key.
    Evict,
    /// The instance loses its proof.
    LoseProof,
    /// A load begins, under a ticket where the key is absent.
    BeginLoad,
    /// A load begins without a look at L2.
    BeginLoadAlone,
    /// L2 is read.
    ReadL2,
    /// The stamp of a suspect copy is looked for.
    LookForStamp,
    /// The flight ends.
    End,
    /// A load begins elsewhere.
    BeginElsewhere,
    /// It ends.
    EndElsewhere,
}

impl State {
    /// The copy, if it may be served in any way.
    fn served(&self) -> Option<Copied> {
        self.l1.filter(|copy| copy.epoch != Epoch::Doubted)
    }

    fn plant(&mut self) -> Stamp {
        self.stamps += 1;
        self.l2 = Slot::Ticket(self.stamps);
        self.stamps
    }

    fn fill(&mut self, version: Version, stamp: Stamp) -> bool {
        let fills = self.l2 == Slot::Ticket(stamp);
        if fills {
            self.l2 = Slot::Value(version, stamp);
        }
        fills
    }

    fn detach(&mut self) {
        if let Some(Flight { way: Way::Loaded(_, Some(stamp)), .. }) = self.flight.take()
            && self.l2 == Slot::Ticket(stamp)
        {
            self.l2 = Slot::Absent;
        }
    }

    fn drop_key(&mut self) {
        self.l1 = None;
        self.detach();
    }
}

impl Doubt {
    /// The rules of the protocol.
    #[must_use]
    pub const fn recommended() -> Self {
        Self {
            doubt_last: true,
            reaches_self_evident: true,
            detaches: true,
            found_are_bumped: true,
            again_at_the_answer: true,
            own: false,
            writes: 1,
            loads: 2,
            evictions: 1,
            losses: 1,
        }
    }

    fn doubt(self, state: &mut State) {
        Self::end_epoch(state, if self.reaches_self_evident { Epoch::Doubted } else { Epoch::Ended });
        if self.detaches {
            state.detach();
        }
    }

    fn end_epoch(state: &mut State, ended: Epoch) {
        let end = |epoch: Epoch| if epoch == Epoch::Present || ended == Epoch::Doubted { ended } else { epoch };
        state.l1 = state.l1.map(|copy| Copied { epoch: end(copy.epoch), ..copy });
        state.flight = state.flight.map(|flight| Flight { epoch: end(flight.epoch), ..flight });
    }

    fn end_flight(state: &mut State) -> Option<()> {
        let Flight { way, epoch } = state.flight.take()?;
        let copy = match way {
            Way::Loaded(version, None) => Some(Copied { version, stamp: None, epoch }),
            Way::Loaded(version, Some(stamp)) => {
                state.fill(version, stamp).then_some(Copied { version, stamp: Some(stamp), epoch })
            }
            Way::Read(version, stamp) => (epoch == Epoch::Present).then_some(Copied { version, stamp: Some(stamp), epoch }),
            Way::Looked(found) => {
                state.l1.filter(|_| found && epoch == Epoch::Present).map(|copy| Copied { epoch: Epoch::Present, ..copy })
            }
        };
        state.l1 = copy.or(state.l1);
        Some(())
    }
}

impl Model for Doubt {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            committed: 0,
            told: 0,
            l2: Slot::Value(0, 1),
            call: Call::Idle,
            stream: ArrayVec::new(),
            l1: Some(Copied { version: 0, stamp: Some(1), epoch: Epoch::Present }),
            flight: None,
            elsewhere: None,
            stamps: 1,
            loads_left: self.loads,
            evictions_left: self.evictions,
            losses_left: self.losses,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let there = state.l2 != Slot::Absent;
        match state.call {
            Call::Idle if state.committed < self.writes => actions.push(Action::Commit),
            Call::Idle => {}
            Call::Committed => actions.push(Action::Begin),
            Call::Walking(absent) => {
                actions.extend(there.then_some(Action::Find));
                actions.extend(absent.then_some(Action::Overlook));
            }
            Call::Found => actions.push(Action::Bump),
            Call::Walked => actions.push(Action::RunDoubt),
            Call::Done => actions.push(Action::Return),
        }
        actions.extend((!state.stream.is_empty()).then_some(Action::Hear));
        actions.extend((state.evictions_left > 0 && there).then_some(Action::Evict));
        actions.extend((state.losses_left > 0).then_some(Action::LoseProof));
        let loads = state.loads_left > 0;
        let suspect = state.l1.is_some_and(|copy| copy.epoch != Epoch::Present && copy.stamp.is_some());
        match (state.flight, state.l2) {
            (Some(_), _) => actions.push(Action::End),
            (None, _) if state.l1.is_some_and(|copy| copy.epoch == Epoch::Present) => {}
            (None, slot) => {
                actions.extend(suspect.then_some(Action::LookForStamp));
                actions.extend(loads.then_some(Action::BeginLoadAlone));
                actions.extend((loads && slot == Slot::Absent).then_some(Action::BeginLoad));
                actions.extend((loads && matches!(slot, Slot::Value(..))).then_some(Action::ReadL2));
            }
        }
        match state.elsewhere {
            Some(_) => actions.push(Action::EndElsewhere),
            None => actions.extend((loads && !there).then_some(Action::BeginElsewhere)),
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Commit => {
                state.committed += 1;
                state.call = Call::Committed;
            }
            Action::Begin => {
                if self.own {
                    self.doubt(&mut state);
                }
                if !self.doubt_last {
                    state.stream.push(Message::Doubt);
                }
                state.call = Call::Walking(state.l2 == Slot::Absent);
            }
            Action::Find => {
                if matches!(state.l2, Slot::Value(..)) {
                    state.l2 = Slot::Absent;
                }
                state.call = Call::Found;
            }
            Action::Bump => {
                if self.found_are_bumped {
                    state.l2 = Slot::Absent;
                    state.stream.push(Message::Key);
                }
                state.call = Call::Walked;
            }
            Action::Overlook => state.call = Call::Walked,
            Action::RunDoubt => {
                if self.doubt_last {
                    state.stream.push(Message::Doubt);
                }
                state.call = Call::Done;
            }
            Action::Return => {
                if self.own && self.again_at_the_answer {
                    self.doubt(&mut state);
                }
                state.told = state.committed;
                state.call = Call::Idle;
            }
            Action::Hear => match state.stream.pop_at(0)? {
                Message::Key => state.drop_key(),
                Message::Doubt => self.doubt(&mut state),
            },
            Action::Evict => {
                state.evictions_left -= 1;
                state.l2 = Slot::Absent;
            }
            Action::LoseProof => {
                state.losses_left -= 1;
                Self::end_epoch(&mut state, Epoch::Ended);
                state.detach();
            }
            Action::BeginLoad => {
                state.loads_left -= 1;
                let way = Way::Loaded(state.committed, Some(state.plant()));
                state.flight = Some(Flight { way, epoch: Epoch::Present });
            }
            Action::BeginLoadAlone => {
                state.loads_left -= 1;
                state.flight = Some(Flight { way: Way::Loaded(state.committed, None), epoch: Epoch::Present });
            }
            Action::ReadL2 => {
                let Slot::Value(version, stamp) = state.l2 else { return None };
                state.loads_left -= 1;
                state.flight = Some(Flight { way: Way::Read(version, stamp), epoch: Epoch::Present });
            }
            Action::LookForStamp => {
                let found = matches!(state.l2, Slot::Value(_, stamp) if Some(stamp) == state.l1?.stamp);
                state.flight = Some(Flight { way: Way::Looked(found), epoch: Epoch::Present });
            }
            Action::End => Self::end_flight(&mut state)?,
            Action::BeginElsewhere => {
                state.loads_left -= 1;
                state.elsewhere = Some((state.committed, state.plant()));
            }
            Action::EndElsewhere => {
                let (version, stamp) = state.elsewhere.take()?;
                state.fill(version, stamp);
            }
        }
        if let Call::Walking(absent) = &mut state.call {
            *absent |= state.l2 == Slot::Absent;
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(G1, |_, state: &State| !matches!(state.l2, Slot::Value(version, _) if version < state.told)),
            Property::always(G2, |_, state: &State| {
                !state.stream.is_empty() || state.served().is_none_or(|copy| copy.version >= state.told)
            }),
            Property::always(G3, |model: &Self, state: &State| {
                !model.own || state.served().is_none_or(|copy| copy.version >= state.told)
            }),
            Property::always(L, |model: &Self, state: &State| {
                let heard = model.own || state.stream.is_empty();
                let joined = state.flight.and_then(|flight| match flight.way {
                    Way::Loaded(version, _) | Way::Read(version, _) => Some(version),
                    Way::Looked(_) => None,
                });
                !heard || joined.is_none_or(|version| version >= state.told)
            }),
        ]
    }
}

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case> {
    const RIGHT: Doubt = Doubt::recommended();
    const OWN: Doubt = Doubt { own: true, ..RIGHT };
    vec![
        Case::breaks("the doubt comes before the walk", G2, 9, Doubt { doubt_last: false, ..RIGHT }),
        Case::breaks("doubt reaches no self-evident copy", G2, 7, Doubt { reaches_self_evident: false, ..RIGHT }),
        Case::breaks("doubt detaches no flight", L, 9, Doubt { detaches: false, ..RIGHT }),
        Case::breaks("what is found is deleted, and not bumped", G1, 9, Doubt { found_are_bumped: false, ..RIGHT }),
        Case::breaks("the issuer doubts its copies before the walk alone", G3, 8, Doubt { again_at_the_answer: false, ..OWN }),
        Case::holds("RECOMMENDED 1 pattern, 2 loads, 1 eviction, 1 loss of proof", 2_248, RIGHT),
        Case::holds(
            "RECOMMENDED 2 patterns, 3 loads, 2 evictions, 1 loss of proof",
            83_829,
            Doubt { writes: 2, loads: 3, evictions: 2, ..RIGHT },
        ),
        Case::holds("RECOMMENDED the issuer, 1 pattern, 2 loads, 1 eviction, 1 loss of proof", 4_201, OWN),
        Case::holds(
            "RECOMMENDED the issuer, 2 patterns, 3 loads, 2 evictions, 1 loss of proof",
            132_158,
            Doubt { writes: 2, loads: 3, evictions: 2, ..OWN },
        ),
    ]
}
