//! The store and the front before it, read by some threads while another changes them.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::*;
use crate::key::{KeyHasher, Prefixes};
use crate::proofs::Proof;
use crate::rule::early::Early;
use crate::rule::policy::Content;

fn entry(view: &View, version: u64) -> Arc<Entry> {
    let noted = view.note(Millis(0));
    let facts = Facts {
        content: Content::Value,
        epoch: noted.epoch,
        born: noted.born,
        tick: noted.tick,
        tags: Box::default(),
        validator: None,
        prefixes: Prefixes::default(),
        stamp: None,
        deadline: Millis::NEVER,
        stale_from: Millis::NEVER,
        end: Millis::NEVER,
        loaded_at: Millis(0),
        early: Early::NEVER,
        cost: Duration::ZERO,
        self_evident_until: Millis(0),
        excusable: false,
        idle_limit: None,
        stands_in: false,
        size: 0,
        type_name: "u64",
    };
    Entry::new(facts, Millis(0), version)
}

fn proven() -> View {
    let view = View::new(64, Millis(0));
    view.prove(0, Proof { asked: Millis(0), until: Millis::NEVER, now: Millis(0) });
    view
}

fn l1(entries: u64) -> L1 {
    L1::new(Capacity::Entries(entries), Eviction::Lru, Arc::new(Counters::default()))
}

fn keys<const N: usize>() -> [KeyHash; N] {
    let hasher = KeyHasher::new([7; 16]);
    std::array::from_fn(|index| hasher.hash(format!("key:{index}")))
}

/// Reads until `over`: whatever is found must be newer than what was acknowledged before the look. Returns how often something was.
fn read(l1: &L1, view: &View, key: KeyHash, acknowledged: &AtomicU64, over: &AtomicBool) -> u64 {
    let mut found = 0;
    while !over.load(Ordering::Acquire) {
        let gone = acknowledged.load(Ordering::Acquire);
        if let Some(entry) = l1.probe(key, Millis(0), view) {
            let version = entry.value::<u64>().copied();
            assert!(version > Some(gone), "{gone} was acknowledged as gone, found {version:?}");
            found += 1;
        }
    }
    found
}

/// Puts one version after the other, and takes each out again: by dropping it, by writing over it, by dropping everything; `crowd`
/// puts others in between, so that the store has often let the entry go before it is taken out.
fn check(capacity: u64, crowd: usize) {
    const VERSIONS: u64 = 3_000;
    let (l1, view) = (l1(capacity), proven());
    let [key, others @ ..] = keys::<5>();
    let (acknowledged, over) = (AtomicU64::new(0), AtomicBool::new(false));
    let found: u64 = std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2).map(|_| scope.spawn(|| read(&l1, &view, key, &acknowledged, &over))).collect();
        for version in 1..=VERSIONS {
            l1.insert(key, entry(&view, version));
            // What is written over is gone from then on, as what is dropped.
            acknowledged.store(version - 1, Ordering::Release);
            for _ in 0..version % 50 {
                std::hint::spin_loop();
            }
            for other in others.iter().take(crowd) {
                l1.insert(*other, entry(&view, 0));
            }
            match version % 4 {
                0 => {}
                1 if version % 64 == 1 => l1.drop_all(),
                _ => l1.drop_entry(key, |_| false),
            }
            if version % 4 != 0 {
                acknowledged.store(version, Ordering::Release);
            }
            if version % 8 == 0 {
                std::thread::yield_now();
            }
        }
        over.store(true, Ordering::Release);
        readers.into_iter().map(|reader| reader.join().expect("a reader that found nothing old")).sum()
    });
    assert!(found > 1_000, "the readers found something only {found} times");
}

#[test]
fn what_was_taken_out_is_found_by_no_thread_that_looks_later() {
    check(100, 0);
}

#[test]
fn what_the_store_had_let_go_before_it_was_taken_out_is_found_by_no_thread_that_looks_later() {
    check(2, 4);
}

#[test]
fn the_fronts_of_two_caches_are_apart() {
    let (one, two, view) = (l1(10), l1(10), proven());
    let [key] = keys::<1>();
    one.insert(key, entry(&view, 1));
    two.insert(key, entry(&view, 2));
    let version = |l1: &L1| l1.probe(key, Millis(0), &view).and_then(|entry| entry.value::<u64>().copied());
    for _ in 0..10 {
        assert_eq!((version(&one), version(&one), version(&two), version(&two)), (Some(1), Some(1), Some(2), Some(2)));
    }
}

#[test]
fn the_front_keeps_no_value_alive() {
    struct Told(Arc<AtomicBool>);
    impl Drop for Told {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
    let (l1, view, dropped) = (l1(10), proven(), Arc::new(AtomicBool::new(false)));
    let [key] = keys::<1>();
    let facts = entry(&view, 0).facts.clone();
    l1.insert(key, Entry::new(facts, Millis(0), Told(Arc::clone(&dropped))));
    for _ in 0..10 {
        assert!(l1.probe(key, Millis(0), &view).is_some());
    }
    drop(l1);
    assert!(dropped.load(Ordering::Acquire), "the value outlived its cache");
}

#[test]
fn what_is_read_again_and_again_keeps_its_place_against_what_is_read_once() {
    let (l1, view) = (l1(100_000), proven());
    let hasher = KeyHasher::new([7; 16]);
    let often = hasher.hash("often");
    // Keys that would have the same place.
    let mut rivals = (0..).map(|index| hasher.hash(format!("once:{index}"))).filter(|key| key.0 % 4_096 == often.0 % 4_096);
    l1.insert(often, entry(&view, 1));
    let mut found = 0;
    for _ in 0..20 {
        for _ in 0..3 {
            assert!(l1.probe(often, Millis(0), &view).is_some());
        }
        let once = rivals.next().expect("as many as are wanted");
        l1.insert(once, entry(&view, 2));
        assert!(l1.probe(once, Millis(0), &view).is_some());
        found += usize::from(l1.front.look(often).1.is_some());
    }
    assert_eq!(found, 20, "how often it still had its place");
    // Once it is gone from the store the place is free.
    l1.drop_entry(often, |_| false);
    let once = rivals.next().expect("as many as are wanted");
    l1.insert(once, entry(&view, 2));
    for _ in 0..30 {
        assert!(l1.probe(once, Millis(0), &view).is_some());
    }
    assert!(l1.front.look(once).1.is_some());
}

#[test]
fn a_look_judges_what_the_front_holds() {
    let (l1, view) = (l1(10), proven());
    let [key] = keys::<1>();
    l1.insert(key, entry(&view, 1));
    for _ in 0..10 {
        assert!(l1.probe(key, Millis(0), &view).is_some());
    }
    view.lose(Millis(0));
    assert!(l1.probe(key, Millis(0).after(Duration::from_secs(1)), &view).is_none(), "of an epoch that has ended");
}
