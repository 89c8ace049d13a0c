//! The caches that one test body runs over: alone, over a tier within the process, over a real server; and the origin they load
//! from. What is done with them is the tests' own.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use cachetier::{CacheBuilder, InProcess, Invalidator, TieredCache};

use crate::over::Over as Chosen;
use crate::{Gate, PARTS, Reach as _, RedisServer, Reply, name_of_part};

/// Longer than anything here takes on a busy machine: a test that means a limit sets it.
const PATIENCE: Duration = Duration::from_secs(30);

/// A small table: a new cache costs little.
const CELLS: u32 = 1 << 12;

/// What the caches of one test share, and the namespace they share it under.
#[derive(Clone, Debug)]
pub struct Tier {
    namespace: String,
    over: Over,
}

#[derive(Clone, Debug)]
enum Over {
    Nothing,
    InProcess(InProcess),
    Redis(Arc<RedisServer>),
}

/// Runs `body` over each kind of cache.
pub async fn over_each(body: impl AsyncFn(&Tier)) {
    for tier in [Tier::alone(), Tier::in_process(&InProcess::new()), Tier::redis()] {
        // Shown when the body fails.
        println!("{tier:?}");
        body(&tier).await;
    }
}

/// Runs `body` over each kind of cache that has a shared tier.
pub async fn over_shared(body: impl AsyncFn(&Tier)) {
    for tier in [Tier::in_process(&InProcess::new()), Tier::redis()] {
        println!("{tier:?}");
        body(&tier).await;
    }
}

impl Tier {
    fn new(over: Over) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        Self { namespace: format!("test-{}", COUNT.fetch_add(1, Ordering::Relaxed)), over }
    }

    /// Returns no tier at all.
    #[must_use]
    pub fn alone() -> Self {
        Self::new(Over::Nothing)
    }

    /// Returns this tier, under a namespace of its own.
    #[must_use]
    pub fn in_process(tier: &InProcess) -> Self {
        Self::new(Over::InProcess(tier.clone()))
    }

    /// Returns a real server, under a namespace of its own. Tests that run at the same time share one.
    #[must_use]
    #[track_caller]
    pub fn redis() -> Self {
        // Weak: whoever is last ends the server, which a static would leave to the end of the process.
        static SHARED: Mutex<Weak<RedisServer>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let server = shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(RedisServer::start());
            *shared = Arc::downgrade(&server);
            server
        });
        drop(shared);
        Self::new(Over::Redis(server))
    }

    /// Returns this server, under a namespace of its own.
    #[must_use]
    pub fn over(server: RedisServer) -> Self {
        Self::new(Over::Redis(Arc::new(server)))
    }

    /// Whether several caches over it share anything.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        !matches!(self.over, Over::Nothing)
    }

    /// Returns the settings of a cache over this tier that no delay of the machine makes impatient.
    pub fn builder(&self) -> CacheBuilder {
        let builder = patient(&self.namespace);
        match &self.over {
            Over::Nothing => builder,
            Over::InProcess(tier) => builder.in_process(tier),
            Over::Redis(server) => builder.reach(server.url()),
        }
    }

    /// Builds a cache over this tier: one more instance.
    ///
    /// # Panics
    /// When the settings are wrong.
    pub async fn cache(&self) -> TieredCache {
        built(self.builder()).await
    }

    /// Builds an invalidator of its caches, as patient as they are.
    ///
    /// # Panics
    /// Without a shared tier, or when the settings are wrong.
    pub async fn invalidator(&self) -> Invalidator {
        let builder = Invalidator::builder(&self.namespace).connect_limit(PATIENCE).command_limit(PATIENCE).tag_cells(CELLS);
        let builder = match &self.over {
            Over::Nothing => builder,
            Over::InProcess(tier) => builder.in_process(tier),
            Over::Redis(server) => builder.reach(server.url()),
        };
        builder.build().await.unwrap_or_else(|error| panic!("no invalidator: {error}"))
    }

    /// Builds two: without a shared tier the same one, since nobody else could invalidate what it holds.
    pub async fn pair(&self) -> (TieredCache, TieredCache) {
        let first = self.cache().await;
        let second = if self.is_shared() { self.cache().await } else { first.clone() };
        (first, second)
    }

    /// The namespace that its caches share.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Returns the name under which the shared tier knows a key.
    #[must_use]
    pub fn name(&self, key: &str) -> String {
        format!("ct:{}:v:{key}", self.namespace)
    }

    /// Returns the names under which a server keeps the lane, or the lanes: their states and their tables of tags.
    #[must_use]
    pub fn lanes(&self) -> Vec<String> {
        let of = |room: &str| ["lane", "tags"].map(|what| format!("ct:{{{room}}}:{what}"));
        if Chosen::chosen() == Chosen::Cluster {
            return (0..PARTS).flat_map(|part| of(&name_of_part(&self.namespace, part))).collect();
        }
        of(&self.namespace).into()
    }

    /// Says whether the shared tier holds a value of a cache under `key`.
    #[must_use]
    #[track_caller]
    pub fn holds_value(&self, key: &str) -> bool {
        match &self.over {
            Over::Nothing => false,
            Over::InProcess(tier) => tier.holds_value(&self.name(key)),
            Over::Redis(server) => first_byte(server, &self.name(key)) == Some(0xf6),
        }
    }

    /// Says whether the shared tier holds a ticket under `key`: the right of one instance to load it.
    #[must_use]
    #[track_caller]
    pub fn holds_ticket(&self, key: &str) -> bool {
        match &self.over {
            Over::Nothing => false,
            Over::InProcess(tier) => tier.holds_ticket(&self.name(key)),
            Over::Redis(server) => first_byte(server, &self.name(key)) == Some(0xf5),
        }
    }

    /// Drops `key` in the shared tier and tells nobody: a plain `DEL` by somebody else. Says whether it held something.
    #[track_caller]
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn evict(&self, key: &str) -> bool {
        match &self.over {
            Over::Nothing => false,
            Over::InProcess(tier) => tier.evict(&self.name(key)),
            Over::Redis(server) => server.command(&["DEL", &self.name(key)]) == Reply::Int(1),
        }
    }

    /// Writes `bytes` under `key`, as a foreign program would.
    ///
    /// # Panics
    /// When the server refuses.
    #[track_caller]
    pub fn put(&self, key: &str, bytes: &[u8]) {
        match &self.over {
            Over::Nothing => {}
            Over::InProcess(tier) => tier.put(&self.name(key), bytes),
            Over::Redis(server) => {
                let reply = server.command(&[b"SET", self.name(key).as_bytes(), bytes]);
                assert_eq!(reply, Reply::Status("OK".to_owned()));
            }
        }
    }

    /// Returns the bytes under `key`, where there is a server to ask.
    #[must_use]
    #[track_caller]
    pub fn bytes(&self, key: &str) -> Option<Vec<u8>> {
        match self.server()?.command(&["GET", &self.name(key)]) {
            Reply::Bulk(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// Makes `key` hold a list, as a foreign program would.
    ///
    /// # Panics
    /// When the server refuses, or the key holds something.
    #[track_caller]
    pub fn put_list(&self, key: &str) {
        match &self.over {
            Over::Nothing => {}
            Over::InProcess(tier) => tier.put_other_type(&self.name(key)),
            Over::Redis(server) => assert_eq!(server.command(&["LPUSH", &self.name(key), "x"]), Reply::Int(1)),
        }
    }

    /// The server, where there is one.
    #[must_use]
    pub fn server(&self) -> Option<&RedisServer> {
        match &self.over {
            Over::Redis(server) => Some(server),
            Over::Nothing | Over::InProcess(_) => None,
        }
    }
}

#[track_caller]
fn first_byte(server: &RedisServer, name: &str) -> Option<u8> {
    match server.command(&["GETRANGE", name, "0", "0"]) {
        Reply::Bulk(bytes) => bytes.first().copied(),
        _ => None,
    }
}

/// Returns settings that no delay of the machine makes impatient.
fn patient(namespace: &str) -> CacheBuilder {
    let builder = TieredCache::builder(namespace).connect_limit(PATIENCE).command_limit(PATIENCE).read_limit(PATIENCE);
    builder.load_limit(PATIENCE).lease(PATIENCE).wait_budget(PATIENCE).max_staleness(120 * PATIENCE).tag_cells(CELLS)
}

async fn built(builder: CacheBuilder) -> TieredCache {
    match builder.build().await {
        Ok(cache) => cache,
        Err(error) => panic!("the settings are wrong: {error}"),
    }
}

/// What a loader fails with; not `Clone`, as most errors are not.
#[derive(Debug, PartialEq, Eq)]
pub struct Oops(pub &'static str);

impl std::fmt::Display for Oops {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Oops {}

/// What values are loaded from: one number that changes, and the count of its reads.
#[derive(Debug, Default)]
pub struct Origin {
    version: AtomicU64,
    loads: AtomicUsize,
}

impl Origin {
    /// Returns an origin that holds `version`.
    #[must_use]
    pub fn at(version: u64) -> Self {
        Self { version: AtomicU64::new(version), loads: AtomicUsize::new(0) }
    }

    /// Commits another version.
    pub fn commit(&self, version: u64) {
        self.version.store(version, Ordering::SeqCst);
    }

    /// Returns how often it was read.
    #[must_use]
    pub fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    /// Reads the version.
    ///
    /// # Errors
    /// None: the type is that of a loader.
    #[expect(clippy::unused_async, reason = "a loader is async")]
    pub async fn load(&self) -> Result<u64, Oops> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        Ok(self.version.load(Ordering::SeqCst))
    }

    /// Reads the version, then waits at the gate, then returns what it has read: old by then, if something was committed.
    ///
    /// # Errors
    /// As [`Origin::load`].
    pub async fn load_slowly(&self, gate: &Gate) -> Result<u64, Oops> {
        let read = self.load().await;
        gate.wait().await;
        read
    }
}
