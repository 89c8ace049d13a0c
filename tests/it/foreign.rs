//! What else can stand in the place of a value: foreign bytes, a newer release's, broken ones, another type's. The loader answers;
//! what is not ours stays byte for byte, what is ours and broken is replaced.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::time::Duration;

use cachetier::{InProcess, Policy, TieredCache};
use cachetier_tests::{Gate, Oops, Origin, Reply, Tier, beside_k, over_each, over_shared};

const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));
/// Where an envelope says its version, and what scripts change in place and its checksum leaves out.
const VERSION: usize = 17;
const MUTABLE: std::ops::Range<usize> = 21..52;

async fn read(cache: &TieredCache, key: &str, origin: &Origin) -> u64 {
    cache.get_or_load(key, POLICY, || origin.load()).await.expect("loaded")
}

/// The bytes of a value as a cache has written it.
async fn written(tier: &Tier, key: &str) -> Vec<u8> {
    let cache = tier.cache().await;
    assert_eq!(read(&cache, key, &Origin::at(1)).await, 1);
    tier.bytes(key).expect("a value")
}

#[tokio::test]
async fn foreign_bytes_are_left_alone_and_the_loader_answers() {
    let newer = [&[0xf6][..], &[7; 16], &[2], b"whatever a later release writes"].concat();
    let foreign: [&[u8]; 9] =
        [b"", b"hello", b"{\"json\":1}", b"\x80\x04pickle", &[0xff; 100], &[0xf5], &[0xf6; 16], b"\xf5 too short", &newer];
    over_shared(async |tier| {
        let (a, b) = tier.pair().await;
        for (n, bytes) in foreign.iter().enumerate() {
            let (key, origin) = (format!("k{n}"), Origin::at(1));
            tier.put(&key, bytes);
            let counted = a.stats().l2_foreign;
            assert_eq!(a.get::<u64>(&key).await, None);
            assert_eq!((read(&a, &key, &origin).await, read(&a, &key, &origin).await), (1, 1));
            assert_eq!(origin.loads(), 1, "a copy of one's own does no harm");
            assert_eq!(read(&b, &key, &origin).await, 1);
            assert_eq!(origin.loads(), 2);
            assert!(a.stats().l2_foreign >= counted + 2, "{bytes:?}");
            assert_eq!(tier.bytes(&key), tier.server().map(|_| bytes.to_vec()), "it was touched");
        }
        assert_eq!((a.stats().fills, a.stats().l2_unusable, a.stats().l2_faults), (0, 0, 0));
    })
    .await;
}

#[tokio::test]
async fn a_foreign_type_is_left_alone_and_the_loader_answers() {
    over_shared(async |tier| {
        let (cache, origin) = (tier.cache().await, Origin::at(1));
        tier.put_list("k");
        assert_eq!(cache.get::<u64>("k").await, None);
        assert_eq!((read(&cache, "k", &origin).await, read(&cache, "k", &origin).await), (1, 1));
        assert_eq!(origin.loads(), 1);
        assert!(cache.stats().l2_foreign > 0);
        if let Some(server) = tier.server() {
            let list = server.command(&["LRANGE", &tier.name("k"), "0", "-1"]);
            assert_eq!(list, Reply::Array(vec![Reply::Bulk(b"x".to_vec())]));
        }
    })
    .await;
}

#[tokio::test]
async fn what_is_foreign_goes_when_its_key_is_invalidated() {
    over_shared(async |tier| {
        let (cache, origin) = (tier.cache().await, Origin::at(1));
        tier.put("k", b"hello");
        tier.put_list("l");
        for key in ["k", "l"] {
            let removed = cache.remove(key).await.expect("removed");
            assert!(removed.held, "whatever it was");
            // Its own message must have come: it would detach the load that is to be stored.
            let told = removed.delivery.confirmed().expect("confirmed");
            assert_eq!(cache.wait_for(told, Duration::from_secs(20)).await, Ok(()));
            assert_eq!(read(&cache, key, &origin).await, 1);
            assert!(tier.holds_value(key));
        }
    })
    .await;
}

#[tokio::test]
async fn a_broken_value_is_a_miss_and_replaced() {
    // Kind, stamp, version 1, no flags: ours, then cut short, then of no sense.
    let ours = [&[0xf6][..], &[7; 16], &[1, 0]].concat();
    let (zeros, noise) = ([&ours[..], &[0; 60]].concat(), [&ours[..], &[0xaa; 200]].concat());
    over_shared(async |tier| {
        let (a, b) = tier.pair().await;
        for (key, bytes) in [("short", &ours), ("zeros", &zeros), ("noise", &noise)] {
            let (origin, unusable) = (Origin::at(1), a.stats().l2_unusable);
            tier.put(key, bytes);
            assert_eq!(a.get::<u64>(key).await, None);
            assert_eq!(read(&a, key, &origin).await, 1);
            assert!(a.stats().l2_unusable >= unusable + 2);
            assert_eq!(read(&b, key, &origin).await, 1);
            assert_eq!(origin.loads(), 1, "{key}: it was replaced");
        }
    })
    .await;
}

#[tokio::test]
async fn whatever_byte_of_a_value_is_changed_or_cut_off_nobody_panics_and_the_loader_answers() {
    let tier = Tier::redis();
    let whole = written(&tier, "k").await;
    let (cache, origin) = (tier.cache().await, Origin::at(1));
    // Invalidating it would remove it: a copy of one's own is kept from answering by a key for each.
    for (at, (changed, cut)) in (0..whole.len()).zip(beside_k("changed:").zip(beside_k("cut:"))) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0xff;
        tier.put(&changed, &bytes);
        tier.put(&cut, &whole[..at]);
        let loads = origin.loads();
        assert_eq!(read(&cache, &changed, &origin).await, 1);
        assert_eq!(read(&cache, &cut, &origin).await, 1);
        let (after_change, after_cut) = (tier.bytes(&changed).expect("bytes"), tier.bytes(&cut).expect("bytes"));
        if at > VERSION + 1 && !MUTABLE.contains(&at) {
            assert_eq!(origin.loads(), loads + 2, "the change of byte {at} went unseen");
            assert_ne!(after_change, bytes, "byte {at}: a broken value was not replaced");
            assert_ne!(after_cut, whole[..at], "{at} bytes: a broken value was not replaced");
        }
        if at <= VERSION.saturating_sub(1) && at > 0 {
            assert_eq!(origin.loads(), loads + 1, "a stamp is like any other");
            assert_eq!(after_cut, whole[..at], "too short to be ours: left alone");
        }
    }
}

#[tokio::test]
async fn a_newer_releases_value_is_left_alone() {
    let tier = Tier::redis();
    let mut bytes = written(&tier, "k").await;
    bytes[VERSION] += 1;
    tier.put("k", &bytes);
    let (cache, origin) = (tier.cache().await, Origin::at(1));
    assert_eq!((read(&cache, "k", &origin).await, read(&cache, "k", &origin).await), (1, 1));
    assert_eq!((origin.loads(), cache.stats().l2_foreign), (1, 1));
    assert_eq!(tier.bytes("k"), Some(bytes));
}

#[tokio::test]
async fn a_value_of_another_type_in_this_instance_is_counted_and_the_loader_answers() {
    over_each(async |tier| {
        let (cache, origin) = (tier.cache().await, Origin::at(1));
        assert_eq!(read(&cache, "k", &origin).await, 1);
        assert_eq!(cache.get::<String>("k").await, None);
        let text = async || Ok::<_, Oops>("text".to_owned());
        assert_eq!(cache.get_or_load("k", POLICY, text).await.ok(), Some("text".to_owned()));
        assert!(cache.stats().wrong_type > 0);
        // Back and forth, as long as somebody does it.
        for _ in 0..3 {
            assert_eq!(read(&cache, "k", &origin).await, 1);
            assert_eq!(cache.get_or_load("k", POLICY, text).await.ok(), Some("text".to_owned()));
        }
    })
    .await;
}

#[tokio::test]
async fn a_value_of_another_type_in_the_shared_tier_is_counted_and_left_alone() {
    over_shared(async |tier| {
        let ((a, b), origin) = (tier.pair().await, Origin::at(1));
        assert_eq!(read(&a, "k", &origin).await, 1);
        let before = tier.bytes("k");
        assert_eq!(b.get::<String>("k").await, None);
        assert_eq!(b.stats().wrong_type, 1);
        let text = async || Ok::<_, Oops>("text".to_owned());
        for _ in 0..2 {
            assert_eq!(b.get_or_load("k", POLICY, text).await.ok(), Some("text".to_owned()));
        }
        assert_eq!((b.stats().wrong_type, b.stats().loads, b.stats().l1_hits), (2, 1, 1));
        assert_eq!(tier.bytes("k"), before);
        assert_eq!(tier.cache().await.get("k").await, Some(1_u64));
    })
    .await;
}

#[tokio::test]
async fn a_load_of_another_type_that_is_under_way_is_not_waited_for() {
    over_each(async |tier| {
        let (cache, gate) = (tier.cache().await, Gate::new());
        let call = tokio::spawn({
            let (cache, gate) = (cache.clone(), gate.clone());
            async move {
                let origin = Origin::at(1);
                cache.get_or_load("k", POLICY, || origin.load_slowly(&gate)).await.expect("loaded")
            }
        });
        gate.arrived(1).await;
        let text = async || Ok::<_, Oops>("text".to_owned());
        assert_eq!(cache.get_or_load("k", POLICY, text).await.ok(), Some("text".to_owned()));
        assert_eq!(cache.get::<String>("k").await, None);
        gate.open();
        assert_eq!(call.await.expect("no panic"), 1);
        assert_eq!(cache.get("k").await, Some(1_u64), "the load of the key's flight is what is kept");
    })
    .await;
}

#[tokio::test]
async fn a_write_guards_hold_keeps_everybody_from_storing() {
    let memory = InProcess::new();
    for tier in [Tier::in_process(&memory), Tier::redis()] {
        let (cache, origin) = (tier.cache().await, Origin::at(1));
        tier.put("k", &[&[0xf7][..], &[7; 16]].concat());
        for loads in 1..=2 {
            assert_eq!(read(&cache, "k", &origin).await, 1);
            assert_eq!(origin.loads(), loads, "kept nowhere");
        }
        assert!(cache.invalidate("k").await.is_ok());
        assert!(cache.set("k", 2_u64, POLICY).await.is_ok());
        assert_eq!(cache.get::<u64>("k").await, None);
        if tier.server().is_some() {
            assert_eq!(tier.bytes("k"), Some([&[0xf7, 1][..], &[7; 15]].concat()), "left, and marked");
        }
    }
}
