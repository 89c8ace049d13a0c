//! The ticket: what a miss plants in the key itself, the right to fill it. Fence and lease in one.

use std::sync::Arc;

use crate::l2::many::Standing;
use crate::l2::tier::Tier;
use crate::rule::stamp::Stamp;

/// A ticket that stands in a key, or may: one whose planting got no answer is given back, too. Dropped unspent it is given back in
/// the background, so every exit that does not fill frees the key.
#[must_use = "a dropped ticket is given back"]
pub(crate) struct Ticket {
    tier: Arc<Tier>,
    name: String,
    stamp: Stamp,
    spent: bool,
}

impl Ticket {
    /// A ticket of `key`, to be planted.
    pub(crate) fn new(tier: &Arc<Tier>, key: &str, stamp: Stamp) -> Self {
        Self { tier: Arc::clone(tier), name: tier.name(key), stamp, spent: false }
    }

    /// The name under which the tier knows its key.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// What lets it live for another lease, in the background, when it is called.
    pub(crate) fn extension(&self) -> impl FnOnce() + use<> {
        let (tier, name, stamp) = (Arc::clone(&self.tier), self.name.clone(), self.stamp);
        move || {
            let tasks = tier.tasks().clone();
            tasks.begin(async move {
                // Without an answer it may end: then the fill is refused.
                let _ = tier.extend(&name, stamp).await;
            });
        }
    }

    /// The key and the ticket in it, for [`extend_all`].
    pub(crate) fn named(&self) -> Named {
        Named { name: self.name.clone(), stamp: self.stamp }
    }

    /// Gives all of them back, in one go.
    pub(crate) fn give_back(tickets: Vec<Self>) {
        let Some(tier) = tickets.first().map(|ticket| Arc::clone(&ticket.tier)) else { return };
        let named: Vec<Named> = tickets
            .into_iter()
            .map(|mut ticket| {
                ticket.spent = true;
                Named { name: std::mem::take(&mut ticket.name), stamp: ticket.stamp }
            })
            .collect();
        tier.tasks().clone().begin(async move {
            // Without an answer the lease ends them.
            tier.abandon_many(&standing(&named)).await;
        });
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
}

fn standing(named: &[Named]) -> Vec<Standing<'_>> {
    named.iter().map(|named| Standing { name: &named.name, ticket: named.stamp }).collect()
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
    });
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.spent {
            return;
        }
        let (tier, name, stamp) = (Arc::clone(&self.tier), std::mem::take(&mut self.name), self.stamp);
        self.tier.tasks().begin(async move {
            // Without an answer the lease ends it.
            let _ = tier.abandon(&name, stamp).await;
        });
    }
}

impl std::fmt::Debug for Ticket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ticket").field("stamp", &self.stamp).finish_non_exhaustive()
    }
}
