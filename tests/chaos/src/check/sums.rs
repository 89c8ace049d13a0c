//! What several runs were worth together, and what they should have been worth at least.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use super::summary::share;
use super::{Staleness, Summary};
use crate::limits::{L1_SHARE, MOST_READS, SOUND_STALENESS, WHOLE};
use crate::plan::{Kind, Over, Scenario, ServerClock};

/// Runs one after the other.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    asked: Duration,
    scenarios: BTreeMap<&'static str, u64>,
    reads: u64,
    hits: u64,
    looks: u64,
    gaps: u64,
    retold: u64,
    unproven: u64,
    refused: u64,
    waits: u64,
    holds: u64,
    unguarded: u64,
    replaced: u64,
    violated: u64,
    faults: BTreeMap<Kind, u64>,
    clock: ServerClock,
    sound: Staleness,
    disturbed: Staleness,
}

impl Sums {
    /// Adds a run of this length, and tells it in a line.
    pub fn add(&mut self, seed: u64, length: Duration, summary: &Summary<'_>) -> String {
        let (verdict, totals, made) = (summary.verdict(), summary.totals(), summary.made());
        let looks = totals.l1_hits + totals.l1_misses;
        self.asked += length;
        *self.scenarios.entry(summary.scenario().name()).or_default() += 1;
        self.clock = summary.clock();
        self.reads += verdict.reads;
        self.hits += totals.l1_hits;
        self.looks += looks;
        self.gaps += totals.lane_gaps;
        self.retold += totals.retold;
        self.unproven += totals.served_unproven;
        self.refused += verdict.refused;
        self.waits += verdict.waits;
        self.holds += verdict.holds;
        self.unguarded += verdict.unguarded;
        self.replaced += verdict.replaced;
        self.violated += verdict.violated;
        for (kind, count) in &made {
            *self.faults.entry(*kind).or_default() += count;
        }
        self.sound.and(&verdict.sound);
        self.disturbed.and(&verdict.disturbed);
        format!(
            "seed {seed:>3} {:<10} reads {:>8}, L1 {:>6}, faults {:>3}, gaps {:>3}, unproven {:>6}, points {:>5}, holds {:>5}, sound p99.9 {:>8.3} ms, violations {}",
            summary.scenario().name(),
            verdict.reads,
            share(totals.l1_hits, looks),
            made.values().sum::<u64>(),
            totals.lane_gaps,
            totals.served_unproven,
            verdict.waits,
            verdict.holds,
            verdict.sound.high().as_secs_f64() * 1_000.0,
            verdict.violated,
        )
    }

    /// What they have not shown and should have. Of less time than the whole takes only violations count.
    #[must_use]
    pub fn unmet(&self) -> Vec<String> {
        let mut unmet = Vec::new();
        if self.violated > 0 {
            unmet.push(format!("{} violations", self.violated));
        }
        if self.asked < WHOLE {
            return unmet;
        }
        if self.reads < MOST_READS {
            unmet.push(format!("expected {MOST_READS} reads or more, found {}", self.reads));
        }
        if self.hits * 100 < self.looks * L1_SHARE {
            unmet.push(format!("expected L1 to answer {L1_SHARE} % of the reads or more, found {}", share(self.hits, self.looks)));
        }
        // Whatever it is over is a whole of its own.
        let over = self.scenarios.keys().next().and_then(|name| Scenario::named(name)).map_or(Over::Server, Scenario::over);
        let of_it = || Scenario::NAMED.iter().filter(|(_, scenario)| scenario.over() == over);
        let scenarios = of_it().filter(|(name, _)| !self.scenarios.contains_key(name)).map(|(name, _)| *name);
        let made = |kind: &&Kind| of_it().any(|(_, scenario)| scenario.kinds().contains(kind));
        let faults = Kind::ALL.iter().filter(made).filter(|kind| self.clock.allows(**kind) && !self.faults.contains_key(kind));
        let faults = faults.map(|kind| format!("{kind:?}"));
        let missing: Vec<String> = scenarios.map(str::to_owned).chain(faults).collect();
        if !missing.is_empty() {
            unmet.push(format!("expected every scenario and every kind of fault, missing: {}", missing.join(", ")));
        }
        if self.sound.high() >= SOUND_STALENESS {
            unmet.push(format!("expected a p99.9 below {SOUND_STALENESS:?} in sound time, found {:?}", self.sound.high()));
        }
        unmet
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scenarios: Vec<String> = self.scenarios.iter().map(|(name, runs)| format!("{name} {runs}")).collect();
        writeln!(f, "asked for           {:>10} s  {}", self.asked.as_secs(), scenarios.join(", "))?;
        writeln!(f, "reads judged        {:>10}", self.reads)?;
        writeln!(f, "  answered by L1    {:>10}", share(self.hits, self.looks))?;
        writeln!(f, "  served unproven   {:>10}  refused instead {}", self.unproven, self.refused)?;
        writeln!(f, "gaps seen           {:>10}", self.gaps)?;
        writeln!(f, "told again          {:>10}", self.retold)?;
        writeln!(f, "points reached      {:>10}", self.waits)?;
        writeln!(f, "keys held           {:>10}", self.holds)?;
        writeln!(f, "behind lost guards  {:>10}", self.unguarded)?;
        writeln!(f, "of replaced primary {:>10}", self.replaced)?;
        writeln!(f, "violations          {:>10}", self.violated)?;
        writeln!(f, "staleness           {:>12} {:>12} {:>12} {:>12}", "reads", "stale", "p99.9", "worst")?;
        writeln!(f, "  sound             {}", self.sound)?;
        writeln!(f, "  disturbed         {}", self.disturbed)?;
        let faults: Vec<String> = self.faults.iter().map(|(kind, count)| format!("{kind:?} {count}")).collect();
        write!(f, "faults              {:>10}  {}", self.faults.values().sum::<u64>(), faults.join(", "))
    }
}
