//! What is timed: the same reads through the cache, through redis-rs alone, through moka alone. Each call does one round and proves
//! that it did what it says: a hit's loader fails, a miss's loader is the only source of the value.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use cachetier::TieredCache;
use cachetier_tests::{Client, Reply};
use redis::aio::MultiplexedConnection;
use redis::{AsyncCommands as _, SetExpiry, SetOptions};

use crate::rounds::timed;
use crate::{Body, Outcome, POLICY, Page};

/// A key was not where the measurement needs it to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing;

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a key was missing that should have been a hit")
    }
}

impl std::error::Error for Missing {}

/// Reads every key with `get_or_load`; a miss is an error.
///
/// # Errors
///
/// [`Missing`].
pub async fn read_each<T: Body>(cache: &TieredCache, keys: impl IntoIterator<Item = &str>) -> Outcome<Duration> {
    timed(async {
        for key in keys {
            std::hint::black_box(cache.get_or_load(key, POLICY, async || Err::<Arc<T>, _>(Missing)).await?);
        }
        Ok(())
    })
    .await
}

/// Reads every key with `get`; a miss is an error.
///
/// # Errors
///
/// [`Missing`].
pub async fn get_each<T: Body>(cache: &TieredCache, keys: impl IntoIterator<Item = &str>) -> Outcome<Duration> {
    timed(async {
        for key in keys {
            std::hint::black_box(cache.get::<Arc<T>>(key).await.ok_or(Missing)?);
        }
        Ok(())
    })
    .await
}

/// Loads every key, which no tier holds, with a loader that has the value at hand.
///
/// # Errors
///
/// If a load fails.
pub async fn fill<T: Body>(cache: &TieredCache, keys: &[String], value: &Arc<T>) -> Outcome<Duration> {
    timed(async {
        for key in keys {
            let load = async || Ok::<_, Infallible>(Arc::clone(value));
            std::hint::black_box(cache.get_or_load(key, POLICY, load).await?);
        }
        Ok(())
    })
    .await
}

/// Reads every key of moka's asynchronous cache.
///
/// # Errors
///
/// [`Missing`].
pub async fn moka_future_each<T: Body>(
    cache: &moka::future::Cache<String, Arc<T>>,
    keys: impl IntoIterator<Item = &str>,
) -> Outcome<Duration> {
    timed(async {
        for key in keys {
            std::hint::black_box(cache.get(key).await.ok_or(Missing)?);
        }
        Ok(())
    })
    .await
}

/// Reads every key of moka's synchronous cache.
///
/// # Errors
///
/// [`Missing`].
pub async fn moka_sync_each<T: Body>(
    cache: &moka::sync::Cache<String, Arc<T>>,
    keys: impl IntoIterator<Item = &str>,
) -> Outcome<Duration> {
    timed(async {
        for key in keys {
            std::hint::black_box(cache.get(key).ok_or(Missing)?);
        }
        Ok(())
    })
    .await
}

/// Reads every key with a plain `GET` and decodes it.
///
/// # Errors
///
/// [`Missing`], or what the server or the codec says.
pub async fn get_raw_each<T: Body>(
    connection: &mut MultiplexedConnection,
    keys: impl IntoIterator<Item = &str>,
) -> Outcome<Duration> {
    timed(async {
        for key in keys {
            let bytes: Option<Vec<u8>> = connection.get(key).await?;
            std::hint::black_box(postcard::from_bytes::<Arc<T>>(&bytes.ok_or(Missing)?)?);
        }
        Ok(())
    })
    .await
}

/// Asks for every key with `GET`, finds none, and stores the encoded value with `SET PX`.
///
/// # Errors
///
/// What the server or the codec says.
pub async fn fill_raw<T: Body>(connection: &mut MultiplexedConnection, keys: &[String], value: &Arc<T>) -> Outcome<Duration> {
    timed(async {
        for key in keys {
            let bytes: Option<Vec<u8>> = connection.get(key).await?;
            if bytes.is_none() {
                let life = SetOptions::default().with_expiration(SetExpiry::PX(3_600_000));
                let () = connection.set_options(key, postcard::to_stdvec(value)?, life).await?;
            }
        }
        Ok(())
    })
    .await
}

/// What one would write by hand for a hit in L2: `GET`, decode, and keep the value in moka, as bounded as the cache's own tier.
///
/// # Errors
///
/// As [`get_raw_each`].
pub async fn get_by_hand_each<T: Body>(
    connection: &mut MultiplexedConnection,
    local: &moka::sync::Cache<String, Arc<T>>,
    keys: impl IntoIterator<Item = &str>,
) -> Outcome<Duration> {
    timed(async {
        for key in keys {
            if local.get(key).is_some() {
                return Err(Missing.into());
            }
            let bytes: Option<Vec<u8>> = connection.get(key).await?;
            let value = postcard::from_bytes::<Arc<T>>(&bytes.ok_or(Missing)?)?;
            local.insert(key.to_owned(), Arc::clone(&value));
            std::hint::black_box(value);
        }
        Ok(())
    })
    .await
}

/// The same for a miss: `GET`, encode, `SET PX`, and keep the value in moka.
///
/// # Errors
///
/// What the server or the codec says.
pub async fn fill_by_hand(
    connection: &mut MultiplexedConnection,
    local: &moka::sync::Cache<String, Arc<Page>>,
    keys: &[String],
    value: &Arc<Page>,
) -> Outcome<Duration> {
    timed(async {
        for key in keys {
            if local.get(key).is_none() {
                let bytes: Option<Vec<u8>> = connection.get(key).await?;
                if bytes.is_none() {
                    let life = SetOptions::default().with_expiration(SetExpiry::PX(3_600_000));
                    let () = connection.set_options(key, postcard::to_stdvec(value)?, life).await?;
                    local.insert(key.clone(), Arc::clone(value));
                }
            }
        }
        Ok(())
    })
    .await
}

/// Stores every key through an instance of its own, so that the one that reads it has no copy.
///
/// # Errors
///
/// If a key cannot be stored.
pub async fn prefill<T: Body>(other: &TieredCache, keys: &[String], value: &Arc<T>) -> Outcome {
    let before = other.stats().fills;
    fill(other, keys, value).await?;
    let stored = other.stats().fills.saturating_sub(before);
    if stored == u64::try_from(keys.len())? { Ok(()) } else { Err(format!("{stored} of {} keys were stored", keys.len()).into()) }
}

/// Stores the encoded value under every key.
///
/// # Errors
///
/// What the server or the codec says.
pub async fn prefill_raw<T: Body>(connection: &mut MultiplexedConnection, keys: &[String], value: &Arc<T>) -> Outcome {
    fill_raw(connection, keys, value).await.map(drop)
}

/// Removes the values of `keys` from the server.
///
/// # Errors
///
/// What the server says, also if it held fewer: then they were never stored.
pub fn forget(client: &mut Client, keys: &[String]) -> Outcome {
    let words: Vec<&str> = std::iter::once("UNLINK").chain(keys.iter().map(String::as_str)).collect();
    match client.command(&words)? {
        Reply::Int(removed) if usize::try_from(removed) == Ok(keys.len()) => Ok(()),
        other => Err(format!("expected to remove {} keys, found {other:?}", keys.len()).into()),
    }
}
