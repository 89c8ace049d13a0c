//! Calls that differ in a type differ in their keys, wherever the type is told.

use cachetier::{KeyPart, TieredCache, cached};

use crate::{Db, scoped};

/// What a call is told apart by.
trait Kind {
    const NUMBER: u64;
}

struct One;
struct Two;

impl Kind for One {
    const NUMBER: u64 = 1;
}

impl Kind for Two {
    const NUMBER: u64 = 2;
}

trait Count<K> {
    async fn count(&self, id: u64) -> u64;
    async fn of_group(&self, id: u64) -> u64;
    async fn without_self(id: u64) -> u64;
    async fn of_group_without_self(id: u64) -> u64;
}

trait CountToo {
    async fn count(&self, id: u64) -> u64;
}

impl<K: Kind> Count<K> for Db {
    #[cached(ttl = "5m", skip(self), companions = none)]
    async fn count(&self, id: u64) -> u64 {
        id + K::NUMBER
    }

    #[cached(group = "count", ttl = "5m", skip(self), companions = none)]
    async fn of_group(&self, id: u64) -> u64 {
        id + K::NUMBER
    }

    #[cached(ttl = "5m", companions = none)]
    async fn without_self(id: u64) -> u64 {
        id + K::NUMBER
    }

    #[cached(group = "without-self", ttl = "5m", companions = none)]
    async fn of_group_without_self(id: u64) -> u64 {
        id + K::NUMBER
    }
}

impl CountToo for Db {
    #[cached(ttl = "5m", skip(self), companions = none)]
    async fn count(&self, id: u64) -> u64 {
        id + 3
    }
}

#[tokio::test]
async fn what_a_trait_is_generic_over_is_part_of_the_key() {
    scoped(async |_| {
        let db = Db::default();
        assert_eq!((Count::<One>::count(&db, 0).await, Count::<Two>::count(&db, 0).await), (1, 2));
        assert_eq!(CountToo::count(&db, 0).await, 3, "another trait's method of the name");
        assert_eq!((Count::<One>::of_group(&db, 0).await, Count::<Two>::of_group(&db, 0).await), (1, 2));
        assert_eq!((<Db as Count<One>>::without_self(0).await, <Db as Count<Two>>::without_self(0).await), (1, 2));
        let of_group = (<Db as Count<One>>::of_group_without_self(0).await, <Db as Count<Two>>::of_group_without_self(0).await);
        assert_eq!(of_group, (1, 2));
    })
    .await;
}

trait Named {
    const NUMBER: u64;

    #[cached(group = "brought", ttl = "5m", skip(self), companions = none)]
    async fn brought(&self) -> u64 {
        Self::NUMBER
    }

    #[cached(ttl = "5m", companions = none)]
    async fn made() -> u64 {
        Self::NUMBER
    }
}

trait ForAll {
    async fn of_all(&self) -> u64;
}

impl Named for One {
    const NUMBER: u64 = 1;
}

impl Named for Two {
    const NUMBER: u64 = 2;
}

impl<K: Kind> ForAll for K {
    #[cached(group = "all", ttl = "5m", skip(self), companions = none)]
    async fn of_all(&self) -> u64 {
        K::NUMBER
    }
}

impl One {
    #[cached(group = "inherent", ttl = "5m", skip(self))]
    async fn inherent(&self, id: u64) -> u64 {
        id + 1
    }
}

impl Two {
    #[cached(group = "inherent", ttl = "5m", skip(self))]
    async fn inherent(&self, id: u64) -> u64 {
        id + 2
    }
}

#[tokio::test]
async fn a_group_tells_the_types_of_its_methods_apart() {
    scoped(async |cache: TieredCache| {
        assert_eq!((One.brought().await, Two.brought().await), (1, 2), "a method that a trait brings along");
        assert_eq!((One.of_all().await, Two.of_all().await), (1, 2), "one of all types");
        assert_eq!((One.inherent(0).await, Two.inherent(0).await), (1, 2), "two of one group");
        assert_eq!(One.inherent_key(0), "inherent:cached%3A%3Atold_apart%3A%3AOne:0");
        assert_eq!(cache.get::<u64>(&Two.inherent_key(0)).await, Some(2));
        assert_eq!((One::made().await, Two::made().await), (1, 2), "without `self`");
    })
    .await;
}

trait Source {
    fn answer(&self) -> u64;
}

impl Source for One {
    fn answer(&self) -> u64 {
        1
    }
}

impl Source for Two {
    fn answer(&self) -> u64 {
        2
    }
}

#[cached(ttl = "5m", skip(source))]
async fn from(source: &impl Source, id: u64) -> u64 {
    id + source.answer()
}

#[cached(ttl = "5m")]
async fn size_of_id(id: impl KeyPart) -> usize {
    size_of_val(&id)
}

#[tokio::test]
async fn a_type_without_a_name_is_part_of_the_key() {
    scoped(async |cache: TieredCache| {
        assert_eq!((from(&One, 0).await, from(&Two, 0).await), (1, 2));
        assert_eq!(cache.get::<u64>(&from::key(&Two, 0)).await, Some(2), "a companion takes what tells the type");
        let (byte, text, long) = (size_of_id(7_u8).await, size_of_id("7").await, size_of_id(7_u64).await);
        assert_eq!((byte, text, long), (1, size_of::<&str>(), 8));
        assert_eq!(size_of_id::key(7_u8), "cached.told_apart.size_of_id:u8:7");
    })
    .await;
}
