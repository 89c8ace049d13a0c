//! Every state and transition of a flight, one step at a time: futures are polled by hand, so each test says who comes when.

mod drops;
mod passing;
mod registry;

use std::any::TypeId;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::{Entered, Flights, Join, Landed, Lead, Plan, Purpose};
use crate::key::KeyHash;
use crate::sync::{Mutex, lock};

/// An outcome that shows whether it was kept.
type Outcome = Arc<&'static str>;
type Registry = Flights<Outcome, Baggage, u32>;
type Leading = Lead<Outcome, Baggage, u32>;

const KEY: KeyHash = KeyHash(7);

/// What a leader stows, and what happens when that is dropped.
struct Baggage(Box<dyn FnMut() + Send>);

impl Baggage {
    fn counted(dropped: &Arc<AtomicUsize>) -> Self {
        let dropped = Arc::clone(dropped);
        Self(Box::new(move || {
            dropped.fetch_add(1, Ordering::Relaxed);
        }))
    }
}

impl Drop for Baggage {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Counts how often it was woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// One caller that waits, with its own bell.
struct Waiter {
    join: Pin<Box<Join<Outcome, Baggage, u32>>>,
    bell: Arc<Bell>,
}

impl Waiter {
    fn poll(&mut self) -> Poll<Landed<Outcome, Baggage, u32>> {
        let waker = Waker::from(Arc::clone(&self.bell));
        self.join.as_mut().poll(&mut Context::from_waker(&waker))
    }

    fn rings(&self) -> usize {
        self.bell.0.load(Ordering::Relaxed)
    }

    #[track_caller]
    fn must_wait(&mut self) {
        assert!(self.poll().is_pending(), "expected to wait");
    }

    #[track_caller]
    fn must_get(mut self, outcome: &str) {
        let Poll::Ready(Landed::Outcome(got, _)) = self.poll() else { panic!("expected the outcome `{outcome}`") };
        assert_eq!(*got, outcome);
    }

    #[track_caller]
    fn must_lead(mut self) -> Leading {
        let Poll::Ready(Landed::Lead(lead)) = self.poll() else { panic!("expected to lead") };
        lead
    }

    #[track_caller]
    fn must_begin_anew(mut self) {
        assert!(matches!(self.poll(), Poll::Ready(Landed::Anew)), "expected to begin anew");
    }
}

fn registry() -> Arc<Registry> {
    Arc::new(Flights::new(4))
}

/// A load of a value of one type, with what was noted.
fn plan(noted: u32) -> Plan<u32> {
    Plan { purpose: Purpose::Load, kind: TypeId::of::<()>(), noted }
}

#[track_caller]
fn lead(flights: &Registry) -> Leading {
    let Entered::Lead(lead) = flights.enter(KEY, plan(1)) else { panic!("expected to lead") };
    lead
}

/// Joins; has not polled yet.
#[track_caller]
fn join(flights: &Registry) -> Waiter {
    let Entered::Join(join) = flights.enter(KEY, plan(2)) else { panic!("expected to join") };
    Waiter { join: Box::pin(join), bell: Arc::default() }
}

/// Joins and polls once.
#[track_caller]
fn wait(flights: &Registry) -> Waiter {
    let mut waiter = join(flights);
    waiter.must_wait();
    waiter
}

fn invalidate(flights: &Registry) {
    flights.invalidate(KEY, |_| false, || {});
}

/// Ends a flight and says whether its value entered.
fn finish(lead: Leading, outcome: &'static str) -> bool {
    let mut entered = false;
    lead.finish(Arc::new(outcome), || entered = true);
    entered
}

/// Runs what would deadlock if a lock were held where it must not be: on a thread of its own, so that the test fails and does not hang.
#[track_caller]
fn must_end(what: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        what();
        // Nobody listens any more if it came too late.
        let _ = done.send(());
    });
    assert!(ended.recv_timeout(Duration::from_secs(20)).is_ok(), "it hangs, or it has panicked");
}
