//! The bytes of a hold. What a hold forbids, and what guards do to it, is `rule::hold`'s.

use super::slot::HOLD;
use crate::rule::hold::{Hold, Record};
use crate::rule::stamp::Stamp;

/// Kind, and whether it was touched.
const HEAD: usize = 2;
/// A guard's name, and its deadline in milliseconds of the server's clock.
const RECORD: usize = Stamp::LEN + 8;

/// Reads what a key holds, if it is a hold. Total: what is missing in it was never there, and a hold that does not say so was touched.
pub(crate) fn read(slot: &[u8]) -> Option<Hold> {
    if slot.first() != Some(&HOLD) {
        return None;
    }
    let records = slot.get(HEAD..).unwrap_or_default().chunks_exact(RECORD).filter_map(|record| {
        let (guard, deadline) = record.split_first_chunk::<{ Stamp::LEN }>()?;
        Some(Record::new(Stamp(*guard), u64::from_be_bytes(deadline.try_into().ok()?)))
    });
    Some(Hold { touched: slot.get(1) != Some(&0), records: records.collect() })
}

/// Writes a hold.
pub(crate) fn write(hold: &Hold) -> Vec<u8> {
    let records = hold.records.iter().flat_map(|record| record.guard.0.into_iter().chain(record.until.0.to_be_bytes()));
    [HOLD, u8::from(hold.touched)].into_iter().chain(records).collect()
}

/// Marks a hold: somebody other than its one guard has bumped the key.
pub(crate) fn touch(slot: &mut Vec<u8>) {
    match slot.get_mut(1) {
        Some(mark) => *mark = 1,
        None => slot.push(1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_record_counts_for_nothing() {
        let none = Hold { touched: true, records: Vec::new() };
        assert_eq!(read(&[HOLD]), Some(none.clone()));
        assert_eq!(read(&[[HOLD, 1].as_slice(), &[7; RECORD - 1]].concat()), Some(none));
        assert_eq!(read(&[]), None);
        assert_eq!(read(b"\xf6 a value"), None);
    }

    #[test]
    fn a_touch_marks_a_hold_and_leaves_its_records() {
        let hold = Hold { touched: false, records: vec![Record::new(Stamp([7; 16]), 9)] };
        let mut slot = write(&hold);
        touch(&mut slot);
        assert_eq!(read(&slot), Some(Hold { touched: true, ..hold }));
        let mut bare = vec![HOLD];
        touch(&mut bare);
        assert_eq!(bare, [HOLD, 1]);
    }

    proptest! {
        #[test]
        fn a_hold_is_read_as_it_was_written(touched: bool, records in prop::collection::vec((any::<[u8; 16]>(), any::<u64>()), 0..70)) {
            let records = records.into_iter().map(|(guard, until)| Record::new(Stamp(guard), until)).collect();
            let hold = Hold { touched, records };
            prop_assert_eq!(read(&write(&hold)), Some(hold));
        }
    }
}
