//! The states of a key in the shared tier, told by its first byte. None of these bytes occurs in UTF-8 text.

use crate::rule::stamp::Stamp;

/// First byte of a ticket: then the stamp, then the ids of the instances that wait, 16 bytes each.
pub(crate) const TICKET: u8 = 0xF5;
/// First byte of a value: then the stamp, then the envelope's header.
pub(crate) const VALUE: u8 = 0xF6;
/// First byte of a write guard's hold: nobody may fill.
pub(crate) const HOLD: u8 = 0xF7;
/// Kind and stamp: what a compare-and-swap compares.
pub(crate) const PREFIX: usize = 1 + Stamp::LEN;

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot<'a> {
    /// Somebody's right to load.
    Ticket(Stamp),
    /// A value; `bytes` is all of it, kind and stamp included.
    Value { stamp: Stamp, bytes: &'a [u8] },
    /// A write guard.
    Hold,
    /// Not ours.
    Foreign,
}

/// The first 17 bytes of a key that holds `kind` under `stamp`.
pub(crate) fn prefix(kind: u8, stamp: Stamp) -> [u8; PREFIX] {
    let mut prefix = [kind; PREFIX];
    if let Some(rest) = prefix.get_mut(1..) {
        rest.copy_from_slice(&stamp.0);
    }
    prefix
}

impl<'a> Slot<'a> {
    /// Reads what a key holds. Total: whatever is not ours is [`Slot::Foreign`].
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        let stamp = bytes.get(1..PREFIX).and_then(|stamp| stamp.try_into().ok()).map(Stamp);
        match (bytes.first(), stamp) {
            (Some(&TICKET), Some(stamp)) => Self::Ticket(stamp),
            (Some(&VALUE), Some(stamp)) => Self::Value { stamp, bytes },
            (Some(&HOLD), _) => Self::Hold,
            _ => Self::Foreign,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STAMP: Stamp = Stamp(*b"sixteen bytes ..");

    #[test]
    fn the_kinds_are_what_they_ever_were() {
        assert_eq!([TICKET, VALUE, HOLD, 17], [0xf5, 0xf6, 0xf7, u8::try_from(PREFIX).unwrap()]);
        assert_eq!(&prefix(VALUE, STAMP), b"\xf6sixteen bytes ..");
    }

    #[test]
    fn each_kind_is_told_by_its_first_byte_whatever_follows_the_stamp() {
        for rest in [&b""[..], b"more"] {
            let slot = |kind| [&prefix(kind, STAMP), rest].concat();
            assert_eq!(Slot::of(&slot(TICKET)), Slot::Ticket(STAMP));
            assert_eq!(Slot::of(&slot(VALUE)), Slot::Value { stamp: STAMP, bytes: &slot(VALUE) });
            assert_eq!(Slot::of(&slot(HOLD)), Slot::Hold);
        }
    }

    #[test]
    fn a_hold_is_one_without_a_stamp_and_nothing_else_is() {
        assert_eq!(Slot::of(&[HOLD]), Slot::Hold);
        for kind in [TICKET, VALUE] {
            assert_eq!(Slot::of(&prefix(kind, STAMP)[..PREFIX - 1]), Slot::Foreign);
        }
    }

    proptest! {
        #[test]
        fn text_is_foreign(text in any::<String>()) {
            prop_assert_eq!(Slot::of(text.as_bytes()), Slot::Foreign);
        }
    }
}
