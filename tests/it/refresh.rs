//! What is due is refreshed before its life is over, and what is stale answers while it is: by one caller of one instance, behind the others' backs.
#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a helper of a test fails the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cachetier::{
    Bulkhead, CacheBuilder, Call, CallKind, CallOptions, Clock, EarlyRefresh, InProcess, LearnedTtl, LoadContext, LoadError,
    Loaded, ManualClock, Origin, Plan, Policy, Served, Stale, TieredCache,
};
use cachetier_tests::{Gate, Oops, eventually_async, over_shared};
use tokio::task::JoinHandle;

const LONG: Duration = Duration::from_secs(20);
const TTL: Duration = Duration::from_secs(60);
/// Due from the 48th second on.
const EARLY: Policy = Policy::ttl(TTL).jitter(0).early_refresh(EarlyRefresh::after_percent(80));
/// Answers for ten minutes behind its ttl.
const ANSWERS: Policy = Policy::ttl(TTL).jitter(0).stale_while_revalidate(Duration::from_secs(600));
const KEY: &str = "rates";

/// Caches over one tier, by one clock, and a database of versions.
struct World {
    memory: InProcess,
    clock: Clock,
    hand: ManualClock,
    version: Arc<AtomicU64>,
    loads: Arc<AtomicU64>,
}

impl World {
    fn new() -> Self {
        let (clock, hand) = Clock::manual();
        let memory = InProcess::with_clock(clock.clone());
        Self { memory, clock, hand, version: Arc::new(AtomicU64::new(1)), loads: Arc::default() }
    }

    async fn alone(&self) -> TieredCache {
        TieredCache::builder("test").clock(self.clock.clone()).build().await.expect("built")
    }

    async fn cache(&self) -> TieredCache {
        self.built(|builder| builder).await
    }

    async fn built(&self, settings: impl FnOnce(CacheBuilder) -> CacheBuilder) -> TieredCache {
        let builder = TieredCache::builder("test").in_process(&self.memory).clock(self.clock.clone()).tag_cells(256);
        settings(builder).build().await.expect("built")
    }

    fn pass(&self, seconds: u64) {
        self.hand.advance(Duration::from_secs(seconds));
    }

    fn commit(&self, version: u64) {
        self.version.store(version, Ordering::SeqCst);
    }

    fn loads(&self) -> u64 {
        self.loads.load(Ordering::SeqCst)
    }

    /// A loader that may be kept.
    fn load(&self) -> impl Future<Output = Result<u64, Oops>> + Send + use<> {
        let (version, loads) = (Arc::clone(&self.version), Arc::clone(&self.loads));
        async move {
            loads.fetch_add(1, Ordering::SeqCst);
            Ok(version.load(Ordering::SeqCst))
        }
    }

    /// The same, which stands at a gate with what it has read.
    fn held(&self, gate: &Gate) -> impl Future<Output = Result<u64, Oops>> + Send + use<> {
        let (load, gate) = (self.load(), gate.clone());
        async move {
            let read = load.await;
            gate.wait().await;
            read
        }
    }

    async fn read(&self, cache: &TieredCache, policy: Policy) -> u64 {
        cache.get_or_load(KEY, policy, || self.load()).await.expect("loaded")
    }

    /// A caller whose loader is not kept, and stands at the gate.
    fn reading(&self, cache: &TieredCache, gate: &Gate) -> JoinHandle<Served<u64>> {
        let (cache, held) = (cache.clone(), self.held(gate));
        tokio::spawn(async move { cache.get_or_load_traced(KEY, EARLY, || held).await.expect("loaded") })
    }

    /// Another caller, whose loader brings what is there now.
    fn waiting(&self, cache: &TieredCache, policy: Policy) -> JoinHandle<Served<u64>> {
        let (cache, load) = (cache.clone(), self.load());
        tokio::spawn(async move { cache.get_or_load_traced(KEY, policy, || load).await.expect("answered") })
    }

    async fn ask(&self, cache: &TieredCache, policy: Policy) -> u64 {
        cache.get_or_refresh(KEY, policy, || self.load()).await.expect("answered")
    }
}

/// Returns when nothing is refreshed any more.
async fn settled(cache: &TieredCache) {
    eventually_async(LONG, "all is refreshed", async || cache.stats().refreshing == 0).await;
}

#[tokio::test]
async fn what_is_due_is_answered_at_once_and_refreshed_behind() {
    let world = World::new();
    for cache in [world.alone().await, world.cache().await] {
        world.commit(1);
        let before = world.loads();
        assert_eq!(world.ask(&cache, EARLY).await, 1);
        world.commit(2);
        world.pass(47);
        assert_eq!(world.ask(&cache, EARLY).await, 1);
        assert_eq!(cache.stats().refreshes, 0, "it is not due yet");
        world.pass(1);
        for _ in 0..10 {
            assert_eq!(world.ask(&cache, EARLY).await, 1, "at once");
        }
        settled(&cache).await;
        assert_eq!(world.ask(&cache, EARLY).await, 2);
        let stats = cache.stats();
        assert_eq!((world.loads() - before, stats.refreshes, stats.l1_misses), (2, 1, 1), "{stats}");
        assert_eq!(stats.l1_hits + stats.l1_misses, 13, "{stats}");
        // It lives anew, from its load on.
        world.pass(47);
        assert_eq!((world.ask(&cache, EARLY).await, cache.stats().refreshes), (2, 1));
        world.pass(1);
        world.ask(&cache, EARLY).await;
        settled(&cache).await;
        assert_eq!(cache.stats().refreshes, 2);
    }
}

#[tokio::test]
async fn a_loader_that_is_not_kept_has_one_caller_wait_and_no_other() {
    let world = World::new();
    let (cache, gate) = (world.cache().await, Gate::new());
    world.read(&cache, EARLY).await;
    world.commit(2);
    world.pass(50);
    let refreshing = world.reading(&cache, &gate);
    gate.arrived(1).await;
    for _ in 0..10 {
        assert_eq!(world.read(&cache, EARLY).await, 1);
    }
    gate.open();
    let served = refreshing.await.expect("no panic");
    assert_eq!((served.value, served.origin), (2, Origin::Loader));
    assert_eq!((world.read(&cache, EARLY).await, world.loads()), (2, 2));
}

#[tokio::test]
async fn one_instance_loads_and_the_others_find_it_when_their_own_copy_is_due() {
    let world = World::new();
    let (a, b) = (world.cache().await, world.cache().await);
    assert_eq!((world.ask(&a, EARLY).await, world.ask(&b, EARLY).await), (1, 1));
    world.commit(2);
    world.pass(48);
    world.ask(&a, EARLY).await;
    settled(&a).await;
    assert_eq!((world.ask(&a, EARLY).await, world.ask(&b, EARLY).await), (2, 1), "nobody was told");
    settled(&b).await;
    assert_eq!((world.ask(&b, EARLY).await, world.loads()), (2, 2));
    assert_eq!((b.stats().refreshes, b.stats().refreshes_found, b.stats().loads), (1, 1, 0));
}

#[tokio::test]
async fn the_others_are_told_of_what_has_changed_where_the_policy_says_so() {
    for (announces, version) in [(true, 2), (true, 1), (false, 2)] {
        let world = World::new();
        let (a, b) = (world.cache().await, world.cache().await);
        let policy = if announces { EARLY.announce_changes() } else { EARLY };
        assert_eq!((world.ask(&a, policy).await, world.ask(&b, policy).await), (1, 1));
        world.commit(version);
        world.pass(50);
        world.ask(&a, policy).await;
        settled(&a).await;
        a.flush(LONG).await.expect("told");
        let told = u64::from(announces && version == 2);
        eventually_async(LONG, "heard", async || b.stats().invalidations_applied == told).await;
        assert_eq!(a.stats().refreshes_announced, told);
        // Who was not told answers with its copy, and refreshes that.
        let answer = world.ask(&b, policy).await;
        settled(&b).await;
        assert_eq!((answer, b.stats().refreshes), if told == 1 { (2, 0) } else { (1, 1) });
        assert_eq!((world.ask(&a, policy).await, a.stats().refreshes, world.loads()), (version, 1, 2), "the new one is not stale");
    }
}

#[tokio::test]
async fn what_is_told_to_have_changed_stays_where_it_is() {
    over_shared(async |tier| {
        let (a, b) = tier.pair().await;
        let policy = ANSWERS.announce_changes();
        a.set(KEY, 1_u64, policy).await.expect("stored");
        let token = a.expire(KEY).await.expect("told").confirmed().expect("applied");
        b.wait_for(token, LONG).await.expect("heard");
        assert_eq!(b.get_or_load(KEY, policy, || async { Ok::<_, Oops>(2_u64) }).await.expect("loaded"), 2);
        eventually_async(LONG, "told", async || b.stats().refreshes_announced == 1).await;
        // The `set`, the expiry, and that.
        eventually_async(LONG, "heard", async || a.stats().invalidations_applied == 3).await;
        assert_eq!((a.get::<u64>(KEY).await, b.get::<u64>(KEY).await), (Some(2), Some(2)));
        assert_eq!((a.stats().l2_hits, b.stats().l1_hits), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn while_one_instance_refreshes_the_others_leave_it_alone() {
    let world = World::new();
    let (a, b, gate) = (world.cache().await, world.cache().await, Gate::new());
    assert_eq!((world.ask(&a, EARLY).await, world.ask(&b, EARLY).await), (1, 1));
    world.commit(2);
    world.pass(50);
    assert_eq!(a.get_or_refresh(KEY, EARLY, || world.held(&gate)).await.expect("answered"), 1);
    gate.arrived(1).await;
    assert_eq!(world.ask(&b, EARLY).await, 1);
    settled(&b).await;
    assert_eq!((b.stats().refreshes_left, world.loads()), (1, 2));
    // It stays where it is meanwhile: who has no copy finds it.
    assert_eq!(world.read(&world.cache().await, EARLY).await, 1);
    gate.open();
    settled(&a).await;
    // After a while it looks again.
    world.pass(1);
    assert_eq!(world.ask(&b, EARLY).await, 1);
    settled(&b).await;
    assert_eq!((world.ask(&b, EARLY).await, b.stats().refreshes_found, world.loads()), (2, 1, 2));
}

#[tokio::test]
async fn what_is_invalidated_while_it_is_refreshed_answers_nobody_and_is_not_stored() {
    for policy in [EARLY, ANSWERS] {
        let world = World::new();
        let (a, b, gate) = (world.cache().await, world.cache().await, Gate::new());
        world.ask(&a, policy).await;
        world.pass(if policy == EARLY { 50 } else { 61 });
        // It has read what is old by now.
        a.get_or_refresh(KEY, policy, || world.held(&gate)).await.expect("answered");
        gate.arrived(1).await;
        world.commit(2);
        b.invalidate(KEY).await.expect("told").confirmed().expect("applied");
        eventually_async(LONG, "heard", async || a.stats().invalidations_applied == 1).await;
        gate.open();
        settled(&a).await;
        assert_eq!((world.ask(&a, policy).await, world.ask(&b, policy).await), (2, 2));
    }
}

#[tokio::test]
async fn a_refresh_that_fails_leaves_the_value_to_its_end_and_is_tried_again() {
    let world = World::new();
    let cache = world.cache().await;
    world.ask(&cache, EARLY).await;
    world.pass(50);
    let fails = || async { Err::<u64, _>(Oops("no")) };
    let ask = async || cache.get_or_refresh(KEY, EARLY, fails).await.ok();
    for (seconds, failed) in [(0, 1), (0, 1), (1, 2), (7, 3)] {
        world.pass(seconds);
        assert_eq!(ask().await, Some(1));
        settled(&cache).await;
        assert_eq!((cache.stats().refreshes_failed, cache.stats().load_errors), (failed, failed));
    }
    // Also where its caller is the one who loads.
    world.pass(1);
    assert_eq!(cache.get_or_load(KEY, EARLY, fails).await.ok(), Some(1));
    assert_eq!(cache.stats().refreshes_failed, 4);
    world.pass(1);
    assert_eq!(ask().await, None, "its life is over");
    world.commit(2);
    assert_eq!(world.ask(&cache, EARLY).await, 2);
}

#[tokio::test]
async fn a_caller_who_is_dropped_while_he_refreshes_leaves_it_to_the_next() {
    // In his load, or while the lease that he asks for is on its way to him.
    for loading in [true, false] {
        let world = World::new();
        let (cache, gate) = (world.cache().await, Gate::new());
        world.read(&cache, EARLY).await;
        world.commit(2);
        world.pass(50);
        if !loading {
            let answers = gate.clone();
            world.memory.script_calls(move |call: &Call<'_>| {
                let answers = answers.clone();
                if call.kind == CallKind::Lease { Plan::go().reply_after(async move { answers.wait().await }) } else { Plan::go() }
            });
        }
        let refreshing = world.reading(&cache, &gate);
        gate.arrived(1).await;
        refreshing.abort();
        assert!(refreshing.await.expect_err("dropped").is_cancelled());
        gate.open();
        cache.flush(LONG).await.expect("the lease is given back");
        world.pass(1);
        assert_eq!((world.read(&cache, EARLY).await, world.loads()), (2, if loading { 3 } else { 2 }));
    }
}

#[tokio::test]
async fn what_is_stale_answers_while_it_is_loaded_and_says_so() {
    let world = World::new();
    for cache in [world.alone().await, world.cache().await] {
        world.commit(1);
        world.ask(&cache, ANSWERS).await;
        world.commit(2);
        world.pass(600);
        let gate = Gate::new();
        assert_eq!(cache.get_or_refresh(KEY, ANSWERS, || world.held(&gate)).await.expect("answered"), 1);
        gate.arrived(1).await;
        let served = cache.get_or_load_traced(KEY, ANSWERS, || world.load()).await.expect("answered");
        assert_eq!((served.value, served.origin, served.stale), (1, Origin::L1, Some(Stale::Revalidating)));
        assert_eq!(served.age, Duration::from_secs(600));
        assert_eq!(cache.stats().served_revalidating, 2);
        gate.open();
        settled(&cache).await;
        let served = cache.get_or_load_traced(KEY, ANSWERS, || world.load()).await.expect("answered");
        assert_eq!((served.value, served.stale), (2, None));
        // Not longer than its window.
        world.pass(661);
        world.commit(3);
        assert_eq!(world.ask(&cache, ANSWERS).await, 3);
    }
}

#[tokio::test]
async fn who_does_not_want_what_is_stale_waits_for_what_is_loaded() {
    let world = World::new();
    let (cache, gate) = (world.cache().await, Gate::new());
    world.ask(&cache, ANSWERS).await;
    world.commit(2);
    world.pass(61);
    assert_eq!(cache.get_or_refresh(KEY, ANSWERS, || world.held(&gate)).await.expect("answered"), 1);
    gate.arrived(1).await;
    let waits = tokio::spawn({
        let (cache, load) = (cache.clone(), world.load());
        async move { cache.get_or_load(KEY, Policy::ttl(TTL), || load).await }
    });
    eventually_async(LONG, "he waits", async || cache.stats().l1_misses == 2).await;
    assert!(!waits.is_finished());
    gate.open();
    assert_eq!(waits.await.expect("no panic").expect("loaded"), 2);
    assert_eq!(world.loads(), 2);
}

#[tokio::test]
async fn an_instance_without_a_copy_answers_with_what_is_stale_in_the_shared_tier() {
    let world = World::new();
    let (a, b, c, gate) = (world.cache().await, world.cache().await, world.cache().await, Gate::new());
    world.ask(&a, ANSWERS).await;
    world.commit(2);
    world.pass(61);
    // It has the lease, and is slow.
    assert_eq!(b.get_or_refresh(KEY, ANSWERS, || world.held(&gate)).await.expect("answered"), 1);
    gate.arrived(1).await;
    let served = c.get_or_load_traced(KEY, ANSWERS, || world.load()).await.expect("answered");
    assert_eq!((served.value, served.origin, served.stale), (1, Origin::L2, Some(Stale::Revalidating)));
    assert_eq!(
        c.get_or_load_many([KEY], ANSWERS.coalesce(cachetier::Coalesce::Process), async |_: Vec<String>| {
            Ok::<_, Oops>([(KEY, 7_u64)])
        })
        .await
        .expect("loaded"),
        [Some(7)],
        "a batch loads"
    );
    gate.open();
    settled(&b).await;
    assert_eq!((world.ask(&b, ANSWERS).await, b.stats().served_revalidating), (2, 1));
    assert_eq!(world.loads(), 2);
}

#[tokio::test]
async fn what_was_expired_answers_while_it_is_loaded_and_what_was_invalidated_does_not() {
    let world = World::new();
    let cache = world.cache().await;
    world.ask(&cache, ANSWERS).await;
    world.commit(2);
    cache.expire(KEY).await.expect("told");
    assert_eq!(world.ask(&cache, ANSWERS).await, 1);
    settled(&cache).await;
    assert_eq!(world.ask(&cache, ANSWERS).await, 2);
    world.commit(3);
    world.pass(61);
    cache.invalidate(KEY).await.expect("told");
    assert_eq!(world.ask(&cache, ANSWERS).await, 3);
    world.commit(4);
    cache.set(KEY, 4_u64, ANSWERS.tags(["t"])).await.expect("stored");
    world.pass(61);
    cache.invalidate_tag("t").await.expect("told");
    world.commit(5);
    assert_eq!(world.ask(&cache, ANSWERS).await, 5);
}

#[tokio::test]
async fn there_is_room_for_so_many_and_what_is_read_most_goes_first() {
    let world = World::new();
    let cache = world.built(|builder| builder.refresh_queue(3).refreshes_at_once(1)).await;
    let (gate, order) = (Gate::new(), Arc::new(std::sync::Mutex::new(Vec::new())));
    let ask = async |key: &'static str| {
        let (gate, order) = (gate.clone(), Arc::clone(&order));
        let load = move || async move {
            gate.wait().await;
            order.lock().expect("not poisoned").push(key);
            Ok::<_, Oops>(2_u64)
        };
        cache.get_or_refresh(key, EARLY, load).await.expect("answered")
    };
    for key in ["first", "cold", "hot", "warm", "late"] {
        cache.set(key, 1_u64, EARLY).await.expect("stored");
    }
    world.pass(50);
    assert_eq!(ask("first").await, 1);
    gate.arrived(1).await;
    for (key, reads) in [("cold", 1), ("hot", 9), ("warm", 5), ("late", 99)] {
        for _ in 0..reads {
            assert_eq!(ask(key).await, 1);
        }
    }
    assert_eq!((cache.stats().refreshing, cache.stats().refreshes_dropped), (4, 1));
    gate.open();
    settled(&cache).await;
    assert_eq!(*order.lock().expect("not poisoned"), ["first", "hot", "warm", "cold"]);
    // What was dropped is refreshed by a later read.
    world.pass(1);
    assert_eq!(ask("late").await, 1);
    settled(&cache).await;
    assert_eq!(ask("late").await, 2);
}

#[tokio::test]
async fn what_waits_or_is_being_refreshed_ends_with_the_cache() {
    for closes in [true, false] {
        let world = World::new();
        let cache = world.built(|builder| builder.refreshes_at_once(1)).await;
        let gate = Gate::new();
        for key in ["first", "second"] {
            cache.set(key, 1_u64, EARLY).await.expect("stored");
        }
        world.pass(50);
        let dropped = Arc::new(());
        for key in ["first", "second"] {
            let (held, token) = (world.held(&gate), Arc::clone(&dropped));
            let load = async move {
                let loaded = held.await;
                drop(token);
                loaded
            };
            assert_eq!(cache.get_or_refresh(key, EARLY, || load).await.expect("answered"), 1);
        }
        gate.arrived(1).await;
        assert_eq!(cache.stats().refreshing, 2);
        if closes {
            cache.close(LONG).await.expect("closed");
        } else {
            drop(cache);
            // The one that is under way is let end.
            gate.open();
        }
        eventually_async(LONG, "nothing is left of them", async || Arc::strong_count(&dropped) == 1).await;
        assert_eq!(world.loads(), 1, "the other one has not begun");
    }
}

#[tokio::test]
async fn a_refresh_counts_among_the_loads_that_run_at_once() {
    let world = World::new();
    let bulkhead = Bulkhead::new(1).expect("one");
    let cache = world.built(|builder| builder.bulkhead(bulkhead.clone())).await;
    world.ask(&cache, EARLY).await;
    world.commit(2);
    world.pass(50);
    let gate = Gate::new();
    let other = tokio::spawn({
        let (cache, held) = (cache.clone(), world.held(&gate));
        async move { cache.get_or_load("another", EARLY, || held).await }
    });
    gate.arrived(1).await;
    assert_eq!(world.ask(&cache, EARLY).await, 1);
    eventually_async(LONG, "it waits for its place", async || cache.stats().loads_queued == 1).await;
    assert_eq!(world.loads(), 2);
    gate.open();
    other.await.expect("no panic").expect("loaded");
    settled(&cache).await;
    assert_eq!(world.ask(&cache, EARLY).await, 2);
}

#[tokio::test]
async fn a_value_that_this_instance_alone_has_is_refreshed_as_well() {
    let world = World::new();
    for cache in [world.alone().await, world.cache().await] {
        world.commit(1);
        let read = async || cache.local().get_or_load(KEY, EARLY, || world.load()).await.expect("loaded");
        assert_eq!(read().await, 1);
        world.commit(2);
        world.pass(50);
        assert_eq!((read().await, read().await, cache.stats().refreshes), (2, 2, 1));
    }
}

#[tokio::test]
async fn without_the_shared_tier_nothing_is_refreshed_before_its_time() {
    let world = World::new();
    let cache = world.cache().await;
    world.ask(&cache, EARLY).await;
    world.pass(50);
    for kind in [CallKind::Lease, CallKind::Probe, CallKind::Read] {
        world.memory.hang(kind);
    }
    world.memory.script_calls(|_: &cachetier::Call<'_>| cachetier::Plan::away());
    assert_eq!(world.ask(&cache, EARLY).await, 1);
    settled(&cache).await;
    assert_eq!((world.loads(), cache.stats().refreshes_left), (1, 1));
}

#[tokio::test]
async fn a_call_that_wants_what_is_fresh_loads_and_one_with_its_own_limits_is_answered() {
    let world = World::new();
    let cache = world.cache().await;
    world.ask(&cache, ANSWERS).await;
    world.commit(2);
    world.pass(61);
    let options = CallOptions::new().deadline(LONG);
    let failing = || async { Err::<u64, _>(Oops("no")) };
    let served = cache.with(options).get_or_load(KEY, ANSWERS, failing).await.expect("answered");
    assert_eq!((served.value, served.stale), (1, Some(Stale::Revalidating)), "its load has failed");
    let failed: Result<_, LoadError<Oops>> = cache.with(options.fresh()).get_or_load(KEY, ANSWERS, failing).await;
    assert!(failed.is_err());
    let fresh = cache.with(options.fresh()).get_or_load(KEY, ANSWERS, || world.load()).await.expect("loaded");
    assert_eq!((fresh.value, fresh.stale), (2, None));
}

#[tokio::test]
async fn a_ttl_is_learned_from_what_any_instance_has_loaded() {
    let world = World::new();
    let (a, b) = (world.cache().await, world.cache().await);
    let learned = LearnedTtl::between(Duration::from_secs(10), Duration::from_secs(100)).changed_percent(50);
    let policy = Policy::ttl(Duration::from_secs(20)).stale_for(TTL).learned_ttl(learned);
    let life = async |cache: &TieredCache| cache.inspect(KEY).await.expect("looked at").here.expect("loaded").entry.life.as_secs();
    world.read(&a, policy).await;
    assert_eq!(life(&a).await, 20);
    // The same: by turns, so that each goes on from what the other has found.
    for (cache, before, expected) in [(&b, 20, 40), (&a, 40, 80), (&b, 80, 100), (&a, 100, 100)] {
        world.pass(before);
        assert_eq!((world.read(cache, policy).await, life(cache).await), (1, expected));
    }
    for (version, before, expected) in [(2, 100, 50), (3, 50, 25), (4, 25, 12), (5, 13, 10), (6, 10, 10)] {
        world.commit(version);
        world.pass(before);
        assert_eq!((world.read(&b, policy).await, life(&b).await), (version, expected));
    }
    // What was invalidated is not at hand, and what the loader says counts.
    a.invalidate(KEY).await.expect("told").confirmed().expect("applied");
    eventually_async(LONG, "heard", async || b.get::<u64>(KEY).await.is_none()).await;
    world.read(&b, policy).await;
    assert_eq!(life(&b).await, 20);
    world.pass(20);
    let says = async |context: LoadContext<'_, u64>| {
        let stale = context.stale().expect("it is kept");
        Ok::<_, Oops>(stale.not_modified())
    };
    b.get_or_load_with(KEY, policy, says).await.expect("loaded");
    assert_eq!(life(&b).await, 40, "it is the same, for its loader says so");
    world.pass(40);
    let says = async |_: LoadContext<'_, u64>| Ok::<_, Oops>(Loaded::new(6).ttl(Duration::from_secs(7)));
    b.get_or_load_with(KEY, policy.jitter(0), says).await.expect("loaded");
    assert_eq!(life(&b).await, 7);
    // It needs something to compare with.
    assert!(Policy::ttl(TTL).learned_ttl(learned).check().is_err());
    assert!(EARLY.learned_ttl(learned).check().is_ok());
}

/// Both kinds of caches.
async fn each(world: &World) -> [TieredCache; 2] {
    [world.alone().await, world.cache().await]
}

async fn fails() -> Result<u64, Oops> {
    Err(Oops("no"))
}

#[tokio::test]
async fn what_was_invalidated_before_its_refresh_began_does_not_come_back() {
    let world = World::new();
    let policy = ANSWERS.stale_if_error(Duration::from_secs(10));
    let (cache, gate) = (world.built(|builder| builder.refreshes_at_once(1)).await, Gate::new());
    let alone = TieredCache::builder("test").clock(world.clock.clone()).refreshes_at_once(1).build().await.expect("built");
    for cache in [cache, alone] {
        for key in ["busy", KEY] {
            cache.set(key, 1_u64, policy).await.expect("stored");
        }
        world.pass(70);
        cache.get_or_refresh("busy", policy, || world.held(&gate)).await.expect("answered");
        assert_eq!(cache.get_or_refresh(KEY, policy, fails).await.ok(), Some(1));
        cache.invalidate(KEY).await.expect("told");
        gate.open();
        settled(&cache).await;
        assert_eq!(cache.get::<u64>(KEY).await, None);
    }
}

#[tokio::test]
async fn a_refresh_that_fails_answers_with_nothing_that_was_invalidated_meanwhile() {
    let world = World::new();
    for cache in each(&world).await {
        cache.set(KEY, 1_u64, EARLY).await.expect("stored");
        world.pass(50);
        let load = async || {
            cache.invalidate(KEY).await.expect("told");
            fails().await
        };
        assert!(cache.get_or_load(KEY, EARLY, load).await.is_err());
    }
}

#[tokio::test]
async fn who_wants_another_type_refreshes_nothing() {
    let world = World::new();
    let (a, b) = (world.cache().await, world.cache().await);
    world.ask(&a, EARLY).await;
    world.pass(50);
    let other = a.get_or_load(KEY, EARLY, || async { Ok::<_, Oops>("other".to_owned()) }).await;
    assert_eq!(other.expect("loaded"), "other");
    assert_eq!(b.get::<u64>(KEY).await, Some(1), "left alone");
}

#[tokio::test]
async fn what_nobody_was_answered_with_is_not_counted_as_served_and_what_stood_in_says_so() {
    let world = World::new();
    for cache in each(&world).await {
        cache.set(KEY, 1_u64, ANSWERS).await.expect("stored");
        world.pass(70);
        cache.get_or_refresh(KEY, ANSWERS, fails).await.expect("answered");
        settled(&cache).await;
        assert_eq!((cache.stats().served_revalidating, cache.stats().refreshes_failed), (1, 1));
        let policy = ANSWERS.stale_if_error(Duration::from_secs(10));
        world.pass(70);
        let served = cache.get_or_load_traced(KEY, policy, fails).await.expect("answered");
        let stats = cache.stats();
        assert_eq!((served.stale, stats.served_stale, stats.served_revalidating), (Some(Stale::LoadFailed), 1, 1), "{stats}");
    }
}

#[tokio::test]
async fn of_what_is_stale_the_hottest_goes_first_too_and_of_equals_the_oldest() {
    let world = World::new();
    let cache = world.built(|builder| builder.refreshes_at_once(1)).await;
    let (gate, order) = (Gate::new(), Arc::new(std::sync::Mutex::new(Vec::new())));
    for key in ["busy", "cold", "hot", "cool"] {
        cache.set(key, 1_u64, ANSWERS).await.expect("stored");
    }
    world.pass(70);
    cache.get_or_refresh("busy", ANSWERS, || world.held(&gate)).await.expect("answered");
    gate.arrived(1).await;
    for (key, reads) in [("cold", 1), ("hot", 100), ("cool", 1)] {
        for _ in 0..reads {
            let order = Arc::clone(&order);
            let load = move || async move {
                order.lock().expect("not poisoned").push(key);
                Ok::<_, Oops>(2_u64)
            };
            cache.get_or_refresh(key, ANSWERS, load).await.expect("answered");
        }
    }
    gate.open();
    settled(&cache).await;
    assert_eq!(*order.lock().expect("not poisoned"), ["hot", "cold", "cool"]);
}

#[tokio::test]
async fn at_its_deadline_a_call_is_answered_with_the_copy_that_is_at_hand() {
    let world = World::new();
    for cache in each(&world).await {
        cache.set(KEY, 1_u64, EARLY).await.expect("stored");
        world.pass(50);
        let call = cache.with(CallOptions::new().deadline(Duration::from_millis(20)));
        let served = call.get_or_load(KEY, EARLY, std::future::pending::<Result<u64, Oops>>).await.expect("answered");
        assert_eq!((served.value, served.origin), (1, Origin::L1));
    }
}

#[tokio::test]
async fn what_is_found_to_be_gone_answers_nobody_any_more() {
    let world = World::new();
    for cache in each(&world).await {
        let load = |value: Option<u64>| move || async move { Ok::<_, Oops>(value) };
        cache.get_or_load_optional(KEY, ANSWERS, load(Some(1))).await.expect("loaded");
        world.pass(70);
        assert_eq!(cache.get_or_load_optional(KEY, ANSWERS, load(None)).await.expect("loaded"), None);
        assert_eq!(cache.get_or_load_optional(KEY, ANSWERS, load(None)).await.expect("loaded"), None);
    }
}

#[tokio::test]
async fn a_refresh_that_takes_longer_than_the_life_that_is_left_is_stored_all_the_same() {
    let world = World::new();
    let cache = world.cache().await;
    let policy = Policy::ttl(TTL).jitter(0).early_refresh(EarlyRefresh::after_percent(99));
    let slowly = async || {
        let read = world.load().await;
        world.pass(2);
        read
    };
    cache.get_or_load(KEY, policy, slowly).await.expect("loaded");
    world.hand.advance(Duration::from_millis(59_500));
    for _ in 0..2 {
        cache.get_or_load(KEY, policy, slowly).await.expect("loaded");
    }
    assert_eq!((world.loads(), cache.stats().fills_refused), (2, 0));
}

#[tokio::test]
async fn who_has_waited_for_something_newer_is_counted_as_any_who_missed() {
    let world = World::new();
    let (a, b) = (world.cache().await, world.cache().await);
    world.read(&a, EARLY).await;
    world.read(&b, EARLY).await;
    world.pass(50);
    world.read(&a, EARLY).await;
    let counted = |before: &cachetier::Stats| {
        let after = b.stats();
        (
            after.l1_hits - before.l1_hits,
            after.l1_misses - before.l1_misses,
            after.l2_hits - before.l2_hits,
            after.l2_misses - before.l2_misses,
        )
    };
    let before = b.stats();
    world.read(&b, EARLY).await;
    assert_eq!(counted(&before), (0, 1, 1, 0), "found");
    world.pass(50);
    let before = b.stats();
    world.read(&b, EARLY).await;
    assert_eq!(counted(&before), (0, 1, 0, 1), "loaded");
}

/// Between the last look of a worker at the queue and its end something may be put there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_into_the_queue_while_a_worker_ends_is_worked_off() {
    let (clock, hand) = Clock::manual();
    let cache = TieredCache::builder("test").clock(clock).refreshes_at_once(1).build().await.expect("built");
    let policy = Policy::ttl(Duration::from_secs(1)).jitter(0).stale_while_revalidate(Duration::from_secs(1_000_000));
    for key in ["one", "other"] {
        cache.set(key, 0_u64, policy).await.expect("stored");
    }
    let done = Arc::new(AtomicU64::new(0));
    for round in 0..10_000_u64 {
        hand.advance(Duration::from_secs(2));
        let (before, mark) = (done.load(Ordering::SeqCst), Arc::clone(&done));
        let load = move || async move {
            mark.fetch_add(1, Ordering::SeqCst);
            Ok::<_, Oops>(0_u64)
        };
        cache.get_or_refresh("one", policy, load).await.expect("answered");
        // No sleep: what is looked for lasts for less than a microsecond.
        while done.load(Ordering::SeqCst) == before {
            std::hint::spin_loop();
        }
        for _ in 0..round % 400 * 5 {
            std::hint::spin_loop();
        }
        cache.get_or_refresh("other", policy, || async { Ok::<_, Oops>(0_u64) }).await.expect("answered");
        let mut looks = 0;
        while cache.stats().refreshing > 0 && looks < 1_000 {
            tokio::task::yield_now().await;
            looks += 1;
        }
        settled(&cache).await;
    }
}

/// Is kept for an hour, and answers who has waited for so long.
fn slow(after: Duration) -> Policy {
    Policy::ttl(TTL).jitter(0).stale_for(Duration::from_secs(3_600)).stale_if_slow(after)
}

const SOON: Duration = Duration::from_millis(30);

#[tokio::test]
async fn who_has_waited_for_long_enough_is_answered_with_what_is_stale_and_the_load_goes_on() {
    let world = World::new();
    for cache in each(&world).await {
        world.commit(1);
        let (gate, before) = (Gate::new(), world.loads());
        world.read(&cache, slow(SOON)).await;
        world.commit(2);
        world.pass(61);
        // His loader is kept; those of the others who wait do not run.
        let leaves = tokio::spawn({
            let (cache, held) = (cache.clone(), world.held(&gate));
            async move { cache.get_or_refresh(KEY, slow(SOON), || held).await.expect("answered") }
        });
        gate.arrived(1).await;
        let wait: Vec<_> = (0..10).map(|_| world.waiting(&cache, slow(SOON))).collect();
        let stays = world.waiting(&cache, Policy::ttl(TTL));
        assert_eq!(leaves.await.expect("no panic"), 1);
        for waits in wait {
            let served = waits.await.expect("no panic");
            assert_eq!((served.value, served.origin, served.stale), (1, Origin::L1, Some(Stale::Revalidating)));
        }
        assert!(!stays.is_finished(), "his policy says nothing of it");
        gate.open();
        assert_eq!(stays.await.expect("no panic").value, 2);
        assert_eq!((world.read(&cache, slow(SOON)).await, world.loads() - before), (2, 2));
        assert_eq!((cache.stats().served_revalidating, cache.stats().refreshes), (11, 0));
    }
}

#[tokio::test]
async fn a_load_that_is_not_slow_answers_itself_and_so_does_its_failure() {
    let world = World::new();
    for cache in each(&world).await {
        world.commit(1);
        world.ask(&cache, slow(LONG)).await;
        world.pass(61);
        let failed = cache.get_or_refresh(KEY, slow(LONG), fails).await.expect_err("it fails");
        assert!(matches!(failed, LoadError::Loader(why) if *why == Oops("no")));
        world.commit(2);
        assert_eq!(world.ask(&cache, slow(LONG)).await, 2);
        assert_eq!(cache.stats().served_revalidating, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_invalidated_while_its_load_is_slow_answers_nobody() {
    let world = World::new();
    for cache in each(&world).await {
        world.commit(1);
        let gate = Gate::new();
        world.read(&cache, slow(SOON)).await;
        // What the load that is slow has read.
        world.commit(2);
        world.pass(61);
        let calls = [
            tokio::spawn({
                let (cache, held) = (cache.clone(), world.held(&gate));
                async move { cache.get_or_refresh(KEY, slow(Duration::from_millis(300)), || held).await.expect("answered") }
            }),
            {
                gate.arrived(1).await;
                let waits = world.waiting(&cache, slow(Duration::from_millis(300)));
                tokio::spawn(async move { waits.await.expect("no panic").value })
            },
        ];
        eventually_async(LONG, "both wait", async || cache.stats().l1_misses == 3).await;
        world.commit(3);
        cache.invalidate(KEY).await.expect("told");
        // Longer than they would have waited.
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert!(!calls[0].is_finished());
        gate.open();
        let [own, joined] = calls;
        assert_eq!(own.await.expect("no panic"), 2, "what his own load has read");
        assert!(joined.await.expect("no panic") > 1, "what was stale");
        assert_eq!(world.read(&cache, slow(SOON)).await, 3);
    }
}

#[tokio::test]
async fn who_waits_for_another_instances_slow_load_is_answered_with_what_is_stale() {
    let world = World::new();
    let (a, b, gate) = (world.cache().await, world.cache().await, Gate::new());
    world.read(&a, slow(SOON)).await;
    world.commit(2);
    world.pass(61);
    let loads = tokio::spawn({
        let (a, held) = (a.clone(), world.held(&gate));
        async move { a.get_or_load(KEY, slow(SOON), || held).await.expect("loaded") }
    });
    gate.arrived(1).await;
    let served = b.get_or_load_traced(KEY, slow(SOON), || world.load()).await.expect("answered");
    assert_eq!((served.value, served.origin, served.stale), (1, Origin::L2, Some(Stale::Revalidating)));
    gate.open();
    assert_eq!((loads.await.expect("no panic"), world.loads()), (2, 2));
    assert_eq!(world.read(&b, slow(SOON)).await, 2);
}

#[tokio::test]
async fn many_who_may_leave_their_load_make_one() {
    let world = World::new();
    let (cache, gate) = (world.cache().await, Gate::new());
    world.read(&cache, slow(SOON)).await;
    world.commit(2);
    world.pass(61);
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let (cache, held) = (cache.clone(), world.held(&gate));
            tokio::spawn(async move { cache.get_or_refresh(KEY, slow(SOON), || held).await.expect("answered") })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.expect("no panic"), 1);
    }
    gate.open();
    eventually_async(LONG, "it is loaded", async || cache.get::<u64>(KEY).await == Some(2)).await;
    assert_eq!(world.loads(), 2);
}
