//! What the lane says of one bump. Who sends and who applies it is the lane's and the follower's.
//!
//! A message is a head, which the lane writes, and a body, which the caller does. Integers are big-endian:
//!
//! | bytes | field | |
//! |---|---|---|
//! | 0..2 | magic | `ct` |
//! | 2 | version | 1 |
//! | 3..7 | era | |
//! | 7..15 | previous seq | below 2^53 |
//! | 15..23 | seq | below 2^53 |
//! | 23.. | fields | id (1 byte, bit 7: critical), length (4 bytes), content; ids without bit 7 ascend |
//!
//! | field | critical | content |
//! |---|---|---|
//! | 1 | yes | keys: length (2 bytes) and bytes each |
//! | 2 | yes | tags: 8 bytes each |
//! | 3 | yes | prefixes: 8 bytes each |
//! | 4 | yes | everything: empty |
//! | 5 | no | the stamp of the value to come, or that has come: 16 bytes |
//! | 6 | yes | doubt: empty |
//! | 7 | no | the keys are stale, and not gone: empty |
//!
//! A reader skips a field it does not know unless it is critical. So a later release may add what may be overlooked, and what
//! may not be stops an earlier one from applying half a message.

use crate::error::KeyError;
use crate::key::{MAX_KEY, TagHash, check_key, check_prefix};
use crate::rule::seq::{Era, Seq};
use crate::rule::stamp::Stamp;
use crate::wire::MAX_SEQ;
use crate::wire::bytes::Bytes;

/// The most keys, tags and prefixes in one message.
pub(crate) const MAX_TARGETS: usize = 65_536;
/// How long the part is that the lane writes.
pub(crate) const HEAD: usize = 23;

const VERSION: u8 = 1;
const CRITICAL: u8 = 0x80;
const KEYS: u8 = CRITICAL | 1;
const TAGS: u8 = CRITICAL | 2;
const PREFIXES: u8 = CRITICAL | 3;
const ALL: u8 = CRITICAL | 4;
const COMING: u8 = 5;
const DOUBT: u8 = CRITICAL | 6;
/// Who does not know it drops what may be kept.
const STALE: u8 = 7;

/// What one bump invalidates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Targets {
    /// Logical keys.
    pub(crate) keys: Vec<String>,
    /// Tags.
    pub(crate) tags: Vec<TagHash>,
    /// Implicit tags of prefixes.
    pub(crate) prefixes: Vec<TagHash>,
    /// Everything.
    pub(crate) all: bool,
    /// Every instance doubts its copies: keys that nobody can name were invalidated, and what the shared tier does not hold as it is
    /// held here is not served again.
    pub(crate) doubt: bool,
    /// The keys are made stale and not dropped: what they held stays for who brings something newer. Said of one bump alone: with others, or
    /// told again, it is an invalidation as any other.
    pub(crate) stale: bool,
}

impl Targets {
    /// Keys, each of which an entry can have.
    pub(crate) fn of_keys<K: AsRef<str>>(keys: impl IntoIterator<Item = K>) -> Result<Self, KeyError> {
        let checked = keys.into_iter().map(|key| check_key(key.as_ref()).map(|()| key.as_ref().to_owned()));
        Ok(Self { keys: checked.collect::<Result<_, _>>()?, ..Self::default() })
    }

    pub(crate) fn of_tags<T: AsRef<str>>(namespace: &str, tags: impl IntoIterator<Item = T>) -> Result<Self, KeyError> {
        let checked = tags.into_iter().map(|tag| check_key(tag.as_ref()).map(|()| TagHash::of(namespace, tag.as_ref())));
        Ok(Self { tags: checked.collect::<Result<_, _>>()?, ..Self::default() })
    }

    /// All keys below a prefix of whole segments.
    pub(crate) fn of_prefix(namespace: &str, prefix: &str) -> Result<Self, KeyError> {
        check_prefix(prefix)?;
        Ok(Self { prefixes: vec![TagHash::of_prefix(namespace, prefix)], ..Self::default() })
    }

    /// Both.
    pub(crate) fn extend(&mut self, others: Self) {
        self.keys.extend(others.keys);
        self.tags.extend(others.tags);
        self.prefixes.extend(others.prefixes);
        self.all |= others.all;
        self.doubt |= others.doubt;
        self.stale = false;
    }

    pub(crate) fn everything() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// How many of these are counted in a part of a namespace: what concerns all parts is counted in the first.
    pub(crate) fn counted_in(&self, part: Option<usize>) -> u64 {
        let counted = if part.is_none_or(|part| part == 0) { self.len() } else { self.keys.len() };
        u64::try_from(counted).unwrap_or(u64::MAX)
    }

    /// How many there are; everything counts as one, and so does doubt.
    pub(crate) fn len(&self) -> usize {
        self.keys.len() + self.tags.len() + self.prefixes.len() + usize::from(self.all) + usize::from(self.doubt)
    }
}

/// A bump as its subscribers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) era: Era,
    /// The lane's seq before this bump: what a subscriber must have applied, or it has missed something.
    pub(crate) previous: Seq,
    pub(crate) seq: Seq,
    pub(crate) targets: Targets,
    /// The bump is the first half of a `set`, and this the stamp of the value to come; or it tells of a value that has come.
    pub(crate) coming: Option<Stamp>,
}

/// Why a message cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Garbled {
    /// Written by a release that knows more than this one, and not to be overlooked.
    Newer,
    /// Says what is wrong.
    Corrupt(&'static str),
}

impl std::fmt::Display for Garbled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Newer => f.write_str("the message says what only a newer release can read"),
            Self::Corrupt(what) => write!(f, "the message is corrupt: {what}"),
        }
    }
}

impl std::error::Error for Garbled {}

/// The part of a message that the lane writes.
pub(crate) fn head(era: Era, previous: Seq, seq: Seq) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let fields = [b'c', b't', VERSION].into_iter().chain(era.0.to_be_bytes());
    let fields = fields.chain(previous.0.to_be_bytes()).chain(seq.0.to_be_bytes());
    for (place, byte) in head.iter_mut().zip(fields) {
        *place = byte;
    }
    head
}

/// The part of a message that the caller writes.
///
/// Total. Targets that no message can hold (more than [`MAX_TARGETS`], or a key that is none) become "everything": too much
/// is then invalidated, and never too little.
pub(crate) fn body(targets: &Targets, coming: Option<Stamp>) -> Vec<u8> {
    write(targets, coming).unwrap_or_else(|| {
        let mut body = Vec::new();
        field(&mut body, ALL, 0);
        coming_field(&mut body, coming);
        body
    })
}

/// The body, unless a message cannot hold it.
fn write(targets: &Targets, coming: Option<Stamp>) -> Option<Vec<u8>> {
    let Targets { keys, tags, prefixes, all, doubt, stale } = targets;
    if keys.len() + tags.len() + prefixes.len() > MAX_TARGETS {
        return None;
    }
    let mut body = Vec::new();
    if !keys.is_empty() {
        field(&mut body, KEYS, u32::try_from(keys.iter().map(|key| 2 + key.len()).sum::<usize>()).ok()?);
        for key in keys {
            check_key(key).ok()?;
            body.extend_from_slice(&u16::try_from(key.len()).ok()?.to_be_bytes());
            body.extend_from_slice(key.as_bytes());
        }
    }
    for (id, hashes) in [(TAGS, tags), (PREFIXES, prefixes)] {
        if !hashes.is_empty() {
            field(&mut body, id, u32::try_from(8 * hashes.len()).ok()?);
            for hash in hashes {
                body.extend_from_slice(&hash.0.to_be_bytes());
            }
        }
    }
    if *all {
        field(&mut body, ALL, 0);
    }
    coming_field(&mut body, coming);
    if *doubt {
        field(&mut body, DOUBT, 0);
    }
    if *stale {
        field(&mut body, STALE, 0);
    }
    Some(body)
}

fn field(body: &mut Vec<u8>, id: u8, length: u32) {
    body.reserve(5 + usize::try_from(length).unwrap_or_default());
    body.push(id);
    body.extend_from_slice(&length.to_be_bytes());
}

fn coming_field(body: &mut Vec<u8>, coming: Option<Stamp>) {
    if let Some(stamp) = coming {
        field(body, COMING, 16);
        body.extend_from_slice(&stamp.0);
    }
}

/// Reads a message. Total and strict: any bytes have an answer, and what is accepted is written again as the same bytes, but
/// for fields that were skipped.
pub(crate) fn read(bytes: &[u8]) -> Result<Message, Garbled> {
    const SHORT: Garbled = Garbled::Corrupt("the head is cut short");
    let mut rest = Bytes(bytes);
    if rest.array() != Some(*b"ct") {
        return Err(Garbled::Corrupt("it does not begin like a message of the lane"));
    }
    match rest.u8().ok_or(SHORT)? {
        VERSION => {}
        0 => return Err(Garbled::Corrupt("there is no version 0")),
        _ => return Err(Garbled::Newer),
    }
    let era = Era(rest.u32().ok_or(SHORT)?);
    let previous = seq(rest.u64().ok_or(SHORT)?)?;
    let seq = seq(rest.u64().ok_or(SHORT)?)?;
    let mut message = Message { era, previous, seq, targets: Targets::default(), coming: None };

    let mut last = None;
    while !rest.is_empty() {
        const SHORT: Garbled = Garbled::Corrupt("a field is cut short");
        let id = rest.u8().ok_or(SHORT)?;
        let length = usize::try_from(rest.u32().ok_or(SHORT)?).map_err(|_| SHORT)?;
        let content = Bytes(rest.slice(length).ok_or(SHORT)?);
        // One order, and no field twice: so that a message has one way to be written.
        let number = id & !CRITICAL;
        if last.is_some_and(|last| number <= last) {
            return Err(Garbled::Corrupt("the fields do not ascend"));
        }
        last = Some(number);
        take(&mut message, id, content)?;
    }
    Ok(message)
}

/// Takes one field into the message.
fn take(message: &mut Message, id: u8, mut content: Bytes<'_>) -> Result<(), Garbled> {
    let targets = &mut message.targets;
    match id {
        KEYS => targets.keys = keys(content, MAX_TARGETS)?,
        TAGS => targets.tags = hashes(content, MAX_TARGETS - targets.keys.len())?,
        PREFIXES => targets.prefixes = hashes(content, MAX_TARGETS - targets.keys.len() - targets.tags.len())?,
        ALL if content.is_empty() => targets.all = true,
        ALL => return Err(Garbled::Corrupt("the field of everything has a content")),
        COMING => {
            let stamp = content.array().filter(|_| content.is_empty());
            message.coming = Some(Stamp(stamp.ok_or(Garbled::Corrupt("the stamp to come is not one"))?));
        }
        DOUBT if content.is_empty() => targets.doubt = true,
        DOUBT => return Err(Garbled::Corrupt("the field of doubt has a content")),
        STALE if content.is_empty() => targets.stale = true,
        STALE => return Err(Garbled::Corrupt("the field of what is stale has a content")),
        // Known numbers whose critical bit is not as it must be. Skipping one would lose an invalidation.
        _ if (1..=7).contains(&(id & !CRITICAL)) => return Err(Garbled::Corrupt("the critical bit of a field is wrong")),
        _ if id & CRITICAL != 0 => return Err(Garbled::Newer),
        _ => {}
    }
    Ok(())
}

fn seq(seq: u64) -> Result<Seq, Garbled> {
    if seq > MAX_SEQ { Err(Garbled::Corrupt("a seq is not below 2^53")) } else { Ok(Seq(seq)) }
}

const TOO_MANY: Garbled = Garbled::Corrupt("there are more targets than a message can have");
const EMPTY: Garbled = Garbled::Corrupt("a field of targets is empty");

/// Reads at least one key and at most `room`. Nothing is reserved by what the bytes claim: a key costs what it takes.
fn keys(mut content: Bytes<'_>, room: usize) -> Result<Vec<String>, Garbled> {
    const SHORT: Garbled = Garbled::Corrupt("a key is cut short");
    const NONE: Garbled = Garbled::Corrupt("a key is empty, too long or not UTF-8");
    let mut keys = Vec::new();
    while !content.is_empty() {
        if keys.len() == room {
            return Err(TOO_MANY);
        }
        let length = usize::from(content.u16().ok_or(SHORT)?);
        let key = content.slice(length).ok_or(SHORT)?;
        if key.len() > MAX_KEY {
            return Err(NONE);
        }
        let key = str::from_utf8(key).map_err(|_| NONE)?;
        check_key(key).map_err(|_| NONE)?;
        keys.push(key.to_owned());
    }
    if keys.is_empty() { Err(EMPTY) } else { Ok(keys) }
}

/// Reads at least one hash and at most `room`.
fn hashes(content: Bytes<'_>, room: usize) -> Result<Vec<TagHash>, Garbled> {
    let (hashes, rest) = content.0.as_chunks::<8>();
    if !rest.is_empty() {
        return Err(Garbled::Corrupt("a hash is cut short"));
    }
    if hashes.is_empty() {
        return Err(EMPTY);
    }
    if hashes.len() > room {
        return Err(TOO_MANY);
    }
    Ok(hashes.iter().map(|hash| TagHash(u64::from_be_bytes(*hash))).collect())
}

/// A message that was read, without the fields that were skipped: what writing it again must come to. Walks the fields on its
/// own, so that a field lost by the reader is not taken for one skipped.
#[cfg(any(test, fuzzing))]
pub(crate) fn without_skipped(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut rest = Bytes(bytes);
    let mut kept = rest.slice(HEAD)?.to_vec();
    while !rest.is_empty() {
        let whole = rest.0;
        let (id, length) = (rest.u8()?, rest.u32()?);
        rest.slice(usize::try_from(length).ok()?)?;
        if !matches!(id, 0 | 8..CRITICAL) {
            kept.extend_from_slice(whole.get(..whole.len() - rest.0.len())?);
        }
    }
    Some(kept)
}

#[cfg(test)]
mod tests;
