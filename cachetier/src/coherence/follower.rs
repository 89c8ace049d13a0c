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

/// Runs until it is dropped. `synced` tells when the instance is in step with the lane.
pub(crate) async fn follow(instance: Arc<Instance>, lane: Arc<dyn Lane>, pace: Pace, synced: watch::Sender<bool>) {
    let mut rest = REST.0;
    let mut episode = false;
    loop {
        let end = session(&instance, &*lane, pace, &synced).await;
        instance.lose();
        let fault = match end {
            Ok(never) => match never {},
            Err(fault) => fault,
        };
        if synced.send_replace(false) {
            instance.counters.lane_lost.one();
            rest = REST.0;
            episode = false;
        }
        if !std::mem::replace(&mut episode, true) {
            tracing::warn!(namespace = %instance.namespace, %fault, "lost the lane: copies are not trusted until it is back");
        }
        // Full jitter: a whole fleet that lost the same server does not come back in step.
        sleep(rest.mul_f64(fastrand::f64())).await;
        rest = rest.saturating_mul(2).min(REST.1);
    }
}

/// One subscription, from its begin to the fault that ended it.
async fn session(
    instance: &Instance,
    lane: &dyn Lane,
    pace: Pace,
    synced: &watch::Sender<bool>,
) -> Result<std::convert::Infallible, Fault> {
    let mut subscription = limited(pace.limit, lane.subscribe()).await?;
    let asked = instance.now();
    let state = limited(pace.limit, subscription.check()).await?;
    let table = limited(pace.limit, subscription.table()).await?;
    // Always a new epoch, also when the seq is the one known: messages may have come and gone unseen before the confirmation.
    instance.lose();
    instance.view.take_over(state.token, &table, instance.now(), state.server_millis);
    let mut applied = state.token;
    while let Some(bytes) = subscription.ready() {
        applied = hear(instance, &bytes, applied)?;
    }
    prove(instance, asked, &*subscription);
    synced.send_replace(true);
    tracing::info!(namespace = %instance.namespace, "in step with the lane");

    let mut checks = interval(pace.interval);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            message = subscription.next() => applied = hear(instance, &message?, applied)?,
            _ = checks.tick() => {
                let asked = instance.now();
                let before = applied;
                let state = limited(pace.limit, subscription.check()).await?;
                while let Some(bytes) = subscription.ready() {
                    applied = hear(instance, &bytes, applied)?;
                }
                if state.token.era != applied.era || state.token.seq < before.seq {
                    return Err(Fault::Refused("the lane went back, or began another era".into()));
                }
                if state.token.seq > applied.seq {
                    return Err(Fault::Refused("a message is missing".into()));
                }
                instance.view.checked(instance.now(), state.server_millis);
                prove(instance, asked, &*subscription);
            }
        }
    }
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
