//! The shared tier inside one process: several caches share it and are then as many instances, faults and all, without a server.
//! This file owns what its users see. It stores no bytes (`keys`), keeps no lane (`room`, `lane`) and runs no call (`hub`).

mod faults;
mod hub;
mod keys;
mod lane;
mod room;
mod store;
#[cfg(test)]
mod tests;
mod walk;
#[cfg(feature = "testing")]
pub(crate) mod watch;

use std::sync::Arc;
use std::time::Duration;

pub use self::faults::{Call, CallKind, Faults, Plan};

use self::faults::Effect;
use self::hub::Hub;
use self::keys::expiry;
use self::lane::MemoryLane;
use self::store::MemoryStore;
use crate::clock::{Clock, Millis};
use crate::error::Fault;
use crate::l2::lane::{Lane, LaneNames};
use crate::l2::{Limits, Store};
use crate::wire::slot;

/// How long a check proves that no message was missed, once a script may lose some: the default bound of staleness.
const PROOF: Duration = Duration::from_secs(2);

/// A shared tier that lives in this process.
///
/// It does what a Redis server does for a cache: it stores bytes for a time, orders invalidations and tells them to every
/// instance. Each cache built over it (or over a clone: all clones are one tier) is an instance of its own. It forgets nothing
/// before its time, whatever its size, and ends with the process.
///
/// In tests it also loses, delays and refuses calls and messages, as a [script](InProcess::script) says. Without `Plan::delay` it
/// uses no timer: on a single-threaded runtime everything happens in an order that the test decides.
///
/// Keys are named as on a server: the entry `user:42` of the namespace `shop` is `ct:shop:v:user:42`.
///
/// ```
/// use cachetier::InProcess;
///
/// let tier = InProcess::new();
/// let same = tier.clone();
/// tier.put("ct:shop:v:user:42", b"something foreign");
/// assert_eq!(same.len(), 1);
/// assert!(!same.holds_value("ct:shop:v:user:42"));
/// ```
#[derive(Clone, Debug)]
pub struct InProcess {
    hub: Arc<Hub>,
}

/// What an [`InProcess`] has saved: see [`InProcess::save`].
///
/// ```
/// let tier = cachetier::InProcess::new();
/// tier.put("k", b"old");
/// let saved = tier.save();
/// tier.flush_all();
/// tier.restore(&saved);
/// assert_eq!(tier.len(), 1);
/// ```
#[derive(Clone)]
pub struct Saved(hub::Saved);

impl std::fmt::Debug for Saved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Saved").finish_non_exhaustive()
    }
}

impl InProcess {
    /// Returns an empty tier on the machine's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Clock::system())
    }

    /// Returns an empty tier whose entries expire, and whose invalidations are numbered, by `clock`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use cachetier::{Clock, InProcess};
    ///
    /// let (clock, hand) = Clock::manual();
    /// let tier = InProcess::with_clock(clock);
    /// tier.put_for("k", b"v", Duration::from_secs(1));
    /// assert_eq!(tier.len(), 1);
    /// hand.advance(Duration::from_secs(1));
    /// assert!(tier.is_empty());
    /// ```
    #[must_use]
    pub fn with_clock(clock: Clock) -> Self {
        Self { hub: Arc::new(Hub::new(clock)) }
    }

    /// Has the caches that are built over it from now on divide their namespace into parts, as in a [Cluster](crate::CacheBuilder::redis_cluster): for tests of
    /// what follows from that. Keys are named as there: the entry `user:42` of the namespace `shop` is `ct:{shop.2}:v:user:42`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use std::time::Duration;
    /// use cachetier::{InProcess, Policy, TieredCache};
    ///
    /// let tier = InProcess::new().spread();
    /// let cache = TieredCache::builder("shop").in_process(&tier).build().await?;
    /// let (a, b) = (cache.invalidate("user:42").await?.confirmed()?, cache.invalidate("price:9").await?.confirmed()?);
    /// assert_eq!(a.partial_cmp(&b), None, "they are points of two lanes");
    /// assert!(cache.invalidate_tag("users").await?.confirmed()? > a.and(b));
    ///
    /// cache.set("user:42", 1_u32, Policy::ttl(Duration::from_secs(60))).await?;
    /// assert!(tier.holds_value("ct:{shop.2}:v:user:42"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn spread(self) -> Self {
        self.hub.lock().spread = true;
        self
    }

    pub(crate) fn is_spread(&self) -> bool {
        self.hub.lock().spread
    }

    /// Returns how many keys hold something: values, tickets of loads under way, foreign bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        let state = self.hub.lock();
        state.keys.count(state.now())
    }

    /// Says whether no key holds anything.
    ///
    /// ```
    /// # let tier = cachetier::InProcess::new();
    /// assert!(tier.is_empty());
    /// tier.put("k", b"v");
    /// assert!(!tier.is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says whether `key` holds a value of a cache, and not a ticket or foreign bytes.
    #[must_use]
    pub fn holds_value(&self, key: &str) -> bool {
        let state = self.hub.lock();
        state.keys.first(key, state.now()) == Some(slot::VALUE)
    }

    /// Says whether `key` holds a ticket: the right of one instance to load it.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # let tier = InProcess::new();
    /// # let cache = TieredCache::builder("shop").in_process(&tier).build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// let load = || async { tier.holds_ticket("ct:shop:v:k") };
    /// assert!(cache.get_or_compute("k", policy, load).await?, "while it loads");
    /// assert!(!tier.holds_ticket("ct:shop:v:k") && tier.holds_value("ct:shop:v:k"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn holds_ticket(&self, key: &str) -> bool {
        let state = self.hub.lock();
        state.keys.first(key, state.now()) == Some(slot::TICKET)
    }

    /// Drops `key` and tells nobody, as a server does under memory pressure and a foreign program by `DEL`. Says whether the
    /// key held something.
    ///
    /// ```
    /// # let tier = cachetier::InProcess::new();
    /// tier.put("k", b"v");
    /// assert!(tier.evict("k"));
    /// assert!(!tier.evict("k"));
    /// ```
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn evict(&self, key: &str) -> bool {
        let mut state = self.hub.lock();
        let now = state.now();
        state.keys.remove(key, now)
    }

    /// Drops all keys and the state of every lane, as `FLUSHALL` does: the next use of a lane begins a new era. Subscriptions
    /// stay, and nobody is told.
    ///
    /// ```
    /// # let tier = cachetier::InProcess::new();
    /// tier.put("k", b"v");
    /// tier.flush_all();
    /// assert!(tier.is_empty());
    /// ```
    pub fn flush_all(&self) {
        let mut state = self.hub.lock();
        state.keys.clear();
        for room in state.rooms() {
            room.flush();
        }
    }

    /// Returns what a server would save now: its keys, and the state of every lane.
    ///
    /// ```
    /// # let tier = cachetier::InProcess::new();
    /// tier.put("k", b"v");
    /// let saved = tier.save();
    /// tier.flush_all();
    /// tier.restore(&saved);
    /// assert_eq!(tier.len(), 1);
    /// ```
    #[must_use]
    pub fn save(&self) -> Saved {
        Saved(self.hub.lock().save())
    }

    /// Comes back with what was saved, as a server does that is started again or a replica that takes its place: whatever was
    /// acknowledged since then is forgotten, and every subscription ends.
    ///
    /// ```
    /// # let tier = cachetier::InProcess::new();
    /// tier.put("k", b"v");
    /// let saved = tier.save();
    /// tier.evict("k");
    /// tier.restore(&saved);
    /// assert_eq!(tier.len(), 1);
    /// ```
    pub fn restore(&self, saved: &Saved) {
        self.hub.lock().restore(&saved.0, &Fault::Unanswered(Arc::from("the server was started again")));
    }

    /// Writes `bytes` into `key` for good, as a foreign program would, whatever the key holds.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        let mut state = self.hub.lock();
        let now = state.now();
        state.keys.put(key, bytes.to_vec(), Millis::NEVER, now);
    }

    /// Writes `bytes` into `key` for `life`, as a foreign program would; a life of less than a millisecond writes nothing.
    ///
    /// ```
    /// # use std::time::Duration;
    /// let (clock, hand) = cachetier::Clock::manual();
    /// let tier = cachetier::InProcess::with_clock(clock);
    /// tier.put_for("k", b"v", Duration::from_secs(1));
    /// hand.advance(Duration::from_secs(1));
    /// assert!(tier.is_empty());
    /// ```
    pub fn put_for(&self, key: &str, bytes: &[u8], life: Duration) {
        let mut state = self.hub.lock();
        let now = state.now();
        if let Ok(until) = expiry(life, now) {
            state.keys.put(key, bytes.to_vec(), until, now);
        }
    }

    /// Makes `key` hold a type that is no string, as a foreign program would with `LPUSH`.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # let tier = InProcess::new();
    /// # let cache = TieredCache::builder("shop").in_process(&tier).build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// tier.put_other_type("ct:shop:v:k");
    /// assert_eq!(cache.get_or_compute("k", policy, || async { 1 }).await?, 1);
    /// assert!(!tier.holds_value("ct:shop:v:k"), "what is foreign is left alone");
    /// # Ok(())
    /// # }
    /// ```
    pub fn put_other_type(&self, key: &str) {
        let mut state = self.hub.lock();
        let now = state.now();
        state.keys.put_other_type(key, now);
    }

    /// Ends every subscription, as a server does that is restarted or loses its network. Messages sent before still arrive.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let tier = InProcess::new();
    /// let cache = TieredCache::builder("shop").in_process(&tier).build().await?;
    /// tier.break_subscriptions();
    /// while cache.stats().lane_lost == 0 {
    ///     tokio::task::yield_now().await;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn break_subscriptions(&self) {
        let fault = Fault::Unanswered(Arc::from("the subscription was broken"));
        for room in self.hub.lock().rooms() {
            room.break_all(&fault);
        }
    }

    /// Lets `faults` decide what becomes of every call and every message from now on, in the place of the script before it.
    ///
    /// Since messages may be lost from now on, a cache must prove by checks that it has missed none, as it does over a server. It
    /// asks whether it must when it subscribes: set the script, or call [`prove_for`](Self::prove_for), before the caches are
    /// built. A script that leaves messages alone is better set with [`script_calls`](Self::script_calls).
    ///
    /// A script that holds the tier itself keeps it alive until another script takes its place.
    ///
    /// ```
    /// # use cachetier::*;
    /// let tier = InProcess::new();
    /// // The second instance hears of nothing.
    /// tier.script(|call: &Call<'_>| match call.kind {
    ///     CallKind::Deliver if call.instance == 1 => Plan::lost(),
    ///     _ => Plan::go(),
    /// });
    /// ```
    pub fn script(&self, faults: impl Faults + 'static) {
        let before = self.hub.lock().faults.set(Arc::new(faults), true);
        drop(before);
    }

    /// Like [`script`](Self::script), but `faults` is not asked about messages: all of them arrive, and nothing needs a proof.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let tier = InProcess::new();
    /// tier.script_calls(|_: &Call<'_>| Plan::delay(Duration::from_millis(5)));
    /// ```
    pub fn script_calls(&self, faults: impl Faults + 'static) {
        let before = self.hub.lock().faults.set(Arc::new(faults), false);
        drop(before);
    }

    /// Takes all faults away. Calls that wait or hang by then go on doing so, and [strays](Self::strays) stay.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # let tier = InProcess::new();
    /// # let cache = TieredCache::builder("shop").in_process(&tier).build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// tier.script_calls(|_: &Call<'_>| Plan::away());
    /// assert_eq!(cache.invalidate("k").await?, Delivery::Pending);
    /// tier.clear_script();
    /// cache.flush(Duration::from_secs(5)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn clear_script(&self) {
        let before = self.hub.lock().faults.clear();
        drop(before);
    }

    /// Makes a check prove for `proof` that no message was missed, and nothing else prove it, as over a server.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let tier = InProcess::new();
    /// tier.prove_for(Duration::from_secs(2));
    /// // Caches that are built from now on must prove what they serve.
    /// let builder = TieredCache::builder("test").in_process(&tier);
    /// ```
    pub fn prove_for(&self, proof: Duration) {
        self.hub.lock().faults.prove_for(proof);
    }

    /// Refuses the next call of this kind.
    ///
    /// This and the next four come before the script, in the order in which they were asked for, those for one call first.
    ///
    /// ```
    /// use cachetier::{CallKind, InProcess};
    ///
    /// let tier = InProcess::new();
    /// tier.fail_next(CallKind::Fill);
    /// ```
    pub fn fail_next(&self, kind: CallKind) {
        self.hub.lock().faults.add(kind, Effect::FailNext);
    }

    /// Loses the next call of this kind before it runs.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # let tier = InProcess::new();
    /// # let cache = TieredCache::builder("shop").in_process(&tier).build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// tier.lose_next(CallKind::Bump);
    /// assert_eq!(cache.invalidate("k").await?, Delivery::Pending);
    /// # Ok(())
    /// # }
    /// ```
    pub fn lose_next(&self, kind: CallKind) {
        self.hub.lock().faults.add(kind, Effect::LoseNext);
    }

    /// Runs the next call of this kind and loses its answer.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # let tier = InProcess::new();
    /// # let cache = TieredCache::builder("shop").in_process(&tier).build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// tier.lose_reply_next(CallKind::Fill);
    /// assert_eq!(cache.get_or_compute("k", policy, || async { 1 }).await?, 1);
    /// assert!(tier.holds_value("ct:shop:v:k"), "it has run");
    /// assert_eq!(cache.stats().fills_unanswered, 1);
    /// # Ok(())
    /// # }
    /// ```
    pub fn lose_reply_next(&self, kind: CallKind) {
        self.hub.lock().faults.add(kind, Effect::LoseReplyNext);
    }

    /// Delays every call of this kind by `by` before it runs, until [`clear_script`](Self::clear_script).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let tier = InProcess::new();
    /// // Longer than a read waits: the loader answers.
    /// tier.delay(CallKind::Probe, Duration::from_millis(80));
    /// ```
    pub fn delay(&self, kind: CallKind, by: Duration) {
        self.hub.lock().faults.add(kind, Effect::Delay(by));
    }

    /// Leaves every call of this kind without an answer, until [`clear_script`](Self::clear_script).
    ///
    /// ```
    /// # use cachetier::*;
    /// let tier = InProcess::new();
    /// tier.hang(CallKind::Scan);
    /// ```
    pub fn hang(&self, kind: CallKind) {
        self.hub.lock().faults.add(kind, Effect::Hang);
    }

    /// Returns how many calls and messages are on their way with nobody waiting for them ([`Plan::late`], [`Plan::twice`]).
    ///
    /// ```
    /// # let tier = cachetier::InProcess::new();
    /// assert_eq!(tier.strays(), 0);
    /// assert!(!tier.land(0));
    /// ```
    #[must_use]
    pub fn strays(&self) -> usize {
        self.hub.lock().strays.len()
    }

    /// Lets the stray arrive and run that has been on its way the longest but `nth`. Says whether there was one.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # let tier = InProcess::new();
    /// # let cache = TieredCache::builder("shop").in_process(&tier).build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// tier.script_calls(|call: &Call<'_>| if call.kind == CallKind::Bump { Plan::late() } else { Plan::go() });
    /// assert_eq!(cache.invalidate("k").await?, Delivery::Pending);
    /// assert!(tier.land(0));
    /// assert!(!tier.land(0), "nothing else is on its way");
    /// # Ok(())
    /// # }
    /// ```
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn land(&self, nth: usize) -> bool {
        self.hub.land(nth)
    }

    /// Lets all present strays arrive and run, the oldest first. Returns how many there were.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # let tier = InProcess::new();
    /// # let cache = TieredCache::builder("shop").in_process(&tier).build().await?;
    /// # let policy = Policy::ttl(Duration::from_secs(60));
    /// tier.script_calls(|call: &Call<'_>| if call.kind == CallKind::Bump { Plan::twice() } else { Plan::go() });
    /// cache.invalidate("a").await?;
    /// cache.invalidate("b").await?;
    /// assert_eq!(tier.land_all(), 2);
    /// assert_eq!(tier.strays(), 0);
    /// # Ok(())
    /// # }
    /// ```
    #[expect(clippy::must_use_candidate, reason = "it is called for what it does")]
    pub fn land_all(&self) -> usize {
        // Landed bumps can send new strays on their way: those are not of this turn.
        (0..self.strays()).filter(|_| self.land(0)).count()
    }

    /// The tier as the store and the lane of each part of the next instance. Without limits, a call that a script holds or hangs goes on for ever.
    pub(crate) fn ends<'a>(&self, parts: impl IntoIterator<Item = &'a LaneNames>, limits: Option<Limits>) -> Vec<Ends> {
        let (as_store, as_lane) = self.hub.lock().next_instance();
        let store = |names| Arc::new(MemoryStore::new(Arc::clone(&self.hub), names, as_store, limits));
        let lane = |names| Arc::new(MemoryLane::new(Arc::clone(&self.hub), names, as_lane, limits.map(|limits| limits.command)));
        parts.into_iter().map(|names| -> Ends { (store(names), lane(names.clone())) }).collect()
    }
}

/// The store and the lane of one part.
pub(crate) type Ends = (Arc<dyn Store>, Arc<dyn Lane>);

impl Default for InProcess {
    fn default() -> Self {
        Self::new()
    }
}
