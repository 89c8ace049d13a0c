//! Copies that the tag table hides although nobody has invalidated them: as many as the formula says, and said aloud when they are many.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::time::Duration;

use cachetier::{Clock, InProcess, ManualClock, Policy, Stats, TieredCache};
use cachetier_tests::{Log, Origin};
use tokio::time::sleep;

const HOUR: Duration = Duration::from_secs(3_600);
const POLICY: Policy = Policy::ttl(HOUR.saturating_mul(2));
/// The walk that estimates comes once a minute.
const WALK: Duration = Duration::from_secs(61);
const COPIES: u32 = 4_000;

/// A cache whose copies and invalidations go by a clock in the hand.
struct World {
    cache: TieredCache,
    hand: ManualClock,
    origin: Origin,
    /// How many other tags were bumped.
    bumped: u32,
}

impl World {
    async fn new(cells: u32) -> Self {
        let (clock, hand) = Clock::manual();
        let tier = InProcess::with_clock(clock.clone());
        let builder = TieredCache::builder("needless").clock(clock).in_process(&tier).tag_cells(cells).max_staleness(2 * HOUR);
        Self { cache: builder.build().await.expect("built"), hand, origin: Origin::at(1), bumped: 0 }
    }

    /// Reads so many copies, each with a tag of its own that nobody bumps, and returns how many of them had to be loaded.
    async fn read(&self) -> usize {
        let before = self.origin.loads();
        for copy in 0..COPIES {
            let (key, tag) = (format!("k{copy}"), format!("own:{copy}"));
            let read: u64 = self.cache.get_or_load(&key, POLICY.tags([tag]), || self.origin.load()).await.expect("loaded");
            assert_eq!(read, 1);
        }
        self.origin.loads() - before
    }

    /// Bumps so many other tags in each second of an hour, a different one each time.
    async fn an_hour(&mut self, in_a_second: u32) {
        const STEP: u32 = 10;
        for _ in 0..3_600 / STEP {
            let next = self.bumped + STEP * in_a_second;
            let tags: Vec<String> = (self.bumped..next).map(|n| format!("other:{n}")).collect();
            self.bumped = next;
            if !tags.is_empty() {
                self.cache.invalidate_tags(&tags).await.expect("told");
            }
            self.hand.advance(Duration::from_secs(u64::from(STEP)));
        }
    }

    async fn walked(&self) -> Stats {
        sleep(WALK).await;
        self.cache.stats()
    }
}

/// The share of copies that are hidden after an hour of so many bumps in a second: the formula, what was measured, what the cache has
/// estimated. With them, what it has warned of.
struct Shares {
    formula: f64,
    measured: f64,
    estimated: f64,
    /// The estimate in tenths of a hundredth.
    tenths: u64,
    warnings: Vec<String>,
}

async fn shares(cells: u32, in_a_second: u32) -> Shares {
    let log = Log::default();
    let _listening = log.listen();
    let mut world = World::new(cells).await;
    assert_eq!(world.read().await, COPIES as usize);
    world.an_hour(in_a_second).await;
    let stats = world.walked().await;
    assert_eq!((stats.lane_gaps, stats.lane_lost, stats.l1_entries), (0, 0, u64::from(COPIES)), "{stats}");
    let missed = u32::try_from(world.read().await).expect("a few thousand");
    let formula = (1.0 - (-4.0 * f64::from(in_a_second) * HOUR.as_secs_f64() / f64::from(cells)).exp()).powi(4);
    let estimated = f64::from(u32::try_from(stats.table_needless_ppm).expect("a share")) / 1e6;
    let shares = Shares {
        formula,
        measured: f64::from(missed) / f64::from(COPIES),
        estimated,
        tenths: stats.table_needless_ppm / 1_000,
        warnings: log.with(""),
    };
    println!(
        "{cells} cells, {in_a_second} bumps/s for 1 h: formula {formula:.4}, measured {:.4}, estimated {estimated:.4}",
        shares.measured
    );
    shares
}

/// How many cells the estimate is made of.
const SAMPLE: f64 = 4_096.0;

/// Each within four deviations: of so many copies, and of so many cells.
#[track_caller]
fn agree(shares: &Shares) {
    let Shares { formula, measured, estimated, .. } = *shares;
    let noise = 4.0 * (formula * (1.0 - formula) / f64::from(COPIES)).sqrt();
    assert!((measured - formula).abs() <= noise, "measured {measured:.4}, expected {formula:.4} within {noise:.4}");
    let moved = formula.powf(0.25);
    let about = 4.0 * 4.0 * moved.powi(3) * (moved * (1.0 - moved) / SAMPLE).sqrt();
    assert!((estimated - formula).abs() <= about, "estimated {estimated:.4}, expected {formula:.4} within {about:.4}");
}

#[tokio::test(start_paused = true)]
async fn ten_bumps_a_second_are_no_reason_for_a_warning() {
    let shares = shares(1 << 18, 10).await;
    agree(&shares);
    assert_eq!(shares.warnings, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn twenty_bumps_a_second_hide_a_fifth_of_what_is_an_hour_old() {
    let shares = shares(1 << 18, 20).await;
    agree(&shares);
    assert_eq!(shares.warnings.len(), 1, "{:?}", shares.warnings);
}

#[tokio::test(start_paused = true)]
async fn a_hundred_bumps_a_second_fill_the_default_table_and_one_warning_says_so() {
    let shares = shares(1 << 18, 100).await;
    agree(&shares);
    let [warning] = shares.warnings.as_slice() else { panic!("expected one warning, found {:?}", shares.warnings) };
    let needless = format!("needless={}.{} %", shares.tenths / 10, shares.tenths % 10);
    for part in ["namespace=needless", &needless, "cells=262144", "`tag_cells`"] {
        assert!(warning.contains(part), "expected {part} in: {warning}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_largest_table_misses_less_than_one_in_a_hundred_at_that() {
    let shares = shares(1 << 22, 100).await;
    agree(&shares);
    assert!(shares.measured < 0.01 && shares.estimated < 0.01);
    assert_eq!(shares.warnings, Vec::<String>::new());
}

/// Copies are loaded anew after the flood, and are young to what follows.
#[tokio::test(start_paused = true)]
async fn a_table_that_has_become_too_small_again_is_spoken_of_again() {
    let log = Log::default();
    let _listening = log.listen();
    let mut world = World::new(1 << 18).await;
    for told in 1..=2 {
        world.read().await;
        assert!(world.walked().await.table_needless_ppm < 25_000);
        world.an_hour(20).await;
        assert!(world.walked().await.table_needless_ppm > 100_000);
        world.walked().await;
        assert_eq!(log.with("").len(), told, "{:?}", log.with(""));
        // All of them, so that none is left of the age of those before.
        world.cache.clear().await.expect("told");
    }
}
