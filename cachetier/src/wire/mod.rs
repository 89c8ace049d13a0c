//! Every byte that another process may read: what a key holds, how a value looks, what the lane says.

#[cfg(any(feature = "postcard", feature = "bincode", feature = "json", feature = "messagepack"))]
mod bounded;
mod bytes;
pub(crate) mod codec;
pub(crate) mod compress;
pub(crate) mod envelope;
#[cfg(any(feature = "json", feature = "messagepack"))]
mod faithful;
#[cfg(test)]
mod golden;
pub(crate) mod hold;
pub(crate) mod message;
pub(crate) mod slot;
pub(crate) mod wake;

/// The greatest seq: the scripts count in doubles, which hold every integer up to it.
pub(crate) const MAX_SEQ: u64 = (1 << 53) - 1;
