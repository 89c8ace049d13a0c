//! The shared tier and the lane over a Redis server, 6.2.7 or newer, however it is found: the only place that names the redis crate.
//! What the bytes mean is `wire`'s, what follows from an answer `cache`'s and `coherence`'s.

mod answer;
mod cluster;
mod connect;
mod dial;
mod guide;
mod known;
mod lane;
mod large;
mod place;
mod script;
mod sentinel;
mod store;
mod subscription;
mod table;
#[cfg(test)]
mod tests;
#[cfg_attr(not(feature = "tls"), path = "no_tls.rs")]
mod tls;
mod url;
mod version;
mod walk;

use std::sync::Arc;
use std::time::Duration;

use crate::error::Fault;
use crate::l2::Limits;
use crate::l2::lane::LaneNames;
use crate::rule::breaker::Breaker;

use self::connect::{Heard, Link};
use self::dial::Dial;
pub(crate) use self::lane::RedisLane;
pub(crate) use self::store::RedisStore;
pub(crate) use self::url::{EXPECTED, RedisUrl};

/// How long a server may take. The defaults are `config`'s.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// For a connection, its handshake included.
    pub(crate) connect_limit: Duration,
    /// For the answer to a command.
    pub(crate) limits: Limits,
    /// For how long an answered check proves that no message was missed.
    pub(crate) max_staleness: Duration,
    /// When it is asked no longer for what can be done without.
    pub(crate) breaker: Breaker,
}

/// Which server.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// The one at this address.
    At(RedisUrl),
    /// The primary of this name, which stands in the place of the host: wherever these say that it is.
    Primary { name: RedisUrl, sentinels: Vec<RedisUrl> },
    /// The ones that have the slots of the names, as the nodes of a Cluster say, of which these are some. `login` says how to log in to any of them.
    Cluster { login: RedisUrl, nodes: Vec<RedisUrl> },
}

impl From<RedisUrl> for Target {
    fn from(url: RedisUrl) -> Self {
        Self::At(url)
    }
}

/// The shared tier and the lane of one part.
pub(crate) type Ends = (Arc<RedisStore>, Arc<RedisLane>);

/// Returns the shared tier and the lane of one server, or those of each part of a namespace in a Cluster, at once: the connection is made in the
/// background, and until it stands every call is [`Fault::Away`]. The connection and the task that keeps it end with the last of the two.
///
/// An error means that there is no tokio runtime to do so.
pub(crate) fn open_parts<'a>(
    target: impl Into<Target>,
    settings: Settings,
    parts: impl IntoIterator<Item = &'a LaneNames>,
) -> Result<Vec<Ends>, Fault> {
    let dial = Dial::new(target, settings);
    let database = dial.url.database();
    let part = |names: &LaneNames| {
        let dial = dial.to_slot(names.slot());
        let link = Arc::new(Link::open(dial.clone(), Heard::Yes)?);
        let store = Arc::new(RedisStore::new(Arc::clone(&link), dial.clone(), names));
        let lane = Arc::new(RedisLane::new(link, dial, names.clone(), database));
        Ok((store, lane))
    };
    parts.into_iter().map(part).collect()
}
