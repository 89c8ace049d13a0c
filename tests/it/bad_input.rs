//! Input that cannot be used: settings, policies, keys, tags and values are named or counted, and the loader answers.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use cachetier::{
    CacheBuilder, CacheError, CallOptions, Codec, Delivery, LoadContext, Loaded, Policy, Rules, Served, TieredCache, Tiers,
};
use cachetier_tests::{Oops, Tier, over_each};

const SECOND: Duration = Duration::from_secs(1);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));
const SECRET: &str = "s3cr3t";

#[track_caller]
fn shop() -> CacheBuilder {
    TieredCache::builder("shop")
}

#[tokio::test]
async fn a_setting_that_cannot_be_used_is_named_with_what_it_was_and_what_was_expected() {
    async fn check(builder: CacheBuilder, field: &str, text: &str) {
        let error = builder.build().await.expect_err(text);
        assert_eq!((error.field(), error.to_string().as_str()), (field, text));
    }
    let long = "n".repeat(65);
    for namespace in ["", "a{b}", "{", "a:b", ":", "a b", "ä", "a\n", "a\0", "a/b", "a*", long.as_str()] {
        let text = format!("namespace is {namespace:?}, expected 1 to 64 ASCII letters, digits, '-', '_' or '.'");
        check(TieredCache::builder(namespace), "namespace", &text).await;
    }
    check(shop().l1_max_bytes(0), "l1_max_bytes", "l1_max_bytes is 0, expected 1 or more").await;
    check(shop().l1_max_entries(0), "l1_max_entries", "l1_max_entries is 0, expected 1 or more").await;
    check(shop().policy(Policy::ttl(Duration::ZERO)), "ttl", "ttl is 0 s, expected a duration above 0").await;
    let above = Policy::ttl(SECOND).l1_ttl(2 * SECOND);
    check(shop().policy(above), "l1_ttl", "l1_ttl is 2s, expected at most the ttl, 1s").await;
    check(shop().policy(POLICY.jitter(51)), "jitter", "jitter is 51 %, expected at most 50 %").await;
    check(shop().tag_cells(0), "tag_cells", "tag_cells is 0, expected 256 to 4194304").await;
    let most = "expected at most 4294967.295s";
    check(shop().lease(Duration::MAX), "lease", &format!("lease is 18446744073709551615.999999999s, {most}")).await;
    check(shop().load_limit(Duration::ZERO), "load_limit", "load_limit is 0ns, expected 1 ms or more").await;
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_an_error_that_does_not_repeat_it() {
    for url in [
        String::new(),
        SECRET.to_owned(),
        format!("http://:{SECRET}@localhost/"),
        format!("rediss://:{SECRET}@localhost/?pass={SECRET}"),
        format!("rediss://:{SECRET}@localhost/?key={SECRET}"),
        format!("rediss://:{SECRET}@localhost/?ca={SECRET}"),
        format!("redis://:{SECRET}@localhost/?ca={SECRET}"),
        format!("redis://:{SECRET}@localhost:port/"),
        format!("redis://:{SECRET}@localhost:99999/"),
        format!("redis://:{SECRET}@[::1/"),
        format!("redis://user:{SECRET}@localhost/first"),
        format!("redis://user:{SECRET}@localhost/-1"),
        format!("redis+unix://?pass={SECRET}&db=x"),
    ] {
        let builder = shop().redis(url.as_str());
        let shown = format!("{builder:?} {builder:#?}");
        assert!(!shown.contains(SECRET), "{shown}");
        let error = builder.build().await.expect_err(&url);
        assert_eq!(error.field(), "redis");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(SECRET), "{shown}");
    }
    let error = shop().redis("redis://localhost/?cert=client.pem").build().await.expect_err("no TLS there");
    let found = "an address without TLS that has `ca`, `cert` or `key`, which only `rediss://` knows";
    let expected = "redis://[user:password@]host[:port][/database], \
                    rediss://[user:password@]host[:port][/database][?ca=PATH&cert=PATH&key=PATH] or \
                    redis+unix:///path[?db=..&user=..&pass=..]";
    assert_eq!(error.to_string(), format!("redis is {found}, expected {expected}"));
}

#[tokio::test]
async fn a_password_is_shown_by_nothing() {
    let limit = Duration::from_millis(10);
    // Nobody listens there: the cache begins without its server.
    let builder = shop().redis(format!("redis://user:{SECRET}@127.0.0.1:1/")).connect_limit(limit).command_limit(limit);
    let cache = builder.clone().build().await.expect("a server that cannot be reached is no error");
    let delivery = cache.invalidate("k").await;
    let shown = format!("{builder:?} {builder:#?} {cache:?} {delivery:?} {} {:?}", cache.stats(), cache.stats());
    assert!(!shown.contains(SECRET), "{shown}");
}

#[tokio::test]
async fn the_longest_duration_overflows_nothing() {
    over_each(async |tier| {
        let policy =
            Policy::ttl(Duration::MAX).l1_ttl(Duration::MAX).negative_ttl(Duration::MAX).time_to_idle(Duration::MAX).jitter(50);
        let cache = tier.builder().policy(policy).build().await.expect("built");
        for _ in 0..2 {
            assert_eq!(cache.get_or_load("k", policy, async || Ok::<_, Oops>(1_u64)).await.ok(), Some(1));
            let nothing = async || Ok::<_, Oops>(None::<u64>);
            assert_eq!(cache.get_or_load_optional("none", policy, nothing).await.ok(), Some(None));
        }
        assert_eq!((cache.stats().loads, cache.stats().l1_hits), (2, 2));
        assert_eq!((tier.holds_value("k"), tier.holds_value("none")), (tier.is_shared(), tier.is_shared()));
        cache.set("put", 2_u64, policy).await.expect("put");
        assert_eq!(cache.get("put").await, Some(2_u64));
    })
    .await;
}

/// A load with these rules answers, is counted and kept nowhere, by whatever verb; a `set` with them is the error.
async fn answered_and_not_stored(tier: &Tier, cache: &TieredCache, key: &str, rules: impl Rules<u64>, error: &str) {
    let rules = &rules;
    let load = async || Ok::<_, Oops>(1_u64);
    let check = async |verb: &str, read: Pin<Box<dyn Future<Output = Option<u64>> + '_>>| {
        let before = cache.stats();
        assert_eq!(read.await, Some(1), "{verb}: {error}");
        let after = cache.stats();
        assert_eq!((after.loads, after.not_stored), (before.loads + 1, before.not_stored + 1), "{verb}: {error}");
        assert_eq!((cache.get::<u64>(key).await, cache.get_many::<u64>([key]).await), (None, vec![None]), "{verb}: {error}");
        assert!(!tier.holds_value(key) && after.flights == 0, "{verb}: {error}");
    };
    for _ in 0..2 {
        check("get_or_load", Box::pin(async { cache.get_or_load(key, rules, load).await.ok() })).await;
        check("optional", Box::pin(async { cache.get_or_load_optional(key, rules, async || Ok::<_, Oops>(Some(1))).await.ok()? }))
            .await;
        let with = async |_: LoadContext<'_, u64>| Ok::<_, Oops>(Loaded::new(1));
        check("with", Box::pin(async { cache.get_or_load_with(key, rules, with).await.ok()? })).await;
        let many = async |keys: Vec<String>| Ok::<_, Oops>(keys.into_iter().map(|key| (key, 1_u64)).collect::<Vec<_>>());
        check("many", Box::pin(async { cache.get_or_load_many([key, key], rules, many).await.ok()?.pop()? })).await;
        let usual = CallOptions::new();
        for options in [usual, usual.fresh(), usual.reads(Tiers::L2), usual.writes(Tiers::L2), usual.deadline(60 * SECOND)] {
            let call = cache.with(options);
            let read = async { call.get_or_load(key, rules, load).await.ok().map(Served::into_value) };
            check(&format!("{options:?}"), Box::pin(read)).await;
        }
    }
    let refused = |put: Result<Delivery, CacheError>| assert_eq!(put.map_err(|error| error.to_string()), Err(error.to_owned()));
    refused(cache.set(key, 1_u64, rules).await);
    cache.set_many([(key, 1_u64), (key, 2)], rules).await.into_iter().for_each(refused);
    assert_eq!(cache.get::<u64>(key).await, None, "{error}");
    if let Ok(mut guard) = cache.guard([key]).await {
        refused(guard.set(key, 1_u64, rules).await);
        assert!(guard.release().await.is_ok());
    }
}

/// Runs `body` over each kind of cache, with each codec where there is one to write to.
async fn over_each_codec(body: impl AsyncFn(&Tier, CacheBuilder)) {
    over_each(async |tier| {
        let codecs = [Codec::Postcard, Codec::Bincode, Codec::Json, Codec::MessagePack];
        for codec in codecs.into_iter().take(if tier.is_shared() { codecs.len() } else { 1 }) {
            println!("{codec:?}");
            body(tier, tier.builder().codec(codec)).await;
        }
    })
    .await;
}

fn tags(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("tag {n}")).collect()
}

#[tokio::test]
async fn what_cannot_be_stored_is_returned_and_counted() {
    over_each_codec(async |tier, builder| {
        let cache = &builder.build().await.expect("built");
        let zero = Policy::ttl(Duration::ZERO);
        answered_and_not_stored(tier, cache, "a", zero, "unusable policy: ttl is 0 s, expected a duration above 0").await;
        let above = Policy::ttl(SECOND).l1_ttl(2 * SECOND);
        let text = "unusable policy: l1_ttl is 2s, expected at most the ttl, 1s";
        answered_and_not_stored(tier, cache, "b", above, text).await;
        let text = "the value carries 33 tags, expected at most 32";
        answered_and_not_stored(tier, cache, "c", POLICY.tags(tags(33)), text).await;
        let text = "the value carries an unusable tag: the text is empty, expected 1 byte or more";
        answered_and_not_stored(tier, cache, "d", POLICY.tags(["t", ""]), text).await;
        let text = "the value carries an unusable tag: the text has 4097 bytes, expected at most 4096";
        answered_and_not_stored(tier, cache, "e", POLICY.tags_with(|_: &u64| ["t".repeat(4_097), String::new()]), text).await;
        let text = "unusable key, tag or prefix: the text is empty, expected 1 byte or more";
        answered_and_not_stored(tier, cache, "", POLICY, text).await;
        let text = "unusable key, tag or prefix: the text has 4097 bytes, expected at most 4096";
        answered_and_not_stored(tier, cache, &"k".repeat(4_097), POLICY, text).await;
        answered_and_not_stored(tier, cache, &format!("{}ä", "k".repeat(4_095)), POLICY, text).await;
        let text = "unusable key, tag or prefix: the text has 10240 bytes, expected at most 4096";
        answered_and_not_stored(tier, cache, &"k".repeat(10 << 10), POLICY, text).await;
    })
    .await;
}

#[tokio::test]
async fn the_most_tags_are_stored_and_a_repeated_one_counts_once() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        let many: Vec<_> = tags(32).into_iter().chain(tags(32)).collect();
        for _ in 0..2 {
            assert_eq!(cache.get_or_load("k", POLICY.tags(&many), async || Ok::<_, Oops>(1_u64)).await.ok(), Some(1));
        }
        assert_eq!((cache.stats().loads, cache.stats().not_stored), (1, 0));
        cache.invalidate_tag("tag 31").await.expect("invalidated");
        assert_eq!(cache.get::<u64>("k").await, None);
    })
    .await;
}

#[tokio::test]
async fn a_value_above_the_limit_is_returned_and_counted() {
    over_each_codec(async |tier, builder| {
        let cache = builder.max_value_bytes(100).build().await.expect("built");
        // The next one begins with what this one leaves.
        cache.invalidate("k").await.expect("told");
        for times in 1..=2 {
            let loaded = cache.get_or_load("k", POLICY, async || Ok::<_, Oops>("x".repeat(200))).await;
            assert_eq!(loaded.expect("loaded").len(), 200);
            assert_eq!((cache.stats().loads, cache.stats().not_stored), (times, times));
        }
        assert!(!tier.holds_value("k"));
        let put = cache.set("k", "x".repeat(200), POLICY).await;
        assert!(matches!(put, Err(CacheError::TooLarge { bytes, limit: 100 }) if bytes >= 200), "{put:?}");
        cache.set("k", "x".repeat(50), POLICY).await.expect("put");
        assert_eq!(cache.get("k").await, Some("x".repeat(50)));
    })
    .await;
}

#[tokio::test]
async fn a_value_that_the_codec_cannot_carry_is_returned_and_counted() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        let path = PathBuf::from(OsString::from_vec(vec![0xff]));
        for times in 1..=2 {
            let loaded = cache.get_or_load("k", POLICY, async || Ok::<_, Oops>(path.clone())).await;
            assert_eq!(loaded.expect("loaded"), path);
            assert_eq!((cache.stats().loads, cache.stats().not_stored), (times, times));
        }
        assert!(!tier.holds_value("k"));
        assert!(matches!(cache.set("k", path, POLICY).await, Err(CacheError::Encode(_))));
    })
    .await;
}

#[tokio::test]
async fn every_text_of_1_to_4096_bytes_is_a_key_of_its_own() {
    let long = ["k".repeat(4_096), format!("{}ä", "k".repeat(4_094)), "ä".repeat(2_048)];
    let keys = [
        ":",
        "::",
        ":::::::",
        "a:",
        ":a",
        "{",
        "}",
        "{}",
        "{a}",
        "a{b}c",
        "\0",
        "a\0",
        "a\0b",
        "\n",
        "\r\n",
        "a\r\nb",
        " ",
        "  ",
        "*",
        "?",
        "[a-z]",
        "a*",
        "\\",
        "\"",
        "'",
        "%s",
        "^a:",
        "ä",
        "a\u{308}",
        "日本語",
        "🦀",
        "\u{202e}",
        "\u{feff}",
        "\u{10ffff}",
        "k",
    ];
    over_each(async |tier| {
        let (a, b) = tier.pair().await;
        let all = || (0_u64..).zip(keys.into_iter().chain(long.iter().map(String::as_str)));
        for (value, key) in all() {
            assert_eq!(a.get_or_load(key, POLICY, async || Ok::<_, Oops>(value)).await.ok(), Some(value), "{key:?}");
        }
        for (value, key) in all() {
            assert_eq!((a.get(key).await, b.get(key).await), (Some(value), Some(value)), "{key:?}");
            assert_eq!(tier.holds_value(key), tier.is_shared(), "{key:?}");
        }
        assert_eq!(a.stats().not_stored, 0);
        for (_, key) in all() {
            let removed = a.remove(key).await.expect("removed");
            assert!(removed.held, "{key:?}");
            assert_eq!(a.get::<u64>(key).await, None, "{key:?}");
        }
    })
    .await;
}
