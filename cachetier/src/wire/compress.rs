//! Payloads made smaller, and what they may become when they are read: bounded by what they say of themselves before any memory is
//! taken. When they are made smaller is the cache's to say; what they hold, the codec's.
//!
//! A compressed payload, integers big-endian:
//!
//! | bytes | field | |
//! |---|---|---|
//! | 0 | algorithm | 1 zstd (a frame), 2 lz4 (a block) |
//! | 1..5 | length | of the plain payload |
//! | 5.. | what was compressed | to the end |

use std::borrow::Cow;

use crate::wire::bytes::Bytes;
use crate::wire::envelope::Envelope;

/// Whether and how values are made smaller for the shared tier. What others have compressed is read by what it says of itself, as
/// long as this build has the feature; without it, it is a miss that is left alone.
///
/// A fill compresses what it has encoded, in the task that loads, and a read that finds it in the shared tier takes it apart: it pays
/// where values are large and repeat themselves, as JSON does, and where bytes in Redis or on the wire are scarce. Values up to
/// [`compress_above`](crate::CacheBuilder::compress_above) are stored as they are, and so are those that would not become smaller.
/// Copies in this instance's memory are values, not bytes: nothing is compressed there, and a hit pays nothing.
///
/// ```
/// # #[cfg(feature = "lz4")]
/// # {
/// use cachetier::{Compression, TieredCache};
///
/// let builder = TieredCache::builder("shop").compression(Compression::Lz4).compress_above(4 << 10);
/// # drop(builder);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Values are stored as they are encoded.
    #[default]
    None,
    /// Zstandard at its first level: the smaller ones. The build compiles libzstd, so it needs a C compiler.
    #[cfg(feature = "zstd")]
    Zstd,
    /// LZ4 blocks: the quicker ones, in safe Rust.
    #[cfg(feature = "lz4")]
    Lz4,
}

/// Before what was compressed: the algorithm and the plain length.
const HEAD: usize = 5;
/// The longest payload that is taken apart; a longer one is stored plain.
const MAX_PLAIN: usize = 64 << 20;
/// How many times as long as what was compressed the plain payload may be..
const MAX_RATIO: usize = 1_000;
/// .. if it is longer than this: as long as a value may be that nobody compresses, unless a cache is told otherwise.
const FREE: usize = 8 << 20;

/// The first: the third, its own default, makes some kilobytes of JSON no smaller, and a fill waits for it longer.
#[cfg(feature = "zstd")]
const ZSTD_LEVEL: i32 = 1;

impl Compression {
    /// Returns `plain` compressed; `None` if it is to be stored as it is, because it would not become smaller or would not be read.
    pub(crate) fn pack(self, plain: &[u8]) -> Option<Vec<u8>> {
        let length = u32::try_from(plain.len()).ok().filter(|_| plain.len() <= MAX_PLAIN)?;
        let (algorithm, packed) = self.compressed(plain)?;
        if HEAD.saturating_add(packed.len()) >= plain.len() || !is_allowed(plain.len(), packed.len()) {
            return None;
        }
        let mut payload = Vec::with_capacity(HEAD.saturating_add(packed.len()));
        payload.push(algorithm);
        payload.extend_from_slice(&length.to_be_bytes());
        payload.extend_from_slice(&packed);
        Some(payload)
    }

    #[cfg_attr(not(any(feature = "zstd", feature = "lz4")), expect(unused_variables, reason = "there is no algorithm"))]
    fn compressed(self, plain: &[u8]) -> Option<(u8, Vec<u8>)> {
        match self {
            Self::None => None,
            #[cfg(feature = "zstd")]
            Self::Zstd => {
                // No larger than it would be plain: what does not fit is an error.
                let mut packed = vec![0; plain.len()];
                let taken = zstd::bulk::compress_to_buffer(plain, packed.as_mut_slice(), ZSTD_LEVEL).ok()?;
                packed.truncate(taken);
                Some((1, packed))
            }
            #[cfg(feature = "lz4")]
            Self::Lz4 => Some((2, lz4_flex::block::compress(plain))),
        }
    }

    /// The algorithm of that name; `None` if this build does not have it.
    fn of_id(id: u8) -> Option<Self> {
        match id {
            #[cfg(feature = "zstd")]
            1 => Some(Self::Zstd),
            #[cfg(feature = "lz4")]
            2 => Some(Self::Lz4),
            _ => None,
        }
    }
}

/// Whether a payload of which `packed` bytes are left may be `plain` bytes long.
fn is_allowed(plain: usize, packed: usize) -> bool {
    plain <= MAX_PLAIN && plain <= packed.saturating_mul(MAX_RATIO).max(FREE)
}

/// Why a payload cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// This build does not have what it was compressed with.
    Unknown,
    /// It is broken, or claims to be larger than it may: says what is wrong.
    Corrupt(&'static str),
}

/// The encoded value of an envelope, as it stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Payload<'a> {
    Plain(&'a [u8]),
    Packed(Packed<'a>),
}

impl<'a> Payload<'a> {
    /// Looks at what the payload says of itself; takes nothing apart.
    pub(crate) fn of(envelope: &Envelope<'a>) -> Result<Self, Unreadable> {
        if envelope.head.compressed { Packed::open(envelope.payload).map(Self::Packed) } else { Ok(Self::Plain(envelope.payload)) }
    }

    /// How long the encoded value is.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Plain(bytes) => bytes.len(),
            Self::Packed(packed) => packed.length,
        }
    }

    /// Returns the encoded value.
    pub(crate) fn plain(&self) -> Result<Cow<'a, [u8]>, Unreadable> {
        match self {
            Self::Plain(bytes) => Ok(Cow::Borrowed(bytes)),
            Self::Packed(packed) => packed.unpack().map(Cow::Owned),
        }
    }
}

/// A compressed payload whose length is one that it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packed<'a> {
    algorithm: Compression,
    length: usize,
    bytes: &'a [u8],
}

impl<'a> Packed<'a> {
    pub(crate) fn open(payload: &'a [u8]) -> Result<Self, Unreadable> {
        const SHORT: Unreadable = Unreadable::Corrupt("the compressed payload is cut short");
        let mut rest = Bytes(payload);
        let algorithm = Compression::of_id(rest.u8().ok_or(SHORT)?).ok_or(Unreadable::Unknown)?;
        let length = usize::try_from(rest.u32().ok_or(SHORT)?).unwrap_or(usize::MAX);
        let bytes = rest.0;
        if !is_allowed(length, bytes.len()) {
            return Err(Unreadable::Corrupt("the payload claims to be larger than it may"));
        }
        Ok(Self { algorithm, length, bytes })
    }

    /// Takes it apart, into as many bytes as it says and not one more.
    pub(crate) fn unpack(&self) -> Result<Vec<u8>, Unreadable> {
        let mut plain = vec![0; self.length];
        if self.unpack_into(&mut plain) == Some(self.length) {
            Ok(plain)
        } else {
            Err(Unreadable::Corrupt("the payload is not what it says"))
        }
    }

    /// Returns how many bytes of `plain` it took; `None` if it is broken, or `plain` is too short.
    #[cfg_attr(not(any(feature = "zstd", feature = "lz4")), expect(unused_variables, reason = "there is no algorithm"))]
    fn unpack_into(&self, plain: &mut [u8]) -> Option<usize> {
        match self.algorithm {
            Compression::None => None,
            #[cfg(feature = "zstd")]
            // All at once: then the window is what was written already, whatever size the frame claims for it.
            Compression::Zstd => zstd::bulk::decompress_to_buffer(self.bytes, plain).ok(),
            #[cfg(feature = "lz4")]
            Compression::Lz4 => lz4_flex::block::decompress_into(self.bytes, plain).ok(),
        }
    }
}

#[cfg(test)]
mod tests;
