//! The attributes and the derive of `cachetier`, which exports them: depend on that crate, not on this one.
#![forbid(unsafe_code)]
