//! What a run leaves behind: everything that was asked, answered, committed and broken, with its times. Who writes it and what must hold
//! of it is told elsewhere.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use cachetier::Token;
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

/// A point of a lane, as a token says it in its text: comparable within its era.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Point {
    /// Which part of the namespace has the lane, if there are several.
    pub part: Option<u8>,
    /// The life of the lane.
    pub era: u32,
    /// The point within it.
    pub seq: u64,
}

/// Where an invalidation stands: a point, or one for each part that it concerns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Points(pub Vec<Point>);

impl Points {
    /// Reads a token, which says in its text alone where it stands.
    #[must_use]
    pub fn of(token: Token) -> Self {
        Self::read(&token.to_string())
    }

    /// Reads the text of a token.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let point = |text: &str| {
            let mut fields = text.rsplit('-');
            let seq = u64::from_str_radix(fields.next()?, 16).ok()?;
            let era = u32::from_str_radix(fields.next()?, 16).ok()?;
            Some(Point { part: fields.next().and_then(|part| part.parse().ok()), era, seq })
        };
        Self(text.split('.').filter_map(point).collect())
    }

    /// The token that says so.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        self.to_string().parse().ok()
    }
}

impl fmt::Display for Points {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, Point { part, era, seq }) in self.0.iter().enumerate() {
            let divider = if nth > 0 { "." } else { "" };
            let part = part.map(|part| format!("{part}-")).unwrap_or_default();
            write!(f, "{divider}{part}{era:x}-{seq:x}")?;
        }
        Ok(())
    }
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
    /// It failed by its policy, for nothing could be proven.
    Unproven,
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
    /// Whether its instance counted a copy that was served without proof while it ran: this one, or another one beside it.
    pub unproven: bool,
    /// Whether it was asked at the end, when all was quiet.
    pub last: bool,
}

/// Which verb a mutation was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verb {
    /// `invalidate`, `invalidate_many`, `invalidate_tag`, `invalidate_prefix` or `clear`, as the target says.
    Invalidate,
    /// `remove`.
    Remove,
    /// `set`.
    Set,
    /// `invalidate`, `invalidate_tag` and so on, of an `Invalidator` in the process of the instance.
    Outside,
    /// `guard` or `guard_for`. What is about to be written was not committed before it.
    Hold,
    /// A guard's `set` of this version: others may have committed since.
    SetHeld(u64),
    /// `release` or `release_after`.
    Release,
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
    /// A guard found no tier that could hold its keys, and nothing was committed under it.
    NotHeld,
    /// It was refused, which none of these should be.
    Refused,
    /// It had not ended by its deadline.
    Overdue,
}

/// A mutation. What it is about was committed before it began, but for that of a guard.
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
    /// Where it stands on the lane, if that was told.
    pub points: Points,
}

/// Keys that a write guard held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Whose guard.
    pub instance: u16,
    /// What it held.
    pub key: Key,
    /// From when it was known to hold it to when it may have let it go: by its limit if it was dropped, else by its release and its lag.
    pub span: Span,
    /// Whether it was dropped without a release.
    pub dropped: bool,
}

/// A wait for a point of the lane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waited {
    /// Who waited.
    pub instance: u16,
    /// For what.
    pub points: Points,
    /// When.
    pub span: Span,
    /// Whether it was reached within the limit.
    pub reached: bool,
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
    pub lane_gaps: u64,
    pub served_unproven: u64,
    pub suspects_same: u64,
    pub holds_lost: u64,
    pub retold: u64,
}

/// Anything that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is what its type says")]
pub enum Event {
    Read(Read),
    Mutation(Mutation),
    Held(Held),
    /// A guard holds a key: up to that time, if its process is killed before it lets go.
    Holding(Held),
    /// The guard of this instance that was begun then is about to let go.
    LettingGo {
        instance: u16,
        begun: Nanos,
    },
    /// The process of an instance was killed. Another one takes its place under the same number.
    Killed {
        instance: u16,
        at: Nanos,
    },
    Waited(Waited),
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
            Self::Mutation(made) => {
                write!(f, "{:?} {:?} by {}: {:?}", made.verb, made.target, made.instance, made.told)?;
                if made.points.0.is_empty() { Ok(()) } else { write!(f, " at {}", made.points) }
            }
            Self::Killed { instance, .. } => write!(f, "{instance} was killed"),
            Self::LettingGo { instance, .. } => write!(f, "a guard of {instance} is about to let go"),
            Self::Held(held) | Self::Holding(held) => {
                let end = if held.dropped { ", then dropped" } else { "" };
                write!(f, "{} held by a guard of {}{end}", held.key.text(), held.instance)
            }
            Self::Waited(waited) => {
                let end = if waited.reached { "" } else { " in vain" };
                write!(f, "{} waited for {}{end}", waited.instance, waited.points)
            }
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

/// How a file of events ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a whole event.
    Whole,
    /// Anywhere: who wrote it was killed.
    CutOff,
}

/// Reads a file of events.
///
/// # Errors
/// When it cannot be read, or does not end as it should.
pub fn read(path: &Path, ending: Ending) -> Result<Vec<Event>, String> {
    let bytes = std::fs::read(path).map_err(|error| format!("no history at {}: {error}", path.display()))?;
    let (mut rest, mut events) = (bytes.as_slice(), Vec::new());
    while !rest.is_empty() {
        match postcard::take_from_bytes(rest) {
            Ok((event, after)) => {
                events.push(event);
                rest = after;
            }
            Err(postcard::Error::DeserializeUnexpectedEnd) if ending == Ending::CutOff => break,
            Err(error) => {
                return Err(format!("the history at {} is cut off after {} events: {error}", path.display(), events.len()));
            }
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_that_is_cut_off_is_read_up_to_its_last_whole_event_where_that_may_be() {
        let path = std::env::temp_dir().join(format!("cachetier-chaos-events-{}", std::process::id()));
        let event = |seq| {
            Event::Waited(Waited { instance: 1, points: Points::read(&format!("7-{seq}")), span: Span::default(), reached: true })
        };
        let bytes: Vec<u8> = [event(1), event(2)].iter().flat_map(|event| postcard::to_stdvec(event).unwrap()).collect();
        std::fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(read(&path, Ending::CutOff), Ok(vec![event(1)]));
        assert!(read(&path, Ending::Whole).is_err_and(|error| error.contains("cut off after 1 events")));
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read(&path, Ending::Whole), Ok(vec![event(1), event(2)]));
        std::fs::remove_file(&path).unwrap();
    }
}
