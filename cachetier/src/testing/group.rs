//! Several instances over one tier and one clock: begun, ended, cut off, and brought to rest. What one of them is asked for that is
//! `member`'s, settings are `builder`'s.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::builder::{Configure, GroupBuilder, Settings};
use super::member::Member;
use super::{Event, LIMIT, Tally, fail};
use crate::cache::TieredCache;
use crate::clock::{Clock, ManualClock, is_paused};
use crate::l2::memory::InProcess;
use crate::sync::{Mutex, MutexGuard, lock};

/// A small tag table: a new instance costs little.
const CELLS: u32 = 4_096;

/// Between two looks at whether everything is at rest.
const LOOK: Duration = Duration::from_millis(1);

/// By how much the clock moves ahead of tokio's time: less than there is between two checks.
const STEP: Duration = Duration::from_millis(250);

/// The most steps that some time is passed in.
const STEPS: u32 = 4_096;

/// As many instances of a service as one asks for, in this process: over one [`InProcess`] tier and one [manual clock](Clock::manual).
///
/// Its caches are as they are by default, but for a small tag table; [`configure`](GroupBuilder::configure) sets what is to be otherwise.
///
/// What changes the group returns when it is *settled*: every instance that can reach the tier listens, has applied everything that was
/// told, as after a [`wait_for`](TieredCache::wait_for), and has told everything itself; one that cannot has noticed. Loads under way
/// are not waited for. It takes 10 s of tokio's time at most, and panics then. With tokio's time paused, as by
/// `#[tokio::test(start_paused = true)]`, that is no time at all, and how fast the machine is decides nothing.
///
/// ```
/// use std::time::Duration;
/// use cachetier::Policy;
/// use cachetier::testing::Group;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let group = Group::new(2).await;
/// let [here, there] = [group.instance(0), group.instance(1)];
/// let policy = Policy::ttl(Duration::from_secs(60));
///
/// here.set("k", 1, policy).await?;
/// assert_eq!(there.get("k").await, Some(1));
/// here.invalidate("k").await?;
/// group.settle().await;
/// assert_eq!(there.get::<i32>("k").await, None);
/// # Ok(())
/// # }
/// ```
///
/// What goes wrong in a service's life:
///
/// ```
/// # use std::time::Duration;
/// # use cachetier::{Delivery, Policy, TieredCache, testing::{Group, What}};
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let policy = Policy::ttl(Duration::from_secs(60));
/// let group = Group::builder().instances(3).build().await;
/// assert_eq!(group.instances().len(), group.len());
/// group.instance(0).set("k", 1, policy).await?;
///
/// // Nobody can reach the tier: what is known here is served, and what is invalidated is told later.
/// group.outage().await;
/// assert!(matches!(group.instance(0).invalidate("k").await?, Delivery::Pending));
/// group.recover().await;
/// assert_eq!(group.instance(1).get::<i32>("k").await, None);
///
/// // One instance alone is cut off, and comes back.
/// group.partition(2).await;
/// group.heal(2).await;
///
/// // A deployment: one instance is shut down in order and starts again.
/// assert!(group.close(1).await);
/// group.start(1).await;
///
/// // A minute later the value is gone from both tiers; what else is built over these goes by the same clock.
/// let beside = TieredCache::builder("other").in_process(group.tier()).clock(group.clock()).build().await?;
/// group.instance(0).set("k", 2, policy).await?;
/// group.jump(Duration::from_secs(60)).await;
/// assert_eq!(group.instance(0).get::<i32>("k").await, None);
/// # drop(beside);
/// assert!(group.events().iter().any(|event| event.what == What::Invalidated));
/// # Ok(())
/// # }
/// ```
pub struct Group {
    namespace: String,
    tier: InProcess,
    clock: Clock,
    hand: ManualClock,
    configure: Configure,
    members: Mutex<Vec<Member>>,
}

impl Group {
    /// Returns a group of so many instances with default settings.
    ///
    /// Cancel safety: dropped, it leaves no task.
    ///
    /// # Panics
    ///
    /// With more than 64 instances or none, and outside of a tokio runtime.
    pub async fn new(instances: usize) -> Self {
        Self::builder().instances(instances).build().await
    }

    /// Begins a group with other settings.
    pub fn builder() -> GroupBuilder {
        GroupBuilder::new()
    }

    /// Begins so many over a tier that nobody uses yet.
    pub(super) async fn over(tier: InProcess, (clock, hand): (Clock, ManualClock), of: Settings) -> Self {
        let Settings { instances, namespace, configure } = of;
        tier.record();
        let group = Self { namespace, tier, clock, hand, configure, members: Mutex::new(Vec::new()) };
        for _ in 0..instances {
            let member = Member::new(group.begin().await);
            group.members().push(member);
        }
        group
    }

    /// Returns the cache of an instance; the first one is 0. Of one that was started again it is the new one: who keeps the old one has a
    /// closed cache.
    ///
    /// # Panics
    ///
    /// If the group has fewer. All other methods that name an instance do the same.
    #[must_use]
    #[track_caller]
    pub fn instance(&self, instance: usize) -> TieredCache {
        self.with(instance, |member| member.cache.clone())
    }

    /// Returns the caches of all instances.
    #[must_use]
    pub fn instances(&self) -> Vec<TieredCache> {
        self.members().iter().map(|member| member.cache.clone()).collect()
    }

    /// Returns how many instances there are, those that have ended included.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no group is empty")]
    pub fn len(&self) -> usize {
        self.members().len()
    }

    /// Runs `future` with an instance as the one that `#[cached]` and `#[invalidates]` use where they name none: see
    /// [`scope`](crate::scope).
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let group = cachetier::testing::Group::new(2).await;
    /// assert!(group.scope(1, async { cachetier::installed().is_some() }).await);
    /// # }
    /// ```
    ///
    /// Cancel safety: that of `future`.
    #[track_caller]
    pub fn scope<F: Future>(&self, instance: usize, future: F) -> impl Future<Output = F::Output> + use<F> {
        crate::installed::scope(self.instance(instance), future)
    }

    /// Returns the tier that all instances share: to look into it, or to script its faults. What a script is told of as
    /// [`Call::instance`](crate::Call::instance) is the instance's number, until it is started again: then it is the next one that is
    /// free.
    #[must_use]
    pub fn tier(&self) -> &InProcess {
        &self.tier
    }

    /// Returns the clock of the instances and of the tier, for another cache.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Moves the clock on by `by` at once: what lived until then has ended. Then settles.
    ///
    /// Tokio's time stays as it is, so timers of the service do not fire: [`pass`](Self::pass) lets both go on.
    ///
    /// Cancel safety: dropped, the clock has moved.
    pub async fn jump(&self, by: Duration) {
        self.hand.advance(by);
        self.settle().await;
    }

    /// Lets `by` pass, for the clock and for tokio's timers together: checks, sweeps, the service's own timers and what waits for
    /// them take place in their order. Then settles.
    ///
    /// The clock is ahead of the timers by 250 ms at most; where more than 17 minutes pass, by a 4,096th of them: in steps of seconds, that is
    /// from two hours on, proofs and tickets may end within a step.
    ///
    /// ```
    /// use std::time::Duration;
    /// use tokio::time::Instant;
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() {
    /// let group = cachetier::testing::Group::new(1).await;
    /// let begun = Instant::now();
    /// group.pass(Duration::from_secs(60)).await;
    /// assert!(begun.elapsed() >= Duration::from_secs(60));
    /// # }
    /// ```
    ///
    /// Cancel safety: dropped, a part of it has passed.
    ///
    /// # Panics
    ///
    /// Unless tokio's time is paused, as by `#[tokio::test(start_paused = true)]`.
    pub async fn pass(&self, by: Duration) {
        if !is_paused() {
            fail("`pass` needs tokio's time paused: `#[tokio::test(start_paused = true)]`; without it there is `jump`");
        }
        let most = STEP.max(by / STEPS);
        let mut left = by;
        while !left.is_zero() {
            let step = left.min(most);
            self.hand.advance(step);
            sleep(step).await;
            left = left.saturating_sub(step);
        }
        self.settle().await;
    }

    /// Returns when the group is settled.
    ///
    /// Cancel safety: a dropped call changes nothing.
    ///
    /// # Panics
    ///
    /// If it is not within 10 s of tokio's time, saying who is not and why: something hangs, by a script or for ever.
    pub async fn settle(&self) {
        let mut why = String::new();
        let settled = async {
            loop {
                // First: what was spawned or woken before takes its course.
                sleep(LOOK).await;
                match self.unsettled().await {
                    None => return,
                    Some(unsettled) => why = unsettled,
                }
            }
        };
        if timeout(LIMIT, settled).await.is_err() {
            fail(format_args!("the group was not settled within {LIMIT:?}: {why}"));
        }
    }

    /// Cuts an instance off from the tier, as a network does that refuses its connections: its calls fail at once, its subscription
    /// ends, and what is told meanwhile it does not hear. Returns when it has noticed.
    ///
    /// A network that is silent is another thing: script the tier to lose messages, and set [`prove_for`](GroupBuilder::prove_for).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::{Delivery, Policy, testing::Group};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let group = Group::new(2).await;
    /// group.partition(1).await;
    /// assert_eq!(group.instance(1).invalidate("k").await?, Delivery::Pending);
    /// group.heal(1).await;
    /// assert_eq!(group.instance(1).stats().pending, 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety: dropped, the instance is cut off.
    pub async fn partition(&self, instance: usize) {
        self.tier.cut(self.alive(instance));
        self.settle().await;
    }

    /// Lets an instance reach the tier again; that it was not cut off is no mistake. Returns when it is in step, and has told what it
    /// had to tell.
    ///
    /// Cancel safety: dropped, the instance can reach the tier.
    pub async fn heal(&self, instance: usize) {
        self.tier.mend(self.alive(instance));
        self.settle().await;
    }

    /// Lets nobody reach the tier, invalidators and caches beside the group included, until [`recover`](Self::recover): as a
    /// [`partition`](Self::partition) of each. The tier keeps what it holds; what a server loses is [`InProcess::flush_all`], or
    /// [`InProcess::save`] and [`InProcess::restore`].
    ///
    /// Cancel safety: dropped, nobody can reach the tier.
    pub async fn outage(&self) {
        self.tier.shut(true);
        self.settle().await;
    }

    /// Ends an [`outage`](Self::outage). Who is [cut off](Self::partition) by itself stays so. Returns when all others are in step, and
    /// have told what they had to tell.
    ///
    /// Cancel safety: dropped, the tier can be reached.
    pub async fn recover(&self) {
        self.tier.shut(false);
        self.settle().await;
    }

    /// Ends an instance as a killed process does: nothing is flushed, what it holds in the tier (tickets, a write guard's hold) stays
    /// there until its time is over, and what it does from now on does not arrive. Its cache is closed: it runs each loader and keeps
    /// nothing.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::{Policy, testing::Group};
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// let group = Group::new(1).await;
    /// group.instance(0).set("k", 1, policy).await?;
    /// group.kill(0).await;
    /// group.start(0).await;
    /// // Its own copies are gone; the shared tier's are not.
    /// assert_eq!(group.instance(0).get("k").await, Some(1));
    /// assert_eq!(group.instance(0).stats().l2_hits, 1);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety: dropped, the instance has ended.
    pub async fn kill(&self, instance: usize) {
        // First: what it gives back while it ends does not arrive.
        self.tier.cut(self.alive(instance));
        self.with(instance, Member::end).kill();
        self.settle().await;
    }

    /// Ends an instance as a service does that is shut down in order: flushes for at most 10 s of tokio's time, then closes its cache.
    /// Returns whether everything was told.
    ///
    /// Cancel safety: that of [`TieredCache::close`].
    pub async fn close(&self, instance: usize) -> bool {
        let number = self.alive(instance);
        let closed = self.instance(instance).close(LIMIT).await.is_ok();
        self.with(instance, Member::end);
        self.tier.cut(number);
        self.settle().await;
        closed
    }

    /// Starts an instance again that was [killed](Self::kill) or [closed](Self::close): with the same settings, and empty. It can reach
    /// the tier, unless nobody can.
    ///
    /// Cancel safety: dropped, it has not started.
    ///
    /// # Panics
    ///
    /// If it has not ended.
    pub async fn start(&self, instance: usize) {
        if self.with(instance, |member| member.number().is_some()) {
            fail(format_args!("instance {instance} has not ended: `kill` or `close` it first"));
        }
        let begun = self.begin().await;
        self.with(instance, |member| member.start(begun));
        self.settle().await;
    }

    /// Returns what the instances did so far, in the order in which it came to its end: the latest 10,000 events. Calls by which an
    /// instance only keeps in step are none of them.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.events_after(0)
    }

    pub(super) fn events_so_far(&self) -> u64 {
        self.tier.events_so_far()
    }

    /// The events after the first so many.
    pub(super) fn events_after(&self, so_many: u64) -> Vec<Event> {
        let members = self.members();
        let of_group = |number| members.iter().position(|member| member.has_been(Some(number)));
        let events = self.tier.events_after(so_many).into_iter();
        events.map(|event| Event { instance: event.instance.and_then(of_group), ..event }).collect()
    }

    /// What all of them did, those that have ended included.
    pub(super) fn tally(&self) -> Tally {
        self.members().iter().map(Member::tally).fold(Tally::default(), Tally::and)
    }

    /// Builds one more instance of the tier.
    async fn begin(&self) -> TieredCache {
        let builder = (self.configure)(TieredCache::builder(&self.namespace).tag_cells(CELLS));
        let builder = builder.clock(self.clock.clone()).in_process(&self.tier);
        builder.build().await.unwrap_or_else(|error| fail(format_args!("an instance cannot be built: {error}")))
    }

    /// Why the first instance that is not at rest is not.
    async fn unsettled(&self) -> Option<String> {
        // Without the lock: a look may ask the tier for a proof.
        let members: Vec<Member> = self.members().clone();
        let mut applied = Vec::with_capacity(members.len());
        for (instance, member) in members.iter().enumerate() {
            match member.at_rest(&self.tier, &self.namespace).await {
                Ok(upto) => applied.push(upto),
                Err(why) => return Some(format!("instance {instance} {why}")),
            }
        }
        // One that came to rest late may have told something that those before it have not applied.
        let told = members.iter().map(|member| member.told(&self.tier, &self.namespace));
        let moved = told.zip(applied).position(|(told, applied)| told != applied);
        moved.map(|instance| format!("instance {instance} has been told more meanwhile"))
    }

    /// Which instance of the tier it is.
    #[track_caller]
    fn alive(&self, instance: usize) -> usize {
        let number = self.with(instance, |member| member.number());
        number.unwrap_or_else(|| fail(format_args!("instance {instance} has ended: `start` it first")))
    }

    fn members(&self) -> MutexGuard<'_, Vec<Member>> {
        lock(&self.members)
    }

    #[track_caller]
    fn with<T>(&self, instance: usize, deed: impl FnOnce(&mut Member) -> T) -> T {
        let mut members = self.members();
        let of = members.len();
        let done = members.get_mut(instance).map(deed);
        // Free again before a test fails.
        drop(members);
        done.unwrap_or_else(|| fail(format_args!("instance {instance} of a group of {of}: the first one is 0")))
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Group").field("namespace", &self.namespace).field("instances", &self.len()).finish_non_exhaustive()
    }
}
