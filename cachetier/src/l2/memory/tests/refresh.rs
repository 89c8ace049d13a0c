//! The lease of a value over the tier in the process.

use super::*;
use crate::l2::{LeaseCall, Leased, refresh_tests};

/// Where a clock in the hand begins.
const NOW: u64 = 1_000_000;

#[test]
fn a_lease_that_the_value_would_not_outlive_is_not_taken() {
    let (_tier, _hand, store) = stored();
    now(refresh_tests::a_lease_that_the_value_would_not_outlive_is_not_taken(&*store, NOW));
}

#[test]
fn a_lease_is_one_holders_until_it_is_over() {
    let (tier, hand, store) = stored();
    now(refresh_tests::a_lease_is_one_holders_until_it_is_over(&*store, NOW));
    tier.put("soon", &refresh_tests::value(5, NOW, "soon"));
    let lease = |who| now(store.lease("soon", refresh_tests::stamp(5), who, LeaseCall::Take(Duration::from_millis(20))));
    assert_eq!([lease(1), lease(2)], [Ok(Leased::Yes), Ok(Leased::Not)]);
    // It lasts a little longer than was asked for.
    hand.advance(Duration::from_millis(255));
    assert_eq!(lease(2), Ok(Leased::Not));
    hand.advance(Duration::from_millis(1));
    assert_eq!(lease(2), Ok(Leased::Yes));
}

#[test]
fn who_refreshes_puts_the_new_value_in_the_place_of_the_old_one_alone() {
    let (_, _, store) = stored();
    now(refresh_tests::who_refreshes_puts_the_new_value_in_the_place_of_the_old_one_alone(&*store, NOW));
}

#[test]
fn a_value_lives_anew_as_it_stands_there() {
    let (_, hand, store) = stored();
    now(refresh_tests::a_value_lives_anew_as_it_stands_there(&*store, NOW));
    hand.advance(Duration::from_secs(3_599));
    assert!(now(store.read("k")).unwrap().is_some());
    hand.advance(Duration::from_secs(1));
    assert_eq!(now(store.read("k")), Ok(None));
}

#[test]
fn what_is_foreign_or_cut_short_is_left_alone() {
    let (tier, _, store) = stored();
    let (put, list) = (async |key: &str, bytes: &[u8]| tier.put(key, bytes), async |key: &str| tier.put_other_type(key));
    now(refresh_tests::what_is_foreign_or_cut_short_is_left_alone(&*store, put, list));
}

const NAME: &str = "ct:shop:v:k";

#[test]
fn what_is_expired_stays_under_another_stamp() {
    let (tier, _, store) = stored();
    now(refresh_tests::what_is_expired_stays_under_another_stamp(&*store, &*lane(&tier), NAME, NOW));
}

#[test]
fn what_is_no_value_goes_when_it_is_expired() {
    let (tier, _, store) = stored();
    let (put, list) = (async |key: &str, bytes: &[u8]| tier.put(key, bytes), async |key: &str| tier.put_other_type(key));
    now(refresh_tests::what_is_no_value_goes_when_it_is_expired(&*store, &*lane(&tier), NAME, put, list));
}
