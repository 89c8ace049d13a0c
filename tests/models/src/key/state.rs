//! What the key model is in at one moment: L2's slot, the two processes, and what is under way between them. Owns the
//! types and what can be asked of them; not what happens next.

use arrayvec::ArrayVec;

use super::mutation::Mutation;
use super::read::{Answer, Flight, Step};

/// A committed version of the value; a higher one is newer.
pub type Version = u8;

/// One of the two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// The first.
    A,
    /// The second.
    B,
}

impl Who {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::A, Self::B];
}

/// Something that each process has.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pair<T> {
    a: T,
    b: T,
}

impl<T> Pair<T> {
    pub(super) const fn of(&self, who: Who) -> &T {
        match who {
            Who::A => &self.a,
            Who::B => &self.b,
        }
    }

    pub(super) const fn of_mut(&mut self, who: Who) -> &mut T {
        match who {
            Who::A => &mut self.a,
            Who::B => &mut self.b,
        }
    }

    pub(super) fn all(&self, holds: impl Fn(&T) -> bool) -> bool {
        holds(&self.a) && holds(&self.b)
    }

    pub(super) fn for_each(&mut self, mut act: impl FnMut(&mut T)) {
        act(&mut self.a);
        act(&mut self.b);
    }
}

/// What stands in front of whatever L2 holds. A value keeps the stamp of the ticket that it was filled into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stamp {
    /// Of the probe of this process' load.
    Load(Who, u8),
    /// Of the CLAIM of this process' load.
    Claim(Who, u8),
    /// Of the `set` of this version.
    Set(Version),
}

/// What L2 holds under the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// Nothing.
    Absent,
    /// A ticket.
    Ticket(Stamp),
    /// A value, with its stamp if anything can compare it.
    Value(Version, Option<Stamp>),
    /// The hold of one write guard or two.
    Hold(Hold),
}

/// Whose guards hold the key. Each process has one guard in its life, so a record needs no name of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Hold {
    a: bool,
    b: bool,
    /// Whether anybody but its one guard has bumped the key since it was planted.
    pub(super) touched: bool,
}

impl Hold {
    pub(super) const fn of(who: Who) -> Self {
        Self { a: matches!(who, Who::A), b: matches!(who, Who::B), touched: false }
    }

    pub(super) const fn has(self, who: Who) -> bool {
        match who {
            Who::A => self.a,
            Who::B => self.b,
        }
    }

    pub(super) const fn with(self, who: Who) -> Self {
        let other = Self::of(who);
        Self { a: self.a || other.a, b: self.b || other.b, touched: true }
    }

    /// What is left without the record of `who`.
    pub(super) const fn without(self, who: Who) -> Slot {
        let own = Self::of(who);
        let left = Self { a: self.a && !own.a, b: self.b && !own.b, touched: self.touched };
        if left.a || left.b { Slot::Hold(left) } else { Slot::Absent }
    }
}

/// What L1 holds under the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    pub(super) version: Version,
    /// Its stamp in L2, if it has one and anything can compare it.
    pub(super) stamp: Option<Stamp>,
    /// Whether L2 never held it and this is judged.
    pub(super) never_in_l2: bool,
    /// Whether it stays for no longer than G2 allows, and guards are judged.
    pub(super) bounded: bool,
}

/// A published invalidation under way to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    /// Who sent it, if senders skip their own.
    pub(super) from: Option<Who>,
    /// The stamp to come, if it is of a `set`.
    pub(super) stamp: Option<Stamp>,
}

/// A command that nobody waits for any more and that may still execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Late {
    /// A probe that was given up on; its answer will be met with an ABANDON.
    Probe(Stamp),
    /// The second copy of a probe.
    SecondProbe(Stamp),
    /// A CLAIM that was given up on.
    Claim {
        /// Its ticket.
        ticket: Stamp,
        /// The value it is to replace.
        unusable: Option<Stamp>,
    },
    /// Gives a ticket back.
    Abandon(Stamp),
    /// A fill that was given up on.
    Fill(Stamp, Version),
    /// An invalidation that was given up on.
    Invalidate,
    /// A `set` in one script that was given up on.
    Set(Version),
    /// The first half of a `set` that was given up on.
    SetFirstHalf(Version),
    /// Its second half.
    SetSecondHalf(Version),
    /// The HOLD of this process' guard that was given up on.
    Hold(Who),
    /// Its RELEASE.
    Release(Who),
    /// The first half of its `set`.
    Trade(Who, Version),
}

impl Late {
    /// Whether executing it now would change anything.
    pub(super) fn acts_on(self, slot: Slot) -> bool {
        match self {
            Self::Probe(_) | Self::SecondProbe(_) => slot == Slot::Absent,
            Self::Claim { unusable, .. } => matches!(slot, Slot::Value(_, stamp) if stamp == unusable),
            Self::Fill(ticket, _) => slot == Slot::Ticket(ticket),
            Self::SetSecondHalf(version) => slot == Slot::Ticket(Stamp::Set(version)),
            Self::Abandon(_)
            | Self::Invalidate
            | Self::Set(_)
            | Self::SetFirstHalf(_)
            | Self::Hold(_)
            | Self::Release(_)
            | Self::Trade(..) => true,
        }
    }

    /// Whether it may yet plant this ticket.
    fn may_plant(self, stamp: Stamp) -> bool {
        matches!(self, Self::Probe(own) | Self::SecondProbe(own) | Self::Claim { ticket: own, .. } if own == stamp)
    }
}

/// A process: its L1, what it does, and what is under way to or from it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    pub(super) l1: Option<Entry>,
    pub(super) flight: Option<Flight>,
    pub(super) mutation: Option<Mutation>,
    /// The newest version whose invalidation it was told of, as applied or as pending.
    pub(super) told: Version,
    pub(super) loads_begun: u8,
    /// Whether it has had its guard.
    pub(super) guard_begun: bool,
    pub(super) inbox: ArrayVec<Message, 6>,
    /// Sorted, for their order means nothing.
    pub(super) late: ArrayVec<Late, 6>,
}

impl Process {
    const fn new() -> Self {
        Self {
            l1: None,
            flight: None,
            mutation: None,
            told: 0,
            loads_begun: 0,
            guard_begun: false,
            inbox: ArrayVec::new_const(),
            late: ArrayVec::new_const(),
        }
    }

    /// The version that a caller would get by joining the flight, if it is known already.
    pub(super) fn joinable(&self) -> Option<Version> {
        match self.flight.filter(|flight| flight.attached)?.step {
            Step::Answered(_, Answer::Value(version, _))
            | Step::PastL2(version)
            | Step::FillSent(_, version)
            | Step::FillAnswered(_, version) => Some(version),
            Step::ProbeSent(_) | Step::ClaimSent { .. } | Step::Answered(..) => None,
        }
    }

    pub(super) fn leave(&mut self, late: Late) {
        self.late.push(late);
        self.late.sort_unstable();
    }

    pub(super) fn take_late(&mut self, late: Late) -> Option<()> {
        let index = self.late.iter().position(|other| *other == late)?;
        self.late.remove(index);
        Some(())
    }

    fn forget_dead_commands(&mut self, slot: Slot) {
        let dead = |late: &Late, all: &[Late]| match *late {
            Late::Abandon(ticket) | Late::Fill(ticket, _) => {
                slot != Slot::Ticket(ticket) && !all.iter().any(|other| other.may_plant(ticket))
            }
            Late::Claim { .. } | Late::SetSecondHalf(_) => !late.acts_on(slot),
            _ => false,
        };
        if self.late.iter().any(|late| dead(late, &self.late)) {
            let all = self.late.clone();
            self.late.retain(|late| !dead(late, &all));
        }
    }
}

/// How far the foreign client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Foreign {
    /// It has done nothing yet.
    ToCommit,
    /// It has committed and will delete.
    ToDelete,
    /// It has done all it does, or there is none.
    Done,
}

/// Everything there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) committed: Version,
    pub(super) acknowledged: Version,
    /// The newest version that was committed under a guard which was then lost.
    pub(super) orphaned: Version,
    pub(super) slot: Slot,
    pub(super) processes: Pair<Process>,
    pub(super) losses_left: u8,
    pub(super) foreign: Foreign,
}

impl State {
    pub(super) const fn new(losses: u8, foreign: bool) -> Self {
        let foreign = if foreign { Foreign::ToCommit } else { Foreign::Done };
        let processes = Pair { a: Process::new(), b: Process::new() };
        Self { committed: 0, acknowledged: 0, orphaned: 0, slot: Slot::Absent, processes, losses_left: losses, foreign }
    }

    /// Forgets what can never do anything any more: fewer states, the same behaviour.
    pub(super) fn forget_dead_commands(&mut self) {
        let slot = self.slot;
        self.processes.for_each(|process| process.forget_dead_commands(slot));
    }
}
