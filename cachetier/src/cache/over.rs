//! What a cache, or an invalidator, is over: the only place that knows which tiers there are.

use std::sync::Arc;

use crate::config::Config;
use crate::error::ConfigError;
use crate::l2::lane::{Lane, LaneNames};
use crate::l2::memory::InProcess;
use crate::l2::{Limits, NotReady, Store};
#[cfg(feature = "redis")]
use crate::redis::{RedisUrl, Target};

/// Which shared tier.
#[derive(Clone)]
pub(crate) enum Over {
    Nothing,
    InProcess(InProcess),
    #[cfg(feature = "redis")]
    Redis(String),
    /// Addresses of Sentinels, and the primary that they know.
    #[cfg(feature = "redis")]
    Sentinel(Vec<String>, String),
    /// Addresses of some nodes of a Cluster.
    #[cfg(feature = "redis")]
    Cluster(Vec<String>),
    /// What a test has opened, and put something of its own before.
    #[cfg(all(test, feature = "redis"))]
    Opened(Ends),
}

impl std::fmt::Debug for Over {
    /// Without the address: it may hold a password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::InProcess(_) => "in process",
            #[cfg(feature = "redis")]
            Self::Redis(_) => "redis",
            #[cfg(feature = "redis")]
            Self::Sentinel(..) => "sentinel",
            #[cfg(feature = "redis")]
            Self::Cluster(_) => "cluster",
            #[cfg(all(test, feature = "redis"))]
            Self::Opened(_) => "opened by a test",
        })
    }
}

/// What follows where the shared tier is not ready in time, or not in each part: an error if it never will be, or is to be there.
pub(crate) fn begin_without(config: &Config, parts: Vec<Result<(), NotReady>>, and_then: &str) -> Result<(), ConfigError> {
    // What will never do before what may yet.
    let late = parts.into_iter().filter_map(Result::err).max_by_key(|why| matches!(why, NotReady::Unfit { .. }));
    let Some(why) = late else { return Ok(()) };
    let namespace = &config.namespace;
    match why {
        NotReady::Unfit { found, expected } => Err(ConfigError::new("redis", &found, expected)),
        NotReady::Yet(fault) if config.require_shared => {
            Err(ConfigError::new("redis", &format!("not to be reached ({fault})"), "one that answers, as it is required"))
        }
        NotReady::Yet(fault) => {
            tracing::warn!(%namespace, %fault, "the shared tier cannot be reached yet: {and_then}");
            Ok(())
        }
    }
}

pub(crate) type Ends = (Arc<dyn Store>, Arc<dyn Lane>);

impl Over {
    /// What cannot be used is an error: a connector, and nowhere to connect.
    #[cfg(feature = "redis")]
    fn check(&self, config: &Config) -> Result<(), ConfigError> {
        match self {
            Self::Nothing | Self::InProcess(_) if config.connector.is_some() => {
                Err(ConfigError::new("connector", "given, and no server", "the address of one as well"))
            }
            _ => Ok(()),
        }
    }

    /// Whether a namespace is spread over several slots.
    pub(crate) fn is_spread(&self) -> bool {
        match self {
            Self::InProcess(tier) => tier.is_spread(),
            #[cfg(feature = "redis")]
            Self::Cluster(_) => true,
            _ => false,
        }
    }

    /// The two ends of each part, by these names; none where there is no shared tier.
    #[cfg_attr(
        not(feature = "redis"),
        expect(clippy::unnecessary_wraps, reason = "an address may be unusable, a tier in the process not")
    )]
    pub(crate) fn open(self, config: &Config, parts: &[(Option<usize>, LaneNames)]) -> Result<Option<Vec<Ends>>, ConfigError> {
        #[cfg(feature = "redis")]
        self.check(config)?;
        let limits = Limits { read: config.read_limit, command: config.command_limit };
        let names = parts.iter().map(|(_, names)| names);
        let ends = match self {
            Self::Nothing => return Ok(None),
            Self::InProcess(tier) => tier.ends(names, Some(limits)),
            #[cfg(all(test, feature = "redis"))]
            Self::Opened(ends) => vec![ends],
            #[cfg(feature = "redis")]
            Self::Redis(url) => connected(Target::At(address("redis", &url, config)?), config, limits, names)?,
            #[cfg(feature = "redis")]
            Self::Sentinel(sentinels, name) => {
                let sentinels =
                    sentinels.iter().map(|url| address("redis_sentinel", url, config)).collect::<Result<Vec<_>, _>>()?;
                if sentinels.is_empty() {
                    return Err(ConfigError::new("redis_sentinel", "no address", "those of the Sentinels, one at least"));
                }
                let server = Target::Primary { name: primary(&name, config)?, sentinels };
                connected(server, config, limits, names)?
            }
            #[cfg(feature = "redis")]
            Self::Cluster(nodes) => connected(cluster(&nodes, config)?, config, limits, names)?,
        };
        Ok(Some(ends))
    }
}

#[cfg(feature = "redis")]
fn address(field: &'static str, url: &str, config: &Config) -> Result<RedisUrl, ConfigError> {
    let url = RedisUrl::parse(url).and_then(|url| url.through(config.connector.as_ref()));
    url.map_err(|bad| ConfigError::new(field, &bad.to_string(), crate::redis::EXPECTED))
}

/// Some nodes of a Cluster. What the first address says of how to log in counts for all.
#[cfg(feature = "redis")]
fn cluster(nodes: &[String], config: &Config) -> Result<Target, ConfigError> {
    let nodes = nodes.iter().map(|url| address("redis_cluster", url, config)).collect::<Result<Vec<_>, _>>()?;
    let bad = |found, expected| Err(ConfigError::new("redis_cluster", found, expected));
    let Some(login) = nodes.first().cloned() else { return bad("no address", "those of some nodes, one at least") };
    if nodes.iter().any(|node| node.host().is_none()) {
        return bad("the path of a socket", "host and port of each node: a Cluster says where its nodes are");
    }
    if nodes.iter().any(|node| node.database() != 0) {
        return bad("an address with a database", "addresses without one: a Cluster has no other than 0");
    }
    Ok(Target::Cluster { login, nodes })
}

/// The name of a primary, alone or in the place of the host in an address.
#[cfg(feature = "redis")]
fn primary(name: &str, config: &Config) -> Result<RedisUrl, ConfigError> {
    let bad = || {
        let expected = "the name of the primary, or redis://[user:password@]NAME[/database]";
        ConfigError::new("redis_sentinel", "a primary without a name that Sentinels could know", expected)
    };
    let plain = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let Some((_, rest)) = name.split_once("://") else {
        return if plain(name) { address("redis_sentinel", &format!("redis://{name}"), config) } else { Err(bad()) };
    };
    // What is behind the last `@`, up to the database or the query: a port would be nobody's.
    let place = rest.split(['/', '?']).next().unwrap_or_default();
    let place = place.rsplit_once('@').map_or(place, |(_, place)| place);
    if !plain(place) {
        return Err(bad());
    }
    address("redis_sentinel", name, config)
}

#[cfg(feature = "redis")]
fn connected<'a>(
    server: Target,
    config: &Config,
    limits: Limits,
    names: impl Iterator<Item = &'a LaneNames>,
) -> Result<Vec<Ends>, ConfigError> {
    let settings = crate::redis::Settings {
        connect_limit: config.connect_limit,
        limits,
        max_staleness: config.max_staleness,
        breaker: config.breaker,
    };
    let parts = crate::redis::open_parts(server, settings, names)
        .map_err(|fault| ConfigError::new("redis", &fault.to_string(), "a tokio runtime"))?;
    Ok(parts.into_iter().map(|(store, lane)| -> Ends { (store, lane) }).collect())
}
