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

/// The part of a message that its sender writes; the lane puts era and seqs in front of it.
pub(crate) fn body(targets: &Targets, coming: Option<Stamp>) -> Vec<u8> {
    let mut body = vec![u8::from(targets.all)];
    let mut field = |kind: u8, bytes: &[u8]| {
        body.push(kind);
        body.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        body.extend_from_slice(bytes);
    };
    targets.keys.iter().for_each(|key| field(1, key.as_bytes()));
    targets.tags.iter().for_each(|tag| field(2, &tag.0.to_be_bytes()));
    targets.prefixes.iter().for_each(|prefix| field(3, &prefix.0.to_be_bytes()));
    if let Some(stamp) = coming {
        field(4, &stamp.0);
    }
    body
}
