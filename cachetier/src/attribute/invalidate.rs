//! The companions' `invalidate`, and what `#[invalidates]` does after its function.

use super::handle::Handle;
use crate::cache::Delivery;
use crate::error::CacheError;

/// Invalidates the key of one call.
///
/// # Errors
///
/// As [`TieredCache::invalidate`](crate::TieredCache::invalidate), and [`CacheError::NoCache`].
pub async fn invalidate(cache: &Handle<'_>, key: &str) -> Result<Delivery, CacheError> {
    cache.cache().ok_or(CacheError::NoCache)?.invalidate(key).await
}

/// What a call of an `#[invalidates]` function invalidates.
#[derive(Debug, Default)]
pub struct Targets {
    /// Keys.
    pub keys: Vec<String>,
    /// Tags.
    pub tags: Vec<String>,
    /// Prefixes.
    pub prefixes: Vec<String>,
}

/// Invalidates all targets in one step. What cannot be done is counted and logged: the function has done its own work.
///
/// Cancel safety: with its first poll all is on its way, and is carried out also if it is dropped.
pub async fn invalidate_after(cache: Handle<'_>, targets: Targets) {
    if let Some(cache) = cache.cache() {
        Box::pin(cache.invalidate_usable(&targets.keys, &targets.tags, &targets.prefixes)).await;
    }
}
