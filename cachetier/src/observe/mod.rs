//! What the cache counts, and how it is shown.

pub(crate) mod counters;
pub(crate) mod hot;
pub(crate) mod once;
pub(crate) mod stats;
