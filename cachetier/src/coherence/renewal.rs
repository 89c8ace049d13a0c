//! A proof for who has none: asked for beside the subscription, by one caller at a time, when a read finds that the follower's has run out.
//!
//! Its answers are not ordered with the messages. If the lane stands where everything is applied here, that is proof. Else the parts of the
//! table that have moved are taken over and a new epoch begins, before anything is proven: what a lost message has invalidated by its key
//! is then suspect, and what is loaded from now on is newer. The proof counts from when the lane was first asked, so messages that were
//! published later are not missed by it.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::clock::Millis;
use crate::coherence::instance::Instance;
use crate::error::Fault;
use crate::l2::lane::LaneState;
use crate::l2::tier::Tier;
use crate::proofs::Proof;
use crate::rule::seq::Seq;

/// For how long nobody asks again after it was in vain.
const PAUSE: Duration = Duration::from_millis(250);

/// How often one asks anew whom another epoch has overtaken: then the follower is coming into step.
const TRIES: u32 = 3;

/// A proof asked for by reads.
#[derive(Debug)]
pub(crate) struct Renewal {
    /// Whose turn it is to ask, and whether it was in vain the last time.
    turn: Mutex<bool>,
    /// How long an answer proves something: without a subscription, messages are missed even where none can be lost.
    proves_for: Duration,
    /// How long asking may take.
    limit: Duration,
}

impl Renewal {
    pub(crate) fn new(proves_for: Duration, limit: Duration) -> Self {
        Self { turn: Mutex::new(false), proves_for, limit }
    }

    /// Returns when there is a proof, or none to be had for now: after the limit at most, and at once where that was found out lately.
    ///
    /// Cancel safety: dropped, it leaves the turn to the next.
    pub(crate) async fn seek(&self, instance: &Instance, tier: &Tier) {
        // While one asks again, the others do not wait for him.
        let mut in_vain = match self.turn.try_lock() {
            Ok(turn) => turn,
            Err(_) if instance.view.excused(instance.now()) => return,
            Err(_) => self.turn.lock().await,
        };
        let now = instance.now();
        if instance.view.proven_of(tier.line(), now) || instance.view.excused(now) {
            return;
        }
        if *in_vain {
            instance.view.excuse(now.after(self.limit).after(PAUSE));
        }
        let asking = async {
            for _ in 0..TRIES {
                if ask(instance, tier, self.proves_for).await? {
                    return Ok(());
                }
            }
            Err(Fault::Refused("one epoch follows the other".into()))
        };
        let asked = timeout(self.limit, asking).await;
        *in_vain = !matches!(asked, Ok(Ok(()))) && !instance.view.proven_of(tier.line(), instance.now());
        instance.view.excuse(if *in_vain { instance.now().after(PAUSE) } else { Millis::default() });
    }
}

/// Says whether there is a proof now; there is none if another epoch has begun meanwhile.
async fn ask(instance: &Instance, tier: &Tier, proves_for: Duration) -> Result<bool, Fault> {
    let view = &instance.view;
    let (epoch, reached) = view.position();
    let (number, line, asked) = (view.progress.ask(), tier.line(), instance.now());
    let state = tier.stand(view.floor()).await?;
    // In another life of the server, that stands where this instance does, the lane was taken back to its floor: what the instance has told
    // may be forgotten all the same.
    let epoch = if state.point == reached && instance.journal.has_met(state.run) {
        epoch
    } else {
        let since = if state.point.era == reached.era { reached.seq } else { Seq::default() };
        let table = tier.table(state, since).await?;
        // Once more, as the follower does: the table may have been lost, or have grown, while it was read.
        let again = tier.stand(view.floor()).await?;
        if again.point.era != state.point.era || again.cells != state.cells {
            return Err(Fault::Refused("the lane began another era, or grew".into()));
        }
        let Some(begun) = instance.begin_epoch(LaneState { point: state.point, ..again }, &table, Some(epoch)) else {
            return Ok(false);
        };
        begun
    };
    let proven = view.prove_in(epoch, line, Proof { asked, until: asked.after(proves_for), now: instance.now() });
    if proven {
        view.progress.confirm(state.point, number);
    }
    Ok(proven)
}
