//! A bump of keys alone: the shorter way that it goes in a lane with nothing to look out for, and what makes it go the longer.

use std::sync::Arc;

use super::lane::{keys, lane_of, left_by_another_run, parse, stand_at, tags};
use super::server::{CELLS, PATIENCE, Plain, SETTINGS, Server, names, open, stamp, value};
use crate::config::LONGEST_GUARD;
use crate::error::Fault;
use crate::l2::Store as _;
use crate::l2::lane::{Bumped, Lane as _, LaneNames, LaneState, Planted};
use crate::redis::RedisUrl;
use crate::redis::lane::{RedisLane, UNUSUAL};
use crate::rule::seq::{Point, Seq};
use crate::wire::hold;
use crate::wire::message::{Targets, body};

/// A lane whose first hour is over, as its check says, and all of its scripts known to the server.
async fn old_lane(server: &Server, plain: &mut Plain) -> (Arc<RedisLane>, LaneState) {
    let lane = lane_of(server, CELLS).await;
    lane.bump(&keys(&["k"]), Point::default()).await.unwrap();
    let state = age(plain, &lane).await;
    lane_of(server, CELLS).await.bump(&keys(&["k"]), Point::default()).await.unwrap();
    let state = LaneState { point: lane.stand(state.point).await.unwrap().point, ..state };
    (lane, state)
}

async fn age(plain: &mut Plain, lane: &RedisLane) -> LaneState {
    plain.ask::<()>(&[b"SETRANGE", names().state().as_bytes(), b"30", &1_u64.to_be_bytes()]).await;
    lane.stand(Point::default()).await.unwrap()
}

/// Bumps a key from an instance that has just come, and says how many scripts that took.
async fn bump(server: &Server, plain: &mut Plain, floor: Point) -> (Bumped, u64) {
    let lane = lane_of(server, CELLS).await;
    plain.say::<()>("CONFIG RESETSTAT").await;
    let bumped = lane.bump(&keys(&["k"]), floor).await.unwrap();
    (bumped, plain.calls("evalsha").await)
}

#[tokio::test]
async fn in_an_old_lane_one_short_script_does_what_a_bump_of_keys_does() {
    let server = Server::start().await;
    let mut plain = server.plain().await;
    let (lane, state) = old_lane(&server, &mut plain).await;
    let mut subscription = lane.subscribe().await.unwrap();
    let many: Vec<String> = (0..1_000).map(|index| format!("many:{index}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut before = state.point;
    for named in [&["k"][..], &["absent"], &["k", "absent", "other"], &many] {
        for key in ["k", "other", "many:0", "many:999"] {
            plain.set(&names().value(key), &value(1, key)).await;
        }
        let sender = lane_of(&server, CELLS).await;
        plain.say::<()>("CONFIG RESETSTAT").await;
        let bumped = sender.bump(&keys(named), before).await.unwrap();
        let calls = ["evalsha", "get", "del", "setrange", "publish", "getrange"];
        let mut called = Vec::new();
        for call in calls {
            called.push(plain.calls(call).await);
        }
        assert_eq!(called, [1, 1, 1, 1, 1, 0], "{calls:?}");
        let held = named.iter().filter(|key| ["k", "other", "many:0", "many:999"].contains(key)).count();
        let point = Point { seq: Seq(before.seq.0 + 1), ..before };
        assert_eq!(bumped, Bumped { point, held: u64::try_from(held).unwrap() });
        let told = (before.era.0, before.seq.0, point.seq.0, body(&keys(named), None));
        assert_eq!(parse(&subscription.next().await.unwrap()), told);
        for key in named {
            assert_eq!(plain.get(&names().value(key)).await, None, "{key}");
        }
        assert_eq!(lane.stand(point).await.unwrap().point, point);
        before = point;
    }
}

#[tokio::test]
async fn where_a_hold_may_stand_a_bump_of_keys_looks_for_it() {
    let server = Server::start().await;
    let mut plain = server.plain().await;
    let (lane, state) = old_lane(&server, &mut plain).await;
    assert!(matches!(lane.hold(&["k".to_owned()], stamp(9), LONGEST_GUARD, Point::default()).await, Ok(Planted::Yes(_))));
    assert_eq!(bump(&server, &mut plain, state.point).await.1, 2);
    let held = hold::read(&plain.get(&names().value("k")).await.expect("a hold")).expect("a hold");
    assert!(held.touched && held.records.len() == 1);
    // A lane that has just begun does not know what holds there were.
    plain.ask::<()>(&[b"DEL", names().state().as_bytes()]).await;
    lane.stand(Point::default()).await.unwrap();
    assert_eq!(bump(&server, &mut plain, Point::default()).await.1, 2);
    assert!(plain.get(&names().value("k")).await.is_some());
}

#[tokio::test]
async fn where_the_seq_is_no_plain_matter_a_bump_of_keys_takes_the_longer_way() {
    let server = Server::start().await;
    let mut plain = server.plain().await;
    let (lane, LaneState { point, .. }) = old_lane(&server, &mut plain).await;

    let ahead = Point { seq: Seq(point.seq.0 + 10), ..point };
    let (Bumped { point, .. }, scripts) = bump(&server, &mut plain, ahead).await;
    assert!(point.era != ahead.era && scripts == 2, "told more than there is: {point:?}");

    age(&mut plain, &lane).await;
    stand_at(&mut plain, 9_007_199_254_740_000).await;
    let last = Point { seq: Seq(9_007_199_254_740_000), ..point };
    let (Bumped { point, .. }, scripts) = bump(&server, &mut plain, last).await;
    assert!(point.era != last.era && scripts == 2, "no seq is left: {point:?}");

    age(&mut plain, &lane).await;
    plain.ask::<()>(&[b"DEL", names().state().as_bytes()]).await;
    let (Bumped { point: begun, .. }, scripts) = bump(&server, &mut plain, point).await;
    assert!(begun.era != point.era && scripts == 2, "nothing is left: {begun:?}");

    let LaneState { point, .. } = age(&mut plain, &lane).await;
    left_by_another_run(&mut plain).await;
    let (Bumped { point: begun, .. }, scripts) = bump(&server, &mut plain, point).await;
    assert!(begun.era != point.era && scripts == 2, "another run has left it: {begun:?}");

    age(&mut plain, &lane).await;
    let trusting = LaneNames { outlives_runs: true, ..names() };
    let (store, trusting) = open(RedisUrl::parse(&server.url()).unwrap(), SETTINGS, &trusting).unwrap();
    store.ready(PATIENCE).await.unwrap();
    trusting.stand(Point::default()).await.unwrap();
    let ahead = Point { seq: Seq(begun.seq.0 + 10), ..begun };
    let (Bumped { point, .. }, scripts) = bump(&server, &mut plain, ahead).await;
    assert!(point.era == begun.era && point.seq > ahead.seq && scripts == 2, "goes on from its floor: {point:?}");
}

// What the state was saved with may be older than what was told, without anybody being told of it: so seqs stay ahead of the clock.
#[tokio::test]
async fn where_what_another_run_left_is_trusted_a_bump_of_keys_looks_at_the_clock() {
    let server = Server::start().await;
    let mut plain = server.plain().await;
    old_lane(&server, &mut plain).await;
    let trusting = LaneNames { outlives_runs: true, ..names() };
    let (store, trusting) = open(RedisUrl::parse(&server.url()).unwrap(), SETTINGS, &trusting).unwrap();
    store.ready(PATIENCE).await.unwrap();
    trusting.stand(Point::default()).await.unwrap();
    is_ahead_of_the_clock(&server, &mut plain).await;
}

/// Before the first tag is bumped, and after it: the state is then written anew.
async fn is_ahead_of_the_clock(server: &Server, plain: &mut Plain) {
    for _ in 0..2 {
        let time: Vec<u64> = plain.say("TIME").await;
        let (Bumped { point, .. }, scripts) = bump(server, plain, Point::default()).await;
        assert!(point.seq.0 >= time[0] * 1_000_000 + time[1] && scripts == 2, "{point:?}");
        lane_of(server, CELLS).await.bump(&tags([1]), point).await.unwrap();
    }
}

// Whether the state is another run's is not known then, so seqs stay ahead of any that could have been told.
#[tokio::test]
async fn where_the_run_is_not_told_a_bump_of_keys_looks_at_the_clock() {
    let server = Server::start().await;
    let mut plain = server.plain().await;
    old_lane(&server, &mut plain).await;
    plain.ask::<()>(&[b"DEL", names().state().as_bytes()]).await;
    plain.say::<()>("ACL SETUSER default -info").await;
    let unasked = lane_of(&server, CELLS).await;
    assert_eq!(unasked.stand(Point::default()).await.unwrap().run, 0);
    age(&mut plain, &unasked).await;
    plain.say::<()>("ACL SETUSER default +info").await;
    is_ahead_of_the_clock(&server, &mut plain).await;
}

#[tokio::test]
async fn who_was_declined_goes_the_longer_way_for_a_while() {
    let server = Server::start().await;
    let mut plain = server.plain().await;
    let lane = lane_of(&server, CELLS).await;
    let mut declined = Vec::new();
    for bump in 0..UNUSUAL + 3 {
        plain.say::<()>("CONFIG RESETSTAT").await;
        lane.bump(&keys(&["k"]), Point::default()).await.unwrap();
        if plain.calls("evalsha").await == 2 {
            declined.push(bump);
        }
    }
    assert_eq!(declined, [0, UNUSUAL + 1]);
}

#[tokio::test]
async fn the_state_of_another_release_is_refused_on_either_way() {
    let server = Server::start().await;
    let mut plain = server.plain().await;
    let (_lane, LaneState { point, .. }) = old_lane(&server, &mut plain).await;
    let whole = plain.get(&names().state()).await.expect("a state");
    for other in [&whole[..37], &[whole.as_slice(), b"more"].concat(), &[b"ctl\x03", &whole[4..]].concat()] {
        plain.set(&names().state(), other).await;
        let refused = lane_of(&server, CELLS).await.bump(&keys(&["k"]), point).await;
        assert!(matches!(&refused, Err(Fault::Refused(why)) if why.contains("another release")), "{refused:?}");
        assert_eq!(plain.get(&names().state()).await.as_deref(), Some(other));
    }
}

#[tokio::test]
async fn a_full_server_and_a_replica_answer_the_shorter_way_as_they_do_the_longer() {
    let server = Server::start().await;
    let mut plain = server.plain().await;
    let (_lane, LaneState { point, .. }) = old_lane(&server, &mut plain).await;
    plain.set(&names().value("k"), &value(1, "old")).await;
    plain.say::<()>("CONFIG SET maxmemory 1").await;
    let (Bumped { held, .. }, scripts) = bump(&server, &mut plain, point).await;
    assert_eq!((held, scripts), (1, 1));
    plain.say::<()>("CONFIG SET maxmemory 0").await;
    let whole = plain.get(&names().state()).await;
    plain.say::<()>("REPLICAOF 127.0.0.1 1").await;
    let refused = lane_of(&server, CELLS).await.bump(&keys(&["k"]), point).await;
    assert!(matches!(&refused, Err(Fault::Refused(why)) if why.starts_with("READONLY")), "{refused:?}");
    assert_eq!(plain.get(&names().state()).await, whole);
}

#[tokio::test]
async fn keys_with_doubt_go_the_shorter_way_and_doubt_is_told() {
    let server = Server::start().await;
    let mut plain = server.plain().await;
    let (lane, LaneState { point, .. }) = old_lane(&server, &mut plain).await;
    let mut subscription = lane.subscribe().await.unwrap();
    let targets = Targets { doubt: true, ..keys(&["k"]) };
    plain.say::<()>("CONFIG RESETSTAT").await;
    lane_of(&server, CELLS).await.bump(&targets, point).await.unwrap();
    assert_eq!(plain.calls("evalsha").await, 1);
    assert_eq!(parse(&subscription.next().await.unwrap()).3, body(&targets, None));
}

// A release with a lag leaves a hold, in a lane in which none may have stood.
#[tokio::test]
async fn a_hold_that_a_release_leaves_is_looked_for() {
    let server = Server::start().await;
    let mut plain = server.plain().await;
    let (lane, LaneState { point, .. }) = old_lane(&server, &mut plain).await;
    lane.release(&["k".to_owned()], stamp(9), LONGEST_GUARD, point).await.unwrap();
    assert_eq!(bump(&server, &mut plain, point).await.1, 2);
    assert!(hold::read(&plain.get(&names().value("k")).await.expect("a hold")).is_some());
}
