//! The shared tier as the cache sees it: bytes in, bytes out, each call a single command that may fail.
//! What the bytes mean is `wire`'s, who reaches which server `redis`'s.

pub(crate) mod lane;
pub(crate) mod many;
pub(crate) mod memory;
#[cfg(test)]
pub(crate) mod refresh_tests;
pub(crate) mod tier;
pub(crate) mod walk;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::many::{Answers, Claim, Fill, Lease, Seen, Standing};
use self::walk::{Selection, Walk};
use crate::all::all;
use crate::error::Fault;
use crate::rule::breaker::BreakerState;
use crate::rule::stamp::Stamp;

/// What a fill came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Filled {
    /// The key held the ticket and now holds the value.
    Stored,
    /// The key held something else: whatever it is, it is newer than the load that wanted to fill it.
    Refused,
}

/// What a claim came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// The unusable value is gone and our ticket stands in its place.
    Yes,
    /// The key no longer holds that value.
    No,
}

/// What asking for the lease of a value came to: for the right to refresh it where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leased {
    /// It is ours.
    Yes,
    /// It is somebody else's, or has been given back.
    Not,
    /// The key no longer holds that value.
    Moved,
    /// Nobody's, and the value will not be kept for as long as it is to be had.
    Ending,
}

/// What is asked of the lease of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LeaseCall {
    /// To be had for so long.
    Take(Duration),
    /// To be had for so long from now on.
    Lengthen(Duration),
    GiveBack,
}

impl LeaseCall {
    /// For how long; not at all to give it back.
    pub(crate) fn time(self) -> Duration {
        match self {
            Self::Take(time) | Self::Lengthen(time) => time.max(Duration::from_millis(1)),
            Self::GiveBack => Duration::ZERO,
        }
    }
}

/// Why a tier cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NotReady {
    /// Nobody has answered by now.
    Yet(Fault),
    /// Who has answered will not do: what it was found to be, and what was expected.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "only a server may be another than expected"))]
    Unfit { found: Arc<str>, expected: &'static str },
}

/// How long the calls to a tier may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// What a reader waits for before the loader is asked: for probes, reads and claims.
    pub(crate) read: Duration,
    /// For everything else.
    pub(crate) command: Duration,
}

/// What there is to wait for in a key, for who has asked to be told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Prospect {
    /// There is nothing to wait for: what the key holds, if anything.
    Not(Option<Vec<u8>>),
    /// Another's ticket stands there, which lasts for so long unless it is extended. Who fills it, or gives it back, tells this instance.
    Told(Duration),
    /// As many are told of that ticket already as can be.
    Untold,
}

/// How far a load has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loading {
    Begun,
    Ended,
    Failed,
}

/// Values by key. Every call is sent at most once, none is retried below this trait; and every call ends within the [`Limits`] that
/// the tier was opened with.
///
/// `key` is the whole name under which the shared tier knows the entry.
///
/// Those of many keys return an answer for each, in their order, and are one call as far as limits go. Unless a tier knows better, they
/// are as many calls beside each other.
#[async_trait]
pub(crate) trait Store: Send + Sync + 'static {
    /// Returns what the key holds, or plants `ticket` where it holds nothing: then `None`, and the ticket is ours.
    async fn probe(&self, key: &str, ticket: Stamp, lease: Duration) -> Result<Option<Vec<u8>>, Fault>;

    /// Returns what the key holds and plants nothing.
    async fn read(&self, key: &str) -> Result<Option<Vec<u8>>, Fault>;

    /// Returns the stamp of the value that the key holds, if it holds one, and does not read the value.
    async fn stamp(&self, key: &str) -> Result<Option<Stamp>, Fault>;

    /// Swaps the ticket `seen` for `value`, a whole slot that begins with its own kind and stamp, for `life`; and tells who waits for it.
    async fn fill(&self, key: &str, seen: Stamp, value: &[u8], life: Duration) -> Result<Filled, Fault>;

    /// [`Store::fill`] by who has dropped what was there to put this in its place: it is sent also where the tier is left alone for what can be
    /// done without.
    async fn put(&self, key: &str, seen: Stamp, value: &[u8], life: Duration) -> Result<Filled, Fault> {
        self.fill(key, seen, value, life).await
    }

    /// Swaps the value stamped `seen` for `ticket`.
    async fn claim(&self, key: &str, seen: Stamp, ticket: Stamp, lease: Duration) -> Result<Claimed, Fault>;

    /// Asks to be told, on this instance's own channel, what becomes of the ticket that the key holds.
    async fn wait(&self, key: &str) -> Result<Prospect, Fault>;

    /// Lets the ticket, if the key still holds it, live for another `lease` from now.
    async fn extend(&self, key: &str, ticket: Stamp, lease: Duration) -> Result<(), Fault>;

    /// Gives the ticket back: the key is empty again if it still held it, and who waits is told to look, or this `word`.
    async fn abandon(&self, key: &str, ticket: Stamp, word: &[u8]) -> Result<(), Fault>;

    /// Takes, lengthens or gives back the lease of the value stamped `seen`, for who is named by this number, which is not 0. The value stays.
    async fn lease(&self, key: &str, seen: Stamp, who: u8, call: LeaseCall) -> Result<Leased, Fault>;

    /// [`Store::fill`] in the place of the value stamped `seen`: by whom has its lease.
    async fn refill(&self, key: &str, seen: Stamp, value: &[u8], life: Duration) -> Result<Filled, Fault>;

    /// Lets the value stamped `seen` live anew for `life` without sending it: under a new stamp, and with what may change of its header.
    async fn renew(&self, key: &str, seen: Stamp, stamp: Stamp, header: &[u8], life: Duration) -> Result<Filled, Fault>;

    /// [`Store::read`] of many keys. One that holds another type than a string may be said to hold nothing: a probe finds out.
    async fn read_many(&self, names: &[&str]) -> Answers<Option<Vec<u8>>> {
        all(names.iter().map(|name| self.read(name))).await
    }

    /// [`Store::probe`] of many keys that held nothing a moment ago.
    async fn probe_many(&self, tickets: &[Standing<'_>], lease: Duration) -> Answers<Option<Vec<u8>>> {
        all(tickets.iter().map(|planted| self.probe(planted.name, planted.ticket, lease))).await
    }

    /// [`Store::fill`] or [`Store::refill`] of many keys.
    async fn fill_many(&self, fills: &[Fill<'_>]) -> Answers<Filled> {
        all(fills.iter().map(|fill| async move {
            match fill.seen {
                Seen::Ticket(ticket) => self.fill(fill.name, ticket, fill.value, fill.life).await,
                Seen::Value(seen) => self.refill(fill.name, seen, fill.value, fill.life).await,
            }
        }))
        .await
    }

    /// [`Store::claim`] of many keys.
    async fn claim_many(&self, claims: &[Claim<'_>], lease: Duration) -> Answers<Claimed> {
        all(claims.iter().map(|claim| self.claim(claim.name, claim.seen, claim.ticket, lease))).await
    }

    /// [`Store::lease`] of many values.
    async fn lease_many(&self, leases: &[Lease<'_>], call: LeaseCall) -> Answers<Leased> {
        all(leases.iter().map(|lease| self.lease(lease.name, lease.seen, lease.who, call))).await
    }

    /// [`Store::wait`] of many keys.
    async fn wait_many(&self, names: &[&str]) -> Answers<Prospect> {
        all(names.iter().map(|name| self.wait(name))).await
    }

    /// [`Store::extend`] of many tickets.
    async fn extend_many(&self, tickets: &[Standing<'_>], lease: Duration) -> Answers<()> {
        all(tickets.iter().map(|planted| self.extend(planted.name, planted.ticket, lease))).await
    }

    /// [`Store::abandon`] of many tickets.
    async fn abandon_many(&self, tickets: &[Standing<'_>]) -> Answers<()> {
        all(tickets.iter().map(|planted| self.abandon(planted.name, planted.ticket, &[]))).await
    }

    /// The number of the connection over which calls go now, or of a later one; they are counted.
    fn line(&self) -> u64 {
        0
    }

    /// Whether it is asked for what can be done without, and how often it was found that it better is not.
    fn breaker(&self) -> (BreakerState, u64) {
        (BreakerState::Closed, 0)
    }

    /// Begins a walk over the keys that are selected on each primary, each on a connection of its own.
    async fn walks(&self, selection: &Selection) -> Result<Vec<Box<dyn Walk>>, Fault>;

    /// Waits until it can be asked, for at most `limit`; an error says why it cannot. Nothing to wait for where nothing is kept open.
    async fn ready(&self, _limit: Duration) -> Result<(), NotReady> {
        Ok(())
    }

    /// Ends what it keeps open, for good: every later call finds the tier away. Nothing to do where nothing is kept open.
    fn close(&self) {}

    /// Which instance it is for, where they are numbered.
    #[cfg(feature = "testing")]
    fn instance(&self) -> Option<usize> {
        None
    }

    /// Is told of every load, by its logical key, where that is written down.
    #[cfg(feature = "testing")]
    fn note_load(&self, _key: &str, _loading: Loading) {}
}
