//! Building an invalidator: settings in, a connected handle or a named error out. Defaults and bounds are `config`'s.

#[cfg(feature = "redis")]
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::runtime::Handle;

use super::messenger::Messenger;
use super::{Invalidator, Part, Shared};
use crate::all::all;
use crate::cache::{Over, begin_without};
use crate::coherence::courier::carry;
use crate::coherence::journal::Journal;
use crate::coherence::outbox::Outbox;
use crate::config::Config;
#[cfg(feature = "redis")]
use crate::connector::{Connected, Connector, Endpoint};
use crate::error::ConfigError;
use crate::l2::lane::LaneNames;
use crate::l2::memory::InProcess;
use crate::l2::tier::Tier;
use crate::observe::stats::Counters;
use crate::parts::Parts;
use crate::tasks::{Background, Tasks};

/// Where a server's life ends is asked by who checks the lane; an invalidator does not.
const CHECKS_NOTHING: bool = false;

/// The settings of an [`Invalidator`] to be: begun by [`Invalidator::builder`], ended by [`InvalidatorBuilder::build`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use cachetier::{InProcess, Invalidator};
///
/// let builder = Invalidator::builder("shop").command_limit(Duration::from_secs(2));
/// let worker = builder.clone().in_process(&InProcess::new()).build().await?;
/// # drop(worker);
///
/// // Without a shared tier there is nobody to tell.
/// assert_eq!(builder.build().await.unwrap_err().field(), "redis");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct InvalidatorBuilder {
    config: Config,
    over: Over,
}

impl InvalidatorBuilder {
    pub(super) fn new(namespace: &str) -> Self {
        Self { config: Config::new(namespace), over: Over::Nothing }
    }

    /// The server that the service's caches are over, its database included:
    /// `redis://[user:password@]host[:port][/database]` or `redis+unix:///path`; with the feature `tls` also
    /// `rediss://..`, as for [`CacheBuilder::redis`](crate::CacheBuilder::redis). This or a tier in the process must be given.
    ///
    /// ```
    /// # use cachetier::*;
    /// // Nothing is connected before it is built.
    /// let builder = Invalidator::builder("shop").redis("redis://127.0.0.1:6379/0");
    /// ```
    #[cfg(feature = "redis")]
    pub fn redis(mut self, url: impl Into<String>) -> Self {
        self.over = Over::Redis(url.into());
        self
    }

    /// The primary that the service's caches are over, by its Sentinels: as for [a cache](crate::CacheBuilder::redis_sentinel).
    ///
    /// ```
    /// # use cachetier::*;
    /// let builder = Invalidator::builder("shop").redis_sentinel(["redis://10.0.0.1:26379", "redis://10.0.0.2:26379"], "shop");
    /// ```
    #[cfg(feature = "redis")]
    pub fn redis_sentinel(mut self, sentinels: impl IntoIterator<Item = impl Into<String>>, primary: impl Into<String>) -> Self {
        self.over = Over::Sentinel(sentinels.into_iter().map(Into::into).collect(), primary.into());
        self
    }

    /// The Cluster that the service's caches are over, by some of its nodes: as for [a cache](crate::CacheBuilder::redis_cluster).
    ///
    /// ```
    /// # use cachetier::*;
    /// let builder = Invalidator::builder("shop").redis_cluster(["redis://10.0.0.1:6379", "redis://10.0.0.2:6379"]);
    /// # drop(builder);
    /// ```
    #[cfg(feature = "redis")]
    pub fn redis_cluster(mut self, nodes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.over = Over::Cluster(nodes.into_iter().map(Into::into).collect());
        self
    }

    /// Makes every connection by `connect`: as for [a cache](crate::CacheBuilder::connector).
    ///
    /// ```
    /// # use cachetier::*;
    /// let builder = Invalidator::builder("shop").redis("redis://10.0.0.1:6379").connector(async |to| {
    ///     let Endpoint::Tcp { host, port, .. } = to else { return Err(std::io::ErrorKind::Unsupported.into()) };
    ///     let stream = tokio::net::TcpStream::connect((host, port)).await?;
    ///     stream.set_nodelay(true)?;
    ///     Ok(Connected::over(stream))
    /// });
    /// # drop(builder);
    /// ```
    #[cfg(feature = "redis")]
    pub fn connector<F, Fut>(mut self, connect: F) -> Self
    where
        F: Fn(Endpoint) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = std::io::Result<Connected>> + Send + 'static,
    {
        self.config.connector = Some(Connector::new(connect));
        self
    }

    /// The tier in this process that the service's caches are over: for tests. It counts as one more instance there.
    pub fn in_process(mut self, tier: &InProcess) -> Self {
        self.over = Over::InProcess(tier.clone());
        self
    }

    /// How long connecting may take. Defaults to 1 s.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let builder = Invalidator::builder("shop").connect_limit(Duration::from_millis(250));
    /// ```
    pub fn connect_limit(mut self, limit: Duration) -> Self {
        self.config.connect_limit = limit;
        self
    }

    /// How long the server may take for an invalidation before it counts as pending. Defaults to 500 ms.
    pub fn command_limit(mut self, limit: Duration) -> Self {
        self.config.command_limit = limit;
        self
    }

    /// Of how many cells a tag table has that this invalidator begins, rounded up to a power of two: one that is there already keeps its own
    /// size. Defaults to 262,144.
    ///
    /// ```
    /// # use cachetier::*;
    /// let builder = Invalidator::builder("shop").tag_cells(1 << 20);
    /// ```
    pub fn tag_cells(mut self, cells: u32) -> Self {
        self.config.cells = cells;
        self
    }

    /// Builds the invalidator and waits for its connection, for at most the connect limit. If the server cannot be reached by then, it
    /// begins without: what it is asked to invalidate is pending until the server can be.
    ///
    /// Cancel safety: dropped, it leaves no task and no connection.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the setting that cannot be used, what it was and what was expected. A server that is found to be older
    /// than Redis 6.2 is an error, too.
    pub async fn build(self) -> Result<Invalidator, ConfigError> {
        let Self { config, over } = self;
        config.check()?;
        let runtime =
            Handle::try_current().map_err(|_| ConfigError::new("runtime", "missing", "to be built within a tokio runtime"))?;
        let name = |number| LaneNames::of(&config.namespace, number, config.cells, CHECKS_NOTHING);
        let names: Vec<_> = Parts::<Part>::numbers(over.is_spread()).map(|number| (number, name(number))).collect();
        let ends = over.open(&config, &names)?;
        let ends =
            ends.ok_or_else(|| ConfigError::new("redis", "missing", "the address of the server that the caches are over"))?;
        let counters = Arc::new(Counters::default());
        let mut background = Background::default();
        let begun = names.iter().zip(ends).map(|((number, names), ends)| {
            let tasks = Tasks::new(runtime.clone());
            let tier = Arc::new(Tier::new(ends, names, config.lease, Arc::clone(&counters), tasks.clone()));
            let (outbox, journal) = (Outbox::new(config.outbox), Journal::new(config.outbox, config.journal));
            let messenger = Arc::new(Messenger::new(outbox, journal, Arc::clone(&counters), *number));
            background.spawn(&runtime, carry(Arc::clone(&messenger), Arc::clone(&tier)));
            Part { messenger, tier, tasks }
        });
        let parts = Parts::from(begun.collect())?;
        let shared = Shared { namespace: config.namespace.clone(), parts, counters, background, closed: AtomicBool::new(false) };
        let invalidator = Invalidator { shared: Arc::new(shared) };
        let late = all(invalidator.shared.parts.all().iter().map(|part| part.tier.ready(config.connect_limit))).await;
        begin_without(&config, late, "invalidations are pending")?;
        Ok(invalidator)
    }
}
