//! Two releases of a service beside each other: the same type, to which the second has added a field, in another codec. They share a server
//! under load; neither fails, neither drives out what the other has stored, and each serves only what it understands.
//!
//! Within one process the type of both is one, so that it has one name, as it has in two releases: a task says which release it belongs to.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a helper of a test fails the test")]

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cachetier::{CallOptions, Codec, LoadContext, Loaded, Policy, Stats, TieredCache};
use cachetier_tests::{Log, Oops, Tier, eventually_async, parts};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));
const LONG: Duration = Duration::from_secs(20);
const USERS: usize = 40;
const READS: usize = 4_000;
const WRITES: usize = 200;

tokio::task_local! {
    static RELEASE: Release;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Release {
    First,
    Second,
}

impl Release {
    fn codec(self) -> Codec {
        match self {
            Self::First => Codec::Postcard,
            Self::Second => Codec::Json,
        }
    }
}

/// What both releases cache. The first knows of no mail.
#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    id: u64,
    name: String,
    version: u64,
    mail: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename = "User")]
struct First<'a> {
    id: u64,
    name: Cow<'a, str>,
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename = "User")]
struct Second<'a> {
    id: u64,
    name: Cow<'a, str>,
    version: u64,
    mail: Cow<'a, str>,
}

impl Serialize for User {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { id, name, version, mail } = self;
        let (id, name, version) = (*id, Cow::from(name.as_str()), *version);
        match RELEASE.get() {
            Release::First => First { id, name, version }.serialize(serializer),
            Release::Second => {
                let mail = Cow::from(mail.as_deref().expect("the second release knows it"));
                Second { id, name, version, mail }.serialize(serializer)
            }
        }
    }
}

impl<'de> Deserialize<'de> for User {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match RELEASE.get() {
            Release::First => {
                let First { id, name, version } = First::deserialize(deserializer)?;
                Ok(Self { id, name: name.into_owned(), version, mail: None })
            }
            Release::Second => {
                let Second { id, name, version, mail } = Second::deserialize(deserializer)?;
                Ok(Self { id, name: name.into_owned(), version, mail: Some(mail.into_owned()) })
            }
        }
    }
}

/// What the service reads from: versions of users, and up to which each instance has been told.
struct Database {
    written: Vec<AtomicU64>,
    told: Vec<AtomicU64>,
}

impl Database {
    fn user(&self, id: usize) -> User {
        let version = self.written[id].load(Ordering::SeqCst);
        let (id, release) = (id as u64, RELEASE.get());
        let mail = (release == Release::Second).then(|| format!("user{id}@example.org"));
        User { id, name: format!("user {id}"), version, mail }
    }
}

/// One instance of a release.
#[derive(Clone)]
struct Instance {
    release: Release,
    cache: TieredCache,
    database: Arc<Database>,
}

impl Instance {
    /// Reads, and judges what is served.
    async fn read(&self, id: usize) -> User {
        let told = self.database.told[id].load(Ordering::SeqCst);
        let load = || async { Ok::<_, Oops>(self.database.user(id)) };
        let user = self.cache.get_or_load(&format!("user:{id}"), POLICY, load).await.expect("loaded");
        assert!(user.version >= told, "{user:?} was served when version {told} had been told");
        let expected = RELEASE.sync_scope(self.release, || self.database.user(id));
        assert_eq!(user, User { version: user.version, ..expected });
        user
    }

    async fn read_all(&self) {
        for _ in 0..READS {
            self.read(fastrand::usize(..USERS)).await;
        }
    }

    /// Writes a user, tells all instances, and waits until they have heard.
    async fn write(&self, id: usize, all: &[Self]) {
        let version = self.database.written[id].fetch_add(1, Ordering::SeqCst) + 1;
        let delivery = self.cache.invalidate(&format!("user:{id}")).await.expect("told");
        let token = delivery.confirmed().expect("the server is there");
        for other in all {
            other.cache.wait_for(token, LONG).await.expect("heard");
        }
        self.database.told[id].fetch_max(version, Ordering::SeqCst);
    }

    fn stats(&self) -> Stats {
        self.cache.stats()
    }
}

async fn instances(tier: &Tier) -> Vec<Instance> {
    let counters = || (0..USERS).map(|_| AtomicU64::new(0)).collect();
    let database = Arc::new(Database { written: counters(), told: counters() });
    let mut instances = Vec::new();
    for release in [Release::First, Release::First, Release::Second, Release::Second] {
        // Few copies: most reads ask the server.
        let cache = tier.builder().codec(release.codec()).l1_max_entries(USERS as u64 / 8).build().await.expect("built");
        instances.push(Instance { release, cache, database: Arc::clone(&database) });
    }
    instances
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_releases_share_a_server_under_load() {
    let tier = Tier::redis();
    let instances = instances(&tier).await;
    let mut tasks = Vec::new();
    for instance in &instances {
        for _ in 0..2 {
            let instance = instance.clone();
            tasks.push(tokio::spawn(RELEASE.scope(instance.release, async move { instance.read_all().await })));
        }
    }
    for number in 0..WRITES {
        instances[number % instances.len()].write(fastrand::usize(..USERS), &instances).await;
    }
    for task in tasks {
        task.await.expect("nothing wrong was served");
    }

    let sum = |of: fn(&Stats) -> u64, release| -> u64 {
        instances.iter().filter(|instance| instance.release == release).map(|instance| of(&instance.stats())).sum()
    };
    for release in [Release::First, Release::Second] {
        let faults = |stats: &Stats| {
            let Stats { load_errors, load_panics, not_stored, l2_faults, l2_unusable, l2_foreign, .. } = stats;
            load_errors + load_panics + not_stored + l2_faults + l2_unusable + l2_foreign
        };
        assert_eq!(sum(faults, release), 0, "{release:?}");
        println!(
            "{release:?}: {} reads from the server, {} values of the other left alone, {} stored",
            sum(|stats| stats.l2_hits, release),
            sum(|stats| stats.wrong_type, release),
            sum(|stats| stats.fills, release)
        );
        // In a Cluster the copies are in six stores, each of which makes room later.
        let least = 120 / parts() as u64;
        assert!(sum(|stats| stats.l2_hits, release) >= least && sum(|stats| stats.fills, release) > 0);
    }
    // The first reads what the second writes, whose new field it does not know; the second lacks one in what the first writes.
    assert_eq!(sum(|stats| stats.wrong_type, Release::First), 0);
    assert!(sum(|stats| stats.wrong_type, Release::Second) >= 120 / parts() as u64);
    // What one has stored is replaced by neither: each is stored once, until it is invalidated.
    let stored = sum(|stats| stats.fills, Release::First) + sum(|stats| stats.fills, Release::Second);
    assert!(stored <= (USERS + WRITES) as u64, "{stored} were stored");
}

#[tokio::test]
async fn what_cannot_be_decoded_is_left_alone_and_said_once() {
    let tier = Tier::redis();
    let instances = instances(&tier).await;
    let [first, _, second, other] = instances.as_slice() else { panic!("four of them") };
    let log = Log::default();
    let _listening = log.listen();
    RELEASE.scope(Release::First, first.read(7)).await;
    let stored = tier.bytes("user:7").expect("stored");
    for (instance, warnings) in [(second, 1), (other, 2)] {
        // By each way to it, before there is a copy.
        let many = RELEASE.scope(Release::Second, instance.cache.get_many::<User>(["user:8", "user:7"])).await;
        assert_eq!((many, RELEASE.scope(Release::Second, instance.cache.get::<User>("user:7")).await), (vec![None, None], None));
        RELEASE.scope(Release::Second, instance.read(7)).await;
        assert_eq!((instance.stats().wrong_type, instance.stats().loads), (3, 1));
        assert_eq!(log.with("as another release may have written it").len(), warnings);
    }
    assert_eq!(tier.bytes("user:7"), Some(stored));
    RELEASE.scope(Release::First, instances[1].read(7)).await;
    assert_eq!((instances[1].stats().l2_hits, instances[1].stats().loads), (1, 0));

    // Who wants it refreshed gets that.
    let fresh = CallOptions::new().fresh();
    let reload = second.cache.with(fresh).get_or_load("user:7", POLICY, || async { Ok::<_, Oops>(second.database.user(7)) });
    assert!(RELEASE.scope(Release::Second, reload).await.expect("loaded").value.mail.is_some());
    RELEASE.scope(Release::Second, instances[3].cache.invalidate("nothing")).await.expect("told");
    assert_ne!(tier.bytes("user:7").expect("held")[19], Codec::Postcard as u8);

    // And the first reads what the second has stored.
    RELEASE.scope(Release::Second, second.read(9)).await;
    RELEASE.scope(Release::First, first.read(9)).await;
    assert_eq!((first.stats().l2_hits, first.stats().loads), (1, 1));
}

#[tokio::test]
async fn what_is_stale_is_replaced_by_who_does_not_understand_it_as_well() {
    let tier = Tier::redis();
    let instances = instances(&tier).await;
    let [first, _, second, other] = instances.as_slice() else { panic!("four of them") };
    let short = Policy::ttl(Duration::from_millis(1)).stale_for(Duration::from_secs(3_600));
    let early = first.cache.get_or_load("user:5", short, || async { Ok::<_, Oops>(first.database.user(5)) });
    RELEASE.scope(Release::First, early).await.expect("loaded");
    let gone = async || RELEASE.scope(Release::First, first.cache.get::<User>("user:5")).await.is_none();
    eventually_async(LONG, "its life is over", gone).await;
    let load = async |context: LoadContext<'_, User>| {
        assert!(context.stale().is_none(), "nothing that it could be shown");
        Ok::<_, Oops>(Loaded::new(second.database.user(5)))
    };
    RELEASE.scope(Release::Second, second.cache.get_or_load_with("user:5", POLICY, load)).await.expect("loaded");
    let found = RELEASE.scope(Release::Second, other.cache.get::<User>("user:5")).await;
    assert!(found.is_some_and(|user| user.mail.is_some()), "it is stored");
}
