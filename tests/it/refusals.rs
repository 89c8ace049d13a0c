//! What a server refuses, for each of its reasons: the loader answers, one line says what helps, and the right counter moves.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

mod away;

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::Duration;

use cachetier::{Delivery, Stats};
use cachetier_tests::{Log, Over, RedisServer, Reply, eventually_async};

use away::{LIMIT, POLICY, cache, is_away, loads, told_once};

const LONG: Duration = Duration::from_secs(20);

/// A server that is well when the cache is built, then made to refuse with `change`.
async fn refuses(change: &[&[&str]], reason: &str, mend: &str, counter: fn(&Stats) -> u64) {
    let log = Log::default();
    let _listening = log.listen();
    let server = RedisServer::start();
    let cache = cache(server.url()).await;
    for words in change {
        assert_eq!(server.command(words), Reply::Status("OK".to_owned()), "{words:?}");
    }
    loads(&cache).await;
    let stats = cache.stats();
    assert!(counter(&stats) >= 20 && stats.l2_faults >= counter(&stats), "{stats}");
    told_once(&log, reason, mend);
}

#[tokio::test]
async fn a_full_server() {
    refuses(&[&["CONFIG", "SET", "maxmemory", "1"]], "OOM", "more memory", |stats| stats.l2_full).await;
}

#[tokio::test]
async fn a_full_server_that_refuses_a_large_value_first() {
    let server = RedisServer::start();
    let log = Log::default();
    let _listening = log.listen();
    let cache = cache(server.url()).await;
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let large = cache.get_or_compute("large", POLICY, async || "x".repeat(300_000)).await;
    assert!(large.is_ok());
    for key in 0..5 {
        assert_eq!(cache.get_or_compute(&format!("cold:{key}"), POLICY, async || key).await.expect("loaded"), key);
    }
    told_once(&log, "OOM", "more memory");
}

#[tokio::test]
async fn a_replica_of_nobody() {
    if !Over::is_none_of(&[Over::Cluster], "a node of it is told otherwise whose replica it is") {
        return;
    }
    // It is left at once, and tried again after a pause.
    let counter = |stats: &Stats| if stats.l2_refused > 0 { stats.l2_refused + stats.l2_away } else { 0 };
    refuses(&[&["REPLICAOF", "127.0.0.1", "1"]], "READONLY", "name the primary's address", counter).await;
}

#[tokio::test]
async fn a_replica_that_has_lost_its_primary_and_says_nothing_without() {
    if !Over::is_none_of(&[Over::Cluster], "a node of it is told otherwise whose replica it is") {
        return;
    }
    let log = Log::default();
    let _listening = log.listen();
    let server = RedisServer::start();
    let cache = cache(server.url()).await;
    server.command(&["CONFIG", "SET", "replica-serve-stale-data", "no"]);
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    // What only reads: a write is refused for being one.
    for key in 0..20 {
        assert_eq!(cache.get::<u32>(&format!("cold:{key}")).await, None);
    }
    assert!(cache.stats().l2_refused > 0, "{}", cache.stats());
    told_once(&log, "MASTERDOWN", "name the primary's address");
}

#[tokio::test]
async fn a_primary_without_the_replicas_that_it_wants() {
    let change: &[&[&str]] = &[&["CONFIG", "SET", "min-replicas-to-write", "7"]];
    refuses(change, "NOREPLICAS", "min-replicas-to-write", |stats| stats.l2_refused).await;
}

#[tokio::test]
async fn a_user_who_may_not() {
    if !Over::is_none_of(&[Over::Acl], "the user whose rights are taken away is another") {
        return;
    }
    let change: &[&[&str]] = &[&["ACL", "SETUSER", "default", "resetkeys", "~other:*"]];
    refuses(change, "NOPERM", "docs/redis.md", |stats| stats.l2_refused).await;
}

#[tokio::test]
async fn a_server_that_has_forgotten_its_scripts_is_told_them_again() {
    let log = Log::default();
    let _listening = log.listen();
    let server = RedisServer::start();
    let cache = cache(server.url()).await;
    for key in 0..3_u32 {
        server.command(&["SCRIPT", "FLUSH"]);
        assert_eq!(cache.get_or_compute(&format!("cold:{key}"), POLICY, async || key).await.expect("loaded"), key);
        assert!(matches!(cache.invalidate("other").await, Ok(Delivery::Applied(_))));
    }
    assert_eq!((cache.stats().l2_faults, cache.stats().fills), (0, 3), "{}", cache.stats());
    // But for what is said of a primary that has replicas.
    let told = log.with("").into_iter().filter(|line| !line.contains("min-replicas-to-write")).collect::<Vec<_>>();
    assert!(told.is_empty(), "{told:?}");
}

#[tokio::test]
async fn a_key_of_another_type() {
    let log = Log::default();
    let _listening = log.listen();
    let server = RedisServer::start();
    let cache = cache(server.url()).await;
    for key in 0..20 {
        server.command(&["LPUSH", &format!("ct:refused:v:cold:{key}"), "x"]);
    }
    loads(&cache).await;
    assert_eq!(cache.stats().l2_foreign, 20, "{}", cache.stats());
    assert_eq!(server.command(&["LLEN", "ct:refused:v:cold:0"]), Reply::Int(1), "left alone");
    assert_eq!(log.with("left alone").len(), 1, "{:?}", log.with(""));
}

#[tokio::test]
async fn a_server_busy_with_a_script() {
    let server = RedisServer::builder().config("busy-reply-threshold", "1").start();
    let log = Log::default();
    let _listening = log.listen();
    let cache = cache(server.url()).await;
    let mut endless = server.client();
    // It ends by itself, should nobody end it.
    endless.send(&["EVAL", "local t = redis.call('TIME')[1] while redis.call('TIME')[1] - t < 10 do end", "0"]).expect("sent");
    eventually_async(LONG, "it is busy", async || matches!(server.command(&["GET", "x"]), Reply::Error(_))).await;
    loads(&cache).await;
    // Not each: what cannot be proven any more is not asked for.
    assert!(cache.stats().l2_refused > 0, "{}", cache.stats());
    told_once(&log, "BUSY", "SCRIPT KILL");
    assert_eq!(server.command(&["SCRIPT", "KILL"]), Reply::Status("OK".to_owned()));
}

#[tokio::test]
async fn a_server_that_loads_its_data() {
    // A key takes it a millisecond.
    let mut server =
        RedisServer::builder().config("key-load-delay", "1000").config("loading-process-events-interval-bytes", "1024").start();
    for key in 0..6_000 {
        server.command(&["SET", &format!("other:{key}"), "x"]);
    }
    server.save();
    let url = server.url();
    // First: the cache must not find the one that has loaded already.
    server.kill();
    // Returns once the server has loaded.
    let restarting = std::thread::spawn(move || {
        server.restart_from_saved();
        server
    });
    is_away(&url, "LOADING", "will answer when it has").await;
    drop(restarting.join().expect("restarted"));
}

#[tokio::test]
async fn a_node_of_a_cluster_that_serves_nothing() {
    let server = RedisServer::builder().tcp().config("cluster-enabled", "yes").start();
    let log = Log::default();
    let _listening = log.listen();
    let cache = cache(server.url()).await;
    loads(&cache).await;
    // Nothing can be proven, so the keys are not even asked for.
    assert!(cache.stats().l2_refused > 0, "{}", cache.stats());
    told_once(&log, "CLUSTERDOWN", "CLUSTER INFO");
}

#[tokio::test]
async fn a_server_that_wants_a_password() {
    let server = RedisServer::start();
    server.command(&["CONFIG", "SET", "requirepass", "other"]);
    is_away(&server.url_as("", "", 0), "NOAUTH", "write user and password into the address").await;
}

#[tokio::test]
async fn a_server_that_wants_another_password() {
    let server = RedisServer::start();
    server.command(&["CONFIG", "SET", "requirepass", "other"]);
    is_away(&server.url_as("", "hidden", 0), "WRONGPASS", "mend the address").await;
}

#[tokio::test]
async fn a_server_that_is_not_redis() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    // Ends with its runtime's process at the latest; it serves a bounded number of connections.
    std::thread::spawn(move || {
        for connection in listener.incoming().take(1_000) {
            let Ok(mut connection) = connection else { return };
            let _ = connection.set_read_timeout(Some(LIMIT));
            let _ = connection.read(&mut [0; 1_024]);
            let _ = connection.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
    });
    is_away(&format!("redis://user:hidden@127.0.0.1:{port}"), "what the server sent is no Redis reply", "something else answers")
        .await;
}

#[tokio::test]
async fn nobody_there() {
    let log = Log::default();
    let _listening = log.listen();
    let cache = cache("redis://user:hidden@127.0.0.1:1").await;
    loads(&cache).await;
    assert!(cache.stats().l2_away > 0, "{}", cache.stats());
    assert_eq!(log.with("redis is away").len(), 1, "{:#?}", log.with(""));
    assert!(log.with("hidden").is_empty());
}
