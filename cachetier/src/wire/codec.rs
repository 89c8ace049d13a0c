//! From values to bytes and back. How deep and how large a decoded value may grow is `bounded`'s; where the bytes stand, the
//! envelope's.

use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(any(feature = "postcard", feature = "bincode"))]
use crate::wire::bounded;

/// How values are written as bytes. Each is a feature; every release can read what any of its codecs has written.
///
/// Neither describes itself: what was written as one type is not to be read as another. Both refuse types that ask the bytes
/// what they are, such as untagged enums.
///
/// ```
/// # #[cfg(feature = "postcard")]
/// # {
/// use cachetier::{Codec, TieredCache};
///
/// let builder = TieredCache::builder("shop").codec(Codec::Postcard);
/// # drop(builder);
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Codec {
    /// Compact and stable: what a cache uses unless told otherwise.
    #[cfg(feature = "postcard")]
    Postcard,
    /// The codec of the same name, little-endian with variable-length integers.
    #[cfg(feature = "bincode")]
    Bincode,
}

impl Codec {
    /// The codec to write with when none was chosen; `None` if this build has none.
    pub(crate) fn preferred() -> Option<Self> {
        Self::of_id(1).or_else(|| Self::of_id(2))
    }

    /// The codec's name on the wire.
    pub(crate) fn id(self) -> u8 {
        match self {
            #[cfg(feature = "postcard")]
            Self::Postcard => 1,
            #[cfg(feature = "bincode")]
            Self::Bincode => 2,
        }
    }

    /// The codec of that name; `None` if this build does not have it.
    pub(crate) fn of_id(id: u8) -> Option<Self> {
        match id {
            #[cfg(feature = "postcard")]
            1 => Some(Self::Postcard),
            #[cfg(feature = "bincode")]
            2 => Some(Self::Bincode),
            _ => None,
        }
    }

    /// Appends `value` to `out`, which an error leaves as it was.
    #[cfg_attr(
        not(any(feature = "postcard", feature = "bincode")),
        expect(unused_variables, clippy::ptr_arg, reason = "there is no codec")
    )]
    pub(crate) fn encode<V: Serialize + ?Sized>(self, value: &V, out: &mut Vec<u8>) -> Result<(), CodecError> {
        match self {
            #[cfg(feature = "postcard")]
            Self::Postcard => append(out, |out| postcard::to_io(value, out).map(drop)),
            #[cfg(feature = "bincode")]
            Self::Bincode => append(out, |out| bincode::serde::encode_into_std_write(value, out, BINCODE).map(drop)),
        }
    }

    /// Returns how many bytes `value` takes, without keeping them.
    #[cfg_attr(not(any(feature = "postcard", feature = "bincode")), expect(unused_variables, reason = "there is no codec"))]
    pub(crate) fn measure<V: Serialize + ?Sized>(self, value: &V) -> Result<usize, CodecError> {
        match self {
            #[cfg(feature = "postcard")]
            Self::Postcard => {
                postcard::serialize_with_flavor(value, postcard::ser_flavors::Size::default()).map_err(CodecError::new)
            }
            #[cfg(feature = "bincode")]
            Self::Bincode => bincode::serde::encode_into_std_write(value, &mut std::io::sink(), BINCODE).map_err(CodecError::new),
        }
    }

    /// Reads a value that takes all of `bytes`.
    ///
    /// Bounded: what the bytes claim costs no memory and no time before it is there, and a value nested too deep is refused.
    #[cfg_attr(not(any(feature = "postcard", feature = "bincode")), expect(unused_variables, reason = "there is no codec"))]
    pub(crate) fn decode<V: DeserializeOwned>(self, bytes: &[u8]) -> Result<V, CodecError> {
        match self {
            #[cfg(feature = "postcard")]
            Self::Postcard => bounded::read(bytes, |seed| {
                let mut source = postcard::Deserializer::from_bytes(bytes);
                let value = serde::de::DeserializeSeed::deserialize(seed, &mut source)?;
                Ok::<_, postcard::Error>((value, source.finalize()?.len()))
            }),
            #[cfg(feature = "bincode")]
            Self::Bincode => bounded::read(bytes, |seed| {
                let (value, taken) = bincode::serde::seed_decode_from_slice(seed, bytes, BINCODE)?;
                Ok::<_, bincode::error::DecodeError>((value, bytes.len().saturating_sub(taken)))
            }),
        }
    }
}

/// What the bytes of version 1 are written with: never to be changed, for a cache of an earlier release still holds them.
/// It sets no limit: `bounded` sets one that follows the input.
#[cfg(feature = "bincode")]
const BINCODE: bincode::config::Configuration = bincode::config::standard();

/// Lets `write` append to `out`, and takes back what it appended before it failed.
#[cfg(any(feature = "postcard", feature = "bincode"))]
fn append<E: std::fmt::Display>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), CodecError> {
    let kept = out.len();
    write(out).map_err(|error| {
        out.truncate(kept);
        CodecError::new(error)
    })
}

/// Why a value could not be encoded or decoded, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CodecError(Box<str>);

impl CodecError {
    #[cfg_attr(not(any(feature = "postcard", feature = "bincode")), expect(dead_code, reason = "there is no codec"))]
    pub(super) fn new(why: impl std::fmt::Display) -> Self {
        Self(why.to_string().into())
    }
}

impl std::fmt::Display for CodecError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CodecError {}

#[cfg(test)]
mod tests;
