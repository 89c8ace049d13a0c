//! What an instance does all day: readers with loaders that are slow, fail, panic and hang, and one who waits for what others have told. Who
//! reads many keys at once is in `many`, who writes in `write`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cachetier::{EarlyRefresh, Invalidator, LoadError, OnUnreachable, Policy, Tagged, TieredCache, WaitError};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Orders;
use crate::clock::Nanos;
use crate::database::Connection;
use crate::event::{Event, Got, Load, Points, Read, Record, Row, Span, Waited};
use crate::layout::{Class, Key, Tag, Zipf};
use crate::limits::{GIVEN_UP, KEPT, LAST_WAIT, SLOW, TTL, WAITS};

/// What the panics of loaders say.
pub(super) const MARK: &str = "a loader that was told to panic";

/// How many reads one after the other, and how long a rest after them.
const BURST: u32 = 16;
const REST: Duration = Duration::from_millis(20);
/// Readers of all instances together.
const READERS: u16 = 32;
/// Readers of one instance at least: with one alone nobody would wait for a load.
const LEAST: u16 = 3;
/// What who waits for others rests on average after a wait, in milliseconds.
const WAITER_REST: u64 = 20;
/// How many keys he reads then.
const AFTER_WAIT: u32 = 4;

/// What a loader fails with.
#[derive(Debug)]
pub(super) struct Failed;

/// One instance and what it works with.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) instance: u16,
    pub(super) cache: TieredCache,
    /// Of the same namespace, with a connection of its own.
    pub(super) outside: Invalidator,
    pub(super) record: Arc<Record>,
    pub(super) of: u16,
    /// When the run began.
    pub(super) begun: Nanos,
    /// Whether it tells by its `Invalidator` as well.
    pub(super) tells_outside: bool,
    /// The keys that it alone writes.
    pub(super) own: Arc<[Key]>,
    pub(super) connection: Arc<Connection>,
    pub(super) quiet: Arc<AtomicBool>,
    pub(super) zipf: Arc<Zipf>,
}

impl Work {
    pub(super) fn new(
        instance: u16,
        orders: &Orders,
        (cache, outside): (TieredCache, Invalidator),
        connection: &Arc<Connection>,
        record: &Arc<Record>,
        quiet: &Arc<AtomicBool>,
    ) -> Self {
        let (connection, record, quiet) = (Arc::clone(connection), Arc::clone(record), Arc::clone(quiet));
        let own = Key::all().filter(|key| key.putter(orders.of) == Some(instance)).collect();
        // Of an era that goes on an `Invalidator`, which does not follow the lane, cannot know that the server has forgotten some of it.
        let (of, tells_outside) = (orders.of.max(1), !orders.trust);
        let begun = orders.begun;
        Self { instance, cache, outside, record, of, begun, tells_outside, own, connection, quiet, zipf: Arc::default() }
    }

    /// Spawns readers, writers and one who waits, which end when it is quiet.
    pub(super) fn begin(&self, seed: u64, tasks: &mut JoinSet<()>) {
        let mut dice = fastrand::Rng::with_seed(seed ^ (u64::from(self.instance) << 32));
        for _ in 0..(READERS / self.of).max(LEAST) {
            let (work, dice) = (self.clone(), dice.fork());
            tasks.spawn(async move { work.read_on(dice).await });
        }
        let (work, theirs) = (self.clone(), dice.fork());
        tasks.spawn(async move { work.write_on(theirs).await });
        let (work, theirs) = (self.clone(), dice.fork());
        tasks.spawn(async move { work.guard_on(theirs).await });
        let (work, theirs) = (self.clone(), dice.fork());
        tasks.spawn(async move { work.wait_on(theirs).await });
    }

    async fn read_on(&self, mut dice: fastrand::Rng) {
        while !self.quiet.load(Ordering::Relaxed) && !self.record.is_full() {
            for _ in 0..BURST {
                let key = self.zipf.draw(&mut dice);
                match dice.u32(0..100) {
                    0..2 => self.read_and_drop(key, &mut dice).await,
                    2..8 => self.look(key, false).await,
                    8..12 => self.read_many(key, &mut dice).await,
                    _ => self.read(key, &mut dice).await,
                }
            }
            sleep(REST).await;
        }
    }

    async fn read(&self, key: Key, dice: &mut fastrand::Rng) {
        let begun = self.begun(key);
        let got = timeout(GIVEN_UP, self.load(key, Loader::drawn(dice))).await.unwrap_or(Got::Overdue);
        self.tell(key, begun, got, false);
    }

    async fn read_and_drop(&self, key: Key, dice: &mut fastrand::Rng) {
        let begun = self.begun(key);
        let after = Duration::from_micros(dice.u64(0..4_000));
        let got = timeout(after, self.load(key, Loader::drawn(dice))).await.unwrap_or(Got::Dropped);
        self.tell(key, begun, got, false);
    }

    async fn look(&self, key: Key, last: bool) {
        let begun = self.begun(key);
        let got = match timeout(GIVEN_UP, self.cache.get::<Row>(&key.text())).await {
            Ok(Some(row)) => Got::Row(row),
            Ok(None) => Got::Nothing,
            Err(_) => Got::Overdue,
        };
        self.tell(key, begun, got, last);
    }

    /// Waits for what was told last, then reads every key, first what there is and then through a loader.
    pub(super) async fn read_all(&self) {
        if let Ok(Some(points)) = self.connection.told().await
            && !self.wait(&points, LAST_WAIT).await
        {
            self.complain(format!("{points} is not reached although all is quiet"));
        }
        for key in Key::all() {
            self.look(key, true).await;
            let begun = self.begun(key);
            let got = timeout(GIVEN_UP, self.load(key, Loader::Quick)).await.unwrap_or(Got::Overdue);
            self.tell(key, begun, got, true);
        }
    }

    pub(super) fn begun(&self, key: Key) -> Begun {
        let unproven = (key.class() == Class::Serve).then(|| self.cache.stats().served_unproven);
        Begun { start: Nanos::now(), unproven }
    }

    pub(super) fn tell(&self, key: Key, begun: Begun, got: Got, last: bool) {
        let unproven = begun.unproven.is_some_and(|before| self.cache.stats().served_unproven != before);
        let span = Span { start: begun.start, end: Nanos::now() };
        self.record.add(&Event::Read(Read { instance: self.instance, key, span, got, unproven, last }));
    }

    pub(super) fn complain(&self, text: String) {
        self.record.add(&Event::Complaint { instance: self.instance, text });
    }

    /// Waits for what another instance was told, and reads behind it.
    async fn wait_on(&self, mut dice: fastrand::Rng) {
        while !self.quiet.load(Ordering::Relaxed) && !self.record.is_full() {
            // A process without its database does nothing more: the leader is gone.
            let Ok(told) = self.connection.told().await else { return };
            if let Some(points) = told
                && self.wait(&points, Duration::from_millis(dice.u64(WAITS))).await
            {
                for _ in 0..AFTER_WAIT {
                    self.read(self.zipf.draw(&mut dice), &mut dice).await;
                }
            }
            sleep(Duration::from_millis(dice.u64(0..=2 * WAITER_REST))).await;
        }
    }

    /// Says whether a point was reached.
    async fn wait(&self, points: &Points, limit: Duration) -> bool {
        let Some(token) = points.token() else { return false };
        let start = Nanos::now();
        let waited = self.cache.wait_for(token, limit).await;
        if let Err(WaitError::Closed) = waited {
            self.complain(format!("a wait for {points}: closed"));
        }
        let span = Span { start, end: Nanos::now() };
        let reached = waited.is_ok();
        self.record.add(&Event::Waited(Waited { instance: self.instance, points: points.clone(), span, reached }));
        reached
    }

    async fn load(&self, key: Key, loader: Loader) -> Got {
        match self.cache.get_or_load(&key.text(), rules(key), || self.run(key, loader)).await {
            Ok(row) => Got::Row(row),
            Err(LoadError::Loader(_) | LoadError::Panicked(_) | LoadError::TimedOut(_) | LoadError::Elsewhere(_)) => Got::Failed,
            Err(LoadError::Unproven) if key.class() == Class::Fail => Got::Unproven,
            Err(error) => {
                self.complain(format!("a read of {}: {error:?}", key.text()));
                Got::Failed
            }
        }
    }

    pub(super) async fn run(&self, key: Key, loader: Loader) -> Result<Row, Failed> {
        let running = Running { work: self, key, start: Nanos::now() };
        let version = self.connection.read(key).await.map_err(|_| Failed)?;
        match loader {
            Loader::Quick => {}
            Loader::Slow(time) => sleep(time).await,
            Loader::Fails => return Err(Failed),
            Loader::Panics => std::panic::resume_unwind(Box::new(MARK)),
            Loader::Hangs => std::future::pending().await,
        }
        Ok(Row { key, version, begun: running.start, put: false })
    }
}

pub(super) fn rules(key: Key) -> Tagged<[String; 2]> {
    let policy = policy(key);
    let policy = if answers_stale(key) { policy.stale_if_slow(SLOW) } else { policy };
    // And a third of them are loaded anew before they have to be.
    let early = policy.early_refresh(EarlyRefresh::after_percent(20)).announce_changes();
    let policy = if key.0.is_multiple_of(3) { early } else { policy };
    let policy = if key.0.is_multiple_of(5) { policy.share_errors() } else { policy };
    policy.tags(key.tags().map(Tag::text))
}

/// What all calls for a key say of it.
pub(super) fn policy(key: Key) -> Policy {
    let policy = match key.class() {
        Class::Strict => Policy::ttl(TTL).strict(),
        Class::Serve => Policy::ttl(TTL).on_unreachable(OnUnreachable::Serve),
        Class::Fail => Policy::ttl(TTL).on_unreachable(OnUnreachable::Fail),
    };
    // Half of the keys are claimed when their life is over, and half refreshed in their place.
    if key.0.is_multiple_of(2) { policy.stale_for(KEPT) } else { policy }
}

/// Whether what is stale answers who waits for a load: then what was expired may do so as well, and is no invalidation.
pub(super) fn answers_stale(key: Key) -> bool {
    key.0.is_multiple_of(4)
}

/// What is noted before a read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Begun {
    start: Nanos,
    /// How often something was served without proof until then, where that may be.
    unproven: Option<u64>,
}

/// How a load goes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Loader {
    Quick,
    Slow(Duration),
    Fails,
    Panics,
    Hangs,
}

impl Loader {
    pub(super) fn drawn(dice: &mut fastrand::Rng) -> Self {
        match dice.u32(0..10_000) {
            0..7_000 => Self::Quick,
            7_000..9_500 => Self::Slow(Duration::from_micros(dice.u64(200..6_000))),
            9_500..9_880 => Self::Slow(Duration::from_millis(dice.u64(10..150))),
            9_880..9_940 => Self::Fails,
            9_940..9_990 => Self::Panics,
            // Beyond a lease and its first extension, and now and then beyond the limit: seldom, for the most popular keys wait.
            9_990..9_997 => Self::Slow(Duration::from_millis(dice.u64(300..950))),
            _ => Self::Hangs,
        }
    }
}

/// A loader that runs. Recorded when it ends, whichever way: it may be dropped anywhere.
struct Running<'a> {
    work: &'a Work,
    key: Key,
    start: Nanos,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let span = Span { start: self.start, end: Nanos::now() };
        self.work.record.add(&Event::Load(Load { instance: self.work.instance, key: self.key, span }));
    }
}
