//! Other people's code in the middle of ours: what is dropped, woken or run there may panic, or call back into the registry.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Weak;

use super::*;

/// Does everything with the registry that takes its locks, for the key in question.
fn call_back(flights: &Weak<Registry>) {
    let Some(flights) = flights.upgrade() else { return };
    let _ = flights.len();
    invalidate(&flights);
    drop(flights.enter(KEY, plan(3)));
    drop(flights.supersede(KEY, plan(4), || {}));
}

/// A panic that prints nothing.
fn panics<T>(what: impl FnOnce() -> T) {
    assert!(catch_unwind(AssertUnwindSafe(what)).is_err(), "expected a panic");
}

#[test]
fn baggage_that_calls_back_when_it_is_dropped_does_not_deadlock() {
    fn check(then: fn(&Registry, Leading)) {
        must_end(move || {
            let (flights, called) = (registry(), Arc::new(AtomicUsize::new(0)));
            let (weak, counter) = (Arc::downgrade(&flights), Arc::clone(&called));
            let lead = lead(&flights);
            lead.stow(Baggage(Box::new(move || {
                call_back(&weak);
                counter.fetch_add(1, Ordering::Relaxed);
            })));
            then(&flights, lead);
            assert_eq!((called.load(Ordering::Relaxed), flights.len()), (1, 0));
        });
    }
    check(|_, lead| drop(lead));
    check(|_, lead| drop(lead.unstow()));
    check(|_, lead| lead.stow(Baggage(Box::new(|| {}))));
    check(|flights, lead| {
        let waiter = wait(flights);
        finish(lead, "value");
        drop(waiter);
    });
    check(|flights, lead| {
        let waiter = wait(flights);
        drop(lead);
        drop(waiter);
    });
    check(|flights, lead| {
        let _waiter = wait(flights);
        drop(lead);
        flights.detach(|_| true);
    });
}

/// A task whose waker calls back, when it is woken and when it is dropped, and which waits as well.
struct Task {
    flights: Weak<Registry>,
    waits: Mutex<Option<Waiter>>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        call_back(&self.flights);
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        drop(lock(&self.waits).take());
        call_back(&self.flights);
    }
}

#[test]
fn a_waker_that_calls_back_does_not_deadlock() {
    fn check(then: fn(&Registry, Leading, Waiter)) {
        must_end(move || {
            let flights = registry();
            let lead = lead(&flights);
            let mut waiter = join(&flights);
            let task = Task { flights: Arc::downgrade(&flights), waits: Mutex::new(Some(wait(&flights))) };
            // The only hold on the task is now the one that the flight has.
            let waker = Waker::from(Arc::new(task));
            assert!(waiter.join.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            drop(waker);
            then(&flights, lead, waiter);
            assert_eq!(flights.len(), 0);
        });
    }
    check(|_, lead, waiter| drop((lead, waiter)));
    check(|_, lead, waiter| drop((waiter, lead)));
    check(|_, lead, waiter| {
        finish(lead, "value");
        waiter.must_get("value");
    });
    check(|flights, lead, _waiter| {
        drop(lead);
        invalidate(flights);
    });
    // Another task polls: the first one's waker is replaced.
    check(|_, lead, mut waiter| {
        waiter.must_wait();
        drop(lead);
    });
}

#[test]
fn a_leader_that_panics_passes_the_lead_on() {
    let flights = registry();
    let lead = lead(&flights);
    let waiter = wait(&flights);
    panics(|| {
        let _leading = lead;
        resume_unwind(Box::new("while it loads"));
    });
    assert_eq!(waiter.rings(), 1);
    assert!(finish(waiter.must_lead(), "value"));
}

#[test]
fn a_leader_whose_value_panics_as_it_enters_passes_the_lead_on() {
    let (flights, dropped) = (registry(), Arc::default());
    let lead = lead(&flights);
    lead.stow(Baggage::counted(&dropped));
    let (first, mut second) = (wait(&flights), wait(&flights));
    panics(|| lead.finish(Arc::new("lost"), || resume_unwind(Box::new("in L1"))));
    assert_eq!((first.rings(), flights.len(), dropped.load(Ordering::Relaxed)), (1, 1, 0));
    let heir = first.must_lead();
    second.must_wait();
    assert!(finish(heir, "value"), "it is still attached");
    second.must_get("value");
}

#[test]
fn a_lone_leader_whose_value_panics_as_it_enters_leaves_nothing() {
    let flights = registry();
    let lead = lead(&flights);
    panics(|| lead.finish(Arc::new("lost"), || resume_unwind(Box::new("in L1"))));
    assert_eq!(flights.len(), 0);
}

#[test]
fn a_step_that_panics_leaves_no_flight_without_a_leader() {
    let flights = registry();
    let old = lead(&flights);
    let waiter = wait(&flights);
    panics(|| drop(flights.supersede(KEY, plan(9), || resume_unwind(Box::new("in L1")))));
    assert_eq!(flights.len(), 0);
    assert!(!finish(old, "old"), "what was superseded stays so");
    waiter.must_get("old");
}

#[test]
fn an_invalidation_whose_step_panics_has_detached_the_flight() {
    let flights = registry();
    let old = lead(&flights);
    let waiter = wait(&flights);
    panics(|| flights.invalidate(KEY, |_| false, || resume_unwind(Box::new("in L1"))));
    assert!(!finish(old, "old"));
    waiter.must_get("old");
    assert!(finish(lead(&flights), "new"));
}
