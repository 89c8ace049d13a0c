//! The life of one key when nothing is synchronous: a command executes some time after it was sent, its answer arrives
//! some time after that, and who waits may give up in between. What was given up on still executes, late or never.
//!
//! Two processes read and mutate one key over an L2 that holds nothing, a ticket, a value or a hold. Reads probe (a value, or
//! plant a ticket), load, fill by compare-and-swap, or ABANDON the ticket; an unusable value is swapped for a ticket by
//! CLAIM. Mutations commit to the database first, then drop and detach locally, send, and drop again at the answer or
//! on giving up; what was given up on is *pending*: it is sent again from the outbox, and the key is not read from L2
//! meanwhile. A `set` plants a ticket and publishes in its first half, and fills it in its second. A foreign client may
//! commit and DEL once, without a message. A write guard plants a hold, commits under it, and takes it away again or swaps it
//! for a ticket to `set` what it has committed; it may be lost at any time, as by a crash.
//!
//! Abstracted away: time, tags and proof ([`crate::tags`]), early refresh, waiters in other processes and how they
//! are woken, lost messages, fail-over, liveness. A load reads the database in the step that begins it: reading later
//! only brings something newer.
//!
//! # The ablations
//!
//! - [`UnansweredProbe::Fills`]: a load goes on to fill with a ticket it was never told it holds; the probe may arrive
//!   after the invalidation and plant it then.
//! - [`Key::probe_retried`]: the client sends a probe twice with one stamp; the second copy does the same.
//! - [`Key::detach`] off: callers after an invalidation join the load from before it.
//! - [`Pending::Readable`]: while an own invalidation waits in the outbox, L2 still holds what it is to remove.
//! - [`Key::drop_when_answered`] off: a hit read between sending and executing enters L1 and is dropped by nobody.
//! - [`Key::drop_when_given_up`] off: the same, if the answer never comes.
//! - [`Key::keep_refused`]: a foreign DEL refuses the fill, sends no message, and the value stays in L1.
//! - [`Key::unstamped_stays`]: the same with a refusal whose answer was lost, or with anything else that was never in L2;
//!   so what has no stamp must be bounded in time.
//! - [`SetScript::One`]: a `set` that stores blindly arrives after a newer invalidation.
//! - [`UnderHold::KeepsInL1`]: what was loaded before the commit stays in L1 when the guard is lost after it.
//! - [`Holds::MayBeLost`], where guards may be lost as well: between the hold's end and the commit an old value is filled.
//! - [`Key::bumps_leave_holds`] off: the same, by somebody's invalidation.
//! - [`Key::bumps_touch_holds`] off: a guard's `set` takes the hold's place after a newer invalidation.
//! - [`Removal::PublishThenDelete`]: in a cluster, a message that overtakes its DEL is followed by a hit on the old value.
//!
//! # What else holds
//!
//! - [`UnansweredProbe::KeepsUnstamped`]: a load whose probe was not answered may leave its value in L1, for an
//!   invalidation detaches its flight or drops its entry like any other. It never was in L2, though, so a foreign DEL
//!   is never heard of: it needs the same bound in time as whatever else has no stamp ([`Key::unstamped_stays`]).
//! - Own messages may be skipped, and the second drop on giving up left out if L2 is unreadable from sending on; a `set`
//!   in one script is right as long as no answer is lost.
//!
//! # What is left out of the state, and why that changes nothing
//!
//! - A late command that can never act again is forgotten. An ABANDON or a fill acts on its own ticket only, and this
//!   one is gone for good unless a probe or CLAIM with the same stamp is still late; a CLAIM acts on a value by its stamp
//!   and the second half of a `set` on its ticket, and neither can come back, for a stamp is stored once.
//! - Stamps are only compared by CLAIM (with L2) and by the message of a `set` (with L1): without these they are not kept.
//!   Likewise a message's sender, unless own messages are skipped, and whether something newer than an own `set` was seen.
//! - Whether an entry was ever in L2 is only kept where it is judged: with a foreign client.

mod cases;
mod guard;
mod mutation;
mod read;
mod state;

use stateright::{Model, Property};

pub use cases::cases;
pub use mutation::{Kind, Mutation, MutationStep, Stage};
pub use read::{Answer, Flight, ReadStep, Step};
pub use state::{Entry, Foreign, Hold, Late, Message, Pair, Process, Slot, Stamp, State, Version, Who};

use crate::{F, G1, G2, G3, L, W};

/// Who mutates the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writers {
    /// No process of ours.
    Nobody,
    /// Process A.
    OnlyA,
    /// Both.
    Both,
}

impl Writers {
    const fn has(self, who: Who) -> bool {
        match self {
            Self::Nobody => false,
            Self::OnlyA => matches!(who, Who::A),
            Self::Both => true,
        }
    }
}

/// Which mutations are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutations {
    /// Invalidations.
    Invalidate,
    /// Calls of `set`.
    Set,
    /// Either, as the caller likes.
    Either,
}

/// What becomes of a load whose probe was not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnansweredProbe {
    /// Its value goes to the callers and is kept nowhere.
    KeepsNothing,
    /// Its value enters L1 without a stamp, if the flight is still attached then; L2 is not filled.
    KeepsUnstamped,
    /// It fills L2 as if it held the ticket.
    Fills,
}

/// When L2 is not read because an own invalidation is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pending {
    /// From giving up on.
    Unreadable,
    /// From sending on.
    UnreadableWhenSent,
    /// Never.
    Readable,
}

/// How an invalidation reaches L2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// One script deletes and publishes.
    Atomic,
    /// In a cluster: DEL at the key's shard, then publish at the lane's.
    DeleteThenPublish,
    /// In a cluster, the other way round.
    PublishThenDelete,
}

/// How `set` reaches L2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetScript {
    /// A ticket first, then an ordinary fill.
    TwoHalves,
    /// The value at once.
    One,
}

/// What becomes of a load that found the key held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnderHold {
    /// Its value goes to the callers and is kept nowhere.
    KeepsNothing,
    /// It enters L1, if the flight is still attached then.
    KeepsInL1,
}

/// For how long a hold stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Until its guard has committed, at least.
    Outlast,
    /// It may be lost or end at any time.
    MayBeLost,
}

/// The model: its rules and its sizes.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is one rule or one thing that may happen")]
pub struct Key {
    /// What a probe without an answer leads to.
    pub unanswered_probe: UnansweredProbe,
    /// Whether the client sends each probe twice.
    pub probe_retried: bool,
    /// Whether an invalidation detaches the flight it finds.
    pub detach: bool,
    /// When an own invalidation makes L2 unreadable.
    pub pending: Pending,
    /// Whether a process applies its own messages.
    pub own_echo: bool,
    /// Whether a mutation drops and detaches again when it is answered.
    pub drop_when_answered: bool,
    /// Whether it drops and detaches again when its answer is given up on.
    pub drop_when_given_up: bool,
    /// Whether a value that L2 refused goes to L1 all the same.
    pub keep_refused: bool,
    /// Whether an entry that was never in L2 may stay in L1 for as long as any other. If not, it stays for at most the
    /// staleness that G2 allows: a bound in time, which the model does not have, so it does not judge such entries then.
    pub unstamped_stays: bool,
    /// How L2 is invalidated.
    pub removal: Removal,
    /// How `set` stores.
    pub set: SetScript,
    /// What becomes of a load that found the key held.
    pub under_hold: UnderHold,
    /// For how long a hold stands.
    pub holds: Holds,
    /// Whether an invalidation leaves a hold in the key.
    pub bumps_leave_holds: bool,
    /// Whether an invalidation that leaves a hold marks it, so that its guard may no longer swap it for a value.
    pub bumps_touch_holds: bool,

    /// Whether a foreign client commits and deletes once.
    pub foreign: bool,
    /// Whether a value may be found unusable and swapped for a ticket.
    pub claims: bool,
    /// Whether a load may find L2 away.
    pub outages: bool,
    /// Who may have a write guard, once each.
    pub guards: Writers,
    /// Whether a guard may put the value it has committed.
    pub guards_set: bool,
    /// Whether a guard may be dropped, as by a crash, at any time.
    pub guards_are_lost: bool,
    /// Who mutates without a guard.
    pub writers: Writers,
    /// What they call.
    pub mutations: Mutations,
    /// How many versions are committed, by all together.
    pub writes: u8,
    /// How many loads each process begins.
    pub loads: u8,
    /// How many answers are given up on.
    pub losses: u8,
}

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// A step of a process' read.
    Read(Who, ReadStep),
    /// A step of a process' mutation.
    Mutate(Who, MutationStep),
    /// A command that nobody waits for any more executes.
    Late(Who, Late),
    /// A process applies the next message.
    ApplyMessage(Who),
    /// L1 evicts the entry.
    EvictL1(Who),
    /// Redis evicts or expires the key.
    EvictSlot,
    /// The record of this process' guard ends, by its deadline or by the loss of the hold.
    Lapse(Who),
    /// The foreign client commits.
    ForeignCommit,
    /// The foreign client deletes the key and tells nobody.
    ForeignDelete,
}

impl Key {
    /// The rules of the protocol, with two loads each, two invalidations by anybody, and one lost answer.
    #[must_use]
    pub const fn recommended() -> Self {
        Self {
            unanswered_probe: UnansweredProbe::KeepsNothing,
            probe_retried: false,
            detach: true,
            pending: Pending::Unreadable,
            own_echo: true,
            drop_when_answered: true,
            drop_when_given_up: true,
            keep_refused: false,
            unstamped_stays: false,
            removal: Removal::Atomic,
            set: SetScript::TwoHalves,
            under_hold: UnderHold::KeepsNothing,
            holds: Holds::Outlast,
            bumps_leave_holds: true,
            bumps_touch_holds: true,
            guards: Writers::Nobody,
            guards_set: false,
            guards_are_lost: false,
            foreign: false,
            claims: false,
            outages: false,
            writers: Writers::Both,
            mutations: Mutations::Invalidate,
            writes: 2,
            loads: 2,
            losses: 1,
        }
    }

    /// Whether anything puts values, with stamps that others compare.
    const fn sets(&self) -> bool {
        !matches!(self.mutations, Mutations::Invalidate) || self.guards_set
    }

    /// What an invalidation does to a process, whoever tells it.
    fn invalidate_locally(&self, process: &mut Process) {
        process.l1 = None;
        if let Some(flight) = &mut process.flight {
            flight.attached &= !self.detach;
        }
    }

    fn apply_message(&self, state: &mut State, who: Who) -> Option<()> {
        let process = state.processes.of_mut(who);
        let message = process.inbox.pop_at(0)?;
        if message.from == Some(who) {
            return Some(()); // Only skipped echoes have a sender.
        }
        let own = process.l1.filter(|entry| message.stamp.is_some() && entry.stamp == message.stamp);
        self.invalidate_locally(process);
        process.l1 = own;
        if let Some(mutation) = &mut process.mutation {
            mutation.newer_seen |=
                (mutation.kind == Kind::Set || mutation.stage == Stage::TradeSent) && message.stamp != Some(mutation.stamp());
        }
        Some(())
    }
}

impl Model for Key {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.losses, self.foreign)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for who in Who::BOTH {
            let process = state.processes.of(who);
            self.next_read_steps(state, process, |step| actions.push(Action::Read(who, step)));
            self.next_mutation_steps(state, who, |step| actions.push(Action::Mutate(who, step)));
            let acting = process.late.iter().filter(|late| late.acts_on(state.slot));
            actions.extend(acting.map(|late| Action::Late(who, *late)));
            if !process.inbox.is_empty() {
                actions.push(Action::ApplyMessage(who));
            }
            if process.l1.is_some() {
                actions.push(Action::EvictL1(who));
            }
        }
        actions.extend(Who::BOTH.into_iter().filter(|who| self.may_lapse(state, *who)).map(Action::Lapse));
        if !matches!(state.slot, Slot::Absent | Slot::Hold(_)) {
            actions.push(Action::EvictSlot);
        }
        match state.foreign {
            Foreign::ToCommit if state.committed < self.writes => actions.push(Action::ForeignCommit),
            Foreign::ToDelete => actions.push(Action::ForeignDelete),
            Foreign::ToCommit | Foreign::Done => {}
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Read(who, step) => self.read(&mut state, who, step)?,
            Action::Mutate(who, step) => self.mutate(&mut state, who, step)?,
            Action::Late(who, late) => self.execute_late(&mut state, who, late)?,
            Action::ApplyMessage(who) => self.apply_message(&mut state, who)?,
            Action::EvictL1(who) => state.processes.of_mut(who).l1 = None,
            Action::EvictSlot => state.slot = Slot::Absent,
            Action::Lapse(who) => {
                let Slot::Hold(hold) = state.slot else { return None };
                state.slot = hold.without(who);
            }
            Action::ForeignCommit => {
                state.committed += 1;
                state.foreign = Foreign::ToDelete;
            }
            // A DEL covers whatever was committed before it.
            Action::ForeignDelete => {
                state.slot = Slot::Absent;
                state.acknowledged = state.committed;
                state.foreign = Foreign::Done;
            }
        }
        state.forget_dead_commands();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = vec![
            Property::always(G1, |_, state: &State| !matches!(state.slot, Slot::Value(version, _) if version < state.acknowledged)),
            Property::always(G3, |_, state: &State| {
                state.processes.all(|process| process.l1.is_none_or(|entry| entry.version >= process.told))
            }),
            Property::always(L, |_, state: &State| {
                state.processes.all(|process| process.joinable().is_none_or(|version| version >= process.told))
            }),
        ];
        if self.guards != Writers::Nobody {
            properties.push(Property::always(W, |_, state: &State| {
                let current = |entry: Entry| entry.bounded || entry.version >= state.orphaned;
                !matches!(state.slot, Slot::Value(version, _) if version < state.orphaned)
                    && state.processes.all(|process| !process.inbox.is_empty() || process.l1.is_none_or(current))
            }));
        }
        properties.push(if self.foreign {
            // No message ever comes of a foreign DEL, so G2 cannot hold; a stamp still tells that the entry is stale.
            Property::always(F, |_, state: &State| {
                state
                    .processes
                    .all(|process| process.l1.is_none_or(|entry| !entry.never_in_l2 || entry.version >= state.acknowledged))
            })
        } else {
            Property::always(G2, |_, state: &State| {
                let current = |process: &Process| process.l1.is_none_or(|entry| entry.version >= state.acknowledged);
                state.processes.all(|process| current(process) || !process.inbox.is_empty())
            })
        });
        properties
    }

    fn format_action(&self, action: &Action) -> String {
        match action {
            Action::Read(who, step) => format!("{who:?} {step:?}"),
            Action::Mutate(who, step) => format!("{who:?} {step:?}"),
            Action::Late(who, late) => format!("late, of {who:?}: {late:?}"),
            other => format!("{other:?}"),
        }
    }
}
