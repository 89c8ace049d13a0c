//! Two releases of a service side by side, as in a rolling deploy: this one, and one to come that keeps the rule of `docs/wire.md`. It adds
//! to every message a field that may be overlooked, and to half of the values that it stores a flag that this release does not know.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use super::server::{CELLS, PATIENCE, SETTINGS, Server, open_with};
use crate::error::Fault;
use crate::l2::lane::{Bumped, Lane, LaneState, Planted, Released, Seized, Subscription};
use crate::l2::walk::{Selection, Walk};
use crate::l2::{Claimed, Filled, LeaseCall, Leased, NotReady, Prospect, Store};
use crate::redis::{RedisLane, RedisStore};
use crate::rule::seq::{Point, Seq};
use crate::rule::stamp::Stamp;
use crate::rule::table::TableCopy;
use crate::rule::token::Token;
use crate::wire::message::{HEAD, Targets, read};
use crate::wire::slot::VALUE;
use crate::wire::wake::Wake;
use crate::{Delivery, OnUnreachable, Policy, Stats, TieredCache};

/// The field that the release to come adds: its number, not critical, and which instance has written it.
const MORE: u8 = 100;

/// Where an entry's flags are, and the one that the release to come adds.
const FLAGS: usize = 18;
const FLAG: u8 = 0x80;

/// What one instance has met of the other release's bytes, and of its own.
#[derive(Debug, Default)]
struct Met {
    /// Messages without the added field, and with it.
    plain: AtomicU64,
    more: AtomicU64,
    /// Values with the added flag, found and stored.
    flagged: AtomicU64,
    stored: AtomicU64,
}

/// A cache's ends as a release to come would have them, or, where it is not `next`, as they are; both tell what they meet.
#[derive(Clone)]
struct Release {
    next: bool,
    store: Arc<RedisStore>,
    lane: Arc<RedisLane>,
    met: Arc<Met>,
}

impl Release {
    fn over(server: &Server, next: bool) -> Self {
        let (store, lane) = open_with(&server.url(), SETTINGS);
        if next {
            lane.more.set([&[MORE, 0, 0, 0, 8][..], &fastrand::u64(..).to_be_bytes()].concat()).expect("set once");
        }
        Self { next, store, lane, met: Arc::default() }
    }

    async fn cache(&self) -> TieredCache {
        let ends = (Arc::new(self.clone()) as Arc<dyn Store>, Arc::new(self.clone()) as Arc<dyn Lane>);
        let builder = TieredCache::builder("shop").over(ends).tag_cells(CELLS * 16).on_unreachable(OnUnreachable::Bypass);
        builder.read_limit(PATIENCE).command_limit(PATIENCE).build().await.expect("built")
    }

    /// What was found, as this release reads it.
    fn found(&self, mut slot: Option<Vec<u8>>) -> Option<Vec<u8>> {
        if let Some([VALUE, rest @ ..]) = slot.as_deref_mut()
            && let Some(flags) = rest.get_mut(FLAGS - 1)
            && *flags & FLAG != 0
        {
            self.met.flagged.fetch_add(1, Ordering::Relaxed);
            if self.next {
                *flags &= !FLAG;
            }
        }
        slot
    }
}

#[async_trait]
impl Store for Release {
    async fn probe(&self, key: &str, ticket: Stamp, lease: Duration) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.found(self.store.probe(key, ticket, lease).await?))
    }

    async fn read(&self, key: &str) -> Result<Option<Vec<u8>>, Fault> {
        Ok(self.found(self.store.read(key).await?))
    }

    async fn stamp(&self, key: &str) -> Result<Option<Stamp>, Fault> {
        self.store.stamp(key).await
    }

    async fn fill(&self, key: &str, seen: Stamp, value: &[u8], life: Duration) -> Result<Filled, Fault> {
        let mut value = value.to_vec();
        if self.next && fastrand::bool() {
            value[FLAGS] |= FLAG;
            self.met.stored.fetch_add(1, Ordering::Relaxed);
        }
        self.store.fill(key, seen, &value, life).await
    }

    async fn claim(&self, key: &str, seen: Stamp, ticket: Stamp, lease: Duration) -> Result<Claimed, Fault> {
        self.store.claim(key, seen, ticket, lease).await
    }

    async fn lease(&self, key: &str, seen: Stamp, who: u8, call: LeaseCall) -> Result<Leased, Fault> {
        self.store.lease(key, seen, who, call).await
    }

    async fn refill(&self, key: &str, seen: Stamp, value: &[u8], life: Duration) -> Result<Filled, Fault> {
        self.store.refill(key, seen, value, life).await
    }

    async fn renew(&self, key: &str, seen: Stamp, stamp: Stamp, header: &[u8], life: Duration) -> Result<Filled, Fault> {
        self.store.renew(key, seen, stamp, header, life).await
    }

    async fn wait(&self, key: &str) -> Result<Prospect, Fault> {
        Ok(match self.store.wait(key).await? {
            Prospect::Not(held) => Prospect::Not(self.found(held)),
            prospect => prospect,
        })
    }

    async fn extend(&self, key: &str, ticket: Stamp, lease: Duration) -> Result<(), Fault> {
        self.store.extend(key, ticket, lease).await
    }

    async fn abandon(&self, key: &str, ticket: Stamp, word: &[u8]) -> Result<(), Fault> {
        self.store.abandon(key, ticket, word).await
    }

    fn line(&self) -> u64 {
        Store::line(&*self.store)
    }

    async fn walks(&self, selection: &Selection) -> Result<Vec<Box<dyn Walk>>, Fault> {
        self.store.walks(selection).await
    }

    async fn ready(&self, limit: Duration) -> Result<(), NotReady> {
        self.store.ready(limit).await
    }
}

#[async_trait]
impl Lane for Release {
    async fn bump(&self, targets: &Targets, floor: Point) -> Result<Bumped, Fault> {
        self.lane.bump(targets, floor).await
    }

    async fn seize(&self, key: &str, ticket: Stamp, lease: Duration, floor: Point) -> Result<Seized, Fault> {
        self.lane.seize(key, ticket, lease, floor).await
    }

    async fn expire(&self, key: &str, stamp: Stamp, floor: Point) -> Result<Bumped, Fault> {
        self.lane.expire(key, stamp, floor).await
    }

    async fn announce(&self, key: &str, stamp: Stamp, floor: Point) -> Result<Bumped, Fault> {
        self.lane.announce(key, stamp, floor).await
    }

    async fn stand(&self, floor: Point) -> Result<LaneState, Fault> {
        self.lane.stand(floor).await
    }

    async fn table(&self, state: LaneState, since: Seq) -> Result<TableCopy, Fault> {
        Lane::table(&*self.lane, state, since).await
    }

    async fn hold(&self, keys: &[String], guard: Stamp, limit: Duration, floor: Point) -> Result<Planted, Fault> {
        self.lane.hold(keys, guard, limit, floor).await
    }

    async fn release(&self, keys: &[String], guard: Stamp, lag: Duration, floor: Point) -> Result<Released, Fault> {
        self.lane.release(keys, guard, lag, floor).await
    }

    async fn trade(&self, key: &str, guard: Stamp, ticket: Stamp, lease: Duration, floor: Point) -> Result<Seized, Fault> {
        self.lane.trade(key, guard, ticket, lease, floor).await
    }

    fn line(&self) -> u64 {
        Lane::line(&*self.lane)
    }

    async fn subscribe(&self) -> Result<Box<dyn Subscription>, Fault> {
        Ok(Box::new(Hears { subscription: self.lane.subscribe().await?, met: Arc::clone(&self.met) }))
    }
}

struct Hears {
    subscription: Box<dyn Subscription>,
    met: Arc<Met>,
}

impl Hears {
    fn heard(&self, message: &[u8]) {
        // That is for this instance alone, and a value in it is read as any other.
        if Wake::read(message).is_some() {
            return;
        }
        // Behind everything that this release writes.
        let more = message.len() >= HEAD + 13 && message[message.len() - 13] == MORE;
        (if more { &self.met.more } else { &self.met.plain }).fetch_add(1, Ordering::Relaxed);
        assert!(read(message).is_ok(), "whatever a release to come may write, this one can read");
    }
}

#[async_trait]
impl Subscription for Hears {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, Fault>> {
        let message = ready!(self.subscription.poll_next(cx))?;
        self.heard(&message);
        Poll::Ready(Ok(message))
    }

    fn ready(&mut self) -> Option<Vec<u8>> {
        let message = self.subscription.ready()?;
        self.heard(&message);
        Some(message)
    }

    async fn check(&mut self, floor: Point) -> Result<LaneState, Fault> {
        self.subscription.check(floor).await
    }

    async fn table(&mut self, state: LaneState, since: Seq) -> Result<TableCopy, Fault> {
        self.subscription.table(state, since).await
    }

    fn proves_for(&self) -> Option<Duration> {
        self.subscription.proves_for()
    }
}

const GROUPS: usize = 4;
const KEYS: usize = 6;
const KINDS: usize = 9;
const POLICY: Policy = Policy::ttl(Duration::from_secs(3_600));

/// What the caches load from: the version of each key that is committed, and when which was acknowledged as invalidated.
#[derive(Default)]
struct Origin {
    committed: HashMap<String, AtomicU64>,
    acknowledged: Mutex<HashMap<String, Vec<(Instant, u64)>>>,
    /// Who changes a group has it for himself: the caches order invalidations, not commits.
    groups: [tokio::sync::Mutex<()>; GROUPS],
    reads: AtomicUsize,
}

fn key(group: usize, number: usize) -> String {
    format!("g{group}:{number}")
}

impl Origin {
    fn new() -> Self {
        let all = (0..GROUPS).flat_map(|group| (0..KEYS).map(move |number| key(group, number)));
        Self { committed: all.map(|key| (key, AtomicU64::new(1))).collect(), ..Self::default() }
    }

    fn version(&self, key: &str) -> u64 {
        self.committed[key].load(Ordering::SeqCst)
    }

    fn commit(&self, keys: &[String]) {
        for key in keys {
            self.committed[key].fetch_add(1, Ordering::SeqCst);
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a real server keeps the machine's time")]
    fn acknowledge(&self, keys: &[String], delivery: Delivery) -> Token {
        let token = delivery.confirmed().expect("applied");
        let (now, mut told) = (Instant::now(), self.acknowledged.lock().unwrap());
        for key in keys {
            told.entry(key.clone()).or_default().push((now, self.version(key)));
        }
        token
    }

    /// The oldest version that a read may still be given which began at `began`.
    fn floor(&self, key: &str, began: Instant) -> u64 {
        let told = self.acknowledged.lock().unwrap();
        let told = told.get(key).map_or(&[][..], Vec::as_slice);
        told.iter().rev().find(|(at, _)| *at + SETTINGS.max_staleness <= began).map_or(1, |(_, version)| *version)
    }

    #[expect(clippy::disallowed_methods, reason = "a real server keeps the machine's time")]
    async fn read(&self, cache: &TieredCache, group: usize, number: usize) -> u64 {
        let (key, began) = (key(group, number), Instant::now());
        let load = || async {
            let version = self.version(&key);
            // What an invalidation may overtake.
            tokio::task::yield_now().await;
            version
        };
        let value = cache.get_or_compute(&key, POLICY.tags([format!("t{group}")]), load).await.expect("loaded");
        let floor = self.floor(&key, began);
        assert!(value >= floor, "{key}: version {value} after {floor} was acknowledged longer ago than the bound");
        self.reads.fetch_add(1, Ordering::Relaxed);
        value
    }

    /// One change of one kind, from the commit to the acknowledgement; then a read in another instance that has heard of it.
    async fn change(&self, cache: &TieredCache, other: &TieredCache, kind: usize) {
        let (group, number) = (fastrand::usize(..GROUPS), fastrand::usize(..KEYS));
        let (one, all): (_, Vec<String>) = ([key(group, number)], (0..KEYS).map(|number| key(group, number)).collect());
        let rules = POLICY.tags([format!("t{group}")]);
        let alone = self.groups[group].lock().await;
        let delivery = match kind % KINDS {
            0 => {
                self.commit(&one);
                cache.invalidate(&one[0]).await
            }
            1 => {
                self.commit(&all);
                cache.invalidate_many(&all).await
            }
            2 => {
                self.commit(&all);
                cache.invalidate_tag(&format!("t{group}")).await
            }
            3 => {
                self.commit(&all);
                cache.invalidate_prefix(&format!("g{group}:")).await
            }
            // Seldom: it hides what the others leave behind.
            4 if fastrand::usize(..50) == 0 => {
                self.commit(&all);
                cache.clear().await
            }
            4 | 5 => {
                self.commit(&one);
                cache.set(&one[0], self.version(&one[0]), rules).await
            }
            6 => {
                self.commit(&one);
                cache.remove(&one[0]).await.map(|removed| removed.delivery)
            }
            7 => {
                let guard = cache.guard(&all).await.expect("held");
                self.commit(&all);
                guard.release().await
            }
            _ => {
                let mut guard = cache.guard(&one).await.expect("held");
                self.commit(&one);
                guard.set(&one[0], self.version(&one[0]), rules).await
            }
        };
        // A key that was not changed has no other version either.
        let token = self.acknowledge(&all, delivery.expect("a usable key"));
        let version = self.version(&one[0]);
        drop(alone);
        other.wait_for(token, PATIENCE).await.expect("told");
        let value = self.read(other, group, number).await;
        assert!(value >= version, "{}: version {value} after {version} was heard of, changed by kind {}", one[0], kind % KINDS);
    }
}

/// For five seconds, or as many as `CACHETIER_RELEASES_SECONDS` says.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "a real server keeps the machine's time")]
async fn two_releases_side_by_side_miss_nothing_of_each_other() {
    let seconds = std::env::var("CACHETIER_RELEASES_SECONDS").ok().map_or(5, |seconds| seconds.parse().expect("whole seconds"));
    let (server, origin) = (Server::start().await, Arc::new(Origin::new()));
    let releases = [false, false, true, true].map(|next| Release::over(&server, next));
    let mut caches = Vec::new();
    for release in &releases {
        caches.push(release.cache().await);
    }
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut work = Vec::new();
    for (number, cache) in caches.iter().enumerate() {
        for _ in 0..2 {
            let (origin, cache) = (Arc::clone(&origin), cache.clone());
            work.push(tokio::spawn(async move {
                while Instant::now() < end {
                    origin.read(&cache, fastrand::usize(..GROUPS), fastrand::usize(..KEYS)).await;
                    tokio::task::yield_now().await;
                }
            }));
        }
        let others: Vec<TieredCache> = (1..caches.len()).map(|by| caches[(number + by) % caches.len()].clone()).collect();
        let (origin, cache) = (Arc::clone(&origin), cache.clone());
        work.push(tokio::spawn(async move {
            let mut kind = 0;
            while Instant::now() < end {
                origin.change(&cache, &others[fastrand::usize(..others.len())], kind).await;
                kind += 1;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }));
    }
    for work in work {
        work.await.expect("no read was too old");
    }
    // Everything is told to everybody; then everything is new everywhere.
    let last = caches[0].clear().await.expect("an answer").confirmed().expect("applied");
    for cache in &caches {
        cache.wait_for(last, PATIENCE).await.expect("told");
        for (group, number) in (0..GROUPS).flat_map(|group| (0..KEYS).map(move |number| (group, number))) {
            assert_eq!(origin.read(cache, group, number).await, origin.version(&key(group, number)));
        }
    }
    let stats: Vec<Stats> = caches.iter().map(TieredCache::stats).collect();
    let sent: u64 = stats.iter().map(|stats| stats.invalidations).sum();
    println!("{seconds} s, {} reads, {sent} invalidations", origin.reads.load(Ordering::Relaxed));
    for (release, stats) in releases.iter().zip(&stats) {
        let met = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let heard = (met(&release.met.plain), met(&release.met.more));
        println!(
            "next: {}, gaps: {}, lost: {}, faults: {}, applied: {}, messages plain and more: {heard:?}, flagged values found: {}, stored: {}, L1 hits: {}, L2 hits: {}",
            release.next,
            stats.lane_gaps,
            stats.lane_lost,
            stats.l2_faults,
            stats.invalidations_applied,
            met(&release.met.flagged),
            met(&release.met.stored),
            stats.l1_hits,
            stats.l2_hits,
        );
        assert_eq!((stats.lane_gaps, stats.lane_lost, stats.l2_faults, stats.pending), (0, 0, 0, 0));
        assert_eq!(stats.invalidations_applied, sent, "whatever anybody told was heard by all, once");
        assert!(heard.0 > 0 && heard.1 > 0, "of both releases");
        assert!(met(&release.met.flagged) > 0, "of what the release to come stores");
        assert!(stats.l1_hits > 0 && stats.l2_hits > 0, "they are caches");
    }
}
