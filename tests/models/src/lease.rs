//! The refresh lease: who may put a newer value in the place of a stale one that stays where it is.
//!
//! The value is the fence: a refill and a renewal compare its stamp. The lease stands in its header, and ends with time: it is there so that
//! one instance loads and not all. The model has one key, instances that look, ask for the lease, load and store, and a writer who commits
//! and then invalidates the key or expires it. Commands run at once, or run without an answer, or run late, when they like.
//!
//! Abstracted away: L1 and messages, which are the other models' matter; the ticket that fills a key without a value, which is the
//! [`crate::key`] model's; of time all but that a life is over, or a lease.
//!
//! The ablations:
//! - [`Lease::refill_compares`] off: what was loaded before an invalidation takes its place.
//! - [`Lease::renewal_compares`] off: what was made stale once more lives anew, found to be current before.
//! - [`Lease::expiry_changes_stamp`] off: the same, and what was loaded before the expiry is stored.
//! - [`Lease::expiry_ends_lease`] off: others wait for somebody whose refill will be refused.
//! - [`Lease::given_back`] off: others wait for somebody who has stored nothing.
//! - [`Lease::numbered`] off: who gives back late ends another's lease.
//! - [`Lease::forfeits`] off: a lease without an answer counts as taken, and another instance has it.

use arrayvec::ArrayVec;
use stateright::{Model, Property};

use crate::case::Case;
use crate::{G1, H, O};

/// A committed version of the value.
pub type Version = u8;
/// A mark of a fill.
pub type Stamp = u8;
/// By what a value knows who has its lease; 0 is nobody.
pub type Number = u8;

/// The most instances of a case.
const MOST: usize = 3;

/// The model: its rules and its sizes.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one rule that an ablation takes away")]
pub struct Lease {
    /// Whether a refill takes the place of the very value that was seen alone.
    pub refill_compares: bool,
    /// Whether a renewal does.
    pub renewal_compares: bool,
    /// Whether an expiry gives the value another stamp.
    pub expiry_changes_stamp: bool,
    /// Whether it ends the lease.
    pub expiry_ends_lease: bool,
    /// Whether a lease is given back by who stores nothing.
    pub given_back: bool,
    /// Whether giving back names whose lease it is.
    pub numbered: bool,
    /// Whether a lease that had no answer is taken for none.
    pub forfeits: bool,
    /// How many instances refresh.
    pub instances: usize,
    /// How many versions are committed.
    pub writes: u8,
    /// How often an instance looks.
    pub looks: u8,
    /// How many commands have no answer, or run late.
    pub losses: u8,
    /// How often a life or a lease ends by itself.
    pub ends: u8,
    /// How many instances die in the middle.
    pub deaths: u8,
}

/// A value in L2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stored {
    version: Version,
    stamp: Stamp,
    /// Whether its life goes on.
    fresh: bool,
    /// Who has its lease.
    leased: Number,
    /// Whether that is over.
    over: bool,
}

/// A command on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Take the lease of the value with this stamp.
    Take(Stamp, Number),
    /// Give it back.
    GiveBack(Stamp, Number),
    /// Put a version, under a new stamp, in the place of that value.
    Refill(Stamp, Version, Stamp),
    /// Let that value live anew under a new stamp.
    Renew(Stamp, Stamp),
}

/// How far an instance is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// It does nothing.
    Idle,
    /// It has seen a stale value, and is about to ask for its lease.
    Seen(Stored),
    /// Its loader has read the database.
    Loading(Load),
}

/// A load of a stale value's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Load {
    seen: Stored,
    number: Number,
    version: Version,
    /// Whether its lease has ended since, as far as time goes.
    ended: bool,
}

/// What becomes of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It runs, and is answered.
    Answered,
    /// It runs, and nobody is told.
    Unanswered,
    /// It runs later, and nobody is told.
    Late,
}

/// What an invalidation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bump {
    /// The value goes.
    Drop,
    /// It stays, and is stale.
    Expire,
}

/// Everything there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    committed: Version,
    /// The newest version whose invalidation or expiry was acknowledged.
    told: Version,
    value: Option<Stored>,
    instances: ArrayVec<Stage, MOST>,
    late: ArrayVec<Command, 2>,
    stamps: Stamp,
    numbers: Number,
    looks_left: u8,
    losses_left: u8,
    ends_left: u8,
    deaths_left: u8,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A version is committed.
    Commit,
    /// What is committed is told.
    Tell(Bump),
    /// The value's life is over.
    LifeEnds,
    /// The lease's time is over.
    LeaseEnds,
    /// An instance sees that the value is stale.
    Look(usize),
    /// It asks for the lease, and then loads if it is its own or cannot be told.
    Ask(usize, Fate),
    /// Its load brings what the database held.
    Refill(usize, Fate),
    /// Its load finds the value to be current.
    Renew(usize, Fate),
    /// Its load brings nothing.
    Fail(usize, Fate),
    /// It dies.
    Die(usize),
    /// A late command runs.
    Arrive(usize),
}

impl Lease {
    /// The rules of the protocol.
    #[must_use]
    pub const fn recommended() -> Self {
        Self {
            refill_compares: true,
            renewal_compares: true,
            expiry_changes_stamp: true,
            expiry_ends_lease: true,
            given_back: true,
            numbered: true,
            forfeits: true,
            instances: 2,
            writes: 2,
            looks: 3,
            losses: 1,
            ends: 2,
            deaths: 0,
        }
    }

    /// Runs a command; returns whether it has done what it is for.
    fn run(self, state: &mut State, command: Command) -> bool {
        let Some(value) = &mut state.value else {
            if let Command::Refill(_, version, stamp) = command
                && !self.refill_compares
            {
                state.value = Some(Stored { version, stamp, fresh: true, leased: 0, over: false });
                return true;
            }
            return false;
        };
        match command {
            Command::Take(seen, number) => {
                let free = value.leased == 0 || value.over;
                if value.stamp != seen || !free {
                    return false;
                }
                (value.leased, value.over) = (number, false);
            }
            Command::GiveBack(seen, number) => {
                if value.stamp != seen || (self.numbered && value.leased != number) {
                    return false;
                }
                (value.leased, value.over) = (0, false);
            }
            Command::Refill(seen, version, stamp) => {
                if self.refill_compares && value.stamp != seen {
                    return false;
                }
                *value = Stored { version, stamp, fresh: true, leased: 0, over: false };
            }
            Command::Renew(seen, stamp) => {
                if self.renewal_compares && value.stamp != seen {
                    return false;
                }
                *value = Stored { version: value.version, stamp, fresh: true, leased: 0, over: false };
            }
        }
        true
    }

    /// Sends a command; returns what its sender is told.
    fn send(self, state: &mut State, command: Command, fate: Fate) -> Option<bool> {
        state.losses_left -= u8::from(fate != Fate::Answered);
        match fate {
            Fate::Answered => Some(self.run(state, command)),
            Fate::Unanswered => {
                self.run(state, command);
                None
            }
            Fate::Late => {
                state.late.push(command);
                None
            }
        }
    }

    fn give_back(self, state: &mut State, seen: Stamp, number: Number, fate: Fate) {
        if self.given_back {
            self.send(state, Command::GiveBack(seen, number), fate);
        }
    }

    fn tell(self, state: &mut State, bump: Bump) {
        state.told = state.committed;
        let Some(value) = &mut state.value else { return };
        match bump {
            Bump::Drop => state.value = None,
            Bump::Expire => {
                value.fresh = false;
                if self.expiry_changes_stamp {
                    state.stamps += 1;
                    value.stamp = state.stamps;
                }
                if self.expiry_ends_lease {
                    (value.leased, value.over) = (0, false);
                }
            }
        }
    }

    fn ask(self, state: &mut State, at: usize, fate: Fate) -> Option<()> {
        let Stage::Seen(seen) = *state.instances.get(at)? else { return None };
        state.numbers += 1;
        let number = state.numbers;
        let told = self.send(state, Command::Take(seen.stamp, number), fate);
        if told.is_none() && self.forfeits {
            // It loads for its own callers, and stores nothing.
            self.give_back(state, seen.stamp, number, Fate::Answered);
        }
        if told == Some(false) || (told.is_none() && self.forfeits) {
            *state.instances.get_mut(at)? = Stage::Idle;
            return Some(());
        }
        *state.instances.get_mut(at)? = Stage::Loading(Load { seen, number, version: state.committed, ended: false });
        Some(())
    }

    fn end(self, state: &mut State, at: usize, action: Action) -> Option<()> {
        let Stage::Loading(load) = std::mem::replace(state.instances.get_mut(at)?, Stage::Idle) else { return None };
        match action {
            Action::Fail(_, fate) => self.give_back(state, load.seen.stamp, load.number, fate),
            Action::Refill(_, fate) | Action::Renew(_, fate) => {
                state.stamps += 1;
                let command = match action {
                    Action::Refill(..) => Command::Refill(load.seen.stamp, load.version, state.stamps),
                    _ => Command::Renew(load.seen.stamp, state.stamps),
                };
                self.send(state, command, fate);
            }
            _ => return None,
        }
        Some(())
    }
}

impl State {
    fn loads(&self) -> impl Iterator<Item = Load> {
        self.instances.iter().filter_map(|stage| match stage {
            Stage::Loading(load) => Some(*load),
            Stage::Idle | Stage::Seen(_) => None,
        })
    }

    /// Whether somebody who has the lease of the value that is there can still store something in its place.
    fn has_holder(&self, value: Stored) -> bool {
        self.loads().any(|load| load.number == value.leased && load.seen.stamp == value.stamp)
    }
}

impl Model for Lease {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            committed: 0,
            told: 0,
            value: Some(Stored { version: 0, stamp: 1, fresh: false, leased: 0, over: false }),
            instances: std::iter::repeat_n(Stage::Idle, self.instances).collect(),
            late: ArrayVec::new(),
            stamps: 1,
            numbers: 0,
            looks_left: self.looks,
            losses_left: self.losses,
            ends_left: self.ends,
            deaths_left: self.deaths,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let lossy = [Fate::Answered, Fate::Unanswered, Fate::Late];
        let fates = if state.losses_left > 0 { &lossy[..] } else { &lossy[..1] };
        actions.extend((state.committed < self.writes).then_some(Action::Commit));
        if state.told < state.committed {
            actions.extend([Action::Tell(Bump::Drop), Action::Tell(Bump::Expire)]);
        }
        if let Some(value) = state.value.filter(|_| state.ends_left > 0) {
            actions.extend(value.fresh.then_some(Action::LifeEnds));
            actions.extend((value.leased > 0 && !value.over).then_some(Action::LeaseEnds));
        }
        for (at, stage) in state.instances.iter().enumerate() {
            match stage {
                Stage::Idle => {
                    let looks = state.looks_left > 0 && state.value.is_some_and(|value| !value.fresh);
                    actions.extend(looks.then_some(Action::Look(at)));
                }
                Stage::Seen(_) => actions.extend(fates.iter().map(|fate| Action::Ask(at, *fate))),
                Stage::Loading(load) => {
                    let current = load.version == load.seen.version;
                    for fate in fates {
                        actions.push(if current { Action::Renew(at, *fate) } else { Action::Refill(at, *fate) });
                        actions.push(Action::Fail(at, *fate));
                    }
                    actions.extend((state.deaths_left > 0).then_some(Action::Die(at)));
                }
            }
        }
        actions.extend((0..state.late.len()).map(Action::Arrive));
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Commit => state.committed += 1,
            Action::Tell(bump) => self.tell(&mut state, bump),
            Action::LifeEnds => {
                state.ends_left -= 1;
                state.value.as_mut()?.fresh = false;
            }
            Action::LeaseEnds => {
                state.ends_left -= 1;
                let value = state.value.as_mut()?;
                value.over = true;
                let (stamp, number) = (value.stamp, value.leased);
                for stage in &mut state.instances {
                    if let Stage::Loading(load) = stage
                        && (load.seen.stamp, load.number) == (stamp, number)
                    {
                        load.ended = true;
                    }
                }
            }
            Action::Look(at) => {
                state.looks_left -= 1;
                *state.instances.get_mut(at)? = Stage::Seen(state.value?);
            }
            Action::Ask(at, fate) => self.ask(&mut state, at, fate)?,
            Action::Refill(at, _) | Action::Renew(at, _) | Action::Fail(at, _) => self.end(&mut state, at, action)?,
            Action::Die(at) => {
                state.deaths_left -= 1;
                *state.instances.get_mut(at)? = Stage::Idle;
            }
            Action::Arrive(nth) => {
                let command = state.late.swap_pop(nth)?;
                self.run(&mut state, command);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(G1, |_, state: &State| !state.value.is_some_and(|value| value.fresh && value.version < state.told)),
            Property::always(O, |_, state: &State| {
                let holds = |load: &Load| !load.ended && state.value.is_some_and(|value| value.stamp == load.seen.stamp);
                state.loads().filter(holds).count() <= 1
            }),
            Property::always(H, |model: &Self, state: &State| {
                let lost = model.losses > 0 || model.deaths > 0;
                lost || state.value.is_none_or(|value| value.leased == 0 || value.over || state.has_holder(value))
            }),
        ]
    }
}

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case> {
    const RIGHT: Lease = Lease::recommended();
    const HEARD: Lease = Lease { losses: 0, ..RIGHT };
    const THREE: Lease = Lease { instances: 3, writes: 1, ..RIGHT };
    vec![
        Case::breaks("a refill overwrites whatever is there", G1, 6, Lease { refill_compares: false, ..RIGHT }),
        Case::breaks("a renewal renews whatever is there", G1, 5, Lease { renewal_compares: false, ..RIGHT }),
        Case::breaks("an expiry keeps the stamp", G1, 5, Lease { expiry_changes_stamp: false, ..RIGHT }),
        Case::breaks("an expiry leaves the lease", H, 4, Lease { expiry_ends_lease: false, ..HEARD }),
        Case::breaks("a lease is not given back", H, 3, Lease { given_back: false, ..HEARD }),
        Case::breaks("whoever gives back ends any lease", O, 6, Lease { numbered: false, ..THREE }),
        Case::breaks("a lease without an answer counts as taken", O, 4, Lease { forfeits: false, ..RIGHT }),
        Case::holds("RECOMMENDED 2 instances, 2 writes, 3 looks, 1 answer lost", 181_201, RIGHT),
        Case::holds("RECOMMENDED every command answered", 36_641, HEARD),
        Case::holds("RECOMMENDED 3 instances, 1 write, 3 looks, 1 answer lost", 93_445, THREE),
        Case::holds(
            "RECOMMENDED 3 instances, 2 writes, 4 looks, 1 death",
            1_618_316,
            Lease { instances: 3, looks: 4, losses: 0, deaths: 1, ..RIGHT },
        ),
        Case::holds(
            "RECOMMENDED 3 instances, 2 writes, 4 looks, 2 answers lost",
            12_370_379,
            Lease { looks: 4, losses: 2, instances: 3, ..RIGHT },
        )
        .long(),
    ]
}
