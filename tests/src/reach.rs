//! The address of a server that is to be found by others: handed on like any other, and caches are put over it by [`Reach`].

use cachetier::{CacheBuilder, InvalidatorBuilder};

/// What such an address begins with.
const CLUSTER: &str = "cluster:";
const SENTINELS: &str = "sentinels:";

/// The address of the primary of this name, as these Sentinels know it.
pub(crate) fn named(sentinels: &[String], name: &str) -> String {
    format!("{SENTINELS}{}|{name}", sentinels.join(","))
}

/// The address of a Cluster by those of some of its nodes.
pub(crate) fn in_cluster(nodes: &[String]) -> String {
    format!("{CLUSTER}{}", nodes.join(","))
}

/// Puts what is built over the server that an address of this crate leads to, by whichever way that is.
pub trait Reach: Sized {
    /// Puts it there.
    #[must_use]
    fn reach(self, url: impl Into<String>) -> Self;
}

macro_rules! reach {
    ($($builder:ty),+) => {$(
        impl Reach for $builder {
            fn reach(self, url: impl Into<String>) -> Self {
                let url = url.into();
                if let Some(nodes) = url.strip_prefix(CLUSTER) {
                    return self.redis_cluster(nodes.split(','));
                }
                match url.strip_prefix(SENTINELS).and_then(|rest| rest.split_once('|')) {
                    Some((sentinels, name)) => self.redis_sentinel(sentinels.split(','), name),
                    None => self.redis(url),
                }
            }
        }
    )+};
}

reach!(CacheBuilder, InvalidatorBuilder);
