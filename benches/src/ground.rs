//! A server of the bench's own, caches over it, and a connection to it as the cache has one.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use cachetier::{CacheBuilder, Eviction, Policy, TieredCache};
use cachetier_tests::{Client as Plain, RedisServer, Reply};
use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo, ProtocolVersion, PushInfo};
use tokio::sync::mpsc;

use crate::Outcome;

/// Long enough for nothing to end while it is measured.
pub const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));

/// How many entries a cache keeps that is to miss in its own tier.
const FEW: u64 = 64;

/// What redis-rs 1 sets for itself.
const LIBRARYS_LIMIT: Duration = Duration::from_millis(500);

/// How often a lane is looked at that is to be checked by an instance, which each does twice a second.
const CHECKS: u32 = 200;

/// A server and what is measured on it.
#[derive(Debug)]
pub struct Ground {
    server: RedisServer,
    namespaces: AtomicU32,
}

impl Ground {
    /// Starts a server on a unix socket, the cheapest way to reach one: what the client does weighs most.
    ///
    /// # Errors
    ///
    /// If none is installed, or it does not start.
    pub fn start() -> Outcome<Self> {
        Ok(Self { server: RedisServer::builder().try_start()?, namespaces: AtomicU32::new(0) })
    }

    /// The same on a port of the loopback interface.
    ///
    /// # Errors
    ///
    /// As [`Ground::start`].
    pub fn start_tcp() -> Outcome<Self> {
        Ok(Self { server: RedisServer::builder().tcp().try_start()?, namespaces: AtomicU32::new(0) })
    }

    /// The server's process.
    #[must_use]
    pub fn server(&self) -> u32 {
        self.server.pid()
    }

    /// A blocking connection, for what is not measured.
    #[must_use]
    pub fn client(&self) -> Plain {
        self.server.client()
    }

    /// A namespace that nobody has used.
    pub fn namespace(&self) -> String {
        format!("bench{}", self.namespaces.fetch_add(1, Ordering::Relaxed))
    }

    /// An instance with the default settings.
    ///
    /// # Errors
    ///
    /// If it cannot be built.
    pub async fn instance(&self, namespace: &str) -> Outcome<TieredCache> {
        Ok(self.builder(namespace).build().await?)
    }

    /// An instance with room for so many entries.
    ///
    /// # Errors
    ///
    /// If it cannot be built.
    pub async fn roomy(&self, namespace: &str, entries: u64) -> Outcome<TieredCache> {
        Ok(self.builder(namespace).l1_max_entries(entries).build().await?)
    }

    /// An instance that keeps so few entries, the latest, that keys which are read in turn are never found in its own tier. Each
    /// read still pays for keeping what it brings and for the eviction of another, as in a service whose cache is full.
    ///
    /// # Errors
    ///
    /// If it cannot be built.
    pub async fn forgetful(&self, namespace: &str) -> Outcome<TieredCache> {
        Ok(self.builder(namespace).l1_max_entries(FEW).eviction(Eviction::Lru).build().await?)
    }

    /// moka alone, as bounded as the own tier of [`Ground::forgetful`].
    #[must_use]
    pub fn few<V: Clone + Send + Sync + 'static>() -> moka::sync::Cache<String, V> {
        moka::sync::Cache::builder().max_capacity(FEW).eviction_policy(moka::policy::EvictionPolicy::lru()).build()
    }

    /// An instance in whose own tier nothing fits: every read goes to the server, and what it brings is not kept.
    ///
    /// # Errors
    ///
    /// If it cannot be built.
    pub async fn keepless(&self, namespace: &str) -> Outcome<TieredCache> {
        Ok(self.builder(namespace).l1_max_bytes(1).build().await?)
    }

    /// Makes the lanes of these namespaces, which instances have begun, old ones. In the first hour of a lane there may be holds of write guards
    /// from before it, which each bump of a key looks for; after that the next check of an instance says that there are none.
    ///
    /// # Errors
    ///
    /// If no instance checks one of them.
    pub async fn age_lanes<N: AsRef<str>>(&self, namespaces: &[N]) -> Outcome {
        // A field of the state, as docs/wire.md has it: until when holds may stand, in milliseconds.
        let (mut client, past, none) = (self.client(), 1_u64.to_be_bytes(), [0; 8]);
        let lanes: Vec<String> = namespaces.iter().map(|namespace| format!("ct:{{{}}}:lane", namespace.as_ref())).collect();
        for lane in &lanes {
            client.command(&[b"SETRANGE", lane.as_bytes(), b"30", &past[..]])?;
        }
        for _ in 0..CHECKS {
            let mut young = 0;
            for lane in &lanes {
                let field = client.command(&["GETRANGE", lane, "30", "37"])?;
                young += usize::from(!matches!(field, Reply::Bulk(field) if field == none));
            }
            if young == 0 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Err("no instance has checked the lane".into())
    }

    /// Limits that a busy machine does not reach: a call that was given up would be measured as a cheap one.
    fn builder(&self, namespace: &str) -> CacheBuilder {
        let long = Duration::from_secs(10);
        TieredCache::builder(namespace).redis(self.server.url()).connect_limit(long).command_limit(long).read_limit(long)
    }

    /// A connection of the kind and with the settings that a cache has: one multiplexed connection, RESP3, a place for pushes,
    /// no limits of its own.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub async fn raw(&self) -> Outcome<MultiplexedConnection> {
        // Nothing is pushed to it; closed, the channel would be found closed and no more.
        let (sender, _) = mpsc::unbounded_channel();
        self.raw_with(sender).await
    }

    /// [`Ground::raw`] with the time-out for each answer that the client library gives a connection which is told nothing of one.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub async fn raw_with_a_limit(&self) -> Outcome<MultiplexedConnection> {
        let mut connection = self.raw().await?;
        connection.set_response_timeout(LIBRARYS_LIMIT);
        Ok(connection)
    }

    /// [`Ground::raw`] with somebody who hears the pushes.
    ///
    /// # Errors
    ///
    /// If it cannot be made.
    pub async fn raw_with(&self, sender: mpsc::UnboundedSender<PushInfo>) -> Outcome<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new().set_push_sender(sender).set_connection_timeout(None).set_response_timeout(None);
        let info = self.server.url().into_connection_info()?;
        let login = info.redis_settings().clone().set_protocol(ProtocolVersion::RESP3);
        let info = info.set_redis_settings(login).set_tcp_settings(TcpSettings::default().set_nodelay(true));
        Ok(Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await?)
    }
}
