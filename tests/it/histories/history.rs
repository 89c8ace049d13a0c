//! One history: a world, its steps carried out one by one, and the end, when everything is released and everyone must be fresh.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cachetier::{Delivery, LoadContext, Loaded, OnUnreachable, Policy, StaleValue, Stats, TieredCache, Token};
use cachetier_tests::{End, Gate, Loader, World};
use tokio::runtime::Builder;
use tokio::task::{JoinHandle, yield_now};
use tokio::time::sleep;

use crate::ledger::{self, Ledger};
use crate::step::{CACHES, Fate, KEYS, Mutation, Step};
use crate::wire::{self, Op, Wire};

/// Time passes in pieces of so many milliseconds, so that clock and timers stay together.
const PIECE: u64 = 25;

/// Of how many histories one is of a namespace that is divided, as in a Cluster.
const SPREAD: u64 = 3;

/// Longer than any history.
const NEVER: Duration = Duration::from_secs(24 * 3_600);

/// What a history came to.
pub(crate) struct Outcome {
    pub(crate) violation: Option<String>,
    /// What happened, a line each, if asked for.
    pub(crate) story: Vec<String>,
    /// What each cache did before all was made quiet.
    pub(crate) stats: Vec<Stats>,
    pub(crate) books: ledger::Counts,
    pub(crate) wire: wire::Counts,
}

/// Carries the steps out in a world of their own. `seed` decides the library's own dice.
pub(crate) fn run(seed: u64, steps: &[Step], tell: bool) -> Outcome {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
    fastrand::seed(seed);
    runtime.block_on(async {
        let mut history = History::begin(seed % SPREAD == SPREAD - 1, tell).await;
        for step in steps {
            history.take(*step).await;
            history.idle().await;
            if history.violated() {
                break;
            }
        }
        let stats = history.world.caches().iter().take(CACHES).map(TieredCache::stats).collect();
        if !history.violated() {
            history.settle().await;
        }
        history.end(stats)
    })
}

struct History {
    world: World,
    /// Whether the namespace is divided, as in a Cluster.
    spread: bool,
    /// A cache that hears of everything at once, keeps nothing and writes nothing.
    watch: TieredCache,
    wire: Wire,
    ledger: Arc<Mutex<Ledger>>,
    running: Vec<(Op, JoinHandle<()>)>,
    gates: VecDeque<(Op, Gate)>,
    story: Option<Vec<String>>,
}

impl History {
    async fn begin(spread: bool, tell: bool) -> Self {
        let mut world = if spread { World::spread() } else { World::new() };
        let wire = Wire::default();
        world.tier().script(wire.clone());
        for cache in 0..CACHES {
            world
                .add(|builder| {
                    builder
                        // One of them does not wait for its fills.
                        .write_behind(if cache == 1 { 1 << 20 } else { 0 })
                        .l1_max_entries(64)
                        .on_unreachable(OnUnreachable::Bypass)
                        .read_limit(Duration::from_millis(200))
                        .command_limit(Duration::from_millis(400))
                        .wait_budget(Duration::from_millis(800))
                        .load_limit(Duration::from_secs(3_600))
                })
                .await;
        }
        let nothing_kept = Policy::ttl(Duration::from_secs(60)).l1_ttl(Duration::from_millis(1));
        let watch = world.add(|builder| builder.policy(nothing_kept)).await;
        let story = tell.then(Vec::new);
        Self { world, spread, watch, wire, ledger: Arc::default(), running: Vec::new(), gates: VecDeque::new(), story }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.ledger)
    }

    fn violated(&self) -> bool {
        self.ledger().violation.is_some()
    }

    fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(story) = &mut self.story {
            story.push(what());
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Load { cache, key, calls, held, end } => self.load(cache, key, &calls, held, end, false),
            Step::Get { cache, key, calls } => self.get(cache, key, &calls),
            Step::Mutate { cache, what, commits, calls } => self.mutate(cache, what, commits, &calls),
            Step::Background { cache, fate } => {
                self.wire.background(cache, fate);
                self.say(|| format!("the next call that cache {cache} makes for nobody fares: {fate}"));
            }
            Step::Ask { cache, fate } => {
                self.wire.asking(cache, fate);
                self.say(|| format!("the next question of cache {cache} on its subscription fares: {fate}"));
            }
            Step::Release { pick } => {
                if let Some(what) = self.wire.release(pick) {
                    self.say(|| format!("{what} is released"));
                }
            }
            Step::Open { pick } => self.open(pick),
            Step::Land { pick } => {
                if let Some((nth, what)) = self.wire.land(pick) {
                    assert!(self.world.tier().land(nth), "the script and the tier disagree about what is on its way");
                    self.say(|| format!("{what} lands late"));
                }
            }
            Step::Hold { cache } => {
                self.wire.hold(cache);
                self.say(|| format!("messages to cache {cache} are held from now on"));
            }
            Step::Deliver { cache } => {
                if self.wire.deliver(cache) {
                    self.say(|| format!("a message arrives at cache {cache}"));
                }
            }
            Step::DeliverAll { cache } => {
                self.wire.deliver_all(cache);
                self.say(|| format!("all messages arrive at cache {cache}, and none is held from now on"));
            }
            Step::Lose { cache } => {
                self.wire.lose(cache);
                self.say(|| format!("the next message to cache {cache} will be lost"));
            }
            Step::Evict { key } => {
                if self.world.evict(KEYS[key].name) {
                    self.say(|| format!("the tier evicts {}", KEYS[key].name));
                }
            }
            Step::Foreign { key } => self.foreign(key),
            Step::Drop { pick } => self.drop_one(pick),
            Step::Wait { millis } => {
                self.say(|| format!("{millis} ms pass"));
                self.wait(millis).await;
            }
            Step::Suspend { millis } => {
                self.say(|| format!("the clock jumps by {millis} ms"));
                self.advance(millis);
            }
            Step::Break => {
                self.wire.breaks();
                self.world.tier().break_subscriptions();
                self.say(|| "all subscriptions end".to_owned());
            }
            Step::Flush => {
                self.wire.breaks();
                self.world.tier().flush_all();
                self.say(|| "the tier forgets everything".to_owned());
            }
        }
    }

    // --- the verbs

    fn load(&mut self, cache: usize, key: usize, calls: &[Fate], held: bool, end: End, quiet: bool) {
        let op = self.wire.begin(calls);
        let mut loader = Loader::of(self.world.database()).ending(end);
        if held {
            let gate = Gate::new();
            loader = loader.gated(&gate);
            self.gates.push_back((op, gate));
        }
        self.ledger().loader(cache, key, end);
        let reading = self.ledger().read_begins(cache, key, quiet);
        self.say(|| {
            let held = if held { ", loader held" } else { "" };
            format!("#{op}: cache {cache} begins get_or_load({}){}{held}, loader ends {end:?}", KEYS[key].name, fared(calls))
        });
        let (from, books, database) = (self.world.caches()[cache].clone(), Arc::clone(&self.ledger), self.world.database().clone());
        self.spawn(op, async move {
            let rules = KEYS[key].policy.tags(KEYS[key].tags);
            let load = async |context: LoadContext<'_, u64>| {
                let version = loader.load(KEYS[key].name).await?;
                let current = context.stale().filter(|stale| *stale.value() == version);
                Ok(current.map_or_else(|| Loaded::new(version), StaleValue::not_modified))
            };
            let result = from.get_or_load_with(KEYS[key].name, rules, load).await;
            lock(&books).read_ends(reading, result, database.version(KEYS[key].name));
        });
    }

    fn get(&mut self, cache: usize, key: usize, calls: &[Fate]) {
        let op = self.wire.begin(calls);
        let reading = self.ledger().read_begins(cache, key, false);
        self.say(|| format!("#{op}: cache {cache} begins get({}){}", KEYS[key].name, fared(calls)));
        let (from, books, database) = (self.world.caches()[cache].clone(), Arc::clone(&self.ledger), self.world.database().clone());
        self.spawn(op, async move {
            let result = from.get::<u64>(KEYS[key].name).await;
            lock(&books).read_ends(reading, Ok(result), database.version(KEYS[key].name));
        });
    }

    fn mutate(&mut self, cache: usize, what: Mutation, commits: bool, calls: &[Fate]) {
        if !self.ledger().may_begin(what) {
            return;
        }
        let op = self.wire.begin(calls);
        let commits = commits || matches!(what, Mutation::Set(_));
        let covers = what.covers();
        let database = self.world.database().clone();
        let present = std::array::from_fn(|key| {
            if commits && covers[key] { database.commit(KEYS[key].name) } else { database.version(KEYS[key].name) }
        });
        self.ledger().mutation_begins(op, cache, what, present);
        self.say(|| {
            let names: Vec<_> = (0..KEYS.len()).filter(|key| covers[*key]).map(|key| (KEYS[key].name, present[key])).collect();
            format!("#{op}: cache {cache} begins {what:?}{}, for versions {names:?}", fared(calls))
        });
        let (on, books) = (self.world.caches()[cache].clone(), Arc::clone(&self.ledger));
        let caches = self.world.caches()[..CACHES].to_vec();
        self.spawn(op, async move {
            let names = KEYS.iter().zip(covers).filter(|(_, covered)| *covered).map(|(key, _)| key.name);
            let delivery = match what {
                Mutation::Expire(key) => on.expire(KEYS[key].name).await,
                Mutation::Key(key) => on.invalidate(KEYS[key].name).await,
                Mutation::Many(_) => on.invalidate_many(names).await,
                Mutation::Tag(tag) => on.invalidate_tag(tag).await,
                Mutation::Prefix(prefix) => on.invalidate_prefix(prefix).await,
                Mutation::Clear => on.clear().await,
                Mutation::Set(key) => {
                    let rules = KEYS[key].policy.tags(KEYS[key].tags);
                    on.set(KEYS[key].name, present[key], rules).await
                }
            };
            let delivery = delivery.expect("keys, tags and values that can be");
            lock(&books).mutation_ends(op, delivery);
            if let Delivery::Applied(token) = delivery {
                await_everywhere(&books, caches, op, token);
            }
        });
    }

    fn open(&mut self, pick: usize) {
        let Some(nth) = pick.checked_rem(self.gates.len()) else { return };
        if let Some((op, gate)) = self.gates.remove(nth) {
            gate.open();
            self.say(|| format!("#{op}'s loader is released"));
        }
    }

    fn foreign(&mut self, key: usize) {
        // As with two of our own: a `set` under way would put its older value on top.
        if self.ledger().is_being_set(key) {
            return;
        }
        let name = KEYS[key].name;
        let version = self.world.database().commit(name);
        self.world.evict(name);
        self.ledger().foreign(key, version);
        self.say(|| format!("somebody else commits version {version} of {name} and deletes it in the tier"));
    }

    fn drop_one(&mut self, pick: usize) {
        self.running.retain(|(_, task)| !task.is_finished());
        let Some(nth) = pick.checked_rem(self.running.len()) else { return };
        let (op, task) = self.running.remove(nth);
        task.abort();
        self.ledger().dropped(op);
        self.say(|| format!("#{op} is dropped"));
    }

    /// Runs an operation as a task; the script hears whose future is polled.
    fn spawn(&mut self, op: Op, operation: impl Future<Output = ()> + Send + 'static) {
        let (wire, mut operation) = (self.wire.clone(), Box::pin(operation));
        let task = tokio::spawn(poll_fn(move |context| {
            wire.polls(Some(op));
            let polled = operation.as_mut().poll(context);
            wire.polls(None);
            polled
        }));
        self.running.push((op, task));
    }

    // --- time

    fn advance(&mut self, millis: u64) {
        self.world.clock().advance(Duration::from_millis(millis));
        self.ledger().now += millis;
    }

    async fn wait(&mut self, mut millis: u64) {
        while millis > 0 {
            let piece = millis.min(PIECE);
            self.advance(piece);
            sleep(Duration::from_millis(piece)).await;
            millis -= piece;
        }
    }

    /// Lets every task go as far as it can, then looks at what must hold.
    async fn idle(&mut self) {
        // Paused time moves on only when no task can run; the turns after it are for whom the same millisecond woke.
        self.wait(1).await;
        for _ in 0..16 {
            yield_now().await;
        }
        for cache in 0..CACHES {
            for op in self.wire.applied(cache) {
                // One of several messages of a tag says nothing of the parts of the others: there only a token does.
                if !self.spread {
                    self.ledger().hears(cache, op);
                }
            }
        }
        for (key, of) in KEYS.iter().enumerate() {
            let found = self.watch.get::<u64>(of.name).await;
            self.ledger().tier_holds(key, found);
        }
        let (done, running): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.running).into_iter().partition(|(_, task)| task.is_finished());
        self.running = running;
        for (op, task) in done {
            if let Err(error) = task.await {
                self.ledger().violation.get_or_insert(format!("#{op} came to no end: {error}"));
            }
        }
    }

    // --- the end

    /// Releases everything, and waits until all is quiet: then everyone must be fresh.
    async fn settle(&mut self) {
        self.say(|| "everything is released".to_owned());
        self.wire.calm();
        self.gates.drain(..).for_each(|(_, gate)| gate.open());
        self.idle().await;
        while let Some((nth, _)) = self.wire.land(0) {
            self.world.tier().land(nth);
            self.idle().await;
        }
        // What everybody has heard of must show before time can have healed anything.
        self.read_all(false);
        self.idle().await;
        // Longer than any lease, any wait for another's load, and the longest rest before another try.
        self.wait(12_000).await;
        self.idle().await;
        self.all_done("operations");
        for (cache, of) in self.world.caches().iter().enumerate() {
            let (pending, flights) = (of.stats().pending, of.stats().flights);
            if pending + flights > 0 {
                let what =
                    format!("cache {cache} has {pending} invalidations pending and {flights} loads running, and all is quiet");
                self.ledger().violation.get_or_insert(what);
            }
        }
        let counts = self.ledger().counts;
        if counts.reached < counts.awaited {
            let what = format!("{} waits for a token have no end, and all is quiet", counts.awaited - counts.reached);
            self.ledger().violation.get_or_insert(what);
        }
        self.say(|| "all is quiet".to_owned());
        self.read_all(true);
        self.idle().await;
        self.wait(1_000).await;
        self.idle().await;
        self.all_done("reads");
    }

    fn read_all(&mut self, quiet: bool) {
        self.say(|| "every cache begins get_or_load of every key".to_owned());
        let story = self.story.take();
        for cache in 0..CACHES {
            for key in 0..KEYS.len() {
                self.load(cache, key, &[], false, End::Well, quiet);
            }
        }
        self.story = story;
    }

    fn all_done(&self, what: &str) {
        let open: Vec<Op> = self.running.iter().map(|(op, _)| *op).collect();
        if !open.is_empty() {
            self.ledger().violation.get_or_insert(format!("{what} {open:?} have no end, and all is quiet"));
        }
    }

    fn end(self, stats: Vec<Stats>) -> Outcome {
        // The script holds the tier, and the tier the script.
        self.world.tier().clear_script();
        let mut ledger = self.ledger();
        let (violation, books) = (ledger.violation.take(), ledger.counts);
        drop(ledger);
        Outcome { violation, story: self.story.unwrap_or_default(), stats, books, wire: self.wire.counts() }
    }
}

/// Waits in every cache for the point at which the mutation stands: what is read there afterwards may not be older.
fn await_everywhere(ledger: &Arc<Mutex<Ledger>>, caches: Vec<TieredCache>, op: Op, token: Token) {
    for (nth, cache) in caches.into_iter().enumerate() {
        lock(ledger).counts.awaited += 1;
        let books = Arc::clone(ledger);
        tokio::spawn(async move {
            if cache.wait_for(token, NEVER).await.is_ok() {
                let mut books = lock(&books);
                books.counts.reached += 1;
                books.hears(nth, op);
            }
        });
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How the calls of an operation fare, where not all fare well.
fn fared(calls: &[Fate]) -> String {
    let told: Vec<String> = calls.iter().map(ToString::to_string).collect();
    if calls.iter().all(|call| *call == Fate::WELL) { String::new() } else { format!(" (calls: {})", told.join(", ")) }
}
