//! Random histories of three caches over one tier, with calls and messages held, lost, late and refused: whatever happens, no read
//! is older than what its cache was promised, be it by what it heard or by a token that was waited for.
//!
//! A history that breaks a promise is printed as the shortest one found that still does, with its seed.
//! `CACHETIER_HISTORIES=100000 cargo test --release -p cachetier-tests --test histories -- --nocapture` runs many;
//! `CACHETIER_HISTORY=<seed>` runs that one and tells its story.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, clippy::panic, reason = "what fails here is a test that has failed")]
#![expect(clippy::indexing_slicing, reason = "caches and keys are few and fixed")]

mod history;
mod ledger;
mod mended;
mod shrink;
mod step;
mod wire;

use std::fmt::Write as _;

use crate::history::{Outcome, run};
use crate::shrink::shrink;

/// How many histories are tried unless the environment says otherwise: what takes seconds without optimisation.
const HISTORIES: u64 = 1_500;

#[test]
fn no_history_breaks_a_promise() {
    if let Some(seed) = number("CACHETIER_HISTORY") {
        let outcome = run(seed, &step::draw(seed), true);
        println!("{}", outcome.story.join("\n"));
        assert_eq!(outcome.violation, None, "history {seed}");
        return;
    }
    let histories = number("CACHETIER_HISTORIES").unwrap_or(HISTORIES);
    let mut sums = Sums::default();
    for seed in 0..histories {
        let steps = step::draw(seed);
        let outcome = run(seed, &steps, false);
        if let Some(violation) = outcome.violation {
            panic!("{}", report(seed, &violation, &steps));
        }
        sums.add(&outcome);
    }
    println!("{histories} histories\n{sums}");
    sums.check();
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}, expected a number")))
}

/// The shortest history found that breaks a promise as this one does, told step by step.
fn report(seed: u64, violation: &str, steps: &[step::Step]) -> String {
    let shrunk = shrink(seed, steps);
    let told = run(seed, &shrunk, true);
    let mut text = format!("history {seed}: {violation}\n");
    let _ = writeln!(text, "in {} steps:", shrunk.len());
    for line in &told.story {
        let _ = writeln!(text, "  {line}");
    }
    let now = told.violation.unwrap_or_else(|| "nothing this time: it depends on what the seed does not decide".to_owned());
    let _ = writeln!(text, "  => {now}");
    text
}

/// Defines the sums over all histories: each with how it is read from one outcome.
macro_rules! sums {
    ($($name:ident: $label:literal = $of:expr;)+) => {
        /// What all histories together did.
        #[derive(Debug, Default)]
        struct Sums { $($name: u64,)+ }

        impl Sums {
            fn add(&mut self, outcome: &Outcome) {
                $(let of: fn(&Outcome) -> u64 = $of; self.$name += of(outcome);)+
            }
        }

        impl std::fmt::Display for Sums {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                $(writeln!(f, "{:<36}{:>12}", $label, self.$name)?;)+
                Ok(())
            }
        }
    };
}

sums! {
    l1_hits: "L1 hits" = |it| it.stats.iter().map(|stats| stats.l1_hits).sum();
    l1_misses: "L1 misses" = |it| it.stats.iter().map(|stats| stats.l1_misses).sum();
    l2_hits: "L2 hits" = |it| it.stats.iter().map(|stats| stats.l2_hits).sum();
    l2_unusable: "L2 values unusable" = |it| it.stats.iter().map(|stats| stats.l2_unusable).sum();
    loads: "loads" = |it| it.stats.iter().map(|stats| stats.loads).sum();
    coalesced: "reads that waited for a flight" = |it| it.stats.iter().map(|stats| stats.coalesced).sum();
    refreshes: "looks for something newer" = |it| it.stats.iter().map(|stats| stats.refreshes).sum();
    refreshes_found: "of these found" = |it| it.stats.iter().map(|stats| stats.refreshes_found).sum();
    refreshes_failed: "of these failed" = |it| it.stats.iter().map(|stats| stats.refreshes_failed).sum();
    announced: "of these told of" = |it| it.stats.iter().map(|stats| stats.refreshes_announced).sum();
    slow: "answered while something newer was loaded" = |it| it.stats.iter().map(|stats| stats.served_revalidating).sum();
    wakes: "waits ended by word" = |it| it.stats.iter().map(|stats| stats.ticket_wakes).sum();
    fills: "fills stored" = |it| it.stats.iter().map(|stats| stats.fills).sum();
    renewed: "values renewed" = |it| it.stats.iter().map(|stats| stats.renewals).sum();
    stood_in: "failed loads that something stale answered for" = |it| it.stats.iter().map(|stats| stats.served_stale).sum();
    refused: "fills refused" = |it| it.stats.iter().map(|stats| stats.fills_refused).sum();
    unanswered: "fills unanswered" = |it| it.stats.iter().map(|stats| stats.fills_unanswered).sum();
    suspects_same: "suspects kept" = |it| it.stats.iter().map(|stats| stats.suspects_same).sum();
    suspects_changed: "suspects changed" = |it| it.stats.iter().map(|stats| stats.suspects_changed).sum();
    lane_gaps: "times something was missing" = |it| it.stats.iter().map(|stats| stats.lane_gaps).sum();
    lane_lost: "times the lane was lost" = |it| it.stats.iter().map(|stats| stats.lane_lost).sum();
    answered: "reads answered" = |it| it.books.answered;
    bound: "reads that something was promised" = |it| it.books.bound;
    failed: "reads that a loader failed" = |it| it.books.failed;
    elsewhere: "of these another instance's" = |it| it.books.elsewhere;
    fenced: "looks at what the tier must fence" = |it| it.books.fenced;
    applied: "mutations applied" = |it| it.books.applied;
    pending: "mutations pending" = |it| it.books.pending;
    reached: "tokens reached" = |it| it.books.reached;
    held: "calls and answers held" = |it| it.wire.held;
    astray: "calls without an answer" = |it| it.wire.unanswered;
    late: "calls that ran late" = |it| it.wire.late;
    messages: "messages" = |it| it.wire.messages;
    messages_held: "messages held" = |it| it.wire.messages_held;
    messages_lost: "messages lost" = |it| it.wire.messages_lost;
}

impl Sums {
    /// A cache that never caches breaks no promise: so much of each must have happened.
    fn check(&self) {
        let reads = self.l1_hits + self.l1_misses;
        let permille = |part: u64| part * 1_000 / reads.max(1);
        let shares = [("L1 hits", self.l1_hits, 25), ("L2 hits", self.l2_hits, 10), ("fills", self.fills, 5)];
        for (what, part, least) in shares {
            let share = permille(part);
            println!("{what} of {reads} reads: {}.{} %", share / 10, share % 10);
            assert!(share >= least * 10, "{what}: {share} of 1,000 reads, expected {least} % or more");
        }
        for (what, count) in [
            ("L2 values unusable", self.l2_unusable),
            ("coalesced reads", self.coalesced),
            ("values renewed", self.renewed),
            ("failed loads answered for", self.stood_in),
            ("looks for something newer", self.refreshes),
            ("looks that found it", self.refreshes_found),
            ("looks whose load failed", self.refreshes_failed),
            ("failures of other instances", self.elsewhere),
            ("changes told of", self.announced),
            ("answers in the place of a slow load", self.slow),
            ("waits ended by word", self.wakes),
            ("fills refused", self.refused),
            ("fills unanswered", self.unanswered),
            ("suspects kept", self.suspects_same),
            ("suspects changed", self.suspects_changed),
            ("lane gaps", self.lane_gaps),
            ("lanes lost", self.lane_lost),
            ("bound reads", self.bound),
            ("failed reads", self.failed),
            ("looks at the tier", self.fenced),
            ("mutations applied", self.applied),
            ("mutations pending", self.pending),
            ("tokens reached", self.reached),
            ("late calls", self.late),
            ("messages held", self.messages_held),
            ("messages lost", self.messages_lost),
        ] {
            assert!(count > 0, "{what}: none, so these histories show nothing about them");
        }
    }
}
