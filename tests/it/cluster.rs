//! A Cluster: who has the slot is found, a fail-over and a move of the slot are followed, and nothing of before is believed.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

mod followed;

use std::cell::RefCell;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cachetier::{CacheBuilder, CacheError, Delivery, Invalidator, Lag, OnRestart, Purge, PurgeError, TieredCache};
use cachetier_tests::{Cluster, Gate, Log, Origin, PARTS, RedisServer, eventually_async, name_in_cluster, name_of_part, part_of};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout};

use followed::{AGAIN, Ground, LONG, POLICY, built, in_step, is_followed, read};

const NAMESPACE: &str = "cluster";

/// The name of the lane of the key `k`, and so of its slot.
fn lane() -> String {
    lane_of(part_of("k"))
}

fn lane_of(part: usize) -> String {
    format!("ct:{{{}}}:lane", name_of_part(NAMESPACE, part))
}

/// A key of each part.
fn keys() -> [String; PARTS] {
    std::array::from_fn(|part| (0..1_000).map(|n| format!("key:{n}")).find(|key| part_of(key) == part).expect("there is one"))
}

fn builder(cluster: &Cluster) -> CacheBuilder {
    TieredCache::builder(NAMESPACE).redis_cluster(cluster.urls()).read_limit(Duration::from_millis(200))
}

impl Ground for Cluster {
    fn name(key: &str) -> String {
        assert_eq!((part_of(key), part_of("k")), (part_of("k"), part_of(AGAIN)), "they are in one slot");
        name_in_cluster(NAMESPACE, key)
    }

    fn builder(&self) -> CacheBuilder {
        builder(self)
    }

    fn primary(&self) -> usize {
        self.owner(&lane())
    }

    fn another(&self, than: usize) -> usize {
        self.wait_for_another(&lane(), than)
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
    let worker = Invalidator::builder(NAMESPACE).redis_cluster(cluster.urls()).build().await.expect("built");
    assert!(matches!(worker.invalidate("k").await, Ok(Delivery::Applied(_))));
    let next = |cluster: &Cluster| (0..3).find(|node| *node != cluster.owner(&lane())).expect("another primary");
    is_followed(cluster, |all, _| all.move_slot(&lane(), next(all)), |_, _| {}).await;
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
    let old = cluster.owner(&lane());
    let new = (0..3).find(|node| *node != old).expect("another primary");
    cluster.begin_to_move(&lane(), new);
    let walked = a.invalidate_pattern("h*f").await.map(|_| ());
    assert!(walked.is_err_and(|error| error.to_string().contains("on its way")), "what has moved would not be found");
    // A key that is not there may be there by now: a script that needs others as well is refused.
    origin.commit(2);
    assert_eq!(a.invalidate_many(["k", AGAIN]).await, Ok(Delivery::Pending));
    assert_eq!(read(&a, "k", &origin).await, 2);
    cluster.finish_moving(&lane(), new);
    assert_eq!(cluster.wait_for_another(&lane(), old), new);
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
    let cache = built(TieredCache::builder(NAMESPACE).redis_cluster(some)).await;
    let worker = Invalidator::builder(NAMESPACE).redis_cluster([cluster.nodes[4].url()]).build().await.expect("built");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_is_silent_takes_its_own_keys_and_no_others() {
    let mut cluster = Cluster::start();
    for node in &cluster.nodes {
        // Nobody is replaced, and who is well goes on.
        node.command(&["CONFIG", "SET", "cluster-node-timeout", "60000"]);
        node.command(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    let (a, b) = (built(builder(&cluster)).await, built(builder(&cluster)).await);
    let (keys, origins) = (keys(), [(); PARTS].map(|()| Origin::at(1)));
    for (key, origin) in keys.iter().zip(&origins) {
        read(&a, key, origin).await;
    }
    let owners: Vec<usize> = (0..PARTS).map(|part| cluster.owner(&lane_of(part))).collect();
    for primary in cluster.primaries() {
        assert_eq!(owners.iter().filter(|owner| **owner == primary).count(), PARTS / 3, "{owners:?}");
    }
    let silent = owners[0];
    let is_silent = |part: usize| owners[part] == silent;
    cluster.nodes[silent].stop();
    eventually_async(LONG, "it is noticed", async || a.invalidate(&keys[0]).await == Ok(Delivery::Pending)).await;
    for (part, (key, origin)) in keys.iter().zip(&origins).enumerate() {
        origin.commit(2);
        let told = a.invalidate(key).await.expect("usable");
        assert_eq!(told == Delivery::Pending, is_silent(part), "{key}: {told:?}");
        assert_eq!(read(&a, key, origin).await, 2);
        let loads = origin.loads();
        if !is_silent(part) {
            let token = told.confirmed().expect("applied");
            assert_eq!(token.to_string().split('-').next(), Some(part.to_string().as_str()));
            assert_eq!(b.wait_for(token, LONG).await, Ok(()));
            assert_eq!((read(&b, key, origin).await, origin.loads()), (2, loads), "found in the shared tier");
        }
    }
    assert_eq!(a.invalidate_tag("all").await, Ok(Delivery::Pending), "not all have been told");
    let (stats, held) = (a.stats(), a.guard(&keys).await.map(drop));
    assert!(stats.pending > 0 && stats.lag == Lag::Unproven, "{stats}");
    assert!(matches!(held, Err(CacheError::NotGuarded(_))), "{held:?}");
    let well = keys.iter().enumerate().filter(|(part, _)| !is_silent(*part)).map(|(_, key)| key);
    for key in well {
        let free = async || matches!(a.set(key, 7_u64, POLICY).await, Ok(Delivery::Applied(_))) && a.get(key).await == Some(7_u64);
        eventually_async(LONG, "it is held no longer", free).await;
    }
    cluster.nodes[silent].resume();
    eventually_async(LONG, "all is told", async || a.stats().pending == 0).await;
    let token = a.invalidate_tag("all").await.expect("usable").confirmed().expect("applied");
    assert_eq!(token.to_string().split('.').count(), PARTS, "{token}");
    assert_eq!(b.wait_for(token.to_string().parse().expect("a token"), LONG).await, Ok(()));
    for (key, origin) in keys.iter().zip(&origins) {
        origin.commit(3);
        let _ = a.invalidate(key).await;
        eventually_async(LONG, "it is heard", async || read(&b, key, origin).await == 3).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_of_all_parts_at_once_is_loaded_once_and_comes_in_order() {
    let cluster = Cluster::start();
    let (a, b) = (built(builder(&cluster)).await, built(builder(&cluster)).await);
    let names: Vec<String> = (0..60).map(|n| format!("key:{n}")).collect();
    let gate = Gate::new();
    let lens = |loads: &Arc<Mutex<Vec<Vec<String>>>>| {
        let loads = Arc::clone(loads);
        let held = gate.clone();
        move |keys: Vec<String>| {
            loads.lock().expect("not poisoned").push(keys.clone());
            let held = held.clone();
            async move {
                held.wait().await;
                Ok::<_, std::io::Error>(keys.into_iter().map(|key| (key.clone(), key.len())).collect::<Vec<_>>())
            }
        }
    };
    let loads = Arc::new(Mutex::new(Vec::new()));
    let (forth, back) = (names.clone(), names.iter().rev().cloned().collect::<Vec<_>>());
    // In opposite orders, in one instance and in another one.
    let calls = [(&a, forth.clone()), (&a, back.clone()), (&b, back), (&b, forth)].map(|(cache, keys)| {
        let (cache, load) = (cache.clone(), lens(&loads));
        tokio::spawn(async move {
            let values = cache.get_or_load_many(&keys, POLICY, load).await.expect("loaded");
            assert!(values.iter().zip(&keys).all(|(value, key)| *value == Some(key.len())), "{values:?}");
        })
    });
    // Each instance is at all of them: some it loads, for the others it waits.
    let under_way = async || (a.stats().flights, b.stats().flights) == (60, 60);
    eventually_async(LONG, "all four are under way", under_way).await;
    gate.open();
    for call in calls {
        timeout(LONG, call).await.expect("none waits for another for ever").expect("as it should be");
    }
    let loaded = loads.lock().expect("not poisoned").clone();
    let mut all: Vec<&String> = loaded.iter().flatten().collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!((all.len(), loaded.iter().map(Vec::len).sum::<usize>()), (names.len(), names.len()), "each once");
    let late = built(builder(&cluster)).await;
    assert_eq!(late.get_many::<usize>(&names).await, names.iter().map(|name| Some(name.len())).collect::<Vec<_>>());
    assert_eq!((late.stats().l2_hits, late.stats().l2_misses), (60, 0));

    a.invalidate_many(&names[10..50]).await.expect("usable").confirmed().expect("applied");
    let loads = Arc::new(Mutex::new(Vec::new()));
    a.get_or_load_many(&names, POLICY, lens(&loads)).await.expect("loaded");
    assert_eq!(*loads.lock().expect("not poisoned"), [&names[10..50]], "one load, in the order of the call");
    assert_eq!(a.stats().l2_faults, 0, "{}", a.stats());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_failed_load_of_many_has_planted_is_given_back_wherever_it_is() {
    let cluster = Cluster::start();
    let (a, b) = (built(builder(&cluster)).await, built(builder(&cluster)).await);
    let names: Vec<String> = (0..24).map(|n| format!("key:{n}")).collect();
    for _ in 0..5 {
        let failed =
            a.get_or_load_many::<u64, _, Vec<(String, u64)>, _, _, _>(&names, POLICY, async |_| Err("no such table")).await;
        assert!(failed.is_err());
        let begun = Instant::now();
        let loaded =
            async |keys: Vec<String>| Ok::<_, std::io::Error>(keys.into_iter().map(|key| (key, 1_u64)).collect::<Vec<_>>());
        b.get_or_load_many(&names, POLICY, loaded).await.expect("loaded");
        assert!(begun.elapsed() < Duration::from_secs(1), "nobody's ticket is waited for: {:?}", begun.elapsed());
        a.invalidate_many(&names).await.expect("usable").confirmed().expect("every connection is as well as before");
    }
    assert_eq!((a.stats().l2_faults, b.stats().l2_faults), (0, 0), "{}", a.stats());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nodes_are_asked_over_connections_that_are_kept() {
    let cluster = Cluster::start();
    let cache = built(builder(&cluster)).await;
    let number = |node: &RedisServer, section: &str, field: &str| {
        let told = node.command(&["INFO", section]).text().expect("text");
        let line = told.lines().find_map(|line| line.strip_prefix(field));
        line.and_then(|count| count.split(',').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let each = |of: &dyn Fn(&RedisServer) -> u64| cluster.nodes.iter().map(of).collect::<Vec<_>>();
    let asked = || each(&|node| number(node, "commandstats", "cmdstat_cluster|nodes:calls=")).iter().sum::<u64>();
    let accepted = || each(&|node| number(node, "stats", "total_connections_received:"));
    // Who begins asks all of them. Then each second, for six slots.
    let begun = asked();
    eventually_async(LONG, "they are asked again", async || asked() > begun + 20).await;
    let (before, looks, own) = (accepted(), asked(), &RefCell::new(0));
    let many = async || {
        // One connection of the test's to each.
        *own.borrow_mut() += 1;
        asked() > looks + 60
    };
    eventually_async(LONG, "they are asked many times", many).await;
    // And those of both looks beside it.
    let tests = *own.borrow() + 2;
    let more: Vec<u64> = accepted().iter().zip(&before).map(|(after, before)| after - before - tests).collect();
    assert!(more.iter().sum::<u64>() <= 3, "asked over as many connections as before: {more:?}");
    assert_eq!(cache.stats().lane_lost, 0);
}

#[tokio::test]
async fn a_primary_that_is_away_keeps_no_purge_from_the_others_and_is_told_of_for_itself() {
    let mut cluster = Cluster::start();
    for node in &cluster.nodes {
        node.command(&["CONFIG", "SET", "cluster-node-timeout", "60000"]);
        node.command(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    let log = Log::default();
    let _listening = log.listen();
    let a = built(builder(&cluster)).await;
    let names: Vec<String> = (0..60).map(|n| format!("key:{n}")).collect();
    assert!(a.set_many(names.iter().map(|name| (name, 1_u64)), POLICY).await.iter().all(Result::is_ok));
    let first = cluster.owner(&lane_of(0));
    let away: Vec<bool> = (0..PARTS).map(|part| cluster.owner(&lane_of(part)) == first).collect();
    cluster.nodes[first].kill();
    eventually_async(LONG, "it is away", async || !log.with("redis is away").is_empty()).await;
    let stopped = a.purge(Purge::everything()).await.expect_err("not all of them could be asked");
    let PurgeError::Stopped { done, .. } = stopped else { panic!("{stopped}") };
    let well = names.iter().filter(|name| !away[part_of(name)]).count();
    assert_eq!((done.delivery, done.counts.removed), (Delivery::Pending, u64::try_from(well).expect("few")));

    // Another one is another matter.
    let second = cluster.owner(&lane_of((0..PARTS).find(|part| !away[*part]).expect("one is well")));
    cluster.nodes[second].kill();
    eventually_async(LONG, "both are told of", async || log.with("redis is away").len() == 2).await;
    cluster.nodes[first].restart();
    cluster.nodes[second].restart();
    eventually_async(LONG, "all is told", async || a.stats().pending == 0).await;
}

#[tokio::test]
async fn what_is_dropped_or_closed_leaves_no_connection_to_any_node() {
    let (cluster, tasks) = (Cluster::start(), Handle::current().metrics());
    let connections = || cluster.nodes.iter().map(RedisServer::connections).sum::<usize>();
    let (none, before) = (connections(), tasks.num_alive_tasks());
    for end in 0..3 {
        let cache = built(builder(&cluster)).await;
        let all = none + 2 * PARTS + 3;
        eventually_async(LONG, "two for each part, and those over which nodes are asked", async || connections() >= all).await;
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
        let built = TieredCache::builder(NAMESPACE).redis_cluster(urls.iter().copied()).build().await;
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
    let error = TieredCache::builder(NAMESPACE).redis_cluster([server.url()]).require_redis().build().await;
    let error = error.expect_err("it is no Cluster").to_string();
    assert!(error.contains("cluster support disabled"), "{error}");
    let told = log.with("redis is away");
    assert!(told.len() == 1 && told.iter().all(|line| line.contains("use `redis`")), "{told:?}");
}
