//! The shared tier behind its limits: every call ends in time, and every fault is counted. Nothing is retried.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Claimed, Filled, Store};
use crate::error::Fault;
use crate::l2::lane::{Bumped, Lane, LaneNames, Seized};
use crate::observe::stats::Counters;
use crate::rule::seq::Seq;
use crate::rule::stamp::Stamp;
use crate::tasks::Tasks;
use crate::wire::message::Targets;

/// How long calls may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// What a reader waits for before the loader is asked.
    pub(crate) read: Duration,
    /// Everything else.
    pub(crate) command: Duration,
    /// How long a ticket lives.
    pub(crate) lease: Duration,
}

/// One shared tier, as one cache uses it.
pub(crate) struct Guarded {
    store: Arc<dyn Store>,
    lane: Arc<dyn Lane>,
    names: LaneNames,
    limits: Limits,
    counters: Arc<Counters>,
    tasks: Tasks,
}

impl Guarded {
    pub(crate) fn new(
        (store, lane): (Arc<dyn Store>, Arc<dyn Lane>),
        names: LaneNames,
        limits: Limits,
        counters: Arc<Counters>,
        tasks: Tasks,
    ) -> Self {
        Self { store, lane, names, limits, counters, tasks }
    }

    /// The name under which the tier knows a key.
    pub(crate) fn name(&self, key: &str) -> Arc<str> {
        self.names.value(key).into()
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    async fn limited<T>(&self, limit: Duration, call: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let answer = timeout(limit, call).await.unwrap_or_else(|_| Err(Fault::Unanswered("out of time".into())));
        if answer.is_err() {
            self.counters.l2_faults.one();
        }
        answer
    }

    pub(crate) async fn probe(&self, name: &str, ticket: Stamp) -> Result<Option<Vec<u8>>, Fault> {
        self.limited(self.limits.read, self.store.probe(name, ticket, self.limits.lease)).await
    }

    pub(crate) async fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        self.limited(self.limits.read, self.store.read(name)).await
    }

    pub(crate) async fn fill(&self, name: &str, ticket: Stamp, value: &[u8], life: Duration) -> Result<Filled, Fault> {
        self.tasks.counted(self.limited(self.limits.command, self.store.fill(name, ticket, value, life))).await
    }

    pub(crate) async fn claim(&self, name: &str, seen: Stamp, ticket: Stamp) -> Result<Claimed, Fault> {
        self.limited(self.limits.read, self.store.claim(name, seen, ticket, self.limits.lease)).await
    }

    pub(crate) async fn abandon(&self, name: &str, ticket: Stamp) -> Result<(), Fault> {
        self.limited(self.limits.command, self.store.abandon(name, ticket)).await
    }

    pub(crate) async fn bump(&self, targets: &Targets, floor: Seq) -> Result<Bumped, Fault> {
        self.tasks.counted(self.limited(self.limits.command, self.lane.bump(targets, floor))).await
    }

    pub(crate) async fn seize(&self, key: &str, ticket: Stamp, floor: Seq) -> Result<Seized, Fault> {
        self.tasks.counted(self.limited(self.limits.command, self.lane.seize(key, ticket, self.limits.lease, floor))).await
    }
}

impl std::fmt::Debug for Guarded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guarded").field("names", &self.names).field("limits", &self.limits).finish_non_exhaustive()
    }
}
