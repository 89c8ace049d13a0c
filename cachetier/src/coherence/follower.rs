//! The follower: the task that holds this instance's own subscription, applies the lane in order and proves that nothing is
//! missing. Whatever goes wrong, nothing here is proven any more; then the lane is taken over as it stands, on the same subscription
//! where that still tells everything, else on a new one.
//!
//! Why a check proves: the server puts messages and replies into one stream in the order in which it ran them. So when the seq in a
//! check's reply is one that was applied here, everything up to it was.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::clock::Millis;
use crate::coherence::instance::Instance;
use crate::error::Fault;
use crate::l2::lane::{Lane, LaneState, Subscription};
use crate::progress::Check;
use crate::proofs::Proof;
use crate::rule::seq::{Point, Seq};
use crate::wire::message;
use crate::wire::wake::{Wake, is_word};

/// How often and how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Between two checks.
    pub(crate) interval: Duration,
    /// For each answer.
    pub(crate) limit: Duration,
}

/// The shortest and the longest rest before another try. Without a subscription, reads ask the server for a proof each time that the bound on
/// staleness is over, 2 s unless set otherwise, and may be as old as that: a longer rest would spare the server little and make them old.
const REST: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// For the whole of a table: the largest has 32 MiB, and a fleet that begins together shares the server's line.
const TABLE: Duration = Duration::from_secs(60);

/// How many checks a session must last for its loss to be met with the shortest rest again: each begin reads the whole table.
const STEADY: u32 = 20;

/// Why a session could not go on as it was.
#[derive(Debug)]
enum Broken {
    /// Something was missed: what is held here is not proven any more, but the subscription goes on.
    Behind(Fault),
    /// The subscription is of no more use.
    Lost(Fault),
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::Lost(fault)
    }
}

impl From<Broken> for Fault {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Behind(fault) | Broken::Lost(fault) => fault,
        }
    }
}

/// Runs until it is dropped. `synced` tells when the instance is in step with the lane.
pub(crate) async fn follow(instance: Arc<Instance>, lane: Arc<dyn Lane>, pace: Pace, synced: watch::Sender<bool>) {
    let mut rest = REST.0;
    let mut episode = false;
    let mut applied = Point::default();
    let mut out_since = None;
    loop {
        let mut proofs = 0;
        let fault = match session(&instance, &*lane, pace, &synced, (&mut applied, &mut proofs, &mut out_since)).await {
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
        instance.waits.listens(false);
        out_since.get_or_insert(instance.now());
        if proofs >= STEADY {
            rest = REST.0;
        }
        if !std::mem::replace(&mut episode, true) {
            tracing::warn!(namespace = %instance.namespace, part = instance.part, %fault, "lost the lane: copies are not trusted until it is back");
        }
        // Full jitter: a whole fleet that lost the same server does not come back in step.
        sleep(rest.mul_f64(fastrand::f64())).await;
        rest = rest.saturating_mul(2).min(REST.1);
    }
}

/// One subscription, from its begin to the fault that ended it. `applied` is up to where everything is applied here, `proofs` counts
/// the checks after the one it begins with, `out_since` is when the instance fell out of step with the lane.
async fn session(
    instance: &Instance,
    lane: &dyn Lane,
    pace: Pace,
    synced: &watch::Sender<bool>,
    (applied, proofs, out_since): (&mut Point, &mut u32, &mut Option<Millis>),
) -> Result<Infallible, Fault> {
    let mut subscription = limited(pace.limit, lane.subscribe()).await?;
    let follower = Follower { instance, lane, pace };
    *applied = follower.come_into_step(&mut *subscription, *applied).await?;
    synced.send_replace(true);
    instance.waits.listens(subscription.is_told_alone());
    tell_in_step(instance, out_since);

    let mut checks = interval(pace.interval);
    checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first one is done.
    checks.reset();
    // Whether the last thing proven was that something had been missed.
    let mut mended = false;
    loop {
        let step = tokio::select! {
            message = subscription.next() => {
                let heard = hear(instance, &message?, *applied);
                if let Ok(reached) = heard {
                    instance.view.progress.apply(reached);
                }
                heard
            }
            _ = checks.tick() => {
                let proven = follower.check(&mut *subscription, *applied).await;
                if proven.is_ok() {
                    *proofs = proofs.saturating_add(1);
                    mended = false;
                }
                proven
            }
        };
        *applied = match step {
            Ok(reached) => reached,
            Err(Broken::Lost(fault)) => return Err(fault),
            // Again, and nothing was proven in between: this subscription is no good.
            Err(Broken::Behind(fault)) if mended => return Err(fault),
            Err(Broken::Behind(fault)) => {
                mended = true;
                instance.lose();
                instance.counters.lane_gaps.one();
                tracing::warn!(namespace = %instance.namespace, part = instance.part, %fault, "missed something on the lane: copies are checked before they are served");
                out_since.get_or_insert(instance.now());
                let reached = follower.come_into_step(&mut *subscription, *applied).await?;
                tell_in_step(instance, out_since);
                reached
            }
        };
    }
}

/// Once for each time that the instance was out of step, whatever it took to come back.
fn tell_in_step(instance: &Instance, out_since: &mut Option<Millis>) {
    let Some(since) = out_since.take() else {
        tracing::info!(namespace = %instance.namespace, part = instance.part, "in step with the lane");
        return;
    };
    let out = since.until(instance.now());
    tracing::info!(namespace = %instance.namespace, part = instance.part, ?out, "back in step with the lane");
}

/// Who asks the lane, and how.
#[derive(Clone, Copy)]
struct Follower<'a> {
    instance: &'a Instance,
    lane: &'a dyn Lane,
    pace: Pace,
}

/// A check that is to be asked: its number, the connection that commands go over, and when.
struct Asked(Check, u64, Millis);

impl Follower<'_> {
    /// Takes the lane over as it stands now: a new epoch, the parts of the table that moved after `before`, and a proof. Returns the
    /// point up to which everything is applied here.
    async fn come_into_step(self, subscription: &mut dyn Subscription, before: Point) -> Result<Point, Fault> {
        let Self { instance, pace, .. } = self;
        let begun = limited(pace.limit, subscription.check(instance.view.floor())).await?;
        // What this instance had applied in the same era, its table holds.
        let since = if begun.point.era == before.era { before.seq } else { Seq::default() };
        // It is read in parts, each of which is limited where it is read.
        let table = limited(TABLE, subscription.table(begun, since)).await?;
        // Once more: a lane that has begun anew since the first check has lost its table before, or while, it was read; and one that has
        // grown was read in two shapes.
        let asked = self.ask();
        let state = limited(pace.limit, subscription.check(instance.view.floor())).await?;
        if state.point.era != begun.point.era || state.cells != begun.cells {
            return Err(Fault::Refused("the lane began another era, or grew".into()));
        }
        instance.begin_epoch(LaneState { point: begun.point, ..state }, &table, None);
        let applied = catch_up(instance, subscription, begun.point, state.point)?;
        self.prove(asked, applied, subscription);
        Ok(applied)
    }

    /// Asks the lane where it stands, and renews the proof if that is where this instance is.
    async fn check(self, subscription: &mut dyn Subscription, before: Point) -> Result<Point, Broken> {
        let Self { instance, pace, .. } = self;
        let asked = self.ask();
        let state = limited(pace.limit, subscription.check(instance.view.floor())).await?;
        let applied = catch_up(instance, subscription, before, state.point)?;
        if !instance.journal.has_met(state.run) {
            return Err(Broken::Behind(Fault::Refused("another server was asked meanwhile, or told something".into())));
        }
        instance.view.checked(instance.now(), state.server_millis);
        self.prove(asked, applied, subscription);
        Ok(applied)
    }

    /// Before it is sent.
    fn ask(self) -> Asked {
        Asked(self.instance.view.progress.ask(), self.lane.line(), self.instance.now())
    }

    /// The proof counts from when the question was asked, not from when the answer came.
    fn prove(self, Asked(check, line, at): Asked, applied: Point, subscription: &dyn Subscription) {
        let view = &self.instance.view;
        let until = subscription.proves_for().map_or(Millis::NEVER, |bound| at.after(bound));
        view.prove(line, Proof { asked: at, until, now: self.instance.now() });
        view.progress.confirm(applied, check);
    }
}

/// Applies what had arrived before a check was answered with `told`, and returns the point reached: all of that, or an error.
fn catch_up(instance: &Instance, subscription: &mut dyn Subscription, before: Point, told: Point) -> Result<Point, Broken> {
    let mut applied = before;
    let mut behind = None;
    // All of them, whatever one of them shows: what has arrived is applied.
    while let Some(bytes) = subscription.ready() {
        match hear(instance, &bytes, applied) {
            Ok(reached) => applied = reached,
            Err(Broken::Behind(fault)) => behind = Some(fault),
            Err(lost) => return Err(lost),
        }
    }
    match behind {
        Some(fault) => Err(Broken::Behind(fault)),
        None if told.era != applied.era => Err(Broken::Behind(Fault::Refused("the lane began another era".into()))),
        None if told.seq < before.seq => Err(Broken::Lost(Fault::Refused("the lane went back".into()))),
        None if told.seq > applied.seq => Err(Broken::Behind(Fault::Refused("a message is missing".into()))),
        None => Ok(applied),
    }
}

/// Applies one message and returns the point reached. What this instance alone is told moves nothing.
fn hear(instance: &Instance, bytes: &[u8], applied: Point) -> Result<Point, Broken> {
    if is_word(bytes) {
        // What cannot be read is nobody's loss: who waits looks again.
        if let Some(wake) = Wake::read(bytes) {
            instance.wake(&wake);
        }
        return Ok(applied);
    }
    let message = message::read(bytes).map_err(|garbled| Fault::Refused(format!("unreadable message: {garbled}").into()))?;
    instance.apply(&message);
    if message.era != applied.era {
        return Err(Broken::Behind(Fault::Refused("a message of another era".into())));
    }
    if message.seq <= applied.seq {
        return Ok(applied);
    }
    if message.previous != applied.seq {
        return Err(Broken::Behind(Fault::Refused("a message is missing".into())));
    }
    Ok(Point { era: message.era, seq: message.seq })
}

async fn limited<T>(limit: Duration, call: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    timeout(limit, call).await.unwrap_or_else(|_| Err(Fault::Unanswered("out of time".into())))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::task::{Context, Poll};

    use async_trait::async_trait;
    use tokio::time::Instant;

    use super::*;
    use crate::coherence::instance::tests::instance;
    use crate::coherence::own::Teller as _;
    use crate::l2::lane::{Bumped, Planted, Released, Seized};
    use crate::rule::seq::Era;
    use crate::rule::stamp::Stamp;
    use crate::rule::table::TableCopy;
    use crate::sync::{Mutex, lock};
    use crate::wire::message::Targets;

    const PACE: Pace = Pace { interval: Duration::from_millis(500), limit: Duration::from_secs(20) };

    /// A lane that is only listened to.
    #[derive(Default)]
    struct Heard {
        /// Its table is lost after each first check, so that the next one begins another era; else its subscriptions end as soon as they
        /// are in step.
        torn: bool,
        /// How often one was begun.
        begun: AtomicU32,
        /// When the last one was, and the longest time between two.
        rests: Mutex<(Option<Instant>, Duration)>,
    }

    struct Short {
        era: u32,
        torn: bool,
    }

    fn only_listened_to() -> Fault {
        Fault::Away("only listened to".into())
    }

    #[async_trait]
    impl Lane for Heard {
        async fn bump(&self, _: &Targets, _: Point) -> Result<Bumped, Fault> {
            Err(only_listened_to())
        }

        async fn expire(&self, _: &str, _: Stamp, _: Point) -> Result<Bumped, Fault> {
            Err(only_listened_to())
        }

        async fn announce(&self, _: &str, _: Stamp, _: Point) -> Result<Bumped, Fault> {
            Err(only_listened_to())
        }

        async fn seize(&self, _: &str, _: Stamp, _: Duration, _: Point) -> Result<Seized, Fault> {
            Err(only_listened_to())
        }

        async fn hold(&self, _: &[String], _: Stamp, _: Duration, _: Point) -> Result<Planted, Fault> {
            Err(only_listened_to())
        }

        async fn release(&self, _: &[String], _: Stamp, _: Duration, _: Point) -> Result<Released, Fault> {
            Err(only_listened_to())
        }

        async fn trade(&self, _: &str, _: Stamp, _: Stamp, _: Duration, _: Point) -> Result<Seized, Fault> {
            Err(only_listened_to())
        }

        async fn stand(&self, _: Point) -> Result<LaneState, Fault> {
            Err(only_listened_to())
        }

        async fn table(&self, _: LaneState, _: Seq) -> Result<TableCopy, Fault> {
            Err(only_listened_to())
        }

        async fn subscribe(&self) -> Result<Box<dyn Subscription>, Fault> {
            self.begun.fetch_add(1, Ordering::Relaxed);
            let (now, mut rests) = (Instant::now(), lock(&self.rests));
            rests.1 = rests.0.replace(now).map_or(rests.1, |last| rests.1.max(now - last));
            Ok(Box::new(Short { era: 1, torn: self.torn }))
        }
    }

    #[async_trait]
    impl Subscription for Short {
        fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Result<Vec<u8>, Fault>> {
            Poll::Ready(Err(Fault::Away("ended".into())))
        }

        fn ready(&mut self) -> Option<Vec<u8>> {
            None
        }

        async fn check(&mut self, _: Point) -> Result<LaneState, Fault> {
            Ok(LaneState { point: Point { era: Era(self.era), seq: Seq(7) }, server_millis: 1_000_000, cells: 1 << 18, run: 1 })
        }

        async fn table(&mut self, _: LaneState, _: Seq) -> Result<TableCopy, Fault> {
            self.era += u32::from(self.torn);
            Ok(TableCopy::default())
        }

        fn proves_for(&self) -> Option<Duration> {
            Some(Duration::from_secs(2))
        }
    }

    #[tokio::test]
    async fn a_table_lost_before_it_was_read_proves_nothing() {
        let (instance, (synced, in_step)) = (instance(), watch::channel(false));
        let torn = Heard { torn: true, ..Heard::default() };
        let end = timeout(PACE.limit, session(&instance, &torn, PACE, &synced, (&mut Point::default(), &mut 0, &mut None)))
            .await
            .expect("it ends");
        assert!(matches!(end, Err(Fault::Refused(_))), "{end:?}");
        assert!(!*in_step.borrow() && !instance.view.proven(instance.now()));
    }

    /// A connection made before a fail-over may still be answered by the old server, which is listened to no longer.
    #[tokio::test]
    async fn a_check_behind_something_that_was_told_to_another_era_proves_nothing_until_the_lane_is_met_again() {
        let (instance, lane) = (instance(), Heard::default());
        let (follower, mut subscription) =
            (Follower { instance: &instance, lane: &lane, pace: PACE }, Short { era: 1, torn: false });
        let told = |era| {
            let (targets, at) =
                (Targets { keys: vec!["k".to_owned()], ..Targets::default() }, Point { era: Era(era), seq: Seq(7) });
            let mark = instance.mark();
            instance.end_own(&targets, mark, at, None);
        };
        let applied = follower.come_into_step(&mut subscription, Point::default()).await.unwrap();
        told(1);
        assert!(follower.check(&mut subscription, applied).await.is_ok());
        told(2);
        for _ in 0..2 {
            assert!(matches!(follower.check(&mut subscription, applied).await, Err(Broken::Behind(_))));
        }
        let applied = follower.come_into_step(&mut subscription, applied).await.unwrap();
        assert!(follower.check(&mut subscription, applied).await.is_ok());
        assert!(instance.outbox.covers("k", &[]), "it is told again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_lane_that_is_lost_again_and_again_is_begun_anew_less_and_less_often() {
        let (lane, (synced, _in_step)) = (Arc::new(Heard::default()), watch::channel(false));
        let following = follow(Arc::new(instance()), Arc::clone(&lane) as Arc<dyn Lane>, PACE, synced);
        assert!(timeout(Duration::from_secs(60), following).await.is_err());
        let begun = lane.begun.load(Ordering::Relaxed);
        assert!(begun < 200, "{begun} in a minute");
        // Reads are as old as the bound on staleness meanwhile.
        let longest = lock(&lane.rests).1;
        assert!(longest <= Duration::from_millis(2_010), "{longest:?}");
    }
}
