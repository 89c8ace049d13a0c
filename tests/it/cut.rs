//! An instance that is cut off while others invalidate, then is not: what nobody has touched it keeps, and the origin hardly notices.
//!
//! `cargo xtask cut 10` runs it with a cut of ten seconds. Without a word it is three: the proof must end within it.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cachetier::{Delivery, Lag, Policy, TieredCache};
use cachetier_tests::{Flow, Flows, Oops, Proxy, Reach as _, RedisServer, Which, eventually_async};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));
const LONG: Duration = Duration::from_secs(60);
/// Longer than a busy machine stalls: what has no answer by then is loaded, and that is not what is measured here.
const PATIENCE: Duration = Duration::from_secs(3);
/// What others invalidate meanwhile: half of it by key, half by tag.
const TOUCHED: usize = 1_000;
/// A thousand reads in a second.
const TICK: Duration = Duration::from_millis(10);
/// In each tick: reads of copies, in a fixed order over all of them; and one of a key that was never read, which must be loaded.
const WARM: usize = 9;

/// What the values come from: how often each key was read there, and its version.
#[derive(Debug)]
struct Origin {
    version: AtomicU64,
    untouched: Vec<AtomicU64>,
    touched: Vec<AtomicU64>,
    cold: AtomicU64,
    /// Reads at the steady pace.
    reads: AtomicU64,
}

/// What is read.
#[derive(Clone, Copy, Debug)]
enum Row {
    Untouched(usize),
    Touched(usize),
    Cold(usize),
}

impl Row {
    fn key(self) -> String {
        match self {
            Self::Untouched(n) => format!("untouched:{n}"),
            Self::Touched(n) => format!("touched:{n}"),
            Self::Cold(n) => format!("cold:{n}"),
        }
    }

    /// One for each of those that are touched, some hundred rows for each of the others.
    fn tag(self) -> String {
        match self {
            Self::Untouched(n) => format!("group:{}", n / 100),
            Self::Touched(n) => format!("row:{n}"),
            Self::Cold(n) => format!("cold:{}", n / 100),
        }
    }
}

impl Origin {
    fn new(untouched: usize) -> Self {
        let rows = |rows: usize| (0..rows).map(|_| AtomicU64::new(0)).collect();
        Self {
            version: AtomicU64::new(1),
            untouched: rows(untouched),
            touched: rows(TOUCHED),
            cold: AtomicU64::new(0),
            reads: AtomicU64::new(0),
        }
    }

    fn loads_of(&self, row: Row) -> Option<&AtomicU64> {
        match row {
            Row::Untouched(n) => self.untouched.get(n),
            Row::Touched(n) => self.touched.get(n),
            Row::Cold(_) => Some(&self.cold),
        }
    }

    #[expect(clippy::unused_async, reason = "a loader is async")]
    async fn load(&self, row: Row) -> Result<u64, Oops> {
        self.loads_of(row).ok_or(Oops("no such row"))?.fetch_add(1, Ordering::SeqCst);
        Ok(self.version.load(Ordering::SeqCst))
    }

    /// Loads so far that nobody's invalidation has made necessary: of rows that nobody touched.
    fn loads(&self) -> u64 {
        self.cold.load(Ordering::SeqCst) + sum(&self.untouched)
    }
}

fn count(few: usize) -> u64 {
    u64::try_from(few).expect("few")
}

fn sum(rows: &[AtomicU64]) -> u64 {
    rows.iter().map(|row| row.load(Ordering::SeqCst)).sum()
}

async fn read(cache: &TieredCache, origin: &Origin, row: Row) -> u64 {
    cache.get_or_load(&row.key(), POLICY.tags([row.tag()]), || origin.load(row)).await.expect("loaded")
}

/// Reads at a steady pace, whatever becomes of the reads, until it is dropped.
async fn keep_reading(cache: TieredCache, origin: Arc<Origin>) {
    let (mut reads, mut ticks) = (JoinSet::new(), interval(TICK));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut next, mut cold) = (0, 0);
    loop {
        ticks.tick().await;
        while reads.try_join_next().is_some() {}
        let warm = (next..next + WARM).map(|n| Row::Untouched(n % origin.untouched.len()));
        for row in warm.chain([Row::Cold(cold)]) {
            origin.reads.fetch_add(1, Ordering::SeqCst);
            let (cache, origin) = (cache.clone(), Arc::clone(&origin));
            reads.spawn(async move { read(&cache, &origin, row).await });
        }
        (next, cold) = (next + WARM, cold + 1);
    }
}

/// Reads all of these once, several at a time.
async fn read_all(cache: &TieredCache, origin: &Arc<Origin>, rows: impl Iterator<Item = Row>) -> Vec<u64> {
    let rows: Vec<Row> = rows.collect();
    let mut readers = JoinSet::new();
    for rows in rows.chunks(rows.len().div_ceil(16).max(1)).map(<[Row]>::to_vec) {
        let (cache, origin) = (cache.clone(), Arc::clone(origin));
        readers.spawn(async move {
            let mut values = Vec::with_capacity(rows.len());
            for row in rows {
                values.push(read(&cache, &origin, row).await);
            }
            values
        });
    }
    readers.join_all().await.into_iter().flatten().collect()
}

/// Invalidates the touched rows, the one half by key, the other by tag, evenly over so long.
async fn touch(cache: &TieredCache, over: Duration) {
    let began = Instant::now();
    for n in 0..TOUCHED {
        let row = Row::Touched(n);
        let delivery = if n % 2 == 0 { cache.invalidate(&row.key()).await } else { cache.invalidate_tag(&row.tag()).await };
        assert!(matches!(delivery, Ok(Delivery::Applied(_))), "{delivery:?}");
        sleep_until(began + over * u32::try_from(n + 1).expect("few") / 1_000).await;
    }
}

/// Loads of rows that nobody touched, in a thousand reads: in a second, that is, and on a machine that stalls as well.
struct Rate {
    loads: u64,
    reads: u64,
}

impl Rate {
    fn begin(origin: &Origin) -> Self {
        Self { loads: origin.loads(), reads: origin.reads.load(Ordering::SeqCst) }
    }

    #[expect(clippy::cast_precision_loss, reason = "a few thousand of each")]
    fn end(&self, origin: &Origin) -> f64 {
        let now = Self::begin(origin);
        1_000.0 * (now.loads - self.loads) as f64 / (now.reads - self.reads) as f64
    }
}

/// How long the cut lasts; how many copies nobody touches; for how long the load rate is looked at before the cut, and once copies are
/// checked after it.
fn size() -> (Duration, usize, Duration) {
    let seconds = std::env::var("CUT_SECONDS").ok().map_or(3, |seconds| seconds.parse().expect("CUT_SECONDS is a number"));
    let (untouched, window) = if seconds < 10 { (2_000, 3) } else { (20_000, 5) };
    (Duration::from_secs(seconds), untouched, Duration::from_secs(window))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_touched_while_an_instance_was_cut_off_is_kept_without_a_load() {
    let (cut, untouched, window) = size();
    let server = RedisServer::start();
    let proxy = Proxy::on_socket(&server);
    let build = |url: String| TieredCache::builder("cut").reach(url).read_limit(PATIENCE).command_limit(PATIENCE).build();
    let (a, b) = (build(server.url()).await.expect("built"), build(proxy.url()).await.expect("built"));
    let origin = Arc::new(Origin::new(untouched));
    let touched = || (0..TOUCHED).map(Row::Touched);
    read_all(&b, &origin, (0..untouched).map(Row::Untouched).chain(touched())).await;
    assert_eq!(b.stats().fills, count(untouched + TOUCHED), "{}", b.stats());

    let reading = tokio::spawn(keep_reading(b.clone(), Arc::clone(&origin)));
    let began = Instant::now();
    let rate = Rate::begin(&origin);
    sleep_until(began + window).await;
    let before = rate.end(&origin);

    let rate = Rate::begin(&origin);
    proxy.order(Which::All, Flows::both(Flow::Swallow));
    origin.version.store(2, Ordering::SeqCst);
    touch(&a, cut).await;
    let during = rate.end(&origin);

    let (mended, then) = (Instant::now(), b.stats());
    let loaded = sum(&origin.untouched);
    proxy.restore();
    let checks = async || b.stats().suspects_same > then.suspects_same && matches!(b.stats().lag, Lag::Proven(_));
    eventually_async(LONG, "copies are checked again", checks).await;
    let back = mended.elapsed();
    let rate = Rate::begin(&origin);
    let read_since = origin.reads.load(Ordering::SeqCst);
    sleep_until(Instant::now() + window).await;
    let after = rate.end(&origin);
    let each = read_since + count(untouched) * count(WARM + 1) / count(WARM);
    eventually_async(LONG, "each copy was read", async || origin.reads.load(Ordering::SeqCst) > each).await;
    reading.abort();
    let _ = reading.await;

    let stats = b.stats();
    let (loads, kept) = (sum(&origin.untouched) - loaded, stats.suspects_same - then.suspects_same);
    let values = read_all(&b, &origin, touched()).await;
    let owed = sum(&origin.touched) - count(TOUCHED);
    println!(
        "cut of {cut:?}, {TOUCHED} invalidations of others: of {untouched} untouched copies {loads} were loaded anew, {kept} checked and kept; \
         loads/s before {before:.0}, during {during:.0}, after {after:.0} (for {window:?} from when copies were checked again, {back:.1?} after \
         the mend); {owed} loads of what was invalidated"
    );
    println!("{stats}");
    assert!(loads * 20 <= count(untouched), "at most one in twenty is loaded anew");
    assert!(kept * 20 >= 19 * count(untouched), "they were suspect, and were checked");
    assert!(after <= 1.1 * before, "the origin does not notice");
    assert!(values.iter().all(|value| *value == 2), "what was invalidated is loaded anew");
    assert_eq!(owed, count(TOUCHED), "and once");
}
