//! The address of a server that is to be found by others: tests hand it on like any other, and caches are put over it by [`Reach`].

use cachetier::{CacheBuilder, InvalidatorBuilder};

/// What such an address begins with.
const CLUSTER: &str = "cluster:";
const SENTINELS: &str = "sentinels:";

/// The address of the primary of this name, as these Sentinels know it.
pub(crate) fn named(sentinels: &[String], name: &str) -> String {
    format!("{SENTINELS}{}|{name}", sentinels.join(","))
}

/// The address of a Cluster by that of one of its nodes.
pub(crate) fn in_cluster(node: &str) -> String {
    format!("{CLUSTER}{node}")
}

/// Puts what is built over the server that an address of [`RedisServer`](crate::RedisServer) leads to, by whichever way that is.
pub trait Reach: Sized {
    /// Puts it there.
    #[must_use]
    fn reach(self, url: impl Into<String>) -> Self;
}

fn sentinels(url: &str) -> Option<(Vec<&str>, &str)> {
    let (urls, name) = url.strip_prefix(SENTINELS)?.split_once('|')?;
    Some((urls.split(',').collect(), name))
}

impl Reach for CacheBuilder {
    fn reach(self, url: impl Into<String>) -> Self {
        let url = url.into();
        if let Some(node) = url.strip_prefix(CLUSTER) {
            return self.redis_cluster([node]);
        }
        match sentinels(&url) {
            Some((sentinels, name)) => self.redis_sentinel(sentinels, name),
            None => self.redis(url),
        }
    }
}

impl Reach for InvalidatorBuilder {
    fn reach(self, url: impl Into<String>) -> Self {
        let url = url.into();
        if let Some(node) = url.strip_prefix(CLUSTER) {
            return self.redis_cluster([node]);
        }
        match sentinels(&url) {
            Some((sentinels, name)) => self.redis_sentinel(sentinels, name),
            None => self.redis(url),
        }
    }
}
