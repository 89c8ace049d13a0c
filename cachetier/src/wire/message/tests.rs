use proptest::prelude::*;

use super::*;

const ERA: Era = Era(7);
const STAMP: Stamp = Stamp([9; 16]);

fn message(targets: Targets, coming: Option<Stamp>) -> Message {
    Message { era: ERA, previous: Seq(10), seq: Seq(11), targets, coming }
}

fn write(message: &Message) -> Vec<u8> {
    let mut bytes = head(message.era, message.previous, message.seq).to_vec();
    bytes.extend_from_slice(&body(&message.targets, message.coming));
    bytes
}

/// The answer to a message of these fields.
fn answer(fields: &[(u8, &[u8])]) -> Result<Message, Garbled> {
    let mut bytes = head(ERA, Seq(10), Seq(11)).to_vec();
    for (id, content) in fields {
        field(&mut bytes, *id, u32::try_from(content.len()).unwrap());
        bytes.extend_from_slice(content);
    }
    read(&bytes)
}

#[track_caller]
fn check_corrupt(fields: &[(u8, &[u8])], expected: &'static str) {
    assert_eq!(answer(fields), Err(Garbled::Corrupt(expected)));
}

fn keys_of(count: usize) -> Vec<String> {
    vec!["k".to_owned(); count]
}

#[test]
fn a_message_without_targets_is_read() {
    assert_eq!(answer(&[]), Ok(message(Targets::default(), None)));
}

#[test]
fn what_a_later_release_added_and_may_be_overlooked_is_skipped() {
    let all = Targets { all: true, ..Targets::default() };
    assert_eq!(answer(&[(0, b"?"), (ALL, b""), (COMING, &STAMP.0), (8, b"new"), (0x7f, b"")]), Ok(message(all, Some(STAMP))));
}

#[test]
fn what_a_later_release_added_and_may_not_be_overlooked_is_newer() {
    for id in [0x80, 0x88, 0xff] {
        assert_eq!(answer(&[(id, b"new")]), Err(Garbled::Newer));
    }
}

#[test]
fn a_later_version_is_newer_and_version_zero_is_none() {
    let mut bytes = write(&message(Targets::default(), None));
    bytes[2] = 2;
    assert_eq!(read(&bytes[..3]), Err(Garbled::Newer));
    bytes[2] = 0;
    assert_eq!(read(&bytes), Err(Garbled::Corrupt("there is no version 0")));
}

#[test]
fn a_known_field_with_the_wrong_critical_bit_is_not_skipped() {
    for id in [1, 2, 3, 4, COMING | CRITICAL, 6, STALE | CRITICAL] {
        check_corrupt(&[(id, b"")], "the critical bit of a field is wrong");
    }
}

#[test]
fn what_says_that_keys_are_stale_says_nothing_else() {
    check_corrupt(&[(STALE, b"x")], "the field of what is stale has a content");
}

#[test]
fn fields_that_do_not_ascend_are_corrupt() {
    check_corrupt(&[(ALL, b""), (TAGS, &[0; 8])], "the fields do not ascend");
    check_corrupt(&[(TAGS, &[0; 8]), (TAGS, &[0; 8])], "the fields do not ascend");
    check_corrupt(&[(7, b""), (7, b"")], "the fields do not ascend");
}

#[test]
fn malformed_fields_are_corrupt() {
    check_corrupt(&[(KEYS, b"")], "a field of targets is empty");
    check_corrupt(&[(TAGS, b"")], "a field of targets is empty");
    check_corrupt(&[(TAGS, &[0; 9])], "a hash is cut short");
    check_corrupt(&[(PREFIXES, &[0; 7])], "a hash is cut short");
    check_corrupt(&[(ALL, b"x")], "the field of everything has a content");
    check_corrupt(&[(COMING, &[0; 15])], "the stamp to come is not one");
    check_corrupt(&[(COMING, &[0; 17])], "the stamp to come is not one");
    check_corrupt(&[(KEYS, &[0])], "a key is cut short");
    check_corrupt(&[(KEYS, &[0, 2, b'k'])], "a key is cut short");
    check_corrupt(&[(KEYS, &[0, 0])], "a key is empty, too long or not UTF-8");
    check_corrupt(&[(KEYS, &[0, 1, 0xff])], "a key is empty, too long or not UTF-8");
    let mut long = vec![0x10, 0x01];
    long.extend_from_slice(&[b'k'; MAX_KEY + 1]);
    check_corrupt(&[(KEYS, &long)], "a key is empty, too long or not UTF-8");
}

#[test]
fn a_seq_that_no_script_can_count_to_is_corrupt() {
    let too_far = Err(Garbled::Corrupt("a seq is not below 2^53"));
    assert_eq!(read(&head(ERA, Seq(0), Seq(1 << 53))), too_far);
    assert_eq!(read(&head(ERA, Seq(1 << 53), Seq(0))), too_far);
    assert!(read(&head(ERA, Seq(MAX_SEQ - 1), Seq(MAX_SEQ))).is_ok());
}

#[test]
fn a_message_cut_short_inside_its_head_or_a_field_is_never_read() {
    let targets = Targets { keys: keys_of(2), tags: vec![TagHash(1)], all: true, ..Targets::default() };
    let whole = write(&message(targets, Some(STAMP)));
    // Ends of fields: of the head, the keys, the tags, everything.
    let ends = [23, 23 + 5 + 6, 23 + 11 + 5 + 8, 23 + 11 + 13 + 5];
    for length in 0..whole.len() {
        assert_eq!(read(&whole[..length]).is_ok(), ends.contains(&length), "{length}");
    }
}

#[test]
fn as_many_targets_as_there_can_be_are_written_and_read() {
    let tags = vec![TagHash(3); 30_000];
    let full = Targets { keys: keys_of(MAX_TARGETS - 60_000), tags: tags.clone(), prefixes: tags, ..Targets::default() };
    let full = message(full, None);
    assert_eq!(read(&write(&full)), Ok(full));
}

#[test]
fn one_target_more_becomes_everything_when_written_and_is_refused_when_read() {
    let everything = message(Targets { all: true, ..Targets::default() }, Some(STAMP));
    let tags = vec![TagHash(3); 30_000];
    let over = Targets { keys: keys_of(MAX_TARGETS - 60_000 + 1), tags: tags.clone(), prefixes: tags, ..Targets::default() };
    assert_eq!(read(&write(&message(over, Some(STAMP)))), Ok(everything));

    let (hashes, keys) = (vec![0; 8 * 30_000], [0, 1, b'k'].repeat(5_537));
    check_corrupt(&[(KEYS, &keys), (TAGS, &hashes), (PREFIXES, &hashes)], "there are more targets than a message can have");
    check_corrupt(&[(KEYS, &[0, 1, b'k'].repeat(MAX_TARGETS + 1))], "there are more targets than a message can have");
    check_corrupt(&[(TAGS, &vec![0; 8 * (MAX_TARGETS + 1)])], "there are more targets than a message can have");
}

#[test]
fn a_key_that_is_none_becomes_everything() {
    let everything = message(Targets { all: true, ..Targets::default() }, None);
    for key in [String::new(), "k".repeat(MAX_KEY + 1), "k".repeat(70_000)] {
        let targets = Targets { keys: vec!["good".to_owned(), key], ..Targets::default() };
        assert_eq!(read(&write(&message(targets, None))), Ok(everything.clone()));
    }
}

#[test]
fn a_length_that_is_only_claimed_costs_no_memory() {
    // The field is not there; it is, and the key in it is not.
    for claimed in [u32::MAX, 3] {
        let mut bytes = head(ERA, Seq(10), Seq(11)).to_vec();
        field(&mut bytes, KEYS, claimed);
        bytes.extend_from_slice(&[0xff, 0xff, b'k']);
        let info = allocation_counter::measure(|| assert!(read(&bytes).is_err()));
        assert_eq!(info.bytes_total, 0);
    }
}

prop_compose! {
    fn messages()(
        (era, previous, seq) in (any::<u32>(), 0..=MAX_SEQ, 0..=MAX_SEQ),
        keys in prop::collection::vec("[a-zäß:0-9\u{1F980}]{1,20}", 0..6),
        (tags, prefixes) in (prop::collection::vec(any::<u64>(), 0..6), prop::collection::vec(any::<u64>(), 0..6)),
        (all, doubt, stale, coming) in (any::<bool>(), any::<bool>(), any::<bool>(), any::<Option<[u8; 16]>>()),
    ) -> Message {
        let hashes = |hashes: Vec<u64>| hashes.into_iter().map(TagHash).collect();
        let targets = Targets { keys, tags: hashes(tags), prefixes: hashes(prefixes), all, doubt, stale };
        Message { era: Era(era), previous: Seq(previous), seq: Seq(seq), targets, coming: coming.map(Stamp) }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read(message in messages()) {
        prop_assert_eq!(read(&write(&message)), Ok(message));
    }

    #[test]
    fn any_bytes_have_an_answer_and_what_is_accepted_is_written_again_as_it_was(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        overwrites in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        unknown in prop::collection::vec((prop_oneof![Just(0_u8), 6..0x82_u8], prop::collection::vec(any::<u8>(), 0..4)), 0..3),
        message in messages(),
    ) {
        check_law(&bytes)?;
        let mut bytes = write(&message);
        for (id, content) in unknown {
            field(&mut bytes, id, u32::try_from(content.len()).unwrap());
            bytes.extend_from_slice(&content);
        }
        check_law(&bytes)?;
        for (at, byte) in overwrites {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        check_law(&bytes)?;
    }
}

fn check_law(bytes: &[u8]) -> Result<(), TestCaseError> {
    let Ok(message) = read(bytes) else { return Ok(()) };
    prop_assert_eq!(Some(write(&message)), without_skipped(bytes));
    Ok(())
}
