//! Codecs from without: each carries values between instances whatever the other is set to write, and what one cannot carry is said
//! once for each type.
#![forbid(unsafe_code)]
#![expect(clippy::indexing_slicing, reason = "a helper of a test fails the test")]

use std::collections::BTreeMap;
use std::time::Duration;

use cachetier::{CacheError, Codec, Compression, Policy};
use cachetier_tests::{Log, Oops, Tier, over_each, over_shared};
use serde::{Deserialize, Serialize};

const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));
const CODECS: [Codec; 4] = [Codec::Postcard, Codec::Bincode, Codec::Json, Codec::MessagePack];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    id: u64,
    name: String,
    score: f64,
}

#[tokio::test]
async fn every_instance_reads_what_any_other_has_written_whatever_itself_writes() {
    over_shared(async |tier| {
        for written in CODECS {
            let writer = tier.builder().codec(written).build().await.expect("built");
            for other in CODECS {
                let reader = tier.builder().codec(other).build().await.expect("built");
                let key = format!("{written:?}:{other:?}");
                let user = User { id: 1 << 40, name: "Ada".to_owned(), score: 0.1 };
                writer.set(&key, user.clone(), POLICY).await.expect("put");
                assert_eq!(reader.get(&key).await, Some(user), "{key}");
                assert_eq!((reader.stats().l2_hits, reader.stats().l2_foreign), (1, 0), "{key}");
            }
        }
    })
    .await;
}

/// Asks the bytes what they are, which postcard and bincode do not know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u64),
    Text(String),
}

/// Moves the fields behind one that is not written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Skipping {
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
    name: String,
}

#[tokio::test]
async fn a_type_that_is_written_and_not_read_again_is_found_at_its_first_store_and_said_once() {
    let log = Log::default();
    let _listening = log.listen();
    over_shared(async |tier| {
        for codec in [Codec::Postcard, Codec::Bincode] {
            let cache = tier.builder().codec(codec).build().await.expect("built");
            let untagged = || async { Ok::<_, Oops>(Untagged::Number(7)) };
            for times in 1..=3 {
                assert_eq!(cache.get_or_load("untagged", POLICY, untagged).await.expect("loaded"), Untagged::Number(7));
                assert_eq!((cache.stats().loads, cache.stats().not_stored, cache.stats().l2_unusable), (times, times, 0));
            }
            assert!(!tier.holds_value("untagged"));
            let put = cache.set("untagged", Untagged::Text("a".to_owned()), POLICY).await;
            assert!(matches!(&put, Err(CacheError::Encode(why)) if why.contains("not to be read again")), "{put:?}");
            let told = log.take_with("is returned and not stored");
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(told[0].contains("Untagged") && told[0].contains(&format!("{codec:?}")), "{told:?}");

            // Another type is said for itself, and stored as soon as a value of it is read back.
            let (without, with) =
                (Skipping { email: None, name: "a".into() }, Skipping { email: Some("b".into()), name: "c".into() });
            for _ in 0..2 {
                cache.get_or_load("skipping", POLICY, || async { Ok::<_, Oops>(without.clone()) }).await.expect("loaded");
            }
            let told = log.take_with("is returned and not stored");
            assert!(told.len() == 1 && told[0].contains("Skipping"), "{told:?}");
            cache.set("skipping", with.clone(), POLICY).await.expect("put");
            assert_eq!(tier.cache().await.get("skipping").await, Some(with));
            cache.remove("skipping").await.expect("removed");
        }
        for codec in [Codec::Json, Codec::MessagePack] {
            let cache = tier.builder().codec(codec).build().await.expect("built");
            cache.set("untagged", Untagged::Number(7), POLICY).await.expect("put");
            assert_eq!(tier.cache().await.get("untagged").await, Some(Untagged::Number(7)));
            let without = Skipping { email: None, name: "a".into() };
            cache.set("skipping", without.clone(), POLICY).await.expect("put");
            assert_eq!(tier.cache().await.get("skipping").await, Some(without));
        }
        assert_eq!(log.take_with("is returned and not stored"), Vec::<String>::new());
    })
    .await;
}

#[tokio::test]
async fn what_json_has_no_word_for_is_returned_and_not_stored() {
    over_each(async |tier| {
        let cache = tier.builder().codec(Codec::Json).build().await.expect("built");
        let pairs = BTreeMap::from([((1_u8, 2_u8), "a".to_owned())]);
        for times in 1..=2 {
            let loaded = cache.get_or_load("pairs", POLICY, || async { Ok::<_, Oops>(pairs.clone()) }).await;
            assert_eq!(loaded.expect("loaded"), pairs);
            assert_eq!((cache.stats().loads, cache.stats().not_stored), (times, times));
        }
        for number in [f64::NAN, f64::INFINITY] {
            let put = cache.set("number", number, POLICY).await;
            assert!(matches!(put, Err(CacheError::Encode(_))), "{put:?}");
        }
        let put = cache.set("nothing", Some(None::<u8>), POLICY).await;
        assert!(matches!(put, Err(CacheError::Encode(_))), "{put:?}");
        assert!(!tier.holds_value("pairs") && !tier.holds_value("number") && !tier.holds_value("nothing"));
    })
    .await;
}

const COMPRESSIONS: [Compression; 3] = [Compression::None, Compression::Zstd, Compression::Lz4];

/// A value as long as that, of which there is much to gain.
fn page(bytes: usize) -> String {
    "<li>the quick brown fox</li>".chars().cycle().take(bytes).collect()
}

#[tokio::test]
async fn every_instance_reads_what_any_other_has_compressed_and_both_count_the_same() {
    over_shared(async |tier| {
        for how in COMPRESSIONS {
            let writer = tier.builder().compression(how).build().await.expect("built");
            for other in COMPRESSIONS {
                let reader = tier.builder().compression(other).build().await.expect("built");
                let before = writer.stats().l1_weight;
                for bytes in [10, 1_000, 100_000] {
                    let key = format!("{how:?}:{other:?}:{bytes}");
                    writer.get_or_load(&key, POLICY, || async { Ok::<_, Oops>(page(bytes)) }).await.expect("loaded");
                    assert_eq!(reader.get(&key).await, Some(page(bytes)), "{key}");
                }
                assert_eq!((reader.stats().l2_hits, reader.stats().l2_unusable, reader.stats().l2_foreign), (3, 0, 0));
                // In memory an entry is counted as its encoded value, by who has encoded it and by who has read it.
                assert_eq!(writer.stats().l1_weight - before, reader.stats().l1_weight, "{how:?} {other:?}");
                assert!(reader.stats().l1_weight > 101_010);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_longer_than_the_threshold_takes_fewer_bytes_in_redis_and_the_rest_as_many_as_ever() {
    let tier = Tier::redis();
    let plain = tier.cache().await;
    for how in [Compression::Zstd, Compression::Lz4] {
        for (above, least) in [(None, 1_025), (Some(100), 101), (Some(1 << 20), usize::MAX)] {
            let builder = tier.builder().compression(how);
            let cache =
                above.map_or_else(|| builder.clone(), |above| builder.clone().compress_above(above)).build().await.expect("built");
            // A text of up to 16,383 bytes takes two more when it is encoded, and one of up to 127 takes one.
            for bytes in [90, 200, 1_022, 1_023, 10_000] {
                let length = |key| tier.bytes(key).expect("held").len();
                plain.set("plain", page(bytes), POLICY).await.expect("put");
                cache.set("packed", page(bytes), POLICY).await.expect("put");
                let (plain, packed) = (length("plain"), length("packed"));
                let encoded = bytes + if bytes < 128 { 1 } else { 2 };
                assert_eq!(packed < plain, encoded >= least, "{how:?} {above:?} {bytes}: {packed} of {plain}");
                assert!(encoded < least || packed < plain / 2, "{how:?} {above:?} {bytes}: {packed} of {plain}");
                assert_eq!(tier.bytes("packed").expect("held")[18], u8::from(packed < plain) * 2);
            }
        }
    }
}

/// A value in which these bytes are overwritten, with its checksum mended.
fn forged(value: &[u8], overwritten: &[(usize, &[u8])]) -> Vec<u8> {
    let mut value = value.to_vec();
    for (at, bytes) in overwritten {
        value[*at..*at + bytes.len()].copy_from_slice(bytes);
    }
    let covered = value[17..21].iter().chain(&value[52..60]).chain(&value[64..]);
    let crc = covered.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 })
    });
    value[60..64].copy_from_slice(&(!crc).to_be_bytes());
    value
}

#[tokio::test]
async fn a_payload_that_claims_more_than_it_may_is_a_counted_miss_and_replaced() {
    let tier = Tier::redis();
    for how in [Compression::Zstd, Compression::Lz4] {
        let cache = tier.builder().compression(how).build().await.expect("built");
        cache.set("k", page(10_000), POLICY).await.expect("put");
        let good = tier.bytes("k").expect("held");
        // As it was, it is read; the length that it claims stands behind flags, header and algorithm.
        for (length, unusable) in [(10_002_u32, 0), (10_001, 1), (10_003, 1), (9 << 20, 1), (u32::MAX, 1)] {
            tier.put("k", &forged(&good, &[(65, &length.to_be_bytes())]));
            let reader = tier.cache().await;
            let loaded = reader.get_or_load("k", POLICY, || async { Ok::<_, Oops>(page(10)) }).await.expect("loaded");
            assert_eq!(loaded, page(if unusable == 0 { 10_000 } else { 10 }), "{how:?} {length}");
            let stats = reader.stats();
            assert_eq!(
                (stats.l2_unusable, stats.loads, stats.fills, stats.l2_foreign),
                (unusable, unusable, unusable, 0),
                "{length}"
            );
        }
    }
}

#[tokio::test]
async fn what_another_release_has_compressed_is_a_miss_and_left_alone() {
    let tier = Tier::redis();
    let cache = tier.builder().compression(Compression::Lz4).build().await.expect("built");
    cache.set("k", page(10_000), POLICY).await.expect("put");
    let good = tier.bytes("k").expect("held");
    // Another algorithm, another flag, another codec.
    for overwritten in [(64, 9), (18, 2 | 4), (19, 9)] {
        let (at, byte) = overwritten;
        let newer = forged(&good, &[(at, &[byte])]);
        tier.put("k", &newer);
        let reader = tier.cache().await;
        for _ in 0..2 {
            let loaded = reader.get_or_load("k", POLICY, || async { Ok::<_, Oops>(page(10)) }).await;
            assert_eq!(loaded.expect("loaded"), page(10));
        }
        assert_eq!((reader.stats().l2_foreign, reader.stats().loads, reader.stats().fills), (1, 1, 0), "{overwritten:?}");
        assert_eq!(tier.bytes("k"), Some(newer));
    }
}

#[tokio::test]
async fn what_is_compressed_is_taken_apart_by_who_would_store_as_much() {
    let tier = Tier::redis();
    let writer = tier.builder().compression(Compression::Lz4).build().await.expect("built");
    writer.set("k", page(10_000), POLICY).await.expect("put");
    for (limit, found) in [(10_002, true), (10_001, false)] {
        let reader = tier.builder().max_value_bytes(limit).build().await.expect("built");
        assert_eq!(reader.get::<String>("k").await.is_some(), found, "{limit}");
        let stats = reader.stats();
        assert_eq!((stats.l2_foreign, stats.l2_unusable), (u64::from(!found), 0));
        let loaded = reader.get_or_load("k", POLICY, || async { Ok::<_, Oops>(page(10)) }).await.expect("loaded");
        assert_eq!(loaded.len(), if found { 10_000 } else { 10 });
    }
    assert_eq!(tier.cache().await.get("k").await, Some(page(10_000)), "it was left alone");
}
