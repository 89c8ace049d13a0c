//! The shared tier as one cache uses it: names and lease are its own, every fault is counted, and what a flush must wait for is known.

use std::sync::Arc;
use std::time::Duration;

use super::lane::{Bumped, Lane, LaneNames, LaneState, Planted, Released, Seized};
use super::many::{Answers, Claim, Fill, Lease, Names, Standing, Weighs, fill_up, is_silent, steps};
use super::walk::{Selection, Walk};
use super::{Claimed, Filled, LeaseCall, Leased, NotReady, Prospect, Store};
use crate::error::Fault;
use crate::observe::stats::Counters;
use crate::rule::breaker::BreakerState;
use crate::rule::glob::Glob;
use crate::rule::seq::{Point, Seq};
use crate::rule::stamp::Stamp;
use crate::rule::table::TableCopy;
use crate::tasks::Tasks;
use crate::wire::message::Targets;
use crate::wire::wake::failed;

/// One shared tier, as one cache uses it.
pub(crate) struct Tier {
    store: Arc<dyn Store>,
    lane: Arc<dyn Lane>,
    /// What stands before a key in its name.
    head: String,
    lease: Duration,
    counters: Arc<Counters>,
    tasks: Tasks,
}

impl Tier {
    pub(crate) fn new(
        (store, lane): (Arc<dyn Store>, Arc<dyn Lane>),
        names: &LaneNames,
        lease: Duration,
        counters: Arc<Counters>,
        tasks: Tasks,
    ) -> Self {
        Self { store, lane, head: names.value(""), lease, counters, tasks }
    }

    /// The name under which the tier knows a key.
    pub(crate) fn name(&self, key: &str) -> String {
        [self.head.as_str(), key].concat()
    }

    /// The names under which it knows many keys.
    pub(crate) fn names<'a>(&self, keys: impl Iterator<Item = &'a str> + Clone) -> Names {
        Names::of(&self.head, keys)
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// The number of the connection over which calls go now: what was proven before it was made says nothing of who answers over it.
    pub(crate) fn line(&self) -> u64 {
        self.store.line()
    }

    /// Whether it is asked for what can be done without, and how often it was found that it better is not.
    pub(crate) fn breaker(&self) -> (BreakerState, u64) {
        self.store.breaker()
    }

    /// Waits until it can be asked, for at most `limit`; an error says why it cannot.
    pub(crate) async fn ready(&self, limit: Duration) -> Result<(), NotReady> {
        self.store.ready(limit).await
    }

    /// Ends its connections.
    pub(crate) fn close(&self) {
        self.store.close();
    }

    /// Which instance it is for, where they are numbered.
    #[cfg(feature = "testing")]
    pub(crate) fn instance(&self) -> Option<usize> {
        self.store.instance()
    }

    /// Tells of a load.
    #[cfg(feature = "testing")]
    pub(crate) fn note_load(&self, key: &str, loading: super::Loading) {
        self.store.note_load(key, loading);
    }

    fn counted<T>(&self, answer: Result<T, Fault>) -> Result<T, Fault> {
        if let Err(fault) = &answer {
            self.count(fault);
        }
        answer
    }

    fn count(&self, fault: &Fault) {
        let counters = &self.counters;
        counters.l2_faults.one();
        match fault {
            Fault::Away(_) => counters.l2_away.one(),
            Fault::Unanswered(_) => counters.l2_unanswered.one(),
            Fault::Refused(_) => counters.l2_refused.one(),
            Fault::Full(_) => counters.l2_full.one(),
            Fault::Foreign => {}
        }
    }

    /// Sends a batch step by step, until one of them is not answered: an answer for each. Calls that failed count as one fault for each step.
    async fn in_steps<'a, I, T, F>(&self, batch: &'a [I], send: impl Fn(&'a [I]) -> F) -> Answers<T>
    where
        I: Weighs,
        F: Future<Output = Answers<T>>,
    {
        let mut answers = Vec::with_capacity(batch.len());
        for step in steps(batch) {
            let step = send(step).await;
            if let Some(fault) = step.iter().find_map(|answer| answer.as_ref().err()) {
                self.count(fault);
            }
            let silent = is_silent(&step);
            answers.extend(step);
            if silent {
                break;
            }
        }
        fill_up(&mut answers, batch.len());
        answers
    }

    pub(crate) async fn read_many(&self, names: &[&str]) -> Answers<Option<Vec<u8>>> {
        self.in_steps(names, |step| self.store.read_many(step)).await
    }

    pub(crate) async fn probe_many(&self, tickets: &[Standing<'_>]) -> Answers<Option<Vec<u8>>> {
        self.in_steps(tickets, |step| self.store.probe_many(step, self.lease)).await
    }

    pub(crate) async fn fill_many(&self, fills: &[Fill<'_>]) -> Answers<Filled> {
        self.in_steps(fills, |step| self.tasks.counted(self.store.fill_many(step))).await
    }

    pub(crate) async fn claim_many(&self, claims: &[Claim<'_>]) -> Answers<Claimed> {
        self.in_steps(claims, |step| self.store.claim_many(step, self.lease)).await
    }

    pub(crate) async fn take_leases(&self, leases: &[Lease<'_>]) -> Answers<Leased> {
        self.lease_many(leases, LeaseCall::Take(self.lease)).await
    }

    pub(crate) async fn lengthen_leases(&self, leases: &[Lease<'_>]) {
        // Without an answer they may end: then the refills are refused, or another instance has begun one.
        let _ = self.lease_many(leases, LeaseCall::Lengthen(self.lease)).await;
    }

    pub(crate) async fn give_leases_back(&self, leases: &[Lease<'_>]) {
        // Without an answer they end by themselves.
        let _ = self.lease_many(leases, LeaseCall::GiveBack).await;
    }

    async fn lease_many(&self, leases: &[Lease<'_>], call: LeaseCall) -> Answers<Leased> {
        self.in_steps(leases, |step| self.store.lease_many(step, call)).await
    }

    pub(crate) async fn extend_many(&self, tickets: &[Standing<'_>]) {
        let _ = self.in_steps(tickets, |step| self.store.extend_many(step, self.lease)).await;
    }

    pub(crate) async fn abandon_many(&self, tickets: &[Standing<'_>]) {
        let _ = self.in_steps(tickets, |step| self.store.abandon_many(step)).await;
    }

    pub(crate) async fn probe(&self, name: &str, ticket: Stamp) -> Result<Option<Vec<u8>>, Fault> {
        self.counted(self.store.probe(name, ticket, self.lease).await)
    }

    pub(crate) async fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        self.counted(self.store.read(name).await)
    }

    pub(crate) async fn stamp(&self, name: &str) -> Result<Option<Stamp>, Fault> {
        self.counted(self.store.stamp(name).await)
    }

    /// Whoever fills, refills or renews counts that among the writes under way.
    pub(crate) async fn fill(&self, name: &str, ticket: Stamp, value: &[u8], life: Duration) -> Result<Filled, Fault> {
        self.counted(self.store.fill(name, ticket, value, life).await)
    }

    pub(crate) async fn put(&self, name: &str, ticket: Stamp, value: &[u8], life: Duration) -> Result<Filled, Fault> {
        self.counted(self.store.put(name, ticket, value, life).await)
    }

    pub(crate) async fn claim(&self, name: &str, seen: Stamp, ticket: Stamp) -> Result<Claimed, Fault> {
        self.counted(self.store.claim(name, seen, ticket, self.lease).await)
    }

    pub(crate) async fn wait(&self, name: &str) -> Result<Prospect, Fault> {
        self.counted(self.store.wait(name).await)
    }

    pub(crate) async fn wait_many(&self, names: &[&str]) -> Answers<Prospect> {
        self.in_steps(names, |step| self.store.wait_many(step)).await
    }

    pub(crate) async fn take_lease(&self, name: &str, seen: Stamp, who: u8, longest: Duration) -> Result<Leased, Fault> {
        self.counted(self.store.lease(name, seen, who, LeaseCall::Take(self.lease.min(longest))).await)
    }

    pub(crate) async fn lengthen_lease(&self, name: &str, seen: Stamp, who: u8) -> Result<Leased, Fault> {
        self.counted(self.store.lease(name, seen, who, LeaseCall::Lengthen(self.lease)).await)
    }

    pub(crate) async fn give_lease_back(&self, name: &str, seen: Stamp, who: u8) -> Result<Leased, Fault> {
        self.counted(self.store.lease(name, seen, who, LeaseCall::GiveBack).await)
    }

    pub(crate) async fn refill(&self, name: &str, seen: Stamp, value: &[u8], life: Duration) -> Result<Filled, Fault> {
        self.counted(self.store.refill(name, seen, value, life).await)
    }

    pub(crate) async fn renew(
        &self,
        name: &str,
        seen: Stamp,
        stamp: Stamp,
        header: &[u8],
        life: Duration,
    ) -> Result<Filled, Fault> {
        self.counted(self.store.renew(name, seen, stamp, header, life).await)
    }

    pub(crate) async fn extend(&self, name: &str, ticket: Stamp) -> Result<(), Fault> {
        self.counted(self.store.extend(name, ticket, self.lease).await)
    }

    pub(crate) async fn abandon(&self, name: &str, ticket: Stamp, why: Option<&str>) -> Result<(), Fault> {
        self.counted(self.store.abandon(name, ticket, &why.map(failed).unwrap_or_default()).await)
    }

    /// Which names those keys have.
    pub(crate) fn selection(&self, keys: Glob) -> Selection {
        Selection { head: self.head.clone(), keys }
    }

    pub(crate) async fn walks(&self, selection: &Selection) -> Result<Vec<Box<dyn Walk>>, Fault> {
        self.counted(self.store.walks(selection).await)
    }

    pub(crate) async fn bump(&self, targets: &Targets, floor: Point) -> Result<Bumped, Fault> {
        self.counted(self.tasks.counted(self.lane.bump(targets, floor)).await)
    }

    pub(crate) async fn stand(&self, floor: Point) -> Result<LaneState, Fault> {
        self.counted(self.lane.stand(floor).await)
    }

    pub(crate) async fn table(&self, state: LaneState, since: Seq) -> Result<TableCopy, Fault> {
        self.counted(self.lane.table(state, since).await)
    }

    pub(crate) async fn expire(&self, key: &str, stamp: Stamp, floor: Point) -> Result<Bumped, Fault> {
        self.counted(self.tasks.counted(self.lane.expire(key, stamp, floor)).await)
    }

    pub(crate) async fn announce(&self, key: &str, stamp: Stamp, floor: Point) -> Result<Bumped, Fault> {
        self.counted(self.lane.announce(key, stamp, floor).await)
    }

    pub(crate) async fn seize(&self, key: &str, ticket: Stamp, floor: Point) -> Result<Seized, Fault> {
        self.counted(self.tasks.counted(self.lane.seize(key, ticket, self.lease, floor)).await)
    }

    pub(crate) async fn hold(&self, keys: &[String], guard: Stamp, limit: Duration, floor: Point) -> Result<Planted, Fault> {
        self.counted(self.tasks.counted(self.lane.hold(keys, guard, limit, floor)).await)
    }

    pub(crate) async fn release(&self, keys: &[String], guard: Stamp, lag: Duration, floor: Point) -> Result<Released, Fault> {
        self.counted(self.tasks.counted(self.lane.release(keys, guard, lag, floor)).await)
    }

    pub(crate) async fn trade(&self, key: &str, guard: Stamp, ticket: Stamp, floor: Point) -> Result<Seized, Fault> {
        self.counted(self.tasks.counted(self.lane.trade(key, guard, ticket, self.lease, floor)).await)
    }
}

impl std::fmt::Debug for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tier").field("head", &self.head).field("lease", &self.lease).finish_non_exhaustive()
    }
}
