//! Holds of write guards in the tier: planted, released, traded, and what everything else does to them.

use super::*;
use crate::l2::Filled;
use crate::l2::lane::{Planted, Released, Seized};

const NAME: &str = "ct:shop:v:k";
const LIMIT: Duration = Duration::from_secs(30);

/// Something that others do to a key.
type Disturbance = fn(&InProcess, &Arc<dyn Lane>);

fn named(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

/// Plants the hold of a guard in `k`.
#[track_caller]
fn hold(lane: &Arc<dyn Lane>, guard: Stamp) -> Point {
    match now(lane.hold(&named(&["k"]), guard, LIMIT, Point::default())) {
        Ok(Planted::Yes(point)) => point,
        other => panic!("not planted: {other:?}"),
    }
}

/// Releases it, after a lag. Returns in how many keys it still stood.
#[track_caller]
fn release(lane: &Arc<dyn Lane>, guard: Stamp, lag: Duration) -> u64 {
    now(lane.release(&named(&["k"]), guard, lag, Point::default())).expect("released").stood
}

#[test]
fn a_hold_takes_the_place_of_anything_and_ends_with_its_limit() {
    let (tier, hand) = tier();
    let (lane, mut reader) = (lane(&tier), subscribe(&lane(&tier)));
    for bytes in [value(C, "old"), ticket(C), b"text".to_vec()] {
        tier.put(NAME, &bytes);
        let point = hold(&lane, A);
        assert_eq!(points(&reader.ready().expect("a message")), point);
        assert!(!tier.holds_value(NAME) && !tier.holds_ticket(NAME));
        assert_eq!(now(tier.store(None).fill(NAME, C, &value(C, "old"), LIFE)), Ok(Filled::Refused));
        hand.advance(LIMIT);
        assert!(tier.is_empty());
    }
}

#[test]
fn a_release_empties_a_key_when_no_guard_is_left_and_bumps_it_each_time() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    hold(&lane, A);
    hold(&lane, B);
    let mut reader = subscribe(&lane);
    assert_eq!(release(&lane, A, Duration::ZERO), 1);
    assert_eq!(tier.len(), 1, "the other guard still holds it");
    assert_eq!(release(&lane, B, Duration::ZERO), 1);
    assert!(tier.is_empty());
    assert!(reader.ready().is_some() && reader.ready().is_some());
}

#[test]
fn a_release_of_a_lost_hold_drops_what_has_come_in_its_place() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    for bytes in [value(C, "old"), ticket(C)] {
        tier.put(NAME, &bytes);
        assert_eq!(release(&lane, A, Duration::ZERO), 0);
        assert!(tier.is_empty());
        // With a lag it is held anew.
        tier.put(NAME, &bytes);
        assert_eq!(release(&lane, A, LIMIT), 0);
        assert!(!tier.holds_value(NAME) && !tier.holds_ticket(NAME) && !tier.is_empty());
        tier.evict(NAME);
    }
}

#[test]
fn a_lag_holds_the_key_for_so_long_after_the_release() {
    let (tier, hand) = tier();
    let lane = lane(&tier);
    hold(&lane, A);
    assert_eq!(release(&lane, A, Duration::from_secs(5)), 1);
    hand.advance(Duration::from_millis(4_999));
    assert_eq!(tier.len(), 1);
    hand.advance(Duration::from_millis(1));
    assert!(tier.is_empty());
}

#[test]
fn only_a_guard_that_was_alone_all_the_time_trades_its_hold_for_a_ticket() {
    let disturb: [Disturbance; 6] = [
        |_, lane| drop(now(lane.bump(&keys(&["k"]), Point::default()))),
        |_, lane| drop(now(lane.seize("k", C, LEASE, Point::default()))),
        |_, lane| {
            hold(lane, B);
        },
        |_, lane| {
            hold(lane, B);
            release(lane, B, Duration::ZERO);
        },
        |_, lane| {
            release(lane, B, Duration::ZERO);
        },
        |tier, _| {
            tier.evict(NAME);
        },
    ];
    let (tier, _) = tier();
    let lane = lane(&tier);
    let trade = || now(lane.trade("k", A, C, LEASE, Point::default())).expect("answered");
    hold(&lane, A);
    assert!(matches!(trade(), Seized::Planted(_)));
    assert!(tier.holds_ticket(NAME));
    for (nth, disturb) in disturb.into_iter().enumerate() {
        hold(&lane, A);
        disturb(&tier, &lane);
        assert!(matches!(trade(), Seized::Held(_)), "disturbance {nth}");
        assert!(!tier.holds_ticket(NAME), "disturbance {nth}");
        // It was released in its place.
        assert_eq!(release(&lane, A, Duration::ZERO), 0, "disturbance {nth}");
        tier.evict(NAME);
    }
}

#[test]
fn where_one_key_has_no_room_for_a_guard_none_is_held() {
    let (tier, hand) = tier();
    let lane = lane(&tier);
    for name in 100..164 {
        hold(&lane, Stamp([name; 16]));
    }
    let mut reader = subscribe(&lane);
    let both = named(&["free", "k"]);
    assert_eq!(now(lane.hold(&both, C, LIMIT, Point::default())), Ok(Planted::Crowded));
    assert_eq!((tier.len(), reader.ready()), (1, None), "nothing was done");
    hand.advance(LIMIT);
    assert!(matches!(now(lane.hold(&both, C, LIMIT, Point::default())), Ok(Planted::Yes(_))));
    assert!(matches!(now(lane.release(&both, C, Duration::ZERO, Point::default())), Ok(Released { stood: 2, .. })));
}

#[test]
fn what_guards_do_can_be_lost_and_arrive_late() {
    let (tier, _) = tier();
    let lane = lane(&tier);
    script(&tier, CallKind::Hold, [Plan::late()]);
    assert!(now(lane.hold(&named(&["k"]), A, LIMIT, Point::default())).is_err());
    assert!(tier.is_empty());
    assert_eq!(tier.land_all(), 1);
    assert_eq!(tier.len(), 1);
    script(&tier, CallKind::Release, [Plan::lost_reply()]);
    assert!(now(lane.release(&named(&["k"]), A, Duration::ZERO, Point::default())).is_err());
    assert!(tier.is_empty());
}
