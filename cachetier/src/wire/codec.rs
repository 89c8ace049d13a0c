//! From values to bytes and back. How deep and how large a decoded value may grow is `bounded`'s, what would be read as something
//! else `faithful`'s; where the bytes stand, the envelope's.

use serde::Serialize;
use serde::de::DeserializeOwned;
#[cfg(any(feature = "postcard", feature = "json", feature = "messagepack"))]
use serde::de::DeserializeSeed;

#[cfg(any(feature = "postcard", feature = "bincode", feature = "json", feature = "messagepack"))]
use crate::wire::bounded;
#[cfg(any(feature = "json", feature = "messagepack"))]
use crate::wire::faithful::{Faithful, Format};

/// How values are written as bytes. Each is a feature; every release can read what any of its codecs has written.
///
/// | codec | bytes of a struct | a field added later | `tag`, `untagged`, `flatten`, `skip_serializing_if` | what it cannot carry |
/// |---|---|---|---|---|
/// | `Postcard` | its fields' | needs a new key | no | |
/// | `Bincode` | its fields' | needs a new key | no | |
/// | `MessagePack` | its fields' and their names' | is read, if it has a default or is an option | yes | `Some(None)`, `Some(())` |
/// | `Json` | the same as text, numbers and bytes in digits | is read, if it has a default or is an option | yes | the same, numbers that are not finite, maps with keys that are no text, number, `bool` or variant without fields |
///
/// Postcard and bincode do not describe themselves: what was written as one type is not to be read as another, and a type that asks
/// the bytes what they are is refused. JSON and MessagePack write the names of fields, so that a struct may gain or lose some between
/// two releases that share a server; serde's `default` says what a missing one is.
///
/// A type that is written and not read again is mostly found when the first value of it is to be stored, which is read back first, in each
/// cache, until that has worked once. It is the first value alone: where others differ from it in what they are made of, as with
/// `skip_serializing_if`, or are nested deeper than is read, each instance finds them unusable and loads for itself, which
/// [`Stats::l2_unusable`](crate::Stats::l2_unusable) counts. And it is not compared: JSON writes the number `1` as a map's key like the text `1`,
/// so with keys of an untagged enum of both one is read as the other.
///
/// A value that its codec cannot carry is returned and stored nowhere: counted in [`Stats::not_stored`](crate::Stats::not_stored),
/// logged once for each type, and an error of [`set`](crate::TieredCache::set).
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
    /// JSON without spaces: for who looks at values with `redis-cli`, or reads them from another language.
    #[cfg(feature = "json")]
    Json,
    /// MessagePack, structs as maps from names to values and not as arrays: larger by the names, and so that fields may be added,
    /// left out and moved. As arrays they would be read by their places, and a field that is skipped would move those behind it.
    #[cfg(feature = "messagepack")]
    MessagePack,
}

impl Codec {
    /// The codec to write with when none was chosen, the most compact first; `None` if this build has none.
    pub(crate) fn preferred() -> Option<Self> {
        [1, 2, 4, 3].into_iter().find_map(Self::of_id)
    }

    /// The codec's name on the wire.
    pub(crate) fn id(self) -> u8 {
        match self {
            #[cfg(feature = "postcard")]
            Self::Postcard => 1,
            #[cfg(feature = "bincode")]
            Self::Bincode => 2,
            #[cfg(feature = "json")]
            Self::Json => 3,
            #[cfg(feature = "messagepack")]
            Self::MessagePack => 4,
        }
    }

    /// The codec of that name; `None` if this build does not have it.
    pub(crate) fn of_id(id: u8) -> Option<Self> {
        match id {
            #[cfg(feature = "postcard")]
            1 => Some(Self::Postcard),
            #[cfg(feature = "bincode")]
            2 => Some(Self::Bincode),
            #[cfg(feature = "json")]
            3 => Some(Self::Json),
            #[cfg(feature = "messagepack")]
            4 => Some(Self::MessagePack),
            _ => None,
        }
    }

    /// Appends `value` to `out`, which an error leaves as it was.
    #[cfg_attr(
        not(any(feature = "postcard", feature = "bincode", feature = "json", feature = "messagepack")),
        expect(unused_variables, clippy::ptr_arg, reason = "there is no codec")
    )]
    pub(crate) fn encode<V: Serialize + ?Sized>(self, value: &V, out: &mut Vec<u8>) -> Result<(), CodecError> {
        match self {
            #[cfg(feature = "postcard")]
            Self::Postcard => append(out, |out| postcard::to_io(value, out).map(drop)),
            #[cfg(feature = "bincode")]
            Self::Bincode => append(out, |out| bincode::serde::encode_into_std_write(value, out, BINCODE).map(drop)),
            #[cfg(feature = "json")]
            Self::Json => append(out, |out| json(value, out)),
            #[cfg(feature = "messagepack")]
            Self::MessagePack => append(out, |out| message_pack(value, out)),
        }
    }

    /// Returns how many bytes `value` takes, without keeping them.
    #[cfg_attr(
        not(any(feature = "postcard", feature = "bincode", feature = "json", feature = "messagepack")),
        expect(unused_variables, reason = "there is no codec")
    )]
    pub(crate) fn measure<V: Serialize + ?Sized>(self, value: &V) -> Result<usize, CodecError> {
        match self {
            #[cfg(feature = "postcard")]
            Self::Postcard => {
                postcard::serialize_with_flavor(value, postcard::ser_flavors::Size::default()).map_err(CodecError::new)
            }
            #[cfg(feature = "bincode")]
            Self::Bincode => bincode::serde::encode_into_std_write(value, &mut std::io::sink(), BINCODE).map_err(CodecError::new),
            #[cfg(feature = "json")]
            Self::Json => Count::of(|count| json(value, count)),
            #[cfg(feature = "messagepack")]
            Self::MessagePack => Count::of(|count| message_pack(value, count)),
        }
    }

    /// Reads a value that takes all of `bytes`.
    ///
    /// Bounded: what the bytes claim costs no memory and no time before it is there, and a value nested too deep is refused.
    #[cfg_attr(
        not(any(feature = "postcard", feature = "bincode", feature = "json", feature = "messagepack")),
        expect(unused_variables, reason = "there is no codec")
    )]
    pub(crate) fn decode<V: DeserializeOwned>(self, bytes: &[u8]) -> Result<V, CodecError> {
        match self {
            #[cfg(feature = "postcard")]
            Self::Postcard => bounded::read(bytes, |seed| {
                let mut source = postcard::Deserializer::from_bytes(bytes);
                let value = seed.deserialize(&mut source)?;
                Ok::<_, postcard::Error>((value, source.finalize()?.len()))
            }),
            #[cfg(feature = "bincode")]
            Self::Bincode => bounded::read(bytes, |seed| {
                let (value, taken) = bincode::serde::seed_decode_from_slice(seed, bytes, BINCODE)?;
                Ok::<_, bincode::error::DecodeError>((value, bytes.len().saturating_sub(taken)))
            }),
            #[cfg(feature = "json")]
            Self::Json => bounded::read(bytes, |seed| {
                let mut source = serde_json::Deserializer::from_slice(bytes);
                // Its own limit counts otherwise, and lower; `bounded` has one for all codecs.
                source.disable_recursion_limit();
                let value = seed.deserialize(&mut source)?;
                let taken = source.into_iter::<serde::de::IgnoredAny>().byte_offset();
                Ok::<_, serde_json::Error>((value, bytes.len().saturating_sub(taken)))
            }),
            #[cfg(feature = "messagepack")]
            Self::MessagePack => bounded::read(bytes, |seed| {
                // Over a reader: the one over a slice does not say what it has left.
                let mut source = rmp_serde::Deserializer::new(bytes);
                let value = seed.deserialize(&mut source)?;
                Ok::<_, rmp_serde::decode::Error>((value, source.get_ref().len()))
            }),
        }
    }
}

#[cfg(feature = "json")]
fn json<V: Serialize + ?Sized>(value: &V, out: impl std::io::Write) -> Result<(), serde_json::Error> {
    Faithful { value, format: Format::Json }.serialize(&mut serde_json::Serializer::new(out))
}

#[cfg(feature = "messagepack")]
fn message_pack<V: Serialize + ?Sized>(value: &V, out: impl std::io::Write) -> Result<(), rmp_serde::encode::Error> {
    Faithful { value, format: Format::MessagePack }.serialize(&mut rmp_serde::Serializer::new(out).with_struct_map())
}

/// Counts what is written to it.
#[cfg(any(feature = "json", feature = "messagepack"))]
#[derive(Debug)]
struct Count(usize);

#[cfg(any(feature = "json", feature = "messagepack"))]
impl Count {
    fn of<E: std::fmt::Display>(write: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<usize, CodecError> {
        let mut count = Self(0);
        write(&mut count).map_err(CodecError::new)?;
        Ok(count.0)
    }
}

#[cfg(any(feature = "json", feature = "messagepack"))]
impl std::io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What the bytes of version 1 are written with: never to be changed, for a cache of an earlier release still holds them.
/// It sets no limit: `bounded` sets one that follows the input.
#[cfg(feature = "bincode")]
const BINCODE: bincode::config::Configuration = bincode::config::standard();

/// Lets `write` append to `out`, and takes back what it appended before it failed.
#[cfg(any(feature = "postcard", feature = "bincode", feature = "json", feature = "messagepack"))]
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
    #[cfg_attr(
        not(any(feature = "postcard", feature = "bincode", feature = "json", feature = "messagepack")),
        expect(dead_code, reason = "there is no codec")
    )]
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
