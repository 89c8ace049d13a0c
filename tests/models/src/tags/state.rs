//! What the tags model is in at one moment: the lane, L2's value, and the process under study. Owns the types and what can
//! be asked of them; not what happens next.

use arrayvec::ArrayVec;

/// A committed version of the value.
pub type Version = u8;
/// A point on the lane; 0 is before the first bump.
pub type Seq = u8;
/// A point on the process' own count of its bumps.
pub type Tick = u8;

/// More bumps than any case makes.
const BUMPS: usize = 6;

/// When something was noted: the highest seq and tick known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Noted {
    pub(super) seq: Seq,
    pub(super) tick: Tick,
}

/// An entry of L1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    pub(super) version: Version,
    pub(super) noted: Noted,
    /// What the last look at the cells marked it with.
    pub(super) mark: Option<u8>,
}

/// The one load that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flight {
    /// The database is about to be read.
    Loading(Noted),
    /// It was read.
    Loaded(Version, Noted),
    /// L2 answered with this value; its S is the one it was stored with.
    FromL2(Version, Noted),
}

/// Who waits for the flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Waiter {
    /// What was known when it called.
    pub(super) known: Noted,
    /// What the tag's cells read when it called.
    pub(super) cells: Noted,
    /// The oldest version that it may get.
    pub(super) owed: Version,
}

/// How far an own bump is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The version is committed; nothing has been sent.
    Committed,
    /// On its way to Redis.
    Sent,
    /// Executed under this seq; the answer is under way.
    Executed(Seq),
    /// Given up; to be sent again.
    InOutbox,
}

/// An own bump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OwnBump {
    pub(super) version: Version,
    pub(super) stage: Stage,
    /// Whether the caller was told `Pending`.
    pub(super) pending: bool,
}

/// The first wrong thing that was served: not a state of the process but of its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// An L2 hit, older than an own bump that had returned.
    L2Hit,
    /// The value of a flight, older than what was known when the waiter called.
    Wait,
}

/// Everything there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) committed: Version,
    /// A version committed elsewhere whose bump has not been executed.
    pub(super) elsewhere: Option<Version>,
    /// The version that each seq covers, from seq 1 on.
    pub(super) covered: ArrayVec<Version, BUMPS>,
    pub(super) l2: Option<(Version, Seq)>,
    pub(super) messages: ArrayVec<Seq, BUMPS>,
    /// The seq up to which messages are applied.
    pub(super) applied: Seq,
    /// The highest seq and tick known here.
    pub(super) known: Noted,
    /// What the tag reads in the table and among the ticks.
    pub(super) cells: Noted,
    /// Moved by every write to the table or the ticks.
    pub(super) generation: u8,
    pub(super) own: Option<OwnBump>,
    /// The newest version whose own bump has returned, as applied or as pending.
    pub(super) told: Version,
    pub(super) l1: Option<Entry>,
    pub(super) flight: Option<Flight>,
    pub(super) waiter: Option<Waiter>,
    pub(super) loads_left: u8,
    pub(super) losses_left: u8,
    pub(super) wrong: Option<Wrong>,
}

impl State {
    pub(super) fn new(loads: u8, losses: u8) -> Self {
        let nothing = Noted { seq: 0, tick: 0 };
        Self {
            committed: 0,
            elsewhere: None,
            covered: ArrayVec::new(),
            l2: None,
            messages: ArrayVec::new(),
            applied: 0,
            known: nothing,
            cells: nothing,
            generation: 0,
            own: None,
            told: 0,
            l1: None,
            flight: None,
            waiter: None,
            loads_left: loads,
            losses_left: losses,
            wrong: None,
        }
    }

    pub(super) fn last_seq(&self) -> Seq {
        Seq::try_from(self.covered.len()).unwrap_or(Seq::MAX)
    }

    /// The newest version that a bump up to this seq covers.
    pub(super) fn covered_by(&self, seq: Seq) -> Version {
        usize::from(seq).checked_sub(1).and_then(|index| self.covered.get(index)).copied().unwrap_or(0)
    }

    /// The oldest version that a caller may get now.
    pub(super) fn owed(&self) -> Version {
        self.told.max(self.covered_by(self.applied))
    }

    /// Redis executes a bump: a seq, and a message to everybody.
    pub(super) fn bump(&mut self, version: Version) -> Seq {
        self.covered.push(version.max(self.covered_by(self.last_seq())));
        let seq = self.last_seq();
        self.messages.push(seq);
        seq
    }

    pub(super) fn enter_seq(&mut self, seq: Seq) {
        self.cells.seq = self.cells.seq.max(seq);
        self.known.seq = self.known.seq.max(seq);
    }

    pub(super) fn enter_tick(&mut self) {
        self.known.tick += 1;
        self.cells.tick = self.known.tick;
        self.generation += 1;
    }
}
