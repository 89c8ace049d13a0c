//! What may be written where an option takes an expression.

use std::sync::OnceLock;

use cachetier::{KeyPart, TieredCache, cached, invalidates};

use crate::{Db, scoped};

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

#[derive(KeyPart)]
struct Page {
    number: u32,
}

#[cached(key = "part:{&name[..length]}", ttl = "5m")]
async fn behind_dots(name: &str, length: usize) -> usize {
    name.len() + length
}

#[cached(key = "page:{Page { number: page }}/{Page { number }}", ttl = "5m")]
async fn in_a_field(page: u32, number: u32) -> u32 {
    page + number
}

#[cached(key = "id:{format!(\"{id:width$x}{{other}}\")}", ttl = "5m")]
async fn in_formatted_text(other: u8, x: u8, id: u8, width: usize) -> usize {
    usize::from(id + x + other) + width
}

#[test]
fn a_companion_takes_what_a_template_names_wherever_it_stands() {
    assert_eq!(behind_dots::key("abc", 2), "part:ab");
    assert_eq!(in_a_field::key(7, 8), "page:(7)/(8)");
    assert_eq!(in_formatted_text::key(7, 3), "id:%20%207%7Bother%7D");
}

macro_rules! tagged {
    ($name:ident, $key:literal, $tag:literal, $ttl:literal, $group:expr) => {
        #[cached(key = $key, tags = [$tag, $group], ttl = $ttl)]
        async fn $name(db: &Db, org: u64) -> u64 {
            db.query(org)
        }
    };
}

tagged!(tagged, "tagged:{org}", "org:{org}", "5m", "group:{org}");

macro_rules! forgets {
    ($name:ident, $tags:expr, $prefix:literal) => {
        #[invalidates(tags = $tags, prefix = $prefix)]
        async fn $name(org: u64) {
            let _ = org;
        }
    };
}

forgets!(forget, ["org:{org}"], "other:{org}:");

#[tokio::test]
async fn a_template_may_come_through_a_macro() {
    scoped(async |cache: TieredCache| {
        let db = Db::default();
        tagged(&db, 7).await;
        cache.invalidate_tag("org:7").await.expect("invalidated");
        tagged(&db, 7).await;
        cache.invalidate_tag("group:7").await.expect("invalidated");
        tagged(&db, 7).await;
        assert_eq!(db.queries(), 3);
        forget(7).await;
        tagged(&db, 7).await;
        assert_eq!(db.queries(), 4);
    })
    .await;
}

mod named_like_companions {
    use cachetier::cached;

    fn key(id: u64) -> u64 {
        10 * id
    }

    fn invalidate(id: u64) -> u64 {
        100 * id
    }

    #[cached(key = "k:{key(id)}/{Some(id).map_or(0, invalidate)}/{format!(\"{}\", key(id))}", ttl = "5m")]
    pub(super) async fn functions(id: u64) -> u64 {
        id
    }

    #[cached(key = "k:{key}/{Some(1).map_or(0, |invalidate| invalidate + 1)}", ttl = "5m")]
    pub(super) async fn variables(key: u64) -> u64 {
        key
    }
}

/// The companion's own name once came before them, and it called itself for ever.
#[test]
fn a_function_may_be_called_as_a_companion_is() {
    assert_eq!(named_like_companions::functions::key(7), "k:70/700/70");
    assert_eq!(named_like_companions::variables::key(7), "k:7/2");
}

mod crate_from_above {
    pub(super) use cachetier as renamed;

    pub(super) mod inner {
        #[super::renamed::cached(key = "above:{id}", ttl = "5m", crate = super::renamed)]
        pub(crate) async fn load(id: u64) -> u64 {
            id
        }
    }
}

#[tokio::test]
async fn the_crate_may_be_named_from_where_the_function_stands() {
    scoped(async |cache: TieredCache| {
        assert_eq!(crate_from_above::inner::load(7).await, 7);
        crate_from_above::inner::load::invalidate(7).await.expect("invalidated");
        assert_eq!(cache.get::<u64>("above:7").await, None);
    })
    .await;
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
