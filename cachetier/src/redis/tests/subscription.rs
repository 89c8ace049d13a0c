//! The reading end of the lane: nothing is missed unseen.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::lane::{keys, parse, tags};
use super::server::{CELLS, PATIENCE, SETTINGS, Server, open_with};
use crate::error::Fault;
use crate::l2::lane::{Lane as _, LaneState};
use crate::l2::{Limits, Store as _};
use crate::redis::Settings;
use crate::rule::seq::{Point, Seq};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_published_before_a_checks_answer_is_ready_when_it_is_here() {
    const MESSAGES: u64 = 1_500;
    const CHECKS: u64 = 20;
    let server = Server::start().await;
    let (_store, lane) = server.open().await;
    let mut subscription = lane.subscribe().await.unwrap();
    let mut last = subscription.check(Point::default()).await.unwrap().point.seq.0;
    let enough = Arc::new(AtomicBool::new(false));
    let bumpers: Vec<_> = (0..3)
        .map(|bumper| {
            let (lane, enough) = (Arc::clone(&lane), Arc::clone(&enough));
            tokio::spawn(async move {
                for tag in (0..100_000).take_while(|_| !enough.load(Ordering::Relaxed)) {
                    lane.bump(&tags([bumper << 32 | tag]), Point::default()).await.unwrap();
                }
            })
        })
        .collect();
    let (mut messages, mut checks_that_moved) = (0, 0);
    // As long as the machine needs for both: how many bumps fall between two checks is its affair.
    while messages < MESSAGES || checks_that_moved < CHECKS {
        let state = subscription.check(Point::default()).await.unwrap();
        assert!(bumpers.iter().any(|bumper| !bumper.is_finished()), "{checks_that_moved} checks saw {messages} bumps");
        let before = last;
        // Only up to the answer: what came after it may be here too.
        while last < state.point.seq.0 {
            let (era, previous, seq, _) = parse(&subscription.ready().expect("a message published before the answer"));
            assert_eq!((era, previous), (state.point.era.0, last));
            (last, messages) = (seq, messages + 1);
        }
        assert_eq!(last, state.point.seq.0);
        checks_that_moved += u64::from(last != before);
    }
    enough.store(true, Ordering::Relaxed);
    for bumper in bumpers {
        bumper.await.unwrap();
    }
}

#[tokio::test]
async fn a_dropped_wait_loses_no_message() {
    let server = Server::start().await;
    let (_store, lane) = server.open().await;
    let mut subscription = lane.subscribe().await.unwrap();
    for _ in 0..20 {
        assert!(tokio::time::timeout(Duration::from_millis(1), subscription.next()).await.is_err());
        let bumped = lane.bump(&keys(&["k"]), Point::default()).await.unwrap();
        let _ = tokio::time::timeout(Duration::ZERO, subscription.check(Point::default())).await;
        assert_eq!(parse(&subscription.next().await.unwrap()).2, bumped.point.seq.0);
    }
}

#[tokio::test]
async fn a_check_tells_the_servers_clock() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    let state = lane.subscribe().await.unwrap().check(Point::default()).await.unwrap();
    let time: Vec<u64> = plain.say("TIME").await;
    let now = time[0] * 1_000 + time[1] / 1_000;
    assert!((now - 10_000..=now).contains(&state.server_millis), "{} at {now}", state.server_millis);
    assert_eq!(lane.subscribe().await.unwrap().proves_for(), Some(SETTINGS.max_staleness));
}

#[tokio::test]
async fn a_killed_subscription_says_so_and_proves_nothing() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    let mut subscription = lane.subscribe().await.unwrap();
    let bumped = lane.bump(&keys(&["k"]), Point::default()).await.unwrap();
    assert_eq!(plain.say::<usize>("CLIENT KILL TYPE pubsub").await, 1);
    let next = |result: Result<Vec<u8>, Fault>| result.map(|message| parse(&message).2);
    assert_eq!(next(subscription.next().await), Ok(bumped.point.seq.0), "what had arrived is handed out first");
    let lost = tokio::time::timeout(PATIENCE, subscription.next()).await.expect("no wait for ever");
    assert!(lost.is_err());
    assert!(subscription.next().await.is_err(), "and again");
    assert_eq!(subscription.ready(), None);
    assert!(subscription.check(Point::default()).await.is_err());
    let state = LaneState { point: bumped.point, server_millis: 0, cells: CELLS, run: 0 };
    assert!(subscription.table(state, Seq(0)).await.is_err());
}

#[tokio::test]
async fn an_ended_subscription_proves_nothing_though_its_connection_answers() {
    // No server ends a subscription so, of its own accord: a stand-in does.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("redis://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut said) = (client.unwrap(), [0; 4_096]);
            std::thread::spawn(move || {
                while let Ok(length @ 1..) = client.read(&mut said) {
                    let said = String::from_utf8_lossy(&said[..length]);
                    let answer = match () {
                        () if said.contains("HELLO") => "%0\r\n+OK\r\n+OK\r\n",
                        () if said.contains("SUBSCRIBE") => {
                            ">3\r\n+subscribe\r\n+bus\r\n:1\r\n>3\r\n+unsubscribe\r\n+bus\r\n:0\r\n"
                        }
                        () => "*5\r\n:1\r\n:2\r\n:3\r\n:4\r\n:5\r\n",
                    };
                    client.write_all(answer.as_bytes()).unwrap();
                }
            });
        }
    });
    let (_store, lane) = open_with(&url, SETTINGS);
    for ready_first in [false, true] {
        let mut subscription = lane.subscribe().await.unwrap();
        assert!(subscription.check(Point::default()).await.is_ok(), "the stand-in answers");
        if ready_first {
            assert_eq!(subscription.ready(), None);
        } else {
            assert!(subscription.next().await.is_err());
        }
        assert!(subscription.check(Point::default()).await.is_err());
        assert!(subscription.next().await.is_err());
    }
}

#[tokio::test]
async fn the_subscription_is_a_connection_of_its_own_that_ends_with_it() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    assert_eq!(plain.others().await.len(), 1);
    let subscription = lane.subscribe().await.unwrap();
    assert_eq!(plain.others().await.len(), 2);
    drop(subscription);
    super::server::eventually("its connection ends", async || plain.others().await.len() == 1).await;
}

#[tokio::test]
async fn a_black_holed_check_ends_within_its_limit() {
    let server = Server::start().await;
    let limit = Duration::from_millis(150);
    let (store, lane) = open_with(&server.url(), Settings { limits: Limits { read: limit, command: limit }, ..SETTINGS });
    store.ready(PATIENCE).await.unwrap();
    let mut subscription = lane.subscribe().await.unwrap();
    server.signal("STOP");
    let check = tokio::time::timeout(PATIENCE, subscription.check(Point::default())).await.expect("not for ever");
    assert!(matches!(check, Err(Fault::Unanswered(_))), "{check:?}");
    server.signal("CONT");
}

#[tokio::test]
async fn a_replica_proves_nothing() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    let mut subscription = lane.subscribe().await.unwrap();
    subscription.check(Point::default()).await.unwrap();
    plain.say::<()>("REPLICAOF 127.0.0.1 1").await;
    let check = subscription.check(Point::default()).await;
    assert!(matches!(&check, Err(Fault::Refused(why)) if why.starts_with("READONLY")), "{check:?}");
}

#[tokio::test]
async fn a_primary_without_the_replicas_it_must_have_proves_nothing() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    plain.say::<()>("CONFIG SET min-replicas-to-write 1").await;
    let check = lane.subscribe().await.unwrap().check(Point::default()).await;
    assert!(matches!(&check, Err(Fault::Refused(why)) if why.starts_with("NOREPLICAS")), "{check:?}");
}

#[tokio::test]
async fn a_subscription_that_the_server_denies_is_refused() {
    let server = Server::start().await;
    let mut plain = server.plain().await;
    plain.say::<()>("ACL SETUSER walled on >pass ~* +@all resetchannels").await;
    let (store, lane) = open_with(&format!("{}?user=walled&pass=pass", server.url()), SETTINGS);
    store.ready(PATIENCE).await.unwrap();
    let refused = lane.subscribe().await.map(|_| ());
    assert!(matches!(&refused, Err(Fault::Refused(why)) if why.contains("NOPERM")), "{refused:?}");
}

#[tokio::test]
async fn a_server_that_forgot_its_scripts_still_bumps_and_checks() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    let mut subscription = lane.subscribe().await.unwrap();
    for _ in 0..2 {
        let bumped = lane.bump(&keys(&["k"]), Point::default()).await.unwrap().point;
        assert_eq!(subscription.check(Point::default()).await.unwrap().point, bumped);
        plain.say::<()>("SCRIPT FLUSH").await;
    }
}
