//! What was measured, put in order.

use std::time::Duration;

/// Durations, in order.
#[derive(Debug, Default)]
pub(crate) struct Sorted(Vec<Duration>);

impl Sorted {
    pub(crate) fn of(durations: impl IntoIterator<Item = Duration>) -> Self {
        let mut durations: Vec<Duration> = durations.into_iter().collect();
        durations.sort_unstable();
        Self(durations)
    }

    /// What so many of a thousand are at most; nothing is below zero.
    pub(crate) fn permille(&self, share: usize) -> Duration {
        let place = (self.0.len() * share).div_ceil(1_000).saturating_sub(1);
        self.0.get(place).copied().unwrap_or_default()
    }
}

/// Milliseconds with two places.
pub(crate) fn ms(duration: Duration) -> String {
    format!("{:.2}", duration.as_secs_f64() * 1e3)
}

/// How many of one there were for each of the other.
pub(crate) fn ratio(part: usize, of: usize) -> f64 {
    let number = |count: usize| u32::try_from(count).map_or(f64::INFINITY, f64::from);
    if of == 0 { 0.0 } else { number(part) / number(of) }
}

/// What a run found not to be as it must.
#[derive(Debug, Default)]
pub(crate) struct Wrong(Vec<String>);

impl Wrong {
    /// Prints what must hold with what was found, and remembers it if it does not.
    pub(crate) fn must(&mut self, holds: bool, what: String) {
        println!("  {}  {what}", if holds { "ok   " } else { "WRONG" });
        if !holds {
            self.0.push(what);
        }
    }

    pub(crate) fn outcome(self) -> Result<(), String> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0.join("; ")) }
    }
}
