//! What an instance does all day: readers with loaders that are slow, fail, panic and hang, and a writer that commits and then tells.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cachetier::{CacheError, Delivery, LoadError, Policy, Tagged, TieredCache};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::clock::Nanos;
use crate::database::Connection;
use crate::event::{Event, Got, Load, Mutation, Read, Record, Row, Span, Told, Verb};
use crate::layout::{GROUPS, Key, NARROW, Tag, Target, WIDE, Zipf};
use crate::limits::{GIVEN_UP, TTL};

/// What the panics of loaders say.
pub(super) const MARK: &str = "a loader that was told to panic";

/// How many reads one after the other, and how long a rest after them.
const BURST: u32 = 16;
const REST: Duration = Duration::from_millis(20);
/// Readers of all instances together, and what their writers rest on average between two mutations, in milliseconds, if there were one.
const READERS: u16 = 32;
/// Readers of one instance at least: with one alone nobody would wait for a load.
const LEAST: u16 = 3;
const WRITER_REST: u64 = 5;

/// What a loader fails with.
#[derive(Debug)]
pub(super) struct Failed;

/// One instance and what it works with.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub(super) instance: u16,
    pub(super) cache: TieredCache,
    pub(super) record: Arc<Record>,
    of: u16,
    /// The keys that it alone writes.
    own: Arc<[Key]>,
    connection: Arc<Connection>,
    quiet: Arc<AtomicBool>,
    zipf: Arc<Zipf>,
}

impl Work {
    pub(super) fn new(
        instance: u16,
        of: u16,
        cache: TieredCache,
        connection: &Arc<Connection>,
        record: &Arc<Record>,
        quiet: &Arc<AtomicBool>,
    ) -> Self {
        let (connection, record, quiet) = (Arc::clone(connection), Arc::clone(record), Arc::clone(quiet));
        let own = Key::all().filter(|key| key.putter(of) == Some(instance)).collect();
        Self { instance, cache, record, of: of.max(1), own, connection, quiet, zipf: Arc::default() }
    }

    /// Spawns readers and a writer, which end when it is quiet.
    pub(super) fn begin(&self, seed: u64, tasks: &mut JoinSet<()>) {
        let mut dice = fastrand::Rng::with_seed(seed ^ (u64::from(self.instance) << 32));
        for _ in 0..(READERS / self.of).max(LEAST) {
            let (work, dice) = (self.clone(), dice.fork());
            tasks.spawn(async move { work.read_on(dice).await });
        }
        let (work, dice) = (self.clone(), dice.fork());
        tasks.spawn(async move { work.write_on(dice).await });
    }

    async fn read_on(&self, mut dice: fastrand::Rng) {
        while !self.quiet.load(Ordering::Relaxed) && !self.record.is_full() {
            for _ in 0..BURST {
                let key = self.zipf.draw(&mut dice);
                match dice.u32(0..100) {
                    0..2 => self.read_and_drop(key, &mut dice).await,
                    2..8 => self.look(key, false).await,
                    _ => self.read(key, &mut dice).await,
                }
            }
            sleep(REST).await;
        }
    }

    async fn read(&self, key: Key, dice: &mut fastrand::Rng) {
        let start = Nanos::now();
        let got = timeout(GIVEN_UP, self.load(key, Loader::drawn(dice))).await.unwrap_or(Got::Overdue);
        self.tell(key, start, got, false);
    }

    async fn read_and_drop(&self, key: Key, dice: &mut fastrand::Rng) {
        let start = Nanos::now();
        let after = Duration::from_micros(dice.u64(0..4_000));
        let got = timeout(after, self.load(key, Loader::drawn(dice))).await.unwrap_or(Got::Dropped);
        self.tell(key, start, got, false);
    }

    async fn look(&self, key: Key, last: bool) {
        let start = Nanos::now();
        let got = match timeout(GIVEN_UP, self.cache.get::<Row>(&key.text())).await {
            Ok(Some(row)) => Got::Row(row),
            Ok(None) => Got::Nothing,
            Err(_) => Got::Overdue,
        };
        self.tell(key, start, got, last);
    }

    /// Reads every key, first what there is and then through a loader.
    pub(super) async fn read_all(&self) {
        for key in Key::all() {
            self.look(key, true).await;
            let start = Nanos::now();
            let got = timeout(GIVEN_UP, self.load(key, Loader::Quick)).await.unwrap_or(Got::Overdue);
            self.tell(key, start, got, true);
        }
    }

    fn tell(&self, key: Key, start: Nanos, got: Got, last: bool) {
        let span = Span { start, end: Nanos::now() };
        self.record.add(&Event::Read(Read { instance: self.instance, key, span, got, last }));
    }

    async fn load(&self, key: Key, loader: Loader) -> Got {
        match self.cache.get_or_load(&key.text(), rules(key), || self.run(key, loader)).await {
            Ok(row) => Got::Row(row),
            Err(LoadError::Loader(_) | LoadError::Panicked(_) | LoadError::TimedOut(_)) => Got::Failed,
            Err(error) => {
                let text = format!("a read of {}: {error:?}", key.text());
                self.record.add(&Event::Complaint { instance: self.instance, text });
                Got::Failed
            }
        }
    }

    async fn run(&self, key: Key, loader: Loader) -> Result<Row, Failed> {
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

    async fn write_on(&self, mut dice: fastrand::Rng) {
        while !self.quiet.load(Ordering::Relaxed) {
            self.write(&mut dice).await;
            sleep(Duration::from_millis(dice.u64(0..=2 * WRITER_REST * u64::from(self.of)))).await;
        }
    }

    /// Commits, then tells. Of what it tells about, mostly not everything has changed.
    async fn write(&self, dice: &mut fastrand::Rng) {
        let (verb, target) = self.draw(dice);
        let written: Vec<Key> = match (&target, verb) {
            (Target::Key(key), _) => vec![*key],
            (Target::Keys(keys), _) => keys.clone(),
            (target, _) => {
                let mut keys: Vec<Key> = target.keys().filter(|key| key.putter(self.of).is_none()).collect();
                dice.shuffle(&mut keys);
                keys.truncate(dice.usize(1..4));
                keys
            }
        };
        // A process without its database does nothing more: the leader is gone.
        let Ok(versions) = self.connection.commit(&written).await else { return };
        let start = Nanos::now();
        let call = async {
            match (verb, &target) {
                (Verb::Set, Target::Key(key)) => {
                    let version = versions.first().copied().unwrap_or_default();
                    self.cache.set(&key.text(), Row { key: *key, version, begun: start, put: true }, rules(*key)).await
                }
                (Verb::Remove, Target::Key(key)) => self.cache.remove(&key.text()).await.map(|removed| removed.delivery),
                (_, target) => self.invalidate(target).await,
            }
        };
        let dropped_after = (dice.u32(0..100) < 5).then(|| Duration::from_micros(dice.u64(0..3_000)));
        let told = match timeout(dropped_after.unwrap_or(GIVEN_UP), call).await {
            Ok(Ok(Delivery::Applied(_))) => Told::Applied,
            Ok(Ok(_)) => Told::Pending,
            Ok(Err(error)) => {
                self.record.add(&Event::Complaint { instance: self.instance, text: format!("{target:?}: {error}") });
                Told::Refused
            }
            Err(_) if dropped_after.is_some() => Told::Dropped,
            Err(_) => Told::Overdue,
        };
        let span = Span { start, end: Nanos::now() };
        self.record.add(&Event::Mutation(Mutation { instance: self.instance, verb, target, span, told }));
    }

    async fn invalidate(&self, target: &Target) -> Result<Delivery, CacheError> {
        match target {
            Target::Key(key) => self.cache.invalidate(&key.text()).await,
            Target::Keys(keys) => self.cache.invalidate_many(keys.iter().map(|key| key.text())).await,
            Target::Tag(tag) => self.cache.invalidate_tag(&tag.text()).await,
            Target::Group(group) => self.cache.invalidate_prefix(&Target::prefix(*group)).await,
            Target::Everything => self.cache.clear().await,
        }
    }

    fn draw(&self, dice: &mut fastrand::Rng) -> (Verb, Target) {
        match dice.u32(0..1_000) {
            0..550 => (Verb::Invalidate, Target::Key(self.loaded(dice))),
            550..650 => {
                let mut keys: Vec<Key> = (0..dice.u32(2..6)).map(|_| self.loaded(dice)).collect();
                keys.sort_unstable();
                keys.dedup();
                (Verb::Invalidate, Target::Keys(keys))
            }
            650..780 => (Verb::Invalidate, Target::Tag(Tag::Narrow(dice.u32(0..NARROW)))),
            780..800 => (Verb::Invalidate, Target::Tag(Tag::Wide(dice.u32(0..WIDE)))),
            800..850 => (Verb::Invalidate, Target::Group(dice.u32(0..GROUPS))),
            850..880 => (Verb::Remove, Target::Key(self.loaded(dice))),
            880..998 => match dice.choice(self.own.iter()) {
                Some(key) => (Verb::Set, Target::Key(*key)),
                None => (Verb::Invalidate, Target::Key(self.loaded(dice))),
            },
            _ => (Verb::Invalidate, Target::Everything),
        }
    }

    /// A key that is loaded and never put, so that anybody may write it.
    fn loaded(&self, dice: &mut fastrand::Rng) -> Key {
        let key = self.zipf.draw(dice);
        if key.putter(self.of).is_none() { key } else { Key(key.0 - 1) }
    }
}

fn rules(key: Key) -> Tagged<[String; 2]> {
    Policy::ttl(TTL).tags(key.tags().map(Tag::text))
}

/// How a load goes.
#[derive(Clone, Copy, Debug)]
enum Loader {
    Quick,
    Slow(Duration),
    Fails,
    Panics,
    Hangs,
}

impl Loader {
    fn drawn(dice: &mut fastrand::Rng) -> Self {
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
