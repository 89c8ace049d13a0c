//! Who says where the primary is, where that is not said by the address itself: Sentinels, or the nodes of a Cluster.

use std::sync::Arc;

use super::cluster::Cluster;
use super::known::Spot;
use super::sentinel::{Ears, Sentinels};

/// Who says where the primary is.
#[derive(Clone, Debug)]
pub(super) enum Guide {
    /// That of the name that they know.
    Sentinels(Sentinels),
    /// The one that has the slot.
    Cluster(Cluster),
}

/// What tells that there may be something new.
pub(super) enum News {
    /// Said by Sentinels.
    Heard(Ears),
    /// Nobody says anything: it is asked for again and again.
    Sought,
}

impl Guide {
    /// Where the primary is, as who knows best says; an error says why nobody does.
    ///
    /// Cancel safety: dropped, it leaves no task.
    pub(super) async fn primary(&self) -> Result<Spot, Arc<str>> {
        match self {
            Self::Sentinels(sentinels) => sentinels.primary().await,
            Self::Cluster(cluster) => cluster.primary().await,
        }
    }

    /// The same, for who asks again and again: of many it asks a few.
    pub(super) async fn look(&self) -> Result<Spot, Arc<str>> {
        match self {
            Self::Sentinels(sentinels) => sentinels.primary().await,
            Self::Cluster(cluster) => cluster.look().await,
        }
    }

    /// Whether nobody has said by now that the primary is elsewhere.
    pub(super) fn stands_by(&self, spot: &Spot) -> bool {
        match self {
            Self::Sentinels(sentinels) => sentinels.known.stands_by(spot),
            Self::Cluster(cluster) => cluster.known.stands_by(spot),
        }
    }

    /// Begins to listen, to whoever says something of himself.
    pub(super) async fn listen(&self) -> Result<News, Arc<str>> {
        match self {
            Self::Sentinels(sentinels) => sentinels.listen().await.map(News::Heard),
            Self::Cluster(_) => Ok(News::Sought),
        }
    }

    /// Ends what it has asked over, for good.
    pub(super) fn close(&self) {
        if let Self::Cluster(cluster) = self {
            cluster.close();
        }
    }

    /// Where it leads to, where that is one of several servers.
    pub(super) fn place(&self) -> Option<Spot> {
        match self {
            Self::Sentinels(_) => None,
            Self::Cluster(cluster) => cluster.known.spot(),
        }
    }

    /// The slot of a Cluster that it leads to.
    pub(super) fn slot(&self) -> Option<u16> {
        match self {
            Self::Sentinels(_) => None,
            Self::Cluster(cluster) => Some(cluster.slot()),
        }
    }

    /// Whether it leads into a Cluster.
    pub(super) fn is_cluster(&self) -> bool {
        self.slot().is_some()
    }
}

impl News {
    /// Returns when there may be something new, at the latest after a while; `false`: somebody is not heard any more.
    pub(super) async fn next(&mut self) -> bool {
        match self {
            Self::Heard(ears) => ears.news().await,
            Self::Sought => {
                super::cluster::rest().await;
                true
            }
        }
    }
}

impl std::fmt::Display for Guide {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sentinels(sentinels) => write!(f, "{:?}, as Sentinels say", sentinels.name()),
            Self::Cluster(cluster) => write!(f, "the owner of slot {} of the Cluster", cluster.slot()),
        }
    }
}
