//! What a cache asks of its server: a user who may do that and nothing else runs one.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::time::Duration;

use cachetier::{CallOptions, Delivery, Invalidator, LoadContext, Loaded, Origin, Policy, Purge, StaleValue, TieredCache};
use cachetier_tests::{RedisServer, Reply};

const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));

/// The commands, those of scripts among them. `HELLO` and `AUTH` need no right. A server before 7.0 is asked `PERSIST` as well.
const COMMANDS: [&str; 19] = [
    "del",
    "eval",
    "evalsha",
    "get",
    "getrange",
    "info",
    "mget",
    "pexpire",
    "ping",
    "publish",
    "rename",
    "scan",
    "select",
    "set",
    "setrange",
    "strlen",
    "subscribe",
    "time",
    "unlink",
];

/// A server with such a user, whose name and password are `shop`.
fn server() -> RedisServer {
    let server = RedisServer::start();
    let commands = COMMANDS.map(|command| format!("+{command}"));
    let user = [
        "ACL",
        "SETUSER",
        "shop",
        "on",
        ">shop",
        "resetkeys",
        "~ct:shop:v:*",
        "~ct:{shop}:*",
        "resetchannels",
        "&ct:{shop}:bus*",
        "-@all",
    ];
    let words: Vec<&str> = user.into_iter().chain(commands.iter().map(String::as_str)).collect();
    assert_eq!(server.command(&words), Reply::Status("OK".to_owned()));
    server.command(&["CONFIG", "RESETSTAT"]);
    server
}

#[track_caller]
fn applied(delivery: &Result<Delivery, impl std::fmt::Debug>) {
    assert!(matches!(delivery, Ok(Delivery::Applied(_))), "{delivery:?}");
}

/// Whatever two caches and an invalidator do.
async fn everything(url: &str) {
    let build = || TieredCache::builder("shop").redis(url).connect_limit(LONG).command_limit(LONG).read_limit(LONG).build();
    let (a, b) = (build().await.expect("built"), build().await.expect("built"));
    let large = "x".repeat(10_000);
    let tagged = POLICY.tags(["users"]);
    let read =
        async |cache: &TieredCache, key: &str| cache.get_or_compute(key, tagged, async || large.clone()).await.expect("loaded");
    for cache in [&a, &b] {
        for key in ["user:1", "user:2"] {
            read(cache, key).await;
        }
        assert_eq!(cache.get_or_compute("small", POLICY, async || 1_u8).await.expect("loaded"), 1);
    }
    for cache in [&a, &b] {
        let load = async |keys: Vec<String>| Ok::<_, &str>(keys.into_iter().map(|key| (key, large.clone())).collect::<Vec<_>>());
        assert_eq!(cache.get_or_load_many(["many:1", "many:2"], tagged, load).await.expect("loaded").len(), 2);
    }
    assert!(a.get_or_load("fails", POLICY, async || Err::<u8, _>("no")).await.is_err());
    // Made stale, found to be current, and replaced in its place.
    for cache in [&a, &b] {
        applied(&a.expire("user:2").await);
        let current = async |context: LoadContext<'_, String>| {
            Ok::<_, &str>(context.stale().map_or_else(|| Loaded::new(large.clone()), StaleValue::not_modified))
        };
        assert!(cache.get_or_load_with("user:2", tagged, current).await.expect("loaded").is_some());
    }
    let fresh = a.with(CallOptions::new().fresh()).get_or_compute("user:1", tagged, async || large.clone()).await;
    assert_eq!(fresh.expect("loaded").origin, Origin::Loader);
    assert!(a.stats().renewals > 0, "{}", a.stats());
    let token = a.invalidate_tag("users").await.expect("told").confirmed().expect("applied");
    b.wait_for(token, LONG).await.expect("heard");
    read(&b, "user:1").await;
    applied(&a.invalidate_prefix("user:").await);
    applied(&a.set("user:1", large.clone(), tagged).await);
    applied(&a.guard(["user:2"]).await.expect("held").release().await);
    applied(&a.guard(["user:3"]).await.expect("held").set("user:3", 1_u8, POLICY).await);
    a.remove("user:3").await.expect("removed");
    read(&b, "user:2").await;
    a.invalidate_pattern("user:*:mail").await.expect("walked");
    assert!(a.purge(Purge::tag("users")).await.expect("purged").counts.removed > 0);
    let worker = Invalidator::builder("shop").redis(url).connect_limit(LONG).command_limit(LONG).build().await.expect("built");
    applied(&worker.invalidate("small").await);
    applied(&b.clear().await);
    for cache in [a, b] {
        let stats = cache.stats();
        assert_eq!((stats.l2_faults, stats.pending, stats.lane_lost), (0, 0, 0), "{stats}");
        cache.close(LONG).await.expect("closed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_these_rights_and_no_others_runs_a_cache() {
    let server = server();
    // Another database than the first, so that it must be chosen.
    everything(&format!("{}?db=3&user=shop&pass=shop", server.url())).await;
    let stats = server.command(&["INFO", "commandstats"]).text().expect("text");
    let unused: Vec<&str> = COMMANDS.into_iter().filter(|command| !stats.contains(&format!("cmdstat_{command}:"))).collect();
    assert!(unused.is_empty(), "nobody has asked for {unused:?}");
    let Reply::Array(refused) = server.command(&["ACL", "LOG"]) else { panic!("expected a list") };
    // A server that knows `CLIENT SETINFO` refuses it, which does no harm: it only shows who is connected.
    let harmful: Vec<String> =
        refused.iter().map(|entry| format!("{entry:?}")).filter(|entry| !entry.contains("setinfo")).collect();
    assert!(harmful.is_empty(), "{harmful:#?}");
}
