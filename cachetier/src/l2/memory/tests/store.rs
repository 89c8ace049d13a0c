//! Each call of the store: what it does, what it refuses, when it expires.

use super::*;
use crate::error::Fault;
use crate::l2::{Claimed, Filled};

#[test]
fn a_probe_plants_its_ticket_where_nothing_is() {
    let (tier, _, store) = stored();
    assert_eq!(now(store.probe("k", A, LEASE)), Ok(None));
    assert_eq!(now(store.read("k")), Ok(Some(ticket(A))));
    assert!(tier.holds_ticket("k") && !tier.holds_value("k"));
}

#[test]
fn a_probe_returns_what_is_there_and_leaves_it() {
    let (tier, hand, store) = stored();
    tier.put_for("k", b"bytes", LIFE);
    assert_eq!(now(store.probe("k", A, LEASE)), Ok(Some(b"bytes".to_vec())));
    hand.advance(LEASE);
    assert_eq!(now(store.read("k")), Ok(Some(b"bytes".to_vec())), "the lease of the probe is not the value's life");
}

#[test]
fn a_read_plants_nothing() {
    let (tier, _, store) = stored();
    assert_eq!(now(store.read("k")), Ok(None));
    assert!(tier.is_empty());
}

#[test]
fn a_ticket_is_gone_when_its_lease_is_over() {
    let (tier, hand, store) = stored();
    now(store.probe("k", A, LEASE)).expect("planted");
    hand.advance(Duration::from_millis(2_999));
    assert_eq!(now(store.probe("k", B, LEASE)), Ok(Some(ticket(A))));
    hand.advance(Duration::from_millis(1));
    assert_eq!(tier.len(), 0);
    assert_eq!(now(store.fill("k", A, &value(A, "late"), LIFE)), Ok(Filled::Refused));
    assert_eq!(now(store.probe("k", B, LEASE)), Ok(None));
}

#[test]
fn a_fill_swaps_its_ticket_for_the_value_and_its_life() {
    let (tier, hand, store) = stored();
    now(store.probe("k", A, LEASE)).expect("planted");
    assert_eq!(now(store.fill("k", A, &value(A, "v"), LIFE)), Ok(Filled::Stored));
    assert!(tier.holds_value("k") && !tier.holds_ticket("k"));
    hand.advance(Duration::from_millis(59_999));
    assert_eq!(now(store.read("k")), Ok(Some(value(A, "v"))));
    hand.advance(Duration::from_millis(1));
    assert_eq!(now(store.read("k")), Ok(None));
}

#[test]
fn a_fill_takes_a_ticket_with_waiters_behind_it() {
    let (tier, _, store) = stored();
    tier.put("k", &[ticket(A), vec![7; 32]].concat());
    assert_eq!(now(store.fill("k", A, &value(A, "v"), LIFE)), Ok(Filled::Stored));
}

#[test]
fn a_fill_that_is_repeated_is_stored_once() {
    let (_, hand, store) = stored();
    now(store.probe("k", A, LEASE)).expect("planted");
    now(store.fill("k", A, &value(A, "v"), LIFE)).expect("filled");
    hand.advance(LIFE / 2);
    assert_eq!(now(store.fill("k", A, &value(A, "v"), LIFE)), Ok(Filled::Stored));
    hand.advance(LIFE / 2);
    assert_eq!(now(store.read("k")), Ok(None), "the repetition has not renewed the life");
}

#[track_caller]
fn refuses_a_fill(held: Option<&[u8]>) {
    let (tier, _, store) = stored();
    if let Some(held) = held {
        tier.put("k", held);
    }
    assert_eq!(now(store.fill("k", A, &value(A, "v"), LIFE)), Ok(Filled::Refused));
    assert_eq!(now(store.read("k")), Ok(held.map(<[u8]>::to_vec)), "what was refused has changed nothing");
}

#[test]
fn a_fill_is_refused_wherever_its_ticket_is_not() {
    refuses_a_fill(None);
    refuses_a_fill(Some(&ticket(B)));
    refuses_a_fill(Some(&value(B, "newer")));
    refuses_a_fill(Some(&slot::prefix(slot::HOLD, A)));
    refuses_a_fill(Some(b""));
    refuses_a_fill(Some(b"text of somebody else"));
    refuses_a_fill(Some(&ticket(A)[..16]));
}

#[test]
fn a_claim_swaps_the_value_it_saw_for_a_ticket() {
    let (tier, hand, store) = stored();
    tier.put("k", &value(A, "unusable"));
    assert_eq!(now(store.claim("k", A, B, LEASE)), Ok(Claimed::Yes));
    assert_eq!(now(store.read("k")), Ok(Some(ticket(B))));
    assert_eq!(now(store.claim("k", A, C, LEASE)), Ok(Claimed::No), "one instance claims it, not all");
    hand.advance(LEASE);
    assert!(tier.is_empty());
}

#[test]
fn a_claim_leaves_what_it_has_not_seen() {
    for held in [value(B, "newer"), ticket(A), b"text".to_vec()] {
        let (tier, _, store) = stored();
        tier.put("k", &held);
        assert_eq!(now(store.claim("k", A, C, LEASE)), Ok(Claimed::No));
        assert_eq!(now(store.read("k")), Ok(Some(held)));
    }
    assert_eq!(now(stored().2.claim("k", A, C, LEASE)), Ok(Claimed::No));
}

#[test]
fn an_abandoned_ticket_leaves_the_key_empty() {
    let (tier, _, store) = stored();
    now(store.probe("k", A, LEASE)).expect("planted");
    now(store.abandon("k", A, &[])).expect("abandoned");
    assert!(tier.is_empty());
}

#[test]
fn abandoning_leaves_what_is_not_that_ticket() {
    for held in [ticket(B), value(A, "filled")] {
        let (tier, _, store) = stored();
        tier.put("k", &held);
        assert_eq!(now(store.abandon("k", A, &[])), Ok(()));
        assert_eq!(now(store.read("k")), Ok(Some(held)));
    }
}

#[test]
fn a_key_of_another_type_is_foreign_to_every_call_and_stays() {
    let (tier, _, store) = stored();
    tier.put_other_type("k");
    assert_eq!(now(store.probe("k", A, LEASE)), Err(Fault::Foreign));
    assert_eq!(now(store.read("k")), Err(Fault::Foreign));
    assert_eq!(now(store.fill("k", A, &value(A, "v"), LIFE)), Err(Fault::Foreign));
    assert_eq!(now(store.claim("k", A, B, LEASE)), Err(Fault::Foreign));
    assert_eq!(now(store.abandon("k", A, &[])), Err(Fault::Foreign));
    assert_eq!(tier.len(), 1);
    assert!(!tier.holds_value("k"));
}

#[test]
fn a_life_that_a_server_would_not_take_is_refused() {
    let (tier, _, store) = stored();
    for life in [Duration::ZERO, Duration::from_micros(999), Duration::MAX] {
        assert!(matches!(now(store.probe("k", A, life)), Err(Fault::Refused(_))), "{life:?}");
    }
    assert!(tier.is_empty());
    now(store.probe("k", A, LEASE)).expect("planted");
    assert!(matches!(now(store.fill("k", A, &value(A, "v"), Duration::ZERO)), Err(Fault::Refused(_))));
    assert!(tier.holds_ticket("k"), "what was refused has changed nothing");
}

#[test]
fn an_evicted_key_is_empty_and_its_old_ticket_worthless() {
    let (tier, _, store) = stored();
    now(store.probe("k", A, LEASE)).expect("planted");
    assert!(tier.evict("k"));
    assert_eq!(now(store.fill("k", A, &value(A, "v"), LIFE)), Ok(Filled::Refused));
    assert!(!tier.evict("k"));
}

#[test]
fn all_clones_are_one_tier_and_two_tiers_are_not() {
    let (tier, _, store) = stored();
    now(store.probe("k", A, LEASE)).expect("planted");
    assert_eq!(now(tier.clone().store(None).read("k")), Ok(Some(ticket(A))));
    assert_eq!(now(InProcess::new().store(None).read("k")), Ok(None));
}

#[test]
fn the_system_clock_serves_as_well() {
    let tier = InProcess::default();
    now(tier.store(None).probe("k", A, LEASE)).expect("planted");
    assert_eq!(tier.len(), 1);
}
