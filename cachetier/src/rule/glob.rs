//! Patterns of keys, as Redis matches them: read once, written again in one unambiguous way, and matched in this process alike.
//! Which keys are looked at is `l2`'s.

use crate::error::KeyError;
use crate::key::check_key;

/// The most `*` of a pattern: each multiplies what an old server takes for a match, and holds up everybody else.
const MOST_STARS: usize = 32;

/// A pattern of keys, byte by byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// This byte.
    Byte(u8),
    /// Any one byte.
    One,
    /// Any bytes, or none.
    Many,
    /// One byte that lies in one of the ranges, or, negated, in none.
    Class { negated: bool, ranges: Vec<(u8, u8)> },
}

/// What a pattern comes to where it needs no walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One key.
    Key(String),
    /// All keys that begin so.
    Prefix(String),
    /// All keys.
    Everything,
    /// Only a look at each key tells.
    Mixed,
}

impl Glob {
    /// All keys.
    pub(crate) fn everything() -> Self {
        Self(vec![Part::Many])
    }

    /// All keys that begin with `prefix`, whatever stands in it.
    pub(crate) fn below(prefix: &str) -> Self {
        Self(prefix.bytes().map(Part::Byte).chain([Part::Many]).collect())
    }

    /// Reads a pattern. What Redis would read in a way that nobody means is refused.
    pub(crate) fn parse(pattern: &str) -> Result<Self, KeyError> {
        check_key(pattern)?;
        let refused = |why| KeyError::Pattern { pattern: pattern.to_owned(), why };
        let (mut parts, mut bytes) = (Vec::new(), pattern.bytes());
        while let Some(byte) = bytes.next() {
            parts.push(match byte {
                // Several in a row say no more than one, and cost a server more.
                b'*' if parts.last() == Some(&Part::Many) => continue,
                b'*' => Part::Many,
                b'?' => Part::One,
                b'[' => class(&mut bytes).map_err(refused)?,
                b'\\' => Part::Byte(bytes.next().ok_or(refused("nothing follows the last '\\'"))?),
                byte => Part::Byte(byte),
            });
        }
        if parts.iter().filter(|part| **part == Part::Many).count() > MOST_STARS {
            return Err(refused("there are more than 32 '*'"));
        }
        Ok(Self(parts))
    }

    pub(crate) fn shape(&self) -> Shape {
        let literal = |parts: &[Part]| {
            let bytes: Option<Vec<u8>> =
                parts.iter().map(|part| if let Part::Byte(byte) = part { Some(*byte) } else { None }).collect();
            bytes.and_then(|bytes| String::from_utf8(bytes).ok())
        };
        match self.0.split_last() {
            Some((Part::Many, [])) => Shape::Everything,
            Some((Part::Many, before)) => literal(before).map_or(Shape::Mixed, Shape::Prefix),
            _ => literal(&self.0).map_or(Shape::Mixed, Shape::Key),
        }
    }

    /// Whether the whole of `text` is one of the pattern. Takes no longer than the length of both multiplied.
    pub(crate) fn matches(&self, text: &[u8]) -> bool {
        let (mut part, mut at) = (0, 0);
        // Where the last `*` stands, and up to where it reaches so far.
        let mut last: Option<(usize, usize)> = None;
        loop {
            match (self.0.get(part), text.get(at)) {
                (None, None) => return true,
                (Some(Part::Many), _) => {
                    last = Some((part, at));
                    part += 1;
                    continue;
                }
                (Some(one), Some(byte)) if one.is(*byte) => {
                    part += 1;
                    at += 1;
                    continue;
                }
                _ => {}
            }
            let Some((many, reach)) = last.filter(|(_, reach)| *reach < text.len()) else { return false };
            last = Some((many, reach + 1));
            part = many + 1;
            at = reach + 1;
        }
    }

    /// The pattern as Redis reads it, behind `head`, which stands for itself.
    #[cfg(any(test, feature = "redis"))]
    pub(crate) fn written_behind(&self, head: &str) -> Vec<u8> {
        let mut written = Vec::with_capacity(head.len() + self.0.len());
        for byte in head.bytes() {
            literal(byte, &mut written);
        }
        for part in &self.0 {
            match part {
                Part::Byte(byte) => literal(*byte, &mut written),
                Part::One => written.push(b'?'),
                Part::Many => written.push(b'*'),
                Part::Class { negated, ranges } => {
                    written.extend_from_slice(if *negated { b"[^" } else { b"[" });
                    for range in ranges {
                        write_range(*range, &mut written);
                    }
                    written.push(b']');
                }
            }
        }
        written
    }
}

impl Part {
    fn is(&self, byte: u8) -> bool {
        match self {
            Self::Byte(this) => *this == byte,
            Self::One => true,
            Self::Many => false,
            Self::Class { negated, ranges } => ranges.iter().any(|(low, high)| (*low..=*high).contains(&byte)) != *negated,
        }
    }
}

/// What stands behind a `[`, its `]` included.
fn class(bytes: &mut std::str::Bytes<'_>) -> Result<Part, &'static str> {
    const OPEN: &str = "a '[' is not closed";
    // A member, and whether it was escaped: then it is never the end, nor makes a range.
    let mut members = Vec::new();
    loop {
        match bytes.next().ok_or(OPEN)? {
            b']' => break,
            b'\\' => members.push((bytes.next().ok_or(OPEN)?, true)),
            byte => members.push((byte, false)),
        }
    }
    let negated = members.first() == Some(&(b'^', false));
    let mut rest = members.get(usize::from(negated)..).unwrap_or_default();
    if rest.is_empty() {
        return Err("there is nothing between '[' and ']'");
    }
    if members.iter().any(|(byte, _)| !byte.is_ascii()) {
        return Err("between '[' and ']' only ASCII can stand");
    }
    let mut ranges = Vec::new();
    loop {
        rest = match rest {
            [] => return Ok(Part::Class { negated, ranges }),
            [(low, _), (b'-', false), (high, _), after @ ..] => {
                ranges.push((*low.min(high), *low.max(high)));
                after
            }
            [(byte, _), after @ ..] => {
                ranges.push((*byte, *byte));
                after
            }
        };
    }
}

#[cfg(any(test, feature = "redis"))]
fn literal(byte: u8, written: &mut Vec<u8>) {
    if matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\' | b'^' | b'-') {
        written.push(b'\\');
    }
    written.push(byte);
}

/// A range, of which Redis takes the upper end for itself whatever it is, and the lower one not; here both are what they look like.
#[cfg(any(test, feature = "redis"))]
fn write_range((mut low, mut high): (u8, u8), written: &mut Vec<u8>) {
    while low < high && matches!(low, b'\\' | b']' | b'^' | b'-') {
        written.extend_from_slice(&[b'\\', low]);
        low += 1;
    }
    while low < high && matches!(high, b'\\' | b']') {
        written.extend_from_slice(&[b'\\', high]);
        high -= 1;
    }
    if low < high {
        written.extend_from_slice(&[low, b'-', high]);
    } else {
        written.extend_from_slice(&[b'\\', low]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(pattern: &str) -> Glob {
        Glob::parse(pattern).unwrap()
    }

    #[track_caller]
    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        for text in yes {
            assert!(glob(pattern).matches(text.as_bytes()), "{pattern:?} should match {text:?}");
        }
        for text in no {
            assert!(!glob(pattern).matches(text.as_bytes()), "{pattern:?} should not match {text:?}");
        }
    }

    #[test]
    fn a_pattern_matches_whole_keys() {
        check("user:7", &["user:7"], &["user:77", "auser:7", "user:"]);
        check("user:*:mail", &["user:7:mail", "user::mail", "user:a:b:mail"], &["user:mail", "user:7:mails"]);
        check("*a*b*", &["ab", "xaxbx", "aab"], &["ba", "", "a"]);
        check("u?", &["us", "u?"], &["u", "use"]);
    }

    #[test]
    fn a_class_is_one_byte_of_several() {
        check("[a-cx]", &["a", "b", "x"], &["d", "-", "ab", ""]);
        check("[^a-c]", &["d", "^"], &["a", "c", ""]);
        check("[c-a]", &["b"], &["d"]);
        check(r"[\]\\\-^]", &["]", r"\", "-", "^"], &["a"]);
        check("[a-]", &["a", "-"], &["b"]);
    }

    #[test]
    fn what_is_escaped_stands_for_itself() {
        check(r"\*\?\[\]\\", &[r"*?[]\"], &["aa[]\\", "x"]);
        check("]", &["]"], &["["]);
    }

    #[test]
    fn what_nobody_can_mean_is_refused() {
        for pattern in ["[a", r"a\", "[]", "[^]", r"[a\", "[ä]"] {
            assert!(matches!(Glob::parse(pattern), Err(KeyError::Pattern { .. })), "{pattern:?}");
        }
        assert_eq!(Glob::parse(""), Err(KeyError::Empty));
    }

    #[test]
    fn more_stars_than_every_server_matches_quickly_are_refused() {
        assert!(Glob::parse(&"*a".repeat(32)).is_ok());
        assert!(Glob::parse(&("**".repeat(500) + &r"\*".repeat(500))).is_ok(), "one, and a key's");
        assert!(matches!(Glob::parse(&"*a".repeat(33)), Err(KeyError::Pattern { .. })));
    }

    #[test]
    fn a_range_is_written_so_that_everybody_reads_it_alike() {
        for (pattern, written) in
            [(r"[\\--]", r"[\-\\.-[]"), (r"[*-\]]", r"[\]\\*-[]"), (r"[^\]-a]", r"[^\]\^_-a]"), (r"[\]-\\]", r"[\\\]]")]
        {
            let pattern = glob(pattern);
            assert_eq!(String::from_utf8(pattern.written_behind("")).unwrap(), written);
            let again = glob(written);
            for byte in 0..=u8::MAX {
                assert_eq!(pattern.matches(&[byte]), again.matches(&[byte]), "{written} {byte}");
            }
        }
    }

    #[test]
    fn what_needs_no_walk_is_told_apart() {
        assert_eq!(glob("**").shape(), Shape::Everything);
        assert_eq!(glob(r"user:\**").shape(), Shape::Prefix("user:*".into()));
        assert_eq!(glob(r"user:\*").shape(), Shape::Key("user:*".into()));
        for mixed in ["*a", "a*b", "a?*", "[a]*"] {
            assert_eq!(glob(mixed).shape(), Shape::Mixed, "{mixed}");
        }
    }

    #[test]
    fn a_head_and_a_prefix_stand_for_themselves() {
        assert_eq!(Glob::below(r"a*?[]\:").written_behind("ct:[x]:"), br"ct:\[x\]:a\*\?\[\]\\:*");
        assert!(Glob::below("a*:").matches(b"a*:b") && !Glob::below("a*:").matches(b"ab:b"));
    }

    #[test]
    fn many_stars_cost_little() {
        let pattern = "*a".repeat(32) + "b";
        assert!(!glob(&pattern).matches("a".repeat(4_000).as_bytes()));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_as_the_same(pattern in r"[a\\\]\[\^*?-]{1,12}") {
            if let Ok(glob) = Glob::parse(&pattern) {
                let again = String::from_utf8(glob.written_behind("")).unwrap();
                let again = Glob::parse(&again).unwrap();
                for text in ["", "a", "-", "]", "[", "^", "\\", "aa", "a-", "a]", "*", "?"] {
                    prop_assert_eq!(glob.matches(text.as_bytes()), again.matches(text.as_bytes()), "{} {}", &pattern, text);
                }
            }
        }
    }
}
