//! Points in order: of the lane ([`Seq`] within an [`Era`]), of this process ([`Tick`], [`Epoch`], [`Generation`]).

use std::str::FromStr;

use crate::error::TokenError;

/// A point on the lane. An era begins at the clock of the server that keeps it, in microseconds, and counts up by one with each bump; with
/// [`OnRestart::Trust`](crate::OnRestart::Trust) it does not fall behind that clock either.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use cachetier::*;
/// let cache = TieredCache::builder("shop").build().await?;
/// let (first, second) = (cache.invalidate("a").await?.confirmed()?, cache.invalidate("a").await?.confirmed()?);
/// assert!(first.seq < second.seq);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub(crate) u64);

/// One unbroken life of the lane. A lane that lost its state begins another one; seqs of two eras do not compare.
///
/// ```
/// # use cachetier::Token;
/// let tokens: [Token; 3] = ["a-1".parse()?, "a-2".parse()?, "b-1".parse()?];
/// assert_eq!(tokens[0].era, tokens[1].era);
/// assert_ne!(tokens[1].era, tokens[2].era, "which of these two came first, nobody can tell");
/// # Ok::<_, cachetier::TokenError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Era(pub(crate) u32);

/// A point on the lane that another instance can be asked to have reached: see [`wait_for`](crate::TieredCache::wait_for).
///
/// It travels as a text of at most 25 bytes, digits, `a` to `f` and one `-`, which fits into a header, a cookie or an address. A point
/// has one text, and a text stays readable in later releases.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use cachetier::{Delivery, TieredCache};
///
/// let cache = TieredCache::builder("shop").build().await?;
/// let (first, second) = (cache.invalidate("a").await?, cache.invalidate("b").await?);
/// if let (Delivery::Applied(first), Delivery::Applied(second)) = (first, second) {
///     assert_eq!(first.era, second.era);
///     assert!(first.seq < second.seq);
///     assert_eq!(second.to_string().parse(), Ok(second));
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Token {
    /// The life of the lane that `seq` belongs to.
    pub era: Era,
    /// The point within it.
    pub seq: Seq,
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}-{:x}", self.era.0, self.seq.0)
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let (era, seq) = text.split_once('-').ok_or(TokenError::Divider)?;
        let era = hex(era, 8).and_then(|era| u32::try_from(era).ok()).ok_or(TokenError::Era)?;
        let seq = hex(seq, 16).ok_or(TokenError::Seq)?;
        Ok(Self { era: Era(era), seq: Seq(seq) })
    }
}

/// Reads a number as it is written: lower case, no sign, no leading zeros.
fn hex(text: &str, longest: usize) -> Option<u64> {
    let digits = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let plain = text == "0" || !text.starts_with('0');
    if digits && plain && text.len() <= longest { u64::from_str_radix(text, 16).ok() } else { None }
}

/// Counts this process's own bumps; stands in for a seq that Redis has not told yet. Never leaves the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Tick(pub(crate) u64);

/// Counts the times this instance could no longer prove that it had missed nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Epoch(pub(crate) u64);

/// Counts the writes to the tag table: an entry found valid at the present generation needs no second look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Generation(pub(crate) u64);

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

    #[test]
    fn a_token_is_written_as_it_always_was_and_read_back() {
        for (era, seq, text) in GOLDEN {
            let token = Token { era: Era(era), seq: Seq(seq) };
            assert_eq!(token.to_string(), text);
            assert_eq!(text.parse(), Ok(token));
        }
    }

    #[track_caller]
    fn check(text: &str, expected: TokenError) {
        assert_eq!(text.parse::<Token>(), Err(expected), "{text:?}");
    }

    #[test]
    fn what_is_no_token_says_where() {
        for text in ["", "1", "1_a", "1a"] {
            check(text, TokenError::Divider);
        }
        for text in ["-", "-1", "01-1", "+1-1", " 1-1", "G-1", "A-1", "100000000-1", "\u{661}-1"] {
            check(text, TokenError::Era);
        }
        for text in ["1-", "1-01", "1-+1", "1-1 ", "1-1-1", "1-F", "1-10000000000000000"] {
            check(text, TokenError::Seq);
        }
    }
}
