//! Servers before 7.0: how they are asked, and which will not do. The server is new here and says that it is old; with
//! `CACHETIER_OLDER_REDIS` set, and over a server that is old, the other tests of the adapter show the same.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::lane::keys;
use super::refresh;
use super::server::{LEASE, PATIENCE, Plain, SETTINGS, Server, eventually, names, open_with, stamp, ticket, value};
use crate::error::Fault;
use crate::l2::lane::{Lane as _, Seized};
use crate::l2::{Claimed, Filled, LeaseCall, Leased, NotReady, Store as _, refresh_tests};
use crate::redis::answer::within_script;
use crate::rule::seq::Point;
use crate::wire::envelope::MUTABLE;
use crate::wire::message::Targets;
use crate::{Invalidator, TieredCache};

fn says(version: &'static str) -> Arc<Mutex<&'static str>> {
    Arc::new(Mutex::new(version))
}

#[tokio::test]
async fn an_older_server_is_probed_by_a_script() {
    let (server, key) = (Server::start().await, "k");
    let ((store, _lane), mut plain) = (server.open_at(&server.told_to_be(&says("6.2.7"))).await, server.plain().await);
    assert_eq!(store.probe(key, stamp(1), LEASE).await, Ok(None));
    assert_eq!(plain.get(key).await, Some(ticket(1)));
    assert!(plain.life(key).await > 0, "the ticket ends with its lease");
    assert_eq!(store.probe(key, stamp(2), LEASE).await, Ok(Some(ticket(1))), "another's ticket is shown, not replaced");
    assert_eq!(plain.calls("evalsha").await, 2);
    assert_eq!(store.fill(key, stamp(1), &value(1, "seven"), LEASE).await, Ok(Filled::Stored));
    assert_eq!(store.probe(key, stamp(2), LEASE).await, Ok(Some(value(1, "seven"))));
    plain.say::<()>("RPUSH list x").await;
    assert_eq!(store.probe("list", stamp(3), LEASE).await, Err(Fault::Foreign));
}

#[tokio::test]
async fn an_older_server_that_is_full_refuses_what_a_newer_one_does_and_nothing_else() {
    let server = Server::start().await;
    let ((store, lane), mut plain) = (server.open_at(&server.told_to_be(&says("6.2.7"))).await, server.plain().await);
    plain.set("value", &value(1, "here")).await;
    plain.set("ticket", &ticket(2)).await;
    plain.set("stale", &refresh_tests::value(6, refresh::now(), "stale")).await;
    plain.say::<()>("PEXPIRE stale 60000").await;
    plain.say::<()>("CONFIG SET maxmemory 1").await;
    let mut subscription = lane.subscribe().await.unwrap();
    let checked = subscription.check(Point::default()).await.unwrap();
    // The bump of a tag begins with a write that takes memory.
    let bumped = lane.bump(&Targets::of_tags("shop", ["users"]).unwrap(), Point::default()).await.unwrap();
    assert_eq!(bumped.point.era, checked.point.era);
    assert!(subscription.next().await.is_ok(), "it is told");
    assert!(matches!(lane.seize("k", stamp(3), LEASE, Point::default()).await, Ok(Seized::Planted(_))));
    assert_eq!(store.claim("value", stamp(1), stamp(4), LEASE).await, Ok(Claimed::Yes));
    assert_eq!(store.probe("value", stamp(5), LEASE).await, Ok(Some(ticket(4))));
    assert!(matches!(store.probe("absent", stamp(5), LEASE).await, Err(Fault::Full(_))));
    for (call, answer) in
        [(LeaseCall::Take(LEASE), Leased::Yes), (LeaseCall::Lengthen(LEASE), Leased::Yes), (LeaseCall::GiveBack, Leased::Not)]
    {
        assert_eq!(store.lease("stale", stamp(6), 7, call).await, Ok(answer), "{call:?}");
        assert!(plain.life("stale").await > 50_000, "its life is what it was");
    }
    let header = refresh_tests::value(6, 2, "")[MUTABLE].to_vec();
    assert_eq!(store.renew("stale", stamp(6), stamp(7), &header, LEASE).await, Ok(Filled::Stored));
    let unfilled = store.fill("ticket", stamp(2), &value(2, "new"), LEASE).await;
    assert!(matches!(&unfilled, Err(Fault::Refused(why)) if why.starts_with("OOM")), "{unfilled:?}");
}

#[tokio::test]
async fn an_older_replica_proves_nothing() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open_at(&server.told_to_be(&says("6.2.7"))).await, server.plain().await);
    let mut subscription = lane.subscribe().await.unwrap();
    subscription.check(Point::default()).await.unwrap();
    plain.say::<()>("REPLICAOF 127.0.0.1 1").await;
    for check in [subscription.check(Point::default()).await, lane.stand(Point::default()).await] {
        assert!(matches!(&check, Err(Fault::Refused(why)) if why.starts_with("READONLY")), "{check:?}");
    }
}

#[tokio::test]
async fn each_connection_goes_by_the_server_that_it_finds() {
    let (server, version) = (Server::start().await, says("7.0.15"));
    let mut plain = server.plain().await;
    let (store, lane) = server.open_at(&server.told_to_be(&version)).await;
    for (told, older) in [("7.0.15", false), ("6.2.14", true), ("6.0.20", true), ("7.2.4", false)] {
        *version.lock().unwrap() = told;
        let before = plain.others().await;
        plain.say::<()>("CLIENT KILL TYPE normal SKIPME yes").await;
        if told == "6.0.20" {
            let away = async || matches!(store.read("k").await, Err(Fault::Away(why)) if why.contains("version 6.0.20, expected Redis 6.2"));
            eventually("a server that is too old is none", away).await;
            let found = store.ready(PATIENCE).await;
            assert!(matches!(found, Err(NotReady::Unfit { .. })), "{found:?}");
            assert!(matches!(lane.subscribe().await.map(|_| ()), Err(Fault::Away(_))));
            continue;
        }
        eventually("another connection", async || plain.others().await.iter().any(|id| !before.contains(id))).await;
        eventually("it is in use", async || store.ready(PATIENCE).await == Ok(())).await;
        let persisted = plain.calls("persist").await;
        eventually("a bump", async || lane.bump(&keys(&["k"]), Point::default()).await.is_ok()).await;
        assert_eq!(plain.calls("persist").await > persisted, older, "{told}");
    }
}

#[tokio::test]
async fn building_over_a_server_that_is_too_old_is_an_error_that_names_it() {
    let server = Server::start().await;
    let url = server.told_to_be(&says("6.0.20"));
    let expected = "redis is a server of version 6.0.20, expected Redis 6.2.7 or newer";
    let cache = TieredCache::builder("shop").redis(&url).connect_limit(PATIENCE * 2).build();
    let error = tokio::time::timeout(PATIENCE, cache).await.expect("at once").unwrap_err();
    assert_eq!((error.field(), error.to_string().as_str()), ("redis", expected));
    let worker = Invalidator::builder("shop").redis(&url).connect_limit(PATIENCE * 2).build();
    let error = tokio::time::timeout(PATIENCE, worker).await.expect("at once").unwrap_err();
    assert_eq!((error.field(), error.to_string().as_str()), ("redis", expected));
    let mut plain = server.plain().await;
    eventually("no connection is left", async || plain.others().await.is_empty()).await;
}

#[tokio::test]
async fn a_server_that_does_not_know_the_handshake_is_too_old() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        while let Ok((mut client, _)) = listener.accept() {
            let _ = client.read(&mut [0; 1_024]);
            let _ = client.write_all("-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n".repeat(4).as_bytes());
        }
    });
    let (store, _lane) = open_with(&url, SETTINGS);
    let unfit = NotReady::Unfit { found: "a server that does not know HELLO".into(), expected: "Redis 6.2.7 or newer" };
    assert_eq!(store.ready(PATIENCE).await, Err(unfit));
    assert!(matches!(store.read("k").await, Err(Fault::Away(why)) if why.contains("expected Redis 6.2")));
}

#[tokio::test]
async fn a_cache_over_an_older_server_stores_invalidates_and_holds() {
    let server = Server::start().await;
    let url = server.told_to_be(&says("6.2.7"));
    let build = || TieredCache::builder("shop").redis(&url).read_limit(PATIENCE).command_limit(PATIENCE).build();
    let (a, b) = (build().await.unwrap(), build().await.unwrap());
    let policy = crate::Policy::ttl(Duration::from_secs(60)).tags(["users"]);
    let load = |cache: TieredCache, policy| async move { cache.get_or_compute("k", policy, || async { 1_u64 }).await.unwrap() };
    assert_eq!((load(a.clone(), policy).await, load(b.clone(), policy).await), (1, 1));
    assert_eq!((a.stats().loads, b.stats().loads, b.stats().l2_hits), (1, 0, 1), "one load for both");
    let point = a.invalidate_tag("users").await.unwrap().confirmed().unwrap();
    b.wait_for(point, PATIENCE).await.unwrap();
    assert_eq!(b.get::<u64>("k").await, None);
    let guard = a.guard(["k"]).await.unwrap();
    load(b.clone(), policy).await;
    assert_eq!(Plain::get(&mut server.plain().await, &names().value("k")).await.map(|held| held[0]), Some(0xf7));
    guard.release().await.unwrap();
    load(b.clone(), policy).await;
    assert_eq!(b.stats().l2_faults + a.stats().l2_faults, 0);
}

#[test]
fn what_an_older_server_tells_of_a_command_in_a_script_is_found_behind_where_it_happened() {
    for (told, own) in [
        (
            "ERR Error running script (call to f_b1): @user_script:1: WRONGTYPE Operation against a key",
            Some("WRONGTYPE Operation against a key"),
        ),
        (
            "ERR Error running script (call to f_7e): @user_script:1: @user_script: 1: -OOM command not allowed",
            Some("OOM command not allowed"),
        ),
        ("@user_script: 12: -READONLY You can't write", Some("READONLY You can't write")),
        ("WRONGTYPE Operation against a key script: b1, on @user_script:1.", None),
        ("ERR @user_script: who: knows", None),
        ("ERR syntax error", None),
    ] {
        assert_eq!(within_script(told), own, "{told}");
    }
}
