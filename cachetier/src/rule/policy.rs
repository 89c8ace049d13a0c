//! The life of one entry: how long it is fresh, where, and when it is gone. Durations in, verdicts out; no clock is read here.

use std::time::Duration;

use crate::clock::Millis;
use crate::error::ConfigError;
use crate::rule::early::{Early, EarlyRefresh};
use crate::rule::learned::LearnedTtl;

/// The greatest share by which jitter may shorten a life, in percent.
const MAX_JITTER: u8 = 50;

/// How long what may be refreshed early is kept behind its life, at least and at most: twice what its load took.
const MOMENT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(20));

/// How long an entry lives.
///
/// ```
/// use std::time::Duration;
/// use cachetier::Policy;
///
/// let policy = Policy::ttl(Duration::from_secs(300)).l1_ttl(Duration::from_secs(30)).negative_ttl(Duration::from_secs(5));
/// assert!(policy.check().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    ttl: Duration,
    l1_ttl: Option<Duration>,
    negative_ttl: Option<Duration>,
    time_to_idle: Option<Duration>,
    stale_for: Duration,
    stale_if_error: Option<Duration>,
    stale_if_slow: Option<Duration>,
    jitter: u8,
    on_unreachable: Option<OnUnreachable>,
    coalesce: Coalesce,
    early_refresh: Option<EarlyRefresh>,
    stale_while_revalidate: Duration,
    error_ttl: Option<Duration>,
    learned_ttl: Option<LearnedTtl>,
    announces: bool,
    shares_errors: bool,
}

/// Whose calls share the load of a key that nobody has.
///
/// ```
/// use std::time::Duration;
/// use cachetier::{Coalesce, Policy};
///
/// // Cheaper to load than to wait for.
/// const POLICY: Policy = Policy::ttl(Duration::from_secs(60)).coalesce(Coalesce::Process);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Coalesce {
    /// Those of all instances: while one of them loads, or refreshes what is stale, the others wait for what it brings, for at most the
    /// [`wait_budget`](crate::CacheBuilder::wait_budget).
    #[default]
    Instances,
    /// Those of one process: where another one is loading, it loads as well, and what that brings is kept by nobody.
    Process,
}

/// What a read does while nobody can prove that this instance has missed no invalidation: the shared tier cannot be reached, and the last
/// proof is older than the bound on staleness.
///
/// Copies loaded in this instance less than that bound ago need no proof and are served in any case; and what this instance has invalidated
/// itself is served in none.
///
/// ```
/// use std::time::Duration;
/// use cachetier::{OnUnreachable, Policy, TieredCache};
///
/// // Answers rather than freshness, but not for prices.
/// let builder = TieredCache::builder("shop").on_unreachable(OnUnreachable::Serve);
/// let prices = Policy::ttl(Duration::from_secs(60)).on_unreachable(OnUnreachable::Bypass);
/// assert_eq!(prices, Policy::ttl(Duration::from_secs(60)).strict());
/// # drop(builder);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnUnreachable {
    /// The copy is served until its life is over, and counted: availability first.
    #[default]
    Serve,
    /// The loader answers: what is served is never older than the bound.
    Bypass,
    /// The call fails with [`LoadError::Unproven`](crate::LoadError::Unproven), and so the loader's source is spared. A `get` finds nothing,
    /// and a `#[cached]` function, whose errors are its own, runs.
    Fail,
}

impl Policy {
    /// An entry is fresh for `ttl`, in both tiers, counted from the end of its load; at most for
    /// [`max_life`](crate::CacheBuilder::max_life), 24 h by default.
    #[must_use]
    pub const fn ttl(ttl: Duration) -> Self {
        Self {
            ttl,
            l1_ttl: None,
            negative_ttl: None,
            time_to_idle: None,
            stale_for: Duration::ZERO,
            stale_if_error: None,
            stale_if_slow: None,
            jitter: 10,
            on_unreachable: None,
            coalesce: Coalesce::Instances,
            early_refresh: None,
            stale_while_revalidate: Duration::ZERO,
            error_ttl: None,
            learned_ttl: None,
            announces: false,
            shares_errors: false,
        }
    }

    /// How long an instance serves its own copy before it asks the shared tier again. Defaults to what is left of the ttl; a
    /// shorter one bounds what a fault of the lane can do.
    #[must_use]
    pub const fn l1_ttl(mut self, l1_ttl: Duration) -> Self {
        self.l1_ttl = Some(l1_ttl);
        self
    }

    /// How long it is remembered that there is no value. Defaults to not at all.
    #[must_use]
    pub const fn negative_ttl(mut self, negative_ttl: Duration) -> Self {
        self.negative_ttl = Some(negative_ttl);
        self
    }

    /// An instance forgets its own copy when nobody has read it there for so long. The shared tier's copy keeps its ttl.
    /// Defaults to never.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// const POLICY: Policy = Policy::ttl(Duration::from_secs(300)).time_to_idle(Duration::from_secs(30));
    /// ```
    #[must_use]
    pub const fn time_to_idle(mut self, time_to_idle: Duration) -> Self {
        self.time_to_idle = Some(time_to_idle);
        self
    }

    /// For how long a value is kept in both tiers when its ttl is over, or it was [expired](crate::TieredCache::expire): served to nobody, unless a
    /// load fails and [`stale_if_error`](Policy::stale_if_error) is given, but shown to the [loader](crate::LoadContext::stale) that is to bring a newer one, which may find that it is current still. That there is
    /// none is not kept in this way. Defaults to not at all.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// const POLICY: Policy = Policy::ttl(Duration::from_secs(60)).stale_for(Duration::from_secs(3_600));
    /// ```
    #[must_use]
    pub const fn stale_for(mut self, stale_for: Duration) -> Self {
        self.stale_for = stale_for;
        self
    }

    /// Has the other instances told when a [refresh](Policy::early_refresh), or a load behind a value that [answers
    /// meanwhile](Policy::stale_while_revalidate), has brought another value: their copies are stale then, and are looked for anew in the shared tier by
    /// their next readers, whom they answer meanwhile only by `stale_while_revalidate`. Defaults to no: each finds it when its own copy is due.
    ///
    /// Whether it is another one is told by its encoded bytes, so a `HashMap` is another one each time, or by the loader
    /// ([`not_modified`](crate::StaleValue::not_modified)). The load does not use [`write_behind`](crate::CacheBuilder::write_behind). It costs an
    /// invalidation each time; where it cannot be sent it is not told again ([`Stats::refreshes_announced`](crate::Stats::refreshes_announced)).
    /// A policy that asks for neither of the two has nothing to tell of, and is [refused](Policy::check).
    ///
    /// ```
    /// use std::time::Duration;
    /// use cachetier::{EarlyRefresh, Policy};
    ///
    /// const RATES: Policy = Policy::ttl(Duration::from_secs(60)).early_refresh(EarlyRefresh::after_percent(80)).announce_changes();
    /// # let _ = RATES;
    /// ```
    #[must_use]
    pub const fn announce_changes(mut self) -> Self {
        self.announces = true;
        self
    }

    /// A ttl that is learned from how often the value is found to have changed: [`ttl`](Policy::ttl) is that of the first load. Defaults to that of each.
    ///
    /// It goes on from the ttl of the value that is replaced, wherever that was loaded, if it is at hand: so the policy must say that values are
    /// [kept](Policy::stale_for) behind their ttl, answer for a while behind it, or are refreshed early. Whether it is the same is told by its encoded bytes,
    /// or by the loader ([`not_modified`](crate::StaleValue::not_modified)). What was invalidated is not at hand, and begins anew. A ttl that a rule or the
    /// loader says counts as it is; there is no [jitter](Policy::jitter), for values that have learned do not end together; that there is no
    /// value has its own [ttl](Policy::negative_ttl).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (clock, hand) = Clock::manual();
    /// let cache = TieredCache::builder("shop").clock(clock).build().await?;
    /// let learned = LearnedTtl::between(Duration::from_secs(10), Duration::from_secs(600)).changed_percent(50);
    /// let policy = Policy::ttl(Duration::from_secs(60)).stale_for(Duration::from_secs(600)).learned_ttl(learned);
    /// let life = async || Ok::<_, CacheError>(cache.inspect("motd").await?.here.map(|copy| copy.entry.life));
    ///
    /// cache.get_or_compute("motd", policy, || async { "hello".to_owned() }).await?;
    /// assert_eq!(life().await?, Some(Duration::from_secs(60)));
    /// hand.advance(Duration::from_secs(60));
    /// cache.get_or_compute("motd", policy, || async { "hello".to_owned() }).await?;
    /// assert_eq!(life().await?, Some(Duration::from_secs(120)), "it was the same");
    /// hand.advance(Duration::from_secs(120));
    /// cache.get_or_compute("motd", policy, || async { "good bye".to_owned() }).await?;
    /// assert_eq!(life().await?, Some(Duration::from_secs(60)));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn learned_ttl(mut self, learned: LearnedTtl) -> Self {
        self.learned_ttl = Some(learned);
        self
    }

    /// Has those told who wait for a load in other instances when it has failed, panicked or taken too long: they get
    /// [`LoadError::Elsewhere`](crate::LoadError::Elsewhere) in the place of a load of their own. Defaults to no: where one instance's load fails,
    /// another's is tried.
    ///
    /// What they are told is a text: that of the error, if it is a `String`, a `&'static str` or a boxed error, else that there was one; it passes through the
    /// shared tier, secrets in it included. It reaches who waits at that moment for the load of a key that nobody has; who comes later loads, and so does who
    /// waits for the refresh of a value that is [kept](Policy::stale_for). A load that was dropped or not begun is none that has failed, nor is a panic of a
    /// `#[cached]` function. Batches, and `#[cached]` functions, whose errors are their own, load all the same.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// // A source in trouble is not asked by each instance in turn, nor again for two seconds by the one that asked.
    /// const POLICY: Policy = Policy::ttl(Duration::from_secs(60)).share_errors().error_ttl(Duration::from_secs(2));
    /// # let _ = POLICY;
    /// ```
    #[must_use]
    pub const fn share_errors(mut self) -> Self {
        self.shares_errors = true;
        self
    }

    /// How long an instance remembers that a load has failed, panicked or taken too long: until then its callers get that same error, and their loaders do
    /// not run. Defaults to not at all: a failure is told to those who waited for it, and the next call loads.
    ///
    /// It is remembered in this instance alone, for calls whose loader fails with the same type of error; an invalidation of the key, of a prefix of it
    /// or of everything ends it, and so does a bump of any tag, for nobody knows which ones the value would have had. What is
    /// [stale and answers](Policy::stale_if_error) is better than an error: where there is such a value nothing is remembered. Neither is a load that was not begun
    /// ([`LoadError::Overloaded`](crate::LoadError::Overloaded)), nor one of a batch, nor an error of a `#[cached]` function that cannot be shared. A call that is
    /// [fresh](crate::CallOptions::fresh) loads in any case, and so does a batch.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (clock, hand) = Clock::manual();
    /// let cache = TieredCache::builder("shop").clock(clock).build().await?;
    /// let policy = Policy::ttl(Duration::from_secs(60)).error_ttl(Duration::from_secs(2));
    /// let fails = || async { Err::<u64, _>("the database is away") };
    /// for _ in 0..100 {
    ///     assert!(cache.get_or_load("price:9", policy, fails).await.is_err());
    /// }
    /// assert_eq!((cache.stats().loads, cache.stats().errors_remembered), (1, 99));
    ///
    /// hand.advance(Duration::from_secs(2));
    /// assert_eq!(cache.get_or_load("price:9", policy, || async { Ok::<_, &str>(42) }).await.unwrap(), 42);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn error_ttl(mut self, error_ttl: Duration) -> Self {
        self.error_ttl = Some(error_ttl);
        self
    }

    /// Where a load fails, panics or takes too long, what is [kept when its life is over](Policy::stale_for) answers in its place, and goes on
    /// doing so in this instance for `retry`, and not for longer than [`l1_ttl`](Policy::l1_ttl): then the next call loads again. Defaults to not at
    /// all: the error is the caller's.
    ///
    /// What was invalidated never answers, only what has come to its end, or was [expired](crate::TieredCache::expire) before the load began; and
    /// while nobody can prove that nothing was missed it answers as any copy would, so by [`on_unreachable`](Policy::on_unreachable). A call that
    /// is [fresh](crate::CallOptions::fresh), one for a [local](crate::TieredCache::local) value, and one in whose midst the proof is lost get the
    /// error. Failures are counted all the same
    /// ([`load_errors`](crate::Stats::load_errors)), and so are such answers ([`served_stale`](crate::Stats::served_stale)); an answer says so
    /// itself ([`Stale::LoadFailed`](crate::Stale::LoadFailed)).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (clock, hand) = Clock::manual();
    /// let cache = TieredCache::builder("shop").clock(clock).build().await?;
    /// let policy = Policy::ttl(Duration::from_secs(60)).stale_for(Duration::from_secs(3_600)).stale_if_error(Duration::from_secs(5));
    /// cache.set("price:9", 42_u64, policy).await?;
    ///
    /// hand.advance(Duration::from_secs(60));
    /// let away = || async { Err::<u64, _>(std::io::Error::other("the database is away")) };
    /// let served = cache.get_or_load_traced("price:9", policy, away).await?;
    /// assert_eq!((served.value, served.stale), (42, Some(Stale::LoadFailed)));
    ///
    /// // What was invalidated is not served.
    /// cache.invalidate("price:9").await?;
    /// assert!(cache.get_or_load("price:9", policy, away).await.is_err());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn stale_if_error(mut self, retry: Duration) -> Self {
        self.stale_if_error = Some(retry);
        self
    }

    /// Has what is [kept](Policy::stale_for) behind its life answer calls that have waited for a newer value for so long. Defaults to not at all: they
    /// wait to the end. The load goes on, and what it brings is there for the next call.
    ///
    /// Who waits for a load of this instance is answered with the copy that it holds, and who waits for another instance's refresh with what the shared tier
    /// keeps meanwhile. He who loads is answered with the copy held here if his loader may be kept ([`get_or_refresh`](crate::TieredCache::get_or_refresh),
    /// `#[cached(.., detached)]`), nobody was at it when he came, and he comes from within no other load. Left so, a load goes on for no longer than the
    /// [load limit](crate::CacheBuilder::load_limit), nor than the cache is open. Else his loader is his own, and he waits for it; so do batches, and who waits for another
    /// instance's load of a key that the shared tier has lost. After a failure nobody pauses: that is [`stale_if_error`](Policy::stale_if_error). Of a load that fails before, all are told as ever ([`stale_if_error`](Policy::stale_if_error)). To be answered without any wait is
    /// [`stale_while_revalidate`](Policy::stale_while_revalidate).
    ///
    /// As there, what was invalidated never answers, nor what nobody can prove, but by [`on_unreachable`](Policy::on_unreachable); an answer says what it is
    /// ([`Stale::Revalidating`](crate::Stale::Revalidating)), and is counted ([`served_revalidating`](crate::Stats::served_revalidating)).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (clock, hand) = Clock::manual();
    /// let cache = TieredCache::builder("shop").clock(clock).build().await?;
    /// let policy = Policy::ttl(Duration::from_secs(60)).stale_for(Duration::from_secs(3_600)).stale_if_slow(Duration::from_millis(20));
    /// cache.set("price:9", 42_u64, policy).await?;
    ///
    /// hand.advance(Duration::from_secs(60));
    /// let slow = || async {
    ///     tokio::time::sleep(Duration::from_millis(200)).await;
    ///     Ok::<u64, std::io::Error>(43)
    /// };
    /// assert_eq!(cache.get_or_refresh("price:9", policy, slow).await?, 42);
    /// tokio::time::sleep(Duration::from_millis(400)).await;
    /// assert_eq!(cache.get::<u64>("price:9").await, Some(43));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn stale_if_slow(mut self, after: Duration) -> Self {
        self.stale_if_slow = Some(after);
        self
    }

    /// Shortens each life by a random share of at most `percent`, so that what was stored together does not end together.
    /// Defaults to 10; at most 50.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// const POLICY: Policy = Policy::ttl(Duration::from_secs(300)).jitter(25);
    /// ```
    #[must_use]
    pub const fn jitter(mut self, percent: u8) -> Self {
        self.jitter = percent;
        self
    }

    /// What a read does while it cannot be proven that nothing was missed. Defaults to what the cache was
    /// [built with](crate::CacheBuilder::on_unreachable). A copy is served by the policy that it was brought into the instance with; one that
    /// a `get` has brought, which has no policy, is served to nobody without proof.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// const POLICY: Policy = Policy::ttl(Duration::from_secs(300)).on_unreachable(OnUnreachable::Fail);
    /// ```
    #[must_use]
    pub const fn on_unreachable(mut self, what: OnUnreachable) -> Self {
        self.on_unreachable = Some(what);
        self
    }

    /// Whose calls share a load. Defaults to those of all [instances](Coalesce::Instances); those of a process share one in any case.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// const POLICY: Policy = Policy::ttl(Duration::from_secs(300)).coalesce(Coalesce::Process);
    /// ```
    #[must_use]
    pub const fn coalesce(mut self, whose: Coalesce) -> Self {
        self.coalesce = whose;
        self
    }

    /// When a value is loaded anew before its life is over, so that those who read it often never wait. Defaults to not at all.
    ///
    /// The read that finds it due is answered at once and leaves the load to the background where its loader may be kept
    /// ([`get_or_refresh`](crate::TieredCache::get_or_refresh), `#[cached(.., detached)]`); by any other verb it loads itself, and is the only one that waits. One instance
    /// loads; the others take what it has stored when they find their own copy due. Until something newer is there the present value
    /// answers, and where a load fails it does so to the end of its life. Batches serve it, and refresh nothing. For a moment behind its life, twice what its
    /// load took and at least a second, it is kept for a refresh that was begun before.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (clock, hand) = Clock::manual();
    /// let cache = TieredCache::builder("shop").clock(clock).build().await?;
    /// let policy = Policy::ttl(Duration::from_secs(60)).jitter(0).early_refresh(EarlyRefresh::after_percent(80));
    /// cache.get_or_compute("rates", policy, || async { 1 }).await?;
    ///
    /// hand.advance(Duration::from_secs(47));
    /// assert_eq!(cache.get_or_compute("rates", policy, || async { 2 }).await?, 1, "it is not due yet");
    /// hand.advance(Duration::from_secs(1));
    /// assert_eq!(cache.get_or_compute("rates", policy, || async { 2 }).await?, 2);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn early_refresh(mut self, when: EarlyRefresh) -> Self {
        self.early_refresh = Some(when);
        self
    }

    /// For how long behind its ttl a value answers while a newer one is being loaded: nobody waits but for a key that has not been asked for in so long, and
    /// but for batches, which wait for what is loaded.
    /// It is kept for that time, whatever [`stale_for`](Policy::stale_for) says. Defaults to not at all.
    ///
    /// Who loads is as for [`early_refresh`](Policy::early_refresh). What was invalidated never answers; what was
    /// [expired](crate::TieredCache::expire) does, for as long from then on. Such answers are counted ([`served_revalidating`](crate::Stats::served_revalidating)), and say so
    /// themselves ([`Stale::Revalidating`](crate::Stale::Revalidating)).
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let (clock, hand) = Clock::manual();
    /// let cache = TieredCache::builder("shop").clock(clock).build().await?;
    /// let policy = Policy::ttl(Duration::from_secs(60)).jitter(0).stale_while_revalidate(Duration::from_secs(600));
    /// let load = |rate: u32| move || async move { Ok::<_, std::io::Error>(rate) };
    /// cache.get_or_refresh("rates", policy, load(1)).await?;
    ///
    /// hand.advance(Duration::from_secs(100));
    /// assert_eq!(cache.get_or_refresh("rates", policy, load(2)).await?, 1, "at once, and old");
    /// while cache.stats().refreshes == 0 || cache.stats().refreshing > 0 {
    ///     tokio::task::yield_now().await;
    /// }
    /// assert_eq!(cache.get_or_refresh("rates", policy, load(3)).await?, 2);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub const fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.stale_while_revalidate = window;
        self
    }

    /// Never serves what may be older than the bound on staleness: [`OnUnreachable::Bypass`].
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use cachetier::*;
    /// let policy = Policy::ttl(Duration::from_secs(300)).strict();
    /// assert_eq!(policy, Policy::ttl(Duration::from_secs(300)).on_unreachable(OnUnreachable::Bypass));
    /// ```
    #[must_use]
    pub const fn strict(self) -> Self {
        self.on_unreachable(OnUnreachable::Bypass)
    }

    /// Says what is wrong with the policy, if anything is: [`CacheBuilder::build`](crate::CacheBuilder::build) does so for a
    /// cache's own; with a wrong one given to a call, the loader answers and nothing is stored.
    pub fn check(&self) -> Result<(), ConfigError> {
        let positive = |field, value: Duration| {
            if value.is_zero() { Err(ConfigError::new(field, "0 s", "a duration above 0")) } else { Ok(()) }
        };
        positive("ttl", self.ttl)?;
        positive("l1_ttl", self.l1_ttl.unwrap_or(Duration::MAX))?;
        positive("negative_ttl", self.negative_ttl.unwrap_or(Duration::MAX))?;
        positive("time_to_idle", self.time_to_idle.unwrap_or(Duration::MAX))?;
        positive("error_ttl", self.error_ttl.unwrap_or(Duration::MAX))?;
        if let Some(l1_ttl) = self.l1_ttl.filter(|l1_ttl| *l1_ttl > self.ttl) {
            return Err(ConfigError::new("l1_ttl", &format!("{l1_ttl:?}"), &format!("at most the ttl, {:?}", self.ttl)));
        }
        positive("stale_if_error", self.stale_if_error.unwrap_or(Duration::MAX))?;
        positive("stale_if_slow", self.stale_if_slow.unwrap_or(Duration::MAX))?;
        if let Some(early) = self.early_refresh {
            early.check()?;
        }
        if let Some(learned) = self.learned_ttl {
            learned.check()?;
            if self.stale_window().is_zero() && self.early_refresh.is_none() {
                let expected =
                    "a stale_for, a stale_while_revalidate or an early_refresh, without which nothing is at hand to compare with";
                return Err(ConfigError::new("learned_ttl", "given", expected));
            }
        }
        if self.announces && self.stale_while_revalidate.is_zero() && self.early_refresh.is_none() {
            let expected = "a stale_while_revalidate or an early_refresh, without which nothing answers while it changes";
            return Err(ConfigError::new("announce_changes", "given", expected));
        }
        if self.stale_if_error.is_some() && self.stale_window().is_zero() {
            return Err(ConfigError::new("stale_if_error", "given", "a stale_for, without which nothing stale is kept"));
        }
        if self.stale_if_slow.is_some() && self.stale_window().is_zero() {
            return Err(ConfigError::new("stale_if_slow", "given", "a stale_for, without which nothing stale is kept"));
        }
        if self.jitter > MAX_JITTER {
            return Err(ConfigError::new("jitter", &format!("{} %", self.jitter), "at most 50 %"));
        }
        Ok(())
    }

    /// The same for an entry that lives for so long, whatever it says.
    pub(crate) fn living(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self.learned_ttl = None;
        self.negative_ttl = Some(ttl);
        self.l1_ttl = self.l1_ttl.map(|l1_ttl| l1_ttl.min(ttl));
        self
    }

    /// The same for a value that takes the place of one that lived for so long, if there is one that it can be compared with; `changed` says whether it is
    /// another.
    pub(crate) fn learning(mut self, before: Option<Duration>, changed: bool) -> Self {
        if let Some(learned) = self.learned_ttl {
            self.ttl = before.map_or_else(|| learned.first(self.ttl), |before| learned.next(before, changed));
            self.l1_ttl = self.l1_ttl.map(|l1_ttl| l1_ttl.min(self.ttl));
        }
        self
    }

    /// Whether a refresh that brings another value is told of.
    pub(crate) fn announces(&self) -> bool {
        self.announces
    }

    /// Whether a failure is told to those who wait for it in other instances, and they take it for theirs.
    pub(crate) fn shares_errors(&self) -> bool {
        self.shares_errors
    }

    /// Whether it learns.
    pub(crate) fn learns(&self) -> bool {
        self.learned_ttl.is_some()
    }

    /// The life of an entry stored now; `dice` shortens it. `None` if an absent value is not to be remembered.
    pub(crate) fn life(&self, what: Content, longest: Duration, dice: u32) -> Option<Life> {
        let ttl = match what {
            Content::Value => self.ttl,
            Content::Nothing | Content::Failure => self.negative_ttl?,
        };
        let jitter = if self.learned_ttl.is_some() && what == Content::Value { 0 } else { self.jitter };
        let shared = shorten(ttl.min(longest), jitter, dice);
        let local = self.l1_ttl.map_or(shared, |l1_ttl| shorten(l1_ttl.min(longest), self.jitter, dice)).min(shared);
        let stale = match what {
            Content::Value => self.stale_window().min(longest.saturating_sub(shared)),
            Content::Nothing | Content::Failure => Duration::ZERO,
        };
        Some(Life { shared, local, stale })
    }

    /// The part of a life that an instance may still serve of a copy it found in the shared tier.
    pub(crate) fn local_part(&self, left: Duration, dice: u32) -> Duration {
        self.l1_ttl.map_or(left, |l1_ttl| shorten(l1_ttl.min(left), self.jitter, dice))
    }

    /// For how long what is stale answers in the place of a load that has failed.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.stale_if_error.map(|retry| self.l1_ttl.map_or(retry, |l1_ttl| l1_ttl.min(retry)))
    }

    /// What was told for the case that nothing can be proven.
    pub(crate) fn when_unreachable(&self) -> Option<OnUnreachable> {
        self.on_unreachable
    }

    /// For how long a value is kept behind its ttl.
    fn stale_window(&self) -> Duration {
        self.stale_for.max(self.stale_while_revalidate)
    }

    /// Whether what is stale is of use beside its loader.
    pub(crate) fn uses_stale(&self) -> bool {
        let answers = self.stale_if_error.is_some() || self.stale_if_slow.is_some() || !self.stale_while_revalidate.is_zero();
        answers || self.learned_ttl.is_some()
    }

    /// After how long a call is answered with what is stale, while a newer one is loaded.
    pub(crate) fn slow_after(&self) -> Option<Duration> {
        self.stale_if_slow
    }

    /// For how long behind its ttl a value answers while a newer one is loaded.
    pub(crate) fn revalidates_for(&self) -> Duration {
        self.stale_while_revalidate
    }

    /// The same life, with a moment behind it for a refresh that was begun before its end: until it has brought something, what it takes the place of
    /// must be there.
    pub(crate) fn outlasting(&self, what: Content, life: Life, cost: Duration, longest: Duration) -> Life {
        if self.early_refresh.is_none() || what != Content::Value {
            return life;
        }
        let moment = cost.saturating_mul(2).clamp(MOMENT.0, MOMENT.1);
        Life { stale: life.stale.max(moment).min(longest.saturating_sub(life.shared)), ..life }
    }

    /// When an entry is due that lives for `whole`, until `end`, and took so long to load.
    pub(crate) fn early(&self, whole: Duration, end: Millis, cost: Duration) -> Early {
        self.early_refresh.filter(|early| early.check().is_ok()).map_or(Early::NEVER, |early| early.of(whole, end, cost))
    }

    /// How long a failure is remembered.
    pub(crate) fn error_life(&self, longest: Duration) -> Option<Duration> {
        self.error_ttl.map(|error_ttl| error_ttl.min(longest))
    }

    /// Whether a load of another instance is waited for.
    pub(crate) fn waits_for_others(&self) -> bool {
        self.coalesce == Coalesce::Instances
    }

    /// After how long without a read an instance forgets its copy.
    pub(crate) fn idle_limit(&self) -> Option<Duration> {
        self.time_to_idle
    }
}

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// Here is the value.
    Value,
    /// There is none.
    Nothing,
    /// That a load has failed.
    Failure,
}

/// How long an entry stored now lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    /// In the shared tier.
    pub(crate) shared: Duration,
    /// In this instance.
    pub(crate) local: Duration,
    /// How long it is kept behind that, in either.
    pub(crate) stale: Duration,
}

/// `whole`, less up to `percent` of it by the dice's share; never below a millisecond, which is what Redis counts in.
fn shorten(whole: Duration, percent: u8, dice: u32) -> Duration {
    let share = f64::from(dice) / f64::from(u32::MAX) * f64::from(percent) / 100.0;
    whole.mul_f64(1.0 - share).max(Duration::from_millis(1))
}

/// What an entry may be used for.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    Fresh,
    /// It may be asked for again, and shown to who brings a newer one.
    Stale,
    Gone,
}

/// Judges an L1 entry that is fresh until `deadline` and kept until `end`: `idle_since` is when it was last read, if it has an idle limit.
pub(crate) fn judge(now: Millis, (deadline, end): (Millis, Millis), idle: Option<(Millis, Duration)>) -> Freshness {
    let idle_deadline = idle.map_or(Millis::NEVER, |(since, limit)| since.after(limit));
    if now >= idle_deadline {
        Freshness::Gone
    } else if now < deadline {
        Freshness::Fresh
    } else if now < end {
        Freshness::Stale
    } else {
        Freshness::Gone
    }
}

/// What is left of a life of `whole` milliseconds that began at `created`, both by the server's clock. A value from the future
/// has its whole life left and no more.
pub(crate) fn left(created: u64, whole: u32, server_now: u64) -> Option<Duration> {
    let age = server_now.saturating_sub(created);
    u64::from(whole).checked_sub(age).filter(|left| *left > 0).map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    #[track_caller]
    fn check(policy: Policy, expected: &str) {
        assert_eq!(policy.check().map_err(|e| e.to_string()), Err(expected.to_owned()));
    }

    #[test]
    fn a_wrong_policy_names_field_value_and_bound() {
        let second = Duration::from_secs(1);
        check(Policy::ttl(Duration::ZERO), "ttl is 0 s, expected a duration above 0");
        check(Policy::ttl(second).l1_ttl(Duration::ZERO), "l1_ttl is 0 s, expected a duration above 0");
        check(Policy::ttl(second).negative_ttl(Duration::ZERO), "negative_ttl is 0 s, expected a duration above 0");
        check(Policy::ttl(second).time_to_idle(Duration::ZERO), "time_to_idle is 0 s, expected a duration above 0");
        check(Policy::ttl(second).l1_ttl(2 * second), "l1_ttl is 2s, expected at most the ttl, 1s");
        check(
            Policy::ttl(second).stale_for(second).stale_if_error(Duration::ZERO),
            "stale_if_error is 0 s, expected a duration above 0",
        );
        let nothing = Policy::ttl(second).stale_if_error(second);
        check(nothing, "stale_if_error is given, expected a stale_for, without which nothing stale is kept");
        let nothing = Policy::ttl(second).stale_if_slow(second);
        check(nothing, "stale_if_slow is given, expected a stale_for, without which nothing stale is kept");
        let nothing = Policy::ttl(second).stale_for(second).announce_changes();
        let expected = "a stale_while_revalidate or an early_refresh, without which nothing answers while it changes";
        check(nothing, &format!("announce_changes is given, expected {expected}"));
        assert_eq!(nothing.stale_while_revalidate(second).check(), Ok(()));
        assert_eq!(nothing.early_refresh(EarlyRefresh::after_percent(80)).check(), Ok(()));
        check(Policy::ttl(second).jitter(51), "jitter is 51 %, expected at most 50 %");
        assert_eq!(Policy::ttl(Duration::MAX).l1_ttl(Duration::MAX).check(), Ok(()));
    }

    #[test]
    fn a_life_is_never_longer_than_asked_nor_than_the_longest() {
        for ttl in [Duration::from_nanos(1), Duration::from_secs(60), Duration::MAX] {
            for dice in [0, 1, u32::MAX / 2, u32::MAX] {
                let policy = Policy::ttl(ttl).l1_ttl(ttl).jitter(50);
                let life = policy.life(Content::Value, DAY, dice).unwrap();
                assert!(life.shared <= ttl.min(DAY).max(Duration::from_millis(1)));
                assert!(life.shared >= ttl.min(DAY) / 2);
                assert!(life.local <= life.shared);
            }
        }
    }

    #[test]
    fn an_absent_value_is_remembered_only_when_asked() {
        let policy = Policy::ttl(DAY);
        assert_eq!(policy.life(Content::Nothing, DAY, 0), None);
        let life = policy.negative_ttl(Duration::from_secs(5)).life(Content::Nothing, DAY, 0);
        assert_eq!(life.map(|life| life.shared), Some(Duration::from_secs(5)));
    }

    #[test]
    fn what_is_left_is_counted_by_the_servers_clock() {
        assert_eq!(left(1_000, 500, 1_200), Some(Duration::from_millis(300)));
        assert_eq!(left(1_000, 500, 1_500), None);
        assert_eq!(left(1_000, 500, 900), Some(Duration::from_millis(500)));
    }

    #[test]
    fn an_entry_is_gone_at_its_deadline_and_when_idle_too_long() {
        let now = Millis(100);
        let lives = |deadline, end, idle| judge(now, (Millis(deadline), Millis(end)), idle);
        assert_eq!(lives(101, 101, None), Freshness::Fresh);
        assert_eq!(lives(100, 100, None), Freshness::Gone);
        assert_eq!(lives(100, 101, None), Freshness::Stale);
        assert_eq!(lives(u64::MAX, u64::MAX, Some((Millis(90), Duration::from_millis(11)))), Freshness::Fresh);
        assert_eq!(lives(u64::MAX, u64::MAX, Some((Millis(90), Duration::from_millis(10)))), Freshness::Gone);
        assert_eq!(lives(100, 101, Some((Millis(90), Duration::from_millis(10)))), Freshness::Gone);
    }
}
