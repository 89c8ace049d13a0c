//! Who leads, who joins and who stays apart; and what an invalidation does to flights that are led.

use super::*;

#[test]
fn the_first_to_come_leads_and_the_next_one_gets_the_outcome() {
    let flights = registry();
    let lead = lead(&flights);
    let waiter = wait(&flights);
    assert_eq!((lead.noted(), lead.purpose(), flights.len()), (&1, Purpose::Load, 1));
    assert!(finish(lead, "value"), "an attached flight's value enters");
    assert_eq!((waiter.rings(), flights.len()), (1, 0));
    waiter.must_get("value");
}

#[test]
fn everybody_who_waits_is_woken_once_and_gets_what_was_noted_at_the_begin() {
    let flights = registry();
    let lead = lead(&flights);
    let mut waiters: Vec<Waiter> = (0..5).map(|_| wait(&flights)).collect();
    finish(lead, "value");
    for waiter in &mut waiters {
        let Poll::Ready(Landed::Outcome(outcome, flight)) = waiter.poll() else { panic!("expected the outcome") };
        assert_eq!((*outcome, *flight.noted(), waiter.rings()), ("value", 1, 1));
    }
}

#[test]
fn who_has_joined_and_polls_only_after_the_end_gets_the_outcome() {
    let flights = registry();
    let lead = lead(&flights);
    let waiter = join(&flights);
    finish(lead, "value");
    waiter.must_get("value");
}

#[test]
fn who_comes_after_the_end_leads_a_new_one() {
    let flights = registry();
    finish(lead(&flights), "old");
    assert!(finish(lead(&flights), "new"));
}

#[test]
fn a_waiter_that_is_polled_again_is_woken_through_its_last_waker() {
    let flights = registry();
    let lead = lead(&flights);
    let mut waiter = wait(&flights);
    let before = std::mem::take(&mut waiter.bell);
    waiter.must_wait();
    finish(lead, "value");
    assert_eq!((before.0.load(Ordering::Relaxed), waiter.rings()), (0, 1));
    waiter.must_get("value");
}

#[test]
fn keys_do_not_meet_not_even_in_one_shard() {
    for shards in [0, 1, 4] {
        let flights = Registry::new(shards);
        // The upper half chooses the shard; the lower one alone tells the last two apart.
        let keys = [KeyHash(1 << 64), KeyHash(2 << 64), KeyHash(3), KeyHash(4)];
        let leads: Vec<Entered<_, _, _>> = keys.into_iter().map(|key| flights.enter(key, plan(1))).collect();
        assert!(leads.iter().all(|entered| matches!(entered, Entered::Lead(_))), "{shards} shards");
        assert_eq!(flights.len(), 4);
        drop(leads);
        assert_eq!(flights.len(), 0);
    }
}

#[test]
fn what_cannot_give_the_caller_what_it_wants_is_not_joined() {
    #[track_caller]
    fn check(there: Purpose, coming: Purpose, joins: bool) {
        let flights = registry();
        let _there = flights.enter(KEY, Plan { purpose: there, ..plan(1) });
        let entered = flights.enter(KEY, Plan { purpose: coming, ..plan(2) });
        assert_eq!((matches!(entered, Entered::Join(_)), matches!(entered, Entered::Apart)), (joins, !joins));
        assert_eq!(flights.len(), 1);
    }
    use Purpose::{Load, Read, Write};
    check(Read, Read, true);
    check(Read, Load, true);
    check(Load, Load, true);
    check(Write, Load, true);
    // A read does not wait for a loader.
    check(Load, Read, false);
    check(Write, Read, false);
}

#[test]
fn a_flight_of_another_type_is_not_joined() {
    let flights = registry();
    let there = lead(&flights);
    let other = Plan { kind: TypeId::of::<u8>(), ..plan(2) };
    assert!(matches!(flights.enter(KEY, other), Entered::Apart));
    drop(there);
    assert_eq!(flights.len(), 0, "whoever stayed apart is not waited for");
}

#[test]
fn a_lone_leaders_outcome_is_not_kept() {
    let flights = registry();
    let lead = lead(&flights);
    // One that came and went leaves it alone again.
    drop(wait(&flights));
    let outcome = Arc::new("value");
    lead.finish(Arc::clone(&outcome), || {});
    assert!(Arc::into_inner(outcome).is_some(), "shared with nobody");
}

#[test]
fn an_outcome_is_kept_for_as_long_as_somebody_may_take_it() {
    let flights = registry();
    let lead = lead(&flights);
    let waiter = join(&flights);
    let outcome = Arc::new("value");
    lead.finish(Arc::clone(&outcome), || {});
    assert_eq!(Arc::strong_count(&outcome), 2);
    drop(waiter);
    assert_eq!(Arc::strong_count(&outcome), 1);
}

#[test]
fn an_invalidated_flight_enters_nothing_and_its_waiters_get_its_outcome() {
    let flights = registry();
    let old = lead(&flights);
    let waiter = wait(&flights);
    invalidate(&flights);
    assert_eq!((flights.len(), waiter.rings()), (0, 0), "it goes on");
    assert!(!finish(old, "old"), "its value is older than the invalidation");
    assert_eq!(waiter.rings(), 1);
    waiter.must_get("old");
}

#[test]
fn who_comes_after_an_invalidation_leads_a_new_flight_which_the_old_one_leaves_alone() {
    let flights = registry();
    let old = lead(&flights);
    invalidate(&flights);
    let new = lead(&flights);
    let waiter = wait(&flights);
    assert!(!finish(old, "old"));
    assert_eq!((flights.len(), waiter.rings()), (1, 0));
    assert!(finish(new, "new"));
    waiter.must_get("new");
}

#[test]
fn the_old_flights_leader_and_waiters_leave_without_touching_the_new_one() {
    let flights = registry();
    let (old, waiting) = (lead(&flights), wait(&flights));
    invalidate(&flights);
    let new = lead(&flights);
    drop(old);
    drop(waiting);
    assert_eq!(flights.len(), 1);
    assert!(finish(new, "new"));
}

#[test]
fn an_invalidation_runs_its_step_also_without_a_flight_and_also_if_it_spares_one() {
    let flights = registry();
    let mut steps = 0;
    flights.invalidate(KEY, |_| panic!("there is nothing to spare"), || steps += 1);
    let led = lead(&flights);
    flights.invalidate(KEY, |noted| *noted == 1, || steps += 1);
    assert_eq!((steps, flights.len()), (2, 1));
    assert!(finish(led, "value"), "what was spared is still attached");
}

#[test]
fn detaching_by_what_was_noted_leaves_the_others_in_every_shard() {
    let flights = registry();
    let keys = (0..16_u32).map(|i| (KeyHash(u128::from(i) << 64), i));
    let leads: Vec<_> = keys.map(|(key, noted)| flights.enter(key, plan(noted))).collect();
    flights.detach(|noted| noted % 2 == 0);
    assert_eq!(flights.len(), 8);
    for (number, entered) in leads.into_iter().enumerate() {
        let Entered::Lead(lead) = entered else { panic!("expected to lead") };
        assert_eq!(finish(lead, "value"), number % 2 == 1, "flight {number}");
    }
}

#[test]
fn a_flight_that_supersedes_another_is_the_one_that_is_joined() {
    let flights = registry();
    let old = lead(&flights);
    let waits_for_old = wait(&flights);
    let mut steps = 0;
    let new = flights.supersede(KEY, Plan { purpose: Purpose::Write, ..plan(9) }, || steps += 1);
    assert_eq!((steps, flights.len(), new.noted()), (1, 1, &9));
    let waits_for_new = wait(&flights);
    assert!(!finish(old, "old"));
    assert!(finish(new, "new"));
    waits_for_old.must_get("old");
    waits_for_new.must_get("new");
}

#[test]
fn a_flight_can_supersede_nothing() {
    let flights = registry();
    assert!(finish(flights.supersede(KEY, plan(1), || {}), "value"));
    assert_eq!(flights.len(), 0);
}
