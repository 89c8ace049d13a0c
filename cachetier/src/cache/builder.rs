//! Building a cache: settings in, a connected handle or a named error out.

#[cfg(feature = "redis")]
use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;

use super::over::{Over, begin_without};
use super::start::Start;
use super::{Part, TieredCache};
use crate::all::all;
use crate::bulkhead::Bulkhead;
use crate::clock::Clock;
use crate::config::{Capacity, Config, Eviction, OnRestart};
#[cfg(feature = "redis")]
use crate::connector::{Connected, Connector, Endpoint};
use crate::error::ConfigError;
use crate::key::PARTS;
use crate::l2::lane::LaneNames;
use crate::l2::memory::InProcess;
use crate::parts::Parts;
use crate::rule::breaker::Breaker;
use crate::rule::policy::{OnUnreachable, Policy};
use crate::wire::codec::Codec;
use crate::wire::compress::Compression;

/// The settings of a [`TieredCache`] to be: begun by [`TieredCache::builder`], ended by [`CacheBuilder::build`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use cachetier::{Eviction, InProcess, TieredCache};
///
/// let cache = TieredCache::builder("shop")
///     .in_process(&InProcess::new())
///     .l1_max_bytes(64 << 20)
///     .eviction(Eviction::Lru)
///     .load_limit(Duration::from_secs(2))
///     .build()
///     .await?;
///
/// // A setting that cannot be used has a name.
/// let error = TieredCache::builder("shop").tag_cells(1).build().await.unwrap_err();
/// assert_eq!(error.field(), "tag_cells");
/// assert_eq!(error.to_string(), "tag_cells is 1, expected 256 to 4194304");
/// # drop(cache);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it is built"]
pub struct CacheBuilder {
    config: Config,
    clock: Clock,
    over: Over,
}

impl CacheBuilder {
    pub(super) fn new(namespace: &str) -> Self {
        Self { config: Config::new(namespace), clock: Clock::system(), over: Over::Nothing }
    }

    /// Puts the cache over a standalone Redis server, 6.2.7 or newer: `redis://[user:password@]host[:port][/database]` or
    /// `redis+unix:///path[?db=N][&user=U][&pass=P]`. With Sentinels: [`redis_sentinel`](CacheBuilder::redis_sentinel); in a Cluster:
    /// [`redis_cluster`](CacheBuilder::redis_cluster). Defaults to no shared tier: the same API and the same
    /// rules, within this process.
    ///
    /// With the feature `tls` also `rediss://[user:password@]host[:port][/database][?ca=PATH&cert=PATH&key=PATH]`, over TLS 1.2 or 1.3:
    ///
    /// - `ca`: a file of the certificates that are trusted, as PEM. Without it those are that the system trusts, as they are when the cache is
    ///   built, or those of the file that `SSL_CERT_FILE` names.
    /// - `cert` and `key`, both or neither: files of the client's own certificate, those behind which its issuer stands included, and of its
    ///   private key, not encrypted; for a server that asks for one.
    ///
    /// The server's certificate must be for the host of the address, be it a name or an IP address; that cannot be switched off.
    /// The files are read when the cache is built, and an error says what is wrong with one. They are read again before each later connection,
    /// so that renewed certificates are taken up; if they cannot be used, those before are kept, and a line of the log says so once.
    /// A connection that stands goes on with what it was made with. In a path a space is written `%20`, `&` is `%26`, `%` is `%25`, `#` is `%23`.
    ///
    /// The cryptography is what the process has installed as rustls's default, or else ring's; nothing is installed for the process.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use cachetier::*;
    /// // Nothing is connected before it is built.
    /// let builder = TieredCache::builder("shop").redis("redis://127.0.0.1:6379/0");
    /// # drop(builder);
    ///
    /// // An error says nothing of what may be a secret.
    /// let error = TieredCache::builder("shop").redis("http://ada:secret@127.0.0.1/").build().await.unwrap_err();
    /// assert!(error.field() == "redis" && !error.to_string().contains("secret"));
    ///
    /// let over_tls = "rediss://ada:secret@cache.internal/0?ca=/nowhere/ca.pem";
    /// let error = TieredCache::builder("shop").redis(over_tls).build().await.unwrap_err();
    /// assert!(error.field() == "redis" && !error.to_string().contains("secret"));
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "redis")]
    pub fn redis(mut self, url: impl Into<String>) -> Self {
        self.over = Over::Redis(url.into());
        self
    }

    /// Puts the cache over the primary of that name, wherever Sentinels say that it is: `redis://[user:password@]host:port` each, of which one that
    /// answers is enough. A fail-over is followed as soon as they know of it. `primary` is its name, or an address with the name in the place of the
    /// host, where user, password or database of the primary are to be said.
    ///
    /// ```
    /// # use cachetier::*;
    /// let sentinels = ["redis://10.0.0.1:26379", "redis://10.0.0.2:26379", "redis://10.0.0.3:26379"];
    /// let builder = TieredCache::builder("shop").redis_sentinel(sentinels, "redis://app:secret@shop/2");
    /// # drop(builder);
    /// ```
    #[cfg(feature = "redis")]
    pub fn redis_sentinel(mut self, sentinels: impl IntoIterator<Item = impl Into<String>>, primary: impl Into<String>) -> Self {
        self.over = Over::Sentinel(sentinels.into_iter().map(Into::into).collect(), primary.into());
        self
    }

    /// Puts the cache over a Redis Cluster, 7.0 or newer, found by any of these nodes: `redis://[user:password@]host:port` each, or `rediss://`. What the
    /// first address says of user, password and TLS counts for every node. A fail-over, and a slot that moves, are followed.
    ///
    /// The namespace has six parts, each with its lane in a slot of its own; the slots are spread evenly, so that of three primaries each has two. Every key
    /// belongs to one part. What is told of a key, or of a point, concerns that part alone: where its primary is away, its keys go to the loader and
    /// their invalidations are [`Delivery::Pending`](crate::Delivery), and no others. What concerns tags, a prefix or everything is told to all parts: it is applied
    /// when each has confirmed it, and in between it may hold in some of them. What bounds the copies of this instance is divided by six, and so
    /// is the largest value that is kept where that is in bytes; other bounds count for each part.
    /// [What else a Cluster asks for](https://github.com/cachetier/cachetier/blob/main/docs/redis.md#the-server).
    ///
    /// ```
    /// # use cachetier::*;
    /// let nodes = ["redis://app:secret@10.0.0.1:6379", "redis://app:secret@10.0.0.2:6379", "redis://app:secret@10.0.0.3:6379"];
    /// let builder = TieredCache::builder("shop").redis_cluster(nodes);
    /// # drop(builder);
    /// ```
    #[cfg(feature = "redis")]
    pub fn redis_cluster(mut self, nodes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.over = Over::Cluster(nodes.into_iter().map(Into::into).collect());
        self
    }

    /// Makes every connection by `connect`, in the place of the cache: through a tunnel, by another TLS than [`rediss://`](CacheBuilder::redis), as a
    /// user whose password changes. It is told where the connection is to lead, be it to the server, a Sentinel or a node of a Cluster, and returns a
    /// stream that leads there, within half of the [connect limit](CacheBuilder::connect_limit) with Sentinels and in a Cluster, else within all of it.
    /// It is called for each connection anew, and its error is logged as the reason why Redis is away; it has no say in what is sent. The address stays
    /// `redis://`. [What else to know](https://github.com/cachetier/cachetier/blob/main/docs/redis.md#the-server).
    ///
    /// ```
    /// # use cachetier::*;
    /// /// What is handed out for a quarter of an hour.
    /// async fn token() -> std::io::Result<String> {
    ///     Ok("a password of today".to_owned())
    /// }
    ///
    /// let builder = TieredCache::builder("shop").redis("redis://10.0.0.1:6379").connector(async |to| {
    ///     let Endpoint::Tcp { host, port, .. } = to else { return Err(std::io::ErrorKind::Unsupported.into()) };
    ///     let stream = tokio::net::TcpStream::connect((host, port)).await?;
    ///     stream.set_nodelay(true)?;
    ///     Ok(Connected::over(stream).login("app", token().await?))
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

    #[cfg(all(test, feature = "redis"))]
    pub(crate) fn over(mut self, ends: super::Ends) -> Self {
        self.over = Over::Opened(ends);
        self
    }

    /// Puts the cache over a shared tier within this process: for tests, and for trying things out. Several caches over one are as
    /// many instances. Defaults to no shared tier.
    pub fn in_process(mut self, tier: &InProcess) -> Self {
        self.over = Over::InProcess(tier.clone());
        self
    }

    /// The policy that [`TieredCache::policy`] returns, and whose `l1_ttl` and idle time [`TieredCache::get`] goes by. Reads that load are given
    /// one each, which may be this: `cache.get_or_load(key, cache.policy(), load)`. Defaults to none.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").policy(Policy::ttl(Duration::from_secs(60)));
    /// ```
    pub fn policy(mut self, policy: Policy) -> Self {
        self.config.policy = Some(policy);
        self
    }

    /// How many bytes this instance keeps: encoded values, and about 200 bytes for each. Defaults to 256 MiB.
    pub fn l1_max_bytes(mut self, bytes: u64) -> Self {
        self.config.capacity = Capacity::Bytes(bytes);
        self
    }

    /// How many entries this instance keeps, whatever their size. Defaults to a capacity in bytes.
    ///
    /// ```
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").l1_max_entries(100_000);
    /// ```
    pub fn l1_max_entries(mut self, entries: u64) -> Self {
        self.config.capacity = Capacity::Entries(entries);
        self
    }

    /// Which entries this instance keeps when it is full. Defaults to [`Eviction::TinyLfu`].
    pub fn eviction(mut self, eviction: Eviction) -> Self {
        self.config.eviction = eviction;
        self
    }

    /// How values are written in the shared tier; what others wrote is read by what it says of itself. Defaults to postcard; in
    /// a build without it, to bincode, MessagePack or JSON, the first of these that there is.
    ///
    /// ```
    /// # #[cfg(feature = "postcard")]
    /// # {
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").codec(Codec::Postcard);
    /// # }
    /// ```
    pub fn codec(mut self, codec: Codec) -> Self {
        self.config.codec = Some(codec);
        self
    }

    /// Whether and how values are made smaller for the shared tier; what others wrote is read by what it says of itself. What L1 counts
    /// for an entry stays its encoded value, not compressed. Defaults to [`Compression::None`].
    ///
    /// ```
    /// # #[cfg(feature = "lz4")]
    /// # {
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").compression(Compression::Lz4);
    /// # }
    /// ```
    pub fn compression(mut self, compression: Compression) -> Self {
        self.config.compression = compression;
        self
    }

    /// The longest encoded value, in bytes, that is stored as it is where [`compression`](CacheBuilder::compression) is on: below some
    /// hundred bytes little is gained. Defaults to 1 KiB.
    ///
    /// ```
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").compress_above(4 << 10);
    /// ```
    pub fn compress_above(mut self, bytes: usize) -> Self {
        self.config.compress_above = bytes;
        self
    }

    /// Where the cache reads the time. Defaults to the machine's monotonic clock; tests set one that they move by hand.
    ///
    /// ```
    /// # use cachetier::*;
    /// let (clock, hand) = Clock::manual();
    /// let builder = TieredCache::builder("test").clock(clock);
    /// # drop(hand);
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The longest life of any entry, whatever its policy says. Defaults to 24 hours.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").max_life(Duration::from_secs(3_600));
    /// ```
    pub fn max_life(mut self, max_life: Duration) -> Self {
        self.config.max_life = max_life;
        self
    }

    /// How long this instance may trust its copies after it last proved that it had missed no invalidation. Defaults to 2 s; at
    /// least three checks, 1.5 s.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").max_staleness(Duration::from_secs(5));
    /// ```
    pub fn max_staleness(mut self, max_staleness: Duration) -> Self {
        self.config.max_staleness = max_staleness;
        self
    }

    /// What a read does where nobody can prove that this instance has missed nothing, unless its policy says
    /// [something else](crate::Policy::on_unreachable). Defaults to [`OnUnreachable::Serve`].
    ///
    /// ```
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").on_unreachable(OnUnreachable::Bypass);
    /// ```
    pub fn on_unreachable(mut self, what: OnUnreachable) -> Self {
        self.config.on_unreachable = what;
        self
    }

    /// What becomes of the values in the shared tier when its server comes back with data that it had saved, or a replica takes its
    /// place. All caches of a namespace must be given the same: the lane goes by the one that asked it last. Defaults to
    /// [`OnRestart::BeginAnew`].
    ///
    /// ```
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").on_restart(OnRestart::Trust);
    /// ```
    pub fn on_restart(mut self, what: OnRestart) -> Self {
        self.config.on_restart = what;
        self
    }

    /// How long this instance remembers its own invalidations, to tell them once more to a server that may have forgotten them. Defaults
    /// to 60 s; zero means not at all. At most as many are kept as may wait to be told: more become one of everything.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").journal(Duration::from_secs(120));
    /// ```
    pub fn journal(mut self, journal: Duration) -> Self {
        self.config.journal = journal;
        self
    }

    /// How long connecting may take. Defaults to 1 s.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").connect_limit(Duration::from_millis(250));
    /// ```
    pub fn connect_limit(mut self, limit: Duration) -> Self {
        self.config.connect_limit = limit;
        self
    }

    /// How long a command to the shared tier may take. Defaults to 500 ms.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").command_limit(Duration::from_millis(200));
    /// ```
    pub fn command_limit(mut self, limit: Duration) -> Self {
        self.config.command_limit = limit;
        self
    }

    /// How long a read waits for the shared tier before it goes to the loader. Defaults to 50 ms.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").read_limit(Duration::from_millis(20));
    /// ```
    pub fn read_limit(mut self, limit: Duration) -> Self {
        self.config.read_limit = limit;
        self
    }

    /// When Redis is asked no longer for what can be done without, because it is silent or slow. Defaults to [`Breaker::new`]. The tier within
    /// the process has none.
    ///
    /// ```
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").breaker(Breaker::new().in_a_row(10));
    /// ```
    pub fn breaker(mut self, breaker: Breaker) -> Self {
        self.config.breaker = breaker;
        self
    }

    /// Builds no cache without its shared tier: [`build`](CacheBuilder::build) fails if that cannot be reached in time, or what is there will not do.
    /// Defaults to a cache that begins without it and goes on trying, so that a service starts where Redis does not.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// // Nobody listens there.
    /// let builder = TieredCache::builder("shop").redis("redis://127.0.0.1:1").connect_limit(Duration::from_millis(100));
    /// let error = builder.require_redis().build().await.unwrap_err();
    /// assert_eq!(error.field(), "redis");
    /// # }
    /// ```
    #[cfg(feature = "redis")]
    pub fn require_redis(mut self) -> Self {
        self.config.require_shared = true;
        self
    }

    /// How long a loader may take before it is dropped. The body of a `#[cached]` function is not dropped but goes on, for its caller
    /// alone: nobody waits for it any longer, and what it brings is not kept. Defaults to 10 s.
    pub fn load_limit(mut self, limit: Duration) -> Self {
        self.config.load_limit = limit;
        self
    }

    /// How many loads run at once, and how many wait. Defaults to as many as come.
    ///
    /// ```
    /// # fn main() -> Result<(), cachetier::ConfigError> {
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").bulkhead(Bulkhead::new(50)?.queue(1_000));
    /// # Ok(())
    /// # }
    /// ```
    pub fn bulkhead(mut self, bulkhead: Bulkhead) -> Self {
        self.config.bulkhead = Some(bulkhead);
        self
    }

    /// How long the right to load a key lives: what others wait when an instance dies in the middle of a load. Defaults to 3 s.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").lease(Duration::from_secs(1));
    /// ```
    pub fn lease(mut self, lease: Duration) -> Self {
        self.config.lease = lease;
        self
    }

    /// How long a read waits for another instance's load before it loads for itself. Defaults to 10 s; zero means not at all.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").wait_budget(Duration::ZERO);
    /// ```
    pub fn wait_budget(mut self, budget: Duration) -> Self {
        self.config.wait_budget = budget;
        self
    }

    /// How long a [write guard](TieredCache::guard) holds its keys at most, should nobody release it: longer than any transaction under
    /// it takes. Defaults to 30 s; at most an hour.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").guard_limit(Duration::from_secs(60));
    /// ```
    pub fn guard_limit(mut self, limit: Duration) -> Self {
        self.config.guard_limit = limit;
        self
    }

    /// The largest encoded value that is stored; a larger one is returned and counted. Defaults to 8 MiB.
    ///
    /// ```
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").max_value_bytes(1 << 20);
    /// ```
    pub fn max_value_bytes(mut self, bytes: usize) -> Self {
        self.config.max_value = bytes;
        self
    }

    /// Answers who has loaded a key before the shared tier has stored it, as long as at most so many bytes are on their way there; what is beyond
    /// that is waited for. Defaults to 0: each fill is waited for.
    ///
    /// It saves a caller that misses the trip of the fill. Until the answer comes the copy of this instance is
    /// one that is kept for [`max_staleness`](CacheBuilder::max_staleness) at most, and goes if the fill is refused. [`flush`](TieredCache::flush)
    /// waits for what is on its way, and so does a [fresh](crate::CallOptions::fresh) call of the same key. The fills of batches, of fresh calls and
    /// of `set` are waited for in any case.
    ///
    /// ```
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").write_behind(8 << 20);
    /// ```
    pub fn write_behind(mut self, bytes: usize) -> Self {
        self.config.write_behind = bytes;
        self
    }

    /// How many values that are due wait at most to be [refreshed behind callers' backs](TieredCache::get_or_refresh). What is due when there is no room is
    /// refreshed by a later read. Defaults to 1,000; 0 refreshes nothing there.
    ///
    /// ```
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").refresh_queue(10_000);
    /// ```
    pub fn refresh_queue(mut self, refreshes: usize) -> Self {
        self.config.refresh_queue = refreshes;
        self
    }

    /// How many of these are made at once. More for slow loaders and many hot keys: this many, divided by the time that a load takes, is how many are
    /// refreshed a second. Defaults to 16; at least 1.
    ///
    /// ```
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").refreshes_at_once(64);
    /// ```
    pub fn refreshes_at_once(mut self, refreshes: usize) -> Self {
        self.config.refreshes_at_once = refreshes;
        self
    }

    /// How many keys [`TieredCache::hot_keys`] returns at most: those that are read most in this instance. About one read in 64 is counted for it, and up to
    /// four times as many keys of at most 512 bytes are held, so that this takes some 2 KiB at most for each that is asked for. Defaults to 0: no read is
    /// counted; at most 10,000.
    ///
    /// ```
    /// # use cachetier::*;
    /// let builder = TieredCache::builder("shop").hot_keys(1_000);
    /// ```
    pub fn hot_keys(mut self, count: usize) -> Self {
        self.config.hot_keys = count;
        self
    }

    /// The size of the tag table, in cells of eight bytes, rounded up to a power of two: more make needless misses rarer where many
    /// tags are invalidated; [`Stats::table_needless_ppm`](crate::Stats::table_needless_ppm) says about how many there are, and from 5 % on
    /// a warning does. Defaults to 262,144, which is 2 MiB.
    ///
    /// The shared tier's own table has the size of the largest that any instance of its present era was told, and grows when one comes that
    /// is told more: so the size can be changed one instance after the other. While it grows the server does nothing else: 70 ms of its
    /// processor to 524,288 cells, 0.8 s to 4,194,304.
    pub fn tag_cells(mut self, cells: u32) -> Self {
        self.config.cells = cells;
        self
    }

    /// Builds the cache and waits until it is in step with the shared tier, for at most the connect and the command limit together.
    /// If the tier cannot be reached by then, the cache begins without it and goes on trying.
    ///
    /// Cancel safety: dropped, it leaves no task and no connection.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] names the setting that cannot be used, what it was and what was expected. A server that cannot be reached is
    /// no error; one that is found to be older than Redis 6.2.7 is.
    pub async fn build(self) -> Result<TieredCache, ConfigError> {
        let Self { mut config, clock, over } = self;
        config.check()?;
        // Whatever is judged by it is so by the clock.
        config.max_staleness = config.max_staleness.saturating_sub(clock.grain());
        let runtime =
            Handle::try_current().map_err(|_| ConfigError::new("runtime", "missing", "to be built within a tokio runtime"))?;
        let spread = over.is_spread();
        let trusts = config.on_restart == OnRestart::Trust;
        let names = |number| LaneNames::of(&config.namespace, number, config.cells, trusts);
        let names: Vec<_> = Parts::<Part>::numbers(spread).map(|number| (number, names(number))).collect();
        let ends = over.open(&config, &names)?;
        if ends.is_none() && config.require_shared {
            return Err(ConfigError::new("redis", "missing", "the address of the server that is required"));
        }
        if ends.is_some() && config.codec.is_none() {
            return Err(ConfigError::new(
                "codec",
                "none",
                "one of the features `postcard`, `bincode`, `messagepack` and `json` for a shared tier",
            ));
        }
        if spread {
            config.capacity = config.capacity.divided(PARTS as u64);
        }
        let start = Start::new(config, clock, runtime);
        let ends = ends.map_or_else(|| vec![None], |ends| ends.into_iter().map(Some).collect());
        let begun = names.iter().zip(ends).map(|((number, names), ends)| start.part(*number, names, ends));
        let (parts, ready): (Vec<Part>, Vec<_>) = begun.unzip();
        // Dropped from here on, the parts end what they have begun.
        let parts = Parts::from(parts)?;
        begin_without(&start.config, all(ready).await, "the cache begins without it")?;
        Ok(TieredCache { parts })
    }
}
