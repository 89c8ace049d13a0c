//! What an invalidation is known by where it has to be waited for: its points, of one lane or of several.

use std::cmp::Ordering;
use std::str::FromStr;

use super::seq::{Era, Point, Seq};
use crate::error::TokenError;
use crate::key::PARTS;

/// Where an invalidation stands, for another instance to be asked whether it has come so far: see
/// [`wait_for`](crate::TieredCache::wait_for).
///
/// It travels as a text which fits into a header, a cookie or an address: digits, `a` to `f`, `-` and `.`. It has one text, which stays readable in
/// later releases, of at most 25 bytes; in a Cluster of 27, and of 167 for what concerns [all parts](crate::CacheBuilder::redis_cluster) of
/// the namespace.
///
/// Of two tokens one is less where whoever has reached the other has reached it as well. Those of two lanes, and of two lives of one, do not compare.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use cachetier::TieredCache;
///
/// let cache = TieredCache::builder("shop").build().await?;
/// let (first, second) = (cache.invalidate("a").await?.confirmed()?, cache.invalidate("b").await?.confirmed()?);
/// assert!(first < second);
/// assert_eq!(second.to_string().parse(), Ok(second));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(Points);

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Points {
    /// Of the one lane that there is.
    Whole(Point),
    /// Of those parts that it concerns.
    Spread(Spread),
}

/// A point in each of some parts. Eras and seqs apart: together they would take half as much room again.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
struct Spread {
    concerned: [bool; PARTS],
    eras: [Era; PARTS],
    seqs: [Seq; PARTS],
}

/// Of two points of one lane the further; of two eras the `later`.
fn further(one: Option<Point>, later: Point) -> Point {
    one.filter(|one| one.era == later.era && one.seq > later.seq).unwrap_or(later)
}

impl Spread {
    fn put(&mut self, part: usize, point: Point) {
        let Self { concerned, eras, seqs } = self;
        if let (Some(concerned), Some(era), Some(seq)) = (concerned.get_mut(part), eras.get_mut(part), seqs.get_mut(part)) {
            let point = further(concerned.then_some(Point { era: *era, seq: *seq }), point);
            (*concerned, *era, *seq) = (true, point.era, point.seq);
        }
    }

    fn points(self) -> impl Iterator<Item = (usize, Point)> {
        let points = self.eras.into_iter().zip(self.seqs).map(|(era, seq)| Point { era, seq });
        self.concerned
            .into_iter()
            .zip(points)
            .enumerate()
            .filter_map(|(part, (concerned, point))| concerned.then_some((part, point)))
    }
}

impl Token {
    /// The point of the one lane that there is, or of that of a part.
    pub(crate) fn at(part: Option<usize>, point: Point) -> Self {
        let Some(part) = part else { return Self(Points::Whole(point)) };
        let mut spread = Spread::default();
        spread.put(part, point);
        Self(Points::Spread(spread))
    }

    /// Both: whoever has reached it has reached each of them. For a caller who has been given several, and hands one on. Of two lives of one lane the
    /// `later` counts, and of two caches of which only one is in a Cluster that of the `later` alone.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use cachetier::TieredCache;
    /// # let cache = TieredCache::builder("shop").build().await?;
    /// let (first, second) = (cache.invalidate("a").await?.confirmed()?, cache.invalidate("b").await?.confirmed()?);
    /// let both = first.and(second);
    /// assert!(both >= first && both >= second);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn and(self, later: Self) -> Self {
        match (self.0, later.0) {
            (Points::Spread(mut spread), Points::Spread(others)) => {
                others.points().for_each(|(part, point)| spread.put(part, point));
                Self(Points::Spread(spread))
            }
            (Points::Whole(one), Points::Whole(other)) => Self(Points::Whole(further(Some(one), other))),
            _ => later,
        }
    }

    /// Its points, each with the part that it is of.
    pub(crate) fn points(&self) -> impl Iterator<Item = (Option<usize>, Point)> {
        let (whole, spread) = match self.0 {
            Points::Whole(point) => (Some((None, point)), Spread::default()),
            Points::Spread(spread) => (None, spread),
        };
        whole.into_iter().chain(spread.points().map(|(part, point)| (Some(part), point)))
    }

    /// Whether who has reached this one has reached the other.
    fn covers(&self, other: &Self) -> bool {
        let reached = |(part, point): (Option<usize>, Point)| {
            self.points().any(|(own, reached)| own == part && reached.era == point.era && reached.seq >= point.seq)
        };
        other.points().all(reached)
    }
}

impl PartialOrd for Token {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        match (self.covers(other), other.covers(self)) {
            (true, true) => Some(Ordering::Equal),
            (true, false) => Some(Ordering::Greater),
            (false, true) => Some(Ordering::Less),
            (false, false) => None,
        }
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (nth, (part, point)) in self.points().enumerate() {
            if nth > 0 {
                f.write_str(".")?;
            }
            if let Some(part) = part {
                write!(f, "{part:x}-")?;
            }
            point.fmt(f)?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({self})")
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text.matches('-').nth(1).is_none() && !text.contains('.') {
            return point(text).map(|point| Self::at(None, point));
        }
        let (mut spread, mut next) = (Spread::default(), 0);
        for text in text.split('.') {
            let (part, rest) = text.split_once('-').ok_or(TokenError::Divider)?;
            let part = hex(part, 1).and_then(|part| usize::try_from(part).ok()).filter(|part| (next..PARTS).contains(part));
            let part = part.ok_or(TokenError::Part)?;
            spread.put(part, point(rest)?);
            next = part.saturating_add(1);
        }
        Ok(Self(Points::Spread(spread)))
    }
}

fn point(text: &str) -> Result<Point, TokenError> {
    let (era, seq) = text.split_once('-').ok_or(TokenError::Divider)?;
    let era = hex(era, 8).and_then(|era| u32::try_from(era).ok()).ok_or(TokenError::Era)?;
    let seq = hex(seq, 16).ok_or(TokenError::Seq)?;
    Ok(Point { era: Era(era), seq: Seq(seq) })
}

/// Reads a number as it is written: lower case, no sign, no leading zeros.
fn hex(text: &str, longest: usize) -> Option<u64> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let plain = text == "0" || !text.starts_with('0');
    if digits && plain && text.len() <= longest { u64::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What these stand for may be in somebody's cookie: never changed.
    const GOLDEN: [(u32, u64, &str); 4] = [
        (0, 0, "0-0"),
        (1, 10, "1-a"),
        (0xc0de_cafe, 1_795_212_053_585_088, "c0decafe-660bc60c01cc0"),
        (u32::MAX, u64::MAX, "ffffffff-ffffffffffffffff"),
    ];

    fn at(part: Option<usize>, era: u32, seq: u64) -> Token {
        Token::at(part, Point { era: Era(era), seq: Seq(seq) })
    }

    #[test]
    fn a_token_is_written_as_it_always_was_and_read_back() {
        for (era, seq, text) in GOLDEN {
            let token = at(None, era, seq);
            assert_eq!(token.to_string(), text);
            assert_eq!(text.parse(), Ok(token));
        }
        let (one, two) = (at(Some(0), 1, 10), at(Some(5), 0xc0de_cafe, 2));
        for (token, text) in [(one, "0-1-a"), (two, "5-c0decafe-2"), (two.and(one), "0-1-a.5-c0decafe-2")] {
            assert_eq!(token.to_string(), text);
            assert_eq!(text.parse(), Ok(token));
        }
        for part in [None, Some(0)] {
            let (low, high, other) = (at(part, 1, 10), at(part, 1, 11), at(part, 2, 1));
            assert_eq!((low.and(high), high.and(low), high.and(other)), (high, high, other));
        }
    }

    #[test]
    fn a_token_is_less_than_what_is_reached_behind_it_and_no_other() {
        let both = at(Some(1), 1, 5).and(at(Some(2), 1, 5));
        for (less, more) in [(at(None, 1, 4), at(None, 1, 5)), (at(Some(1), 1, 5), both), (at(Some(1), 1, 4), at(Some(1), 1, 5))] {
            assert_eq!(
                (less.partial_cmp(&more), more.partial_cmp(&less)),
                (Some(Ordering::Less), Some(Ordering::Greater)),
                "{less} {more}"
            );
        }
        for (one, other) in [
            (at(None, 1, 4), at(None, 2, 5)),
            (at(Some(1), 1, 4), at(Some(2), 1, 5)),
            (at(None, 1, 4), both),
            (at(Some(1), 1, 6), both),
        ] {
            assert_eq!(one.partial_cmp(&other), None, "{one} {other}");
        }
        assert_eq!(both.partial_cmp(&both.and(both)), Some(Ordering::Equal));
    }

    #[track_caller]
    fn check(text: &str, expected: TokenError) {
        assert_eq!(text.parse::<Token>(), Err(expected), "{text:?}");
    }

    #[test]
    fn what_is_no_token_says_where() {
        for text in ["", "1", "1_a", "1a", "1.1", "0-1-1."] {
            check(text, TokenError::Divider);
        }
        for text in ["-", "-1", "01-1", "+1-1", " 1-1", "G-1", "A-1", "100000000-1", "\u{661}-1", "1-x-1", "0-1-1.1--1"] {
            check(text, TokenError::Era);
        }
        for text in ["1-", "1-01", "1-+1", "1-1 ", "1-F", "1-10000000000000000", "1-1-1-1"] {
            check(text, TokenError::Seq);
        }
        for text in ["6-1-1", "a-1-1", "-1-1", "10-1-1", "1-1-1.1-1-1", "1-1-1.0-1-1", "01-1-1"] {
            check(text, TokenError::Part);
        }
    }
}
