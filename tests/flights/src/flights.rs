//! The flight registry under a scheduler that tries its interleavings. The registry's files are the crate's own; this crate owns the
//! callers, what must hold of them, and how many interleavings are tried.
#![forbid(unsafe_code)]

#[path = "../../../cachetier/src/flight/mod.rs"]
#[expect(dead_code, reason = "the cache uses all of it, these tests nearly all")]
mod flight;
#[path = "../../../cachetier/src/sync.rs"]
mod sync;
#[path = "../../../cachetier/src/unhashed.rs"]
mod unhashed;

#[cfg(test)]
mod crowds;
#[cfg(test)]
mod explore;
#[cfg(test)]
mod pairs;
#[cfg(test)]
mod world;

/// What the registry needs of the cache's keys.
mod key {
    /// A key's hash.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub(crate) struct KeyHash(pub(crate) u128);
}
