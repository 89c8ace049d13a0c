//! Every two steps that can meet in one flight, in every interleaving: nobody who waits then may be forgotten.

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
    /// Another caller comes. If it leads it is dropped, if not it waits.
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
    fn new(join: Join<(), (), ()>) -> Self {
        Self { join, bell: Arc::default() }
    }

    fn woken(&self) -> bool {
        self.bell.0.swap(0, Ordering::Relaxed) > 0
    }

    fn poll(&mut self) -> Poll<Landed<(), (), ()>> {
        let waker = Waker::from(Arc::clone(&self.bell));
        Pin::new(&mut self.join).poll(&mut Context::from_waker(&waker))
    }
}

/// One flight with its leader and those who wait. Their locks are not the scheduler's: they are no part of what is tried.
struct Scene {
    flights: Registry,
    leader: Mutex<Option<Leading>>,
    first: Mutex<Option<Waiter>>,
    /// Those who wait to the end.
    waiting: Mutex<Vec<Waiter>>,
}

fn plan() -> Plan<()> {
    Plan { purpose: Purpose::Load, kind: TypeId::of::<()>(), noted: () }
}

fn wait(flights: &Registry) -> Waiter {
    let Entered::Join(join) = flights.enter(KEY, plan()) else { panic!("expected to join") };
    let mut waiter = Waiter::new(join);
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
                Entered::Join(join) => {
                    let mut waiter = Waiter::new(join);
                    let got = waiter.poll();
                    if got.is_pending() {
                        self.waiting.lock().expect("no step panics here").push(waiter);
                    }
                    drop(got);
                }
                entered => drop(entered),
            },
            Invalidate => self.flights.invalidate(KEY, |()| false, || {}),
            Supersede => self.flights.supersede(KEY, plan(), || {}).finish((), || {}),
        }
    }
}

/// Runs two steps at the same time, on a flight that is led or that has just lost its leader, with or without a second one in line.
fn check(led: bool, second: bool, one: Step, other: Step) -> usize {
    explore_all(move || {
        let flights = Registry::new(1);
        let Entered::Lead(leader) = flights.enter(KEY, plan()) else { panic!("expected to lead") };
        let first = wait(&flights);
        let waiting = if second { vec![wait(&flights)] } else { Vec::new() };
        let leader = Some(leader).filter(|_| led);
        let scene = Scene { flights, leader: Mutex::new(leader), first: Mutex::new(Some(first)), waiting: Mutex::new(waiting) };
        let scene = Arc::new(scene);
        let side = {
            let scene = Arc::clone(&scene);
            thread::spawn(move || scene.run(one))
        };
        scene.run(other);
        side.join().expect("a step that ends");

        scene.run(LeaderLeaves);
        scene.run(WaiterLeaves);
        // Nobody is left but those who wait: each polls when it has been woken, and leaves with what it gets.
        let mut waiting = std::mem::take(&mut *scene.waiting.lock().expect("no step panics here"));
        while !waiting.is_empty() {
            let woken = waiting.iter().position(Waiter::woken);
            let woken = woken.unwrap_or_else(|| panic!("{one:?} beside {other:?}: {} are never woken", waiting.len()));
            if waiting[woken].poll().is_ready() {
                drop(waiting.swap_remove(woken));
            }
        }
        assert_eq!(scene.flights.len(), 0, "{one:?} beside {other:?}: a flight is left");
    })
}

fn check_all(led: bool, second: bool, steps: &[Step]) {
    for (at, one) in steps.iter().enumerate() {
        for other in steps.iter().skip(at) {
            let ways = check(led, second, *one, *other);
            println!("{one:?} beside {other:?}: {ways} ways");
            assert!(ways > 1, "{one:?} beside {other:?} were not interleaved");
        }
    }
}

const LED: [Step; 7] = [Finish, LeaderLeaves, WaiterLeaves, WaiterPolls, Come, Invalidate, Supersede];
const VACANT: [Step; 5] = [WaiterLeaves, WaiterPolls, Come, Invalidate, Supersede];

#[test]
fn any_two_steps_of_a_flight_that_is_led_forget_nobody() {
    check_all(true, true, &LED);
}

#[test]
fn any_two_steps_of_a_flight_that_has_lost_its_leader_forget_nobody() {
    check_all(false, true, &VACANT);
}

#[test]
fn any_two_steps_of_a_flight_that_few_wait_for_forget_nobody() {
    check_all(true, false, &LED);
    check_all(false, false, &VACANT);
}
