//! What the lane model is in at one moment: the server, the lane's words under way, and the instance under study. Owns the types
//! and what can be asked of them; not what happens next.

use arrayvec::ArrayVec;

/// A committed version of the value.
pub type Version = u8;
/// A point within an era; 0 is before the first.
pub type Seq = u8;
/// A mark of a fill; 0 is none.
pub type Stamp = u8;
/// A life of the server's process.
pub type Run = u8;

/// More messages, and one reply, than are ever under way.
const UNDER_WAY: usize = 10;

/// A point on the lane. Era 0 is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Token {
    pub(super) era: u8,
    pub(super) seq: Seq,
}

/// What a bump is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The key: what L2 holds is dropped.
    Key,
    /// The tag: its cell is written.
    Tag,
    /// Something else: the lane moves on.
    Other,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It arrives in order.
    Delivered,
    /// It never arrives.
    Lost,
    /// It arrives behind what was published later.
    Late,
    /// It arrives twice.
    Doubled,
}

/// A bump as it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Message {
    pub(super) at: Token,
    pub(super) previous: Seq,
    pub(super) kind: Kind,
    /// The version that was committed before it.
    pub(super) version: Version,
}

/// What a check says of the lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Standing {
    pub(super) token: Token,
    /// Whether the table has grown.
    pub(super) large: bool,
}

/// What comes in over the subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    /// A bump.
    Message(Message),
    /// The answer to a check.
    Reply(Standing),
}

/// The lane's state in the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    pub(super) standing: Standing,
    /// What the tag's cell reads; 0 was never written.
    pub(super) cell: Seq,
    /// Whether the table is gone although something was written into it.
    pub(super) table_lost: bool,
    /// The newest version that a bump covers which this lane remembers.
    pub(super) covered: Version,
    /// The run of the server in which it was last checked, or began.
    pub(super) run: Run,
}

/// A value in L2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Stored {
    pub(super) version: Version,
    pub(super) born: Token,
    pub(super) stamp: Stamp,
}

/// What the server holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Memory {
    pub(super) lane: Option<Lane>,
    pub(super) l2: Option<Stored>,
}

/// What somebody else does: commits, bumps, is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Elsewhere {
    /// Nothing.
    Idle,
    /// The version is committed.
    Committed(Version),
    /// Its bump has run, and stands there.
    Bumped(Version, Token),
}

/// A question about the lane that counts as proof from when it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    /// The newest version whose bump was acknowledged to anybody, or heard of here, when it was asked.
    pub(super) since: Version,
    /// What the caller says that it was told.
    pub(super) floor: Token,
    /// The run that commands went to then.
    pub(super) line: Run,
}

/// How far the follower is: `come_into_step` from [`Step::Subscribed`] to [`Step::Merged`], then `session`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// No subscription.
    Away,
    /// The subscription is confirmed, or goes on after something was missed.
    Subscribed,
    /// The first check is answered.
    Begun(Standing),
    /// So is the read of the table's head: whether the page has moved.
    Head(Standing, bool),
    /// So is that of the page.
    Read(Standing, Seq),
    /// The second check is under way.
    Again(Standing, Seq, Asked),
    /// It has run; its answer is in the stream.
    Answered(Standing, Seq, Asked),
    /// The epoch has ended, and the lane's point is known.
    Met(Standing, Seq, Asked),
    /// The table is taken over.
    Merged(Standing, Asked),
    /// The wrong order: proven, and the table not yet taken over.
    Unmerged(Seq),
    /// In step.
    Live,
    /// A check is under way.
    Checking(Asked),
    /// It has run; its answer is in the stream.
    Checked(Asked),
}

impl Step {
    /// Whether the server must answer before it goes on.
    pub(super) fn needs_server(self) -> bool {
        matches!(self, Self::Subscribed | Self::Begun(_) | Self::Head(..) | Self::Again(..) | Self::Checking(_))
    }

    /// What was asked and has not proven anything yet.
    pub(super) fn asked(&mut self) -> Option<&mut Asked> {
        match self {
            Self::Again(_, _, asked)
            | Self::Answered(_, _, asked)
            | Self::Met(_, _, asked)
            | Self::Merged(_, asked)
            | Self::Checking(asked)
            | Self::Checked(asked) => Some(asked),
            _ => None,
        }
    }
}

/// The follower's own state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Follower {
    pub(super) step: Step,
    /// The run of the server that the subscription was made to.
    pub(super) run: Run,
    /// Up to where it has applied everything.
    pub(super) applied: Token,
    /// Whether the instance has been in step on this subscription.
    pub(super) synced: bool,
    /// Whether the last thing proven was that something had been missed.
    pub(super) mended: bool,
    pub(super) stream: ArrayVec<Item, UNDER_WAY>,
}

/// What a renewal notes before it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// Whether the epoch noted is the present one.
    pub(super) present: bool,
    pub(super) reached: Token,
    pub(super) asked: Asked,
}

/// How far a proof beside the subscription is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Renewal {
    /// Nobody asks.
    Idle,
    /// The first question is under way.
    Sent(Position),
    /// It has run.
    Answered(Position, Standing),
    /// The table's head was read: whether the page has moved.
    Head(Position, Standing, bool),
    /// The page was read.
    Read(Position, Standing, Seq),
    /// The second question has found the same lane.
    Confirmed(Position, Standing, Seq),
    /// The epoch has ended, and the lane's point is known.
    Met(Position, Standing, Seq),
    /// The table is taken over.
    Merged(Position, Standing),
}

impl Renewal {
    fn position(&mut self) -> Option<&mut Position> {
        match self {
            Self::Idle => None,
            Self::Sent(position)
            | Self::Answered(position, _)
            | Self::Head(position, ..)
            | Self::Read(position, ..)
            | Self::Confirmed(position, ..)
            | Self::Met(position, ..)
            | Self::Merged(position, _) => Some(position),
        }
    }

    /// What was asked and has not proven anything yet.
    pub(super) fn asked(&mut self) -> Option<&mut Asked> {
        self.position().map(|position| &mut position.asked)
    }

    /// Whether the server must answer before it goes on.
    pub(super) fn needs_server(self) -> bool {
        match self {
            Self::Answered(position, told) => told.token != position.reached,
            Self::Sent(_) | Self::Head(..) | Self::Read(..) => true,
            _ => false,
        }
    }

    /// The epoch that was noted has ended.
    pub(super) fn overtake(&mut self) {
        if let Some(position) = self.position() {
            position.present = false;
        }
    }
}

/// An entry of L1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    pub(super) version: Version,
    pub(super) born: Token,
    /// Whether no own bump has come since it was noted.
    pub(super) ticked: bool,
    /// Whether its epoch is the present one.
    pub(super) present: bool,
    /// Whether it was loaded here, and so may still be self-evident.
    pub(super) loaded_here: bool,
    pub(super) stamp: Stamp,
}

/// What a flight is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Way {
    /// The database was read; with the right to fill L2 as long as the ticket stands.
    Loaded(Version, bool),
    /// L2 is being read.
    L2Asked,
    /// It was.
    L2Answered(Option<Stored>),
    /// The stamp of a suspect copy is being read.
    StampAsked,
    /// It was: whether it is the copy's.
    StampAnswered(bool),
}

/// The one load of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flight {
    pub(super) way: Way,
    pub(super) attached: bool,
    /// Whether the epoch noted is the present one.
    pub(super) present: bool,
    /// The highest point known when it began.
    pub(super) noted: Token,
    /// Whether no own bump has come since.
    pub(super) ticked: bool,
    /// The newest version acknowledged when it began, where that is asked for.
    pub(super) acknowledged: Version,
    /// The newest version whose own bump had returned then.
    pub(super) told: Version,
}

/// Who waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Waiter {
    /// What its proof covered when it called.
    pub(super) since: Version,
    pub(super) known: Token,
    /// Whether no own bump has come between the flight's begin and the call.
    pub(super) ticked: bool,
    /// Whether the flight's epoch was the present one.
    pub(super) present: bool,
}

/// How far an own bump is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// The version is committed; nothing has been sent.
    Committed,
    /// On its way, with what the instance was told.
    Sent(Token),
    /// It stands here; the answer is under way.
    Executed(Token),
    /// Given up; to be told again.
    InOutbox,
}

/// An own bump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OwnBump {
    pub(super) kind: Kind,
    pub(super) version: Version,
    pub(super) stage: Stage,
    /// Whether it waits in the outbox, so that nothing of it is read from L2.
    pub(super) pending: bool,
}

/// The first wrong thing that was served: not a state of the instance but of its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wrong {
    /// A value of L2, older than the proof covers.
    Bound,
    /// A value of L2, older than an own bump that had returned.
    Own,
    /// The value of a flight, older than the waiter's proof covered.
    Wait,
}

/// What may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Left {
    pub(super) loads: u8,
    /// Messages that are lost, late or doubled.
    pub(super) losses: u8,
    pub(super) breaks: u8,
    /// Faults of the server.
    pub(super) faults: u8,
    pub(super) growths: u8,
    /// Own bumps that are given up.
    pub(super) answers: u8,
}

/// Everything there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) committed: Version,
    pub(super) elsewhere: Elsewhere,
    /// The newest version whose bump was acknowledged, and not forgotten with an older state.
    pub(super) acknowledged: Version,
    /// The point at which the latest of them stands, and its version, where it is looked at who waits for points.
    pub(super) given: Option<(Token, Version)>,
    pub(super) memory: Memory,
    /// An older state that the server may return to.
    pub(super) snapshot: Option<Memory>,
    /// The highest point ever given out: where the server's clock stands.
    pub(super) clock: Seq,
    pub(super) eras: u8,
    /// A message that comes late.
    pub(super) astray: Option<Message>,
    /// The server's process.
    pub(super) run: Run,
    /// The run that this instance's commands go to.
    pub(super) line: Run,

    pub(super) follower: Follower,
    pub(super) renewal: Renewal,
    /// What the proof covers, if there is one.
    pub(super) proof: Option<Version>,
    /// The run that commands went to when it was asked for, or a later proof.
    pub(super) proof_line: Run,
    pub(super) known: Token,
    pub(super) reached: Token,
    /// What the tag's cell reads here.
    pub(super) table: Seq,
    /// Whether an own bump of the tag has no seq yet that takes its tick's place.
    pub(super) unanswered: bool,
    /// Where the latest one was answered, if that is of another era than was known then.
    pub(super) answered_elsewhere: Option<Token>,
    /// The newest version that a message or an answer has told of here.
    pub(super) heard: Version,
    pub(super) l1: Option<Entry>,
    pub(super) flight: Option<Flight>,
    pub(super) waiter: Option<Waiter>,
    pub(super) own: Option<OwnBump>,
    /// The newest version whose own bump has returned.
    pub(super) told: Version,
    pub(super) stamps: Stamp,
    pub(super) left: Left,
    pub(super) wrong: Option<Wrong>,
}

impl State {
    /// In step with a lane that nobody has bumped, with the first version in both tiers and no proof.
    pub(super) fn new(left: Left) -> Self {
        let begun = Token { era: 1, seq: 1 };
        let lane = Lane { standing: Standing { token: begun, large: false }, cell: 0, table_lost: false, covered: 0, run: 1 };
        Self {
            committed: 0,
            elsewhere: Elsewhere::Idle,
            acknowledged: 0,
            given: None,
            memory: Memory { lane: Some(lane), l2: Some(Stored { version: 0, born: begun, stamp: 1 }) },
            snapshot: None,
            clock: 1,
            eras: 1,
            astray: None,
            run: 1,
            line: 1,
            follower: Follower { step: Step::Live, run: 1, applied: begun, synced: true, mended: false, stream: ArrayVec::new() },
            renewal: Renewal::Idle,
            proof: None,
            proof_line: 1,
            known: begun,
            reached: begun,
            table: 0,
            unanswered: false,
            answered_elsewhere: None,
            heard: 0,
            l1: Some(Entry { version: 0, born: begun, ticked: true, present: true, loaded_here: false, stamp: 1 }),
            flight: None,
            waiter: None,
            own: None,
            told: 0,
            stamps: 1,
            left,
            wrong: None,
        }
    }

    /// The same for an instance that has just started.
    pub(super) fn started_anew(self) -> Self {
        let nothing = Token::default();
        let follower = Follower { step: Step::Away, applied: nothing, synced: false, ..self.follower };
        Self { follower, known: nothing, reached: nothing, l1: None, ..self }
    }

    /// Rule T: the tag was bumped neither after this point nor by an own bump since.
    pub(super) fn unmoved(&self, born: Token, ticked: bool) -> bool {
        self.table <= born.seq && (!self.unanswered || ticked)
    }

    /// The copy that may be served on proof.
    pub(super) fn proven_copy(&self) -> Option<Entry> {
        self.l1.filter(|entry| self.proof.is_some() && entry.present && self.unmoved(entry.born, entry.ticked))
    }

    /// The copy that may be served without one: in this era, and not judged by an epoch.
    pub(super) fn unproven_copy(&self) -> Option<Entry> {
        self.l1.filter(|entry| entry.born.era == self.known.era && self.unmoved(entry.born, entry.ticked))
    }

    /// The copy that may be served to who was promised a point, with a proof or without one.
    pub(super) fn vouched_copy(&self) -> Option<Entry> {
        self.unproven_copy().filter(|entry| entry.present)
    }

    /// Whether commands are answered.
    pub(super) fn connected(&self) -> bool {
        self.line == self.run
    }

    pub(super) fn pending(&self) -> bool {
        self.own.is_some_and(|own| own.pending)
    }

    /// What a question asked now will have been answered for.
    pub(super) fn ask(&self) -> Asked {
        Asked { since: self.acknowledged.max(self.heard), floor: self.known, line: self.line }
    }
}
