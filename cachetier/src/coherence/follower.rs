//! The follower: the task that holds this instance's own subscription, applies the lane in order and proves that nothing is
//! missing. Whatever goes wrong, it is answered in one way: nothing here is proven any more, and the subscription begins anew.
//!
//! Why a check proves: the server puts messages and replies into one stream in the order in which it ran them. So when the seq in a
//! check's reply is one that was applied here, everything up to it was.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::clock::Millis;
use crate::coherence::instance::Instance;
use crate::error::Fault;
use crate::l2::lane::{Lane, Subscription};
use crate::rule::seq::Token;
use crate::wire::message;

/// How often and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Between two checks.
    pub(crate) interval: Duration,
    /// For each answer.
    pub(crate) limit: Duration,
}

/// The shortest and the longest rest before another try.
const REST: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How many checks a session must last for its loss to be met with the shortest rest again: each begin reads the whole table.
const STEADY: u32 = 20;

/// Runs until it is dropped. `synced` tells when the instance is in step with the lane.
pub(crate) async fn follow(instance: Arc<Instance>, lane: Arc<dyn Lane>, pace: Pace, synced: watch::Sender<bool>) {
    let mut rest = REST.0;
    let mut episode = false;
    loop {
        let mut proofs = 0;
        let fault = match session(&instance, &*lane, pace, &synced, &mut proofs).await {
            Ok(never) => match never {},
            Err(fault) => fault,
        };
        // A session that did not come into step has proven nothing. The loads that have begun since the last one that did go on being
        // joined: a try that fails tells nothing new of them.
        if synced.send_replace(false) {
            instance.lose();
            instance.counters.lane_lost.one();
            episode = false;
        }
        if proofs >= STEADY {
            rest = REST.0;
        }
        if !std::mem::replace(&mut episode, true) {
            tracing::warn!(namespace = %instance.namespace, %fault, "lost the lane: copies are not trusted until it is back");
        }
        // Full jitter: a whole fleet that lost the same server does not come back in step.
        sleep(rest.mul_f64(fastrand::f64())).await;
        rest = rest.saturating_mul(2).min(REST.1);
    }
}

/// One subscription, from its begin to the fault that ended it. `proofs` counts the checks after the one it begins with.
async fn session(
    instance: &Instance,
    lane: &dyn Lane,
    pace: Pace,
    synced: &watch::Sender<bool>,
    proofs: &mut u32,
) -> Result<std::convert::Infallible, Fault> {
    let mut subscription = limited(pace.limit, lane.subscribe()).await?;
    let begun = limited(pace.limit, subscription.check()).await?;
    let table = limited(pace.limit, subscription.table()).await?;
    // Once more: a lane that has begun anew since the first check has lost its table before, or while, it was read.
    let (check, asked) = (instance.view.progress.ask(), instance.now());
    let state = limited(pace.limit, subscription.check()).await?;
    if state.token.era != begun.token.era {
        return Err(Fault::Refused("the lane began another era".into()));
    }
    instance.begin_epoch(begun.token, &table, state.server_millis);
    let mut applied = catch_up(instance, &mut *subscription, begun.token, state.token)?;
    prove(instance, asked, &*subscription);
    instance.view.progress.confirm(applied, check);
    synced.send_replace(true);
    tracing::info!(namespace = %instance.namespace, "in step with the lane");

    let mut checks = interval(pace.interval);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first one is done.
    checks.reset();
    loop {
        tokio::select! {
            message = subscription.next() => {
                applied = hear(instance, &message?, applied)?;
                instance.view.progress.apply(applied);
            }
            _ = checks.tick() => {
                let (check, asked) = (instance.view.progress.ask(), instance.now());
                let state = limited(pace.limit, subscription.check()).await?;
                applied = catch_up(instance, &mut *subscription, applied, state.token)?;
                instance.view.checked(instance.now(), state.server_millis);
                prove(instance, asked, &*subscription);
                instance.view.progress.confirm(applied, check);
                *proofs = proofs.saturating_add(1);
            }
        }
    }
}

/// Applies what had arrived before a check was answered with `told`, and returns the point reached: all of that, or an error.
fn catch_up(instance: &Instance, subscription: &mut dyn Subscription, before: Token, told: Token) -> Result<Token, Fault> {
    let mut applied = before;
    while let Some(bytes) = subscription.ready() {
        applied = hear(instance, &bytes, applied)?;
    }
    if told.era != applied.era || told.seq < before.seq {
        return Err(Fault::Refused("the lane went back, or began another era".into()));
    }
    if told.seq > applied.seq {
        return Err(Fault::Refused("a message is missing".into()));
    }
    Ok(applied)
}

/// Applies one message and returns the point reached.
fn hear(instance: &Instance, bytes: &[u8], applied: Token) -> Result<Token, Fault> {
    let message = message::read(bytes).map_err(|garbled| Fault::Refused(format!("unreadable message: {garbled}").into()))?;
    instance.apply(&message);
    if message.era != applied.era {
        return Err(Fault::Refused("a message of another era".into()));
    }
    if message.seq <= applied.seq {
        return Ok(applied);
    }
    if message.previous != applied.seq {
        return Err(Fault::Refused("a message is missing".into()));
    }
    Ok(Token { era: message.era, seq: message.seq })
}

/// The proof counts from when the question was asked, not from when the answer came.
fn prove(instance: &Instance, asked: Millis, subscription: &dyn Subscription) {
    instance.view.prove(subscription.proves_for().map_or(Millis::NEVER, |bound| asked.after(bound)));
}

async fn limited<T>(limit: Duration, call: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    timeout(limit, call).await.unwrap_or_else(|_| Err(Fault::Unanswered("out of time".into())))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::coherence::instance::tests::instance;
    use crate::l2::lane::{Bumped, LaneState, Seized};
    use crate::rule::seq::{Era, Seq};
    use crate::rule::stamp::Stamp;
    use crate::wire::message::Targets;

    const PACE: Pace = Pace { interval: Duration::from_millis(500), limit: Duration::from_secs(20) };

    /// A lane whose table is lost after each first check, so that the next one begins another era.
    struct Torn;

    /// A lane whose subscriptions end as soon as they are in step, and how often one was begun.
    #[derive(Default)]
    struct Flapping(AtomicU32);

    struct Short {
        era: u32,
        torn: bool,
    }

    #[async_trait]
    impl Lane for Torn {
        async fn bump(&self, _: &Targets, _: Seq) -> Result<Bumped, Fault> {
            Err(Fault::Away("not of this test".into()))
        }

        async fn seize(&self, _: &str, _: Stamp, _: Duration, _: Seq) -> Result<Seized, Fault> {
            Err(Fault::Away("not of this test".into()))
        }

        async fn subscribe(&self) -> Result<Box<dyn Subscription>, Fault> {
            Ok(Box::new(Short { era: 1, torn: true }))
        }
    }

    #[async_trait]
    impl Lane for Flapping {
        async fn bump(&self, _: &Targets, _: Seq) -> Result<Bumped, Fault> {
            Err(Fault::Away("not of this test".into()))
        }

        async fn seize(&self, _: &str, _: Stamp, _: Duration, _: Seq) -> Result<Seized, Fault> {
            Err(Fault::Away("not of this test".into()))
        }

        async fn subscribe(&self) -> Result<Box<dyn Subscription>, Fault> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(Box::new(Short { era: 1, torn: false }))
        }
    }

    #[async_trait]
    impl Subscription for Short {
        async fn next(&mut self) -> Result<Vec<u8>, Fault> {
            Err(Fault::Away("ended".into()))
        }

        fn ready(&mut self) -> Option<Vec<u8>> {
            None
        }

        async fn check(&mut self) -> Result<LaneState, Fault> {
            Ok(LaneState { token: Token { era: Era(self.era), seq: Seq(7) }, server_millis: 1_000_000 })
        }

        async fn table(&mut self) -> Result<Vec<u8>, Fault> {
            self.era += u32::from(self.torn);
            Ok(Vec::new())
        }

        fn proves_for(&self) -> Option<Duration> {
            Some(Duration::from_secs(2))
        }
    }

    #[tokio::test]
    async fn a_table_lost_before_it_was_read_proves_nothing() {
        let (instance, (synced, in_step)) = (instance(), watch::channel(false));
        let end = timeout(PACE.limit, session(&instance, &Torn, PACE, &synced, &mut 0)).await.expect("it ends");
        assert!(matches!(end, Err(Fault::Refused(_))), "{end:?}");
        assert!(!*in_step.borrow() && !instance.view.proven(instance.now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_is_lost_again_and_again_is_begun_anew_less_and_less_often() {
        let (lane, (synced, _in_step)) = (Arc::new(Flapping::default()), watch::channel(false));
        let following = follow(Arc::new(instance()), Arc::clone(&lane) as Arc<dyn Lane>, PACE, synced);
        assert!(timeout(Duration::from_secs(60), following).await.is_err());
        let begun = lane.0.load(Ordering::Relaxed);
        assert!(begun < 200, "{begun} in a minute");
    }
}
