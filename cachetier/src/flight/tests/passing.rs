//! How the lead passes on when a leader is gone, and what an invalidation does to a flight that nobody leads.

use super::*;

#[test]
fn when_the_leader_is_dropped_one_waiter_leads_and_the_others_wait_on() {
    let flights = registry();
    let gone = lead(&flights);
    let (first, mut second, mut third) = (wait(&flights), wait(&flights), wait(&flights));
    drop(gone);
    assert_eq!([first.rings(), second.rings(), third.rings()], [1, 0, 0], "the one that came first");
    let heir = first.must_lead();
    second.must_wait();
    third.must_wait();
    assert!(finish(heir, "value"), "it is still attached");
    assert_eq!([second.rings(), third.rings()], [1, 1]);
    second.must_get("value");
    third.must_get("value");
}

#[test]
fn each_new_leader_is_counted_and_one_that_is_not_polled_is_none() {
    let flights = registry();
    let gone = lead(&flights);
    let (first, second, third) = (wait(&flights), wait(&flights), wait(&flights));
    assert_eq!(third.join.signs(), 1);
    drop(gone);
    assert_eq!(third.join.signs(), 1, "nobody has taken over yet");
    drop(first.must_lead());
    assert_eq!(third.join.signs(), 2);
    let heir = second.must_lead();
    assert_eq!(third.join.signs(), 3);
    finish(heir, "value");
    assert_eq!(third.join.signs(), 3);
}

#[test]
fn whoever_polls_first_leads_and_the_one_that_was_woken_in_vain_waits_on() {
    let flights = registry();
    let gone = lead(&flights);
    let (mut woken, quick) = (wait(&flights), wait(&flights));
    drop(gone);
    let heir = quick.must_lead();
    woken.must_wait();
    finish(heir, "value");
    assert_eq!(woken.rings(), 2);
    woken.must_get("value");
}

#[test]
fn who_only_looks_takes_what_there_is_and_no_turn_from_those_who_wait() {
    let flights = registry();
    let gone = lead(&flights);
    let (busy, waits) = (join(&flights), wait(&flights));
    assert!(busy.join.look().is_none(), "somebody leads");
    drop(gone);
    assert_eq!((busy.rings(), waits.rings()), (0, 1), "the one that waits is woken");
    let heir = waits.must_lead();
    assert!(busy.join.look().is_none());
    drop(heir);
    // Nobody waits: it stands there until somebody looks.
    let Some(Landed::Lead(heir)) = busy.join.look() else { panic!("expected to lead") };
    let other = join(&flights);
    finish(heir, "value");
    let Some(Landed::Outcome(outcome, _)) = other.join.look() else { panic!("expected an outcome") };
    assert_eq!(*outcome, "value");

    let gone = lead(&flights);
    let late = join(&flights);
    invalidate(&flights);
    drop(gone);
    assert!(matches!(late.join.look(), Some(Landed::Anew)));
}

#[test]
fn a_newcomer_takes_a_lead_that_nobody_has_taken_up_yet() {
    let flights = registry();
    let gone = lead(&flights);
    let mut woken = wait(&flights);
    drop(gone);
    let newcomer = join(&flights).must_lead();
    woken.must_wait();
    drop(newcomer);
    assert_eq!(woken.rings(), 2);
    assert_eq!(woken.must_lead().noted(), &1, "what was noted at the very begin");
}

#[test]
fn a_waiter_that_was_woken_to_lead_and_is_dropped_before_it_polls_wakes_the_next() {
    let flights = registry();
    let gone = lead(&flights);
    let (first, second, third) = (wait(&flights), wait(&flights), wait(&flights));
    drop(gone);
    drop(first);
    assert_eq!([second.rings(), third.rings()], [1, 0]);
    drop(second);
    assert_eq!(third.rings(), 1);
    assert!(finish(third.must_lead(), "value"));
}

#[test]
fn a_waiter_that_is_dropped_while_the_flight_is_led_wakes_nobody() {
    let flights = registry();
    let lead = lead(&flights);
    let (first, second) = (wait(&flights), wait(&flights));
    drop(first);
    assert_eq!(second.rings(), 0);
    finish(lead, "value");
    second.must_get("value");
}

#[test]
fn a_dropped_leader_wakes_somebody_who_still_waits() {
    let flights = registry();
    let gone = lead(&flights);
    let (first, second) = (wait(&flights), wait(&flights));
    let bell = Arc::clone(&first.bell);
    drop(first);
    drop(gone);
    assert_eq!((bell.0.load(Ordering::Relaxed), second.rings()), (0, 1), "the first has left no trace");
    drop(second.must_lead());
    assert_eq!(flights.len(), 0);
}

#[test]
fn a_waiter_that_has_never_been_polled_keeps_the_flight_and_leads_it() {
    let flights = registry();
    let gone = lead(&flights);
    let waiter = join(&flights);
    drop(gone);
    assert_eq!(flights.len(), 1);
    assert!(finish(waiter.must_lead(), "value"));
}

#[test]
fn the_last_to_leave_removes_the_flight() {
    #[track_caller]
    fn check(leave: impl FnOnce(Leading, Waiter, Waiter)) {
        let flights = registry();
        let lead = lead(&flights);
        leave(lead, wait(&flights), join(&flights));
        assert_eq!(flights.len(), 0);
        assert!(matches!(flights.enter(KEY, plan(1)), Entered::Lead(_)));
    }
    check(|lead, polled, unpolled| drop((lead, polled, unpolled)));
    check(|lead, polled, unpolled| drop((polled, lead, unpolled)));
    check(|lead, polled, unpolled| drop((unpolled, polled, lead)));
    check(|lead, polled, unpolled| {
        drop(lead);
        drop((polled.must_lead(), unpolled));
    });
}

#[test]
fn a_lead_that_is_dropped_before_the_wait_it_came_from_passes_on() {
    let flights = registry();
    let gone = lead(&flights);
    let (mut first, second) = (wait(&flights), wait(&flights));
    drop(gone);
    let Poll::Ready(Landed::Lead(heir)) = first.poll() else { panic!("expected to lead") };
    drop(heir);
    drop(first);
    assert_eq!(second.rings(), 1);
    drop(second.must_lead());
    assert_eq!(flights.len(), 0);
}

#[test]
fn what_was_stowed_is_there_for_the_next_leader_once() {
    let (flights, dropped) = (registry(), Arc::default());
    let gone = lead(&flights);
    let waiter = wait(&flights);
    assert!(gone.unstow().is_none());
    gone.stow(Baggage::counted(&dropped));
    drop(gone);
    assert_eq!(dropped.load(Ordering::Relaxed), 0);
    let heir = waiter.must_lead();
    let taken = heir.unstow();
    assert!(taken.is_some() && heir.unstow().is_none());
    drop(heir);
    assert_eq!(dropped.load(Ordering::Relaxed), 0, "what was taken is the taker's");
}

#[test]
fn what_nobody_takes_over_is_dropped_in_time() {
    #[track_caller]
    fn check(why: &str, then: impl FnOnce(&Registry, Leading)) {
        let (flights, dropped) = (registry(), Arc::default());
        let lead = lead(&flights);
        lead.stow(Baggage::counted(&dropped));
        then(&flights, lead);
        assert_eq!(dropped.load(Ordering::Relaxed), 1, "{why}");
    }
    check("the leader left alone", |_, lead| drop(lead));
    check("the flight ended", |_, lead| lead.finish(Arc::default(), || {}));
    check("it was replaced", |_, lead| {
        let again = Arc::default();
        lead.stow(Baggage::counted(&again));
        assert!(lead.unstow().is_some());
    });
    check("the last waiter left", |flights, lead| {
        let waiter = wait(flights);
        drop(lead);
        drop(waiter);
    });
    // In these two the waiters are still there, and would begin anew beside a ticket that nobody is going to spend.
    check("the flight was led when it was detached", |flights, lead| {
        let waiter = wait(flights);
        invalidate(flights);
        drop(lead);
        std::mem::forget(waiter);
    });
    check("the flight was vacant when it was detached", |flights, lead| {
        let waiter = wait(flights);
        drop(lead);
        invalidate(flights);
        std::mem::forget(waiter);
    });
}

#[test]
fn those_who_wait_for_a_vacant_flight_begin_anew_when_it_is_invalidated() {
    let flights = registry();
    let gone = lead(&flights);
    let (woken, other, unpolled) = (wait(&flights), wait(&flights), join(&flights));
    drop(gone);
    invalidate(&flights);
    assert_eq!([woken.rings(), other.rings(), flights.len()], [1, 1, 0]);
    for waiter in [woken, other, unpolled] {
        waiter.must_begin_anew();
    }
}

#[test]
fn those_who_wait_for_an_invalidated_flight_begin_anew_when_its_leader_is_dropped() {
    let flights = registry();
    let gone = lead(&flights);
    let (first, second, unpolled) = (wait(&flights), wait(&flights), join(&flights));
    invalidate(&flights);
    drop(gone);
    assert_eq!([first.rings(), second.rings()], [1, 1]);
    let new = lead(&flights);
    for waiter in [first, second, unpolled] {
        waiter.must_begin_anew();
    }
    assert!(finish(new, "new"), "the new flight is not theirs");
}

#[test]
fn a_vacant_flight_that_is_superseded_or_detached_by_what_was_noted_is_begun_anew() {
    #[track_caller]
    fn check(detach: impl FnOnce(&Registry)) {
        let flights = registry();
        let gone = lead(&flights);
        let waiter = wait(&flights);
        drop(gone);
        detach(&flights);
        assert_eq!(flights.len(), 0);
        waiter.must_begin_anew();
    }
    check(|flights| drop(flights.supersede(KEY, plan(9), || {})));
    check(|flights| flights.detach(|noted| *noted == 1));
}
