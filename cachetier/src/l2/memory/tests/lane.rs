//! The lane: seqs, eras, the table, and what every subscriber gets in which order.

use super::*;
use crate::error::Fault;
use crate::key::TagHash;
use crate::l2::lane::{Bumped, Seized};
use crate::rule::hold::{Hold, Record};
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
    let bumped = now(lane(&tier).bump(&keys(&["k0", "k1", "k2", "k3", "absent", "k0"]), Seq(0))).expect("bumped");
    assert_eq!(bumped.held, 2, "a value and a ticket: foreign bytes go, and are nothing that was held");
    assert_eq!(tier.len(), 2);
    assert!(tier.evict("ct:shop:v:k3") && tier.evict("ct:other:v:k0"));
}

#[test]
fn a_bump_does_not_count_what_has_expired() {
    let (tier, hand) = tier();
    tier.put_for("ct:shop:v:k", &value(A, "v"), LIFE);
    hand.advance(LIFE);
    assert_eq!(now(lane(&tier).bump(&keys(&["k"]), Seq(0))).expect("bumped").held, 0);
}

#[test]
fn a_seq_is_above_the_last_one_above_the_floor_and_not_behind_the_clock() {
    let (tier, hand) = tier();
    let lane = lane(&tier);
    let seq = |floor| now(lane.bump(&keys(&["k"]), Seq(floor))).expect("bumped").token.seq.0;
    assert_eq!(seq(0), NOW_MICROS);
    assert_eq!(seq(0), NOW_MICROS + 1);
    assert_eq!(seq(NOW_MICROS + 50), NOW_MICROS + 51);
    assert_eq!(seq(NOW_MICROS + 50), NOW_MICROS + 52);
    hand.advance(Duration::from_millis(1));
    assert_eq!(seq(0), NOW_MICROS + 1_000);
}

#[test]
fn every_subscriber_gets_every_message_in_order_linked_to_the_one_before() {
    let (tier, _) = tier();
    let (one, two) = (lane(&tier), lane(&tier));
    let mut readers = [subscribe(&one), subscribe(&two)];
    let first = now(one.bump(&keys(&["a"]), Seq(0))).expect("bumped").token;
    let second = now(two.bump(&keys(&["b"]), Seq(0))).expect("bumped").token;
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
    now(lane.bump(&targets, Seq(0))).expect("bumped");
    assert_eq!(reader.ready().expect("a message")[23..], crate::wire::message::body(&targets, None));
    now(lane.seize("a", B, LEASE, Seq(0))).expect("seized");
    assert_eq!(reader.ready().expect("a message")[23..], crate::wire::message::body(&keys(&["a"]), Some(B)));
}

#[test]
fn a_subscriber_gets_nothing_from_before_and_a_dropped_one_nothing_more() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    now(lane.bump(&keys(&["k"]), Seq(0))).expect("bumped");
    let mut reader = subscribe(&lane);
    drop(subscribe(&lane));
    assert_eq!(reader.ready(), None);
    let token = now(lane.bump(&keys(&["k"]), Seq(0))).expect("bumped").token;
    assert_eq!(points(&reader.ready().expect("a message")), token);
}

#[test]
fn two_namespaces_do_not_see_each_other() {
    let (tier, _) = tier();
    let (shop, bank) = (tier.lane(names("shop"), None), tier.lane(names("bank"), None));
    let mut reader = subscribe(&bank);
    tier.put("ct:bank:v:k", &value(A, "v"));
    let targets = Targets { all: true, ..keys(&["k"]) };
    let bumped = now(shop.bump(&targets, Seq(NOW_MICROS + 500))).expect("bumped");
    assert_eq!(bumped.held, 0);
    assert_eq!(reader.ready(), None);
    let state = now(reader.check()).expect("checked");
    assert_ne!(state.token.era, bumped.token.era);
    assert_eq!(state.token.seq, Seq(NOW_MICROS));
    assert_eq!(now(reader.table()), Ok(Vec::new()));
}

#[test]
fn the_table_has_the_last_seq_of_every_cell_up_to_the_last_one_written() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    assert_eq!(now(reader.table()), Ok(Vec::new()));
    let (tag, prefix) = (TagHash::of("shop", "a"), TagHash::of_prefix("shop", "a:"));
    let mut cells = vec![0_u64; usize::try_from(CELLS).expect("small") + 1];
    let mut expect = |hash: Option<TagHash>, seq: Seq| {
        let at: Vec<u32> = hash.map_or(vec![CELLS], |hash| hash.cells(CELLS).collect());
        for cell in at {
            cells[usize::try_from(cell).expect("small")] = seq.0;
        }
        let end = cells.iter().rposition(|seq| *seq > 0).map_or(0, |last| last + 1);
        cells[..end].iter().flat_map(|seq| seq.to_be_bytes()).collect::<Vec<u8>>()
    };
    for (targets, hash) in [
        (Targets { tags: vec![tag], ..Targets::default() }, Some(tag)),
        (Targets { prefixes: vec![prefix], ..Targets::default() }, Some(prefix)),
        (Targets { all: true, ..Targets::default() }, None),
    ] {
        let Bumped { token, .. } = now(lane.bump(&targets, Seq(0))).expect("bumped");
        assert_eq!(now(reader.table()), Ok(expect(hash, token.seq)));
    }
    assert_eq!(now(reader.table()).expect("a table").len(), 8 * 65);
}

#[test]
fn seizing_drops_what_is_there_and_plants_the_ticket() {
    let (tier, hand) = tier();
    let (lane, store) = (lane(&tier), tier.store(None));
    tier.put("ct:shop:v:k", &value(A, "old"));
    let Ok(Seized::Planted(token)) = now(lane.seize("k", B, LEASE, Seq(NOW_MICROS + 9))) else { panic!("not planted") };
    assert_eq!(token.seq, Seq(NOW_MICROS + 10));
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
    let Ok(Seized::Held(token)) = now(lane.seize("k", B, LEASE, Seq(0))) else { panic!("not held") };
    assert_eq!(points(&reader.ready().expect("a message")), token);
    let touched = hold::write(&Hold { touched: true, ..hold });
    assert_eq!(now(tier.store(None).read("ct:shop:v:k")), Ok(Some(touched)));
}

#[test]
fn seizing_for_no_time_is_refused_and_bumps_nothing() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    tier.put("ct:shop:v:k", &value(A, "old"));
    assert!(matches!(now(lane.seize("k", B, Duration::ZERO, Seq(0))), Err(Fault::Refused(_))));
    assert_eq!(reader.ready(), None);
    assert!(tier.holds_value("ct:shop:v:k"));
}

#[test]
fn a_check_tells_where_the_lane_stands_and_the_time() {
    let (tier, hand) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    let begun = now(reader.check()).expect("checked");
    assert_ne!(begun.token.era, Era(0));
    assert_eq!((begun.token.seq, begun.server_millis), (Seq(NOW_MICROS), NOW_MICROS / 1_000));
    hand.advance(Duration::from_secs(1));
    let again = now(reader.check()).expect("checked");
    assert_eq!(again.token, begun.token, "a check moves no seq");
    assert_eq!(again.server_millis, begun.server_millis + 1_000);
    let bumped = now(lane.bump(&keys(&["k"]), Seq(0))).expect("bumped").token;
    assert_eq!(bumped.era, begun.token.era);
    assert_eq!(now(reader.check()).expect("checked").token, bumped);
    assert_eq!(head(&reader.ready().expect("it has arrived")).1, begun.token.seq);
}

#[test]
fn a_flush_takes_keys_table_and_era_and_tells_nobody() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    let before = now(lane.bump(&Targets { all: true, ..Targets::default() }, Seq(NOW_MICROS + 5_000_000))).expect("bumped").token;
    assert!(reader.ready().is_some());
    tier.put("ct:shop:v:k", b"v");
    tier.flush_all();
    assert!(tier.is_empty());
    assert_eq!(reader.ready(), None);
    assert_eq!(now(reader.table()), Ok(Vec::new()));
    let after = now(lane.bump(&keys(&["k"]), Seq(0))).expect("bumped").token;
    assert_ne!(after.era, before.era);
    assert_eq!(after.seq, Seq(NOW_MICROS), "seqs of two eras have nothing to do with each other");
    assert_eq!(head(&reader.ready().expect("the subscription has stayed")), (after.era, Seq(0), after.seq));
}

#[test]
fn a_broken_subscription_gives_what_was_sent_before_and_then_only_errors() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    let mut reader = subscribe(&lane);
    let token = now(lane.bump(&keys(&["k"]), Seq(0))).expect("bumped").token;
    tier.break_subscriptions();
    now(lane.bump(&keys(&["k"]), Seq(0))).expect("bumped");
    assert!(now(reader.check()).is_err());
    assert_eq!(points(&now(reader.next()).expect("sent before the end")), token);
    assert_eq!(reader.ready(), None);
    assert!(now(reader.next()).is_err() && now(reader.table()).is_err());
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
