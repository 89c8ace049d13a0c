//! Waiting until this instance has applied what another one has invalidated. When a point counts as applied is `progress`'s.

use std::time::Duration;

use tokio::time::timeout;

use super::{Part, TieredCache};
use crate::all::all;
use crate::progress::Closed;
use crate::rule::seq::Point;
use crate::rule::token::Token;

impl TieredCache {
    /// Waits until this instance has applied the lane up to `token`, for at most `limit`: no read begun after that is older than the
    /// invalidation that was applied there, or any before it. In a [Cluster](crate::CacheBuilder::redis_cluster) there is a lane for each part of a
    /// namespace: than that invalidation, or any before it of the same part.
    ///
    /// The token comes from [`Delivery::Applied`](super::Delivery), in this instance or another, and travels as a text. Mostly the
    /// message has come before it. How to use it: [read your writes](https://github.com/cachetier/cachetier/blob/main/docs/read-your-writes.md).
    ///
    /// A cache without a shared tier has applied everything that can be. A token of an earlier era of the lane is reached: a check asked
    /// after the call began proves that it is over, which takes half a second. One of an era not met yet is waited for.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use cachetier::{Delivery, InProcess, Policy, TieredCache};
    ///
    /// let tier = InProcess::new();
    /// let here = TieredCache::builder("shop").in_process(&tier).build().await?;
    /// let there = TieredCache::builder("shop").in_process(&tier).build().await?;
    /// let policy = Policy::ttl(Duration::from_secs(60));
    /// assert_eq!(there.get_or_compute("user:42", policy, || async { 1 }).await?, 1);
    ///
    /// let Delivery::Applied(token) = here.invalidate("user:42").await? else { return Err("no shared tier".into()) };
    /// let header = token.to_string();
    ///
    /// there.wait_for(header.parse()?, Duration::from_millis(200)).await?;
    /// assert_eq!(there.get::<i32>("user:42").await, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Cancel safety: a dropped call leaves no trace.
    ///
    /// # Errors
    ///
    /// [`WaitError::NotReached`] at the end of the limit: the instance is slow, or has lost the lane. What it holds may be older, so read
    /// from the source. [`WaitError::Closed`] if the cache is closed.
    pub async fn wait_for(&self, token: Token, limit: Duration) -> Result<(), WaitError> {
        if self.closed() {
            return Err(WaitError::Closed);
        }
        let of_parts: Vec<(&Part, Point)> =
            token.points().flat_map(|(number, point)| self.parts.of_number(number).iter().map(move |part| (part, point))).collect();
        let waits = all(of_parts.iter().map(|(part, point)| part.wait_for(*point)));
        if let Ok(reached) = timeout(limit, waits).await {
            return reached.into_iter().collect();
        }
        let applied = of_parts.iter().map(|(part, _)| part.token(part.instance().view.progress.applied()));
        Err(WaitError::NotReached { token, applied: applied.reduce(Token::and).unwrap_or(token), limit })
    }
}

impl Part {
    async fn wait_for(&self, point: Point) -> Result<(), WaitError> {
        if self.shared.tier.is_none() {
            // Nobody else can invalidate what it holds.
            return Ok(());
        }
        let view = &self.instance().view;
        view.progress.wait(point).await.map_err(|Closed| WaitError::Closed)?;
        view.promise();
        Ok(())
    }
}

/// Why an instance was not found at a point of the lane: see [`wait_for`](crate::TieredCache::wait_for).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use cachetier::{Delivery, InProcess, TieredCache, WaitError};
///
/// let tier = InProcess::new();
/// let cache = TieredCache::builder("shop").in_process(&tier).build().await?;
/// let Delivery::Applied(token) = cache.invalidate("user:42").await? else { return Ok(()) };
/// cache.close(Duration::from_secs(1)).await?;
/// assert_eq!(cache.wait_for(token, Duration::from_secs(1)).await, Err(WaitError::Closed));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitError {
    /// The instance had not come so far at the end of the limit given: it is slow, or has lost the lane.
    NotReached {
        /// What was waited for.
        token: Token,
        /// How far the instance has come.
        applied: Token,
        /// How long was waited.
        limit: Duration,
    },
    /// The cache has been closed: it holds nothing old, and hears of nothing new.
    Closed,
}

impl WaitError {
    /// Whether the limit was over.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let cache = TieredCache::builder("shop").in_process(&InProcess::new()).build().await?;
    /// // A point of an era that this instance has not met.
    /// let ahead: Token = "ffffffff-1".parse()?;
    /// let error = cache.wait_for(ahead, Duration::from_millis(100)).await.unwrap_err();
    /// assert!(error.is_timeout());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::NotReached { .. })
    }
}

impl std::fmt::Display for WaitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotReached { token, applied, limit } => {
                write!(f, "this instance has come to {applied}, expected {token} within {limit:?}; read from the source instead")
            }
            Self::Closed => f.write_str("the cache has been closed"),
        }
    }
}

impl std::error::Error for WaitError {}
