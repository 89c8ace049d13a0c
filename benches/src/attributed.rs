//! The same reads through functions that the attribute caches, in the installed cache.

use std::sync::Arc;
use std::time::Duration;

use cachetier::{TieredCache, cached};

use crate::rounds::timed;
use crate::{Missing, Outcome, Page};

/// Where there is no page: what is measured is hits.
#[cached(key = "page:{id}", ttl = "1h", tags = ["pages"])]
async fn page(id: u64) -> Result<Arc<Page>, Missing> {
    let _ = id;
    Err(Missing)
}

#[cached(key = "shop:{shop}:page:{id}", ttl = "1h", tags = ["pages", "shop:{shop}"])]
async fn page_of(shop: &str, id: u64) -> Result<Arc<Page>, Missing> {
    let _ = (shop, id);
    Err(Missing)
}

/// Reads a page of a cache, which some tier holds.
///
/// # Errors
///
/// [`Missing`].
#[cached(key = "page:{id}", ttl = "1h", cache = cache)]
pub async fn page_of_cache(cache: &TieredCache, id: usize) -> Result<Arc<Page>, Missing> {
    let _ = (cache, id);
    Err(Missing)
}

/// Reads a page that no tier holds, from a source that takes so long.
#[cached(key = "slow:{id}", ttl = "1h", cache = cache)]
pub async fn slow_page(cache: &TieredCache, id: u64, query: Duration, page: &Arc<Page>) -> Arc<Page> {
    let _ = (cache, id);
    tokio::time::sleep(query).await;
    Arc::clone(page)
}

/// The key under which [`page_each`] asks for a page.
#[must_use]
pub fn page_key(id: u64) -> String {
    page::key(id)
}

/// The key under which [`page_of_each`] asks for a page.
#[must_use]
pub fn page_of_key(shop: &str, id: u64) -> String {
    page_of::key(shop, id)
}

/// Reads every page by its number; a miss is an error.
///
/// # Errors
///
/// [`Missing`].
pub async fn page_each(ids: impl IntoIterator<Item = &u64>) -> Outcome<Duration> {
    timed(async {
        for id in ids {
            std::hint::black_box(page(*id).await?);
        }
        Ok(())
    })
    .await
}

/// Reads every page by its shop's name and its number; a miss is an error.
///
/// # Errors
///
/// [`Missing`].
pub async fn page_of_each(shop: &str, ids: impl IntoIterator<Item = &u64>) -> Outcome<Duration> {
    timed(async {
        for id in ids {
            std::hint::black_box(page_of(shop, *id).await?);
        }
        Ok(())
    })
    .await
}
