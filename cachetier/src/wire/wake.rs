//! What an instance is told of a key that it waits for: that its ticket has become a value, or is gone. Who waits has its mailbox written behind
//! the ticket; who swaps the ticket or gives it back tells those alone, in the same step.
//!
//! | bytes | field | |
//! |---|---|---|
//! | 0..2 | magic | `cw` |
//! | 2 | version | 1 |
//! | 3..5 | length of the name | |
//! | 5.. | the whole name of the key, then what it holds now | nothing where it is to be looked at; `f8` and a text where its load has failed |

use crate::wire::bytes::Bytes;
use crate::wire::slot::{PREFIX, TICKET};

/// The most instances that one ticket has written behind it. Others look again by themselves.
pub(crate) const MOST_WAITING: usize = 64;

/// The largest value that comes with the word of it. A larger one is read by each who waits, over a connection that nothing else waits for.
pub(crate) const SMALL: usize = 2 << 10;

/// What stands in the place of a value where the load has failed. No value begins with it.
const FAILED: u8 = 0xf8;

/// How many bytes of why a load has failed are told.
const MOST_WHY: usize = 512;

/// What is told of a load that has failed.
pub(crate) fn failed(why: &str) -> Vec<u8> {
    let end = (0..=MOST_WHY.min(why.len())).rev().find(|end| why.is_char_boundary(*end)).unwrap_or_default();
    [&[FAILED], why.get(..end).unwrap_or_default().as_bytes()].concat()
}

/// What the name of a channel ends with that belongs to one instance alone: sixteen hexadecimal digits, by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mailbox(pub(crate) [u8; Mailbox::LEN]);

impl Mailbox {
    pub(crate) const LEN: usize = 16;

    /// One that nobody else has.
    pub(crate) fn random() -> Self {
        Self([(); Self::LEN].map(|()| fastrand::digit(16)).map(|digit| u8::try_from(digit).unwrap_or(b'0')))
    }

    #[cfg(any(feature = "redis", test))]
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// Those who wait for a ticket, by what its key holds.
pub(crate) fn waiting(held: &[u8]) -> impl Iterator<Item = Mailbox> + '_ {
    let behind = held.get(PREFIX..).filter(|_| held.first() == Some(&TICKET)).unwrap_or_default();
    behind.as_chunks().0.iter().map(|mailbox| Mailbox(*mailbox))
}

/// What an instance is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wake<'a> {
    /// The whole name of the key.
    pub(crate) name: &'a str,
    /// What the key holds, unless it is to be looked at.
    pub(crate) held: Option<&'a [u8]>,
}

/// Whether it is word, though perhaps of a release that says more: no message of the lane begins so.
pub(crate) fn is_word(bytes: &[u8]) -> bool {
    bytes.starts_with(b"cw")
}

impl<'a> Wake<'a> {
    /// Why the load has failed that was waited for, if that is what is told.
    pub(crate) fn why(&self) -> Option<&'a str> {
        let (kind, why) = self.held?.split_first()?;
        str::from_utf8(why).ok().filter(|_| *kind == FAILED)
    }

    /// Reads what was told; `None` for anything else.
    pub(crate) fn read(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = Bytes(bytes);
        if rest.array()? != *b"cw\x01" {
            return None;
        }
        let length = usize::from(rest.u16()?);
        let name = str::from_utf8(rest.slice(length)?).ok()?;
        Some(Self { name, held: Some(rest.0).filter(|held| !held.is_empty()) })
    }

    /// As the scripts write it. A name that is too long for its length has nobody who waits.
    pub(crate) fn write(&self) -> Option<Vec<u8>> {
        let length = u16::try_from(self.name.len()).ok()?.to_be_bytes();
        Some([b"cw\x01", &length[..], self.name.as_bytes(), self.held.unwrap_or_default()].concat())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rule::stamp::Stamp;
    use crate::wire::slot::{VALUE, prefix};

    #[test]
    fn the_layout_is_what_it_ever_was() {
        let wake = Wake { name: "ct:shop:v:k", held: Some(b"\xf6value") };
        assert_eq!(wake.write().unwrap(), b"cw\x01\x00\x0bct:shop:v:k\xf6value");
    }

    #[test]
    fn why_a_load_has_failed_is_told_in_few_bytes() {
        for (why, told) in [("", ""), ("no", "no"), (&"é".repeat(300), &*"é".repeat(256)), (&"x".repeat(513), &*"x".repeat(512))]
        {
            let held = failed(why);
            assert_eq!(Wake { name: "k", held: Some(&held) }.why(), Some(told));
        }
        for held in [None, Some(&b"\xf6value"[..]), Some(b"\xf8\xff")] {
            assert_eq!(Wake { name: "k", held }.why(), None);
        }
    }

    #[test]
    fn those_who_wait_stand_behind_a_ticket_and_behind_nothing_else() {
        let (stamp, mailboxes) = (Stamp([7; Stamp::LEN]), [Mailbox::random(), Mailbox::random()]);
        let held = |kind| [&prefix(kind, stamp)[..], &mailboxes[0].0, &mailboxes[1].0, b"cut short"].concat();
        assert_eq!(waiting(&held(TICKET)).collect::<Vec<_>>(), mailboxes);
        assert_eq!(waiting(&held(VALUE)).count(), 0);
        assert_eq!(waiting(&prefix(TICKET, stamp)).count() + waiting(b"\xf5").count() + waiting(b"").count(), 0);
    }

    #[test]
    fn a_mailbox_is_text_and_nobody_elses() {
        let (one, other) = (Mailbox::random(), Mailbox::random());
        assert!(one.text().len() == 16 && one.text().bytes().all(|byte| byte.is_ascii_hexdigit()), "{one:?}");
        assert_ne!(one, other);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(name in "[a-zé:]{0,40}", held in prop::collection::vec(any::<u8>(), 0..40)) {
            let wake = Wake { name: &name, held: Some(held.as_slice()).filter(|held| !held.is_empty()) };
            let written = wake.write().unwrap();
            prop_assert_eq!(Wake::read(&written), Some(wake));
        }

        #[test]
        fn any_bytes_are_read_or_not(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Wake::read(&bytes);
            let _ = waiting(&bytes).count();
        }
    }
}
