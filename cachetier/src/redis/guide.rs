//! Who says where the primary is, where that is not said by the address itself: Sentinels, or the nodes of a Cluster. What they have said is kept, and
//! nothing of it is forgotten for one that is behind.

use std::sync::Arc;

use crate::sync::{Mutex, lock};

use super::cluster::Cluster;
use super::sentinel::{Ears, Sentinels};

/// Where a primary is: host and port.
pub(super) type Spot = (String, u16);

/// Who says where the primary is.
#[derive(Clone, Debug)]
pub(super) enum Guide {
    /// That of the name that they know.
    Sentinels(Sentinels),
    /// The one that has the slot.
    Cluster(Cluster),
}

/// What one of them says of the primary, and of which configuration.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) spot: Spot,
    /// Grows with each fail-over, and in a Cluster with each move of a slot: who knows of the last one has the highest.
    pub(super) epoch: u64,
}

/// The best that was said so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Known(Arc<Mutex<Option<Said>>>);

/// What tells that there may be something new.
pub(super) enum News {
    /// Said by Sentinels.
    Heard(Ears),
    /// Nobody says anything: it is asked for again and again.
    Sought,
}

impl Known {
    /// Where the primary is, with the best of what was said just now.
    pub(super) fn with(&self, best: Said) -> Spot {
        let mut known = lock(&self.0);
        match &*known {
            Some(known) if known.epoch > best.epoch => known.spot.clone(),
            _ => known.insert(best).spot.clone(),
        }
    }

    /// Whether nobody has said by now that the primary is elsewhere.
    pub(super) fn stands_by(&self, spot: &Spot) -> bool {
        lock(&self.0).as_ref().is_none_or(|known| known.spot == *spot)
    }
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

    /// The slot of a Cluster that it leads to.
    pub(super) fn slot(&self) -> Option<u16> {
        match self {
            Self::Sentinels(_) => None,
            Self::Cluster(cluster) => Some(cluster.slot()),
        }
    }

    /// Whether it leads into a Cluster.
    pub(super) fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }
}

impl News {
    /// Returns when there may be something new, at the latest after a while; `false`: somebody is not heard any more.
    pub(super) async fn next(&mut self) -> bool {
        match self {
            Self::Heard(ears) => ears.news().await,
            Self::Sought => {
                tokio::time::sleep(super::cluster::LOOK).await;
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
