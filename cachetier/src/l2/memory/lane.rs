//! A lane of the tier as an instance uses it: what a bump is made of, and the reading end with its one ordered stream.
//! Seqs, eras and mail are `room`'s, faults `hub`'s.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedReceiver;

use super::faults::{Call, CallKind};
use super::hub::{Audience, Deliveries, Hub, State, Stray};
use super::keys::expiry;
use super::room::{Content, Parcel, ReaderId};
use crate::error::Fault;
use crate::key::TagHash;
use crate::l2::lane::{Bumped, Lane, LaneNames, LaneState, Planted, Released, Seized, Subscription};
use crate::rule::seq::{Point, Seq};
use crate::rule::stamp::Stamp;
use crate::rule::table::TableCopy;
use crate::wire::message::Targets;
use crate::wire::message::{body, head};

/// The writing end.
#[derive(Debug)]
pub(super) struct MemoryLane {
    place: Place,
    limit: Option<Duration>,
}

/// Who uses which lane of which tier.
#[derive(Clone, Debug)]
struct Place {
    hub: Arc<Hub>,
    names: Arc<LaneNames>,
    namespace: Arc<str>,
    instance: usize,
}

/// A bump, ready to be carried out in one step.
#[derive(Clone, Debug)]
struct Bump {
    /// Whole names.
    keys: Vec<String>,
    tags: Vec<TagHash>,
    all: bool,
    body: Vec<u8>,
    floor: Point,
    /// The size of a table to begin.
    cells: u32,
}

impl Bump {
    fn new(names: &LaneNames, targets: &Targets, coming: Option<Stamp>, floor: Point) -> Self {
        Self {
            keys: targets.keys.iter().map(|key| names.value(key)).collect(),
            tags: targets.tags.iter().chain(&targets.prefixes).copied().collect(),
            all: targets.all,
            body: body(targets, coming),
            floor,
            cells: names.cells,
        }
    }

    fn run(&self, namespace: &Arc<str>, state: &mut State, deliveries: Deliveries) -> Bumped {
        let now = state.now();
        let held = self.keys.iter().map(|key| u64::from(state.keys.drop_unless_held(key, now))).sum();
        Bumped { point: self.tell(namespace, state, deliveries), held }
    }

    /// Moves the lane on and tells every subscriber; what becomes of the keys is done.
    fn tell(&self, namespace: &Arc<str>, state: &mut State, deliveries: Deliveries) -> Point {
        let now = state.now();
        let room = state.room(namespace);
        let (previous, point) = room.advance(now, self.floor, self.cells);
        for tag in &self.tags {
            room.mark(*tag, point.seq);
        }
        if self.all {
            room.mark_all(point.seq);
        }
        let message: Arc<[u8]> = head(point.era, previous, point.seq).into_iter().chain(self.body.iter().copied()).collect();
        state.publish(namespace, None, &message, deliveries);
        point
    }
}

/// What a guard does to its keys.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// Plants its hold for so long.
    Hold(Duration),
    /// Takes it away, or leaves it for so long.
    Release(Duration),
    /// Swaps it for a ticket with this lease.
    Trade(Stamp, Duration),
}

/// A guard's deed, ready to be carried out in one step.
#[derive(Clone, Debug)]
struct Guarding {
    bump: Bump,
    guard: Stamp,
    deed: Deed,
}

impl Guarding {
    /// Returns where the lane stands then and how many keys it went well in; nothing, having done nothing, where there is no room.
    fn run(&self, namespace: &Arc<str>, state: &mut State, deliveries: Deliveries) -> Result<Option<(Point, u64)>, Fault> {
        let now = state.now();
        let mut went_well = 0;
        match self.deed {
            Deed::Hold(limit) => {
                let until = expiry(limit, now)?;
                if !self.bump.keys.iter().all(|key| state.keys.has_room_for(key, self.guard, now)) {
                    return Ok(None);
                }
                for key in &self.bump.keys {
                    state.keys.plant_hold(key, self.guard, until, now);
                    went_well += 1;
                }
            }
            Deed::Release(lag) => {
                let lag_end = if lag.is_zero() { None } else { Some(expiry(lag, now)?) };
                for key in &self.bump.keys {
                    went_well += u64::from(state.keys.release_hold(key, self.guard, lag_end, now));
                }
            }
            Deed::Trade(ticket, lease) => {
                let until = expiry(lease, now)?;
                for key in &self.bump.keys {
                    went_well += u64::from(state.keys.trade_hold(key, self.guard, ticket, until, now));
                }
            }
        }
        Ok(Some((self.bump.tell(namespace, state, deliveries), went_well)))
    }
}

/// The first half of a `set`: a bump of one key, and a ticket in it.
#[derive(Clone, Debug)]
struct Seize {
    bump: Bump,
    key: String,
    ticket: Stamp,
    lease: Duration,
}

impl Seize {
    fn run(&self, namespace: &Arc<str>, state: &mut State, deliveries: Deliveries) -> Result<Seized, Fault> {
        let now = state.now();
        let until = expiry(self.lease, now)?;
        let Bumped { point, .. } = self.bump.run(namespace, state, deliveries);
        if state.keys.on_hold(&self.key, now) {
            return Ok(Seized::Held(point));
        }
        state.keys.plant(&self.key, self.ticket, until, now);
        Ok(Seized::Planted(point))
    }
}

/// A bump of one key that makes its value stale.
#[derive(Clone, Debug)]
struct Expire {
    bump: Bump,
    key: String,
    stamp: Stamp,
}

impl Expire {
    fn run(&self, namespace: &Arc<str>, state: &mut State, deliveries: Deliveries) -> Bumped {
        let now = state.now();
        let held = u64::from(state.keys.expire(&self.key, self.stamp, now));
        Bumped { point: self.bump.tell(namespace, state, deliveries), held }
    }
}

impl MemoryLane {
    pub(super) fn new(hub: Arc<Hub>, names: LaneNames, instance: usize, limit: Option<Duration>) -> Self {
        let namespace = Arc::from(names.room.as_str());
        Self { place: Place { hub, names: Arc::new(names), namespace, instance }, limit }
    }

    async fn bumped(&self, call: Call<'_>, bump: &Bump) -> Result<Bumped, Fault> {
        let Place { hub, namespace, .. } = &self.place;
        let stray = || {
            let (bump, here) = (bump.clone(), Arc::clone(namespace));
            Stray::new(Audience::All(namespace), move |state, deliveries| {
                bump.run(&here, state, deliveries);
            })
        };
        hub.pass(call, self.limit, Audience::All(namespace), |state, deliveries| Ok(bump.run(namespace, state, deliveries)), stray)
            .await
    }

    async fn guarding(&self, kind: CallKind, keys: &[String], guarding: Guarding) -> Result<Option<(Point, u64)>, Fault> {
        let Place { hub, names, namespace, instance } = &self.place;
        let only = match keys {
            [only] => Some(names.value(only)),
            _ => None,
        };
        let stray = || {
            let (guarding, here) = (guarding.clone(), Arc::clone(namespace));
            Stray::new(Audience::All(namespace), move |state, deliveries| drop(guarding.run(&here, state, deliveries)))
        };
        let call = Call::new(kind, only.as_deref(), *instance);
        hub.pass(call, self.limit, Audience::All(namespace), |state, deliveries| guarding.run(namespace, state, deliveries), stray)
            .await
    }
}

#[async_trait]
impl Lane for MemoryLane {
    async fn bump(&self, targets: &Targets, floor: Point) -> Result<Bumped, Fault> {
        let Place { names, instance, .. } = &self.place;
        let bump = Bump::new(names, targets, None, floor);
        let key = match bump.keys.as_slice() {
            [only] => Some(only.as_str()),
            _ => None,
        };
        self.bumped(Call::new(CallKind::Bump, key, *instance), &bump).await
    }

    async fn seize(&self, key: &str, ticket: Stamp, lease: Duration, floor: Point) -> Result<Seized, Fault> {
        let Place { hub, names, namespace, instance } = &self.place;
        let targets = Targets { keys: vec![key.to_owned()], ..Targets::default() };
        let seize = Seize { bump: Bump::new(names, &targets, Some(ticket), floor), key: names.value(key), ticket, lease };
        let call = Call::new(CallKind::Seize, Some(&seize.key), *instance);
        let stray = || {
            let (seize, here) = (seize.clone(), Arc::clone(namespace));
            Stray::new(Audience::All(namespace), move |state, deliveries| drop(seize.run(&here, state, deliveries)))
        };
        hub.pass(call, self.limit, Audience::All(namespace), |state, deliveries| seize.run(namespace, state, deliveries), stray)
            .await
    }

    async fn expire(&self, key: &str, stamp: Stamp, floor: Point) -> Result<Bumped, Fault> {
        let Place { hub, names, namespace, instance } = &self.place;
        let targets = Targets { keys: vec![key.to_owned()], stale: true, ..Targets::default() };
        let expire = Expire { bump: Bump::new(names, &targets, None, floor), key: names.value(key), stamp };
        let call = Call::new(CallKind::Expire, Some(&expire.key), *instance);
        let stray = || {
            let (expire, here) = (expire.clone(), Arc::clone(namespace));
            Stray::new(Audience::All(namespace), move |state, deliveries| {
                expire.run(&here, state, deliveries);
            })
        };
        let run = |state: &mut State, deliveries: Deliveries| Ok(expire.run(namespace, state, deliveries));
        hub.pass(call, self.limit, Audience::All(namespace), run, stray).await
    }

    async fn announce(&self, key: &str, stamp: Stamp, floor: Point) -> Result<Bumped, Fault> {
        let Place { names, instance, .. } = &self.place;
        let targets = Targets { keys: vec![key.to_owned()], stale: true, ..Targets::default() };
        // What the key holds stays.
        let bump = Bump { keys: Vec::new(), ..Bump::new(names, &targets, Some(stamp), floor) };
        let name = names.value(key);
        let call = Call::new(CallKind::Announce, Some(&name), *instance);
        self.bumped(call, &bump).await
    }

    async fn hold(&self, keys: &[String], guard: Stamp, limit: Duration, floor: Point) -> Result<Planted, Fault> {
        let targets = Targets { keys: keys.to_vec(), ..Targets::default() };
        let guarding = Guarding { bump: Bump::new(&self.place.names, &targets, None, floor), guard, deed: Deed::Hold(limit) };
        let held = self.guarding(CallKind::Hold, keys, guarding).await?;
        Ok(held.map_or(Planted::Crowded, |(point, _)| Planted::Yes(point)))
    }

    async fn release(&self, keys: &[String], guard: Stamp, lag: Duration, floor: Point) -> Result<Released, Fault> {
        let targets = Targets { keys: keys.to_vec(), ..Targets::default() };
        let guarding = Guarding { bump: Bump::new(&self.place.names, &targets, None, floor), guard, deed: Deed::Release(lag) };
        let released = self.guarding(CallKind::Release, keys, guarding).await?;
        released.map(|(point, stood)| Released { point, stood }).ok_or_else(no_room)
    }

    async fn trade(&self, key: &str, guard: Stamp, ticket: Stamp, lease: Duration, floor: Point) -> Result<Seized, Fault> {
        let keys = [key.to_owned()];
        let targets = Targets { keys: keys.to_vec(), ..Targets::default() };
        let bump = Bump::new(&self.place.names, &targets, Some(ticket), floor);
        let traded = self.guarding(CallKind::Trade, &keys, Guarding { bump, guard, deed: Deed::Trade(ticket, lease) }).await?;
        let (point, planted) = traded.ok_or_else(no_room)?;
        Ok(if planted == 1 { Seized::Planted(point) } else { Seized::Held(point) })
    }

    async fn stand(&self, floor: Point) -> Result<LaneState, Fault> {
        let Place { hub, names, namespace, instance } = &self.place;
        let stray = || {
            let (here, names) = (Arc::clone(namespace), Arc::clone(names));
            Stray::new(Audience::Nobody, move |state, _| {
                let now = state.now();
                state.room(&here).check(now, floor, (names.cells, names.outlives_runs));
            })
        };
        let check = |state: &mut State, _: Deliveries| {
            let now = state.now();
            Ok(state.room(namespace).check(now, floor, (names.cells, names.outlives_runs)))
        };
        hub.pass(Call::new(CallKind::Stand, None, *instance), self.limit, Audience::Nobody, check, stray).await
    }

    async fn table(&self, _: LaneState, since: Seq) -> Result<TableCopy, Fault> {
        let Place { hub, namespace, instance, .. } = &self.place;
        let read = |state: &mut State, _: Deliveries| Ok(state.room(namespace).table(since));
        hub.pass(Call::new(CallKind::Stand, None, *instance), self.limit, Audience::Nobody, read, || {
            Stray::new(Audience::Nobody, |_, _| ())
        })
        .await
    }

    fn line(&self) -> u64 {
        self.place.hub.lock().run()
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, Fault> {
        let Place { hub, namespace, instance, names } = &self.place;
        let call = Call::new(CallKind::Subscribe, None, *instance);
        let open = |state: &mut State, _: Deliveries| {
            state.readers += 1;
            let id = ReaderId(state.readers);
            Ok((id, state.room(namespace).subscribe(id, *instance, names.mailbox)))
        };
        // A subscription whose caller is gone ends at once: there is nothing to do late.
        let (id, mail) = hub.pass(call, self.limit, Audience::Nobody, open, || Stray::new(Audience::Nobody, |_, _| ())).await?;
        Ok(Box::new(Reader { place: self.place.clone(), id, mail, seen: 0, head: None, arrived: VecDeque::new(), broken: None }))
    }
}

/// The reading end.
struct Reader {
    place: Place,
    id: ReaderId,
    mail: UnboundedReceiver<Parcel>,
    /// How many parcels have arrived or were found lost.
    seen: u64,
    /// Taken out of the mail and still waiting at its gate.
    head: Option<Parcel>,
    /// Arrived before an answer did.
    arrived: VecDeque<Vec<u8>>,
    /// Why the subscription has ended.
    broken: Option<Fault>,
}

impl Reader {
    /// Moves the stream on by one parcel. A parcel that is not through its gate stays where it is, so dropping the caller loses
    /// none.
    fn poll_parcel(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Vec<u8>>, Fault>> {
        if let Some(fault) = &self.broken {
            return Poll::Ready(Err(fault.clone()));
        }
        let mut parcel = match self.head.take() {
            Some(parcel) => parcel,
            // Not `poll_recv` alone: it may ask the task to yield although the mail is there.
            None => match self.mail.try_recv() {
                Ok(parcel) => parcel,
                Err(_) => match self.mail.poll_recv(cx) {
                    Poll::Ready(Some(parcel)) => parcel,
                    Poll::Ready(None) => return Poll::Ready(Err(self.end(closed()))),
                    Poll::Pending => return Poll::Pending,
                },
            },
        };
        if let Some(gate) = &mut parcel.gate
            && gate.as_mut().poll(cx).is_pending()
        {
            self.head = Some(parcel);
            return Poll::Pending;
        }
        self.seen += 1;
        Poll::Ready(match parcel.content {
            Content::Message(message) => {
                #[cfg(feature = "testing")]
                self.place.hub.note_heard(self.place.instance, &message);
                Ok(Some(message.to_vec()))
            }
            Content::Lost => Ok(None),
            Content::Broken(fault) => Err(self.end(fault)),
        })
    }

    fn end(&mut self, fault: Fault) -> Fault {
        self.broken = Some(fault.clone());
        fault
    }

    /// The next message of the mail.
    fn poll_mail(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, Fault>> {
        loop {
            match self.poll_parcel(cx) {
                Poll::Ready(Ok(Some(message))) => return Poll::Ready(Ok(message)),
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Asks something whose answer comes on this stream, behind every message published before it was given.
    ///
    /// Cancel safety: what has arrived until then is handed out by `next` and `ready`.
    async fn ask<T: Send + 'static>(
        &mut self,
        kind: CallKind,
        question: impl Fn(&Place, &mut State) -> T + Copy + Send + Sync + 'static,
    ) -> Result<T, Fault> {
        if let Some(fault) = &self.broken {
            return Err(fault.clone());
        }
        let (place, id) = (&self.place, self.id);
        let stray = || {
            let place = place.clone();
            Stray::new(Audience::Nobody, move |state, _| drop(question(&place, state)))
        };
        let answer = |state: &mut State, _: Deliveries| {
            let answer = question(place, state);
            Ok((answer, state.room(&place.namespace).sent(id)))
        };
        let (answer, sent) = place.hub.pass(Call::new(kind, None, place.instance), None, Audience::Nobody, answer, stray).await?;
        // Where the subscription has ended meanwhile, its end is in the mail, and the answer behind it.
        while sent.is_none_or(|sent| self.seen < sent) {
            let arrived = poll_fn(|cx| self.poll_parcel(cx)).await?;
            self.arrived.extend(arrived);
        }
        Ok(answer)
    }
}

#[async_trait]
impl Subscription for Reader {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, Fault>> {
        match self.arrived.pop_front() {
            Some(message) => Poll::Ready(Ok(message)),
            None => self.poll_mail(cx),
        }
    }

    fn ready(&mut self) -> Option<Vec<u8>> {
        if let Some(message) = self.arrived.pop_front() {
            return Some(message);
        }
        match self.poll_mail(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(message)) => Some(message),
            // An end found here is kept for `next` to tell.
            Poll::Ready(Err(_)) | Poll::Pending => None,
        }
    }

    async fn check(&mut self, floor: Point) -> Result<LaneState, Fault> {
        let check = move |place: &Place, state: &mut State| {
            let now = state.now();
            state.room(&place.namespace).check(now, floor, (place.names.cells, place.names.outlives_runs))
        };
        self.ask(CallKind::Check, check).await
    }

    async fn table(&mut self, _: LaneState, since: Seq) -> Result<TableCopy, Fault> {
        self.ask(CallKind::Table, move |place, state| state.room(&place.namespace).table(since)).await
    }

    fn proves_for(&self) -> Option<Duration> {
        self.place.hub.lock().faults.proof()
    }
}

/// Only a hold needs room.
fn no_room() -> Fault {
    Fault::Refused(Arc::from("no room for a guard"))
}

fn closed() -> Fault {
    Fault::Unanswered(Arc::from("the subscription was closed"))
}
