use proptest::prelude::*;

use super::*;
use crate::wire::golden::{HEAD, STAMP, TAGS};

fn written(head: &Head, tags: &[TagHash], payload: &[u8]) -> Vec<u8> {
    let mut writer = Writer::begin(STAMP, head, tags, None).unwrap();
    writer.payload().extend_from_slice(payload);
    writer.finish()
}

/// Writes again what was read.
fn again(envelope: &Envelope<'_>) -> Vec<u8> {
    let tags: Vec<_> = envelope.tags.clone().collect();
    let mut writer = Writer::begin(envelope.stamp, &envelope.head, &tags, envelope.validator).unwrap();
    writer.payload().extend_from_slice(envelope.payload);
    writer.finish()
}

/// What is answered to a good value in which the byte at `at` is `byte`, its checksum mended.
#[track_caller]
fn check_byte(at: usize, byte: u8, expected: Unreadable) {
    let mut bytes = written(&HEAD, &TAGS, b"payload");
    assert!(open(&bytes).is_ok());
    bytes[at] = byte;
    seal(&mut bytes);
    assert_eq!(open(&bytes).unwrap_err(), expected);
}

#[test]
fn what_is_not_a_value_is_foreign() {
    check_byte(0, crate::wire::slot::TICKET, Unreadable::Foreign);
    check_byte(0, b'{', Unreadable::Foreign);
    assert_eq!(open(b"").unwrap_err(), Unreadable::Foreign);
    assert_eq!(open(&[VALUE; 16]).unwrap_err(), Unreadable::Foreign);
}

#[test]
fn a_later_version_is_newer_and_version_zero_is_none() {
    check_byte(17, 2, Unreadable::Newer { version: 2 });
    check_byte(17, 0, Unreadable::Corrupt("there is no version 0"));
}

#[test]
fn a_later_version_is_newer_however_it_looks_behind_its_version() {
    let mut bytes = written(&HEAD, &TAGS, b"payload");
    bytes.truncate(18);
    bytes[17] = 9;
    assert_eq!(open(&bytes).unwrap_err(), Unreadable::Newer { version: 9 });
}

#[test]
fn every_unknown_flag_is_newer_with_or_without_a_checksum_of_ours() {
    for bit in [2, 4, 5, 6, 7] {
        check_byte(18, 1 << bit, Unreadable::Newer { version: 1 });
        let mut bytes = written(&HEAD, &TAGS, b"payload");
        bytes[18] |= 1 << bit;
        assert_eq!(open(&bytes).unwrap_err(), Unreadable::Newer { version: 1 });
    }
}

#[test]
fn every_mark_but_expired_is_corrupt() {
    for bit in 1..8 {
        check_byte(21, 1 << bit, Unreadable::Corrupt("an unknown mark is set"));
    }
}

#[test]
fn more_tags_than_there_can_be_are_corrupt() {
    check_byte(20, 33, Unreadable::Corrupt("there are more tags than an entry can have"));
}

#[test]
fn tags_that_are_not_there_are_corrupt() {
    check_byte(20, 3, Unreadable::Corrupt("the tags are cut short"));
}

#[test]
fn a_negative_value_with_a_payload_is_corrupt() {
    check_byte(18, NEGATIVE, Unreadable::Corrupt("a negative entry has a payload"));
    check_byte(18, NEGATIVE | COMPRESSED, Unreadable::Corrupt("a negative entry is compressed"));
}

#[test]
fn the_mutable_part_is_judged_for_sense() {
    let good = written(&HEAD, &[], b"");
    let with = |field: Range<usize>, content: &[u8]| {
        let mut bytes = good.clone();
        bytes[field].copy_from_slice(content);
        open(&bytes).err()
    };
    assert_eq!(with(28..36, &[0; 8]), Some(Unreadable::Corrupt("the hard life is zero")));
    assert_eq!(with(28..32, &[0xff; 4]), Some(Unreadable::Corrupt("the soft life is longer than the hard one")));
    assert_eq!(with(44..52, &(MAX_SEQ + 1).to_be_bytes()), Some(Unreadable::Corrupt("the seq is not below 2^53")));
    assert_eq!(with(44..52, &MAX_SEQ.to_be_bytes()), None);
    assert_eq!(with(28..32, &HEAD.hard.to_be_bytes()), None);
}

#[test]
fn a_value_cut_short_anywhere_is_never_read() {
    let whole = written(&HEAD, &TAGS, b"payload");
    for length in 0..whole.len() {
        let expected_foreign = length < PREFIX;
        assert_eq!(matches!(open(&whole[..length]), Err(Unreadable::Foreign)), expected_foreign, "{length}");
        assert!(open(&whole[..length]).is_err(), "{length}");
    }
}

#[track_caller]
fn check_refused(change: impl FnOnce(&mut Head), tags: usize, expected: Unwritable) {
    let mut head = HEAD;
    change(&mut head);
    assert_eq!(Writer::begin(STAMP, &head, &vec![TAGS[0]; tags], None).unwrap_err(), expected);
}

#[test]
fn what_could_not_be_read_is_not_written() {
    check_refused(|_| {}, 33, Unwritable::TooManyTags { count: 33 });
    check_refused(|_| {}, 256 + 1, Unwritable::TooManyTags { count: 257 });
    check_refused(|head| head.hard = 0, 0, Unwritable::OutOfRange("the hard life is zero"));
    check_refused(|head| head.soft = head.hard + 1, 0, Unwritable::OutOfRange("the soft life is longer than the hard one"));
    check_refused(|head| head.born.seq = Seq(1 << 53), 0, Unwritable::OutOfRange("the seq is not below 2^53"));
    check_refused(|head| head.created = 1 << 48, 0, Unwritable::OutOfRange("created does not fit 48 bits"));
    let both = Unwritable::OutOfRange("a negative entry is compressed");
    check_refused(|head| (head.negative, head.compressed) = (true, true), 0, both);
    let wide = Unwritable::OutOfRange("the fingerprint does not fit 48 bits");
    check_refused(|head| head.fingerprint = Fingerprint(1 << 48), 0, wide);
}

#[test]
fn as_many_tags_as_there_can_be_are_written_and_read() {
    let tags: Vec<_> = (0..32).map(TagHash).collect();
    let bytes = written(&HEAD, &tags, b"payload");
    let envelope = open(&bytes).unwrap();
    assert_eq!(envelope.tags.len(), MAX_TAGS);
    assert_eq!(envelope.tags.collect::<Vec<_>>(), tags);
    assert_eq!(envelope.payload, b"payload");
}

#[test]
fn a_validator_has_at_most_255_bytes_of_text() {
    let with = |validator: &str| Writer::begin(STAMP, &HEAD, &[], Some(validator)).map(Writer::finish);
    let long = "v".repeat(255);
    let bytes = with(&long).unwrap();
    assert_eq!(open(&bytes).unwrap().validator, Some(long.as_str()));
    assert_eq!(with(&"v".repeat(256)), Err(Unwritable::OutOfRange("the validator is longer than 255 bytes")));
    assert_eq!(open(&with("").unwrap()).unwrap().validator, Some(""));
    for (at, byte, what) in [(64, 3, "the validator is cut short"), (65, 0xff, "the validator is no text")] {
        let mut bytes = with("v1").unwrap();
        bytes[at] = byte;
        seal(&mut bytes);
        assert_eq!(open(&bytes).unwrap_err(), Unreadable::Corrupt(what));
    }
}

#[test]
fn the_payload_of_a_negative_value_is_dropped() {
    let negative = Head { negative: true, ..HEAD };
    let bytes = written(&negative, &TAGS, b"payload");
    assert_eq!(bytes, written(&negative, &TAGS, b""));
    assert_eq!(open(&bytes).unwrap().payload, b"");
}

#[test]
fn types_of_different_names_have_different_fingerprints() {
    assert_ne!(Fingerprint::of::<u32>(), Fingerprint::of::<u64>());
    assert_ne!(Fingerprint::of::<Vec<u32>>(), Fingerprint::of::<Option<u32>>());
}

prop_compose! {
    fn heads()(
        (codec, kind, expired, created, hard) in (any::<u8>(), 0..3, any::<bool>(), 0..=MAX_U48, 1_u32..),
        (life, refresh, era, seq) in (any::<u32>(), any::<u32>(), any::<u32>(), 0..=MAX_SEQ),
        (cost, fingerprint) in (any::<u16>(), 0..=MAX_U48),
    ) -> Head {
        let soft = u32::try_from(u64::from(life) % (u64::from(hard) + 1)).unwrap();
        let born = Point { era: Era(era), seq: Seq(seq) };
        let (negative, compressed) = (kind == 1, kind == 2);
        Head { codec, negative, compressed, expired, created, soft, hard, refresh, born, cost, fingerprint: Fingerprint(fingerprint) }
    }
}

/// Stamp, head, tags, validator, payload.
type Value = (Stamp, Head, Vec<TagHash>, Option<String>, Vec<u8>);

prop_compose! {
    fn values()(
        stamp in any::<[u8; 16]>(),
        head in heads(),
        tags in prop::collection::vec(any::<u64>(), 0..=MAX_TAGS),
        validator in prop::option::of("\\PC{0,63}"),
        payload in prop::collection::vec(any::<u8>(), 0..200),
    ) -> Value {
        let payload = if head.negative { Vec::new() } else { payload };
        (Stamp(stamp), head, tags.into_iter().map(TagHash).collect(), validator, payload)
    }
}

fn write((stamp, head, tags, validator, payload): &Value) -> Vec<u8> {
    let mut writer = Writer::begin(*stamp, head, tags, validator.as_deref()).unwrap();
    writer.payload().extend_from_slice(payload);
    writer.finish()
}

proptest! {
    #[test]
    fn what_is_written_is_read(value in values()) {
        let bytes = write(&value);
        let envelope = open(&bytes).unwrap();
        let tags: Vec<_> = envelope.tags.clone().collect();
        let validator = envelope.validator.map(str::to_owned);
        prop_assert_eq!((envelope.stamp, envelope.head, tags, validator, envelope.payload.to_vec()), value);
    }

    #[test]
    fn a_flipped_bit_under_the_checksum_is_never_accepted(value in values(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
        let good = write(&value);
        let covered: Vec<usize> = (17..21).chain(52..good.len()).collect();
        let mut bytes = good.clone();
        bytes[*at.get(&covered)] ^= 1 << bit;
        prop_assert!(open(&bytes).is_err());
    }

    #[test]
    fn a_flipped_bit_beside_the_checksum_changes_one_field_or_is_refused(value in values(), at in 1..52_usize, bit in 0..8_u32) {
        prop_assume!(!(17..21).contains(&at));
        let good = write(&value);
        let mut bytes = good.clone();
        bytes[at] ^= 1 << bit;
        if let Ok(envelope) = open(&bytes) {
            let (stamp, head, tags, validator, payload) = value;
            prop_assert_eq!(envelope.validator, validator.as_deref());
            prop_assert_eq!(envelope.stamp == stamp, at >= PREFIX);
            prop_assert_eq!(envelope.head == head, at < PREFIX);
            let Head { codec, negative, compressed, cost, fingerprint, .. } = head;
            prop_assert_eq!(Head { codec, negative, compressed, cost, fingerprint, ..envelope.head }, envelope.head);
            prop_assert_eq!((envelope.tags.collect::<Vec<_>>(), envelope.payload), (tags, payload.as_slice()));
        }
    }

    #[test]
    fn any_bytes_have_an_answer_and_what_is_accepted_is_written_again_as_it_was(
        mut bytes in prop::collection::vec(any::<u8>(), 0..400),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        value in values(),
    ) {
        prop_assert!(open(&bytes).map_or(true, |envelope| again(&envelope) == bytes));
        // A good value with a few bytes overwritten and the checksum mended gets past the first gates.
        bytes = write(&value);
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        seal(&mut bytes);
        prop_assert!(open(&bytes).map_or(true, |envelope| again(&envelope) == bytes));
    }
}
