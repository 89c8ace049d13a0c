//! The lane as seen from an instance.

pub(crate) mod transport;
