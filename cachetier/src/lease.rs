//! The ticket: what a miss plants in the key itself, the right to fill it. Fence and lease in one. Where a value stands that is to be
//! refreshed, its lease is the ticket, and the value the fence.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Fault;
use crate::l2::Leased;
use crate::l2::many::{Answers, Lease, Standing};
use crate::l2::tier::Tier;
use crate::rule::stamp::Stamp;

/// A ticket that stands in a key, or may: one whose planting got no answer is given back, too. Dropped unspent it is given back in
/// the background, so every exit that does not fill frees the key.
#[must_use = "a dropped ticket is given back"]
pub(crate) struct Ticket {
    tier: Arc<Tier>,
    name: String,
    stamp: Stamp,
    /// The connection over which it was planted. Who answers over another may have forgotten what was told after that: it is let live no longer
    /// there.
    line: u64,
    /// The value that it stands on, where it is the lease of one.
    over: Option<Over>,
    /// Why its load has failed, as those are told who wait for it elsewhere.
    why: Option<String>,
    spent: bool,
}

/// A value that is to be refreshed: it stays where it is, and this is the right to put a newer one in its place.
#[derive(Clone, Copy, Debug)]
struct Over {
    seen: Stamp,
    /// By what the value knows who has its lease.
    who: u8,
}

impl Ticket {
    /// A ticket of `key`, to be planted.
    pub(crate) fn new(tier: &Arc<Tier>, key: &str, stamp: Stamp) -> Self {
        Self { tier: Arc::clone(tier), name: tier.name(key), stamp, line: tier.line(), over: None, why: None, spent: false }
    }

    /// The lease of the value stamped `seen`, to be taken.
    pub(crate) fn on(tier: &Arc<Tier>, key: &str, stamp: Stamp, seen: Stamp) -> Self {
        let mut ticket = Self::new(tier, key, stamp);
        ticket.over = Some(Over { seen, who: fastrand::u8(1..) });
        ticket
    }

    /// Asks for the lease that it is to be. Whatever the answer, or if there is none, it is given back when it is dropped unspent.
    /// For no longer than `longest`.
    pub(crate) async fn take(&self, longest: Duration) -> Result<Leased, Fault> {
        match &self.over {
            Some(over) => self.tier.take_lease(&self.name, over.seen, over.who, longest).await,
            None => Ok(Leased::Moved),
        }
    }

    /// The stamp of the value that it stands on, if it does.
    pub(crate) fn seen(&self) -> Option<Stamp> {
        self.over.as_ref().map(|over| over.seen)
    }

    /// The name under which the tier knows its key.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// What lets it live for another lease, in the background, when it is called. Never across a reconnect.
    pub(crate) fn extension(&self) -> impl FnOnce() + use<> {
        let (tier, name, stamp, over, line) = (Arc::clone(&self.tier), self.name.clone(), self.stamp, self.over, self.line);
        move || {
            if tier.line() != line {
                return;
            }
            let tasks = tier.tasks().clone();
            tasks.begin(async move {
                // Without an answer it may end: then the fill is refused, or another instance has begun one.
                match over {
                    None => drop(tier.extend(&name, stamp).await),
                    Some(Over { seen, who }) => drop(tier.lengthen_lease(&name, seen, who).await),
                }
            });
        }
    }

    /// The key and the ticket in it, for [`extend_all`], if it may live longer.
    pub(crate) fn lasting(&self) -> Option<Named> {
        let lasts = self.tier.line() == self.line;
        lasts.then(|| Named { name: self.name.clone(), stamp: self.stamp, over: self.over })
    }

    /// [`Ticket::take`] of many, in one go. A ticket of a key is none of these.
    pub(crate) async fn take_all(tier: &Tier, tickets: &[Self]) -> Answers<Leased> {
        let leases: Vec<Lease<'_>> = tickets.iter().filter_map(|ticket| lease(&ticket.name, ticket.over)).collect();
        tier.take_leases(&leases).await
    }

    /// Gives all of them back, in one go for each part of a cache that has planted some.
    pub(crate) fn give_back(mut tickets: Vec<Self>) {
        while let Some(tier) = tickets.first().map(|ticket| Arc::clone(&ticket.tier)) {
            let (own, others) = tickets.into_iter().partition(|ticket| Arc::ptr_eq(&ticket.tier, &tier));
            tickets = others;
            Self::give_back_to(tier, own);
        }
    }

    fn give_back_to(tier: Arc<Tier>, tickets: Vec<Self>) {
        let named: Vec<Named> = tickets
            .into_iter()
            .map(|mut ticket| {
                ticket.spent = true;
                Named { name: std::mem::take(&mut ticket.name), stamp: ticket.stamp, over: ticket.over }
            })
            .collect();
        tier.tasks().clone().begin(async move {
            // Without an answer the lease ends them.
            tier.abandon_many(&standing(&named)).await;
            tier.give_leases_back(&leases(&named)).await;
        });
    }

    /// Gives it back, for its load has failed: this is told to who waits for it in other instances.
    pub(crate) fn fail(mut self, why: String) {
        self.why = Some(why);
    }

    /// The key holds it no longer, or never did.
    pub(crate) fn spend(mut self) {
        self.spent = true;
    }
}

/// What a ticket is to the tier: who has it in the hand is somebody else.
#[derive(Debug)]
pub(crate) struct Named {
    name: String,
    stamp: Stamp,
    over: Option<Over>,
}

/// Those that are tickets of a key.
fn standing(named: &[Named]) -> Vec<Standing<'_>> {
    let tickets = named.iter().filter(|named| named.over.is_none());
    tickets.map(|named| Standing { name: &named.name, ticket: named.stamp }).collect()
}

/// Those that are leases of a value.
fn leases(named: &[Named]) -> Vec<Lease<'_>> {
    named.iter().filter_map(|named| lease(&named.name, named.over)).collect()
}

fn lease(name: &str, over: Option<Over>) -> Option<Lease<'_>> {
    over.map(|Over { seen, who }| Lease { name, seen, who })
}

/// Lets tickets live for another lease, in the background and in one go.
pub(crate) fn extend_all(tier: &Arc<Tier>, named: Vec<Named>) {
    if named.is_empty() {
        return;
    }
    let tier = Arc::clone(tier);
    tier.tasks().clone().begin(async move {
        // Without an answer they may end: then the fills are refused.
        tier.extend_many(&standing(&named)).await;
        tier.lengthen_leases(&leases(&named)).await;
    });
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.spent {
            return;
        }
        let (tier, name, stamp, over) = (Arc::clone(&self.tier), std::mem::take(&mut self.name), self.stamp, self.over.take());
        let why = self.why.take();
        self.tier.tasks().begin(async move {
            // Without an answer it ends by itself.
            match over {
                None => drop(tier.abandon(&name, stamp, why.as_deref()).await),
                Some(Over { seen, who }) => drop(tier.give_lease_back(&name, seen, who).await),
            }
        });
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("stamp", &self.stamp).finish_non_exhaustive()
    }
}
