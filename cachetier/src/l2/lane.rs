//! The lane as an instance sees it: one ordered line of invalidations, whoever carries it.

use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;

use crate::error::Fault;
use crate::rule::seq::{Point, Seq};
use crate::rule::slot::name_of_part;
use crate::rule::stamp::Stamp;
use crate::rule::table::TableCopy;
use crate::wire::message::Targets;
use crate::wire::wake::Mailbox;

/// What a bump came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bumped {
    /// The point on the lane at which it stands.
    pub(crate) point: Point,
    /// How many of the keys held anything but the hold of a write guard.
    pub(crate) held: u64,
}

/// What the first half of a `set` came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seized {
    /// The ticket stands in the key.
    Planted(Point),
    /// A write guard holds the key: it was bumped, and nothing may be stored.
    Held(Point),
}

/// What a write guard's hold came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    /// It stands in every key.
    Yes(Point),
    /// Too many guards hold one of the keys.
    Crowded,
}

/// What the release of a write guard came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Released {
    /// The point on the lane at which it stands.
    pub(crate) point: Point,
    /// In how many of the keys the guard still stood.
    pub(crate) stood: u64,
}

/// The lane's state, as one script saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LaneState {
    pub(crate) point: Point,
    /// The server's clock, in milliseconds since 1970.
    pub(crate) server_millis: u64,
    /// How many cells its table has.
    pub(crate) cells: u32,
    /// The life of the process that has answered: another one has another number. Zero where that cannot be told.
    pub(crate) run: u64,
}

/// The writing end of a lane. Every call is sent at most once.
///
/// `floor` is the era that the caller knows and the highest seq that it was told in it. A lane of that era that stands below has
/// forgotten what it acknowledged: it begins another era. One that is begun, begins above it.
#[async_trait]
pub(crate) trait Lane: Send + Sync + 'static {
    /// Drops the keys (one that a write guard holds stays held, and is marked), writes the new seq into the cells of tags and prefixes,
    /// and tells every subscriber; all in one step.
    async fn bump(&self, targets: &Targets, floor: Point) -> Result<Bumped, Fault>;

    /// First half of a `set`: drops what the key holds, plants `ticket` for `lease`, bumps the key and tells every subscriber
    /// that the value to come will be stamped like the ticket. `key` is the logical key.
    async fn seize(&self, key: &str, ticket: Stamp, lease: Duration, floor: Point) -> Result<Seized, Fault>;

    /// Makes the value in `key` stale, under another stamp: whatever else it holds goes, but for a write guard's hold, which is marked. Bumps the
    /// key, and tells every subscriber that it is stale.
    async fn expire(&self, key: &str, stamp: Stamp, floor: Point) -> Result<Bumped, Fault>;

    /// Tells every subscriber that what it holds of `key` is stale, unless that is the value of this stamp. Whatever the key holds stays.
    async fn announce(&self, key: &str, stamp: Stamp, floor: Point) -> Result<Bumped, Fault>;

    /// Asks a writable primary for the lane's state, as [`Subscription::check`] does, but beside the subscription: what was published by
    /// then may not have arrived.
    async fn stand(&self, floor: Point) -> Result<LaneState, Fault>;

    /// Returns the tag table, as [`Subscription::table`] does.
    async fn table(&self, state: LaneState, since: Seq) -> Result<TableCopy, Fault>;

    /// Drops what the keys hold and plants the hold of `guard` in each of them for `limit`, beside those of other guards; bumps the
    /// keys. `keys` are logical.
    async fn hold(&self, keys: &[String], guard: Stamp, limit: Duration, floor: Point) -> Result<Planted, Fault>;

    /// Takes `guard` out of the keys' holds, or leaves it there for `lag`; a key that is no hold any more is dropped. Bumps the keys.
    async fn release(&self, keys: &[String], guard: Stamp, lag: Duration, floor: Point) -> Result<Released, Fault>;

    /// Swaps the hold in `key` for `ticket` if `guard` has been alone on the key all the time, else releases it; bumps the key, and
    /// tells every subscriber that the value to come will be stamped like the ticket.
    async fn trade(&self, key: &str, guard: Stamp, ticket: Stamp, lease: Duration, floor: Point) -> Result<Seized, Fault>;

    /// The number of the connection over which calls go now, as [`Store::line`](super::Store::line).
    fn line(&self) -> u64 {
        0
    }

    /// Opens this instance's own subscription and returns once the server has confirmed it.
    async fn subscribe(&self) -> Result<Box<dyn Subscription>, Fault>;
}

/// The reading end of a lane: messages, what this instance alone is told, and replies, on one ordered stream.
#[async_trait]
pub(crate) trait Subscription: Send {
    /// The next message, whole as published. An error means the subscription is lost.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<u8>, Fault>>;

    /// Returns a message that has arrived already.
    fn ready(&mut self) -> Option<Vec<u8>>;

    /// Asks a writable primary for the lane's state, beginning an era as a bump would; also where another process has left the state,
    /// unless the names say that it is to be taken as it is. All that was published before the state was
    /// read has arrived when this returns: [`Subscription::ready`] hands it out.
    async fn check(&mut self, floor: Point) -> Result<LaneState, Fault>;

    /// Returns the tag table of a lane that was found in `state`: the parts of it that have been bumped after `since`, at least.
    async fn table(&mut self, state: LaneState, since: Seq) -> Result<TableCopy, Fault>;

    /// How long a check's answer proves that nothing was missed; `None` where messages cannot be lost unseen.
    fn proves_for(&self) -> Option<Duration>;

    /// Whether it also hears what this instance alone is told.
    fn is_told_alone(&self) -> bool {
        true
    }
}

impl dyn Subscription + '_ {
    /// Returns the next message, as [`Subscription::poll_next`] does.
    /// Cancel safety: a dropped call loses no message.
    pub(crate) async fn next(&mut self) -> Result<Vec<u8>, Fault> {
        poll_fn(|cx| self.poll_next(cx)).await
    }
}

/// Where a lane's pieces live, by name.
#[derive(Clone, Debug)]
pub(crate) struct LaneNames {
    /// The namespace, or what its part is called that the lane is of.
    pub(crate) room: String,
    /// Whether all of it is to be in one slot of a Cluster: then every name has that between braces.
    pub(crate) in_one_slot: bool,
    /// How many cells the tag table is to have at least: a power of two.
    pub(crate) cells: u32,
    /// Whether the lane goes on as it stands where its server comes back with what it had saved.
    pub(crate) outlives_runs: bool,
    /// Where this instance is told what concerns nobody else.
    pub(crate) mailbox: Mailbox,
}

impl LaneNames {
    /// Those of a namespace, or of its part of this number.
    pub(crate) fn of(namespace: &str, part: Option<usize>, cells: u32, outlives_runs: bool) -> Self {
        Self {
            room: part.map_or_else(|| namespace.to_owned(), |part| name_of_part(namespace, part)),
            in_one_slot: part.is_some(),
            cells: cells.next_power_of_two(),
            outlives_runs,
            mailbox: Mailbox::random(),
        }
    }

    /// The key under which the shared tier holds the entry of a logical key.
    pub(crate) fn value(&self, key: &str) -> String {
        // Written for each key of each bump: a format would cost as much as all else that is written there.
        let (open, close) = if self.in_one_slot { ("ct:{", "}:v:") } else { ("ct:", ":v:") };
        [open, &self.room, close, key].concat()
    }
}
