//! The writing end of the lane: what a bump and a seizure do in one step.

use std::sync::Arc;
use std::time::Duration;

use super::server::{CELLS, HELD, LEASE, PATIENCE, Plain, SETTINGS, Server, names, open, open_with, stamp, ticket, value};
use crate::error::Fault;
use crate::key::TagHash;
use crate::l2::Store as _;
use crate::l2::lane::{Bumped, Lane as _, LaneNames, Planted, Seized};
use crate::redis::RedisUrl;
use crate::redis::lane::RedisLane;
use crate::redis::place::caller;
use crate::rule::seq::{Era, Point, Seq};
use crate::rule::table::{TableCopy, TagTable};
use crate::wire::message::{Targets, body};

pub(super) fn keys(keys: &[&str]) -> Targets {
    Targets { keys: keys.iter().map(ToString::to_string).collect(), ..Targets::default() }
}

pub(super) fn tags(hashes: impl IntoIterator<Item = u64>) -> Targets {
    Targets { tags: hashes.into_iter().map(TagHash).collect(), ..Targets::default() }
}

/// Moves the lane to a seq, behind its back.
pub(super) async fn stand_at(plain: &mut Plain, seq: u64) {
    plain.ask::<()>(&[b"SETRANGE", names().state().as_bytes(), b"8", &seq.to_be_bytes()]).await;
}

/// A message taken apart: era, previous, seq, body.
pub(super) fn parse(message: &[u8]) -> (u32, u64, u64, Vec<u8>) {
    assert_eq!(&message[..3], b"ct\x01");
    let number = |at: usize| u64::from_be_bytes(message[at..at + 8].try_into().unwrap());
    (u32::from_be_bytes(message[3..7].try_into().unwrap()), number(7), number(15), message[23..].to_vec())
}

/// The lane as an instance sees it that is told to have a table of `cells`.
pub(super) async fn lane_of(server: &Server, cells: u32) -> Arc<RedisLane> {
    let (store, lane) = open(RedisUrl::parse(&server.url()).unwrap(), SETTINGS, &LaneNames { cells, ..names() }).unwrap();
    store.ready(PATIENCE).await.unwrap();
    lane
}

/// A cell of a table of one page.
async fn cell(plain: &mut Plain, index: u32) -> u64 {
    let at = 32 + index * 8;
    let (from, until) = (at.to_string(), (at + 7).to_string());
    let bytes: Vec<u8> = plain.ask(&[b"GETRANGE", names().table().as_bytes(), from.as_bytes(), until.as_bytes()]).await;
    bytes.iter().fold(0, |cell, byte| (cell << 8) | u64::from(*byte))
}

#[tokio::test]
async fn a_bump_drops_what_the_keys_hold_and_counts_it() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    let key = |key| names().value(key);
    // Beside a hold, and where none can stand: it is not looked for there.
    for (held, looks) in [(true, 6), (false, 0)] {
        plain.set(&key("value"), &value(1, "old")).await;
        plain.set(&key("ticket"), &ticket(2)).await;
        plain.set(&key("foreign"), b"foreign").await;
        plain.ask::<()>(&[b"RPUSH", key("list").as_bytes(), b"a queue"]).await;
        if held {
            assert!(matches!(lane.hold(&["held".to_owned()], stamp(9), LEASE, Point::default()).await, Ok(Planted::Yes(_))));
        }
        plain.set(&key("other"), &value(3, "not named")).await;
        plain.say::<()>("CONFIG RESETSTAT").await;
        let targets = keys(&["value", "ticket", "foreign", "list", "held", "absent"]);
        assert_eq!(lane.bump(&targets, Point::default()).await.unwrap().held, 4);
        assert_eq!(plain.calls("getrange").await, looks);
        for gone in ["value", "ticket", "foreign", "list"] {
            assert_eq!(plain.life(&key(gone)).await, -2, "{gone}");
        }
        assert_eq!(plain.get(&key("held")).await.is_some(), held);
        assert_eq!(plain.get(&key("other")).await, Some(value(3, "not named")));
        plain.ask::<()>(&[b"DEL", key("held").as_bytes()]).await;
        plain.ask::<()>(&[b"SETRANGE", names().state().as_bytes(), b"30", &1_u64.to_be_bytes()]).await;
        lane.stand(Point::default()).await.unwrap();
    }
}

#[tokio::test]
async fn a_bump_tells_every_subscriber_what_it_did_and_what_came_before() {
    let server = Server::start().await;
    let (_store, lane) = server.open().await;
    let mut subscription = lane.subscribe().await.unwrap();
    let targets = [keys(&["a", "b"]), tags([1, 2]), Targets { all: true, ..keys(&["c"]) }];
    let mut previous = 0;
    for targets in &targets {
        let bumped = lane.bump(targets, Point::default()).await.unwrap();
        let (era, before, seq, told) = parse(&subscription.next().await.unwrap());
        assert_eq!((era, seq), (bumped.point.era.0, bumped.point.seq.0));
        assert_eq!(before, previous);
        assert_eq!(told, body(targets, None));
        previous = seq;
    }
}

// The server writes first to whom it had something to say last.
#[tokio::test]
async fn whoever_bumps_has_an_answer_before_the_script_runs() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    // This one's first bump of keys is declined the shorter way.
    lane.bump(&keys(&["k"]), Point::default()).await.unwrap();
    plain.say::<()>("CONFIG RESETSTAT").await;
    lane.bump(&keys(&["k"]), Point::default()).await.unwrap();
    lane.bump(&tags([1]), Point::default()).await.unwrap();
    lane.seize("k", stamp(1), LEASE, Point::default()).await.unwrap();
    assert_eq!((plain.calls("ping").await, plain.calls("publish").await), (3, 3));
}

#[tokio::test]
async fn a_bump_writes_its_seq_into_the_cells_of_tags_and_prefixes_and_no_others() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    let (tag, prefix) = (TagHash::of("shop", "users"), TagHash::of_prefix("shop", "user:"));
    let targets = Targets { tags: vec![tag], prefixes: vec![prefix], ..keys(&["k"]) };
    let first = lane.bump(&targets, Point::default()).await.unwrap().point.seq.0;
    let written: Vec<u32> = tag.cells(CELLS).chain(prefix.cells(CELLS)).collect();
    for index in 0..CELLS {
        assert_eq!(cell(&mut plain, index).await, if written.contains(&index) { first } else { 0 }, "cell {index}");
    }
    let all = lane.bump(&Targets { all: true, ..Targets::default() }, Point::default()).await.unwrap().point.seq.0;
    assert_eq!(cell(&mut plain, written[0]).await, first);
    let mut subscription = lane.subscribe().await.unwrap();
    let state = subscription.check(Point::default()).await.unwrap();
    let table = subscription.table(state, Seq(0)).await.unwrap();
    assert_eq!((table.cells, table.all.0, table.pages.len()), (CELLS, all, 1));
    let moved = |since, tags: &[TagHash]| {
        let ours = TagTable::new(CELLS);
        ours.merge(&TableCopy { all: Seq(0), ..table.clone() });
        !ours.unmoved_since(Seq(since), tags)
    };
    assert!(moved(first - 1, &[tag]) && moved(first - 1, &[prefix]));
    assert!(!moved(first, &[tag, prefix]) && !moved(0, &[TagHash::of("shop", "others")]));
}

#[tokio::test]
async fn of_the_table_only_what_has_moved_is_read() {
    let server = Server::start().await;
    let cells = 1 << 16;
    let lane = lane_of(&server, cells).await;
    let mut subscription = lane.subscribe().await.unwrap();
    let state = subscription.check(Point::default()).await.unwrap();
    assert_eq!(subscription.table(state, Seq(0)).await, Ok(TableCopy { cells, ..TableCopy::default() }), "never written");
    // The lowest bits are the page.
    let spread = lane.bump(&tags([0, 1, 2, 3]), Point::default()).await.unwrap().point.seq;
    let middle = lane.bump(&tags([(1 << 40) | 8]), Point::default()).await.unwrap().point.seq;
    let last = lane.bump(&tags([u64::MAX]), Point::default()).await.unwrap().point.seq;
    let mut plain = server.plain().await;
    let firsts = |copy: &TableCopy| copy.pages.iter().map(|page| page.first / 4_096).collect::<Vec<_>>();
    for (since, expected) in
        [(Seq(0), vec![0, 8, 15]), (Seq(spread.0 - 1), vec![0, 8, 15]), (spread, vec![8, 15]), (middle, vec![15]), (last, vec![])]
    {
        plain.say::<()>("CONFIG RESETSTAT").await;
        let copy = subscription.table(state, since).await.unwrap();
        assert_eq!(firsts(&copy), expected, "after {since:?}");
        let told: String = plain.say("INFO commandstats").await;
        let expected = format!("cmdstat_getrange:calls={},", expected.len() + 1);
        assert!(told.contains(&expected), "after {since:?}, expected {expected}: {told}");
    }
    let whole = subscription.table(state, Seq(0)).await.unwrap();
    let (ours, reference) = (TagTable::new(cells), TagTable::new(cells));
    ours.merge(&whole);
    for (tag, seq) in [(0, spread), (1, spread), (2, spread), (3, spread), ((1 << 40) | 8, middle), (u64::MAX, last)] {
        reference.bump(TagHash(tag), seq);
    }
    for tag in (0..40_000).map(TagHash) {
        for since in [Seq(0), spread, middle, last] {
            assert_eq!(ours.unmoved_since(since, &[tag]), reference.unmoved_since(since, &[tag]), "{tag:?} {since:?}");
        }
    }
}

#[tokio::test]
async fn a_table_grows_with_the_largest_that_is_asked_for_and_forgets_nothing() {
    let server = Server::start().await;
    let small = lane_of(&server, 1 << 8).await;
    let hashes: Vec<TagHash> = (0..20).map(|tag: u32| TagHash::of("shop", &tag.to_string())).collect();
    let mut bumped = Vec::new();
    for (hash, cells) in hashes.iter().zip([1 << 8, 1 << 8, 1 << 10, 1 << 13, 1 << 14, 1 << 8].into_iter().cycle()) {
        // Whoever bumps writes into the table as it is, whatever its own size.
        let era = small.bump(&tags([hash.0]), Point::default()).await.unwrap().point;
        bumped.push((*hash, era));
        let mut subscription = lane_of(&server, cells).await.subscribe().await.unwrap();
        let state = subscription.check(Point::default()).await.unwrap();
        assert!(state.cells >= cells && state.point == era, "{state:?} {era:?}");
        let copy = subscription.table(state, Seq(0)).await.unwrap();
        for ours in [1 << 8, 1 << 12, 1 << 15] {
            let table = TagTable::new(ours);
            table.merge(&copy);
            for (hash, point) in &bumped {
                assert!(!table.unmoved_since(Seq(point.seq.0 - 1), &[*hash]), "{hash:?} in {ours} of {} cells", state.cells);
            }
        }
        assert_eq!(subscription.table(state, era.seq).await.unwrap().pages, [], "growing moves nothing");
    }
    assert_eq!(bumped.iter().map(|(_, point)| point.era).collect::<std::collections::HashSet<_>>().len(), 1, "one era");
}

#[tokio::test]
async fn a_lane_that_has_gone_back_behind_what_it_told_begins_another_era() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    let mut subscription = lane.subscribe().await.unwrap();
    let told = lane.bump(&tags([1]), Point::default()).await.unwrap().point;
    assert_eq!(subscription.check(told).await.unwrap().point, told, "it stands where it was told to");
    let elsewhere = Point { era: Era(told.era.0 ^ 1), seq: Seq(told.seq.0 + 1_000_000_000) };
    assert_eq!(subscription.check(elsewhere).await.unwrap().point, told, "seqs of two eras do not compare");

    let mut before = told;
    for way in 0..3 {
        let back = before.seq.0 - 1;
        stand_at(&mut plain, back).await;
        let point = match way {
            0 => subscription.check(before).await.unwrap().point,
            1 => lane.bump(&tags([1]), before).await.unwrap().point,
            _ => match lane.seize("k", stamp(1), LEASE, before).await.unwrap() {
                Seized::Planted(point) | Seized::Held(point) => point,
            },
        };
        assert_ne!(point.era, before.era, "way {way}");
        assert!(point.seq > before.seq, "way {way}: {point:?} after {before:?}");
        before = point;
    }
}

/// Says that another run of the server has left the state.
pub(super) async fn left_by_another_run(plain: &mut Plain) {
    plain.ask::<()>(&[b"SETRANGE", names().state().as_bytes(), b"20", &7_u64.to_be_bytes()]).await;
}

// Whoever bumps, for another one may have been told a seq that lies above the one that is next: not in this era.
#[tokio::test]
async fn what_another_run_has_left_is_counted_on_from_by_nobody() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    let guard = || (["k".to_owned()], stamp(9));
    let mut eras = vec![lane.bump(&tags([1]), Point::default()).await.unwrap().point.era];
    for way in 0..6 {
        left_by_another_run(&mut plain).await;
        let (keys, guard) = guard();
        let floor = Point::default();
        let point = match way {
            0 => lane.bump(&tags([1]), floor).await.unwrap().point,
            1 => lane.bump(&self::keys(&["k"]), floor).await.unwrap().point,
            2 => lane.expire("k", stamp(1), floor).await.unwrap().point,
            3 => match lane.seize("k", stamp(1), LEASE, floor).await.unwrap() {
                Seized::Planted(point) | Seized::Held(point) => point,
            },
            4 => match lane.hold(&keys, guard, LEASE, floor).await.unwrap() {
                Planted::Yes(point) => point,
                Planted::Crowded => unreachable!("one guard"),
            },
            _ => lane.release(&keys, guard, Duration::ZERO, floor).await.unwrap().point,
        };
        assert!(!eras.contains(&point.era), "way {way}");
        eras.push(point.era);
        // The run is known from there on.
        assert_eq!(lane.bump(&tags([1]), floor).await.unwrap().point.era, point.era, "way {way}");
    }
}

// Such as a proxy that answers INFO for another server, or a program that has kept the run over a new connection: else each of its bumps would
// begin an era.
#[tokio::test]
async fn who_names_a_run_that_is_not_the_servers_ends_no_era() {
    const BUMP: &str = concat!(
        include_str!("../scripts/lane.lua"),
        include_str!("../scripts/next.lua"),
        include_str!("../scripts/table.lua"),
        include_str!("../scripts/place.lua"),
        include_str!("../scripts/bump.lua"),
        include_str!("../scripts/begin.lua"),
        include_str!("../scripts/mark.lua"),
        include_str!("../scripts/tell.lua"),
    );
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    let first = lane.bump(&keys(&["k"]), Point::default()).await.unwrap().point;
    let caller = caller(Point::default(), CELLS, 7);
    let (state, table, key) = (names().state(), names().table(), names().value("k"));
    let named = [state.as_bytes(), table.as_bytes(), key.as_bytes()];
    for _ in 0..2 {
        let time: Vec<u64> = plain.say("TIME").await;
        let body = body(&keys(&["k"]), None);
        let told = [&caller[..], names().channel().as_bytes(), &body].map(<[u8]>::to_vec);
        let told: Vec<&[u8]> = [BUMP.as_bytes(), b"3"].into_iter().chain(named).chain(told.iter().map(Vec::as_slice)).collect();
        let told: Vec<&[u8]> = [&b"EVAL"[..]].into_iter().chain(told).collect();
        let head: Vec<u8> = plain.ask(&told).await;
        let (era, _, seq, _) = parse(&head);
        assert_eq!(era, first.era.0);
        assert!(seq >= time[0] * 1_000_000 + time[1], "it may have been told of another run's: {seq}");
    }
    assert_eq!(lane.bump(&keys(&["k"]), first).await.unwrap().point.era, first.era);
    // What another has left is seen all the same.
    left_by_another_run(&mut plain).await;
    let told = lane.bump(&keys(&["k"]), first).await.unwrap().point;
    assert_ne!(told.era, first.era);
}

#[tokio::test]
async fn who_may_not_ask_for_the_run_counts_on_above_the_clock_whoever_has_left_the_state() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    let first = lane.bump(&tags([1]), Point::default()).await.unwrap().point;
    plain.say::<()>("ACL SETUSER default -info").await;
    let unasked = lane_of(&server, CELLS).await;
    left_by_another_run(&mut plain).await;
    for targets in [tags([1]), keys(&["k"])] {
        let time: Vec<u64> = plain.say("TIME").await;
        let point = unasked.bump(&targets, Point::default()).await.unwrap().point;
        assert_eq!(point.era, first.era);
        assert!(point.seq.0 >= time[0] * 1_000_000 + time[1], "{point:?}");
    }
}

#[tokio::test]
async fn an_era_counts_up_from_the_servers_clock_at_its_begin() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    let micros = |time: Vec<u64>| time[0] * 1_000_000 + time[1];
    let before = micros(plain.say("TIME").await);
    let Bumped { point: first, .. } = lane.bump(&keys(&["k"]), Point::default()).await.unwrap();
    let after = micros(plain.say("TIME").await);
    assert!((before..=after).contains(&first.seq.0), "{before} <= {first:?} <= {after}");

    // It counts on from wherever it stands.
    let ahead = after + 3_600_000_000;
    stand_at(&mut plain, ahead).await;
    let second = lane.bump(&keys(&["k"]), first).await.unwrap().point;
    assert_eq!((second.era, second.seq), (first.era, Seq(ahead + 1)));
    let seized = lane.seize("k", stamp(1), LEASE, second).await.unwrap();
    assert!(matches!(seized, Seized::Planted(point) if point.seq == Seq(ahead + 2)), "{seized:?}");
    // An era that is begun, begins above what its caller was told.
    plain.ask::<()>(&[b"DEL", names().state().as_bytes()]).await;
    let third = lane.bump(&keys(&["k"]), second).await.unwrap().point;
    assert_ne!(third.era, first.era);
    assert_eq!(third.seq, Seq(second.seq.0 + 1));
}

#[tokio::test]
async fn a_floor_that_no_server_told_is_not_believed() {
    let server = Server::start().await;
    let (_store, lane) = server.open().await;
    let first = lane.bump(&keys(&["k"]), Point { era: Era(7), seq: Seq(u64::MAX) }).await.unwrap().point;
    let second = lane.bump(&keys(&["k"]), Point { seq: Seq((1 << 52) + 1), ..first }).await.unwrap().point;
    assert_eq!(first.era, second.era);
    assert!(first.seq < second.seq && second.seq.0 < 1 << 52, "{first:?} {second:?}");
}

#[tokio::test]
async fn an_era_begins_once_and_again_only_when_the_lane_has_lost_something() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    let mut subscription = lane.subscribe().await.unwrap();
    let begun = subscription.check(Point::default()).await.unwrap().point;
    assert_ne!(begun.era.0, 0);
    assert_eq!(subscription.check(Point::default()).await.unwrap().point, begun, "a check moves nothing");
    let bumped = lane.bump(&keys(&["k"]), Point::default()).await.unwrap().point;
    assert_eq!(bumped.era, begun.era);
    assert!(begun.seq < bumped.seq);
    assert_eq!(parse(&subscription.next().await.unwrap()).1, begun.seq.0, "the first bump continues from the era's beginning");

    // No tag was bumped so far: that there is no table means nothing.
    plain.ask::<()>(&[b"DEL", names().table().as_bytes()]).await;
    assert_eq!(lane.bump(&tags([1]), Point::default()).await.unwrap().point.era, begun.era);
    let mut eras = vec![begun.era];
    for lost in [vec![names().table()], vec![names().state()], vec![names().state(), names().table()]] {
        // Found by a check, by a bump of a tag, by one of everything.
        for finder in [None, Some(tags([1])), Some(Targets::everything())] {
            for key in &lost {
                plain.ask::<()>(&[b"DEL", key.as_bytes()]).await;
            }
            let found = match &finder {
                None => subscription.check(Point::default()).await.unwrap().point,
                Some(targets) => lane.bump(targets, Point::default()).await.unwrap().point,
            };
            assert!(!eras.contains(&found.era), "after the loss of {lost:?}, found by {finder:?}");
            eras.push(found.era);
            let state = subscription.check(found).await.unwrap();
            assert_eq!(state.point, found);
            let (copy, ours) = (subscription.table(state, Seq(0)).await.unwrap(), TagTable::new(CELLS));
            ours.merge(&copy);
            assert_eq!(
                ours.unmoved_since(Seq(found.seq.0 - 1), &[TagHash(1)]),
                finder.is_none(),
                "{finder:?} stands in the new one"
            );
            assert_eq!(lane.bump(&tags([1]), Point::default()).await.unwrap().point.era, found.era);
        }
    }
    stand_at(&mut plain, 9_007_199_254_740_992).await;
    assert!(!eras.contains(&lane.bump(&tags([1]), Point::default()).await.unwrap().point.era), "beyond what scripts can count");
}

#[tokio::test]
async fn a_lane_under_foreign_keys_is_refused_before_anything_is_changed() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    let key = names().value("k");
    for foreign in [names().table(), names().state()] {
        plain.set(&key, &value(1, "kept")).await;
        plain.ask::<()>(&[b"DEL", foreign.as_bytes()]).await;
        plain.ask::<()>(&[b"RPUSH", foreign.as_bytes(), b"a queue"]).await;
        let targets = Targets { all: true, ..keys(&["k"]) };
        assert_eq!(lane.bump(&targets, Point::default()).await, Err(Fault::Foreign));
        assert_eq!(lane.seize("k", stamp(2), LEASE, Point::default()).await, Err(Fault::Foreign));
        assert_eq!(plain.get(&key).await, Some(value(1, "kept")));
        plain.ask::<()>(&[b"DEL", foreign.as_bytes()]).await;
    }
    // Also where the lane stands and has no table so far.
    lane.stand(Point::default()).await.unwrap();
    plain.ask::<()>(&[b"RPUSH", names().table().as_bytes(), b"a queue"]).await;
    assert_eq!(lane.bump(&Targets { all: true, ..keys(&["k"]) }, Point::default()).await, Err(Fault::Foreign));
    assert_eq!(plain.get(&key).await, Some(value(1, "kept")));
}

#[tokio::test]
async fn a_seizure_plants_its_ticket_over_anything_and_tells_the_stamp_to_come() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    let mut subscription = lane.subscribe().await.unwrap();
    let key = names().value("k");
    for (number, before) in [(1, None), (2, Some(value(9, "old"))), (3, Some(ticket(9))), (4, Some(b"foreign".to_vec()))] {
        if let Some(bytes) = &before {
            plain.set(&key, bytes).await;
        }
        let Ok(Seized::Planted(point)) = lane.seize("k", stamp(number), LEASE, Point::default()).await else {
            panic!("{before:?}")
        };
        assert_eq!(plain.get(&key).await, Some(ticket(number)));
        assert!((1..=30_000).contains(&plain.life(&key).await));
        let (era, _, seq, told) = parse(&subscription.next().await.unwrap());
        assert_eq!((era, seq), (point.era.0, point.seq.0));
        assert_eq!(told, body(&keys(&["k"]), Some(stamp(number))));
    }
}

#[tokio::test]
async fn a_seizure_under_a_write_guard_bumps_and_plants_nothing() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    let mut subscription = lane.subscribe().await.unwrap();
    plain.set(&names().value("k"), HELD).await;
    let Ok(Seized::Held(point)) = lane.seize("k", stamp(1), LEASE, Point::default()).await else { panic!("the key is held") };
    assert_eq!(plain.get(&names().value("k")).await.as_deref(), Some(HELD));
    assert_eq!(parse(&subscription.next().await.unwrap()).2, point.seq.0);
}

#[tokio::test]
async fn a_full_server_still_bumps_seizes_and_checks() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    plain.set(&names().value("k"), &value(1, "old")).await;
    plain.say::<()>("CONFIG SET maxmemory 1").await;
    let mut subscription = lane.subscribe().await.unwrap();
    let checked = subscription.check(Point::default()).await.unwrap();
    let bumped = lane.bump(&Targets { all: true, ..keys(&["k"]) }, Point::default()).await.unwrap();
    assert_eq!((bumped.held, bumped.point.era), (1, checked.point.era));
    assert_eq!(plain.get(&names().value("k")).await, None);
    assert!(matches!(lane.seize("k", stamp(2), LEASE, Point::default()).await, Ok(Seized::Planted(_))));
}

#[tokio::test]
async fn more_targets_than_one_script_takes_are_bumped_in_parts() {
    let server = Server::start().await;
    let ((_store, lane), mut plain) = (server.open().await, server.plain().await);
    let mut subscription = lane.subscribe().await.unwrap();
    let long = "x".repeat(4_000);
    let names_of_keys: Vec<String> = (0..1_500).map(|i| format!("k{i}")).chain((0..40).map(|i| format!("{long}{i}"))).collect();
    for key in &names_of_keys {
        plain.set(&names().value(key), &value(1, "old")).await;
    }
    let hashes: Vec<TagHash> = (0..2_100).map(TagHash).collect();
    let targets = Targets { keys: names_of_keys, tags: hashes.clone(), prefixes: hashes, all: true, doubt: true, stale: false };
    let bumped = lane.bump(&targets, Point::default()).await.unwrap();
    assert_eq!(bumped.held, 1_540);
    assert_eq!(plain.say::<usize>("DBSIZE").await, 2, "the lane's own two keys are left");
    let (mut previous, mut size, mut parts) = (0, 0, 0);
    while previous != bumped.point.seq.0 {
        let (era, before, seq, told) = parse(&subscription.next().await.unwrap());
        assert_eq!((era, before), (bumped.point.era.0, previous));
        assert!(told.len() < 128 << 10, "a part of {} bytes", told.len());
        (previous, size, parts) = (seq, size + told.len(), parts + 1);
    }
    // One for everything, one for doubt, three for tags, three for prefixes, then 1000 short keys, and the others by their length.
    assert_eq!(parts, 12);
    assert!(size > body(&targets, None).len());
}

#[tokio::test]
async fn lanes_of_one_name_in_two_databases_do_not_hear_each_other() {
    let server = Server::start().await;
    let (_store, lane) = server.open().await;
    let url = format!("{}?db=1", server.url());
    assert_eq!(RedisUrl::parse(&url).unwrap().database(), 1);
    let (store, other) = open_with(&url, super::server::SETTINGS);
    store.ready(super::server::PATIENCE).await.unwrap();
    let (mut here, mut there) = (lane.subscribe().await.unwrap(), other.subscribe().await.unwrap());
    let told = other.bump(&keys(&["k"]), Point::default()).await.unwrap().point;
    assert_eq!(parse(&there.next().await.unwrap()).2, told.seq.0);
    here.check(Point::default()).await.unwrap();
    assert_eq!(here.ready(), None);
}
