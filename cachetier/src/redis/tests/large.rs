//! Large values go over a connection of their own, as long as that goes where the shared one does.

use std::sync::Arc;
use std::time::Duration;

use super::server::{LEASE, Plain, SETTINGS, Server, eventually, stamp, value};
use crate::l2::{Filled, Store as _};
use crate::redis::RedisStore;
use crate::redis::connect::{Dial, Heard, Link};
use crate::redis::large::{LARGE, Large};
use crate::redis::url::RedisUrl;

const LIFE: Duration = Duration::from_secs(60);

async fn store_of(server: &Server) -> Arc<RedisStore> {
    server.open().await.0
}

/// Puts a value of so many bytes, envelope included, as a miss does.
async fn put(store: &RedisStore, key: &str, number: u8, bytes: usize) -> Vec<u8> {
    let ticket = stamp(number);
    assert_eq!(store.probe(key, ticket, LEASE).await, Ok(None));
    let mut whole = value(number, "");
    whole.resize(bytes, b'x');
    assert_eq!(store.fill(key, ticket, &whole, LIFE).await, Ok(Filled::Stored));
    whole
}

/// The ids of the connections whose last command was a `SET` with `NX` and `GET`, or a `GET`: what reads.
async fn readers(plain: &mut Plain) -> Vec<u64> {
    let list: String = plain.say("CLIENT LIST").await;
    let reads = list.lines().filter(|line| line.contains(" cmd=set ") || line.contains(" cmd=get "));
    reads.filter_map(|line| line.strip_prefix("id=")?.split(' ').next()?.parse().ok()).collect()
}

async fn reads_over(store: &RedisStore, plain: &mut Plain, key: &str, other: &str) -> (u64, u64) {
    // Both connections have read last, or the one has read both.
    store.read(other).await.unwrap();
    let before = readers(plain).await;
    store.read(key).await.unwrap();
    let after = readers(plain).await;
    let own = after.iter().copied().find(|id| !before.contains(id));
    (before[0], own.unwrap_or(before[0]))
}

#[tokio::test]
async fn the_first_large_value_makes_a_connection_and_what_is_read_of_such_keys_goes_over_it() {
    let server = Server::start().await;
    let (store, mut plain) = (store_of(&server).await, server.plain().await);
    put(&store, "small", 1, LARGE - 1).await;
    store.read("small").await.unwrap();
    let alone = plain.others().await.len();
    let large = put(&store, "large", 2, LARGE).await;
    eventually("a connection more", async || plain.others().await.len() == alone + 1).await;
    // The one that has just been made has not read anything yet.
    let (shared, own) = reads_over(&store, &mut plain, "large", "small").await;
    assert_ne!(shared, own);
    assert_eq!(store.read("large").await, Ok(Some(large.clone())));
    assert_eq!(store.probe("large", stamp(3), LEASE).await, Ok(Some(large)));
    // Broken, it is made again, and meanwhile the shared one does.
    plain.ask::<()>(&[b"CLIENT", b"KILL", b"ID", own.to_string().as_bytes()]).await;
    assert!(store.read("small").await.unwrap().is_some());
    eventually("the value is read", async || store.read("large").await.is_ok()).await;
    eventually("a connection more", async || plain.others().await.len() == alone + 1).await;
    store.close();
    eventually("none is left", async || plain.others().await.is_empty()).await;
}

#[tokio::test]
async fn what_is_not_large_any_longer_goes_over_the_shared_connection_again() {
    let server = Server::start().await;
    let (store, mut plain) = (store_of(&server).await, server.plain().await);
    put(&store, "k", 1, LARGE).await;
    eventually("a connection more", async || plain.others().await.len() == 2).await;
    store.read("k").await.unwrap();
    plain.say::<()>("DEL k").await;
    // It is looked for where it was, once.
    assert_eq!(store.read("k").await, Ok(None));
    put(&store, "k", 2, 1_000).await;
    store.read("k").await.unwrap();
    let readers = readers(&mut plain).await;
    put(&store, "other", 3, 1_000).await;
    store.read("other").await.unwrap();
    let (shared, own) = reads_over(&store, &mut plain, "k", "other").await;
    assert_eq!(shared, own, "{readers:?}");
}

#[tokio::test]
async fn who_has_read_a_large_value_reads_it_over_the_other_connection_from_then_on() {
    let server = Server::start().await;
    let (store, mut plain) = (store_of(&server).await, server.plain().await);
    let mut whole = value(1, "");
    whole.resize(LARGE, b'x');
    plain.set("large", &whole).await;
    plain.set("small", &value(2, "small")).await;
    assert_eq!(store.read("large").await, Ok(Some(whole)), "nobody could know");
    assert_eq!(plain.others().await.len(), 1);
    store.read("large").await.unwrap();
    eventually("a connection more", async || plain.others().await.len() == 2).await;
    let (shared, own) = reads_over(&store, &mut plain, "large", "small").await;
    assert_ne!(shared, own);
    // Another instance has put a small one there.
    plain.set("large", &value(3, "small")).await;
    store.read("large").await.unwrap();
    plain.say::<()>(&format!("CLIENT KILL ID {own}")).await;
    eventually("it is back", async || {
        let others = plain.others().await;
        others.len() == 2 && !others.contains(&own)
    })
    .await;
    let (shared, own) = reads_over(&store, &mut plain, "large", "small").await;
    assert_eq!(shared, own);
}

#[tokio::test]
async fn keys_are_remembered_in_a_fixed_number_of_places() {
    let server = Server::later(&[]);
    let large = Large::new(Dial::new(RedisUrl::parse(&server.url()).unwrap(), SETTINGS));
    assert!(!large.knows("k"));
    large.saw("k", LARGE);
    assert!(large.knows("k") && !large.knows("j"));
    large.saw("j", 10);
    assert!(large.knows("k"));
    large.saw("k", LARGE - 1);
    assert!(!large.knows("k"));
    for number in 0..100_000 {
        large.saw(&format!("k{number}"), LARGE);
    }
    let known = (0..100_000).filter(|number| large.knows(&format!("k{number}"))).count();
    assert!((1_000..=1_024).contains(&known), "{known}");
}

// What is proven is proven of the server that the shared connection goes to.
#[tokio::test]
async fn a_connection_that_goes_to_another_server_is_not_used() {
    let (here, there) = (Server::start().await, Server::start().await);
    let dial = |server: &Server| Dial::new(RedisUrl::parse(&server.url()).unwrap(), SETTINGS);
    let shared = Link::open(dial(&here), Heard::Yes).unwrap();
    shared.ready(LIFE).await.unwrap();
    let run = shared.line().unwrap().run();
    for (large, apart) in [(Large::new(dial(&here)), true), (Large::new(dial(&there)), false)] {
        large.way(&shared).unwrap();
        let mut plain = (if apart { &here } else { &there }).plain().await;
        let expected = if apart { 2 } else { 1 };
        eventually("it is made", async || plain.others().await.len() == expected).await;
        let used = |large: &Large| {
            let (over, line) = large.way(&shared).unwrap();
            assert_eq!(line.run(), run);
            !std::ptr::eq(over, &raw const shared)
        };
        if apart {
            eventually("it is used", async || used(&large)).await;
        } else {
            for _ in 0..20 {
                assert!(!used(&large));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}
