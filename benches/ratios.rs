//! What a read costs, divided by what it stands on: `cargo bench --bench ratios`, with `-- --check` against the limits below.
//! The two sides of a ratio are measured in one run, in turns, so it holds on a busy machine where the times themselves do not.
//!
//! `-- --tcp` puts the server on a loopback port; the default, a unix socket, is the harder case for the ratios.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;

use cachetier::TieredCache;
use cachetier_benches::{
    Body, Ground, List, Outcome, Page, Pinned, SIZES, Subject, fill, fill_by_hand, fill_raw, forget, get_by_hand_each, get_each,
    get_raw_each, interleave, median, moka_future_each, moka_sync_each, page_each, page_key, page_of_each, page_of_key, prefill,
    prefill_raw, ratio, read_each, zipf,
};
use tokio::runtime::{Builder, Runtime};

/// A hit in L1 against `get` of moka's asynchronous cache.
const L1_LIMIT: f64 = 1.0;
/// A hit through `#[cached]` against `get` by a ready key.
const CACHED_LIMIT: f64 = 1.2;
/// A hit in L2 against `GET` and decoding.
const L2_LIMIT: f64 = 1.12;
/// A miss and its fill against `GET`, encoding and `SET PX`.
const FILL_LIMIT: f64 = 1.2;

/// What is in L1, and how it is asked for.
const L1_KEYS: u32 = 10_000;
const EXPONENT: f64 = 0.99;
const L1_ASKED: usize = 200_000;
/// What one round does: enough that what it begins with, the other side having just run, does not count.
const L1_OPS: u32 = 2_000;
const L2_OPS: u32 = 200;
const FILL_OPS: u32 = 100;

/// The row of what one would write without the cache: the same commands, and the value kept in moka. How far a ratio above it is the
/// price of what the cache does beyond that, and how far the row itself is above the first one the price of keeping a copy at all.
const BY_HAND: &str = "  by hand, with moka";

/// How often each side of a ratio is measured.
struct Rounds {
    l1: usize,
    l2: usize,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |flag: &str| arguments.iter().any(|argument| argument == flag);
    // Without it cargo runs this as a test: then it shows that it runs, and its numbers mean nothing.
    let measure = given("--bench");
    let rounds = if measure { Rounds { l1: 1_001, l2: 61 } } else { Rounds { l1: 1, l2: 1 } };
    let ground = if given("--tcp") { Ground::start_tcp() } else { Ground::start() };
    match ground.and_then(|ground| run(&ground, &rounds)) {
        Ok(table) => {
            println!("{}", table.text);
            if !measure {
                println!("(not measured: run it with `cargo bench --bench ratios`)");
            }
            if given("--check") && measure && table.above > 0 {
                eprintln!("{} ratios are above their limit", table.above);
                return ExitCode::FAILURE;
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ratios: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(ground: &Ground, rounds: &Rounds) -> Outcome<Table> {
    let mut table = Table::new();
    l1(ground, rounds.l1, &mut table)?;
    cached(ground, rounds.l1, &mut table)?;
    match Pinned::with(ground.server()) {
        Ok(pinned) => {
            table.line(&format!("\nclient and server on core {}", pinned.core()));
            l2(ground, rounds.l2, &mut table)?;
        }
        Err(why) => {
            table.line(&format!("\nclient and server are not on one core ({why}): the ratios below are those of two cores"));
            l2(ground, rounds.l2, &mut table)?;
        }
    }
    Ok(table)
}

/// Hits in L1, with a server attached: on this thread, the cache's own tasks on another.
fn l1(ground: &Ground, rounds: usize, table: &mut Table) -> Outcome {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let keys = names("user", L1_KEYS);
    let order = zipf(L1_KEYS, EXPONENT, L1_ASKED);
    let asked: Vec<&str> = order.iter().filter_map(|index| keys.get(*index)).map(String::as_str).collect();
    let value = Page::of(1_024);
    // Plain: neither a time to live nor a listener.
    let moka_future = moka::future::Cache::new(u64::from(L1_KEYS) * 2);
    let moka_sync = moka::sync::Cache::new(u64::from(L1_KEYS) * 2);
    let cache = runtime.block_on(async {
        let cache = ground.instance(&ground.namespace()).await?;
        prefill(&cache, &keys, &value).await?;
        for key in &keys {
            moka_future.insert(key.clone(), Arc::clone(&value)).await;
            moka_sync.insert(key.clone(), Arc::clone(&value));
        }
        Outcome::Ok(cache)
    })?;
    // Each begins elsewhere: the third reads the same entries as the second, and would else find them in the processor's cache.
    let turn = |quarter: usize| Turn::new(&asked, L1_OPS).from(quarter * L1_ASKED / 4);
    let (mut one, mut two, mut three, mut four) = (turn(0), turn(1), turn(2), turn(3));
    let mut subjects = [
        Subject::new("moka future get", L1_OPS, || runtime.block_on(moka_future_each::<Page>(&moka_future, one.next()))),
        Subject::new("get_or_load, L1 hit", L1_OPS, || runtime.block_on(read_each::<Page>(&cache, two.next()))),
        Subject::new("get, L1 hit", L1_OPS, || runtime.block_on(get_each::<Page>(&cache, three.next()))),
        Subject::new("moka sync get", L1_OPS, || runtime.block_on(moka_sync_each::<Page>(&moka_sync, four.next()))),
    ];
    let times = interleave(rounds, &mut subjects)?;
    table.line(&format!("{L1_KEYS} keys, Zipf {EXPONENT}, V = Arc<T>, a server attached"));
    table.compare(&subjects, &times, &[Some(L1_LIMIT), Some(L1_LIMIT), None]);
    Ok(())
}

/// Hits in L1 through functions with the attribute, which write their keys first, against the verb with a key that is ready.
fn cached(ground: &Ground, rounds: usize, table: &mut Table) -> Outcome {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let cache = runtime.block_on(ground.instance(&ground.namespace()))?;
    cachetier::install(cache.clone())?;
    let (value, shop) = (Page::of(1_024), "north-west");
    let ids: Vec<u64> =
        zipf(L1_KEYS, EXPONENT, L1_ASKED).into_iter().map(|index| 1_000_000 + u64::try_from(index).unwrap_or_default()).collect();
    let (by_id, by_shop): (Vec<String>, Vec<String>) = ids.iter().map(|id| (page_key(*id), page_of_key(shop, *id))).unzip();
    let all = |keys: &[String]| keys.iter().cloned().collect::<std::collections::BTreeSet<_>>().into_iter().collect::<Vec<_>>();
    runtime.block_on(async {
        prefill(&cache, &all(&by_id), &value).await?;
        prefill(&cache, &all(&by_shop), &value).await
    })?;
    for (name, keys, in_shop) in [("(u64)", &by_id, false), ("(&str, u64)", &by_shop, true)] {
        let (mut ready, mut at) = (Turn::new(keys, L1_OPS), Turn::new(&ids, L1_OPS).from(L1_ASKED / 2));
        let mut subjects = [
            Subject::new("get by a ready key", L1_OPS, || runtime.block_on(get_each::<Page>(&cache, ready.next()))),
            Subject::new(format!("#[cached] {name}"), L1_OPS, || {
                let ids = at.take();
                runtime.block_on(async { if in_shop { page_of_each(shop, ids).await } else { page_each(ids).await } })
            }),
        ];
        let times = interleave(rounds, &mut subjects)?;
        table.line(&format!("\nL1 hit, {L1_KEYS} keys such as `{}`", keys.first().map_or("", String::as_str)));
        table.compare(&subjects, &times, &[Some(CACHED_LIMIT)]);
    }
    Ok(())
}

/// Hits in L2, and misses that are filled: client, cache and their tasks on this thread.
fn l2(ground: &Ground, rounds: usize, table: &mut Table) -> Outcome {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    for (size, bytes) in SIZES {
        hits::<Page>(ground, &runtime, rounds, (size, bytes), Some(L2_LIMIT), table)?;
    }
    for (size, bytes) in SIZES {
        fills(ground, &runtime, rounds, (size, bytes), table)?;
    }
    // A body whose elements serde hands over one by one: what the bounds on decoding cost shows most here.
    hits::<List>(ground, &runtime, rounds, ("Vec<u8> of 1 KiB", 1_024), None, table)
}

/// What is checked is the hit of a service whose L1 is full: what is read is kept and something else goes. The rows below it say
/// how much of the time that is: with room left, where the memory is new each time, and with nothing kept at all.
fn hits<T: Body>(
    ground: &Ground,
    runtime: &Runtime,
    rounds: usize,
    (size, bytes): (&str, usize),
    limit: Option<f64>,
    table: &mut Table,
) -> Outcome {
    let namespace = ground.namespace();
    // One key for each read, and for those of the round that is not counted: nothing is read twice by anybody.
    let count = L2_OPS * u32::try_from(rounds + 1)?;
    let (keys, value) = (names("user", count), T::of(bytes));
    // As long as the names under which the cache stores its values.
    let raw_keys = names(&format!("ct:{namespace}:r:user"), count);
    let (raw, mut by_hand, caches) = runtime.block_on(async {
        prefill(&ground.instance(&namespace).await?, &keys, &value).await?;
        let mut raw = ground.raw().await?;
        prefill_raw(&mut raw, &raw_keys, &value).await?;
        let (one, two) = (ground.forgetful(&namespace).await?, ground.forgetful(&namespace).await?);
        let room = ground.instance(&namespace).await?;
        Outcome::Ok((raw, ground.raw().await?, [one, two, room, ground.keepless(&namespace).await?]))
    })?;
    let [by_load, by_get, room, keepless] = &caches;
    // Each begins elsewhere: what one has just asked for, the server's processor would find sooner for the next.
    let turn = |sixth: usize| Turn::new(&keys, L2_OPS).from(sixth * keys.len() / 6);
    let read = |name: &str, cache: &TieredCache, sixth: usize| {
        let (cache, mut at) = (cache.clone(), turn(sixth));
        Subject::new(name, L2_OPS, move || runtime.block_on(read_each::<T>(&cache, at.next())))
    };
    let mut subjects = [
        {
            let (mut raw, mut at) = (raw, Turn::new(&raw_keys, L2_OPS));
            Subject::new("GET and decode", L2_OPS, move || runtime.block_on(get_raw_each::<T>(&mut raw, at.next())))
        },
        read("get_or_load, L2 hit", by_load, 1),
        {
            let mut at = turn(2);
            Subject::new("get, L2 hit", L2_OPS, move || runtime.block_on(get_each::<T>(by_get, at.next())))
        },
        read("  L1 has room for it", room, 3),
        read("  L1 keeps nothing", keepless, 4),
        {
            let (local, mut at) = (Ground::few::<Arc<T>>(), Turn::new(&raw_keys, L2_OPS).from(5 * raw_keys.len() / 6));
            Subject::new(BY_HAND, L2_OPS, move || runtime.block_on(get_by_hand_each::<T>(&mut by_hand, &local, at.next())))
        },
    ];
    let times = interleave(rounds, &mut subjects)?;
    for cache in &caches {
        let stats = cache.stats();
        if stats.l1_hits > 0 || stats.l2_hits != u64::from(count) {
            return Err(format!("expected {count} hits in L2 and none in L1, found otherwise:\n{stats}").into());
        }
    }
    table.line(&format!("\nL2 hit, {size}, one after the other"));
    table.compare(&subjects, &times, &[limit, limit, None, None, None]);
    Ok(())
}

fn fills(ground: &Ground, runtime: &Runtime, rounds: usize, (size, bytes): (&str, usize), table: &mut Table) -> Outcome {
    let (namespace, value) = (ground.namespace(), Page::of(bytes));
    let connect = async { Outcome::Ok((ground.forgetful(&namespace).await?, ground.raw().await?, ground.raw().await?)) };
    let (cache, raw, mut by_hand) = runtime.block_on(connect)?;
    let before = cache.stats();
    let mut subjects = [
        {
            let (mut raw, mut client, mut fresh) = (raw, ground.client(), 0);
            let (value, namespace) = (&value, &namespace);
            Subject::new("GET, encode and SET PX", FILL_OPS, move || {
                fresh += 1;
                let keys = names(&format!("ct:{namespace}:r:user:{fresh}"), FILL_OPS);
                let time = runtime.block_on(fill_raw(&mut raw, &keys, value))?;
                forget(&mut client, &keys)?;
                Ok(time)
            })
        },
        {
            let (mut client, mut fresh) = (ground.client(), 0);
            let (cache, value, namespace) = (&cache, &value, &namespace);
            Subject::new("get_or_load, miss and fill", FILL_OPS, move || {
                fresh += 1;
                let keys = names(&format!("user:{fresh}"), FILL_OPS);
                let time = runtime.block_on(fill(cache, &keys, value))?;
                forget(&mut client, &keys.iter().map(|key| format!("ct:{namespace}:v:{key}")).collect::<Vec<_>>())?;
                Ok(time)
            })
        },
        {
            let (mut client, local, mut fresh) = (ground.client(), Ground::few(), 0);
            let (value, namespace) = (&value, &namespace);
            Subject::new(BY_HAND, FILL_OPS, move || {
                fresh += 1;
                let keys = names(&format!("ct:{namespace}:h:user:{fresh}"), FILL_OPS);
                let time = runtime.block_on(fill_by_hand(&mut by_hand, &local, &keys, value))?;
                forget(&mut client, &keys)?;
                Ok(time)
            })
        },
    ];
    let times = interleave(rounds, &mut subjects)?;
    let (loads, fills) = (cache.stats().loads - before.loads, cache.stats().fills - before.fills);
    if loads != fills {
        return Err(format!("expected every load to be stored, found {loads} loads and {fills} fills").into());
    }
    table.line(&format!("\nmiss and fill, {size}, a loader that has the value at hand"));
    table.compare(&subjects, &times, &[Some(FILL_LIMIT), None]);
    Ok(())
}

fn names(prefix: &str, count: u32) -> Vec<String> {
    (0..count).map(|index| format!("{prefix}:{index}")).collect()
}

/// Hands the keys out in turn, a round's worth at a time, so that one is asked for again only after all the others.
struct Turn<'a, K> {
    chunks: std::iter::Cycle<std::slice::ChunksExact<'a, K>>,
    take: usize,
}

impl<'a, K> Turn<'a, K> {
    fn new(keys: &'a [K], take: u32) -> Self {
        let take = usize::try_from(take).unwrap_or(usize::MAX);
        Self { chunks: keys.chunks_exact(take).cycle(), take }
    }

    /// The same from the key at `from` on.
    fn from(mut self, from: usize) -> Self {
        self.chunks.by_ref().take(from / self.take).for_each(drop);
        self
    }

    fn take(&mut self) -> &'a [K] {
        self.chunks.next().unwrap_or_default()
    }

    fn next(&mut self) -> impl Iterator<Item = &'a str> + use<'a, K>
    where
        K: AsRef<str>,
    {
        self.take().iter().map(AsRef::as_ref)
    }
}

/// The lines that are printed at the end.
struct Table {
    text: String,
    /// How many ratios are above their limit.
    above: usize,
}

impl Table {
    fn new() -> Self {
        Self { text: String::new(), above: 0 }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// Sets every subject against the first one; `limits` are those of the others.
    fn compare(&mut self, subjects: &[Subject<'_>], times: &[Vec<f64>], limits: &[Option<f64>]) {
        let Some((base, rest)) = times.split_first() else { return };
        if let Some(first) = subjects.first() {
            self.line(&format!("  {:<28} {:>10.1} ns", first.name(), median(base)));
        }
        for ((subject, times), limit) in subjects.iter().skip(1).zip(rest).zip(limits) {
            let ratio = ratio(times, base);
            let verdict = match limit {
                None => String::new(),
                Some(limit) if ratio <= *limit => format!("limit {limit:.2}  ok"),
                Some(limit) => {
                    self.above += 1;
                    format!("limit {limit:.2}  ABOVE")
                }
            };
            self.line(&format!("  {:<28} {:>10.1} ns  x {ratio:.3}  {verdict}", subject.name(), median(times)));
        }
    }
}
