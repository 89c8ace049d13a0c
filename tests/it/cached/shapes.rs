//! Every shape that a cached function may have.

use std::fmt::{Debug, Display};
use std::rc::Rc;
use std::sync::Arc;

use cachetier::{KeyPart, SharedError, TieredCache, Value, cached};
use serde::{Deserialize, Serialize};

use crate::{Db, scoped};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    id: u64,
    org: u64,
}

type Outcome<T, E = String> = Result<T, E>;
type Perhaps<T> = Option<T>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Calls twice, and returns what it was given with how often the source was asked.
async fn twice<T>(db: &Db, call: impl AsyncFn() -> T) -> (T, T, usize) {
    let before = db.queries();
    (call().await, call().await, db.queries() - before)
}

#[cached(key = "value:{id}", ttl = "5m")]
async fn value(db: &Db, id: u64) -> User {
    db.query(User { id, org: 7 })
}

#[cached(key = "unit:{id}", ttl = "5m")]
async fn unit(db: &Db, id: u64) {
    let _ = id;
    db.query(());
}

#[cached(key = "arc:{id}", ttl = "5m")]
async fn pointer(db: &Db, id: u64) -> Arc<User> {
    db.query(Arc::new(User { id, org: 7 }))
}

#[cached(key = "result:{id}", ttl = "5m")]
async fn result(db: &Db, id: u64) -> Result<User, String> {
    db.query(if id == 0 { Err("nobody".to_owned()) } else { Ok(User { id, org: 7 }) })
}

#[cached(key = "alias:{id}", ttl = "5m")]
async fn alias(db: &Db, id: u64) -> Outcome<Perhaps<User>> {
    let found = db.query(Some(User { id, org: 7 }));
    match id {
        0 => Err("nobody".to_owned()),
        1 => Ok(None),
        _ => Ok(found),
    }
}

#[cached(key = "option:{id}", ttl = "5m")]
async fn option(db: &Db, id: u64) -> Perhaps<User> {
    db.query((id > 0).then_some(User { id, org: 7 }))
}

#[tokio::test]
async fn values_are_cached_and_errors_and_nothing_are_not() {
    scoped(async |_| {
        let db = Db::default();
        let user = |id| User { id, org: 7 };
        assert_eq!(twice(&db, async || value(&db, 1).await).await, (user(1), user(1), 1));
        assert_eq!(twice(&db, async || unit(&db, 1).await).await, ((), (), 1));
        let (one, two, queries) = twice(&db, async || pointer(&db, 1).await).await;
        assert!(Arc::ptr_eq(&one, &two) && queries == 1, "a hit clones the pointer");
        assert_eq!(twice(&db, async || result(&db, 1).await).await, (Ok(user(1)), Ok(user(1)), 1));
        assert_eq!(twice(&db, async || result(&db, 0).await.is_err()).await, (true, true, 2));
        assert_eq!(twice(&db, async || alias(&db, 2).await).await, (Ok(Some(user(2))), Ok(Some(user(2))), 1));
        assert_eq!(twice(&db, async || alias(&db, 1).await).await, (Ok(None), Ok(None), 2));
        assert_eq!(twice(&db, async || alias(&db, 0).await.is_err()).await, (true, true, 2));
        assert_eq!(twice(&db, async || option(&db, 1).await).await, (Some(user(1)), Some(user(1)), 1));
        assert_eq!(twice(&db, async || option(&db, 0).await).await, (None, None, 2));
    })
    .await;
}

#[cached(key = "early:{id}", ttl = "5m")]
async fn early(db: &Db, id: u64) -> Result<u64, BoxError> {
    if id == 0 {
        return Err("nothing".into());
    }
    let number: u64 = "17".parse()?;
    if id == 1 {
        return Ok(db.query(number));
    }
    let text = format!("{id}?");
    let parsed: u64 = text.parse()?;
    Ok(parsed)
}

#[tokio::test]
async fn a_body_returns_as_it_would_without_the_attribute() {
    scoped(async |_| {
        let db = Db::default();
        assert_eq!(early(&db, 0).await.unwrap_err().to_string(), "nothing");
        assert_eq!(early(&db, 1).await.ok(), Some(17));
        assert!(early(&db, 2).await.unwrap_err().downcast_ref::<std::num::ParseIntError>().is_some(), "moved out, not shared");
        let (one, two) = tokio::join!(early(&db, 2), early(&db, 2));
        let shared = [one.unwrap_err(), two.unwrap_err()].into_iter().filter(|error| error.is::<SharedError<BoxError>>()).count();
        assert!(shared <= 2);
    })
    .await;
}

/// Takes what it is given: owned, mutable, borrowed, in a pattern, as `impl`.
#[cached(key = "odd:{name}/{r#type}/{number}/{bytes.len()}", ttl = "5m", tags = ["name:{name}"])]
async fn odd(
    db: &Db,
    name: String,
    mut number: u32,
    r#type: impl KeyPart + Display,
    (left, right): (u8, u8),
    bytes: &[u8],
) -> Result<String, String> {
    number += u32::from(left + right) + u32::from(bytes.first().copied().unwrap_or_default());
    let moved = name;
    Ok(db.query(format!("{moved} {number} {type}")))
}

#[tokio::test]
async fn arguments_may_be_owned_mutable_patterns_and_impls() {
    scoped(async |_| {
        let db = Db::default();
        for _ in 0..2 {
            assert_eq!(odd(&db, "a".to_owned(), 1, "t", (2, 3), b"\x04?").await.as_deref(), Ok("a 10 t"));
        }
        assert_eq!(db.queries(), 1);
        assert_eq!(odd::key("a".to_owned(), 1, "t", b"\x04?"), "odd:a/t/1/2");
    })
    .await;
}

#[cached(ttl = "5m", skip(db))]
async fn generic<'a, T, V, const N: usize>(db: &'a Db, id: T, values: [V; N]) -> Result<V, String>
where
    T: KeyPart + Debug + 'a,
    V: Value + KeyPart,
{
    let Some(first) = values.first() else { return Err(format!("{id:?} has none")) };
    Ok(db.query(first.clone()))
}

#[tokio::test]
async fn a_generic_function_has_a_key_for_each_of_its_types() {
    scoped(async |_| {
        let db = Db::default();
        assert_eq!(twice(&db, async || generic(&db, 7_u32, [1_u8, 2]).await).await, (Ok(1), Ok(1), 1));
        assert_eq!(
            twice(&db, async || generic(&db, 7_u32, [1_u16, 2]).await).await,
            (Ok(1), Ok(1), 1),
            "another type, another key"
        );
        assert_eq!(twice(&db, async || generic(&db, 7_u64, [1_u8, 2]).await).await, (Ok(1), Ok(1), 1));
        assert_eq!(twice(&db, async || generic::<_, u8, 0>(&db, 7_u64, []).await.is_err()).await, (true, true, 0));
    })
    .await;
    assert_ne!(generic::key::<_, u8, 1>(1_u8, [1]), generic::key::<_, u16, 1>(1_u8, [1]));
}

#[derive(Debug, KeyPart)]
struct Tenant(u8);

#[derive(Debug, Default)]
struct Users {
    db: Db,
    tenant: u8,
}

#[derive(Debug, Default)]
struct Orders {
    db: Db,
}

impl KeyPart for Users {
    fn write(&self, key: &mut cachetier::KeyText) {
        key.part(&self.tenant);
    }
}

impl Users {
    #[cached(key = "{self.tenant}/user:{id}", ttl = "5m")]
    async fn of_tenant(&self, id: u64) -> u64 {
        self.db.query(id)
    }

    #[cached(ttl = "5m")]
    async fn find(&self, id: u64) -> u64 {
        self.db.query(id)
    }

    #[cached(ttl = "5m", skip(self))]
    async fn find_all(self: Arc<Self>, id: u64) -> u64 {
        self.db.query(id)
    }

    #[cached(key = "taken:{id}", ttl = "5m")]
    async fn taken(self, id: u64) -> u64 {
        self.db.query(id)
    }

    #[cached(key = "count:{id}", ttl = "5m", companions = counting)]
    async fn count(&mut self, id: u64) -> u64 {
        self.tenant += 1;
        self.db.query(id)
    }

    #[cached(key = "made:{id}", ttl = "5m", companions = none)]
    async fn made(id: u64) -> u8 {
        u8::try_from(id).unwrap_or_default()
    }
}

impl Orders {
    #[cached(ttl = "5m", skip(self))]
    async fn find(&self, id: u64) -> u64 {
        self.db.query(1_000 + id)
    }
}

#[tokio::test]
async fn methods_are_cached_for_what_they_are_called_on() {
    scoped(async |cache: TieredCache| {
        let (one, two) = (Users::default(), Users { tenant: 2, ..Users::default() });
        for users in [&one, &two] {
            assert_eq!(twice(&users.db, async || users.of_tenant(7).await).await, (7, 7, 1));
            assert_eq!(twice(&users.db, async || users.find(7).await).await, (7, 7, 1), "what it is called on is part of the key");
        }
        assert_eq!((two.of_tenant_key(7), two.find_key(7)), ("2/user:7".into(), "cached.shapes.Users.find:2:7".into()));
        let orders = Orders::default();
        assert_eq!(
            twice(&orders.db, async || orders.find(7).await).await,
            (1_007, 1_007, 1),
            "of another type, under the same name"
        );
        assert_eq!(cache.get::<u64>(&orders.find_key(7)).await, Some(1_007));
        orders.find_invalidate(7).await.expect("invalidated");
        assert_eq!(twice(&orders.db, async || orders.find(7).await).await, (1_007, 1_007, 1));
        let shared = Arc::new(Users::default());
        assert_eq!(twice(&shared.db, async || Arc::clone(&shared).find_all(7).await).await, (7, 7, 1));
        assert_eq!((Users::default().taken(7).await, Users::default().taken(8).await), (7, 8));
        let mut users = Users::default();
        assert_eq!((users.count(7).await, users.count(7).await, users.tenant), (7, 7, 1));
        assert_eq!(users.counting_key(7), "count:7");
        assert_eq!((Users::made(7).await, Users::made(7).await), (7, 7));
        assert_eq!(Tenant(7).0, 7);
    })
    .await;
}

async fn first(db: &Db) -> u64 {
    #[cached(ttl = "5m", skip(db), companions = none)]
    async fn load(db: &Db, id: u64) -> u64 {
        db.query(id)
    }
    load(db, 7).await
}

async fn second(db: &Db) -> u64 {
    #[cached(ttl = "5m", skip(db), companions = none)]
    async fn load(db: &Db, id: u64) -> u64 {
        db.query(id + 1)
    }
    load(db, 7).await
}

#[tokio::test]
async fn two_functions_of_one_name_have_keys_of_their_own() {
    scoped(async |_| {
        let db = Db::default();
        assert_eq!((first(&db).await, second(&db).await, first(&db).await, second(&db).await), (7, 8, 7, 8));
        assert_eq!(db.queries(), 2);
    })
    .await;
}

#[cached(key = "sent:{id}", ttl = "5m")]
async fn sendable(id: u64, text: std::borrow::Cow<'static, str>) -> Result<String, BoxError> {
    tokio::task::yield_now().await;
    Ok(format!("{id} {text}"))
}

/// Its body holds what cannot be sent to another thread.
#[cached(key = "kept:{id}", ttl = "5m")]
async fn unsendable(id: u64) -> u64 {
    let kept = Rc::new(id);
    tokio::task::yield_now().await;
    *kept
}

#[tokio::test]
async fn a_call_can_be_sent_if_its_body_can() {
    scoped(async |cache: TieredCache| {
        let sent = tokio::spawn(cachetier::scope(cache, async { sendable(7, "x".into()).await.ok() }));
        assert_eq!(sent.await.ok().flatten().as_deref(), Some("7 x"));
        assert_eq!(unsendable(7).await, 7);
    })
    .await;
}

macro_rules! loads {
    ($($name:ident of $key:literal),*) => {$(
        #[cached(key = $key, ttl = "5m")]
        async fn $name(id: u64) -> u64 {
            id
        }
    )*};
}

loads!(made_one of "one:{id}", made_two of "two:{id}");

#[tokio::test]
async fn a_macro_may_write_them() {
    assert_eq!((made_one::key(1), made_two::key(2)), ("one:1".into(), "two:2".into()));
    assert_eq!((made_one(1).await, made_two(2).await), (1, 2));
}

trait Source {
    async fn read(&self, id: u64) -> Result<u64, String>;
}

/// A method that a trait brings along.
trait Measured {
    #[cached(ttl = "5m", skip(self), companions = none)]
    async fn size(&self) -> usize {
        size_of_val(self)
    }
}

impl Measured for u8 {}
impl Measured for u32 {}

impl Source for Users {
    #[cached(key = "source:{id}", ttl = "5m", companions = none)]
    async fn read(&self, id: u64) -> Result<u64, String> {
        Ok(self.db.query(id))
    }
}

#[derive(Debug, Default)]
struct Table<T> {
    db: Db,
    rows: Vec<T>,
}

impl<T: Value> Table<T> {
    #[cached(ttl = "5m", skip(self))]
    async fn row(&self, index: usize) -> Option<T> {
        self.db.query(self.rows.get(index).cloned())
    }
}

#[tokio::test]
async fn methods_of_traits_and_of_generic_types_are_cached() {
    scoped(async |_| {
        let users = Users::default();
        assert_eq!(twice(&users.db, async || users.read(7).await).await, (Ok(7), Ok(7), 1));
        let (numbers, texts) =
            (Table { db: Db::default(), rows: vec![1_u8] }, Table { db: Db::default(), rows: vec!["a".to_owned()] });
        assert_eq!(twice(&numbers.db, async || numbers.row(0).await).await, (Some(1), Some(1), 1));
        assert_eq!(twice(&texts.db, async || texts.row(0).await).await, (Some("a".into()), Some("a".into()), 1));
        assert_eq!(
            twice(&numbers.db, async || numbers.row(0).await).await,
            (Some(1), Some(1), 0),
            "each type of table has its own rows"
        );
        assert_eq!((1_u8.size().await, 1_u32.size().await, 2_u8.size().await), (1, 4, 1), "whatever the trait is implemented for");
    })
    .await;
}
