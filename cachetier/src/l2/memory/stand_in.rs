//! The bytes of a message, until `wire::message` writes them: the head as it will be, and a body that tells bumps apart.

use crate::rule::seq::{Era, Seq};
use crate::rule::stamp::Stamp;
use crate::wire::message::Targets;

pub(super) fn head(era: Era, previous: Seq, seq: Seq) -> [u8; 23] {
    let mut head = [0; 23];
    let bytes = b"ct\x01".iter().copied().chain(era.0.to_be_bytes()).chain(previous.0.to_be_bytes()).chain(seq.0.to_be_bytes());
    for (to, from) in head.iter_mut().zip(bytes) {
        *to = from;
    }
    head
}

pub(super) fn body(targets: &Targets, coming: Option<Stamp>) -> Vec<u8> {
    format!("{targets:?} {coming:?}").into_bytes()
}
