//! What the lane says of one bump.

use crate::key::TagHash;
use crate::rule::seq::{Era, Seq};
use crate::rule::stamp::Stamp;

/// What one bump invalidates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Targets {
    /// Logical keys.
    pub(crate) keys: Vec<String>,
    /// Tags.
    pub(crate) tags: Vec<TagHash>,
    /// Implicit tags of prefixes.
    pub(crate) prefixes: Vec<TagHash>,
    /// Everything.
    pub(crate) all: bool,
}

/// A bump as its subscribers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) era: Era,
    /// The lane's seq before this bump: what a subscriber must have applied, or it has missed something.
    pub(crate) previous: Seq,
    pub(crate) seq: Seq,
    pub(crate) targets: Targets,
    /// The bump is the first half of a `set`, and this the stamp of the value to come.
    pub(crate) coming: Option<Stamp>,
}
