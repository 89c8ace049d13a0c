//! What `invalidate_tag` costs with few and with many entries under the tag, in time and in the server's memory: `cargo bench --bench
//! tags`, with `-- --check` against the limits below, `-- --quick` to see that it runs.
//!
//! Each size has an instance of its own, which holds all its entries in both tiers. The bumps of the sizes are measured in turns. Only
//! the first bump of each meets entries that are valid; it is shown by itself, and those after it meet as many that are not.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use cachetier::{Delivery, TieredCache};
use cachetier_benches::{Call, Ground, Outcome, POLICY, Pinned, Report, Subject, interleave, median};
use cachetier_tests::{Client, Reply};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

/// The largest of the medians against the smallest.
const RATIO_LIMIT: f64 = 1.5;
/// What a tag takes in the header of an entry, in bytes.
const TAG_BYTES: i64 = 8;

const TAG: &str = "org:7";
/// How many callers fill at the same time.
const WIDE: u32 = 64;
/// How many tags are bumped to see whether the server keeps anything for them.
const FRESH: u32 = 2_000;

fn main() -> ExitCode {
    let call = Call::read();
    let (sizes, rounds): (&[u32], _) = if call.measure { (&[1, 1_000, 100_000, 1_000_000], 4_001) } else { (&[1, 100], 1) };
    call.run("tags", |report| {
        let ground = Ground::start_tcp()?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let caches = time(&ground, &runtime, (sizes, rounds), report)?;
        let whole = sizes.iter().zip(&caches).next_back().ok_or("expected a size")?;
        memory(&ground, &runtime, whole, report)
    })
}

/// Measures the bumps; returns the instances of the sizes.
fn time(ground: &Ground, runtime: &Runtime, (sizes, rounds): (&[u32], usize), report: &mut Report) -> Outcome<Vec<TieredCache>> {
    let mut caches = Vec::new();
    for size in sizes {
        let cache = runtime.block_on(ground.roomy(&ground.namespace(), u64::from(size * 2)))?;
        runtime.block_on(fill(&cache, *size, &[TAG]))?;
        runtime.block_on(held(&cache, *size))?;
        caches.push(cache);
    }
    let pinned = Pinned::with(ground.server());
    report.line(match &pinned {
        Ok(pinned) => format!("client and server on core {}", pinned.core()),
        Err(why) => format!("client and server are not on one core: {why}"),
    });
    let mut firsts = Vec::new();
    for cache in &caches {
        // What has been left over from filling the others is done by then.
        for _ in 0..WIDE {
            runtime.block_on(bump(cache, "another"))?;
        }
        runtime.block_on(held(cache, 1))?;
        firsts.push(runtime.block_on(bump(cache, TAG))?);
        if runtime.block_on(cache.get::<u32>(&key(0))).is_some() {
            return Err("expected an entry under the tag to be gone".into());
        }
    }
    let mut subjects: Vec<Subject<'_>> = (caches.iter().zip(sizes))
        .map(|(cache, size)| Subject::new(size.to_string(), 1, || runtime.block_on(bump(cache, TAG))))
        .collect();
    let medians: Vec<f64> = interleave(rounds, &mut subjects)?.iter().map(|times| median(times)).collect();
    drop(subjects);
    report.line("\nentries under the tag, in both tiers: `invalidate_tag`");
    for ((size, median), first) in sizes.iter().zip(&medians).zip(&firsts) {
        let first = first.as_secs_f64() * 1e6;
        report.line(format!("  {size:>9}   median {:>7.1} us   the first, which found them valid {first:>7.1} us", median / 1e3));
    }
    let (least, most) = medians.iter().fold((f64::MAX, 0.0_f64), |(least, most), median| (least.min(*median), most.max(*median)));
    report.at_most("largest median against the smallest", most / least, RATIO_LIMIT, "");
    Ok(caches)
}

/// Looks at what the server keeps for tags.
fn memory(ground: &Ground, runtime: &Runtime, whole: (&u32, &TieredCache), report: &mut Report) -> Outcome {
    let mut client = ground.client();
    let mut held = Vec::new();
    let (size, _) = whole;
    let count = (*size).min(10_000);
    report.line(format!("\n{count} entries of four bytes, without tags and with them: what the server holds for each"));
    for tags in [&[][..], &["a"], &["a", "b"], &["a", "b", "c", "d"]] {
        let namespace = ground.namespace();
        let cache = runtime.block_on(ground.instance(&namespace))?;
        // The lane, before anything is counted.
        runtime.block_on(bump(&cache, TAG))?;
        let before = [number(&mut client, &["DBSIZE"])?, used(&mut client)?];
        runtime.block_on(fill(&cache, count, tags))?;
        let [keys, bytes] = [number(&mut client, &["DBSIZE"])? - before[0], used(&mut client)? - before[1]];
        let stored = format!("ct:{namespace}:v:{}", key(0));
        let [long, heap] = [number(&mut client, &["STRLEN", &stored])?, number(&mut client, &["MEMORY", "USAGE", &stored])?];
        report.line(format!(
            "  {:>2} tags   STRLEN {long:>4}   MEMORY USAGE {heap:>4}   used_memory {:>6.1}   keys {keys}",
            tags.len(),
            share(bytes, i64::from(count))
        ));
        held.push((i64::try_from(tags.len())?, long, keys));
    }
    let [(_, plain, _), ..] = held[..] else { return Err("expected entries without tags".into()) };
    let worst = held.iter().filter(|(tags, ..)| *tags > 0).map(|(tags, long, _)| share(long - plain, *tags)).fold(0.0, f64::max);
    report.at_most("bytes in an entry for each of its tags", worst, share(TAG_BYTES, 1), "");
    let extra = held.iter().map(|(_, _, keys)| keys - i64::from(count)).max().unwrap_or_default();
    report.at_most("keys beside the entries", share(extra, 1), 0.0, "");
    fresh_tags(&mut client, runtime, whole, report)
}

/// Bumps tags that nobody has used, of a lane whose table has its full length.
fn fresh_tags(client: &mut Client, runtime: &Runtime, (size, cache): (&u32, &TieredCache), report: &mut Report) -> Outcome {
    let tags = |from: u32| (from..from + FRESH).map(|index| format!("fresh:{index}")).collect::<Vec<_>>();
    let all = |tags: Vec<String>| {
        runtime.block_on(async {
            for tag in &tags {
                bump(cache, tag).await?;
            }
            Outcome::Ok(())
        })
    };
    all(tags(0))?;
    let before = [number(client, &["DBSIZE"])?, used(client)?];
    all(tags(FRESH))?;
    let after = [number(client, &["DBSIZE"])?, used(client)?];
    report.line(format!("\n{FRESH} tags bumped for the first time, {size} entries in the namespace"));
    report.at_most("keys for them", share(after[0] - before[0], 1), 0.0, "");
    // Room for what the server has in hand for its clients at the moment; a key for each tag would take eighty times that.
    report.at_most("bytes of used_memory for each", share(after[1] - before[1], i64::from(FRESH)), 1.0, "");
    Ok(())
}

fn key(index: u32) -> String {
    format!("user:{index}")
}

/// Fills so many entries into both tiers.
async fn fill(cache: &TieredCache, count: u32, tags: &'static [&'static str]) -> Outcome {
    let before = cache.stats().fills;
    let mut callers = JoinSet::new();
    for caller in 0..WIDE.min(count) {
        let cache = cache.clone();
        callers.spawn(async move {
            for index in (caller..count).step_by(usize::try_from(WIDE).unwrap_or(1)) {
                let rules = POLICY.tags(tags);
                let value = cache.get_or_load(&key(index), rules, async || Ok::<_, Infallible>(index)).await;
                value.map_err(|error| error.to_string())?;
            }
            Ok::<_, String>(())
        });
    }
    while let Some(done) = callers.join_next().await {
        done??;
    }
    let stored = cache.stats().fills - before;
    if stored == u64::from(count) { Ok(()) } else { Err(format!("expected {count} fills, found {stored}").into()) }
}

/// Makes sure that this instance holds all of them.
async fn held(cache: &TieredCache, count: u32) -> Outcome {
    let before = cache.stats().l1_hits;
    for index in 0..count {
        let _ = cache.get::<u32>(&key(index)).await;
    }
    let hits = cache.stats().l1_hits - before;
    if hits == u64::from(count) { Ok(()) } else { Err(format!("expected {count} entries in L1, found {hits}").into()) }
}

/// One bump, alone in its round: one that is interrupted then counts for no other.
async fn bump(cache: &TieredCache, tag: &str) -> Outcome<Duration> {
    let begun = now();
    match cache.invalidate_tag(tag).await? {
        Delivery::Applied(_) => Ok(begun.elapsed()),
        other => Err(format!("expected it to be applied, found {other:?}").into()),
    }
}

fn number(client: &mut Client, words: &[&str]) -> Outcome<i64> {
    match client.command(words)? {
        Reply::Int(number) => Ok(number),
        other => Err(format!("expected a number for {words:?}, found {other:?}").into()),
    }
}

fn used(client: &mut Client) -> Outcome<i64> {
    let info = client.command(&["INFO", "memory"])?.text().unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).ok_or("expected used_memory")?;
    Ok(line.trim().parse()?)
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn share(whole: i64, parts: i64) -> f64 {
    whole as f64 / parts as f64
}

#[expect(clippy::disallowed_methods, reason = "a bench measures the machine's time")]
fn now() -> Instant {
    Instant::now()
}
