//! What can go wrong, each with a name.

use std::sync::Arc;

/// What kept a call to the shared tier from an answer. Never a caller's error: it is counted, and the loader answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing was sent: no connection, or the tier was left out on purpose.
    Away(Arc<str>),
    /// Sent, and no answer in time or the connection broke: it may have run, may run later, or never.
    Unanswered(Arc<str>),
    /// The server answered with an error: it has not run.
    Refused(Arc<str>),
    /// The key holds a Redis type that is not a string: somebody else's.
    Foreign,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Away(why) => write!(f, "the shared tier is away: {why}"),
            Self::Unanswered(why) => write!(f, "no answer from the shared tier: {why}"),
            Self::Refused(why) => write!(f, "the shared tier refused: {why}"),
            Self::Foreign => f.write_str("the key holds a foreign type"),
        }
    }
}

impl std::error::Error for Fault {}

/// A key, tag or prefix that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is empty.
    Empty,
    /// The text is longer than the limit, in bytes.
    TooLong {
        /// Its length.
        length: usize,
        /// The greatest length allowed.
        limit: usize,
    },
    /// The prefix does not end at the end of a segment.
    PrefixInsideSegment {
        /// The prefix.
        prefix: String,
    },
    /// The prefix has more segments than are tracked.
    PrefixTooDeep {
        /// Its number of segments.
        depth: usize,
        /// The greatest number allowed.
        limit: usize,
    },
}

impl std::fmt::Display for KeyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Empty => f.write_str("the key is empty, expected 1 byte or more"),
            Self::TooLong { length, limit } => write!(f, "the key has {length} bytes, expected at most {limit}"),
            Self::PrefixInsideSegment { prefix } => write!(f, "the prefix {prefix:?} ends inside a segment; end it with ':'"),
            Self::PrefixTooDeep { depth, limit } => {
                write!(f, "the prefix has {depth} segments, expected at most {limit}; use a tag instead")
            }
        }
    }
}

impl std::error::Error for KeyError {}
