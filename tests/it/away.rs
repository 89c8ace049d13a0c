//! A server that is there and of no use: the loader answers, and one line says why and what helps.

use std::time::Duration;

use cachetier::{Delivery, Policy, TieredCache};
use cachetier_tests::{Log, Reach as _};

pub(crate) const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));
/// Long enough for a machine that is busy, and for a cache that is built without its server not to make the test slow.
pub(crate) const LIMIT: Duration = Duration::from_secs(2);

pub(crate) async fn cache(url: impl Into<String>) -> TieredCache {
    let builder = TieredCache::builder("refused").reach(url).connect_limit(LIMIT / 4).command_limit(LIMIT / 2).read_limit(LIMIT);
    builder.build().await.expect("built")
}

/// The loader answers, again and again.
pub(crate) async fn loads(cache: &TieredCache) {
    for key in 0..20_u32 {
        let loaded = cache.get_or_compute(&format!("cold:{key}"), POLICY, async || key).await;
        assert_eq!(loaded.expect("loaded"), key);
    }
    assert_eq!(cache.stats().loads, 20, "{}", cache.stats());
}

/// What was logged of it: one line with the reason and what helps, and no secret.
#[track_caller]
pub(crate) fn told_once(log: &Log, reason: &str, mend: &str) {
    let lines = log.with(&format!("reason={reason}"));
    assert_eq!(lines.len(), 1, "{lines:#?} of {:#?}", log.with(""));
    assert!(lines.iter().all(|line| line.contains(mend)), "{lines:#?}");
    assert!(log.with("hidden").is_empty(), "{:?}", log.with("hidden"));
}

/// A server that refuses from the first: the cache begins without it.
pub(crate) async fn is_away(url: &str, reason: &str, mend: &str) {
    let log = Log::default();
    let _listening = log.listen();
    let cache = cache(url).await;
    loads(&cache).await;
    let stats = cache.stats();
    assert!(stats.l2_away + stats.l2_refused > 0, "{stats}");
    assert_eq!(cache.invalidate("k").await, Ok(Delivery::Pending));
    told_once(&log, reason, mend);
    let required = TieredCache::builder("refused").reach(url).connect_limit(LIMIT / 10).command_limit(LIMIT / 10).require_redis();
    let error = required.build().await.expect_err("it is required");
    assert!(error.field() == "redis" && !error.to_string().contains("hidden"), "{error}");
}
