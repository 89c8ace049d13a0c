//! The rules: pure code that decides and never awaits, locks, logs or reads a clock.

pub(crate) mod breaker;
#[cfg(feature = "redis")]
pub(crate) mod circuit;
pub(crate) mod early;
pub(crate) mod glob;
pub(crate) mod habit;
pub(crate) mod hold;
pub(crate) mod learned;
pub(crate) mod needless;
pub(crate) mod policy;
pub(crate) mod seq;
pub(crate) mod slot;
pub(crate) mod stamp;
pub(crate) mod table;
pub(crate) mod token;
