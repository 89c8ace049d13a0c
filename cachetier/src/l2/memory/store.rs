//! The tier as an instance's store: each call a step of `keys` under the hub's lock.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::faults::{Call, CallKind};
use super::hub::{Audience, Deliveries, Hub, State, Stray};
use super::walk::MemoryWalk;
use crate::error::Fault;
#[cfg(feature = "testing")]
use crate::l2::Loading;
use crate::l2::lane::LaneNames;
use crate::l2::walk::{Selection, Walk};
use crate::l2::{Claimed, Filled, LeaseCall, Leased, Limits, Prospect, Store};
use crate::rule::stamp::Stamp;
use crate::wire::slot::Slot;
use crate::wire::wake::{Mailbox, SMALL};

/// The keys of a tier, used by one instance.
#[derive(Debug)]
pub(super) struct MemoryStore {
    hub: Arc<Hub>,
    /// In whose lane it is told what becomes of tickets, and where.
    namespace: Arc<str>,
    mailbox: Mailbox,
    instance: usize,
    limits: Option<Limits>,
}

/// A fill, of which those are told who wait for the ticket.
fn filled(
    (namespace, state, deliveries): (&Arc<str>, &mut State, Deliveries),
    key: &str,
    seen: Stamp,
    value: &[u8],
    life: Duration,
) -> Result<Filled, Fault> {
    let waiting = state.keys.waiting(key, state.now());
    let filled = state.keys.fill(key, seen, value, life, state.now())?;
    if filled == Filled::Stored {
        let held = Some(value).filter(|value| value.len() <= SMALL);
        state.wake(namespace, &waiting, (key, held), deliveries);
    }
    Ok(filled)
}

/// A ticket given back, of which those are told who wait for it.
fn abandoned(
    (namespace, state, deliveries): (&Arc<str>, &mut State, Deliveries),
    key: &str,
    ticket: Stamp,
    word: &[u8],
) -> Result<(), Fault> {
    let waiting = state.keys.waiting(key, state.now());
    if state.keys.abandon(key, ticket, state.now())? {
        state.wake(namespace, &waiting, (key, Some(word).filter(|word| !word.is_empty())), deliveries);
    }
    Ok(())
}

impl MemoryStore {
    pub(super) fn new(hub: Arc<Hub>, names: &LaneNames, instance: usize, limits: Option<Limits>) -> Self {
        Self { hub, namespace: Arc::from(names.room.as_str()), mailbox: names.mailbox, instance, limits }
    }

    fn read_limit(&self) -> Option<Duration> {
        self.limits.map(|limits| limits.read)
    }

    fn command_limit(&self) -> Option<Duration> {
        self.limits.map(|limits| limits.command)
    }

    fn call<'a>(&self, kind: CallKind, key: &'a str) -> Call<'a> {
        Call::new(kind, Some(key), self.instance)
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn line(&self) -> u64 {
        self.hub.lock().run()
    }

    async fn probe(&self, key: &str, ticket: Stamp, lease: Duration) -> Result<Option<Vec<u8>>, Fault> {
        let stray = || {
            let key = key.to_owned();
            Stray::new(Audience::Nobody, move |state, _| drop(state.keys.probe(&key, ticket, lease, state.now())))
        };
        let call = self.call(CallKind::Probe, key);
        self.hub
            .pass(call, self.read_limit(), Audience::Nobody, |state, _| state.keys.probe(key, ticket, lease, state.now()), stray)
            .await
    }

    async fn read(&self, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        // Read late, it is read by nobody.
        let stray = || Stray::new(Audience::Nobody, |_, _| ());
        self.hub
            .pass(
                self.call(CallKind::Read, key),
                self.read_limit(),
                Audience::Nobody,
                |state, _| state.keys.read(key, state.now()),
                stray,
            )
            .await
    }

    async fn stamp(&self, key: &str) -> Result<Option<Stamp>, Fault> {
        let stray = || Stray::new(Audience::Nobody, |_, _| ());
        let read = |state: &mut State, _: Deliveries| state.keys.read(key, state.now());
        let held = self.hub.pass(self.call(CallKind::Stamp, key), self.read_limit(), Audience::Nobody, read, stray).await?;
        Ok(held.and_then(|held| match Slot::of(&held) {
            Slot::Value { stamp, .. } => Some(stamp),
            _ => None,
        }))
    }

    async fn fill(&self, key: &str, seen: Stamp, value: &[u8], life: Duration) -> Result<Filled, Fault> {
        let here = &self.namespace;
        let stray = || {
            let (key, value, namespace) = (key.to_owned(), value.to_owned(), Arc::clone(here));
            Stray::new(Audience::Waiting(here, &key.clone()), move |state, deliveries| {
                drop(filled((&namespace, state, deliveries), &key, seen, &value, life));
            })
        };
        let call = self.call(CallKind::Fill, key);
        let fill = |state: &mut State, deliveries: Deliveries| filled((here, state, deliveries), key, seen, value, life);
        self.hub.pass(call, self.command_limit(), Audience::Waiting(here, key), fill, stray).await
    }

    async fn wait(&self, key: &str) -> Result<Prospect, Fault> {
        let mailbox = self.mailbox;
        let stray = || {
            let key = key.to_owned();
            Stray::new(Audience::Nobody, move |state, _| drop(state.keys.wait(&key, mailbox, state.now())))
        };
        let call = self.call(CallKind::Wait, key);
        let wait = |state: &mut State, _: Deliveries| state.keys.wait(key, mailbox, state.now());
        self.hub.pass(call, self.read_limit(), Audience::Nobody, wait, stray).await
    }

    async fn claim(&self, key: &str, seen: Stamp, ticket: Stamp, lease: Duration) -> Result<Claimed, Fault> {
        let stray = || {
            let key = key.to_owned();
            Stray::new(Audience::Nobody, move |state, _| drop(state.keys.claim(&key, seen, ticket, lease, state.now())))
        };
        let call = self.call(CallKind::Claim, key);
        self.hub
            .pass(
                call,
                self.read_limit(),
                Audience::Nobody,
                |state, _| state.keys.claim(key, seen, ticket, lease, state.now()),
                stray,
            )
            .await
    }

    async fn lease(&self, key: &str, seen: Stamp, who: u8, lease: LeaseCall) -> Result<Leased, Fault> {
        let stray = || {
            let key = key.to_owned();
            Stray::new(Audience::Nobody, move |state, _| drop(state.keys.lease(&key, seen, who, lease, state.now())))
        };
        let call = self.call(CallKind::Lease, key);
        // A reader waits for it only where it is to be had first.
        let limit = if matches!(lease, LeaseCall::Take(_)) { self.read_limit() } else { self.command_limit() };
        self.hub.pass(call, limit, Audience::Nobody, |state, _| state.keys.lease(key, seen, who, lease, state.now()), stray).await
    }

    async fn refill(&self, key: &str, seen: Stamp, value: &[u8], life: Duration) -> Result<Filled, Fault> {
        let stray = || {
            let (key, value) = (key.to_owned(), value.to_owned());
            Stray::new(Audience::Nobody, move |state, _| drop(state.keys.refill(&key, seen, &value, life, state.now())))
        };
        let refill = |state: &mut State, _: Deliveries| state.keys.refill(key, seen, value, life, state.now());
        self.hub.pass(self.call(CallKind::Refill, key), self.command_limit(), Audience::Nobody, refill, stray).await
    }

    async fn renew(&self, key: &str, seen: Stamp, stamp: Stamp, header: &[u8], life: Duration) -> Result<Filled, Fault> {
        let stray = || {
            let (key, header) = (key.to_owned(), header.to_owned());
            Stray::new(Audience::Nobody, move |state, _| drop(state.keys.renew(&key, (seen, stamp), &header, life, state.now())))
        };
        let renew = |state: &mut State, _: Deliveries| state.keys.renew(key, (seen, stamp), header, life, state.now());
        self.hub.pass(self.call(CallKind::Renew, key), self.command_limit(), Audience::Nobody, renew, stray).await
    }

    async fn extend(&self, key: &str, ticket: Stamp, lease: Duration) -> Result<(), Fault> {
        let stray = || {
            let key = key.to_owned();
            Stray::new(Audience::Nobody, move |state, _| drop(state.keys.extend(&key, ticket, lease, state.now())))
        };
        let call = self.call(CallKind::Extend, key);
        self.hub
            .pass(
                call,
                self.command_limit(),
                Audience::Nobody,
                |state, _| state.keys.extend(key, ticket, lease, state.now()),
                stray,
            )
            .await
    }

    async fn abandon(&self, key: &str, ticket: Stamp, word: &[u8]) -> Result<(), Fault> {
        let here = &self.namespace;
        let stray = || {
            let (key, namespace, word) = (key.to_owned(), Arc::clone(here), word.to_vec());
            Stray::new(Audience::Waiting(here, &key.clone()), move |state, deliveries| {
                drop(abandoned((&namespace, state, deliveries), &key, ticket, &word));
            })
        };
        let call = self.call(CallKind::Abandon, key);
        let abandon = |state: &mut State, deliveries: Deliveries| abandoned((here, state, deliveries), key, ticket, word);
        self.hub.pass(call, self.command_limit(), Audience::Waiting(here, key), abandon, stray).await
    }

    async fn walks(&self, selection: &Selection) -> Result<Vec<Box<dyn Walk>>, Fault> {
        Ok(vec![Box::new(MemoryWalk::new(&self.hub, self.instance, self.command_limit(), selection))])
    }
    #[cfg(feature = "testing")]
    fn instance(&self) -> Option<usize> {
        Some(self.instance)
    }

    #[cfg(feature = "testing")]
    fn note_load(&self, key: &str, loading: Loading) {
        self.hub.note_load(self.instance, key, loading);
    }
}
