//! An own bump from its begin to its outcome, whoever makes it. What it does where it is made is the [`Teller`]'s.

use std::sync::Arc;

use crate::coherence::outbox::Outbox;
use crate::coherence::together::{self, Together};
use crate::error::Fault;
use crate::l2::lane::Bumped;
use crate::l2::tier::Tier;
use crate::rule::seq::{Point, Tick};
use crate::rule::stamp::Stamp;
use crate::wire::message::Targets;

/// A moment, as own bumps tell it: to be known before one is sent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mark {
    /// The latest tick given out.
    pub(crate) tick: Tick,
    /// How many lives of the lane have been met.
    pub(crate) life: u64,
}

/// Who makes bumps, and what they do there: before they are sent, and again at every outcome.
pub(crate) trait Teller: Send + Sync + 'static {
    /// Those of its bumps that are under way.
    fn together(&self) -> &Together;

    /// So many went in one command.
    fn went_together(&self, bumps: usize);

    /// What the lane has not confirmed.
    fn outbox(&self) -> &Outbox;

    /// What the lane is told by whoever speaks to it: below this point it cannot stand, unless it has forgotten some.
    fn floor(&self) -> Point;

    /// Now.
    fn mark(&self) -> Mark;

    /// Before a bump is sent.
    fn begin_own(&self, targets: &Targets, coming: Option<Stamp>) -> Mark;

    /// The bump stands on the lane at `at`; so does every earlier one of these targets, up to the mark `upto`.
    fn end_own(&self, targets: &Targets, upto: Mark, at: Point, coming: Option<Stamp>);

    /// Nobody knows whether the bump stands on the lane: it goes to the outbox.
    fn give_up_own(&self, targets: Targets);
}

/// An own bump between its begin and its outcome. Cancel safety: dropped in between, nobody knows whether it stands on the lane, so it
/// is given up: it goes to the outbox and is told again.
pub(crate) struct OwnBump<T: Teller> {
    teller: Arc<T>,
    targets: Targets,
    mark: Mark,
    settled: bool,
}

impl<T: Teller> OwnBump<T> {
    /// Applies it where it is made.
    pub(crate) fn begin(teller: &Arc<T>, targets: Targets, coming: Option<Stamp>) -> Self {
        let mut own = Self::owed(teller, targets);
        own.mark = teller.begin_own(&own.targets, coming);
        own
    }

    /// One that is sent later, and not applied before it is answered or given up.
    pub(crate) fn owed(teller: &Arc<T>, targets: Targets) -> Self {
        teller.outbox().begun();
        Self { teller: Arc::clone(teller), targets, mark: teller.mark(), settled: false }
    }

    pub(crate) fn keys(&self) -> &[String] {
        &self.targets.keys
    }

    /// It stands on the lane at `at`.
    pub(crate) fn settle(mut self, at: Point, coming: Option<Stamp>) {
        self.teller.end_own(&self.targets, self.mark, at, coming);
        self.settled = true;
    }
}

impl<T: Teller> Drop for OwnBump<T> {
    fn drop(&mut self) {
        if !self.settled {
            self.teller.give_up_own(std::mem::take(&mut self.targets));
        }
        // Last: a flush that finds none open finds what is left of it in the outbox.
        self.teller.outbox().ended();
    }
}

/// One bump, from its begin to its outcome; with others, if many are under way. After an error it waits in the outbox.
pub(crate) async fn bump<T: Teller>(teller: &Arc<T>, tier: &Arc<Tier>, targets: Targets) -> Result<Point, Fault> {
    let bumped = carry(teller, targets, async |targets| together::send(teller, tier, targets).await).await?;
    Ok(bumped.point)
}

/// As [`bump`], for itself in any case: the answer says how many of the keys held something.
pub(crate) async fn bump_counting<T: Teller>(teller: &Arc<T>, tier: &Tier, targets: Targets) -> Result<Bumped, Fault> {
    carry(teller, targets, async |targets| tier.bump(targets, teller.floor()).await).await
}

/// As [`bump`], of a key whose value is made stale and stays.
pub(crate) async fn expire<T: Teller>(teller: &Arc<T>, tier: &Tier, key: &str, stamp: Stamp) -> Result<Point, Fault> {
    let targets = Targets { keys: vec![key.to_owned()], stale: true, ..Targets::default() };
    let bumped = carry(teller, targets, async |_| tier.expire(key, stamp, teller.floor()).await).await?;
    Ok(bumped.point)
}

/// Tells everybody that any other value of the key than that of this stamp is stale. Here it is known, and where it does not arrive it can be done
/// without.
pub(crate) async fn announce<T: Teller>(teller: &T, tier: &Tier, key: &str, stamp: Stamp) -> Result<(), Fault> {
    tier.announce(key, stamp, teller.floor()).await.map(drop)
}

async fn carry<T: Teller>(
    teller: &Arc<T>,
    targets: Targets,
    send: impl AsyncFnOnce(&Targets) -> Result<Bumped, Fault>,
) -> Result<Bumped, Fault> {
    // Cancel safety: from here on, a drop gives the bump up.
    let own = OwnBump::begin(teller, targets, None);
    #[cfg(feature = "chaos")]
    crate::pause::at(crate::pause::Point::BeforeSending).await;
    let bumped = send(&own.targets).await?;
    #[cfg(feature = "chaos")]
    crate::pause::at(crate::pause::Point::BeforeSecondDrop).await;
    own.settle(bumped.point, None);
    Ok(bumped)
}
