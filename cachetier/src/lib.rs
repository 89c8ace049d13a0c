//! A typed in-process cache over Redis, coherent across every instance of a service.
//!
//! A [`TieredCache`] answers a read from this process's own copy (L1), else from a shared tier (L2, a Redis server), else from a
//! loader that runs once however many callers ask. What one instance invalidates, no instance serves for longer than a stated
//! bound, and no load that began before can bring it back.
//!
//! # A first look
//!
//! Two instances of a service over one shared tier; here it lives in this process, so that nothing needs to be installed. With
//! `.redis("redis://127.0.0.1/")` in the place of `.in_process(&tier)` it is a server.
//!
//! ```
//! use std::time::Duration;
//! use cachetier::{InProcess, Policy, TieredCache};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
//! struct User {
//!     name: String,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let tier = InProcess::new();
//! let here = TieredCache::builder("shop").in_process(&tier).build().await?;
//! let there = TieredCache::builder("shop").in_process(&tier).build().await?;
//!
//! let policy = Policy::ttl(Duration::from_secs(300));
//! let load = || async { Ok::<_, std::io::Error>(User { name: "Ada".into() }) };
//!
//! // A miss in both tiers: the loader runs, and both tiers keep what it brings.
//! let user = here.get_or_load("user:42", policy.tags(["users", "org:7"]), load).await?;
//! assert_eq!(user.name, "Ada");
//!
//! // The other instance finds it in the shared tier.
//! assert_eq!(there.get::<User>("user:42").await, Some(user));
//! assert_eq!(there.stats().loads, 0);
//!
//! // After the write has been committed: every entry that carries the tag, in one step.
//! here.invalidate_tag("org:7").await?;
//! assert_eq!(here.get::<User>("user:42").await, None);
//! # Ok(())
//! # }
//! ```
//!
//! A function is cached by an attribute, [`cached`](macro@cached), and one that writes invalidates by another, [`invalidates`](macro@invalidates).
//! A worker, or another service, that only writes takes an [`Invalidator`].
//!
//! ```toml
//! [dependencies]
//! cachetier = { path = "../cachetier/cachetier" } # not published yet: where it was cloned
//! serde = { version = "1", features = ["derive"] }
//! tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
//! ```
//!
//! It needs Rust 1.88, a tokio runtime with its clock, and for the shared tier Redis: one server, 6.2.7 or newer, by its address or its Sentinels, or a Cluster, 7.0 or newer.
//!
//! # When not to use it
//!
//! - One instance alone: moka is all that you need.
//! - Values that must never be stale, such as the balance that a payment is checked against: ask the database.
//! - Values refreshed in the background, or exporters of metrics: not yet.
//!
//! # Words
//!
//! | word | what it is |
//! |---|---|
//! | copy | a value in this instance's memory (L1) |
//! | lane | the one line of invalidations of a namespace, which every instance follows |
//! | bump | one invalidation on it; it has a number, its *seq* |
//! | era | begins anew when the server has forgotten the lane; an era and a seq in it are a point of the lane, and what a [`Token`] is made of |
//! | proof | a moment at which an instance was sure to have applied all that had been told |
//! | ticket | what a load plants in a key of the shared tier that holds nothing: the right to fill it, until an invalidation removes it |
//!
//! # What it guarantees
//!
//! - **G1.** Once `invalidate` of a key has returned [`Delivery::Applied`], no load begun before it can be stored in the shared tier, however
//!   late it ends. After that of a tag, of a prefix or of everything such a load may be stored, and is served to nobody.
//! - **G2.** No instance serves what was invalidated longer than [`max_staleness`] ago (2 s unless set otherwise; mostly it is as long as a
//!   message takes), as far as it can ask the server. Where it cannot, the policy says what a read does:
//!
//!   | the policy says | with a copy | without |
//!   |---|---|---|
//!   | [`OnUnreachable::Serve`], the default | it is served until its life is over, and counted: G2 does not hold | the loader |
//!   | [`OnUnreachable::Bypass`], as in [`Policy::strict`] | the loader: G2 holds | the loader |
//!   | [`OnUnreachable::Fail`] | an error: G2 holds; a `get` finds nothing, a `#[cached]` function runs | the same |
//!
//! - **G3.** In the instance that invalidated, the next read sees it, whether the server could be reached or not; in another one, after
//!   [`wait_for`](TieredCache::wait_for).
//! - A fault of the shared tier fails no read: it is counted, and a copy or the loader answers. [`OnUnreachable::Fail`] is the exception
//!   that one asks for: [`LoadError::Unproven`], and the loader does not run.
//! - Loads are not repeated: within an instance one runs at a time for a key and all who ask share its outcome, but for a load that
//!   an invalidation has overtaken; across instances, as long as the server can be reached.
//!
//! They rest on one duty: *invalidate after the write has been committed*, and load from a source that shows committed writes (a
//! lagging replica does not). They do not cover a process that dies, or a handler that is dropped, after its commit and before its
//! invalidation: the old value then lives as long as its policy says. A [write guard](TieredCache::guard) around the commit covers that, and a
//! lagging replica, too.
//!
//! [`max_staleness`]: CacheBuilder::max_staleness
//!
//! # Keys, types and tags
//!
//! A key is a string; segments are divided by `:`, and the first four can be invalidated as a
//! [prefix](TieredCache::invalidate_prefix). One handle holds values of any type, but a key holds one type: a value of another type
//! than the one asked for is left alone, counted and logged, and the loader answers. The full path of the type stands for it in the
//! shared tier, so renaming or moving a type makes its values misses; *changing its fields does not*: put a version into the key when
//! you do that (`user:v2:42`), or take a [codec](Codec) that writes the names of fields, and give new ones a default.
//!
//! A hit clones the value. Where that is expensive, cache an `Arc`: `get_or_load::<Arc<Report>, ..>`.
//!
//! | what | limit | a read with more | a `set` with more |
//! |---|---|---|---|
//! | key | 1 to 4,096 bytes | loads, and stores nothing | [`CacheError::Key`] |
//! | tag | 1 to 4,096 bytes | likewise | [`CacheError::Tag`] |
//! | tags of a value | 32 | likewise | [`CacheError::TooManyTags`] |
//! | encoded value | 8 MiB: [`max_value_bytes`](CacheBuilder::max_value_bytes) | likewise | [`CacheError::TooLarge`] |
//! | prefix | four segments | | [`CacheError::Key`], of the invalidation |
//!
//! A read that stores nothing returns what it has loaded, so a cache that never caches looks well: [`Stats::not_stored`] counts these, and the log
//! says the first of each kind. All limits and defaults: [docs/limits.md](https://github.com/cachetier/cachetier/blob/main/docs/limits.md).
//!
//! # When a policy is not enough
//!
//! | what | where |
//! |---|---|
//! | the value knows how long it lives, its tags, or whether it is worth storing | [`Policy::ttl_with`], [`Policy::tags_with`], [`Policy::cache_if`]; a type of one's own: [`Rules`] |
//! | the loader knows that; or can ask whether what was there is still current | [`get_or_load_with`](TieredCache::get_or_load_with), [`Policy::stale_for`] |
//! | the source may be away: better an old answer than none | [`Policy::stale_if_error`] |
//! | the source must not be asked by too many at once | [`Bulkhead`] |
//! | what is there may have changed, or is gone | [`expire`](TieredCache::expire), [`invalidate`](TieredCache::invalidate) |
//! | one call is to skip a tier, load in any case, or end at a deadline; or to say where its answer came from | [`with`](TieredCache::with) |
//! | the value cannot be written | [`local`](TieredCache::local) |
//! | many keys | [`get_or_load_many`](TieredCache::get_or_load_many) |
//! | why is this read answered as it is? | [`inspect`](TieredCache::inspect) |
//!
//! # Cancel safety
//!
//! Reads and writes may be dropped at any time.
//!
//! | dropped while it runs | what follows |
//! |---|---|
//! | a read that waits for another's load | nothing |
//! | a read whose loader runs, [of many keys](TieredCache::get_or_load_many) as well | the loader is dropped too; somebody who waits runs theirs, and inherits the right to fill |
//! | an invalidation, a [`remove`](TieredCache::remove), an [`expire`](TieredCache::expire) | once it has been polled, it is carried out all the same, in the background, as an invalidation |
//! | a function with [`invalidates`](macro@invalidates), while its body runs | **nothing is invalidated**, though the body may have committed: a web framework drops the handler of a request that is cut off. Spawn such a call, or hold a [guard](TieredCache::guard) |
//! | a [`set`](TieredCache::set), a [`set_many`](TieredCache::set_many) | it counts as an invalidation of the keys that were under way |
//! | a guard's [`set`](WriteGuard::set) | the same, and the key may be held until the guard's limit is over |
//! | a [`purge`](TieredCache::purge) | it has invalidated all the same; it stops deleting |
//! | an [`invalidate_pattern`](TieredCache::invalidate_pattern) | it stops: what it had found by then is invalidated everywhere, the rest is not |
//! | [`guard`](TieredCache::guard) | nothing is held, or soon no longer |
//! | [`release`](WriteGuard::release) of a guard | it is carried out as an invalidation; the keys may be held until the guard's limit is over |
//! | a [`wait_for`](TieredCache::wait_for) | nothing |
//! | [`flush`](TieredCache::flush) | what is under way goes on |
//! | [`close`](TieredCache::close) | if it was still flushing, the cache stays open |
//!
//! The body of a `#[cached]` function is a loader in this; once it is over the [load limit](CacheBuilder::load_limit), nobody waits for it
//! any more.
//!
//! A loader runs in the task of its caller, so it may borrow. A loader that must end once begun spawns its work itself.
//!
//! Each method says it of itself under *Cancel safety*.
//!
//! # Shutting down
//!
//! Take no more requests, then [`close`](TieredCache::close): it waits, for as long as it is told, until what is pending has been told and what is on
//! its way to the shared tier has arrived. What it could not finish is lost, as is what is pending when the last handle is dropped without it: other
//! instances may then serve what was invalidated until its life is over. The log says so.
//!
//! # Seeing what it does
//!
//! [`stats`](TieredCache::stats) counts everything that happens ([what to watch, and what is usual](https://github.com/cachetier/cachetier/blob/main/docs/watching.md));
//! [`inspect`](TieredCache::inspect) shows what each tier holds of a key; [`with`](TieredCache::with) and
//! [`get_or_load_traced`](TieredCache::get_or_load_traced) say where one answer came from. What is surprising is a [`tracing`] event, the first time and
//! not each time, under the target `cachetier`: `ERROR` for a
//! mistake in the service, `WARN` where somebody should look, `INFO` where what was lost is back.
//!
//! [`tracing`]: https://docs.rs/tracing
//!
//! # Features
//!
//! | feature | default | what it adds | cost |
//! |---|---|---|---|
//! | `macros` | yes | [`cached`](macro@cached), [`invalidates`](macro@invalidates), `#[derive(KeyPart)]` | 2 crates beside those that serde's derive has |
//! | `postcard` | yes | [`Codec`]`::Postcard`, the codec that is used unless told otherwise | 4 crates |
//! | `redis` | yes | the shared tier over a Redis server, 6.2.7 or newer | about 50 crates |
//! | `tls` | no | TLS to that server: `rediss://`, by rustls; turns `redis` on | 14 crates, 3 of them to compile ring, for which a C compiler is needed |
//! | `bincode` | no | [`Codec`]`::Bincode`, at its last usable release | 2 crates |
//! | `messagepack` | no | [`Codec`]`::MessagePack`: fields may be added later | 3 crates |
//! | `json` | no | [`Codec`]`::Json`: the same, for people to read | 4 crates |
//! | `zstd` | no | [`Compression`]`::Zstd` | 3 crates, and 5 to compile libzstd, for which a C compiler is needed |
//! | `lz4` | no | [`Compression`]`::Lz4` | 1 crate |
//! | `chaos` | no | pauses between steps, for this repository's tests: not for use | none |
//! | `testing` | no | the module `testing`: groups of instances, counted loads, something to load from, for the tests of a service | none |
//! | `uuid` | no | [`KeyPart`](trait@KeyPart) for `uuid::Uuid` | none: it is there already |
//!
//! Without any of them the crate brings about 40 crates, and the cache is one tier: this process alone. A shared tier needs a codec.
//!
//! # What may change
//!
//! Before 1.0 a minor version may break, afterwards semantic versioning holds. What can be named here is public, as are the attributes'
//! options, the counters' meanings, the forms of keys and every byte in the shared tier: releases of a service that run side by side read
//! each other's values and messages, or leave them alone. Modules that the documentation does not show are for the attributes' expansions.
//!
//! # Testing a service that uses it
//!
//! [`InProcess`] is a shared tier without a server, and every cache built over it is an instance of its own. It also loses, delays and
//! refuses calls as a script says. [`Clock::manual`] makes time stand still until the test moves it. The feature `testing` adds several
//! instances with outages, restarts and partitions, and `assert_loads!`; the page
//! [Testing a service that uses cachetier](https://github.com/cachetier/cachetier/blob/main/docs/testing.md) leads through all of it.
//!
//! ```
//! use std::time::Duration;
//! use cachetier::{CallKind, Clock, InProcess, Policy, TieredCache};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (clock, hand) = Clock::manual();
//! let tier = InProcess::with_clock(clock.clone());
//! let cache = TieredCache::builder("test").in_process(&tier).clock(clock).build().await?;
//! let policy = Policy::ttl(Duration::from_secs(60));
//!
//! // The shared tier fails, and the caller does not notice.
//! tier.fail_next(CallKind::Probe);
//! assert_eq!(cache.get_or_compute("k", policy, || async { 1 }).await?, 1);
//! assert_eq!(cache.stats().l2_faults, 1);
//!
//! // A minute later the value is gone.
//! hand.advance(Duration::from_secs(60));
//! assert_eq!(cache.get_or_compute("k", policy, || async { 2 }).await?, 2);
//! # Ok(())
//! # }
//! ```
#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod all;
#[doc(hidden)]
pub mod attribute;
mod bulkhead;
mod cache;
mod clock;
mod coherence;
mod config;
#[cfg(feature = "redis")]
mod connector;
mod error;
mod flight;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzz;
mod installed;
mod invalidator;
mod key;
mod key_part;
mod l1;
mod l2;
mod lease;
mod observe;
mod parts;
#[cfg(feature = "chaos")]
#[doc(hidden)]
pub mod pause;
mod progress;
mod proofs;
#[cfg(feature = "redis")]
mod redis;
mod rule;
mod sync;
mod tasks;
#[cfg(feature = "testing")]
pub mod testing;
mod unhashed;
mod view;
mod wire;

pub use bulkhead::Bulkhead;
pub use cache::{
    AtWork, ByValue, CacheBuilder, CallOptions, CopyHere, Delivery, EntryFacts, InSharedTier, Inspection, LoadContext, Loaded,
    Local, Origin, Purge, PurgeCounts, PurgeError, PurgeProgress, Purged, Removed, Rules, Served, Stale, StaleValue, Tagged, Tags,
    Terms, TieredCache, Tiers, UnderWay, Value, Verbs, WaitError, WarmCounts, Warmed, Warming, WriteGuard,
};
/// ```
/// use cachetier::{KeyPart, KeyText};
///
/// #[derive(KeyPart)]
/// enum Page {
///     Home,
///     Article { id: u64, language: String },
/// }
///
/// assert_eq!(KeyText::of(&Page::Home).as_str(), "Home");
/// assert_eq!(KeyText::of(&Page::Article { id: 7, language: "de".into() }).as_str(), "Article(7,de)");
/// ```
#[cfg(feature = "macros")]
pub use cachetier_macros::KeyPart;
#[cfg(feature = "macros")]
#[doc = include_str!("attribute/cached.md")]
pub use cachetier_macros::cached;
#[cfg(feature = "macros")]
#[doc = include_str!("attribute/invalidates.md")]
pub use cachetier_macros::invalidates;
pub use clock::{Clock, ManualClock};
pub use config::{Eviction, OnRestart};
#[cfg(feature = "redis")]
pub use connector::{Connected, Endpoint};
pub use error::{CacheError, ConfigError, KeyError, LoadError, SharedError, TokenError};
pub use installed::{AlreadyInstalled, install, installed, scope};
pub use invalidator::{Invalidator, InvalidatorBuilder, InvalidatorStats};
pub use key_part::{KeyPart, KeyText};
pub use l2::memory::{Call, CallKind, Faults, InProcess, Plan, Saved};
pub use observe::stats::{Lag, Stats};
pub use rule::breaker::{Breaker, BreakerState};
pub use rule::early::EarlyRefresh;
pub use rule::learned::LearnedTtl;
pub use rule::policy::{Coalesce, OnUnreachable, Policy};
pub use rule::token::Token;
pub use wire::codec::Codec;
pub use wire::compress::Compression;

/// The code in the README, as a test that it compiles.
#[cfg(all(doctest, feature = "redis", feature = "postcard", feature = "macros"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// The code on the page about testing, as tests.
#[cfg(all(doctest, feature = "testing", feature = "postcard", feature = "macros"))]
#[doc = include_str!("../testing.md")]
struct Testing;
