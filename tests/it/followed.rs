//! A primary that another one takes the place of: caches over it follow, whoever says where the next one is.

use std::time::Duration;

use cachetier::{CacheBuilder, Delivery, Policy, TieredCache};
use cachetier_tests::{Origin, RedisServer, Reply, eventually_async};
use tokio::time::Instant;

pub(crate) const LONG: Duration = Duration::from_secs(30);
/// A key that is in a Cluster where the key `k` is.
pub(crate) const AGAIN: &str = "again:1";
pub(crate) const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));

/// Servers of which one is the primary.
pub(crate) trait Ground {
    /// Under which name a key stands there.
    fn name(key: &str) -> String;

    /// A cache over them.
    fn builder(&self) -> CacheBuilder;

    /// Which one is the primary.
    fn primary(&self) -> usize;

    /// Waits until it is another one than this, and says which.
    fn another(&self, than: usize) -> usize;

    fn server(&self, which: usize) -> &RedisServer;
}

pub(crate) async fn built(builder: CacheBuilder) -> TieredCache {
    builder.build().await.expect("built")
}

pub(crate) async fn read(cache: &TieredCache, key: &str, origin: &Origin) -> u64 {
    cache.get_or_load(key, POLICY, async || origin.load().await).await.expect("loaded")
}

/// Both are in step again: what one tells the other hears, and what one loads the other finds.
pub(crate) async fn in_step(a: &TieredCache, b: &TieredCache) {
    let heard = async || {
        let (pending, told) = (a.stats().pending + b.stats().pending, a.set(AGAIN, 7_u64, POLICY).await);
        pending == 0 && matches!(told, Ok(Delivery::Applied(_))) && b.get(AGAIN).await == Some(7_u64)
    };
    eventually_async(LONG, "they are in step", heard).await;
}

/// While the primary is gone a read goes to the loader and an invalidation is pending; behind the change all is told, and nothing old is served.
pub(crate) async fn is_followed<G: Ground>(ground: &mut G, harm: impl FnOnce(&mut G, usize), end: impl FnOnce(&mut G, usize)) {
    let origin = Origin::at(1);
    let (a, b) = (built(ground.builder()).await, built(ground.builder()).await);
    assert_eq!((read(&a, "k", &origin).await, read(&b, "k", &origin).await), (1, 1));
    assert_eq!(origin.loads(), 1, "one for both");
    let old = ground.primary();
    harm(ground, old);
    origin.commit(2);
    let _ = a.invalidate("k").await;
    assert_eq!(read(&a, "k", &origin).await, 2, "who has invalidated it sees that");
    let begun = Instant::now();
    let new = ground.another(old);
    let found = begun.elapsed();
    // Both may be in step with each other by the old one as well, which is lost with it.
    let holds = async || {
        in_step(&a, &b).await;
        ground.server(new).command(&["EXISTS", &G::name(AGAIN)]) == Reply::Int(1)
    };
    eventually_async(LONG, "it goes to the new one", holds).await;
    println!("another primary after {found:?}, in step after {:?}", begun.elapsed());
    assert!(begun.elapsed() < found + Duration::from_secs(10), "{:?} after {found:?}", begun.elapsed());
    end(ground, old);
    for cache in [&a, &b] {
        assert_eq!(read(cache, "k", &origin).await, 2);
    }
    in_step(&a, &b).await;
}
