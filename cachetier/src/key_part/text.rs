//! The text of a key, built without an allocation unless it is long.

use super::KeyPart;

/// How long a key may be to need no allocation.
const INLINE: usize = 128;

/// The text of a key while it is built. Up to 128 bytes stand in place, so that a hit allocates nothing.
///
/// ```
/// use cachetier::KeyText;
///
/// let mut key = KeyText::new();
/// key.literal("user:").part(&42);
/// assert_eq!(key.as_str(), "user:42");
/// ```
#[derive(Clone)]
pub struct KeyText {
    /// Whole pieces of text only, so that what stands here up to `len` is text.
    inline: [u8; INLINE],
    len: usize,
    /// Everything, once it is longer than that.
    spilled: String,
}

impl KeyText {
    /// Returns an empty text.
    #[must_use]
    #[inline]
    pub const fn new() -> Self {
        Self { inline: [0; INLINE], len: 0, spilled: String::new() }
    }

    /// Returns the form of one value.
    ///
    /// ```
    /// use cachetier::KeyText;
    ///
    /// assert_eq!(KeyText::of(&("a", "bc")).as_str(), "(a,bc)");
    /// ```
    #[must_use]
    pub fn of<P: KeyPart + ?Sized>(part: &P) -> Self {
        let mut text = Self::new();
        text.part(part);
        text
    }

    /// Adds text as it is: what divides the parts.
    #[inline]
    pub fn literal(&mut self, text: &str) -> &mut Self {
        let end = self.len + text.len();
        match self.inline.get_mut(self.len..end) {
            Some(place) if self.spilled.is_empty() => {
                place.copy_from_slice(text.as_bytes());
                self.len = end;
            }
            _ => self.spill(text),
        }
        self
    }

    /// Adds the form of a value.
    #[inline]
    pub fn part<P: KeyPart + ?Sized>(&mut self, part: &P) -> &mut Self {
        part.write(self);
        self
    }

    /// Returns the text so far.
    #[must_use]
    #[inline]
    pub fn as_str(&self) -> &str {
        if self.spilled.is_empty() {
            // Always text; there is no way to say so that costs nothing and is safe.
            std::str::from_utf8(self.inline.get(..self.len).unwrap_or_default()).unwrap_or_default()
        } else {
            &self.spilled
        }
    }

    #[cold]
    fn spill(&mut self, text: &str) {
        if self.spilled.is_empty() {
            let whole = String::with_capacity(2 * INLINE + text.len()) + self.as_str();
            self.spilled = whole;
        }
        self.spilled.push_str(text);
    }

    /// Adds text, escaped: whatever could be taken for a delimiter as `%` and two digits, and nothing at all as `%`.
    #[inline]
    pub(super) fn escaped(&mut self, text: &str) {
        if text.is_empty() {
            self.literal("%");
        } else if text.bytes().all(is_plain) {
            self.literal(text);
        } else {
            self.escaped_slowly(text);
        }
    }

    pub(super) fn escaped_slowly(&mut self, text: &str) {
        const HEX: &[u8; 16] = b"0123456789ABCDEF";
        for char in text.chars() {
            let mut place = [0; 4];
            let piece = char.encode_utf8(&mut place);
            match piece.as_bytes() {
                [byte] if !is_plain(*byte) => {
                    let digit = |value: u8| HEX.get(usize::from(value)).copied().map_or('0', char::from);
                    self.literal("%");
                    for digit in [digit(byte >> 4), digit(byte & 15)] {
                        self.literal(digit.encode_utf8(&mut [0; 4]));
                    }
                }
                _ => {
                    self.literal(piece);
                }
            }
        }
    }

    /// Adds digits.
    #[inline]
    pub(super) fn ascii(&mut self, digits: &[u8]) {
        let end = self.len + digits.len();
        match self.inline.get_mut(self.len..end) {
            Some(place) if self.spilled.is_empty() => {
                place.copy_from_slice(digits);
                self.len = end;
            }
            _ => self.spill(std::str::from_utf8(digits).unwrap_or_default()),
        }
    }
}

/// Whether a byte of text stands for itself: letters, digits and the few signs that divide nothing, and all that is not ASCII.
#[inline]
const fn is_plain(byte: u8) -> bool {
    const PLAIN: [bool; 256] = {
        let mut plain = [false; 256];
        let mut byte = 0;
        while byte < 256 {
            #[expect(clippy::cast_possible_truncation, clippy::indexing_slicing, reason = "below 256, in a constant")]
            {
                plain[byte] =
                    matches!(byte as u8, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'@' | b'+' | 128..);
            }
            byte += 1;
        }
        plain
    };
    #[expect(clippy::indexing_slicing, reason = "a byte's place in a table of 256")]
    {
        PLAIN[byte as usize]
    }
}

impl Default for KeyText {
    fn default() -> Self {
        Self::new()
    }
}

impl std::ops::Deref for KeyText {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        self.as_str()
    }
}

/// The same as bytes, for who needs no text: this costs nothing.
impl AsRef<[u8]> for KeyText {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        if self.spilled.is_empty() { self.inline.get(..self.len).unwrap_or_default() } else { self.spilled.as_bytes() }
    }
}

impl AsRef<str> for KeyText {
    fn as_ref(&self) -> &str {
        self
    }
}

impl From<KeyText> for String {
    fn from(text: KeyText) -> Self {
        if text.spilled.is_empty() { text.as_str().to_owned() } else { text.spilled }
    }
}

impl std::fmt::Display for KeyText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self)
    }
}

impl std::fmt::Debug for KeyText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_longer_than_its_place_is_the_same_text() {
        for before in INLINE - 6..INLINE + 4 {
            for piece in ["", "x", "äöü", "€€€€", "0123456789"] {
                let long = "y".repeat(before);
                let mut key = KeyText::new();
                key.literal(&long).literal(piece).part(&u64::MAX).part(piece).literal("z");
                let form = if piece.is_empty() { "%" } else { piece };
                let expected = format!("{long}{piece}{}{form}z", u64::MAX);
                assert_eq!(key.as_str(), expected);
                assert_eq!(String::from(key), expected);
            }
        }
    }

    #[test]
    fn every_ascii_character_is_plain_or_escaped() {
        for byte in 0..128_u8 {
            let char = char::from(byte);
            let form = KeyText::of(&char).to_string();
            let plain = char.is_ascii_alphanumeric() || "-_.@+".contains(char);
            assert_eq!(form, if plain { char.to_string() } else { format!("%{byte:02X}") });
        }
    }

    #[test]
    fn it_is_shown_as_its_text() {
        let key = KeyText::of("a b");
        assert_eq!(
            (format!("{key}"), format!("{key:>7}"), format!("{key:?}")),
            ("a%20b".into(), "  a%20b".into(), "\"a%20b\"".into())
        );
    }
}
