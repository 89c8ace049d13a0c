//! A server that comes back with what it had saved has forgotten what it acknowledged since: nothing older is served for that.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "what fails here is a test that has failed")]

use std::time::Duration;

use cachetier::{CallKind, Delivery, Invalidator, OnRestart, Policy, TieredCache};
use cachetier_tests::{Origin, Over, Reach as _, RedisServer, Reply, World, beside_k, eventually_async};

const LONG: Duration = Duration::from_secs(20);
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));

async fn read(cache: &TieredCache, key: &str, origin: &Origin) -> u64 {
    cache.get_or_load(key, POLICY.tags(["users"]), || origin.load()).await.expect("loaded")
}

async fn over(server: &RedisServer, on_restart: OnRestart) -> TieredCache {
    TieredCache::builder("shop").reach(server.url()).tag_cells(4_096).on_restart(on_restart).build().await.expect("a cache")
}

async fn applied(delivery: impl Future<Output = Result<Delivery, cachetier::CacheError>>) {
    assert!(matches!(delivery.await, Ok(Delivery::Applied(_))));
}

/// Era and seq of the point at which it stands.
async fn point(delivery: impl Future<Output = Result<Delivery, cachetier::CacheError>>) -> (String, String) {
    let Ok(Delivery::Applied(token)) = delivery.await else { unreachable!("it is not applied") };
    let text = token.to_string();
    let (era, seq) = text.split_once('-').expect("era and seq");
    (era.to_owned(), format!("{seq:0>16}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_server_has_forgotten_stays_invalidated_although_nobody_is_left_who_knows_of_it() {
    let mut server = RedisServer::start();
    let (key, tagged) = (Origin::at(0), Origin::at(0));
    let here = over(&server, OnRestart::BeginAnew).await;
    assert_eq!((read(&here, "key", &key).await, read(&here, "tagged", &tagged).await), (0, 0));
    server.save();
    key.commit(1);
    tagged.commit(1);
    applied(here.invalidate("key")).await;
    applied(here.invalidate_tag("users")).await;
    here.close(LONG).await.expect("closed");
    server.restart_from_saved();
    // Whoever comes now was told nothing, and moves the lane beyond where it stood.
    let there = over(&server, OnRestart::BeginAnew).await;
    applied(there.invalidate("other")).await;
    assert_eq!((read(&there, "key", &key).await, read(&there, "tagged", &tagged).await), (1, 1));
    // It goes on as any lane does.
    let late = over(&server, OnRestart::BeginAnew).await;
    assert_eq!((read(&late, "key", &key).await, key.loads()), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_trusted_keeps_its_values_and_is_told_once_more_what_it_has_forgotten() {
    let mut server = RedisServer::start();
    let (key, kept) = (Origin::at(0), Origin::at(0));
    let here = over(&server, OnRestart::Trust).await;
    assert_eq!((read(&here, "key", &key).await, read(&here, "kept", &kept).await), (0, 0));
    server.save();
    key.commit(1);
    applied(here.invalidate("key")).await;
    let lost = here.stats().lane_lost;
    server.restart_from_saved();
    eventually_async(LONG, "the server is told again", async || here.stats().retold == 1 && here.stats().pending == 0).await;
    assert!(here.stats().lane_lost > lost);
    let there = over(&server, OnRestart::Trust).await;
    assert_eq!((read(&there, "key", &key).await, read(&there, "kept", &kept).await), (1, 0));
    assert_eq!(kept.loads(), 1, "it was there all the time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalidator_tells_a_lane_of_another_era_once_more() {
    let server = RedisServer::start();
    let worker = Invalidator::builder("shop").reach(server.url()).build().await.expect("an invalidator");
    applied(worker.invalidate("k")).await;
    server.command(&["FLUSHALL"]);
    // In a Cluster by the lane of its part.
    let other = beside_k("other").next().expect("there is one");
    applied(worker.invalidate(&other)).await;
    worker.flush(LONG).await.expect("told");
    assert_eq!(worker.stats().retold, 1);
    applied(worker.invalidate(&other)).await;
    assert_eq!(worker.stats().retold, 1);
}

/// The address leads elsewhere, as it does after a fail-over, while the old server lives on and answers whoever is still connected to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_follow_the_subscription_to_another_server() {
    if !Over::is_none_of(
        &[Over::Tcp, Over::Tls, Over::Sentinel, Over::Cluster],
        "a file's name can lead to another server, a port cannot",
    ) {
        return;
    }
    let (old, new) = (RedisServer::start(), RedisServer::start());
    let cache = over(&old, OnRestart::BeginAnew).await;
    let origin = Origin::at(0);
    assert_eq!(read(&cache, "key", &origin).await, 0);
    let mut still_there = old.client();
    let address = old.socket().expect("a socket");
    std::fs::rename(new.socket().expect("a socket"), address).expect("the address leads to the new server");
    still_there.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).expect("an answer");
    origin.commit(1);
    // By the address.
    let held = || old.command(&["EXISTS", "ct:shop:v:key"]) == Reply::Int(1);
    eventually_async(LONG, "it is kept in the new server", async || read(&cache, "key", &origin).await == 1 && held()).await;
    applied(cache.invalidate("key")).await;
    assert!(!held(), "it is invalidated there");
}

/// A proof for what another process had said is none for what the one says that has taken its place.
#[tokio::test(start_paused = true)]
async fn a_proof_of_a_moment_ago_does_not_vouch_for_a_server_that_has_come_back() {
    for asked in [true, false] {
        let mut world = World::new();
        world.tier().prove_for(Duration::from_secs(2));
        let (here, there) = (world.add(|builder| builder).await, world.add(|builder| builder).await);
        let origin = Origin::at(0);
        assert_eq!(read(&here, "key", &origin).await, 0);
        let saved = world.tier().save();
        origin.commit(1);
        applied(here.invalidate("key")).await;
        world.tier().restore(&saved);
        if !asked {
            world.tier().fail_next(CallKind::Stand);
        }
        // Neither instance has noticed: none of their tasks has run since.
        assert!(world.tier().holds_value(&World::name("key")));
        assert_eq!(read(&there, "key", &origin).await, 1, "asked: {asked}");
    }
}

/// A lane that is trusted goes on from where its caller was told to: that it stands there does not say that it remembers how it came there.
#[tokio::test(start_paused = true)]
async fn a_lane_that_stands_where_it_was_told_to_in_another_life_has_forgotten_all_the_same() {
    let mut world = World::new();
    world.tier().prove_for(Duration::from_secs(2));
    let here = world.add(|builder| builder.on_restart(OnRestart::Trust)).await;
    let (key, kept) = (Origin::at(0), Origin::at(0));
    assert_eq!((read(&here, "key", &key).await, read(&here, "kept", &kept).await), (0, 0));
    let saved = world.tier().save();
    key.commit(1);
    let Ok(Delivery::Applied(token)) = here.invalidate("key").await else { unreachable!("it is not applied") };
    here.wait_for(token, LONG).await.expect("heard");
    world.clock().advance(Duration::from_secs(1));
    world.tier().restore(&saved);
    // Asked over the connection of commands: none of its tasks has run since, so it has not noticed that its subscription is gone.
    assert_eq!(here.stats().lane_lost, 0);
    assert_eq!((read(&here, "key", &key).await, here.stats().retold), (1, 1));
    assert_eq!((read(&here, "kept", &kept).await, kept.loads()), (0, 1), "the rest is kept");
}

/// Its point would else be one that counts as applied already.
#[tokio::test(start_paused = true)]
async fn a_bump_that_a_server_with_old_data_gets_before_any_check_stands_below_no_point_of_its_era_that_was_told() {
    for what in [OnRestart::BeginAnew, OnRestart::Trust] {
        let mut world = World::new();
        let here = world.add(|builder| builder.on_restart(what)).await;
        applied(here.invalidate("before")).await;
        let saved = world.tier().save();
        for _ in 0..3 {
            applied(here.invalidate("told")).await;
        }
        let told = point(here.invalidate("told")).await;
        world.tier().restore(&saved);
        let later = point(here.invalidate("later")).await;
        assert!(told.0 != later.0 || told.1 < later.1, "{what:?}: {told:?}, then {later:?}");
    }
}

/// Who waits for a point must not find it behind him because another one was told as many before the server went back.
#[tokio::test(start_paused = true)]
async fn a_point_that_a_server_with_old_data_gives_to_who_was_told_nothing_is_reached_by_nobody_before_it_is_heard_of() {
    for what in [OnRestart::BeginAnew, OnRestart::Trust] {
        let mut world = World::new();
        world.tier().prove_for(Duration::from_secs(2));
        let here = world.add(|builder| builder.on_restart(what)).await;
        let worker = Invalidator::builder("world").in_process(world.tier()).build().await.expect("an invalidator");
        let origin = Origin::at(0);
        applied(here.invalidate("before")).await;
        let saved = world.tier().save();
        for _ in 0..5 {
            let Ok(Delivery::Applied(token)) = here.invalidate("told").await else { unreachable!("it is not applied") };
            here.wait_for(token, LONG).await.expect("heard");
        }
        assert_eq!(read(&here, "key", &origin).await, 0);
        world.clock().advance(Duration::from_secs(1));
        world.tier().restore(&saved);
        origin.commit(1);
        let Ok(Delivery::Applied(token)) = worker.invalidate("key").await else { unreachable!("it is not applied") };
        // It has not noticed: none of its tasks has run since.
        assert_eq!(here.stats().lane_lost, 0);
        here.wait_for(token, LONG).await.expect("it finds back");
        assert_eq!(read(&here, "key", &origin).await, 1, "{what:?}");
    }
}

/// With the old data trusted, what an instance has told goes out again, and is not read before.
#[tokio::test(start_paused = true)]
async fn what_is_told_again_is_not_read_before_it_has_been() {
    let mut world = World::new();
    let here = world.add(|builder| builder.on_restart(OnRestart::Trust)).await;
    let (key, kept) = (Origin::at(0), Origin::at(0));
    assert_eq!((read(&here, "key", &key).await, read(&here, "kept", &kept).await), (0, 0));
    let saved = world.tier().save();
    key.commit(1);
    applied(here.invalidate("key")).await;
    world.clock().advance(Duration::from_secs(1));
    world.tier().restore(&saved);
    world.tier().fail_next(CallKind::Bump);
    eventually_async(LONG, "the other life is met", async || here.stats().retold == 1).await;
    assert_eq!(here.stats().pending, 1);
    assert_eq!((read(&here, "key", &key).await, read(&here, "kept", &kept).await), (1, 0));
    here.flush(LONG).await.expect("told");
    assert_eq!((read(&here, "key", &key).await, read(&here, "kept", &kept).await), (1, 0));
    assert_eq!(kept.loads(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_told_longer_ago_than_the_journal_reaches_is_not_told_again() {
    let mut world = World::new();
    let here = world.add(|builder| builder.on_restart(OnRestart::Trust).journal(Duration::from_secs(5))).await;
    let without = world.add(|builder| builder.on_restart(OnRestart::Trust).journal(Duration::ZERO)).await;
    applied(here.invalidate("early")).await;
    world.clock().advance(Duration::from_secs(6));
    applied(here.invalidate("late")).await;
    applied(without.invalidate("late")).await;
    let lost = |cache: &TieredCache| cache.stats().lane_lost;
    world.tier().restore(&world.tier().save());
    eventually_async(LONG, "both are in step again", async || lost(&here) == 1 && lost(&without) == 1 && here.stats().retold > 0)
        .await;
    assert_eq!((here.stats().retold, without.stats().retold), (1, 0));
}
