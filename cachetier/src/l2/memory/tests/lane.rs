//! The lane: seqs, eras, the table, and what every subscriber gets in which order.

use super::*;
use crate::error::Fault;
use crate::key::TagHash;
use crate::l2::lane::{Bumped, LaneNames, Seized};
use crate::rule::hold::{Hold, Record};
use crate::rule::table::{TableCopy, TagTable};
use crate::wire::hold;

const NOW_MICROS: u64 = 1_000_000_000;

#[test]
fn a_bump_drops_values_tickets_and_foreign_bytes_but_no_hold() {
    let (tier, _) = tier();
    let held = [value(A, "v"), ticket(A), b"text".to_vec(), slot::prefix(slot::HOLD, A).to_vec()];
    for (i, bytes) in held.iter().enumerate() {
        tier.put(&format!("ct:shop:v:k{i}"), bytes);
    }
    tier.put("ct:other:v:k0", b"of another namespace");
    let bumped = now(lane(&tier).bump(&keys(&["k0", "k1", "k2", "k3", "absent", "k0"]), Point::default())).expect("bumped");
    assert_eq!(bumped.held, 3, "a value, a ticket and foreign bytes");
    assert_eq!(tier.len(), 2);
    assert!(tier.evict("ct:shop:v:k3") && tier.evict("ct:other:v:k0"));
}

#[test]
fn a_bump_does_not_count_what_has_expired() {
    let (tier, hand) = tier();
    tier.put_for("ct:shop:v:k", &value(A, "v"), LIFE);
    hand.advance(LIFE);
    assert_eq!(now(lane(&tier).bump(&keys(&["k"]), Point::default())).expect("bumped").held, 0);
}

#[test]
fn an_era_counts_up_from_the_clock_at_its_begin() {
    let (tier, hand) = tier();
    let lane = lane(&tier);
    let bump = |floor| now(lane.bump(&keys(&["k"]), floor)).expect("bumped").point;
    let told = bump(Point::default());
    assert_eq!(told.seq.0, NOW_MICROS);
    assert_eq!(bump(told).seq.0, NOW_MICROS + 1);
    hand.advance(Duration::from_millis(1));
    assert_eq!(bump(told).seq.0, NOW_MICROS + 2);
    // A lane that has forgotten what it told begins another era, above that.
    let beyond = Point { seq: Seq(NOW_MICROS + 5_000), ..told };
    let anew = bump(beyond);
    assert_ne!(anew.era, told.era);
    assert_eq!(anew.seq.0, NOW_MICROS + 5_001);
    assert_eq!(bump(beyond).era, anew.era, "what was told in another era says nothing of this one");
}

#[test]
fn every_subscriber_gets_every_message_in_order_linked_to_the_one_before() {
    let (tier, _) = tier();
    let (one, two) = (lane(&tier), lane(&tier));
    let mut readers = [subscribe(&one), subscribe(&two)];
    let first = now(one.bump(&keys(&["a"]), Point::default())).expect("bumped").point;
    let second = now(two.bump(&keys(&["b"]), Point::default())).expect("bumped").point;
    for reader in &mut readers {
        assert_eq!(head(&now(reader.next()).expect("a message")), (first.era, Seq(0), first.seq));
        assert_eq!(head(&reader.ready().expect("a message")), (first.era, first.seq, second.seq));
        assert_eq!(reader.ready(), None);
        assert!(poll(pin!(reader.next())).is_pending());
    }
}

#[test]
fn a_message_says_what_was_bumped() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    let targets = Targets { tags: vec![TagHash(5)], prefixes: vec![TagHash(6)], ..keys(&["a"]) };
    now(lane.bump(&targets, Point::default())).expect("bumped");
    assert_eq!(reader.ready().expect("a message")[23..], crate::wire::message::body(&targets, None));
    now(lane.seize("a", B, LEASE, Point::default())).expect("seized");
    assert_eq!(reader.ready().expect("a message")[23..], crate::wire::message::body(&keys(&["a"]), Some(B)));
}

#[test]
fn a_subscriber_gets_nothing_from_before_and_a_dropped_one_nothing_more() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    now(lane.bump(&keys(&["k"]), Point::default())).expect("bumped");
    let mut reader = subscribe(&lane);
    drop(subscribe(&lane));
    assert_eq!(reader.ready(), None);
    let point = now(lane.bump(&keys(&["k"]), Point::default())).expect("bumped").point;
    assert_eq!(points(&reader.ready().expect("a message")), point);
}

#[test]
fn two_namespaces_do_not_see_each_other() {
    let (tier, _) = tier();
    let (shop, bank) = (tier.lane(names("shop"), None), tier.lane(names("bank"), None));
    let mut reader = subscribe(&bank);
    tier.put("ct:bank:v:k", &value(A, "v"));
    let targets = Targets { all: true, ..keys(&["k"]) };
    let bumped = now(shop.bump(&targets, Point { era: Era(7), seq: Seq(NOW_MICROS + 500) })).expect("bumped");
    assert_eq!(bumped.held, 0);
    assert_eq!(reader.ready(), None);
    let state = now(reader.check(Point::default())).expect("checked");
    assert_ne!(state.point.era, bumped.point.era);
    assert_eq!(state.point.seq, Seq(NOW_MICROS));
    assert_eq!(now(reader.table(state, Seq(0))).expect("a table").pages, []);
}

#[test]
fn the_table_has_the_last_seq_of_every_cell_in_the_parts_that_have_moved() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    let state = now(reader.check(Point::default())).expect("checked");
    assert_eq!(now(reader.table(state, Seq(0))), Ok(TableCopy { cells: CELLS, ..TableCopy::default() }));
    let (tag, prefix) = (TagHash::of("shop", "a"), TagHash::of_prefix("shop", "a:"));
    let ours = TagTable::new(CELLS);
    let mut before = Seq(0);
    for (targets, hash) in [
        (Targets { tags: vec![tag], ..Targets::default() }, Some(tag)),
        (Targets { prefixes: vec![prefix], ..Targets::default() }, Some(prefix)),
        (Targets { all: true, ..Targets::default() }, None),
    ] {
        let Bumped { point, .. } = now(lane.bump(&targets, Point::default())).expect("bumped");
        ours.merge(&now(reader.table(state, before)).expect("a table"));
        assert!(!ours.unmoved_since(before, hash.as_slice()) && ours.unmoved_since(point.seq, hash.as_slice()));
        assert_eq!(now(reader.table(state, point.seq)).expect("a table").pages, [], "nothing has moved since");
        before = point.seq;
    }
}

#[test]
fn the_table_grows_with_the_largest_that_is_asked_for_and_forgets_nothing() {
    let (tier, _) = tier();
    let sized = |cells| tier.lane(LaneNames { cells, ..names("shop") }, None);
    let small = sized(CELLS);
    let tag = TagHash::of("shop", "a");
    let point = now(small.bump(&Targets { tags: vec![tag], ..Targets::default() }, Point::default())).expect("bumped").point;
    for (cells, expected) in [(CELLS * 8, CELLS * 8), (CELLS, CELLS * 8)] {
        let mut reader = subscribe(&sized(cells));
        let state = now(reader.check(Point::default())).expect("checked");
        assert_eq!((state.point, state.cells), (point, expected));
        let ours = TagTable::new(cells);
        ours.merge(&now(reader.table(state, Seq(0))).expect("a table"));
        assert!(!ours.unmoved_since(Seq(point.seq.0 - 1), &[tag]) && ours.unmoved_since(point.seq, &[tag]));
    }
}

#[test]
fn seizing_drops_what_is_there_and_plants_the_ticket() {
    let (tier, hand) = tier();
    let (lane, store) = (lane(&tier), tier.store(None));
    tier.put("ct:shop:v:k", &value(A, "old"));
    let Ok(Seized::Planted(point)) = now(lane.seize("k", B, LEASE, Point { era: Era(7), seq: Seq(NOW_MICROS + 9) })) else {
        panic!("not planted")
    };
    assert_eq!(point.seq, Seq(NOW_MICROS + 10));
    assert_eq!(now(store.read("ct:shop:v:k")), Ok(Some(ticket(B))));
    hand.advance(LEASE);
    assert!(tier.is_empty());
}

#[test]
fn seizing_a_held_key_bumps_it_and_marks_the_hold() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    let hold = Hold { touched: false, records: vec![Record::new(A, 9_000_000)] };
    tier.put("ct:shop:v:k", &hold::write(&hold));
    let Ok(Seized::Held(point)) = now(lane.seize("k", B, LEASE, Point::default())) else { panic!("not held") };
    assert_eq!(points(&reader.ready().expect("a message")), point);
    let touched = hold::write(&Hold { touched: true, ..hold });
    assert_eq!(now(tier.store(None).read("ct:shop:v:k")), Ok(Some(touched)));
}

#[test]
fn seizing_for_no_time_is_refused_and_bumps_nothing() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    tier.put("ct:shop:v:k", &value(A, "old"));
    assert!(matches!(now(lane.seize("k", B, Duration::ZERO, Point::default())), Err(Fault::Refused(_))));
    assert_eq!(reader.ready(), None);
    assert!(tier.holds_value("ct:shop:v:k"));
}

#[test]
fn a_check_tells_where_the_lane_stands_and_the_time() {
    let (tier, hand) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    let begun = now(reader.check(Point::default())).expect("checked");
    assert_ne!(begun.point.era, Era(0));
    assert_eq!((begun.point.seq, begun.server_millis), (Seq(NOW_MICROS), NOW_MICROS / 1_000));
    hand.advance(Duration::from_secs(1));
    let again = now(reader.check(Point::default())).expect("checked");
    assert_eq!(again.point, begun.point, "a check moves no seq");
    assert_eq!(again.server_millis, begun.server_millis + 1_000);
    let bumped = now(lane.bump(&keys(&["k"]), Point::default())).expect("bumped").point;
    assert_eq!(bumped.era, begun.point.era);
    assert_eq!(now(reader.check(Point::default())).expect("checked").point, bumped);
    assert_eq!(head(&reader.ready().expect("it has arrived")).1, begun.point.seq);
}

#[test]
fn a_flush_takes_keys_table_and_era_and_tells_nobody() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    let before =
        now(lane.bump(&Targets { all: true, ..Targets::default() }, Point { era: Era(7), seq: Seq(NOW_MICROS + 5_000_000) }))
            .expect("bumped")
            .point;
    assert!(reader.ready().is_some());
    tier.put("ct:shop:v:k", b"v");
    tier.flush_all();
    assert!(tier.is_empty());
    assert_eq!(reader.ready(), None);
    assert_eq!(now(reader.table(STATE, Seq(0))).expect("a table").pages, []);
    let after = now(lane.bump(&keys(&["k"]), Point::default())).expect("bumped").point;
    assert_ne!(after.era, before.era);
    assert_eq!(after.seq, Seq(NOW_MICROS), "seqs of two eras have nothing to do with each other");
    assert_eq!(head(&reader.ready().expect("the subscription has stayed")), (after.era, Seq(0), after.seq));
}

#[test]
fn a_broken_subscription_gives_what_was_sent_before_and_then_only_errors() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    let point = now(lane.bump(&keys(&["k"]), Point::default())).expect("bumped").point;
    tier.break_subscriptions();
    now(lane.bump(&keys(&["k"]), Point::default())).expect("bumped");
    assert!(now(reader.check(Point::default())).is_err());
    assert_eq!(points(&now(reader.next()).expect("sent before the end")), point);
    assert_eq!(reader.ready(), None);
    assert!(now(reader.next()).is_err() && now(reader.table(STATE, Seq(0))).is_err());
    assert_eq!(subscribe(&lane).ready(), None, "the next one is whole");
}

#[test]
fn messages_cannot_be_lost_unseen_unless_a_script_may_lose_them() {
    let (tier, _) = tier();
    let reader = subscribe(&lane(&tier));
    assert_eq!(reader.proves_for(), None);
    tier.script_calls(|_: &Call<'_>| Plan::go());
    assert_eq!(reader.proves_for(), None);
    tier.script(|_: &Call<'_>| Plan::go());
    assert_eq!(reader.proves_for(), Some(Duration::from_secs(2)));
    tier.clear_script();
    assert_eq!(reader.proves_for(), Some(Duration::from_secs(2)), "what was lost before may still be missing");
    tier.prove_for(LIFE);
    assert_eq!(reader.proves_for(), Some(LIFE));
}
