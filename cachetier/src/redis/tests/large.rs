//! Large values go over a connection of their own, as long as that goes where the shared one does.

use std::sync::Arc;
use std::time::Duration;

use super::server::{LEASE, Plain, SETTINGS, Server, eventually, stamp, ticket, value};
use crate::l2::{Filled, Store as _};
use crate::redis::RedisStore;
use crate::redis::connect::{Heard, Link};
use crate::redis::dial::Dial;
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

/// The ids of the connections that have read, the shared one first, after each key was read once more.
async fn readers(store: &RedisStore, plain: &mut Plain) -> Vec<u64> {
    for key in ["small", "large"] {
        store.read(key).await.unwrap();
    }
    let list: String = plain.say("CLIENT LIST").await;
    let reads = list.lines().filter(|line| line.contains(" cmd=get "));
    reads.filter_map(|line| line.strip_prefix("id=")?.split(' ').next()?.parse().ok()).collect()
}

/// Waits until the large one is read over another connection, and returns that one's id.
async fn own(store: &RedisStore, plain: &mut Plain) -> u64 {
    let mut own = None;
    eventually("it goes over another connection", async || {
        own = readers(store, plain).await.get(1).copied();
        own.is_some()
    })
    .await;
    own.unwrap()
}

#[tokio::test]
async fn the_first_large_value_makes_a_connection_and_what_is_read_of_such_keys_goes_over_it() {
    let server = Server::start().await;
    let (store, mut plain) = (store_of(&server).await, server.plain().await);
    put(&store, "small", 1, LARGE - 1).await;
    store.read("small").await.unwrap();
    assert_eq!(plain.others().await.len(), 1);
    let large = put(&store, "large", 2, LARGE).await;
    let own = own(&store, &mut plain).await;
    assert_eq!(plain.others().await.len(), 2);
    assert_eq!(store.read("large").await, Ok(Some(large.clone())));
    assert_eq!(store.probe("large", stamp(3), LEASE).await, Ok(Some(large)));
    // Broken, it is made again, and meanwhile the shared one does.
    plain.ask::<()>(&[b"CLIENT", b"KILL", b"ID", own.to_string().as_bytes()]).await;
    assert!(store.read("small").await.unwrap().is_some());
    eventually("the value is read", async || store.read("large").await.is_ok()).await;
    eventually("a connection more", async || plain.others().await.len() == 2).await;
    store.close();
    eventually("none is left", async || plain.others().await.is_empty()).await;
}

#[tokio::test]
async fn what_is_not_large_any_longer_goes_over_the_shared_connection_again() {
    let server = Server::start().await;
    let (store, mut plain) = (store_of(&server).await, server.plain().await);
    put(&store, "small", 1, 1_000).await;
    put(&store, "large", 2, LARGE).await;
    let own = own(&store, &mut plain).await;
    plain.say::<()>("DEL large").await;
    assert_eq!(store.read("large").await, Ok(None));
    put(&store, "large", 3, 1_000).await;
    stays_shared(&store, &mut plain, own).await;
}

/// The connection for large values is there and used, and these keys are not read over it.
async fn stays_shared(store: &RedisStore, plain: &mut Plain, own: u64) {
    put(store, "other", 9, LARGE).await;
    assert!(last_of(plain, own).await.starts_with("eval"));
    let readers = readers(store, plain).await;
    assert!(readers.len() == 1 && readers[0] != own, "{readers:?}");
}

/// The command that connection has said last.
async fn last_of(plain: &mut Plain, id: u64) -> String {
    let list: String = plain.say("CLIENT LIST").await;
    let line = list.lines().find(|line| line.starts_with(&format!("id={id} "))).expect("it is there");
    line.split(' ').find_map(|word| word.strip_prefix("cmd=")).expect("it has said something").to_owned()
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
    let own = own(&store, &mut plain).await;
    // Another instance has put a small one there.
    plain.set("large", &value(3, "small")).await;
    store.read("large").await.unwrap();
    stays_shared(&store, &mut plain, own).await;
}

#[tokio::test]
async fn keys_are_remembered_in_a_fixed_number_of_places() {
    let server = Server::later(&[]);
    let large = Large::new(Dial::new(RedisUrl::parse(&server.url()).unwrap(), SETTINGS));
    assert!(!large.knows("k"));
    large.note("k", LARGE);
    assert!(large.knows("k") && !large.knows("j"));
    large.note("j", 10);
    assert!(large.knows("k"));
    large.saw("k", &ticket(1));
    assert!(large.knows("k"), "what comes next may be as large");
    large.saw("k", &value(1, "small"));
    assert!(!large.knows("k"));
    large.note("k", LARGE);
    large.note("k", LARGE - 1);
    assert!(!large.knows("k"));
    for number in 0..100_000 {
        large.note(&format!("k{number}"), LARGE);
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
            let before = plain.connected().await;
            eventually("it is given up and made anew", async || {
                assert!(!used(&large));
                plain.connected().await > before + 1
            })
            .await;
        }
    }
}

// Over the shared connection alone it would come before what plants the ticket, which stands for its whole lease then.
#[tokio::test]
async fn a_ticket_is_given_back_behind_what_may_plant_it() {
    let server = Server::start().await;
    let (store, mut plain) = (store_of(&server).await, server.plain().await);
    put(&store, "large", 1, LARGE).await;
    put(&store, "small", 2, 1_000).await;
    let own = own(&store, &mut plain).await;
    plain.say::<()>("CONFIG RESETSTAT").await;
    store.abandon("large", stamp(7), &[]).await.unwrap();
    assert_eq!(plain.calls("evalsha").await, 2);
    assert!(last_of(&mut plain, own).await.starts_with("eval"));
}
