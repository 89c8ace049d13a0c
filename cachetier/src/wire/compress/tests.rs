use proptest::prelude::*;

use super::*;

/// Every algorithm of this build: each test is for all of them, and there may be none.
fn all() -> Vec<Compression> {
    (0..=u8::MAX).filter_map(Compression::of_id).collect()
}

fn text(length: usize) -> Vec<u8> {
    b"the quick brown fox jumps over the lazy dog, ".iter().copied().cycle().take(length).collect()
}

#[track_caller]
fn check(how: Compression, plain: &[u8]) {
    let Some(packed) = how.pack(plain) else { return };
    assert!(packed.len() < plain.len(), "{how:?}");
    let read = Packed::open(&packed).unwrap();
    assert_eq!((read.algorithm, read.length), (how, plain.len()));
    assert_eq!(read.unpack().unwrap(), plain, "{how:?}");
}

/// The algorithm's name, the plain length, and what was compressed.
fn claim(how: Compression, length: u32, bytes: &[u8]) -> Vec<u8> {
    let id = (0..=u8::MAX).find(|id| Compression::of_id(*id) == Some(how)).unwrap();
    [&[id][..], &length.to_be_bytes(), bytes].concat()
}

/// What was compressed, without its head.
fn bytes_of(how: Compression, plain: &[u8]) -> Vec<u8> {
    how.compressed(plain).unwrap().1
}

#[test]
fn what_becomes_smaller_is_packed_and_read_as_it_was() {
    for how in all() {
        for length in [100, 1_000, 100_000, 8 << 20] {
            assert!(how.pack(&text(length)).is_some(), "{how:?} {length}");
            check(how, &text(length));
        }
    }
}

#[test]
fn what_does_not_become_smaller_is_stored_as_it_is() {
    let mut random = fastrand::Rng::with_seed(7);
    for how in all() {
        for length in [0, 1, 5, 20, 1_000, 100_000] {
            let plain: Vec<u8> = (0..length).map(|_| random.u8(..)).collect();
            assert_eq!(how.pack(&plain), None, "{how:?} {length}");
        }
    }
    assert_eq!(Compression::None.pack(&text(1_000)), None);
}

#[test]
fn what_would_be_refused_when_it_is_read_is_stored_as_it_is() {
    for how in all() {
        assert_eq!(how.pack(&vec![0; MAX_PLAIN + 1]), None, "{how:?}");
        // By zstd these become smaller than the ratio allows, and by LZ4 they do not.
        let zeros = vec![0; FREE + 1];
        assert_eq!(how.pack(&zeros).is_some(), is_allowed(zeros.len(), bytes_of(how, &zeros).len()), "{how:?}");
        check(how, &zeros);
        assert!(how.pack(&zeros[1..]).is_some(), "{how:?}");
    }
}

#[test]
fn a_payload_that_claims_more_than_it_may_takes_no_memory() {
    for how in all() {
        let small = bytes_of(how, &text(1_000));
        for (length, bytes) in [
            (u32::MAX, vec![0; 100]),
            (u32::MAX, vec![0; 1 << 20]),
            (u32::try_from(MAX_PLAIN + 1).unwrap(), vec![0; 1 << 20]),
            (u32::try_from(FREE + 1).unwrap(), small.clone()),
        ] {
            let payload = claim(how, length, &bytes);
            let mut answer = None;
            let info = allocation_counter::measure(|| answer = Some(Packed::open(&payload).map(|packed| packed.unpack())));
            let why = Unreadable::Corrupt("the payload claims to be larger than it may");
            assert_eq!((answer.unwrap(), info.bytes_max), (Err(why), 0), "{how:?} {length}");
        }
        assert!(Packed::open(&claim(how, u32::try_from(FREE).unwrap(), &small)).is_ok());
        let most = u32::try_from(MAX_PLAIN).unwrap();
        assert!(Packed::open(&claim(how, most, &vec![0; MAX_PLAIN.div_ceil(MAX_RATIO)])).is_ok());
    }
}

/// What comes out is not what was claimed: more of it is not written, less of it not taken for the value.
#[test]
fn a_payload_of_another_length_than_it_claims_is_corrupt_and_takes_no_more_than_it_claims() {
    let plain = vec![0; 1 << 20];
    for how in all() {
        let bytes = bytes_of(how, &plain);
        for length in [0, 1, 100, (1 << 20) - 1, (1 << 20) + 1] {
            if !is_allowed(length, bytes.len()) {
                continue;
            }
            let payload = claim(how, u32::try_from(length).unwrap(), &bytes);
            let packed = Packed::open(&payload).unwrap();
            let mut answer = None;
            let info = allocation_counter::measure(|| answer = Some(packed.unpack()));
            assert_eq!(answer.unwrap(), Err(Unreadable::Corrupt("the payload is not what it says")), "{how:?} {length}");
            assert!(info.bytes_max <= u64::try_from(length).unwrap() + 1_024, "{how:?} {length}: {}", info.bytes_max);
        }
    }
}

#[test]
fn an_unknown_algorithm_is_not_taken_for_a_broken_payload() {
    for id in [0, 3, 255] {
        assert_eq!(Packed::open(&[id, 0, 0, 0, 1, 0]), Err(Unreadable::Unknown));
    }
    assert!(matches!(Packed::open(&[]), Err(Unreadable::Corrupt(_))));
    for how in all() {
        for length in 1..HEAD {
            assert!(matches!(Packed::open(&claim(how, 9, &[])[..length]), Err(Unreadable::Corrupt(_))), "{how:?} {length}");
        }
    }
}

#[test]
fn a_payload_cut_short_anywhere_is_never_read() {
    for how in all() {
        let packed = how.pack(&text(2_000)).unwrap();
        for length in 0..packed.len() {
            let read = Packed::open(&packed[..length]).and_then(|packed| packed.unpack());
            assert!(read.is_err(), "{how:?} {length}");
        }
    }
}

proptest! {
    #[test]
    fn any_value_is_read_as_it_was(words in prop::collection::vec("[a-d]{1,6}", 0..300)) {
        for how in all() {
            check(how, words.concat().as_bytes());
        }
    }

    #[test]
    fn any_bytes_have_an_answer_of_the_length_they_claim(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        length in 200..10_000_u32,
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        for how in all() {
            let mut good = bytes_of(how, &text(usize::try_from(length).unwrap()));
            for (at, byte) in &flips {
                let at = at.index(good.len());
                good[at] = *byte;
            }
            for payload in [bytes.clone(), claim(how, length, &bytes), claim(how, length, &good)] {
                if let Ok(packed) = Packed::open(&payload) {
                    prop_assert!(packed.unpack().map_or(true, |plain| plain.len() == packed.length));
                }
            }
        }
    }
}
