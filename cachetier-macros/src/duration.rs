//! Durations as people write them: `"5m"`, `"1h30m"`, `"250ms"`.

use std::time::Duration;

const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
    ("d", 86_400 * 1_000_000_000),
];

const EXPECTED: &str = "expected a duration such as \"5m\", \"1h30m\" or \"250ms\", of the units d, h, m, s, ms, us and ns";

/// Reads a duration, or says what is wrong with it.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = |why: &str| format!("`{text}` is no duration: {why}; {EXPECTED}");
    let (mut rest, mut nanos, mut last) = (text, 0_u64, u64::MAX);
    if rest.is_empty() {
        return Err(format!("a duration is missing; {EXPECTED}"));
    }
    while !rest.is_empty() {
        let (digits, behind) = rest.split_at(rest.find(|char: char| !char.is_ascii_digit()).unwrap_or(rest.len()));
        let (unit, behind) = behind.split_at(behind.find(|char: char| char.is_ascii_digit()).unwrap_or(behind.len()));
        rest = behind;
        if digits.is_empty() {
            return Err(wrong("it does not begin with a number"));
        }
        let Ok(count) = digits.parse::<u64>() else { return Err(wrong("the number is too large")) };
        if unit.is_empty() {
            return Err(wrong(&format!("{digits} has no unit")));
        }
        let Some((_, of_unit)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(wrong(&format!("`{unit}` is no unit")));
        };
        if *of_unit >= last {
            return Err(wrong("its units do not go from the largest to the smallest"));
        }
        last = *of_unit;
        let Some(sum) = count.checked_mul(*of_unit).and_then(|more| nanos.checked_add(more)) else {
            return Err(wrong("it is longer than 584 years"));
        };
        nanos = sum;
    }
    if nanos == 0 {
        return Err(format!("`{text}` is no time at all; {EXPECTED}, above zero"));
    }
    Ok(Duration::from_nanos(nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let cases = [
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("250ms", 250),
            ("2d", 172_800_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("90s", 90_000),
            ("3000us", 3),
            ("1000000ns", 1),
        ];
        for (text, millis) in cases {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_told_with_what_is() {
        let cases = [
            ("", "a duration is missing"),
            ("m", "does not begin with a number"),
            ("5", "5 has no unit"),
            ("5 m", "` m` is no unit"),
            ("5min", "`min` is no unit"),
            ("-5m", "does not begin with a number"),
            ("1.5h", "`.` is no unit"),
            ("30m1h", "from the largest to the smallest"),
            ("5m5m", "from the largest to the smallest"),
            ("0s", "no time at all"),
            ("0h0m", "no time at all"),
            ("99999999999999999999s", "the number is too large"),
            ("300000d", "longer than 584 years"),
        ];
        for (text, expected) in cases {
            let error = parse(text).unwrap_err();
            assert!(error.contains(expected) && error.contains("\"5m\""), "{text}: {error}");
        }
    }
}
