//! Every byte that another process may read: what a key holds, how a value looks, what the lane says.

pub(crate) mod codec;
pub(crate) mod envelope;
pub(crate) mod message;
pub(crate) mod slot;
