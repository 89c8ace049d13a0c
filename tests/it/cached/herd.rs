//! Many callers of a cached function at once.

use std::sync::Arc;

use cachetier::{TieredCache, cached, scope};
use cachetier_tests::{Gate, eventually_async, over_each};

use crate::{Db, LONG};

const CALLERS: u64 = 1_000;

#[cached(key = "user:{id}", ttl = "5m", tags = ["users", "org:{org}"])]
async fn by_template(db: &Db, gate: &Gate, org: u64, id: u64) -> Result<u64, std::fmt::Error> {
    gate.wait().await;
    Ok(db.query(org + id))
}

#[cached(ttl = "5m", tags = ["users"], skip(db, gate))]
async fn by_arguments(db: &Db, gate: &Gate, org: u64, name: String) -> Option<String> {
    gate.wait().await;
    Some(db.query(format!("{name} of {org}")))
}

/// Calls a thousand times at once; returns how often the source was asked.
async fn herd(cache: &TieredCache, call: impl AsyncFn(Arc<Db>, Gate) + Clone + 'static) -> usize {
    let (db, gate, local) = (Arc::new(Db::default()), Gate::new(), tokio::task::LocalSet::new());
    let before = cache.stats();
    local
        .run_until(async {
            let callers: Vec<_> = (0..CALLERS)
                .map(|_| {
                    let (db, gate, call) = (Arc::clone(&db), gate.clone(), call.clone());
                    tokio::task::spawn_local(scope(cache.clone(), async move { call(db, gate).await }))
                })
                .collect();
            eventually_async(LONG, "all ask at once", async || cache.stats().l1_misses - before.l1_misses == CALLERS).await;
            gate.open();
            for caller in callers {
                tokio::time::timeout(LONG, caller).await.expect("a caller was forgotten").expect("no panic");
            }
        })
        .await;
    assert_eq!(cache.stats().coalesced - before.coalesced, CALLERS - 1);
    db.queries()
}

#[tokio::test]
async fn a_thousand_callers_ask_the_source_once() {
    over_each(async |tier| {
        let cache = tier.cache().await;
        let template = async |db: Arc<Db>, gate: Gate| assert_eq!(by_template(&db, &gate, 7, 42).await, Ok(49));
        assert_eq!(herd(&cache, template).await, 1);
        let arguments = async |db: Arc<Db>, gate: Gate| {
            assert_eq!(by_arguments(&db, &gate, 7, "Ada".to_owned()).await.as_deref(), Some("Ada of 7"));
        };
        assert_eq!(herd(&cache, arguments).await, 1);
    })
    .await;
}
