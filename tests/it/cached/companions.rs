//! The functions beside a cached function.

use cachetier::{CacheError, KeyPart, TieredCache, cached};

use crate::{Db, scoped};

#[cached(key = "user:{id}", ttl = "5m", tags = ["org:{org}"])]
async fn load(db: &Db, org: u64, name: &str, id: u64) -> u64 {
    let _ = (org, name);
    db.query(id)
}

#[cached(ttl = "5m", companions = of_other, skip(db))]
async fn other<T: KeyPart, const N: usize>(db: &Db, id: T, list: [u8; N]) -> usize {
    let _ = (id, list);
    db.query(N)
}

#[tokio::test]
async fn they_take_what_the_key_and_the_tags_name_in_order() {
    assert_eq!(load::key(7, 42), "user:42");
    scoped(async |cache: TieredCache| {
        let db = Db::default();
        load(&db, 7, "x", 42).await;
        assert_eq!(cache.get::<u64>(&load::key(7, 42)).await, Some(42), "the key is the one it is stored under");
        load::invalidate(7, 42).await.expect("invalidated");
        assert_eq!(cache.get::<u64>("user:42").await, None);
        load(&db, 7, "x", 42).await;
        assert_eq!(db.queries(), 2);
    })
    .await;
}

#[tokio::test]
async fn the_key_of_all_arguments_is_the_same_for_call_and_companion() {
    scoped(async |cache: TieredCache| {
        let db = Db::default();
        other(&db, "a:b", [1, 2]).await;
        let key = of_other::key("a:b", [1, 2]);
        assert_eq!(key, "cached.companions.other:%26str:2:a%3Ab:(1,2)");
        assert_eq!(cache.get::<usize>(&key).await, Some(2));
        of_other::invalidate("a:b", [1, 2]).await.expect("invalidated");
        other(&db, "a:b", [1, 2]).await;
        other(&db, 7, [1, 2]).await;
        assert_eq!(db.queries(), 3);
    })
    .await;
}

#[tokio::test]
async fn without_a_cache_an_invalidation_says_so_and_the_function_just_runs() {
    let db = Db::default();
    assert_eq!(load::invalidate(7, 42).await, Err(CacheError::NoCache));
    assert_eq!((load(&db, 7, "x", 42).await, load(&db, 7, "x", 42).await, db.queries()), (42, 42, 2));
}

mod outer {
    #[derive(Clone, Copy, Debug, cachetier::KeyPart)]
    pub(crate) struct Id(pub(crate) u64);

    pub(crate) mod inner {
        use cachetier::cached;

        /// Only `super` sees it, and so do its companions.
        #[cached(key = "inner:{id}", ttl = "5m")]
        pub(super) async fn hidden(id: super::Id) -> u64 {
            id.0
        }

        #[cached(key = "inner:{id}/{super::twice(id.0)}", ttl = "5m")]
        pub(crate) async fn shown(id: super::Id, also: self::Also) -> u64 {
            let _ = also;
            hidden(id).await
        }

        #[derive(Clone, Copy, Debug)]
        pub(crate) struct Also;
    }

    pub(crate) fn twice(number: u64) -> u64 {
        2 * number
    }

    pub(crate) fn hidden_key(id: Id) -> String {
        inner::hidden::key(id)
    }
}

#[tokio::test]
async fn they_see_what_the_function_sees_and_are_seen_where_it_is() {
    assert_eq!(outer::hidden_key(outer::Id(7)), "inner:7");
    assert_eq!(outer::inner::shown::key(outer::Id(7)), "inner:7/14");
    assert_eq!(outer::inner::shown(outer::Id(7), outer::inner::Also).await, 7);
}

mod load_by_hand {
    pub(crate) const ANSWER: u64 = 42;
}

/// A module of this name is there already, so it has none of its own.
#[cached(key = "by-hand", ttl = "5m", companions = none)]
async fn load_by_hand(db: &Db) -> u64 {
    db.query(load_by_hand::ANSWER)
}

#[tokio::test]
async fn there_may_be_none() {
    scoped(async |_| {
        let db = Db::default();
        assert_eq!((load_by_hand(&db).await, load_by_hand(&db).await, db.queries()), (42, 42, 1));
    })
    .await;
}

#[cfg(any())]
#[cached(key = "gone", ttl = "5m")]
async fn gone() -> NoSuchType {
    unreachable!()
}

#[cached(key = "here", ttl = "5m")]
#[cfg(all(test, not(windows)))]
async fn gone() -> u64 {
    1
}

#[tokio::test]
async fn what_is_left_out_of_the_program_has_none() {
    assert_eq!(gone::key(), "here");
    assert_eq!(gone().await, 1);
}

trait Entity {
    const KIND: &'static str;
}

struct User;

impl Entity for User {
    const KIND: &'static str = "user";
}

trait Holds {
    type Item;
    fn cache() -> Option<TieredCache>;
}

impl Holds for User {
    type Item = u64;

    fn cache() -> Option<TieredCache> {
        None
    }
}

#[cached(key = "{T::KIND}:{id}", ttl = "5m")]
async fn entity<T: Entity>(id: u64) -> u64 {
    id
}

#[cached(key = "held:{id}", ttl = "5m", cache = S::cache())]
async fn held<S>(id: u64) -> u64
where
    S: Holds<Item = u64>,
{
    id
}

#[tokio::test]
async fn they_are_generic_over_what_the_key_or_the_cache_names_alone() {
    assert_eq!(entity::key::<User>(7), "user:7");
    assert_eq!(held::invalidate::<User>(7).await, Err(CacheError::NoCache));
    assert_eq!((entity::<User>(7).await, held::<User>(7).await), (7, 7));
}

struct Table<T>(T);

impl<T> Table<T> {
    #[cached(ttl = "5m", skip(self))]
    async fn find(&self, id: T) -> u64
    where
        T: KeyPart,
        Self: Sized,
    {
        let _ = id;
        7
    }

    #[cached(key = "made:{id}", ttl = "5m")]
    async fn made(id: u64) -> u64
    where
        Self: Sized,
    {
        id
    }

    #[cached(key = "{Self::kind()}:{id}", ttl = "5m")]
    async fn kind_of(id: u64) -> u64 {
        id
    }

    fn kind() -> usize {
        size_of::<T>()
    }
}

#[test]
fn they_have_the_conditions_of_a_methods_own_type() {
    let table = Table(1_u8);
    assert_eq!(table.find_key(2), "cached.companions.Table<_>.find:cached%3A%3Acompanions%3A%3ATable%3Cu8%3E:2");
    assert_eq!(table.0, 1);
}

#[tokio::test]
async fn they_stand_beside_a_function_that_says_self_as_beside_a_method() {
    assert_eq!(Table::<u8>::made_key(7), "made:7");
    assert_eq!(Table::<u16>::kind_of_key(7), "2:7");
    assert_eq!((Table::<u8>::made(7).await, Table::<u8>::kind_of(7).await), (7, 7));
}

#[cached(ttl = "5m")]
async fn in_parts(id: u64, #[cfg(any())] gone: NoSuchType, #[cfg(test)] here: u8) -> u64 {
    id + u64::from(here)
}

#[tokio::test]
async fn an_argument_that_is_left_out_of_the_program_is_left_out_of_the_key() {
    assert_eq!(in_parts::key(7, 1), "cached.companions.in_parts:7:1");
    assert_eq!(in_parts(7, 1).await, 8);
}

mod attributed {
    #![deny(non_snake_case, deprecated)]

    /// Neither its companions nor what they are called is told again.
    #[allow(non_snake_case)]
    #[deprecated(note = "as an example")]
    #[doc(hidden)]
    #[cachetier::cached(key = "attributed", ttl = "5m")]
    pub(super) async fn Load() -> u64 {
        7
    }
}

#[test]
fn they_have_what_is_said_of_the_function() {
    #[expect(deprecated, reason = "its companion is, too")]
    let key = attributed::Load::key();
    assert_eq!(key, "attributed");
}
