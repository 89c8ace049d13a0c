//! Measuring beside each other: many short rounds, every subject once in each, so that what slows the machine down for a while
//! slows all of them down. Of the rounds the median counts.

use std::time::{Duration, Instant};

use crate::Outcome;

/// One of the things that are compared.
pub struct Subject<'a> {
    name: String,
    ops: u32,
    round: Box<dyn FnMut() -> Outcome<Duration> + 'a>,
}

impl std::fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subject({})", self.name)
    }
}

impl<'a> Subject<'a> {
    /// A subject whose round does `ops` operations and returns how long they took.
    pub fn new(name: impl Into<String>, ops: u32, round: impl FnMut() -> Outcome<Duration> + 'a) -> Self {
        Self { name: name.into(), ops: ops.max(1), round: Box::new(round) }
    }

    /// What the subject is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Runs `rounds` of each subject in turn; returns, for each subject, the nanoseconds of one operation in every round.
///
/// # Errors
///
/// What the first subject to fail failed with.
pub fn interleave(rounds: usize, subjects: &mut [Subject<'_>]) -> Outcome<Vec<Vec<f64>>> {
    let mut times = vec![Vec::with_capacity(rounds); subjects.len()];
    // Once uncounted, for caches and branch predictors.
    for subject in &mut *subjects {
        (subject.round)()?;
    }
    for _ in 0..rounds {
        for (subject, times) in subjects.iter_mut().zip(&mut times) {
            let whole = (subject.round)()?;
            times.push(whole.as_secs_f64() * 1e9 / f64::from(subject.ops));
        }
    }
    Ok(times)
}

/// Returns the middle one; zero if there is none.
#[must_use]
pub fn median(times: &[f64]) -> f64 {
    percentile(times, 50)
}

/// Returns the one that so many in a hundred do not exceed; zero if there is none.
#[must_use]
pub fn percentile(times: &[f64], hundredths: usize) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() * hundredths / 100).copied().unwrap_or_default()
}

/// Returns the middle one of the rounds' ratios: within one round both had the same machine.
#[must_use]
pub fn ratio(times: &[f64], base: &[f64]) -> f64 {
    median(&times.iter().zip(base).map(|(time, base)| time / base).collect::<Vec<_>>())
}

/// Times a call.
#[expect(clippy::disallowed_methods, reason = "a bench measures the machine's time")]
pub(crate) async fn timed<T>(call: impl Future<Output = Outcome<T>>) -> Outcome<Duration> {
    let begun = Instant::now();
    call.await?;
    Ok(begun.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_round_moves_neither_median_nor_ratio() {
        let (times, base) = ([2.0, 200.0, 2.0], [1.0, 100.0, 1.0]);
        assert_eq!([median(&times), median(&base), ratio(&times, &base)].map(f64::to_bits), [2.0, 1.0, 2.0].map(f64::to_bits));
    }

    #[test]
    fn one_in_a_hundred_is_above_the_ninety_ninth_percentile() {
        let times: Vec<f64> = (0..200_u32).rev().map(f64::from).collect();
        assert_eq!(
            [percentile(&times, 99), median(&times), percentile(&[], 99)].map(f64::to_bits),
            [198.0, 100.0, 0.0].map(f64::to_bits)
        );
    }

    #[test]
    fn subjects_take_turns() {
        let order = std::cell::RefCell::new(String::new());
        let subject = |name: &'static str| {
            Subject::new(name, 2, || {
                order.borrow_mut().push_str(name);
                Ok(Duration::from_nanos(10))
            })
        };
        let times = interleave(2, &mut [subject("a"), subject("b")]).unwrap();
        assert_eq!(order.borrow().as_str(), "ababab");
        assert_eq!(times.iter().flatten().map(|time| time.round()).collect::<Vec<_>>(), [5.0; 4]);
    }
}
