//! What the tests of the tier share. Most need no runtime: futures are polled by hand.

mod faults;
mod holds;
mod lane;
mod messages;
mod refresh;
mod store;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Call, CallKind, InProcess, MemoryLane, MemoryStore, Plan};
use crate::clock::{Clock, ManualClock};
use crate::l2::lane::{Lane, LaneNames, LaneState, Subscription};
use crate::l2::{Limits, Store};
use crate::rule::seq::{Era, Point, Seq};
use crate::rule::stamp::Stamp;
use crate::wire::message::Targets;
use crate::wire::slot;
use crate::wire::wake::Mailbox;

const LEASE: Duration = Duration::from_secs(3);
const LIFE: Duration = Duration::from_secs(60);
const CELLS: u32 = 64;

const A: Stamp = Stamp([0xA; 16]);
const B: Stamp = Stamp([0xB; 16]);
const C: Stamp = Stamp([0xC; 16]);

fn tier() -> (InProcess, ManualClock) {
    let (clock, hand) = Clock::manual();
    (InProcess::with_clock(clock), hand)
}

/// A tier with the store of its first instance.
fn stored() -> (InProcess, ManualClock, Arc<dyn Store>) {
    let (tier, hand) = tier();
    let store = tier.store(None);
    (tier, hand, store)
}

/// The two ends one by one.
impl InProcess {
    /// The tier as the store of the next instance.
    fn store(&self, limits: Option<Limits>) -> Arc<dyn Store> {
        let mut state = self.hub.lock();
        let instance = state.stores;
        state.stores += 1;
        Arc::new(MemoryStore::new(Arc::clone(&self.hub), &names("shop"), instance, limits))
    }

    /// The tier as the lane of the next instance.
    fn lane(&self, names: LaneNames, limits: Option<Limits>) -> Arc<dyn Lane> {
        let mut state = self.hub.lock();
        let instance = state.lanes;
        state.lanes += 1;
        Arc::new(MemoryLane::new(Arc::clone(&self.hub), names, instance, limits.map(|limits| limits.command)))
    }
}

fn names(namespace: &str) -> LaneNames {
    LaneNames { room: namespace.to_owned(), in_one_slot: false, cells: CELLS, outlives_runs: false, mailbox: Mailbox::random() }
}

fn lane(tier: &InProcess) -> Arc<dyn Lane> {
    tier.lane(names("shop"), None)
}

/// What a table is asked for by, where it does not matter.
const STATE: LaneState = LaneState { point: Point { era: Era(1), seq: Seq(0) }, server_millis: 0, cells: CELLS, run: 1 };

fn subscribe(lane: &Arc<dyn Lane>) -> Box<dyn Subscription> {
    now(lane.subscribe()).expect("subscribed")
}

/// Plans the calls of one kind, one after the other, and lets everything else go.
fn script(tier: &InProcess, kind: CallKind, plans: impl IntoIterator<Item = Plan>) {
    let plans = Mutex::new(plans.into_iter().collect::<VecDeque<_>>());
    tier.script(move |call: &Call<'_>| {
        let plan = if call.kind == kind { plans.lock().expect("whole").pop_front() } else { None };
        plan.unwrap_or_else(Plan::go)
    });
}

fn gate() -> (oneshot::Sender<()>, oneshot::Receiver<()>) {
    oneshot::channel()
}

fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// The outcome of a future that has nothing to wait for.
#[track_caller]
fn now<F: Future>(future: F) -> F::Output {
    match poll(pin!(future)) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("it waits for something"),
    }
}

fn value(stamp: Stamp, payload: &str) -> Vec<u8> {
    slot::prefix(slot::VALUE, stamp).into_iter().chain(payload.bytes()).collect()
}

fn ticket(stamp: Stamp) -> Vec<u8> {
    slot::prefix(slot::TICKET, stamp).to_vec()
}

fn keys(keys: &[&str]) -> Targets {
    Targets { keys: keys.iter().map(|key| (*key).to_owned()).collect(), ..Targets::default() }
}

/// What stands at the head of a message: the era, the seq before it, its own.
#[track_caller]
fn head(message: &[u8]) -> (Era, Seq, Seq) {
    let number = |range: std::ops::Range<usize>| message[range].iter().fold(0_u64, |n, byte| (n << 8) | u64::from(*byte));
    assert_eq!(&message[..3], b"ct\x01");
    (Era(u32::try_from(number(3..7)).expect("four bytes")), Seq(number(7..15)), Seq(number(15..23)))
}

fn points(message: &[u8]) -> Point {
    let (era, _, seq) = head(message);
    Point { era, seq }
}
