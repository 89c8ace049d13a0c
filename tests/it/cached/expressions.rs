//! What may be written where an option takes an expression.

use std::sync::OnceLock;

use cachetier::{TieredCache, cached, invalidates};

use crate::scoped;

static CACHE: OnceLock<TieredCache> = OnceLock::new();

struct Service {
    cache: TieredCache,
}

impl Service {
    fn cache(&self) -> TieredCache {
        self.cache.clone()
    }

    #[cached(key = "a:{id}", ttl = "5m", cache = self.cache())]
    async fn of_a_call(&self, id: u64) -> u64 {
        id
    }

    #[cached(key = "b:{id}", ttl = "5m", cache = &self.cache)]
    async fn of_a_reference(&self, id: u64) -> u64 {
        id
    }

    #[invalidates(key = "a:{id}", cache = &self.cache())]
    async fn forget(&self, id: u64) {
        let _ = id;
    }
}

#[cached(key = "c:{id}", ttl = "5m", cache = &CACHE)]
async fn of_a_static(id: u64) -> u64 {
    id
}

#[cached(key = "d:{id}", ttl = "5m", cache = CACHE.get().expect("set"))]
async fn of_what_a_static_holds(id: u64) -> u64 {
    id
}

#[cached(key = "e:{id}", ttl = "5m", cache = cache)]
async fn of_an_owned_one(cache: TieredCache, id: u64) -> u64 {
    drop(cache);
    id
}

/// A reference to what is made for the call alone would end before it is used.
#[tokio::test]
async fn the_cache_may_be_any_expression() {
    let service = Service { cache: crate::cache().await };
    CACHE.set(service.cache()).expect("not set yet");
    let sent = tokio::spawn(async move {
        for _ in 0..2 {
            service.of_a_call(1).await;
            service.of_a_reference(1).await;
            of_a_static(1).await;
            of_what_a_static_holds(1).await;
            of_an_owned_one(service.cache(), 1).await;
        }
        assert_eq!((service.cache.stats().loads, service.cache.stats().l1_hits), (5, 5));
        service.forget(1).await;
        assert_eq!(service.cache.get::<u64>("a:1").await, None);
        service.of_a_reference_invalidate(1).await.expect("invalidated");
        of_what_a_static_holds::invalidate(1).await.expect("invalidated");
        assert_eq!((service.cache.get::<u64>("b:1").await, service.cache.get::<u64>("d:1").await), (None, None));
    });
    sent.await.expect("no panic");
}

struct Tagged {
    tag: String,
}

impl Tagged {
    #[cached(key = "of-tagged", tags = [self.tag], ttl = "5m", companions = none)]
    async fn load(&self) -> usize {
        self.tag.len()
    }
}

#[invalidates(tags = [org], keys = [org])]
async fn forget_tag(org: String) -> String {
    org
}

#[tokio::test]
async fn a_tag_is_only_looked_at() {
    scoped(async |cache: TieredCache| {
        assert_eq!(Tagged { tag: "abc".into() }.load().await, 3);
        assert_eq!(cache.get::<usize>("of-tagged").await, Some(3));
        assert_eq!(forget_tag("abc".into()).await, "abc");
        assert_eq!(cache.get::<usize>("of-tagged").await, None);
    })
    .await;
}
