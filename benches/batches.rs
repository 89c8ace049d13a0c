//! What a batch of a hundred keys that Redis has costs, divided by what it stands on: `cargo bench --bench batches`, with `-- --check` against
//! the limits below. The sides are measured in turns, as in the bench `ratios`.
//!
//! Each is held against what does the same: a batch that keeps what it reads, in a tier that is full, against what one would write by hand to keep
//! it, `MGET`, decoding and moka; one that reads past the copies and keeps nothing against `MGET` and decoding. How far the first is above
//! `MGET` and decoding alone is the price of keeping copies, with moka or without a cache around it, and has no limit.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cachetier::{CallOptions, TieredCache, Tiers};
use cachetier_benches::{
    Body as _, Call, Ground, Missing, Outcome, POLICY, Page, Pinned, Report, SIZES, Subject, interleave, median, prefill,
    prefill_raw, ratio,
};
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;
use tokio::runtime::Builder;

/// A batch of keys that Redis has, and the same by hand.
const LIMIT: f64 = 1.5;
/// Past the copies.
const PAST: CallOptions = CallOptions::new().reads(Tiers::L2).writes(Tiers::Neither);
/// Keys of a batch.
const KEYS: usize = 100;
/// Batches of a round.
const BATCHES: usize = 10;
/// Different batches, read in turn: far more keys than the instance that reads them keeps.
const TURNS: usize = 40;
const ROUNDS: usize = 101;

fn main() -> ExitCode {
    let call = Call::read();
    call.run("batches", |report| run(call, report))
}

fn run(call: Call, report: &mut Report) -> Outcome {
    let ground = Ground::start()?;
    match Pinned::with(ground.server()) {
        Ok(pinned) => {
            report.line(format!("client and server on core {}", pinned.core()));
            sizes(call, &ground, report)
        }
        Err(why) => {
            report.line(format!("client and server are not on one core ({why}): the ratios below are those of two cores"));
            sizes(call, &ground, report)
        }
    }
}

fn sizes(call: Call, ground: &Ground, report: &mut Report) -> Outcome {
    let rounds = if call.measure { ROUNDS } else { 1 };
    for (size, bytes) in SIZES {
        compare(ground, rounds, (size, bytes), report)?;
    }
    Ok(())
}

fn compare(ground: &Ground, rounds: usize, (size, bytes): (&str, usize), report: &mut Report) -> Outcome {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (namespace, value) = (ground.namespace(), Page::of(bytes));
    let names = |head: String| (0..KEYS * TURNS).map(|at| format!("{head}:{at:06}")).collect::<Vec<_>>();
    // As long as the names under which the cache stores its values.
    let (keys, raw_keys) = (names("user".to_owned()), names(format!("ct:{namespace}:r:user")));
    let (raw, by_hand, full) = runtime.block_on(async {
        prefill(&ground.instance(&namespace).await?, &keys, &value).await?;
        let mut raw = ground.raw().await?;
        prefill_raw(&mut raw, &raw_keys, &value).await?;
        Outcome::Ok((raw.clone(), raw, ground.forgetful(&namespace).await?))
    })?;
    let local = Ground::few();
    let turn = |keys| Turn { keys, next: 0 };
    let read = |name: &str, how: How| {
        let (mut turn, cache, runtime) = (turn(&keys), full.clone(), &runtime);
        Subject::new(name, ops(), move || timed(runtime, read_batches(&cache, &mut turn, how)))
    };
    let mut subjects = [
        {
            let (mut raw, mut turn, runtime) = (raw, turn(&raw_keys), &runtime);
            Subject::new("MGET and decode", ops(), move || timed(runtime, get_batches(&mut raw, None, &mut turn)))
        },
        {
            let (mut raw, mut turn, runtime) = (by_hand, turn(&raw_keys), &runtime);
            Subject::new("  by hand, with moka", ops(), move || timed(runtime, get_batches(&mut raw, Some(&local), &mut turn)))
        },
        read("get_or_load_many", How::Kept),
        read("  past the copies, nothing kept", How::Past),
        read("  one by one, get_or_load", How::OneByOne),
    ];
    let times = interleave(rounds, &mut subjects)?;
    if full.stats().l1_hits > 0 {
        return Err("a copy has answered where the server is to be asked".into());
    }
    let [bare, by_hand, many, past, ..] = times.as_slice() else { return Ok(()) };
    report.line(format!("\n{size}, {KEYS} keys in a batch, a key of `MGET` and decoding: {:.0} ns", median(bare)));
    for (subject, times) in subjects.iter().zip(&times).skip(1) {
        report.line(format!("  {:<46} {:>9.3}", subject.name(), ratio(times, bare)));
    }
    report.at_most("get_or_load_many / by hand, with moka", ratio(many, by_hand), LIMIT, "");
    report.at_most("past the copies / MGET and decode", ratio(past, bare), LIMIT, "");
    Ok(())
}

fn ops() -> u32 {
    u32::try_from(KEYS * BATCHES).unwrap_or(u32::MAX)
}

/// Batches, in turn.
struct Turn<'a> {
    keys: &'a [String],
    next: usize,
}

impl<'a> Turn<'a> {
    fn next(&mut self) -> &'a [String] {
        let at = self.next % TURNS;
        self.next += 1;
        self.keys.get(at * KEYS..(at + 1) * KEYS).unwrap_or_default()
    }
}

/// How keys are read.
#[derive(Clone, Copy)]
enum How {
    Kept,
    Past,
    OneByOne,
}

async fn read_batches(cache: &TieredCache, turn: &mut Turn<'_>, how: How) -> Outcome {
    for _ in 0..BATCHES {
        let keys = turn.next();
        let load = async |_| Err::<[(String, Arc<Page>); 0], _>(Missing);
        let read = match how {
            How::Kept => cache.get_or_load_many(keys, POLICY, load).await?,
            How::Past => cache.with(PAST).get_or_load_many(keys, POLICY, load).await?,
            How::OneByOne => {
                let mut read = Vec::with_capacity(keys.len());
                for key in keys {
                    read.push(Some(cache.get_or_load(key, POLICY, async || Err::<Arc<Page>, _>(Missing)).await?));
                }
                read
            }
        };
        std::hint::black_box(read);
    }
    Ok(())
}

async fn get_batches(
    connection: &mut MultiplexedConnection,
    local: Option<&moka::sync::Cache<String, Arc<Page>>>,
    turn: &mut Turn<'_>,
) -> Outcome {
    for _ in 0..BATCHES {
        let keys = turn.next();
        if local.is_some_and(|local| keys.iter().any(|key| local.get(key).is_some())) {
            return Err(Missing.into());
        }
        let found: Vec<Option<Vec<u8>>> = connection.mget(keys).await?;
        let mut values = Vec::with_capacity(keys.len());
        for (key, bytes) in keys.iter().zip(found) {
            let value = postcard::from_bytes::<Arc<Page>>(&bytes.ok_or(Missing)?)?;
            if let Some(local) = local {
                local.insert(key.clone(), Arc::clone(&value));
            }
            values.push(Some(value));
        }
        std::hint::black_box(values);
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the machine's time")]
fn timed(runtime: &tokio::runtime::Runtime, call: impl Future<Output = Outcome>) -> Outcome<Duration> {
    let begun = Instant::now();
    runtime.block_on(call)?;
    Ok(begun.elapsed())
}
