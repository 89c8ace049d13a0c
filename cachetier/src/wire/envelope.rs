//! How a value looks in the shared tier: kind, stamp, a header of fixed size, the hashes of its tags, the encoded value.
//! What the encoded value holds is the codec's; whether an entry may still be served, the rules'.
//!
//! Version 1, integers big-endian:
//!
//! | bytes | field | |
//! |---|---|---|
//! | 0 | kind | `0xF6` |
//! | 1..17 | stamp | |
//! | 17 | version | 1 |
//! | 18 | flags | bit 0 negative, bit 1 [compressed](super::compress), bit 3 a validator; bit 2 (sealed) is reserved |
//! | 19 | codec | |
//! | 20 | number of tags | at most 32 |
//! | 21 | marks | mutable; bit 0 expired |
//! | 22..28 | created | mutable; milliseconds of the server's clock |
//! | 28..32 | soft life | mutable; milliseconds after created |
//! | 32..36 | hard life | mutable; milliseconds after created |
//! | 36..40 | refresh lease | mutable; milliseconds after created, the last eight bits say who has it; 0 for none |
//! | 40..44 | era of the load's begin | mutable |
//! | 44..52 | seq of the load's begin | mutable; below 2^53 |
//! | 52..54 | cost of the load | milliseconds, saturating |
//! | 54..60 | fingerprint of the type | |
//! | 60..64 | checksum | CRC-32 of 17..21, 52..60 and all from 64 on |
//! | 64.. | tags | 8 bytes each |
//! | .. | validator | only with its flag: length (1 byte) and UTF-8 |
//! | .. | payload | to the end |
//!
//! The checksum leaves out the stamp and the mutable part: scripts change them in place, and cannot compute it.

use std::ops::Range;

use crate::key::TagHash;
use crate::rule::seq::{Era, Point, Seq};
use crate::rule::stamp::Stamp;
use crate::wire::MAX_SEQ;
use crate::wire::bytes::{Bytes, u48};
use crate::wire::compress::Compression;
use crate::wire::slot::{PREFIX, VALUE, prefix};

/// The most tags that an entry can carry.
pub(crate) const MAX_TAGS: usize = 32;
/// The most bytes of a validator.
pub(crate) const MAX_VALIDATOR: usize = 255;
/// Where the tags begin.
pub(crate) const HEADER: usize = 64;
/// The fields that scripts change in place.
pub(crate) const MUTABLE: Range<usize> = 21..52;

const VERSION: u8 = 1;
const NEGATIVE: u8 = 1;
const COMPRESSED: u8 = 2;
const VALIDATOR: u8 = 8;
/// The flags that this release knows.
const KNOWN: u8 = NEGATIVE | COMPRESSED | VALIDATOR;
/// Where the flags are.
const FLAGS: usize = 18;
const EXPIRED: u8 = 1;
const BEFORE_MUTABLE: Range<usize> = PREFIX..MUTABLE.start;
const AFTER_MUTABLE: Range<usize> = MUTABLE.end..CHECKSUM.start;
/// Where it stands when the value was created.
const CREATED: usize = 22;
/// When the refresh lease is over.
const LEASE: Range<usize> = 36..40;
/// Era and seq of the load's begin.
const BORN: Range<usize> = 40..52;
const CHECKSUM: Range<usize> = 60..HEADER;
const MAX_U48: u64 = (1 << 48) - 1;

/// Tells values of one type from those of another. Two releases that disagree about it leave each other's values alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Fingerprint(pub(crate) u64);

impl Fingerprint {
    /// The fingerprint of `V`: the lower 48 bits of the 64-bit FNV-1a of its full name.
    pub(crate) fn of<V: ?Sized>() -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for byte in std::any::type_name::<V>().bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Self(hash & MAX_U48)
    }
}

/// What the header says of the value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// The id of the codec that wrote the payload.
    pub(crate) codec: u8,
    /// The loader found nothing; there is no payload.
    pub(crate) negative: bool,
    /// The payload is compressed, and says how.
    pub(crate) compressed: bool,
    /// The value was made stale before its time.
    pub(crate) expired: bool,
    /// When the value was stored: milliseconds of the server's clock.
    pub(crate) created: u64,
    /// For how many milliseconds it is fresh.
    pub(crate) soft: u32,
    /// For how many milliseconds it is kept.
    pub(crate) hard: u32,
    /// Until how many milliseconds after `created` somebody refreshes it, and who in the last eight bits; 0 for nobody.
    pub(crate) refresh: u32,
    /// What this lane had told when the load began.
    pub(crate) born: Point,
    /// How many milliseconds the load took, saturating.
    pub(crate) cost: u16,
    /// The type of the value.
    pub(crate) fingerprint: Fingerprint,
}

/// Why a value cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unwritable {
    /// It carries more than [`MAX_TAGS`] tags.
    TooManyTags { count: usize },
    /// A field of the header is outside what [`open`] accepts.
    OutOfRange(&'static str),
}

impl std::fmt::Display for Unwritable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooManyTags { count } => write!(f, "the entry has {count} tags, expected at most {MAX_TAGS}"),
            Self::OutOfRange(what) => write!(f, "the header cannot be written: {what}"),
        }
    }
}

impl std::error::Error for Unwritable {}

/// Why a value cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// Not one of our values.
    Foreign,
    /// Written by a release that knows more than this one.
    Newer { version: u8 },
    /// Ours, and broken: says what is wrong.
    Corrupt(&'static str),
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Foreign => f.write_str("the bytes are not a value of this cache"),
            Self::Newer { version } => write!(f, "the value uses what only a newer release can read (version {version})"),
            Self::Corrupt(what) => write!(f, "the value is corrupt: {what}"),
        }
    }
}

impl std::error::Error for Unreadable {}

/// A value being written: [`Writer::begin`], then the payload, then [`Writer::finish`].
#[derive(Debug)]
#[must_use]
pub(crate) struct Writer {
    bytes: Vec<u8>,
    payload_at: usize,
    negative: bool,
}

impl Writer {
    /// Writes everything before the payload.
    pub(crate) fn begin(stamp: Stamp, head: &Head, tags: &[TagHash], validator: Option<&str>) -> Result<Self, Unwritable> {
        let length = validator.map_or(Ok(0), |validator| u8::try_from(validator.len()));
        let Ok(length) = length else { return Err(Unwritable::OutOfRange("the validator is longer than 255 bytes")) };
        let count = u8::try_from(tags.len()).ok().filter(|count| usize::from(*count) <= MAX_TAGS);
        let Some(count) = count else { return Err(Unwritable::TooManyTags { count: tags.len() }) };
        check_life(head).map_err(Unwritable::OutOfRange)?;
        if head.created > MAX_U48 {
            return Err(Unwritable::OutOfRange("created does not fit 48 bits"));
        }
        if head.negative && head.compressed {
            return Err(Unwritable::OutOfRange("a negative entry is compressed"));
        }
        if head.fingerprint.0 > MAX_U48 {
            return Err(Unwritable::OutOfRange("the fingerprint does not fit 48 bits"));
        }

        let validator_bytes = validator.map_or(0, |validator| 1 + validator.len());
        let payload_at = HEADER + 8 * tags.len() + validator_bytes;
        let mut bytes = Vec::with_capacity(payload_at);
        bytes.extend_from_slice(&prefix(VALUE, stamp));
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let flags = flag(head.negative, NEGATIVE) | flag(head.compressed, COMPRESSED) | flag(validator.is_some(), VALIDATOR);
        bytes.extend_from_slice(&[VERSION, flags, head.codec, count]);
        bytes.push(if head.expired { EXPIRED } else { 0 });
        bytes.extend_from_slice(&u48(head.created));
        bytes.extend_from_slice(&head.soft.to_be_bytes());
        bytes.extend_from_slice(&head.hard.to_be_bytes());
        bytes.extend_from_slice(&head.refresh.to_be_bytes());
        bytes.extend_from_slice(&head.born.era.0.to_be_bytes());
        bytes.extend_from_slice(&head.born.seq.0.to_be_bytes());
        bytes.extend_from_slice(&head.cost.to_be_bytes());
        bytes.extend_from_slice(&u48(head.fingerprint.0));
        bytes.extend_from_slice(&[0; 4]);
        for tag in tags {
            bytes.extend_from_slice(&tag.0.to_be_bytes());
        }
        if let Some(validator) = validator {
            bytes.push(length);
            bytes.extend_from_slice(validator.as_bytes());
        }
        Ok(Self { bytes, payload_at, negative: head.negative })
    }

    /// What the payload is appended to. It holds the header already.
    pub(crate) fn payload(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Compresses the payload if it is longer than `above` and becomes smaller by it.
    pub(crate) fn compress(&mut self, how: Compression, above: usize) {
        let plain = self.bytes.get(self.payload_at..).unwrap_or_default();
        if plain.len() <= above {
            return;
        }
        let Some(packed) = how.pack(plain) else { return };
        self.bytes.truncate(self.payload_at);
        self.bytes.extend_from_slice(&packed);
        if let Some(flags) = self.bytes.get_mut(FLAGS) {
            *flags |= COMPRESSED;
        }
    }

    /// Returns the whole value. A negative entry has no payload: what was appended to one is dropped.
    #[must_use]
    pub(crate) fn finish(mut self) -> Vec<u8> {
        if self.negative {
            self.bytes.truncate(self.payload_at);
        }
        seal(&mut self.bytes);
        self.bytes
    }
}

/// Writes the checksum of what the bytes hold.
pub(crate) fn seal(bytes: &mut [u8]) {
    let checksum = checksum(bytes).to_be_bytes();
    if let Some(field) = bytes.get_mut(CHECKSUM) {
        field.copy_from_slice(&checksum);
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for part in [bytes.get(BEFORE_MUTABLE), bytes.get(AFTER_MUTABLE), bytes.get(HEADER..)] {
        crc.update(part.unwrap_or_default());
    }
    crc.finalize()
}

/// What holds of the mutable part, whoever wrote it last.
fn check_life(head: &Head) -> Result<(), &'static str> {
    if head.hard == 0 {
        return Err("the hard life is zero");
    }
    if head.soft > head.hard {
        return Err("the soft life is longer than the hard one");
    }
    if head.born.seq.0 > MAX_SEQ {
        return Err("the seq is not below 2^53");
    }
    Ok(())
}

/// A value as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Envelope<'a> {
    pub(crate) stamp: Stamp,
    pub(crate) head: Head,
    pub(crate) tags: Tags<'a>,
    /// What its source knows this version by.
    pub(crate) validator: Option<&'a str>,
    /// The encoded value, compressed if the head says so; empty for a negative entry.
    pub(crate) payload: &'a [u8],
}

/// The tags of a value, in the order in which they were written.
#[derive(Clone, Debug)]
pub(crate) struct Tags<'a>(std::slice::Iter<'a, [u8; 8]>);

impl Iterator for Tags<'_> {
    type Item = TagHash;

    fn next(&mut self) -> Option<TagHash> {
        self.0.next().map(|tag| TagHash(u64::from_be_bytes(*tag)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Tags<'_> {}

/// Reads a value. Total and strict: any bytes have an answer, and what is accepted is written again as the very same bytes.
pub(crate) fn open(bytes: &[u8]) -> Result<Envelope<'_>, Unreadable> {
    const SHORT: Unreadable = Unreadable::Corrupt("the header is cut short");
    let mut rest = Bytes(bytes);
    if rest.u8() != Some(VALUE) {
        return Err(Unreadable::Foreign);
    }
    let stamp = Stamp(rest.array().ok_or(Unreadable::Foreign)?);

    // Version and flags come before all else: another release may lay out and check the rest in another way.
    let version = rest.u8().ok_or(SHORT)?;
    if version > VERSION {
        return Err(Unreadable::Newer { version });
    }
    if version < VERSION {
        return Err(Unreadable::Corrupt("there is no version 0"));
    }
    let flags = rest.u8().ok_or(SHORT)?;
    if flags & !KNOWN != 0 {
        return Err(Unreadable::Newer { version });
    }

    let codec = rest.u8().ok_or(SHORT)?;
    let tag_count = usize::from(rest.u8().ok_or(SHORT)?);
    let marks = rest.u8().ok_or(SHORT)?;
    let head = Head {
        codec,
        negative: flags & NEGATIVE != 0,
        compressed: flags & COMPRESSED != 0,
        expired: marks & EXPIRED != 0,
        created: rest.u48().ok_or(SHORT)?,
        soft: rest.u32().ok_or(SHORT)?,
        hard: rest.u32().ok_or(SHORT)?,
        refresh: rest.u32().ok_or(SHORT)?,
        born: Point { era: Era(rest.u32().ok_or(SHORT)?), seq: Seq(rest.u64().ok_or(SHORT)?) },
        cost: rest.u16().ok_or(SHORT)?,
        fingerprint: Fingerprint(rest.u48().ok_or(SHORT)?),
    };
    let told = rest.u32().ok_or(SHORT)?;
    if told != checksum(bytes) {
        return Err(Unreadable::Corrupt("the checksum does not match"));
    }

    if tag_count > MAX_TAGS {
        return Err(Unreadable::Corrupt("there are more tags than an entry can have"));
    }
    let tags = rest.slice(8 * tag_count).ok_or(Unreadable::Corrupt("the tags are cut short"))?;
    let (tags, _) = tags.as_chunks::<8>();
    if marks & !EXPIRED != 0 {
        return Err(Unreadable::Corrupt("an unknown mark is set"));
    }
    check_life(&head).map_err(Unreadable::Corrupt)?;
    let validator = if flags & VALIDATOR != 0 {
        const CUT: Unreadable = Unreadable::Corrupt("the validator is cut short");
        let length = usize::from(rest.u8().ok_or(CUT)?);
        let bytes = rest.slice(length).ok_or(CUT)?;
        Some(str::from_utf8(bytes).map_err(|_| Unreadable::Corrupt("the validator is no text"))?)
    } else {
        None
    };
    let payload = rest.0;
    if head.negative && head.compressed {
        return Err(Unreadable::Corrupt("a negative entry is compressed"));
    }
    if head.negative && !payload.is_empty() {
        return Err(Unreadable::Corrupt("a negative entry has a payload"));
    }
    Ok(Envelope { stamp, head, tags: Tags(tags.iter()), validator, payload })
}

/// When a value was created; when its hard life is over, and its refresh lease, counted from there. `None` if it is cut short.
pub(crate) fn lease(value: &[u8]) -> Option<(u64, u32, u32)> {
    let mut rest = Bytes(value.get(CREATED..HEADER)?);
    let (created, _soft, hard) = (rest.u48()?, rest.u32()?, rest.u32()?);
    Some((created, hard, rest.u32()?))
}

/// A refresh lease that is over so long after the value was created, as it is written: in the place of the last eight bits of the time, who has it.
pub(crate) fn lease_of(who: u8, until: u64) -> u32 {
    const LAST: u32 = u32::MAX << 8;
    let rounded = u32::try_from(until.div_ceil(256).saturating_mul(256)).unwrap_or(LAST).min(LAST);
    rounded | u32::from(who)
}

/// Writes when the refresh lease of a value is over, as a script does.
pub(crate) fn set_lease(value: &mut [u8], until: u32) {
    if let Some(lease) = value.get_mut(LEASE) {
        lease.copy_from_slice(&until.to_be_bytes());
    }
}

/// Gives a value another stamp, and what may change of another header, as a script does.
pub(crate) fn renew(value: &mut [u8], stamp: Stamp, header: &[u8]) {
    if let Some(old) = value.get_mut(1..PREFIX) {
        old.copy_from_slice(&stamp.0);
    }
    if let Some(old) = value.get_mut(MUTABLE).filter(|old| old.len() == header.len()) {
        old.copy_from_slice(header);
    }
}

/// Marks a value as expired, under another stamp and without a refresh lease, as a script does. Says whether it is one of ours.
#[must_use]
pub(crate) fn expire(value: &mut [u8], stamp: Stamp) -> bool {
    let ours = value.first() == Some(&VALUE) && value.get(PREFIX) == Some(&VERSION) && value.len() >= HEADER;
    if ours {
        set_lease(value, 0);
        if let Some(old) = value.get_mut(1..PREFIX) {
            old.copy_from_slice(&stamp.0);
        }
        if let Some(marks) = value.get_mut(MUTABLE.start) {
            *marks = EXPIRED;
        }
    }
    ours
}

/// The part of a header that may change, as it is written.
pub(crate) fn mutable(head: &Head) -> Result<Vec<u8>, Unwritable> {
    let whole = Writer::begin(Stamp([0; Stamp::LEN]), head, &[], None)?.finish();
    Ok(whole.get(MUTABLE).unwrap_or_default().to_vec())
}

/// What is seen of a value whose payload was not read.
#[derive(Clone, Debug)]
pub(crate) struct Glimpse<'a> {
    pub(crate) born: Point,
    tags: Tags<'a>,
}

impl Glimpse<'_> {
    pub(crate) fn carries(&self, tag: TagHash) -> bool {
        self.tags.clone().any(|carried| carried == tag)
    }
}

/// Reads what the begin of a value says, unchecked. `None` for one that another release has laid out, or that is cut short.
pub(crate) fn peek(begin: &[u8]) -> Option<Glimpse<'_>> {
    let (header, behind) = begin.split_at_checked(HEADER)?;
    let (mut rest, mut born) = (Bytes(header.get(PREFIX..)?), Bytes(header.get(BORN)?));
    let (version, flags, _codec, count) = (rest.u8()?, rest.u8()?, rest.u8()?, usize::from(rest.u8()?));
    if version != VERSION || flags & !KNOWN != 0 || count > MAX_TAGS {
        return None;
    }
    let (tags, _) = behind.get(..8 * count)?.as_chunks::<8>();
    Some(Glimpse { born: Point { era: Era(born.u32()?), seq: Seq(born.u64()?) }, tags: Tags(tags.iter()) })
}

#[cfg(test)]
mod tests;
