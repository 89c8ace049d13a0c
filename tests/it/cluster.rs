//! A Cluster: who has the slot is found, a fail-over and a move of the slot are followed, and nothing of before is believed.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

mod followed;

use std::time::Duration;

use cachetier::{CacheBuilder, Delivery, Invalidator, OnRestart, Purge, TieredCache};
use cachetier_tests::{Cluster, Log, Origin, RedisServer, eventually_async};
use tokio::runtime::Handle;
use tokio::time::timeout;

use followed::{Ground, LONG, POLICY, built, in_step, is_followed, read};

/// The name of the lane's state, and so of the slot.
const LANE: &str = "ct:{cluster}:lane";

fn builder(cluster: &Cluster) -> CacheBuilder {
    TieredCache::builder("cluster").redis_cluster(cluster.urls()).read_limit(Duration::from_millis(200))
}

impl Ground for Cluster {
    const AGAIN: &'static str = "ct:{cluster}:v:again";

    fn builder(&self) -> CacheBuilder {
        builder(self)
    }

    fn primary(&self) -> usize {
        self.owner(LANE)
    }

    fn another(&self, than: usize) -> usize {
        self.wait_for_another(LANE, than)
    }

    fn server(&self, which: usize) -> &RedisServer {
        self.node(which)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_is_killed_is_followed_to_the_next_and_comes_back_as_its_replica() {
    let mut cluster = Cluster::start();
    is_followed(&mut cluster, |all, old| all.nodes[old].kill(), |all, old| all.nodes[old].restart()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_is_frozen_is_left_and_not_believed_when_it_goes_on() {
    let mut cluster = Cluster::start();
    is_followed(&mut cluster, |all, old| all.nodes[old].stop(), |all, old| all.nodes[old].resume()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_is_cut_off_from_the_others_and_does_not_know_it_is_left() {
    let mut cluster = Cluster::start();
    let cut_off = |all: &mut Cluster, old| {
        // It does not find out, and takes whatever it is sent.
        all.node(old).command(&["CONFIG", "SET", "cluster-node-timeout", "60000"]);
        all.cut_off(old);
    };
    is_followed(&mut cluster, cut_off, |all, _| all.mend()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_is_replaced_though_it_is_well_is_left() {
    let mut cluster = Cluster::start();
    is_followed(&mut cluster, |all, old| all.fail_over(old), |_, _| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_is_followed() {
    let cluster = &mut Cluster::start();
    let worker = Invalidator::builder("cluster").redis_cluster(cluster.urls()).build().await.expect("built");
    assert!(matches!(worker.invalidate("k").await, Ok(Delivery::Applied(_))));
    let next = |cluster: &Cluster| (0..3).find(|node| *node != cluster.owner(LANE)).expect("another primary");
    is_followed(cluster, |all, _| all.move_slot(LANE, next(all)), |_, _| {}).await;
    let followed = async || matches!(worker.invalidate("k").await, Ok(Delivery::Applied(_)));
    eventually_async(LONG, "who does not listen follows as well", followed).await;
}

/// Where what was saved is trusted nothing begins anew behind the move: what nobody could be told meanwhile is all that keeps the old value from being
/// served.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_while_the_slot_is_on_its_way_is_told_behind_it() {
    let cluster = Cluster::start();
    let trusting = || builder(&cluster).on_restart(OnRestart::Trust);
    let (a, b, origin) = (built(trusting()).await, built(trusting()).await, Origin::at(1));
    assert_eq!((read(&a, "k", &origin).await, read(&b, "k", &origin).await, origin.loads()), (1, 1, 1));
    let old = cluster.owner(LANE);
    let new = (0..3).find(|node| *node != old).expect("another primary");
    cluster.begin_to_move(LANE, new);
    let walked = a.invalidate_pattern("h*f").await.map(|_| ());
    assert!(walked.is_err_and(|error| error.to_string().contains("on its way")), "what has moved would not be found");
    // A key that is not there may be there by now: a script that needs others as well is refused.
    origin.commit(2);
    assert_eq!(a.invalidate_many(["k", "nowhere"]).await, Ok(Delivery::Pending));
    assert_eq!(read(&a, "k", &origin).await, 2);
    cluster.finish_moving(LANE, new);
    assert_eq!(cluster.wait_for_another(LANE, old), new);
    eventually_async(LONG, "it is told", async || a.stats().pending == 0).await;
    eventually_async(LONG, "it is heard", async || read(&b, "k", &origin).await == 2).await;
    in_step(&a, &b).await;
    let late = built(trusting()).await;
    for cache in [&a, &b, &late] {
        assert_eq!(read(cache, "k", &origin).await, 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_of_those_that_were_named_is_enough_to_begin_and_an_invalidator_follows_as_well() {
    let (cluster, origin) = (Cluster::start(), Origin::at(1));
    let some = ["redis://127.0.0.1:1".to_owned(), cluster.nodes[5].url()];
    let cache = built(TieredCache::builder("cluster").redis_cluster(some)).await;
    let worker = Invalidator::builder("cluster").redis_cluster([cluster.nodes[4].url()]).build().await.expect("built");
    assert_eq!(read(&cache, "k", &origin).await, 1);
    origin.commit(2);
    assert!(matches!(worker.invalidate("k").await, Ok(Delivery::Applied(_))));
    eventually_async(LONG, "it is heard", async || read(&cache, "k", &origin).await == 2).await;

    // Another slot of the same Cluster, on whatever node.
    let other = built(TieredCache::builder("other").redis_cluster([cluster.nodes[0].url()])).await;
    for bytes in [10, 10_000, 200_000] {
        assert!(matches!(other.set("k", "x".repeat(bytes), POLICY).await, Ok(Delivery::Applied(_))), "{bytes}");
    }
    let many = other.get_or_load_many(["a", "b", "c"], POLICY, async |keys: Vec<String>| {
        Ok::<_, std::convert::Infallible>(keys.into_iter().map(|key| (key, 1_u32)).collect::<Vec<_>>())
    });
    assert_eq!(many.await.expect("loaded"), [Some(1), Some(1), Some(1)]);
    assert_eq!(other.stats().l2_refused, 0, "{}", other.stats());
    let purged = other.purge(Purge::everything()).await.expect("purged");
    assert_eq!(purged.counts.removed, 4, "{purged:?}");
}

#[tokio::test]
async fn what_is_dropped_or_closed_leaves_no_connection_to_any_node() {
    let (cluster, tasks) = (Cluster::start(), Handle::current().metrics());
    let connections = || cluster.nodes.iter().map(RedisServer::connections).sum::<usize>();
    let (none, before) = (connections(), tasks.num_alive_tasks());
    for end in 0..3 {
        let cache = built(builder(&cluster)).await;
        assert!(connections() >= none + 5, "two, and those over which nodes are asked");
        match end {
            0 => drop(cache),
            1 => cache.close(LONG).await.expect("closed"),
            _ => {
                drop(cache);
                for millis in 0..20 {
                    let _ = timeout(Duration::from_millis(millis), builder(&cluster).build()).await;
                }
            }
        }
        eventually_async(LONG, "no connection is left", async || connections() == none).await;
        eventually_async(LONG, "its tasks are gone", async || tasks.num_alive_tasks() <= before).await;
    }
}

#[tokio::test]
async fn what_cannot_be_used_is_an_error_and_what_is_no_cluster_is_told() {
    let bad = async |urls: &[&str]| {
        let built = TieredCache::builder("cluster").redis_cluster(urls.iter().copied()).build().await;
        let error = built.expect_err("it cannot be used");
        assert!(error.field() == "redis_cluster" && !error.to_string().contains("hidden"), "{error}");
        error.to_string()
    };
    assert!(bad(&[]).await.contains("no address"));
    assert!(bad(&["nonsense"]).await.contains("no address of a server"));
    assert!(bad(&["redis+unix:///tmp/hidden"]).await.contains("path of a socket"));
    assert!(bad(&["redis://user:hidden@127.0.0.1/3"]).await.contains("database"));

    let server = RedisServer::builder().tcp().start();
    let log = Log::default();
    let _listening = log.listen();
    let error = TieredCache::builder("cluster").redis_cluster([server.url()]).require_redis().build().await;
    let error = error.expect_err("it is no Cluster").to_string();
    assert!(error.contains("cluster support disabled"), "{error}");
    let told = log.with("redis is away");
    assert!(told.len() == 1 && told.iter().all(|line| line.contains("use `redis`")), "{told:?}");
}
