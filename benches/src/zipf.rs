//! Which key is asked for next: the first ones far more often than the last, as in real traffic.

/// The seed of every sequence: two runs ask for the same keys.
const SEED: u64 = 42;

/// Returns `count` indices below `keys`, distributed by Zipf's law with this exponent.
#[must_use]
pub fn zipf(keys: u32, exponent: f64, count: usize) -> Vec<usize> {
    let mut total = 0.0;
    let upto: Vec<f64> = (1..=keys)
        .map(|rank| {
            total += f64::from(rank).powf(-exponent);
            total
        })
        .collect();
    let mut random = fastrand::Rng::with_seed(SEED);
    (0..count)
        .map(|_| {
            let at = random.f64() * total;
            upto.partition_point(|upto| *upto < at).min(upto.len().saturating_sub(1))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_is_asked_for_as_often_as_the_law_says() {
        let indices = zipf(10_000, 0.99, 200_000);
        assert!(indices.iter().all(|index| *index < 10_000));
        let count = |rank: usize| indices.iter().filter(|index| **index == rank).count();
        // 200,000 / H, where H is the sum of 1 / rank^0.99 up to 10,000, about 10.22.
        assert!((18_500..20_700).contains(&count(0)), "{}", count(0));
        // Half of that, nearly.
        assert!((9_200..10_500).contains(&count(1)), "{}", count(1));
    }
}
