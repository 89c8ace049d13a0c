//! What a run leaves behind: everything that was asked, answered, committed and broken, with its times. Who writes it and what must hold
//! of it is told elsewhere.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::clock::Nanos;
use crate::layout::{Key, Target};
use crate::plan::Kind;

/// After so many events of a process its readers read no more; what else happens is recorded up to twice as many.
pub const MOST_EVENTS: usize = 4_000_000;

/// From a point to a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// When it began.
    pub start: Nanos,
    /// When it ended.
    pub end: Nanos,
}

/// What a cached value says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Whose value it is.
    pub key: Key,
    /// The version of the database.
    pub version: u64,
    /// When its load began, or the call that put it.
    pub begun: Nanos,
    /// Whether it was put and not loaded.
    pub put: bool,
}

/// What a read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Got {
    /// A value.
    Row(Row),
    /// None: only a `get` may.
    Nothing,
    /// The loader failed, panicked or took too long, as it was told to.
    Failed,
    /// The caller dropped it.
    Dropped,
    /// It had not ended by its deadline.
    Overdue,
}

impl fmt::Display for Got {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(row) if row.put => write!(f, "version {}, which was put", row.version),
            Self::Row(row) => write!(f, "version {}", row.version),
            other => write!(f, "{other:?}"),
        }
    }
}

/// A read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// Who asked.
    pub instance: u16,
    /// For what.
    pub key: Key,
    /// When.
    pub span: Span,
    /// What came.
    pub got: Got,
    /// Whether it was asked at the end, when all was quiet.
    pub last: bool,
}

/// Which verb a mutation was made with. Guards and invalidators have their place here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// `invalidate`, `invalidate_many`, `invalidate_tag`, `invalidate_prefix` or `clear`, as the target says.
    Invalidate,
    /// `remove`.
    Remove,
    /// `set`.
    Set,
}

/// What a mutation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// It stands on the lane.
    Applied,
    /// The shared tier has not confirmed it.
    Pending,
    /// The caller dropped it.
    Dropped,
    /// It was refused, which none of these should be.
    Refused,
    /// It had not ended by its deadline.
    Overdue,
}

/// A mutation. What it is about was committed before it began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mutation {
    /// Who made it.
    pub instance: u16,
    /// How.
    pub verb: Verb,
    /// Of what.
    pub target: Target,
    /// When.
    pub span: Span,
    /// What came.
    pub told: Told,
}

/// A run of a loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Where it ran.
    pub instance: u16,
    /// Of which key.
    pub key: Key,
    /// When, up to its end or its drop.
    pub span: Span,
}

/// A version written to the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Of which key.
    pub key: Key,
    /// The version.
    pub version: u64,
    /// When.
    pub at: Nanos,
}

/// A fault that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What.
    pub kind: Kind,
    /// Whose; none: everybody's.
    pub instance: Option<u16>,
    /// From its begin to when it was mended.
    pub span: Span,
    /// What of the server's past came back: from the begin of the save to the end of the process that forgot.
    pub forgot: Option<Span>,
    /// What was seen of it.
    pub effect: String,
}

/// What an instance counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "named as in `cachetier::Stats`")]
pub struct Counts {
    pub l1_hits: u64,
    pub l1_misses: u64,
    pub l2_hits: u64,
    pub l2_misses: u64,
    pub l2_faults: u64,
    pub loads: u64,
    pub coalesced: u64,
    pub fills: u64,
    pub fills_refused: u64,
    pub fills_unanswered: u64,
    pub lane_lost: u64,
}

/// Anything that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is what its type says")]
pub enum Event {
    Read(Read),
    Mutation(Mutation),
    Load(Load),
    Commit(Commit),
    Fault(Fault),
    /// What an instance had counted by then.
    Counts {
        instance: u16,
        at: Nanos,
        counts: Counts,
    },
    /// Something a process has to say that no rule of a check foresees, such as a panic.
    Complaint {
        instance: u16,
        text: String,
    },
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(read) => write!(f, "{} read by {}: {}", read.key.text(), read.instance, read.got),
            Self::Mutation(made) => write!(f, "{:?} {:?} by {}: {:?}", made.verb, made.target, made.instance, made.told),
            Self::Load(load) => write!(f, "{} loaded by {}", load.key.text(), load.instance),
            Self::Commit(commit) => write!(f, "{} committed: version {}", commit.key.text(), commit.version),
            Self::Fault(fault) => write!(f, "fault {:?} of {}: {}", fault.kind, Whose(fault.instance), fault.effect),
            Self::Counts { instance, counts, .. } => write!(f, "{instance} counts {counts:?}"),
            Self::Complaint { instance, text } => write!(f, "{instance} complains: {text}"),
        }
    }
}

/// Whose a fault is, in words.
#[derive(Clone, Copy, Debug)]
pub struct Whose(pub Option<u16>);

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(instance) => write!(f, "instance {instance}"),
            None => f.write_str("all"),
        }
    }
}

/// A file of events that is being written.
#[derive(Debug)]
pub struct Record {
    file: Mutex<(BufWriter<File>, usize)>,
}

impl Record {
    /// Begins a file.
    ///
    /// # Errors
    /// What the system says against it.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { file: Mutex::new((BufWriter::with_capacity(1 << 18, File::create(path)?), 0)) })
    }

    /// Adds an event.
    pub fn add(&self, event: &Event) {
        let Ok(bytes) = postcard::to_stdvec(event) else { return };
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if file.1 < 2 * MOST_EVENTS && file.0.write_all(&bytes).is_ok() {
            file.1 += 1;
        }
    }

    /// Whether there is enough.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).1 >= MOST_EVENTS
    }

    /// Hands what was added to the system.
    ///
    /// # Errors
    /// What the system says against it.
    pub fn flush(&self) -> io::Result<()> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner).0.flush()
    }
}

/// Reads a file of events.
///
/// # Errors
/// When it cannot be read, or does not end with a whole event.
pub fn read(path: &Path) -> Result<Vec<Event>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("no history at {}: {error}", path.display()))?;
    let (mut rest, mut events) = (bytes.as_slice(), Vec::new());
    while !rest.is_empty() {
        let (event, after) = postcard::take_from_bytes(rest)
            .map_err(|error| format!("the history at {} is cut off after {} events: {error}", path.display(), events.len()))?;
        events.push(event);
        rest = after;
    }
    Ok(events)
}
