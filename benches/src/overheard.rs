//! A command as the cache sends it, overheard on the server, to be sent again with another key: so what is measured is never another
//! script, or another call of it, than the cache's own.

use cachetier_tests::Client;

use crate::Outcome;

/// How many lines are read for the one that is looked for.
const LINES: usize = 64;

/// The words of a command.
#[derive(Clone, Debug)]
pub struct Overheard {
    words: Vec<Vec<u8>>,
}

impl Overheard {
    /// Makes the server tell on this connection what it is asked, from here on.
    ///
    /// # Errors
    ///
    /// What the server says.
    pub fn begin(ear: &mut Client) -> Outcome {
        ear.command(&["MONITOR"])?;
        Ok(())
    }

    /// The next call of a script on a connection that [`Overheard::begin`] was told, by digest, that has `needle` in one of its words.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn next_script(ear: &mut Client, needle: &str) -> Outcome<Self> {
        for _ in 0..LINES {
            let line = ear.receive()?.text().unwrap_or_default();
            let words = words(&line);
            let [verb, ..] = words.as_slice() else { continue };
            if verb.eq_ignore_ascii_case(b"EVALSHA") && words.iter().any(|word| find(word, needle.as_bytes()).is_some()) {
                return Ok(Self { words });
            }
        }
        Err(format!("expected a script's call with `{needle}`").into())
    }

    /// The words with `other`, as long as `needle`, wherever that stands.
    #[must_use]
    pub fn with(&self, needle: &str, other: &str) -> Vec<Vec<u8>> {
        let mut words = self.words.clone();
        for word in &mut words {
            if let Some(place) = find(word, needle.as_bytes()).and_then(|at| word.get_mut(at..at + needle.len())) {
                place.copy_from_slice(other.as_bytes());
            }
        }
        words
    }
}

fn find(word: &[u8], needle: &[u8]) -> Option<usize> {
    word.windows(needle.len().max(1)).position(|part| part == needle)
}

/// The words of a line such as `1339518083.107412 [0 127.0.0.1:60866] "keys" "\x00"`.
fn words(line: &str) -> Vec<Vec<u8>> {
    let (mut words, mut word, mut bytes) = (Vec::new(), None::<Vec<u8>>, line.bytes());
    while let Some(byte) = bytes.next() {
        match (byte, &mut word) {
            (b'"', None) => word = Some(Vec::new()),
            (b'"', Some(_)) => words.extend(word.take()),
            (b'\\', Some(word)) => word.extend(match bytes.next() {
                Some(b'n') => Some(b'\n'),
                Some(b'r') => Some(b'\r'),
                Some(b't') => Some(b'\t'),
                Some(b'a') => Some(7),
                Some(b'b') => Some(8),
                Some(b'x') => hex(bytes.next(), bytes.next()),
                other => other,
            }),
            (_, Some(word)) => word.push(byte),
            (_, None) => {}
        }
    }
    words
}

fn hex(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_monitor_is_read_with_all_that_it_escapes() {
        let line = r#"1339518083.107412 [0 127.0.0.1:60866] "EVALSHA" "a\"b\\" "\x00\xf5\n\r\t\a\b" """#;
        assert_eq!(words(line), [&b"EVALSHA"[..], b"a\"b\\", b"\x00\xf5\n\r\t\x07\x08", b""]);
    }

    #[test]
    fn another_key_takes_the_place_of_the_one_that_was_overheard() {
        let heard = Overheard { words: vec![b"ct:s:v:user:1".to_vec(), b"\x01\x00\x06user:1".to_vec()] };
        assert_eq!(heard.with("user:1", "user:2"), [&b"ct:s:v:user:2"[..], b"\x01\x00\x06user:2"]);
    }
}
