//! Holds of write guards in a server: what the scripts plant, release and trade, in bytes.

use std::time::Duration;

use super::lane::{keys, parse};
use super::server::{LEASE, Plain, Server, eventually, names, stamp, ticket, value};
use crate::error::Fault;
use crate::l2::lane::{Lane as _, Planted, Seized};
use crate::l2::{Filled, Store as _};
use crate::redis::RedisLane;
use crate::rule::hold::{Hold, Record};
use crate::rule::seq::Point;
use crate::rule::stamp::Stamp;
use crate::wire::hold;
use crate::wire::message::body;

const LIMIT: Duration = Duration::from_secs(30);

fn named(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

fn name() -> String {
    names().value("k")
}

async fn plant(lane: &RedisLane, guard: Stamp, limit: Duration) -> Point {
    match lane.hold(&named(&["k"]), guard, limit, Point::default()).await {
        Ok(Planted::Yes(point)) => point,
        other => panic!("not planted: {other:?}"),
    }
}

async fn release(lane: &RedisLane, guard: Stamp, lag: Duration) -> u64 {
    lane.release(&named(&["k"]), guard, lag, Point::default()).await.unwrap().stood
}

/// The hold that stands in the key.
async fn standing(plain: &mut Plain) -> Hold {
    let bytes = plain.get(&name()).await.expect("something");
    let held = hold::read(&bytes).expect("a hold");
    assert_eq!(hold::write(&held), bytes, "nothing but a hold");
    held
}

async fn millis(plain: &mut Plain) -> u64 {
    let time: Vec<u64> = plain.say("TIME").await;
    time[0] * 1_000 + time[1] / 1_000
}

fn guards(hold: &Hold) -> Vec<Stamp> {
    hold.records.iter().map(|record| record.guard).collect()
}

#[tokio::test]
async fn a_hold_takes_the_place_of_anything_until_its_deadline_on_the_servers_clock() {
    let server = Server::start().await;
    let ((store, lane), mut plain) = (server.open().await, server.plain().await);
    let mut subscription = lane.subscribe().await.unwrap();
    for before in [None, Some(value(9, "old")), Some(ticket(9)), Some(b"foreign".to_vec())] {
        if let Some(bytes) = &before {
            plain.set(&name(), bytes).await;
        }
        let from = millis(&mut plain).await;
        let point = plant(&lane, stamp(1), LIMIT).await;
        let until = millis(&mut plain).await;
        let held = standing(&mut plain).await;
        assert_eq!((held.touched, guards(&held)), (false, vec![stamp(1)]));
        assert!((from + 30_000..=until + 30_000).contains(&held.records[0].until.0));
        assert!((29_000..=30_000).contains(&plain.life(&name()).await));
        let (era, _, seq, told) = parse(&subscription.next().await.unwrap());
        assert_eq!((era, seq, told), (point.era.0, point.seq.0, body(&keys(&["k"]), None)));
        assert_eq!(store.fill(&name(), stamp(9), &value(9, "old"), LIMIT).await, Ok(Filled::Refused));
        assert_eq!(release(&lane, stamp(1), Duration::ZERO).await, 1);
        assert_eq!(plain.get(&name()).await, None);
        assert_ne!(parse(&subscription.next().await.unwrap()).2, point.seq.0);
    }
    plain.ask::<()>(&[b"RPUSH", name().as_bytes(), b"a queue"]).await;
    plant(&lane, stamp(1), LIMIT).await;
    assert_eq!(guards(&standing(&mut plain).await), [stamp(1)]);
}

#[tokio::test]
async fn guards_hold_a_key_side_by_side_and_the_last_one_empties_it() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    plant(&lane, stamp(1), LIMIT).await;
    plant(&lane, stamp(2), 2 * LIMIT).await;
    let held = standing(&mut plain).await;
    assert_eq!((held.touched, guards(&held)), (true, vec![stamp(1), stamp(2)]));
    assert!(plain.life(&name()).await > 31_000, "as long as the last one");
    plant(&lane, stamp(3), Duration::from_secs(1)).await;
    assert!(plain.life(&name()).await > 31_000, "a shorter one shortens nothing");
    assert_eq!(release(&lane, stamp(3), Duration::from_secs(1)).await, 1);
    assert!(plain.life(&name()).await > 31_000, "nor does its lag");
    assert_eq!(release(&lane, stamp(3), Duration::ZERO).await, 1);
    assert_eq!(release(&lane, stamp(2), Duration::ZERO).await, 1);
    assert_eq!(guards(&standing(&mut plain).await), [stamp(1)]);
    assert!(plain.life(&name()).await <= 30_000);
    assert_eq!(release(&lane, stamp(2), Duration::ZERO).await, 0, "it is gone");
    assert_eq!(release(&lane, stamp(1), Duration::ZERO).await, 1);
    assert_eq!(plain.get(&name()).await, None);
}

// Planted again it was untouched: its `set` would then have put what is older than the bump that had touched it.
#[tokio::test]
async fn a_guard_that_is_planted_again_stays_touched() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    plant(&lane, stamp(1), LIMIT).await;
    plant(&lane, stamp(1), LIMIT).await;
    assert!(!standing(&mut plain).await.touched, "by nobody yet");
    lane.bump(&keys(&["k"]), Point::default()).await.unwrap();
    plant(&lane, stamp(1), LIMIT).await;
    let held = standing(&mut plain).await;
    assert_eq!((held.touched, guards(&held)), (true, vec![stamp(1)]));
    assert!(matches!(lane.trade("k", stamp(1), stamp(3), LEASE, Point::default()).await, Ok(Seized::Held(_))));
}

#[tokio::test]
async fn records_that_have_ended_are_left_out() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    let ended = Hold { touched: true, records: vec![Record::new(stamp(9), 1_000)] };
    plain.set(&name(), &hold::write(&ended)).await;
    plant(&lane, stamp(1), LIMIT).await;
    let held = standing(&mut plain).await;
    assert_eq!((held.touched, guards(&held)), (false, vec![stamp(1)]));
}

#[tokio::test]
async fn a_release_of_a_lost_hold_drops_what_has_come_in_its_place() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    for lost in [value(9, "old"), ticket(9), b"foreign".to_vec()] {
        plain.set(&name(), &lost).await;
        assert_eq!(release(&lane, stamp(1), Duration::ZERO).await, 0);
        assert_eq!(plain.get(&name()).await, None);
        plain.set(&name(), &lost).await;
        assert_eq!(release(&lane, stamp(1), LIMIT).await, 0);
        assert_eq!(guards(&standing(&mut plain).await), [stamp(1)], "for the lag it is held anew");
        plain.ask::<()>(&[b"DEL", name().as_bytes()]).await;
    }
}

#[tokio::test]
async fn a_lag_takes_the_place_of_the_guards_own_deadline() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    plant(&lane, stamp(1), LIMIT).await;
    assert_eq!(release(&lane, stamp(1), Duration::from_secs(5)).await, 1);
    assert_eq!(guards(&standing(&mut plain).await), [stamp(1)]);
    assert!((4_000..=5_000).contains(&plain.life(&name()).await));
}

#[tokio::test]
async fn holds_are_looked_for_as_long_as_any_may_stand() {
    const SHORT: Duration = Duration::from_millis(50);
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    let begun = lane.stand(Point::default()).await.unwrap().point;
    // As an hour later.
    let forget = async |plain: &mut Plain| plain.ask::<()>(&[b"SETRANGE", names().state().as_bytes(), b"30", &[0; 8]]).await;
    let looks = async |plain: &mut Plain, floor| {
        plain.say::<()>("CONFIG RESETSTAT").await;
        lane.bump(&keys(&["k", "another"]), floor).await.unwrap();
        plain.calls("getrange").await
    };
    assert_eq!(looks(&mut plain, begun).await, 2, "a state that is new does not know of any before");
    forget(&mut plain).await;
    assert_eq!(looks(&mut plain, begun).await, 0, "there was none");

    plant(&lane, stamp(1), SHORT).await;
    eventually("its time is over", async || server.plain().await.get(&name()).await.is_none()).await;
    assert_eq!(looks(&mut plain, begun).await, 2, "nobody has looked at the clock");
    lane.stand(begun).await.unwrap();
    assert_eq!(looks(&mut plain, begun).await, 0);

    // A shorter time behind a longer one, and a lag, which outlives its guard's own time.
    plant(&lane, stamp(1), SHORT).await;
    release(&lane, stamp(1), LIMIT).await;
    plant(&lane, stamp(2), SHORT).await;
    let over = millis(&mut plain).await + 60;
    eventually("the guards' own time is over", async || millis(&mut server.plain().await).await > over).await;
    lane.stand(begun).await.unwrap();
    assert_eq!(looks(&mut plain, begun).await, 2);
    assert!(standing(&mut plain).await.touched);

    // A state that is gone says nothing of holds, whoever finds it gone.
    for finder in ["who knew it", "a newcomer", "another guard", "a release"] {
        release(&lane, stamp(2), Duration::ZERO).await;
        plant(&lane, stamp(1), LIMIT).await;
        plain.ask::<()>(&[b"DEL", names().state().as_bytes()]).await;
        let (another, new) = (named(&["another"]), Point::default());
        match finder {
            "who knew it" => drop(lane.stand(begun).await.unwrap()),
            "a newcomer" => drop(lane.stand(new).await.unwrap()),
            "another guard" => drop(lane.hold(&another, stamp(3), SHORT, new).await.unwrap()),
            _ => drop(lane.release(&another, stamp(3), SHORT, new).await.unwrap()),
        }
        let over = millis(&mut plain).await + 60;
        eventually("what it planted is over", async || millis(&mut server.plain().await).await > over).await;
        let lost = lane.stand(new).await.unwrap().point;
        assert_ne!(lost.era, begun.era);
        assert_eq!(looks(&mut plain, lost).await, 2, "found by {finder}");
        assert!(standing(&mut plain).await.touched, "found by {finder}");
    }
}

#[tokio::test]
async fn an_invalidation_and_a_seizure_leave_a_hold_and_mark_it() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    for seize in [false, true] {
        plant(&lane, stamp(1), LIMIT).await;
        let before = standing(&mut plain).await;
        if seize {
            assert!(matches!(lane.seize("k", stamp(2), LEASE, Point::default()).await, Ok(Seized::Held(_))));
        } else {
            assert_eq!(lane.bump(&keys(&["k"]), Point::default()).await.unwrap().held, 0);
        }
        assert_eq!(standing(&mut plain).await, Hold { touched: true, ..before });
        assert!((1..=30_000).contains(&plain.life(&name()).await), "its deadline stays");
        assert!(matches!(lane.trade("k", stamp(1), stamp(3), LEASE, Point::default()).await, Ok(Seized::Held(_))));
        assert_eq!(plain.get(&name()).await, None, "released in its place");
    }
}

#[tokio::test]
async fn a_guard_that_was_alone_trades_its_hold_for_a_ticket_and_tells_the_stamp_to_come() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    let point = plant(&lane, stamp(1), LIMIT).await;
    let mut subscription = lane.subscribe().await.unwrap();
    let Ok(Seized::Planted(traded)) = lane.trade("k", stamp(1), stamp(3), LEASE, Point::default()).await else { panic!("alone") };
    assert!(traded.seq > point.seq);
    assert_eq!(plain.get(&name()).await, Some(ticket(3)));
    let (_, before, seq, told) = parse(&subscription.next().await.unwrap());
    assert_eq!((before, seq, told), (point.seq.0, traded.seq.0, body(&keys(&["k"]), Some(stamp(3)))));
}

#[tokio::test]
async fn a_guard_that_had_company_or_lost_its_hold_trades_nothing() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    let trade = || lane.trade("k", stamp(1), stamp(3), LEASE, Point::default());
    plant(&lane, stamp(1), LIMIT).await;
    plant(&lane, stamp(2), LIMIT).await;
    assert!(matches!(trade().await, Ok(Seized::Held(_))));
    assert_eq!(guards(&standing(&mut plain).await), [stamp(2)]);
    plant(&lane, stamp(1), LIMIT).await;
    release(&lane, stamp(2), Duration::ZERO).await;
    assert!(matches!(trade().await, Ok(Seized::Held(_))), "the other has come and gone");
    for lost in [None, Some(value(9, "newer")), Some(ticket(9))] {
        plant(&lane, stamp(1), LIMIT).await;
        plain.ask::<()>(&[b"DEL", name().as_bytes()]).await;
        if let Some(bytes) = lost {
            plain.set(&name(), &bytes).await;
        }
        assert!(matches!(trade().await, Ok(Seized::Held(_))));
        assert_eq!(plain.get(&name()).await, None);
    }
}

#[tokio::test]
async fn where_one_key_has_no_room_for_a_guard_none_is_held() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    let until = millis(&mut plain).await + 60_000;
    let records = (100..164).map(|number| Record::new(stamp(number), until)).collect();
    plain.set(&name(), &hold::write(&Hold { touched: true, records })).await;
    let checked = lane.subscribe().await.unwrap().check(Point::default()).await.unwrap().point;
    assert_eq!(lane.hold(&named(&["free", "k"]), stamp(1), LIMIT, Point::default()).await, Ok(Planted::Crowded));
    assert_eq!(plain.get(&names().value("free")).await, None);
    assert_eq!(lane.subscribe().await.unwrap().check(Point::default()).await.unwrap().point, checked, "nothing was told");
    assert_eq!(release(&lane, stamp(107), Duration::ZERO).await, 1);
    assert!(matches!(lane.hold(&named(&["free", "k"]), stamp(1), LIMIT, Point::default()).await, Ok(Planted::Yes(_))));
}

#[tokio::test]
async fn a_full_server_still_holds_releases_and_trades() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    plain.say::<()>("CONFIG SET maxmemory 1").await;
    plant(&lane, stamp(1), LIMIT).await;
    assert_eq!(lane.bump(&keys(&["k"]), Point::default()).await.unwrap().held, 0);
    assert!(standing(&mut plain).await.touched);
    assert_eq!(release(&lane, stamp(1), Duration::ZERO).await, 1);
    plant(&lane, stamp(2), LIMIT).await;
    assert!(matches!(lane.trade("k", stamp(2), stamp(3), LEASE, Point::default()).await, Ok(Seized::Planted(_))));
}

#[tokio::test]
async fn more_keys_than_one_script_takes_are_held_and_released_in_parts() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    let long = "x".repeat(4_000);
    let many: Vec<String> = (0..1_500).map(|i| format!("k{i}")).chain((0..40).map(|i| format!("{long}{i}"))).collect();
    assert!(matches!(lane.hold(&many, stamp(1), LIMIT, Point::default()).await, Ok(Planted::Yes(_))));
    assert_eq!(plain.say::<usize>("DBSIZE").await, 1_541, "the keys, and the lane's state");
    assert_eq!(lane.release(&many, stamp(1), Duration::ZERO, Point::default()).await.unwrap().stood, 1_540);
    assert_eq!(plain.say::<usize>("DBSIZE").await, 1);
}

#[tokio::test]
async fn a_lane_under_foreign_keys_is_refused_before_anything_is_changed() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    plain.ask::<()>(&[b"RPUSH", names().state().as_bytes(), b"a queue"]).await;
    plain.set(&name(), &value(1, "kept")).await;
    assert_eq!(lane.hold(&named(&["k"]), stamp(2), LIMIT, Point::default()).await, Err(Fault::Foreign));
    assert_eq!(lane.release(&named(&["k"]), stamp(2), LIMIT, Point::default()).await, Err(Fault::Foreign));
    assert_eq!(lane.trade("k", stamp(2), stamp(3), LEASE, Point::default()).await, Err(Fault::Foreign));
    assert_eq!(plain.get(&name()).await, Some(value(1, "kept")));
}
