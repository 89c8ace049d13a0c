//! Crowds of callers on one key, in interleavings chosen at random. A caller that is never woken again shows as a deadlock.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use shuttle::future::{block_on, spawn};

use crate::explore::explore;
use crate::world::{Loader, Mortal, World};

type Callers = Vec<Mortal>;

/// Runs the callers to their ends, then checks what they have left.
fn run(world: &Arc<World>, callers: Callers) {
    let running: Vec<_> = callers.into_iter().map(spawn).collect();
    block_on(async {
        for caller in running {
            caller.await.expect("a caller that ends");
        }
        world.check_left().await;
    });
}

/// The loads and the dropped leads of callers that are not disturbed.
fn loads(world: &World) -> (usize, usize) {
    (world.loads.load(Ordering::Relaxed), world.dropped.load(Ordering::Relaxed))
}

fn get(world: &Arc<World>, loader: Loader) -> impl Future<Output = ()> + Send + 'static {
    let world = Arc::clone(world);
    async move {
        world.get(loader).await;
    }
}

/// Callers that want a value and wait for it.
fn patient(world: &Arc<World>, count: usize) -> Callers {
    (0..count).map(|_| Mortal::patient(get(world, Loader::Works))).collect()
}

/// Callers that want a value and may leave at any time.
fn mortal(world: &Arc<World>, count: usize) -> Callers {
    (0..count).map(|_| Mortal::new(get(world, Loader::Works))).collect()
}

/// Callers whose loader panics; they would wait for somebody else's.
fn panicking(world: &Arc<World>, count: usize) -> Callers {
    (0..count).map(|_| Mortal::patient(get(world, Loader::Panics))).collect()
}

fn change(world: &Arc<World>) -> Mortal {
    let world = Arc::clone(world);
    Mortal::patient(async move { world.change().await })
}

fn put(world: &Arc<World>) -> impl Future<Output = ()> + Send + 'static {
    let world = Arc::clone(world);
    async move { world.put().await }
}

fn look(world: &Arc<World>) -> impl Future<Output = ()> + Send + 'static {
    let world = Arc::clone(world);
    async move { world.look().await }
}

fn part(world: &Arc<World>) -> Mortal {
    let world = Arc::clone(world);
    Mortal::patient(async move { world.part().await })
}

#[test]
fn however_many_ask_one_loads() {
    explore(|| {
        let world = World::new();
        run(&world, patient(&world, 4));
        assert_eq!(loads(&world), (1, 0));
    });
}

#[test]
fn who_leaves_while_another_leads_costs_no_load_and_who_leaves_while_it_leads_one() {
    explore(|| {
        let world = World::new();
        let mut callers = mortal(&world, 3);
        callers.extend(patient(&world, 2));
        run(&world, callers);
        let (loads, dropped) = loads(&world);
        assert!(loads >= 1 && loads <= dropped + 1, "{loads} loads, {dropped} leaders dropped");
    });
}

#[test]
fn when_all_leave_nothing_is_left() {
    explore(|| {
        let world = World::new();
        run(&world, mortal(&world, 4));
    });
}

#[test]
fn a_leader_that_panics_costs_one_load() {
    explore(|| {
        let world = World::new();
        let mut callers = panicking(&world, 1);
        callers.extend(patient(&world, 2));
        callers.extend(mortal(&world, 1));
        run(&world, callers);
        let (loads, dropped) = loads(&world);
        assert!(loads >= 1 && loads <= dropped + 1, "{loads} loads, {dropped} leaders dropped");
    });
}

#[test]
fn nothing_older_than_an_invalidation_is_kept_or_served_after_it() {
    explore(|| {
        let world = World::new();
        let mut callers = patient(&world, 3);
        callers.extend([change(&world), change(&world)]);
        run(&world, callers);
    });
}

#[test]
fn invalidations_among_callers_that_leave_strand_nobody() {
    explore(|| {
        let world = World::new();
        let mut callers = mortal(&world, 2);
        callers.extend([change(&world), part(&world)]);
        callers.extend(patient(&world, 2));
        run(&world, callers);
    });
}

#[test]
fn puts_and_reads_that_may_be_left_strand_nobody() {
    explore(|| {
        let world = World::new();
        let mut callers = vec![Mortal::new(put(&world)), Mortal::new(look(&world)), Mortal::patient(look(&world))];
        callers.extend([Mortal::patient(put(&world)), change(&world)]);
        callers.extend(patient(&world, 2));
        run(&world, callers);
    });
}
