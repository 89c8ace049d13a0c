//! One key, its source, its first tier, and the callers of it: they go the way of a read as the cache goes it, and check at each step
//! what must hold.

use std::any::TypeId;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use shuttle::future::yield_now;
use shuttle::rand::{Rng as _, thread_rng};

use crate::flight::{Entered, Flights, Landed, Lead, Plan, Purpose};
use crate::key::KeyHash;
use crate::sync::{Mutex, lock};

/// A value is the version of the source that it was loaded from; a flight may also end with nothing.
type Outcome = Option<u64>;

const KEY: KeyHash = KeyHash(7);

/// The key's world. The counters are no locks: the scheduler changes tasks at locks and awaits alone.
pub(crate) struct World {
    flights: Flights<Outcome, Ticket, Arc<Watch>>,
    /// The stand-in for L1.
    kept: Mutex<Option<u64>>,
    /// What a loader finds: writers move it on, then invalidate.
    source: AtomicU64,
    /// The version below which nothing may be kept, or served to who comes now: moved by each invalidation, in its step.
    floor: AtomicU64,
    /// Loads that have begun.
    pub(crate) loads: AtomicUsize,
    /// Leads that were dropped and not finished.
    pub(crate) dropped: AtomicUsize,
}

/// Noted at a flight's begin: counts who leads it, and the tickets it has.
#[derive(Default)]
struct Watch {
    leaders: AtomicUsize,
    tickets: AtomicUsize,
}

/// What a leader stows: there is one at a time for a flight, whoever leads it.
struct Ticket {
    world: Weak<World>,
    watch: Arc<Watch>,
}

impl Ticket {
    fn new(world: &Arc<World>, watch: &Arc<Watch>) -> Self {
        assert_eq!(watch.tickets.fetch_add(1, Ordering::Relaxed), 0, "the flight has a ticket already");
        Self { world: Arc::downgrade(world), watch: Arc::clone(watch) }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.watch.tickets.fetch_sub(1, Ordering::Relaxed);
        // Takes the shard's lock: the scheduler tells if it is held here.
        if let Some(world) = self.world.upgrade() {
            world.flights.len();
        }
    }
}

/// A lead, counted.
struct Leading {
    world: Arc<World>,
    watch: Arc<Watch>,
    lead: Option<Lead<Outcome, Ticket, Arc<Watch>>>,
}

impl Leading {
    fn new(world: &Arc<World>, lead: Lead<Outcome, Ticket, Arc<Watch>>) -> Self {
        let watch = Arc::clone(lead.noted());
        assert_eq!(watch.leaders.fetch_add(1, Ordering::Relaxed), 0, "two lead one flight");
        Self { world: Arc::clone(world), watch, lead: Some(lead) }
    }

    fn lead(&self) -> &Lead<Outcome, Ticket, Arc<Watch>> {
        self.lead.as_ref().expect("a lead that is not finished")
    }

    /// Ends the flight; a value enters the first tier as the cache lets it enter.
    fn finish(mut self, outcome: Outcome, keep: bool) {
        let lead = self.lead.take().expect("a lead that is not finished");
        self.watch.leaders.fetch_sub(1, Ordering::Relaxed);
        let world = &self.world;
        lead.finish(outcome, || {
            if let (Some(value), true) = (outcome, keep) {
                assert!(value >= world.floor(), "{value} enters after the invalidation of {}", world.floor());
                *lock(&world.kept) = Some(value);
            }
        });
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        if let Some(lead) = self.lead.take() {
            self.world.dropped.fetch_add(1, Ordering::Relaxed);
            self.watch.leaders.fetch_sub(1, Ordering::Relaxed);
            drop(lead);
        }
    }
}

/// What becomes of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loader {
    Works,
    Panics,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            flights: Flights::new(1),
            kept: Mutex::new(None),
            source: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            loads: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
        })
    }

    /// A read that loads: first tier, flight, loader. What it returns is no older than what was invalidated when it began.
    pub(crate) async fn get(self: &Arc<Self>, loader: Loader) -> u64 {
        let floor = self.floor();
        let value = self.fetch(loader).await;
        assert!(value >= floor, "{value} is served after the invalidation of {floor}");
        value
    }

    async fn fetch(self: &Arc<Self>, loader: Loader) -> u64 {
        loop {
            if let Some(value) = self.kept() {
                return value;
            }
            match self.flights.enter(KEY, plan(Purpose::Load)) {
                Entered::Lead(lead) => return self.load(Leading::new(self, lead), loader).await,
                Entered::Join(join) => match join.await {
                    Landed::Lead(lead) if lead.purpose() == Purpose::Load => {
                        return self.load(Leading::new(self, lead), loader).await;
                    }
                    Landed::Lead(lead) => Leading::new(self, lead).finish(None, false),
                    Landed::Outcome(Some(value), _) => return value,
                    Landed::Outcome(None, _) | Landed::Anew => {}
                },
                Entered::Apart => panic!("a load waits for whatever is under way"),
            }
        }
    }

    async fn load(self: &Arc<Self>, leading: Leading, loader: Loader) -> u64 {
        // Another flight may have landed in between.
        if let Some(value) = self.kept() {
            leading.finish(Some(value), false);
            return value;
        }
        let ticket = leading.lead().unstow().unwrap_or_else(|| Ticket::new(self, &leading.watch));
        leading.lead().stow(ticket);
        self.loads.fetch_add(1, Ordering::Relaxed);
        pause().await;
        let value = self.source.load(Ordering::Relaxed);
        if loader == Loader::Panics {
            // Prints nothing.
            resume_unwind(Box::new("the loader panics"));
        }
        pause().await;
        drop(leading.lead().unstow());
        leading.finish(Some(value), true);
        value
    }

    /// A read that loads nothing, and finds nothing where it looks.
    pub(crate) async fn look(self: &Arc<Self>) {
        match self.flights.enter(KEY, plan(Purpose::Read)) {
            Entered::Lead(lead) => {
                let leading = Leading::new(self, lead);
                pause().await;
                leading.finish(None, false);
            }
            Entered::Join(join) => {
                if let Landed::Lead(lead) = join.await {
                    Leading::new(self, lead).finish(None, false);
                }
            }
            Entered::Apart => {}
        }
    }

    /// Changes the source, then invalidates.
    pub(crate) async fn change(self: &Arc<Self>) {
        let version = self.source.fetch_add(1, Ordering::Relaxed) + 1;
        pause().await;
        self.flights.invalidate(KEY, |_| false, || self.leave_behind(version));
    }

    /// Puts the value itself. The source has it from the same step on: which of two puts is the later one is thus clear.
    pub(crate) async fn put(self: &Arc<Self>) {
        let mut version = 0;
        let lead = self.flights.supersede(KEY, plan(Purpose::Write), || {
            version = self.source.fetch_add(1, Ordering::Relaxed) + 1;
            self.leave_behind(version);
        });
        let leading = Leading::new(self, lead);
        pause().await;
        leading.finish(Some(version), true);
    }

    /// Lets no later caller join what is under way.
    pub(crate) async fn part(self: &Arc<Self>) {
        pause().await;
        self.flights.detach(|_| true);
    }

    /// Whoever was here has left nothing, and whoever comes now is served.
    pub(crate) async fn check_left(self: &Arc<Self>) {
        assert_eq!(self.flights.len(), 0, "a flight is left");
        assert!(self.kept().is_none_or(|value| value >= self.floor()));
        self.get(Loader::Works).await;
    }

    fn leave_behind(&self, version: u64) {
        *lock(&self.kept) = None;
        self.floor.fetch_max(version, Ordering::Relaxed);
    }

    fn floor(&self) -> u64 {
        self.floor.load(Ordering::Relaxed)
    }

    fn kept(&self) -> Option<u64> {
        *lock(&self.kept)
    }
}

fn plan(purpose: Purpose) -> Plan<Arc<Watch>> {
    Plan { purpose, kind: TypeId::of::<u64>(), noted: Arc::default() }
}

/// Waits for something else, for a while.
async fn pause() {
    for _ in 0..thread_rng().gen_range(0..3) {
        yield_now().await;
    }
}

/// A caller that drops what it does: after so many polls, if it has not ended or panicked by then.
pub(crate) struct Mortal {
    call: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    polls: usize,
    /// Whether it is polled all the time. If not it is dropped when it has just been woken.
    restless: bool,
}

impl Mortal {
    pub(crate) fn new(call: impl Future<Output = ()> + Send + 'static) -> Self {
        let (polls, restless) = (thread_rng().gen_range(0..6), thread_rng().gen_range(0..2) == 0);
        Self { call: Some(Box::pin(call)), polls, restless }
    }

    /// One that ends only by itself.
    pub(crate) fn patient(call: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { call: Some(Box::pin(call)), polls: usize::MAX, restless: false }
    }
}

impl Future for Mortal {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let left = self.polls.checked_sub(1);
        let (Some(left), Some(call)) = (left, self.call.as_mut()) else {
            self.call = None;
            return Poll::Ready(());
        };
        // A panic drops what the call holds while it unwinds.
        let polled = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context)));
        match polled {
            Ok(Poll::Pending) => {
                self.polls = left;
                if self.restless {
                    context.waker().wake_by_ref();
                }
                Poll::Pending
            }
            Ok(Poll::Ready(())) => Poll::Ready(()),
            Err(panic) if panic.downcast_ref() == Some(&"the loader panics") => Poll::Ready(()),
            Err(panic) => resume_unwind(panic),
        }
    }
}
