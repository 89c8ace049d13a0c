//! How long another instance goes on serving what one has invalidated, beside a bare cache of moka, redis-rs and a channel:
//! `cargo bench --bench propagation`, with `-- --check` against the limits below, `-- --quick` to see that it runs.
//!
//! Two instances of each cache, A and B, in one process, on one server. A's run on one thread and B's on another, each thread a runtime
//! of its own: so both stamps are of one clock, and on two cores A and the server, which take turns, have one and B the other.
//! No thread is bound to a core: that was tried, and a neighbour on the core then counts for more.
//! Whoever else is at work on the machine makes both slower, for seconds, and the more the more memory one of them touches: so there are several
//! stages, each with a server, threads and connections of its own, and the least disturbed stage of each cache is what is compared.
//! B's thread asks its cache for the key over and over, and looks at the sockets between any two looks, so B is not asleep when the
//! message comes: what is measured is the way of the message and what B does with it, and hardly the wake-up of a thread. A look is
//! one poll of a `get`: an instance that serves the key answers in it. How far apart the looks are is printed: that is how precise a
//! time is. While nothing is waited for, B sleeps.
//! At the pace it looks each one to two milliseconds and sleeps in between, as far as messages let it: three threads that are never asleep on two
//! cores wait for each other, by milliseconds, which would be measured and not the caches. A time may be too long by one look then.
#![forbid(unsafe_code)]

use std::future::Future;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use cachetier::{Delivery, TieredCache};
use cachetier_benches::{Body as _, ByHand, Call, Ground, Outcome, Page, Report, fill, median, percentile, ratio};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval_at};

/// The middle one of the times on the least disturbed stage, against the bare cache.
const RATIO_LIMIT: f64 = 1.2;
/// The 99th percentile in milliseconds, at that many invalidations a second.
const P99_LIMIT: f64 = 5.0;
const PACE: Duration = Duration::from_millis(1);
/// Between two looks at that pace, at least: timers go by whole milliseconds.
const LOOK: Duration = Duration::from_millis(1);

/// After that B is taken to serve the key for ever.
const GIVE_UP: Duration = Duration::from_secs(10);

/// How much is measured.
struct Size {
    /// Stages on which one invalidation comes after the other, and how many of each cache each of them sees, in turns.
    stages: usize,
    single: usize,
    /// Blocks of each cache at the pace, in turns, and how many invalidations one has.
    blocks: usize,
    block: usize,
}

fn main() -> ExitCode {
    let call = Call::read();
    let size = if call.measure {
        Size { stages: 11, single: 401, blocks: 5, block: 2_000 }
    } else {
        Size { stages: 2, single: 20, blocks: 1, block: 50 }
    };
    call.run("propagation", |report| run(&size, report))
}

fn run(size: &Size, report: &mut Report) -> Outcome {
    one_by_one(size, report)?;
    at_the_pace(size, report)
}

fn one_by_one(size: &Size, report: &mut Report) -> Outcome {
    let (mut times, mut middles, mut looks) = (<[Vec<f64>; 2]>::default(), <[Vec<f64>; 2]>::default(), Vec::new());
    for _ in 0..size.stages {
        let mut stage = Stage::set(size.single)?;
        for ((times, middles), of_stage) in times.iter_mut().zip(&mut middles).zip(stage.turns()?) {
            middles.push(median(&of_stage));
            times.extend(of_stage);
        }
        looks.push(stage.clear()?);
    }
    report.line(format!(
        "from `invalidate` in A until B serves the key no more, one after the other, in turns, on {} stages",
        size.stages
    ));
    for ((name, times), middles) in NAMES.iter().zip(&times).zip(&middles) {
        let [half, ninety, hundred] = [50, 90, 99].map(|share| percentile(times, share) / 1e3);
        let [least, most] = ends(middles).map(|middle| middle / 1e3);
        report.line(format!(
            "  {name:<24} p50 {half:>7.1} us  p90 {ninety:>7.1} us  p99 {hundred:>7.1} us; p50 of a stage {least:.1} to {most:.1} us"
        ));
    }
    let [[hand, _], [ours, _]] = middles.each_ref().map(|middles| ends(middles));
    report.at_most("p50 against the bare cache", ours / hand, RATIO_LIMIT, "");
    let [hand, ours] = &middles;
    report.line(format!(
        "  on the least disturbed stage of each; the middle one of the stages' ratios is {:.3}; a look every {:.1} us here",
        ratio(ours, hand),
        median(&looks) / 1e3
    ));
    Ok(())
}

fn at_the_pace(size: &Size, report: &mut Report) -> Outcome {
    let mut stage = Stage::set(size.blocks * size.block)?;
    let times = stage.blocks(size.block)?;
    stage.clear()?;
    report.line(format!("\nthe same at {:.0} a second, whether the last one has arrived or not", 1.0 / PACE.as_secs_f64()));
    for (name, Paced { due, called }) in NAMES.iter().zip(&times) {
        let [due, late] = [50, 99].map(|share| percentile(due, share) / 1e6);
        let [called, slow] = [50, 99].map(|share| percentile(called, share) / 1e6);
        report.line(format!(
            "  {name:<24} p50 {due:>6.3} ms  p99 {late:>6.3} ms from when it was due; {called:.3} and {slow:.3} ms from the call"
        ));
    }
    let [_, ours] = &times;
    report.at_most("p99, from when it was due", percentile(&ours.due, 99) / 1e6, P99_LIMIT, " ms");
    Ok(())
}

/// The least and the most of them.
fn ends(of: &[f64]) -> [f64; 2] {
    [of.iter().copied().fold(f64::INFINITY, f64::min), of.iter().copied().fold(0.0, f64::max)]
}

/// Times at the pace, in nanoseconds: from when each was due, and from the call.
#[derive(Default)]
struct Paced {
    due: Vec<f64>,
    called: Vec<f64>,
}

/// A server, both caches in A and in B, and B's thread.
struct Stage {
    _ground: Ground,
    here: Runtime,
    keys: Vec<String>,
    senders: [Instance; 2],
    holders: [Instance; 2],
    desk: Desk,
    watcher: JoinHandle<f64>,
}

impl Stage {
    /// Sets one for so many invalidations of each cache.
    fn set(keys: usize) -> Outcome<Self> {
        let ground = Ground::start_tcp()?;
        let namespace = ground.namespace();
        let (here, there) = (runtime()?, runtime()?);
        let senders = here.block_on(both(&ground, &namespace))?;
        let holders = there.block_on(both(&ground, &namespace))?;
        let keys: Vec<String> = (0..keys).map(|index| format!("user:{index}")).collect();
        let value = Page::of(100);
        there.block_on(async {
            ground.age_lanes(&[&namespace]).await?;
            for cache in &holders {
                cache.keep(&keys, &value).await?;
            }
            Outcome::Ok(())
        })?;
        let (orders, seen) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let caches = holders.clone();
        let watcher = std::thread::spawn(move || there.block_on(watch(&caches, orders.1, seen.0)));
        let desk = Desk { orders: orders.0, seen: seen.1 };
        Ok(Self { _ground: ground, here, keys, senders, holders, desk, watcher })
    }

    /// One after the other; each cache goes first every other time. How long each took, of each cache.
    fn turns(&mut self) -> Outcome<[Vec<f64>; 2]> {
        let Self { here, keys, senders, desk, .. } = self;
        here.block_on(async {
            let mut times = <[Vec<f64>; 2]>::default();
            for (turn, key) in keys.iter().enumerate() {
                for cache in [turn % 2, 1 - turn % 2] {
                    let (Some(sender), Some(times)) = (senders.get(cache), times.get_mut(cache)) else { continue };
                    desk.held(cache, key).await?;
                    let called = now();
                    desk.order(Order::Until(Until { cache, key: key.clone(), due: called, called, rests: false }))?;
                    sender.invalidate(key).await?;
                    times.push(desk.gone().await?.1);
                }
            }
            Ok(times)
        })
    }

    /// At the pace, in blocks, of each cache in turns.
    fn blocks(&mut self, block: usize) -> Outcome<[Paced; 2]> {
        let Self { here, keys, senders, desk, .. } = self;
        here.block_on(async {
            let mut times = <[Paced; 2]>::default();
            for block in keys.chunks(block) {
                for (cache, (sender, Paced { due, called })) in senders.iter().zip(&mut times).enumerate() {
                    for key in block {
                        desk.held(cache, key).await?;
                    }
                    for (from_due, from_call) in one_block(sender, cache, block, desk).await? {
                        due.push(from_due);
                        called.push(from_call);
                    }
                }
            }
            Ok(times)
        })
    }

    /// Returns the nanoseconds between two looks, if B has heard all of it.
    fn clear(self) -> Outcome<f64> {
        let Self { keys, holders, desk, watcher, .. } = self;
        drop(desk);
        let looks = watcher.join().map_err(|_| "the watcher panicked")?;
        in_order(&holders, keys.len())?;
        Ok(looks)
    }
}

/// The bare cache, and ours.
async fn both(ground: &Ground, namespace: &str) -> Outcome<[Instance; 2]> {
    Ok([Instance::ByHand(ByHand::connect(ground, namespace).await?), Instance::Ours(ground.instance(namespace).await?)])
}

fn runtime() -> Outcome<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// What B stopped serving for another reason than a message would have been measured as the fastest of all.
fn in_order(holders: &[Instance; 2], count: usize) -> Outcome {
    let [_, Instance::Ours(cache)] = holders else { return Ok(()) };
    let stats = cache.stats();
    let heard = stats.invalidations_applied >= u64::try_from(count)?;
    if heard && stats.lane_gaps == 0 && stats.lane_lost == 0 && stats.evicted_by_size == 0 && stats.evicted_by_age == 0 {
        Ok(())
    } else {
        Err(format!("expected B to hear of {count} invalidations and to lose nothing else, found\n{stats}").into())
    }
}

/// What the two are called.
const NAMES: [&str; 2] = ["by hand, with moka", "invalidate"];

/// An instance of one of the two.
#[derive(Clone, Debug)]
enum Instance {
    ByHand(ByHand),
    Ours(TieredCache),
}

impl Instance {
    async fn keep(&self, keys: &[String], value: &Arc<Page>) -> Outcome {
        match self {
            Self::ByHand(cache) => {
                for key in keys {
                    cache.set(key, value).await?;
                }
                Ok(())
            }
            Self::Ours(cache) => fill(cache, keys, value).await.map(drop),
        }
    }

    async fn invalidate(&self, key: &str) -> Result<(), String> {
        match self {
            Self::ByHand(cache) => cache.invalidate(key).await.map_err(|error| error.to_string()),
            Self::Ours(cache) => match cache.invalidate(key).await {
                Ok(Delivery::Applied(_)) => Ok(()),
                other => Err(format!("expected it to be applied, found {other:?}")),
            },
        }
    }

    /// Whether this instance serves the key without asking the server.
    fn serves(&self, key: &str) -> bool {
        match self {
            Self::ByHand(cache) => matches!(look(cache.get(key)), Poll::Ready(Ok(Some(_)))),
            Self::Ours(cache) => matches!(look(cache.get::<Arc<Page>>(key)), Poll::Ready(Some(_))),
        }
    }
}

/// Polls once, and drops what has to wait.
fn look<F: Future>(read: F) -> Poll<F::Output> {
    pin!(read).poll(&mut Context::from_waker(Waker::noop()))
}

/// What the watcher is told.
enum Order {
    /// Say when you have seen that the key is served.
    Begin { cache: usize, key: String },
    /// Say when the key is served no more, which need not be served now. Times count from both.
    Until(Until),
}

struct Until {
    cache: usize,
    key: String,
    due: Instant,
    called: Instant,
    /// Whether B sleeps between two looks.
    rests: bool,
}

/// What the watcher says.
enum Seen {
    Served(bool),
    /// When it had gone.
    Gone {
        due: Instant,
        called: Instant,
        at: Instant,
    },
    Never(String),
}

/// A's end of the two channels.
struct Desk {
    orders: mpsc::UnboundedSender<Order>,
    seen: mpsc::UnboundedReceiver<Seen>,
}

impl Desk {
    fn order(&self, order: Order) -> Outcome {
        self.orders.send(order).map_err(|_| "the watcher has ended".into())
    }

    async fn seen(&mut self) -> Outcome<Seen> {
        self.seen.recv().await.ok_or_else(|| "the watcher has ended".into())
    }

    /// Waits for the next key that has gone.
    async fn gone(&mut self) -> Outcome<(f64, f64)> {
        match self.seen().await? {
            Seen::Gone { due, called, at } => Ok((nanos(at - due), nanos(at - called))),
            Seen::Never(key) => Err(format!("{key} is still served after {GIVE_UP:?}").into()),
            Seen::Served(_) => Err("expected a key to go".into()),
        }
    }

    /// Makes sure that B serves the key.
    async fn held(&mut self, cache: usize, key: &str) -> Outcome {
        self.order(Order::Begin { cache, key: key.to_owned() })?;
        match self.seen().await? {
            Seen::Served(true) => Ok(()),
            _ => Err(format!("expected B to serve {key}").into()),
        }
    }
}

/// Invalidates one key each time that one is due, and waits for none of them before the last.
async fn one_block(sender: &Instance, cache: usize, keys: &[String], desk: &mut Desk) -> Outcome<Vec<(f64, f64)>> {
    let mut due = interval_at(tokio::time::Instant::now() + PACE, PACE);
    due.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut calls = JoinSet::new();
    for key in keys {
        let due = due.tick().await.into_std();
        desk.order(Order::Until(Until { cache, key: key.clone(), due, called: now(), rests: true }))?;
        let (sender, key) = (sender.clone(), key.clone());
        calls.spawn(async move { sender.invalidate(&key).await });
    }
    while let Some(call) = calls.join_next().await {
        call??;
    }
    let mut times = Vec::with_capacity(keys.len());
    for _ in keys {
        times.push(desk.gone().await?);
    }
    Ok(times)
}

/// Looks at what it was told to until nobody can tell it more. Returns the nanoseconds between two looks.
async fn watch(holders: &[Instance; 2], mut orders: mpsc::UnboundedReceiver<Order>, seen: mpsc::UnboundedSender<Seen>) -> f64 {
    let (mut waiting, mut looks, mut looking, mut last): (Vec<Until>, u32, _, _) = (Vec::new(), 0, Duration::ZERO, None::<Instant>);
    loop {
        let idle = waiting.is_empty();
        match if idle { orders.recv().await } else { orders.try_recv().ok() } {
            Some(Order::Begin { cache, key }) => {
                let _ = seen.send(Seen::Served(holders.get(cache).is_some_and(|holder| holder.serves(&key))));
                continue;
            }
            Some(Order::Until(until)) => waiting.push(until),
            None if idle => break,
            None => {}
        }
        if idle {
            last = None;
        }
        waiting.retain(|until| {
            let Until { cache, key, due, called, .. } = until;
            // Before the look: what B heard, it heard between two of them, and one that finds nothing goes on to ask the server.
            let at = now();
            if holders.get(*cache).is_some_and(|holder| holder.serves(key)) {
                return called.elapsed() < GIVE_UP || seen.send(Seen::Never(key.clone())).is_err();
            }
            let _ = seen.send(Seen::Gone { due: *due, called: *called, at });
            false
        });
        if waiting.iter().any(|until| until.rests) {
            tokio::time::sleep(LOOK).await;
            last = None;
            continue;
        }
        let at = now();
        if let Some(last) = last.replace(at) {
            looks += 1;
            looking += at - last;
        }
        // Deferred until the runtime has looked at its sockets and run what they woke.
        tokio::task::yield_now().await;
    }
    nanos(looking) / f64::from(looks.max(1))
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the machine's time")]
fn now() -> Instant {
    Instant::now()
}

fn nanos(time: Duration) -> f64 {
    time.as_secs_f64() * 1e9
}
