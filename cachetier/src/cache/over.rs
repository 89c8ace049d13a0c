//! What a cache, or an invalidator, is over: the only place that knows which tiers there are.

use std::sync::Arc;

use crate::config::Config;
use crate::error::ConfigError;
use crate::l2::lane::{Lane, LaneNames};
use crate::l2::memory::InProcess;
use crate::l2::{Limits, NotReady, Store};

/// Which shared tier.
#[derive(Clone)]
pub(crate) enum Over {
    Nothing,
    InProcess(InProcess),
    #[cfg(feature = "redis")]
    Redis(String),
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
            #[cfg(all(test, feature = "redis"))]
            Self::Opened(_) => "opened by a test",
        })
    }
}

/// What follows when a shared tier is not ready in time: an error if it never will be, or is to be there.
pub(crate) fn begin_without(config: &Config, why: NotReady, and_then: &str) -> Result<(), ConfigError> {
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
    #[cfg_attr(
        not(feature = "redis"),
        expect(clippy::unnecessary_wraps, reason = "an address may be unusable, a tier in the process not")
    )]
    pub(crate) fn open(self, config: &Config, names: &LaneNames) -> Result<Option<Ends>, ConfigError> {
        let limits = Limits { read: config.read_limit, command: config.command_limit };
        match self {
            Self::Nothing => Ok(None),
            Self::InProcess(tier) => Ok(Some((tier.store(Some(limits)), tier.lane(names.clone(), Some(limits))))),
            #[cfg(all(test, feature = "redis"))]
            Self::Opened(ends) => Ok(Some(ends)),
            #[cfg(feature = "redis")]
            Self::Redis(url) => {
                let url = crate::redis::RedisUrl::parse(&url)
                    .map_err(|bad| ConfigError::new("redis", &bad.to_string(), crate::redis::EXPECTED))?;
                let settings = crate::redis::Settings {
                    connect_limit: config.connect_limit,
                    limits,
                    max_staleness: config.max_staleness,
                    breaker: config.breaker,
                };
                let (store, lane) = crate::redis::open(url, settings, names.clone())
                    .map_err(|fault| ConfigError::new("redis", &fault.to_string(), "a tokio runtime"))?;
                Ok(Some((store, lane)))
            }
        }
    }
}
