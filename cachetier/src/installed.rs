//! The cache that `#[cached]` and `#[invalidates]` use where they name none: one for the process, and for a while another one for a
//! task.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cache::TieredCache;

static INSTALLED: OnceLock<TieredCache> = OnceLock::new();

/// Whether there has been a scope at all: a process without one need not look for it at each hit.
static SCOPES: AtomicBool = AtomicBool::new(false);

tokio::task_local! {
    static SCOPED: TieredCache;
}

/// Makes `cache` the one that `#[cached]` and `#[invalidates]` use where they name none, for the whole process and for good. Until then
/// a cached function just runs.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use cachetier::TieredCache;
///
/// assert!(cachetier::installed().is_none());
/// cachetier::install(TieredCache::builder("shop").build().await?)?;
/// assert!(cachetier::installed().is_some());
///
/// let another = TieredCache::builder("shop").build().await?;
/// assert!(cachetier::install(another).is_err());
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// [`AlreadyInstalled`] if there is one: it stays. Another cache for some functions is named by `cache = ..`, another one for a while is
/// what [`scope`] is for.
pub fn install(cache: TieredCache) -> Result<(), AlreadyInstalled> {
    INSTALLED.set(cache).map_err(|_| AlreadyInstalled)
}

/// Runs `future` with `cache` in the place of the installed one: for a test, or for a tenant with a cache of its own.
///
/// It reaches whatever runs in the same task: what `future` awaits, however deep, `join!` and `select!` included. It does *not* reach a
/// task that is spawned within it, nor a thread: what is spawned begins outside of every scope, and takes a scope along by
/// being wrapped in one.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use cachetier::{TieredCache, installed, scope};
///
/// let cache = TieredCache::builder("test").build().await?;
/// scope(cache, async {
///     let here = installed().ok_or("a scope has a cache")?;
///     assert!(tokio::spawn(async { installed().is_none() }).await?);
///     assert!(tokio::spawn(scope(here, async { installed().is_some() })).await?);
///     Ok(())
/// })
/// .await
/// # }
/// ```
///
/// Cancel safety: that of `future`.
pub fn scope<F: Future>(cache: TieredCache, future: F) -> impl Future<Output = F::Output> {
    SCOPES.store(true, Ordering::Relaxed);
    SCOPED.scope(cache, future)
}

/// Returns the cache that `#[cached]` and `#[invalidates]` use where they name none: that of the innermost [`scope`], else the one that was
/// [installed](install), if there is one.
///
/// ```
/// if let Some(cache) = cachetier::installed() {
///     println!("{}", cache.stats());
/// }
/// ```
#[must_use]
pub fn installed() -> Option<TieredCache> {
    scoped().or_else(|| installed_for_all().cloned())
}

/// The cache of the innermost scope.
pub(crate) fn scoped() -> Option<TieredCache> {
    // Relaxed: whoever is polled within a scope comes after its beginning.
    if SCOPES.load(Ordering::Relaxed) { SCOPED.try_with(TieredCache::clone).ok() } else { None }
}

/// Runs `future` in the scope of this cache, or in that in which it is polled.
pub(crate) async fn within<F: Future>(cache: Option<TieredCache>, future: F) -> F::Output {
    match cache {
        Some(cache) => scope(cache, future).await,
        None => future.await,
    }
}

/// The cache of the process.
pub(crate) fn installed_for_all() -> Option<&'static TieredCache> {
    INSTALLED.get()
}

/// A cache has been installed already: see [`install`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use cachetier::{TieredCache, install};
///
/// install(TieredCache::builder("shop").build().await?)?;
/// let why = install(TieredCache::builder("shop").build().await?).unwrap_err();
/// assert_eq!(why.to_string(), "a cache is installed already; use `cache = ..` or `cachetier::scope` for another one");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AlreadyInstalled;

impl std::fmt::Display for AlreadyInstalled {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a cache is installed already; use `cache = ..` or `cachetier::scope` for another one")
    }
}

impl std::error::Error for AlreadyInstalled {}
