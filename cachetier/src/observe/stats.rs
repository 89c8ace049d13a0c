//! What the cache has done: one counter a name, one snapshot of them all.

use std::time::Duration;

use crate::rule::breaker::BreakerState;

use super::counters::{Counter, Striped};
use super::once::{Once, OnceByType};

macro_rules! stats {
    ($($(#[doc = $doc:literal])+ $name:ident: $counter:ident, $label:literal;)+) => {
        /// The live counters of one cache.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($(#[doc = $doc])+ pub(crate) $name: $counter,)+
            pub(crate) told: Told,
        }

        /// What a cache has done so far, and what it holds now. `Display` prints it as a table.
        ///
        /// ```
        /// # #[tokio::main(flavor = "current_thread")]
        /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// use std::time::Duration;
        /// use cachetier::{Policy, TieredCache};
        ///
        /// let cache = TieredCache::builder("shop").build().await?;
        /// let before = cache.stats();
        /// cache.get_or_compute("k", Policy::ttl(Duration::from_secs(60)), || async { 1 }).await?;
        /// let after = cache.stats();
        /// assert_eq!((after.loads - before.loads, after.l1_entries), (1, 1));
        /// assert!(after.to_string().starts_with("L1 hits "));
        /// # Ok(())
        /// # }
        /// ```
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[doc = $doc])+ pub $name: u64,)+
            /// Entries that this instance holds, those past their end included until they are swept.
            pub l1_entries: u64,
            /// Their weight: bytes where the capacity is in bytes, entries where it is in entries.
            pub l1_weight: u64,
            /// Reads answered by this instance's own copy although nobody could prove that it had missed nothing
            /// ([`OnUnreachable::Serve`](crate::OnUnreachable::Serve)); hits as well.
            pub served_unproven: u64,
            /// How far behind what others have invalidated this instance may be now.
            pub lag: Lag,
            /// How long this instance could not prove that it had missed nothing: all of it since it was built, the time until the
            /// first proof and the present one included.
            pub time_unproven: Duration,
            /// Of a million copies here, about how many are missed needlessly if they are asked for now: other tags' bumps hide them, for the
            /// [tag table](crate::CacheBuilder::tag_cells) is small for so many. Estimated once a minute; from 50,000 on a warning is logged.
            pub table_needless_ppm: u64,
            /// Whether the shared tier is asked for what can be done without.
            pub breaker: BreakerState,
            /// How often it was found that it better is not.
            pub breaker_opened: u64,
            /// Loads that run now.
            pub flights: u64,
            /// Refreshes that wait to be made [behind callers' backs](crate::TieredCache::get_or_refresh), or are being made.
            pub refreshing: u64,
            /// Invalidations that the shared tier has not confirmed. In a Cluster one that concerns all parts of the namespace counts for each that has
            /// not.
            pub pending: u64,
        }

        impl Counters {
            /// Reads every counter; what the cache holds is the caller's to fill in.
            pub(crate) fn snapshot(&self) -> Stats {
                Stats { $($name: self.$name.get(),)+ ..Stats::default() }
            }
        }

        impl Stats {
            fn rows(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [
                    $(($label, self.$name),)+
                    ("entries in L1", self.l1_entries),
                    ("weight of L1", self.l1_weight),
                    ("served unproven", self.served_unproven),
                    ("ms unproven", u64::try_from(self.time_unproven.as_millis()).unwrap_or(u64::MAX)),
                    ("missed needlessly, ppm", self.table_needless_ppm),
                    ("breaker opened", self.breaker_opened),
                    ("loads running", self.flights),
                    ("refreshes open", self.refreshing),
                    ("invalidations pending", self.pending),
                ]
                .into_iter()
            }
        }
    };
}

stats! {
    /// Reads answered by this instance's own copy.
    l1_hits: Striped, "L1 hits";
    /// Reads that found no usable copy in this instance when they came: with the hits, all reads.
    l1_misses: Counter, "L1 misses";
    /// Copies that were suspect, after something had been missed, and found to be what the shared tier still held: kept, without a load.
    suspects_same: Counter, "suspects kept";
    /// Copies that were suspect and no longer what the shared tier held.
    suspects_changed: Counter, "suspects changed";
    /// Reads answered by the shared tier.
    l2_hits: Counter, "L2 hits";
    /// Reads for which the shared tier held nothing, a write guard's hold, or somebody's ticket to the end of their wait. Each counts once.
    l2_misses: Counter, "L2 misses";
    /// Values in the shared tier that were not usable: expired, invalidated, unreadable.
    l2_unusable: Counter, "L2 values unusable";
    /// Bytes at a key that are no value of ours, or a newer release's; left alone.
    l2_foreign: Counter, "L2 values foreign";
    /// Values of another type than the one asked for, in either tier, or of the same with other fields: left alone.
    wrong_type: Counter, "values of another type";
    /// Calls to the shared tier that failed, for whatever reason; one for each step of a batch.
    l2_faults: Counter, "L2 faults";
    /// Those of them that were not made: there was no connection, or the [breaker](crate::Breaker) was open.
    l2_away: Counter, "L2 faults: away";
    /// Those that had no answer in time, or none that could be read.
    l2_unanswered: Counter, "L2 faults: unanswered";
    /// Those that the server answered with an error; what it said is in the log.
    l2_refused: Counter, "L2 faults: refused";
    /// Those that the server was too full for.
    l2_full: Counter, "L2 faults: full";
    /// Loaders run. One for a batch, however many keys it loads.
    loads: Counter, "loads";
    /// Keys that loaders of batches were asked for.
    batched: Counter, "loaded in batches";
    /// Keys that loaders of batches returned and were not asked for: ignored.
    not_asked_for: Counter, "keys not asked for";
    /// Loaders that failed.
    load_errors: Counter, "load errors";
    /// Loads that failed, panicked or took too long, and in whose place what is stale has answered: [`Policy::stale_if_error`](crate::Policy::stale_if_error).
    served_stale: Counter, "served stale";
    /// Answers whose life was over, while a newer one was loaded: [`Policy::stale_while_revalidate`](crate::Policy::stale_while_revalidate).
    served_revalidating: Counter, "served while revalidated";
    /// Looks for something newer than a copy that answered meanwhile: [`Policy::early_refresh`](crate::Policy::early_refresh) and
    /// [`Policy::stale_while_revalidate`](crate::Policy::stale_while_revalidate).
    refreshes: Counter, "refreshes";
    /// Those that have found it in the shared tier: another instance had stored it.
    refreshes_found: Counter, "refreshes that found it";
    /// Those that were left to somebody else who was at it, or could not be made.
    refreshes_left: Counter, "refreshes left";
    /// Those that have brought another value, of which the other instances were told: [`Policy::announce_changes`](crate::Policy::announce_changes).
    refreshes_announced: Counter, "refreshes announced";
    /// Those whose load has failed.
    refreshes_failed: Counter, "refreshes failed";
    /// Those for which there was no room in the [queue](crate::CacheBuilder::refresh_queue).
    refreshes_dropped: Counter, "refreshes dropped";
    /// Calls that got an error that was [remembered](crate::Policy::error_ttl): their loaders did not run.
    errors_remembered: Counter, "errors remembered";
    /// Loaders that panicked.
    load_panics: Counter, "load panics";
    /// Loaders that came to the load limit: the function of a `#[cached]` goes on, any other loader is dropped.
    load_timeouts: Counter, "load time-outs";
    /// Loaders run for their caller alone, which keeps nothing: the key is unusable, the cache closed, the load that was waited for over
    /// its limit, or the call came from within the load of its own key.
    loads_alone: Counter, "loads alone";
    /// Failures of a `#[cached]` function that those who waited could not share: panics, errors without `Clone` and without a shared form,
    /// and errors with `share_error = none`. One of those who waited loads next.
    failures_unshared: Counter, "failures not shared";
    /// Loads that waited for a place among those that run at once.
    loads_queued: Counter, "loads queued";
    /// Those that got none.
    loads_refused: Counter, "loads refused";
    /// Calls from within the load of their own key.
    recursions: Counter, "recursive calls";
    /// Callers that missed and got the outcome of another's load: they waited for it, or it had landed since they looked.
    coalesced: Counter, "waited for another's load";
    /// Loads that found another instance's ticket, and waited for what it brings.
    ticket_waits: Counter, "tickets waited for";
    /// Polls of a key whose ticket another instance holds.
    ticket_polls: Counter, "waits for another instance";
    /// How often such a wait has ended because word came of what was waited for.
    ticket_wakes: Counter, "waits ended by word";
    /// Values stored in the shared tier.
    fills: Counter, "fills stored";
    /// Those of them that stood there already and were found to be current: they live anew, and were not sent again.
    renewals: Counter, "fills that only renewed";
    /// Fills refused because the key had moved on: an invalidation, an expiry or an eviction came in between.
    fills_refused: Counter, "fills refused";
    /// Fills without an answer.
    fills_unanswered: Counter, "fills unanswered";
    /// Values returned and stored nowhere: an unusable key, policy or tag, too many tags, too large, not for the codec to carry.
    not_stored: Counter, "values not stored";
    /// L1 entries dropped because the store was full.
    evicted_by_size: Counter, "evicted: size";
    /// L1 entries reclaimed after their end.
    evicted_by_age: Counter, "evicted: age";
    /// L1 entries dropped by an invalidation.
    evicted_by_invalidation: Counter, "evicted: invalidation";
    /// Keys, tags, prefixes and everything invalidated by this instance; keys that were put by `set` as well.
    invalidations: Counter, "invalidations sent";
    /// Calls whose invalidations went in one command with others', because many were under way.
    invalidations_together: Counter, "invalidations together";
    /// Own invalidations told once more, because the shared tier may have forgotten them. In a Cluster one that concerns all parts of the namespace counts for
    /// each of them.
    retold: Counter, "invalidations told again";
    /// Invalidations applied here, one's own included.
    invalidations_applied: Counter, "invalidations applied";
    /// Keys, tags and prefixes that an `#[invalidates]` could not invalidate: those that are unusable, and all of them if the cache is
    /// closed.
    invalidations_refused: Counter, "invalidations refused";
    /// Write guards that have held their keys.
    guards: Counter, "guards";
    /// Write guards dropped before they were released: their keys stay held until the guard's limit is over.
    guards_dropped: Counter, "guards dropped";
    /// Keys that their write guard no longer held when it was released: over its limit, or lost by the shared tier.
    holds_lost: Counter, "holds lost";
    /// Times the subscription ended, so that this instance could no longer prove that it had missed nothing.
    lane_lost: Counter, "lane lost";
    /// Times something was found missing on a subscription that went on: a message, or the lane's own past.
    lane_gaps: Counter, "lane gaps";
}

impl std::fmt::Display for Stats {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let width = self.rows().map(|(label, _)| label.len()).max().unwrap_or_default();
        for (row, (label, count)) in self.rows().enumerate() {
            let end = if row == 0 { "" } else { "\n" };
            write!(f, "{end}{label:<width$}  {count:>10}")?;
        }
        write!(f, "\n{:<width$}  {:>10}", "breaker", self.breaker.to_string())?;
        write!(f, "\n{:<width$}  {:>10}", "lag", self.lag.to_string())
    }
}

/// How far behind an instance may be, as far as it knows.
///
/// ```
/// use std::time::Duration;
/// use cachetier::Lag;
///
/// /// What an alarm goes by: a day where nobody can tell.
/// fn seconds(lag: Lag) -> u64 {
///     match lag {
///         Lag::Alone => 0,
///         Lag::Proven(age) => age.as_secs(),
///         _ => 86_400,
///     }
/// }
/// assert_eq!(seconds(Lag::Proven(Duration::from_millis(1_250))), 1);
/// assert_eq!(Lag::default(), Lag::Unproven);
/// assert_eq!(Lag::Proven(Duration::from_millis(340)).to_string(), "340 ms");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lag {
    /// There is no proof now, or none yet: nobody knows.
    #[default]
    Unproven,
    /// The age of the present proof. Everything that was acknowledged before that is applied here; most of what came later is as well, and
    /// most of this time has passed since the last check, of which there are two a second.
    Proven(Duration),
    /// There is no shared tier: nobody else invalidates anything.
    Alone,
}

impl Lag {
    /// Of the lags of two parts of a cache that of the whole.
    pub(crate) fn or_worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::Unproven, _) | (_, Self::Unproven) => Self::Unproven,
            (Self::Proven(one), Self::Proven(other)) => Self::Proven(one.max(other)),
            (Self::Alone, lag) | (lag, Self::Alone) => lag,
        }
    }
}

impl std::fmt::Display for Lag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unproven => f.write_str("unproven"),
            Self::Proven(age) => write!(f, "{} ms", age.as_millis()),
            Self::Alone => f.write_str("alone"),
        }
    }
}

/// What has been logged already.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) bad_key: Once,
    pub(crate) bad_policy: Once,
    pub(crate) bad_tag: Once,
    pub(crate) too_many_tags: Once,
    pub(crate) served_stale: Once,
    pub(crate) refresh_failed: Once,
    pub(crate) too_large: Once,
    pub(crate) not_encodable: OnceByType,
    pub(crate) wrong_type: Once,
    pub(crate) other_shape: OnceByType,
    pub(crate) foreign: Once,
    pub(crate) recursive: Once,
    pub(crate) not_asked_for: Once,
    pub(crate) refused: Once,
    pub(crate) guard_dropped: Once,
}
