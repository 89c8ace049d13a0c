//! Every two steps that can meet in one flight, in every interleaving, beside a third caller who waits and must not be forgotten.

use std::any::TypeId;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use shuttle::thread;

use crate::explore::explore_all;
use crate::flight::{Entered, Flights, Join, Landed, Lead, Plan, Purpose};
use crate::key::KeyHash;

type Registry = Flights<(), (), ()>;
type Leading = Lead<(), (), ()>;

const KEY: KeyHash = KeyHash(7);

/// What can happen to a flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The leader ends the flight.
    Finish,
    /// The leader is dropped.
    LeaderLeaves,
    /// The caller that waits first in line is dropped.
    WaiterLeaves,
    /// It polls, and is dropped with what it got.
    WaiterPolls,
    /// Another caller comes, and leads or polls once, and is dropped with what it got.
    Come,
    Invalidate,
    Supersede,
}

use Step::{Come, Finish, Invalidate, LeaderLeaves, Supersede, WaiterLeaves, WaiterPolls};

#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

struct Waiter {
    join: Join<(), (), ()>,
    bell: Arc<Bell>,
}

impl Waiter {
    fn poll(&mut self) -> Poll<Landed<(), (), ()>> {
        let waker = Waker::from(Arc::clone(&self.bell));
        Pin::new(&mut self.join).poll(&mut Context::from_waker(&waker))
    }
}

/// One flight with its leader, and the first in line. Their locks are not the scheduler's: they are no part of what is tried.
struct Scene {
    flights: Registry,
    leader: Mutex<Option<Leading>>,
    first: Mutex<Option<Waiter>>,
}

fn plan() -> Plan<()> {
    Plan { purpose: Purpose::Load, kind: TypeId::of::<()>(), noted: () }
}

fn wait(flights: &Registry) -> Waiter {
    let Entered::Join(join) = flights.enter(KEY, plan()) else { panic!("expected to join") };
    let mut waiter = Waiter { join, bell: Arc::default() };
    assert!(waiter.poll().is_pending());
    waiter
}

impl Scene {
    fn run(&self, step: Step) {
        let leader = || self.leader.lock().expect("no step panics here").take();
        let first = || self.first.lock().expect("no step panics here").take();
        match step {
            Finish => leader().into_iter().for_each(|leader| leader.finish((), || {})),
            LeaderLeaves => drop(leader()),
            WaiterLeaves => drop(first()),
            WaiterPolls => {
                if let Some(mut first) = first() {
                    // Dropped before what it was polled on, and after: either is possible.
                    let got = first.poll();
                    drop(first);
                    drop(got);
                }
            }
            Come => match self.flights.enter(KEY, plan()) {
                Entered::Join(join) => drop(Waiter { join, bell: Arc::default() }.poll()),
                entered => drop(entered),
            },
            Invalidate => self.flights.invalidate(KEY, |()| false, || {}),
            Supersede => self.flights.supersede(KEY, plan(), || {}).finish((), || {}),
        }
    }
}

/// Runs two steps at the same time, on a flight that is led or that has just lost its leader.
fn check(led: bool, one: Step, other: Step) -> usize {
    explore_all(move || {
        let flights = Registry::new(1);
        let Entered::Lead(leader) = flights.enter(KEY, plan()) else { panic!("expected to lead") };
        let first = wait(&flights);
        let mut last = wait(&flights);
        let leader = Some(leader).filter(|_| led);
        let scene = Arc::new(Scene { flights, leader: Mutex::new(leader), first: Mutex::new(Some(first)) });
        let side = {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.run(one))
        };
        scene.run(other);
        side.join().expect("a step that ends");

        // Whoever is still there leaves: then somebody must have seen to it that the last one polls.
        scene.run(LeaderLeaves);
        scene.run(WaiterLeaves);
        assert!(last.bell.0.load(Ordering::Relaxed) > 0, "{one:?} beside {other:?}: the last one is never woken");
        assert!(last.poll().is_ready(), "{one:?} beside {other:?}: the last one waits for nobody");
        drop(last);
        assert_eq!(scene.flights.len(), 0, "{one:?} beside {other:?}: a flight is left");
    })
}

fn check_all(led: bool, steps: &[Step]) {
    for (at, one) in steps.iter().enumerate() {
        for other in steps.iter().skip(at) {
            let ways = check(led, *one, *other);
            println!("{one:?} beside {other:?}: {ways} ways");
            assert!(ways > 1, "{one:?} beside {other:?} were not interleaved");
        }
    }
}

#[test]
fn any_two_steps_of_a_flight_that_is_led_forget_nobody() {
    check_all(true, &[Finish, LeaderLeaves, WaiterLeaves, WaiterPolls, Come, Invalidate, Supersede]);
}

#[test]
fn any_two_steps_of_a_flight_that_has_lost_its_leader_forget_nobody() {
    check_all(false, &[WaiterLeaves, WaiterPolls, Come, Invalidate, Supersede]);
}
