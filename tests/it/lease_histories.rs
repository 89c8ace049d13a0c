//! Random histories of instances that want the same few keys, with loads that answer, fail, panic or are dropped, and with calls and word that are
//! lost, late or slow: nobody waits for ever, or while there is nothing to wait for, and no key is loaded twice at once while every call is answered.
//!
//! `CACHETIER_HISTORIES=10000 cargo test --release -p cachetier-tests --test lease_histories -- --nocapture` runs many;
//! `CACHETIER_HISTORY=<seed>` runs that one and tells what its calls came to.
#![forbid(unsafe_code)]
#![expect(clippy::panic, clippy::expect_used, reason = "what fails here is a test that has failed")]

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cachetier::{Call, CallKind, Clock, InProcess, LoadError, Plan, Policy, TieredCache};
use cachetier_tests::Oops;
use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// How many histories are tried unless the environment says otherwise.
const HISTORIES: u64 = 400;
const INSTANCES: usize = 3;
const KEYS: usize = 2;
const STEPS: usize = 30;
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600)).stale_for(Duration::from_secs(3_600));
const LEASE: Duration = Duration::from_secs(1);
/// For how long another instance's load is waited for. Nobody ever has to: tickets end before.
const BUDGET: Duration = Duration::from_secs(60);
/// How late, at most, who waits goes on where word comes: the pause before a batch looks, and the clock's steps.
const SOON: Duration = Duration::from_millis(30);
/// The steps of the caches' clock.
const TICK: Duration = Duration::from_millis(5);

/// What becomes of a load.
#[derive(Clone, Copy, Debug)]
enum End {
    Answers,
    Fails,
    Panics,
    /// With its caller.
    Dropped,
}

#[derive(Debug, Default)]
struct Books {
    /// Key, begin and end of each load, and whose it was.
    loads: Vec<(usize, Instant, Instant, usize)>,
    /// What each call came to.
    calls: Vec<Called>,
}

#[derive(Clone, Debug)]
struct Called {
    keys: Vec<usize>,
    begun: Instant,
    ended: Instant,
    failed: Option<String>,
}

type Shared = Arc<Mutex<Books>>;

fn lock(books: &Shared) -> std::sync::MutexGuard<'_, Books> {
    books.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes a load down when it ends, however that is.
struct Loading {
    books: Shared,
    keys: Vec<usize>,
    instance: usize,
    begun: Instant,
}

impl Drop for Loading {
    fn drop(&mut self) {
        let now = Instant::now();
        lock(&self.books).loads.extend(self.keys.iter().map(|key| (*key, self.begun, now, self.instance)));
    }
}

fn name(key: usize) -> String {
    format!("key:{key}")
}

/// What is drawn for one call.
#[derive(Clone, Copy, Debug)]
struct Drawn {
    instance: usize,
    /// The first of the keys that are wanted just now.
    first: usize,
    key: usize,
    takes: Duration,
    end: End,
    batch: bool,
}

fn draw(rng: &mut Rng, first: usize) -> Drawn {
    let end = match rng.u8(..10) {
        0..7 => End::Answers,
        7 => End::Fails,
        8 => End::Panics,
        _ => End::Dropped,
    };
    // Some outlast their lease.
    let takes = Duration::from_millis(if rng.u8(..10) == 0 { rng.u64(1_000..2_500) } else { rng.u64(0..300) });
    Drawn { instance: rng.usize(..INSTANCES), first, key: first + rng.usize(..KEYS), takes, end, batch: rng.u8(..5) == 0 }
}

/// The work of a loader.
async fn load(books: Shared, keys: Vec<usize>, drawn: Drawn) -> Result<u64, Oops> {
    let _loading = Loading { books, keys, instance: drawn.instance, begun: Instant::now() };
    sleep(drawn.takes).await;
    match drawn.end {
        End::Answers | End::Dropped => Ok(1),
        End::Fails => Err(Oops("as drawn")),
        End::Panics => panic!("as drawn"),
    }
}

async fn call(cache: TieredCache, books: Shared, drawn: Drawn) {
    let begun = Instant::now();
    let keys: Vec<usize> = if drawn.batch { (drawn.first..drawn.first + KEYS).collect() } else { vec![drawn.key] };
    let calling = async {
        if drawn.batch {
            let load = |asked: Vec<String>| {
                let numbers = asked.iter().filter_map(|key| key.strip_prefix("key:")?.parse().ok()).collect();
                let loading = load(Arc::clone(&books), numbers, drawn);
                async move { loading.await.map(|value| asked.into_iter().map(|key| (key, value)).collect::<Vec<_>>()) }
            };
            cache.get_or_load_many(keys.iter().map(|key| name(*key)), POLICY, load).await.map(|_| ())
        } else {
            cache.get_or_load(&name(drawn.key), POLICY, || load(Arc::clone(&books), vec![drawn.key], drawn)).await.map(|_| ())
        }
    };
    let answer: Result<(), LoadError<Oops>> = if matches!(drawn.end, End::Dropped) {
        // It is given up in the middle of its load, or of its wait.
        timeout(drawn.takes / 2, calling).await.unwrap_or(Ok(()))
    } else {
        calling.await
    };
    let called = Called { keys, begun, ended: Instant::now(), failed: answer.err().map(|error| error.to_string()) };
    lock(&books).calls.push(called);
}

/// The longest of its time in which a call waited and nothing was being loaded anywhere that it could wait for: its keys, or others that a batch
/// loads first which leads one of them.
fn idle(call: &Called, books: &Books) -> Duration {
    let mut loads: Vec<(Instant, Instant)> = books
        .loads
        .iter()
        .filter(|(key, ..)| call.keys.iter().any(|own| own / KEYS == key / KEYS))
        .map(|(_, begun, ended, _)| (*begun, *ended))
        .collect();
    loads.sort_unstable();
    let (mut at, mut longest) = (call.begun, Duration::ZERO);
    for (begun, ended) in loads.into_iter().chain([(call.ended, call.ended)]) {
        longest = longest.max(begun.min(call.ended).saturating_duration_since(at));
        at = at.max(ended);
    }
    longest
}

/// Whether two instances loaded one key at the same time.
fn loaded_at_once(books: &Books) -> Option<String> {
    let loads = &books.loads;
    let together = |a: &(usize, Instant, Instant, usize), b: &(usize, Instant, Instant, usize)| {
        a.0 == b.0 && a.3 != b.3 && a.1 < b.2 && b.1 < a.2
    };
    let pairs = loads.iter().enumerate().flat_map(|(nth, a)| loads.iter().skip(nth + 1).map(move |b| (a, b)));
    pairs.clone().find(|(a, b)| together(a, b)).map(|(a, b)| format!("{a:?} and {b:?}"))
}

/// Calls that are interfered with.
fn faults(rng: &mut Rng) -> impl Fn(&Call<'_>) -> Plan + Send + Sync + 'static {
    let rng = Mutex::new(rng.fork());
    move |call: &Call<'_>| {
        use CallKind::{Abandon, Claim, Extend, Fill, Lease, Probe, Read, Refill, Wait, Wake};
        let mut rng = rng.lock().unwrap_or_else(PoisonError::into_inner);
        let meant = matches!(call.kind, Probe | Read | Wait | Wake | Fill | Refill | Abandon | Claim | Extend | Lease);
        match rng.u8(..30) {
            0 if meant => Plan::lost(),
            1 if meant => Plan::lost_reply(),
            2 if meant => Plan::late(),
            3 if meant => Plan::twice(),
            4..7 if meant => Plan::delay(Duration::from_millis(rng.u64(..40))),
            _ => Plan::go(),
        }
    }
}

#[derive(Debug, Default)]
struct Sums {
    calls: usize,
    loads: usize,
    waits: u64,
    wakes: u64,
    polls: u64,
}

/// One history; what is wrong with it, if anything is.
async fn history(seed: u64, sums: &mut Sums) -> Result<(), String> {
    let mut rng = Rng::with_seed(seed);
    let (clock, hand) = Clock::manual();
    let memory = InProcess::with_clock(clock.clone());
    let memory = if seed.is_multiple_of(3) { memory.spread() } else { memory };
    // Where nothing interferes and nobody changes anything, more can be said.
    let (faulty, calm) = (seed % 2 == 1, seed.is_multiple_of(4));
    let mut caches = Vec::new();
    for _ in 0..INSTANCES {
        let builder = TieredCache::builder("test").in_process(&memory).clock(clock.clone()).tag_cells(256);
        caches.push(builder.lease(LEASE).wait_budget(BUDGET).load_limit(BUDGET).build().await.expect("built"));
    }
    if faulty {
        memory.script(faults(&mut rng));
    }
    let ticking = tokio::spawn(async move {
        // Far beyond any history.
        for _ in 0..1_000_000 {
            sleep(TICK).await;
            hand.advance(TICK);
        }
    });
    let (books, mut calls) = (Shared::default(), JoinSet::new());
    for step in 0..STEPS {
        // Others after a while: of one that is there nobody waits for anything.
        let drawn = draw(&mut rng, step / 6 * KEYS);
        let cache = caches.get(drawn.instance).expect("one of them").clone();
        match if calm { rng.u8(4..20) } else { rng.u8(..20) } {
            0 => drop(cache.invalidate(&name(drawn.key)).await),
            1 => drop(cache.set(&name(drawn.key), 2_u64, POLICY).await),
            2 => drop(cache.expire(&name(drawn.key)).await),
            3 => drop(memory.evict(&format!("ct:test:v:{}", name(drawn.key)))),
            4..9 => {
                sleep(Duration::from_millis(rng.u64(..400))).await;
                continue;
            }
            _ => {
                calls.spawn(call(cache, Arc::clone(&books), drawn));
                continue;
            }
        }
        if faulty && rng.bool() {
            memory.land(0);
        }
    }
    let all = async { while calls.join_next().await.is_some() {} };
    let ended = timeout(BUDGET, all).await;
    ticking.abort();
    let books = lock(&books);
    for cache in &caches {
        let stats = cache.stats();
        sums.waits += stats.ticket_waits;
        sums.wakes += stats.ticket_wakes;
        sums.polls += stats.ticket_polls;
        if ended.is_ok() && stats.flights > 0 {
            return Err(format!("{} flights are open", stats.flights));
        }
    }
    sums.calls += books.calls.len();
    sums.loads += books.loads.len();
    if ended.is_err() {
        return Err(format!("a call waits for ever; {} of them have ended", books.calls.len()));
    }
    for call in &books.calls {
        if let Some(why) = call.failed.as_ref().filter(|why| !why.contains("as drawn")) {
            return Err(format!("it failed by itself: {why}"));
        }
        let took = call.ended.saturating_duration_since(call.begun);
        // What was lost costs the rest of a ticket, or a limit, and not the budget.
        if took >= BUDGET / 2 {
            return Err(format!("it waited {took:?}: {call:?}"));
        }
        // A value that another instance refreshes is looked at now and then: nobody is told of that.
        let idle = idle(call, &books);
        if calm && idle > SOON {
            return Err(format!("it waited {idle:?} for nothing: {call:?}"));
        }
    }
    if calm && let Some(both) = loaded_at_once(&books) {
        return Err(format!("two instances loaded at once: {both}"));
    }
    Ok(())
}

#[test]
fn nobody_waits_for_ever_or_for_nothing() {
    let number = |variable: &str| std::env::var(variable).ok().map(|text| text.parse::<u64>().expect("a number"));
    let (first, histories) = match number("CACHETIER_HISTORY") {
        Some(seed) => (seed, 1),
        None => (0, number("CACHETIER_HISTORIES").unwrap_or(HISTORIES)),
    };
    std::panic::set_hook(Box::new(|_| {}));
    let mut sums = Sums::default();
    for seed in first..first + histories {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime");
        if let Err(wrong) = runtime.block_on(history(seed, &mut sums)) {
            drop(std::panic::take_hook());
            panic!("history {seed}: {wrong}");
        }
    }
    drop(std::panic::take_hook());
    println!("{histories} histories: {sums:?}");
    if histories > 100 {
        assert!(sums.wakes > sums.calls as u64 / 50 && sums.waits > sums.wakes, "{sums:?}");
    }
}
