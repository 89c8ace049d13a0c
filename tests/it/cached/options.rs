//! What each option does.

use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use cachetier::{Clock, Policy, TieredCache, cached};

use crate::{Db, scoped};

const TTL: Duration = Duration::from_secs(60);
const TAG: &str = "named";

#[cached(key = "a:{id}", ttl = "1m")]
async fn ttl_as_text(db: &Db, id: u64) -> u64 {
    db.query(id)
}

#[cached(key = "b:{id}", ttl = TTL + TTL)]
async fn ttl_as_expression(db: &Db, id: u64) -> u64 {
    db.query(id)
}

#[cached(key = "c:{id}", ttl = "10m", l1_ttl = "1m")]
async fn l1_ttl(db: &Db, id: u64) -> u64 {
    db.query(id)
}

#[cached(key = "d:{id}", ttl = "10m", negative_ttl = "1m")]
async fn negative_ttl(db: &Db, id: u64) -> Option<u64> {
    db.query(None.or(id.checked_sub(1_000)))
}

#[cached(key = "e:{id}", policy = Policy::ttl(TTL).jitter(0))]
async fn policy(db: &Db, id: u64) -> u64 {
    db.query(id)
}

/// After how many seconds a value is no longer there, by a clock turned by hand. Jitter takes up to a tenth off.
async fn life(read: impl AsyncFn(&Db)) -> u64 {
    let (clock, hand) = Clock::manual();
    let cache = TieredCache::builder("lives").clock(clock).build().await.expect("a cache");
    let db = Db::default();
    cachetier::scope(cache, async {
        read(&db).await;
        read(&db).await;
        assert_eq!(db.queries(), 1, "kept");
        for second in 1..2_000 {
            hand.advance(Duration::from_secs(1));
            read(&db).await;
            if db.queries() == 2 {
                return second;
            }
        }
        panic!("it lives for ever");
    })
    .await
}

#[tokio::test]
async fn a_value_lives_as_long_as_it_is_told() {
    let text = life(async |db| assert_eq!(ttl_as_text(db, 1).await, 1)).await;
    assert!((54..=60).contains(&text), "{text}");
    let expression = life(async |db| assert_eq!(ttl_as_expression(db, 1).await, 1)).await;
    assert!((108..=120).contains(&expression), "{expression}");
    let local = life(async |db| assert_eq!(l1_ttl(db, 1).await, 1)).await;
    assert!((54..=60).contains(&local), "{local}");
    let negative = life(async |db| assert_eq!(negative_ttl(db, 1).await, None)).await;
    assert!((54..=60).contains(&negative), "{negative}");
    let by_policy = life(async |db| assert_eq!(policy(db, 1).await, 1)).await;
    assert_eq!(by_policy, 60);
}

#[tokio::test]
async fn that_there_is_nothing_is_remembered_only_where_it_is_told() {
    #[cached(key = "nothing:{id}", ttl = "10m", companions = none)]
    async fn without(db: &Db, id: u64) -> Option<u64> {
        db.query(id.checked_sub(1_000))
    }
    scoped(async |_| {
        let db = Db::default();
        assert_eq!((without(&db, 1).await, without(&db, 1).await, db.queries()), (None, None, 2));
        assert_eq!((negative_ttl(&db, 1).await, negative_ttl(&db, 1).await, db.queries()), (None, None, 3));
    })
    .await;
}

#[cached(key = "tagged:{id}", ttl = "10m", tags = ["fixed", "org:{org}", "{org}/{id}", TAG, format!("made:{id}")])]
async fn tagged(db: &Db, org: &str, id: u64) -> u64 {
    db.query(id + org.len() as u64)
}

#[tokio::test]
async fn every_tag_is_carried() {
    scoped(async |cache: TieredCache| {
        let db = Db::default();
        for (round, tag) in ["fixed", "org:a%3Ab", "a%3Ab/7", "named", "made:7"].into_iter().enumerate() {
            tagged(&db, "a:b", 7).await;
            tagged(&db, "a:b", 7).await;
            assert_eq!(db.queries(), round + 1, "before {tag}");
            cache.invalidate_tag(tag).await.expect("invalidated");
        }
        tagged(&db, "a:b", 7).await;
        cache.invalidate_tag("org:a").await.expect("invalidated");
        tagged(&db, "a:b", 7).await;
        assert_eq!(db.queries(), 6, "one that it does not carry");
    })
    .await;
}

/// How many seconds a token lives.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the rule is shown the value where it is")]
fn seconds(token: &u64) -> Duration {
    Duration::from_secs(*token)
}

#[cached(key = "living:{id}", ttl = "10m", ttl_with = seconds)]
async fn living(db: &Db, id: u64) -> Option<u64> {
    db.query(Some(id))
}

#[cached(key = "by_policy:{id}", policy = Policy::ttl(TTL).jitter(0), ttl_with = |token| Duration::from_secs(token + 5))]
async fn living_by_policy(db: &Db, id: u64) -> Result<Option<u64>, String> {
    db.query(Ok(Some(id)))
}

#[cached(
    key = "asked:{id}",
    ttl = "10m",
    tags = ["all"],
    cache_if = |names| !names.is_empty(),
    ttl_with = |names| TTL * names.first().map_or(0, |_| 1),
    tags_with = |names| names.iter().map(|name| format!("name:{name}")).collect::<Vec<_>>(),
)]
async fn asked(db: &Db, id: u64, names: &[&str]) -> Result<Vec<String>, String> {
    db.query(Ok(names.iter().map(ToString::to_string).collect()))
}

#[tokio::test]
async fn a_value_lives_as_long_as_it_says_itself() {
    let by_function = life(async |db| assert_eq!(living(db, 30).await, Some(30))).await;
    assert!((27..=30).contains(&by_function), "{by_function}");
    let by_closure = life(async |db| assert_eq!(living_by_policy(db, 30).await, Ok(Some(30)))).await;
    assert_eq!(by_closure, 35);
}

#[tokio::test]
async fn a_value_says_whether_it_is_kept_and_which_tags_it_carries() {
    scoped(async |cache: TieredCache| {
        let db = Db::default();
        // What is not kept is asked nothing more.
        assert_eq!((asked(&db, 1, &[]).await, asked(&db, 1, &[]).await, db.queries()), (Ok(vec![]), Ok(vec![]), 2));
        for (round, tag) in ["all", "name:a", "name:b"].into_iter().enumerate() {
            asked(&db, 1, &["a", "b"]).await.expect("loaded");
            asked(&db, 1, &["a", "b"]).await.expect("loaded");
            assert_eq!(db.queries(), 3 + round, "before {tag}");
            cache.invalidate_tag(tag).await.expect("invalidated");
        }
        asked(&db, 1, &["a", "b"]).await.expect("loaded");
        cache.invalidate_tag("name:c").await.expect("invalidated");
        asked(&db, 1, &["a", "b"]).await.expect("loaded");
        assert_eq!(db.queries(), 6, "one that it does not carry");
    })
    .await;
}

/// A closure sees the arguments that the body does not take with it.
#[tokio::test]
async fn what_is_asked_about_a_value_may_use_the_arguments() {
    #[cached(key = "pages:{page}", ttl = "10m", cache_if = |rows| rows.len() == size, companions = none)]
    async fn full_pages(db: &Db, page: u64, size: usize) -> Vec<u64> {
        db.query((0..page).collect())
    }
    scoped(async |_| {
        let db = Db::default();
        for _ in 0..2 {
            assert_eq!(full_pages(&db, 3, 3).await.len(), 3);
            assert_eq!(full_pages(&db, 2, 3).await.len(), 2);
        }
        assert_eq!(db.queries(), 3, "the full one once, the other twice");
    })
    .await;
}

#[cached(ttl = "10m", skip(db, noise))]
async fn skipping(db: &Db, id: u64, noise: f32, name: &str) -> u64 {
    let _ = (noise, name);
    db.query(id)
}

#[tokio::test]
async fn every_argument_but_those_skipped_is_part_of_the_key() {
    scoped(async |_| {
        let db = Db::default();
        skipping(&db, 1, 0.5, "a").await;
        skipping(&db, 1, 0.7, "a").await;
        assert_eq!(db.queries(), 1);
        skipping(&db, 2, 0.5, "a").await;
        skipping(&db, 1, 0.5, "b").await;
        assert_eq!(db.queries(), 3);
    })
    .await;
    assert_eq!(skipping::key(1, "a:b"), "cached.options.skipping:1:a%3Ab");
}

#[cached(key = "{id}", group = "user", version = 2, ttl = "10m")]
async fn grouped(db: &Db, id: u64) -> u64 {
    db.query(id)
}

#[cached(group = "user.search", version = 3, ttl = "10m", skip(db))]
async fn grouped_without_key(db: &Db, name: &str, page: u8) -> u8 {
    let _ = name;
    db.query(page)
}

#[cached(key = "plain:{id}", version = 1, ttl = "10m")]
async fn versioned(db: &Db, id: u64) -> u64 {
    db.query(id)
}

#[tokio::test]
async fn a_group_begins_the_key_and_a_version_ends_it() {
    assert_eq!(grouped::key(7), "user:7#2");
    assert_eq!(grouped_without_key::key("a#3", 1), "user.search:a%233:1#3");
    assert_eq!(versioned::key(7), "plain:7#1");
    scoped(async |cache: TieredCache| {
        let db = Db::default();
        grouped(&db, 7).await;
        grouped_without_key(&db, "x", 1).await;
        cache.invalidate_prefix("user:").await.expect("invalidated");
        grouped(&db, 7).await;
        grouped_without_key(&db, "x", 1).await;
        assert_eq!(db.queries(), 3, "the group is a prefix");
    })
    .await;
}

static INSTANCE: OnceLock<TieredCache> = OnceLock::new();
static NONE_YET: LazyLock<Option<TieredCache>> = LazyLock::new(|| None);

#[cached(key = "given:{id}", ttl = "10m", cache = cache)]
async fn of_an_argument(cache: &Arc<TieredCache>, db: &Db, id: u64) -> u64 {
    let _ = cache;
    db.query(id)
}

#[cached(key = "given:{id}", ttl = "10m", cache = INSTANCE)]
async fn of_a_static(db: &Db, id: u64) -> u64 {
    db.query(id)
}

#[cached(key = "given:{id}", ttl = "10m", cache = NONE_YET)]
async fn of_nobody(db: &Db, id: u64) -> u64 {
    db.query(id)
}

struct Service {
    cache: TieredCache,
    db: Db,
}

impl Service {
    #[cached(key = "given:{id}", ttl = "10m", cache = self.cache)]
    async fn of_itself(&self, id: u64) -> u64 {
        self.db.query(id)
    }
}

#[tokio::test]
async fn the_cache_is_the_one_that_is_named() {
    let (one, two, three) = (Arc::new(crate::cache().await), crate::cache().await, crate::cache().await);
    INSTANCE.set(two.clone()).expect("not set yet");
    let service = Service { cache: three.clone(), db: Db::default() };
    let db = Db::default();
    for _ in 0..2 {
        of_an_argument(&one, &db, 7).await;
        of_a_static(&db, 7).await;
        service.of_itself(7).await;
    }
    assert_eq!((db.queries(), service.db.queries()), (2, 1));
    for cache in [&*one, &two, &three] {
        assert_eq!((cache.stats().loads, cache.stats().l1_hits), (1, 1));
    }
    of_nobody(&db, 7).await;
    of_nobody(&db, 7).await;
    assert_eq!(db.queries(), 4, "without a cache it just runs");
    of_an_argument::invalidate(&one, 7).await.expect("invalidated");
    service.of_itself_invalidate(7).await.expect("invalidated");
    of_an_argument(&one, &db, 7).await;
    of_a_static(&db, 7).await;
    service.of_itself(7).await;
    assert_eq!((db.queries(), service.db.queries()), (5, 2), "each companion means the same cache");
}

/// Neither `Clone` nor able to hold another.
#[derive(Debug, PartialEq)]
struct Failure(u32);

fn again(error: &Failure) -> Failure {
    Failure(error.0 + 1)
}

#[cached(key = "fails:{id}", ttl = "10m", share_error = again)]
async fn sharing(db: &Db, id: u64) -> Result<u64, Failure> {
    tokio::task::yield_now().await;
    db.query(Err(Failure(u32::try_from(id).unwrap_or_default())))
}

#[tokio::test]
async fn an_error_is_shared_as_it_is_told() {
    scoped(async |_| {
        let db = Db::default();
        let (one, two, three) = tokio::join!(sharing(&db, 7), sharing(&db, 7), sharing(&db, 7));
        assert_eq!(db.queries(), 1);
        assert_eq!([one, two, three], [Err(Failure(8)), Err(Failure(8)), Err(Failure(8))]);
        assert_eq!(sharing(&db, 1).await, Err(Failure(1)), "nobody waited: it is the body's own");
    })
    .await;
}

mod elsewhere {
    pub(super) mod inner {
        pub(crate) use ::cachetier as renamed;
    }

    #[inner::renamed::cached(key = "elsewhere:{id}", ttl = "10m", tags = ["t:{id}"], crate = crate::options::elsewhere::inner::renamed)]
    pub(super) async fn load(db: &crate::Db, id: u64) -> u64 {
        db.query(id)
    }
}

#[tokio::test]
async fn the_crate_may_have_another_name() {
    scoped(async |_| {
        let db = Db::default();
        elsewhere::load(&db, 7).await;
        elsewhere::load(&db, 7).await;
        elsewhere::load::invalidate(7).await.expect("invalidated");
        elsewhere::load(&db, 7).await;
        assert_eq!(db.queries(), 2);
    })
    .await;
}
