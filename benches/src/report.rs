//! What a bench has found beside what was asked for, and how it ends.

use std::process::ExitCode;

use crate::Outcome;

/// How a bench was called.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// Whether it is to measure. Otherwise it shows that it runs, and its numbers mean nothing.
    pub measure: bool,
    check: bool,
}

impl Call {
    /// Reads the command line: cargo adds `--bench` where it measures; `--quick` takes that back; `--check` makes what is not met a
    /// failure.
    #[must_use]
    pub fn read() -> Self {
        let given = |flag: &str| std::env::args().any(|argument| argument == flag);
        Self { measure: given("--bench") && !given("--quick"), check: given("--check") }
    }

    /// Runs the bench `name` and says how its process ends.
    pub fn run(self, name: &str, bench: impl FnOnce(&mut Report) -> Outcome) -> ExitCode {
        let mut report = Report::default();
        if let Err(error) = bench(&mut report) {
            eprintln!("{name}: {error}");
            return ExitCode::FAILURE;
        }
        if !self.measure {
            println!("(not measured: run it with `cargo bench --bench {name}`)");
        }
        if self.check && self.measure && report.missed > 0 {
            eprintln!("{} bounds are not met", report.missed);
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}

/// The lines of a bench, and how many of its bounds are not met.
#[derive(Debug, Default)]
pub struct Report {
    missed: usize,
}

impl Report {
    /// Prints a line that binds nothing.
    pub fn line(&mut self, line: impl std::fmt::Display) {
        println!("{line}");
    }

    /// Prints what was found, which is to be at most `limit`.
    pub fn at_most(&mut self, what: &str, found: f64, limit: f64, unit: &str) {
        self.bound(what, found, ("at most", limit), unit, found <= limit);
    }

    /// Prints what was found, which is to be at least `limit`.
    pub fn at_least(&mut self, what: &str, found: f64, limit: f64, unit: &str) {
        self.bound(what, found, ("at least", limit), unit, found >= limit);
    }

    fn bound(&mut self, what: &str, found: f64, (side, limit): (&str, f64), unit: &str, met: bool) {
        self.missed += usize::from(!met);
        let verdict = if met { "ok" } else { "NOT MET" };
        println!("  {what:<46} {found:>9.3}{unit}  {side} {limit}{unit}  {verdict}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_that_is_not_met_is_counted_and_one_that_is_reached_is_met() {
        let mut report = Report::default();
        report.at_most("a", 1.2, 1.2, "");
        report.at_least("b", 0.5, 0.5, "");
        assert_eq!(report.missed, 0);
        report.at_most("c", 1.21, 1.2, "");
        report.at_least("d", f64::NAN, 0.5, "");
        assert_eq!(report.missed, 2);
    }
}
